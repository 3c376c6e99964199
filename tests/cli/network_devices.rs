//! `--network phys:INTERFACE`: an interface of the host is in the container while it runs, and on the host again under its
//! old name however the container ends.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;

use crate::networks::Wire;
use crate::support::{Sandbox, tools};

fn on_host(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// What is kept in `/run` for a container's interfaces.
fn held(id: &str) -> bool {
    Path::new(runner::NETWORK_STATE).join("devices").join(id).exists()
}

fn kill(pid: &serde_json::Value) {
    tools::run("kill", ["-KILL", &pid.to_string()]);
}

#[test]
fn an_interface_is_lent_and_comes_back() {
    let sandbox = Sandbox::new();
    let Some(_wire) = Wire::new("imgphys0", "198.18.93.1/24") else { return println!("skip: no ip command here") };
    let listener = TcpListener::bind("198.18.93.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        writeln!(stream, "hello {}", peer.ip()).unwrap();
    });
    let words = "phys:imgphys0:ip=198.18.93.2/24,ip6=fd00:93::2/64,gateway=198.18.93.1,interface_name=lan0";
    let script = "nc -w 3 198.18.93.1 $0 </dev/null; ip route | head -1; ip -6 addr show lan0 | grep -c fd00:93::2/64; ls /sys/class/net";
    let out = sandbox.img(&["run", "--rm", "--network", words, "busybox", "sh", "-c", script, &port]);
    out.ok().prints_exactly("hello 198.18.93.2\ndefault via 198.18.93.1 dev lan0 \n1\nlan0\nlo\n");
    server.join().unwrap();
    assert!(on_host("imgphys0") && !on_host("lan0"));
    assert!(std::fs::read_to_string("/sys/class/net/imgphys0/flags").unwrap().trim().ends_with('3'), "it is up again");

    let id = sandbox.ok(&["run", "-d", "--name", "box", "--network", "phys:imgphys0", "busybox", "sleep", "300"]);
    assert!(!on_host("imgphys0") && held(&id));
    let shown = sandbox.inspect("box")["NetworkSettings"]["Networks"]["phys:imgphys0"].clone();
    assert_eq!((&shown["Interface"], &shown["HostInterface"]), (&"imgphys0".into(), &"imgphys0".into()));
    let second = sandbox.img(&["run", "--rm", "--network", "phys:imgphys0", "busybox", "true"]);
    second.refuses(125, &["imgphys0", "is in container", &id[..12], "hint"]);

    kill(&sandbox.inspect("box")["State"]["Pid"]);
    assert_eq!(sandbox.ok(&["wait", "box"]), "137");
    assert!(on_host("imgphys0") && !held(&id), "after the program was killed");
}

#[test]
fn an_interface_comes_back_when_the_monitor_is_killed() {
    let sandbox = Sandbox::new();
    let Some(_wire) = Wire::new("imgphys1", "198.18.94.1/24") else { return println!("skip: no ip command here") };
    let words = ["run", "-d", "--name", "box", "--network", "phys:imgphys1:interface_name=lan0"];
    let id = sandbox.ok(&[&words[..], &["--network", "bridge", "busybox", "sleep", "300"]].concat());
    assert!(sandbox.ok(&["exec", "box", "ls", "/sys/class/net"]).contains("lan0"));
    let state = std::fs::read_to_string(sandbox.path(format!("run/containers/{id}/state.json"))).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["network"]["devices"][0]["host"], "imgphys1");
    kill(&state["monitor"]["pid"]);
    kill(&state["process"]["pid"]);
    assert!(held(&id) && !on_host("imgphys1"), "nobody has swept yet");
    sandbox.wait_until("the next command moves it back", || {
        sandbox.ok(&["ps", "-a"]);
        on_host("imgphys1")
    });
    assert!(!held(&id));
    sandbox.ok(&["start", "box"]);
    assert!(!on_host("imgphys1"));
    sandbox.ok(&["rm", "-f", "box"]);
    assert!(on_host("imgphys1"));
}

#[test]
fn what_cannot_be_lent() {
    let sandbox = Sandbox::new();
    let refused = |network: &str, words: &[&str]| {
        let out = sandbox.img(&["run", "--rm", "--network", network, "busybox", "true"]);
        out.refuses(125, words);
    };
    refused("phys:lo", &["lo", "loopback", "hint"]);
    refused("phys:imgnone0", &["imgnone0", "not there", "hint"]);
    refused("phys", &["interface is missing"]);
    sandbox.ok(&["network", "create", "-o", "bridge_name=imgphysb", "lab"]);
    refused("phys:imgphysb", &["imgphysb", "bridge"]);
    let Some(_wire) = Wire::new("imgphys2", "198.18.95.1/24") else { return println!("skip: no ip command here") };
    tools::run("ip", ["link", "set", "imgphys2", "master", "imgphysb"]);
    refused("phys:imgphys2", &["imgphys2", "port of imgphysb"]);
    tools::run("ip", ["link", "set", "imgphys2", "nomaster"]);
    let host = ["run", "--rm", "--network", "phys:imgphys2", "--network", "host", "busybox", "true"];
    sandbox.img(&host).refuses(125, &["host", "together"]);
    assert!(on_host("imgphys2"));
    sandbox.ok(&["network", "rm", "lab"]);
}

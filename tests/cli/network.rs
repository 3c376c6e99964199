//! `--network`: none, host, and a bridge with NAT, names and published ports. The far end of every connection is a
//! server that the test itself runs, on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::support::Sandbox;
use crate::support::leaks::{self, Picture};

/// A server on all addresses of this machine that answers each connection with a line and who asked.
fn server() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(50) {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip();
            // A client that is gone already is the client's test to fail.
            drop(writeln!(stream, "hello {peer}"));
        }
    });
    port
}

fn ask(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A container that answers on TCP port 80 with its host name, published as `publish`.
fn web(sandbox: &Sandbox, words: &[&str]) -> String {
    let mut all = vec!["run", "-d"];
    all.extend(words);
    all.extend(["busybox", "sh", "-c", "while :; do echo from the container | nc -l -p 80 >/dev/null; done"]);
    sandbox.ok(&all)
}

#[test]
fn none_has_loopback_and_nothing_else() {
    let sandbox = Sandbox::new();
    let out = sandbox.img(&[
        "run",
        "--rm",
        "--cap-add",
        "NET_RAW",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "ls /sys/class/net; ping -c 1 -W 1 127.0.0.1 >/dev/null && echo up; ip route | wc -l",
    ]);
    out.ok().prints_exactly("lo\nup\n0\n");
}

#[test]
fn host_is_the_hosts() {
    let sandbox = Sandbox::new();
    let out = sandbox.img(&["run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"]);
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(out.ok().word(), own.to_string_lossy());
    let port = server();
    let out =
        sandbox.img(&["run", "--rm", "--network", "host", "busybox", "nc", "-w", "2", "127.0.0.1", &port.to_string()]);
    out.ok().prints_exactly("hello 127.0.0.1\n");
    sandbox.img(&["run", "--rm", "--network", "nosuch", "busybox", "true"]).refuses(125, &["nosuch"]);
}

#[test]
fn the_bridge_is_the_default_and_reaches_the_host_and_the_other_container() {
    let sandbox = Sandbox::new();
    let port = server().to_string();
    let out = sandbox.img(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "ip -4 addr show eth0 | awk '/inet/ {print $2}'; ip route | awk '/default/ {print $3}'",
    ]);
    let text = out.ok().stdout();
    let (address, gateway) = text.trim().split_once('\n').unwrap();
    assert!(address.contains('/') && !gateway.is_empty(), "{out}");
    sandbox.img(&["run", "--rm", "busybox", "nc", "-w", "3", gateway, &port]).ok().prints(&["hello "]);

    let one = web(&sandbox, &["--name", "one"]);
    let ip = sandbox.ok(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", &one]);
    let fetch = [
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "for n in 1 2 3 4 5; do nc -w 2 $0 80 </dev/null && exit; sleep 0.3; done; exit 1",
        &ip,
    ];
    sandbox.img(&fetch).ok().prints(&["from the container"]);
    assert!(sandbox.inspect(&one)["NetworkSettings"]["MacAddress"].as_str().unwrap().len() == 17);
}

#[test]
fn names_resolve_through_the_host_and_between_containers() {
    let sandbox = Sandbox::new();
    let _one = web(&sandbox, &["--name", "one", "--hostname", "host-of-one"]);
    sandbox
        .img(&["run", "--rm", "--add-host", "db:10.1.2.3", "busybox", "sh", "-c", "grep db /etc/hosts"])
        .ok()
        .prints(&["10.1.2.3\tdb"]);
    sandbox.img(&["run", "--rm", "--add-host", "up:host-gateway", "busybox", "grep", "-w", "up", "/etc/hosts"]).ok();
    sandbox
        .img(&["run", "--rm", "--dns", "192.0.2.53", "busybox", "cat", "/etc/resolv.conf"])
        .ok()
        .prints(&["nameserver"]);
    sandbox.img(&["run", "--rm", "--add-host", "bad", "busybox", "true"]).refuses(125, &["bad"]);
    let own = sandbox.img(&[
        "run",
        "--rm",
        "--cap-add",
        "NET_RAW",
        "--hostname",
        "me",
        "busybox",
        "sh",
        "-c",
        "ping -c 1 -W 1 me >/dev/null && hostname",
    ]);
    own.ok().prints_exactly("me\n");
}

#[test]
fn published_ports_answer_on_every_address_that_was_asked_for() {
    let sandbox = Sandbox::new();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (all, local) = (free(), free());
    let id = web(&sandbox, &["-p", &format!("{all}:80"), "-p", &format!("127.0.0.1:{local}:80")]);
    for address in [format!("127.0.0.1:{all}"), format!("127.0.0.1:{local}")] {
        sandbox.wait_until(&address, || ask(&address).is_ok_and(|answer| answer == "from the container\n"));
    }
    let ports = sandbox.inspect(&id)["NetworkSettings"]["Ports"]["80/tcp"].clone();
    assert_eq!(ports.as_array().map(Vec::len), Some(2), "{ports}");
    assert!(sandbox.ok(&["ps", "--format", "{{.Ports}}"]).contains(&format!("127.0.0.1:{local}->80/tcp")));
    sandbox
        .img(&["run", "--rm", "-p", &format!("{all}:80"), "busybox", "true"])
        .refuses(125, &[&all.to_string(), "in use"]);
    sandbox.ok(&["rm", "-f", &id]);
    sandbox.wait_until("the port is closed", || ask(&format!("127.0.0.1:{all}")).is_err());
}

#[test]
fn a_port_of_the_kernels_choice_and_udp() {
    let sandbox = Sandbox::new();
    let id = web(&sandbox, &["-p", "80"]);
    let port = sandbox.ok(&["inspect", "-f", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", &id]);
    let address = format!("127.0.0.1:{port}");
    sandbox.wait_until("it answers", || ask(&address).is_ok());

    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The base image's busybox has no UDP server; every Debian image has perl.
    let server = "$s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp') or die $!; $s->recv($got, 99); \
                  open F, '>', '/got'; print F $got; close F; sleep 100";
    let words = ["run", "-d", "-p", &format!("{free}:53/udp"), "debian", "perl", "-MIO::Socket::INET", "-e", server];
    let id = sandbox.ok(&words);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    sandbox.wait_until("a datagram came in", || {
        // Nobody may be listening yet; the next turn sends again.
        drop(socket.send_to(b"datagram\n", ("127.0.0.1", free)));
        sandbox.img(&["exec", &id, "cat", "/got"]).stdout().contains("datagram")
    });
    for bad in ["80:nonsense", "99999:80", "1:2:3:4:5", "80:80/xyz"] {
        sandbox.img(&["run", "--rm", "-p", bad, "busybox", "true"]).refuses(125, &[bad]);
    }
}

#[test]
fn with_the_container_its_interface_and_rules_go() {
    let sandbox = Sandbox::alone();
    // The bridge and its table are made once and stay for the next container.
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    let before = Picture::now();
    let id = web(&sandbox, &["-p", "0:80"]);
    assert!(!Picture::now().beyond(&before, |_| false).is_empty(), "a running container shows");
    sandbox.ok(&["rm", "-f", &id]);
    sandbox.ok(&["ps"]);
    leaks::assert_nothing_left(&before, |_| false);
}

#[test]
fn two_containers_never_share_an_address() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let other = sandbox.sibling();
    other.pull("busybox");
    let words = ["run", "-d", "busybox", "sleep", "100"];
    let address = |s: &Sandbox, id: &str| s.ok(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", id]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        for store in [&sandbox, &other] {
            let id = store.ok(&words);
            assert!(seen.insert(address(store, &id)), "an address twice: {seen:?}");
        }
    }
}

//! User-defined networks: made, shown and removed; what reaches what on them, by IPv4 and IPv6; chosen addresses and
//! names of interfaces. Containers are asked from inside, by their own shells.

use std::collections::BTreeSet;

use crate::support::Sandbox;

/// A network of a name that no other test has.
fn network(sandbox: &Sandbox, words: &[&str]) {
    let mut all = vec!["network", "create"];
    all.extend(words);
    sandbox.ok(&all);
}

/// A container that answers on TCP port 80 with `hello`.
fn server(sandbox: &Sandbox, name: &str, words: &[&str]) {
    let mut all = vec!["run", "-d", "--name", name];
    all.extend(words);
    all.extend(["busybox", "sh", "-c", "while :; do echo hello | nc -l -p 80 >/dev/null; done"]);
    sandbox.ok(&all);
}

/// What a container of `words` gets from `address`, port 80; the server may just be starting.
fn fetch(sandbox: &Sandbox, words: &[&str], address: &str) -> String {
    let script = "for n in 1 2 3; do nc -w 1 $0 80 </dev/null && exit; sleep 0.2; done";
    let mut all = vec!["run", "--rm"];
    all.extend(words);
    all.extend(["busybox", "sh", "-c", script, address]);
    sandbox.img(&all).stdout().trim().to_owned()
}

fn field(sandbox: &Sandbox, container: &str, network: &str, key: &str) -> String {
    let value = &sandbox.inspect(container)["NetworkSettings"]["Networks"][network][key];
    value.as_str().unwrap_or_else(|| panic!("{container} on {network} has no {key}: {value}")).to_owned()
}

/// Whoever is put on a network holds it, and who removes it is alone with it: neither finds half of the other's work.
#[test]
fn removed_while_containers_are_put_on_it() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["run", "-d", "--name", "fix", "--network", "none", "busybox", "sleep", "1000"]);
    let mut bridges = Vec::new();
    for round in 0..8 {
        let id = sandbox.ok(&["network", "create", "lab"]);
        bridges.push(format!("/sys/class/net/img-{}", &id[..10]));
        let words: [&[&str]; 7] = [
            &["run", "--rm", "--network", "lab", "busybox", "true"],
            &["network", "connect", "lab", "fix"],
            &["network", "rm", "lab"],
            &["run", "--rm", "--network", "lab", "busybox", "true"],
            &["network", "rm", "lab"],
            &["network", "prune", "--force"],
            &["network", "ls"],
        ];
        for (words, mut one) in words.map(|words| (words, sandbox.spawn(words))) {
            let said = one.said();
            let code = one.wait();
            let lists = matches!(words[1], "prune" | "ls");
            let is_true =
                !lists && (said.contains("no such network: lab") || said.contains("lab is in use by container"));
            assert!(code == 0 || is_true, "round {round}: {words:?} ended with {code} and said {said}");
        }
        sandbox.img(&["network", "disconnect", "--force", "lab", "fix"]);
        sandbox.ok(&["network", "rm", "--force", "lab"]);
    }
    let left: Vec<_> = bridges.iter().filter(|bridge| std::path::Path::new(bridge).exists()).collect();
    assert!(left.is_empty(), "bridges are left behind: {left:?}");
}

#[test]
fn made_listed_shown_and_removed() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["network", "create", "--label", "team=a", "--internal", "lab"]);
    assert_eq!(id.len(), 64);
    network(&sandbox, &["other"]);
    let listed = sandbox.ok(&["network", "ls"]);
    for word in ["NETWORK ID", "lab", "bridge", "host", "null", "local", &id[..12]] {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    assert_eq!(sandbox.ok(&["network", "ls", "-q", "--filter", "label=team=a"]), id[..12]);
    assert_eq!(sandbox.ok(&["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"]), "lab\nother");
    sandbox.img(&["network", "ls", "--filter", "nope=1"]).refuses(125, &["nope"]);

    let shown = sandbox.img(&["network", "inspect", "lab"]).ok().json()[0].clone();
    assert_eq!(
        (&shown["Name"], &shown["Internal"], &shown["Labels"]["team"]),
        (&"lab".into(), &true.into(), &"a".into())
    );
    let subnet = shown["IPAM"]["Config"][0]["Subnet"].as_str().unwrap().to_owned();
    let other = sandbox.ok(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "other"]);
    assert!(subnet.ends_with("/24") && subnet != other, "{subnet} {other}");

    sandbox.img(&["network", "create", "lab"]).refuses(1, &["lab", "already"]);
    assert_eq!(sandbox.ok(&["network", "create", "--ignore", "lab"]), id);
    sandbox.img(&["network", "create", "--subnet", &subnet, "third"]).refuses(1, &["overlaps", "lab"]);
    sandbox.img(&["network", "create", "bridge"]).refuses(1, &["bridge"]);
    sandbox.img(&["network", "create", "-d", "overlay", "x"]).refuses(125, &["overlay"]);
    sandbox.img(&["network", "create", "--gateway", "10.1.1.1", "x"]).refuses(125, &["--subnet"]);
    sandbox.img(&["network", "create", "-o", "nope=1", "x"]).refuses(125, &["nope"]);
    assert_eq!(sandbox.img(&["network", "exists", "lab"]).code(), 0);
    assert_eq!(sandbox.img(&["network", "exists", "x"]).code(), 1);

    sandbox.ok(&["run", "-d", "--name", "user", "--network", "lab", "busybox", "sleep", "100"]);
    let shown = sandbox.img(&["network", "inspect", &id[..12]]).ok().json()[0].clone();
    let guests: Vec<_> = shown["Containers"].as_object().unwrap().values().map(|guest| guest["Name"].clone()).collect();
    assert_eq!(guests, ["user"]);
    sandbox.img(&["network", "rm", "lab"]).refuses(1, &["in use", "user"]);
    assert_eq!(sandbox.ok(&["network", "prune", "--force"]), "other");
    sandbox.ok(&["rm", "-f", "user"]);
    assert_eq!(sandbox.ok(&["network", "rm", "lab"]), "lab");
    sandbox.img(&["network", "rm", "lab"]).refuses(1, &["no such network"]);
    sandbox.ok(&["network", "rm", "--force", "lab"]);
    sandbox.img(&["network", "rm", "host"]).refuses(1, &["host"]);
    sandbox.img(&["run", "--rm", "--network", "lab", "busybox", "true"]).refuses(125, &["no such network"]);
}

#[test]
fn a_bridge_is_made_with_its_network_and_goes_with_it() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["network", "create", "lab"]);
    let bridge = format!("/sys/class/net/img-{}", &id[..10]);
    assert!(std::path::Path::new(&bridge).exists());
    sandbox.ok(&["network", "rm", "lab"]);
    assert!(!std::path::Path::new(&bridge).exists());
}

#[test]
fn one_network_is_reached_and_others_are_not() {
    let sandbox = Sandbox::new();
    network(&sandbox, &["one"]);
    network(&sandbox, &["two"]);
    server(&sandbox, "web", &["--network", "one"]);
    let address = field(&sandbox, "web", "one", "IPAddress");
    assert_eq!(fetch(&sandbox, &["--network", "one"], &address), "hello");
    assert_eq!(fetch(&sandbox, &["--network", "two"], &address), "");
    assert_eq!(fetch(&sandbox, &[], &address), "");
    // On both, it is reached by both.
    server(&sandbox, "both", &["--network", "one", "--network", "two"]);
    for name in ["one", "two"] {
        assert_eq!(fetch(&sandbox, &["--network", name], &field(&sandbox, "both", name, "IPAddress")), "hello");
    }
    let routes = sandbox.ok(&["exec", "both", "ip", "route"]);
    assert_eq!(routes.lines().filter(|line| line.starts_with("default")).count(), 1, "{routes}");
    assert!(sandbox.ok(&["ps", "--format", "{{.Names}} {{.Networks}}"]).contains("both one,two"));
}

#[test]
fn an_internal_network_has_no_way_out() {
    let sandbox = Sandbox::new();
    network(&sandbox, &["--internal", "inner"]);
    server(&sandbox, "web", &["--network", "inner"]);
    let routes = sandbox.ok(&["exec", "web", "ip", "route"]);
    assert!(!routes.contains("default"), "{routes}");
    assert_eq!(fetch(&sandbox, &["--network", "inner"], &field(&sandbox, "web", "inner", "IPAddress")), "hello");
    sandbox.img(&["run", "--rm", "--network", "inner", "-p", "80", "busybox", "true"]).refuses(125, &["internal"]);
}

#[test]
fn isolated_containers_do_not_reach_each_other() {
    let sandbox = Sandbox::new();
    network(&sandbox, &["-o", "com.docker.network.bridge.enable_icc=false", "apart"]);
    server(&sandbox, "web", &["--network", "apart"]);
    assert_eq!(fetch(&sandbox, &["--network", "apart"], &field(&sandbox, "web", "apart", "IPAddress")), "");
}

#[test]
fn ipv6_beside_ipv4() {
    let sandbox = Sandbox::new();
    network(&sandbox, &["--ipv6", "six"]);
    server(&sandbox, "web", &["--network", "six", "-p", "80"]);
    let address = field(&sandbox, "web", "six", "GlobalIPv6Address");
    assert!(address.starts_with("fd"), "{address}");
    assert_eq!(fetch(&sandbox, &["--network", "six"], &address), "hello");
    assert!(sandbox.ok(&["exec", "web", "ip", "-6", "route"]).contains("default"));
    network(&sandbox, &["--subnet", "fd12:3456::/64", "chosen"]);
    let words = ["run", "--rm", "--network", "chosen", "--ip6", "fd12:3456::99", "busybox", "ip", "-6", "addr"];
    sandbox.img(&words).ok().prints(&["fd12:3456::99/64"]);
    sandbox.img(&["run", "--rm", "--ip6", "fd12::9", "busybox", "true"]).refuses(125, &["IPv6"]);
    // The published port is one number for both families.
    let ports = sandbox.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"].clone();
    let numbers: BTreeSet<_> = ports.as_array().unwrap().iter().map(|port| port["HostPort"].to_string()).collect();
    assert_eq!((ports.as_array().unwrap().len(), numbers.len()), (2, 1), "{ports}");
}

#[test]
fn chosen_addresses_and_interfaces() {
    let sandbox = Sandbox::new();
    network(&sandbox, &["lab"]);
    let subnet = sandbox.ok(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "lab"]);
    let ip = subnet.replace(".0/24", ".77");
    let place = format!("lab:ip={ip},mac=ac:de:48:32:35:cf,interface_name=lan0,host_interface=imgtest77");
    sandbox.ok(&["run", "-d", "--name", "one", "--network", &place, "busybox", "sleep", "100"]);
    let shown = sandbox.ok(&["exec", "one", "ip", "addr", "show", "lan0"]);
    assert!(shown.contains(&ip) && shown.contains("ac:de:48:32:35:cf"), "{shown}");
    assert!(std::path::Path::new("/sys/class/net/imgtest77").exists());
    sandbox
        .img(&["run", "--rm", "--network", "lab", "--ip", &ip, "busybox", "true"])
        .refuses(125, &[&ip, "already used"]);
    sandbox.ok(&["rm", "-f", "one"]);
    sandbox.wait_until("the interface is gone", || !std::path::Path::new("/sys/class/net/imgtest77").exists());

    let words = ["run", "--rm", "--network", "name=lab", "--ip", &ip, "--mac-address", "02:00:00:00:00:09", "busybox"];
    let out = sandbox.img(&[&words[..], &["ip", "addr", "show", "eth0"]].concat());
    out.ok().prints(&[&ip, "02:00:00:00:00:09"]);
    sandbox
        .img(&["run", "--rm", "--network", "lab", "--ip", "10.255.0.9", "busybox", "true"])
        .refuses(125, &["10.255.0.9"]);
    sandbox.img(&["run", "--rm", "--network", "lab:nope=1", "busybox", "true"]).refuses(125, &["nope"]);
    sandbox.img(&["run", "--rm", "--network", "lab", "--network", "host", "busybox", "true"]).refuses(125, &["host"]);
    sandbox.img(&["run", "--rm", "--network", "none", "--ip", &ip, "busybox", "true"]).refuses(125, &["--ip"]);
    let down = sandbox.img(&["run", "--rm", "--network", "none:lo=down", "busybox", "ip", "link", "show", "lo"]);
    assert!(!down.ok().stdout().contains("UP"), "{down}");
}

#[test]
fn networks_made_at_one_time_never_share_a_subnet() {
    let sandbox = Sandbox::new();
    let other = sandbox.sibling();
    let mut running: Vec<_> = (0..4)
        .flat_map(|number| {
            [
                sandbox.spawn(&["network", "create", &format!("n{number}")]),
                other.spawn(&["network", "create", &format!("n{number}")]),
            ]
        })
        .collect();
    for one in &mut running {
        assert_eq!(one.wait(), 0, "{}", one.said());
    }
    let mut seen = BTreeSet::new();
    for store in [&sandbox, &other] {
        for number in 0..4 {
            let subnet =
                store.ok(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", &format!("n{number}")]);
            assert!(seen.insert(subnet.clone()), "{subnet} twice");
        }
    }
}

#[test]
fn a_creation_killed_at_any_moment_leaves_a_network_or_nothing() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "ls"]);
    for number in 0..12 {
        let name = format!("n{number}");
        let running = sandbox.spawn(&["network", "create", &name]);
        std::thread::sleep(std::time::Duration::from_micros(700 * number));
        // Dropped: killed.
        drop(running);
        if sandbox.img(&["network", "exists", &name]).code() == 0 {
            sandbox.img(&["run", "--rm", "--network", &name, "busybox", "true"]).ok();
        } else {
            sandbox.ok(&["network", "create", &name]);
        }
    }
    sandbox.ok(&["network", "prune", "--force"]);
    sandbox.ok(&["ps"]);
}

/// A pair of interfaces on this machine that is removed with the value: one end for containers, the other plays the wire.
pub(crate) struct Wire(&'static str);

impl Wire {
    pub(crate) fn new(name: &'static str, address: &str) -> Option<Self> {
        let ip =
            |words: &[&str]| std::process::Command::new("ip").args(words).status().is_ok_and(|status| status.success());
        let peer = format!("{name}w");
        let made = ip(&["link", "add", name, "type", "veth", "peer", "name", &peer]).then(|| Self(name))?;
        let up = ip(&["link", "set", name, "up"])
            && ip(&["link", "set", &peer, "up"])
            && ip(&["addr", "add", address, "dev", &peer]);
        up.then_some(made)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(std::process::Command::new("ip").args(["link", "del", self.0]).status());
    }
}

#[test]
fn macvlan_and_ipvlan_are_neighbours_on_a_wire() {
    let sandbox = Sandbox::new();
    let Some(_wire) = Wire::new("imgtest0", "198.18.77.1/24") else { return println!("skip: no ip command here") };
    let ip =
        |words: &[&str]| std::process::Command::new("ip").args(words).status().is_ok_and(|status| status.success());
    for driver in ["macvlan", "ipvlan"] {
        if !ip(&["link", "add", "imgtest1", "link", "imgtest0", "type", driver]) {
            println!("skip: this kernel has no {driver}");
            continue;
        }
        assert!(ip(&["link", "del", "imgtest1"]));
        network(&sandbox, &["-d", driver, "-o", "parent=imgtest0", "--subnet", "198.18.77.0/24", driver]);
        // Of this test alone: others make theirs meanwhile.
        let is_ours = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("imgtest");
        let interfaces = || std::fs::read_dir("/sys/class/net").unwrap().flatten().filter(is_ours).count();
        let place = format!("{driver}:ip=198.18.77.9");
        server(&sandbox, "web", &["--network", &place]);
        let kind = sandbox.ok(&["exec", "web", "sh", "-c", "cat /sys/class/net/eth0/type; ip route"]);
        assert!(kind.contains("default via 198.18.77.1"), "{kind}");
        // From the wire's other end, which is this machine.
        sandbox.wait_until("it answers", || {
            let address = "198.18.77.9:80".parse().unwrap();
            std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)).is_ok()
        });
        // A neighbour finds it by name, though no bridge is theirs.
        assert_eq!(fetch(&sandbox, &["--network", driver], "web"), "hello");
        sandbox
            .img(&["run", "--rm", "--network", driver, "-p", "80", "busybox", "true"])
            .refuses(125, &[driver, "publish"]);
        // Another network, live.
        sandbox.ok(&["network", "disconnect", driver, "web"]);
        assert!(!sandbox.ok(&["exec", "web", "ip", "link"]).contains("eth0"));
        sandbox.ok(&["network", "connect", driver, "web"]);
        assert!(sandbox.ok(&["exec", "web", "ip", "addr"]).contains("198.18.77."));
        sandbox.ok(&["rm", "-f", "web"]);
        let before = interfaces();
        sandbox.ok(&["network", "rm", driver]);
        assert_eq!(interfaces(), before, "nothing on the host was theirs");
    }
    sandbox.img(&["network", "create", "-d", "macvlan", "x"]).refuses(125, &["parent"]);
    sandbox.img(&["network", "create", "-d", "macvlan", "-o", "parent=nosuch0", "x"]).refuses(1, &["nosuch0"]);
    sandbox.img(&["network", "create", "-d", "ipvlan", "-o", "parent=lo", "-o", "mode=l9", "x"]).refuses(125, &["l9"]);
}

//! Beside other firewalls, and after they were flushed.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use runner::network::{self, Error, Protocol};

use crate::world::*;

/// Outgoing and published connections work.
fn works(house: &House, outside: &std::os::fd::OwnedFd, id: &str, host_port: u16) -> Guest {
    let guest = house.guest(id, |b| b.publish.push(port("0.0.0.0", host_port, 80, Protocol::Tcp)));
    serve(&guest.netns, "0.0.0.0:80", "web");
    assert!(guest.asks(OUTSIDE_IP, 80).unwrap().starts_with("outside "));
    assert_eq!(within(outside, || ask(HOST_IP, host_port)).unwrap(), format!("web {OUTSIDE_IP}"));
    guest
}

pub fn forward_policy_drop() {
    let (house, outside) = (House::new(), outside());
    serve(&outside, "0.0.0.0:80", "outside");
    run("iptables -N DOCKER-USER && iptables -A FORWARD -j DOCKER-USER && iptables -P FORWARD DROP");
    let before = run("iptables -S");
    let first = works(&house, &outside, "c1", 8080);
    assert!(
        first.state().notices.iter().any(|notice| notice.contains("ip filter FORWARD")),
        "{:?}",
        first.state().notices
    );
    let second = works(&house, &outside, "c2", 8081);
    assert!(second.state().notices.is_empty(), "{:?}", second.state().notices);
    // iptables still understands its chain, and our rules come last and once.
    let rules = run("iptables -S FORWARD");
    let tail: Vec<&str> = rules.lines().skip(2).collect();
    assert_eq!(tail.len(), 2, "{rules}");
    assert!(tail[0].contains("-i img0") && tail[1].contains("-o img0") && tail[1].ends_with("ACCEPT"), "{rules}");
    run("iptables -A FORWARD -s 203.0.113.9 -j DROP && iptables -D FORWARD -s 203.0.113.9 -j DROP");
    // The owner's rules keep their say.
    run("iptables -A DOCKER-USER -i img0 -d 192.0.2.2 -j DROP");
    assert!(first.asks(OUTSIDE_IP, 80).is_err());
    run("iptables -F DOCKER-USER");
    house.teardown(first);
    house.teardown(second);
    network::remove_bridge("img0", &house.site()).unwrap();
    assert_eq!(run("iptables -S"), before);
}

pub fn forward_final_reject() {
    let (house, outside) = (House::new(), outside());
    serve(&outside, "0.0.0.0:80", "outside");
    let chain = "type filter hook forward priority 10; ct state established accept; counter log reject;";
    let quiet = "type filter hook forward priority 20; policy accept; ip daddr 203.0.113.9 drop;";
    let file = house.dir.path().join("fw.nft");
    let ruleset = format!("table inet fw {{\n chain guard {{ {chain} }}\n chain calm {{ {quiet} }}\n}}\n");
    std::fs::write(&file, ruleset).unwrap();
    run(&format!("nft -f {}", file.display()));
    let before = run("nft list ruleset");
    let guest = works(&house, &outside, "c1", 8080);
    let rules = run("nft list chain inet fw guard");
    let at = |word: &str| rules.find(word).unwrap_or_else(|| panic!("{word}: {rules}"));
    assert!(at("established") < at("iifname \"img0\"") && at("oifname \"img0\"") < at("reject"), "{rules}");
    assert!(!run("nft list chain inet fw calm").contains("img0"));
    house.teardown(guest);
    network::remove_bridge("img0", &house.site()).unwrap();
    let counters = |text: String| text.lines().filter(|line| !line.contains("counter")).collect::<Vec<_>>().join("\n");
    assert_eq!(counters(run("nft list ruleset")), counters(before));
}

pub fn legacy_iptables() {
    let (house, outside) = (House::new(), outside());
    serve(&outside, "0.0.0.0:80", "outside");
    if !try_run("iptables-legacy -P FORWARD DROP").0 {
        eprintln!("SKIPPED legacy_iptables: this kernel has no iptables-legacy");
        return;
    }
    let error = house.try_guest("c1", |_| {}).err().unwrap();
    let (text, hint) = (words(&error), error.hint().unwrap());
    assert!(matches!(error, Error::ForwardBlocked { .. }), "{text}");
    assert!(text.contains("FORWARD") && text.contains("iptables-legacy") && text.contains("DROP"), "{text}");
    run("iptables-legacy -A FORWARD -i img0 -p tcp -j ACCEPT");
    assert!(house.try_guest("c1", |_| {}).is_err(), "a rule with conditions is not enough");
    // What the hint says is enough.
    for command in hint.split('`').filter(|part| part.starts_with("iptables-legacy")) {
        run(&command.replace("-j ACCEPT", "-m comment --comment ours -j ACCEPT"));
    }
    let guest = works(&house, &outside, "c1", 8080);
    house.teardown(guest);
    run("iptables-legacy -F FORWARD && iptables-legacy -P FORWARD ACCEPT");
    works(&house, &outside, "c2", 8081);
}

pub fn loopback_of_the_host_is_shut() {
    let house = House::new();
    // Publishing on loopback makes the bridge route 127.0.0.0/8.
    let guest = house.guest("c1", |b| b.publish.push(port("127.0.0.1", 8080, 80, Protocol::Tcp)));
    serve_on(TcpListener::bind("127.0.0.5:9000").unwrap(), "secret");
    let sneak = || {
        within(&guest.netns, || {
            run("ip link set lo down && echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet");
            run(&format!("ip route replace 127.0.0.5 via {}", guest.gateway()));
            ask(Ipv4Addr::new(127, 0, 0, 5), 9000)
        })
    };
    assert!(sneak().is_err());
    run("nft flush chain ip img raw");
    assert!(sneak().unwrap().starts_with("secret "));
    // A rule that is missing is found missing.
    network::reload(guest.state(), &house.site()).unwrap();
    assert!(sneak().is_err());
}

pub fn flushed_firewall_is_reloaded() {
    let (house, outside) = (House::new(), outside());
    serve(&outside, "0.0.0.0:80", "outside");
    let guest = works(&house, &outside, "c1", 8080);
    let normal = |text: String| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let before = normal(run("nft list ruleset"));
    run("nft flush ruleset");
    // Whoever comes next brings the table back, and the first container's ports with its own state.
    network::reload(guest.state(), &house.site()).unwrap();
    assert_eq!(normal(run("nft list ruleset")), before);
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(within(&outside, || ask(HOST_IP, 8080)).unwrap(), format!("web {OUTSIDE_IP}"));
    // The listing can be loaded back by nft.
    run(
        "nft list ruleset > /tmp/img-network-test.$$ && nft -f /tmp/img-network-test.$$; code=$?; rm /tmp/img-network-test.$$; exit $code",
    );
}

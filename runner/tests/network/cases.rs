//! What containers can reach, and from where they can be reached.

use std::net::{Ipv4Addr, TcpListener};

use runner::ProcessId;
use runner::network::{self, Config, Error, Join, Mode, PortMapping, Protocol};

use crate::world::*;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub fn none_has_loopback_only() {
    let (house, netns) = (House::new(), new_netns());
    let config = Config::new("c1", Mode::None);
    use std::os::fd::AsFd;
    assert!(network::setup(&config, &house.site(), None).is_err());
    let network = network::setup(&config, &house.site(), Some(netns.as_fd())).unwrap();
    assert_eq!((network.state.driver.as_str(), network.state.first()), ("none", None));
    let links = within(&netns, || run("ip -o link"));
    assert!(links.lines().count() == 1 && links.contains("LOOPBACK,UP"), "{links}");
    network::teardown(&network.state, &house.site()).unwrap();
}

pub fn host_and_join_make_nothing() {
    let house = House::new();
    let before = run("ip -o link; nft list ruleset");
    for mode in [
        Mode::Host,
        Mode::Join(Join::Process(ProcessId { pid: 1, start_time: 0 })),
        Mode::Join(Join::Path("/run/netns/x".into())),
    ] {
        let config = Config::new("c1", mode);
        let network = network::setup(&config, &house.site(), None).unwrap();
        network::teardown(&network.state, &house.site()).unwrap();
    }
    assert_eq!(run("ip -o link; nft list ruleset"), before);
    assert_eq!(
        Mode::Join(Join::Process(ProcessId { pid: 7, start_time: 0 })).namespace_path().unwrap().to_str(),
        Some("/proc/7/ns/net")
    );
}

pub fn containers_reach_each_other_and_the_world() {
    let (house, outside) = (House::new(), outside());
    assert_eq!(run("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");
    let one = house.guest("0123456789abcdef", |_| {});
    assert_eq!(run("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    assert!(one.state().notices[0].contains("ip_forward"), "{:?}", one.state().notices);
    let two = house.guest("fedcba9876543210", |_| {});
    assert!(two.state().notices.is_empty(), "{:?}", two.state().notices);
    let text = serde_json::to_string(one.state()).unwrap();
    assert_eq!(&serde_json::from_str::<network::State>(&text).unwrap(), one.state());

    serve(&one.netns, "0.0.0.0:80", "one");
    serve(&two.netns, "0.0.0.0:80", "two");
    serve(&outside, "0.0.0.0:80", "outside");
    serve_on(TcpListener::bind("0.0.0.0:81").unwrap(), "host");
    // Each other, with their own addresses; the host, both ways; the world, as the host.
    assert_eq!(one.asks(two.ip(), 80).unwrap(), format!("two {}", one.ip()));
    assert_eq!(two.asks(one.ip(), 80).unwrap(), format!("one {}", two.ip()));
    assert_eq!(one.asks(one.gateway(), 81).unwrap(), format!("host {}", one.ip()));
    assert_eq!(ask(one.ip(), 80).unwrap(), format!("one {}", one.gateway()));
    assert_eq!(one.asks(OUTSIDE_IP, 80).unwrap(), format!("outside {HOST_IP}"));

    // The world, even if it knows the way, does not reach what is not published.
    let subnet = one.state().first().unwrap().subnet;
    within(&outside, || run(&format!("ip route add {subnet} via {HOST_IP}")));
    assert!(within(&outside, || ask(one.ip(), 80)).is_err());
    let inside = within(&one.netns, || run("ip -o link; ip -o address; ip route; cat /proc/net/if_inet6"));
    assert!(inside.contains("eth0") && inside.contains("default via 10.76.0.1"), "{inside}");
    assert!(run("ip -o -6 address").lines().all(|line| !line.contains("img")), "no IPv6 addresses on our interfaces");
}

pub fn chosen_addresses_are_kept() {
    let house = House::new();
    let subnet = "10.200.7.0/24".parse().ok();
    let guest = house.guest("c1", |b| {
        b.name = "br-test".into();
        b.subnet = subnet;
        b.gateway = "10.200.7.254".parse().ok();
        b.ip = "10.200.7.9".parse().ok();
        b.mac = "02:11:22:33:44:55".parse().ok();
        b.mtu = Some(1400);
        b.interface = "net0".into();
    });
    assert_eq!((guest.ip(), guest.gateway()), ("10.200.7.9".parse().unwrap(), "10.200.7.254".parse().unwrap()));
    let inside = within(&guest.netns, || run("ip link show net0; ip -o address; ip route"));
    for word in ["02:11:22:33:44:55", "mtu 1400", "10.200.7.9/24", "default via 10.200.7.254"] {
        assert!(inside.contains(word), "{word}: {inside}");
    }
    let same = |b: &mut network::BridgeConfig| (b.name, b.ip) = ("br-test".into(), "10.200.7.9".parse().ok());
    assert!(matches!(house.try_guest("c2", same).err().unwrap(), Error::AddressInUse { owner, .. } if owner == "c1"));
    let other = |b: &mut network::BridgeConfig| (b.name, b.subnet) = ("br-test".into(), "10.3.0.0/24".parse().ok());
    assert!(matches!(house.try_guest("c2", other).err().unwrap(), Error::BridgeMismatch { .. }));
    let ranged = house.guest("c3", |b| (b.name, b.range) = ("br-test".into(), "10.200.7.128/30".parse().ok()));
    assert_eq!(ranged.ip().octets(), [10, 200, 7, 128]);
}

pub fn subnet_and_mtu_follow_the_host() {
    let (house, _outside) = (House::new(), outside());
    run("ip link set wan0 mtu 1390");
    run(&format!("ip route add 10.76.4.0/24 via {OUTSIDE_IP} && ip route add 10.77.0.0/17 via {OUTSIDE_IP}"));
    let guest = house.guest("c1", |_| {});
    let attachment = guest.state().first().cloned().unwrap();
    assert_eq!((attachment.subnet.to_string().as_str(), attachment.mtu), ("10.78.0.0/16", 1390));
    run("ip link add plain type veth peer name other");
    assert!(matches!(house.try_guest("c2", |b| b.name = "plain".into()).err().unwrap(), Error::BridgeMismatch { .. }));
}

pub fn internal_networks_have_no_way_out() {
    let (house, outside) = (House::new(), outside());
    serve(&outside, "0.0.0.0:80", "outside");
    let _other = house.guest("c0", |_| {});
    let make = |b: &mut network::BridgeConfig| (b.name, b.internal) = ("inner".into(), true);
    let (one, two) = (house.guest("c1", make), house.guest("c2", make));
    serve(&two.netns, "0.0.0.0:80", "two");
    assert_eq!(one.asks(two.ip(), 80).unwrap(), format!("two {}", one.ip()));
    assert!(one.asks(OUTSIDE_IP, 80).is_err());
    // Not even with a route of its own making.
    within(&one.netns, || run(&format!("ip route add default via {}", one.gateway())));
    assert!(one.asks(OUTSIDE_IP, 80).is_err());
    network::teardown(one.state(), &house.site()).unwrap();
    network::teardown(two.state(), &house.site()).unwrap();
    network::remove_bridge("inner", &house.site()).unwrap();
    assert!(!run("nft list ruleset").contains("inner"));
    assert!(run("nft list ruleset").contains("img0"));
}

pub fn bridges_are_apart() {
    let house = House::new();
    let one = house.guest("c1", |_| {});
    let two = house.guest("c2", |b| {
        b.name = "img1".into();
        b.publish.push(port("0.0.0.0", 8080, 80, Protocol::Tcp));
    });
    assert_ne!(one.gateway(), two.gateway());
    serve(&two.netns, "0.0.0.0:80", "two");
    assert!(one.asks(two.ip(), 80).is_err());
    // What is published is there for everyone.
    assert_eq!(one.asks(one.gateway(), 8080).map(|text| text.starts_with("two")).ok(), Some(true));
}

pub fn published_to_all() {
    let (house, outside) = (House::new(), outside());
    let web = house.guest("web", |b| {
        b.publish = vec![
            PortMapping::new(8080, 80, Protocol::Tcp),
            PortMapping::new(5353, 53, Protocol::Udp),
            PortMapping { range: 3, ..PortMapping::new(9000, 90, Protocol::Tcp) },
        ];
    });
    let other = house.guest("other", |_| {});
    serve(&web.netns, "0.0.0.0:80", "web");
    serve(&web.netns, "0.0.0.0:92", "last");
    serve_udp(&web.netns, "0.0.0.0:53", "dns");
    // The client's address is kept.
    assert_eq!(within(&outside, || ask(HOST_IP, 8080)).unwrap(), format!("web {OUTSIDE_IP}"));
    assert_eq!(within(&outside, || ask_udp(HOST_IP, 5353)).unwrap(), format!("dns {OUTSIDE_IP}"));
    assert_eq!(within(&outside, || ask(HOST_IP, 9002)).unwrap(), format!("last {OUTSIDE_IP}"));
    // From the host by each of its addresses, from a neighbour, and from the container itself.
    assert_eq!(ask(Ipv4Addr::LOCALHOST, 8080).unwrap(), format!("web {}", web.gateway()));
    assert!(ask(HOST_IP, 8080).unwrap().starts_with("web "));
    assert!(ask_udp(Ipv4Addr::LOCALHOST, 5353).unwrap().starts_with("dns "));
    assert!(other.asks(HOST_IP, 8080).unwrap().starts_with("web "));
    assert!(other.asks(other.gateway(), 8080).unwrap().starts_with("web "));
    assert!(web.asks(HOST_IP, 8080).unwrap().starts_with("web "));
    // A port that is the same number elsewhere is left alone.
    serve(&outside, "0.0.0.0:8080", "outside");
    assert_eq!(other.asks(OUTSIDE_IP, 8080).unwrap(), format!("outside {HOST_IP}"));
    house.teardown(web);
    assert!(within(&outside, || ask(HOST_IP, 8080)).is_err());
}

/// The same where frames inside a bridge are not shown to the firewall, as on a machine without br_netfilter.
pub fn published_to_all_past_the_bridge_firewall() {
    let switch = std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if switch.exists() {
        std::fs::write(switch, "0").unwrap();
    }
    published_to_all();
}

pub fn published_on_loopback() {
    let (house, outside) = (House::new(), outside());
    let web = house.guest("web", |b| b.publish = vec![port("127.0.0.1", 8080, 80, Protocol::Tcp)]);
    serve(&web.netns, "0.0.0.0:80", "web");
    assert!(ask(Ipv4Addr::LOCALHOST, 8080).unwrap().starts_with("web "));
    assert!(ask(HOST_IP, 8080).is_err());
    assert!(within(&outside, || ask(HOST_IP, 8080)).is_err());
    // A neighbour sends to 127.0.0.1 over the wire (its own loopback device is down, so the route is used).
    let sneak = || {
        within(&outside, || {
            run(&format!(
                "ip route replace 127.0.0.1 via {HOST_IP} && echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet"
            ));
            ask(Ipv4Addr::LOCALHOST, 8080)
        })
    };
    assert!(sneak().is_err());
    // Without the rule against it this would work: the test tests something.
    run(
        "nft delete rule ip img prerouting handle $(nft -a list chain ip img prerouting | sed -n 's/.*return.*handle //p')",
    );
    assert_eq!(sneak().unwrap(), format!("web {OUTSIDE_IP}"));
}

pub fn ports_are_claimed_once() {
    let house = House::new();
    run(&format!("ip link add x0 type veth peer name x1 && ip address add {HOST_IP}/24 dev x0 && ip link set x0 up"));
    let listener = TcpListener::bind((ANY, 8080)).unwrap();
    let publish = |id: &str, mappings: &[PortMapping]| house.try_guest(id, |b| b.publish = mappings.to_vec());
    let holder = |result: network::Result<Guest>| match result {
        Err(Error::PortInUse { holder, port, .. }) => format!("{holder} {port}"),
        Err(error) => panic!("{}", words(&error)),
        Ok(_) => "nobody".to_owned(),
    };
    let http = PortMapping::new(8080, 80, Protocol::Tcp);
    assert_eq!(holder(publish("a", std::slice::from_ref(&http))), "a program of this host 8080");
    assert_eq!(holder(publish("a", &[port("127.0.0.1", 8080, 80, Protocol::Tcp)])), "a program of this host 8080");
    drop(listener);
    let a = publish("a", std::slice::from_ref(&http)).unwrap();
    assert_eq!(holder(publish("b", std::slice::from_ref(&http))), "container a 8080");
    assert_eq!(holder(publish("b", &[port("127.0.0.1", 8080, 80, Protocol::Tcp)])), "container a 8080");
    assert_eq!(holder(publish("b", &[port("0.0.0.0", 8080, 80, Protocol::Udp)])), "nobody");
    // The held socket keeps the host's programs away; without it they may bind, and containers still may not.
    assert!(TcpListener::bind((ANY, 8080)).is_err());
    let state = a.state().clone();
    drop(a);
    drop(TcpListener::bind((ANY, 8080)).unwrap());
    assert_eq!(holder(publish("c", std::slice::from_ref(&http))), "container a 8080");
    network::teardown(&state, &house.site()).unwrap();

    let local = publish(
        "d",
        &[port("127.0.0.1", 8080, 80, Protocol::Tcp), port(&HOST_IP.to_string(), 8080, 80, Protocol::Tcp)],
    );
    let local = local.unwrap();
    assert_eq!(local.state().first().unwrap().ports.len(), 2);
    assert_eq!(holder(publish("e", std::slice::from_ref(&http))), "container d 8080");
    assert!(matches!(publish("e", &[port("203.0.113.9", 80, 80, Protocol::Tcp)]), Err(Error::Config(_))));
    let twice = [
        PortMapping { range: 5, ..PortMapping::new(7000, 80, Protocol::Tcp) },
        PortMapping::new(7004, 80, Protocol::Tcp),
    ];
    assert!(matches!(publish("e", &twice), Err(Error::Config(text)) if text.contains("twice")));

    // Free ports: three different ones, each claimed.
    let free = publish("f", &[PortMapping { range: 3, ..PortMapping::new(0, 80, Protocol::Tcp) }]).unwrap();
    let ports = free.state().first().cloned().unwrap().ports;
    let mut numbers: Vec<u16> = ports.iter().map(|port| port.host_port).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.len() == 3 && numbers[0] > 1024, "{ports:?}");
    assert_eq!(ports.iter().map(|port| port.container_port).collect::<Vec<_>>(), [80, 81, 82]);
    assert!(TcpListener::bind((ANY, numbers[0])).is_err());
}

pub fn many_ports() {
    let house = House::new();
    let range = PortMapping { range: 1000, ..PortMapping::new(20000, 20000, Protocol::Tcp) };
    let start = std::time::Instant::now();
    let guest = house.guest("many", |b| b.publish = vec![range]);
    println!("1000 published ports in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    serve(&guest.netns, "0.0.0.0:20999", "last");
    assert!(ask(Ipv4Addr::LOCALHOST, 20999).unwrap().starts_with("last "));
    let before = house.traces();
    assert!(before.contains("20500"));
    house.teardown(guest);
    assert!(!house.traces().contains("20500"));
}

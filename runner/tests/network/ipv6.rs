//! IPv6 on a bridge: out, in by published ports, and not between bridges; also where somebody's firewall drops what it
//! does not know.

use std::net::Ipv6Addr;

use runner::network::{BridgeConfig, PortMapping, Protocol, Subnet6};

use crate::world::*;

fn six(text: &str) -> impl FnOnce(&mut BridgeConfig) + use<> {
    let subnet: Subnet6 = text.parse().unwrap();
    move |bridge| bridge.subnet6 = Some(subnet)
}

fn address(guest: &Guest) -> Ipv6Addr {
    guest.state().first().unwrap().ipv6.unwrap().ip
}

pub fn reaches_and_is_reached() {
    let (house, outside) = (House::new(), outside());
    add_ipv6(&outside);
    serve(&outside, "[::]:7000", "outside");
    let web = house.guest("web", |bridge| {
        six("fd00:76::/64")(bridge);
        bridge.publish = vec![PortMapping::new(8080, 80, Protocol::Tcp)];
    });
    let other = house.guest("other", six("fd00:76::/64"));
    serve(&web.netns, "[::]:80", "web");
    assert_eq!(address(&web), "fd00:76::2".parse::<Ipv6Addr>().unwrap());
    // Out, behind the host's address; the outside knows no way to fd00:76::.
    assert_eq!(other.asks(OUTSIDE_IP6, 7000).unwrap(), format!("outside {HOST_IP6}"));
    // Each other, and the host.
    assert_eq!(other.asks(address(&web), 80).unwrap(), format!("web {}", address(&other)));
    assert!(ask(address(&web), 80).unwrap().starts_with("web "));
    // In by the published port, the client's address kept; both families have it.
    assert_eq!(within(&outside, || ask(HOST_IP6, 8080)).unwrap(), format!("web {OUTSIDE_IP6}"));
    assert!(within(&outside, || ask(HOST_IP, 8080)).unwrap().contains(&OUTSIDE_IP.to_string()));
    assert!(ask(HOST_IP6, 8080).unwrap().starts_with("web "));
    assert!(other.asks(HOST_IP6, 8080).unwrap().starts_with("web "));
    // What was not published is not reached, whoever knows the way.
    within(&outside, || run(&format!("ip -6 route add fd00:76::/64 via {HOST_IP6}")));
    assert!(within(&outside, || ask(address(&web), 80)).is_err());
    house.teardown(web);
    assert!(within(&outside, || ask(HOST_IP6, 8080)).is_err());
    house.teardown(other);
    assert!(!run(&format!("find {} -type l", house.dir.path().display())).contains("fd00"));
}

pub fn forward_policy_drop() {
    let (house, outside) = (House::new(), outside());
    add_ipv6(&outside);
    run(
        "nft add table ip6 theirs && nft \"add chain ip6 theirs forwarding { type filter hook forward priority 0; policy drop; }\"",
    );
    serve(&outside, "[::]:7000", "outside");
    let web = house.guest("web", |bridge| {
        six("fd00:76::/64")(bridge);
        bridge.publish = vec![PortMapping::new(8080, 80, Protocol::Tcp)];
    });
    serve(&web.netns, "[::]:80", "web");
    assert!(web.asks(OUTSIDE_IP6, 7000).is_ok());
    assert_eq!(within(&outside, || ask(HOST_IP6, 8080)).unwrap(), format!("web {OUTSIDE_IP6}"));
    assert!(web.network.state.notices.iter().any(|notice| notice.contains("ip6 theirs forwarding")));
}

pub fn bridges_are_apart() {
    let house = House::new();
    let one = house.guest("one", six("fd00:76::/64"));
    let two = house.guest("two", |bridge| {
        six("fd00:77::/64")(bridge);
        bridge.name = "img1".to_owned();
    });
    serve(&one.netns, "[::]:80", "one");
    assert!(two.asks(address(&one), 80).is_err());
    assert!(ask(address(&one), 80).is_ok());
}

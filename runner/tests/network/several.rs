//! A container on several networks: each place has its own interface and addresses, one has the default route, and each
//! is taken back by itself.

use std::os::fd::AsFd;

use runner::network::{self, BridgeConfig, Config, Endpoint, Mode, PortMapping, Protocol};

use crate::world::*;

fn place(number: u8) -> BridgeConfig {
    BridgeConfig {
        name: format!("img-lab{number}"),
        network: format!("lab{number}"),
        subnet: format!("10.79.{number}.0/24").parse().ok(),
        interface: format!("eth{number}"),
        default_route: number == 1,
        ..BridgeConfig::default()
    }
}

fn guest(house: &House, id: &str, places: Vec<BridgeConfig>) -> Guest {
    let netns = new_netns();
    let config = Config::new(id, Mode::Networks(places.into_iter().map(Endpoint::Bridge).collect()));
    let network =
        network::setup(&config, &house.site(), Some(netns.as_fd())).unwrap_or_else(|e| panic!("{}", words(&e)));
    Guest { netns, network }
}

pub fn places_come_and_go_by_themselves() {
    let house = House::new();
    let both =
        guest(&house, "both0000000000000", vec![place(0), place(1), BridgeConfig { internal: true, ..place(2) }]);
    let routes = within(&both.netns, || run("ip route"));
    assert!(routes.contains("default via 10.79.1.1 dev eth1") && routes.matches("default").count() == 1, "{routes}");
    for number in 0..3u8 {
        serve(&both.netns, &format!("10.79.{number}.2:80"), "both");
        let neighbour =
            guest(&house, &format!("next{number}"), vec![BridgeConfig { default_route: false, ..place(number) }]);
        let ip = std::net::Ipv4Addr::new(10, 79, number, 2);
        assert!(neighbour.asks(ip, 80).unwrap().starts_with("both "));
        house.teardown(neighbour);
    }
    house.teardown(both);
    assert!(!house.traces().contains("img-lab0/10"), "{}", house.traces());
    let again = guest(&house, "both0000000000000", vec![place(0), place(1)]);
    house.teardown(again);
    for number in 0..3 {
        network::remove_bridge(&format!("img-lab{number}"), &house.site()).unwrap();
    }
    assert!(!run("nft list ruleset").contains("img"), "the last bridge takes the tables along");

    // One that fails takes the ones before it along.
    let netns = new_netns();
    let bad = BridgeConfig { ip: "10.79.1.9".parse().ok(), ..place(1) };
    let taken = guest(&house, "taken", vec![bad.clone()]);
    let config = Config::new("fails", Mode::Networks(vec![Endpoint::Bridge(place(0)), Endpoint::Bridge(bad)]));
    assert!(network::setup(&config, &house.site(), Some(netns.as_fd())).is_err());
    assert!(!house.traces().contains("fails"), "{}", house.traces());
    house.teardown(taken);
}

pub fn forward_policy_drop() {
    let (house, outside) = (House::new(), outside());
    run(
        "iptables -P FORWARD DROP || nft \"add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }\"",
    );
    serve(&outside, "0.0.0.0:7000", "outside");
    let publish = vec![PortMapping::new(8080, 80, Protocol::Tcp)];
    let web = guest(&house, "web", vec![BridgeConfig { publish, ..place(1) }]);
    serve(&web.netns, "0.0.0.0:80", "web");
    assert_eq!(web.asks(OUTSIDE_IP, 7000).unwrap(), format!("outside {HOST_IP}"));
    assert_eq!(within(&outside, || ask(HOST_IP, 8080)).unwrap(), format!("web {OUTSIDE_IP}"));
    assert!(ask(HOST_IP, 8080).unwrap().starts_with("web "));
    assert!(ask(std::net::Ipv4Addr::LOCALHOST, 8080).unwrap().starts_with("web "));
}

//! Nothing leaks: after removal, after failure, after SIGKILL, and with many processes at once.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runner::network::{self, BridgeConfig, Config, Error, Mode, PortMapping, Protocol, Site};

use crate::world::*;

pub fn teardown_leaves_nothing() {
    let house = House::new();
    let virgin = run("ip -o link; nft list ruleset; ip route");
    let first = house.guest("first", |_| {});
    let quiet = house.traces();
    let publish = vec![PortMapping::new(8080, 80, Protocol::Tcp), port("127.0.0.1", 81, 80, Protocol::Udp)];
    let second = house.guest("second", |b| b.publish = publish);
    assert_ne!(house.traces(), quiet);
    let state = second.state().clone();
    network::teardown(&state, &house.site()).unwrap();
    assert_eq!(house.traces(), quiet);
    network::teardown(&state, &house.site()).unwrap();
    drop(second);
    network::teardown(&state, &house.site()).unwrap();
    assert!(matches!(network::remove_bridge("img0", &house.site()), Err(Error::BridgeMismatch { .. })));
    house.teardown(first);
    network::remove_bridge("img0", &house.site()).unwrap();
    network::remove_bridge("img0", &house.site()).unwrap();
    assert_eq!(run("ip -o link; nft list ruleset; ip route"), virgin);
    assert_eq!(run(&format!("find {}/leases -mindepth 1", house.dir.path().display())), "");
}

pub fn release_is_quick_and_enough() {
    let house = House::new();
    let _first = house.guest("first", |_| {});
    let quiet = house.traces();
    let second = house.guest("second", |b| b.publish.push(PortMapping::new(8080, 80, Protocol::Tcp)));
    let state = second.state().clone();
    // The pair goes with the namespace, in the kernel's own time.
    drop(second);
    network::release(&state, &house.site()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while house.traces() != quiet {
        assert!(Instant::now() < deadline, "{}", house.traces());
    }
}

pub fn failed_setup_leaves_nothing() {
    let house = House::new();
    let _first = house.guest("first", |b| b.publish.push(PortMapping::new(8080, 80, Protocol::Tcp)));
    let before = house.traces();
    let ports = vec![PortMapping::new(8000, 80, Protocol::Tcp), PortMapping::new(8080, 80, Protocol::Tcp)];
    assert!(house.try_guest("second", |b| b.publish = ports).is_err());
    assert_eq!(house.traces(), before);
    // An interface of that name is in the container's namespace already.
    let netns = new_netns();
    within(&netns, || run("ip link add eth0 type bridge"));
    let config = Config::new("second", Mode::bridge(BridgeConfig::default()));
    let error = network::setup(&config, &house.site(), Some(netns.as_fd())).err().unwrap();
    assert_eq!(error.errno(), Some(libc::EEXIST), "{}", words(&error));
    assert_eq!(house.traces(), before);
}

pub fn restart_at_once() {
    let house = House::new();
    for _ in 0..10 {
        // The namespace is closed with no teardown, and the pair goes some time later.
        let guest = house.guest("same", |b| b.publish.push(PortMapping::new(8080, 80, Protocol::Tcp)));
        drop(guest);
    }
    let guest = house.guest("same", |b| b.publish.push(PortMapping::new(8080, 80, Protocol::Tcp)));
    serve(&guest.netns, "0.0.0.0:80", "web");
    assert!(ask(std::net::Ipv4Addr::LOCALHOST, 8080).unwrap().starts_with("web "));
    assert_eq!(house.traces().matches("8080").count(), 1, "{}", house.traces());
}

/// A helper process in the host's namespace: sets up `count` containers, holds them, and says their addresses.
pub fn worker(arguments: &[String]) {
    let [dir, name, count] = arguments else { panic!("{arguments:?}") };
    let site = Site { state_dir: Path::new(dir), is_alive: &|_| true };
    let mut held = Vec::new();
    for number in 0..count.parse().unwrap() {
        let bridge = BridgeConfig { publish: vec![PortMapping::new(0, 80, Protocol::Tcp)], ..BridgeConfig::default() };
        let config = Config::new(&format!("{name}x{number}"), Mode::bridge(bridge));
        let netns = new_netns();
        let network =
            network::setup(&config, &site, Some(netns.as_fd())).unwrap_or_else(|error| panic!("{}", words(&error)));
        let attachment = network.state.first().cloned().unwrap();
        println!("{} {}", attachment.ip, attachment.ports[0].host_port);
        held.push((netns, network));
    }
    println!("done");
    std::thread::sleep(Duration::from_secs(60));
}

fn start(house: &House, name: &str, count: usize) -> std::process::Child {
    let dir = house.dir.path().to_str().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--worker", dir, name, &count.to_string()]).stdout(Stdio::piped()).spawn().unwrap()
}

pub fn eight_processes_at_once() {
    let house = House::new();
    let start_time = Instant::now();
    let mut workers: Vec<_> = (0..8).map(|number| start(&house, &format!("w{number}"), 13)).collect();
    let (mut addresses, mut ports, mut lines) = (BTreeSet::new(), BTreeSet::new(), 0);
    for worker in &mut workers {
        for line in BufReader::new(worker.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if line == "done" {
                break;
            }
            let (address, port) = line.split_once(' ').unwrap();
            addresses.insert(address.to_owned());
            ports.insert(port.to_owned());
            lines += 1;
        }
    }
    println!("104 containers by 8 processes in {} ms", start_time.elapsed().as_millis());
    for worker in &mut workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    assert_eq!((lines, addresses.len(), ports.len()), (104, 104, 104));
    let dead = Site { is_alive: &|_| false, ..house.site() };
    let swept = network::sweep(&dead).unwrap();
    assert_eq!((swept.ports, swept.addresses), (104, 104));
    assert_empty(&house);
}

/// Whether no container left anything, waiting for the kernel to remove what it removes by itself.
fn assert_empty(house: &House) {
    let traces = house.traces();
    let (leases, rest) = traces.split_once('|').unwrap();
    let links: Vec<&str> = rest.split('|').next().unwrap().split_whitespace().collect();
    assert_eq!((leases, links), ("", vec!["img0"]));
    assert!(!run("nft list map ip img any_ports").contains("elements"));
    assert!(!run("nft list map ip img ports").contains("elements"));
}

pub fn killed_anywhere_is_swept() {
    let house = House::new();
    let _keeper = house.guest("keeper", |_| {});
    for round in 0..40 {
        let mut worker = start(&house, &format!("r{round}"), 50);
        std::thread::sleep(Duration::from_micros(1000 + round * 777));
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let site = Site { is_alive: &|id| id == "keeper", ..house.site() };
    let swept = network::sweep(&site).unwrap();
    println!("after 40 kills: {swept:?}");
    let traces = house.traces();
    assert!(traces.contains("img0") && traces.contains("imgkeeper"), "{traces}");
    let (leases, rest) = traces.split_once('|').unwrap();
    assert_eq!(
        (leases.lines().count(), rest.contains("imgr"), rest.contains("comment \"r")),
        (1, false, false),
        "{traces}"
    );
    assert_eq!(network::sweep(&site).unwrap(), network::Swept::default());
    // One whose namespace is still held, so that its interfaces do not go by themselves.
    let held = house.guest("held", |b| b.publish.push(PortMapping::new(0, 80, Protocol::Tcp)));
    assert_eq!(network::sweep(&site).unwrap(), network::Swept { interfaces: 1, ports: 1, addresses: 1, holders: 0 });
    assert!(!within(&held.netns, || run("ip -o link")).contains("eth0"));
    // What is left works.
    house.guest("after", |b| b.publish.push(PortMapping::new(0, 80, Protocol::Tcp)));
}

pub fn no_privilege_is_explained() {
    let house = House::new();
    let netns = new_netns();
    nix::unistd::setresgid(nix::unistd::Gid::from_raw(1), 1.into(), 1.into()).unwrap();
    run(&format!("chown -R 1 {}", house.dir.path().display()));
    nix::unistd::setresuid(nix::unistd::Uid::from_raw(1), 1.into(), 1.into()).unwrap();
    let config = Config::new("c", Mode::bridge(BridgeConfig::default()));
    let error = network::setup(&config, &house.site(), Some(netns.as_fd())).err().unwrap();
    assert!(words(&error).starts_with("cannot create the bridge img0: Operation not permitted"), "{}", words(&error));
    assert!(error.hint().unwrap().contains("CAP_NET_ADMIN"));
    nix::unistd::setresuid(1.into(), 1.into(), 1.into()).unwrap();
}

/// Medians of set-up alone; the bound is far off, for a busy machine.
pub fn setup_time() {
    let house = House::new();
    let _first = house.guest("first", |_| {});
    let publish = PortMapping::new(0, 80, Protocol::Tcp);
    let bridge = BridgeConfig::default();
    let modes = [
        ("none", Mode::None),
        ("bridge", Mode::bridge(bridge.clone())),
        ("bridge and a port", Mode::bridge(BridgeConfig { publish: vec![publish], ..bridge })),
    ];
    for (name, mode) in modes {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for number in 0..50 {
            let netns = new_netns();
            let config = Config::new(&format!("c{number}"), mode.clone());
            let begin = Instant::now();
            let network = network::setup(&config, &house.site(), Some(netns.as_fd())).unwrap();
            up.push(begin.elapsed());
            let begin = Instant::now();
            network::teardown(&network.state, &house.site()).unwrap();
            down.push(begin.elapsed());
        }
        for (what, times) in [("setup", &mut up), ("teardown", &mut down)] {
            times.sort();
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            println!("{name}: {what} min {:.2} ms, median {:.2} ms", ms(times[0]), ms(times[25]));
            assert!(times[25] < Duration::from_millis(250), "{name}: {what}");
        }
    }
}

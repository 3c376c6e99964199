//! Containers with networks. The last tests of all: this process moves into a network namespace of its own, which then plays the
//! host, so that the machine's network is never touched.

use std::process::Command;

use runner::network::{BridgeConfig, Config, Mode};
use runner::{Foreground, run_foreground};
use serde_json::json;

use crate::fixture::*;

pub const TESTS: &[(&str, fn())] = &[("networks_come_and_go", networks_come_and_go)];

fn networks_come_and_go() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let lab = Lab::new();
    let run = |mode: Mode, script: &str| {
        let mut container = lab.container(script, json!({}));
        container.network = Some(Config::new(&container.id, mode));
        let mut network = None;
        let options = Foreground { stdin: false, forward_signals: false };
        let (exit, text) = captured(|| {
            run_foreground(&container, options, &mut |happening| {
                if let runner::Happening::Started(state) = happening {
                    network = state.network.clone();
                }
            })
            .unwrap()
        });
        assert_eq!(exit.code, Some(0), "{text}");
        (text, network.unwrap())
    };
    let (text, _) = run(Mode::None, "ip -o addr");
    assert!(text.contains("127.0.0.1/8") && !text.contains("eth0"), "{text}");
    let (text, state) = run(
        Mode::bridge(BridgeConfig::default()),
        "ip -o addr; ip route; nc -w 1 $(ip route | awk '/default/ {print $3}') 9 || echo refused",
    );
    let place = state.first().cloned().unwrap();
    assert!(
        text.contains(&format!("inet {}/", place.ip)) && text.contains(&format!("default via {}", place.gateway)),
        "{text}"
    );
    assert!(text.contains("refused"), "the host answers: {text}");
    // Nobody waits for the kernel, which removes the interfaces with the namespace, some milliseconds later.
    let links = || String::from_utf8(Command::new("ip").args(["-o", "link"]).output().unwrap().stdout).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while links().contains(&place.host_interface) {
        assert!(std::time::Instant::now() < deadline, "{}", links());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

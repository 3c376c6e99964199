//! Container networks on a real kernel: each case runs in a process of its own, whose fresh network namespace plays the
//! host. Needs root. `cargo test -p runner --test network -- WORD` runs the cases whose name has WORD in it.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::exit, missing_docs)]

mod cases;
mod crash;
mod firewall;
mod ipv6;
mod several;
mod world;

use std::env;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Name and body of each case.
const CASES: &[(&str, fn())] = &[
    ("none_has_loopback_only", cases::none_has_loopback_only),
    ("host_and_join_make_nothing", cases::host_and_join_make_nothing),
    ("containers_reach_each_other_and_the_world", cases::containers_reach_each_other_and_the_world),
    ("chosen_addresses_are_kept", cases::chosen_addresses_are_kept),
    ("subnet_and_mtu_follow_the_host", cases::subnet_and_mtu_follow_the_host),
    ("internal_networks_have_no_way_out", cases::internal_networks_have_no_way_out),
    ("bridges_are_apart", cases::bridges_are_apart),
    ("ipv6_reaches_and_is_reached", ipv6::reaches_and_is_reached),
    ("ipv6_forward_policy_drop", ipv6::forward_policy_drop),
    ("ipv6_bridges_are_apart", ipv6::bridges_are_apart),
    ("several_networks", several::places_come_and_go_by_themselves),
    ("user_network_behind_forward_drop", several::forward_policy_drop),
    ("published_to_all", cases::published_to_all),
    ("published_to_all_past_the_bridge_firewall", cases::published_to_all_past_the_bridge_firewall),
    ("published_on_loopback", cases::published_on_loopback),
    ("ports_are_claimed_once", cases::ports_are_claimed_once),
    ("many_ports", cases::many_ports),
    ("forward_policy_drop", firewall::forward_policy_drop),
    ("forward_final_reject", firewall::forward_final_reject),
    ("legacy_iptables", firewall::legacy_iptables),
    ("loopback_of_the_host_is_shut", firewall::loopback_of_the_host_is_shut),
    ("flushed_firewall_is_reloaded", firewall::flushed_firewall_is_reloaded),
    ("teardown_leaves_nothing", crash::teardown_leaves_nothing),
    ("release_is_quick_and_enough", crash::release_is_quick_and_enough),
    ("failed_setup_leaves_nothing", crash::failed_setup_leaves_nothing),
    ("restart_at_once", crash::restart_at_once),
    ("eight_processes_at_once", crash::eight_processes_at_once),
    ("killed_anywhere_is_swept", crash::killed_anywhere_is_swept),
    ("no_privilege_is_explained", crash::no_privilege_is_explained),
    ("setup_time", crash::setup_time),
];

const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--case") => {
            let (_, case) = CASES.iter().find(|(name, _)| *name == arguments[1]).unwrap();
            world::become_host();
            case();
            return ExitCode::SUCCESS;
        }
        Some("--worker") => {
            crash::worker(&arguments[1..]);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: all network cases need root");
        return ExitCode::SUCCESS;
    }
    // `-Z unstable-options` is the harness's own, value and all.
    let value_of = |at: usize| at > 0 && matches!(arguments[at - 1].as_str(), "-Z" | "--test-threads" | "--skip");
    let named = |at: usize| !arguments[at].starts_with('-') && !value_of(at);
    let words: Vec<&String> = (0..arguments.len()).filter(|at| named(*at)).map(|at| &arguments[at]).collect();
    let mut passed = 0;
    let mut failed = Vec::new();
    for (name, _) in CASES.iter().filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(*word)))
    {
        let start = Instant::now();
        let ok = passes(name);
        println!("test {name} ... {} <{:.3}s>", if ok { "ok" } else { "FAILED" }, start.elapsed().as_secs_f64());
        passed += usize::from(ok);
        if !ok {
            failed.push(*name);
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {} failed; 0 ignored", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case in its own process, which is ended when it takes too long.
fn passes(name: &str) -> bool {
    let mut child =
        Command::new(env::current_exe().unwrap()).args(["--case", name]).stdin(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        if Instant::now() > deadline {
            eprintln!("{name} took longer than {LIMIT:?}");
            child.kill().unwrap();
            child.wait().unwrap();
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

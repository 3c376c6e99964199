//! The street's view: the `img` binary run as a user would run it, one file for each command or promise. What Docker's
//! command line prints and returns is what is asked of `img` where both have the command. Needs root.

// Assertions and skip lines of helpers are a test's output; clippy's exception for tests stops at `#[test]` functions.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod blame;
mod budgets;
mod build;
mod build_bad_input;
mod build_cache;
mod build_check;
mod build_exchange;
mod build_flags;
mod build_git;
mod build_given;
mod build_inputs;
mod build_keep;
mod build_output;
mod build_peer;
mod build_real;
mod build_ssh;
mod build_steps;
mod commit;
mod connect;
mod cp_diff;
mod denied;
mod diagnosis;
mod events;
mod examples;
mod exec;
mod explain;
mod firewall;
mod fixture;
mod folding;
mod guests;
mod health;
mod history;
mod images;
mod import_export;
mod interop;
mod leaks;
mod lifecycle;
mod limits;
mod logs;
mod machine;
mod mounts;
mod names;
mod network;
mod networks;
mod oci_runtime;
mod ps_inspect;
mod pull;
mod push;
mod restart;
mod run;
mod run_flags;
mod save_load;
mod security;
mod security_docker;
mod security_everywhere;
mod security_race;
mod security_words;
mod start_path;
mod system;
mod system_container;
mod timing;
mod top_stats;
mod transfer;
mod tripwire;
mod update;
mod userns;
mod verbs;
mod volume;

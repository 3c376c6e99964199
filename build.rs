//! Has the linker lay the functions out in the order in which a start calls them (docs/decisions/0009-link-order.md).
//!
//! A release has no symbols but where `IMG_SYMBOLS` is set, for the script that writes the list: the setting of cargo's profile for that
//! would give all functions other names. The order is kept only where rustc's own linker is known to be lld, which alone takes such a
//! list. Names that are no longer there do no harm.

use std::env;

fn main() {
    wrapped_calls();
    let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo names the directory");
    let list = format!("{directory}/link-order.txt");
    println!("cargo::rerun-if-changed={list}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=IMG_SYMBOLS");
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release && env::var_os("IMG_SYMBOLS").is_none() {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let chosen = ["linker=", "fuse-ld", "linker-features=-lld"].iter().any(|word| flags.contains(word));
    let is_lld = env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu") && !chosen;
    if is_lld && release {
        println!("cargo::rustc-link-arg-bin=img=-Wl,--symbol-ordering-file={list},--no-warn-symbol-ordering");
    }
}

/// With the feature `faults`: calls of the C library go through the wrappers of `runner/src/faults/sys.rs`, whose names are
/// read from there. Never in a release.
fn wrapped_calls() {
    if env::var_os("CARGO_FEATURE_FAULTS").is_none() {
        return;
    }
    assert!(
        env::var("PROFILE").is_ok_and(|profile| profile != "release"),
        "the feature `faults` is for tests, not for a release"
    );
    let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo names the directory");
    let file = format!("{directory}/runner/src/faults/sys.rs");
    println!("cargo::rerun-if-changed={file}");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    for name in text.lines().filter_map(|line| line.trim().strip_prefix("__wrap_")?.split(' ').next()) {
        // What only has weak references is not taken from the archive without being asked for.
        println!("cargo::rustc-link-arg-bin=img=-Wl,--wrap={name},--undefined={name}");
    }
}

//! Has the linker lay the functions out in the order in which a start calls them (docs/decisions/0009-link-order.md).
//!
//! Only where rustc's own linker is known to be lld, which alone takes such a list. Names that are no longer there do no harm.

use std::env;

fn main() {
    let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo names the directory");
    let list = format!("{directory}/link-order.txt");
    println!("cargo::rerun-if-changed={list}");
    println!("cargo::rerun-if-changed=build.rs");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let chosen = ["linker=", "fuse-ld", "linker-features=-lld"].iter().any(|word| flags.contains(word));
    let is_lld = env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu") && !chosen;
    if is_lld && env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bin=img=-Wl,--symbol-ordering-file={list},--no-warn-symbol-ordering");
    }
}

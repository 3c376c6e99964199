//! Commands that are killed, or whose system calls fail, at each call they make: afterwards the store is whole, the same
//! command succeeds, and nothing is left behind. `docs/testing-faults.md` says how; `scripts/sweep` runs every point, CI a
//! sample by a seed. Needs root, and `target/faults/img` by `scripts/faults-binary`.

// Assertions and skip lines of helpers are a test's output; clippy's exception for tests stops at `#[test]` functions.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

// What other test programs use of it, this one need not.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code)]
#[path = "../support/random.rs"]
mod random;

mod point;
mod scenes;
mod sweep;

//! `img-runtime` as engines call it: bundles on disk, commands, what they print and how they end; and the same bundles
//! with runc, which must come to the same. As root; without that, or without runc, the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod differential;
mod fixture;
mod hooks;
mod lifecycle;
mod process;
mod spaces;

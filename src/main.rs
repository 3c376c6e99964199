//! `img`: builds, pulls, stores and runs container images on Linux, with nothing resident.

mod commands;
mod config;
mod engine;
mod error;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main(std::env::args_os().collect())
}

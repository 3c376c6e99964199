//! `img-runtime`: the runner behind the command line of an OCI runtime, as podman, containerd and CRI-O call it.
//!
//! Arguments in, one call into [`runner::oci`], an exit code out. Nothing is decided here but how things are said: what
//! a command prints, where errors go (`--log`), and which exit code they mean. It takes no library for arguments, as it is started
//! several times for each container.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod commands;
mod help_table;
mod log;
mod tasks;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = match std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect() {
        Ok(words) => words,
        Err(word) => {
            eprintln!("img-runtime: the argument {} is not UTF-8", word.display());
            return ExitCode::from(1);
        }
    };
    let (log, result) = commands::run(words);
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            log.error(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

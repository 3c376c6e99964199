//! `-a`: which of a program's standard streams are connected. What is not named is dropped, as with docker.

use std::io;
use std::os::fd::OwnedFd;

use clap::Args;
use rustix::fs::{Mode, OFlags};

use crate::error::{CommandError, Context as _, Result};

/// The streams.
#[derive(Args)]
pub struct AttachFlags {
    /// Connect only this stream of the program: stdin, stdout, stderr
    #[arg(long, short, value_name = "STREAM", ignore_case = true, value_parser = ["stdin", "stdout", "stderr"],
          hide_possible_values = true)]
    attach: Vec<String>,
}

/// Our own streams while those of the program are dropped; given back when this is dropped.
pub struct Dropped {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl AttachFlags {
    /// Whether anything was said.
    pub fn given(&self) -> bool {
        !self.attach.is_empty()
    }

    /// Whether standard input is among them.
    pub fn stdin(&self) -> bool {
        self.has("stdin")
    }

    fn has(&self, stream: &str) -> bool {
        self.attach.iter().any(|given| given.eq_ignore_ascii_case(stream))
    }

    /// Lets go of our own outputs that the program is not to write to.
    ///
    /// # Errors
    /// /dev/null that cannot be opened.
    pub fn drop_others(&self) -> Result<Dropped> {
        let mut dropped = Dropped { stdout: None, stderr: None };
        if !self.given() || (self.has("stdout") && self.has("stderr")) {
            return Ok(dropped);
        }
        let keep = |stream: std::os::fd::BorrowedFd<'_>| {
            rustix::io::fcntl_dupfd_cloexec(stream, 3).map_err(io::Error::from).context("cannot keep an output")
        };
        let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .context("cannot open /dev/null")?;
        if !self.has("stdout") {
            dropped.stdout = Some(keep(rustix::stdio::stdout())?);
            rustix::stdio::dup2_stdout(&null).map_err(io::Error::from).context("cannot drop the output")?;
        }
        if !self.has("stderr") {
            dropped.stderr = Some(keep(rustix::stdio::stderr())?);
            rustix::stdio::dup2_stderr(&null).map_err(io::Error::from).context("cannot drop the errors")?;
        }
        Ok(dropped)
    }

    /// Refuses what contradicts `-d`.
    ///
    /// # Errors
    /// Both were given.
    pub fn check(&self, detach: bool) -> Result<()> {
        match detach && self.given() {
            true => Err(CommandError::usage("-a and -d exclude each other").hint("-d connects nothing")),
            false => Ok(()),
        }
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        // What cannot be given back is lost: there is nowhere to say so.
        if let Some(stdout) = &self.stdout {
            let _ = rustix::stdio::dup2_stdout(stdout);
        }
        if let Some(stderr) = &self.stderr {
            let _ = rustix::stdio::dup2_stderr(stderr);
        }
    }
}

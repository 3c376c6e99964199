//! The flags by which a program gets descriptors of the caller beside its three streams, as podman has them: `N` from
//! number 3 on, or a list. Only a program in the foreground can have them: a monitor holds nothing of who started it.

use clap::Args;

use crate::error::{CommandError, Result};

/// close-on-exec, as fdinfo(5) shows it.
const CLOEXEC: u32 = 0o2_000_000;

/// Descriptors that are passed on.
#[derive(Args)]
pub struct PreserveFlags {
    /// Pass on so many descriptors from 3 on
    #[arg(long, value_name = "NUMBER")]
    preserve_fds: Option<u16>,
    /// Pass on these descriptors, under the same numbers
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    preserve_fd: Vec<u16>,
}

impl PreserveFlags {
    /// The descriptors. `foreground` says that nothing stands between us and the program.
    ///
    /// # Errors
    /// One that the caller did not open for us, one of the three streams, or a program behind a monitor.
    pub fn descriptors(&self, foreground: bool) -> Result<Vec<i32>> {
        let counted = 3..3 + i32::from(self.preserve_fds.unwrap_or(0));
        let mut all: Vec<i32> = counted.chain(self.preserve_fd.iter().map(|fd| i32::from(*fd))).collect();
        all.sort_unstable();
        all.dedup();
        if !(all.is_empty() || foreground) {
            return Err(CommandError::usage("descriptors are passed on only to a program in the foreground")
                .hint("leave -d and -t out, and -i of run"));
        }
        for fd in &all {
            if *fd < 3 {
                return Err(CommandError::usage(format!(
                    "--preserve-fd {fd}: standard input and outputs are not chosen"
                ))
                .hint("descriptors are passed on from 3 on"));
            }
            if !inherited(*fd)? {
                return Err(CommandError::usage(format!("descriptor {fd} is to be passed on and is not open"))
                    .hint(format!("a shell opens it with {fd}<FILE or {fd}>FILE")));
            }
        }
        Ok(all)
    }

    /// Whether anything was said.
    pub fn given(&self) -> bool {
        self.preserve_fds.is_some() || !self.preserve_fd.is_empty()
    }
}

/// Whether the caller gave us this descriptor: all that we open ourselves are close-on-exec.
fn inherited(fd: i32) -> Result<bool> {
    let path = format!("/proc/self/fdinfo/{fd}");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(CommandError::new(format!("cannot read {path}: {error}"))),
    };
    let flags = text.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    let flags = flags.ok_or_else(|| CommandError::new(format!("{path} does not tell the flags")))?;
    Ok(flags & CLOEXEC == 0)
}

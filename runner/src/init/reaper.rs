//! The built-in init (`--init`): PID 1 that forwards signals to the program and reaps orphans.
//!
//! It is the child itself, after the whole sandbox was put on it, waiting for the process it has forked. It holds no descriptor
//! of the host, has no terminal, is not dumpable, and ends as the program ended. See "Sealing" in `docs/runner-dialogue.md`.

use std::os::fd::AsFd;

use crate::sys::{self, Ended};

/// Signals that are the init's own business.
const NOT_FORWARDED: [i32; 7] =
    [libc::SIGCHLD, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGTTIN, libc::SIGTTOU];

/// All signals that can be held back, but for the C library's own.
pub fn signals() -> Vec<i32> {
    (1..=64).filter(|signal| !matches!(*signal, 32 | 33 | libc::SIGKILL | libc::SIGSTOP)).collect()
}

/// Looks after `program` until it ends; leaves with its exit code, or 128 and the number of the signal that ended it. The
/// caller has held back all [`signals`] since before it started the program.
pub fn run(program: i32) -> ! {
    // Without a subreaper's role, orphans in a shared pid namespace would go elsewhere; in an own one this changes nothing.
    if sys::set_subreaper().is_err() {
        sys::exit(125);
    }
    // Nothing of the host or of the program's input and output stays open here: the readers must see the end of it.
    if sys::close_range(0, u32::MAX).is_err() {
        sys::exit(125);
    }
    let Ok(signal_fd) = sys::signal_fd(&signals()) else { sys::exit(125) };
    loop {
        let mut entry =
            [libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&signal_fd), events: libc::POLLIN, revents: 0 }];
        if sys::poll(&mut entry, None).is_err() {
            sys::exit(125);
        }
        while let Ok(Some(signal)) = sys::read_signal(signal_fd.as_fd()) {
            if !NOT_FORWARDED.contains(&signal) {
                // It may just have ended; then there is nobody to tell.
                let _ = sys::kill(program, signal);
            }
        }
        while let Ok(Some((pid, ended))) = sys::reap_any(false) {
            if pid == program {
                sys::exit(match ended {
                    Ended::Exited(code) => code,
                    Ended::Signalled(signal) => 128 + signal,
                });
            }
        }
    }
}

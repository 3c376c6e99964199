//! ptrace(2) as the witness needs it: seize, resume, ask what a stop is about.

#![allow(unsafe_code)]

use std::io;

const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_EXITKILL;

/// What a system call stop is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A call begins: the architecture (`AUDIT_ARCH_*`), its number, its arguments.
    Entry(u32, u64, [u64; 6]),
    /// It ends with this value, negative for an error.
    Exit(i64),
    /// Neither.
    Other,
}

/// How a stopped process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Until something else happens, with this signal.
    Continue(i32),
    /// The same, but it stops at system calls.
    ToCall(i32),
    /// It stays stopped, as a signal asked.
    Listen,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// PTRACE_SEIZE: the process runs on, and its children will be seized too. It is killed should this process end.
pub fn seize(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers only; the address is unused and the options are a number.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0usize, OPTIONS as usize) }).map(drop)
}

/// Lets a stopped process go on.
pub fn resume(pid: i32, how: Resume) -> io::Result<()> {
    let (request, signal) = match how {
        Resume::Continue(signal) => (libc::PTRACE_CONT, signal),
        Resume::ToCall(signal) => (libc::PTRACE_SYSCALL, signal),
        Resume::Listen => (libc::PTRACE_LISTEN, 0),
    };
    // SAFETY: takes numbers only; the signal is passed by value.
    check(unsafe { libc::ptrace(request, pid, 0usize, signal as usize) }).map(drop)
}

/// PTRACE_GET_SYSCALL_INFO.
pub fn call(pid: i32) -> io::Result<Call> {
    const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
    const SIZE: usize = 88;
    let mut info = [0u8; SIZE];
    // SAFETY: the kernel writes at most SIZE bytes into the buffer.
    check(unsafe { libc::ptrace(GET_SYSCALL_INFO, pid, SIZE, info.as_mut_ptr()) })?;
    let word = |at: usize| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| info[at + byte]));
    let architecture = u32::from_ne_bytes([info[4], info[5], info[6], info[7]]);
    Ok(match info[0] {
        1 => Call::Entry(architecture, word(24), [0, 1, 2, 3, 4, 5].map(|index| word(32 + 8 * index))),
        2 => Call::Exit(word(24) as i64),
        _ => Call::Other,
    })
}

/// Waits for any child or traced process: its pid and wait status. `ECHILD` when there are none.
pub fn wait_any() -> io::Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    let pid = check(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) }.into())?;
    Ok((pid as i32, status))
}

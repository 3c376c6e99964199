//! A terminal that comes back even if this process crashes: what it was like is kept where a signal handler may read it.
//!
//! The handler calls nothing but tcsetattr(3), sigaction(2) and raise(3), all of them async-signal-safe, and then lets the signal
//! do what it would have done without us. The rule: what the handler reads is never freed.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The signals of a crash.
const CRASHES: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGABRT];

struct Saved {
    fd: RawFd,
    modes: libc::termios,
}

/// The terminal to put back, if there is one.
static SAVED: AtomicPtr<Saved> = AtomicPtr::new(null_mut());

/// What each of [`CRASHES`] did before.
static BEFORE: [AtomicPtr<libc::sigaction>; CRASHES.len()] = [const { AtomicPtr::new(null_mut()) }; CRASHES.len()];

/// Keeps how the terminal is now, for [`put_back`] and for a crash, until [`forget`]. The descriptor must stay open until then.
pub fn keep(fd: BorrowedFd<'_>) -> io::Result<()> {
    static HANDLERS: Once = Once::new();
    // SAFETY: an all-zero termios is a valid value; the kernel fills it in.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: writes one termios to where one is.
    if unsafe { libc::tcgetattr(fd.as_raw_fd(), &raw mut modes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Never freed: a handler may be reading an older one. There is one for each attachment.
    SAVED.store(Box::into_raw(Box::new(Saved { fd: fd.as_raw_fd(), modes })), Ordering::Release);
    let mut result = Ok(());
    HANDLERS.call_once(|| result = install());
    result
}

/// No terminal is to be put back any more.
pub fn forget() {
    SAVED.store(null_mut(), Ordering::Release);
}

/// Puts the terminal back as it was kept; nothing without one.
pub fn put_back() {
    // SAFETY: null or a box that is never freed; tcsetattr only reads it. A descriptor that is no terminal is refused.
    unsafe {
        if let Some(saved) = SAVED.load(Ordering::Acquire).as_ref() {
            libc::tcsetattr(saved.fd, libc::TCSANOW, &raw const saved.modes);
        }
    }
}

fn install() -> io::Result<()> {
    for (signal, before) in CRASHES.into_iter().zip(&BEFORE) {
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = crashed;
        // SAFETY: zeroed sigactions are valid values; the handler has the form that SA_SIGINFO says, and is async-signal-safe.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            // On the other stack, if there is one: this one may be what ran out.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // Blocked, so that a process in the background may set the terminal too.
            libc::sigaddset(&raw mut action.sa_mask, libc::SIGTTOU);
            if libc::sigaction(signal, std::ptr::null(), &raw mut old) != 0 {
                return Err(io::Error::last_os_error());
            }
            before.store(Box::into_raw(Box::new(old)), Ordering::Release);
            if libc::sigaction(signal, &raw const action, null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

extern "C" fn crashed(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    put_back();
    let before =
        CRASHES.iter().position(|&crash| crash == signal).map_or(null_mut(), |at| BEFORE[at].load(Ordering::Acquire));
    // SAFETY: the kernel gives a valid siginfo; `before` is null or a box that is never freed; only safe functions are called.
    unsafe {
        if (*info).si_code > 0 && !before.is_null() {
            // A fault of the program itself: it happens again on return, and meets whoever was here first.
            libc::sigaction(signal, before, null_mut());
        } else {
            // Sent by somebody; what was here first might wait for a second fault that does not come. Ends us on return.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}

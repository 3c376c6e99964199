//! A terminal in raw mode, which is put back whichever way this process goes on or ends.
//!
//! [`RawTerminal`] puts it back when it is dropped. A panic drops nothing where it aborts, and its message is to be readable: so a hook
//! puts the terminal back before. For faults and abort(3) there are signal handlers. What is left is SIGKILL.

mod sys;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Once;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::{Doing, Result};

static PANICS: Once = Once::new();

/// Puts the terminal back before a panic is told.
fn put_back_at_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        sys::put_back();
        before(panic);
    }));
}

/// A terminal in raw mode; dropping it puts the old mode back.
#[derive(Debug)]
pub(crate) struct RawTerminal {
    fd: OwnedFd,
    before: Termios,
}

impl RawTerminal {
    /// Makes a terminal raw: every key goes through, nothing is echoed or translated.
    pub fn new(fd: BorrowedFd<'_>) -> Result<Self> {
        let doing = || "make the terminal raw".to_owned();
        let fd = fd.try_clone_to_owned().doing(doing)?;
        let before = tcgetattr(&fd).doing(doing)?;
        PANICS.call_once(put_back_at_panics);
        sys::keep(fd.as_fd()).doing(doing)?;
        let terminal = Self { fd, before };
        terminal.make_raw()?;
        Ok(terminal)
    }

    /// Makes it raw, once more if it was changed meanwhile.
    pub fn make_raw(&self) -> Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(&self.fd, OptionalActions::Drain, &raw).doing(|| "make the terminal raw".into())
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nobody to tell if the terminal is gone.
        let _ = tcsetattr(&self.fd, OptionalActions::Drain, &self.before);
        sys::forget();
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    #[test]
    fn a_panic_finds_the_terminal_as_it_was() {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let cooked = || tcgetattr(&theirs).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO);
        let terminal = RawTerminal::new(theirs.as_fd()).unwrap();
        assert!(!cooked());
        std::panic::catch_unwind(|| panic!("as wanted")).unwrap_err();
        assert!(cooked(), "the terminal object still lives");
        terminal.make_raw().unwrap();
        drop(terminal);
        assert!(cooked());
        sys::put_back();
    }
}

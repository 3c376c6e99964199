//! The terminal of a container: its master goes to whoever asked for it, by a socket, or stays with a caller that waits.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use oci_spec::runtime::Process;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::attach::{AttachOptions, Outcome, attach};
use crate::broker;
use crate::error::{Doing, Error, Result};
use crate::monitor::peer::Peer;
use crate::monitor::relay::{ProgramIo, Relay};
use crate::sys::{self, Ended};

/// The connection to the socket that was asked for, if one was: a terminal needs one unless its caller stays, and nothing
/// else may have one.
pub(super) fn asked(socket: Option<&Path>, terminal: bool, foreground: bool) -> Result<Option<UnixStream>> {
    match (socket, terminal) {
        (Some(socket), true) => connect(socket).map(Some),
        (None, true) if !foreground => {
            Err(Error::invalid("cannot allocate tty if img-runtime will detach without setting console socket"))
        }
        (Some(_), false) => Err(Error::invalid("cannot use console socket if img-runtime will not allocate tty")),
        (None, _) => Ok(None),
    }
}

/// Connects to the socket that is to get the master, before anything is made: a wrong path is found early.
fn connect(socket: &Path) -> Result<UnixStream> {
    UnixStream::connect(socket).doing(|| format!("connect to the console socket {}", socket.display()))
}

/// Sends the master. The text that goes with it is the terminal's name in the container, as conmon and shims expect one.
pub(super) fn send(socket: &UnixStream, master: &OwnedFd) -> Result<()> {
    let fds = [master.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(b"/dev/pts/0")], &mut control, SendFlags::NOSIGNAL)
        .doing(|| "send the terminal to the console socket".into())?;
    Ok(())
}

/// Gives the terminal the size that the configuration asks for.
pub(super) fn resize(master: &OwnedFd, process: &Process) -> Result<()> {
    let Some(size) = process.console_size() else { return Ok(()) };
    let number = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let (ws_row, ws_col) = (number(size.height()), number(size.width()));
    let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).doing(|| "set the size of the terminal".into())
}

/// Connects a program's terminal with that of this process until it ends, and returns how. A second process looks after
/// our terminal; this one is the program's parent. The caller must be single-threaded.
pub(super) fn foreground_terminal(master: OwnedFd, pidfd: &OwnedFd, signals: OwnedFd) -> Result<Ended> {
    let (client, server) = UnixStream::pair().doing(|| "make a socket pair".into())?;
    let watcher = broker::spawn(&[client.as_raw_fd()], || {
        // The socket is ours alone in this process; that of the parent is closed.
        let options = AttachOptions { stdin: true, forward_signals: false, ..AttachOptions::default() };
        i32::from(!matches!(attach(client, options), Ok(Outcome::Exited(_))))
    })?;
    let program = ProgramIo { console: Some(master), ..ProgramIo::default() };
    let mut relay = Relay::new(program, None, libc::SIGTERM);
    relay.signals = Some(signals);
    relay.add_peer(Peer::socket(server, true).doing(|| "set up the connection".into())?);
    let ended = relay.run(pidfd, &mut |_| ())?.0;
    relay.finish(code(ended))?;
    match sys::wait(watcher.as_fd()).doing(|| "wait for the terminal's other side".into())? {
        Ended::Exited(0) => Ok(ended),
        _ => Err(Error::invalid("the connection with the terminal was lost")),
    }
}

/// 128 and the number of a signal, or the exit code.
pub(super) fn code(ended: Ended) -> i32 {
    match ended {
        Ended::Exited(code) => code,
        Ended::Signalled(signal) => 128 + signal,
    }
}

//! What parent and child tell each other while a container is made.
//!
//! The contract, with its drawing, is in `docs/runner-dialogue.md`. A [`Channel`] is one end of a `SOCK_SEQPACKET` pair, closed on
//! exec: one message a packet, at most one descriptor with it. End of file in the parent means that the program runs.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::inroot::Stub;

/// The longest message.
const MAX_MESSAGE: usize = 16 * 1024;

/// Why the child could not become the container's process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// The name of the step of the plan.
    pub step: String,
    /// What the caller makes an exit code of.
    pub kind: FailureKind,
    /// The whole message: what was being done, to what, and the kernel's answer.
    pub text: String,
    /// The kernel's answer as a number, where there was one.
    pub errno: Option<i32>,
    /// What can be done about it, a sentence each.
    #[serde(default)]
    pub hints: Vec<String>,
}

/// The kinds of failure that shells and Docker tell apart, and one that is none for who only wants the container to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FailureKind {
    /// The program does not exist: 127.
    NotFound,
    /// The program cannot be executed: 126.
    NotExecutable,
    /// It runs already, by another monitor: 125.
    Running,
    /// Anything else: 125.
    Other,
}

impl Failure {
    /// 127, 126 or 125.
    pub fn exit_code(&self) -> i32 {
        match self.kind {
            FailureKind::NotFound => 127,
            FailureKind::NotExecutable => 126,
            FailureKind::Running | FailureKind::Other => 125,
        }
    }

    /// A failure of `step` from an error, with all its causes.
    pub fn new(step: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut errno = None;
        let mut cause = Some(error);
        let mut kind = FailureKind::Other;
        let mut hints = Vec::new();
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                errno = io.raw_os_error();
            }
            match error.downcast_ref() {
                Some(crate::Error::Start(failure)) => {
                    kind = failure.kind;
                    errno = failure.errno;
                    hints.clone_from(&failure.hints);
                }
                Some(crate::Error::Running(_)) => kind = FailureKind::Running,
                _ => {}
            }
            cause = error.source();
            if let Some(error) = cause {
                text = format!("{text}: {error}");
            }
        }
        Self { step: step.into(), kind, text, errno, hints }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// One message.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum Message {
    /// Child to parent: here is the master of my terminal (a descriptor comes along).
    Console,
    /// Child to parent: here is the master of a further terminal (a descriptor comes along).
    Terminal,
    /// Child to parent: these mount points were missing in the root and were made.
    Stubs(Vec<Stub>),
    /// Parent to child: your ids are mapped, and this is your number outside.
    Born(i32),
    /// Child to parent: everything is mounted, the root not yet changed.
    Mounted,
    /// Parent to child: the hooks were run, or the network is complete: go on.
    Go,
    /// Child to parent: it did not work; the last message.
    Failed(Failure),
}

/// One end of the dialogue.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    /// Both ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self { socket: a }, Self { socket: b }))
    }

    /// Sends a message, with a descriptor if given. A text too long for a packet is cut.
    pub fn send(&self, message: &Message, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(message)?;
        if let (Message::Failed(failure), true) = (message, bytes.len() > MAX_MESSAGE) {
            let text = failure.text.chars().take(2000).collect();
            let hints = Vec::new();
            bytes = serde_json::to_vec(&Message::Failed(Failure { text, hints, ..failure.clone() }))?;
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message; `None` at the end of the dialogue.
    pub fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = [0u8; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                // The kernel tells once that the other end left without reading all we sent, and before it gives out
                // what that end had to say: its last message is still to come.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                result => break result?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, fd)))
    }

    /// Whether the other end is gone.
    pub fn is_closed(&self) -> bool {
        use std::os::fd::AsRawFd;
        let mut entry = [libc::pollfd { fd: self.socket.as_raw_fd(), events: 0, revents: 0 }];
        crate::sys::poll(&mut entry, Some(std::time::Duration::ZERO)).is_ok() && entry[0].revents & libc::POLLHUP != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive() {
        let (a, b) = Channel::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        a.send(&Message::Console, Some(file.as_fd())).unwrap();
        a.send(&Message::Go, None).unwrap();
        assert!(matches!(b.receive().unwrap(), Some((Message::Console, Some(_)))));
        assert!(matches!(b.receive().unwrap(), Some((Message::Go, None))));
        assert!(!b.is_closed());
        drop(a);
        assert!(b.is_closed());
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn the_last_words_of_an_end_that_did_not_listen_arrive() {
        let (a, b) = Channel::pair().unwrap();
        let failure =
            Failure { step: "x".into(), kind: FailureKind::Other, text: "no".into(), errno: None, hints: vec![] };
        a.send(&Message::Failed(failure), None).unwrap();
        b.send(&Message::Go, None).unwrap();
        drop(a);
        assert!(matches!(b.receive().unwrap(), Some((Message::Failed(failure), _)) if failure.text == "no"));
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn a_failure_carries_its_causes_and_is_cut_to_a_packet() {
        let error = crate::Error::io("mount x", io::Error::from_raw_os_error(libc::EPERM));
        let failure = Failure::new("mount", &error);
        assert_eq!((failure.errno, failure.exit_code()), (Some(libc::EPERM), 125));
        assert!(failure.text.starts_with("cannot mount x: "), "{}", failure.text);
        let (a, b) = Channel::pair().unwrap();
        let long = Failure { text: "x".repeat(100_000), ..failure };
        a.send(&Message::Failed(long), None).unwrap();
        let Some((Message::Failed(failure), _)) = b.receive().unwrap() else { panic!("a failure") };
        assert_eq!(failure.text.len(), 2000);
    }
}

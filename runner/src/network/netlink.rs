//! Netlink: messages made byte by byte, sent over a socket of one namespace, and answers read back (netlink(7), kernel
//! `include/uapi/linux/netlink.h`). It owns the sockets and the pairing of answers with requests; what the messages mean
//! is known by `route` and `nft`. Each request carries the words of its step, so that a refusal can say what failed.
//! Every wait has an end, and no length from the kernel is trusted.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::error::{Error, KernelError, Result};
use super::sys;

/// Longest wait for one answer; the kernel answers at once unless another process holds its locks.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Room for one datagram of answers; the kernel never makes a dump's parts larger.
const RECEIVE_BUFFER: usize = 64 << 10;
/// How often a dump is begun again because tables changed under it.
const DUMP_ATTEMPTS: usize = 8;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
/// Ask for an answer even when all is well.
pub(super) const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
/// Only make new things.
pub(super) const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
/// Make it if it is not there.
pub(super) const NLM_F_CREATE: u16 = 0x400;
/// Put it behind what is there.
pub(super) const NLM_F_APPEND: u16 = 0x800;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Writes the body of one message.
pub(super) struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    /// Bytes as they are, padded to four.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }

    /// An attribute with these bytes.
    pub(super) fn attr(&mut self, kind: u16, bytes: &[u8]) -> &mut Self {
        let length = u16::try_from(bytes.len() + 4).expect("attributes are names, addresses and short texts");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.raw(bytes)
    }

    /// An attribute with a text and its closing zero.
    pub(super) fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// An attribute with a number in the machine's byte order (rtnetlink).
    pub(super) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// An attribute with a number in network byte order (nfnetlink).
    pub(super) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// An attribute that holds attributes.
    pub(super) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer<'_>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        body(&mut Writer(self.0));
        let length = u16::try_from(self.0.len() - start).expect("a nest holds one link, rule or element");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0[start + 2..start + 4].copy_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        self
    }
}

/// Requests to be sent together, each with the words of its step.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    steps: Vec<String>,
    /// Where the last request begins.
    last: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a request; `step` is a verb phrase that completes "cannot …".
    pub(super) fn add(&mut self, step: impl Into<String>, kind: u16, flags: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        // The number counts from 1 within the batch; the socket adds its own base when it sends.
        let number = u32::try_from(self.steps.len() + 1).expect("a batch has a few thousand requests at most");
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        body(&mut Writer(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).expect("messages are shorter than 64 KiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.steps.push(step.into());
        self.last = start;
    }

    /// Makes the request added last ask for an answer.
    pub(super) fn acknowledge_last(&mut self) {
        if let Some(flags) = self.bytes.get(self.last + 6..self.last + 8).and_then(|b| read_u16(b, 0)) {
            self.bytes[self.last + 6..self.last + 8].copy_from_slice(&(flags | NLM_F_ACK).to_ne_bytes());
        }
    }

    /// How many requests there are.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    fn renumber(&mut self, base: u32) {
        let mut at = 0;
        while at < self.bytes.len() {
            let length = read_u32(&self.bytes, at).expect("we wrote this header") as usize;
            let number = read_u32(&self.bytes, at + 8).expect("we wrote this header");
            self.bytes[at + 8..at + 12].copy_from_slice(&number.wrapping_add(base).to_ne_bytes());
            at += length;
        }
    }
}

/// One answer of the kernel.
pub(super) struct Reply<'a> {
    kind: u16,
    flags: u16,
    number: u32,
    /// What follows the netlink header.
    pub(super) body: &'a [u8],
}

/// A refused request of a batch.
pub(super) struct Refusal {
    /// Its place in the batch, from 0.
    pub(super) index: usize,
    /// The error, with the words of its step.
    pub(super) error: Error,
}

/// A netlink socket. It works on the namespace it was opened in, wherever its user goes later.
pub(super) struct Socket {
    fd: OwnedFd,
    last: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for interfaces, addresses and routes (rtnetlink(7)).
    pub(super) fn route() -> Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// A socket for the firewall (nfnetlink).
    pub(super) fn netfilter() -> Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .map_err(Error::system("open a netlink socket"))?;
        let timeout = TimeVal::seconds(i64::try_from(TIMEOUT.as_secs()).expect("seconds"));
        setsockopt(&fd, sockopt::ReceiveTimeout, &timeout)
            .and_then(|()| setsockopt(&fd, sockopt::SendTimeout, &timeout))
            .and_then(|()| setsockopt(&fd, sockopt::SndBuf, &(208 << 10)))
            .map_err(Error::system("set the limits of a netlink socket"))?;
        // Without extended answers the error numbers still say what failed.
        let _ = sys::enable_extended_answers(&fd);
        Ok(Self { fd, last: 0, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Sends requests that the kernel does one after the other, each answered. Requests after a refused one are done all
    /// the same; the refused ones are returned.
    pub(super) fn each(&mut self, mut batch: Batch) -> Result<Vec<Refusal>> {
        let base = self.send(&mut batch)?;
        let (mut answered, mut refused) = (0, Vec::new());
        while answered < batch.len() {
            self.receive(&batch.steps[answered], base, |reply| {
                if reply.kind != NLMSG_ERROR {
                    return Ok(true);
                }
                let index = (reply.number.wrapping_sub(base) as usize).wrapping_sub(1);
                let Some(step) = batch.steps.get(index) else { return Ok(true) };
                answered += 1;
                if let Some(source) = answer(&reply, step)? {
                    refused.push(Refusal { index, error: Error::Kernel { step: step.clone(), source } });
                }
                Ok(answered < batch.steps.len())
            })?;
        }
        Ok(refused)
    }

    /// Like [`Socket::each`]; the first refusal is the error.
    pub(super) fn all(&mut self, batch: Batch) -> Result<()> {
        match self.each(batch)?.into_iter().next() {
            Some(refusal) => Err(refusal.error),
            None => Ok(()),
        }
    }

    /// Sends a batch that the kernel takes as a whole or not at all: its first request begins it, the last one ends it,
    /// and only the last but one asks for an answer (thousands of answers would not fit into the socket).
    pub(super) fn transaction(&mut self, mut batch: Batch) -> Result<Vec<Refusal>> {
        let base = self.send(&mut batch)?;
        let last = batch.len().saturating_sub(2);
        let (mut done, mut refused) = (false, Vec::new());
        while !done {
            self.receive(&batch.steps[last], base, |reply| {
                if reply.kind != NLMSG_ERROR {
                    return Ok(true);
                }
                let index = (reply.number.wrapping_sub(base) as usize).wrapping_sub(1);
                let Some(step) = batch.steps.get(index) else { return Ok(true) };
                let refusal = answer(&reply, step)?;
                // A refusal of the beginning is one of the whole batch, and the kernel's only answer.
                done = index == last || (index == 0 && refusal.is_some());
                if let Some(source) = refusal {
                    refused.push(Refusal { index, error: Error::Kernel { step: step.clone(), source } });
                }
                Ok(!done)
            })?;
        }
        Ok(refused)
    }

    /// Asks for one thing and hands its answer to `read`; `Ok(None)` where the kernel says that it is not there.
    pub(super) fn get<T>(
        &mut self,
        step: &str,
        kind: u16,
        body: impl FnOnce(&mut Writer<'_>),
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut batch = Batch::new();
        batch.add(step, kind, 0, body);
        let base = self.send(&mut batch)?;
        let (mut read, mut result, mut done) = (Some(read), None, false);
        while !done {
            self.receive(step, base, |reply| {
                if reply.number != base.wrapping_add(1) {
                    return Ok(true);
                }
                done = true;
                if reply.kind == NLMSG_ERROR {
                    return match answer(&reply, step)? {
                        Some(source) if !matches!(source.errno(), libc::ENODEV | libc::ENOENT | libc::ENXIO) => {
                            Err(Error::Kernel { step: step.to_owned(), source })
                        }
                        _ => Ok(false),
                    };
                }
                if let Some(read) = read.take() {
                    result = Some(read(reply.body).ok_or_else(|| Error::Malformed { step: step.to_owned() })?);
                }
                Ok(false)
            })?;
        }
        Ok(result)
    }

    /// Lists things, handing each to `read`. A list that changed while it was read is read again from the start, after
    /// `read` got `None`, so it must then forget what it has.
    pub(super) fn dump(
        &mut self,
        step: &str,
        kind: u16,
        body: impl Fn(&mut Writer<'_>),
        mut read: impl FnMut(Option<&[u8]>),
    ) -> Result<()> {
        for _ in 0..DUMP_ATTEMPTS {
            read(None);
            let mut batch = Batch::new();
            batch.add(step, kind, NLM_F_DUMP, &body);
            let base = self.send(&mut batch)?;
            let (mut done, mut torn) = (false, false);
            while !done {
                self.receive(step, base, |reply| {
                    if reply.number != base.wrapping_add(1) {
                        return Ok(true);
                    }
                    torn |= reply.flags & NLM_F_DUMP_INTR != 0;
                    done = matches!(reply.kind, NLMSG_DONE | NLMSG_ERROR);
                    if done {
                        return match answer(&reply, step)? {
                            Some(source) if source.errno() == libc::EINTR => {
                                torn = true;
                                Ok(false)
                            }
                            Some(source) => Err(Error::Kernel { step: step.to_owned(), source }),
                            None => Ok(false),
                        };
                    }
                    read(Some(reply.body));
                    Ok(true)
                })?;
            }
            if !torn {
                return Ok(());
            }
        }
        Err(Error::Kernel { step: step.to_owned(), source: KernelError::new(libc::EINTR, None) })
    }

    /// Numbers the requests, sends them in one system call, and returns the number before the first.
    fn send(&mut self, batch: &mut Batch) -> Result<u32> {
        let base = self.last;
        batch.renumber(base);
        self.last = base.wrapping_add(batch.len() as u32);
        let step = || batch.steps.get(1).or(batch.steps.first()).cloned().unwrap_or_default();
        let sent = loop {
            match send(self.fd.as_raw_fd(), &batch.bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => break other.map_err(|errno| Error::System { step: step(), source: errno.into() })?,
            }
        };
        match sent == batch.bytes.len() {
            true => Ok(base),
            false => Err(Error::Malformed { step: step() }),
        }
    }

    /// Receives one datagram and hands its answers to `read` until it says that it has all.
    fn receive(&mut self, step: &str, base: u32, mut read: impl FnMut(Reply<'_>) -> Result<bool>) -> Result<()> {
        let malformed = || Error::Malformed { step: step.to_owned() };
        let length = loop {
            match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), &mut self.buffer) {
                Ok((length, Some(from))) if from.pid() == 0 => break length,
                // Only the kernel (port 0) is believed.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(Error::system(step)(Errno::ETIMEDOUT)),
                Err(errno) => return Err(Error::system(step)(errno)),
            }
        };
        let mut rest = &self.buffer[..length];
        while !rest.is_empty() {
            let size = read_u32(rest, 0).ok_or_else(malformed)? as usize;
            let message = rest.get(..size).filter(|_| size >= HEADER).ok_or_else(malformed)?;
            let reply = Reply {
                kind: read_u16(message, 4).ok_or_else(malformed)?,
                flags: read_u16(message, 6).ok_or_else(malformed)?,
                number: read_u32(message, 8).ok_or_else(malformed)?,
                body: &message[HEADER..],
            };
            // Answers to earlier requests that were given up on carry smaller numbers.
            let current = reply.number.wrapping_sub(base) <= u32::MAX / 2;
            if current && !read(reply)? {
                return Ok(());
            }
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The error in an answer of kind `NLMSG_ERROR` or `NLMSG_DONE`; `None` where it says that all is well.
fn answer(reply: &Reply<'_>, step: &str) -> Result<Option<KernelError>> {
    let code = match read_u32(reply.body, 0) {
        Some(code) => code.cast_signed(),
        None if reply.kind == NLMSG_DONE => 0,
        None => return Err(Error::Malformed { step: step.to_owned() }),
    };
    if code >= 0 {
        return Ok(None);
    }
    let mut message = None;
    if reply.flags & NLM_F_ACK_TLVS != 0 {
        // The refused request follows the code, all of it or (capped) its header alone, then come the attributes.
        let request = match (reply.kind, reply.flags & NLM_F_CAPPED) {
            (NLMSG_DONE, _) => 0,
            (_, 0) => read_u32(reply.body, 4).unwrap_or(0) as usize,
            _ => HEADER,
        };
        let rest = reply.body.get((4 + request).next_multiple_of(4)..).unwrap_or_default();
        message = attributes(rest).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG).and_then(|(_, bytes)| text(bytes));
    }
    Ok(Some(KernelError::new(code.wrapping_neg(), message)))
}

/// Walks attributes; stops at the first that does not fit into `bytes`.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(rest, 0)?);
        let kind = read_u16(rest, 2)? & NLA_TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of one attribute.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A text up to its closing zero.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.split(|byte| *byte == 0).next()?;
    String::from_utf8(bytes.to_vec()).ok()
}

/// A number in the machine's byte order.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A number in network byte order.
pub(super) fn read_be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut batch = Batch::new();
        batch.add("first", 16, 0, |w| {
            w.raw(&[0; 16]).text(3, "img0").nest(18, |w| {
                w.text(1, "veth").be32(2, 7);
            });
        });
        batch.add("second", 17, NLM_F_ACK, |w| {
            w.attr(1, &[1, 2, 3]);
        });
        batch.renumber(41);
        let length = read_u32(&batch.bytes, 0).unwrap() as usize;
        assert_eq!((length % 4, read_u32(&batch.bytes, 8)), (0, Some(42)));
        let body = &batch.bytes[HEADER + 16..length];
        assert_eq!(attribute(body, 3), Some(&b"img0\0"[..]));
        let nest = attribute(body, 18).unwrap();
        assert_eq!(text(attribute(nest, 1).unwrap()).as_deref(), Some("veth"));
        assert_eq!(read_be32(attribute(nest, 2).unwrap()), Some(7));
        assert_eq!(read_u32(&batch.bytes, length + 8), Some(43));
        assert_eq!(attribute(&batch.bytes[length + HEADER..], 1), Some(&[1, 2, 3][..]));
    }

    #[test]
    fn broken_attributes_end_the_walk() {
        assert_eq!(attributes(&[8, 0, 1, 0, 1, 2, 3, 4, 200, 0, 2, 0, 1]).count(), 1);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[4, 0]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }

    #[test]
    fn refusals_carry_the_kernels_words() {
        let mut body = (-libc::EEXIST).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; HEADER]);
        Writer(&mut body).text(NLMSGERR_ATTR_MSG, "it is there");
        let reply = Reply { kind: NLMSG_ERROR, flags: NLM_F_CAPPED | NLM_F_ACK_TLVS, number: 1, body: &body };
        let error = answer(&reply, "make it").unwrap().unwrap();
        assert_eq!(error.errno(), libc::EEXIST);
        assert!(error.to_string().ends_with(": it is there"), "{error}");
        assert!(answer(&Reply { kind: NLMSG_ERROR, flags: 0, number: 1, body: &[0; 20] }, "x").unwrap().is_none());
        assert!(answer(&Reply { kind: NLMSG_ERROR, flags: 0, number: 1, body: &[] }, "x").is_err());
    }
}

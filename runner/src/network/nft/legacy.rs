//! The old iptables (not the one over nf_tables), which keeps its rules where netlink cannot see them. Its FORWARD chain
//! is read by getsockopt (kernel `include/uapi/linux/netfilter_ipv4/ip_tables.h`) and never changed: replacing a whole
//! table under its owner's feet is no way to add a rule. If it drops what goes to or comes from the bridge, that is an
//! error which names the two rules that help.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::super::error::{Error, Result};
use super::super::netlink::read_u32;
use super::super::sys;

const IPT_SO_GET_INFO: libc::c_int = 64;
const IPT_SO_GET_ENTRIES: libc::c_int = 65;
const HOOK_FORWARD: usize = 2;
/// Largest table that is read, in bytes: tens of thousands of rules.
const MAX_TABLE: usize = 16 << 20;
/// Size of `struct ipt_getinfo`, and of the head of `struct ipt_get_entries`.
const INFO: usize = 84;
const ENTRIES_HEAD: usize = 40;
/// Size of `struct ipt_entry` without its matches, and of `struct xt_entry_target`.
const ENTRY: usize = 112;
const TARGET: usize = 32;
/// Verdicts are stored as minus the verdict minus one.
const ACCEPT: i32 = -2;

/// Refuses if an old iptables filter table drops forwarded packets of `bridge`.
pub(super) fn check_forwarding(bridge: &str) -> Result<()> {
    // Not /proc/net: that shows the namespace of the process's first thread.
    let path = "/proc/thread-self/net/ip_tables_names";
    let names = match fs::read_to_string(path) {
        Ok(names) => names,
        // Without the module there is no such file, and so no such firewall.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    if !names.lines().any(|name| name == "filter") {
        return Ok(());
    }
    let blocked = |why: String| Error::ForwardBlocked {
        bridge: bridge.to_owned(),
        blocker: format!("chain FORWARD of the iptables-legacy table filter, {why}"),
        hint: format!(
            "run `iptables-legacy -A FORWARD -i {bridge} -j ACCEPT` and `iptables-legacy -A FORWARD -o {bridge} -j ACCEPT`"
        ),
    };
    match read() {
        Ok(table) => match verdict(&table, bridge) {
            Some(true) => Ok(()),
            Some(false) => Err(blocked("whose policy is DROP".to_owned())),
            None => Err(blocked("which cannot be understood".to_owned())),
        },
        Err(error) => Err(blocked(format!("which cannot be read ({error})"))),
    }
}

/// The filter table: where FORWARD begins, where its policy stands, and the entries.
struct Table {
    first: usize,
    policy: usize,
    entries: Vec<u8>,
}

fn read() -> io::Result<Table> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    // The table may grow between the two questions, which the kernel then answers with EAGAIN.
    for _ in 0..3 {
        match read_once(&socket) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            other => return other,
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

fn read_once(socket: &OwnedFd) -> io::Result<Table> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut info = [0; INFO];
    info[..6].copy_from_slice(b"filter");
    if sys::ip_option(socket, IPT_SO_GET_INFO, &mut info)? < INFO {
        return Err(malformed());
    }
    // name[32], valid_hooks, hook_entry[5], underflow[5], num_entries, size
    let number = |at: usize| read_u32(&info, at).map(|n| n as usize).ok_or_else(malformed);
    let (first, policy, size) = (number(36 + 4 * HOOK_FORWARD)?, number(56 + 4 * HOOK_FORWARD)?, number(80)?);
    if size > MAX_TABLE {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    let mut buffer = vec![0; ENTRIES_HEAD + size];
    buffer[..6].copy_from_slice(b"filter");
    buffer[32..36].copy_from_slice(&(size as u32).to_ne_bytes());
    if sys::ip_option(socket, IPT_SO_GET_ENTRIES, &mut buffer)? < ENTRIES_HEAD + size {
        return Err(malformed());
    }
    Ok(Table { first, policy, entries: buffer.split_off(ENTRIES_HEAD) })
}

/// Whether FORWARD lets the bridge's packets through, by its policy or by a rule for each direction that has no other
/// condition; `None` if the entries are malformed.
fn verdict(table: &Table, bridge: &str) -> Option<bool> {
    if standard_verdict(table, table.policy)? == ACCEPT {
        return Some(true);
    }
    let (mut from, mut to, mut at) = (false, false, table.first);
    while at < table.policy {
        let entry = table.entries.get(at..at + ENTRY)?;
        let target = usize::from(u16::from_ne_bytes(entry[88..90].try_into().ok()?));
        let next = usize::from(u16::from_ne_bytes(entry[90..92].try_into().ok()?));
        if next < ENTRY {
            return None;
        }
        // Addresses, protocol, flags and inversions must be empty; matches (a comment) may stand between, so any will do
        // only if there are none or it is a comment.
        let plain = entry[..16].iter().chain(&entry[80..84]).all(|byte| *byte == 0);
        let unconditional = target == ENTRY || is_comment(table.entries.get(at + ENTRY..at + target)?);
        if plain && unconditional && standard_verdict(table, at) == Some(ACCEPT) {
            let name = |at: usize| super::text(&entry[at..at + 16]).unwrap_or_default();
            let (input, output) = (name(16), name(32));
            from |= (input == bridge || input.is_empty()) && output.is_empty();
            to |= (output == bridge || output.is_empty()) && input.is_empty();
        }
        at += next;
    }
    Some(from && to)
}

/// Whether the matches of an entry are one comment and nothing else.
fn is_comment(matches: &[u8]) -> bool {
    let size = matches.get(..2).map(|b| usize::from(u16::from_ne_bytes([b[0], b[1]])));
    size == Some(matches.len()) && matches.get(2..31).and_then(super::text).as_deref() == Some("comment")
}

/// The verdict of an entry whose target is the standard one.
fn standard_verdict(table: &Table, at: usize) -> Option<i32> {
    let entry = table.entries.get(at..at.checked_add(ENTRY)?)?;
    let target = at + usize::from(u16::from_ne_bytes(entry[88..90].try_into().ok()?));
    let body = table.entries.get(target..target.checked_add(TARGET + 4)?)?;
    let name = super::text(&body[2..31])?;
    name.is_empty().then(|| i32::from_ne_bytes([body[32], body[33], body[34], body[35]]))
}

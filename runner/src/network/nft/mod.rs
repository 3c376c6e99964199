//! The firewall by nfnetlink messages (kernel `include/uapi/linux/netfilter/nf_tables.h`): our own table, what is
//! published in it, and the chains of others that would drop what we forward. This file owns the framing that all of
//! them share: transactions, lists, names and comments. Numbers of nf_tables travel in network byte order.

mod expr;
mod foreign;
mod guard;
mod legacy;
mod names;
mod ports;
mod table;

pub(super) use foreign::{allow_forwarding, forbid_forwarding};
pub(super) use guard::{guard, unguard};
pub(super) use names::redirect_names;
pub(super) use ports::{Element, Owned, delete, elements, insert};
pub(super) use table::{Bridge, delete_bridge, ensure};

use std::net::IpAddr;

use super::error::{Error, Result};
use super::netlink::{Batch, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, Refusal, Socket, Writer, attributes, text};

/// The table that holds all that is ours.
pub(super) const TABLE: &str = "img";

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_POSITION: u16 = 6;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;

/// The kind of user data that nft(8) shows as a comment, on rules and on elements.
const UDATA_COMMENT: u8 = 0;

/// A family of addresses. Each has a table of its own, with the same rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn number(self) -> u8 {
        match self {
            Self::V4 => NFPROTO_IPV4,
            Self::V6 => NFPROTO_IPV6,
        }
    }

    /// Length of an address in bytes.
    fn length(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }
}

fn kind(message: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | message
}

/// `struct nfgenmsg`: family, version, resource.
fn header(w: &mut Writer<'_>, family: u8) {
    w.raw(&[family, 0, 0, 0]);
}

/// Requests that the kernel takes as a whole or not at all.
pub(super) struct Transaction(Batch);

impl Transaction {
    pub(super) fn new() -> Self {
        let mut batch = Batch::new();
        batch.add("begin a firewall transaction", BATCH_BEGIN, 0, |w| {
            let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
            w.raw(&[NFPROTO_UNSPEC, 0, high, low]);
        });
        Self(batch)
    }

    fn add(
        &mut self,
        step: impl Into<String>,
        message: u16,
        flags: u16,
        family: u8,
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        self.0.add(step, kind(message), flags, |w| {
            header(w, family);
            body(w);
        });
    }

    fn is_empty(&self) -> bool {
        self.0.len() < 2
    }

    /// Commits, and returns what was refused, in which case nothing was done.
    fn commit(mut self, socket: &mut Socket) -> Result<Vec<Refusal>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        self.0.acknowledge_last();
        self.0.add("end a firewall transaction", BATCH_END, 0, |w| {
            let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
            w.raw(&[NFPROTO_UNSPEC, 0, high, low]);
        });
        socket.transaction(self.0)
    }

    /// Commits; the first refusal is the error.
    fn commit_all(self, socket: &mut Socket) -> Result<()> {
        match self.commit(socket)?.into_iter().next() {
            Some(refusal) => Err(refusal.error),
            None => Ok(()),
        }
    }
}

/// A rule as the kernel lists it.
struct Rule {
    chain: String,
    handle: [u8; 8],
    comment: Option<String>,
    /// The list of expressions, still as attributes.
    expressions: Vec<u8>,
}

/// Lists the rules of a table, or of one of its chains. A table that is not there has none.
fn rules(socket: &mut Socket, family: u8, table: &str, chain: Option<&str>) -> Result<Vec<Rule>> {
    let mut found = Vec::new();
    let request = |w: &mut Writer<'_>| {
        header(w, family);
        w.text(NFTA_RULE_TABLE, table);
        if let Some(chain) = chain {
            w.text(NFTA_RULE_CHAIN, chain);
        }
    };
    let listed =
        socket.dump(&format!("list the firewall rules of table {table}"), kind(GETRULE), request, |body| match body {
            Some(body) => found.extend(rule(body, table, chain)),
            None => found.clear(),
        });
    absent_is_empty(listed)?;
    Ok(found)
}

fn rule(body: &[u8], table: &str, chain: Option<&str>) -> Option<Rule> {
    let mut rule = Rule { chain: String::new(), handle: [0; 8], comment: None, expressions: Vec::new() };
    let mut of_table = false;
    for (kind, value) in attributes(body.get(4..)?) {
        match kind {
            NFTA_RULE_TABLE => of_table = text(value)? == table,
            NFTA_RULE_CHAIN => rule.chain = text(value)?,
            NFTA_RULE_HANDLE => rule.handle = value.try_into().ok()?,
            NFTA_RULE_USERDATA => rule.comment = comment(value),
            NFTA_RULE_EXPRESSIONS => rule.expressions = value.to_vec(),
            _ => {}
        }
    }
    (of_table && chain.is_none_or(|chain| chain == rule.chain)).then_some(rule)
}

/// User data with a comment, as nft(8) writes it: kind, length, text, closing zero.
fn comment_data(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).expect("comments are ids of 64 bytes and bridge names");
    let mut bytes = vec![UDATA_COMMENT, length];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// The comment in user data, if there is one.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == UDATA_COMMENT {
            return text(value);
        }
        data = &rest[usize::from(*length)..];
    }
    None
}

/// Takes "it is not there" for "there is nothing in it".
fn absent_is_empty(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::Kernel { source, .. }) if source.errno() == libc::ENOENT => Ok(()),
        other => other,
    }
}

/// The first refusal, unless each is of these kinds.
fn unless(refused: Vec<Refusal>, tolerated: &[i32]) -> Result<bool> {
    let clean = refused.is_empty();
    match refused.into_iter().find(|r| !r.error.errno().is_some_and(|errno| tolerated.contains(&errno))) {
        Some(refusal) => Err(refusal.error),
        None => Ok(clean),
    }
}

/// Flags of a request that makes something and is content if it is there.
const MAKE: u16 = NLM_F_CREATE;
/// Flags of a request that makes something new.
const MAKE_NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// Flags of a request that puts a rule behind the others.
const MAKE_LAST: u16 = NLM_F_CREATE | NLM_F_APPEND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_read_back() {
        assert_eq!(comment(&comment_data("abc")).as_deref(), Some("abc"));
        assert_eq!(comment(&[1, 2, 9, 9, 0, 3, b'a', b'b', 0]).as_deref(), Some("ab"));
        assert_eq!(comment(&[0, 200, b'a']), None);
        assert_eq!(comment(&[]), None);
    }
}

//! The one rule in a container's own namespace: what its programs send to the name server's port goes to the sockets of
//! the monitor, whose port is another one.

use std::net::Ipv4Addr;

use super::super::error::Result;
use super::super::netlink::Socket;
use super::expr::{Expressions, META_L4PROTO};
use super::{
    Family, MAKE, MAKE_LAST, NEWCHAIN, NEWRULE, NEWTABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE,
    NFTA_TABLE_NAME, TABLE, Transaction,
};

const CHAIN: &str = "output";
const HOOK_LOCAL_OUT: u32 = 3;
const PRIORITY: i32 = -100;
const ACCEPT: u32 = 1;

/// Leads port 53 of `server` to `port`, in the namespace of the socket.
pub(in super::super) fn redirect_names(socket: &mut Socket, server: Ipv4Addr, port: u16) -> Result<()> {
    let (family, mut transaction) = (Family::V4, Transaction::new());
    let number = family.number();
    transaction.add("create the firewall table of the container", NEWTABLE, MAKE, number, |w| {
        w.text(NFTA_TABLE_NAME, TABLE);
    });
    transaction.add("create the firewall chain of the name service", NEWCHAIN, MAKE, number, |w| {
        w.text(1, TABLE).text(3, CHAIN).text(7, "nat").be32(5, ACCEPT).nest(4, |w| {
            w.be32(1, HOOK_LOCAL_OUT).be32(2, PRIORITY.cast_unsigned());
        });
    });
    for protocol in [6, 17] {
        transaction.add("lead port 53 to the name service", NEWRULE, MAKE_LAST, number, |w| {
            w.text(NFTA_RULE_TABLE, TABLE).text(NFTA_RULE_CHAIN, CHAIN).nest(NFTA_RULE_EXPRESSIONS, |w| {
                let mut e = Expressions(w, family);
                e.meta_is(META_L4PROTO, &[protocol]).destination_is(server, 53).redirect_to(server, port);
            });
        });
    }
    transaction.commit_all(socket)
}

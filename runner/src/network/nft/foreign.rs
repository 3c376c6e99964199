//! Other people's firewalls. A packet that our table accepts is still dropped if a chain of another table does so, and a
//! FORWARD chain with policy drop (Docker and ufw set it) drops all that it does not know. Where such a chain is
//! found, two marked rules at its end accept what comes from and goes to the bridge: every rule of the owner comes
//! before them and keeps its say, only the policy is answered, and what may reach a container is decided in our table.

use super::super::error::{Error, Result};
use super::super::netlink::{Socket, Writer, attribute, attributes, read_be32, text};
use super::expr::{ACCEPT, DROP, Expressions, META_IIFNAME, META_OIFNAME};
use super::legacy;
use super::{
    DELRULE, Family, GETCHAIN, MAKE, MAKE_LAST, NEWRULE, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_UNSPEC,
    NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_HANDLE, NFTA_RULE_POSITION, NFTA_RULE_TABLE, NFTA_RULE_USERDATA,
    Rule, TABLE, Transaction, comment_data, header, kind, rules, unless,
};

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const HOOK_FORWARD: u32 = 2;

/// A base chain of somebody else that sees forwarded packets.
#[derive(Debug, Clone)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    drops: bool,
}

fn mark(bridge: &str) -> String {
    format!("img {bridge}")
}

/// Makes sure that no firewall we can read drops what is forwarded from and to `bridge`. Returns sentences about what was
/// changed, or is doubtful. `ipv6` says whether IPv6 is forwarded too.
pub(in super::super) fn allow_forwarding(socket: &mut Socket, bridge: &str, ipv6: bool) -> Result<Vec<String>> {
    legacy::check_forwarding(bridge)?;
    let mut notices = Vec::new();
    for chain in forward_chains(socket)?.into_iter().filter(|chain| ipv6 || chain.family != NFPROTO_IPV6) {
        let found = rules(socket, chain.family, &chain.table, Some(&chain.name))?;
        if found.iter().filter(|rule| rule.comment.as_deref() == Some(&mark(bridge))).count() >= 2 {
            continue;
        }
        let barrier = found.last().filter(|rule| refuses_all(&rule.expressions));
        if !chain.drops && barrier.is_none() {
            continue;
        }
        accept(socket, &chain, bridge, barrier)?;
        let what = if barrier.is_some() { "refuses at its end" } else { "has policy drop" };
        notices.push(format!(
            "firewall chain {} {} {} {what}: added rules that accept forwarding for {bridge} to its end",
            family_name(chain.family),
            chain.table,
            chain.name
        ));
        if chain.table == "firewalld" {
            notices.push(format!(
                "firewalld may still refuse traffic of {bridge} in a zone; \
                 `firewall-cmd --permanent --zone=trusted --add-interface={bridge}` lets it pass"
            ));
        }
    }
    Ok(notices)
}

/// Removes the marked rules again.
pub(in super::super) fn forbid_forwarding(socket: &mut Socket, bridge: &str) -> Result<()> {
    for chain in forward_chains(socket)? {
        let mut transaction = Transaction::new();
        for rule in rules(socket, chain.family, &chain.table, Some(&chain.name))? {
            if rule.comment.as_deref() != Some(&mark(bridge)) {
                continue;
            }
            let step = format!("remove the rules for {bridge} from the firewall chain {}", chain.name);
            transaction.add(step, DELRULE, 0, chain.family, |w| {
                w.text(NFTA_RULE_TABLE, &chain.table).text(NFTA_RULE_CHAIN, &chain.name);
                w.attr(NFTA_RULE_HANDLE, &rule.handle);
            });
        }
        unless(transaction.commit(socket)?, &[libc::ENOENT])?;
    }
    Ok(())
}

fn family_name(family: u8) -> &'static str {
    match family {
        NFPROTO_INET => "inet",
        NFPROTO_IPV6 => "ip6",
        _ => "ip",
    }
}

/// The chains of other tables at the forward hooks of IPv4 and IPv6.
fn forward_chains(socket: &mut Socket) -> Result<Vec<Chain>> {
    let mut found = Vec::new();
    let request = |w: &mut Writer<'_>| header(w, NFPROTO_UNSPEC);
    socket.dump("list the firewall chains", kind(GETCHAIN), request, |body| match body {
        Some(body) => found.extend(parse(body)),
        None => found.clear(),
    })?;
    Ok(found)
}

fn parse(body: &[u8]) -> Option<Chain> {
    let family = *body.first()?;
    let rest = body.get(4..)?;
    let hook = attribute(attribute(rest, NFTA_CHAIN_HOOK)?, 1).and_then(read_be32)?;
    let chain = Chain {
        family,
        table: text(attribute(rest, NFTA_CHAIN_TABLE)?)?,
        name: text(attribute(rest, NFTA_CHAIN_NAME)?)?,
        drops: attribute(rest, NFTA_CHAIN_POLICY).and_then(read_be32) == Some(DROP),
    };
    let ours = family != NFPROTO_INET && chain.table == TABLE;
    (hook == HOOK_FORWARD && matches!(family, NFPROTO_INET | NFPROTO_IPV4 | NFPROTO_IPV6) && !ours).then_some(chain)
}

/// Whether a rule drops or rejects whatever reaches it: nothing but counters and logs before its verdict.
fn refuses_all(expressions: &[u8]) -> bool {
    let mut verdict = false;
    for (_, expression) in attributes(expressions) {
        let data = attribute(expression, 2).unwrap_or_default();
        match attribute(expression, 1).and_then(text).as_deref() {
            Some("counter" | "log") => {}
            Some("reject") => verdict = true,
            Some("immediate") => {
                let code = attribute(data, 2).and_then(|data| attribute(data, 2)).and_then(|data| attribute(data, 1));
                verdict = code.and_then(read_be32) == Some(DROP);
            }
            _ => return false,
        }
    }
    verdict
}

fn accept(socket: &mut Socket, chain: &Chain, bridge: &str, barrier: Option<&Rule>) -> Result<()> {
    let mut transaction = Transaction::new();
    for key in [META_IIFNAME, META_OIFNAME] {
        let step =
            format!("accept forwarding for {bridge} in the firewall chain {} of table {}", chain.name, chain.table);
        // With a position and without "append" the rule goes before the one of that handle.
        let flags = if barrier.is_some() { MAKE } else { MAKE_LAST };
        transaction.add(step, NEWRULE, flags, chain.family, |w| {
            w.text(NFTA_RULE_TABLE, &chain.table).text(NFTA_RULE_CHAIN, &chain.name);
            w.nest(NFTA_RULE_EXPRESSIONS, |w| {
                Expressions(w, Family::V4).interface_is(key, bridge).counter().verdict(ACCEPT);
            });
            if let Some(barrier) = barrier {
                w.attr(NFTA_RULE_POSITION, &barrier.handle);
            }
            w.attr(NFTA_RULE_USERDATA, &comment_data(&mark(bridge)));
        });
    }
    transaction.commit_all(socket).map_err(|error| match error {
        Error::Kernel { step: _, source } => Error::ForwardBlocked {
            bridge: bridge.to_owned(),
            blocker: format!("firewall chain {} {} {}", family_name(chain.family), chain.table, chain.name),
            hint: format!(
                "rules that accept {bridge} could not be added there ({source}); add them by the tool that owns it"
            ),
        },
        other => other,
    })
}

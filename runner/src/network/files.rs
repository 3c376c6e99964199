//! The texts of a container's `/etc/resolv.conf` and `/etc/hosts` (resolv.conf(5), hosts(5)). Pure functions: the caller
//! reads the host's files and writes the container's. No word from outside can add a line of its own.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::{Error, Result};

/// Longest host file that is read, in bytes; what is beyond is ignored.
const MAX_HOST_TEXT: usize = 64 << 10;

/// What a container's `/etc/resolv.conf` is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resolver<'a> {
    /// The text of the host's `/etc/resolv.conf`; empty if there is none.
    pub host: &'a str,
    /// The text of `/run/systemd/resolve/resolv.conf`, where systemd-resolved names the servers it asks itself. It is used
    /// when the host's file names none that a container can reach.
    pub upstream: Option<&'a str>,
    /// Servers asked for; they replace the host's.
    pub dns: &'a [IpAddr],
    /// Search domains asked for; they replace the host's. A single `.` means none.
    pub search: &'a [String],
    /// Options asked for; they replace the host's.
    pub options: &'a [String],
    /// The container shares the host's network, so servers on loopback can be reached.
    pub shares_host: bool,
    /// The container has a way to IPv6 servers.
    pub ipv6: bool,
}

/// A file's text, and what the user should be told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The whole file.
    pub text: String,
    /// Sentences without a full stop.
    pub notices: Vec<String>,
}

#[derive(Default)]
struct Parsed<'a> {
    servers: Vec<IpAddr>,
    search: Vec<&'a str>,
    options: Vec<&'a str>,
}

fn parse(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    let end = (0..=text.len().min(MAX_HOST_TEXT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    for line in text[..end].lines() {
        // Comments begin with # or ; and glibc takes either to end a line of options, too.
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            // A zone (fe80::1%eth0) names an interface of the host and is of no use elsewhere.
            Some("nameserver") => parsed.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
            // The last of several search or domain lines counts.
            Some("search" | "domain") => parsed.search = words.filter(|word| check(word).is_ok()).collect(),
            Some("options") => parsed.options.extend(words.filter(|word| check(word).is_ok())),
            _ => {}
        }
    }
    parsed
}

/// The name servers that a resolv.conf names.
#[must_use]
pub fn name_servers(text: &str) -> Vec<IpAddr> {
    parse(text).servers
}

/// A word that may stand in one of the files.
fn check(word: &str) -> Result<()> {
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if word.is_empty() || word.len() > 255 || !word.chars().all(legal) {
        return Err(Error::Config(format!("{word:?} cannot stand in a resolver or hosts file")));
    }
    Ok(())
}

/// The text of a container's `/etc/resolv.conf`. Servers that the container cannot reach are left out; if none is left,
/// a notice says so. A word with a space or a line end in it is an error.
pub fn resolv_conf(from: &Resolver<'_>) -> Result<Text> {
    for word in from.search.iter().filter(|word| *word != ".").chain(from.options) {
        check(word)?;
    }
    let host = parse(from.host);
    let mut notices = Vec::new();
    let reachable = |server: &IpAddr| {
        from.shares_host || (!is_loopback(*server) && !server.is_unspecified() && (server.is_ipv4() || from.ipv6))
    };
    let mut servers: Vec<IpAddr> = from.dns.to_vec();
    if servers.is_empty() {
        servers = host.servers.iter().copied().filter(reachable).collect();
    }
    if servers.is_empty() {
        servers = from.upstream.map(parse).unwrap_or_default().servers.into_iter().filter(reachable).collect();
    }
    if servers.is_empty() {
        let why = match host.servers.first() {
            Some(server) => format!("the host's name server {server} cannot be reached from the container's network"),
            None => "the host names no name server".to_owned(),
        };
        notices.push(format!("{why}, so names will not resolve; give one with --dns"));
    }
    let search: Vec<&str> = match from.search {
        [] => host.search,
        [only] if only == "." => Vec::new(),
        given => given.iter().map(String::as_str).collect(),
    };
    let options: Vec<&str> = match from.options {
        [] => host.options,
        given => given.iter().map(String::as_str).collect(),
    };
    let mut text = String::new();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    for (key, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            text.push_str(&format!("{key} {}\n", words.join(" ")));
        }
    }
    Ok(Text { text, notices })
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

/// The address of an extra host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostAddress {
    /// This one.
    Ip(IpAddr),
    /// The host, as the container sees it (`host-gateway`).
    Gateway,
}

/// What a container's `/etc/hosts` is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hosts<'a> {
    /// The container's host name and further names of its own.
    pub names: &'a [&'a str],
    /// The container's address; without one (network none) its names lead to 127.0.1.1.
    pub ip: Option<IpAddr>,
    /// The host's address on the container's network, for [`HostAddress::Gateway`].
    pub gateway: Option<IpAddr>,
    /// Extra hosts, in order.
    pub extra: &'a [(String, HostAddress)],
}

/// The text of a container's `/etc/hosts`. An extra host that needs a gateway where there is none is an error.
pub fn hosts(from: &Hosts<'_>) -> Result<String> {
    let mut text = String::new();
    let mut line = |address: IpAddr, names: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{names}");
    };
    line(IpAddr::V4(Ipv4Addr::LOCALHOST), "localhost");
    line(IpAddr::V6(Ipv6Addr::LOCALHOST), "localhost ip6-localhost ip6-loopback");
    line(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)), "ip6-allnodes");
    line(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2)), "ip6-allrouters");
    for (name, address) in from.extra {
        check(name)?;
        let address = match address {
            HostAddress::Ip(ip) => *ip,
            HostAddress::Gateway => from.gateway.ok_or_else(|| {
                Error::Config(format!("{name}:host-gateway needs a network on which the host has an address"))
            })?,
        };
        line(address, name);
    }
    for name in from.names {
        check(name)?;
    }
    if !from.names.is_empty() {
        line(from.ip.unwrap_or(IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1))), &from.names.join(" "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(from: Resolver<'_>) -> String {
        resolv_conf(&from).unwrap().text
    }

    #[test]
    fn keeps_what_the_container_can_reach() {
        let host = "# made by x\nnameserver 127.0.0.53\nnameserver 192.0.2.1 # first\nnameserver 2001:db8::1\n\
                    nameserver fe80::1%eth0\ndomain old.example\nsearch a.example b.example\noptions edns0 ndots:2\n";
        let expected = "nameserver 192.0.2.1\nsearch a.example b.example\noptions edns0 ndots:2\n";
        assert_eq!(text(Resolver { host, ..Resolver::default() }), expected);
        assert!(text(Resolver { host, ipv6: true, ..Resolver::default() }).contains("nameserver 2001:db8::1\n"));
        assert!(
            text(Resolver { host, shares_host: true, ..Resolver::default() }).starts_with("nameserver 127.0.0.53\n")
        );
    }

    #[test]
    fn falls_back_to_the_upstream_file_and_else_says_so() {
        let host = "nameserver 127.0.0.53\nnameserver ::1\nsearch lan\n";
        let upstream = Some("nameserver 198.51.100.7\n");
        let from = Resolver { host, upstream, ..Resolver::default() };
        assert_eq!(
            resolv_conf(&from).unwrap(),
            Text { text: "nameserver 198.51.100.7\nsearch lan\n".into(), notices: vec![] }
        );
        let alone = resolv_conf(&Resolver { host, ..Resolver::default() }).unwrap();
        assert_eq!(alone.text, "search lan\n");
        assert!(alone.notices[0].contains("127.0.0.53"), "{:?}", alone.notices);
    }

    #[test]
    fn what_is_asked_for_replaces_the_hosts() {
        let (dns, search, options) = (["127.0.0.11".parse().unwrap()], [".".to_owned()], ["ndots:0".to_owned()]);
        let host = "nameserver 192.0.2.1\nsearch lan\noptions edns0\n";
        let from = Resolver { host, dns: &dns, search: &search, options: &options, ..Resolver::default() };
        assert_eq!(text(from), "nameserver 127.0.0.11\noptions ndots:0\n");
        for evil in ["a\nnameserver 6.6.6.6", "a b", "", "a\tb", "#"] {
            assert!(resolv_conf(&Resolver { search: &[evil.to_owned()], ..from }).is_err(), "{evil:?}");
        }
    }

    #[test]
    fn a_huge_or_broken_host_file_is_bounded() {
        let host = "é".repeat(MAX_HOST_TEXT) + "\nnameserver 192.0.2.1\n";
        assert_eq!(text(Resolver { host: &host, ..Resolver::default() }), "");
        assert_eq!(text(Resolver { host: "nameserver\nnameserver x\nsearch\n\0", ..Resolver::default() }), "");
    }

    #[test]
    fn hosts_with_extras() {
        let extra = [
            ("db".to_owned(), HostAddress::Ip("192.0.2.9".parse().unwrap())),
            ("host.docker.internal".to_owned(), HostAddress::Gateway),
        ];
        let ip = "10.76.0.2".parse().ok();
        let gateway = "10.76.0.1".parse().ok();
        let text = hosts(&Hosts { names: &["web", "w"], ip, gateway, extra: &extra }).unwrap();
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost"));
        assert!(text.ends_with("192.0.2.9\tdb\n10.76.0.1\thost.docker.internal\n10.76.0.2\tweb w\n"), "{text}");
        assert!(hosts(&Hosts { extra: &extra, ..Hosts::default() }).is_err());
        assert!(hosts(&Hosts { names: &["a\n1.2.3.4 b"], ..Hosts::default() }).is_err());
        assert!(hosts(&Hosts { names: &["web"], ..Hosts::default() }).unwrap().ends_with("127.0.1.1\tweb\n"));
    }
}

//! DNS messages (RFC 1035): one question is read, and an answer to it is written. Pure functions over bytes that anybody
//! may have sent: what is not exactly one plain question is no query, and no length in a message is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest query that is read, bytes.
pub(crate) const MAX_QUERY: usize = 4096;
/// Longest answer over UDP, for an asker who does not say what it can take.
const PLAIN_UDP: usize = 512;
/// Longest answer that is written; a container on a network with more addresses under one name gets the first ones.
const MAX_ANSWER: usize = 4096;

const HEADER: usize = 12;
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// How long an answer may be kept, seconds: a container may be gone soon.
const TIME_TO_LIVE: u32 = 5;

const FLAG_REPLY: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const FLAG_AUTHORITATIVE: u16 = 0x0400;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;

/// Type of an IPv4 address.
pub(crate) const A: u16 = 1;
/// Type of a name that belongs to an address.
pub(crate) const PTR: u16 = 12;
/// Type of an IPv6 address.
pub(crate) const AAAA: u16 = 28;
/// Any type.
pub(crate) const ANY: u16 = 255;
const OPT: u16 = 41;
const CLASS_INTERNET: u16 = 1;

/// How a query was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// No error; there may be no answers of the type asked for.
    Fine = 0,
    /// Nobody could be asked.
    ServerFailure = 2,
    /// There is no such name.
    NoSuchName = 3,
}

/// One question, from somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// What the asker calls it.
    pub id: u16,
    /// The name, in lower case, without a dot at its end. Bytes that are no letters are kept as they are.
    pub name: Vec<u8>,
    /// The type of record.
    pub kind: u16,
    /// Whether it is of the class of the Internet.
    pub internet: bool,
    recursion_desired: bool,
    /// Most bytes that the asker takes over UDP.
    limit: usize,
    /// The bytes of the question as they were sent.
    question: Vec<u8>,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// An address.
    Address(IpAddr),
    /// The name that belongs to the address asked for.
    Name(String),
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

impl Query {
    /// Reads a query; `None` for whatever is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_QUERY {
            return None;
        }
        let flags = u16_at(bytes, 2)?;
        let counts = [u16_at(bytes, 4)?, u16_at(bytes, 6)?, u16_at(bytes, 8)?];
        if flags & (FLAG_REPLY | OPCODE | FLAG_TRUNCATED) != 0 || counts != [1, 0, 0] {
            return None;
        }
        let (name, after) = read_name(bytes, HEADER)?;
        let (kind, class) = (u16_at(bytes, after)?, u16_at(bytes, after + 2)?);
        let end = after + 4;
        let limit = match u16_at(bytes, 10)? {
            0 => PLAIN_UDP,
            // The pseudo record of EDNS: the root's name, its type, and as its class the size.
            _ => match (bytes.get(end)?, u16_at(bytes, end + 1)?) {
                (0, OPT) => usize::from(u16_at(bytes, end + 3)?).clamp(PLAIN_UDP, MAX_ANSWER),
                _ => PLAIN_UDP,
            },
        };
        Some(Self {
            id: u16_at(bytes, 0)?,
            name,
            kind,
            internet: class == CLASS_INTERNET || class == ANY,
            recursion_desired: flags & FLAG_RECURSION_DESIRED != 0,
            limit,
            question: bytes.get(HEADER..end)?.to_vec(),
        })
    }

    /// The name as text, if it is one.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.name).ok()
    }

    /// The address that a question backwards asks for: `5.0.79.10.in-addr.arpa`.
    pub fn address(&self) -> Option<IpAddr> {
        let text = self.text().filter(|_| self.kind == PTR)?;
        if let Some(reversed) = text.strip_suffix(".in-addr.arpa") {
            let mut octets = [0u8; 4];
            let mut parts = reversed.split('.');
            for octet in octets.iter_mut().rev() {
                *octet = parts.next()?.parse().ok()?;
            }
            return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
        }
        let reversed = text.strip_suffix(".ip6.arpa")?;
        let mut bits = 0u128;
        let mut digits = 0;
        for part in reversed.split('.') {
            let digit = u128::from_str_radix(part, 16).ok().filter(|_| part.len() == 1)?;
            bits |= digit.checked_shl(4 * digits)?;
            digits += 1;
        }
        (digits == 32).then(|| Ipv6Addr::from_bits(bits).into())
    }

    /// The answer with these records; those of another type than asked for must have been left out. `stream` says that
    /// it goes over TCP, where long answers are no trouble.
    pub fn answer(&self, code: Code, records: &[Record], stream: bool) -> Vec<u8> {
        let mut flags = FLAG_REPLY | FLAG_RECURSION_AVAILABLE | code as u16;
        if !records.is_empty() {
            flags |= FLAG_AUTHORITATIVE;
        }
        if self.recursion_desired {
            flags |= FLAG_RECURSION_DESIRED;
        }
        let mut message = Vec::with_capacity(HEADER + self.question.len() + records.len() * 28);
        for word in [self.id, flags, 1, 0, 0, 0] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.extend_from_slice(&self.question);
        let limit = if stream { MAX_ANSWER } else { self.limit };
        let mut count = 0u16;
        for record in records {
            let length = message.len();
            if !write_record(&mut message, record) {
                continue;
            }
            if message.len() > limit {
                message.truncate(length);
                flags |= FLAG_TRUNCATED;
                break;
            }
            count += 1;
        }
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message
    }

    /// The same question under another number, to be asked of somebody else.
    pub fn renumbered(bytes: &[u8], id: u16) -> Vec<u8> {
        let mut copy = bytes.to_vec();
        if let Some(place) = copy.get_mut(..2) {
            place.copy_from_slice(&id.to_be_bytes());
        }
        copy
    }

    /// Whether `bytes` is an answer to this question that was asked under the number `id`.
    pub fn is_answered_by(&self, bytes: &[u8], id: u16) -> bool {
        let reply = u16_at(bytes, 0) == Some(id) && u16_at(bytes, 2).is_some_and(|flags| flags & FLAG_REPLY != 0);
        let asked = bytes.get(HEADER..HEADER + self.question.len());
        // A server that refuses a question may leave it out.
        reply && (asked.is_some_and(|asked| asked.eq_ignore_ascii_case(&self.question)) || u16_at(bytes, 4) == Some(0))
    }
}

/// Reads a name that is not compressed; gives it in lower case and where it ends.
fn read_name(bytes: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut at) = (Vec::new(), start);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = bytes.get(at..at + length).filter(|_| length <= MAX_LABEL)?;
        // A dot inside a label would make another name of it.
        if label.contains(&b'.') || name.len() + length + 1 >= MAX_NAME {
            return None;
        }
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend(label.iter().map(u8::to_ascii_lowercase));
        at += length;
    }
}

/// Writes one record, whose name is the question's; says whether it could.
fn write_record(message: &mut Vec<u8>, record: &Record) -> bool {
    let (kind, data) = match record {
        Record::Address(IpAddr::V4(ip)) => (A, ip.octets().to_vec()),
        Record::Address(IpAddr::V6(ip)) => (AAAA, ip.octets().to_vec()),
        Record::Name(name) => match write_name(name) {
            Some(bytes) => (PTR, bytes),
            None => return false,
        },
    };
    // A pointer to the question's name, which is at the twelfth byte.
    message.extend_from_slice(&[0xc0, HEADER as u8]);
    for word in [kind, CLASS_INTERNET] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    message.extend_from_slice(&TIME_TO_LIVE.to_be_bytes());
    message.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    message.extend_from_slice(&data);
    true
}

fn write_name(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=MAX_LABEL as u8).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= MAX_NAME).then_some(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A query as a resolver writes it.
    pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(write_name(name).unwrap());
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    #[test]
    fn reads_a_question_and_answers_it() {
        let bytes = query("Web.Lab", A);
        let parsed = Query::parse(&bytes).unwrap();
        assert_eq!((parsed.id, parsed.text(), parsed.kind, parsed.internet), (0x1234, Some("web.lab"), A, true));
        let answer = parsed.answer(Code::Fine, &[Record::Address("10.1.2.3".parse().unwrap())], false);
        assert_eq!(answer[..4], [0x12, 0x34, 0x85, 0x80]);
        assert_eq!(answer[12..bytes.len()], bytes[12..], "the question is repeated as it was");
        assert_eq!(answer[bytes.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 1, 2, 3]);
        assert_eq!(parsed.answer(Code::NoSuchName, &[], false)[3], 0x83);
        assert!(parsed.is_answered_by(&answer, 0x1234) && !parsed.is_answered_by(&answer, 0x1235));
        assert!(!parsed.is_answered_by(&bytes, 0x1234), "a question is no answer");
        assert!(!Query::parse(&query("other.lab", A)).unwrap().is_answered_by(&answer, 0x1234));
    }

    #[test]
    fn backwards() {
        let address = |name: &str| Query::parse(&query(name, PTR)).unwrap().address();
        assert_eq!(address("5.0.79.10.in-addr.arpa"), "10.79.0.5".parse().ok());
        let six = format!("{}0.0.d.f.ip6.arpa", "1.".to_owned() + &"0.".repeat(27));
        assert_eq!(address(&six), "fd00::1".parse().ok());
        for wrong in
            ["0.79.10.in-addr.arpa", "x.0.79.10.in-addr.arpa", "1.5.0.79.10.in-addr.arpa", "1.0.ip6.arpa", "web"]
        {
            assert_eq!(address(wrong), None, "{wrong}");
        }
        let answer = Query::parse(&query("5.0.79.10.in-addr.arpa", PTR)).unwrap();
        let answer = answer.answer(Code::Fine, &[Record::Name("web.lab".into())], false);
        assert!(answer.ends_with(b"\x03web\x03lab\0"));
    }

    #[test]
    fn long_answers_are_cut_over_udp() {
        let parsed = Query::parse(&query("web", AAAA)).unwrap();
        let many: Vec<Record> = (0..100).map(|n| Record::Address(Ipv6Addr::from_bits(n).into())).collect();
        let answer = parsed.answer(Code::Fine, &many, false);
        assert!(answer.len() <= 512 && answer[2] & 2 != 0);
        let count = usize::from(u16::from_be_bytes([answer[6], answer[7]]));
        assert_eq!(answer.len(), query("web", AAAA).len() + count * 28);
        assert_eq!(parsed.answer(Code::Fine, &many, true)[2] & 2, 0);
    }

    #[test]
    fn what_is_no_plain_question_is_no_query() {
        let good = query("web", A);
        assert!(Query::parse(&good).is_some());
        for length in 0..good.len() {
            assert!(Query::parse(&good[..length]).is_none(), "cut at {length}");
        }
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Query::parse(&bytes)
        };
        for (at, value) in
            [(2, 0x80), (2, 0x28), (2, 2), (5, 0), (5, 2), (7, 1), (9, 1), (12, 0xc0), (12, 64), (13, b'.')]
        {
            assert!(with(at, value).is_none(), "byte {at} as {value}");
        }
        let mut long = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        long.extend(std::iter::repeat_n([1, b'a'], 200).flatten());
        long.extend([0, 0, 1, 0, 1]);
        assert!(Query::parse(&long).is_none(), "a name of 400 bytes");
        assert!(Query::parse(&[good, vec![0; MAX_QUERY]].concat()).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_left(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            if let Some(query) = Query::parse(&bytes) {
                let answer = query.answer(Code::Fine, &[Record::Address(IpAddr::V4(Ipv4Addr::LOCALHOST))], false);
                proptest::prop_assert!(query.is_answered_by(&answer, query.id));
                proptest::prop_assert!(answer.len() <= MAX_ANSWER);
            }
        }

        #[test]
        fn names_read_back(name in "[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,63}){0,2}", kind in 0u16..300) {
            let parsed = Query::parse(&query(&name, kind)).unwrap();
            proptest::prop_assert_eq!(parsed.text(), Some(name.as_str()));
            proptest::prop_assert_eq!(parsed.kind, kind);
        }
    }
}

//! PAX extended headers (POSIX.1-2024 pax(1) "pax Extended Header"): `LENGTH KEY=VALUE\n` records, parsed strictly.
//! A malformed one refuses the archive: two readers that disagree about it see two different archives.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::layer::Time;

/// Longest extended header, bytes.
pub(crate) const PAX_MAX: u64 = 1 << 20;
/// Longest value of an extended attribute (`XATTR_SIZE_MAX` of Linux), bytes.
const XATTR_MAX: usize = 1 << 16;

/// The records of extended headers that concern us. `None` inside an option means: said to be absent.
#[derive(Clone, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<i64>,
    pub(crate) gid: Option<i64>,
    pub(crate) mtime: Option<Time>,
    /// Extended attributes: those of `SCHILY.xattr.` come over those of `LIBARCHIVE.xattr.`.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    libarchive: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) sparse: SparsePax,
}

/// What the GNU sparse records say (GNU tar manual, "Storing Sparse Files", PAX formats 0.0, 0.1 and 1.0).
#[derive(Clone, Default)]
pub(crate) struct SparsePax {
    pub(crate) major: Option<u64>,
    pub(crate) minor: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    /// `GNU.sparse.realsize` or `GNU.sparse.size`.
    pub(crate) size: Option<u64>,
    pub(crate) blocks: Option<u64>,
    /// The map of 0.1, or the pairs of 0.0 in turn.
    pub(crate) numbers: Vec<u64>,
    pub(crate) seen: bool,
}

impl Pax {
    /// Adds the records of one extended header to these; an empty value takes a record back.
    pub(crate) fn parse(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let space = data.iter().take(10).position(|&byte| byte == b' ').ok_or_else(|| bad("no length"))?;
            let length = decimal(&data[..space])?;
            let length = usize::try_from(length).map_err(|_| bad("a record longer than its header"))?;
            if length <= space + 1 || length > data.len() {
                return Err(bad("a record longer than its header"));
            }
            let (record, rest) = data.split_at(length);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(|| bad("a record without its newline"))?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(|| bad("a record without `=`"))?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if key.is_empty() || key.contains(&0) {
                return Err(bad("a record without a key"));
            }
            self.record(key, value)?;
            data = rest;
        }
        Ok(())
    }

    /// Refuses records that make no sense for all entries to come, as two readers would not agree on them.
    pub(crate) fn check_global(&self) -> Result<()> {
        if self.path.is_some() || self.link.is_some() || self.size.is_some() || self.sparse.seen {
            return Err(bad("a global record of path, linkpath, size or sparse"));
        }
        if !self.xattrs.is_empty() || !self.libarchive.is_empty() {
            return Err(bad("a global extended attribute"));
        }
        Ok(())
    }

    /// All extended attributes that may be kept, sorted by name.
    pub(crate) fn take_xattrs(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = std::mem::take(&mut self.libarchive);
        all.append(&mut self.xattrs);
        all.retain(|name, _| keep_xattr(name));
        all.into_iter().collect()
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let given = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = plain(given(value))?,
            b"linkpath" => self.link = plain(given(value))?,
            b"size" => self.size = optional(value, decimal)?,
            b"uid" => self.uid = optional(value, signed)?,
            b"gid" => self.gid = optional(value, signed)?,
            b"mtime" => self.mtime = optional(value, time)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    insert(&mut self.xattrs, name.to_vec(), value.to_vec())?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    insert(&mut self.libarchive, percent_decode(name)?, base64_decode(value)?)?;
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.record(key, value)?;
                }
            }
        }
        Ok(())
    }
}

impl SparsePax {
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.seen = true;
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" => self.name = plain(Some(value.to_vec()))?,
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"numblocks" => self.blocks = Some(decimal(value)?),
            b"offset" if self.numbers.len().is_multiple_of(2) => self.numbers.push(decimal(value)?),
            b"numbytes" if !self.numbers.len().is_multiple_of(2) => self.numbers.push(decimal(value)?),
            b"map" if self.numbers.is_empty() => {
                self.numbers = value.split(|&byte| byte == b',').map(decimal).collect::<Result<_>>()?;
            }
            _ => return Err(bad("a sparse record that is unknown or out of order")),
        }
        Ok(())
    }
}

/// Whether an extended attribute may go from a layer to the disk or back: overlayfs's own marks never do.
pub(crate) fn keep_xattr(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
}

fn insert(into: &mut BTreeMap<Vec<u8>, Vec<u8>>, name: Vec<u8>, value: Vec<u8>) -> Result<()> {
    if name.is_empty() || name.len() > 255 || value.len() > XATTR_MAX {
        return Err(bad("an extended attribute with a bad name or more than 64 KiB"));
    }
    into.insert(name, value);
    Ok(())
}

fn bad(what: &str) -> Error {
    Error::InvalidLayer(format!("a PAX header has {what}"))
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Result<T>) -> Result<Option<T>> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some) }
}

fn plain(value: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    if value.as_ref().is_some_and(|value| value.contains(&0)) {
        return Err(bad("a path with NUL"));
    }
    Ok(value)
}

/// A decimal number of digits only.
pub(crate) fn decimal(digits: &[u8]) -> Result<u64> {
    let invalid = || bad("a number that is none");
    if digits.is_empty() || digits.len() > 20 {
        return Err(invalid());
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10).ok_or_else(invalid)?;
        value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit))).ok_or_else(invalid)
    })
}

fn signed(digits: &[u8]) -> Result<i64> {
    let (negative, digits) = digits.strip_prefix(b"-").map_or((false, digits), |rest| (true, rest));
    let value = i64::try_from(decimal(digits)?).map_err(|_| bad("a number that is too large"))?;
    Ok(if negative { -value } else { value })
}

/// `[-]SECONDS[.FRACTION]`; digits past the ninth are dropped.
fn time(text: &[u8]) -> Result<Time> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad("a time that is none"));
    }
    let seconds = signed(whole)?;
    let mut nanoseconds = 0;
    for index in 0..9 {
        nanoseconds = nanoseconds * 10 + u32::from(fraction.get(index).map_or(0, |digit| digit - b'0'));
    }
    if whole.starts_with(b"-") && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1).ok_or_else(|| bad("a time that is too early"))?;
        return Ok(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Ok(Time { seconds, nanoseconds })
}

fn percent_decode(text: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let [high, low, tail @ ..] = rest else { return Err(bad("an attribute name with a cut escape")) };
        match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return Err(bad("an attribute name with a bad escape")),
        }
        rest = tail;
    }
    Ok(out)
}

/// RFC 4648 base64, padding optional (libarchive writes none).
fn base64_decode(text: &[u8]) -> Result<Vec<u8>> {
    let text = text.trim_ascii_end();
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for &digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(bad("an attribute that is not base64")),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if count == 6 { Err(bad("an attribute that is not base64")) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Pax> {
        let mut pax = Pax::default();
        pax.parse(text).map(|()| pax)
    }

    #[test]
    fn parses_records() {
        let pax = parse(b"12 path=a\nb\n12 size=100\n18 mtime=-86400.5\n10 uid=-1\n").unwrap();
        assert_eq!(pax.path.unwrap(), b"a\nb");
        assert_eq!((pax.size, pax.uid), (Some(100), Some(-1)));
        assert_eq!(pax.mtime.unwrap(), Time { seconds: -86_401, nanoseconds: 500_000_000 });
        assert_eq!(parse(b"12 path=abc\n8 path=\n").unwrap().path, None);
        let mut pax = parse(b"28 LIBARCHIVE.xattr.a%3D=Yg\n21 SCHILY.xattr.b=\0\n\n").unwrap();
        assert_eq!(pax.take_xattrs(), [(b"a=".to_vec(), b"b".to_vec()), (b"b".to_vec(), b"\0\n".to_vec())]);
    }

    #[test]
    fn refuses_malformed_ones() {
        for text in [
            &b"x"[..],
            b"9 path=a",
            b"99 path=a\n",
            b"5 path=a\n",
            b"09999999999 path=a\n",
            b"10 path=ab\n10 path=ab\n",
            b"8 =abcd\n",
            b"9 patha\nx",
            b"10 path=\0a\n",
            b"12 size=-10\n",
            b"33 size=999999999999999999999999\n",
            b"12 mtime=1.x\n",
            b"15 mtime=--1.0\n",
            b"0 a=b\n",
            b"2 a=b\n",
        ] {
            assert!(parse(text).is_err(), "{}", text.escape_ascii());
        }
    }
}

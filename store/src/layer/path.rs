//! A path inside a layer: relative, plain and bounded, so that it can never lead out of a tree.

use std::fmt;

use crate::error::{Error, Result};

/// Longest path accepted, in bytes (RELIABILITY: path 4 KiB).
pub const PATH_MAX: usize = 4096;
/// Longest name accepted, in bytes (`NAME_MAX` of Linux).
pub const NAME_MAX: usize = 255;

/// A path of a layer's entry: components joined by `/`, no leading or trailing slash, no `.`, `..` or empty component,
/// no NUL. The root is the empty path. Any other bytes are legal: names need not be UTF-8. Ordered by components, so
/// that a directory comes right before what is in it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct LayerPath(Box<[u8]>);

impl LayerPath {
    /// The root of the tree.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses a path as found in tar headers and Buildfiles: leading slashes, `.` components and doubled or trailing
    /// slashes are dropped.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] for `..`, NUL, a name over [`NAME_MAX`] or a path over [`PATH_MAX`].
    pub fn parse(raw: &[u8]) -> Result<Self> {
        let bad = |why: &str| {
            Error::InvalidLayer(format!("path {:?}: {why}", raw[..raw.len().min(200)].escape_ascii().to_string()))
        };
        if raw.len() > PATH_MAX {
            return Err(bad("longer than 4096 bytes"));
        }
        let mut path = Vec::with_capacity(raw.len());
        for name in raw.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(bad("contains `..`")),
                _ if name.len() > NAME_MAX => return Err(bad("has a name longer than 255 bytes")),
                _ if name.contains(&0) => return Err(bad("contains NUL")),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Ok(Self(path.into()))
    }

    /// Takes bytes that are a path in our own form already, without going through its names one by one.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] for what [`LayerPath::parse`] refuses or would change.
    pub fn from_canonical(raw: Vec<u8>) -> Result<Self> {
        let plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && name.len() <= NAME_MAX && !name.contains(&0);
        if raw.is_empty() || (raw.len() <= PATH_MAX && raw.split(|&byte| byte == b'/').all(plain)) {
            return Ok(Self(raw.into()));
        }
        Self::parse(&raw)?;
        Err(Error::InvalidLayer(format!("path {:?} is not canonical", raw.escape_ascii().to_string())))
    }

    /// The bytes, without leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The directory that holds this entry; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// This path with one more name.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] if `name` is not one plain component or the path grows too long.
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        let mut raw = self.0.to_vec();
        raw.push(b'/');
        raw.extend_from_slice(name);
        let path = Self::parse(&raw)?;
        if path.name() != Some(name) || path.parent().as_ref() != Some(self) {
            return Err(Error::InvalidLayer(format!("{:?} is not a plain name", name.escape_ascii().to_string())));
        }
        Ok(path)
    }

    /// Whether this path is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        other.is_root() || self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl Ord for LayerPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (ours, theirs) = (&self.0, &other.0);
        let same = ours.iter().zip(theirs.iter()).take_while(|(a, b)| a == b).count();
        // The slash ends a name, and a name comes before those that it begins.
        let rank = |path: &[u8]| path.get(same).map(|&byte| if byte == b'/' { 0 } else { u16::from(byte) + 1 });
        rank(ours).cmp(&rank(theirs))
    }
}

impl PartialOrd for LayerPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Absolute and escaped: safe on a terminal.
impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/")?;
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => fmt::Display::fmt(&self.0.escape_ascii(), f),
        }
    }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_and_refuses() {
        let parse = |raw: &str| LayerPath::parse(raw.as_bytes());
        assert_eq!(parse("./a//b/").unwrap().as_bytes(), b"a/b");
        assert_eq!(parse("/").unwrap(), LayerPath::root());
        assert!(parse("a/../b").is_err());
        assert!(parse("a\0b").is_err());
        assert!(parse(&"x".repeat(256)).is_err());
        assert!(parse(&"x/".repeat(3000)).is_err());
    }

    #[test]
    fn join_takes_one_plain_name() {
        let root = LayerPath::root();
        assert_eq!(root.join(b"a").unwrap().join(b"b").unwrap().as_bytes(), b"a/b");
        for bad in [&b"a/b"[..], b"", b".", b"..", b"/"] {
            assert!(root.join(bad).is_err());
        }
    }

    #[test]
    fn order_is_that_of_components() {
        let raw = ["", "a", "a/b", "a/b/c", "a-b", "a\u{1}b", "ab", "ab/c", "a/bc", "b", "a!/c", "a/b-c"];
        let paths: Vec<_> = raw.iter().map(|raw| LayerPath::parse(raw.as_bytes()).unwrap()).collect();
        for one in &paths {
            for other in &paths {
                assert_eq!(one.cmp(other), one.components().cmp(other.components()), "{one} {other}");
            }
        }
    }

    #[test]
    fn canonical_is_what_parse_gives() {
        for good in ["", "a", "a/b"] {
            assert_eq!(LayerPath::from_canonical(good.into()).unwrap().as_bytes(), good.as_bytes());
        }
        for bad in ["/", "a/", "/a", "a//b", "./a", "a/..", "a\0", &"x".repeat(256), &"x/".repeat(3000)] {
            assert!(LayerPath::from_canonical(bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn orders_by_component_and_knows_ancestors() {
        let path = |raw: &str| LayerPath::parse(raw.as_bytes()).unwrap();
        assert!(path("a") < path("a/b") && path("a/b") < path("a-b"));
        assert!(path("a/b").is_within(&path("a")) && !path("ab").is_within(&path("a")));
    }
}

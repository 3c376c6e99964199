//! Digests: parsed once at the edge, so that no raw string from a manifest ever becomes a path.
//!
//! [`Digest`] is `sha256:<64 lower case hex digits>` (OCI image spec, descriptor.md "Digests"). [`DiffId`], [`ChainId`]
//! and [`ImageId`] are digests of different things and therefore different types. [`Digester`] hashes what is written
//! to it; [`VerifiedReader`] passes bytes on and fails at the end unless size and digest are as announced.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A sha256 digest of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hex digits, lower case; safe as a file name.
    #[must_use]
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The first 12 hex digits, as listings show them.
    #[must_use]
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    /// The 32 raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest from its 32 raw bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Parses exactly 64 lower case hex digits without an algorithm prefix.
    ///
    /// # Errors
    /// [`Error::InvalidDigest`] for anything else.
    pub fn from_hex(hex: &str) -> Result<Self> {
        let invalid = || Error::InvalidDigest(hex.chars().take(100).collect());
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return Err(invalid());
        }
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(invalid()),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.strip_prefix("sha256:").ok_or_else(|| Error::InvalidDigest(text.chars().take(100).collect()))?;
        Self::from_hex(hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! digest_of {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl $name {
            /// The 64 hex digits; safe as a file name.
            #[must_use]
            pub fn hex(&self) -> String {
                self.0.hex()
            }

            /// The first 12 hex digits, as listings show them.
            #[must_use]
            pub fn short(&self) -> String {
                self.0.short()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                text.parse().map(Self)
            }
        }
    };
}

digest_of! {
    /// The digest of a layer's uncompressed tar (OCI image spec, config.md "Layer DiffID").
    DiffId
}
digest_of! {
    /// Names a stack of layers: the top one applied on all below (OCI image spec, config.md "Layer ChainID").
    ChainId
}
digest_of! {
    /// The digest of an image's config bytes (OCI image spec, config.md "ImageID").
    ImageId
}

impl ChainId {
    /// The chain id of `layers`, lowest first; `None` for no layers.
    #[must_use]
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        let (first, rest) = layers.split_first()?;
        Some(rest.iter().fold(Self(first.0), |chain, layer| chain.with(layer)))
    }

    /// The chain id of `layer` on top of this chain.
    #[must_use]
    pub fn with(&self, layer: &DiffId) -> Self {
        Self(Digest::of(format!("{self} {layer}").as_bytes()))
    }
}

/// Hashes and counts what is written to it.
#[derive(Clone, Default)]
pub struct Digester {
    hash: Sha256,
    size: u64,
}

impl Digester {
    /// A digester that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// Bytes seen so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of all bytes seen.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.hash.finalize().into())
    }
}

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on what `inner` gives and fails at its end unless the bytes had the announced size and digest. Never reads
/// more than one byte past the announced size. What was read before the end is not yet verified: commit nothing
/// before this reader has returned `Ok(0)`.
pub struct VerifiedReader<R> {
    inner: R,
    what: String,
    expected: Digest,
    size: u64,
    digester: Option<Digester>,
}

impl<R: Read> VerifiedReader<R> {
    /// Verifies `inner`, called `what` in errors, against `expected` and `size` in bytes.
    pub fn new(inner: R, what: impl Into<String>, expected: Digest, size: u64) -> Self {
        Self { inner, what: what.into(), expected, size, digester: Some(Digester::new()) }
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(digester) = &mut self.digester else { return Ok(0) };
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = self.size - digester.size();
        let want = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.inner.read(&mut buffer[..want])?;
        if got as u64 > left || (got == 0 && left > 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Error::SizeMismatch {
                    what: self.what.clone(),
                    expected: self.size,
                    actual: digester.size() + got as u64,
                },
            ));
        }
        digester.update(&buffer[..got]);
        if got == 0 {
            let actual = self.digester.take().map(Digester::finish).unwrap_or(self.expected);
            if actual != self.expected {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    Error::DigestMismatch {
                        what: self.what.clone(),
                        expected: self.expected.to_string(),
                        actual: actual.to_string(),
                    },
                ));
            }
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn parses_only_canonical_text() {
        assert_eq!(EMPTY.parse::<Digest>().unwrap().to_string(), EMPTY);
        for bad in ["", "sha256:", "sha256:E3", &EMPTY[7..], &EMPTY.to_uppercase(), "sha512:00", "sha256:../../x"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn chain_of_one_is_its_diff_id() {
        let a = DiffId(Digest::of(b"a"));
        let b = DiffId(Digest::of(b"b"));
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(&[a]), Some(ChainId(a.0)));
        let expected = Digest::of(format!("{a} {b}").as_bytes());
        assert_eq!(ChainId::of(&[a, b]), Some(ChainId(expected)));
    }

    #[test]
    fn verified_reader_refuses_wrong_length_and_bytes() {
        let read = |bytes: &[u8], digest: Digest, size: u64| {
            let mut out = Vec::new();
            VerifiedReader::new(bytes, "blob", digest, size).read_to_end(&mut out).map(|_| out)
        };
        let good = Digest::of(b"hello");
        assert_eq!(read(b"hello", good, 5).unwrap(), b"hello");
        assert!(read(b"hell", good, 5).is_err());
        assert!(read(b"hello!", good, 5).is_err());
        assert!(read(b"jello", good, 5).is_err());
    }
}

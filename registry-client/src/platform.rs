//! What an image runs on: operating system, architecture and variant, and which image serves which machine.
//!
//! Names are those of the OCI image spec (image-index.md), the ones Go uses. [`Platform::rank`] is the whole policy of
//! choice: an exact match first, then older variants of the same architecture, then the 32-bit sibling.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::redact;

/// An operating system, an architecture and, for some, its variant. Normalised when parsed or built with
/// [`Platform::new`]; one that was read from a document is kept as it was and normalised when compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, …
    pub os: String,
    /// `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// A platform, in normal form: `x86_64` becomes `amd64`, `arm64/v8` becomes `arm64`, `arm` becomes `arm/v7`.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.map(str::to_ascii_lowercase).filter(|variant| !variant.is_empty());
        let variant = variant.map(|v| if v.starts_with(|c: char| c.is_ascii_digit()) { format!("v{v}") } else { v });
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", Some(v)) => ("amd64", Some(v)),
            ("i386" | "i486" | "i586" | "i686" | "x86" | "386", v) => ("386", v),
            ("aarch64" | "arm64", None | Some("v8")) => ("arm64", None),
            ("aarch64" | "arm64", Some(v)) => ("arm64", Some(v)),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None) => ("arm", Some("v7")),
            ("powerpc64le", v) => ("ppc64le", v),
            (other, v) => (other, v),
        };
        Self { os: os.to_ascii_lowercase(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// The platform that this program was built for.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, None)
    }

    /// How well an image for `offered` serves a machine of this platform: 0 is best, `None` is not at all.
    #[must_use]
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        let wanted = Self::new(&self.os, &self.architecture, self.variant.as_deref());
        let offered = Self::new(&offered.os, &offered.architecture, offered.variant.as_deref());
        if wanted.os != offered.os {
            return None;
        }
        if wanted.architecture == offered.architecture {
            return variant_rank(&wanted, &offered);
        }
        match (wanted.architecture.as_str(), offered.architecture.as_str()) {
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => Self::new(&wanted.os, "arm", Some("v8")).rank(&offered).map(|rank| 100 + rank),
            _ => None,
        }
    }

    /// Whether this is the mark of an attestation in an index (BuildKit's `unknown/unknown`), not of an image.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

/// Older variants of the same architecture serve a newer machine; the reverse is never true.
fn variant_rank(wanted: &Platform, offered: &Platform) -> Option<u32> {
    if wanted.variant == offered.variant {
        return Some(0);
    }
    let level = |platform: &Platform| -> Option<u32> {
        match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("amd64", None) => Some(10),
            ("arm64", None) => Some(80),
            (_, None) => None,
            // "v8.2" counts as 82, so that minor versions of arm64 are ordered too.
            (_, Some(variant)) => {
                let (major, minor) = variant.strip_prefix('v')?.split_once('.').unwrap_or((&variant[1..], "0"));
                Some(
                    major.parse::<u32>().ok().filter(|n| *n < 100)? * 10
                        + minor.parse::<u32>().ok().filter(|n| *n < 10)?,
                )
            }
        }
    };
    match (level(wanted), level(offered)) {
        (Some(wanted), Some(offered)) if offered < wanted => Some(wanted - offered),
        (Some(_), Some(_)) => None,
        // Where variants have no order, one without a variant is for all.
        _ if offered.variant.is_none() => Some(1),
        _ => None,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Parses `os/architecture[/variant]`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        let legal = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(legal) {
            return Err(Error::InvalidPlatform(redact::text(text)));
        }
        Ok(Self::new(parts[0], parts[1], parts.get(2).copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(wanted: &str, offered: &[&'a str]) -> Option<&'a str> {
        let wanted: Platform = wanted.parse().unwrap();
        let ranked = offered.iter().filter_map(|o| Some((wanted.rank(&o.parse().unwrap())?, *o)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, o)| o)
    }

    #[test]
    fn names_have_one_form() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/s390x", "linux/s390x"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
        }
        for bad in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "linux/a\x1b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn older_variants_serve_newer_machines() {
        assert_eq!(best("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"]), Some("linux/arm/v6"));
        assert_eq!(best("linux/arm/v6", &["linux/arm/v7"]), None);
        assert_eq!(best("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"]), Some("linux/arm64/v8"));
        assert_eq!(best("linux/arm64", &["linux/arm/v6", "linux/arm/v7"]), Some("linux/arm/v7"));
        assert_eq!(best("linux/arm64/v8.2", &["linux/arm64/v8.1", "linux/arm64"]), Some("linux/arm64/v8.1"));
        assert_eq!(best("linux/amd64", &["linux/amd64/v3"]), None);
        assert_eq!(best("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"]), Some("linux/amd64/v2"));
        assert_eq!(best("linux/amd64", &["linux/386", "windows/amd64"]), Some("linux/386"));
        assert_eq!(best("linux/386", &["linux/amd64"]), None);
    }

    #[test]
    fn hostile_variants_do_not_panic() {
        for variant in ["v", "", "vé", "v99999999999999", "é", "v1.", "."] {
            let offered = Platform { os: "linux".into(), architecture: "arm".into(), variant: Some(variant.into()) };
            let _ = Platform::host().rank(&offered);
            assert_eq!("linux/arm/v7".parse::<Platform>().unwrap().rank(&offered).is_some(), variant.is_empty());
        }
    }
}

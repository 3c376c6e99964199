//! References: how users name images, read exactly as Docker reads them.
//!
//! `[registry/]repository[:tag][@digest]`, with `docker.io` and `library/` filled in. A [`Reference`] can only hold legal
//! values: the whole grammar and all lengths are checked here, before anything touches the network, so its parts may be
//! put into URLs as they are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::redact;

/// The registry that names without one belong to.
pub(crate) const DOCKER_HUB: &str = "docker.io";
const OFFICIAL: &str = "library/";
const LATEST: &str = "latest";
/// The longest repository name, registry not counted (as in Docker).
const REPOSITORY_LENGTH: usize = 255;
/// The longest host with port: a DNS name has at most 253 characters.
const REGISTRY_LENGTH: usize = 253 + 6;
const TAG_LENGTH: usize = 128;

/// The name of an image: registry, repository, and a tag or a digest or both. With neither given, the tag is `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses what a user typed.
    ///
    /// # Errors
    /// [`Error::InvalidReference`] with the rule that was broken.
    pub fn parse(text: &str) -> Result<Self> {
        parse(text).map_err(|why| Error::InvalidReference { text: redact::text(text), why })
    }

    /// Host and port as the user names the registry, such as `docker.io`, `localhost:5000` or `[::1]:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry, such as `library/ubuntu`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, which is there unless only a digest was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given; it wins over the tag.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    /// [`Error::InvalidReference`] when `tag` is not a legal tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        check_tag(tag).map_err(|why| Error::InvalidReference { text: redact::text(tag), why })?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same name pinned to a digest; the tag stays for display.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The whole name, such as `docker.io/library/ubuntu:latest`; parsing it gives the same reference.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!("{}/{}{}", self.registry, self.repository, self.suffix())
    }

    /// The short name that Docker shows, such as `ubuntu:latest`; parsing it gives the same reference.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The short name without tag and digest, such as `ubuntu`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry != DOCKER_HUB {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix(OFFICIAL) {
            // `library/a/b` may not be shortened: `a/b` means something else.
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.repository.clone(),
        }
    }

    /// What a manifest request asks for: the digest, or else the tag.
    pub(crate) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// `registry/repository`, for messages and rules.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map_or_else(String::new, |tag| format!(":{tag}"));
        let digest = self.digest.as_ref().map_or_else(String::new, |digest| format!("@{digest}"));
        tag + &digest
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > REGISTRY_LENGTH + REPOSITORY_LENGTH + TAG_LENGTH + 100 {
        return Err("it is too long");
    }
    if let Some(found) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(if found == ' ' { "it has a space" } else { "it has a character that is not printable ASCII" });
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            (rest, Some(digest.parse::<Digest>().map_err(|_| "the part after @ is no sha256 digest")?))
        }
        None => (text, None),
    };
    // A colon after the last slash starts a tag; one before it belongs to the registry's port.
    let (name, tag) = match rest.rfind(':') {
        Some(colon) if !rest[colon..].contains('/') && !rest.ends_with(']') => {
            (&rest[..colon], Some(&rest[colon + 1..]))
        }
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("64 hex digits are an image id, not a name");
    }
    let (registry, repository) = split_registry(name)?;
    check_repository(&repository)?;
    let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| LATEST.to_owned()));
    Ok(Reference { registry, repository, tag, digest })
}

/// The part before the first slash is a registry if it could not be the start of a name on Docker Hub.
fn split_registry(name: &str) -> Result<(String, String), &'static str> {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => {
            check_registry(first)?;
            (first.to_ascii_lowercase(), rest)
        }
        _ => (DOCKER_HUB.to_owned(), name),
    };
    let registry = if registry == "index.docker.io" { DOCKER_HUB.to_owned() } else { registry };
    if registry == DOCKER_HUB && !repository.contains('/') {
        return Ok((registry, format!("{OFFICIAL}{repository}")));
    }
    Ok((registry, repository.to_owned()))
}

/// Checks `host[:port]`, where the host is a DNS name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn check_registry(registry: &str) -> Result<(), &'static str> {
    if registry.len() > REGISTRY_LENGTH {
        return Err("the registry's name is too long");
    }
    let (host, port) = if let Some(rest) = registry.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or("the registry's IPv6 address has no closing bracket")?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| "the registry's IPv6 address is wrong")?;
        (None, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or("the registry's port is wrong")?) })
    } else {
        let (host, port) = registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
        (Some(host), port)
    };
    if let Some(host) = host {
        let legal = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !host.split('.').all(legal) {
            return Err("the registry is no host name or address");
        }
    }
    match port {
        Some(port)
            if port.len() > 5
                || !port.bytes().all(|b| b.is_ascii_digit())
                || !matches!(port.parse::<u16>(), Ok(1..)) =>
        {
            Err("the registry's port is wrong")
        }
        _ => Ok(()),
    }
}

/// Checks a path of components: lower case letters and digits, with `.`, `_`, `__` or dashes only between them.
pub(crate) fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.len() > REPOSITORY_LENGTH {
        return Err("the repository's name is longer than 255 characters");
    }
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the repository's name must be in lower case");
    }
    let component = |text: &str| {
        let alphanumeric = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
        let separators =
            text.split(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase()).filter(|part| !part.is_empty());
        text.bytes().next().is_some_and(alphanumeric)
            && text.bytes().last().is_some_and(alphanumeric)
            && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
    };
    if repository.split('/').all(component) { Ok(()) } else { Err("the repository's name has an illegal part") }
}

pub(crate) fn check_tag(tag: &str) -> Result<(), &'static str> {
    if tag.is_empty() {
        return Err("the tag is empty");
    }
    if tag.len() > TAG_LENGTH {
        return Err("the tag is longer than 128 characters");
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if word(tag.as_bytes()[0]) && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-') {
        Ok(())
    } else {
        Err("a tag is made of letters, digits, '_', '.' and '-', and starts with none of the last two")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_as_docker_reads_them() {
        for (text, canonical, familiar) in [
            ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("ubuntu:24.04", "docker.io/library/ubuntu:24.04", "ubuntu:24.04"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("index.docker.io/library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
            ("reg.example/a/b/c", "reg.example/a/b/c:latest", "reg.example/a/b/c:latest"),
            ("Reg.Example/a", "reg.example/a:latest", "reg.example/a:latest"),
            ("host/app", "docker.io/host/app:latest", "host/app:latest"),
            ("127.0.0.1:80/x", "127.0.0.1:80/x:latest", "127.0.0.1:80/x:latest"),
            ("[::1]:5000/x:t", "[::1]:5000/x:t", "[::1]:5000/x:t"),
            ("[::1]/x", "[::1]/x:latest", "[::1]/x:latest"),
            ("a--b__c/e.f-g", "docker.io/a--b__c/e.f-g:latest", "a--b__c/e.f-g:latest"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.canonical(), canonical);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn digests_and_tags() {
        let pinned = Reference::parse(&format!("ubuntu@sha256:{HEX}")).unwrap();
        assert_eq!((pinned.tag(), pinned.selector()), (None, format!("sha256:{HEX}")));
        let both = Reference::parse(&format!("localhost:5000/ubuntu:1@sha256:{HEX}")).unwrap();
        assert_eq!((both.tag(), both.selector()), (Some("1"), format!("sha256:{HEX}")));
        assert_eq!(both.canonical(), format!("localhost:5000/ubuntu:1@sha256:{HEX}"));
        assert_eq!(both.with_tag("2").unwrap().canonical(), "localhost:5000/ubuntu:2");
        assert!(both.with_tag("a/b").is_err());
    }

    #[test]
    fn everything_else_is_refused() {
        let long_tag = format!("a:{}", "t".repeat(129));
        let long_name = "a".repeat(256);
        for bad in [
            "",
            " ",
            "a b",
            "A",
            "user/App",
            "a:",
            ":a",
            "/a",
            "a/",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a:-t",
            "a:.t",
            "../a",
            "a/../b",
            "reg.example/..",
            "https://reg.example/a",
            "user:pw@reg.example/a",
            "a?b",
            "a#b",
            "a%2fb",
            "a\\b",
            "reg.example:0/a",
            "reg.example:99999/a",
            "reg.example:/a",
            "reg.example:8o/a",
            "-reg.example/a",
            "reg..example/a",
            "[::1/a",
            "[zz]:1/a",
            "[::1]x/a",
            "a@sha256:00",
            "a@",
            "a:b:c",
            "é",
            "a\x1b[0m",
            "Upper/a",
            HEX,
            &long_tag,
            &long_name,
        ] {
            let error = Reference::parse(bad).expect_err(bad);
            assert!(error.hint().is_some() && !error.to_string().contains('\x1b'));
        }
    }

    proptest! {
        #[test]
        fn what_parses_survives_a_round_trip(text in "[a-zA-Z0-9./:@_\\[\\]-]{1,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.canonical()).unwrap(), &reference);
                prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            }
        }

        #[test]
        fn nothing_panics(text in ".{0,60}") {
            let _ = Reference::parse(&text);
        }
    }
}

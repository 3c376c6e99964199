//! User names, passwords and tokens: what they are, where they come from, and for which registry they count.
//!
//! [`DockerConfig`] is a pure parser for docker's `config.json` and podman's `auth.json`, given as bytes. Sources are asked
//! in order; within one file the most specific key wins (`host/namespace/repository` before `host`). Nothing here shows a
//! secret in its `Debug` output.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::auth::helper::{CredentialHelper, ProcessHelper};
use crate::error::{Error, Result};
use crate::reference::DOCKER_HUB;

/// The user name that stands for "the secret is an identity token".
pub(crate) const TOKEN_USER: &str = "<token>";
/// What docker calls Docker Hub in its files and to its helpers.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User name and password.
    Password {
        /// The user's name.
        username: String,
        /// The password, or a token that is used like one.
        password: String,
    },
    /// A refresh token that the registry's token server takes (OAuth2).
    IdentityToken(String),
    /// A bearer token that the registry itself takes.
    RegistryToken(String),
}

/// A place where credentials come from.
#[derive(Clone)]
pub enum CredentialSource {
    /// One credential, for `host[:port][/namespace]`.
    Fixed {
        /// What it counts for.
        registry: String,
        /// The credential.
        credential: Credential,
    },
    /// A docker-style file, with the directories in which its helpers are looked for.
    File {
        /// The parsed file.
        config: Arc<DockerConfig>,
        /// Directories that hold `docker-credential-…` programs.
        helper_dirs: Vec<PathBuf>,
    },
    /// A helper for all registries; it is asked with [`bound`] names.
    Helper(Arc<dyn CredentialHelper>),
}

/// The parts of docker's `config.json` and podman's `auth.json` that are about credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerConfig {
    entries: BTreeMap<String, Credential>,
    /// Keys of `entries` that name https, which are never for plain HTTP.
    encrypted: BTreeSet<String>,
    helpers: BTreeMap<String, String>,
    default_helper: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    default_helper: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// How a server of plain HTTP is named to a [`CredentialHelper`] for all registries.
pub(crate) const PLAIN: &str = "http://";

impl DockerConfig {
    /// Parses a file's bytes. `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Credentials`] when it is no such document. An entry that cannot be decoded is an error too, since leaving
    /// it out would turn a spoilt file into an unexplained refusal by the registry.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let wrong = |why: String| Error::Credentials { registry: name.to_owned(), why, source: None };
        // The parser's own error would quote the file.
        let document: Document = serde_json::from_slice(bytes).map_err(|error| {
            wrong(format!("not a docker configuration (line {}, column {})", error.line(), error.column()))
        })?;
        let (mut entries, mut encrypted) = (BTreeMap::new(), BTreeSet::new());
        for (key, entry) in document.auths {
            let credential =
                entry.credential().ok_or_else(|| wrong(format!("the entry for {key:?} cannot be decoded")))?;
            if let Some(credential) = credential {
                if key.starts_with("https://") {
                    encrypted.insert(normal_key(&key));
                }
                entries.insert(normal_key(&key), credential);
            }
        }
        let helpers = document.helpers.into_iter().map(|(key, name)| (normal_key(&key), name)).collect();
        Ok(Self {
            entries,
            encrypted,
            helpers,
            default_helper: document.default_helper.filter(|name| !name.is_empty()),
        })
    }

    /// The name of the helper that keeps the credentials of `registry`, if not the file does.
    #[must_use]
    pub fn helper(&self, registry: &str) -> Option<&str> {
        self.helpers.get(registry).filter(|name| !name.is_empty()).or(self.default_helper.as_ref()).map(String::as_str)
    }

    fn entry(&self, registry: &str, repository: &str, plain: bool) -> Option<(&String, &Credential)> {
        let fit = |key: &String| !(plain && self.encrypted.contains(key));
        keys(registry, repository).into_iter().filter(fit).find_map(|key| self.entries.get_key_value(&key))
    }
}

impl Entry {
    /// The credential; `Some(None)` for an empty entry, as helpers leave behind; `None` if it cannot be decoded.
    fn credential(self) -> Option<Option<Credential>> {
        if !self.registrytoken.is_empty() {
            return Some(Some(Credential::RegistryToken(self.registrytoken)));
        }
        if !self.identitytoken.is_empty() {
            return Some(Some(Credential::IdentityToken(self.identitytoken)));
        }
        let (username, password) = if self.auth.is_empty() {
            (self.username, self.password)
        } else {
            let text = String::from_utf8(BASE64.decode(self.auth.trim()).ok()?).ok()?;
            let (username, password) = text.trim_end_matches('\0').split_once(':')?;
            (username.to_owned(), password.to_owned())
        };
        Some(Credential::from_pair(username, password))
    }
}

impl Credential {
    /// From the pair that files and helpers keep; `None` for an empty pair.
    pub(crate) fn from_pair(username: String, secret: String) -> Option<Self> {
        match (username.as_str(), secret.is_empty()) {
            ("", true) => None,
            (TOKEN_USER, _) => Some(Self::IdentityToken(secret)),
            _ => Some(Self::Password { username, password: secret }),
        }
    }
}

impl CredentialSource {
    /// The credential for a repository, from the first source that has one. `plain`: it is to go over plain HTTP, for which what was
    /// given for https is none.
    pub(crate) fn find(sources: &[Self], registry: &str, repository: &str, plain: bool) -> Result<Option<Credential>> {
        for source in sources {
            let found = match source {
                Self::Fixed { registry: key, credential } => {
                    keys(registry, repository).contains(&normal_key(key)).then(|| credential.clone())
                }
                Self::File { config, helper_dirs } => {
                    match (config.entry(registry, repository, plain), config.helper(registry)) {
                        // A namespace of its own is more specific than any helper.
                        (Some((key, credential)), _) if key != registry => Some(credential.clone()),
                        (_, Some(name)) => ask(&ProcessHelper::named(name, helper_dirs)?, registry)?,
                        (entry, None) => entry.map(|(_, credential)| credential.clone()),
                    }
                }
                Self::Helper(helper) => ask(helper.as_ref(), &bound(registry, plain))?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The namespace whose credentials count for a repository; repositories with the same place share theirs.
    pub(crate) fn place(sources: &[Self], registry: &str, repository: &str, plain: bool) -> String {
        let found = sources.iter().find_map(|source| match source {
            Self::Fixed { registry: key, .. } => keys(registry, repository).into_iter().find(|k| *k == normal_key(key)),
            Self::File { config, .. } => config.entry(registry, repository, plain).map(|(key, _)| key.clone()),
            Self::Helper(_) => None,
        });
        found.unwrap_or_else(|| registry.to_owned())
    }
}

fn ask(helper: &dyn CredentialHelper, registry: &str) -> Result<Option<Credential>> {
    if registry == DOCKER_HUB
        && let Some(credential) = helper.get(DOCKER_HUB_KEY)?
    {
        return Ok(Some(credential));
    }
    helper.get(registry)
}

/// The keys that may hold credentials for a repository, the most specific first.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let mut keys = vec![];
    let mut rest = repository;
    while !rest.is_empty() {
        keys.push(format!("{registry}/{rest}"));
        rest = rest.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(registry.to_owned());
    keys
}

/// One form for the keys that docker and podman write: no scheme, no `/v1/`, Docker Hub as `docker.io`.
pub(crate) fn normal_key(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let key = match bare {
        // With a scheme, what follows the host is an API path.
        Some(url) => url.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2"),
    };
    let (host, namespace) = key.split_once('/').map_or((key, None), |(host, namespace)| (host, Some(namespace)));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        other => other.to_ascii_lowercase(),
    };
    namespace.map_or(host.clone(), |namespace| format!("{host}/{namespace}"))
}

/// What credentials are bound to: host and port, and the scheme where that is plain HTTP.
#[must_use]
pub fn bound(registry: &str, plain: bool) -> String {
    if plain { format!("{PLAIN}{registry}") } else { registry.to_owned() }
}

/// The key under which docker keeps the credentials of `registry`.
pub(crate) fn file_key(registry: &str) -> String {
    if registry == DOCKER_HUB { DOCKER_HUB_KEY.to_owned() } else { registry.to_owned() }
}

/// Whether a file's key means `registry`.
pub(crate) fn same_key(key: &str, registry: &str) -> bool {
    normal_key(key) == normal_key(registry)
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => {
                f.debug_struct("Password").field("username", username).finish_non_exhaustive()
            }
            Self::IdentityToken(_) => f.write_str("IdentityToken(..)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(..)"),
        }
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { registry, .. } => f.debug_tuple("Fixed").field(registry).finish(),
            Self::File { config, .. } => f.debug_tuple("File").field(config).finish(),
            Self::Helper(_) => f.write_str("Helper(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(username: &str, password: &str) -> Credential {
        Credential::Password { username: username.into(), password: password.into() }
    }

    fn find(json: &str, registry: &str, repository: &str) -> Option<Credential> {
        let config = Arc::new(DockerConfig::parse(json.as_bytes(), "test").unwrap());
        CredentialSource::find(&[CredentialSource::File { config, helper_dirs: vec![] }], registry, repository, false)
            .unwrap()
    }

    #[test]
    fn keys_of_docker_and_podman() {
        let json = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
            "https://old.example/v1/":{"auth":"b2xkOmE6Yg"},
            "quay.io/team/app":{"auth":"dGVhbTpwdw=="},
            "quay.io":{"username":"u","password":"p"},
            "id.example":{"identitytoken":"idt"},
            "id2.example":{"auth":"PHRva2VuPjp4eXo="},
            "empty.example":{}}}"#;
        assert_eq!(find(json, "docker.io", "library/ubuntu"), Some(password("hub", "pw")));
        assert_eq!(find(json, "old.example", "x"), Some(password("old", "a:b")));
        assert_eq!(find(json, "quay.io", "team/app"), Some(password("team", "pw")));
        assert_eq!(find(json, "quay.io", "team/app/sub"), Some(password("team", "pw")));
        assert_eq!(find(json, "quay.io", "team/application"), Some(password("u", "p")));
        assert_eq!(find(json, "id.example", "x"), Some(Credential::IdentityToken("idt".into())));
        assert_eq!(find(json, "id2.example", "x"), Some(Credential::IdentityToken("xyz".into())));
        assert_eq!(find(json, "empty.example", "x"), None);
        assert_eq!(find(json, "quay.io.evil.example", "x"), None);
        assert_eq!(find(json, "quay.io:444", "x"), None);
    }

    #[test]
    fn what_is_for_https_is_not_for_plain_http() {
        let json = r#"{"auths":{"https://tls.example":{"auth":"YTpi"}, "any.example":{"auth":"YTpi"}}}"#;
        let config = Arc::new(DockerConfig::parse(json.as_bytes(), "test").unwrap());
        let sources = [CredentialSource::File { config, helper_dirs: vec![] }];
        let found = |registry, plain| CredentialSource::find(&sources, registry, "x", plain).unwrap().is_some();
        assert!(found("tls.example", false) && !found("tls.example", true));
        // Docker's file says no scheme: who lets a host speak plain HTTP says so in the configuration.
        assert!(found("any.example", false) && found("any.example", true));
    }

    #[test]
    fn spoilt_files_are_errors_without_their_secrets() {
        for json in [
            r#"{"auths":{"a":{"auth":"%%c2VjcmV0"}}}"#,
            r#"{"auths":{"a":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":"c2VjcmV0"}"#,
        ] {
            let error = format!("{:?}", DockerConfig::parse(json.as_bytes(), "config.json").unwrap_err());
            assert!(!error.contains("c2VjcmV0") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let source = CredentialSource::Fixed { registry: "r".into(), credential: password("u", "hidden") };
        assert!(!format!("{source:?} {:?}", password("u", "hidden")).contains("hidden"));
    }

    #[test]
    fn a_missing_helper_is_an_error() {
        let config = Arc::new(DockerConfig::parse(br#"{"credHelpers":{"gcr.io":"none-such"}}"#, "test").unwrap());
        let sources = [CredentialSource::File { config, helper_dirs: vec!["/nonexistent".into()] }];
        assert!(CredentialSource::find(&sources, "gcr.io", "x", false).is_err());
        assert_eq!(CredentialSource::find(&sources, "other.example", "x", false).unwrap(), None);
    }
}

//! What a build is given from outside beside its context and its arguments: secrets, ssh agents, named contexts, and
//! what it is allowed to do beyond the sandbox. Who fills this has read files and variables already; the builder only
//! hands things on, and never writes a secret anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use store::DiffId;

use crate::buildfile::diagnostic::did_you_mean;

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Secrets by id, for `RUN --mount=type=secret`.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of ssh agents by id, for `RUN --mount=type=ssh`.
    pub agents: BTreeMap<String, PathBuf>,
    /// Named contexts: what FROM, `--from` and `from=` mean by these names. Names of images are in their shortest
    /// form, without `:latest`; names of stages in lower case.
    pub contexts: Vec<(String, NamedContext)>,
    /// What the Buildfile may ask for beyond the sandbox.
    pub allowed: BTreeSet<Entitlement>,
}

/// The bytes of a secret. Its `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Where the files of a context are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// In a directory.
    Directory(PathBuf),
    /// In a directory that is there for this build only, so that nothing about its files is worth remembering.
    Temporary(PathBuf),
    /// In a tar that the store took in as a layer, by its strict reader: nothing was unpacked, names that lead out of it
    /// were refused, and links in it are followed inside of it only.
    Archive(DiffId),
}

impl ContextSource {
    /// The directory, if it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&PathBuf> {
        match self {
            Self::Directory(path) | Self::Temporary(path) => Some(path),
            Self::Archive(_) => None,
        }
    }
}

impl From<PathBuf> for ContextSource {
    fn from(path: PathBuf) -> Self {
        Self::Directory(path)
    }
}

/// What a named context stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// Files.
    Files(ContextSource),
    /// An image, by a reference or an id that [`crate::ImageSource`] understands.
    Image(String),
    /// A stage of the same Buildfile.
    Stage(String),
}

/// What steps may only do if the user allows it, as buildx names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `RUN --network=host`.
    NetworkHost,
    /// `RUN --security=insecure`.
    SecurityInsecure,
}

impl Entitlement {
    const ALL: [Self; 2] = [Self::NetworkHost, Self::SecurityInsecure];

    /// From its name.
    ///
    /// # Errors
    /// A message with the names there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let near = did_you_mean(text, names).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
            format!("there is no entitlement {text:?}{near} (there are {})", names.join(" and "))
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkHost => "network.host",
            Self::SecurityInsecure => "security.insecure",
        }
    }
}

impl Inputs {
    /// The named context that `name` means, with its number: as a stage, or as an image whose tag `latest` and whose
    /// registry and library may be left out.
    #[must_use]
    pub fn context(&self, name: &str) -> Option<(usize, &NamedContext)> {
        let wanted = context_name(name);
        // Later ones win, as for all flags that name something.
        let found = self.contexts.iter().enumerate().rfind(|(_, (known, _))| context_name(known) == wanted)?;
        Some((found.0, &found.1.1))
    }
}

/// A name as it is compared: `docker.io/library/alpine:latest` is `alpine`.
fn context_name(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let name = if name.contains('@') { name } else { name.strip_suffix(":latest").unwrap_or(name) };
    name.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let inputs = Inputs { secrets: [("id".to_owned(), Secret::new(*b"hunter2"))].into(), ..Inputs::default() };
        assert!(!format!("{inputs:?}").contains("hunter2") && format!("{inputs:?}").contains("7 bytes"));
    }

    #[test]
    fn names_of_contexts() {
        let image = |name: &str| NamedContext::Image(name.to_owned());
        let contexts = ["alpine", "Src", "a.example/x:1", "src"].map(|name| (name.to_owned(), image(name)));
        let inputs = Inputs { contexts: contexts.into(), ..Inputs::default() };
        let number = |name: &str| inputs.context(name).map(|(number, _)| number);
        assert_eq!(number("docker.io/library/alpine:latest"), Some(0));
        assert_eq!(number("SRC"), Some(3), "the later one wins");
        assert_eq!(number("a.example/x:1"), Some(2));
        assert_eq!((number("alpine:3"), number("a.example/x")), (None, None));
    }

    #[test]
    fn entitlements() {
        assert_eq!(Entitlement::parse("network.host"), Ok(Entitlement::NetworkHost));
        assert!(Entitlement::parse("security.insecur").is_err_and(|text| text.contains("did you mean")));
    }
}

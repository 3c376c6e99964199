//! What the machine says about registries in the files of other tools: podman's `registries.conf`, docker's and podman's
//! `certs.d`, containerd's `hosts.toml`. Our own configuration counts more than any of them (docs/registries.md has the order).
//!
//! Read when a registry is spoken to or a short name is not in the store, and not before.

mod conf;
mod folders;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use registry_client::{Config, Reference};

pub use conf::RegistriesConf;

use super::Engine;
use crate::error::{CommandError, Context as _, Result};

/// Largest file read, bytes.
const FILE_MAX: u64 = 1 << 20;

/// The files of other tools.
#[derive(Clone, Debug, Default)]
pub struct SystemFiles {
    /// `registries.conf`, with a folder of the same name and `.d`.
    pub registries_conf: Option<PathBuf>,
    /// Folders with a folder for each registry, the first counts most.
    pub folders: Vec<PathBuf>,
}

impl SystemFiles {
    /// Adds their rules to the client's, which count more.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        self.registries_conf()?.apply(config)?;
        self.folders.iter().try_for_each(|folder| folders::apply(folder, config))
    }

    /// What `registries.conf` says.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn registries_conf(&self) -> Result<RegistriesConf> {
        self.registries_conf.as_deref().map_or_else(|| Ok(RegistriesConf::default()), RegistriesConf::read)
    }
}

impl Engine {
    /// The reference that `text` means at a registry: an alias, else in the configured registry, else in the one that
    /// `registries.conf` names, else in docker.io. Nobody is asked in turn: the answer must not depend on who has a name.
    ///
    /// # Errors
    /// Text that is no reference, a short name that may belong to several registries.
    pub fn remote_reference(&self, text: &str) -> Result<Reference> {
        let reference = self.reference(text)?;
        if reference.registry() != "docker.io" || self.settings.unqualified_registry.is_some() || is_qualified(text) {
            return Ok(reference);
        }
        let conf = self.settings.system_files.registries_conf()?;
        let (name, rest) = split(text);
        if let Some(alias) = conf.aliases.get(name) {
            return Ok(Reference::parse(&format!("{alias}{rest}"))?);
        }
        match &conf.search[..] {
            [] => Ok(reference),
            [one] => Ok(Reference::parse(&format!("{one}/{text}"))?),
            several => {
                let names: Vec<String> = several.iter().map(|registry| format!("{registry}/{text}")).collect();
                Err(CommandError::new(format!("the short name {text:?} may belong to {} registries", several.len()))
                    .hint(format!("write which one is meant: {}", names.join(", ")))
                    .hint("`unqualified-registry` or an alias in the configuration decides for good"))
            }
        }
    }
}

/// Whether the name begins with a registry, by docker's rule.
pub fn is_qualified(text: &str) -> bool {
    text.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost")
}

/// A name, and the tag and digest behind it.
pub fn split(text: &str) -> (&str, &str) {
    let name = text.split('@').next().unwrap_or(text);
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    text.split_at(name[start..].find(':').map_or(name.len(), |colon| start + colon))
}

/// The text of a file, if there is one.
fn read(file: &Path) -> Result<Option<String>> {
    let failed = || format!("cannot read {}", file.display());
    match std::fs::metadata(file) {
        Ok(about) if about.len() > FILE_MAX => {
            return Err(CommandError::new(format!("{} is larger than 1 MiB", file.display())));
        }
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error).with_context(failed),
    }
    std::fs::read_to_string(file).map(Some).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_behind_them() {
        assert_eq!(split("a/b:1@sha256:00"), ("a/b", ":1@sha256:00"));
        assert_eq!(split("tool"), ("tool", ""));
        assert_eq!(split("h:1/a"), ("h:1/a", ""));
        assert!(is_qualified("h:1/a") && is_qualified("localhost/a") && !is_qualified("a/b") && !is_qualified("a:1"));
    }
}

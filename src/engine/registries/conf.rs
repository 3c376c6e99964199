//! Reads `registries.conf` (containers-registries.conf(5), version 2; the older version 1 as well) and the files in the folder
//! beside it, in the order of their names: rules by prefix, mirrors, short names. Pure but for reading the files.
//!
//! A file that is there and cannot be understood is an error: a rule that blocks a registry must not get lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use registry_client::{Config, Mirror, RegistryRule};
use serde::Deserialize;

use crate::error::{CommandError, Result};

/// What the files of a machine say.
#[derive(Clone, Debug, Default)]
pub struct RegistriesConf {
    /// Where names without a registry may belong to.
    pub search: Vec<String>,
    /// Short names and what they stand for.
    pub aliases: BTreeMap<String, String>,
    rules: Vec<Rule>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Document {
    unqualified_search_registries: Option<Vec<String>>,
    registry: Vec<Rule>,
    aliases: BTreeMap<String, String>,
    registries: Option<Version1>,
}

/// The tables of version 1.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Version1 {
    search: Names,
    insecure: Names,
    block: Names,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Names {
    registries: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Rule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Place>,
}

#[derive(Clone, Debug, Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Place {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<String>,
}

impl RegistriesConf {
    /// Reads `file`, if it is there, and the `*.conf` of the folder `FILE.d`; what comes later counts more.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn read(file: &Path) -> Result<Self> {
        let mut files = vec![file.to_owned()];
        let folder = PathBuf::from(format!("{}.d", file.display()));
        let mut beside: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        beside.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        beside.sort();
        files.append(&mut beside);
        let mut whole = Self::default();
        for file in files {
            if let Some(text) = super::read(&file)? {
                whole.add(&text, &file)?;
            }
        }
        Ok(whole)
    }

    fn add(&mut self, text: &str, file: &Path) -> Result<()> {
        let failed = |why: String| CommandError::new(format!("cannot use {}: {why}", file.display()));
        let mut document: Document = toml::from_str(text).map_err(|error| failed(error.to_string().trim().into()))?;
        if let Some(old) = document.registries {
            document.unqualified_search_registries.get_or_insert(old.search.registries);
            let rule = |location: String| Rule { location, ..Rule::default() };
            document.registry.extend(old.insecure.registries.into_iter().map(|n| Rule { insecure: true, ..rule(n) }));
            document.registry.extend(old.block.registries.into_iter().map(|n| Rule { blocked: true, ..rule(n) }));
        }
        if let Some(search) = document.unqualified_search_registries {
            self.search = search;
        }
        self.aliases.extend(document.aliases);
        for mut rule in document.registry {
            if rule.prefix.is_empty() {
                rule.prefix.clone_from(&rule.location);
            }
            if rule.prefix.is_empty() {
                return Err(failed("a registry has neither prefix nor location".into()));
            }
            self.rules.retain(|earlier| earlier.prefix != rule.prefix);
            self.rules.push(rule);
        }
        Ok(())
    }

    /// Adds the rules to the client's, unless it has one of the same prefix.
    ///
    /// # Errors
    /// A word that is none of the format's.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        for rule in &self.rules {
            if config.registries.contains_key(&rule.prefix) {
                continue;
            }
            let location = Some(&rule.location).filter(|at| !at.is_empty() && **at != rule.prefix).cloned();
            if rule.insecure {
                insecure(config, location.as_ref().unwrap_or(&rule.prefix));
            }
            let mut mirrors = Vec::new();
            for mirror in &rule.mirror {
                if mirror.insecure {
                    insecure(config, &mirror.location);
                }
                let word = mirror.pull_from_mirror.as_deref();
                let (digest_only, tag_only) = match word {
                    None | Some("" | "all") => (rule.mirror_by_digest_only, false),
                    Some("digest-only") => (true, false),
                    Some("tag-only") => (false, true),
                    Some(other) => {
                        return Err(CommandError::new(format!(
                            "the mirror {} of {} in registries.conf has the unknown pull-from-mirror {other:?}",
                            mirror.location, rule.prefix
                        )));
                    }
                };
                mirrors.push(Mirror { location: mirror.location.clone(), digest_only, tag_only });
            }
            config.registries.insert(rule.prefix.clone(), RegistryRule { location, mirrors, blocked: rule.blocked });
        }
        Ok(())
    }
}

fn insecure(config: &mut Config, location: &str) {
    let host = location.split('/').next().unwrap_or(location).to_owned();
    config.hosts.entry(host).or_default().insecure = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(RegistriesConf, Config)> {
        let (mut conf, mut config) = (RegistriesConf::default(), Config::default());
        conf.add(text, Path::new("registries.conf"))?;
        conf.apply(&mut config)?;
        Ok((conf, config))
    }

    #[test]
    fn version_2() {
        let (conf, config) = parsed(
            r#"
            unqualified-search-registries = ["quay.io", "docker.io"]
            short-name-mode = "enforcing"
            [[registry]]
            prefix = "docker.io/library"
            location = "10.0.0.1:5000/hub"
            insecure = true
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "m.example/x"
            [[registry.mirror]]
            location = "n.example"
            insecure = true
            pull-from-mirror = "tag-only"
            [[registry]]
            location = "bad.example"
            blocked = true
            [aliases]
            "tool" = "quay.io/team/tool"
            "#,
        )
        .unwrap();
        assert_eq!((conf.search.len(), &*conf.aliases["tool"]), (2, "quay.io/team/tool"));
        let rule = &config.registries["docker.io/library"];
        assert_eq!(rule.location.as_deref(), Some("10.0.0.1:5000/hub"));
        let how: Vec<_> = rule.mirrors.iter().map(|m| (&*m.location, m.digest_only, m.tag_only)).collect();
        assert_eq!(how, [("m.example/x", true, false), ("n.example", false, true)]);
        assert!(config.hosts["10.0.0.1:5000"].insecure && config.hosts["n.example"].insecure);
        assert!(config.registries["bad.example"].blocked && !config.hosts.contains_key("m.example"));
    }

    #[test]
    fn version_1_and_what_is_wrong() {
        let old = "[registries.search]\nregistries = ['a.example']\n[registries.block]\nregistries = ['b.example']\n";
        let (conf, config) = parsed(old).unwrap();
        assert_eq!(conf.search, ["a.example"]);
        assert!(config.registries["b.example"].blocked);
        for wrong in ["[[registry]]\nblocked = true", "x = ", "[[registry]]\nlocation = 3"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}

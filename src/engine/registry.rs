//! From the configuration file to the registry client's own configuration, made only when a registry is spoken to.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry_client::{Client, Config, CredentialSource, DockerConfig, Mirror, Observer, Reference};

use super::transport::Access;
use super::{Engine, Settings};
use crate::config::{self, Context, MirrorTable, Registry, Transfers};
use crate::error::{CommandError, Context as _, Result};

/// Largest file of credentials read, bytes.
const CREDENTIALS_MAX: u64 = 1 << 20;

/// What the engine keeps of the context.
///
/// # Errors
/// A size that is none.
pub fn settings(context: &Context) -> Result<Settings> {
    let docker = context.docker_config().map(|directory| directory.join("config.json"));
    let size = |text: &String| runner::spec::parse::size("cache-budget in the configuration", text);
    let cache_budget = context.file.build.cache_budget.as_ref().map(size).transpose()?;
    Ok(Settings {
        cache_budget,
        log: context.file.log.clone(),
        registries: context.file.registries.clone(),
        system_files: context.system_files(),
        credential_store: context.file.credential_store,
        aliases: context.file.aliases.clone(),
        proxy: registry_client::ProxyConfig {
            http: context.proxy("http_proxy").map(str::to_owned),
            https: context.proxy("https_proxy").map(str::to_owned),
            no_proxy: context.proxy("no_proxy").map(str::to_owned),
        },
        helper_directories: context.search_path(),
        credential_files: docker.iter().cloned().chain(context.auth_file()).collect(),
        login_file: docker,
        ca_bundle: context.variable("SSL_CERT_FILE").map(PathBuf::from),
        unqualified_registry: context.file.unqualified_registry.clone(),
        keep_compressed: context.file.keep_compressed,
        storage_driver: context.file.storage_driver.clone(),
        network: context.file.network.clone(),
        transfers: context.file.transfers.clone(),
        notice: Some(Arc::new(config::waiting)),
    })
}

/// Most tries that can be asked for.
const TRIES_MAX: u32 = 100;

impl Engine {
    /// A client as the configuration wants it. It owns threads, which end when it is dropped; nothing that forks may
    /// run before.
    ///
    /// # Errors
    /// A configuration that contradicts itself, credentials that cannot be read.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(self.client_config(None)?)?)
    }

    /// A client for one registry, spoken to as the user said, and somebody who is told about mirrors that failed.
    ///
    /// # Errors
    /// As [`Engine::client`], and credentials that are none.
    pub(super) fn client_for(
        &self,
        access: &Access,
        reference: &Reference,
        observer: Option<Observer>,
    ) -> Result<Client> {
        let mut config = self.client_config(observer)?;
        let registry = reference.registry();
        if access.anonymous || access.auth_file.is_some() {
            config.credentials.clear();
        }
        if let Some(path) = &access.auth_file {
            let file =
                credentials(path)?.ok_or_else(|| CommandError::new(format!("there is no file {}", path.display())))?;
            let helper_dirs = self.settings.helper_directories.clone();
            config.credentials.push(CredentialSource::File { config: Arc::new(file), helper_dirs });
        }
        if let Some(own) = access.source(registry)? {
            config.credentials.insert(0, own);
        }
        if access.insecure {
            config.hosts.entry(registry.to_owned()).or_default().insecure = true;
        }
        Ok(Client::new(config)?)
    }

    fn client_config(&self, observer: Option<Observer>) -> Result<Config> {
        let notice = self.settings.notice.clone();
        let observer: Observer = Arc::new(move |event| {
            notice.iter().chain(&observer).for_each(|told| told(event));
        });
        let mut config = Config { proxy: self.settings.proxy.clone(), observer: Some(observer), ..Config::default() };
        config.ca_bundle.clone_from(&self.settings.ca_bundle);
        apply(&self.settings.registries, &mut config)?;
        self.settings.system_files.apply(&mut config)?;
        limits(&self.settings.transfers, &mut config)?;
        for path in &self.settings.credential_files {
            if let Some(file) = credentials(path)? {
                config.credentials.push(CredentialSource::File {
                    config: Arc::new(file),
                    helper_dirs: self.settings.helper_directories.clone(),
                });
            }
        }
        if let Some(keyring) = self.keyring() {
            config.credentials.push(CredentialSource::Helper(Arc::new(keyring)));
        }
        Ok(config)
    }
}

/// Our `[registries]` as the client's rules.
fn apply(registries: &BTreeMap<String, Registry>, config: &mut Config) -> Result<()> {
    for (name, registry) in registries {
        let rule = config.registries.entry(name.clone()).or_default();
        rule.blocked = registry.blocked;
        rule.location.clone_from(&registry.location);
        for mirror in &registry.mirrors {
            let (mirror, digest_only, tag_only) = match mirror {
                config::Mirror::Location(location) => (location, false, false),
                config::Mirror::Table(MirrorTable { location, digest_only, tag_only }) => {
                    (location, *digest_only, *tag_only)
                }
            };
            let (plain_http, location) = match mirror.split_once("://") {
                Some(("http", rest)) => (true, rest),
                Some(("https", rest)) => (false, rest),
                None => (false, mirror.as_str()),
                Some((scheme, _)) => {
                    return Err(CommandError::new(format!(
                        "the mirror {mirror:?} of {name} has the scheme {scheme:?}"
                    ))
                    .hint("mirrors are http:// or https:// and a host"));
                }
            };
            let location = location.trim_end_matches('/').to_owned();
            if plain_http {
                let host = location.split('/').next().unwrap_or(&location).to_owned();
                config.hosts.entry(host).or_default().plain_http = true;
            }
            rule.mirrors.push(Mirror { location, digest_only, tag_only });
        }
        let host = registry.location.as_ref().unwrap_or(name);
        let host = host.split('/').next().unwrap_or(host).to_owned();
        if registry.insecure || registry.ca.is_some() || registry.client_cert.is_some() || registry.client_key.is_some()
        {
            let host = config.hosts.entry(host).or_default();
            host.insecure |= registry.insecure;
            host.ca_files.extend(registry.ca.clone());
            host.client_cert.clone_from(&registry.client_cert);
            host.client_key.clone_from(&registry.client_key);
        }
    }
    Ok(())
}

/// Our `[transfers]` as the client's limits.
fn limits(transfer: &Transfers, config: &mut Config) -> Result<()> {
    let size = |key: &'static str, text: &Option<String>, into: &mut u64| -> Result<()> {
        if let Some(text) = text {
            *into = runner::spec::parse::size(key, text)?;
        }
        Ok(())
    };
    config.least_rate = transfer.least_rate.unwrap_or(config.least_rate);
    size("manifest-size in the configuration", &transfer.manifest_size, &mut config.manifest_size)?;
    size("config-size in the configuration", &transfer.config_size, &mut config.config_size)?;
    let mut chunk = 0;
    size("upload-chunk in the configuration", &transfer.upload_chunk, &mut chunk)?;
    config.upload_chunk = Some(chunk).filter(|chunk| *chunk > 0);
    config.max_concurrent = transfer.streams.unwrap_or(config.max_concurrent);
    config.ranges = transfer.ranges.unwrap_or(config.ranges);
    config.tries = transfer.tries.unwrap_or(config.tries).clamp(1, TRIES_MAX);
    config.connect_timeout = transfer.connect_timeout.unwrap_or(config.connect_timeout);
    config.idle_timeout = transfer.idle_timeout.unwrap_or(config.idle_timeout);
    config.retry_after = transfer.retry_after.unwrap_or(config.retry_after);
    config.redirects = transfer.redirects.unwrap_or(config.redirects);
    Ok(())
}

/// The credentials in a file; none if there is no file.
fn credentials(path: &Path) -> Result<Option<DockerConfig>> {
    match fs::metadata(path) {
        Ok(about) if about.len() > CREDENTIALS_MAX => {
            return Err(CommandError::new(format!("the credentials {} are larger than 1 MiB", path.display())));
        }
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error).context(format!("cannot read the credentials {}", path.display())),
    }
    let bytes = fs::read(path).context(format!("cannot read the credentials {}", path.display()))?;
    Ok(Some(DockerConfig::parse(&bytes, &path.display().to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_become_rules() {
        let registry = Registry {
            mirrors: ["http://127.0.0.1:5000", "https://m.example/hub/"]
                .map(|m| config::Mirror::Location(m.into()))
                .to_vec(),
            ..Registry::default()
        };
        let mut config = Config::default();
        apply(&BTreeMap::from([("docker.io".to_owned(), registry)]), &mut config).unwrap();
        let locations: Vec<_> = config.registries["docker.io"].mirrors.iter().map(|mirror| &*mirror.location).collect();
        assert_eq!(locations, ["127.0.0.1:5000", "m.example/hub"]);
        assert!(config.hosts["127.0.0.1:5000"].plain_http);
        assert!(!config.hosts.contains_key("m.example"));
    }

    #[test]
    fn a_strange_scheme_is_refused() {
        let registry = Registry { mirrors: vec![config::Mirror::Location("ftp://x".into())], ..Registry::default() };
        assert!(apply(&BTreeMap::from([("a.example".to_owned(), registry)]), &mut Config::default()).is_err());
    }
}

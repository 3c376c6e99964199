//! Folders with one folder for each registry, as docker, podman (`certs.d/HOST[:PORT]` with `*.crt`, `*.cert`, `*.key`) and
//! containerd (the same with a `hosts.toml`) have them: trusted authorities, our certificates, mirrors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use registry_client::{Config, HostRule, Mirror, RegistryRule};
use serde::Deserialize;

use crate::error::{CommandError, Context as _, Result};

/// `hosts.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hosts {
    server: Option<String>,
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    own: Host,
}

/// How one host is spoken to.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Host {
    capabilities: Option<Vec<String>>,
    ca: Option<Files>,
    client: Option<toml::Value>,
    skip_verify: bool,
    override_path: bool,
    header: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Files {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

/// Adds what the folders of `root` say about their registries; what the configuration has already counts more.
///
/// # Errors
/// A file that cannot be read or understood.
pub fn apply(root: &Path, config: &mut Config) -> Result<()> {
    let failed = || format!("cannot read {}", root.display());
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(error).with_context(failed),
    };
    for entry in entries {
        let folder = entry.with_context(failed)?.path();
        let Some(host) = folder.file_name().and_then(|name| name.to_str()).filter(|_| folder.is_dir()) else {
            continue;
        };
        certificates(host, &folder, config)?;
        let file = folder.join("hosts.toml");
        if let Some(text) = super::read(&file)? {
            let done = toml::from_str(&text).map_err(|error| CommandError::new(error.to_string().trim().to_owned()));
            let done = done.and_then(|hosts| mirrors(host, &folder, hosts, config));
            done.with_context(|| format!("cannot use {}", file.display()))?;
        }
    }
    Ok(())
}

/// `*.crt` are authorities; `NAME.cert` is ours, with the key `NAME.key`.
fn certificates(host: &str, folder: &Path, config: &mut Config) -> Result<()> {
    let failed = || format!("cannot read {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        files.push(entry.with_context(failed)?.path());
    }
    files.sort();
    let with = |extension: &'static str| {
        files.iter().filter(move |file| file.extension().is_some_and(|own| own == extension)).cloned()
    };
    for cert in with("cert") {
        let key = cert.with_extension("key");
        if !key.exists() {
            return Err(CommandError::new(format!("{} has no {} beside it", cert.display(), key.display())));
        }
        let rule = config.hosts.entry(host.to_owned()).or_default();
        if rule.client_cert.is_none() {
            (rule.client_cert, rule.client_key) = (Some(cert), Some(key));
        }
    }
    let authorities: Vec<PathBuf> = with("crt").collect();
    if !authorities.is_empty() {
        config.hosts.entry(host.to_owned()).or_default().ca_files.extend(authorities);
    }
    Ok(())
}

/// containerd's `hosts.toml`.
fn mirrors(registry: &str, folder: &Path, hosts: Hosts, config: &mut Config) -> Result<()> {
    if registry == "_default" {
        return Err(CommandError::new("rules for all registries are not supported")
            .hint("name each registry: a folder of its own, or a table [registries.\"HOST\"] in the configuration"));
    }
    let mut rule = RegistryRule::default();
    for (url, value) in hosts.host {
        let host: Host = value.try_into().map_err(|error: toml::de::Error| CommandError::new(error.to_string()))?;
        let (location, name) = place(&url, host.override_path, config)?;
        let can = |word: &str| host.capabilities.as_ref().is_none_or(|all| all.iter().any(|can| can == word));
        let (pull, resolve) = (can("pull"), can("resolve"));
        trust(&name, folder, host, config)?;
        if pull && location != registry {
            rule.mirrors.push(Mirror { location, digest_only: !resolve, tag_only: false });
        }
    }
    let server = hosts.server.as_deref().filter(|server| !server.is_empty()).unwrap_or(registry);
    let (location, name) = place(server, hosts.own.override_path, config)?;
    trust(&name, folder, hosts.own, config)?;
    let hub = ["docker.io", "registry-1.docker.io", "index.docker.io"];
    if location != registry && !(registry == "docker.io" && hub.contains(&&*location)) {
        rule.location = Some(location);
    }
    config.registries.entry(registry.to_owned()).or_insert(rule);
    Ok(())
}

/// The location and the host of a URL.
fn place(url: &str, override_path: bool, config: &mut Config) -> Result<(String, String)> {
    let (plain, rest) = match url.split_once("://") {
        None => (false, url),
        Some(("https", rest)) => (false, rest),
        Some(("http", rest)) => (true, rest),
        Some((scheme, _)) => return Err(CommandError::new(format!("{url:?} has the scheme {scheme:?}"))),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_matches('/');
    let below = match (override_path, path) {
        (_, "" | "v2") => "",
        (true, path) if path.starts_with("v2/") => &path[3..],
        _ => {
            return Err(CommandError::new(format!("{url:?} has a path that does not begin with /v2"))
                .hint("with `override_path = true`, what follows /v2 is put before the repository's name"));
        }
    };
    if plain {
        config.hosts.entry(host.to_owned()).or_default().plain_http = true;
    }
    let location = if below.is_empty() { host.to_owned() } else { format!("{host}/{below}") };
    Ok((location, host.to_owned()))
}

fn trust(name: &str, folder: &Path, host: Host, config: &mut Config) -> Result<()> {
    if !host.header.is_empty() {
        return Err(CommandError::new(format!("headers for {name} are not supported"))
            .hint("credentials come from `img login`, which binds them to the host"));
    }
    let authorities = match host.ca {
        None => vec![],
        Some(Files::One(file)) => vec![file],
        Some(Files::Many(files)) => files,
    };
    let client = host.client.map(|value| pair(name, value)).transpose()?;
    if authorities.is_empty() && client.is_none() && !host.skip_verify {
        return Ok(());
    }
    let rule: &mut HostRule = config.hosts.entry(name.to_owned()).or_default();
    rule.insecure |= host.skip_verify;
    rule.ca_files.extend(authorities.into_iter().map(|file| folder.join(file)));
    if let Some((cert, key)) = client.filter(|_| rule.client_cert.is_none()) {
        (rule.client_cert, rule.client_key) = (Some(folder.join(cert)), Some(folder.join(key)));
    }
    Ok(())
}

/// `"both.pem"`, `["both.pem"]` or `[["cert.pem", "key.pem"]]`, of which the first counts.
fn pair(name: &str, value: toml::Value) -> Result<(PathBuf, PathBuf)> {
    let first = match value {
        toml::Value::Array(mut all) if !all.is_empty() => all.remove(0),
        other => other,
    };
    let found = match &first {
        toml::Value::String(both) => Some((both, both)),
        toml::Value::Array(two) => match &two[..] {
            [toml::Value::String(cert), toml::Value::String(key)] => {
                Some((cert, if key.is_empty() { cert } else { key }))
            }
            _ => None,
        },
        _ => None,
    };
    let found = found.map(|(cert, key)| (PathBuf::from(cert), PathBuf::from(key)));
    found.ok_or_else(|| CommandError::new(format!("the client certificate for {name} is not a file, nor two of them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(registry: &str, text: &str) -> Result<Config> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(registry);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
        let mut config = Config::default();
        apply(root.path(), &mut config).map(|()| config)
    }

    #[test]
    fn mirrors_of_containerd() {
        let config = with(
            "docker.io",
            r#"
            server = "https://registry-1.docker.io"
            [host."https://m.example/v2/hub"]
            capabilities = ["pull"]
            override_path = true
            ca = "m.crt"
            client = [["c.pem", "k.pem"]]
            [host."http://10.0.0.2:5000"]
            capabilities = ["pull", "resolve"]
            [host."https://push.example"]
            capabilities = ["push"]
            skip_verify = true
            "#,
        )
        .unwrap();
        let rule = &config.registries["docker.io"];
        let how: Vec<_> = rule.mirrors.iter().map(|m| (&*m.location, m.digest_only)).collect();
        assert_eq!((how, &rule.location), (vec![("m.example/hub", true), ("10.0.0.2:5000", false)], &None));
        assert!(config.hosts["10.0.0.2:5000"].plain_http && config.hosts["push.example"].insecure);
        let host = &config.hosts["m.example"];
        assert!(host.ca_files[0].ends_with("docker.io/m.crt") && host.client_key.is_some());
    }

    #[test]
    fn what_would_be_misread_is_refused() {
        for wrong in [
            "[host.\"https://m.example/path\"]",
            "[host.\"https://m.example\".header]\nauthorization = \"x\"",
            "[host.\"ftp://m.example\"]",
            "servr = \"x\"",
        ] {
            assert!(with("docker.io", wrong).is_err(), "{wrong}");
        }
        assert!(with("_default", "server = \"https://x\"").is_err());
        assert_eq!(
            with("a.example", "server = \"https://b.example\"").unwrap().registries["a.example"].location.as_deref(),
            Some("b.example")
        );
    }

    #[test]
    fn a_certificate_wants_its_key() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("h.example:5000");
        std::fs::create_dir(&folder).unwrap();
        for file in ["ca.crt", "client.cert"] {
            std::fs::write(folder.join(file), "").unwrap();
        }
        assert!(apply(root.path(), &mut Config::default()).is_err());
        std::fs::write(folder.join("client.key"), "").unwrap();
        let mut config = Config::default();
        apply(root.path(), &mut config).unwrap();
        let rule = &config.hosts["h.example:5000"];
        assert!(rule.ca_files.len() == 1 && rule.client_cert.is_some() && rule.client_key.is_some());
        apply(Path::new("/nonexistent"), &mut config).unwrap();
    }
}

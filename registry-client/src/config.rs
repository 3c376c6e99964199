//! How to reach registries: mirrors, trust, proxies, limits of patience. Plain data, given by the caller.
//!
//! [`Config`] can be read from a file by serde (the engine's configuration embeds it); unknown keys are refused, so that a
//! typing error in a security setting is not ignored. Credentials and the observer are not part of the file.
//!
//! ```text
//! [registries."docker.io"]              # or "docker.io/library": the longest prefix wins
//! mirrors = [{ location = "mirror.example/hub" }, { location = "10.0.0.2:5000", digest_only = true }]
//! [registries."bad.example"]
//! blocked = true
//! [hosts."10.0.0.2:5000"]               # how to talk to a host, whichever name led there
//! insecure = true
//! [proxy]
//! https = "http://proxy.example:3128"
//! no_proxy = "localhost,10.0.0.0/8"
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::credentials::CredentialSource;
use crate::limit;

/// Everything a [`crate::Client`] is told.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where images whose name starts with the key (`host[:port][/namespace…]`) come from. The longest prefix wins.
    pub registries: BTreeMap<String, RegistryRule>,
    /// How to talk to a host (`host[:port]`, as the registry or mirror is named).
    pub hosts: BTreeMap<String, HostRule>,
    /// Certificate authorities (PEM files) trusted for every host, besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// A PEM file to take in place of the system's certificate authorities (what `SSL_CERT_FILE` names elsewhere).
    pub ca_bundle: Option<PathBuf>,
    /// Proxies.
    pub proxy: ProxyConfig,
    /// Downloads that may read from the network at one time.
    pub max_concurrent: usize,
    /// Connections for one big blob where one alone is slow; 1 for never more than one.
    pub ranges: usize,
    /// The User-Agent header.
    pub user_agent: String,
    /// Seconds to wait for a connection.
    pub connect_timeout: u64,
    /// Seconds to wait for the next byte; at most 60.
    pub idle_timeout: u64,
    /// Bytes a second that a download must at least make, over the idle timeout; 0 for no such limit.
    pub least_rate: u64,
    /// How often one request is tried before it is given up.
    pub tries: u32,
    /// Milliseconds before the second try; doubled before each further one.
    pub retry_delay: u64,
    /// The longest wait, in seconds, that a `Retry-After` may ask for; the request is given up at once instead.
    pub retry_after: u64,
    /// Bytes of a manifest or index.
    pub manifest_size: u64,
    /// Bytes of an image config.
    pub config_size: u64,
    /// Redirects followed for one request.
    pub redirects: usize,
    /// Bytes of one PATCH request of an upload; `None` sends a blob in one PUT.
    pub upload_chunk: Option<u64>,
    /// Whether images with layers that registries may not hold are resolved. Their `urls` are not followed in any case.
    pub foreign_layers: bool,
    /// Where user names and passwords come from, in order.
    #[serde(skip)]
    pub credentials: Vec<CredentialSource>,
    /// Who is told about retries and the like.
    #[serde(skip)]
    pub observer: Option<Observer>,
}

/// A function that is told what happens; it must be quick, and is called from any thread.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something that a user waiting for a transfer wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A request failed and will be tried again.
    Retry {
        /// The action and its object.
        what: String,
        /// Why.
        cause: String,
        /// How long we wait before.
        delay: Duration,
        /// Whether the server asked for the wait (status 429 or a Retry-After header).
        rate_limited: bool,
    },
    /// A mirror could not serve a request, so the next endpoint is asked.
    MirrorFailed {
        /// The mirror's host.
        mirror: String,
        /// The action and its object.
        what: String,
        /// Why.
        cause: String,
    },
}

/// Where images of a registry or namespace come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryRule {
    /// Replaces the matched prefix: the real place of these images.
    pub location: Option<String>,
    /// Asked in this order before the registry itself, for pulls only.
    pub mirrors: Vec<Mirror>,
    /// Nothing may be pulled from or pushed to here.
    pub blocked: bool,
}

/// A place that has copies of another registry's images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// `host[:port][/namespace…]`, put in place of the matched prefix.
    pub location: String,
    /// Ask it for digests only, so that it cannot choose what a tag means.
    #[serde(default)]
    pub digest_only: bool,
    /// Ask it for tags only.
    #[serde(default)]
    pub tag_only: bool,
}

/// How to talk to one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostRule {
    /// Accept any certificate, and plain HTTP where the host speaks no TLS.
    pub insecure: bool,
    /// Speak plain HTTP and nothing else.
    pub plain_http: bool,
    /// Certificate authorities (PEM files) trusted for this host, besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// Our certificate (PEM file, chain included).
    pub client_cert: Option<PathBuf>,
    /// The key of our certificate (PEM file).
    pub client_key: Option<PathBuf>,
}

/// Proxies, as URLs with the scheme `http`, `https`, `socks5` or `socks5h`, with user and password if needed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// For hosts that speak plain HTTP.
    pub http: Option<String>,
    /// For hosts that speak TLS.
    pub https: Option<String>,
    /// Hosts, domains and networks that need no proxy, with commas between.
    pub no_proxy: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            hosts: BTreeMap::new(),
            ca_files: vec![],
            ca_bundle: None,
            proxy: ProxyConfig::default(),
            max_concurrent: 6,
            ranges: 4,
            user_agent: concat!("img/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: 15,
            idle_timeout: 60,
            least_rate: 1024,
            tries: 5,
            retry_delay: 250,
            retry_after: limit::RETRY_AFTER.as_secs(),
            manifest_size: limit::MANIFEST,
            config_size: limit::CONFIG,
            redirects: limit::REDIRECTS,
            upload_chunk: None,
            foreign_layers: false,
            credentials: vec![],
            observer: None,
        }
    }
}

impl Config {
    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout.clamp(1, 60))
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout.clamp(1, 60))
    }

    pub(crate) fn tell(&self, event: &Event) {
        if let Some(observer) = &self.observer {
            observer(event);
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("registries", &self.registries)
            .field("hosts", &self.hosts)
            .field("proxy", &self.proxy)
            .field("max_concurrent", &self.max_concurrent)
            .field("ranges", &self.ranges)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProxyConfig {
    /// Without the URLs, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyConfig")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_to_name_only_what_differs() {
        let config: Config = serde_json::from_str(
            r#"{"registries":{"docker.io":{"mirrors":[{"location":"m.example"}]}},"hosts":{"h:1":{"insecure":true}},"tries":2}"#,
        )
        .unwrap();
        assert_eq!((config.tries, config.max_concurrent), (2, 6));
        assert!(config.hosts["h:1"].insecure && !config.registries["docker.io"].mirrors[0].digest_only);
        for wrong in [r#"{"trys":2}"#, r#"{"hosts":{"h":{"insecur":true}}}"#] {
            assert!(serde_json::from_str::<Config>(wrong).is_err());
        }
    }

    #[test]
    fn debug_output_has_no_secrets() {
        let proxy = ProxyConfig { https: Some("http://me:secret@proxy".into()), ..ProxyConfig::default() };
        assert!(!format!("{:?}", Config { proxy, ..Config::default() }).contains("secret"));
    }
}

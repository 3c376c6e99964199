//! Whether to speak TLS to a host, decided once per client.
//!
//! TLS, always, except: a host configured as `plain_http`; this machine's own registries, which are asked without
//! credentials what they speak; and hosts configured as `insecure`, whose certificate counts for nothing anyway, so that
//! plain HTTP is taken where they speak no TLS. There is no other way to plain HTTP, least of all after TLS has failed.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::failure::{Failure, find};
use crate::transport::{Incoming, Outgoing, Payload, Transport, is_loopback};

/// How long a probe of a host may take.
const PROBE: Duration = Duration::from_secs(10);

impl Transport {
    /// `http` or `https`, for this endpoint.
    pub(crate) async fn scheme(&self, endpoint: &Endpoint) -> Result<&'static str> {
        let secure = endpoint.url("https", "/")?;
        let rule = self
            .rule(&secure)
            .or_else(|| endpoint.url("http", "/").ok().and_then(|url| self.rule(&url)))
            .map(|(_, rule)| rule);
        let insecure = rule.is_some_and(|rule| rule.insecure);
        if rule.is_some_and(|rule| rule.plain_http) {
            return Ok("http");
        }
        if !insecure && !is_loopback(&secure) {
            return Ok("https");
        }
        let mut schemes = self.schemes.lock().await;
        if let Some(scheme) = schemes.get(endpoint.host()) {
            return Ok(scheme);
        }
        let host = Endpoint::of_registry(&endpoint.registry);
        let found = if is_loopback(&secure) {
            plain_first(self.probe(host.url("http", "/")?).await)
        } else {
            tls_first(self.probe(host.url("https", "/")?).await)
        };
        if let Some(scheme) = found {
            schemes.insert(endpoint.host().to_owned(), scheme);
            return Ok(scheme);
        }
        // Nobody is there; the request itself will say so.
        Ok(if is_loopback(&secure) { "http" } else { "https" })
    }

    async fn probe(&self, url: Url) -> Result<Incoming, Failure> {
        let (what, method) = ("probe", Method::GET);
        let outgoing =
            Outgoing { what, method, url, headers: HeaderMap::new(), authorization: None, payload: Payload::Empty };
        let silent = |_| Failure::from(Error::Closed(what.into()));
        timeout(PROBE, self.send(outgoing)).await.map_err(silent)?
    }
}

/// A TLS server calls a plain request a bad one, or answers with what is no HTTP.
fn plain_first(answer: Result<Incoming, Failure>) -> Option<&'static str> {
    match answer {
        Ok(incoming) if incoming.response.status() == 400 => Some("https"),
        Ok(_) => Some("http"),
        Err(Failure { error, .. }) => format!("{error:?}").contains("Parse(").then_some("https"),
    }
}

/// A server without TLS answers a TLS greeting with what is no TLS, or has no such port.
fn tls_first(answer: Result<Incoming, Failure>) -> Option<&'static str> {
    match answer {
        Ok(_) => Some("https"),
        Err(Failure { error, .. }) => {
            let not_tls = find::<rustls::Error>(&error).is_some();
            let refused =
                find::<std::io::Error>(&error).is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
            (not_tls || refused).then_some("http")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, HostRule};
    use crate::testing::Registry;

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn scheme(rule: HostRule, registry: &str) -> &'static str {
        let config = Config { hosts: [(registry.to_owned(), rule)].into(), ..Config::default() };
        block(Transport::new(config).scheme(&Endpoint::of_registry(registry))).unwrap()
    }

    #[test]
    fn plain_http_is_for_this_machine_and_for_those_who_asked() {
        let registry = Registry::start();
        assert_eq!(scheme(HostRule::default(), registry.host()), "http");
        assert_eq!(scheme(HostRule::default(), "reg.example"), "https");
        assert_eq!(scheme(HostRule::default(), "localhost.example:5000"), "https");
        assert_eq!(scheme(HostRule { plain_http: true, ..HostRule::default() }, "reg.example:80"), "http");
        assert!(registry.requests().iter().all(|request| request.header("authorization").is_none()));
    }

    #[test]
    fn an_insecure_host_that_speaks_no_tls() {
        let registry = Registry::start();
        let rule = HostRule { insecure: true, ..HostRule::default() };
        let config = Config { hosts: [(registry.host().to_owned(), rule)].into(), ..Config::default() };
        let url = Url::parse(&format!("https://{}/v2/", registry.host())).unwrap();
        assert_eq!(tls_first(block(Transport::new(config.clone()).probe(url.clone()))), Some("http"));
        drop(registry);
        assert_eq!(tls_first(block(Transport::new(config).probe(url))), Some("http"), "no such port");
    }
}

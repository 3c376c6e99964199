//! One HTTP request out, one response head in: clients, deadlines, redirects, and what a failure means.
//!
//! Redirects are followed here by hand, for GET and HEAD only: authorization is dropped for good once one leads to another
//! scheme, host or port; none may lose encryption or lead from elsewhere into this machine. Nothing is tried again here.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Client, Method, Response, Url};
use tokio::time::timeout;

use crate::config::{Config, HostRule};
use crate::dns::Resolver;
use crate::error::{Error, Result, Said};
use crate::failure::{self, Failure, classify};
use crate::retry::Verdict;
use crate::upload_body::{Progress, UploadBody};
use crate::{limit, redact, tls};

/// After the last byte of an upload a registry may need this many idle timeouts to put it in place.
const FINISHING: u32 = 5;

/// A request. `what` is for messages.
pub(crate) struct Outgoing<'a> {
    pub what: &'a str,
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub authorization: Option<HeaderValue>,
    pub payload: Payload,
}

/// The body of a request.
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    Stream(UploadBody),
}

/// The head of a response, the body still to come.
pub(crate) struct Incoming {
    pub response: Response,
    /// The URL that answered, after redirects.
    pub url: Url,
    /// Whether a redirect led to another scheme, host or port.
    pub foreign: bool,
}

/// Makes connections for one [`crate::Client`].
pub(crate) struct Transport {
    pub config: Config,
    resolver: Resolver,
    clients: Mutex<HashMap<Profile, Client>>,
    pub(crate) schemes: tokio::sync::Mutex<HashMap<String, &'static str>>,
}

/// What makes connections different from one another.
#[derive(PartialEq, Eq, Hash)]
struct Profile {
    rule: Option<String>,
    encrypted: bool,
    loopback: bool,
}

impl Transport {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            resolver: Resolver::default(),
            clients: Mutex::default(),
            schemes: tokio::sync::Mutex::default(),
        }
    }

    /// The rule for the host of `url`, and its key.
    pub(crate) fn rule(&self, url: &Url) -> Option<(&String, &HostRule)> {
        let host = url.host_str().unwrap_or_default();
        let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        let hub = (host == "registry-1.docker.io").then_some("docker.io");
        let names = [Some(with_port.as_str()), url.port().is_none().then_some(host), hub];
        names.into_iter().flatten().find_map(|name| self.config.hosts.get_key_value(name))
    }

    fn client(&self, url: &Url) -> Result<Client> {
        let rule = self.rule(url);
        let profile = Profile {
            rule: rule.map(|(name, _)| name.clone()),
            encrypted: url.scheme() == "https",
            loopback: is_loopback(url),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&profile) {
            return Ok(client.clone());
        }
        let default = HostRule::default();
        let tls = if profile.encrypted {
            tls::config(&self.config, rule.map_or(&default, |(_, rule)| rule))?
        } else {
            tls::none()?
        };
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(self.resolver.clone())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(&self.config.user_agent)
            .connect_timeout(self.config.connect_timeout())
            .pool_idle_timeout(Duration::from_secs(30))
            .tcp_nodelay(true)
            .http1_only()
            .no_proxy();
        if !profile.loopback {
            for proxy in self.proxies()? {
                builder = builder.proxy(proxy);
            }
        }
        let client = builder
            .build()
            .map_err(|error| Error::Config { what: "HTTP client".into(), source: Some(error.into()) })?;
        clients.insert(profile, client.clone());
        Ok(client)
    }

    fn proxies(&self) -> Result<Vec<reqwest::Proxy>> {
        let proxy = &self.config.proxy;
        let exceptions = || proxy.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        // The URL stays out of the error: it may hold a password.
        let wrong =
            |error: reqwest::Error| Error::Config { what: "proxy".into(), source: Some(error.without_url().into()) };
        let mut proxies = vec![];
        if let Some(url) = &proxy.http {
            proxies.push(reqwest::Proxy::http(url).map_err(wrong)?.no_proxy(exceptions()));
        }
        if let Some(url) = &proxy.https {
            proxies.push(reqwest::Proxy::https(url).map_err(wrong)?.no_proxy(exceptions()));
        }
        Ok(proxies)
    }

    /// Sends a request and follows its redirects; any status is a success here.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Incoming, Failure> {
        let Outgoing { what, method, mut url, headers, mut authorization, mut payload } = outgoing;
        let mut foreign = false;
        for _ in 0..=self.config.redirects {
            let mut request = self.client(&url)?.request(method.clone(), url.clone()).headers(headers.clone());
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(authorization) = &authorization {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let (request, progress) = match &mut payload {
                Payload::Empty => (request, None),
                Payload::Bytes(bytes) => (request.body(bytes.clone()), None),
                Payload::Stream(body) => {
                    let progress = body.progress();
                    (request.body(Body::wrap(body.take())), Some(progress))
                }
            };
            let response = self.head(what, &url, request, progress).await?;
            let size: usize =
                response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            if size > limit::HEADERS {
                return Err(Error::TooLarge { what: format!("{what}: headers"), limit: limit::HEADERS as u64 }.into());
            }
            let location = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
                .then(|| response.headers().get(LOCATION).cloned())
                .flatten();
            let Some(location) = location.filter(|_| method == Method::GET || method == Method::HEAD) else {
                return Ok(Incoming { response, url, foreign });
            };
            let next = self.follow(what, &url, &location)?;
            if origin(&next) != origin(&url) {
                foreign = true;
                authorization = None;
            }
            url = next;
        }
        Err(Error::Protocol { what: what.to_owned(), why: format!("more than {} redirects", self.config.redirects) }
            .into())
    }

    /// Waits for the head of a response, as long as something moves.
    async fn head(
        &self,
        what: &str,
        url: &Url,
        request: reqwest::RequestBuilder,
        progress: Option<Arc<Progress>>,
    ) -> Result<Response, Failure> {
        let idle = self.config.idle_timeout();
        let mut sending = Box::pin(request.send());
        let (mut seen, mut silent) = (0, 0);
        loop {
            if let Ok(result) = timeout(idle, &mut sending).await {
                return result.map_err(|error| classify(what, url, error));
            }
            silent += 1;
            let allowed = match &progress {
                None => 0,
                Some(progress) => {
                    let sent = progress.sent.load(Ordering::Relaxed);
                    if sent != seen {
                        (seen, silent) = (sent, 0);
                    }
                    if sent == progress.size { FINISHING } else { 1 }
                }
            };
            if silent >= allowed {
                let error = Error::Stalled { what: what.to_owned(), host: host(url), waited: idle * silent.max(1) };
                return Err(Failure { error, verdict: Verdict::Again });
            }
        }
    }

    /// Where a redirect or a Location header leads, if it may be followed.
    pub(crate) fn follow(&self, what: &str, from: &Url, location: &HeaderValue) -> Result<Url> {
        let broken = || Error::Protocol { what: what.to_owned(), why: "the Location header is no URL".into() };
        let mut next = from.join(location.to_str().map_err(|_| broken())?).map_err(|_| broken())?;
        next.set_fragment(None);
        self.check_jump(what, from, &next)?;
        Ok(next)
    }

    /// Whether a server at `from` may send us to `to`.
    pub(crate) fn check_jump(&self, what: &str, from: &Url, to: &Url) -> Result<()> {
        let same_host = from.host_str() == to.host_str();
        let allowed_plain = self.rule(to).is_some_and(|(_, rule)| rule.plain_http || rule.insecure);
        let allowed = match to.scheme() {
            "https" => is_loopback(from) || !is_loopback(to),
            "http" if from.scheme() == "http" && (same_host || is_loopback(from) && is_loopback(to)) => true,
            "http" => allowed_plain,
            _ => false,
        };
        if allowed && to.username().is_empty() && to.password().is_none() && to.host_str().is_some() {
            return Ok(());
        }
        Err(Error::Redirect { what: what.to_owned(), from: redact::url(from), to: redact::url(to) })
    }

    /// The next piece of a body; `None` at its end.
    pub(crate) async fn chunk(&self, what: &str, incoming: &mut Incoming) -> Result<Option<Bytes>, Failure> {
        let idle = self.config.idle_timeout();
        match timeout(idle, incoming.response.chunk()).await {
            Ok(result) => result.map_err(|error| classify(what, &incoming.url, error)),
            Err(_) => {
                let error = Error::Stalled { what: what.to_owned(), host: host(&incoming.url), waited: idle };
                Err(Failure { error, verdict: Verdict::Again })
            }
        }
    }

    /// A whole body of at most `limit` bytes.
    pub(crate) async fn body(&self, what: &str, incoming: &mut Incoming, limit: u64) -> Result<Vec<u8>, Failure> {
        let too_large = || Error::TooLarge { what: what.to_owned(), limit };
        if incoming.response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let mut whole = vec![];
        while let Some(chunk) = self.chunk(what, incoming).await? {
            if (whole.len() + chunk.len()) as u64 > limit {
                return Err(too_large().into());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// What an error response says, as far as it can be read and is fit to be shown.
    pub(crate) async fn said(&self, incoming: &mut Incoming) -> Said {
        let mut body = vec![];
        while let Ok(Some(chunk)) = self.chunk("error message", incoming).await {
            body.extend_from_slice(&chunk);
            if body.len() as u64 >= limit::ERROR_BODY {
                break;
            }
        }
        body.truncate(limit::ERROR_BODY as usize);
        Said(redact::text(&failure::said(&body)))
    }
}

/// Scheme, host and port: what credentials are bound to.
pub(crate) fn origin(url: &Url) -> (String, String, u16) {
    let host = url.host_str().unwrap_or_default().to_owned();
    (url.scheme().to_owned(), host, url.port_or_known_default().unwrap_or_default())
}

/// `host[:port]` of a URL, for messages.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a URL points into this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']);
    host == "localhost"
        || address.parse::<Ipv4Addr>().is_ok_and(|a| a.is_loopback() || a.is_unspecified())
        || address.parse::<Ipv6Addr>().is_ok_and(|a| a.to_canonical().is_loopback() || a.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jump(from: &str, to: &str) -> bool {
        let mut config = Config::default();
        config.hosts.insert("plain.example".into(), HostRule { plain_http: true, ..HostRule::default() });
        let [from, to] = [from, to].map(|text| Url::parse(text).unwrap());
        Transport::new(config).check_jump("test", &from, &to).is_ok()
    }

    #[test]
    fn redirects_keep_encryption_and_stay_out_of_this_machine() {
        assert!(jump("https://a.example/", "https://cdn.example/"));
        assert!(jump("http://127.0.0.1:5000/", "http://localhost:6000/"));
        assert!(jump("http://127.0.0.1:5000/", "https://cdn.example/"));
        assert!(jump("https://a.example/", "http://plain.example/x"));
        assert!(jump("http://plain.example/", "http://plain.example/y"));
        for (from, to) in [
            ("https://a.example/", "http://a.example/"),
            ("https://a.example/", "http://127.0.0.1/"),
            ("https://a.example/", "https://localhost/"),
            ("https://a.example/", "https://[::ffff:127.0.0.1]/"),
            ("http://127.0.0.1/", "http://a.example/"),
            ("https://a.example/", "file:///etc/passwd"),
            ("https://a.example/", "https://user:pw@cdn.example/"),
        ] {
            assert!(!jump(from, to), "{from} to {to}");
        }
    }
}

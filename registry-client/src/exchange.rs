//! One request at one endpoint, brought to an end: authorization, tries, and a status turned into an error.
//!
//! [`Retry`] counts the tries of one operation and waits between them; [`once`] is a single try; [`head`] and [`fetch`] are
//! the loops that most operations need. Which endpoint to ask is decided elsewhere.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Url};

use crate::auth::{Asking, Authorizer};
use crate::config::{Config, Event};
use crate::digest::Digest;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::redact;
use crate::retry::{self, Verdict};
use crate::transport::{Incoming, Outgoing, Payload, Transport, origin};

/// What all operations of a client share.
pub(crate) struct Inner {
    pub transport: Transport,
    pub authorizer: Authorizer,
    /// One permit for each download that may read from the network.
    pub permits: tokio::sync::Semaphore,
    /// One permit for each piece of a blob that may come ahead of its turn.
    pub ahead: std::sync::Arc<tokio::sync::Semaphore>,
    /// Mirrors that sent wrong bytes for a blob.
    distrusted: Mutex<HashSet<(String, Digest)>>,
}

impl Inner {
    pub(crate) fn new(config: Config) -> Self {
        let permits = tokio::sync::Semaphore::new(config.max_concurrent.clamp(1, 64));
        let (authorizer, distrusted) = (Authorizer::default(), Mutex::default());
        let ahead = std::sync::Arc::new(tokio::sync::Semaphore::new(crate::limit::RANGES_AHEAD));
        Self { transport: Transport::new(config), authorizer, permits, ahead, distrusted }
    }

    /// Remembers that `endpoint` sent wrong bytes for a blob.
    pub(crate) fn distrust(&self, endpoint: &Endpoint, digest: Digest) {
        let mut distrusted = self.distrusted.lock().unwrap_or_else(PoisonError::into_inner);
        distrusted.insert((endpoint.registry.clone(), digest));
    }

    /// The endpoints that have not sent wrong bytes for this blob; the last one in any case.
    pub(crate) fn trusted(&self, endpoints: Vec<Endpoint>, digest: &Digest) -> Vec<Endpoint> {
        let distrusted = self.distrusted.lock().unwrap_or_else(PoisonError::into_inner);
        let last = endpoints.len() - 1;
        let trusted =
            |(index, e): &(usize, Endpoint)| *index == last || !distrusted.contains(&(e.registry.clone(), *digest));
        endpoints.into_iter().enumerate().filter(trusted).map(|(_, endpoint)| endpoint).collect()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.transport.config
    }
}

/// A request to an endpoint, without a body or with one that can be sent again.
pub(crate) struct Call<'a> {
    /// For messages.
    pub what: &'a str,
    pub method: Method,
    /// Below the repository, starting with a slash.
    pub path: &'a str,
    /// Asked in place of the path, where the endpoint has named a URL.
    pub url: Option<Url>,
    /// The actions on the repository that this needs, such as `pull`.
    pub actions: &'a str,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(what: &'a str, method: Method, path: &'a str, actions: &'a str) -> Self {
        Self { what, method, path, url: None, actions, headers: HeaderMap::new(), body: None }
    }
}

/// The scope of `actions` on a repository, as token servers know it.
pub(crate) fn scope(repository: &str, actions: &str) -> Vec<String> {
    if repository.is_empty() || actions.is_empty() {
        vec![]
    } else {
        vec![format!("repository:{repository}:{actions}")]
    }
}

/// Counts the tries of one operation.
pub(crate) struct Retry<'a> {
    config: &'a Config,
    what: &'a str,
    tries: u32,
    made: u32,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(transport: &'a Transport, what: &'a str, tries: u32) -> Self {
        Self { config: &transport.config, what, tries: tries.max(1), made: 1 }
    }

    /// Starts counting anew, after progress was made.
    pub(crate) fn reset(&mut self) {
        self.made = 1;
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure's error, when there is no next try.
    pub(crate) async fn pause(&mut self, failure: Failure) -> Result<()> {
        let asked = match failure.verdict {
            Verdict::GiveUp => return Err(failure.error),
            Verdict::Again => None,
            Verdict::After(wait) => Some(wait),
        };
        if self.made >= self.tries {
            return Err(failure.error);
        }
        self.made += 1;
        let delay = asked.unwrap_or_else(|| retry::delay(Duration::from_millis(self.config.retry_delay), self.made));
        self.config.tell(&Event::Retry {
            what: self.what.to_owned(),
            cause: cause(&failure.error),
            delay,
            rate_limited: asked.is_some() || matches!(failure.error, Error::RateLimited { .. }),
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// An error with its causes, on one line.
pub(crate) fn cause(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    redact::text(&text)
}

/// How often a request is tried at this endpoint: a mirror is given up sooner, for there is another place to ask.
pub(crate) fn tries(inner: &Inner, endpoint: &Endpoint) -> u32 {
    if endpoint.mirror { inner.config().tries.min(2) } else { inner.config().tries }
}

/// One try of a request to `url`, which the endpoint gave us. A status that is no success is a failure.
pub(crate) async fn once(
    inner: &Inner,
    endpoint: &Endpoint,
    call: &Call<'_>,
    scopes: &[String],
    url: &Url,
    mut payload: Payload,
) -> Result<Incoming, Failure> {
    let (transport, what) = (&inner.transport, call.what);
    let home = endpoint.url(transport.scheme(endpoint).await?, "/")?;
    let ours = origin(&home) == origin(url);
    let asking = Asking { registry: &endpoint.registry, repository: &endpoint.repository, url: &home, scopes };
    let mut authorization = if ours { inner.authorizer.known(transport, &asking).await? } else { None };
    let mut challenged = false;
    loop {
        let again = match &payload {
            Payload::Empty => Some(Payload::Empty),
            Payload::Bytes(bytes) => Some(Payload::Bytes(bytes.clone())),
            Payload::Stream(_) => None,
        };
        let (method, headers) = (call.method.clone(), call.headers.clone());
        let outgoing =
            Outgoing { what, method, url: url.clone(), headers, authorization: authorization.clone(), payload };
        let mut incoming = transport.send(outgoing).await?;
        let status = incoming.response.status();
        if status.is_success() {
            return Ok(incoming);
        }
        // Only the endpoint itself may ask for credentials, not what a redirect led to.
        if status == 401 && ours && !incoming.foreign && !challenged {
            let challenges = incoming.response.headers().get_all(WWW_AUTHENTICATE);
            let challenges: Vec<String> = challenges.iter().filter_map(|v| Some(v.to_str().ok()?.to_owned())).collect();
            let header = inner.authorizer.challenged(transport, &asking, &challenges, authorization.as_ref()).await?;
            if let Some(header) = header {
                challenged = true;
                let Some(again) = again else {
                    // The body is spent, but the next try will have the new token.
                    let error = failure(transport, what, &endpoint.registry, &mut incoming).await.error;
                    return Err(Failure { error, verdict: Verdict::Again });
                };
                (payload, authorization) = (again, Some(header));
                continue;
            }
        }
        return Err(failure(transport, what, &endpoint.registry, &mut incoming).await);
    }
}

async fn attempt(inner: &Inner, endpoint: &Endpoint, call: &Call<'_>) -> Result<Incoming, Failure> {
    let url = match &call.url {
        Some(url) => url.clone(),
        None => endpoint.url(inner.transport.scheme(endpoint).await?, call.path)?,
    };
    let payload = call.body.clone().map_or(Payload::Empty, Payload::Bytes);
    once(inner, endpoint, call, &scope(&endpoint.repository, call.actions), &url, payload).await
}

/// A request of which only the head of the response matters.
pub(crate) async fn head(inner: &Inner, endpoint: &Endpoint, call: &Call<'_>) -> Result<Incoming> {
    let mut retry = Retry::new(&inner.transport, call.what, tries(inner, endpoint));
    loop {
        match attempt(inner, endpoint, call).await {
            Ok(incoming) => return Ok(incoming),
            Err(failure) => retry.pause(failure).await?,
        }
    }
}

/// A request whose response is read whole, up to `limit` bytes.
pub(crate) async fn fetch(
    inner: &Inner,
    endpoint: &Endpoint,
    call: &Call<'_>,
    limit: u64,
) -> Result<(Incoming, Vec<u8>)> {
    let mut retry = Retry::new(&inner.transport, call.what, tries(inner, endpoint));
    loop {
        let failure = match attempt(inner, endpoint, call).await {
            Ok(mut incoming) => match inner.transport.body(call.what, &mut incoming, limit).await {
                Ok(body) => return Ok((incoming, body)),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        retry.pause(failure).await?;
    }
}

/// Tells the observer that a mirror failed, if there is another endpoint to ask; gives the error back if not.
pub(crate) fn next_endpoint(inner: &Inner, what: &str, endpoint: &Endpoint, last: bool, error: Error) -> Result<()> {
    if last {
        return Err(error);
    }
    let mirror = endpoint.registry.clone();
    inner.config().tell(&Event::MirrorFailed { mirror, what: what.to_owned(), cause: cause(&error) });
    Ok(())
}

/// What a response without success means.
pub(crate) async fn failure(transport: &Transport, what: &str, registry: &str, incoming: &mut Incoming) -> Failure {
    let status = incoming.response.status().as_u16();
    let retry_after = incoming.response.headers().get(RETRY_AFTER).and_then(seconds);
    let said = transport.said(incoming).await;
    let what = what.to_owned();
    let error = match status {
        // A storage server that a registry sent us to refuses the registry's link, not us.
        401 if !incoming.foreign => Error::Unauthorized { what, registry: registry.to_owned(), said },
        401 | 403 => Error::Denied { what, said },
        404 => Error::NotFound { what, said },
        429 => Error::RateLimited { what, retry_after, said },
        _ => Error::Status { what, status, said },
    };
    Failure { error, verdict: retry::verdict(status, retry_after, Duration::from_secs(transport.config.retry_after)) }
}

/// The wait that a Retry-After header asks for (RFC 9110, section 10.2.3): seconds, or a date.
fn seconds(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = UNIX_EPOCH + Duration::from_secs(date(text)?);
    Some(then.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = parts[..] else { return None };
    let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n < 10_000);
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let year = number(year).filter(|year| *year >= 1970)?;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut days = (1970..year).map(|year| 365 + u64::from(leap(year))).sum::<u64>();
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += lengths.iter().take(month as usize).sum::<u64>() + number(day)?.checked_sub(1)?;
    Some(((days * 24 + number(hour)?) * 60 + number(minute)?) * 60 + number(second)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        for wrong in
            ["", "Sun, 06 Nov 1994 08:49:37", "x, 00 Jan 1970 00:00:00 GMT", "Sun, 06 Nov 99999999 08:49:37 GMT"]
        {
            assert_eq!(date(wrong), None, "{wrong}");
        }
        assert_eq!(seconds(&HeaderValue::from_static("7")), Some(Duration::from_secs(7)));
        assert_eq!(seconds(&HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")), Some(Duration::ZERO));
    }
}

//! Plain files by their URL, for ADD and for build contexts: the same transport, proxies, certificates, redirect rules,
//! deadlines and tries as for registries, but no credentials of theirs. A file that the caller has already is asked for
//! with its validators (RFC 9110, section 13.1), and not sent again if it has not changed.

use std::io;

use reqwest::header::{
    CONTENT_DISPOSITION, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, Url};

use crate::error::{Error, Result, Said};
use crate::exchange::{self, Inner, Retry, date};
use crate::failure::Failure;
use crate::redact;
use crate::transport::{Outgoing, Payload, host};

/// What tells one state of a file from another, as a server gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`
    pub last_modified: Option<String>,
}

/// What a server says about a file it sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// For the next time.
    pub validators: Validators,
    /// Its name (`Content-Disposition`), which may be anything.
    pub name: Option<String>,
    /// `Last-Modified` in seconds since 1970.
    pub modified: Option<i64>,
}

/// Takes the bytes of a file.
pub trait Sink {
    /// Drops what came so far: the file comes again from its beginning.
    ///
    /// # Errors
    /// Whatever ends the download.
    fn restart(&mut self) -> io::Result<()>;

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Whatever ends the download.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Fetches the file at `url` into `sink`; none if it still is what `known` says.
pub(crate) async fn download(
    inner: &Inner,
    url: &str,
    known: &Validators,
    limit: u64,
    sink: &mut dyn Sink,
) -> Result<Option<FileFacts>> {
    let bad = |why: &str| Error::Protocol { what: redact::text(url), why: why.to_owned() };
    let url = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("it is no http or https URL"));
    }
    let what = redact::url(&url);
    let mut retry = Retry::new(&inner.transport, &what, inner.config().tries);
    loop {
        match once(inner, &what, &url, known, limit, sink).await {
            Ok(facts) => return Ok(facts),
            Err(failure) => retry.pause(failure).await?,
        }
    }
}

async fn once(
    inner: &Inner,
    what: &str,
    url: &Url,
    known: &Validators,
    limit: u64,
    sink: &mut dyn Sink,
) -> Result<Option<FileFacts>, Failure> {
    let transport = &inner.transport;
    let local = |source| Error::Io { what: format!("cannot keep {what}"), source };
    sink.restart().map_err(local)?;
    let mut headers = HeaderMap::new();
    for (name, value) in [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)] {
        // What a server once sent it can be sent again.
        if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    let conditional = !headers.is_empty();
    let payload = Payload::Empty;
    let outgoing = Outgoing { what, method: Method::GET, url: url.clone(), headers, authorization: None, payload };
    let mut incoming = transport.send(outgoing).await?;
    let status = incoming.response.status();
    if status == 304 && conditional {
        return Ok(None);
    }
    if status == 401 {
        let said = transport.said(&mut incoming).await;
        return Err(Error::Denied { what: what.to_owned(), said }.into());
    }
    if status != 200 {
        if status.is_success() || status.is_redirection() || status.is_informational() {
            let (what, status) = (what.to_owned(), status.as_u16());
            return Err(Error::Status { what, status, said: Said(String::new()) }.into());
        }
        return Err(exchange::failure(transport, what, &host(url), &mut incoming).await);
    }
    let too_large = || Error::TooLarge { what: what.to_owned(), limit };
    if incoming.response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large().into());
    }
    let facts = facts(incoming.response.headers());
    let mut taken = 0u64;
    while let Some(chunk) = transport.chunk(what, &mut incoming).await? {
        taken += chunk.len() as u64;
        if taken > limit {
            return Err(too_large().into());
        }
        sink.take(&chunk).map_err(local)?;
    }
    Ok(Some(facts))
}

fn facts(headers: &HeaderMap) -> FileFacts {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let last_modified = text(LAST_MODIFIED);
    let modified = last_modified.as_deref().and_then(date).and_then(|seconds| i64::try_from(seconds).ok());
    let name = headers.get(CONTENT_DISPOSITION).and_then(|value| file_name(&String::from_utf8_lossy(value.as_bytes())));
    FileFacts { validators: Validators { etag: text(ETAG), last_modified }, name, modified }
}

/// The file's name in a `Content-Disposition` (RFC 6266): the plain or quoted `filename`.
fn file_name(header: &str) -> Option<String> {
    let (mut name, mut quoted, mut escaped) = (String::new(), false, false);
    // Parameters are parted by semicolons, which mean nothing in quotes.
    let mut parameters = vec![];
    for c in header.chars() {
        match c {
            _ if escaped => {
                name.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => parameters.push(std::mem::take(&mut name)),
            c => name.push(c),
        }
    }
    parameters.push(name);
    parameters.iter().find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        (key.trim().eq_ignore_ascii_case("filename") && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_headers() {
        for (header, expected) in [
            ("attachment; filename=a.txt", Some("a.txt")),
            ("attachment; FileName=\"a; b\\\".txt\"; x=y", Some("a; b\".txt")),
            ("inline", None),
            ("attachment; filename=", None),
        ] {
            assert_eq!(file_name(header).as_deref(), expected, "{header}");
        }
    }
}

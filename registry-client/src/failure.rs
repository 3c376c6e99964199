//! What a failed request means: which error, and whether trying again may help.
//!
//! Errors of the HTTP library are sorted by what lies at their bottom (a certificate, a name that does not exist, a broken
//! connection), and the error bodies of registries are turned into one clean line.

use reqwest::Url;

use crate::error::Error;
use crate::retry::Verdict;
use crate::transport::{host, is_loopback};

/// A failed request, and whether trying again may help.
pub(crate) struct Failure {
    pub error: Error,
    pub verdict: Verdict,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, verdict: Verdict::GiveUp }
    }
}

/// What a failed request or read means.
pub(crate) fn classify(what: &str, url: &Url, error: reqwest::Error) -> Failure {
    let (what, host) = (what.to_owned(), host(url));
    let error = error.without_url();
    let again = !(find::<hickory_resolver::net::NetError>(&error)
        .is_some_and(|e| e.is_nx_domain() || e.is_no_records_found())
        || is_loopback(url)
            && find::<std::io::Error>(&error).is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
        || error.is_builder());
    if let Some(rustls::Error::InvalidCertificate(_)) = find::<rustls::Error>(&error) {
        return Failure { error: Error::Certificate { what, host, source: error.into() }, verdict: Verdict::GiveUp };
    }
    let verdict = if again { Verdict::Again } else { Verdict::GiveUp };
    Failure { error: Error::Unreachable { what, host, source: error.into() }, verdict }
}

/// The first error of type `E` in the chain of causes, also inside `io::Error`s, which hide theirs.
pub(crate) fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = find::<E>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The message of a distribution-spec error body, or the start of any other text that is not HTML.
pub(crate) fn said(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Problems {
        #[serde(default)]
        errors: Vec<Problem>,
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Problem {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    if let Ok(problems) = serde_json::from_slice::<Problems>(body) {
        let texts = problems.errors.into_iter().map(|p| if p.message.is_empty() { p.code } else { p.message });
        return texts.chain(problems.details).collect::<Vec<_>>().join("; ");
    }
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with(['<', '{', '[']) { String::new() } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say() {
        assert_eq!(said(br#"{"errors":[{"code":"DENIED","message":"no way"},{"code":"X"}]}"#), "no way; X");
        assert_eq!(said(b"plain words"), "plain words");
        assert_eq!(said(b"<html>long</html>"), "");
        assert_eq!(said(br#"{"details":"incorrect username or password"}"#), "incorrect username or password");
    }
}

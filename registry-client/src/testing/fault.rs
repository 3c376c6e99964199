//! The ways in which a test registry can misbehave.

use std::time::Duration;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status and these headers, and an error body.
    Status(u16, Vec<(String, String)>),
    /// Closes the connection without an answer.
    Close,
    /// Closes the connection after this many bytes of the body, which was announced whole.
    Truncate(usize),
    /// Changes the first byte of the body.
    Corrupt,
    /// Sends the body without a length, with these bytes after it.
    Extra(Vec<u8>),
    /// Announces this length for the body and sends that many bytes.
    Length(usize),
    /// Says nothing for this long before the answer.
    Stall(Duration),
    /// Sends this many bytes of the body, then nothing for this long.
    StallBody(usize, Duration),
    /// Sends the body in pieces of this many bytes with this pause after each.
    Slow(usize, Duration),
    /// Answers 307 to this base URL followed by the path and query.
    Redirect(String),
    /// Answers 307 to this URL.
    RedirectTo(String),
    /// Sets a header of the answer.
    Header(String, String),
    /// Sends the whole body whatever range was asked for.
    NoRange,
    /// Takes this many bytes of the request's body, keeps them if they are part of an upload, and closes the connection.
    CutUpload(usize),
}

/// A fault for some requests.
pub(super) struct Rule {
    pub pattern: String,
    pub times: usize,
    pub fault: Fault,
}

/// The fault of the first rule that is for `line` and not used up.
pub(super) fn take(rules: &mut [Rule], line: &str) -> Option<Fault> {
    let rule = rules.iter_mut().find(|rule| rule.times > 0 && line.contains(&rule.pattern))?;
    rule.times -= 1;
    Some(rule.fault.clone())
}

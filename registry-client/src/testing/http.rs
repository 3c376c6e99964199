//! The HTTP/1.1 of the test registry: reads requests, writes answers, and applies faults on the way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fault::{self, Fault};
use super::{Shared, serve};

/// The method that stands for bytes that are no HTTP.
const NOT_HTTP: &str = "NOT HTTP";

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, …
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    target: String,
}

/// An answer.
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a query's name.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `METHOD path?query`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: vec![], body: vec![] }
    }

    pub(super) fn error(status: u16, code: &str) -> Self {
        let body =
            format!(r#"{{"errors":[{{"code":"{code}","message":"{}"}}]}}"#, code.to_lowercase().replace('_', " "));
        Self::new(status).with("Content-Type", "application/json").body(body.into_bytes())
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }
}

/// Pairs of a query or form, decoded.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// Answers the requests of one connection until it is closed.
pub(super) fn converse(connection: TcpStream, shared: &Shared) {
    connection.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    while !shared.stopping.load(Ordering::SeqCst) {
        let Some(mut request) = read_head(&mut reader) else { break };
        if request.method == NOT_HTTP {
            // The client may be gone already.
            let _ = (&connection).write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            break;
        }
        let fault = {
            let mut state = shared.state();
            state.requests.push(request.clone());
            fault::take(&mut state.rules, &request.line())
        };
        let length = request.header("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
        let wanted = if let Some(Fault::CutUpload(bytes)) = fault { bytes.min(length) } else { length };
        let mut body = vec![];
        if (&mut reader).take(wanted as u64).read_to_end(&mut body).is_err() || body.len() < wanted {
            request.body = body;
            serve::keep_part(shared, &request);
            break;
        }
        request.body = body;
        if let Some(Fault::CutUpload(_)) = fault {
            serve::keep_part(shared, &request);
            break;
        }
        if !answer(&connection, shared, request, fault) {
            break;
        }
    }
    // The other side may have closed it first.
    let _ = connection.shutdown(Shutdown::Both);
}

/// Reads the head of a request; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    if !reader.fill_buf().ok()?.first()?.is_ascii_alphabetic() {
        // A TLS greeting, to which real servers answer at once as well.
        let (method, path) = (NOT_HTTP.to_owned(), String::new());
        return Some(Request { method, target: path.clone(), path, query: vec![], headers: vec![], body: vec![] });
    }
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    // As a proxy, we get whole URLs.
    let target =
        target.strip_prefix("http://").and_then(|url| Some(url[url.find('/')?..].to_owned())).unwrap_or(target);
    let mut headers = vec![];
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (path, query) = target.split_once('?').map_or((target.as_str(), ""), |(path, query)| (path, query));
    Some(Request { method, path: path.to_owned(), query: pairs(query), headers, body: vec![], target: target.clone() })
}

/// Answers one request; says whether the connection goes on.
fn answer(mut connection: &TcpStream, shared: &Shared, mut request: Request, fault: Option<Fault>) -> bool {
    let head = request.method == "HEAD";
    let early = match &fault {
        Some(Fault::Close) => return false,
        Some(Fault::Status(status, headers)) => {
            Some(headers.iter().fold(Reply::error(*status, "FAULT"), |reply, (name, value)| reply.with(name, value)))
        }
        Some(Fault::Redirect(base)) => Some(Reply::new(307).with("Location", &format!("{base}{}", request.target))),
        Some(Fault::RedirectTo(url)) => Some(Reply::new(307).with("Location", url)),
        Some(Fault::Stall(time)) => {
            pause(shared, *time);
            None
        }
        Some(Fault::NoRange) => {
            request.headers.retain(|(name, _)| name != "range");
            None
        }
        _ => None,
    };
    let mut reply = early.unwrap_or_else(|| serve::serve(shared, &request));
    let whole = reply.body.len();
    let mut announced = Some(whole);
    let mut goes_on = true;
    match &fault {
        Some(Fault::Header(name, value)) => reply = reply.with(name, value),
        Some(Fault::Corrupt) => reply.body[0] ^= 0x20,
        Some(Fault::Truncate(bytes)) => {
            reply.body.truncate(*bytes);
            goes_on = false;
        }
        Some(Fault::Length(length)) => {
            reply.body.resize(*length, b'x');
            announced = Some(*length);
        }
        Some(Fault::Extra(bytes)) => {
            reply.body.extend_from_slice(bytes);
            (announced, goes_on) = (None, false);
        }
        _ => {}
    }
    let mut text = format!("HTTP/1.1 {} Answer\r\n", reply.status);
    if let Some(length) = announced.filter(|_| reply.status != 204) {
        text += &format!("Content-Length: {length}\r\n");
    }
    for (name, value) in &reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += if goes_on { "\r\n" } else { "Connection: close\r\n\r\n" };
    let body = if head { &[] } else { &reply.body[..] };
    let written = connection.write_all(text.as_bytes()).and_then(|()| match fault {
        Some(Fault::StallBody(bytes, time)) => {
            connection.write_all(&body[..bytes.min(body.len())])?;
            pause(shared, time);
            connection.write_all(&body[bytes.min(body.len())..])
        }
        Some(Fault::Slow(bytes, time)) => body.chunks(bytes).try_for_each(|piece| {
            connection.write_all(piece)?;
            pause(shared, time);
            Ok(())
        }),
        _ => connection.write_all(body),
    });
    // A client that has given up is no fault of ours.
    written.is_ok() && goes_on
}

/// Sleeps, but not longer than the registry lives.
fn pause(shared: &Shared, time: Duration) {
    let step = Duration::from_millis(10);
    let mut left = time;
    while !left.is_zero() && !shared.stopping.load(Ordering::SeqCst) {
        std::thread::sleep(step.min(left));
        left = left.saturating_sub(step);
    }
}

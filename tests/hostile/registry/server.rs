//! A registry that does anything: it speaks HTTP/1.1 by bytes, serves one well-formed image and takes uploads, and breaks
//! every rule that a row asks it to break. Written from the OCI distribution spec and RFC 9112; nothing of `img`'s own
//! client or of its test server is in it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What is done instead of answering well. `{host}` and `{other}` in text stand for this server and the second one.
#[derive(Clone)]
pub enum Fault {
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// This status, these headers (a line each) and this body, with a right length.
    Status(u16, String, Vec<u8>),
    /// The right answer after this change to its headers and body; the length said is that of the body then.
    Change(fn(&mut Vec<(String, String)>, &mut Vec<u8>)),
    /// The right answer cut after so many bytes of its body, and the connection closed.
    Cut(usize),
    /// The same, but reset.
    Reset(usize),
    /// A head, and then this again and again until nobody reads any more.
    Endless(String, Vec<u8>),
    /// So many bytes of the right answer's body, and then silence.
    Stall(usize),
    /// The right answer, a byte each so often.
    Drip(Duration),
    /// The connection is closed without an answer, or reset.
    Close(bool),
    /// No answer at all.
    Silence,
}

/// What the server knows.
pub struct State {
    /// Path to media type and bytes.
    pub content: BTreeMap<String, (String, Vec<u8>)>,
    /// Part of `METHOD path`, how often, and what is done then.
    pub faults: Vec<(String, usize, Fault)>,
    pub requests: Vec<Request>,
    /// What came of an upload so far.
    pub upload: Vec<u8>,
    /// The credentials wanted, as an Authorization header has them.
    pub wants: Option<String>,
    pub other: String,
}

/// A running server.
pub struct Server {
    pub host: String,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = State {
            content: BTreeMap::new(),
            faults: vec![],
            requests: vec![],
            upload: vec![],
            wants: None,
            other: String::new(),
        };
        let (state, stop) = (Arc::new(Mutex::new(state)), Arc::new(AtomicBool::new(false)));
        let server = Self { host: host.clone(), state: Arc::clone(&state), stop: Arc::clone(&stop) };
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (state, stop, host) = (Arc::clone(&state), Arc::clone(&stop), host.clone());
                std::thread::spawn(move || converse(&connection, &host, &state, &stop));
            }
        });
        server
    }

    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.host));
    }
}

fn converse(connection: &TcpStream, host: &str, state: &Mutex<State>, stop: &AtomicBool) {
    let mut reader = BufReader::new(connection);
    while !stop.load(Ordering::SeqCst) {
        let Some(request) = read(&mut reader) else { break };
        let (fault, reply, other) = {
            let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            state.requests.push(request.clone());
            let found =
                state.faults.iter_mut().find(|(part, times, _)| *times > 0 && request.line.contains(part.as_str()));
            let fault = found.map(|(_, times, fault)| {
                *times -= 1;
                fault.clone()
            });
            (fault, serve(&mut state, &request), state.other.clone())
        };
        let said = |text: &str| text.replace("{host}", host).replace("{other}", &other);
        if !answer(connection, &request, reply, fault, stop, &said) {
            break;
        }
    }
    // Whoever is gone cannot be told.
    drop(connection.shutdown(Shutdown::Both));
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ');
    let line = format!("{} {}", words.next()?, words.next()?);
    let mut headers = vec![];
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line, headers, body })
}

type Reply = (u16, Vec<(String, String)>, Vec<u8>);

fn head(reply: &Reply) -> String {
    let headers: String = reply.1.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {} Answer\r\n{headers}Content-Length: {}\r\n\r\n", reply.0, reply.2.len())
}

/// Sends an answer; whether the connection goes on.
fn answer(
    connection: &TcpStream,
    request: &Request,
    mut reply: Reply,
    fault: Option<Fault>,
    stop: &AtomicBool,
    said: &dyn Fn(&str) -> String,
) -> bool {
    let mut to = connection;
    let wait = || {
        while !stop.load(Ordering::SeqCst) && connection.peek(&mut [0]).is_ok_and(|count| count > 0) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let bodiless = request.line.starts_with("HEAD ");
    let reset = || {
        let linger = rustix::net::sockopt::set_socket_linger(connection, Some(Duration::ZERO));
        linger.is_err()
    };
    match fault {
        None => {}
        Some(Fault::Raw(bytes)) => {
            let bytes =
                String::from_utf8(bytes).map_or_else(|error| error.into_bytes(), |text| said(&text).into_bytes());
            drop(to.write_all(&bytes));
            return false;
        }
        Some(Fault::Status(status, headers, body)) => {
            let headers = said(&headers);
            let headers = headers.lines().filter_map(|line| line.split_once(": "));
            let body = String::from_utf8(body).map_or_else(|error| error.into_bytes(), |text| said(&text).into_bytes());
            reply = (status, headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), body);
        }
        Some(Fault::Change(change)) => change(&mut reply.1, &mut reply.2),
        Some(Fault::Cut(bytes)) => {
            drop(
                to.write_all(head(&reply).as_bytes()).and_then(|()| to.write_all(&reply.2[..bytes.min(reply.2.len())])),
            );
            return false;
        }
        Some(Fault::Reset(bytes)) => {
            drop(
                to.write_all(head(&reply).as_bytes()).and_then(|()| to.write_all(&reply.2[..bytes.min(reply.2.len())])),
            );
            return reset();
        }
        Some(Fault::Endless(head, again)) => {
            drop(to.write_all(said(&head).as_bytes()));
            let began = Instant::now();
            while !stop.load(Ordering::SeqCst)
                && began.elapsed() < Duration::from_secs(90)
                && to.write_all(&again).is_ok()
            {}
            return false;
        }
        Some(Fault::Stall(bytes)) => {
            drop(
                to.write_all(head(&reply).as_bytes()).and_then(|()| to.write_all(&reply.2[..bytes.min(reply.2.len())])),
            );
            wait();
            return false;
        }
        Some(Fault::Drip(pause)) => {
            let all = [head(&reply).as_bytes(), &reply.2].concat();
            for byte in all {
                if stop.load(Ordering::SeqCst) || to.write_all(&[byte]).is_err() {
                    return false;
                }
                std::thread::sleep(pause);
            }
            return true;
        }
        Some(Fault::Close(with_reset)) => return with_reset && reset(),
        Some(Fault::Silence) => {
            wait();
            return false;
        }
    }
    let body = if bodiless { &[][..] } else { &reply.2 };
    to.write_all(head(&reply).as_bytes()).and_then(|()| to.write_all(body)).is_ok()
}

/// The right answer.
fn serve(state: &mut State, request: &Request) -> Reply {
    let text = |status: u16, body: &str| (status, vec![], body.as_bytes().to_vec());
    let given = request.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value.as_str());
    let (method, target) = request.line.split_once(' ').unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path == "/token" {
        return text(200, r#"{"token":"sesame","expires_in":300}"#);
    }
    if let Some(wants) = &state.wants
        && given != Some(wants)
    {
        let challenge = if wants.starts_with("Basic") {
            "Basic realm=\"test\"".to_owned()
        } else {
            let host = request.headers.iter().find(|(name, _)| name == "host").map_or("", |(_, value)| value);
            format!("Bearer realm=\"http://{host}/token\",service=\"test\"")
        };
        return (401, vec![("WWW-Authenticate".to_owned(), challenge)], vec![]);
    }
    if path == "/v2/" {
        return text(200, "{}");
    }
    if path.contains("/blobs/uploads/") {
        return upload(state, request, method, query);
    }
    if method == "PUT" && path.contains("/manifests/") {
        return (201, vec![("Docker-Content-Digest".to_owned(), crate::archive::digest(&request.body))], vec![]);
    }
    let Some((media_type, bytes)) = state.content.get(path) else {
        return text(404, r#"{"errors":[{"code":"NOT_FOUND","message":"not here"}]}"#);
    };
    let digest = crate::archive::digest(bytes);
    let mut headers =
        vec![("Content-Type".to_owned(), media_type.clone()), ("Docker-Content-Digest".to_owned(), digest)];
    let from = request.headers.iter().find(|(name, _)| name == "range");
    let from = from.and_then(|(_, value)| value.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    match from.filter(|from| *from < bytes.len()) {
        Some(from) => {
            headers.push(("Content-Range".to_owned(), format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())));
            (206, headers, bytes[from..].to_vec())
        }
        None => (200, headers, bytes.clone()),
    }
}

fn upload(state: &mut State, request: &Request, method: &str, query: &str) -> Reply {
    let at = |status: u16, size: usize| {
        let place = ("Location".to_owned(), "/v2/hostile/blobs/uploads/1?state=s".to_owned());
        (status, vec![place, ("Range".to_owned(), format!("0-{}", size.saturating_sub(1)))], vec![])
    };
    match method {
        "POST" => {
            state.upload.clear();
            at(202, 0)
        }
        "GET" => at(204, state.upload.len()),
        _ => {
            state.upload.extend_from_slice(&request.body);
            if method == "PATCH" {
                return at(202, state.upload.len());
            }
            let whole = std::mem::take(&mut state.upload);
            let digest = crate::archive::digest(&whole);
            if !query.replace("%3A", ":").contains(&format!("digest={digest}")) {
                return (400, vec![], br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#.to_vec());
            }
            (201, vec![("Docker-Content-Digest".to_owned(), digest)], vec![])
        }
    }
}

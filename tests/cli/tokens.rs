//! A registry that takes tokens, and a token server of the test's own that signs them: Debian's docker-registry checks the
//! signature, the scope and the time.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::{Registry, Sandbox, skip, tools};

/// Alice's password, which is found nowhere else.
const PASSWORD: &str = "kq7WtokenP0canary";

/// `alice:PASSWORD`, as the header has it.
const BASIC: &str = "Basic YWxpY2U6a3E3V3Rva2VuUDBjYW5hcnk=";

/// A token server on a port of its own.
struct Tokens {
    address: String,
    /// The lines of the requests that came, `anonymous ` or `alice ` before them.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Tokens {
    /// Signs with the key in `dir`.
    fn start(dir: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, dir) = (Arc::clone(&requests), dir.to_owned());
        // Ends with the program: it holds nothing but its port.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &dir, &seen);
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("nobody panicked").clone()
    }
}

fn answer(mut stream: TcpStream, dir: &Path, seen: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("the same socket")).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let authorization = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    let who = match authorization.as_deref() {
        Some(BASIC) => "alice",
        None => "anonymous",
        Some(_) => "stranger",
    };
    seen.lock().expect("nobody panicked").push(format!("{who} {request}"));
    let (status, body) = if who == "stranger" {
        ("401 Unauthorized", r#"{"details":"incorrect username or password"}"#.to_owned())
    } else {
        let token = token(dir, &request, who == "alice");
        ("200 OK", format!(r#"{{"token":"{token}","expires_in":300}}"#))
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    drop(stream.write_all(format!("{head}{body}").as_bytes()));
}

/// A token for the scopes of the request; without any rights for somebody unknown.
fn token(dir: &Path, request: &str, known: bool) -> String {
    let query = request
        .split(['?', ' '])
        .nth(2)
        .unwrap_or_default()
        .replace("%3A", ":")
        .replace("%2F", "/")
        .replace("%2C", ",");
    let access: Vec<String> = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="))
        .flat_map(|scopes| scopes.split(['+', ' ']))
        .filter_map(|scope| {
            let mut parts = scope.splitn(3, ':');
            let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
            let actions = actions.replace(',', "\",\"");
            known.then(|| format!(r#"{{"type":"{kind}","name":"{name}","actions":["{actions}"]}}"#))
        })
        .collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    // The registry allows clocks to differ by a minute.
    let (from, to) = (now - 60, now + 300);
    let claims = format!(
        r#"{{"iss":"test","sub":"alice","aud":"test","jti":"{now}","iat":{from},"nbf":{from},"exp":{to},"access":[{}]}}"#,
        access.join(",")
    );
    shell(
        dir,
        "url() { basenc -w0 --base64url | tr -d =; }; \
         der=$(openssl x509 -in token.crt -outform der | basenc -w0 --base64); \
         head=$(printf '{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5c\":[\"%s\"]}' \"$der\" | url); \
         body=$(printf %s \"$1\" | url); \
         sign=$(printf %s \"$head.$body\" | openssl dgst -sha256 -sign token.key | url); \
         printf %s \"$head.$body.$sign\"",
        &claims,
    )
}

fn shell(dir: &Path, script: &str, argument: &str) -> String {
    let out = Command::new("sh").args(["-euc", script, "sh", argument]).current_dir(dir).output().expect("a shell");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn keys(sandbox: &Sandbox) -> PathBuf {
    let dir = sandbox.path("pki");
    std::fs::create_dir(&dir).expect("a folder");
    let make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout token.key -out token.crt -days 3 -subj /CN=\"$1\" 2>/dev/null";
    shell(&dir, make, "test");
    dir
}

#[test]
fn tokens_are_fetched_for_what_each_command_needs() {
    if !tools::has("openssl") || !tools::has("basenc") {
        skip!("openssl and basenc are needed");
    }
    let sandbox = Sandbox::new();
    let dir = keys(&sandbox);
    let tokens = Tokens::start(&dir);
    let registry = Registry::with_tokens(&dir, &format!("http://{}/token", tokens.address));
    let image = registry.name("team/tool:1");
    sandbox.pull("busybox");
    let outputs = std::cell::RefCell::new(Vec::new());
    let run = |arguments: &[&str]| {
        let out = sandbox.img(arguments);
        outputs.borrow_mut().push(format!("{}{}", out.stdout(), out.stderr()));
        out
    };
    run(&["push", "busybox", &image]).refuses(1, &["team/tool"]);
    run(&["push", "--creds", "alice:wrong", "busybox", &image]).refuses(1, &["incorrect username or password"]);
    let login = ["login", "--username", "alice", "--password-stdin", registry.address()];
    let out = sandbox.img_with_input(&login, PASSWORD);
    out.ok();
    outputs.borrow_mut().push(format!("{}{}", out.stdout(), out.stderr()));
    run(&["push", "busybox", &image]).ok();
    run(&["pull", &image]).ok();
    run(&["list-tags", &registry.name("team/tool")]).ok();
    run(&["delete", &image]).ok();
    run(&["logout", registry.address()]).ok();
    run(&["pull", &image]).refuses(1, &["team/tool"]);
    let requests = tokens.requests();
    // Each command asks for the rights that it needs and no more.
    let pulls =
        requests.iter().filter(|line| line.starts_with("alice ") && line.contains("pull") && !line.contains("push"));
    assert!(pulls.count() >= 2, "{requests:#?}");
    assert!(requests.iter().any(|line| line.starts_with("alice ") && line.contains("push")), "{requests:#?}");
    for text in outputs.into_inner() {
        assert!(!text.contains(PASSWORD) && !text.contains("YWxpY2U6"), "a secret was printed: {text}");
    }
}

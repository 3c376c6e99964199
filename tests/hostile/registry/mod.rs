//! The registry that misbehaves, and what must come of it: a clear error within a minute or a recovery, never another
//! image than the one that was asked for, never a credential for somebody else, and a store that is whole.

mod auth;
mod content;
mod documents;
mod push;
mod server;
mod transport;

use std::time::Duration;

use serde_json::Value;

use crate::archive::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, config, descriptor, digest, manifest};
use crate::support::{Out, Sandbox};
use crate::tar::Tar;

pub use server::{Fault, Server, State};

/// Longest that a row may take.
const LIMIT: Duration = Duration::from_secs(60);
/// alice:secret
const BASIC: &str = "Basic YWxpY2U6c2VjcmV0";

/// A row of the tables.
pub struct Row {
    pub name: &'static str,
    pub rule: &'static str,
    pub faults: Vec<(&'static str, usize, Fault)>,
    /// What is different about the registry besides.
    pub setup: fn(&mut State),
    /// The words that refuse it, or none where it recovers.
    pub refused: Option<&'static [&'static str]>,
    /// What must hold of the requests that came, beside the outcome.
    pub seen: fn(&State) -> bool,
}

/// A row that is refused.
pub fn no(
    name: &'static str,
    rule: &'static str,
    part: &'static str,
    fault: Fault,
    words: &'static [&'static str],
) -> Row {
    Row { name, rule, faults: vec![(part, 100, fault)], setup: |_| (), refused: Some(words), seen: |_| true }
}

/// A row in which the fault comes so often and no more, and is got over.
pub fn over(name: &'static str, rule: &'static str, part: &'static str, times: usize, fault: Fault) -> Row {
    Row { name, rule, faults: vec![(part, times, fault)], setup: |_| (), refused: None, seen: |_| true }
}

/// A row in which the registry has other things than it should.
pub fn holds(name: &'static str, rule: &'static str, setup: fn(&mut State), words: &'static [&'static str]) -> Row {
    Row { name, rule, faults: vec![], setup, refused: Some(words), seen: |_| true }
}

impl Row {
    pub fn but(mut self, setup: fn(&mut State)) -> Self {
        self.setup = setup;
        self
    }

    /// The fault so far comes so often only.
    pub fn first(mut self, times: usize) -> Self {
        self.faults[0].1 = times;
        self
    }

    pub fn and(mut self, part: &'static str, times: usize, fault: Fault) -> Self {
        self.faults.push((part, times, fault));
        self
    }

    pub fn sees(mut self, seen: fn(&State) -> bool) -> Self {
        self.seen = seen;
        self
    }
}

/// The two layers of the image: a small one, and one that is large enough to be resumed.
pub fn layers() -> [Vec<u8>; 2] {
    let mut seed = 1_u32;
    let noise: Vec<u8> = (0..3 << 20)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .collect();
    [Tar::new().file("small", "small\n").end(), Tar::new().file("large", noise).end()]
}

/// The image's config.
pub fn image_config() -> Value {
    let [small, large] = layers();
    config(&[&small, &large])
}

/// The image's manifest.
pub fn image_manifest() -> Value {
    let [small, large] = layers();
    manifest(&image_config(), &[&small, &large])
}

impl State {
    /// Puts a document under the tag `1` and its digest.
    pub fn tag(&mut self, media_type: &str, bytes: impl AsRef<[u8]>) {
        for name in ["1".to_owned(), digest(bytes.as_ref())] {
            self.content
                .insert(format!("/v2/hostile/manifests/{name}"), (media_type.to_owned(), bytes.as_ref().to_vec()));
        }
    }

    /// Puts a blob.
    pub fn blob(&mut self, bytes: impl AsRef<[u8]>) -> Value {
        let media_type = "application/octet-stream".to_owned();
        let at = format!("/v2/hostile/blobs/{}", digest(bytes.as_ref()));
        self.content.insert(at, (media_type, bytes.as_ref().to_vec()));
        descriptor(OCI_LAYER, bytes)
    }

    /// Changes the manifest of the usual image.
    pub fn change(&mut self, change: impl Fn(&mut Value)) {
        let mut manifest = image_manifest();
        change(&mut manifest);
        self.tag(OCI_MANIFEST, manifest.to_string());
    }

    /// How many requests had this in their line.
    pub fn count(&self, part: &str) -> usize {
        self.requests.iter().filter(|request| request.line.contains(part)).count()
    }
}

/// Tries rows, with `words` before the image's name on the command line.
pub fn try_all(rows: &[Row], words: &[&str]) {
    let sandbox = Sandbox::new();
    let usual = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
    sandbox.write("config.toml", format!("{usual}\n[transfers]\nidle-timeout = 1\ntries = 3\n"));
    let part = std::env::var("HOSTILE").unwrap_or_default();
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| row.name.contains(&part))
        .filter_map(|row| {
            attempt(&sandbox, row, words).err().map(|why| format!("{}: {why}\n  rule: {}", row.name, row.rule))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} rows failed:\n\n{}", failed.len(), rows.len(), failed.join("\n\n"));
    sandbox.img(&["system", "check"]).ok();
}

fn attempt(sandbox: &Sandbox, row: &Row, words: &[&str]) -> Result<(), String> {
    let (server, other) = (Server::start(), Server::start());
    for one in [&server, &other] {
        let mut state = one.state();
        state.blob(image_config().to_string());
        layers().iter().for_each(|layer| drop(state.blob(layer)));
        state.tag(OCI_MANIFEST, image_manifest().to_string());
        state.other = if one.host == server.host { other.host.clone() } else { server.host.clone() };
    }
    let auths = serde_json::json!({ "auths": { &server.host: { "auth": &BASIC[6..] } } });
    sandbox.write("home/.docker/config.json", auths.to_string());
    let name = format!("{}/hostile:1", server.host);
    let pushing = words.contains(&"push");
    if pushing {
        sandbox.img(&["pull", "--quiet", &name]).ok();
        server.state().requests.clear();
        server.state().content.retain(|_, (kind, _)| kind != OCI_CONFIG && !kind.starts_with("application/octet"));
    }
    (row.setup)(&mut server.state());
    server.state().faults =
        row.faults.iter().map(|(part, times, fault)| ((*part).to_owned(), *times, fault.clone())).collect();
    let out = sandbox.img(&[words, &[&name]].concat());
    server.state().faults.clear();
    let mut wrong = judge(row, &out, &server.state(), &other.state());
    if !pushing {
        let here = sandbox.img(&["image", "inspect", "--format", "{{.Id}}", &name]);
        let id = digest(image_config().to_string());
        match row.refused {
            None if here.word() != id => wrong.push(format!("the image is not {id} but {here}")),
            Some(_) if here.code() == 0 => wrong.push("the image is there all the same".to_owned()),
            _ => {}
        }
    }
    sandbox.img(&["rmi", "--force", &name]);
    sandbox.img(&["system", "prune", "--all", "--force"]).ok();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{out}\n{:#?}", wrong.join("; "), lines(&server.state()))) }
}

fn lines(state: &State) -> Vec<&String> {
    state.requests.iter().map(|request| &request.line).collect()
}

fn judge(row: &Row, out: &Out, server: &State, other: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    let said = [out.stdout(), out.stderr()].concat();
    match row.refused {
        Some(_) if out.code() != 1 => wrong.push("it was not refused".to_owned()),
        None if out.code() != 0 => wrong.push("it was not got over".to_owned()),
        Some(words) => wrong
            .extend(words.iter().filter(|w| !said.contains(**w)).map(|word| format!("no {word:?} in what it said"))),
        None => {}
    }
    if out.took > LIMIT {
        wrong.push(format!("it took {:?}", out.took));
    }
    if out.peak > crate::ground::MEMORY {
        wrong.push(format!("{} MiB of memory", out.peak >> 10));
    }
    if said.chars().any(|c| c.is_control() && c != '\n') {
        wrong.push("control characters from the registry reach the terminal".to_owned());
    }
    if said.len() > 20_000 {
        wrong.push(format!("{} bytes of error", said.len()));
    }
    for hush in ["secret", &BASIC[6..], "sesame"] {
        if said.contains(hush) {
            wrong.push("a credential is in what it said".to_owned());
        }
        let told = |request: &server::Request| {
            request.line.contains(hush)
                || request.headers.iter().any(|(_, value)| value.contains(hush))
                || String::from_utf8_lossy(&request.body).contains(hush)
        };
        if other.requests.iter().any(told) {
            wrong.push("a credential went to another host".to_owned());
        }
    }
    if !(row.seen)(server) {
        wrong.push("the requests are not those expected".to_owned());
    }
    wrong
}

/// All tables of pulls.
pub fn pulls() -> Vec<Vec<Row>> {
    vec![content::rows(), documents::rows(), transport::rows(), auth::rows()]
}

/// The table of pushes.
pub fn pushes() -> Vec<Row> {
    push::rows()
}

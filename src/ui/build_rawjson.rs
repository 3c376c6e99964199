//! `--progress rawjson`: what BuildKit's client prints, one JSON object a line on standard error, each with the vertexes,
//! statuses, logs or warnings that changed (`client.SolveStatus`). A vertex is a step or a base image; its digest only names
//! it within one build.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use builder::{Event, Step, Stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::Digest;

use super::note;
use crate::engine::progress;

/// Prints the lines.
#[derive(Default)]
pub struct RawJson {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When a vertex began, by its digest.
    started: HashMap<String, Timestamp>,
    /// The digest of each step, for its output.
    steps: HashMap<usize, String>,
    /// The base image that is being resolved: transfers belong to it.
    base: Option<String>,
    /// Transfers by id: bytes so far, and all.
    transfers: HashMap<String, (u64, u64, Timestamp)>,
}

impl RawJson {
    /// Tells of an event of the build.
    pub fn build(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Planned(steps) => {
                let vertexes: Vec<Value> = steps
                    .iter()
                    .map(|step| {
                        let digest = name_of(step);
                        state.steps.insert(step.id.0, digest.clone());
                        json!({ "digest": digest, "name": title(step) })
                    })
                    .collect();
                print(&json!({ "vertexes": vertexes }));
            }
            Event::Resolving { reference } => state.resolve(reference, false),
            Event::Resolved { reference, .. } => state.resolve(reference, true),
            Event::Started(step) => state.vertex(step, &json!({})),
            Event::Cached(step) => {
                let now = Timestamp::now();
                state.started.insert(name_of(step), now);
                state.vertex(step, &json!({ "completed": now, "cached": true }));
            }
            Event::Finished { step, .. } => state.vertex(step, &json!({ "completed": Timestamp::now() })),
            Event::Failed(step) => {
                state.vertex(step, &json!({ "completed": Timestamp::now(), "error": "the step failed" }));
            }
            Event::Stopped(step) => {
                state.vertex(step, &json!({ "completed": Timestamp::now(), "error": "context canceled" }));
            }
            Event::Output { step, stream, line } => {
                let Some(vertex) = state.steps.get(&step.0) else { return };
                let data = BASE64_STANDARD.encode([line.as_slice(), b"\n"].concat());
                let stream = if *stream == Stream::Stdout { 1 } else { 2 };
                print(&json!({ "logs": [
                    { "vertex": vertex, "stream": stream, "data": data, "timestamp": Timestamp::now() }
                ] }));
            }
            Event::Warning(warning) => {
                let short = BASE64_STANDARD.encode(format!("{}: {}", warning.rule.name(), warning.message));
                let place = |line, character| json!({ "line": line, "character": character });
                let (start, end) = (warning.span.start, warning.span.end);
                let range = json!([{ "start": place(start.line, start.column), "end": place(end.line, end.column) }]);
                print(&json!({ "warnings": [{ "level": 1, "short": short, "range": range }] }));
            }
        }
    }

    /// Tells of a transfer.
    pub fn transfer(&self, event: &progress::Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        let (id, done) = match event {
            progress::Event::Started(id, total) => {
                state.transfers.insert((*id).to_owned(), (0, *total, now));
                (*id, false)
            }
            progress::Event::Advanced(id, bytes) => {
                let Some(transfer) = state.transfers.get_mut(*id) else { return };
                let before = transfer.0;
                transfer.0 += bytes;
                // One line for each MiB is enough.
                if before >> 20 == transfer.0 >> 20 {
                    return;
                }
                (*id, false)
            }
            progress::Event::Done(id, _) => (*id, true),
            progress::Event::Total(_) | progress::Event::Note(_) => return,
        };
        let (current, total, started) = state.transfers.get(id).copied().unwrap_or((0, 0, now));
        let vertex = state.base.clone().unwrap_or_else(|| Digest::of(b"transfers").to_string());
        let mut status = json!({
            "id": id, "vertex": vertex, "current": current, "total": total, "timestamp": now, "started": started,
        });
        if done {
            status["completed"] = json!(now);
            status["current"] = json!(total.max(current));
        }
        print(&json!({ "statuses": [status] }));
    }
}

impl State {
    fn vertex(&mut self, step: &Step, more: &Value) {
        let digest = name_of(step);
        let started = *self.started.entry(digest.clone()).or_insert_with(Timestamp::now);
        let mut vertex = json!({ "digest": digest, "name": title(step), "started": started });
        if let (Value::Object(vertex), Value::Object(more)) = (&mut vertex, more) {
            vertex.extend(more.clone());
        }
        print(&json!({ "vertexes": [vertex] }));
    }

    fn resolve(&mut self, reference: &str, done: bool) {
        let digest = Digest::of(format!("base {reference}").as_bytes()).to_string();
        let now = Timestamp::now();
        let started = *self.started.entry(digest.clone()).or_insert(now);
        let name = format!("[internal] load metadata for {reference}");
        let mut vertex = json!({ "digest": digest, "name": name, "started": started });
        self.base = (!done).then(|| digest.clone());
        if done {
            vertex["completed"] = json!(now);
        }
        print(&json!({ "vertexes": [vertex] }));
    }
}

fn name_of(step: &Step) -> String {
    Digest::of(format!("step {} {}", step.id.0, step.text).as_bytes()).to_string()
}

fn title(step: &Step) -> String {
    format!("[{} {}/{}] {}", step.stage, step.index, step.count, step.text)
}

/// One line. JSON escapes what a terminal would obey.
fn print(value: &Value) {
    note(value);
}

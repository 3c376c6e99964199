//! The full log of a build, kept on disk whatever the progress shows: every step, every line with the time since the build
//! began. A build that runs no step (all of it cached, or a Buildfile with a mistake) leaves none.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use builder::{Event, Step, Stream};
use store::build_log::BuildLog;

use super::BuildWatcher;
use crate::engine::Engine;
use crate::engine::progress;
use crate::error::Result;

/// Logs kept.
const LOGS_MAX: usize = 100;
/// Bytes of all logs kept.
const BYTES_MAX: u64 = 512 << 20;

/// Writes the log of one build, and passes on what it hears.
pub struct Logging<'a> {
    engine: &'a Engine,
    watcher: &'a dyn BuildWatcher,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Lines from before the first step ran.
    early: Vec<String>,
    log: Option<BuildLog>,
    /// Why there is no log.
    failed: Option<store::Error>,
}

impl<'a> Logging<'a> {
    /// A log that begins with `title`.
    pub fn new(engine: &'a Engine, watcher: &'a dyn BuildWatcher, title: String) -> Self {
        let state = State { early: vec![title], ..State::default() };
        Self { engine, watcher, began: Instant::now(), state: Mutex::new(state) }
    }

    /// Id and path of the log, if one was begun.
    pub fn place(&self) -> Option<(String, PathBuf)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.log.as_ref().map(|log| (log.id().to_owned(), log.path().to_owned()))
    }

    /// Ends the log with `words` and lets the oldest logs go.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn finish(&self, words: &str) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.failed.take() {
            self.watcher.event(progress::Event::Note(&format!("the log of this build was not kept: {error}")));
        }
        let Some(mut log) = state.log.take() else { return Ok(()) };
        log.line(format!("{:.3} {words}", self.began.elapsed().as_secs_f64()).as_bytes())?;
        log.finish()?;
        Ok(self.engine.store().build_logs().trim(LOGS_MAX, BYTES_MAX)?)
    }

    fn write(&self, event: &Event) {
        let time = self.began.elapsed().as_secs_f64();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match event {
            Event::Output { step, stream, line } => {
                let sign = if *stream == Stream::Stdout { '|' } else { '!' };
                let head = format!("{time:.3} #{} {sign} ", step.0 + 1);
                state.add(&[head.as_bytes(), line].concat(), false);
                return;
            }
            Event::Started(step) => {
                state.begin(self.engine);
                format!("{} {}", label(step), step.text)
            }
            Event::Cached(step) => format!("{} CACHED {}", label(step), step.text),
            Event::Finished { step, duration, layer } => {
                let layer = layer.map_or_else(String::new, |(id, size)| format!(", layer {id}, {size} bytes"));
                format!("{} done in {:.3}s{layer}", label(step), duration.as_secs_f64())
            }
            Event::Failed(step) => format!("{} failed", label(step)),
            Event::Stopped(step) => format!("{} stopped", label(step)),
            Event::Resolved { reference, id } => format!("FROM {reference} is {id}"),
            Event::Warning(warning) => {
                format!("warning: line {}: {} ({})", warning.span.start.line, warning.message, warning.rule.name())
            }
            _ => return,
        };
        state.add(format!("{time:.3} {line}").as_bytes(), true);
    }
}

impl State {
    /// Makes the log's file.
    fn begin(&mut self, engine: &Engine) {
        if self.log.is_some() || self.failed.is_some() {
            return;
        }
        match engine.store().build_logs().create() {
            Ok(log) => self.log = Some(log),
            Err(error) => self.failed = Some(error),
        }
        for line in std::mem::take(&mut self.early) {
            self.add(line.as_bytes(), false);
        }
    }

    /// Adds a line; a log that cannot be written is given up, and said so at the end.
    fn add(&mut self, line: &[u8], flush: bool) {
        match &mut self.log {
            None if self.failed.is_none() => self.early.push(String::from_utf8_lossy(line).into_owned()),
            None => {}
            Some(log) => {
                let written = log.line(line).and_then(|()| if flush { log.flush() } else { Ok(()) });
                if let Err(error) = written {
                    self.failed = Some(error);
                    self.log = None;
                }
            }
        }
    }
}

impl progress::Progress for Logging<'_> {
    fn event(&self, event: progress::Event<'_>) {
        self.watcher.event(event);
    }
}

impl BuildWatcher for Logging<'_> {
    fn build_event(&self, event: Event) {
        self.write(&event);
        self.watcher.build_event(event);
    }

    fn suspended(&self, work: &mut dyn FnMut()) {
        self.watcher.suspended(work);
    }
}

fn label(step: &Step) -> String {
    format!("#{} [{} {}/{}]", step.id.0 + 1, step.stage, step.index, step.count)
}

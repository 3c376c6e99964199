//! Progress on stderr: on a terminal one bar for everything (bytes, rate, time left) and a line a part; elsewhere a
//! plain line when a part is done; nothing when quiet.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{human, note};
use crate::engine::progress::{Event, Progress};

/// How progress is shown.
pub enum Bars {
    /// Not at all.
    Quiet,
    /// A line when something is done.
    Plain(Mutex<Plain>),
    /// Bars that move.
    Terminal(Mutex<Terminal>),
}

/// What plain lines need to remember.
pub struct Plain {
    started: Instant,
    sizes: HashMap<String, u64>,
}

/// The bars on the screen.
pub struct Terminal {
    all: MultiProgress,
    total: Option<ProgressBar>,
    parts: HashMap<String, ProgressBar>,
}

impl Bars {
    /// Bars on a terminal, lines elsewhere, nothing when `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if io::stderr().is_terminal() {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            Self::Terminal(Mutex::new(Terminal { all, total: None, parts: HashMap::new() }))
        } else {
            Self::Plain(Mutex::new(Plain { started: Instant::now(), sizes: HashMap::new() }))
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        match self {
            Self::Quiet => {}
            Self::Plain(plain) => {
                if let Ok(mut plain) = plain.lock() {
                    plain.event(&event);
                }
            }
            Self::Terminal(terminal) => {
                if let Ok(mut terminal) = terminal.lock() {
                    terminal.event(&event);
                }
            }
        }
    }
}

impl Plain {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Started(id, size) => {
                self.sizes.insert((*id).to_owned(), *size);
            }
            Event::Done(id, how) => match self.sizes.get(*id) {
                Some(&size) if size > 0 => {
                    let seconds = self.started.elapsed().as_secs_f64();
                    note(format_args!("{id}: {how} ({}, {seconds:.1}s)", human::size(size)));
                }
                _ => note(format_args!("{id}: {how}")),
            },
            Event::Note(text) => note(super::Escaped(text)),
            Event::Total(_) | Event::Advanced(..) => {}
        }
    }
}

impl Terminal {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Total(bytes) if *bytes > 0 => {
                let bar = self.all.add(ProgressBar::new(*bytes));
                bar.set_style(style(
                    "total        [{bar:20}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left",
                ));
                bar.enable_steady_tick(Duration::from_millis(200));
                self.total = Some(bar);
            }
            Event::Total(_) => {}
            Event::Started(id, size) => {
                let bar = match &self.total {
                    Some(total) => self.all.insert_before(total, ProgressBar::new(*size)),
                    None => self.all.add(ProgressBar::new(*size)),
                };
                bar.set_style(style("{prefix:12} [{bar:20}] {decimal_bytes}/{decimal_total_bytes}"));
                bar.set_prefix((*id).to_owned());
                self.parts.insert((*id).to_owned(), bar);
            }
            Event::Advanced(id, bytes) => {
                for bar in self.parts.get(*id).into_iter().chain(&self.total) {
                    bar.inc(*bytes);
                }
            }
            Event::Done(id, how) => {
                let bar = self.parts.entry((*id).to_owned()).or_insert_with(|| self.all.add(ProgressBar::new(0)));
                bar.set_prefix((*id).to_owned());
                bar.set_style(style("{prefix:12} {msg}"));
                bar.finish_with_message(*how);
            }
            Event::Note(text) => {
                let text = super::Escaped(text).to_string();
                self.all.suspend(|| note(&text));
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(total) = &self.total {
            total.finish_and_clear();
        }
    }
}

/// A style of ours; the templates are constants, so one that does not parse shows as the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

//! How a build is shown, on stderr. Plain: a line for each step, its output below it, every line with the step's
//! number so that steps running side by side can be told apart. On a terminal the steps that run are live lines with
//! their time and last output; a step that fails prints what it wrote last. Quiet: warnings and errors only.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use builder::explain::Reason;
use builder::{Event, Step, StepId};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::build_rawjson::RawJson;
use super::{Escaped, human, note, warn};
use crate::engine::build::{BuildWatcher, Built};
use crate::engine::progress::{self, Progress};

/// Lines of output kept for a step that fails.
const TAIL: usize = 50;

/// Shows a build.
pub struct BuildProgress {
    quiet: bool,
    started: Instant,
    state: Mutex<State>,
    pulls: super::progress::Bars,
    raw: Option<RawJson>,
}

struct State {
    live: Option<MultiProgress>,
    bars: HashMap<StepId, ProgressBar>,
    tails: HashMap<StepId, VecDeque<String>>,
    /// Why steps run whose line is a live one: said once they are done.
    reasons: HashMap<StepId, String>,
    total: usize,
}

impl BuildProgress {
    /// `kind` is `auto`, `plain`, `tty`, `quiet`, `none` or `rawjson`.
    #[must_use]
    pub fn new(quiet: bool, kind: &str) -> Self {
        let raw = (!quiet && kind == "rawjson").then(RawJson::default);
        let quiet = quiet || matches!(kind, "quiet" | "none" | "rawjson");
        let live = !quiet && (kind == "tty" || kind == "auto" && io::stderr().is_terminal());
        let live = live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        let state = State { live, bars: HashMap::new(), tails: HashMap::new(), reasons: HashMap::new(), total: 0 };
        Self { quiet, started: Instant::now(), state: Mutex::new(state), pulls: super::progress::Bars::new(quiet), raw }
    }

    /// The last words of a build that went well.
    pub fn finish(&self, built: &Built) {
        if self.quiet {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        note(format_args!("built {} in {seconds:.1}s, {}", built.image.short(), human::size(built.size)));
        for name in &built.names {
            note(format_args!("tagged {name}"));
        }
        for (name, digest) in &built.pushed {
            note(format_args!("pushed {name}: {digest}"));
        }
        match built.warnings {
            0 => {}
            1 => note("1 warning found; img build --check explains"),
            count => note(format_args!("{count} warnings found; img build --check explains")),
        }
    }
}

impl Progress for BuildProgress {
    fn event(&self, event: progress::Event<'_>) {
        match &self.raw {
            Some(raw) => raw.transfer(&event),
            None => self.pulls.event(event),
        }
    }
}

impl BuildWatcher for BuildProgress {
    fn build_event(&self, event: Event) {
        if let Some(raw) = &self.raw {
            raw.build(&event);
        } else if let Ok(mut state) = self.state.lock() {
            state.event(event, self.quiet);
        }
    }

    fn suspended(&self, work: &mut dyn FnMut()) {
        // While the state is locked every step that has something to say waits.
        let state = self.state.lock();
        match state.as_ref().ok().and_then(|state| state.live.as_ref()) {
            Some(live) => live.suspend(work),
            None => work(),
        }
    }
}

impl State {
    fn event(&mut self, event: Event, quiet: bool) {
        match event {
            Event::Warning(warning) => {
                let place = warning.span.start;
                warn(Escaped(&format!("line {}: {} ({})", place.line, warning.message, warning.rule.name())));
            }
            Event::Output { step, line, .. } => self.output(step, &line, quiet),
            Event::Failed(step) => {
                self.end(&step, "failed", quiet);
                self.show_tail(step.id, quiet);
            }
            _ if quiet => {}
            Event::Planned(steps) => self.total = steps.len(),
            Event::Resolving { .. } => {}
            Event::Resolved { reference, id } => {
                let id = id.strip_prefix("sha256:").unwrap_or(&id).chars().take(12).collect::<String>();
                self.say(&format!("FROM {reference} ({id})"));
            }
            Event::Started(step) => self.start(&step),
            Event::Explained { step, reason } => self.explain(&step, &reason),
            Event::Cached(step) => self.say(&format!("{} CACHED", label(&step))),
            Event::Finished { step, duration, layer } => {
                let size = layer.map_or_else(String::new, |(_, size)| format!(", {}", human::size(size)));
                let how = format!("done in {:.1}s{size}", duration.as_secs_f64());
                self.end(&step, &how, quiet);
            }
            Event::Stopped(step) => self.end(&step, "stopped", quiet),
        }
    }

    fn say(&self, text: &str) {
        let text = Escaped(text).to_string();
        match &self.live {
            Some(live) => live.suspend(|| note(&text)),
            None => note(text),
        }
    }

    fn start(&mut self, step: &Step) {
        match &self.live {
            None => self.say(&label(step)),
            Some(live) => {
                let bar = live.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("{prefix} {elapsed} {wide_msg:.dim}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.set_prefix(Escaped(&label(step)).to_string());
                bar.enable_steady_tick(Duration::from_millis(250));
                self.bars.insert(step.id, bar);
            }
        }
    }

    /// Why a step runs: below its line, or, where that is a live one, beside its time until the first output.
    fn explain(&mut self, step: &Step, reason: &Reason) {
        match self.bars.get(&step.id) {
            Some(bar) => {
                bar.set_message(Escaped(&format!("({reason})")).to_string());
                self.reasons.insert(step.id, reason.to_string());
            }
            None => self.say(&format!("#{} why: {reason}", step.id.0 + 1)),
        }
    }

    fn end(&mut self, step: &Step, how: &str, quiet: bool) {
        if let Some(bar) = self.bars.remove(&step.id) {
            bar.finish_and_clear();
        }
        if !quiet {
            self.say(&format!("{} {how}", label(step)));
            if let Some(reason) = self.reasons.remove(&step.id) {
                self.say(&format!("#{} why: {reason}", step.id.0 + 1));
            }
        }
    }

    fn output(&mut self, step: StepId, line: &[u8], quiet: bool) {
        let text = String::from_utf8_lossy(line).into_owned();
        if self.live.is_none() && !quiet {
            self.say(&format!("#{} | {text}", step.0 + 1));
            return;
        }
        if let Some(bar) = self.bars.get(&step) {
            bar.set_message(Escaped(&text).to_string());
        }
        let tail = self.tails.entry(step).or_default();
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text);
    }

    /// What a failed step wrote last, where it has not been shown as it came.
    fn show_tail(&mut self, step: StepId, quiet: bool) {
        if self.live.is_some() || quiet {
            for line in self.tails.remove(&step).unwrap_or_default() {
                self.say(&format!("#{} | {line}", step.0 + 1));
            }
        }
    }
}

/// A step as it is shown: `#4 [build 2/5] RUN make`, on one line.
fn label(step: &Step) -> String {
    let text = step.text.lines().next().unwrap_or_default();
    let more = if step.text.lines().nth(1).is_some() { " …" } else { "" };
    format!("#{} [{} {}/{}] {text}{more}", step.id.0 + 1, step.stage, step.index, step.count)
}

//! What a step that is not cached read, and why it is not cached: the solver's side of [`crate::explain`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use jiff::Timestamp;
use serde_json::Value;
use store::Digest;

use super::{Prepared, Solver, StageResult, Work};
use crate::event::Step;
use crate::explain::compare::compare;
use crate::explain::inputs::{FileSet, Inputs, variables};
use crate::explain::memory::{self, Place};
use crate::explain::{Difference, Explained, Reason, Report};
use crate::inputs::ContextSource;
use crate::op::OpError;
use crate::plan::{Base, Op, Origin, PlannedSource, PlannedStage, PlannedStep, Source};

/// Longest value kept as it is, in characters.
const VALUE_MAX: usize = 500;

impl Solver<'_> {
    /// Keeps what is to be said of a step, over what was said before.
    pub(super) fn explained(&self, explained: Explained) {
        let mut all = self.explained.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|other| other.number == explained.number) {
            Some(there) => *there = explained,
            None => all.push(explained),
        }
    }

    /// What is to be said of the build, and keeps it for later; `image` is what it made.
    pub(crate) fn report(&self, image: Option<String>) -> Result<Report, OpError> {
        let mut steps = self.explained.lock().unwrap_or_else(PoisonError::into_inner).clone();
        steps.sort_by_key(|step| step.number);
        let buildfile = self.file.source.name().to_owned();
        let whole = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let context = self.directory().map(|path| whole(path).to_string_lossy().into_owned());
        let report = Report { image, buildfile, context, steps };
        memory::put_last(self.store, &report)?;
        Ok(report)
    }

    /// The directory of the context, if it is one that stays.
    fn directory(&self) -> Option<&Path> {
        match &self.options.context {
            Some(ContextSource::Directory(path)) => Some(path),
            _ => None,
        }
    }

    /// The Buildfile and its context.
    fn project(&self) -> &str {
        self.project.get_or_init(|| {
            let context = self.directory().unwrap_or(Path::new("-"));
            // Only a name to find earlier builds by: one that cannot be resolved is as good as it is.
            let context = std::fs::canonicalize(context).unwrap_or_else(|_| context.to_path_buf());
            Digest::of(format!("{}\0{}", context.display(), self.file.source.name()).as_bytes()).short()
        })
    }

    /// The instruction as it stands in the file.
    fn written(&self, step: &Step) -> String {
        let (first, last) = (step.span.start.line.max(1), step.span.end.line.max(step.span.start.line));
        let lines = self.file.source.lines().skip(first as usize - 1).take((last - first) as usize + 1);
        let text = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
        let word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        // Triggers of a base image stand in no file; their place is that of FROM.
        if word(&text) == word(&step.text) { text } else { step.text.clone() }
    }

    /// What a step read; `keys` are its keys with their parts.
    pub(super) fn inputs(
        &self,
        stage: &PlannedStage,
        state: &StageResult,
        step: &PlannedStep,
        prepared: &Prepared<'_>,
        keys: &[(Digest, Value)],
    ) -> Inputs {
        let mut inputs = Inputs {
            project: self.project().to_owned(),
            instruction: self.written(&step.info),
            parent: state.steps.len().checked_sub(1).and_then(|at| stage.steps.get(at)).map(|s| self.written(&s.info)),
            ..Inputs::default()
        };
        for part in keys.iter().filter_map(|(_, parts)| parts.as_object()).flatten() {
            inputs.parts.insert(part.0.clone(), part.1.as_str().unwrap_or_default().to_owned());
        }
        if let (0, Base::Image(image)) = (state.steps.len(), &stage.base) {
            let written = self.file.stages.iter().find(|other| {
                other.instructions.iter().any(|instruction| instruction.span == step.info.span)
                    || other.span == step.info.span
            });
            let name = written.map_or_else(|| stage.label.clone(), |written| written.base.clone());
            inputs.base = Some((name, image.id.clone()));
        }
        let mut value = |name: &str, text: String| {
            if text.chars().count() <= VALUE_MAX {
                inputs.values.insert(name.to_owned(), text);
            }
        };
        match &step.op {
            Op::Workdir { path, user } => {
                value("path", path.clone());
                value("user", user.clone());
                inputs.kind = "workdir".to_owned();
            }
            Op::Copy(op) => {
                value("sources", op.sources.iter().map(source_text).collect::<Vec<_>>().join(" "));
                value("destination", op.destination.clone());
                value("exclude", op.exclude.join(" "));
                inputs.kind = "copy".to_owned();
            }
            Op::Run(op) => {
                value("cwd", op.cwd.clone());
                value("user", op.user.clone());
                value("platform", stage.platform.to_string());
                value("network", format!("{:?}", op.network).to_lowercase());
                inputs.variables = variables(&op.env, |name| stage.config.env().iter().any(|(known, _)| known == name));
                inputs.kind = "run".to_owned();
            }
        }
        inputs.files = self.files_read(step, prepared);
        inputs
    }

    /// The files a step reads, by the part of its key.
    fn files_read(&self, step: &PlannedStep, prepared: &Prepared<'_>) -> BTreeMap<String, FileSet> {
        let label = |origin: Origin| match origin {
            Origin::Context => None,
            Origin::Named(number) => self.options.inputs.contexts.get(number).map(|(name, _)| name.clone()),
            Origin::Stage(index) => self.plan.stages[index].as_ref().map(|stage| stage.label.clone()),
        };
        let mut files = BTreeMap::new();
        match (&prepared.work, &step.op) {
            (Work::Copy(work), Op::Copy(op)) => {
                if let Some(selected) = work.selected() {
                    let set = FileSet::of(selected.iter().flatten(), label(op.from));
                    files.insert("files".to_owned(), set);
                }
            }
            (Work::Run(work), Op::Run(op)) => {
                for (number, mount) in op.mounts.iter().enumerate() {
                    if let (PlannedSource::Bind { from: Origin::Context | Origin::Named(_), .. }, Some(selected)) =
                        (&mount.source, work.selected(number))
                    {
                        files.insert(format!("mount {number}"), FileSet::of(selected, None));
                    }
                }
            }
            _ => {}
        }
        files
    }

    /// Why a step is not cached, and the earlier step that it was compared with.
    pub(super) fn reason(
        &self,
        stage: &PlannedStage,
        state: &StageResult,
        step: &PlannedStep,
        inputs: &Inputs,
        keys: &[(Digest, Value)],
    ) -> Result<(Reason, Option<Inputs>), OpError> {
        let mut before = None;
        for (key, _) in keys {
            before = before.or(memory::noted(self.store, key)?);
        }
        match before {
            before if stage.no_cache => return Ok((Reason::NoCache, before.map(|(then, _)| then))),
            Some((then, time)) => return Ok((Reason::Evicted { when: Timestamp::try_from(time).ok() }, Some(then))),
            None => {}
        }
        let known: Vec<String> = stage.steps.iter().map(|step| self.written(&step.info)).collect();
        let Some(then) = memory::nearest(self.store, &self.place(step), inputs, &known)? else {
            return Ok((Reason::New, None));
        };
        let cause = state.cause.clone().or_else(|| self.cause_of_sources(step));
        Ok((compare(inputs, &then, cause.as_deref()), Some(then)))
    }

    /// The first change in the stages that a step reads.
    fn cause_of_sources(&self, step: &PlannedStep) -> Option<std::sync::Arc<Difference>> {
        let stage = |origin: Origin| if let Origin::Stage(index) = origin { Some(index) } else { None };
        let sources: Vec<usize> = match &step.op {
            Op::Copy(op) => stage(op.from).into_iter().collect(),
            Op::Run(op) => {
                let from = |source: &PlannedSource| match source {
                    PlannedSource::Bind { from, .. } => stage(*from),
                    _ => None,
                };
                op.mounts.iter().filter_map(|mount| from(&mount.source)).collect()
            }
            Op::Workdir { .. } => Vec::new(),
        };
        // The step's key is made, so these stages are done.
        sources.into_iter().find_map(|index| self.board.wait(index, &self.cancel)?.cause.clone())
    }

    fn place<'a>(&'a self, step: &'a PlannedStep) -> Place<'a> {
        Place { project: self.project(), stage: &step.info.stage, index: step.info.index }
    }

    /// Notes the inputs of a step that has run.
    pub(super) fn remember(
        &self,
        step: &PlannedStep,
        inputs: &Inputs,
        keys: &[(Digest, Value)],
    ) -> Result<(), OpError> {
        let keys: Vec<Digest> = keys.iter().map(|(key, _)| *key).collect();
        memory::remember(self.store, &self.place(step), &keys, inputs)
    }
}

/// What later steps say of a step that ran: the first cause it names, or itself; nothing if it made what the one
/// `before` did.
pub(super) fn cause(step: &Step, reason: &Reason, inputs: &Inputs, before: Option<&Inputs>) -> Option<Difference> {
    if before.is_some_and(|before| before.result.is_some() && before.result == inputs.result) {
        return None;
    }
    if let Reason::Changed { differences } = reason
        && let [first @ Difference::Step { .. }, ..] = differences.as_slice()
    {
        return Some(first.clone());
    }
    let (line, reason) = (step.span.start.line, reason.to_string());
    Some(Difference::Step { step: inputs.instruction.clone(), line, reason })
}

/// A source as reasons name it.
fn source_text(source: &Source) -> String {
    match source {
        Source::Path(path) => path.clone(),
        Source::Http { url, .. } => url.clone(),
        Source::Git(git) => git.url.clone(),
    }
}

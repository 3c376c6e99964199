//! The instructions of one stage in turn: variables are replaced by the values in force at that line, and each
//! instruction changes the config, the history, the environment for the next one, or adds a step. Which arguments are
//! replaced is the Dockerfile reference's list ("Environment replacement").

use std::sync::Arc;

use super::arguments::PROXY_ARGS;
use super::lint;
use super::stages::{DraftBase, Planner};
use super::{Base, CopyOp, Env, HistoryItem, Op, Origin, PlannedStage, PlannedStep, Source};
use crate::buildfile::{Arg, Expander, Instruction, Kind, Span};
use crate::config::Config;
use crate::error::BuildError;
use crate::event::{Step, StepId};
use crate::mutation::broken;
use crate::platform::Platform;

/// The search path where the base image sets none, as Docker has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest instruction text kept in the history, in bytes.
const HISTORY_MAX: usize = 64 << 10;

/// A stage at some line.
#[derive(Clone)]
pub(super) struct Dispatch {
    label: String,
    base: Base,
    pub(super) platform: Platform,
    pub(super) config: Config,
    /// Environment and ARGs in force.
    pub(super) env: Env,
    /// Names that ARGs of the stage (or of the stage it is based on) declared.
    pub(super) declared: Vec<String>,
    steps: Vec<(String, Span, Op)>,
    history: Vec<HistoryItem>,
    /// An absolute WORKDIR was given in this file.
    pub(super) workdir_set: bool,
    /// CMD was given in this stage.
    pub(super) cmd_set: bool,
}

impl Dispatch {
    /// Numbers the steps and makes the planned stage.
    pub(super) fn finish(self, no_cache: bool, next: &mut usize) -> PlannedStage {
        let count = self.steps.len();
        let mut steps = Vec::with_capacity(count);
        for (index, (text, span, op)) in self.steps.into_iter().enumerate() {
            let stage = self.label.clone();
            let info = Arc::new(Step { id: StepId(*next), stage, index: index + 1, count, text, span });
            steps.push(PlannedStep { info, op });
            *next += 1;
        }
        PlannedStage {
            label: self.label,
            base: self.base,
            platform: self.platform,
            steps,
            config: self.config,
            history: self.history,
            no_cache,
        }
    }

    /// Adds a step with its line of history.
    pub(super) fn step(&mut self, instruction: &Instruction, shown: String, created_by: String, op: Op) {
        self.note(instruction, created_by, Some(self.steps.len()));
        self.steps.push((shown, instruction.span, op));
    }

    /// Adds the step that makes a layer of all files of the named context `number`, for a stage that is based on it.
    fn begin_with(&mut self, number: usize, span: Span, text: String) {
        let op = CopyOp {
            sources: vec![Source::Path("/".to_owned())],
            destination: "/".to_owned(),
            from: Origin::Named(number),
            ..CopyOp::default()
        };
        self.history.push(HistoryItem { created_by: text.clone(), span, step: Some(self.steps.len()) });
        self.steps.push((text, span, Op::Copy(Box::new(op))));
    }

    /// Adds a line of history.
    pub(super) fn note(&mut self, instruction: &Instruction, mut created_by: String, step: Option<usize>) {
        if created_by.len() > HISTORY_MAX {
            let end = (0..=HISTORY_MAX).rev().find(|&at| created_by.is_char_boundary(at)).unwrap_or(0);
            created_by.truncate(end);
            created_by.push('…');
        }
        self.history.push(HistoryItem { created_by, span: instruction.span, step });
    }

    /// `path` taken from the working directory, without `.` and `..`; a trailing slash stays.
    pub(super) fn absolute(&self, path: &str) -> String {
        let joined =
            if path.starts_with('/') { path.to_owned() } else { format!("/{}/{path}", self.config.working_dir()) };
        let mut names: Vec<&str> = Vec::new();
        for name in joined.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => names.push(name),
            }
        }
        let directory =
            path.is_empty() || path.ends_with('/') || path.ends_with("/.") || path.ends_with("..") || path == ".";
        let directory = directory && !broken("trailing-slash");
        let slash = if directory && !names.is_empty() { "/" } else { "" };
        format!("/{}{slash}", names.join("/"))
    }
}

impl Planner<'_> {
    /// Goes through stage `index`; the stages it needs are in `done`.
    pub(super) fn dispatch(&mut self, index: usize, done: &[Option<Dispatch>]) -> Result<Dispatch, BuildError> {
        let (base, config) = self.base(index)?;
        let draft = &self.drafts[index];
        let (label, platform) = (draft.label.clone(), draft.platform.clone());
        let mut stage = match (&base, config) {
            (Base::Stage(earlier), _) => match &done[*earlier] {
                Some(earlier) => {
                    let mut stage = earlier.clone();
                    (stage.steps, stage.history, stage.cmd_set) = (Vec::new(), Vec::new(), false);
                    (stage.label, stage.base, stage.platform) = (label, base, platform);
                    stage
                }
                // The base of a needed stage is needed, and comes before it.
                None => return Err(BuildError::Options(format!("the base of {label} was not planned"))),
            },
            (_, config) => {
                let config = config.unwrap_or_else(|| Config::scratch(&platform));
                let mut env = Env::default();
                config.env().iter().for_each(|(name, value)| env.set(name, value));
                Dispatch {
                    label,
                    base,
                    platform,
                    config,
                    env,
                    declared: Vec::new(),
                    steps: Vec::new(),
                    history: Vec::new(),
                    workdir_set: false,
                    cmd_set: false,
                }
            }
        };
        if !broken("triggers-once") {
            stage.config.clear_on_build();
        }
        if index < self.file.stages.len() && stage.env.get("PATH").is_none() {
            stage.config.set_env("PATH", DEFAULT_PATH);
            stage.env.set("PATH", DEFAULT_PATH);
        }
        if let DraftBase::Files(number) = self.drafts[index].base {
            // Only a stage of the file is based on files.
            let text = self.file.stages.get(index).map_or("FROM", |stage| stage.text.as_str()).to_owned();
            stage.begin_with(number, self.drafts[index].span, text);
        }
        for instruction in self.drafts[index].instructions.clone() {
            self.instruction(index, &mut stage, &instruction)?;
        }
        Ok(stage)
    }

    fn instruction(&mut self, index: usize, stage: &mut Dispatch, instruction: &Instruction) -> Result<(), BuildError> {
        match &instruction.kind {
            Kind::Arg(args) => self.arg(stage, instruction, args),
            Kind::Copy(copy) => self.copy(index, stage, instruction, copy),
            Kind::Run(run) => self.run(index, stage, instruction, run),
            _ => self.meta(stage, instruction),
        }
    }

    /// An error about an instruction.
    pub(super) fn wrong(&self, instruction: &Instruction, message: impl Into<String>) -> BuildError {
        BuildError::Buildfile(Box::new(self.problem(instruction.span, message)))
    }

    /// Replaces variables in one word.
    pub(super) fn expand(
        &mut self,
        stage: &Dispatch,
        instruction: &Instruction,
        word: &str,
    ) -> Result<String, BuildError> {
        let how = Expander::new(self.file.escape);
        self.expand_with(how, stage, instruction, word).map(|expanded| expanded.text)
    }

    /// Replaces variables as `how` says, noting those that nothing defines.
    pub(super) fn expand_with(
        &mut self,
        how: Expander,
        stage: &Dispatch,
        instruction: &Instruction,
        word: &str,
    ) -> Result<crate::buildfile::expand::Expanded, BuildError> {
        let lookup = |name: &str| {
            let value = stage.env.get(name);
            let outside = || self.global.get(name).filter(|_| broken("scope-of-global-args"));
            value.or_else(outside).map(str::to_owned)
        };
        let expanded = how.expand(word, &lookup).map_err(|message| self.wrong(instruction, message))?;
        for name in &expanded.unset {
            let known = stage.declared.contains(name) || PROXY_ARGS.contains(&name.as_str());
            if !known && !how.keep_unset {
                let near = crate::buildfile::diagnostic::did_you_mean(name, stage.env.names());
                self.warnings.push(lint::undefined(name, near, instruction.span));
            }
        }
        Ok(expanded)
    }

    /// ARG: `--build-arg` first, then the default, then an ARG of that name before the first FROM.
    fn arg(&mut self, stage: &mut Dispatch, instruction: &Instruction, args: &[Arg]) -> Result<(), BuildError> {
        for arg in args {
            self.warnings.extend(lint::secret_name("ARG", &arg.name, instruction.span));
            let value = match (self.build_args.get(arg.name.as_str()), &arg.default) {
                (Some(value), _) => Some((*value).to_owned()),
                (None, Some(default)) => Some(self.expand(stage, instruction, default)?),
                (None, None) => self.global.get(&arg.name).map(str::to_owned),
            };
            if let Some(value) = value {
                stage.env.set(&arg.name, &value);
            }
            stage.declared.push(arg.name.clone());
        }
        // As written: values given from outside may be nobody else's business.
        stage.note(instruction, instruction.text.clone(), None);
        Ok(())
    }
}

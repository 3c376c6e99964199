//! RUN with its variables replaced: the command line, environment and mounts of the step.

use super::dispatch::Dispatch;
use super::stages::{PROXY_ARGS, Planner};
use super::{Op, PlannedMount, PlannedSource, RunOp};
use crate::buildfile::{Command, Expander, Heredoc, Instruction, MountKind, MountOption, NetworkMode, Run, Span};
use crate::error::BuildError;

/// Where the text of a heredoc that names its own program is mounted, as BuildKit has it.
const SCRIPTS: &str = "/dev/pipes";

/// What a mount's value names as `from`, whatever else is in it.
pub(super) fn mount_from(text: &str) -> Option<String> {
    let fields = text.split(',').map(|field| field.trim_matches('"'));
    let mut named = fields.filter_map(|field| field.split_once('='));
    named.find(|(key, value)| key.eq_ignore_ascii_case("from") && !value.is_empty()).map(|(_, from)| from.to_owned())
}

impl Planner<'_> {
    pub(super) fn run(
        &mut self,
        index: usize,
        stage: &mut Dispatch,
        instruction: &Instruction,
        run: &Run,
    ) -> Result<(), BuildError> {
        let mut mounts = Vec::new();
        for (text, span) in &run.mounts {
            mounts.push(self.mount(index, stage, instruction, text, *span)?);
        }
        let (args, script) = command_line(stage, run);
        mounts.extend(script);
        let network = match (run.network, self.options.network) {
            (NetworkMode::Default, chosen) => chosen,
            (asked, _) => asked,
        };
        let env = &stage.env;
        let mut hidden_env = Vec::new();
        for (name, value) in &self.options.build_args {
            if PROXY_ARGS.contains(&name.as_str()) && env.get(name).is_none() {
                hidden_env.push(format!("{name}={value}"));
            }
        }
        let cwd = match stage.config.working_dir() {
            "" => "/".to_owned(),
            path => stage.absolute(path),
        };
        let op =
            RunOp { args, env: env.entries(), hidden_env, cwd, user: stage.config.user().to_owned(), network, mounts };
        // Shown with its values, except those that only the shell knows; kept in the history as written.
        let how =
            Expander { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Expander::new(self.file.escape) };
        let lookup = |name: &str| stage.env.get(name).map(str::to_owned);
        let shown = how.word(&instruction.text, &lookup).unwrap_or_else(|_| instruction.text.clone());
        let mut created_by = instruction.text.trim_start_matches("ONBUILD ").to_owned();
        for document in &run.documents {
            created_by.push_str(&format!("\n{}{}", document.content, document.name));
        }
        stage.step(instruction, shown, created_by, Op::Run(Box::new(op)));
        Ok(())
    }

    fn mount(
        &mut self,
        index: usize,
        stage: &Dispatch,
        instruction: &Instruction,
        text: &str,
        span: Span,
    ) -> Result<PlannedMount, BuildError> {
        let text = if text.contains('$') {
            let how = Expander { keep_quotes: true, ..Expander::new(self.file.escape) };
            self.expand_with(how, stage, instruction, text)?.text
        } else {
            text.to_owned()
        };
        let wrong = |message: String| BuildError::Buildfile(Box::new(self.file.source.diagnostic(span, message)));
        let option = MountOption::parse(&text).map_err(wrong)?;
        let target = stage.absolute(&option.target);
        let target = target.trim_end_matches('/').to_owned();
        if target.is_empty() {
            return Err(wrong("the target of a mount cannot be the root directory".to_owned()));
        }
        let source = match option.kind {
            MountKind::Bind => {
                let from = option.from.map(|from| self.source(&from, index, span)).transpose()?;
                PlannedSource::Bind { from, path: option.source }
            }
            MountKind::Cache if option.from.is_some() || !option.source.is_empty() => {
                return Err(wrong("from= and source= of a cache mount are not supported yet".to_owned()));
            }
            MountKind::Cache => PlannedSource::Cache {
                id: option.id.unwrap_or_else(|| target.clone()),
                sharing: option.sharing,
                mode: option.mode,
                uid: option.uid,
                gid: option.gid,
            },
            MountKind::Tmpfs => PlannedSource::Tmpfs { size: option.size },
        };
        Ok(PlannedMount { target, source, read_only: option.read_only })
    }
}

/// Program and arguments, and the mount of a script if the one heredoc of the command names its own interpreter.
fn command_line(stage: &Dispatch, run: &Run) -> (Vec<String>, Option<PlannedMount>) {
    let text = match &run.command {
        Command::Exec(args) => return (args.clone(), None),
        Command::Shell(text) => text,
    };
    let with_shell = |text: String| [stage.config.shell(), vec![text]].concat();
    let only = match run.documents.as_slice() {
        [] => return (with_shell(text.clone()), None),
        // The command is nothing but the heredoc.
        [document] if Heredoc::announced_by(text).is_some() => document,
        documents => {
            let mut text = text.clone();
            for document in documents {
                text.push_str(&format!("\n{}{}", document.content, document.name));
            }
            return (with_shell(text), None);
        }
    };
    let body = only.text();
    if !body.starts_with("#!") {
        return (with_shell(body), None);
    }
    // The name is only a label: a delimiter may hold anything.
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let name: String = only.name.chars().map(safe).collect();
    let args = vec![format!("{SCRIPTS}/{name}")];
    let source = PlannedSource::Script { name, text: body };
    (args, Some(PlannedMount { target: SCRIPTS.to_owned(), source, read_only: true }))
}

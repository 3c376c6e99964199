//! RUN with its variables replaced: the command line, environment and mounts of the step.

use super::arguments::PROXY_ARGS;
use super::dispatch::Dispatch;
use super::stages::Planner;
use super::{CacheMount, Op, PlannedMount, PlannedSource, RunOp, given};
use crate::buildfile::{Command, Expander, Heredoc, Instruction, MountKind, MountOption, NetworkMode, Run, Span};
use crate::error::BuildError;
use crate::inputs::Entitlement;

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
        let mut secrets = Vec::new();
        for (text, span) in &run.mounts {
            let option = self.mount_option(stage, instruction, text, *span)?;
            let given = match option.kind {
                MountKind::Secret => given::secret(&option, &mut secrets),
                MountKind::Ssh => Some(given::agent(&option, &mounts)),
                _ => None,
            };
            match given {
                Some((target, source)) => mounts.push(self.planned(stage, *span, &target, source, true)?),
                // A secret that is a variable only.
                None if option.kind == MountKind::Secret => {}
                None => mounts.push(self.mount(index, stage, option, *span)?),
            }
        }
        let (args, script) = command_line(stage, run);
        mounts.extend(script);
        let network = match (run.network, self.options.network) {
            (NetworkMode::Default, chosen) => chosen,
            (asked, _) => asked,
        };
        // What the command line says, the user has said; what a Buildfile asks for may be somebody else's wish.
        if run.network == NetworkMode::Host && self.options.network != NetworkMode::Host {
            self.entitled(instruction, Entitlement::NetworkHost, "RUN --network=host")?;
        }
        if run.insecure {
            self.entitled(instruction, Entitlement::SecurityInsecure, "RUN --security=insecure")?;
        }
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
        let op = RunOp {
            args,
            env: env.entries(),
            hidden_env,
            cwd,
            user: stage.config.user().to_owned(),
            network,
            mounts,
            secrets,
            insecure: run.insecure,
        };
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

    /// Whether the user allowed what the Buildfile asks for.
    fn entitled(&self, instruction: &Instruction, asked: Entitlement, words: &str) -> Result<(), BuildError> {
        if self.options.inputs.allowed.contains(&asked) {
            return Ok(());
        }
        let message = format!("{words} is not allowed unless you say so");
        let problem = self.problem(instruction.span, message);
        Err(Box::new(problem.hint(format!("if you trust this Buildfile with it: --allow {}", asked.name()))).into())
    }

    /// The options of a mount, variables replaced.
    fn mount_option(
        &mut self,
        stage: &Dispatch,
        instruction: &Instruction,
        text: &str,
        span: Span,
    ) -> Result<MountOption, BuildError> {
        let text = if text.contains('$') {
            let how = Expander { keep_quotes: true, ..Expander::new(self.file.escape) };
            self.expand_with(how, stage, instruction, text)?.text
        } else {
            text.to_owned()
        };
        MountOption::parse(&text).map_err(|message| Box::new(self.problem(span, message)).into())
    }

    fn mount(
        &mut self,
        index: usize,
        stage: &Dispatch,
        option: MountOption,
        span: Span,
    ) -> Result<PlannedMount, BuildError> {
        let target = stage.absolute(&option.target);
        let target = target.trim_end_matches('/').to_owned();
        let source = match option.kind {
            MountKind::Bind => {
                let from = option.from.map(|from| self.source(&from, index, span)).transpose()?.unwrap_or_default();
                PlannedSource::Bind { from, path: option.source }
            }
            MountKind::Cache => PlannedSource::Cache(CacheMount {
                // Of a cache that begins with something, it is what it begins with.
                inside: if option.from.is_none() { cleaned(&option.source) } else { String::new() },
                from: match &option.from {
                    Some(from) => Some((self.source(from, index, span)?, option.source.clone())),
                    None => None,
                },
                id: option.id.unwrap_or_else(|| target.clone()),
                sharing: option.sharing,
                mode: option.mode,
                uid: option.uid,
                gid: option.gid,
            }),
            _ => PlannedSource::Tmpfs { size: option.size },
        };
        self.planned(stage, span, &target, source, option.read_only)
    }

    /// A mount at `target`, which is taken from the working directory and may not be the root.
    fn planned(
        &self,
        stage: &Dispatch,
        span: Span,
        target: &str,
        source: PlannedSource,
        read_only: bool,
    ) -> Result<PlannedMount, BuildError> {
        let target = stage.absolute(target);
        let target = target.trim_end_matches('/').to_owned();
        if target.is_empty() {
            return Err(Box::new(self.problem(span, "the target of a mount cannot be the root directory")).into());
        }
        Ok(PlannedMount { target, source, read_only })
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

/// A path without what means nothing in it, relative to where it begins; `..` leads nowhere beyond that.
fn cleaned(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

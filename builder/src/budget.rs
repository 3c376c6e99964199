//! Assertions of the Buildfile, held against the image before it is put into the store. One that is broken says by how
//! much, and which line broke it.

use store::DiffId;
use store::layer::{Kind, LayerPath};

use crate::buildfile::assertion::{Assertion, Requirement};
use crate::buildfile::{Diagnostic, NetworkMode};
use crate::config::Config;
use crate::error::BuildError;
use crate::event::Stream;
use crate::op::{OpError, chown};
use crate::output::{Made, size_in_words};
use crate::ports::RunStep;
use crate::solve::{Scratch, Solver};

/// Files named by one message.
const NAMED: usize = 3;

/// The image as it will be.
pub(crate) struct Draft<'a> {
    /// Its config, without layers.
    pub(crate) config: &'a Config,
    /// Its layers, lowest first.
    pub(crate) layers: &'a [DiffId],
    /// What the build made of them, in order, on top of the base image's.
    pub(crate) made: &'a [Made],
    /// The last USER of the Buildfile that counts: line and text.
    pub(crate) user: Option<(u32, String)>,
}

/// Holds the image against the assertions that speak of it.
///
/// # Errors
/// [`BuildError::Budgets`] with every one that is broken; other errors if the image cannot be looked at.
pub(crate) fn check(solver: &Solver<'_>, draft: &Draft<'_>) -> Result<(), BuildError> {
    let speaks = |assertion: &&Assertion| assertion.stage.is_none_or(|stage| stage == solver.plan.target);
    let mut broken: Vec<Diagnostic> = Vec::new();
    for assertion in solver.file.assertions.iter().filter(speaks) {
        if solver.options.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        if let Some(message) = one(solver, draft, &assertion.requirement)? {
            let message = format!("{} is broken: {message}", assertion.text);
            broken.push(solver.file.source.diagnostic(assertion.span, message));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(BuildError::Budgets(broken)) }
}

fn one(solver: &Solver<'_>, draft: &Draft<'_>, requirement: &Requirement) -> Result<Option<String>, BuildError> {
    match requirement {
        Requirement::Size(limit) => size(solver, draft, *limit),
        Requirement::Layers(limit) => Ok(layers(solver, draft, *limit)),
        Requirement::NoPath(path) => no_path(solver, draft, path),
        Requirement::UserNot(user) => user_not(solver, draft, user),
        Requirement::NoSetuid => no_setuid(solver, draft),
        Requirement::Runs(command) => runs(solver, draft, command),
    }
}

impl Draft<'_> {
    fn base(&self) -> &[DiffId] {
        &self.layers[..self.layers.len() - self.made.len()]
    }

    /// The line that made a layer.
    fn line(&self, solver: &Solver<'_>, layer: usize) -> String {
        match layer.checked_sub(self.base().len()).and_then(|own| self.made.get(own)) {
            Some(made) => format!("{}:{} {}", solver.file.source.name(), made.line, brief(&made.instruction)),
            None => "the base image".to_owned(),
        }
    }
}

fn size(solver: &Solver<'_>, draft: &Draft<'_>, limit: u64) -> Result<Option<String>, BuildError> {
    let mut total = 0;
    let mut crossed = None;
    for (at, layer) in draft.layers.iter().enumerate() {
        let bytes = solver.store.layers().info(layer)?.file_bytes;
        total += bytes;
        if total > limit && crossed.is_none() {
            crossed = Some((at, bytes));
        }
    }
    Ok(crossed.map(|(at, bytes)| {
        let line = draft.line(solver, at);
        let (total, over, bytes) = (size_in_words(total), size_in_words(total - limit), size_in_words(bytes));
        format!("the image has {total}, {over} too much; {line} broke it with {bytes}")
    }))
}

fn layers(solver: &Solver<'_>, draft: &Draft<'_>, limit: u64) -> Option<String> {
    let count = draft.layers.len();
    let over = count.checked_sub(usize::try_from(limit).unwrap_or(usize::MAX)).filter(|over| *over > 0)?;
    let line = draft.line(solver, count - over);
    Some(format!("the image has {count} layers, {over} too many; {line} broke it"))
}

fn no_path(solver: &Solver<'_>, draft: &Draft<'_>, path: &str) -> Result<Option<String>, BuildError> {
    let tree = solver.tree(draft.layers, "the image")?;
    // As it is written: whoever asserts a path means that name, not what a link makes of it today.
    let wanted = LayerPath::parse(path.as_bytes())?;
    let is_there = tree.tree().get(&wanted).is_some();
    for (at, layer) in draft.layers.iter().enumerate().rev() {
        // Of lower layers only those count that this build made: the others are nobody's fault here.
        if at < draft.base().len() && !is_there {
            break;
        }
        let toc = solver.store.layers().toc(layer)?;
        let holds = toc
            .get(&wanted)
            .is_some_and(|entry| !matches!(entry.kind, Kind::Whiteout | Kind::Directory { implied: true, .. }));
        if holds {
            let line = draft.line(solver, at);
            let how = if is_there { "is there" } else { "is hidden in a layer, not gone" };
            return Ok(Some(format!("{path} {how}; {line} wrote it")));
        }
    }
    Ok(is_there.then(|| format!("{path} is there")))
}

fn user_not(solver: &Solver<'_>, draft: &Draft<'_>, name: &str) -> Result<Option<String>, BuildError> {
    let user = draft.config.user().split(':').next().unwrap_or_default();
    let user = if user.is_empty() { "root" } else { user };
    let tree = solver.tree(draft.layers, "the image")?;
    let id = |user: &str| match (user.parse::<u32>(), user) {
        (Ok(id), _) => Some(id),
        (_, "root") => Some(0),
        // A name that the image does not know is nobody's number.
        _ => chown::resolve(user, &|path, limit| tree.read_small(path, limit)).ok().map(|(uid, _)| uid),
    };
    let same = user == name || id(user).is_some_and(|user| id(name) == Some(user));
    Ok(same.then(|| match &draft.user {
        Some((line, text)) => format!("the image runs as {user}, by {}:{line} {text}", solver.file.source.name()),
        None => format!("the image runs as {user}, and no USER says otherwise"),
    }))
}

fn no_setuid(solver: &Solver<'_>, draft: &Draft<'_>) -> Result<Option<String>, BuildError> {
    let tree = solver.tree(draft.layers, "the image")?;
    let mut found = Vec::new();
    let mut count = 0;
    for node in tree.tree().walk().filter(|node| matches!(node.kind(), Kind::File { .. }) && node.mode() & 0o6000 != 0)
    {
        count += 1;
        if found.len() < NAMED {
            let line = draft.line(solver, node.source());
            found.push(format!("{} (mode {:04o}, written by {line})", node.path(), node.mode()));
        }
    }
    if count > found.len() {
        found.push(format!("and {} more", count - found.len()));
    }
    Ok((count > 0).then(|| found.join(", ")))
}

/// Runs the command as a container of the image would, without a network; its changes are thrown away.
fn runs(solver: &Solver<'_>, draft: &Draft<'_>, command: &str) -> Result<Option<String>, BuildError> {
    let args = match serde_json::from_str::<Vec<String>>(command) {
        Ok(args) if !args.is_empty() => args,
        _ => [draft.config.shell(), vec![command.to_owned()]].concat(),
    };
    let env: Vec<String> = draft.config.env().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let scratch = Scratch::new(solver.store.scratch()?)?;
    let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
    let cwd = match draft.config.working_dir() {
        "" => "/",
        path => path,
    };
    let step = RunStep {
        name: "assertion",
        layers: draft.layers,
        args: &args,
        env: &env,
        cwd,
        user: draft.config.user(),
        network: NetworkMode::None,
        mounts: &[],
        extra_hosts: &[],
        insecure: false,
        hostname: None,
        shm_size: solver.options.shm_size,
        upper: &upper,
        work: &work,
        cancel: &solver.options.cancel,
    };
    let mut last = Vec::new();
    let ended = solver.ports.executor.run(&step, &mut |_: Stream, bytes: &[u8]| {
        last.extend_from_slice(bytes);
        last.drain(..last.len().saturating_sub(2000));
    });
    let ended = ended.map_err(|source| OpError::Port { action: format!("run {command}"), source })?;
    scratch.remove()?;
    if ended.exit_code == 0 {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&last);
    let said = said.trim_end().lines().next_back().map_or_else(String::new, |line| format!(": {line}"));
    Ok(Some(format!("the command exited with code {}{said}", ended.exit_code)))
}

fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(60).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

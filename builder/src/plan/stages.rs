//! Which stages a build needs: names and numbers are looked up, the target's dependencies followed, base images
//! resolved side by side, and their ONBUILD triggers put before the stage's own instructions (which may need further
//! stages, so this goes round until nothing new comes).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::dispatch::Dispatch;
use super::lint;
use super::{Base, Env, Origin, Plan, PlannedStage};
use crate::buildfile::diagnostic::did_you_mean;
use crate::buildfile::{Buildfile, Diagnostic, Expander, Instruction, Kind, Rule, Span, Warning};
use crate::config::Config;
use crate::context::Ignore;
use crate::error::BuildError;
use crate::event::Event;
use crate::inputs::NamedContext;
use crate::options::BuildOptions;
use crate::platform::Platform;
use crate::ports::{BaseImage, ImageSource, PortError};

/// Build arguments that need no ARG: they reach RUN steps, but neither key nor history (Dockerfile reference,
/// "Predefined ARGs").
pub(super) const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What the whole planning shares.
pub(super) struct Planner<'a> {
    pub(super) file: &'a Buildfile,
    pub(super) options: &'a BuildOptions,
    /// Values of `--build-arg`.
    pub(super) build_args: HashMap<&'a str, &'a str>,
    /// Platform arguments and ARGs before the first FROM.
    pub(super) global: Env,
    target_platform: Platform,
    pub(super) drafts: Vec<Draft>,
    pub(super) warnings: Vec<Warning>,
    /// What the context hides, for the rule about it.
    pub(super) ignore: Option<&'a Ignore>,
}

/// A stage before its instructions are looked at in turn.
pub(super) struct Draft {
    pub(super) name: Option<String>,
    pub(super) label: String,
    pub(super) base: DraftBase,
    pub(super) platform: Platform,
    pub(super) span: Span,
    /// Triggers of the base image, then the stage's own instructions.
    pub(super) instructions: Vec<Instruction>,
    /// Resolved, for images.
    image: Option<Arc<BaseImage>>,
    /// A named context stands in the place of what the Buildfile says.
    replaced: bool,
}

#[derive(Clone)]
pub(super) enum DraftBase {
    Scratch,
    /// The files of the named context with this number.
    Files(usize),
    Stage(usize),
    Image(String),
}

/// A reference and what it is wanted for.
type Wanted = (String, Platform);

/// Makes the plan.
///
/// # Errors
/// [`BuildError`] for anything that is wrong with the Buildfile's meaning, or a base image that cannot be had.
pub fn plan(
    file: &Buildfile,
    options: &BuildOptions,
    images: &dyn ImageSource,
    events: &(dyn Fn(Event) + Sync),
) -> Result<(Plan, Vec<Warning>), BuildError> {
    let mut planner = Planner::new(file, options, None)?;
    planner.draft()?;
    let target = planner.target()?;
    let (dispatched, _) = planner.dispatch_all(&[target], images, events)?;
    let mut next = 0;
    let mut stages: Vec<Option<PlannedStage>> = Vec::new();
    for (index, dispatch) in dispatched.into_iter().enumerate() {
        stages.push(dispatch.map(|dispatch| dispatch.finish(planner.no_cache(index), &mut next)));
    }
    planner.warn_unused();
    Ok((Plan { stages, target }, planner.all_warnings()))
}

impl<'a> Planner<'a> {
    /// The planner of `file`; nothing is looked at yet.
    pub(super) fn new(
        file: &'a Buildfile,
        options: &'a BuildOptions,
        ignore: Option<&'a Ignore>,
    ) -> Result<Self, BuildError> {
        let target_platform = match &options.platform {
            Some(text) => Platform::parse(text).map_err(BuildError::Options)?,
            None => Platform::host(),
        };
        Ok(Self {
            file,
            options,
            build_args: options.build_args.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            global: platform_args(&target_platform, options),
            target_platform,
            drafts: Vec::new(),
            warnings: Vec::new(),
            ignore,
        })
    }

    /// Looks at what stands before and in the FROM lines.
    pub(super) fn draft(&mut self) -> Result<(), BuildError> {
        self.global_args()?;
        self.default_bases();
        self.draft_stages()
    }

    /// Resolves what `targets` need and goes through their stages; also says which stages those are.
    pub(super) fn dispatch_all(
        &mut self,
        targets: &[usize],
        images: &dyn ImageSource,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<(Vec<Option<Dispatch>>, Vec<bool>), BuildError> {
        let reached = self.resolve(targets, images, events)?;
        // Images named by `--from` come last in the list but depend on nothing.
        let count = self.file.stages.len();
        let order = (count..self.drafts.len()).chain(0..count).filter(|index| reached[*index]);
        let mut dispatched: Vec<Option<Dispatch>> = Vec::new();
        dispatched.resize_with(self.drafts.len(), || None);
        for index in order {
            let dispatch = self.dispatch(index, &dispatched)?;
            dispatched[index] = Some(dispatch);
        }
        Ok((dispatched, reached))
    }

    /// What was doubtful in the file and in the plan, in the order of the lines, without what the file does not want.
    pub(super) fn all_warnings(self) -> Vec<Warning> {
        let check = &self.file.check;
        let mut warnings: Vec<Warning> =
            self.warnings.into_iter().filter(|warning| check.wants(warning.rule)).collect();
        warnings.extend(self.file.warnings.iter().cloned());
        warnings.sort_by_key(|warning| warning.span.start);
        warnings.dedup();
        warnings
    }
}

/// The arguments that are always there, for FROM and for stages that declare them (Dockerfile reference, "Automatic
/// platform ARGs in the global scope").
fn platform_args(target: &Platform, options: &BuildOptions) -> Env {
    let host = Platform::host();
    let mut env = Env::default();
    for (prefix, platform) in [("BUILD", &host), ("TARGET", target)] {
        env.set(&format!("{prefix}PLATFORM"), &platform.to_string());
        env.set(&format!("{prefix}OS"), &platform.os);
        env.set(&format!("{prefix}ARCH"), &platform.architecture);
        env.set(&format!("{prefix}VARIANT"), &platform.variant);
    }
    env.set("TARGETSTAGE", options.target.as_deref().unwrap_or("default"));
    if let Some(epoch) = options.source_date_epoch {
        env.set("SOURCE_DATE_EPOCH", &epoch.to_string());
    }
    env
}

impl Planner<'_> {
    pub(super) fn problem(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        self.file.source.diagnostic(span, message)
    }

    fn global_args(&mut self) -> Result<(), BuildError> {
        for instruction in &self.file.global_args {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for arg in args {
                let value = match (self.build_args.get(arg.name.as_str()), &arg.default) {
                    (Some(value), _) => Some((*value).to_owned()),
                    (None, Some(default)) => {
                        let lookup = |name: &str| self.global.get(name).map(str::to_owned);
                        let expanded = Expander::new(self.file.escape).word(default, &lookup);
                        Some(expanded.map_err(|message| Box::new(self.problem(instruction.span, message)))?)
                    }
                    (None, None) => None,
                };
                if let Some(value) = value {
                    self.global.set(&arg.name, &value);
                }
            }
        }
        Ok(())
    }

    /// Replaces variables in a part of a FROM.
    fn expand_from(&mut self, text: &str, span: Span) -> Result<String, BuildError> {
        let lookup = |name: &str| self.global.get(name).map(str::to_owned);
        let expanded = Expander::new(self.file.escape)
            .expand(text, &lookup)
            .map_err(|message| Box::new(self.problem(span, message)))?;
        for name in expanded.unset {
            let declared = self.global_names().any(|known| known == name);
            if !declared {
                let near = did_you_mean(&name, self.global_names());
                let warning = lint::undefined_in_from(&name, near, span);
                self.warnings.push(warning);
            }
        }
        Ok(expanded.text)
    }

    /// Names of the ARGs before the first FROM.
    fn global_names(&self) -> impl Iterator<Item = &'_ str> {
        let args = self.file.global_args.iter().filter_map(|instruction| match &instruction.kind {
            Kind::Arg(args) => Some(args),
            _ => None,
        });
        args.flatten().map(|arg| arg.name.as_str())
    }

    /// The rule about bases that are none without build arguments. What cannot be expanded is an error elsewhere.
    fn default_bases(&mut self) {
        let how = Expander::new(self.file.escape);
        let mut env = platform_args(&self.target_platform, self.options);
        for instruction in &self.file.global_args {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for arg in args {
                let Some(default) = &arg.default else { continue };
                let lookup = |name: &str| env.get(name).map(str::to_owned);
                let Ok(value) = how.word(default, &lookup) else { return };
                env.set(&arg.name, &value);
            }
        }
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        for stage in &self.file.stages {
            let Ok(default) = how.word(&stage.base, &lookup) else { return };
            self.warnings.extend(lint::default_base(&stage.base, &default, stage.span));
        }
    }

    fn draft_stages(&mut self) -> Result<(), BuildError> {
        for (index, stage) in self.file.stages.iter().enumerate() {
            let base = self.expand_from(&stage.base, stage.span)?;
            if base.is_empty() {
                let problem = self.problem(stage.span, format!("the base {} is empty", stage.base));
                return Err(Box::new(problem.hint("give it a value: ARG NAME=value before the first FROM")).into());
            }
            let lower = base.to_lowercase();
            let earlier = self.drafts.iter().rposition(|draft| draft.name.as_deref() == Some(lower.as_str()));
            let inputs = &self.options.inputs;
            // A context may stand in the place of a whole stage, or of the image that one is based on.
            let instead = stage.name.as_deref().and_then(|name| inputs.context(name));
            let replaced = instead.is_some();
            let base = match (instead, earlier) {
                (Some((number, context)), _) => self.context_base(number, context, stage.span)?,
                (None, Some(earlier)) => DraftBase::Stage(earlier),
                (None, None) if base == "scratch" => DraftBase::Scratch,
                (None, None) => match inputs.context(&base) {
                    Some((number, context)) => self.context_base(number, context, stage.span)?,
                    None => DraftBase::Image(base),
                },
            };
            let platform = match (&stage.platform, &base) {
                (Some(text), _) => {
                    let expanded = self.expand_from(text, stage.span)?;
                    self.warnings.extend(lint::platform(text, &expanded, stage.name.as_deref(), stage.span));
                    Platform::parse(&expanded).map_err(|message| Box::new(self.problem(stage.span, message)))?
                }
                (None, DraftBase::Stage(earlier)) => self.drafts[*earlier].platform.clone(),
                (None, _) => self.target_platform.clone(),
            };
            self.drafts.push(Draft {
                name: stage.name.clone(),
                label: stage.name.clone().unwrap_or_else(|| format!("stage-{index}")),
                base,
                platform,
                span: stage.span,
                instructions: if replaced { Vec::new() } else { stage.instructions.clone() },
                image: None,
                replaced,
            });
        }
        Ok(())
    }

    /// What a named context is as the base of a stage.
    fn context_base(&self, number: usize, context: &NamedContext, span: Span) -> Result<DraftBase, BuildError> {
        Ok(match context {
            NamedContext::Files(_) => DraftBase::Files(number),
            NamedContext::Image(reference) => DraftBase::Image(reference.clone()),
            NamedContext::Stage(name) => {
                let lower = name.to_lowercase();
                let before = self.drafts.len().min(self.file.stages.len());
                let is = |draft: &Draft| draft.name.as_deref() == Some(lower.as_str());
                let found = self.drafts[..before].iter().rposition(is);
                DraftBase::Stage(found.ok_or_else(|| {
                    let problem =
                        self.problem(span, format!("a named context means the stage {name}, which is not there"));
                    Box::new(problem.hint("--build-context NAME=target:STAGE names a stage above the one that uses it"))
                })?)
            }
        })
    }

    /// The stage called `name`, or of that number.
    fn named(&self, name: &str) -> Option<usize> {
        let lower = name.to_lowercase();
        let stages = &self.drafts[..self.file.stages.len()];
        let by_name = stages.iter().rposition(|draft| draft.name.as_deref() == Some(lower.as_str()));
        by_name.or_else(|| name.parse().ok().filter(|&index| index < stages.len()))
    }

    pub(super) fn target(&self) -> Result<usize, BuildError> {
        let last = self.file.stages.len() - 1;
        let Some(name) = &self.options.target else { return Ok(last) };
        self.named(name).ok_or_else(|| {
            let names: Vec<&str> = self.drafts.iter().filter_map(|draft| draft.name.as_deref()).collect();
            let mut problem = self.problem(self.drafts[last].span, format!("there is no stage {name}"));
            problem.hint = Some(match did_you_mean(name, names.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None if names.is_empty() => "no stage of the file has a name".to_owned(),
                None => format!("the stages are {}", names.join(", ")),
            });
            BuildError::Buildfile(Box::new(problem))
        })
    }

    fn no_cache(&self, index: usize) -> bool {
        let is_this = |name: &String| self.named(name) == Some(index);
        self.options.no_cache || self.options.no_cache_stages.iter().any(is_this)
    }

    /// The stage that `--from` or `from=` in stage `user` means; an image becomes a stage of its own.
    pub(super) fn source(&mut self, from: &str, user: usize, span: Span) -> Result<Origin, BuildError> {
        let complain =
            |message: String, hint: &str| -> BuildError { Box::new(self.problem(span, message).hint(hint)).into() };
        if from.contains('$') {
            let hint = "name a stage instead: FROM image-with-$ARG AS name, with the ARG before the first FROM";
            return Err(complain(format!("variables are not replaced in from: {from}"), hint));
        }
        let lower = from.to_lowercase();
        let is = |draft: &Draft| draft.name.as_deref() == Some(lower.as_str());
        let count = self.file.stages.len();
        let before = user.min(count);
        if let Some(index) = self.drafts[..before].iter().rposition(is) {
            // Files that stand in the place of a stage need not become a layer to be copied from.
            return Ok(match self.drafts[index].base {
                DraftBase::Files(number) if self.drafts[index].replaced => Origin::Named(number),
                _ => Origin::Stage(index),
            });
        }
        if let Ok(index) = from.parse::<usize>() {
            if index < before {
                return Ok(Origin::Stage(index));
            }
            let hint = "stages are numbered from 0 in the order of the file";
            return Err(complain(format!("there is no stage {index} before this one"), hint));
        }
        if self.drafts[before..count].iter().any(is) {
            let hint = "move it up: a stage can only copy from those above it";
            return Err(complain(format!("the stage {from} is not defined before this one"), hint));
        }
        let same = |draft: &Draft| draft.label == from;
        if let Some(index) = self.drafts[count..].iter().position(same) {
            return Ok(Origin::Stage(count + index));
        }
        let base = match self.options.inputs.context(from) {
            _ if from == "scratch" => DraftBase::Scratch,
            Some((number, context)) => self.context_base(number, context, span)?,
            None => DraftBase::Image(from.to_owned()),
        };
        match base {
            DraftBase::Files(number) => return Ok(Origin::Named(number)),
            DraftBase::Stage(index) if index >= before => {
                let hint = "move it up: a stage can only copy from those above it";
                return Err(complain(format!("the context {from} means a stage that is not above this one"), hint));
            }
            DraftBase::Stage(index) => return Ok(Origin::Stage(index)),
            DraftBase::Scratch | DraftBase::Image(_) => {}
        }
        self.drafts.push(Draft {
            name: None,
            label: from.to_owned(),
            base,
            platform: self.target_platform.clone(),
            span,
            instructions: Vec::new(),
            image: None,
            replaced: false,
        });
        Ok(Origin::Stage(self.drafts.len() - 1))
    }

    /// The stages that stage `index` needs.
    fn dependencies(&mut self, index: usize) -> Result<Vec<usize>, BuildError> {
        let mut found = Vec::new();
        if let DraftBase::Stage(base) = self.drafts[index].base {
            found.push(base);
        }
        let mut wanted = Vec::new();
        for instruction in &self.drafts[index].instructions {
            match &instruction.kind {
                Kind::Copy(copy) => wanted.extend(copy.from.clone().map(|from| (from, instruction.span))),
                Kind::Run(run) => {
                    let from = |(text, span): &(String, Span)| Some((super::run::mount_from(text)?, *span));
                    wanted.extend(run.mounts.iter().filter_map(from));
                }
                _ => {}
            }
        }
        for (from, span) in wanted {
            if let Origin::Stage(stage) = self.source(&from, index, span)? {
                found.push(stage);
            }
        }
        Ok(found)
    }

    /// Follows dependencies from `targets`, resolving the images that are met; says which stages are needed.
    fn resolve(
        &mut self,
        targets: &[usize],
        images: &dyn ImageSource,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Vec<bool>, BuildError> {
        let mut reached = Vec::new();
        let mut todo = targets.to_vec();
        let mut known: HashMap<Wanted, Arc<BaseImage>> = HashMap::new();
        while !todo.is_empty() {
            let mut fresh = Vec::new();
            while let Some(index) = todo.pop() {
                reached.resize(self.drafts.len(), false);
                if !std::mem::replace(&mut reached[index], true) {
                    fresh.push(index);
                    todo.extend(self.dependencies(index)?);
                }
            }
            self.resolve_images(&fresh, &mut known, images, events)?;
            for index in fresh {
                if self.add_triggers(index)? {
                    todo.extend(self.dependencies(index)?);
                }
            }
        }
        reached.resize(self.drafts.len(), false);
        Ok(reached)
    }

    fn wanted(&self, index: usize) -> Option<Wanted> {
        match &self.drafts[index] {
            Draft { base: DraftBase::Image(reference), platform, .. } => Some((reference.clone(), platform.clone())),
            _ => None,
        }
    }

    fn resolve_images(
        &mut self,
        stages: &[usize],
        known: &mut HashMap<Wanted, Arc<BaseImage>>,
        images: &dyn ImageSource,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<(), BuildError> {
        let mut wanted: Vec<(Wanted, Span)> = Vec::new();
        for index in stages {
            let Some(key) = self.wanted(*index) else { continue };
            if !known.contains_key(&key) && !wanted.iter().any(|(other, _)| *other == key) {
                wanted.push((key, self.drafts[*index].span));
            }
        }
        // The first failure in the order of the file is the one reported.
        wanted.sort_by_key(|(_, span)| span.start);
        let found = ask(&wanted, images, self.options.pull, events);
        for ((key, span), found) in wanted.into_iter().zip(found) {
            let image = found.map_err(|source| {
                let names: Vec<&str> = self.drafts.iter().filter_map(|draft| draft.name.as_deref()).collect();
                let mut problem = self.problem(span, format!("cannot resolve the image {}", key.0));
                problem.hint = did_you_mean(&key.0, names).map(|near| format!("did you mean the stage {near}?"));
                BuildError::BaseImage { diagnostic: Box::new(problem), source }
            })?;
            known.insert(key, Arc::new(image));
        }
        for index in stages {
            self.drafts[*index].image = self.wanted(*index).and_then(|key| known.get(&key).cloned());
        }
        Ok(())
    }

    /// The triggers that the stage's base has for it: those in an image's config, or the ones that a stage of this file
    /// gave itself (those of its own base are done when it begins).
    fn triggers(&self, index: usize) -> Result<Vec<String>, BuildError> {
        let draft = &self.drafts[index];
        if index >= self.file.stages.len() {
            return Ok(Vec::new());
        }
        Ok(match (&draft.base, &draft.image) {
            (DraftBase::Stage(earlier), _) if self.drafts[*earlier].replaced => Vec::new(),
            (DraftBase::Stage(earlier), _) => {
                let own = self.file.stages[*earlier].instructions.iter();
                let trigger = |instruction: &Instruction| match &instruction.kind {
                    Kind::Onbuild(trigger) => Some(trigger.clone()),
                    _ => None,
                };
                own.filter_map(trigger).collect()
            }
            (_, Some(image)) => {
                let damaged = |message| format!("the base image {} is damaged: {message}", image.id);
                let config = Config::parse(&image.config)
                    .map_err(|message| Box::new(self.problem(draft.span, damaged(message))))?;
                config.on_build()
            }
            _ => Vec::new(),
        })
    }

    /// Puts the triggers of the stage's base before its instructions; says whether there were any.
    fn add_triggers(&mut self, index: usize) -> Result<bool, BuildError> {
        let span = self.drafts[index].span;
        let damaged = |message: String| Box::new(self.problem(span, message));
        let mut triggers = Vec::new();
        for text in self.triggers(index)? {
            let mut instruction = Buildfile::parse_trigger(&text).map_err(|error| {
                damaged(format!("the base image has the ONBUILD trigger {text:?}: {}", error.message))
            })?;
            // It stands in no file of ours: FROM is the line that brought it in.
            instruction.span = span;
            if let Kind::Run(run) = &mut instruction.kind {
                run.mounts.iter_mut().for_each(|mount| mount.1 = span);
            }
            instruction.text.insert_str(0, "ONBUILD ");
            triggers.push(instruction);
        }
        let found = !triggers.is_empty();
        self.drafts[index].instructions.splice(0..0, triggers);
        Ok(found)
    }

    /// The base as the plan has it, and the config it begins with; none for a stage, which has its own.
    pub(super) fn base(&self, index: usize) -> Result<(Base, Option<Config>), BuildError> {
        let draft = &self.drafts[index];
        Ok(match (&draft.base, &draft.image) {
            (DraftBase::Stage(earlier), _) => (Base::Stage(*earlier), None),
            (DraftBase::Image(_), Some(image)) => {
                let config = Config::parse(&image.config).map_err(|message| {
                    let message = format!("the base image {} is damaged: {message}", image.id);
                    Box::new(self.problem(draft.span, message))
                })?;
                (Base::Image(Arc::clone(image)), Some(config))
            }
            _ => (Base::Scratch, Some(Config::scratch(&draft.platform))),
        })
    }

    /// Build arguments that nothing declares.
    fn warn_unused(&mut self) {
        let own = self.file.stages.iter().flat_map(|stage| &stage.instructions).chain(&self.file.global_args);
        let triggers = self.drafts.iter().flat_map(|draft| &draft.instructions);
        let args = own.chain(triggers).filter_map(|instruction| match &instruction.kind {
            Kind::Arg(args) => Some(args.iter().map(|arg| arg.name.as_str())),
            _ => None,
        });
        let declared: Vec<&str> = args.flatten().collect();
        let known = |name: &str| {
            declared.contains(&name)
                || PROXY_ARGS.contains(&name)
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
        };
        let unused = self.options.build_args.iter().filter(|(name, _)| !known(name));
        self.warnings.extend(unused.map(|(name, _)| {
            let message = format!("the build argument {name} is used by no ARG");
            Warning::new(Rule::Unused, Span::line(1), message)
        }));
    }
}

/// Asks for all images at the same time; the answers come in the order of the questions.
fn ask(
    wanted: &[(Wanted, Span)],
    images: &dyn ImageSource,
    pull: bool,
    events: &(dyn Fn(Event) + Sync),
) -> Vec<Result<BaseImage, PortError>> {
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (number, ((reference, platform), _)) in wanted.iter().enumerate() {
            let answers = &answers;
            scope.spawn(move || {
                events(Event::Resolving { reference: reference.clone() });
                let found = images.resolve(reference, Some(&platform.to_string()), pull);
                if let Ok(image) = &found {
                    events(Event::Resolved { reference: reference.clone(), id: image.id.clone() });
                }
                answers.lock().unwrap_or_else(PoisonError::into_inner).push((number, found));
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, found)| found).collect()
}

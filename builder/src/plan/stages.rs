//! Which stages a build needs: the Buildfile's stages are drafted, the target's dependencies followed, and the
//! instructions of each stage dispatched in order. What names mean, what base images bring and which variables stand
//! above the stages is in the files beside this one.

use std::collections::HashMap;
use std::sync::Arc;

use super::arguments::platform_args;
use super::dispatch::Dispatch;
use super::lint;
use super::{Env, Plan, PlannedStage};
use crate::buildfile::{Buildfile, Diagnostic, Instruction, Span, Warning};
use crate::context::Ignore;
use crate::error::BuildError;
use crate::event::Event;
use crate::options::BuildOptions;
use crate::platform::Platform;
use crate::ports::{BaseImage, ImageSource};

/// What the whole planning shares.
pub(super) struct Planner<'a> {
    pub(super) file: &'a Buildfile,
    pub(super) options: &'a BuildOptions,
    /// Values of `--build-arg`.
    pub(super) build_args: HashMap<&'a str, &'a str>,
    /// Platform arguments and ARGs before the first FROM.
    pub(super) global: Env,
    pub(super) target_platform: Platform,
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
    pub(super) image: Option<Arc<BaseImage>>,
    /// A named context stands in the place of what the Buildfile says.
    pub(super) replaced: bool,
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
pub(super) type Wanted = (String, Platform);

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

impl Planner<'_> {
    pub(super) fn problem(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        self.file.source.diagnostic(span, message)
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

    pub(super) fn no_cache(&self, index: usize) -> bool {
        let is_this = |name: &String| self.named(name) == Some(index);
        self.options.no_cache || self.options.no_cache_stages.iter().any(is_this)
    }
}

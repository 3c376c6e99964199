//! What names of stages and images mean: a stage of this Buildfile, by name or number, a named context, or an image, which
//! becomes a stage without steps. Whatever a stage names is one that it needs.

use super::Origin;
use super::stages::{Draft, DraftBase, Planner};
use crate::buildfile::diagnostic::did_you_mean;
use crate::buildfile::{Kind, Span};
use crate::error::BuildError;
use crate::inputs::NamedContext;

impl Planner<'_> {
    /// What a named context is as the base of a stage.
    pub(super) fn context_base(
        &self,
        number: usize,
        context: &NamedContext,
        span: Span,
    ) -> Result<DraftBase, BuildError> {
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
    pub(super) fn named(&self, name: &str) -> Option<usize> {
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
    pub(super) fn dependencies(&mut self, index: usize) -> Result<Vec<usize>, BuildError> {
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
}

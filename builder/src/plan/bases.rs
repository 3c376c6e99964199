//! Base images of the stages that are needed: resolved side by side, each once, and their ONBUILD triggers put before the
//! stage's own instructions; these may need further stages, so this goes round until nothing new comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Base;
use super::stages::{Draft, DraftBase, Planner, Wanted};
use crate::buildfile::diagnostic::did_you_mean;
use crate::buildfile::{Buildfile, Instruction, Kind, Span};
use crate::config::Config;
use crate::error::BuildError;
use crate::event::Event;
use crate::ports::{BaseImage, ImageSource, PortError};

impl Planner<'_> {
    /// Follows dependencies from `targets`, resolving the images that are met; says which stages are needed.
    pub(super) fn resolve(
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

//! What there is to say about a whole build: each step, whether it was cached, and if not, why.

use serde::{Deserialize, Serialize};

use super::Reason;
use crate::event::Step;

/// A build's steps in the order of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The image that was made; none if the build failed.
    pub image: Option<String>,
    /// The Buildfile's name.
    pub buildfile: String,
    /// Its context.
    pub context: Option<String>,
    /// The steps; those that the build did not get to are left out.
    pub steps: Vec<Explained>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Its number in the build, from 1, as the progress shows it.
    pub number: usize,
    /// Its stage.
    pub stage: String,
    /// Its place in the stage, from 1.
    pub index: usize,
    /// Number of steps of the stage.
    pub count: usize,
    /// Its line in the Buildfile.
    pub line: u32,
    /// The instruction.
    pub instruction: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it ran; none if it was cached.
    pub reason: Option<Reason>,
    /// The same in words.
    pub text: Option<String>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its result was in the cache.
    Cached,
    /// It ran.
    Ran,
    /// It ran and failed, or was stopped.
    Failed,
}

impl Explained {
    /// Of a step that was cached, or runs for a reason.
    pub(crate) fn of(step: &Step, outcome: Outcome, reason: Option<Reason>) -> Self {
        Self {
            number: step.id.0 + 1,
            stage: step.stage.clone(),
            index: step.index,
            count: step.count,
            line: step.span.start.line,
            instruction: step.text.chars().take(4096).collect(),
            outcome,
            text: reason.as_ref().map(ToString::to_string),
            reason,
        }
    }
}

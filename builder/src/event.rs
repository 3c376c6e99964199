//! What a build tells while it runs. Events come from several threads at once and in the order in which things happen
//! to each step: started, then output, then cached or finished. Texts are as written by others: whoever draws them
//! escapes them.

use std::sync::Arc;
use std::time::Duration;

use store::DiffId;

use crate::buildfile::{Span, Warning};
use crate::explain::Reason;

/// Number of a step in its build, from 0, in the order of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub usize);

/// A step as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// Name of its stage, or `stage-N`.
    pub stage: String,
    /// Its place among the steps of its stage, from 1.
    pub index: usize,
    /// Number of steps in its stage.
    pub count: usize,
    /// The instruction, variables replaced where the language replaces them.
    pub text: String,
    /// Where it stands in the Buildfile; FROM's place for the triggers of a base image.
    pub span: Span,
}

/// Where a command wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One event.
#[derive(Clone, Debug)]
pub enum Event {
    /// The plan is made: the steps that this build will look up or run.
    Planned(Vec<Arc<Step>>),
    /// A base image is being resolved (and pulled if it is not here).
    Resolving {
        /// As written in FROM.
        reference: String,
    },
    /// A base image is here.
    Resolved {
        /// As written in FROM.
        reference: String,
        /// Its id or digest.
        id: String,
    },
    /// A step begins to run; cached steps never do.
    Started(Arc<Step>),
    /// Why the step that has just started is not cached.
    Explained {
        /// Which step.
        step: Arc<Step>,
        /// Why it runs.
        reason: Reason,
    },
    /// A step's result was in the build cache.
    Cached(Arc<Step>),
    /// One line a command wrote, without its line end; very long lines come in pieces of 64 KiB.
    Output {
        /// Which step.
        step: StepId,
        /// Standard output or error.
        stream: Stream,
        /// The bytes.
        line: Vec<u8>,
    },
    /// A step ran.
    Finished {
        /// Which step.
        step: Arc<Step>,
        /// How long it took.
        duration: Duration,
        /// The layer it made, with the size of its tar in bytes; none if it changed nothing.
        layer: Option<(DiffId, u64)>,
    },
    /// A step failed; the build's error says why.
    Failed(Arc<Step>),
    /// A step was stopped because another one failed or the build was cancelled.
    Stopped(Arc<Step>),
    /// Something doubtful.
    Warning(Warning),
}

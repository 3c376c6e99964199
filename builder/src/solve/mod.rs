//! Walking the plan. Each stage that is needed has a thread, which does its steps one after the other and waits only
//! where it needs another stage; a step is looked up in the build cache by its key and run if it is not there. Two
//! stages that come to the same key at the same time run it once. The first failure stops the rest.
//!
//! ```text
//!   stage thread:  wait for base ─► for each step: key ─► cached? ─► result ─► … ─► publish
//!                                                  ▲          │ no
//!                        wait for the stages it reads         └─► slot ─► op ─► layer ─► record
//! ```

mod cache_mount;
mod contexts;
mod explain;
mod gate;
mod given;
mod lines;
mod remote;
mod run;
mod steps;
mod trees;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use store::cache::CacheRecord;
use store::layer::Time;
use store::{DiffId, Digest, Store};

use crate::buildfile::Buildfile;
use crate::cancel::Cancel;
use crate::error::BuildError;
use crate::event::{Event, Step};
use crate::explain::{Difference, Explained, Outcome};
use crate::files::LayerFiles;
use crate::key::{FileSystemId, KeyBuilder};
use crate::op::OpError;
use crate::options::{BuildOptions, UsedStep};
use crate::plan::{Base, Plan, PlannedStage, PlannedStep};
use crate::ports::Ports;
use contexts::Contexts;
use gate::{Board, Claim, Claims, Slots};
pub(crate) use run::Scratch;
use trees::Trees;

/// What a step made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepResult {
    /// Its layer, if it changed anything.
    pub(crate) layer: Option<DiffId>,
    /// When it was made, as the config has it.
    pub(crate) created: String,
    /// How long it took, milliseconds.
    pub(crate) duration_ms: u64,
}

/// What a stage made.
#[derive(Clone, Debug)]
pub(crate) struct StageResult {
    /// Its layers, those of its base included, lowest first.
    pub(crate) layers: Vec<DiffId>,
    /// Names its files.
    pub(crate) id: FileSystemId,
    /// Results of its steps.
    pub(crate) steps: Vec<StepResult>,
    /// The step that was the first to run anew, if one did, of this stage or those it is made from.
    pub(crate) cause: Option<Arc<Difference>>,
}

impl StageResult {
    /// Nothing done yet on top of `layers`.
    fn new(layers: Vec<DiffId>) -> Self {
        let id = FileSystemId::of(&layers);
        Self { layers, id, steps: Vec::new(), cause: None }
    }
}

/// Everything the threads share.
pub(crate) struct Solver<'a> {
    pub(crate) store: &'a Store,
    pub(crate) file: &'a Buildfile,
    pub(crate) plan: &'a Plan,
    pub(crate) options: &'a BuildOptions,
    pub(crate) ports: &'a Ports<'a>,
    pub(crate) events: &'a (dyn Fn(Event) + Sync),
    /// SOURCE_DATE_EPOCH.
    pub(crate) epoch: Option<i64>,
    contexts: Contexts,
    cancel: Cancel,
    slots: Slots,
    run_slots: Slots,
    board: Board<Arc<StageResult>>,
    claims: Claims<StepResult>,
    /// Merged layers, by their list.
    trees: Mutex<Trees>,
    failure: Mutex<Option<BuildError>>,
    /// Records of the cache that were used or made.
    used: Mutex<Vec<UsedStep>>,
    pub(crate) cached: AtomicUsize,
    pub(crate) executed: AtomicUsize,
    /// What is to be said of each step that was looked at.
    explained: Mutex<Vec<Explained>>,
    /// The Buildfile and its context, as notes of earlier builds name them.
    project: OnceLock<String>,
}

/// A step's key, and what was found on the way to it.
struct Prepared<'a> {
    key: KeyBuilder,
    work: Work<'a>,
}

/// What is left to do for a step that is not cached.
enum Work<'a> {
    Workdir { path: &'a str, user: &'a str },
    Copy(steps::CopyWork<'a>),
    Run(run::RunWork<'a>),
}

impl<'a> Solver<'a> {
    pub(crate) fn new(
        store: &'a Store,
        file: &'a Buildfile,
        plan: &'a Plan,
        options: &'a BuildOptions,
        ports: &'a Ports<'a>,
        events: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Self, BuildError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).max(2);
        // Steps of ours keep a processor busy; commands wait for networks, disks and each other as often as not.
        let (jobs, commands) = options.jobs.map_or((cores, cores * 8), |jobs| (jobs, jobs));
        Ok(Self {
            store,
            file,
            plan,
            options,
            ports,
            events,
            epoch: epoch(options)?,
            contexts: Contexts::default(),
            cancel: options.cancel.child(),
            slots: Slots::new(jobs.max(1)),
            run_slots: Slots::new(commands.max(1)),
            board: Board::new(plan.stages.len()),
            claims: Claims::default(),
            trees: Mutex::default(),
            failure: Mutex::default(),
            used: Mutex::default(),
            cached: AtomicUsize::new(0),
            executed: AtomicUsize::new(0),
            explained: Mutex::default(),
            project: OnceLock::new(),
        })
    }

    /// Does all stages; gives their results by index.
    pub(crate) fn solve(&self) -> Result<Vec<Option<Arc<StageResult>>>, BuildError> {
        std::thread::scope(|scope| {
            for (index, stage) in self.plan.stages.iter().enumerate() {
                if let Some(stage) = stage {
                    scope.spawn(move || {
                        // Whatever happens in it, those who wait for the stage must hear of its end.
                        let publish = self.board.promise(index);
                        publish.keep(self.stage(stage).map(Arc::new));
                    });
                }
            }
        });
        self.save_contexts()?;
        if let Some(error) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let results = self.board.results();
        if self.cancel.is_cancelled() || results[self.plan.target].is_none() {
            return Err(BuildError::Cancelled);
        }
        Ok(results)
    }

    /// Does one stage; none if it or one before it failed.
    fn stage(&self, stage: &PlannedStage) -> Option<StageResult> {
        let mut result = match &stage.base {
            Base::Scratch => StageResult::new(Vec::new()),
            Base::Image(image) => StageResult::new(image.layers.clone()),
            Base::Stage(index) => {
                let base = self.board.wait(*index, &self.cancel)?;
                let cause = base.cause.clone();
                StageResult { layers: base.layers.clone(), id: base.id, steps: Vec::new(), cause }
            }
        };
        for step in &stage.steps {
            match self.step(stage, &mut result, step) {
                Ok(()) => {}
                Err(OpError::Cancelled) => {
                    (self.events)(Event::Stopped(Arc::clone(&step.info)));
                    return None;
                }
                Err(error) => {
                    (self.events)(Event::Failed(Arc::clone(&step.info)));
                    self.fail(&step.info, error);
                    return None;
                }
            }
        }
        Some(result)
    }

    /// Remembers the first failure and stops the rest.
    fn fail(&self, step: &Arc<Step>, error: OpError) {
        let (error, output) = match error {
            OpError::Logged { source, output } => (*source, output),
            other => (other, Vec::new()),
        };
        let keyword = step.text.split_whitespace().next().unwrap_or_default();
        let mut diagnostic = self.file.source.diagnostic(step.span, format!("{keyword} failed: {error}"));
        diagnostic.hint = match &error {
            OpError::Advised { hint, .. } => Some(hint.clone()),
            OpError::Exit(137) => Some("it was killed; out of memory is a common reason".to_owned()),
            _ => None,
        };
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = Some(BuildError::Step {
                diagnostic: Box::new(diagnostic),
                step: Arc::clone(step),
                output,
                source: error,
            });
        }
        self.cancel.cancel();
    }

    /// Does one step on top of `state`.
    fn step(&self, stage: &PlannedStage, state: &mut StageResult, step: &PlannedStep) -> Result<(), OpError> {
        if self.cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        let mut prepared = self.prepare(stage, state, step)?;
        let key = prepared.key.finish();
        let result = loop {
            match self.claims.claim(key) {
                Claim::Mine(guard) => {
                    let (result, cause) = self.look_up_or_run(stage, state, step, &mut prepared, &key)?;
                    guard.done(result.clone());
                    state.cause = state.cause.take().or(cause);
                    break result;
                }
                Claim::Others(waiting) => {
                    // None: the other one failed, or was stopped. Then it is our turn.
                    if let Some(result) = waiting.wait(&self.cancel)? {
                        self.note_used(&key, self.is_in_target(stage));
                        self.note_cached(step);
                        break result;
                    }
                }
            }
        };
        state.layers.extend(result.layer);
        state.id = state.id.after(&key, &state.layers, result.layer.is_some());
        state.steps.push(result);
        Ok(())
    }

    fn note_cached(&self, step: &PlannedStep) {
        self.cached.fetch_add(1, Ordering::Relaxed);
        self.explained(Explained::of(&step.info, Outcome::Cached, None));
        (self.events)(Event::Cached(Arc::clone(&step.info)));
    }

    fn look_up_or_run(
        &self,
        stage: &PlannedStage,
        state: &StageResult,
        step: &PlannedStep,
        prepared: &mut Prepared<'_>,
        key: &Digest,
    ) -> Result<(StepResult, Option<Arc<Difference>>), OpError> {
        let mut keys = vec![(*key, prepared.key.explain())];
        if !stage.no_cache {
            if let Some(result) = self.look_up(key)? {
                self.note_used(key, self.is_in_target(stage));
                self.note_cached(step);
                return Ok((result, None));
            }
            // What is copied from another stage may be the same although that stage is not.
            if let Some(second) = self.second_key(state, prepared)? {
                let second_key = second.finish();
                if let Some(result) = self.look_up(&second_key)? {
                    self.note_used(key, self.is_in_target(stage));
                    self.note_used(&second_key, self.is_in_target(stage));
                    self.record(*key, &prepared.key.explain(), step, &result)?;
                    self.note_cached(step);
                    return Ok((result, None));
                }
                keys.push((second_key, second.explain()));
            }
        }
        let slots = if matches!(prepared.work, Work::Run(_)) { &self.run_slots } else { &self.slots };
        let _slot = slots.take(&self.cancel)?;
        (self.events)(Event::Started(Arc::clone(&step.info)));
        let mut inputs = self.inputs(stage, state, step, prepared, &keys);
        let (reason, before) = self.reason(stage, state, step, &inputs, &keys)?;
        (self.events)(Event::Explained { step: Arc::clone(&step.info), reason: reason.clone() });
        // Failed until it is known to have gone well: then it is said again.
        self.explained(Explained::of(&step.info, Outcome::Failed, Some(reason.clone())));
        let started = Instant::now();
        let layer = match &mut prepared.work {
            Work::Workdir { path, user } => self.make_workdir(state, path, user)?,
            Work::Copy(copy) => self.make_copy(state, copy)?,
            Work::Run(run) => self.make_run(state, step, run)?,
        };
        let duration = started.elapsed();
        let result = StepResult {
            layer: layer.as_ref().map(|info| info.diff_id),
            created: self.now(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        };
        for (key, parts) in &keys {
            self.record(*key, parts, step, &result)?;
            self.note_used(key, self.is_in_target(stage));
        }
        inputs.result = Some(result.layer.map_or_else(|| format!("nothing {key}"), |layer| layer.to_string()));
        self.remember(step, &inputs, &keys)?;
        let cause = explain::cause(&step.info, &reason, &inputs, before.as_ref());
        self.explained(Explained::of(&step.info, Outcome::Ran, Some(reason)));
        self.executed.fetch_add(1, Ordering::Relaxed);
        let layer = layer.map(|info| (info.diff_id, info.tar_size));
        (self.events)(Event::Finished { step: Arc::clone(&step.info), duration, layer });
        Ok((result, cause.map(Arc::new)))
    }

    /// The time of what is made now, as the config has it.
    pub(crate) fn now(&self) -> String {
        let now = self.epoch.and_then(|epoch| Timestamp::from_second(epoch).ok()).unwrap_or_else(Timestamp::now);
        now.to_string()
    }

    /// The time of files that are made, if it is given.
    fn time(&self) -> Option<Time> {
        self.epoch.map(|seconds| Time { seconds, nanoseconds: 0 })
    }

    /// Remembers that a record of the cache is part of this build.
    pub(crate) fn note_used(&self, key: &Digest, in_target: bool) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push(UsedStep { key: *key, in_target });
    }

    /// The records of the cache that are part of this build.
    pub(crate) fn used(&self) -> Vec<UsedStep> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the image stands on this stage.
    fn is_in_target(&self, stage: &PlannedStage) -> bool {
        let mut at = Some(self.plan.target);
        while let Some(found) = at.and_then(|index| self.plan.stages[index].as_ref()) {
            if std::ptr::eq(found, stage) {
                return true;
            }
            at = match found.base {
                Base::Stage(base) => Some(base),
                _ => None,
            };
        }
        false
    }

    /// The record with `key`, from the store or from another machine.
    pub(crate) fn find(&self, key: &Digest) -> Result<Option<CacheRecord>, OpError> {
        match self.store.cache().get(key)? {
            Some(record) => Ok(Some(record)),
            None => {
                let failed = |source| OpError::Port { action: "use a cache of another machine".to_owned(), source };
                self.ports.shared.look_up(key).map_err(failed)
            }
        }
    }

    fn look_up(&self, key: &Digest) -> Result<Option<StepResult>, OpError> {
        let Some(record) = self.find(key)? else { return Ok(None) };
        if let Some(layer) = &record.layer {
            // Between the look-up and this it may have been collected.
            self.store.protect(&[layer.0])?;
            if !self.store.layers().has(layer) {
                return Ok(None);
            }
        }
        let value = &record.value;
        let created = value.get("created").and_then(|created| created.as_str()).unwrap_or_default().to_owned();
        let duration_ms = value.get("duration_ms").and_then(serde_json::Value::as_u64).unwrap_or(0);
        Ok(Some(StepResult { layer: record.layer, created, duration_ms }))
    }

    fn record(
        &self,
        key: Digest,
        parts: &serde_json::Value,
        step: &PlannedStep,
        result: &StepResult,
    ) -> Result<(), OpError> {
        let value = json!({
            "created": result.created,
            "duration_ms": result.duration_ms,
            "stage": step.info.stage,
            "instruction": step.info.text.chars().take(4096).collect::<String>(),
            "parts": parts,
        });
        self.store.cache().put(&CacheRecord { key, layer: result.layer, value })?;
        Ok(())
    }

    /// The merge of `layers`.
    pub(crate) fn tree(&self, layers: &[DiffId], name: &str) -> Result<Arc<LayerFiles>, OpError> {
        if let Some(tree) = self.trees.lock().unwrap_or_else(PoisonError::into_inner).get(layers) {
            return Ok(tree);
        }
        let tree = Arc::new(LayerFiles::new(self.store, name, layers)?);
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).insert(layers, &tree);
        Ok(tree)
    }

    /// What stage `index` made, when it is done.
    fn source(&self, index: usize) -> Result<Arc<StageResult>, OpError> {
        self.board.wait(index, &self.cancel).ok_or(OpError::Cancelled)
    }
}

/// SOURCE_DATE_EPOCH: the option, or the build argument of that name.
fn epoch(options: &BuildOptions) -> Result<Option<i64>, BuildError> {
    let argument = options.build_args.iter().rev().find(|(name, _)| name == "SOURCE_DATE_EPOCH");
    let seconds = match (options.source_date_epoch, argument) {
        (Some(seconds), _) => Some(seconds),
        (None, Some((_, text))) if !text.is_empty() => Some(
            text.parse()
                .map_err(|_| BuildError::Options(format!("SOURCE_DATE_EPOCH is a number of seconds, not {text:?}")))?,
        ),
        _ => None,
    };
    match seconds {
        Some(seconds) if Timestamp::from_second(seconds).is_err() => {
            Err(BuildError::Options(format!("SOURCE_DATE_EPOCH {seconds} is out of range")))
        }
        seconds => Ok(seconds),
    }
}

/// How long a thread sleeps at most before it looks whether the build was cancelled.
const TICK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;

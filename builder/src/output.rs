//! The image at the end: config with its history, and what the store remembers beside it (which line made which layer).
//! Times are those at which each step really ran, so that a build in which everything is cached gives the image it
//! gave before, byte for byte; with SOURCE_DATE_EPOCH all are that one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use store::cache::CacheRecord;
use store::image::{CompressedLayer, ImageRecord, Provenance};
use store::{DiffId, ImageId};

use crate::error::BuildError;
use crate::key::KeyBuilder;
use crate::options::BuildOutput;
use crate::plan::{Base, HistoryItem, PlannedStage};
use crate::solve::{Solver, StageResult, StepResult};

/// Time of what has none: nothing was done and the base image does not say.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// A stage of the chain that leads to the image, from its base image up.
struct Link<'a> {
    stage: &'a PlannedStage,
    result: &'a StageResult,
}

/// Puts the image of the plan's target into the store.
///
/// # Errors
/// [`BuildError`] if the store cannot be written.
pub(crate) fn write(solver: &Solver<'_>, results: &[Option<Arc<StageResult>>]) -> Result<BuildOutput, BuildError> {
    let mut chain = Vec::new();
    let mut at = Some(solver.plan.target);
    while let Some(index) = at {
        let (Some(stage), Some(result)) = (&solver.plan.stages[index], &results[index]) else {
            return Err(BuildError::Cancelled);
        };
        at = match stage.base {
            Base::Stage(base) => Some(base),
            _ => None,
        };
        chain.push(Link { stage, result });
    }
    chain.reverse();
    let target = &chain[chain.len() - 1];
    let layers = target.result.layers.clone();
    let mut config = target.stage.config.clone();
    for (name, value) in &solver.options.labels {
        config.set_label(name, value);
    }
    let base_layers = match &chain[0].stage.base {
        Base::Image(image) => image.layers.len(),
        _ => 0,
    };
    let (history, last) = history(&config.history(), base_layers, config.created(), &chain);
    let created = created(solver, &config, &layers, &history, last)?;
    let history = history.into_iter().map(|entry| with_time(entry, &created)).collect();
    let config = config.finish(&layers, history, &created);
    let record = record(solver, &chain, base_layers);
    let image: ImageId = solver.store.images().put(&config, &record)?;
    Ok(BuildOutput {
        image,
        config,
        layers,
        stage: target.stage.label.clone(),
        cached: solver.cached.load(Ordering::Relaxed),
        executed: solver.executed.load(Ordering::Relaxed),
        warnings: Vec::new(),
        steps: solver.used(),
    })
}

/// The instructions of a chain with the results of those that were steps.
fn items<'a>(chain: &'a [Link<'a>]) -> impl Iterator<Item = (&'a Link<'a>, &'a HistoryItem, Option<&'a StepResult>)> {
    chain.iter().flat_map(|link| {
        link.stage.history.iter().map(move |item| {
            let result = item.step.and_then(|step| link.result.steps.get(step));
            (link, item, result)
        })
    })
}

/// The history: the base image's, with entries for layers that it does not mention, and one for each instruction. The
/// time of an instruction that made nothing is that of the step before it; missing where there is none. Gives also the
/// time of the last step.
fn history<'a>(
    base: &[Value],
    base_layers: usize,
    base_created: Option<&'a str>,
    chain: &'a [Link<'a>],
) -> (Vec<Value>, Option<&'a str>) {
    let mut entries = base.to_vec();
    let is_layer = |entry: &&Value| entry.get("empty_layer").and_then(Value::as_bool) != Some(true);
    let mentioned = entries.iter().filter(is_layer).count();
    for _ in mentioned..base_layers {
        entries.push(json!({ "comment": "a layer of the base image, which says nothing of it" }));
    }
    let mut time = base_created;
    for (_, item, result) in items(chain) {
        time = result.map(|result| result.created.as_str()).or(time);
        let mut entry = Map::new();
        if let Some(time) = time {
            entry.insert("created".to_owned(), json!(time));
        }
        entry.insert("created_by".to_owned(), json!(item.created_by));
        let empty = result.is_none_or(|result| result.layer.is_none());
        if empty && !crate::mutation::broken("empty-layers-in-history") {
            entry.insert("empty_layer".to_owned(), json!(true));
        }
        entries.push(Value::Object(entry));
    }
    (entries, time)
}

/// An entry with `created` where it has no time of its own.
fn with_time(entry: Value, created: &str) -> Value {
    match entry {
        Value::Object(entry) if entry.contains_key("created_by") && !entry.contains_key("created") => {
            let mut dated = Map::new();
            dated.insert("created".to_owned(), json!(created));
            dated.extend(entry);
            Value::Object(dated)
        }
        other => other,
    }
}

/// When the image was created: now, if nothing like it was before; otherwise when it first was.
fn created(
    solver: &Solver<'_>,
    config: &crate::config::Config,
    layers: &[DiffId],
    history: &[Value],
    last: Option<&str>,
) -> Result<String, BuildError> {
    if solver.epoch.is_some() {
        return Ok(solver.now());
    }
    let draft = config.finish(layers, history.to_vec(), NO_TIME);
    let key = KeyBuilder::new("image").part("config", &draft).finish();
    solver.note_used(&key, true);
    if let Some(known) = solver.find(&key)?
        && let Some(created) = known.value.get("created").and_then(Value::as_str)
    {
        return Ok(created.to_owned());
    }
    // Nothing but steps that have just run: the last of them is the image's time.
    let created = if solver.executed.load(Ordering::Relaxed) > 0 { last.map(str::to_owned) } else { None };
    let created = created.unwrap_or_else(|| solver.now());
    let value = json!({ "created": created });
    solver.store.cache().put(&CacheRecord { key, layer: None, value })?;
    Ok(created)
}

/// Where each layer came from, and the compressed forms known of those of the base image.
fn record(solver: &Solver<'_>, chain: &[Link<'_>], base_layers: usize) -> ImageRecord {
    let mut record = ImageRecord::default();
    let mut compressed: Vec<Vec<CompressedLayer>> = Vec::new();
    if let Base::Image(image) = &chain[0].stage.base {
        // A base image that the store does not know by this id has no record to take over; the build needs none.
        let known = image.id.parse::<ImageId>().ok().and_then(|id| solver.store.images().record(&id).ok());
        let known = known.unwrap_or_default();
        if known.provenance.len() == base_layers {
            record.provenance = known.provenance;
        }
        if known.compressed.len() == base_layers {
            compressed = known.compressed;
        }
        let source = || Provenance { source: Some(image.id.clone()), ..Provenance::default() };
        record.provenance.resize_with(base_layers, source);
    }
    for (link, item, result) in items(chain) {
        let Some(result) = result.filter(|result| result.layer.is_some()) else { continue };
        let step = item.step.and_then(|step| link.stage.steps.get(step));
        record.provenance.push(Provenance {
            source: Some(solver.file.source.name().to_owned()),
            line: Some(item.span.start.line),
            instruction: Some(item.created_by.clone()),
            step: step.map(|step| format!("{} {}/{}", step.info.stage, step.info.index, step.info.count)),
            duration_ms: Some(result.duration_ms),
        });
    }
    if !compressed.is_empty() {
        compressed.resize_with(record.provenance.len(), Vec::new);
        record.compressed = compressed;
    }
    record
}

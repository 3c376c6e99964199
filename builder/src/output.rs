//! The image at the end: config with its history, and what the store remembers beside it (which line made which layer).
//! Times are those at which each step really ran, so that a build in which everything is cached gives the image it
//! gave before, byte for byte; with SOURCE_DATE_EPOCH all are that one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use store::cache::CacheRecord;
use store::image::{CompressedLayer, Folded, ImageRecord, Provenance};
use store::{DiffId, Digest, ImageId};

use crate::buildfile::Span;
use crate::error::BuildError;
use crate::event::Event;
use crate::explain::Report;
use crate::key::KeyBuilder;
use crate::options::BuildOutput;
use crate::plan::{Base, Op, PlannedStage};
use crate::solve::{Solver, StageResult, StepResult};
use crate::{budget, fold, tripwire};

/// Time of what has none: nothing was done and the base image does not say.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// A stage of the chain that leads to the image, from its base image up.
struct Link<'a> {
    stage: &'a PlannedStage,
    result: &'a StageResult,
}

/// An instruction of that chain.
pub(crate) struct Item<'a> {
    /// As the history has it.
    pub(crate) created_by: &'a str,
    /// Where it stands.
    pub(crate) span: Span,
    /// Its result, if it was a step.
    result: Option<&'a StepResult>,
    /// Whether it has a layer in the image.
    has_layer: bool,
    /// A remark for the history.
    comment: Option<String>,
}

/// A layer that this build made, with its step.
pub(crate) struct Made {
    /// The layer.
    pub(crate) layer: DiffId,
    /// Line of its instruction.
    pub(crate) line: u32,
    /// The instruction, as the history has it.
    pub(crate) instruction: String,
    /// Stage and number of the step, like `build 3/7`.
    pub(crate) step: String,
    /// Whether a command made it.
    pub(crate) is_run: bool,
    duration_ms: u64,
    /// Its place among the items.
    item: usize,
    /// Steps whose changes of attributes are in it too.
    folded: Vec<Folded>,
}

/// Puts the image of the plan's target into the store.
///
/// # Errors
/// [`BuildError`] if the image breaks a budget or holds a secret, or the store cannot be written.
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
    let mut config = target.stage.config.clone();
    for (name, value) in &solver.options.labels {
        config.set_label(name, value);
    }
    let base = match &chain[0].stage.base {
        Base::Image(image) => image.layers.as_slice(),
        _ => &[],
    };
    let (mut items, mut made) = items(&chain);
    if !solver.options.no_fold {
        made = folded(solver, base, made, &mut items)?;
    }
    let layers: Vec<DiffId> = base.iter().copied().chain(made.iter().map(|made| made.layer)).collect();
    let is_user = |item: &&Item<'_>| item.created_by.starts_with("USER ");
    let user = items.iter().rev().find(is_user).map(|item| (item.span.start.line, item.created_by.to_owned()));
    budget::check(solver, &budget::Draft { config: &config, layers: &layers, made: &made, user })?;
    for warning in tripwire::check(solver, &made, &items, &config)? {
        (solver.events)(Event::Warning(warning));
    }
    let (history, last) = history(&config.history(), base.len(), config.created(), &items);
    let created = created(solver, &config, &layers, &history, last)?;
    let history = history.into_iter().map(|entry| with_time(entry, &created)).collect();
    let config = config.finish(&layers, history, &created);
    let record = record(solver, &chain[0].stage.base, base.len(), made);
    let is_new = !solver.store.images().has(&ImageId(Digest::of(&config)));
    let image: ImageId = solver.store.images().put(&config, &record)?;
    Ok(BuildOutput {
        image,
        is_new,
        config,
        layers,
        stage: target.stage.label.clone(),
        cached: solver.cached.load(Ordering::Relaxed),
        executed: solver.executed.load(Ordering::Relaxed),
        warnings: Vec::new(),
        steps: solver.used(),
        report: Report::default(),
    })
}

/// The instructions of a chain, and the layers they made.
fn items<'a>(chain: &'a [Link<'a>]) -> (Vec<Item<'a>>, Vec<Made>) {
    let (mut items, mut made) = (Vec::new(), Vec::new());
    for link in chain {
        for item in &link.stage.history {
            let result = item.step.and_then(|step| link.result.steps.get(step));
            let layer = result.and_then(|result| result.layer);
            if let (Some(layer), Some(result), Some(step)) =
                (layer, result, item.step.and_then(|step| link.stage.steps.get(step)))
            {
                made.push(Made {
                    layer,
                    line: item.span.start.line,
                    instruction: item.created_by.clone(),
                    step: format!("{} {}/{}", step.info.stage, step.info.index, step.info.count),
                    is_run: matches!(step.op, Op::Run(_)),
                    duration_ms: result.duration_ms,
                    item: items.len(),
                    folded: Vec::new(),
                });
            }
            let (created_by, span, has_layer) = (item.created_by.as_str(), item.span, layer.is_some());
            items.push(Item { created_by, span, result, has_layer, comment: None });
        }
    }
    (items, made)
}

/// The layers after folding, each step that was folded saying so in the history.
fn folded(
    solver: &Solver<'_>,
    base: &[DiffId],
    mut made: Vec<Made>,
    items: &mut [Item<'_>],
) -> Result<Vec<Made>, BuildError> {
    let outcomes = fold::fold(solver, base, &made)?;
    for (at, outcome) in outcomes.iter().enumerate() {
        if outcome.into.is_empty() {
            continue;
        }
        let of = Folded { line: made[at].line, instruction: made[at].instruction.clone(), step: made[at].step.clone() };
        let mut steps = Vec::new();
        for into in outcome.into.keys() {
            steps.push(made[*into].step.clone());
            made[*into].folded.push(of.clone());
        }
        let saved = size_in_words(outcome.into.values().sum());
        let part = if outcome.layer.is_some() { "partly " } else { "" };
        let item = &mut items[made[at].item];
        item.comment = Some(format!("{part}folded into step {}, saved {saved}", steps.join(" and ")));
        item.has_layer = outcome.layer.is_some();
    }
    let kept = made.into_iter().zip(outcomes).filter_map(|(made, outcome)| {
        let layer = outcome.layer?;
        Some(Made { layer, ..made })
    });
    Ok(kept.collect())
}

/// The history: the base image's, with entries for layers that it does not mention, and one for each instruction. The
/// time of an instruction that made nothing is that of the step before it; missing where there is none. Gives also the
/// time of the last step.
fn history<'a>(
    base: &[Value],
    base_layers: usize,
    base_created: Option<&'a str>,
    items: &'a [Item<'a>],
) -> (Vec<Value>, Option<&'a str>) {
    let mut entries = base.to_vec();
    let is_layer = |entry: &&Value| entry.get("empty_layer").and_then(Value::as_bool) != Some(true);
    let mentioned = entries.iter().filter(is_layer).count();
    for _ in mentioned..base_layers {
        entries.push(json!({ "comment": "a layer of the base image, which says nothing of it" }));
    }
    let mut time = base_created;
    for item in items {
        time = item.result.map(|result| result.created.as_str()).or(time);
        let mut entry = Map::new();
        if let Some(time) = time {
            entry.insert("created".to_owned(), json!(time));
        }
        entry.insert("created_by".to_owned(), json!(item.created_by));
        if let Some(comment) = &item.comment {
            entry.insert("comment".to_owned(), json!(comment));
        }
        if !item.has_layer && !crate::mutation::broken("empty-layers-in-history") {
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
fn record(solver: &Solver<'_>, base: &Base, base_layers: usize, made: Vec<Made>) -> ImageRecord {
    let mut record = ImageRecord::default();
    let mut compressed: Vec<Vec<CompressedLayer>> = Vec::new();
    if let Base::Image(image) = base {
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
    record.provenance.extend(made.into_iter().map(|made| Provenance {
        source: Some(solver.file.source.name().to_owned()),
        line: Some(made.line),
        instruction: Some(made.instruction),
        step: Some(made.step),
        duration_ms: Some(made.duration_ms),
        folded: made.folded,
    }));
    if !compressed.is_empty() {
        compressed.resize_with(record.provenance.len(), Vec::new);
        record.compressed = compressed;
    }
    record
}

/// Bytes in decimal units, with one digit behind the point.
pub(crate) fn size_in_words(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1000.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" { format!("{bytes}B") } else { format!("{value:.1}{unit}") }
}

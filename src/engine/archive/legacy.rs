//! Archives that dockers before 1.10 wrote (image-spec v1): a folder for each layer with its tar and its own piece of
//! configuration, which names its parent, and a file `repositories` that says which layers are the tops of which tags. An
//! image's configuration is put together from them: that of the top, the layers' digests, and a history line for each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use store::digest::DiffId;
use store::image::{CONFIG_MAX, ImageConfig, ImageRecord, Provenance};

use super::contents::Contents;
use super::load::{Loaded, check_number};
use crate::engine::Engine;
use crate::engine::progress::{Event, Progress};
use crate::error::{CommandError, Context as _, Result};

/// Most layers of an image.
const LAYERS_MAX: usize = 500;
/// What belongs to a layer and not to the image.
const OWN: [&str; 7] = ["id", "parent", "parent_id", "layer_id", "Size", "throwaway", "container_config"];

/// By repository, tags and the ids of their tops.
type Repositories = BTreeMap<String, BTreeMap<String, String>>;

/// Whether an archive without manifests is of this kind.
pub fn is_legacy(contents: &Contents) -> bool {
    contents.has("repositories") || !folders(contents).is_empty()
}

impl Engine {
    /// Loads all images of such an archive: those of its tags, or if it has none, every one that is no other one's parent.
    ///
    /// # Errors
    /// A layer that is not there, parents in a circle, content that no layer may have.
    pub(super) fn load_legacy(&self, contents: &Contents, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        let mut made = BTreeMap::new();
        let mut layers = BTreeMap::new();
        let mut make = |top: &str| {
            if let Some(id) = made.get(top) {
                return Ok::<_, CommandError>(*id);
            }
            let id = self.load_chain(contents, top, &mut layers, progress)?;
            made.insert(top.to_owned(), id);
            Ok(id)
        };
        let mut loaded = Vec::new();
        if contents.has("repositories") {
            let repositories: Repositories = contents.json("repositories")?;
            check_number(0, repositories.values().map(BTreeMap::len).sum())?;
            for (repository, tags) in &repositories {
                for (tag, top) in tags {
                    loaded.push(self.name_loaded(&make(top)?, &format!("{repository}:{tag}"), None)?);
                }
            }
        }
        if loaded.is_empty() {
            let tops = tops(contents)?;
            check_number(tops.len(), 0)?;
            for top in tops {
                loaded.push(Loaded { id: make(&top)?, name: None });
            }
        }
        Ok(loaded)
    }

    /// The image whose uppermost layer is `top`.
    fn load_chain(
        &self,
        contents: &Contents,
        top: &str,
        known: &mut BTreeMap<String, DiffId>,
        progress: &dyn Progress,
    ) -> Result<store::ImageId> {
        let mut chain = Vec::new();
        let mut at = Some(top.to_owned());
        while let Some(id) = at {
            if chain.len() >= LAYERS_MAX {
                return Err(CommandError::new(format!(
                    "the layers of {top} go in a circle, or are more than {LAYERS_MAX}"
                )));
            }
            let about = facts(contents, &id)?;
            at = about.get("parent").and_then(Value::as_str).filter(|parent| !parent.is_empty()).map(str::to_owned);
            chain.push((id, about));
        }
        chain.reverse();
        let mut diff_ids = Vec::new();
        for (id, _) in &chain {
            let diff_id = match known.get(id) {
                Some(diff_id) => *diff_id,
                None => self.load_legacy_layer(contents, id, progress)?,
            };
            known.insert(id.clone(), diff_id);
            diff_ids.push(diff_id);
        }
        let raw = serde_json::to_vec(&config(&chain, &diff_ids))?;
        ImageConfig::parse(&raw)?;
        let provenance = Provenance { source: Some("an archive".into()), ..Provenance::default() };
        let record = ImageRecord { provenance: vec![provenance; diff_ids.len()], ..ImageRecord::default() };
        Ok(self.store.images().put(&raw, &record)?)
    }

    fn load_legacy_layer(&self, contents: &Contents, id: &str, progress: &dyn Progress) -> Result<DiffId> {
        let path = format!("{id}/layer.tar");
        let short: String = id.chars().take(12).collect();
        let (reader, size) = contents.open(&path)?;
        progress.event(Event::Started(&short, size));
        let layer = self.store.layers().ingest(reader, None, None).with_context(|| format!("layer {path}"))?;
        self.store.protect(&[layer.diff_id.0])?;
        progress.event(Event::Done(&short, "Loaded"));
        Ok(layer.diff_id)
    }
}

/// What a layer's folder says of it.
fn facts(contents: &Contents, id: &str) -> Result<Map<String, Value>> {
    let path = format!("{id}/json");
    serde_json::from_slice(&contents.read(&path, CONFIG_MAX)?).context(format!("{path} in the archive is malformed"))
}

/// The names of the folders that are layers.
fn folders(contents: &Contents) -> Vec<String> {
    let names = contents.names().filter_map(|name| std::str::from_utf8(name).ok()?.strip_suffix("/json"));
    names.filter(|id| !id.contains('/') && contents.has(&format!("{id}/layer.tar"))).map(str::to_owned).collect()
}

/// The layers that are no other one's parent.
fn tops(contents: &Contents) -> Result<Vec<String>> {
    let mut tops = folders(contents);
    let mut parents = BTreeSet::new();
    for id in &tops {
        parents.extend(facts(contents, id)?.get("parent").and_then(Value::as_str).map(str::to_owned));
    }
    tops.retain(|id| !parents.contains(id));
    Ok(tops)
}

/// The configuration of the image that a chain of layers is, the lowest first.
fn config(chain: &[(String, Map<String, Value>)], diff_ids: &[DiffId]) -> Value {
    let mut config = chain.last().map(|(_, about)| about.clone()).unwrap_or_default();
    config.retain(|key, value| !OWN.contains(&key.as_str()) && !value.is_null());
    for (key, usual) in [("os", "linux"), ("architecture", "amd64")] {
        config.entry(key).or_insert_with(|| json!(usual));
    }
    let history = chain.iter().map(|(_, about)| {
        let command = about.get("container_config").and_then(|inner| inner.get("Cmd")).and_then(Value::as_array);
        let words: Vec<&str> = command.into_iter().flatten().filter_map(Value::as_str).collect();
        let mut line = Map::new();
        for key in ["created", "author", "comment"] {
            line.extend(about.get(key).filter(|value| is_said(value)).map(|value| (key.to_owned(), value.clone())));
        }
        if !words.is_empty() {
            line.insert("created_by".into(), json!(words.join(" ")));
        }
        Value::Object(line)
    });
    config.insert("history".into(), history.collect());
    config.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
    Value::Object(config)
}

fn is_said(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

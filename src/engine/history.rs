//! Where every byte of an image came from: its history zipped with its layers.

use jiff::Timestamp;
use serde::Serialize;
use store::DiffId;

use super::Engine;
use crate::error::Result;

/// One step, as `img history --format json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryStep {
    /// The layer's id; for a step without a layer, the image's.
    pub id: String,
    /// The layer it made.
    pub diff_id: Option<DiffId>,
    /// When.
    pub created: Option<Timestamp>,
    /// The instruction.
    pub created_by: String,
    /// Bytes of files in its layer.
    pub size: u64,
    /// File and line of the instruction, where the image was built here; else the reference it was pulled as.
    pub source: Option<String>,
    /// Whether a build file's line says where it came from.
    #[serde(skip)]
    pub built_here: bool,
    /// How long the step took, milliseconds.
    pub duration_ms: Option<u64>,
    /// Whether it only changed the configuration.
    pub empty_layer: bool,
    /// A remark.
    pub comment: Option<String>,
}

impl Engine {
    /// The steps of an image, newest first. Layers that the history does not speak of are listed too, so that sizes
    /// always add up.
    ///
    /// # Errors
    /// No such image, a damaged store.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryStep>> {
        let found = self.find_image(name)?;
        let image = &found.image;
        let mut steps = Vec::new();
        let mut layers = image.layers().iter().enumerate();
        for step in &image.config.history {
            let layer = if step.empty_layer { None } else { layers.next() };
            let provenance = layer.and_then(|(at, _)| image.record.provenance.get(at));
            let source = provenance.and_then(|from| {
                let file = from.source.as_ref()?;
                Some(from.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}")))
            });
            steps.push(HistoryStep {
                id: layer.map_or_else(|| image.id.to_string(), |(_, layer)| layer.to_string()),
                diff_id: layer.map(|(_, layer)| *layer),
                created: step.created,
                created_by: step.created_by.clone().unwrap_or_default(),
                size: layer.map_or(Ok(0), |(_, layer)| self.layer_size(layer))?,
                source,
                built_here: provenance.is_some_and(|from| from.line.is_some()),
                duration_ms: provenance.and_then(|from| from.duration_ms),
                empty_layer: step.empty_layer,
                comment: step.comment.clone(),
            });
        }
        for (_, layer) in layers {
            steps.push(HistoryStep {
                id: layer.to_string(),
                diff_id: Some(*layer),
                created: None,
                created_by: "(not in the image's history)".into(),
                size: self.layer_size(layer)?,
                source: None,
                built_here: false,
                duration_ms: None,
                empty_layer: false,
                comment: None,
            });
        }
        steps.reverse();
        Ok(steps)
    }

    fn layer_size(&self, layer: &DiffId) -> Result<u64> {
        Ok(self.store.layers().info(layer)?.file_bytes)
    }
}

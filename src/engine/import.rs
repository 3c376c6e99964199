//! `import`: a tar of a root file system becomes an image of one layer.

use std::fs::File;
use std::io::Read;

use jiff::Timestamp;
use store::ImageId;
use store::image::{History, ImageConfig, ImageRecord, Provenance, RootFs};
use store::refs::Expect;

use super::Engine;
use super::changes::check_changes;
use crate::error::{Context as _, Result};

/// What the user chose.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Name of the image.
    pub reference: Option<String>,
    /// Instructions to apply to the configuration.
    pub changes: Vec<String>,
    /// Comment for the history.
    pub message: Option<String>,
    /// `--platform`
    pub platform: Option<String>,
}

impl Engine {
    /// Imports the tar at `file`, or standard input for `-`.
    ///
    /// # Errors
    /// A file that cannot be read or is no tar that a layer may be, a change that cannot be applied.
    pub fn import(&self, file: &str, options: &ImportOptions) -> Result<ImageId> {
        let name = options.reference.as_deref().map(|name| self.tag_reference(name)).transpose()?;
        check_changes(&options.changes)?;
        let platform = self.platform(options.platform.as_deref())?;
        let mut config = ImageConfig {
            created: Some(Timestamp::now()),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            ..ImageConfig::default()
        };
        let source: Box<dyn Read + Send> = match file {
            "-" => Box::new(std::io::stdin()),
            path => Box::new(File::open(path).context(format!("cannot import {path}"))?),
        };
        let layer = self.store.layers().ingest(source, None, None).context(format!("cannot import {file}"))?;
        config.rootfs = RootFs { diff_ids: vec![layer.diff_id], ..RootFs::default() };
        config.history = vec![History {
            created: config.created,
            created_by: Some(format!("img import {file}")),
            comment: options.message.clone(),
            ..History::default()
        }];
        let provenance = Provenance { source: Some(file.to_owned()), ..Provenance::default() };
        let record = ImageRecord { provenance: vec![provenance], ..ImageRecord::default() };
        let image = self.store.images().put(&serde_json::to_vec(&config)?, &record)?;
        let image = self.apply_changes(image, &options.changes)?;
        if let Some(name) = &name {
            self.store.refs().set(name, &image, None, Expect::Any)?;
        }
        self.image_event("import", &image, name.as_deref());
        Ok(image)
    }
}

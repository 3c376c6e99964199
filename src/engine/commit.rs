//! `commit`: a container's read-write layer becomes a layer of a new image.

use std::fs::File;
use std::os::fd::AsFd;

use jiff::Timestamp;
use runner::spec::parse::MountKind;
use store::ImageId;
use store::image::{History, ImageConfig, ImageRecord, Provenance, RunConfig};
use store::layer::DiffOptions;
use store::layer::diff::scan_upper;
use store::refs::Expect;

use super::Engine;
use super::changes::check_changes;
use super::container::mounts::parse_mounts;
use super::container::options::Options;
use super::events::of_container;
use super::tree::Merged;
use crate::error::{CommandError, Context as _, Result};

/// What the user chose.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Name of the image.
    pub reference: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// Instructions to apply to the configuration.
    pub changes: Vec<String>,
    /// Make all places that the user mounted something at volumes of the image.
    pub include_volumes: bool,
    /// Comment for the history.
    pub message: Option<String>,
    /// Freeze the container meanwhile.
    pub pause: bool,
}

impl Engine {
    /// Makes an image of the container `name`.
    ///
    /// # Errors
    /// No such container, one without layers, a full disk.
    pub fn commit(&self, name: &str, options: &CommitOptions) -> Result<ImageId> {
        let tag = options.reference.as_deref().map(|name| self.tag_reference(name)).transpose()?;
        check_changes(&options.changes)?;
        let record = self.container_named(name)?;
        if record.data.options.rootfs.is_some() {
            return Err(CommandError::new(format!(
                "container {name} runs a directory, not an image: it has no layers"
            )));
        }
        let paths = self.writable(&record.id, &record.data)?;
        let (base, mut provenance) = match &record.data.image {
            Some(id) => {
                let image = self.store.images().get(id)?;
                let provenance = match image.record.provenance.as_slice() {
                    [] => vec![Provenance::default(); image.layers().len()],
                    known => known.to_vec(),
                };
                (image.config, provenance)
            }
            None => (ImageConfig::default(), Vec::new()),
        };
        self.store.protect(&record.data.layers.iter().map(|layer| layer.0).collect::<Vec<_>>())?;
        let read = || {
            let frozen = if options.pause { self.freeze(&record.id)? } else { None };
            let upper = File::open(&paths.upper).with_context(|| format!("cannot open {}", paths.upper.display()))?;
            let below = Merged::new(&self.store, &record.data.layers)?;
            let stubs = self.stubs(&record, &below.tree, &scan_upper(upper.as_fd())?)?;
            let options = DiffOptions { changing: frozen.is_none(), ..DiffOptions::default() };
            Ok(self.store.layers().from_upper_without(upper.as_fd(), &options, &stubs)?)
        };
        let layer = self.unless_removed(&record, read())?;
        let mut config = base;
        settings(&mut config.config, &record.data.options);
        for mount in parse_mounts(&record.data.options)? {
            // Of its own accord a container has volumes at these.
            let anonymous = mount.kind == MountKind::Volume && mount.source.is_none();
            if options.include_volumes || anonymous {
                config.config.volumes.insert(mount.target, serde_json::json!({}));
            }
        }
        config.created = Some(Timestamp::now());
        if options.author.is_some() {
            config.author.clone_from(&options.author);
        }
        config.history.push(History {
            created: config.created,
            created_by: Some(format!("img commit {}: {}", record.name, record.data.command_line())),
            author: options.author.clone(),
            comment: options.message.clone(),
            empty_layer: layer.is_none(),
        });
        if let Some(layer) = &layer {
            config.rootfs.diff_ids.push(layer.diff_id);
            provenance.push(Provenance { source: Some(format!("container {}", record.name)), ..Provenance::default() });
        }
        let image_record = ImageRecord { provenance, ..ImageRecord::default() };
        let image = self.store.images().put(&serde_json::to_vec(&config)?, &image_record)?;
        let image = self.apply_changes(image, &options.changes)?;
        if let Some(tag) = &tag {
            self.store.refs().set(tag, &image, None, Expect::Any)?;
        }
        self.event(&of_container(&record, "commit").with("imageID", &image.to_string()));
        Ok(image)
    }
}

/// What the container was started with, over what its image says: as docker has it, a container made by `img run -e A=1
/// -w /x IMAGE PROGRAM` commits to an image that does all that by itself.
fn settings(config: &mut RunConfig, asked: &Options) {
    for line in &asked.env {
        let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
        match config.env.iter_mut().find(|known| known.split_once('=').is_some_and(|(known, _)| known == name)) {
            Some(known) => known.clone_from(line),
            None => config.env.push(line.clone()),
        }
    }
    if let Some(program) = &asked.entrypoint {
        config.entrypoint = Some(program.clone()).filter(|program| !program.is_empty()).map(|program| vec![program]);
        // The image's arguments were meant for the image's program.
        config.cmd = None;
    }
    if !asked.command.is_empty() {
        config.cmd = Some(asked.command.clone());
    }
    if let Some(user) = &asked.user {
        config.user.clone_from(user);
    }
    if let Some(workdir) = &asked.workdir {
        config.working_dir.clone_from(workdir);
    }
    if asked.stop_signal.is_some() {
        config.stop_signal.clone_from(&asked.stop_signal);
    }
    for label in &asked.labels {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        config.labels.insert(key.to_owned(), value.to_owned());
    }
}

//! Base images for the builder: from the store, or pulled. The builder asks from several threads; one pull runs at a
//! time, so that its progress can be read.

use std::sync::Mutex;

use builder::{BaseImage, ImageSource, PortError};

use super::BuildWatcher;
use store::ImageId;

use crate::engine::Engine;
use crate::engine::pull::PullOptions;
use crate::error::{Cause, CommandError};

/// Fills the builder's port.
pub struct Images<'a> {
    engine: &'a Engine,
    watcher: &'a dyn BuildWatcher,
    one_at_a_time: Mutex<()>,
}

/// How often an image is looked for that somebody keeps removing.
const TRIES: u32 = 5;

impl<'a> Images<'a> {
    /// Images of `engine`; `watcher` sees the pulls.
    pub fn new(engine: &'a Engine, watcher: &'a dyn BuildWatcher) -> Self {
        Self { engine, watcher, one_at_a_time: Mutex::new(()) }
    }

    /// The image, safe from the collector. One that was collected just before it was protected is looked for again.
    fn find(&self, reference: &str, platform: Option<&str>, pull: bool) -> Result<BaseImage, CommandError> {
        let _turn = self.one_at_a_time.lock();
        let store = self.engine.store();
        for _ in 0..TRIES {
            let id = self.look_up(reference, platform, pull)?;
            if let Some(image) = store.images().protect(&id)? {
                return Ok(BaseImage { id: image.id.to_string(), layers: image.layers().to_vec(), config: image.raw });
            }
        }
        Err(CommandError::new(format!("the image {reference} is removed again and again"))
            .hint("another process prunes images: try again when it has ended"))
    }

    /// The image, pulled if need be.
    fn look_up(&self, reference: &str, platform: Option<&str>, pull: bool) -> Result<ImageId, CommandError> {
        let wanted = self.engine.platform(platform)?;
        // What is named by its id is here or nowhere.
        let is_id = reference.starts_with("sha256:");
        let here = if pull && !is_id { None } else { self.engine.look_up_image(reference)? };
        let fitting = |found| self.engine.fitting(&self.engine.not_empty(found, reference)?, &wanted);
        let here = here.map(fitting).transpose()?.flatten();
        match here {
            Some(image) => Ok(image.id),
            None => {
                let options = PullOptions { platform: platform.map(str::to_owned), ..PullOptions::default() };
                let pulled = self.engine.pull(reference, &options, self.watcher)?;
                Ok(pulled.image)
            }
        }
    }
}

impl ImageSource for Images<'_> {
    fn resolve(&self, reference: &str, platform: Option<&str>, pull: bool) -> Result<BaseImage, PortError> {
        self.find(reference, platform, pull).map_err(|error| Box::new(Cause(error)) as PortError)
    }
}

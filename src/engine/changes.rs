//! `--change` of `import` and `commit`: instructions that change an image's configuration. They are a Buildfile of
//! their own on top of the image, so that they mean exactly what they mean there.

use std::path::Path;

use builder::{
    BaseImage, BuildOptions, Executor, GitSource, ImageSource, NoSharedCache, PortError, Ports, Remote, RemoteFile,
    RunResult, RunStep, Stream,
};
use store::image::Image;
use store::{Digest, ImageId};

use super::Engine;
use crate::error::{CommandError, Result};

/// Instructions that change the configuration and nothing else.
const ALLOWED: [&str; 12] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Engine {
    /// The image that `image` becomes by `changes`; itself if there are none.
    ///
    /// # Errors
    /// An instruction that changes more than the configuration, or cannot be understood.
    pub fn apply_changes(&self, image: ImageId, changes: &[String]) -> Result<ImageId> {
        if changes.is_empty() {
            return Ok(image);
        }
        let base = Base(self.store.images().get(&image)?);
        let options = BuildOptions {
            buildfile: format!("FROM image\n{}\n", changes.join("\n")).into_bytes(),
            buildfile_name: "--change".into(),
            no_cache: true,
            ..BuildOptions::default()
        };
        let changed = {
            let ports = Ports { images: &base, executor: &NoCommands, remote: &NoCommands, shared: &NoSharedCache };
            builder::build(&self.store, &options, &ports, &|_| {})?.image
        };
        // What it was before has no name, and was made only to be changed.
        self.forget_images(&[image])?;
        Ok(changed)
    }
}

/// Refuses instructions that change more than the configuration, before anything is made.
///
/// # Errors
/// The first such instruction.
pub fn check_changes(changes: &[String]) -> Result<()> {
    for change in changes {
        let word = change.split_whitespace().next().unwrap_or_default().to_uppercase();
        if !ALLOWED.contains(&word.as_str()) || change.contains('\n') {
            return Err(CommandError::new(format!("--change cannot apply {change:?}"))
                .hint(format!("it takes one of: {}", ALLOWED.join(", "))));
        }
    }
    Ok(())
}

/// The one image that the changes are made to.
struct Base(Image);

impl ImageSource for Base {
    fn resolve(&self, _: &str, _: Option<&str>, _: bool) -> Result<BaseImage, PortError> {
        let layers = self.0.layers().to_vec();
        Ok(BaseImage { id: self.0.id.to_string(), config: self.0.raw.clone(), layers })
    }
}

/// Changes run nothing and fetch nothing.
struct NoCommands;

impl Remote for NoCommands {
    fn http(&self, url: &str, _: Option<&Digest>) -> Result<RemoteFile, PortError> {
        Err(format!("{url} cannot be fetched here").into())
    }

    fn git_commit(&self, source: &GitSource) -> Result<String, PortError> {
        Err(format!("{} cannot be fetched here", source.name()).into())
    }

    fn git_checkout(&self, source: &GitSource, _: &str, _: &Path) -> Result<i64, PortError> {
        Err(format!("{} cannot be fetched here", source.name()).into())
    }
}

impl Executor for NoCommands {
    fn run(&self, step: &RunStep<'_>, _: &mut dyn FnMut(Stream, &[u8])) -> Result<RunResult, PortError> {
        Err(format!("{} cannot run here", step.name).into())
    }
}

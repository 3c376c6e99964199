//! `img build` for several platforms, or into a list: each image is built by itself, and a list of them gets the name.

use std::collections::BTreeMap;

use clap::Args;

use crate::engine::Engine;
use crate::engine::build::{BuildRequest, Built};
use crate::engine::progress::Progress;
use crate::engine::transport::Access;
use crate::error::{CommandError, Result};

/// Flags that say for what the image is.
#[derive(Args)]
pub struct PlatformFlags {
    /// Platform of the image; with several, joined by commas, --tag names a list of the images
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    platform: Vec<String>,
    /// Add the image to this list, which is made if it is not there
    #[arg(long, value_name = "LIST")]
    manifest: Option<String>,
}

/// What is built, and what the images are called together.
pub struct Platforms {
    platforms: Vec<String>,
    /// Names of a list of exactly these images.
    names: Vec<String>,
    /// The list that they are added to.
    list: Option<String>,
}

impl PlatformFlags {
    /// Takes from `request` what is the list's.
    ///
    /// # Errors
    /// Several platforms without a name for their list, or with an output that is for one image.
    pub fn plan(self, request: &mut BuildRequest) -> Result<Platforms> {
        let mut this = Platforms { platforms: self.platform, names: Vec::new(), list: self.manifest };
        match this.platforms.as_mut_slice() {
            [] => {}
            [one] => request.platform = Some(std::mem::take(one)),
            _ => {
                this.names = std::mem::take(&mut request.tags);
                if this.names.is_empty() && this.list.is_none() {
                    return Err(CommandError::usage("the images of several platforms make a list, which needs a name")
                        .hint("--tag makes a list of these images, --manifest adds them to one"));
                }
                if !request.delivery.outputs.is_empty() {
                    return Err(CommandError::usage("an output is for the image of one platform")
                        .hint("`img manifest push` and `img save` take the list when it is built"));
                }
            }
        }
        Ok(this)
    }
}

impl Platforms {
    /// Whether more than one image is built.
    pub fn are_several(&self) -> bool {
        self.platforms.len() > 1
    }

    /// Builds all of it with `build`; gives what was built last, and the digest of the list if there is one.
    ///
    /// # Errors
    /// Those of `build`; a list that cannot be written.
    pub fn build(
        &self,
        engine: &Engine,
        request: &mut BuildRequest,
        progress: &dyn Progress,
        mut build: impl FnMut(&BuildRequest) -> Result<Built>,
    ) -> Result<(Built, Option<store::Digest>)> {
        let mut last = None;
        let mut images = Vec::new();
        for at in 0..self.platforms.len().max(1) {
            if self.are_several() {
                request.platform = self.platforms.get(at).cloned();
            }
            let built = build(request)?;
            images.push(built.image);
            last = Some(built);
        }
        let built = last.ok_or_else(|| CommandError::new("nothing was built"))?;
        let mut digest = None;
        if let Some(list) = &self.list {
            let ids: Vec<String> = images.iter().map(ToString::to_string).collect();
            let (how, access) = ((true, false), Access::default());
            digest = Some(engine.create_list(list, &ids, how, &BTreeMap::new(), &access, progress)?);
        }
        if !self.names.is_empty() {
            digest = Some(engine.name_list(&self.names, &images)?);
        }
        Ok((built, digest))
    }
}

//! `build --call`: what can be said of a Buildfile without building it. Base images are asked for their configs only: from
//! the store if they are there, otherwise from the registry, whose layers stay where they are.

use builder::{BaseImage, BuildOptions, CheckReport, ImageSource, OutlineReport, PortError};

use super::context::Source;
use super::{BuildRequest, read_options};
use crate::engine::Engine;
use crate::engine::progress::Silent;
use crate::error::{Cause, Result};

/// Configs of base images.
struct Configs<'a>(&'a Engine);

impl Configs<'_> {
    fn find(&self, reference: &str, platform: Option<&str>, pull: bool) -> Result<BaseImage> {
        let here = if pull { None } else { self.0.look_up_image(reference)? };
        if let Some(found) = here {
            let image = found.image;
            return Ok(BaseImage { id: image.id.to_string(), config: image.raw, layers: Vec::new() });
        }
        let client = self.0.client()?;
        let resolved = client.resolve(&self.0.reference(reference)?, &self.0.platform(platform)?)?;
        let id = resolved.manifest.digest.to_string();
        Ok(BaseImage { id, config: resolved.config_bytes, layers: Vec::new() })
    }
}

impl ImageSource for Configs<'_> {
    fn resolve(
        &self,
        reference: &str,
        platform: Option<&str>,
        pull: bool,
    ) -> std::result::Result<BaseImage, PortError> {
        self.find(reference, platform, pull).map_err(|error| Box::new(Cause(error)) as PortError)
    }
}

impl Engine {
    /// Checks a Buildfile by the published rules.
    ///
    /// # Errors
    /// A Buildfile that cannot be found, a context that cannot be read. What is wrong with the Buildfile is in the report.
    pub fn check_buildfile(&self, request: &BuildRequest) -> Result<CheckReport> {
        let (options, _source) = self.call_options(request)?;
        Ok(builder::check(&self.store, &options, &Configs(self))?)
    }

    /// What the target of a Buildfile can be given.
    ///
    /// # Errors
    /// A Buildfile that cannot be found or understood, a base image that is nowhere.
    pub fn outline_buildfile(&self, request: &BuildRequest) -> Result<OutlineReport> {
        let (options, _source) = self.call_options(request)?;
        Ok(builder::outline(&options, &Configs(self))?)
    }

    /// The parsed Buildfile, for its stages.
    ///
    /// # Errors
    /// A Buildfile that cannot be found or understood.
    pub fn parse_buildfile(&self, request: &BuildRequest) -> Result<builder::Buildfile> {
        let (options, _source) = self.call_options(request)?;
        Ok(builder::targets(&options)?)
    }

    /// The options of a call; the context is there as long as the source is.
    fn call_options(&self, request: &BuildRequest) -> Result<(BuildOptions, Source)> {
        let platform = self.platform(request.platform.as_deref())?;
        let agents = self.agents(request)?;
        let (source, inputs) = self.given(request, &agents, &agents.git(), &Silent)?;
        Ok((read_options(request, &source, inputs, &platform), source))
    }
}

//! `img rmi`.

use std::process::ExitCode;

use clap::Args;

use super::{Run, each};
use crate::config::Context;
use crate::error::Result;
use crate::ui;

/// Remove images
///
/// A tag is removed; the image and those of its layers that nothing else needs go with the last of its tags. An image
/// that a container was made from stays until the container is removed, unless forced.
#[derive(Args)]
pub struct Rmi {
    /// Images by name or id
    #[arg(required_unless_present = "all", value_name = "IMAGE")]
    images: Vec<String>,
    /// All images
    #[arg(long, short)]
    all: bool,
    /// Remove all tags of an image id, and do not mind stopped containers made from it
    #[arg(long, short)]
    force: bool,
}

impl Run for Rmi {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut images = self.images;
        if self.all {
            images = engine.images(true, &[])?.iter().map(|image| image.id.to_string()).collect();
            images.dedup();
        }
        let code = each(&images, |image| {
            for line in engine.remove_image(image, self.force)? {
                ui::outln(line)?;
            }
            Ok(())
        });
        for left in engine.collect()? {
            ui::warn(left.text());
        }
        Ok(code)
    }
}

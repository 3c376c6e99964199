//! `copy` where this store is one of the two places: which of its images is meant, and what is written without a source that is
//! read blob by blob.

use std::path::Path;

use ::store::refs::{Expect, Tag};

use super::CopyOptions;
use crate::engine::Engine;
use crate::engine::archive::{ArchiveFormat, Member, write_file};
use crate::engine::form::Form;
use crate::engine::names::Found;
use crate::error::{CommandError, Result};

impl Engine {
    /// What was found, as the image of the platform that was asked for; its own if none was.
    pub(super) fn one_of(&self, mut found: Found, name: &str, options: &CopyOptions) -> Result<Found> {
        if options.platform.is_some() {
            let platform = self.platform(options.platform.as_deref())?;
            found.image = self.image_of_platform(&found, name, &platform)?;
        }
        Ok(found)
    }

    /// Gives an image of this store another name here: an index whole if all was asked for, else one image of it.
    pub(super) fn tag_again(&self, from: &str, to: &str, options: &CopyOptions) -> Result<()> {
        let found = self.find_image(from)?;
        if options.all || !found.tag.as_ref().is_some_and(Tag::is_whole) && options.platform.is_none() {
            return self.tag(from, to);
        }
        let found = self.one_of(found, from, options)?;
        let (name, id) = (self.tag_reference(to)?, found.image.id);
        let kept = self.kept_manifest(&found.image, found.tag.and_then(|tag| tag.manifest).as_ref())?;
        self.store.refs().set(&name, &id, kept.map(|kept| kept.digest), Expect::Any)?;
        self.image_event("tag", &id, Some(&name));
        Ok(())
    }

    /// An image of this store as docker's archive.
    pub(super) fn write_docker(&self, found: &Found, path: &Path, called: Option<&str>) -> Result<()> {
        self.store.protect(&[found.image.id.0])?;
        let names = match called {
            Some(called) => vec![self.tag_reference(called)?],
            None => found.tag.iter().map(|tag| tag.name.clone()).collect(),
        };
        let member = Member { image: &found.image, names, manifest: None, form: Form::default(), whole: None };
        write_file(path, |file| self.write_archive(&[member], ArchiveFormat::Docker, file).map(drop))
    }
}

/// The error for an index that is to become a docker archive.
pub(super) fn one_platform() -> CommandError {
    CommandError::new("docker's archive holds no index, only the image of one platform")
        .hint("--platform chooses it; oci-archive: holds the whole index")
}

//! What a place gives to a list of images: one image of it, or all that its index lists. What is elsewhere is taken into this
//! store first, without a name.

use ::store::{Digest, ImageId};
use registry_client::Platform;

use super::{Access, CopyOptions, Document, Place};
use crate::engine::Engine;
use crate::engine::names::Found;
use crate::engine::progress::Progress;
use crate::error::Result;

/// Images that are here now, and stay while this process needs them.
pub(in crate::engine) struct Members {
    /// The images.
    pub images: Vec<ImageId>,
    /// The manifest that the first is named by, or the index that lists it.
    pub named: Option<Digest>,
    /// The index all entries of which are meant.
    pub index: Option<Document>,
}

impl Engine {
    /// The image `text`, a name of this store or a place as `copy` has them, which this machine runs or which is for
    /// `platform`; with `all`, everything that it lists if it is an index. A name that is not here is a registry's.
    pub(in crate::engine) fn members(
        &self,
        text: &str,
        all: bool,
        platform: Option<&Platform>,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<Members> {
        let place = match text.parse()? {
            Place::Store(name) => match self.look_up_image(&name)? {
                Some(found) => return self.members_here(found, &name, all, platform, progress),
                None => Place::Registry(name),
            },
            Place::DockerArchive { path, name } => {
                let image = self.take_docker(&path, name.as_deref(), progress)?;
                return Ok(Members { images: vec![image], named: None, index: None });
            }
            place => place,
        };
        let options = CopyOptions { source: access.clone(), ..CopyOptions::default() };
        let source = self.open_source(&place, &options, progress)?;
        let root = source.root()?;
        if all && root.is_index() {
            let (listing, images) = self.take_listed(&*source, root, progress)?;
            self.keep_attached(&*source, &listing)?;
            return Ok(Members { images, named: None, index: Some(listing.index) });
        }
        let host = Platform::host();
        let (image, named) = self.take_in(&*source, platform.unwrap_or(&host), None, progress)?;
        Ok(Members { images: vec![image], named: Some(named), index: None })
    }

    fn members_here(
        &self,
        mut found: Found,
        name: &str,
        all: bool,
        platform: Option<&Platform>,
        progress: &dyn Progress,
    ) -> Result<Members> {
        let named = found.tag.as_ref().and_then(|tag| tag.manifest);
        if let (Some(tag), Some(digest)) = (found.tag.as_ref().filter(|tag| all && tag.is_whole()), named)
            && self.whole_index(tag, true, progress)?.is_some()
        {
            let (index, _) = self.attached(&digest)?;
            return Ok(Members { images: tag.images().collect(), named, index: Some(index) });
        }
        found = self.not_empty(found, name)?;
        if let Some(platform) = platform.filter(|_| found.tag.as_ref().is_some_and(|tag| tag.is_whole())) {
            found.image = self.image_of_platform(&found, name, platform)?;
        }
        self.store.images().protect(&found.image.id)?;
        Ok(Members { images: vec![found.image.id], named, index: None })
    }
}

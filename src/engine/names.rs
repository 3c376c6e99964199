//! From what a user typed to the image it means: a tag by docker's rules, a digest, or the beginning of an id.

use registry_client::Reference;
use store::image::Image;
use store::refs::Tag;

use super::Engine;
use super::registries::{is_qualified, split};
use crate::error::{CommandError, Result};

/// How often something is tried that others keep undoing.
const TRIES: u32 = 5;

/// An image and the tag by which it was found.
pub struct Found {
    /// The image.
    pub image: Image,
    /// The tag, unless it was found by its id.
    pub tag: Option<Tag>,
}

impl Engine {
    /// The reference that `text` means; a name without a registry belongs to the configured one.
    ///
    /// # Errors
    /// Text that is no reference.
    pub fn reference(&self, text: &str) -> Result<Reference> {
        let reference = Reference::parse(text)?;
        let (name, rest) = split(text);
        if let Some(alias) = self.settings.aliases.get(name) {
            return Ok(Reference::parse(&format!("{alias}{rest}"))?);
        }
        match &self.settings.unqualified_registry {
            Some(registry) if reference.registry() == "docker.io" && !text.starts_with("docker.io/") => {
                Ok(Reference::parse(&format!("{registry}/{text}"))?)
            }
            _ => Ok(reference),
        }
    }

    /// The image that `name` means, or `None`.
    ///
    /// # Errors
    /// Several images whose ids begin so, a damaged store.
    pub fn look_up_image(&self, name: &str) -> Result<Option<Found>> {
        // Somebody may remove tag and image between our looks at the one and the other.
        retried(|| self.look_up_image_now(name))
    }

    fn look_up_image_now(&self, name: &str) -> store::Result<Option<Found>> {
        if let Ok(reference) = self.reference(name) {
            let mut tag = self.store.refs().get(&reference.canonical())?;
            if tag.is_none() && reference.digest().is_some() && reference.tag().is_some() {
                // `name:tag@digest` is kept under the digest alone: the tag may have moved since.
                let pinned = canonical_by_digest(&reference);
                tag = self.store.refs().get(&pinned)?;
            }
            if let Some(tag) = tag {
                let image = self.store.images().get(&tag.image)?;
                return Ok(Some(Found { image, tag: Some(tag) }));
            }
        }
        // A short name that podman's files give to another registry than ours.
        if !is_qualified(name)
            && let Ok(remote) = self.remote_reference(name)
            && remote.registry() != "docker.io"
            && let Some(tag) = self.store.refs().get(&remote.canonical())?
        {
            return Ok(Some(Found { image: self.store.images().get(&tag.image)?, tag: Some(tag) }));
        }
        match self.store.images().find(name) {
            Ok(id) => Ok(Some(Found { image: self.store.images().get(&id)?, tag: None })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The image that `name` means.
    ///
    /// # Errors
    /// As [`Engine::look_up_image`], and an image that is not here.
    pub fn find_image(&self, name: &str) -> Result<Found> {
        self.look_up_image(name)?.ok_or_else(|| {
            CommandError::new(format!("no such image: {name}"))
                .hint(format!("`img pull {name}` fetches it, `img images` lists what is here"))
        })
    }
}

/// Does something again, a few times, that fails because somebody has removed an image in the middle of it.
///
/// # Errors
/// Those of `work`.
pub fn retried<T>(mut work: impl FnMut() -> store::Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match work() {
            Err(error) if error.is_not_found() => {}
            done => return Ok(done?),
        }
    }
    Ok(work()?)
}

/// The name under which an image pulled by digest is kept.
#[must_use]
pub fn canonical_by_digest(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}/{}@{digest}", reference.registry(), reference.repository()),
        None => reference.canonical(),
    }
}

/// A canonical name as docker shows it: `busybox:latest`, or with its digest.
#[must_use]
pub fn familiar(canonical: &str) -> String {
    Reference::parse(canonical).map_or_else(|_| canonical.to_owned(), |reference| reference.familiar())
}

/// Repository and tag of a canonical name, the repository as docker shows it.
#[must_use]
pub fn familiar_parts(canonical: &str) -> (String, Option<String>) {
    match Reference::parse(canonical) {
        Ok(reference) => (reference.familiar_name(), reference.tag().map(str::to_owned)),
        Err(_) => (canonical.to_owned(), None),
    }
}

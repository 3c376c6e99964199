//! What names content: images, tags, steps of the build cache, records of containers, volumes and networks.

use std::collections::BTreeSet;

use serde::de::IgnoredAny;

use super::{Checker, REMOVED, chain};
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::files;
use crate::record::{Class, Records};
use crate::refs::{Expect, Tag, Target};

impl Checker<'_> {
    pub(super) fn images(&mut self) -> Result<()> {
        for id in self.store.images().list()? {
            self.report.images += 1;
            if let Some(message) = self.confirmed(|| self.image(&id))? {
                self.problem(format!("image {id}"), message, Some(REMOVED), Some(&id.0));
                self.remove(&self.store.images().directory(&id))?;
                continue;
            }
            let absent = self.confirmed(|| self.absent_manifests(&id))?;
            for manifest in absent.unwrap_or_default() {
                let message = format!("its manifest {manifest} is missing");
                self.problem(format!("image {id}"), message, Some("forgotten"), Some(&id.0));
                if self.options.repair {
                    self.store.images().forget_manifest(&id, &manifest)?;
                }
            }
        }
        Ok(())
    }

    /// What keeps an image from being used.
    fn image(&self, id: &ImageId) -> Result<Option<String>> {
        let message = match self.store.images().get(id) {
            Ok(image) => match image.layers().iter().find(|layer| !self.store.layers().has(layer)) {
                None => return Ok(None),
                Some(layer) => format!("its layer {layer} is missing"),
            },
            Err(error) if error.is_not_found() && self.store.images().has(id) => "its config is missing".to_owned(),
            Err(error) => chain(&error),
        };
        Ok(self.store.images().has(id).then_some(message))
    }

    fn absent_manifests(&self, id: &ImageId) -> Result<Option<Vec<Digest>>> {
        let Some(record) = files::optional(self.store.images().record(id))? else { return Ok(None) };
        let absent: Vec<Digest> =
            record.manifests.into_iter().filter(|manifest| !self.store.blobs().has(manifest)).collect();
        Ok((!absent.is_empty()).then_some(absent))
    }

    pub(super) fn tags(&mut self) -> Result<()> {
        let refs = self.store.root().join("refs");
        for name in files::names(&refs)?.into_iter().filter(|name| Digest::from_hex(name).is_ok()) {
            let path = refs.join(&name);
            let wrong = self.confirmed(|| {
                Ok(match self.store.refs().read(&path) {
                    Ok(None) => None,
                    Ok(Some(tag)) if self.store.images().has(&tag.image) => None,
                    Ok(Some(tag)) => Some((format!("tag {}", tag.name), format!("its image {} is missing", tag.image))),
                    Err(error) => Some((format!("tag file {name}"), chain(&error))),
                })
            })?;
            if let Some((subject, message)) = wrong {
                self.problem(subject, message, Some(REMOVED), None);
                self.remove(&path)?;
                continue;
            }
            let torn = self.confirmed(|| {
                let Some(tag) = self.store.refs().read(&path)? else { return Ok(None) };
                let absent = self.absent_of_index(&tag);
                Ok(absent.map(|absent| (tag, absent)))
            })?;
            if let Some((tag, absent)) = torn {
                let message = format!("{absent} of its index is missing");
                self.problem(format!("tag {}", tag.name), message, Some("forgotten"), Some(&tag.image.0));
                if self.options.repair {
                    self.forget_absent(&tag)?;
                }
            }
        }
        Ok(())
    }

    /// A part of an index that is kept whole and is not here.
    fn absent_of_index(&self, tag: &Tag) -> Option<Digest> {
        let image = tag.platforms.iter().find(|id| !self.store.images().has(id)).map(|id| id.0);
        image.or_else(|| tag.attached.iter().find(|blob| !self.store.blobs().has(blob)).copied())
    }

    /// Lets a tag name what is left of its index.
    fn forget_absent(&self, tag: &Tag) -> Result<()> {
        let mut target = Target::from(tag);
        target.platforms.retain(|id| self.store.images().has(id));
        target.attached.retain(|blob| self.store.blobs().has(blob));
        target.manifest = target.manifest.filter(|digest| self.store.blobs().has(digest));
        match self.store.refs().point(&tag.name, &target, Expect::Image(tag.image)) {
            // Somebody else has said already what it stands for.
            Err(Error::Conflict(_)) => Ok(()),
            pointed => pointed.map(drop),
        }
    }

    pub(super) fn cache(&mut self) -> Result<()> {
        for key in self.store.cache().list()? {
            let wrong = self.confirmed(|| {
                Ok(match self.store.cache().read(&key) {
                    Ok(None) => None,
                    Ok(Some(record)) => record
                        .layer
                        .filter(|layer| !self.store.layers().has(layer))
                        .map(|layer| format!("its layer {layer} is missing")),
                    Err(error) => Some(chain(&error)),
                })
            })?;
            if let Some(message) = wrong {
                self.problem(format!("build cache step {key}"), message, Some(REMOVED), None);
                if self.options.repair {
                    self.store.cache().remove(&key)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn records(&mut self) -> Result<()> {
        for records in [self.store.containers(), self.store.volumes(), self.store.networks()] {
            let noun = records.class().noun();
            let mut sound = true;
            for id in records.ids()? {
                let Some((name, message)) = self.confirmed(|| self.record(&records, &id))? else { continue };
                sound = false;
                // Its directory holds a user's data: nothing is removed here.
                self.problem(format!("{noun} {}", name.unwrap_or(id)), message, None, None);
            }
            for name in records.names()? {
                if let Some(message) = self.confirmed(|| records.wrong_name(&name))? {
                    self.problem(format!("{noun} name {name}"), message, Some(REMOVED), None);
                    if self.options.repair {
                        records.forget_name(&name)?;
                    }
                }
            }
            if !sound {
                continue;
            }
            let unreserved = self.confirmed(|| {
                let ids = records.unreserved(false)?;
                Ok((!ids.is_empty()).then(|| ids.into_iter().collect::<BTreeSet<_>>()))
            })?;
            if self.options.repair && unreserved.is_some() {
                records.unreserved(true)?;
            }
            for id in unreserved.unwrap_or_default() {
                self.problem(format!("{noun} {id}"), "its name is not reserved".to_owned(), Some("reserved"), None);
            }
        }
        Ok(())
    }

    /// What is wrong with a record: its name, if that can be read, and why.
    fn record(&self, records: &Records<'_>, id: &str) -> Result<Option<(Option<String>, String)>> {
        let record = match records.read::<IgnoredAny>(id) {
            Ok(record) => record,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Ok(Some((None, chain(&error)))),
        };
        let is_here = |digest: &Digest| {
            self.store.images().has(&ImageId(*digest))
                || self.store.blobs().has(digest)
                || self.store.layers().has(&crate::DiffId(*digest))
        };
        let directory = records.path(id)?;
        let message = match record.uses.iter().find(|digest| !is_here(digest)) {
            Some(digest) => format!("the image {digest} that it was made from is missing"),
            None if records.class() == Class::Container && !directory.join("rw").is_dir() => {
                "the directory of what it wrote is missing".to_owned()
            }
            None => return Ok(None),
        };
        Ok(records.has(id).then_some((Some(record.name), message)))
    }
}

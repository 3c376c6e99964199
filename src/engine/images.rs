//! Listing, tagging, inspecting and removing images.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jiff::Timestamp;
use registry_client::Platform;
use serde_json::{Value, json};
use store::image::Image;
use store::refs::{Expect, Tag};
use store::{Digest, ImageId};

use super::Engine;
use super::indexes::platform_among;
use super::lists::lists_none_of;
use super::names::{familiar, familiar_parts};
use super::transport::is_image;
use crate::error::{CommandError, Result};

/// One line of `img images`.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// The image.
    pub id: ImageId,
    /// Its repository as docker shows it; `None` without a tag.
    pub repository: Option<String>,
    /// Its tag.
    pub tag: Option<String>,
    /// The manifest it was pulled or pushed as.
    pub digest: Option<Digest>,
    /// What it is for; `None` for a list that has no image yet.
    pub platform: Option<Platform>,
    /// The image of its name, if it is another platform of an index that is kept whole.
    pub beside: Option<ImageId>,
    /// When it was made; a list that has no image yet, when it was named.
    pub created: Option<Timestamp>,
    /// Bytes of its layers' files; of a list that has no image yet, of its index.
    pub size: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How many containers were made from it.
    pub containers: usize,
}

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFilter {
    /// `dangling=true`: no tag.
    Dangling(bool),
    /// `label=KEY` or `label=KEY=VALUE`.
    Label(String, Option<String>),
    /// `reference=PATTERN`.
    Reference(String),
    /// `before=IMAGE`
    Before(String),
    /// `since=IMAGE`
    Since(String),
}

impl FromStr for ImageFilter {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| CommandError::new(format!("filter {text:?} is not KEY=VALUE")))?;
        match key {
            "dangling" => match value {
                "true" | "1" => Ok(Self::Dangling(true)),
                "false" | "0" => Ok(Self::Dangling(false)),
                _ => Err(CommandError::new(format!("dangling is true or false, not {value:?}"))),
            },
            "label" => Ok(match value.split_once('=') {
                Some((key, value)) => Self::Label(key.into(), Some(value.into())),
                None => Self::Label(value.into(), None),
            }),
            "reference" => Ok(Self::Reference(value.into())),
            "before" => Ok(Self::Before(value.into())),
            "since" | "after" => Ok(Self::Since(value.into())),
            _ => Err(CommandError::new(format!("filter {key:?} is not known"))
                .hint("there are: dangling, label, reference, before, since")),
        }
    }
}

impl Engine {
    /// The images, newest first, a line for each tag; those without a tag too when `all` or a filter asks for them.
    ///
    /// # Errors
    /// A filter that names no image, a damaged store.
    pub fn images(&self, all: bool, filters: &[ImageFilter]) -> Result<Vec<ImageSummary>> {
        let tags = self.store.refs().list()?;
        let mut used: BTreeMap<Digest, usize> = BTreeMap::new();
        for record in self.store.containers().list::<serde::de::IgnoredAny>()? {
            for digest in record.uses {
                *used.entry(digest).or_default() += 1;
            }
        }
        // Read once: a long list has as many lines as images.
        let indexes = tags.iter().map(|tag| Ok((tag.name.as_str(), self.entries(tag)?)));
        let indexes = indexes.collect::<Result<BTreeMap<_, _>>>()?;
        let mut list = Vec::new();
        let mut times = BTreeMap::new();
        for id in self.store.images().list()? {
            let described =
                self.store.images().get(&id).and_then(|image| Ok((self.store.images().size(&image)?, image)));
            let (size, image) = match described {
                // Somebody removed it meanwhile.
                Err(_) if !self.store.images().has(&id) => continue,
                described => described?,
            };
            times.insert(id, image.config.created);
            let line = |tag: Option<&Tag>| {
                let entries = tag.and_then(|tag| indexes.get(tag.name.as_str())).map_or(&[][..], Vec::as_slice);
                let (repository, name) = tag.map(|tag| familiar_parts(&tag.name)).unzip();
                let empty = tag.filter(|tag| lists_none_of(entries, tag, &image));
                let index = empty.and_then(|tag| tag.manifest).map(|digest| self.store.blobs().size(&digest));
                Ok::<_, CommandError>(ImageSummary {
                    id,
                    platform: empty.is_none().then(|| platform_among(entries, &image)),
                    beside: tag.map(|tag| tag.image).filter(|own| *own != id),
                    repository,
                    tag: name.flatten(),
                    digest: tag.and_then(|tag| tag.manifest),
                    created: empty.map_or(image.config.created, |tag| Some(tag.updated)),
                    size: index.transpose()?.flatten().unwrap_or(size),
                    labels: image.config.config.labels.clone(),
                    containers: used.get(&id.0).copied().unwrap_or(0),
                })
            };
            let mut own = tags.iter().filter(|tag| tag.image == id).peekable();
            let mut among = tags.iter().filter(|tag| tag.platforms.contains(&id)).peekable();
            if own.peek().is_none() && among.peek().is_none() {
                list.push(line(None)?);
            }
            // The other platforms of an index stand under its name, for who wants to see all.
            if all {
                for tag in among {
                    list.push(line(Some(tag))?);
                }
            }
            for tag in own {
                list.push(line(Some(tag))?);
            }
        }
        let wants_dangling = filters.contains(&ImageFilter::Dangling(true));
        list.retain(|image| all || wants_dangling || image.repository.is_some() || filters.is_empty());
        for filter in filters {
            let time_of = |name: &str| -> Result<Option<Timestamp>> { Ok(self.find_image(name)?.image.config.created) };
            match filter {
                ImageFilter::Dangling(wanted) => list.retain(|image| image.repository.is_none() == *wanted),
                ImageFilter::Label(key, value) => list.retain(|image| match (image.labels.get(key), value) {
                    (Some(found), Some(wanted)) => found == wanted,
                    (found, None) => found.is_some(),
                    (None, Some(_)) => false,
                }),
                ImageFilter::Reference(pattern) => list.retain(|image| fits(image, pattern)),
                ImageFilter::Before(name) => {
                    let time = time_of(name)?;
                    list.retain(|image| image.created < time);
                }
                ImageFilter::Since(name) => {
                    let time = time_of(name)?;
                    list.retain(|image| image.created > time);
                }
            }
        }
        let place = |image: &ImageSummary| {
            let time = image.beside.map_or(image.created, |own| times.get(&own).copied().flatten());
            let among = image.beside.map(|_| image.platform.as_ref().map(ToString::to_string));
            (std::cmp::Reverse(time), image.repository.clone(), image.tag.clone(), among)
        };
        list.sort_by_cached_key(place);
        Ok(list)
    }

    /// Gives the image `source` the name `target`.
    ///
    /// # Errors
    /// No such image, a target that is no name.
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let found = self.find_image(source)?;
        let target = self.tag_reference(target)?;
        match &found.tag {
            Some(tag) => self.store.refs().point(&target, &tag.into(), Expect::Any)?,
            None => self.store.refs().set(&target, &found.image.id, None, Expect::Any)?,
        };
        self.image_event("tag", &found.image.id, Some(&target));
        Ok(())
    }

    /// The canonical form of a name that is to be given to an image.
    ///
    /// # Errors
    /// Text that is no name, or names a digest.
    pub fn tag_reference(&self, text: &str) -> Result<String> {
        let reference = self.reference(text)?;
        if reference.digest().is_some() {
            return Err(CommandError::usage(format!(
                "{text:?} cannot be given as a name: a digest is computed, not chosen"
            )));
        }
        Ok(reference.canonical())
    }

    /// Removes a tag, or an image by its id; says in docker's words what went.
    ///
    /// # Errors
    /// No such image, a container that was made from it, several tags of an id without `force`.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<String>> {
        let found = match self.look_up_image(name)? {
            Some(found) => found,
            None if force => return Ok(Vec::new()),
            None => return Err(CommandError::new(format!("no such image: {name}"))),
        };
        let id = found.image.id;
        let tags: Vec<Tag> = self.store.refs().list()?.into_iter().filter(|tag| tag.image == id).collect();
        let doomed: Vec<&Tag> = match &found.tag {
            Some(named) => tags.iter().filter(|tag| tag.name == named.name).collect(),
            None if tags.len() > 1 && !force => {
                let names: Vec<String> = tags.iter().map(|tag| familiar(&tag.name)).collect();
                return Err(CommandError::new(format!(
                    "image {} has more than one tag: {}",
                    id.short(),
                    names.join(", ")
                ))
                .hint("name the tag to remove, or use --force to remove them all"));
            }
            None => tags.iter().collect(),
        };
        if found.tag.is_some() && doomed.is_empty() {
            // Somebody moved or removed the tag between our looks.
            return if force { Ok(Vec::new()) } else { Err(CommandError::new(format!("no such image: {name}"))) };
        }
        let last = doomed.len() == tags.len();
        let users = self.containers_of(&id)?;
        if last && !force && !users.is_empty() {
            let noun = if users.len() == 1 { "container" } else { "containers" };
            return Err(CommandError::new(format!("image {name} is used by the {noun} {}", users.join(", "))).hint(
                "`img rm` removes containers; --force removes the tag and keeps the layers while they are needed",
            ));
        }
        let mounted = last && self.image_is_mounted(&id)?;
        if mounted && !force {
            return Err(CommandError::new(format!("image {name} is mounted"))
                .hint(format!("`img image unmount {name}` first, or use --force")));
        }
        let (mut lines, mut platforms) = (Vec::new(), BTreeSet::new());
        for tag in doomed {
            match self.store.refs().remove(&tag.name, Expect::Image(id)) {
                // Somebody else was faster: it is gone, or stands for another image.
                Err(error) if force && is_overtaken(&error) => continue,
                removed => drop(removed?),
            }
            self.image_event("untag", &id, Some(&tag.name));
            lines.push(format!("Untagged: {}", familiar(&tag.name)));
            platforms.extend(&tag.platforms);
        }
        for other in platforms {
            match self.store.images().remove(&other) {
                // It has another name, or a container was made from it.
                Err(error) if is_overtaken(&error) => continue,
                removed => removed?,
            }
            self.image_event("delete", &other, None);
            lines.push(format!("Deleted: {other}"));
        }
        if last && users.is_empty() {
            match self.store.images().remove(&id) {
                // It was given another name meanwhile, a container was made from it, or somebody else removed it: the
                // tag that was named is gone.
                Err(error) if is_overtaken(&error) && (force || !lines.is_empty()) => return Ok(lines),
                removed => removed?,
            }
            self.image_event("delete", &id, None);
            lines.push(format!("Deleted: {id}"));
        }
        Ok(lines)
    }

    /// Names and short ids of the containers that were made from an image.
    fn containers_of(&self, id: &ImageId) -> Result<Vec<String>> {
        let records = self.store.containers().list::<serde::de::IgnoredAny>()?;
        let own = records.into_iter().filter(|record| record.uses.contains(&id.0));
        Ok(own.map(|record| format!("{} ({})", record.name, &record.id[..record.id.len().min(12)])).collect())
    }

    /// All that is known of an image, in docker's form; `None` if there is none of that name.
    ///
    /// # Errors
    /// A damaged store.
    pub fn inspect_image(&self, name: &str) -> Result<Option<Value>> {
        let Some(found) = self.look_up_image(name)? else { return Ok(None) };
        let image = &found.image;
        let tags: Vec<Tag> = self.store.refs().list()?.into_iter().filter(|tag| tag.image == image.id).collect();
        let mut names = Vec::new();
        let mut digests = Vec::new();
        for tag in &tags {
            let (repository, word) = familiar_parts(&tag.name);
            names.extend(word.map(|word| format!("{repository}:{word}")));
            digests.extend(tag.manifest.map(|digest| format!("{repository}@{digest}")));
        }
        let raw: Value = serde_json::from_slice(&image.raw)?;
        let platforms = self
            .platforms_here(&found)?
            .into_iter()
            .map(|(platform, image)| json!({ "Id": image.id.to_string(), "Platform": platform.to_string() }));
        let entries = found.tag.as_ref().map(|tag| self.entries(tag)).transpose()?.unwrap_or_default();
        let attached = entries.iter().filter(|entry| entry.media_type.is_manifest() && !is_image(entry)).map(|entry| {
            let note = |key| entry.annotations.as_ref().and_then(|notes| notes.get(key));
            json!({
                "Digest": entry.digest.to_string(),
                "Type": note("vnd.docker.reference.type").or(entry.artifact_type.as_ref()),
                "Manifest": note("vnd.docker.reference.digest"),
            })
        });
        Ok(Some(json!({
            "Platforms": platforms.collect::<Vec<_>>(),
            "Attached": attached.collect::<Vec<_>>(),
            "Id": image.id.to_string(),
            "RepoTags": names,
            "RepoDigests": digests,
            "Created": image.config.created.map(|time| time.to_string()),
            "Author": image.config.author.clone().unwrap_or_default(),
            "Comment": comment(image),
            "Architecture": image.config.architecture,
            "Variant": image.config.variant,
            "Os": image.config.os,
            "Size": self.store.images().size(image)?,
            "Config": raw.get("config").cloned().unwrap_or_else(|| json!({})),
            "RootFS": { "Type": "layers", "Layers": image.layers() },
            "Metadata": { "LastTagTime": tags.iter().map(|tag| tag.updated).max() },
            "GraphDriver": { "Name": self.driver_name(), "Data": null },
            "Provenance": image.record.provenance,
        })))
    }
}

/// Whether an error is only that somebody else has changed the same thing meanwhile.
fn is_overtaken(error: &store::Error) -> bool {
    error.is_not_found() || matches!(error, store::Error::Conflict(_))
}

fn comment(image: &Image) -> String {
    // Changes that a commit was asked to make come after it and say nothing.
    image.config.history.iter().rev().find_map(|step| step.comment.clone()).unwrap_or_default()
}

/// Whether an image's name fits a pattern: `*` is any text without a slash, as in a shell. A pattern without a tag
/// fits all tags.
fn fits(image: &ImageSummary, pattern: &str) -> bool {
    let Some(repository) = &image.repository else { return false };
    let tag = image.tag.as_deref().unwrap_or("");
    let whole = format!("{repository}:{tag}");
    let bare = repository.rsplit('/').next().unwrap_or(repository);
    let has_tag = pattern.rfind(':').is_some_and(|colon| !pattern[colon..].contains('/'));
    if has_tag {
        glob(pattern, &whole)
    } else {
        glob(pattern, repository) || glob(pattern, bare) && !pattern.contains('/')
    }
}

/// Shell-like matching with `*` and `?`, neither of which matches a slash.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for &letter in &pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] |= letter == '*' && (reached[at] || at > 0 && next[at - 1] && text[at - 1] != '/');
            if at < text.len() {
                next[at + 1] |= reached[at] && (letter == text[at] || letter == '?' && text[at] != '/');
            }
        }
        reached = next;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::{ImageFilter, glob};

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("bus*", "busybox", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("a?c:1", "abc:1", true),
            ("a", "ab", false),
            ("*:lat*", "x:latest", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn filters() {
        assert_eq!("label=a=b".parse::<ImageFilter>().unwrap(), ImageFilter::Label("a".into(), Some("b".into())));
        assert!("dangling=maybe".parse::<ImageFilter>().is_err());
        assert!("nope=1".parse::<ImageFilter>().is_err());
    }
}

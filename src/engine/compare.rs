//! Images beside one another: which layers they share, what each path of one is in the other, and the tree that all images
//! of the store make with their layers. Nothing is mounted; the tables of contents say it all but for the bytes of files
//! that are equal in size, which are read.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use store::digest::Digester;
use store::layer::{Entry, Kind};
use store::usage::owners;
use store::{DiffId, Digest, ImageId};

use super::Engine;
use super::flat::Flat;
use super::indexes::platform_among;
use super::names::familiar;
use crate::error::{CommandError, Result};

/// One path that two images do not have alike.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Difference {
    /// `A`: only the second image has it; `D`: only the first; `C`: both, and not alike.
    pub kind: char,
    /// The path.
    pub path: String,
    /// Bytes in the first image, if it is a file there.
    pub size_before: Option<u64>,
    /// Bytes in the second, if it is a file there.
    pub size: Option<u64>,
    /// In what they differ: type, content, mode, owner, attributes, time.
    pub what: Vec<&'static str>,
}

/// A layer and where it is.
#[derive(Clone, Debug, Serialize)]
pub struct LayerLine {
    /// The layer.
    pub layer: DiffId,
    /// Bytes of its files.
    pub size: u64,
    /// The instruction that made it.
    pub created_by: String,
}

/// The layers of two images.
#[derive(Clone, Debug, Serialize)]
pub struct Shared {
    /// Those that both have.
    pub shared_layers: Vec<LayerLine>,
    /// Bytes of their files: kept once for both.
    pub shared_bytes: u64,
    /// Those that only the first has.
    pub only_first: Vec<LayerLine>,
    /// Those that only the second has.
    pub only_second: Vec<LayerLine>,
}

/// A layer on top of others, and what stands on it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TreeNode {
    /// The layer.
    pub layer: DiffId,
    /// Bytes of its files.
    pub size: u64,
    /// The instruction that made it.
    pub created_by: String,
    /// The images that end here: their names, or ids where they have none.
    pub images: Vec<String>,
    /// In how many images the layer is, here or elsewhere in the tree; the platforms of an index are one.
    pub shared_by: usize,
    /// The layers that stand on it.
    pub children: Vec<TreeNode>,
}

impl Engine {
    /// Hands over what `second` has other than `first`, in the order of paths; without it, what the uppermost layer of
    /// `first` changed.
    ///
    /// # Errors
    /// No such image, a damaged layer, and what `found` says.
    pub fn compare_images(
        &self,
        first: &str,
        second: Option<&str>,
        times: bool,
        found: &mut dyn FnMut(Difference) -> Result<()>,
    ) -> Result<()> {
        let (before, after) = match (self.find_image(first)?.image, second) {
            (first, Some(second)) => (first.layers().to_vec(), self.find_image(second)?.image.layers().to_vec()),
            (image, None) => {
                let layers = image.layers();
                (layers[..layers.len().saturating_sub(1)].to_vec(), layers.to_vec())
            }
        };
        let (left, right) = (Flat::new(&self.store, before)?, Flat::new(&self.store, after)?);
        let (mut ours, mut theirs) = (left.entries(), right.entries());
        let (mut one, mut other) = (ours.next().transpose()?, theirs.next().transpose()?);
        // Both are in the order of paths.
        loop {
            let order = match (&one, &other) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((one, _)), Some((other, _))) => one.path.cmp(&other.path),
            };
            match (order, &one, &other) {
                (Ordering::Less, Some((one, _)), _) => found(one_sided('D', one))?,
                (Ordering::Greater, _, Some((other, _))) => found(one_sided('A', other))?,
                (_, Some(one), Some(other)) => {
                    let what = differences((&left, one), (&right, other), times)?;
                    if !what.is_empty() {
                        let (size_before, size) = (file_size(&one.0), file_size(&other.0));
                        found(Difference { kind: 'C', path: other.0.path.to_string(), size_before, size, what })?;
                    }
                }
                _ => {}
            }
            if order.is_le() {
                one = ours.next().transpose()?;
            }
            if order.is_ge() {
                other = theirs.next().transpose()?;
            }
        }
    }

    /// Which layers two images have in common.
    ///
    /// # Errors
    /// No such image, a damaged store.
    pub fn shared_layers(&self, first: &str, second: &str) -> Result<Shared> {
        let (first, second) = (self.layer_lines(first)?, self.layer_lines(second)?);
        let is_in = |lines: &[LayerLine], line: &LayerLine| lines.iter().any(|other| other.layer == line.layer);
        let (shared_layers, only_first): (Vec<_>, Vec<_>) =
            first.iter().cloned().partition(|line| is_in(&second, line));
        let only_second = second.into_iter().filter(|line| !is_in(&first, line)).collect();
        // A layer may be in an image twice and is here once all the same.
        let each: BTreeMap<DiffId, u64> = shared_layers.iter().map(|line| (line.layer, line.size)).collect();
        Ok(Shared { shared_bytes: each.values().sum(), shared_layers, only_first, only_second })
    }

    /// The layers of an image, lowest first.
    fn layer_lines(&self, name: &str) -> Result<Vec<LayerLine>> {
        let steps = self.history(name)?.into_iter().rev();
        let lines = steps.filter_map(|step| {
            step.diff_id.map(|layer| LayerLine { layer, size: step.size, created_by: step.created_by })
        });
        Ok(lines.collect())
    }

    /// The tree of the layers of all images; with `name`, what of it leads to that image, and with `above` also what
    /// stands on it.
    ///
    /// # Errors
    /// No such image, a damaged store.
    pub fn layer_tree(&self, name: Option<&str>, above: bool) -> Result<Vec<TreeNode>> {
        let found = name.map(|name| self.find_image(name)).transpose()?;
        let (wanted, named) = found.map(|found| (found.image, found.tag)).unzip();
        let platforms = named.flatten().map(|tag| tag.platforms).unwrap_or_default();
        let tags = self.store.refs().list()?;
        let owners = owners(&self.store)?;
        let mut roots = Vec::new();
        let mut users: BTreeMap<DiffId, BTreeSet<ImageId>> = BTreeMap::new();
        for id in self.store.images().list()? {
            let image = self.store.images().get(&id)?;
            let mut own = image.layers().to_vec();
            own.sort();
            own.dedup();
            let owner = owners.get(&id).copied().unwrap_or(id);
            for layer in own {
                users.entry(layer).or_default().insert(owner);
            }
            let leads = wanted.as_ref().is_none_or(|wanted| {
                wanted.id == id
                    || platforms.contains(&id)
                    || above && image.layers().starts_with(wanted.layers())
                    || wanted.layers().starts_with(image.layers())
            });
            if !leads {
                continue;
            }
            let mut names: Vec<String> =
                tags.iter().filter(|tag| tag.image == id).map(|tag| familiar(&tag.name)).collect();
            // The other platforms of an index stand under its name.
            for tag in tags.iter().filter(|tag| tag.platforms.contains(&id)) {
                names.push(format!("{} ({})", familiar(&tag.name), platform_among(&self.entries(tag)?, &image)));
            }
            if names.is_empty() {
                names.push(id.short());
            }
            plant(&mut roots, &self.layer_lines(&id.to_string())?, names);
        }
        count(&mut roots, &users);
        Ok(roots)
    }
}

/// Puts an image's layers into the tree.
fn plant(level: &mut Vec<TreeNode>, lines: &[LayerLine], names: Vec<String>) {
    let Some((line, rest)) = lines.split_first() else { return };
    let at = level.iter().position(|node| node.layer == line.layer).unwrap_or_else(|| {
        let (layer, size, created_by) = (line.layer, line.size, line.created_by.clone());
        level.push(TreeNode { layer, size, created_by, images: Vec::new(), shared_by: 0, children: Vec::new() });
        level.len() - 1
    });
    if rest.is_empty() {
        level[at].images.extend(names);
    } else {
        plant(&mut level[at].children, rest, names);
    }
}

fn count(level: &mut [TreeNode], users: &BTreeMap<DiffId, BTreeSet<ImageId>>) {
    for node in level {
        node.shared_by = users.get(&node.layer).map_or(0, BTreeSet::len);
        count(&mut node.children, users);
    }
}

fn one_sided(kind: char, entry: &Entry) -> Difference {
    let size = file_size(entry);
    let (size_before, size) = if kind == 'D' { (size, None) } else { (None, size) };
    Difference { kind, path: entry.path.to_string(), size_before, size, what: Vec::new() }
}

fn file_size(entry: &Entry) -> Option<u64> {
    match entry.kind {
        Kind::File { size, .. } => Some(size),
        _ => None,
    }
}

/// In what two files of one path differ. Bytes are read unless both come from one layer.
fn differences(
    (left, (one, source)): (&Flat, &(Entry, usize)),
    (right, (other, from)): (&Flat, &(Entry, usize)),
    times: bool,
) -> Result<Vec<&'static str>> {
    let mut what = Vec::new();
    let content = match (&one.kind, &other.kind) {
        (Kind::File { size, extents }, Kind::File { size: now, extents: pieces }) => {
            if size != now {
                true
            } else if *size == 0 || extents == pieces && left.layer(*source) == right.layer(*from) {
                false
            } else {
                hash(left, one, *source)? != hash(right, other, *from)?
            }
        }
        (Kind::Directory { .. }, Kind::Directory { .. }) => false,
        (one, other) if std::mem::discriminant(one) != std::mem::discriminant(other) => {
            // Everything else goes without saying.
            return Ok(vec!["type"]);
        }
        (one, other) => one != other,
    };
    for (differ, word) in [
        (content, "content"),
        (one.mode != other.mode, "mode"),
        ((one.uid, one.gid) != (other.uid, other.gid), "owner"),
        (one.xattrs != other.xattrs, "attributes"),
        (times && one.mtime != other.mtime, "time"),
    ] {
        if differ {
            what.push(word);
        }
    }
    Ok(what)
}

fn hash(image: &Flat, entry: &Entry, source: usize) -> Result<Digest> {
    let mut digester = Digester::new();
    std::io::copy(&mut image.open(&entry.kind, source)?, &mut digester).map_err(CommandError::from)?;
    Ok(digester.finish())
}

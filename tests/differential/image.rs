//! Images as they come out of `docker save` and `img save --format docker-archive`: config, history, and the layers laid
//! upon each other in memory. Read by a tar reader that is not `img`'s own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Component, Path};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a name in the tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `file`, `directory`, `symlink`, …
    pub kind: &'static str,
    /// Permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u64, u64),
    /// Size of a file.
    pub size: u64,
    /// SHA-256 of a file, target of a link, numbers of a device.
    pub content: String,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Seconds.
    pub time: i64,
    /// Which names are the same file.
    pub inode: usize,
}

/// An image.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The whole configuration.
    pub config: Value,
    /// The tree.
    pub tree: BTreeMap<String, Entry>,
    /// The names in each layer.
    pub layers: Vec<Vec<String>>,
}

/// One layer's names in their order; hard links name an earlier one.
type Layer = Vec<(String, Found)>;

#[derive(Clone, Debug)]
enum Found {
    Entry(Entry),
    HardLink(String),
}

/// Reads all images of an archive by their tags (without `:latest` and without a host).
pub fn read(archive: &Path) -> BTreeMap<String, Image> {
    let mut small: HashMap<String, Vec<u8>> = HashMap::new();
    let mut layers: HashMap<String, Layer> = HashMap::new();
    let mut links: HashMap<String, String> = HashMap::new();
    let mut tar = tar::Archive::new(std::fs::File::open(archive).expect("the archive"));
    for entry in tar.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = clean(&entry.path().expect("a name"));
        if let Some(target) = entry.link_name().expect("a link") {
            // A layer that stands in the archive once already: `../<id>/layer.tar`.
            links.insert(name, clean(&target));
        } else if name.ends_with(".json") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("a document");
            small.insert(name, bytes);
        } else if name.ends_with(".tar") {
            layers.insert(name, layer(&mut entry));
        }
    }
    let manifest: Value = serde_json::from_slice(&small["manifest.json"]).expect("a manifest");
    let mut images = BTreeMap::new();
    for image in manifest.as_array().expect("a list") {
        let config = &small[&clean(Path::new(image["Config"].as_str().expect("a name")))];
        let config: Value = serde_json::from_slice(config).expect("a configuration");
        let mut tree = Tree::default();
        let mut names = Vec::new();
        for name in image["Layers"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let name = clean(Path::new(name.as_str().expect("a name")));
            let name = links.get(&name).unwrap_or(&name);
            let layer = layers.get(name).unwrap_or_else(|| panic!("{name} is not in the archive"));
            names.push(layer.iter().map(|(path, _)| path.clone()).filter(|path| !path.is_empty()).collect());
            tree.apply(layer);
        }
        for tag in image["RepoTags"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let tag = tag.as_str().expect("a tag").trim_start_matches("docker.io/library/");
            let tag = tag.trim_end_matches(":latest").to_owned();
            images.insert(tag, Image { config: config.clone(), tree: tree.entries.clone(), layers: names.clone() });
        }
    }
    images
}

fn clean(path: &Path) -> String {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    names.collect::<Vec<_>>().join("/")
}

fn layer(bytes: &mut impl Read) -> Layer {
    let mut found = Vec::new();
    let mut tar = tar::Archive::new(bytes);
    for entry in tar.entries().expect("a layer") {
        let mut entry = entry.expect("an entry of a layer");
        let name = clean(&entry.path().expect("a name"));
        let mut xattrs = BTreeMap::new();
        for extension in entry.pax_extensions().expect("extensions").into_iter().flatten() {
            let extension = extension.expect("an extension");
            if let Some(key) = extension.key().expect("a key").strip_prefix("SCHILY.xattr.") {
                xattrs.insert(key.to_owned(), extension.value_bytes().to_vec());
            }
        }
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            tar::EntryType::Link => {
                let target = entry.link_name().expect("a target").expect("a target");
                found.push((name, Found::HardLink(clean(&target))));
                continue;
            }
            tar::EntryType::Directory => "directory",
            tar::EntryType::Symlink => "symlink",
            tar::EntryType::Char => "character device",
            tar::EntryType::Block => "block device",
            tar::EntryType::Fifo => "fifo",
            _ => "file",
        };
        let content = match kind {
            "file" => {
                let mut hasher = Sha256::new();
                std::io::copy(&mut entry, &mut HashWriter(&mut hasher)).expect("content");
                hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
            }
            "symlink" => entry.link_name().expect("a target").expect("a target").to_string_lossy().into_owned(),
            "character device" | "block device" => {
                format!("{:?}:{:?}", header.device_major().expect("major"), header.device_minor().expect("minor"))
            }
            _ => String::new(),
        };
        let entry = Entry {
            kind,
            mode: if kind == "symlink" { 0o777 } else { header.mode().expect("a mode") & 0o7777 },
            owner: (header.uid().expect("a user"), header.gid().expect("a group")),
            size: if kind == "file" { entry.size() } else { 0 },
            content,
            xattrs,
            time: i64::try_from(header.mtime().expect("a time")).expect("a time"),
            inode: 0,
        };
        found.push((name, Found::Entry(entry)));
    }
    found
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Tree {
    entries: BTreeMap<String, Entry>,
    inodes: usize,
}

impl Tree {
    /// Lays a layer upon the tree (OCI image specification, "Applying Changesets").
    fn apply(&mut self, layer: &Layer) {
        // Whiteouts are about what is below, whatever their place among the entries.
        for (path, _) in layer {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(hidden) = name.strip_prefix(".wh.") else { continue };
            let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            if hidden == ".wh..opq" {
                self.entries.retain(|path, _| !path.starts_with(&prefix));
            } else {
                self.remove(&format!("{prefix}{hidden}"));
            }
        }
        let mut own = BTreeSet::new();
        for (path, found) in layer {
            let name = path.rsplit('/').next().unwrap_or_default();
            if path.is_empty() || name.starts_with(".wh.") {
                continue;
            }
            let entry = match found {
                Found::HardLink(target) => self
                    .entries
                    .get(target)
                    .unwrap_or_else(|| panic!("{path} links to {target}, which is nowhere"))
                    .clone(),
                Found::Entry(entry) => {
                    self.inodes += 1;
                    Entry { inode: self.inodes, ..entry.clone() }
                }
            };
            let replaces =
                self.entries.get(path).is_some_and(|old| old.kind != "directory" || entry.kind != "directory");
            if replaces && !own.contains(path) {
                self.remove(path);
            }
            own.insert(path.clone());
            self.entries.insert(path.clone(), entry);
        }
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.entries.retain(|other, _| other != path && !other.starts_with(&below));
    }
}

/// For each name that shares its file with another: the first of the names.
pub fn links(tree: &BTreeMap<String, Entry>) -> BTreeMap<&str, &str> {
    let mut first: HashMap<usize, &str> = HashMap::new();
    let mut found = BTreeMap::new();
    for (path, entry) in tree {
        match first.get(&entry.inode) {
            Some(name) => drop(found.insert(path.as_str(), *name)),
            None => drop(first.insert(entry.inode, path)),
        }
    }
    found
}

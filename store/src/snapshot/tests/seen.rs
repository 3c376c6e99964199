//! A tree as something comparable: what is mounted, and what [`Tree`] says, in one form.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::digest::{DiffId, Digester};
use crate::erofs::is_visible;
use crate::layer::tree::{FileReader, Tree};
use crate::layer::{Kind, Time};
use crate::{Digest, Store};

/// What is at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Type and what belongs to it: size and digest, link text, device numbers.
    pub what: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// The first path of the same file.
    pub first: Vec<u8>,
}

pub type All = BTreeMap<Vec<u8>, Seen>;

fn digest(mut reader: impl Read) -> Digest {
    let mut digester = Digester::new();
    std::io::copy(&mut reader, &mut digester).unwrap();
    digester.finish()
}

/// Files longer than this are compared by their start and end: nobody wants to hash 5 GiB of zeros twice.
const WHOLE: u64 = 64 << 20;

/// All below the directory `root`, itself included.
pub fn mounted(root: &Path) -> All {
    let mut all = All::new();
    let mut firsts = HashMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let what = if kind.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "directory".to_owned()
        } else if kind.is_file() {
            let file = fs::File::open(&path).unwrap();
            let digest = if metadata.len() <= WHOLE { digest(file) } else { ends(&file, metadata.len()) };
            format!("file of {} bytes {digest}", metadata.len())
        } else if kind.is_symlink() {
            format!("link to {}", fs::read_link(&path).unwrap().as_os_str().as_bytes().escape_ascii())
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            format!("{} device {major}:{minor}", if kind.is_char_device() { "char" } else { "block" })
        };
        let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let seen = Seen {
            what,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: Time { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() as u32 },
            xattrs: xattrs(&path),
            first: Vec::new(),
        };
        if !kind.is_dir() {
            firsts.entry((metadata.dev(), metadata.ino())).or_insert_with(Vec::new).push(relative.clone());
        }
        all.insert(relative, seen);
    }
    set_firsts(&mut all, firsts.into_values());
    all
}

fn set_firsts(all: &mut All, groups: impl Iterator<Item = Vec<Vec<u8>>>) {
    for names in groups {
        let first = names.iter().min().unwrap().clone();
        for name in names {
            all.get_mut(&name).unwrap().first.clone_from(&first);
        }
    }
}

fn ends(file: &fs::File, size: u64) -> Digest {
    use std::os::unix::fs::FileExt;
    let mut raw = vec![0; 2 << 20];
    file.read_exact_at(&mut raw[..1 << 20], 0).unwrap();
    file.read_exact_at(&mut raw[1 << 20..], size - (1 << 20)).unwrap();
    Digest::of(&raw)
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut all: Vec<_> = names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            (String::from_utf8(name.to_vec()).unwrap(), value)
        })
        .collect();
    all.sort();
    all
}

/// All that the merge of `layers` should show.
pub fn merged(store: &Store, layers: &[DiffId]) -> crate::Result<All> {
    let mut tree = Tree::new();
    let mut tars = Vec::new();
    for layer in layers {
        store.layers().merge_into(&mut tree, layer)?;
        tars.push(store.layers().open_tar(layer)?);
    }
    let mut all = All::new();
    let mut groups: HashMap<u32, Vec<Vec<u8>>> = HashMap::new();
    for (index, node) in tree.walk().enumerate() {
        let path = node.path().as_bytes().to_vec();
        let what = match node.kind() {
            Kind::Directory { .. } => "directory".to_owned(),
            Kind::File { size, .. } => {
                let reader = FileReader::new(&tars[node.source()], node.kind())?;
                let digest = if *size <= WHOLE { digest(reader) } else { long(reader, *size) };
                format!("file of {size} bytes {digest}")
            }
            Kind::Symlink { target } => format!("link to {}", target.escape_ascii()),
            Kind::CharDevice { major, minor } => format!("char device {major}:{minor}"),
            Kind::BlockDevice { major, minor } => format!("block device {major}:{minor}"),
            Kind::Fifo => "fifo".to_owned(),
            Kind::HardLink { .. } | Kind::Whiteout => panic!("not merged: {path:?}"),
        };
        let visible = node.xattrs().iter().filter(|(name, _)| is_visible(node.kind(), name));
        let xattrs = visible.map(|(name, value)| (String::from_utf8(name.clone()).unwrap(), value.clone())).collect();
        if !node.is_directory() {
            groups.entry(node.link_group().unwrap_or(u32::MAX - index as u32)).or_default().push(path.clone());
        }
        let mode = node.mode();
        let seen =
            Seen { what, mode, uid: node.uid(), gid: node.gid(), mtime: node.mtime(), xattrs, first: Vec::new() };
        all.insert(path, seen);
    }
    set_firsts(&mut all, groups.into_values());
    Ok(all)
}

/// The digest that [`ends`] gives, of a file mostly of holes.
fn long(mut reader: FileReader<'_>, size: u64) -> Digest {
    let mut raw = vec![0; 2 << 20];
    reader.read_exact(&mut raw[..1 << 20]).unwrap();
    std::io::copy(&mut reader.by_ref().take(size - (2 << 20)), &mut std::io::sink()).unwrap();
    reader.read_exact(&mut raw[1 << 20..]).unwrap();
    Digest::of(&raw)
}

/// Fails with the first differences rather than with all of both.
pub fn assert_equal(what: &str, seen: &All, expected: &All) {
    let mut differences = Vec::new();
    for path in seen.keys().chain(expected.keys().filter(|path| !seen.contains_key(*path))) {
        if seen.get(path) != expected.get(path) {
            let (seen, expected) = (seen.get(path), expected.get(path));
            differences.push(format!("{}:\n      is {seen:?}\n  wanted {expected:?}", path.escape_ascii()));
        }
    }
    assert!(
        differences.is_empty(),
        "{what}: {}\n{}",
        differences.len(),
        differences[..differences.len().min(5)].join("\n")
    );
}

//! Two directory trees, compared entry by entry: type, mode, owner, size, content, link target, device number, extended
//! attributes and which names share an inode. What `img` gives is held against what GNU tar, umoci or podman make of
//! the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What is compared of one entry. Times of directories are left out: making an entry in one changes them.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: i64,
    device: u64,
    content: String,
    target: Option<PathBuf>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The first name, in order, of the same inode.
    same_as: Option<PathBuf>,
}

/// The differences between two trees, one line each, at most fifty; none when they are equal. `ignore` names paths
/// (relative, with all below them) that are left out on both sides.
pub fn differences(left: &Path, right: &Path, ignore: &[&str]) -> Vec<String> {
    let (left, right) = (read(left, ignore), read(right, ignore));
    let mut lines = Vec::new();
    for (path, facts) in &left {
        match right.get(path) {
            None => lines.push(format!("{} only on the left", path.display())),
            Some(other) if other != facts => {
                lines.push(format!("{}:\n    left  {facts:?}\n    right {other:?}", path.display()));
            }
            Some(_) => {}
        }
    }
    let only_right = right.keys().filter(|path| !left.contains_key(*path));
    lines.extend(only_right.map(|path| format!("{} only on the right", path.display())));
    lines.truncate(50);
    lines
}

/// Asserts that two trees are equal and that they are not both empty.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path, ignore: &[&str]) {
    assert!(std::fs::read_dir(left).is_ok_and(|mut d| d.next().is_some()), "{} is empty", left.display());
    let lines = differences(left, right, ignore);
    assert!(lines.is_empty(), "{} and {} differ:\n{}", left.display(), right.display(), lines.join("\n"));
}

/// Asserts that a file has an empty extended attribute, and removes it. In a tar it is a PAX record without a value:
/// GNU tar and `img` give the attribute back, Go's tar reader (docker, podman, umoci) takes the record for a deletion.
/// So this one is looked at by itself before a tree is compared with theirs.
#[track_caller]
pub fn drop_empty_xattr(path: &Path, name: &str) {
    let length = rustix::fs::lgetxattr(path, name, &mut [0_u8; 16]);
    assert_eq!(length, Ok(0), "{name} of {} is there and empty", path.display());
    rustix::fs::lremovexattr(path, name).expect("an attribute of our own copy");
}

fn read(root: &Path, ignore: &[&str]) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut inodes = HashMap::new();
    walk(root, Path::new(""), ignore, &mut inodes, &mut found);
    found
}

fn walk(
    root: &Path,
    at: &Path,
    ignore: &[&str],
    inodes: &mut HashMap<(u64, u64), PathBuf>,
    found: &mut BTreeMap<PathBuf, Facts>,
) {
    let folder = root.join(at);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()));
    let mut names: Vec<OsString> = entries.map(|entry| entry.expect("a directory entry").file_name()).collect();
    names.sort();
    for name in names {
        let path = at.join(name);
        if ignore.iter().any(|skip| Path::new(skip) == path) {
            continue;
        }
        let facts = facts(root, &path, inodes);
        let is_folder = facts.kind == "directory";
        found.insert(path.clone(), facts);
        if is_folder {
            walk(root, &path, ignore, inodes, found);
        }
    }
}

fn facts(root: &Path, path: &Path, inodes: &mut HashMap<(u64, u64), PathBuf>) -> Facts {
    let full = root.join(path);
    let meta = std::fs::symlink_metadata(&full).unwrap_or_else(|e| panic!("cannot stat {}: {e}", full.display()));
    let kind = match meta.file_type() {
        t if t.is_dir() => "directory",
        t if t.is_symlink() => "symlink",
        t if t.is_file() => "file",
        t if t.is_fifo() => "fifo",
        t if t.is_char_device() => "character device",
        t if t.is_block_device() => "block device",
        _ => "socket",
    };
    let content = if kind == "file" { hash(&full) } else { String::new() };
    let linked = (kind != "directory" && meta.nlink() > 1).then(|| {
        // Names come in order, so the first one seen is the same on both sides.
        inodes.entry((meta.dev(), meta.ino())).or_insert_with(|| path.to_owned()).clone()
    });
    Facts {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        size: if kind == "directory" { 0 } else { meta.size() },
        modified: if kind == "directory" { 0 } else { meta.mtime() },
        device: if kind.ends_with("device") { meta.rdev() } else { 0 },
        content,
        target: (kind == "symlink").then(|| std::fs::read_link(&full).expect("a symlink's target")),
        xattrs: xattrs(&full),
        same_as: linked.filter(|first| first != path),
    }
}

fn hash(path: &Path) -> String {
    let mut file = std::fs::File::open(path).unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()));
    let mut hasher = Sha256::new();
    let mut chunk = vec![0_u8; 65536];
    loop {
        let length = file.read(&mut chunk).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        if length == 0 {
            break;
        }
        hasher.update(&chunk[..length]);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0_u8; 65536];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => panic!("cannot list the attributes of {}: {error}", path.display()),
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = std::ffi::OsStr::from_bytes(name);
            let mut value = vec![0_u8; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value)
                .unwrap_or_else(|e| panic!("cannot read {name:?} of {}: {e}", path.display()));
            value.truncate(length);
            (name.to_owned(), value)
        })
        .collect()
}

/// Bytes of the regular files of a tree, each file once whatever its names.
pub fn bytes(root: &Path) -> u64 {
    let found = read(root, &[]);
    found.values().filter(|facts| facts.kind == "file" && facts.same_as.is_none()).map(|facts| facts.size).sum()
}

use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::digest::DiffId;
use crate::layer::{LayerInfo, Toc};
use crate::testing;

fn shell(directory: &Path, script: &str) {
    let out = Command::new("sh").arg("-ec").arg(script).current_dir(directory).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn diff(store: &crate::Store, upper: &Path, options: &DiffOptions) -> Option<LayerInfo> {
    let directory = File::open(upper).unwrap();
    store.layers().from_upper(directory.as_fd(), options).unwrap()
}

fn xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

fn get(toc: &Toc, path: &str) -> Entry {
    toc.get(&LayerPath::parse(path.as_bytes()).unwrap()).unwrap_or_else(|| panic!("no {path}")).clone()
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root to make devices");
    }
    root
}

#[test]
fn translates_an_upper_directory() {
    if !root() {
        return;
    }
    let (dir, store) = testing::store();
    let upper = dir.path().join("upper");
    std::fs::create_dir(&upper).unwrap();
    assert!(diff(&store, &upper, &DiffOptions::default()).is_none());
    shell(
        &upper,
        r"mkdir d opaque; printf hello > d/z; ln d/z d/a; ln d/z b; mknod d/gone c 0 0; mknod null c 1 3; mkfifo fifo
        ln -s /etc/passwd link; printf '' > xwhite; truncate -s 100000 holes; printf end >> holes
        touch -d @1000000000 d/z; touch -d @2000000000 fifo; chown 5:6 d/z; chmod 2750 opaque
        touch -h -d @1000000000 link",
    );
    xattr(&upper.join("opaque"), "trusted.overlay.opaque", b"y");
    xattr(&upper.join("opaque"), "trusted.overlay.origin", b"x");
    xattr(&upper.join("d"), "trusted.overlay.opaque", b"x");
    xattr(&upper.join("xwhite"), "trusted.overlay.whiteout", b"");
    xattr(&upper.join("link"), "trusted.kept", b"of the link");
    xattr(&upper.join("d/z"), "security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let _socket = std::os::unix::net::UnixListener::bind(upper.join("socket")).unwrap();

    let options = DiffOptions { clamp_mtime: Some(1_500_000_000), changing: false };
    let info = diff(&store, &upper, &options).unwrap();
    let toc = store.layers().toc(&info.diff_id).unwrap();
    assert_eq!(get(&toc, "b").size(), 5);
    assert_eq!(get(&toc, "b").xattrs[0].0, b"security.capability");
    assert_eq!((get(&toc, "b").uid, get(&toc, "b").gid), (5, 6));
    let target = LayerPath::parse(b"b").unwrap();
    assert_eq!(get(&toc, "d/a").kind, Kind::HardLink { target: target.clone() });
    assert_eq!(get(&toc, "d/z").kind, Kind::HardLink { target });
    assert_eq!(get(&toc, "d/gone").kind, Kind::Whiteout);
    assert_eq!(get(&toc, "xwhite").kind, Kind::Whiteout);
    assert_eq!(get(&toc, "d").kind, Kind::Directory { opaque: false, implied: false });
    let opaque = get(&toc, "opaque");
    assert_eq!((opaque.kind, opaque.mode), (Kind::Directory { opaque: true, implied: false }, 0o2750));
    assert!(opaque.xattrs.is_empty());
    assert_eq!(get(&toc, "link").kind, Kind::Symlink { target: b"/etc/passwd".to_vec() });
    assert_eq!(get(&toc, "link").xattrs, [(b"trusted.kept".to_vec(), b"of the link".to_vec())]);
    assert_eq!(get(&toc, "null").kind, Kind::CharDevice { major: 1, minor: 3 });
    assert_eq!(get(&toc, "fifo").mtime, Time { seconds: 1_500_000_000, nanoseconds: 0 });
    assert_eq!(get(&toc, "b").mtime, Time { seconds: 1_000_000_000, nanoseconds: 0 });
    assert_eq!(get(&toc, "holes").size(), 100_003);
    assert!(toc.get(&LayerPath::parse(b"socket").unwrap()).is_none());
    assert_eq!(crate::check::check(&store, crate::check::CheckOptions::default()).unwrap().problems, []);
}

#[test]
fn equal_trees_make_equal_layers() {
    let (dir, store) = testing::store();
    let make = |name: &str, order: &str| -> DiffId {
        let upper = dir.path().join(name);
        std::fs::create_dir(&upper).unwrap();
        let script = format!(
            "for f in {order}; do mkdir -p $f; printf $f > $f/x; done; ln a/x z; find . -exec touch -h -d @1 {{}} +"
        );
        shell(&upper, &script);
        diff(&store, &upper, &DiffOptions::default()).unwrap().diff_id
    };
    assert_eq!(make("one", "a b c"), make("two", "c b a"));
}

#[test]
fn refuses_redirects_and_follows_nothing() {
    if !root() {
        return;
    }
    let (dir, store) = testing::store();
    let upper = dir.path().join("upper");
    std::fs::create_dir_all(upper.join("d")).unwrap();
    std::os::unix::fs::symlink("/etc", upper.join("out")).unwrap();
    let info = diff(&store, &upper, &DiffOptions::default()).unwrap();
    assert_eq!(info.entries, 3);
    xattr(&upper.join("d"), "trusted.overlay.redirect", b"/etc");
    let directory = File::open(&upper).unwrap();
    let error = store.layers().from_upper(directory.as_fd(), &DiffOptions::default()).unwrap_err();
    assert!(matches!(error, Error::InvalidLayer(_)), "{error}");
}

/// What a program removes while its directory is read is left out, or is an error where nobody should be at it.
#[test]
fn what_vanishes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let walk_removing = |changing, name: &str| {
        let upper = dir.path().join(format!("{name}-{changing}"));
        std::fs::create_dir_all(upper.join("d/e")).unwrap();
        for file in ["a", "d/e/f", "z"] {
            std::fs::write(upper.join(file), file).unwrap();
        }
        let directory = File::open(&upper).unwrap();
        let options = DiffOptions { changing, ..DiffOptions::default() };
        let mut seen = Vec::new();
        let walked = walk(directory.as_fd(), &options, &BTreeSet::new(), &mut |entry, data| {
            // Removed as it is seen itself, d is there and cannot be gone into.
            if entry.path.to_string() == name {
                std::fs::remove_dir_all(upper.join("d")).unwrap();
                std::fs::remove_file(upper.join("z")).unwrap();
            }
            let mut bytes = String::new();
            data.map(|data| data.read_to_string(&mut bytes).unwrap());
            seen.push(format!("{} {bytes}", entry.path));
            Ok(())
        });
        walked.map(|_| seen.join(","))
    };
    assert_eq!(walk_removing(true, "/a").unwrap(), "/a a");
    assert_eq!(walk_removing(true, "/d").unwrap(), "/a a,/d ");
    assert_eq!(walk_removing(true, "/d/e/f").unwrap(), "/a a,/d ,/d/e ,/d/e/f d/e/f");
    assert!(walk_removing(false, "/d").unwrap_err().is_not_found());
    assert!(walk_removing(false, "/a").unwrap_err().is_not_found());
}

#[test]
fn deep_trees_need_no_deep_stack() {
    let (dir, store) = testing::store();
    let upper = dir.path().join("upper");
    let deep = upper.join("d/".repeat(1800));
    std::fs::create_dir_all(&deep).unwrap_or_else(|_| {
        shell(dir.path(), "mkdir -p upper; cd upper; for i in $(seq 1800); do mkdir d; cd d; done");
    });
    let info = diff(&store, &upper, &DiffOptions::default()).unwrap();
    assert_eq!(info.entries, 1801);
}

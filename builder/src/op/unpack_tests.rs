use store::Store;
use store::layer::tar::Writer;
use store::layer::{Entry, Kind, Time};

use super::*;
use crate::files::fake::{FakeFiles, path};
use crate::op::place::{Attributes, Data};

/// A store, and what archives are unpacked over.
struct Case {
    directory: tempfile::TempDir,
    below: FakeFiles,
}

fn case(below: &[&str]) -> Case {
    Case { directory: tempfile::tempdir().unwrap(), below: FakeFiles::of(below) }
}

/// Members as lines: `dir/`, `file=content`, `link->target`, `name==first name`; directories that are not listed are implied.
fn tar(lines: &[&str]) -> Vec<u8> {
    let mut out = Writer::new(Vec::new());
    for line in lines {
        let (name, kind, data) = if let Some((name, target)) = line.split_once("->") {
            (name, Kind::Symlink { target: target.into() }, None)
        } else if let Some((name, first)) = line.split_once("==") {
            (name, Kind::HardLink { target: path(first) }, None)
        } else if let Some((name, text)) = line.split_once('=') {
            (name, Kind::file(text.len() as u64), Some(text))
        } else {
            (*line, Kind::Directory { opaque: false, implied: false }, None)
        };
        let mtime = Time { seconds: 5000, nanoseconds: 0 };
        let entry = Entry { path: path(name), kind, mode: 0o751, uid: 7, gid: 8, mtime, xattrs: vec![] };
        let mut data = data.map(str::as_bytes);
        out.append(&entry, data.as_mut().map(|data| data as &mut dyn std::io::Read)).unwrap();
    }
    out.finish().unwrap()
}

impl Case {
    /// What comes of unpacking these archives into `destination`, one after another.
    fn entries(&self, archives: &[&[&str]], destination: &str, attributes: Attributes) -> Result<Vec<Entry>, OpError> {
        let store = Store::open(&self.directory.path().join("store")).unwrap();
        let mut draft = Draft::new(&self.below, attributes);
        for lines in archives {
            draft.unpack(Archive::new(store.layers().archive(&*tar(lines))?)?, destination)?;
        }
        let mut entries = Vec::new();
        for finished in draft.finish()? {
            let (entry, data) = finished?;
            if let Data::Member { archive, kind } = data {
                let mut text = Vec::new();
                std::io::Read::read_to_end(&mut archive.read(&kind)?, &mut text).unwrap();
                assert_eq!(text.len() as u64, entry.size(), "{}", entry.path);
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn brief(&self, archives: &[&[&str]], destination: &str) -> Vec<String> {
        let entries = self.entries(archives, destination, Attributes::default()).unwrap();
        let line = |entry: &Entry| match &entry.kind {
            Kind::Directory { .. } => format!("{}/ {}:{:o}", entry.path, entry.uid, entry.mode),
            Kind::File { size, .. } => format!("{} {size}", entry.path),
            Kind::Symlink { target } => format!("{} -> {}", entry.path, String::from_utf8_lossy(target)),
            Kind::HardLink { target } => format!("{} = {target}", entry.path),
            other => format!("{} {other:?}", entry.path),
        };
        entries.iter().map(line).collect()
    }
}

#[test]
fn archives_replace_what_is_in_the_way() {
    let case = case(&["lib->usr/lib", "usr/lib/", "bin/sh=1", "was/dir/"]);
    // The archive lists `was`, but not `lib`.
    assert_eq!(
        case.brief(&[&["lib/x=1", "bin=2", "was", "was/dir=3"]], "/"),
        ["/bin 1", "/usr/ 0:755", "/usr/lib/ 0:755", "/usr/lib/x 1", "/was/ 7:751", "/was/dir 1"]
    );
    assert_eq!(case.brief(&[&["lib", "lib/x=1"]], "/"), ["/lib/ 7:751", "/lib/x 1"], "a link that is listed gives way");
    assert_eq!(
        case.brief(&[&["lib/x/y=1"]], "/new"),
        ["/new/ 0:755", "/new/lib/ 0:755", "/new/lib/x/ 0:755", "/new/lib/x/y 1"]
    );
    assert!(case.entries(&[&["x=1"]], "/bin/sh", Attributes::default()).is_err());
}

#[test]
fn later_archives_go_over_earlier_ones() {
    let case = case(&[]);
    let first: &[&str] = &["a", "a/b=1", "a/c", "a/c/d=1", "e=1", "link->a"];
    assert_eq!(case.brief(&[first, &["a=22"]], "/"), ["/a 2", "/e 1", "/link -> a"], "what was below is gone");
    assert_eq!(case.brief(&[first, &["a=22"], &["a", "a/z=1"]], "/"), ["/a/ 7:751", "/a/z 1", "/e 1", "/link -> a"]);
    assert_eq!(
        case.brief(&[first, &["link/new=333", "e/f=1"]], "/"),
        ["/a/ 7:751", "/a/b 1", "/a/c/ 7:751", "/a/c/d 1", "/a/new 3", "/e/ 0:755", "/e/f 1", "/link -> a"]
    );
}

#[test]
fn names_of_one_file_stay_so() {
    let case = case(&["p->q", "q/"]);
    let archive: &[&str] = &["m=22", "p/l==m", "z==m", "one=1"];
    assert_eq!(case.brief(&[archive], "/"), ["/m 2", "/one 1", "/q/ 0:755", "/q/l = /m", "/z = /m"]);
    // The first name by its place is the file, and archives know nothing of one another.
    assert_eq!(case.brief(&[&["b=22", "p/l==b"], &["b=1"]], "/"), ["/b 1", "/q/ 0:755", "/q/l 2"]);
    assert_eq!(
        case.brief(&[&["p/a=22", "z==p/a"], archive], "/"),
        ["/m 2", "/one 1", "/q/ 0:755", "/q/a 2", "/q/l = /m", "/z = /m"]
    );
    let error = case.entries(&[&["x==nothing"]], "/", Attributes::default()).unwrap_err();
    assert!(error.to_string().contains("/x: hard link to /nothing, which no layer has"), "{error}");
}

#[test]
fn owners_and_times_are_given() {
    let case = case(&["there/"]);
    let lines: &[&str] = &["d", "d/f=1", "l->d"];
    let time = Time { seconds: 9, nanoseconds: 0 };
    for (attributes, owner, seconds) in [
        (Attributes::default(), (7, 8), 5000),
        (Attributes { owner: Some((3, 4)), time: Some(time), chmod: None }, (3, 4), 9),
    ] {
        let entries = case.entries(&[lines], "/made", attributes).unwrap();
        assert_eq!(entries.len(), 4);
        assert!(entries.iter().all(|entry| entry.mtime.seconds == seconds), "made directories have the newest time");
        assert!(entries[1..].iter().all(|entry| (entry.uid, entry.gid) == owner));
        assert_eq!((entries[1].mode, entries[3].mode), (0o751, 0o777));
    }
}

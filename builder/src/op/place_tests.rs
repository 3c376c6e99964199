use super::*;
use crate::cancel::Cancel;
use crate::files::fake::{FakeFiles, node};
use crate::op::select::{self, How};

struct Case {
    below: FakeFiles,
    files: Arc<dyn Files>,
    attributes: Attributes,
}

fn case(below: &[&str], files: &[&str]) -> Case {
    Case { below: FakeFiles::of(below), files: Arc::new(FakeFiles::of(files)), attributes: Attributes::default() }
}

impl Case {
    fn selected(&self, source: &str, parents: bool) -> Vec<Selected> {
        let mut selected = select::select(&self.files, source, How { exclude: &[], parents }).unwrap();
        select::hash(&mut selected, &Cancel::new()).unwrap();
        selected
    }

    fn entries(&self, source: &str, destination: &str) -> Result<Vec<(Entry, Data)>, OpError> {
        let mut draft = Draft::new(&self.below, self.attributes.clone());
        for one in self.selected(source, false) {
            draft.copy(&one, destination)?;
        }
        finished(draft)
    }

    fn copy(&self, source: &str, destination: &str) -> Vec<String> {
        brief(&self.entries(source, destination).unwrap_or_else(|error| panic!("{source} {destination}: {error}")))
    }

    fn refused(&self, source: &str, destination: &str) -> String {
        match self.entries(source, destination) {
            Err(error) => error.to_string(),
            Ok(entries) => panic!("{source} {destination}: {:?}", brief(&entries)),
        }
    }
}

fn finished(draft: Draft<'_>) -> Result<Vec<(Entry, Data)>, OpError> {
    draft.finish()?.collect()
}

fn brief(entries: &[(Entry, Data)]) -> Vec<String> {
    let line = |(entry, _): &(Entry, Data)| match &entry.kind {
        Kind::Directory { .. } => format!("{}/ {:o}", entry.path, entry.mode),
        Kind::File { size, .. } => format!("{} {:o} {size}", entry.path, entry.mode),
        Kind::Symlink { target } => format!("{} -> {}", entry.path, String::from_utf8_lossy(target)),
        Kind::HardLink { target } => format!("{} = {target}", entry.path),
        other => format!("{} {other:?}", entry.path),
    };
    entries.iter().map(line).collect()
}

#[test]
fn files_into_directories_or_onto_names() {
    let case = case(&["etc/passwd=x", "lib->usr/lib", "usr/lib/", "dangling->/new/place"], &["a=1", "d/b=22"]);
    assert_eq!(case.copy("a", "/x"), ["/x 644 1"]);
    assert_eq!(case.copy("a", "/x/"), ["/x/ 755", "/x/a 644 1"]);
    assert_eq!(case.copy("a", "/etc"), ["/etc/ 755", "/etc/a 644 1"]);
    assert_eq!(case.copy("a", "/etc/"), ["/etc/ 755", "/etc/a 644 1"]);
    assert_eq!(case.copy("a", "/etc/passwd"), ["/etc/ 755", "/etc/passwd 644 1"]);
    assert_eq!(case.copy("a", "/new/deep/name"), ["/new/ 755", "/new/deep/ 755", "/new/deep/name 644 1"]);
    assert_eq!(case.copy("a", "/"), ["/a 644 1"]);
    assert_eq!(case.copy("a", "/lib/"), ["/usr/ 755", "/usr/lib/ 755", "/usr/lib/a 644 1"], "links are followed");
    assert_eq!(case.copy("a", "/lib"), ["/usr/ 755", "/usr/lib/ 755", "/usr/lib/a 644 1"]);
    assert_eq!(case.copy("a", "/dangling"), ["/new/ 755", "/new/place 644 1"]);
    assert_eq!(case.copy("a", "/dangling/"), ["/new/ 755", "/new/place/ 755", "/new/place/a 644 1"]);
    assert!(case.refused("a", "/etc/passwd/x").contains("not a directory"));
}

#[test]
fn directories_give_their_contents() {
    let mut case = case(&["app/old=x", "app/sub/", "file=x"], &["d/b=22", "d/sub/c=3", "d/l->b", "empty/"]);
    case.below.change("app", |node| (node.mode, node.uid) = (0o700, 5));
    case.below.change("app/sub", |node| node.mode = 0o700);
    assert_eq!(case.copy("d", "/x"), ["/x/ 755", "/x/b 644 2", "/x/l -> b", "/x/sub/ 755", "/x/sub/c 644 1"]);
    let entries = case.entries("d", "/app").unwrap();
    assert_eq!(brief(&entries), ["/app/ 700", "/app/b 644 2", "/app/l -> b", "/app/sub/ 755", "/app/sub/c 644 1"]);
    assert_eq!(entries[0].0.uid, 5, "the destination keeps its attributes, directories inside take the source's");
    assert_eq!(case.copy("empty", "/x"), ["/x/ 755"]);
    assert_eq!(case.copy("empty", "/app"), [""; 0], "nothing new");
    assert_eq!(case.copy("d", "/"), ["/b 644 2", "/l -> b", "/sub/ 755", "/sub/c 644 1"]);
    assert!(case.refused("d", "/file").contains("not a directory"));
}

#[test]
fn what_is_in_the_way() {
    let case = case(&["x/b/", "y/sub=1", "z/l->/x"], &["d/b=22", "e/sub/c=1", "f/l=1", "g/l/c=1"]);
    assert!(case.refused("d", "/x").contains("a file cannot replace a directory"));
    assert_eq!(case.copy("d/b", "/x/b"), ["/x/ 755", "/x/b/ 755", "/x/b/b 644 2"]);
    assert!(case.refused("d/b", "/x").contains("a file cannot replace a directory"));
    assert!(case.refused("e", "/y").contains("not a directory"));
    assert_eq!(case.copy("f", "/z"), ["/z/ 755", "/z/l 644 1"], "a file replaces a link");
    assert!(case.refused("g", "/z").contains("not a directory"), "but a directory does not");
}

#[test]
fn owners_modes_and_times() {
    let mut case = case(&["app/"], &["d/b=22", "d/x/c=3", "d/l->b"]);
    case.attributes.owner = Some((7, 8));
    case.attributes.chmod = Some(Chmod::parse("u=rwX,go=").unwrap());
    let entries = case.entries("d", "/new/d").unwrap();
    assert_eq!(
        brief(&entries),
        ["/new/ 755", "/new/d/ 755", "/new/d/b 600 2", "/new/d/l -> b", "/new/d/x/ 700", "/new/d/x/c 600 1"]
    );
    assert!(entries.iter().all(|(entry, _)| (entry.uid, entry.gid) == (7, 8)));
    assert!(entries.iter().all(|(entry, _)| entry.mtime.seconds == 1000), "made directories have the newest time");
    case.attributes.time = Some(Time { seconds: 5, nanoseconds: 0 });
    case.below.change("app", |node| node.uid = 9);
    let entries = case.entries("d", "/app").unwrap();
    assert_eq!((entries[0].0.uid, entries[0].0.mtime.seconds), (9, 1000), "what is there stays as it is");
    assert!(entries[1..].iter().all(|(entry, _)| entry.mtime.seconds == 5));
}

#[test]
fn hard_links_stay_links_to_the_first_name() {
    let mut case = case(&[], &[]);
    let mut files = FakeFiles::of(&["d/other=x"]);
    for name in ["d/z", "d/a", "d/m"] {
        let mut node = node(NodeKind::File(1), 0o644);
        node.link = Some((1, 2));
        files.put(name, node, "1");
    }
    case.files = Arc::new(files);
    let entries = case.entries("d", "/").unwrap();
    assert_eq!(brief(&entries), ["/a 644 1", "/m = /a", "/other 644 1", "/z = /a"]);
    assert!(matches!(entries[0].1, Data::File { .. }) && matches!(entries[1].1, Data::None));
}

#[test]
fn parents_are_made_as_they_were() {
    let mut case = case(&["out/x/"], &["x/y/f=1"]);
    let mut files = FakeFiles::of(&["x/y/f=1"]);
    files.change("x", |node| node.mode = 0o711);
    files.change("x/y", |node| node.mode = 0o722);
    case.files = Arc::new(files);
    let mut draft = Draft::new(&case.below, Attributes::default());
    for one in case.selected("x/y/f", true) {
        draft.copy(&one, "/out/").unwrap();
    }
    assert_eq!(brief(&finished(draft).unwrap()), ["/out/ 755", "/out/x/ 755", "/out/x/y/ 722", "/out/x/y/f 644 1"]);
}

#[test]
fn inline_files_and_working_directories() {
    let below = FakeFiles::of(&["there/", "link->/there", "file=x"]);
    let mut draft = Draft::new(&below, Attributes { owner: Some((3, 4)), ..Attributes::default() });
    draft.make_directory("/there").unwrap();
    draft.make_directory("/link").unwrap();
    assert!(draft.is_empty());
    draft.make_directory("/link/a/b").unwrap();
    assert!(draft.make_directory("/file").is_err());
    assert!(draft.make_directory("/file/x").is_err());
    draft.write("EOF", b"hi".to_vec(), "/there/").unwrap();
    draft.write("EOF", b"ho".to_vec(), "/there/name").unwrap();
    let entries = finished(draft).unwrap();
    assert_eq!(
        brief(&entries),
        ["/there/ 755", "/there/EOF 644 2", "/there/a/ 755", "/there/a/b/ 755", "/there/name 644 2"]
    );
    assert_eq!((entries[0].0.uid, entries[2].0.uid), (0, 3));
}

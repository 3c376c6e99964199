use std::fs as unix;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::files::{fake::path, resolve};

struct Case {
    directory: tempfile::TempDir,
    store: Store,
}

fn case(files: &[(&str, &str)]) -> Case {
    let directory = tempfile::tempdir().unwrap();
    let context = directory.path().join("context");
    unix::create_dir(&context).unwrap();
    for (name, text) in files {
        let file = context.join(name);
        unix::create_dir_all(file.parent().unwrap()).unwrap();
        unix::write(file, text).unwrap();
    }
    let store = Store::open(&directory.path().join("store")).unwrap();
    Case { directory, store }
}

impl Case {
    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join("context").join(name)
    }

    fn open(&self) -> BuildContext {
        BuildContext::open(&self.store, &self.at(""), "Buildfile", None).unwrap()
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let children = self.open().children(&path(directory)).unwrap();
        children.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
    }
}

#[test]
fn ignored_files_are_not_there() {
    let case = case(&[
        (".dockerignore", "*.log\nsecret\n!secret/public/*\nempty/x\n"),
        ("a.txt", "1"),
        ("b.log", "2"),
        ("secret/key", "3"),
        ("secret/public/cert", "4"),
        ("empty/x", "5"),
    ]);
    assert_eq!(case.names(""), [".dockerignore", "a.txt", "empty", "secret"]);
    assert_eq!(case.names("secret"), ["public"]);
    assert_eq!(case.names("secret/public"), ["cert"]);
    assert_eq!(case.names("empty"), [""; 0]);
    let context = case.open();
    assert!(context.node(&path("b.log")).unwrap().is_none() && context.hides(&path("b.log")));
    assert!(context.node(&path("secret/key")).unwrap().is_none() && !context.hides(&path("nothing")));
    assert!(context.node(&path("secret/public/cert")).unwrap().is_some());
}

#[test]
fn the_nearest_ignore_file_counts() {
    let case = case(&[(".dockerignore", "a"), ("a", ""), ("b", ""), ("c", "")]);
    assert_eq!(case.open().ignore_name(), Some(".dockerignore"));
    unix::write(case.at(".containerignore"), "b").unwrap();
    assert_eq!(case.names(""), [".containerignore", ".dockerignore", "a", "c"]);
    unix::write(case.at("Buildfile.dockerignore"), "c\n.*ignore\n*.dockerignore").unwrap();
    assert_eq!(case.names(""), ["a", "b"]);
    let given = BuildContext::open(&case.store, &case.at(""), "Buildfile", Some(b"**")).unwrap();
    assert!(given.children(&LayerPath::root()).unwrap().is_empty());
    assert!(BuildContext::open(&case.store, &case.at(""), "x", Some(b"[")).is_err());
}

#[test]
fn nothing_leads_out() {
    let case = case(&[("inside/file", "1")]);
    unix::write(case.directory.path().join("outside"), "secret").unwrap();
    symlink("../outside", case.at("up")).unwrap();
    symlink("/etc/passwd", case.at("absolute")).unwrap();
    symlink("..", case.at("parent")).unwrap();
    symlink("/inside", case.at("rooted")).unwrap();
    symlink("../../outside", case.at(".dockerignore")).unwrap();
    let refused = BuildContext::open(&case.store, &case.at(""), "Buildfile", None).unwrap_err().to_string();
    assert!(refused.contains(".dockerignore is a link that leads out"), "{refused}");
    unix::remove_file(case.at(".dockerignore")).unwrap();
    symlink("inside/file", case.at(".dockerignore")).unwrap();
    let context = case.open();
    assert_eq!(context.ignore_name(), Some(".dockerignore"), "a link within is followed");
    let leads_to = |name: &[u8]| resolve(&context, name).unwrap().map(|(path, _)| path.to_string());
    assert_eq!(leads_to(b"up"), None);
    assert_eq!(leads_to(b"absolute"), None);
    assert_eq!(leads_to(b"parent/outside"), None);
    assert_eq!(leads_to(b"parent/inside/file").as_deref(), Some("/inside/file"), "above the root is the root");
    assert_eq!(leads_to(b"rooted/file").as_deref(), Some("/inside/file"), "absolute links start at the root");
    // Even asked directly, past the resolver, the kernel refuses.
    assert!(context.open(&path("up")).is_err());
    assert!(context.open(&path("parent/outside")).is_err());
    assert!(context.children(&path("parent")).is_err());
}

#[test]
fn digests_are_remembered_and_checked() {
    let case = case(&[("old", "1"), ("new", "2")]);
    let context = case.open();
    let digest = |context: &BuildContext, name: &str| {
        let node = context.node(&path(name)).unwrap().unwrap();
        context.content(&path(name), &node).unwrap().digest
    };
    assert_eq!(digest(&context, "old"), Digest::of(b"1"));
    context.save(&case.store).unwrap();
    // Too young to be trusted: nothing was remembered, so that a change within one tick of the clock is seen.
    unix::write(case.at("old"), "3").unwrap();
    assert_eq!(digest(&case.open(), "old"), Digest::of(b"3"));

    std::thread::sleep(std::time::Duration::from_millis(3100));
    let context = case.open();
    assert_eq!(digest(&context, "old"), Digest::of(b"3"));
    context.save(&case.store).unwrap();
    let context = case.open();
    let stamp = Stamp::of(&fs::statat(&context.root, "old", AtFlags::SYMLINK_NOFOLLOW).unwrap());
    assert_eq!(context.lock_cache().get(b"old", &stamp).unwrap().digest, Digest::of(b"3"));
    // The same size and, set by hand, the same mtime: the change time gives it away.
    let modified = unix::metadata(case.at("old")).unwrap().modified().unwrap();
    unix::write(case.at("old"), "4").unwrap();
    File::options().write(true).open(case.at("old")).unwrap().set_modified(modified).unwrap();
    assert_eq!(digest(&case.open(), "old"), Digest::of(b"4"));
}

#[test]
fn a_file_that_changes_under_the_build_is_noticed() {
    let case = case(&[("a", "1")]);
    let context = case.open();
    let node = context.node(&path("a")).unwrap().unwrap();
    unix::write(case.at("a"), "longer").unwrap();
    assert!(context.content(&path("a"), &node).unwrap_err().to_string().contains("changed"));
    unix::remove_file(case.at("a")).unwrap();
    unix::create_dir(case.at("a")).unwrap();
    assert!(context.content(&path("a"), &node).is_err());
}

#[test]
fn kinds_and_modes() {
    let case = case(&[("script", "x"), ("twin", "y")]);
    unix::set_permissions(case.at("script"), PermissionsExt::from_mode(0o4755)).unwrap();
    unix::hard_link(case.at("twin"), case.at("brother")).unwrap();
    symlink("twin", case.at("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(case.at("socket")).unwrap();
    let context = case.open();
    let node = |name: &str| context.node(&path(name)).unwrap();
    assert_eq!(node("script").unwrap().mode, 0o4755);
    assert_eq!(node("link").unwrap().kind, NodeKind::Symlink(b"twin".to_vec()));
    assert!(node("twin").unwrap().link.is_some() && node("twin").unwrap().link == node("brother").unwrap().link);
    assert!(node("script").unwrap().link.is_none());
    assert!(node("socket").is_none(), "sockets are left out");
    assert!(node("").unwrap().is_directory() && node("script/x").is_none());
    let missing = BuildContext::open(&case.store, &case.at("nothing"), "x", None).unwrap_err();
    assert!(missing.to_string().contains("open the build context"));
}

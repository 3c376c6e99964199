use super::*;
use crate::files::fake::{FakeFiles, node};

fn tree(lines: &[&str]) -> Arc<dyn Files> {
    Arc::new(FakeFiles::of(lines))
}

/// What a source means: for a file its name, for a directory the paths in it.
fn names(files: &Arc<dyn Files>, source: &str, how: How<'_>) -> Vec<String> {
    let selected = select(files, source, how).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut out = Vec::new();
    for one in selected {
        if one.root.node.is_directory() {
            out.extend(one.inside.iter().map(|found| found.path.to_string()[1..].to_owned()));
        } else {
            out.push(String::from_utf8(one.name).unwrap());
        }
    }
    out
}

#[test]
fn plain_paths_directories_and_links() {
    let files = tree(&["a=1", "d/x=2", "d/y/z=3", "l->d", "f->d/x", "up->../../a", "loop->loop", "dead->none"]);
    let plain = |source: &str| names(&files, source, How::default());
    assert_eq!(plain("a"), ["a"]);
    assert_eq!(plain("/a"), ["a"]);
    assert_eq!(plain("./d/../a"), ["a"]);
    assert_eq!(plain("../a"), ["a"], "there is nothing above the root");
    assert_eq!(plain("d"), ["x", "y", "y/z"]);
    assert_eq!(plain("d/"), ["x", "y", "y/z"]);
    assert_eq!(plain("l"), ["x", "y", "y/z"], "links are followed");
    assert_eq!(plain("l/y/z"), ["z"]);
    assert_eq!(plain("f"), ["f"], "under the name that was written");
    assert_eq!(plain("up"), ["up"]);
    assert!(plain(".").contains(&"d/y/z".to_owned()));
    assert!(select(&files, "loop", How::default()).is_err());
    assert!(components("../a").1 && !components("d/../a").1 && components("d/../../a").1);
}

#[test]
fn missing_sources_are_guessed() {
    let files = tree(&["src/main.c=1", "README.md=2"]);
    let hint = |source: &str| match select(&files, source, How::default()) {
        Err(OpError::Advised { message, hint }) => format!("{message}; {hint}"),
        Err(error) => error.to_string(),
        Ok(_) => panic!("{source}"),
    };
    assert_eq!(hint("src/man.c"), "src/man.c not found in the fake; did you mean src/main.c?");
    assert_eq!(hint("nothing"), "nothing not found in the fake");
    assert_eq!(hint("README.md/x"), "README.md/x not found in the fake");
}

#[test]
fn patterns() {
    let files = tree(&["a.c=1", "b.c=2", "c.h=3", "d/a.c=4", "d/e/f.c=5", "l->d", "[x]=6", "dir.c/in=7", "la->a.c"]);
    let plain = |source: &str| names(&files, source, How::default());
    assert_eq!(plain("*.c"), ["a.c", "b.c", "in"], "a directory that matches stands for what is in it");
    assert_eq!(plain("?.h"), ["c.h"]);
    assert_eq!(plain("*/*.c"), ["a.c"]);
    assert_eq!(plain("*/*/*.c"), ["f.c"]);
    assert_eq!(plain("l/*.c"), ["a.c"], "links before the pattern are followed");
    assert_eq!(plain("l*"), ["a.c", "e", "e/f.c", "la"], "and those it matches");
    assert_eq!(plain("none*"), [""; 0]);
    assert_eq!(plain("none/*"), [""; 0]);
    assert_eq!(plain("[[]x]"), ["[x]"]);
    assert_eq!(plain("\\[x\\]"), ["[x]"]);
    assert!(select(&files, "[", How::default()).is_err());
}

#[test]
fn excludes() {
    let files = tree(&["a.txt=1", "b.c=2", "d/a.txt=3", "d/e/x.txt=4", "d/e/y.c=5", "d/only/t.txt=6"]);
    let with = |source: &str, exclude: &[&str]| {
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        names(&files, source, How { exclude: &exclude, parents: false })
    };
    assert_eq!(with("*", &["*.txt"]), ["b.c", "e", "e/x.txt", "e/y.c", "only", "only/t.txt"], "no slash is crossed");
    assert_eq!(with("d", &["**/*.txt"]), ["e", "e/y.c", "only"]);
    assert_eq!(with("d", &["e"]), ["a.txt", "only", "only/t.txt"]);
    assert_eq!(with("d", &["e", "!e/y.c"]), ["a.txt", "e", "e/y.c", "only", "only/t.txt"]);
    assert_eq!(with("a.txt", &["*.txt"]), [""; 0]);
}

#[test]
fn parents_keep_their_paths() {
    let files = tree(&["x/a/f.c=1", "x/a/f.h=2", "x/b/f.c=3", "x/c/d/f.c=4", "y=5", "l->x"]);
    let with = |source: &str| names(&files, source, How { exclude: &[], parents: true });
    assert_eq!(with("x/a/f.c"), ["x", "x/a", "x/a/f.c"]);
    assert_eq!(with("./x/./a/f.c"), ["a", "a/f.c"]);
    assert_eq!(with("x/*/f.c"), ["x", "x/a", "x/a/f.c", "x/b", "x/b/f.c"]);
    assert_eq!(with("x/**/*.c"), ["x", "x/a", "x/a/f.c", "x/b", "x/b/f.c", "x/c", "x/c/d", "x/c/d/f.c"]);
    assert_eq!(with("x/./**/f.h"), ["a", "a/f.h"]);
    assert_eq!(with("x/a"), ["x", "x/a", "x/a/f.c", "x/a/f.h"], "a directory comes with what is in it");
    assert_eq!(with("l/./b"), ["b", "b/f.c"], "links before the pivot are followed");
    assert_eq!(with("*.none"), [""; 0]);
    assert!(select(&files, "x/nope", How { exclude: &[], parents: true }).is_err());
    let selected = select(&files, "x/a/f.c", How { exclude: &[], parents: true }).unwrap();
    let only: Vec<bool> = selected[0].inside.iter().map(|found| found.only_parent).collect();
    assert_eq!(only, [true, true, false]);
}

fn digest_of(files: FakeFiles, source: &str) -> Digest {
    let files: Arc<dyn Files> = Arc::new(files);
    let mut selected = select(&files, source, How::default()).unwrap();
    hash(&mut selected, &Cancel::new()).unwrap();
    digest(&selected)
}

#[test]
fn the_digest_sees_everything_but_times() {
    let lines = ["d/a=1", "d/l->a", "d/e/b=2"];
    let base = digest_of(FakeFiles::of(&lines), "d");
    let changed = |change: fn(&mut FakeFiles)| {
        let mut files = FakeFiles::of(&lines);
        change(&mut files);
        digest_of(files, "d")
    };
    assert_eq!(base, changed(|files| files.change("d/a", |node| node.mtime.seconds += 1)));
    assert_eq!(base, changed(|files| files.change("d", |node| node.mode = 0o700)), "only what is in it is copied");
    let changes: [fn(&mut FakeFiles); 7] = [
        |files| files.change("d/a", |node| node.mode = 0o600),
        |files| files.change("d/e", |node| node.mode = 0o700),
        |files| files.change("d/a", |node| node.uid = 1),
        |files| files.change("d/a", |node| node.xattrs.push((b"user.x".to_vec(), b"1".to_vec()))),
        |files| files.change("d/l", |node| node.kind = NodeKind::Symlink(b"b".to_vec())),
        |files| files.put("d/new", node(NodeKind::File(0), 0o644), ""),
        |files| files.put("d/a", node(NodeKind::File(1), 0o644), "2"),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert_ne!(base, changed(change), "change {index}");
    }
}

#[test]
fn many_files_are_hashed_by_several_threads() {
    let lines: Vec<String> = (0..500).map(|n| format!("d/{n:04}={n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let files: Arc<dyn Files> = Arc::new(FakeFiles::of(&lines));
    let mut selected = select(&files, "d", How::default()).unwrap();
    hash(&mut selected, &Cancel::new()).unwrap();
    for (n, found) in selected[0].inside.iter().enumerate() {
        assert_eq!(found.content.as_ref().unwrap().digest, Digest::of(n.to_string().as_bytes()));
    }
    let cancelled = Cancel::new();
    cancelled.cancel();
    let mut selected = select(&files, "d", How::default()).unwrap();
    assert!(matches!(hash(&mut selected, &cancelled), Err(OpError::Cancelled)));
}

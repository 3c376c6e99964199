//! Copies out of and into folders and archives that somebody else prepared: what lies in the place of a file is a file or
//! is refused, nobody waits, what is announced is what comes, and nothing is written through a link of the target.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, makedev, mknodat};
use serde_json::{Value, json};

use crate::archive::{Layout, OCI_INDEX, OCI_MANIFEST, config, descriptor, digest, manifest, place};
use crate::case::{Case, Input, Outcome};
use crate::tar::Tar;

type Spoil = Box<dyn Fn(&Path)>;
type Steps = &'static [&'static [&'static str]];

const FROM_DIR: Steps = &[&["dir:{}/dir", "hostile"]];
const DIR_TO_LAYOUT: Steps = &[&["dir:{}/dir", "oci:{}/new"]];
const DIR_TO_ARCHIVE: Steps = &[&["dir:{}/dir", "oci-archive:{}/new.tar"]];
const FROM_LAYOUT: Steps = &[&["oci:{}/oci", "hostile"]];
const LAYOUT_TO_DIR: Steps = &[&["oci:{}/oci", "dir:{}/new"]];
const FROM_ARCHIVE: Steps = &[&["oci-archive:{}/oci.tar", "dir:{}/new"]];
const ALL_OF_DIR: Steps = &[&["--all", "dir:{}/dir", "dir:{}/new"]];
const ALL_OF_LAYOUT: Steps = &[&["--all", "oci:{}/oci", "oci:{}/new"]];
const INTO_DIR: Steps = &[&["oci:{}/oci", "dir:{}/dir"], &["dir:{}/dir", "hostile"]];
const INTO_LAYOUT: Steps = &[&["dir:{}/dir", "oci:{}/oci"], &["oci:{}/oci", "hostile"]];

fn layer() -> Vec<u8> {
    Tar::new().file("x", "x").end()
}

fn usual() -> (String, String) {
    let config = config(&[&layer()]);
    (manifest(&config, &[&layer()]).to_string(), config.to_string())
}

/// The usual image as a flat directory, a layout, and an archive of one.
fn ground(at: &Path) {
    let (manifest, config) = usual();
    let layout =
        Layout::new().blob(layer()).blob(&config).blob(&manifest).index(&[descriptor(OCI_MANIFEST, &manifest)]);
    fs::create_dir_all(at.join("dir")).unwrap();
    tar::Archive::new(layout.as_slice()).unpack(at.join("oci")).unwrap();
    fs::write(at.join("oci.tar"), layout).unwrap();
    fs::write(at.join("dir/version"), "Directory Transport Version: 1.1\n").unwrap();
    fs::write(at.join("dir/manifest.json"), &manifest).unwrap();
    for blob in [layer(), config.into_bytes()] {
        fs::write(at.join("dir").join(&digest(&blob)[7..]), blob).unwrap();
    }
}

fn row(name: &str, rule: &'static str, steps: Steps, words: &'static [&'static str], spoil: Spoil) -> Case {
    let make = move |at: &Path| {
        ground(at);
        spoil(at);
    };
    Case { name: name.to_owned(), rule, input: Input::Copies(Box::new(make), steps), outcome: Outcome::Refused(words) }
}

fn fine(name: &str, rule: &'static str, steps: Steps, spoil: Spoil) -> Case {
    let outcome = Outcome::Taken(vec!["f 644 0:0 1 x".to_owned()]);
    Case { outcome, ..row(name, rule, steps, &[], spoil) }
}

fn gone(path: &Path) {
    if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path).unwrap() } else { drop(fs::remove_file(path)) }
}

fn link(what: &str, to: &str) -> Spoil {
    let (what, to) = (what.to_owned(), to.to_owned());
    Box::new(move |at| {
        gone(&at.join(&what));
        symlink(&to, at.join(&what)).unwrap();
    })
}

fn node(what: &str, kind: FileType) -> Spoil {
    let what = what.to_owned();
    Box::new(move |at| {
        gone(&at.join(&what));
        // Were it opened and read, /dev/zero would never end.
        mknodat(CWD, at.join(&what), kind, 0o600.into(), makedev(1, 5)).unwrap();
    })
}

fn folder(what: &str) -> Spoil {
    let what = what.to_owned();
    Box::new(move |at| {
        gone(&at.join(&what));
        fs::create_dir(at.join(&what)).unwrap();
    })
}

fn text(what: &str, content: impl Into<Vec<u8>>) -> Spoil {
    let (what, content) = (what.to_owned(), content.into());
    Box::new(move |at| {
        gone(&at.join(&what));
        fs::write(at.join(&what), &content).unwrap();
    })
}

/// What is in `manifest.json` of the flat directory after `change` had a go at it.
fn changed(change: impl Fn(&mut Value)) -> Spoil {
    let mut value: Value = serde_json::from_str(&usual().0).unwrap();
    change(&mut value);
    text("dir/manifest.json", value.to_string())
}

/// An index as `manifest.json` of the flat directory.
fn index(entries: &[Value]) -> String {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }).to_string()
}

/// What is in `index.json` of the layout and its archive after `change` had a go at the one descriptor.
fn described(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut entry = descriptor(OCI_MANIFEST, usual().0);
    change(&mut entry);
    index(&[entry]).into_bytes()
}

/// The rows.
pub fn cases(canary: &str) -> Vec<Case> {
    let mut cases = vec![
        fine("plain-dir", "a well-formed folder is copied from", FROM_DIR, Box::new(|_| {})),
        fine("plain-oci", "and a layout", FROM_LAYOUT, Box::new(|_| {})),
        fine("plain-into-dir", "and copied over", INTO_DIR, Box::new(|_| {})),
        fine("plain-into-oci", "and added to", INTO_LAYOUT, Box::new(|_| {})),
    ];
    cases.extend(from_files(canary));
    cases.extend(from_documents());
    cases.extend(into(canary));
    cases
}

/// What lies in the place of a file.
fn from_files(canary: &str) -> Vec<Case> {
    let victim = format!("{canary}/victim");
    let (manifest, config) = usual();
    let (layer, config, manifest) = (place(layer()), place(config), place(manifest));
    let flat = |place: &str| format!("dir/{}", place.rsplit('/').next().unwrap());
    let within = |place: &str| format!("oci/{place}");
    let mut cases = Vec::new();
    for (name, what, steps) in [
        ("dir-manifest", "dir/manifest.json".to_owned(), FROM_DIR),
        ("dir-config", flat(&config), FROM_DIR),
        ("dir-layer", flat(&layer), FROM_DIR),
        ("dir-layer-to-oci", flat(&layer), DIR_TO_LAYOUT),
        ("dir-layer-to-archive", flat(&layer), DIR_TO_ARCHIVE),
        ("oci-index", "oci/index.json".to_owned(), FROM_LAYOUT),
        ("oci-manifest", within(&manifest), FROM_LAYOUT),
        ("oci-config", within(&config), LAYOUT_TO_DIR),
        ("oci-layer", within(&layer), LAYOUT_TO_DIR),
    ] {
        let mut add = |kind: &str, rule, spoil| cases.push(row(&format!("{name}-{kind}"), rule, steps, &[], spoil));
        add("link", "a copy follows no link of a folder", link(&what, &victim));
        add("link-zero", "also none to a device", link(&what, "/dev/zero"));
        add("fifo", "and waits at no pipe", node(&what, FileType::Fifo));
        add("device", "and reads no device", node(&what, FileType::CharacterDevice));
        add("directory", "a directory is no file", folder(&what));
        add("empty", "a file that is empty is none of what was announced", text(&what, ""));
        add("other", "nor is one with other bytes", text(&what, "{}"));
    }
    cases.push(row(
        "oci-blobs-link",
        "the folder of blobs of a layout is no link",
        FROM_LAYOUT,
        &["is no directory"],
        link("oci/blobs", canary),
    ));
    cases.push(row(
        "archive-is-directory-link",
        "an archive that is a link to a folder of anything is none",
        FROM_ARCHIVE,
        &["index.json"],
        link("oci.tar", canary),
    ));
    cases
}

/// Documents that lie, or are many, or large.
fn from_documents() -> Vec<Case> {
    let (usual, _) = usual();
    let entry = descriptor(OCI_MANIFEST, &usual);
    let own = format!("dir/{}.manifest.json", &digest(&usual)[7..]);
    let large = vec![b' '; 5 << 20];
    let archive = |index: Vec<u8>| text("oci.tar", Layout::new().blob(&usual).index_text(index));
    let size = |size: u64| described(|entry| entry["size"] = json!(size));
    let many = {
        let (usual, own, entry) = (usual.clone(), own.clone(), entry.clone());
        Box::new(move |at: &Path| {
            fs::write(at.join(&own), &usual).unwrap();
            fs::write(at.join("dir/manifest.json"), index(&vec![entry.clone(); 10_000])).unwrap();
        })
    };
    let innermost = usual.clone();
    let nested = Box::new(move |at: &Path| {
        let mut inner = innermost.clone();
        let mut kind = OCI_MANIFEST;
        for _ in 0..7 {
            fs::write(at.join(format!("dir/{}.manifest.json", &digest(&inner)[7..])), &inner).unwrap();
            inner = index(&[descriptor(kind, &inner)]);
            kind = OCI_INDEX;
        }
        fs::write(at.join("dir/manifest.json"), inner).unwrap();
    });
    let itself = |at: &Path| {
        // No document can hold its own digest; this one is said to have that of the one it lists.
        let wanted = digest("wanted");
        let text = index(&[json!({ "mediaType": OCI_INDEX, "digest": wanted, "size": 10 })]);
        fs::write(at.join("dir/manifest.json"), &text).unwrap();
        fs::write(at.join(format!("dir/{}.manifest.json", &wanted[7..])), &text).unwrap();
    };
    let up = |name: &str, rule, digest: &'static str| {
        row(name, rule, FROM_DIR, &["not a manifest"], changed(|value| value["layers"][0]["digest"] = json!(digest)))
    };
    vec![
        row(
            "dir-large",
            "a manifest has at most 4 MiB",
            FROM_DIR,
            &["larger than"],
            text("dir/manifest.json", large.clone()),
        ),
        row("oci-large", "and an index", FROM_LAYOUT, &["larger than"], text("oci/index.json", large.clone())),
        row("archive-large", "also in an archive", FROM_ARCHIVE, &["larger than"], archive(large)),
        row(
            "dir-deep",
            "deep JSON needs no deep stack here either",
            FROM_DIR,
            &["malformed"],
            text("dir/manifest.json", "[".repeat(1 << 20)),
        ),
        up("digest-up", "a digest in a folder is no path", "sha256:../../canary/victim"),
        up("digest-absolute", "also no absolute one", "/etc/passwd"),
        row(
            "oci-digest-up",
            "nor in a layout",
            FROM_LAYOUT,
            &["not a manifest"],
            text("oci/index.json", described(|entry| entry["digest"] = json!("sha256:../../../x"))),
        ),
        row(
            "oci-size",
            "a manifest is as large as its index says",
            FROM_LAYOUT,
            &["size"],
            text("oci/index.json", size(3)),
        ),
        row("archive-size", "also in an archive, to a copy", FROM_ARCHIVE, &["size"], archive(size(1 << 62))),
        row(
            "layer-size-small",
            "a layer is as large as the manifest says",
            FROM_DIR,
            &["17"],
            changed(|m| m["layers"][0]["size"] = json!(17)),
        ),
        row(
            "layer-size-large",
            "and not less",
            DIR_TO_LAYOUT,
            &["blob"],
            changed(|m| m["layers"][0]["size"] = json!(1_u64 << 50)),
        ),
        row(
            "layer-size-archive",
            "nor does an archive get padding for it",
            DIR_TO_ARCHIVE,
            &["blob"],
            changed(|m| m["layers"][0]["size"] = json!(1_u64 << 30)),
        ),
        row(
            "config-size",
            "a config is of bounded size",
            FROM_DIR,
            &["larger than"],
            changed(|m| m["config"]["size"] = json!(1_u64 << 40)),
        ),
        row(
            "manifests-many",
            "a copy of all has a bounded number of manifests",
            ALL_OF_DIR,
            &["more than 1000 manifests"],
            many,
        ),
        row(
            "index-itself",
            "an index that lists itself is another one than it says",
            ALL_OF_DIR,
            &["is another one"],
            Box::new(itself),
        ),
        row("nested", "a copy of all goes four indexes deep", ALL_OF_DIR, &["too deep"], nested.clone()),
        row("nested-one", "as the search for one image does", DIR_TO_LAYOUT, &["too deep"], nested),
        row(
            "manifest-and-index",
            "to a copy, too, a document is of one kind",
            ALL_OF_DIR,
            &["both"],
            changed(|m| m["manifests"] = json!([entry])),
        ),
        row(
            "oci-many",
            "a layout of many images and no name is no choice",
            ALL_OF_LAYOUT,
            &["has no image latest"],
            text("oci/index.json", index(&vec![descriptor(OCI_MANIFEST, "x"); 10_000])),
        ),
    ]
}

/// Targets that lead elsewhere.
fn into(canary: &str) -> Vec<Case> {
    let victim = format!("{canary}/victim");
    let blob = digest(layer())[7..].to_owned();
    let mut cases = Vec::new();
    for (name, what, steps) in [
        ("dir-manifest", "dir/manifest.json".to_owned(), INTO_DIR),
        ("dir-blob", format!("dir/{blob}"), INTO_DIR),
        ("oci-blob", format!("oci/blobs/sha256/{blob}"), INTO_LAYOUT),
    ] {
        let mut add = |kind: &str, rule, spoil| cases.push(fine(&format!("into-{name}-{kind}"), rule, steps, spoil));
        add("link", "a link in the target is replaced and not written through", link(&what, &victim));
        add("dangling", "also one that leads to nothing", link(&what, &format!("{canary}/planted")));
        add("fifo", "a pipe in the target is replaced and not waited at", node(&what, FileType::Fifo));
        add("device", "and a device not written to", node(&what, FileType::CharacterDevice));
        add("cut", "what is there of another size is not taken for the blob", text(&what, "x"));
    }
    let mut no =
        |name: &str, rule, steps, words, spoil| cases.push(row(&format!("into-{name}"), rule, steps, words, spoil));
    no(
        "dir-directory",
        "a directory in the place of a file stays",
        INTO_DIR,
        &["cannot write"],
        folder(&format!("dir/{blob}")),
    );
    no(
        "version-link",
        "what says that a folder is one is no link",
        INTO_DIR,
        &["holds something else"],
        link("dir/version", &victim),
    );
    no(
        "version-fifo",
        "and no pipe to wait at",
        INTO_DIR,
        &["holds something else"],
        node("dir/version", FileType::Fifo),
    );
    no(
        "mark-link",
        "nor is what says so of a layout",
        INTO_LAYOUT,
        &["holds something else"],
        link("oci/oci-layout", &victim),
    );
    no("mark-fifo", "or a pipe", INTO_LAYOUT, &["holds something else"], node("oci/oci-layout", FileType::Fifo));
    no(
        "blobs-link",
        "the folders of a layout are no links to elsewhere",
        INTO_LAYOUT,
        &["is no directory"],
        link("oci/blobs", canary),
    );
    no("sha256-link", "none of them", INTO_LAYOUT, &["is no directory"], link("oci/blobs/sha256", canary));
    no(
        "index-link",
        "the index that is added to is no link",
        INTO_LAYOUT,
        &["index.json"],
        link("oci/index.json", &victim),
    );
    no("index-fifo", "and no pipe", INTO_LAYOUT, &["index.json"], node("oci/index.json", FileType::Fifo));
    no("index-zero", "and no device", INTO_LAYOUT, &["index.json"], node("oci/index.json", FileType::CharacterDevice));
    no(
        "index-large",
        "and of bounded size",
        INTO_LAYOUT,
        &["larger than"],
        text("oci/index.json", vec![b' '; 5 << 20]),
    );
    cases
}

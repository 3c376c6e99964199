//! `img system check`: a table of damages, each planted in a store of its own kind and found by name; what `--repair` does about
//! it, and that it touches nothing else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::{Sandbox, tools};

/// What is left after `--repair` and, if something was lost, pulling and building again.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// Nothing was lost.
    Whole,
    /// An image was; what it needs comes back.
    Lost,
    /// What is a user's is not touched: the problem stays.
    Stays,
}

use After::{Lost, Stays, Whole};

/// The files that a case may damage.
struct Places {
    root: PathBuf,
    layer: PathBuf,
    base_layer: PathBuf,
    side: PathBuf,
    config: PathBuf,
    manifest: PathBuf,
    image: PathBuf,
    tag: PathBuf,
    container: PathBuf,
    volume: PathBuf,
    step: PathBuf,
    chain: PathBuf,
}

/// A damage: its name, how it is made, a word that the report must hold, whether `--quick` finds it, and what follows.
type Case = (&'static str, fn(&Places), &'static str, bool, After);

const CASES: &[Case] = &[
    ("a flipped byte in a layer's tar", |p| flip(&p.layer.join("tar")), "layer sha256:", false, Lost),
    ("a flipped byte in the tar of a pulled layer", |p| flip(&p.base_layer.join("tar")), "img pull", false, Lost),
    ("a cut tar", |p| cut(&p.layer.join("tar")), "layer sha256:", true, Lost),
    ("a longer tar", |p| longer(&p.layer.join("tar")), "layer sha256:", true, Lost),
    ("a missing tar", |p| fs::remove_file(p.layer.join("tar")).unwrap(), "layer sha256:", true, Lost),
    ("a missing layer", |p| fs::remove_dir_all(&p.layer).unwrap(), "is missing", true, Lost),
    ("a flipped byte in a table of contents", |p| flip(&p.layer.join("toc")), "toc", true, Whole),
    ("a missing table of contents", |p| fs::remove_file(p.layer.join("toc")).unwrap(), "toc", true, Whole),
    (
        "wrong facts of a layer",
        |p| replace(&p.layer.join("layer.json"), "\"entries\":", "\"entries\":1"),
        "layer.json",
        false,
        Whole,
    ),
    ("missing facts of a layer", |p| fs::remove_file(p.layer.join("layer.json")).unwrap(), "layer.json", true, Whole),
    ("a flipped byte in an EROFS image", |p| flip(&p.layer.join("erofs")), "metadata image", false, Whole),
    ("a missing EROFS image", |p| fs::remove_file(p.layer.join("erofs")).unwrap(), "metadata image", false, Whole),
    ("a flipped byte in a side file", |p| flip(&p.side), "metadata image", false, Whole),
    ("a missing side file", |p| fs::remove_file(&p.side).unwrap(), "metadata image", false, Whole),
    ("a flipped byte in a config", |p| flip(&p.config), "blob sha256:", true, Lost),
    ("a missing config", |p| fs::remove_file(&p.config).unwrap(), "config is missing", true, Lost),
    ("a flipped byte in a manifest", |p| flip(&p.manifest), "blob sha256:", false, Whole),
    ("a missing manifest", |p| fs::remove_file(&p.manifest).unwrap(), "manifest", true, Whole),
    ("a broken image record", |p| fs::write(p.image.join("record.json"), "{").unwrap(), "image sha256:", true, Lost),
    ("a broken tag", |p| fs::write(&p.tag, "{").unwrap(), "tag file", true, Lost),
    (
        "a tag under another's name",
        |p| assert!(fs::copy(&p.tag, p.root.join("refs").join("ab".repeat(32))).unwrap() > 0),
        "belongs elsewhere",
        true,
        Whole,
    ),
    ("a tag of an image that is not there", |p| replace_image_of_tag(&p.tag), "is missing", true, Lost),
    ("a broken step of the build cache", |p| fs::write(&p.step, "x").unwrap(), "build cache step", true, Whole),
    ("a flipped byte in a chain's image", |p| flip(&p.chain.join("erofs")), "chain sha256:", false, Whole),
    ("a chain without its list", |p| fs::remove_file(p.chain.join("layers")).unwrap(), "chain sha256:", true, Whole),
    (
        "a stray blob",
        |p| fs::write(p.root.join("blobs/sha256/readme"), "x").unwrap(),
        "blobs/sha256/readme",
        true,
        Whole,
    ),
    (
        "a blob under a wrong digest",
        |p| fs::write(p.root.join("blobs/sha256").join("cd".repeat(32)), "x").unwrap(),
        "blob sha256:cdcd",
        false,
        Whole,
    ),
    ("a stray file in a layer", |p| fs::write(p.layer.join("notes"), "x").unwrap(), "notes", true, Whole),
    ("a stray directory in the store", |p| fs::create_dir(p.root.join("old")).unwrap(), "file old", true, Whole),
    (
        "a link in place of a directory's file",
        |p| symlink("/etc/passwd", p.root.join("refs/x")).unwrap(),
        "refs/x",
        true,
        Whole,
    ),
    ("a missing directory", |p| fs::remove_dir_all(p.root.join("ingest")).unwrap(), "directory ingest", true, Whole),
    ("a store that others may enter", |p| mode(&p.root, 0o755), "others may enter", true, Whole),
    ("a tar that others may write", |p| mode(&p.layer.join("tar"), 0o666), "mode 666", true, Whole),
    ("a tag that its owner may not read", |p| mode(&p.tag, 0o000), "mode 0", true, Whole),
    ("a setuid blob", |p| mode(&p.config, 0o4600), "mode 4600", true, Whole),
    (
        "a blob of another user",
        |p| std::os::unix::fs::chown(&p.config, Some(1000), None).unwrap(),
        "belongs to user 1000",
        true,
        Whole,
    ),
    (
        "a broken container record",
        |p| fs::write(p.container.join("record.json"), "{").unwrap(),
        "container ",
        true,
        Stays,
    ),
    (
        "a container without its files",
        |p| fs::remove_dir_all(p.container.join("rw")).unwrap(),
        "container box",
        true,
        Stays,
    ),
    ("a broken volume record", |p| fs::write(p.volume.join("record.json"), "{").unwrap(), "volume ", true, Stays),
    (
        "a container's name that is lost",
        |p| fs::remove_file(p.root.join("containers/names/box")).unwrap(),
        "not reserved",
        true,
        Whole,
    ),
    (
        "a name that means nothing",
        |p| symlink("nothing", p.root.join("containers/names/odd")).unwrap(),
        "name odd",
        true,
        Whole,
    ),
];

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 700]).unwrap();
}

fn longer(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.extend([0; 512]);
    fs::write(path, bytes).unwrap();
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn replace_image_of_tag(path: &Path) {
    let tag: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let image = tag["image"].as_str().unwrap();
    replace(path, image, &format!("sha256:{}", "ef".repeat(32)));
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const BUILDFILE: &str = "FROM busybox\nRUN mkdir -p /d && head -c 90000 /dev/urandom > /d/f\n\
                         RUN ln /d/f /d/g && echo 1 > /d/h\n";

/// A pulled image, a built one, a container of the second, and a volume.
fn fill(sandbox: &Sandbox) -> Places {
    sandbox.pull("busybox");
    sandbox.build("context", "app", BUILDFILE).ok();
    // It has sparse files, and links to files of lower layers: what takes a side file and a chain.
    sandbox.pull("odd");
    sandbox.ok(&["run", "--rm", "--network", "none", "odd", "true"]);
    sandbox.ok(&["run", "--name", "box", "--network", "none", "-v", "data:/data", "app", "true"]);
    let root = sandbox.root();
    let id =
        |name: &str, key: &str| sandbox.inspect(name)[key].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let layers = sandbox.inspect("app")["RootFS"]["Layers"].clone();
    let layer = |at: usize| root.join("layers/sha256").join(layers[at].as_str().unwrap().trim_start_matches("sha256:"));
    let image = id("app", "Id");
    let record = fs::read_to_string(root.join("images").join(id("busybox", "Id")).join("record.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let manifest = record["manifests"][0].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let with = |folder: &str, word: &str| {
        let mut found = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(word))).unwrap()
    };
    let mut chain = fs::read_dir(root.join("chains")).unwrap().map(|entry| entry.unwrap().path());
    Places {
        layer: layer(1),
        base_layer: layer(0),
        side: tools::run("find", [&*root.join("layers").to_string_lossy(), "-name", "side"]).word().into(),
        config: root.join("blobs/sha256").join(&image),
        manifest: root.join("blobs/sha256").join(manifest),
        image: root.join("images").join(&image),
        tag: with("refs", "library/app:latest"),
        container: root.join("containers").join(sandbox.inspect("box")["Id"].as_str().unwrap()),
        volume: {
            let place = tools::run("find", [&*root.join("volumes").to_string_lossy(), "-name", "record.json"]).word();
            Path::new(&place).parent().unwrap().to_path_buf()
        },
        step: with("cache/steps", "/dev/urandom"),
        chain: chain.find(|path| path.join("erofs").exists()).unwrap_or_default(),
        root,
    }
}

#[test]
fn every_planted_damage_is_found_and_repair_removes_only_that() {
    let sandbox = Sandbox::new();
    let places = fill(&sandbox);
    sandbox.ok(&["system", "check"]);
    // The original is kept beside the store, and put back for each case.
    let (root, original) = (sandbox.text("root"), sandbox.text("original"));
    tools::run("cp", ["-a", &root, &original]);
    let mut wrong = Vec::new();
    for (name, damage, word, quick, after) in CASES {
        sandbox.ok(&["system", "unmount"]);
        tools::run("rm", ["-rf", &root]);
        tools::run("cp", ["-a", &original, &root]);
        damage(&places);
        let mut expect = |what: &str, right: bool, out: &crate::support::Out| {
            if !right {
                wrong.push(format!("{name}: {what}\n{out}"));
            }
        };
        let fast = sandbox.img(&["system", "check", "--quick"]);
        expect("--quick", (fast.code() == 1) == *quick, &fast);
        let found = sandbox.img(&["system", "check", "--format", "json"]);
        let text = found.json()["Problems"].to_string();
        expect("found", found.code() == 1 && text.contains(word), &found);
        if *after == Lost {
            expect(
                "the image that needs it is named",
                text.contains("app:latest") || text.contains("tag file"),
                &found,
            );
        }
        let before = sandbox.store_picture();
        let repaired = sandbox.img(&["system", "check", "--repair"]);
        expect("repaired", (repaired.code() == 0) == (*after != Stays) || *after == Lost, &repaired);
        if *after == Stays {
            expect("untouched", sandbox.store_picture() == before, &repaired);
            continue;
        }
        if *after == Lost {
            // Its container has lost the image, so that goes; then all comes back.
            sandbox.ok(&["rm", "--force", "box"]);
            sandbox.pull("busybox");
            sandbox.build("context", "app", BUILDFILE).ok();
        }
        let again = sandbox.img(&["system", "check"]);
        expect("clean after it", again.code() == 0, &again);
        let runs = sandbox.img(&["run", "--rm", "--network", "none", "app", "cat", "/d/h"]);
        expect("usable after it", runs.stdout() == "1\n", &runs);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    tools::run("rm", ["-rf", &root]);
    tools::run("cp", ["-a", &original, &root]);
}

#[test]
fn what_was_lost_is_named_with_who_needs_it_and_comes_back() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["create", "--name", "box", "busybox", "true"]);
    let layer =
        sandbox.inspect("busybox")["RootFS"]["Layers"][0].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    flip(&sandbox.root().join("layers/sha256").join(layer).join("tar"));
    let told = sandbox.img(&["system", "check"]);
    told.exits(1).prints(&["needed by the images busybox", "needed by the containers box", "img pull busybox"]);
    sandbox.img(&["system", "check", "--repair"]).prints(&["(removed)", "container box: "]);
    assert_eq!(sandbox.ok(&["images", "-q"]), "");
    // The container's own files are as they were; with the image it works again.
    sandbox.pull("busybox");
    sandbox.ok(&["system", "check"]);
    sandbox.ok(&["start", "-a", "box"]);
}

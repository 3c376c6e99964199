//! What a build gives beside the image in the store: files, tars, archives and pushes, as other people's tools read them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::{Registry, Sandbox, tools};

const BUILDFILE: &str = "FROM busybox AS all\nCOPY --chown=7:8 --chmod=640 a /a\n\
    RUN ln /a /b && mkdir -p /x/y && ln -s ../a /x/l && chmod 1777 /x/y && cp /a /s && chmod 4755 /s\n\
    FROM scratch AS files\nCOPY --from=all /a /b /s /x /out/\n";

fn sha256(bytes: &[u8]) -> String {
    store::Digest::of(bytes).hex()
}

fn prepared() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.write("context/a", "data\n");
    sandbox.write("context/Buildfile", BUILDFILE);
    let context = sandbox.text("context");
    (sandbox, context)
}

#[test]
fn local_gives_the_files_to_whoever_builds() {
    let (sandbox, context) = prepared();
    sandbox.write("out/before", "stays\n");
    let out = sandbox.text("out");
    sandbox.img(&["build", "--target", "all", "-o", &out, &context]).ok();
    let about = |name: &str| std::fs::symlink_metadata(sandbox.path("out").join(name)).unwrap();
    assert!(about("before").is_file(), "what is there stays");
    assert_eq!(std::fs::read_to_string(sandbox.path("out/b")).unwrap(), "data\n");
    assert_eq!((about("a").uid(), about("a").gid(), about("a").mode() & 0o7777), (0, 0, 0o640));
    assert_eq!(about("a").ino(), about("b").ino(), "links stay links");
    assert_eq!(about("x/y").permissions().mode() & 0o7777, 0o1777);
    assert!(about("x/l").file_type().is_symlink());
    let source = std::fs::metadata(sandbox.path("context/a")).unwrap();
    assert_eq!((about("a").mtime(), about("a").mtime_nsec()), (source.mtime(), source.mtime_nsec()));
    assert!(about("s").mode() & 0o4000 != 0, "root's own set-user-id files stay that");
    // With mode=delete nothing stays that is not in the image, whatever it is, and nothing behind a link is touched.
    sandbox.write("elsewhere/kept", "");
    sandbox.write("out/x/more/deep", "");
    std::os::unix::fs::symlink(sandbox.path("elsewhere"), sandbox.path("out/x/away")).unwrap();
    std::fs::remove_file(sandbox.path("out/b")).unwrap();
    sandbox.write("out/b/was/a-file", "");
    sandbox.img(&["build", "--target", "all", "-o", &out, &context]).refuses(1, &["/out"]);
    sandbox.img(&["build", "--target", "all", "-o", &format!("type=local,dest={out},mode=delete"), &context]).ok();
    let there = |name: &str| std::fs::symlink_metadata(sandbox.path("out").join(name)).is_ok();
    assert!(!there("before") && !there("x/more") && !there("x/away") && there("x/y") && about("b").is_file());
    assert!(sandbox.path("elsewhere/kept").exists());
    // A file of somebody else would become a program that runs as root.
    sandbox.write("context/Buildfile", "FROM busybox\nCOPY --chown=7 --chmod=4755 a /a\n");
    sandbox.img(&["build", "-o", &sandbox.text("other"), &context]).ok();
    assert_eq!(std::fs::metadata(sandbox.path("other/a")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(std::fs::metadata(sandbox.path("other")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn tar_has_owners_and_goes_to_a_pipe() {
    let (sandbox, context) = prepared();
    let file = sandbox.text("files.tar");
    sandbox.img(&["build", "--target", "files", "-o", &format!("type=tar,dest={file}"), &context]).ok();
    let piped = sandbox.img(&["build", "--target", "files", "-o", "-", &context]);
    assert_eq!(piped.ok().bytes(), std::fs::read(&file).unwrap(), "nothing but the tar, and the same one");
    let listed = tools::run("tar", ["--numeric-owner", "-tvf", &file]);
    let listed = listed.stdout();
    let a = listed.lines().find(|line| line.ends_with(" out/a")).unwrap();
    assert!(a.starts_with("-rw-r-----") && a.contains(" 7/8 "), "{a}");
    tools::untar(&sandbox.path("files.tar"), &sandbox.path("tree"));
    assert_eq!(std::fs::read_to_string(sandbox.path("tree/out/b")).unwrap(), "data\n");
}

#[test]
fn archives_are_read_by_skopeo() {
    let (sandbox, context) = prepared();
    for (kind, transport, compression, suffix) in [
        ("oci", "oci-archive", "zstd", "tar+zstd"),
        ("oci", "oci-archive", "gzip", "tar+gzip"),
        ("oci", "oci-archive", "uncompressed", "v1.tar"),
        ("docker", "docker-archive", "gzip", ""),
    ] {
        let file = sandbox.text(&format!("{kind}-{compression}.tar"));
        let output = format!("type={kind},dest={file},compression={compression},name=example.com/app:1");
        let id = sandbox.img(&["build", "--target", "all", "-o", &output, &context]).ok().word();
        let from = format!("{transport}:{file}");
        let config = tools::run("skopeo", ["inspect", "--config", "--raw", &from]);
        assert_eq!(sha256(config.bytes()), id.trim_start_matches("sha256:"), "{output}");
        let raw = tools::run("skopeo", ["inspect", "--raw", &from]).json();
        let layers = raw["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 3, "{raw}");
        for layer in layers {
            assert!(layer["mediaType"].as_str().unwrap().ends_with(suffix), "{output}: {layer}");
        }
        tools::run(
            "skopeo",
            ["copy", "--quiet", &from, &format!("dir:{}", sandbox.text(&format!("d-{kind}{compression}")))],
        );
        sandbox.sibling().img(&["load", "-i", &file]).ok().prints(&["app:1"]);
    }
}

#[test]
fn push_with_annotations_and_what_the_metadata_says() {
    let registry = Registry::fresh();
    let (mut sandbox, context) = prepared();
    sandbox.trust(&registry);
    let name = registry.name("app:1");
    let facts = sandbox.text("facts.json");
    let words = ["build", "--target", "all", "-t", &name, "--push", "--annotation", "org.example.a=b=c"];
    let more = ["--annotation", "manifest-descriptor:x=y", "--metadata-file", &facts, &context];
    let out = sandbox.img(&[&words[..], &more[..]].concat());
    out.ok().says(&["pushed", &name]);
    let from = format!("docker://{name}");
    let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &from]);
    let manifest = raw.json();
    assert_eq!(manifest["annotations"]["org.example.a"], "b=c", "{manifest}");
    assert!(manifest["annotations"]["x"].is_null(), "{manifest}");
    let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(&facts).unwrap()).unwrap();
    let digest = format!("sha256:{}", sha256(raw.bytes()));
    assert_eq!(facts["containerimage.digest"], *digest);
    assert_eq!(facts["containerimage.descriptor"]["size"], raw.bytes().len());
    assert_eq!(facts["containerimage.descriptor"]["annotations"]["x"], "y");
    assert_eq!(facts["containerimage.config.digest"], *out.word());
    assert_eq!(facts["image.name"], *name);

    // A later push of the image keeps them; a build without them does not.
    sandbox.ok(&["tag", &name, &registry.name("again:1")]);
    sandbox.img(&["push", &registry.name("again:1")]).ok().prints(&[&digest]);
    sandbox.img(&["build", "--target", "all", "-t", &name, "--push", &context]).ok();
    let manifest = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &from]).json();
    assert!(manifest["annotations"].is_null(), "{manifest}");
}

#[test]
fn annotations_of_an_index_make_one() {
    let registry = Registry::fresh();
    let (mut sandbox, context) = prepared();
    sandbox.trust(&registry);
    let (name, facts, archive) = (registry.name("app:1"), sandbox.text("facts.json"), sandbox.text("app.tar"));
    let oci = format!("type=oci,dest={archive},annotation-index-descriptor.own=output");
    let words = ["build", "--target", "all", "-t", &name, "--metadata-file", &facts, "--annotation", "index:i=1"];
    let more = ["--annotation", "manifest-descriptor,manifest:m=2", "--annotation", "index-descriptor:d=3"];
    sandbox.img(&[&words[..], &more, &["-o", &oci, "--push", &context]].concat()).ok();
    // In the registry the name is the index's, and what it lists is there.
    let inspect = |name: &str| tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", name]);
    let raw = inspect(&format!("docker://{name}"));
    let index = raw.json();
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(index["annotations"], serde_json::json!({ "i": "1" }));
    let entry = &index["manifests"][0];
    assert_eq!((&entry["annotations"]["m"], &entry["platform"]["os"]), (&"2".into(), &"linux".into()), "{entry}");
    let by_digest = format!("docker://{}@{}", name.rsplit_once(':').unwrap().0, entry["digest"].as_str().unwrap());
    assert_eq!(inspect(&by_digest).json()["annotations"]["m"], "2");
    let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(&facts).unwrap()).unwrap();
    assert_eq!(facts["containerimage.digest"], format!("sha256:{}", sha256(raw.bytes())));
    // In the archive, with those of that output alone.
    std::fs::create_dir(sandbox.path("layout")).unwrap();
    tools::untar(archive.as_ref(), &sandbox.path("layout"));
    let listed: serde_json::Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("layout/index.json")).unwrap()).unwrap();
    let line = &listed["manifests"][0];
    assert_eq!((&line["annotations"]["d"], &line["annotations"]["own"]), (&"3".into(), &"output".into()), "{line}");
    assert!(line["annotations"]["m"].is_null() && line["platform"].is_null(), "{line}");
    let blob = line["digest"].as_str().unwrap().replace("sha256:", "layout/blobs/sha256/");
    let inner: serde_json::Value = serde_json::from_slice(&std::fs::read(sandbox.path(blob)).unwrap()).unwrap();
    assert_eq!((&inner["annotations"]["i"], &inner["manifests"][0]["annotations"]["m"]), (&"1".into(), &"2".into()));
    // Both are read again, by others and by us.
    tools::run("skopeo", ["inspect", &format!("oci-archive:{archive}")]).ok().prints(&["Layers"]);
    for words in [["load", "-i", &archive], ["pull", "--quiet", &name]] {
        let mut other = sandbox.sibling();
        other.trust(&registry);
        other.img(&words).ok();
        assert_eq!(other.inspect(&name)["Id"], sandbox.inspect(&name)["Id"], "{words:?}");
    }
    // The annotated index is not what another build of the same image has.
    sandbox.img(&["build", "--target", "all", "-t", &name, "--push", &context]).ok();
    assert!(inspect(&format!("docker://{name}")).json()["config"].is_object());
}

#[test]
fn pushed_layers_are_compressed_as_asked() {
    let registry = Registry::fresh();
    let (mut sandbox, context) = prepared();
    sandbox.trust(&registry);
    let types = |output: &str| {
        sandbox.img(&["build", "--target", "all", "-o", output, &context]).ok();
        let name = output.split("name=").nth(1).unwrap().split(',').next().unwrap().to_owned();
        let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]).json();
        let layers: Vec<String> =
            raw["layers"].as_array().unwrap().iter().map(|l| l["mediaType"].as_str().unwrap().to_owned()).collect();
        (raw["mediaType"].as_str().unwrap().to_owned(), layers)
    };
    let (_, layers) = types(&format!("type=registry,name={},compression=zstd", registry.name("z:1")));
    assert!(layers[2].ends_with("zstd"), "{layers:?}");
    let (_, layers) =
        types(&format!("type=registry,name={},compression=zstd,force-compression=true", registry.name("z:2")));
    assert!(layers.iter().all(|layer| layer.ends_with("zstd")), "the base's too: {layers:?}");
    let form = "compression=gzip,force-compression=true,oci-mediatypes=false";
    let (kind, layers) = types(&format!("type=image,name={},push=true,{form}", registry.name("d:1")));
    assert!(kind.contains("docker.distribution"), "{kind}");
    assert!(layers.iter().all(|layer| layer.contains("docker.image.rootfs")), "{layers:?}");
}

#[test]
fn refusals_come_before_any_step_runs() {
    let (sandbox, context) = prepared();
    sandbox.write("file", "");
    let file = sandbox.text("file");
    let tar = format!("type=tar,dest={context}");
    let nowhere = format!("type=oci,dest={}", sandbox.text("no/such/folder.tar"));
    for (flags, words) in [
        (vec!["-o", &file], "is a file"),
        (vec!["-o", &tar], "is a directory"),
        (vec!["-o", &nowhere], "does not exist"),
        (vec!["--push"], "needs a name"),
        (vec!["--push", "--load", "-t", "x"], "two different"),
        (vec!["-o", "-", "-o", "type=oci"], "only one output"),
        (vec!["-o", "type=wrong"], "no output of type"),
        (vec!["--annotation", "novalue"], "KEY=VALUE"),
        (vec!["--rewrite-timestamp"], "SOURCE_DATE_EPOCH"),
    ] {
        let out = sandbox.img(&[&["build"][..], &flags, &[context.as_str()]].concat());
        out.refuses(125, &[words]);
        assert!(!out.stderr().contains("FROM"), "{out}");
    }
}

#[test]
fn an_image_that_only_an_export_wanted_does_not_stay() {
    let (sandbox, context) = prepared();
    let archive = format!("type=oci,dest={}", sandbox.text("app.tar"));
    let files = sandbox.text("files");
    let inline = ["--cache-to", "type=inline"];
    let images = || sandbox.ok(&["images", "-q", "-a"]).lines().count();
    // The base image comes with the first build.
    sandbox.img(&["build", "-o", "type=cacheonly", &context]).ok();
    let base = images();
    for flags in
        [&["-o", "type=cacheonly"][..], &["-o", &files], &["-o", &archive], &["-o", &archive, inline[0], inline[1]]]
    {
        let id = sandbox.img(&[&["build"], flags, &[context.as_str()]].concat()).ok().word();
        assert_eq!(images(), base, "{flags:?}");
        sandbox.img(&["inspect", &id]).refuses(1, &[&id]);
    }
    // Whoever wants it has it, and whoever had it keeps it.
    let id = sandbox.img(&["build", "--load", "-o", &archive, &context]).ok().word();
    assert_eq!(images(), base + 1);
    sandbox.img(&["build", "-o", &archive, &context]).ok();
    assert_eq!((images(), &sandbox.inspect(&id)["Id"]), (base + 1, &id.as_str().into()));
    // With its cache inside it is another image, and only one of the two was asked for.
    sandbox.img(&["build", "-t", "inline", inline[0], inline[1], "--label", "x=y", &context]).ok();
    assert_eq!(images(), base + 2);
    sandbox.assert_usable();
}

#[test]
fn cacheonly_and_load_change_nothing_else() {
    let (sandbox, context) = prepared();
    sandbox.img(&["build", "-o", "type=cacheonly", &context]).ok();
    let again = sandbox.img(&["build", "--load", "-t", "app", &context]);
    assert!(again.ok().stderr().matches("CACHED").count() >= 3, "{again}");
}

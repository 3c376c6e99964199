//! An image keeps the digest it came with: its compressed layers are mounted, streamed from where they came, or taken from
//! the store. What is out of reach is said, and only `--recompress` changes the digest.

use crate::support::tools;
use crate::support::{Registry, Sandbox, images};

/// The digest that a registry has under a name, as skopeo sees it.
fn digest_of(name: &str) -> String {
    let reference = format!("docker://{name}");
    tools::run("skopeo", ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &reference]).word()
}

/// How many blobs a store keeps that are as large as a layer.
fn large_blobs(sandbox: &Sandbox) -> usize {
    let entries = std::fs::read_dir(sandbox.root().join("blobs/sha256")).unwrap();
    entries.flatten().filter(|entry| entry.metadata().unwrap().len() > 100_000).count()
}

/// Two empty registries, and a store that speaks with both.
fn ground() -> (Registry, Registry, Sandbox) {
    let (first, second) = (Registry::fresh(), Registry::fresh());
    let mut sandbox = Sandbox::new();
    sandbox.trust(&first);
    sandbox.trust(&second);
    (first, second, sandbox)
}

#[test]
fn a_pulled_image_keeps_its_digest_wherever_it_is_pushed() {
    let (first, second, sandbox) = ground();
    let name = first.put("odd", "team/odd:1");
    let digest = digest_of(&name);
    sandbox.ok(&["pull", &name]);
    assert_eq!(large_blobs(&sandbox), 0, "what can be fetched again is not kept");

    // The same place, another repository of the same registry, another registry.
    assert_eq!(sandbox.ok(&["push", "-q", &name]), digest);
    let before = first.blobs().len();
    let moved = first.name("other/odd:2");
    sandbox.img(&["push", &name, &moved]).ok().prints(&[&digest]);
    assert_eq!(digest_of(&moved), digest);
    assert_eq!(first.blobs().len(), before, "mounted, not sent");
    let far = second.name("far/odd:3");
    assert_eq!(sandbox.ok(&["push", "-q", &name, &far]), digest);
    assert_eq!(digest_of(&far), digest);
    // Nothing was wrong on the way: another store pulls it from there and runs what it should.
    let mut other = sandbox.sibling();
    other.trust(&second);
    other.ok(&["pull", &far]);
    assert_eq!(other.inspect(&far)["Id"], sandbox.inspect(&name)["Id"]);
    assert_eq!(large_blobs(&sandbox), 0);
}

#[test]
fn what_is_out_of_reach_is_said_and_compressed_anew_on_demand() {
    let (mut first, second, sandbox) = ground();
    let name = first.put("busybox", "team/busybox:1");
    let digest = digest_of(&name);
    sandbox.ok(&["pull", &name]);
    first.stop();

    let far = second.name("far/busybox:1");
    let words = ["out of reach", &digest, "will change", "--recompress"];
    sandbox.img(&["push", &name, &far]).refuses(1, &words).hints();
    let archive = sandbox.text("busybox.tar");
    sandbox.img(&["save", "-o", &archive, &name]).refuses(1, &words).says(&["--uncompressed"]);
    assert!(!std::path::Path::new(&archive).exists());

    let pushed = sandbox.ok(&["push", "-q", "--recompress", &name, &far]);
    assert_ne!(pushed, digest);
    assert_eq!(digest_of(&far), pushed);
    // It is remembered: the second push finds the blobs, and an archive has that manifest.
    sandbox.img(&["push", "--recompress", &name, &far]).ok().prints(&[&pushed]).says(&["Layer already exists"]);
    sandbox.ok(&["save", "--recompress", "-o", &archive, &name]);
    let raw = tools::run("skopeo", ["inspect", "--raw", &format!("oci-archive:{archive}")]).json();
    assert!(raw["layers"][0]["mediaType"].as_str().unwrap().contains("gzip"), "{raw}");

    // Nobody is asked for what is written as it is here.
    for flags in [&["--uncompressed"][..], &["--format", "docker-archive"]] {
        let plain = sandbox.text("plain.tar");
        sandbox.ok(&[&["save", "-o", &plain][..], flags, &[&name]].concat());
        let other = sandbox.sibling();
        other.ok(&["load", "-q", "-i", &plain]);
        assert_eq!(other.inspect(&name)["Id"], sandbox.inspect(&name)["Id"]);
    }
}

#[test]
fn what_is_kept_needs_no_registry() {
    let (mut first, second, sandbox) = ground();
    let name = first.put("busybox", "team/busybox:1");
    let digest = digest_of(&name);
    // Also for layers that are here already.
    sandbox.ok(&["pull", "-q", &name]);
    sandbox.ok(&["pull", "-q", "--keep-compressed=always", &name]);
    assert_eq!(large_blobs(&sandbox), 1);
    sandbox.img(&["pull", "--keep-compressed=always", &name]).ok().says(&["Already exists"]);
    sandbox.img(&["pull", "--keep-compressed=sometimes", &name]).refuses(125, &["sometimes"]);
    first.stop();

    assert_eq!(sandbox.ok(&["push", "-q", &name, &second.name("far/busybox:1")]), digest);
    let archive = sandbox.text("busybox.tar");
    sandbox.ok(&["save", "-o", &archive, &name]);
    assert_eq!(
        tools::run("skopeo", ["inspect", "--format", "{{.Digest}}", &format!("oci-archive:{archive}")]).word(),
        digest
    );
    // Collected with the image, not before.
    sandbox.ok(&["image", "prune", "-f"]);
    assert_eq!(large_blobs(&sandbox), 1);
    sandbox.img(&["system", "check"]).ok();
    sandbox.ok(&["rmi", &name]);
    sandbox.ok(&["system", "prune", "-f"]);
    assert_eq!(large_blobs(&sandbox), 0);

    // By the configuration, in an image that a command pulls on its own.
    let config = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
    std::fs::write(sandbox.path("config.toml"), format!("keep-compressed = \"always\"\n{config}")).unwrap();
    sandbox.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    assert_eq!(large_blobs(&sandbox), 1);
}

#[test]
fn an_archive_is_kept_by_digest_unless_a_registry_has_it() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let layout = images::layout("busybox").display().to_string();
    let digest = tools::run("skopeo", ["inspect", "--format", "{{.Digest}}", &format!("oci:{layout}:latest")]).word();
    let archive = sandbox.text("made.tar");
    let to = format!("oci-archive:{archive}:docker.io/made/by-skopeo:1");
    tools::run("skopeo", ["copy", "--quiet", &format!("oci:{layout}:latest"), &to]);

    let never = sandbox.sibling();
    never.ok(&["load", "-q", "--keep-compressed=never", "-i", &archive]);
    assert_eq!(large_blobs(&never), 0);
    sandbox.ok(&["load", "-q", "-i", &archive]);
    assert_eq!(large_blobs(&sandbox), 1, "nobody else has these bytes");
    let name = registry.name("made/by-skopeo:1");
    assert_eq!(sandbox.ok(&["push", "-q", "made/by-skopeo:1", &name]), digest);
    // Out again and in elsewhere, from whichever form: the digest stays.
    let again = sandbox.text("again.tar");
    sandbox.ok(&["save", "-o", &again, "made/by-skopeo:1"]);
    let other = sandbox.sibling();
    other.ok(&["load", "-q", "-i", &again]);
    assert_eq!(other.ok(&["images", "--digests", "--format", "{{.Digest}}", "made/by-skopeo"]), digest);
    // From here on a registry has it.
    let mut third = sandbox.sibling();
    third.trust(&registry);
    third.ok(&["pull", "-q", &name]);
    third.ok(&["load", "-q", "-i", &archive]);
    assert_eq!(large_blobs(&third), 0);
}

/// The image that was pulled says where the layer is to be had; the loaded one must know it when that one is gone.
#[test]
fn a_loaded_image_knows_where_its_layers_are_when_the_pulled_one_is_gone() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let name = registry.put("busybox", "team/base:1");
    sandbox.ok(&["pull", "-q", &name]);
    let layout = sandbox.text("layout");
    let derived = format!("oci:{layout}:latest");
    tools::run("skopeo", ["copy", "--quiet", &format!("oci:{}:latest", images::layout("busybox").display()), &derived]);
    tools::run("umoci", ["config", "--image", &format!("{layout}:latest"), "--config.label", "derived=yes"]);
    let digest = tools::run("skopeo", ["inspect", "--format", "{{.Digest}}", &derived]).word();
    let archive = sandbox.text("derived.tar");
    let to = format!("oci-archive:{archive}:docker.io/made/derived:1");
    tools::run("skopeo", ["copy", "--quiet", &derived, &to]);

    sandbox.ok(&["load", "-q", "-i", &archive]);
    assert_eq!(large_blobs(&sandbox), 0, "the registry has the layer");
    sandbox.ok(&["rmi", &name]);
    let again = sandbox.text("again.tar");
    sandbox.ok(&["save", "-o", &again, "made/derived:1"]);
    assert_eq!(
        tools::run("skopeo", ["inspect", "--format", "{{.Digest}}", &format!("oci-archive:{again}")]).word(),
        digest
    );
}

#[test]
fn what_a_push_compressed_has_one_digest_for_ever() {
    let (mut first, second, sandbox) = ground();
    let base = first.put("busybox", "base:1");
    sandbox.write("context/file", "data\n".repeat(10_000));
    sandbox.build("context", "built:1", &format!("FROM {base}\nCOPY file /file\n")).ok();
    let digest = sandbox.ok(&["push", "-q", "built:1", &first.name("built:1")]);
    sandbox.img(&["push", "built:1", &first.name("built:1")]).ok().prints(&[&digest]).says(&["Layer already exists"]);
    // The base's layer was mounted from its repository.
    let raw = |name: &str| {
        tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]).json()
    };
    assert_eq!(raw(&first.name("built:1"))["layers"][0]["digest"], raw(&base)["layers"][0]["digest"]);
    // Elsewhere it has the same digest.
    assert_eq!(sandbox.ok(&["push", "-q", "built:1", &second.name("built:1")]), digest);
    first.stop();
    assert_eq!(sandbox.ok(&["push", "-q", "built:1", &second.name("other/built:1")]), digest);
}

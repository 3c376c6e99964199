//! `img copy`: between registries, layouts, archives, directories and the store, by skopeo's names. skopeo, podman and
//! umoci read what was written, and what they wrote is read; digests stay.

use crate::support::tools::{self, Podman};
use crate::support::{Registry, Sandbox, images};

/// The digest of what a place has, as skopeo sees it; of the index, if it is one.
pub fn digest_at(place: &str) -> String {
    let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", place]);
    store::Digest::of(raw.bytes()).to_string()
}

/// An index of two images at a registry, one for this machine and one for another, with a bare manifest for each.
pub fn put_index(registry: &Registry, sandbox: &Sandbox) -> String {
    let one = registry.put("busybox", "multi:amd64");
    let layout = sandbox.text("arm");
    let from = format!("oci:{}:latest", images::layout("busybox").display());
    tools::run("skopeo", ["copy", "--quiet", &from, &format!("oci:{layout}:latest")]);
    tools::run("umoci", ["config", "--image", &format!("{layout}:latest"), "--architecture", "arm64"]);
    let two = registry.name("multi:arm64");
    tools::run(
        "skopeo",
        ["copy", "--quiet", "--dest-tls-verify=false", &format!("oci:{layout}:latest"), &format!("docker://{two}")],
    );
    let entry = |name: &str, architecture: &str| {
        let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest_at(&format!("docker://{name}")),
            "size": raw.bytes().len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(&one, "amd64"), entry(&two, "arm64")],
    });
    let file = sandbox.write("index.json", index.to_string());
    let url = format!("http://{}/v2/multi/manifests/all", registry.address());
    let kind = "Content-Type: application/vnd.oci.image.index.v1+json";
    tools::run("curl", ["-fsS", "-X", "PUT", "-H", kind, "--data-binary", &format!("@{file}"), &url]);
    registry.name("multi:all")
}

#[test]
fn every_place_to_every_other_with_the_digest_kept() {
    let (first, second) = (Registry::fresh(), Registry::fresh());
    let mut sandbox = Sandbox::new();
    sandbox.trust(&first);
    sandbox.trust(&second);
    let name = first.put("odd", "team/odd:1");
    let digest = digest_at(&format!("docker://{name}"));
    let places = |round: &str| {
        [
            format!("docker://{}", second.name(&format!("odd:{round}"))),
            format!("oci:{}:odd", sandbox.text(&format!("oci-{round}"))),
            format!("oci-archive:{}:odd", sandbox.text(&format!("oci-{round}.tar"))),
            format!("dir:{}", sandbox.text(&format!("dir-{round}"))),
        ]
    };
    // From the registry to each, and from each of those to each.
    let firsts = places("first");
    for place in &firsts {
        assert_eq!(sandbox.ok(&["copy", "-q", &format!("docker://{name}"), place]), digest, "{place}");
        assert_eq!(digest_at(place), digest, "{place}");
    }
    for (at, from) in firsts.iter().enumerate() {
        for to in places(&format!("again-{at}")) {
            assert_eq!(sandbox.ok(&["copy", "-q", "--preserve-digests", from, &to]), digest, "{from} {to}");
            assert_eq!(digest_at(&to), digest, "{from} {to}");
        }
    }
    assert_eq!(sandbox.ok(&["images", "-q", "-a"]), "", "the store took no part");

    // Into the store and out of it.
    for (at, from) in firsts.iter().enumerate() {
        let own = format!("own:{at}");
        assert_eq!(sandbox.ok(&["copy", "-q", from, &own]), digest, "{from}");
        sandbox.img(&["run", "--rm", "--network", "none", &own, "true"]).ok();
        for to in places(&format!("own-{at}")) {
            assert_eq!(sandbox.ok(&["copy", "-q", &own, &to]), digest, "{own} {to}");
            assert_eq!(digest_at(&to), digest, "{own} {to}");
        }
    }
    sandbox.img(&["system", "check"]).ok();
    // Others read it: the whole image, not the manifest alone.
    let copied = sandbox.text("by-umoci");
    tools::run("umoci", ["unpack", "--image", &format!("{}:odd", sandbox.text("oci-first")), &copied]);
    let podman = Podman::new(&sandbox.path("podman"), second.address());
    podman.run(&["pull", "-q", &firsts[2]]).ok();
    tools::run("skopeo", ["copy", "--quiet", &firsts[3], &format!("oci:{}:odd", sandbox.text("by-skopeo"))]);
}

#[test]
fn between_repositories_of_a_registry_nothing_is_sent() {
    let registry = Registry::fresh();
    let sandbox = Sandbox::new();
    let name = registry.put("busybox", "a/busybox:1");
    let before = registry.blobs().len();
    let to = format!("docker://{}", registry.name("b/busybox:2"));
    sandbox.img(&["copy", &format!("docker://{name}"), &to]).ok().says(&["Mounted"]);
    sandbox.img(&["copy", &format!("docker://{name}"), &to]).ok().says(&["Already exists"]);
    assert_eq!(registry.blobs().len(), before);
}

#[test]
fn an_index_is_copied_whole_or_one_of_its_images() {
    let (first, second) = (Registry::fresh(), Registry::fresh());
    let sandbox = Sandbox::new();
    let name = put_index(&first, &sandbox);
    let from = format!("docker://{name}");
    let whole = digest_at(&from);
    let arm = digest_at(&format!("docker://{}", first.name("multi:arm64")));
    let amd = digest_at(&format!("docker://{}", first.name("multi:amd64")));
    let archive = format!("oci-archive:{}:multi", sandbox.text("multi.tar"));
    let directory = format!("dir:{}", sandbox.text("multi"));
    let far = format!("docker://{}", second.name("multi:all"));
    for (from, to) in [(&from, &archive), (&archive, &directory), (&directory, &far)] {
        assert_eq!(sandbox.ok(&["copy", "-q", "--all", from, to]), whole, "{from} {to}");
        assert_eq!(digest_at(to), whole, "{from} {to}");
    }
    // skopeo finds everything that the index lists.
    tools::run(
        "skopeo",
        ["copy", "--quiet", "--all", "--src-tls-verify=false", &far, &format!("dir:{}", sandbox.text("by-skopeo"))],
    );
    let one = format!("dir:{}", sandbox.text("one"));
    assert_eq!(sandbox.ok(&["copy", "-q", &archive, &one]), amd);
    assert_eq!(sandbox.ok(&["copy", "-q", "--platform", "linux/arm64", &archive, &one]), arm);
    assert_eq!(digest_at(&one), arm);
    sandbox
        .img(&["copy", "--platform", "linux/s390x", &archive, &one])
        .refuses(1, &["no image for linux/s390x"])
        .hints();
    sandbox.img(&["copy", "--all", "--platform", "linux/arm64", &archive, &one]).refuses(125, &["--all", "--platform"]);

    // What is there can be looked at, everywhere.
    for place in [&far, &archive, &directory, &name] {
        let seen = sandbox.img(&["manifest", "inspect", "--raw", place]);
        assert_eq!(store::Digest::of(seen.ok().bytes()).to_string(), whole, "{place}");
    }
    let shown = sandbox.img(&["manifest", "inspect", &far]).ok().json();
    assert_eq!(shown["manifests"][1]["platform"]["architecture"], "arm64");
    sandbox.ok(&["pull", "-q", &name]);
    assert_eq!(
        store::Digest::of(sandbox.img(&["manifest", "inspect", "--raw", &name]).ok().bytes()).to_string(),
        whole
    );
    sandbox.img(&["manifest", "inspect", &first.name("nothing:1")]).refuses(1, &["cannot read the manifest"]);

    // In the other family of types: two new manifests and a new list.
    let docker = format!("docker://{}", second.name("multi:docker"));
    let changed = sandbox.ok(&["copy", "-q", "--all", "--format", "v2s2", &far, &docker]);
    assert_ne!(changed, whole);
    let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &docker]).json();
    assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    tools::run(
        "skopeo",
        ["copy", "--quiet", "--all", "--src-tls-verify=false", &docker, &format!("dir:{}", sandbox.text("docker"))],
    );
    let back = format!("docker://{}", second.name("multi:back"));
    sandbox.ok(&["copy", "-q", "--all", "--format", "oci", &docker, &back]);
    assert!(
        tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &back]).json()["mediaType"]
            .as_str()
            .unwrap()
            .contains("oci")
    );
    sandbox
        .img(&["copy", "--all", "--preserve-digests", "--format", "v2s2", &far, &docker])
        .refuses(1, &["would change"])
        .hints();
    sandbox.img(&["copy", "--format", "v2s1", &far, &docker]).refuses(125, &["schema 1"]);
}

#[test]
fn docker_archives_in_and_out() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let name = registry.put("odd", "odd:1");
    let made = sandbox.text("made.tar");
    sandbox.ok(&["copy", "-q", &format!("docker://{name}"), &format!("docker-archive:{made}:made/odd:2")]);
    let config = tools::run("skopeo", ["inspect", "--config", "--raw", &format!("docker-archive:{made}:made/odd:2")]);
    let there =
        tools::run("skopeo", ["inspect", "--config", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    assert_eq!(config.stdout(), there.stdout());
    assert_eq!(sandbox.ok(&["images", "-q", "-a"]), "", "what was taken in on the way is gone");
    // Into the store, to a registry, to a layout.
    sandbox.ok(&["copy", "-q", &format!("docker-archive:{made}"), "here:1"]);
    sandbox.img(&["run", "--rm", "--network", "none", "here:1", "true"]).ok();
    let to = format!("docker://{}", registry.name("from-archive:1"));
    sandbox.ok(&["copy", "-q", &format!("docker-archive:{made}:made/odd:2"), &to]);
    tools::run("skopeo", ["inspect", "--tls-verify=false", &to]);
    // Several in one, by name and position.
    sandbox.pull("busybox");
    let both = sandbox.text("both.tar");
    sandbox.ok(&["save", "--format", "docker-archive", "-o", &both, "busybox", "here:1"]);
    let place = format!("docker-archive:{both}");
    sandbox.img(&["copy", &place, "x:1"]).refuses(1, &["which one"]).hints();
    sandbox.ok(&["copy", "-q", &format!("{place}:here:1"), "x:1"]);
    sandbox.ok(&["copy", "-q", &format!("{place}:@0"), "x:2"]);
    assert_eq!(sandbox.inspect("x:1")["Id"], sandbox.inspect("here:1")["Id"]);
    assert_eq!(sandbox.inspect("x:2")["Id"], sandbox.inspect("busybox")["Id"]);
    sandbox.img(&["copy", &format!("{place}:other:1"), "x:3"]).refuses(1, &["no image other:1"]).hints();
}

#[test]
fn a_layout_is_added_to_and_other_things_are_left_alone() {
    let registry = Registry::fresh();
    let sandbox = Sandbox::new();
    let (odd, busybox) = (registry.put("odd", "odd:1"), registry.put("busybox", "busybox:1"));
    let layout = sandbox.text("layout");
    let place = |name: &str| format!("oci:{layout}:{name}");
    for (from, name) in [(&odd, "one"), (&busybox, "two"), (&odd, "three"), (&busybox, "one")] {
        sandbox.ok(&["copy", "-q", &format!("docker://{from}"), &place(name)]);
    }
    let names = tools::run("umoci", ["list", "--layout", &layout]).stdout();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "three", "two"]);
    assert_eq!(digest_at(&place("one")), digest_at(&place("two")), "the name went to the later one");
    sandbox.img(&["copy", &format!("oci:{layout}"), "x:1"]).refuses(1, &["has no image latest"]).says(&["three"]);

    sandbox.write("taken/file", "precious");
    for kind in ["oci", "dir"] {
        let to = format!("{kind}:{}", sandbox.text("taken"));
        sandbox.img(&["copy", &format!("docker://{odd}"), &to]).refuses(1, &["holds something else"]).hints();
    }
    assert_eq!(std::fs::read_dir(sandbox.path("taken")).unwrap().count(), 1);
    // A blob that is not what it is called does not get out, and no half archive stays.
    let blobs = sandbox.path("layout/blobs/sha256");
    let largest =
        std::fs::read_dir(&blobs).unwrap().flatten().max_by_key(|entry| entry.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(largest.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(largest.path(), bytes).unwrap();
    let archive = sandbox.text("damaged.tar");
    sandbox.img(&["copy", &place("two"), &format!("oci-archive:{archive}")]).refuses(1, &["sha256"]);
    assert!(!std::path::Path::new(&archive).exists());
    sandbox.img(&["copy", &place("two"), &format!("docker://{}", registry.name("damaged:1"))]).refuses(1, &["blob"]);
}

#[test]
fn credentials_are_for_the_side_they_are_given_for() {
    let (open, closed) = (Registry::fresh(), Registry::with_password());
    let sandbox = Sandbox::new();
    let name = open.put("busybox", "busybox:1");
    let (from, to) = (format!("docker://{name}"), format!("docker://{}", closed.name("busybox:1")));
    sandbox.img(&["copy", &from, &to]).refuses(1, &["cannot copy"]);
    sandbox.img(&["copy", "--dest-creds", "alice:wrong", &from, &to]).refuses(1, &["cannot copy"]);
    sandbox.img(&["copy", "--dest-creds", "alice", &from, &to]).refuses(125, &["USER:PASSWORD"]);
    let digest = sandbox.ok(&["copy", "-q", "--dest-creds", "alice:secret", &from, &to]);
    let back = format!("dir:{}", sandbox.text("back"));
    assert_eq!(sandbox.ok(&["copy", "-q", "--src-creds", "alice:secret", &to, &back]), digest);
    sandbox.img(&["copy", "--src-no-creds", &to, &back]).refuses(1, &["cannot copy"]);
    let file = sandbox.text("digest");
    sandbox.ok(&["copy", "-q", "--digestfile", &file, &from, &back]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), digest);
    assert!(
        !std::fs::read_to_string(sandbox.path("home/.docker/config.json")).is_ok_and(|text| text.contains("alice"))
    );
}

//! `img manifest create`, `add`, `annotate`, `remove`, `rm`, `push` and `exists`: skopeo and podman read the lists that are made
//! here, and those that podman and buildah make are pulled whole.

use serde_json::{Value, json};

use crate::copy::{digest_at, put_index};
use crate::manifest::{Layout, OCI_MANIFEST};
use crate::support::tools::{self, Podman};
use crate::support::{Registry, Sandbox};

/// A store with two images that were built in it, `app:one` and `app:two`.
fn with_two(sandbox: &Sandbox) {
    sandbox.pull("busybox");
    for name in ["one", "two"] {
        let file =
            format!("FROM busybox\nRUN echo {name} > /which && head -c 70000 /dev/urandom > /big\nCMD cat /which\n");
        sandbox.build(name, &format!("app:{name}"), &file).ok();
    }
}

fn inspect(sandbox: &Sandbox, list: &str) -> Vec<Value> {
    let index = sandbox.img(&["manifest", "inspect", list]).ok().json();
    index["manifests"].as_array().unwrap().clone()
}

fn architectures(sandbox: &Sandbox, list: &str) -> Vec<String> {
    let text = |entry: &Value| entry["platform"]["architecture"].as_str().unwrap().to_owned();
    inspect(sandbox, list).iter().map(text).collect()
}

#[test]
fn a_list_is_made_changed_and_removed() {
    let sandbox = Sandbox::new();
    with_two(&sandbox);
    // An empty one first, as podman's users do.
    let empty = sandbox.ok(&["manifest", "create", "list:1"]);
    assert!(empty.starts_with("sha256:") && empty.lines().count() == 1, "{empty}");
    assert!(inspect(&sandbox, "list:1").is_empty());
    sandbox.img(&["manifest", "create", "list:1", "app:one"]).refuses(1, &["the name is in use"]).hints();
    sandbox.ok(&["manifest", "add", "list:1", "app:one"]);
    assert_eq!(sandbox.ok(&["run", "--rm", "--network", "none", "list:1"]), "one");
    let before = sandbox.ok(&["images", "--all", "--quiet"]).lines().count();
    let words = ["--arch", "riscv64", "--variant", "v1", "--os-version", "7", "--os-features", "a,b"];
    sandbox.ok(&[&["manifest", "add", "list:1", "app:two", "--annotation", "k=v"], &words[..]].concat());
    assert_eq!(sandbox.ok(&["images", "--all", "--quiet"]).lines().count(), before + 1, "the other platform's line");
    let seen = inspect(&sandbox, "list:1");
    assert_eq!(seen.len(), 2, "{seen:?}");
    let platform = &seen[1]["platform"];
    assert_eq!((&platform["architecture"], &platform["variant"]), (&"riscv64".into(), &"v1".into()), "{seen:?}");
    assert_eq!((&platform["os.version"], &platform["os.features"][1]), (&"7".into(), &"b".into()), "{seen:?}");
    assert_eq!(seen[1]["annotations"]["k"], "v");
    // What the list says chooses, whatever the image says.
    let made = sandbox.ok(&["create", "--platform", "linux/riscv64/v1", "--network", "none", "list:1"]);
    assert_eq!(sandbox.ok(&["start", "--attach", &made]), "two");
    sandbox.ok(&["rm", &made]);
    // The same image once more changes its entry and makes no second one.
    sandbox.ok(&["manifest", "add", "list:1", "app:two", "--arch", "s390x"]);
    assert_eq!(architectures(&sandbox, "list:1"), ["amd64", "s390x"]);
    sandbox.ok(&["manifest", "annotate", "list:1", "app:two", "--arch", "arm64", "--annotation", "x=y"]);
    sandbox.ok(&["manifest", "annotate", "list:1", "--index", "--annotation", "of=list"]);
    assert_eq!(architectures(&sandbox, "list:1"), ["amd64", "arm64"]);
    let index = sandbox.img(&["manifest", "inspect", "list:1"]).ok().json();
    assert_eq!(
        (&index["annotations"]["of"], &index["manifests"][1]["annotations"]["x"]),
        (&"list".into(), &"y".into())
    );
    let platforms = sandbox.inspect("list:1")["Platforms"].clone();
    assert_eq!(platforms[1]["Platform"], "linux/arm64", "{platforms}");
    // Nothing is lost when nobody uses it but the list.
    sandbox.ok(&["rmi", "app:two"]);
    sandbox.ok(&["system", "prune", "--force"]);
    sandbox.ok(&["system", "check"]);
    assert_eq!(sandbox.ok(&["images", "--all", "--format", "{{.Platform}}", "list"]), "linux/amd64\nlinux/arm64");
    // A list within a list, entry by entry.
    sandbox.ok(&["manifest", "create", "--all", "--annotation", "n=1", "second:1", "list:1"]);
    assert_eq!(architectures(&sandbox, "second:1"), ["amd64", "arm64"]);
    sandbox.ok(&["manifest", "create", "third:1", "app:one"]);
    sandbox.ok(&["manifest", "create", "--amend", "third:1", "list:1"]);
    assert_eq!(architectures(&sandbox, "third:1"), ["amd64"], "the one image that list:1 stands for here");
    // Out of it again, by digest and by name.
    let digest = seen[1]["digest"].as_str().unwrap();
    sandbox.ok(&["manifest", "remove", "list:1", digest]);
    sandbox.img(&["manifest", "remove", "list:1", digest]).refuses(1, &["does not list"]).hints();
    sandbox.ok(&["manifest", "remove", "list:1", "app:one"]);
    assert!(inspect(&sandbox, "list:1").is_empty());
    // There, and not there.
    sandbox.img(&["manifest", "exists", "list:1"]).exits(0);
    sandbox.img(&["manifest", "exists", "app:one"]).exits(1);
    sandbox.img(&["manifest", "exists", "nothing"]).exits(1);
    sandbox.img(&["manifest", "rm", "app:one"]).refuses(1, &["not a list"]);
    sandbox.img(&["manifest", "add", "app:one", "app:one"]).refuses(1, &["not a list"]);
    sandbox.img(&["manifest", "add", "nothing", "app:one"]).refuses(1, &["no such list"]).hints();
    sandbox.img(&["manifest", "push", "app:one", "oci:x"]).refuses(1, &["no such list"]);
    sandbox.ok(&["manifest", "rm", "list:1", "second:1", "third:1"]);
    sandbox.img(&["manifest", "rm", "list:1"]).refuses(1, &["no such list"]);
    sandbox.ok(&["manifest", "rm", "--ignore", "list:1"]);
    // app:one has a name of its own; app:two had none any more and went with its last list.
    assert_eq!(sandbox.ok(&["images", "--all", "--format", "{{.Repository}}:{{.Tag}}", "app"]), "app:one");
    let left = sandbox.ok(&["images", "--all", "--quiet"]).lines().count();
    assert_eq!(left, 2, "busybox and app:one");
    sandbox.ok(&["system", "check"]);
}

/// An image without files, of which a layout can hold many.
fn tiny(layout: &Layout, number: usize) -> Value {
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Labels": { "number": number.to_string() } },
                         "rootfs": { "type": "layers", "diff_ids": [] } });
    let config = layout.put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [] });
    // Not as it would be written here: it goes out as it came.
    layout.put(serde_json::to_string_pretty(&manifest).unwrap().as_bytes(), OCI_MANIFEST)
}

#[test]
fn a_list_that_has_no_image_yet_is_shown_as_what_it_is() {
    let sandbox = Sandbox::new();
    with_two(&sandbox);
    sandbox.ok(&["manifest", "create", "list:1"]);
    let index = sandbox.img(&["manifest", "inspect", "--raw", "list:1"]).ok().bytes().len();
    let line = sandbox.img(&["images", "list", "--format", "json"]).ok().json()[0].clone();
    assert_eq!((line["Bytes"].as_u64(), &line["Platform"]), (Some(index as u64), &"".into()), "{line}");
    assert_ne!(line["CreatedSince"], "N/A", "{line}");
    for words in [
        &["run", "--rm", "--network", "none", "list:1", "true"][..],
        &["create", "list:1"],
        &["create", "--platform", "linux/amd64", "list:1"],
    ] {
        sandbox.img(words).refuses(125, &["list list:1 has no image yet", "hint: `img manifest add list:1"]);
    }
    sandbox.img(&["manifest", "create", "second:1", "list:1"]).refuses(1, &["no image yet"]).hints();
    sandbox.img(&["manifest", "exists", "second:1"]).exits(1);
    sandbox.build("on", "on", "FROM list:1\nCOPY . /\n").refuses(1, &["no image yet"]);
    sandbox.ok(&["manifest", "add", "list:1", "app:one"]);
    let line = sandbox.img(&["images", "list", "--format", "json"]).ok().json()[0].clone();
    assert_eq!(line["Platform"], "linux/amd64");
    sandbox.img(&["run", "--rm", "--network", "none", "list:1"]).ok().prints_exactly("one\n");
    sandbox.img(&["images", "--all"]).ok();
    sandbox.ok(&["system", "check"]);
}

#[test]
fn a_list_may_be_long_but_not_longer_than_registries_take() {
    let sandbox = Sandbox::new();
    let layout = Layout::new(&sandbox, "layout");
    let entries: Vec<Value> = (0..240).map(|number| tiny(&layout, number)).collect();
    let (place, digest) = layout.name(layout.listing(&entries), "many");
    assert_eq!(sandbox.ok(&["copy", "-q", "--all", &place, "many:1"]), digest);
    sandbox.ok(&["manifest", "create", "--all", "list:1", "many:1"]);
    assert_eq!(inspect(&sandbox, "list:1").len(), 240);
    let out = format!("dir:{}", sandbox.text("out"));
    let sent = sandbox.ok(&["manifest", "push", "-q", "list:1", &out]);
    assert_eq!(digest_at(&out), sent);
    sandbox.ok(&["system", "check"]);
    // Its index is at most as long as registries take one; what would be longer leaves it as it is.
    let note = |key: &str| format!("{key}={}", "x".repeat(120_000));
    let notes: Vec<String> = (0..13).map(|key| note(&key.to_string())).collect();
    let annotate = |round: usize| {
        let mut words = vec!["manifest".to_owned(), "annotate".to_owned(), "--index".to_owned(), "list:1".to_owned()];
        words.extend(notes.iter().map(|note| format!("--annotation={round}.{note}")));
        sandbox.img(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    annotate(1).ok();
    annotate(2).ok();
    let before = sandbox.img(&["manifest", "inspect", "--raw", "list:1"]).ok().bytes().to_vec();
    annotate(3).refuses(1, &["4194304 is the most that registries take"]).hints();
    assert_eq!(sandbox.img(&["manifest", "inspect", "--raw", "list:1"]).ok().bytes(), before);
    sandbox.ok(&["manifest", "rm", "list:1", "many:1"]);
    sandbox.ok(&["system", "prune", "--force"]);
    assert_eq!(sandbox.ok(&["images", "--all", "--quiet"]), "");
    sandbox.ok(&["system", "check"]);
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    with_two(&sandbox);
    let missing = registry.name("missing:1");
    sandbox.img(&["manifest", "create", "list:1", "app:one", &missing]).refuses(1, &["cannot add", "missing"]);
    sandbox.img(&["manifest", "exists", "list:1"]).exits(1);
    sandbox.ok(&["manifest", "create", "list:1", "app:one"]);
    sandbox.img(&["manifest", "create", "--amend", "list:1", &missing]).refuses(1, &["cannot add"]);
    assert_eq!(inspect(&sandbox, "list:1").len(), 1);
    sandbox.img(&["manifest", "annotate", "list:1"]).refuses(125, &["required"]);
    sandbox.img(&["manifest", "add", "list:1", "app:two", "--annotation", "text"]).refuses(125, &["KEY=VALUE"]);
    sandbox.img(&["manifest", "push", "--all=false", "list:1"]).refuses(125, &["without its images"]).hints();
    sandbox.ok(&["system", "check"]);
}

#[test]
fn those_who_add_at_once_lose_nothing() {
    let sandbox = Sandbox::new();
    with_two(&sandbox);
    sandbox.ok(&["manifest", "create", "list:1"]);
    let names: Vec<String> = (0..6).map(|number| format!("many:{number}")).collect();
    for name in &names {
        sandbox.build(&name.replace(':', "-"), name, &format!("FROM busybox\nLABEL n={name}\n")).ok();
    }
    let add = |name: &String| {
        let mut command = sandbox.command(&["manifest", "add", "list:1", name]);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let adding: Vec<_> = names.iter().map(add).collect();
    for mut child in adding {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(inspect(&sandbox, "list:1").len(), names.len());
    sandbox.ok(&["system", "check"]);
}

#[test]
fn skopeo_and_podman_read_a_list_that_was_pushed() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    with_two(&sandbox);
    sandbox.ok(&["manifest", "create", "list:1", "app:one"]);
    let digest = sandbox.ok(&["manifest", "add", "list:1", "app:two", "--arch", "arm64"]);
    let to = registry.name("list:1");
    let place = format!("docker://{to}");
    let file = sandbox.text("digest");
    assert_eq!(sandbox.ok(&["manifest", "push", "-q", "--all", "--digestfile", &file, "list:1", &to]), digest);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), digest);
    assert_eq!(digest_at(&place), digest, "the digest that `manifest add` told is the one that was pushed");
    let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &place]);
    assert_eq!(raw.json(), sandbox.img(&["manifest", "inspect", "list:1"]).ok().json());
    let copy = format!("dir:{}", sandbox.text("copy"));
    tools::run("skopeo", ["copy", "--quiet", "--all", "--src-tls-verify=false", &place, &copy]);
    let podman = Podman::new(&sandbox.path("podman"), registry.address());
    podman.run(&["pull", "-q", "--arch", "arm64", &to]).ok();
    let theirs = podman.run(&["image", "inspect", "--format", "{{.Id}}", &to]).ok().word();
    assert_eq!(format!("sha256:{theirs}"), sandbox.inspect("app:two")["Id"], "the very image, by its config's digest");
    // In Docker's words, as an archive, and gone afterwards.
    let docker = registry.name("list:docker");
    sandbox.ok(&["manifest", "push", "-q", "--format", "v2s2", "list:1", &docker]);
    let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{docker}")]).json();
    assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    let archive = format!("oci-archive:{}:list", sandbox.text("list.tar"));
    assert_eq!(sandbox.ok(&["manifest", "push", "-q", "--purge", "list:1", &archive]), digest);
    assert_eq!(digest_at(&archive), digest);
    sandbox.img(&["manifest", "exists", "list:1"]).exits(1);
    // A list of what is elsewhere: one image, or all.
    let fresh = {
        let mut fresh = Sandbox::new();
        fresh.trust(&registry);
        fresh
    };
    fresh.ok(&["manifest", "create", "far:1", &to]);
    assert_eq!(architectures(&fresh, "far:1"), ["amd64"]);
    fresh.ok(&["manifest", "add", "far:1", &place, "--arch", "arm64"]);
    assert_eq!(architectures(&fresh, "far:1"), ["amd64", "arm64"]);
    fresh.ok(&["manifest", "create", "--all", "all:1", &archive]);
    assert_eq!(architectures(&fresh, "all:1"), ["amd64", "arm64"]);
    let again = registry.name("again:1");
    fresh.ok(&["manifest", "push", "-q", "far:1", &again]);
    tools::run("skopeo", ["copy", "--quiet", "--all", "--src-tls-verify=false", &format!("docker://{again}"), &copy]);
    fresh.ok(&["system", "check"]);
}

#[test]
fn lists_of_podman_and_buildah_are_pulled_whole() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    put_index(&registry, &sandbox);
    let podman = Podman::new(&sandbox.path("podman"), registry.address());
    let (amd, arm) = (registry.name("multi:amd64"), registry.name("multi:arm64"));
    for (program, name) in [("podman", "pod:1"), ("buildah", "bui:1")] {
        let run = |words: &[&str]| if program == "podman" { podman.run(words) } else { podman.buildah(words) };
        let to = registry.name(name);
        run(&["manifest", "create", name]).ok();
        for image in [&amd, &arm] {
            run(&["manifest", "add", "--tls-verify=false", name, &format!("docker://{image}")]).ok();
        }
        run(&["manifest", "push", "--tls-verify=false", "--all", name, &format!("docker://{to}")]).ok();
        let digest = digest_at(&format!("docker://{to}"));
        sandbox.img(&["pull", "--all-platforms", &to]).ok().says(&["linux/amd64", "linux/arm64", &digest]);
        assert_eq!(architectures(&sandbox, &to), ["amd64", "arm64"], "{program}");
        let back = registry.name(&format!("back-{name}"));
        assert_eq!(sandbox.ok(&["manifest", "push", "-q", &to, &back]), digest, "{program}");
        assert_eq!(digest_at(&format!("docker://{back}")), digest, "{program}");
    }
    sandbox.ok(&["system", "check"]);
}

#[test]
fn a_build_for_several_platforms_makes_a_list() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let base = put_index(&registry, &sandbox);
    sandbox.ok(&["pull", "-q", "--all-platforms", &base]);
    // Nothing of the other machine's is run.
    sandbox
        .write("context/Buildfile", format!("FROM {base}\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY Buildfile /x\n"));
    let context = sandbox.text("context");
    let both = "linux/amd64,linux/arm64";
    let digest = sandbox.ok(&["build", "-q", "--platform", both, "-t", "made:1", &context]);
    assert_eq!(architectures(&sandbox, "made:1"), ["amd64", "arm64"]);
    let env = |platform: &str, name: &str| {
        let made =
            sandbox.ok(&["create", "--pull", "never", "--platform", platform, "--network", "none", name, "true"]);
        let seen = sandbox.ok(&["container", "inspect", "--format", "{{.Config.Env}}", &made]);
        sandbox.ok(&["rm", &made]);
        seen
    };
    assert!(env("linux/amd64", "made:1").contains("ARCH=amd64"));
    assert!(env("linux/arm64", "made:1").contains("ARCH=arm64"));
    // Again it is the same, all from the cache, and the name stands for nothing more.
    assert_eq!(sandbox.ok(&["build", "-q", "--platform", both, "-t", "made:1", &context]), digest);
    let to = registry.name("made:1");
    assert_eq!(sandbox.ok(&["push", "-q", "made:1", &to]), digest);
    assert_eq!(digest_at(&format!("docker://{to}")), digest);
    // One after the other into a list.
    for platform in ["linux/arm64", "linux/amd64"] {
        sandbox.ok(&["build", "-q", "--platform", platform, "--manifest", "list:1", &context]);
    }
    assert_eq!(architectures(&sandbox, "list:1"), ["arm64", "amd64"]);
    sandbox.img(&["build", "--platform", both, &context]).refuses(125, &["needs a name"]).hints();
    sandbox.img(&["build", "--platform", both, "-t", "x", "--push", &context]).refuses(125, &["one platform"]).hints();
    sandbox.ok(&["system", "check"]);
}

#[test]
fn a_list_that_lost_its_index_is_told_of_and_mended() {
    let sandbox = Sandbox::new();
    with_two(&sandbox);
    sandbox.ok(&["manifest", "create", "list:1", "app:one"]);
    let digest = sandbox.ok(&["manifest", "add", "list:1", "app:two", "--arch", "arm64"]);
    sandbox.ok(&["system", "check"]);
    std::fs::remove_file(sandbox.root().join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())).unwrap();
    let told = sandbox.img(&["system", "check"]);
    told.exits(1).prints(&["list:1", &digest, "of its index is missing"]);
    sandbox.img(&["system", "check", "--repair"]).prints(&["forgotten"]);
    sandbox.ok(&["system", "check"]);
    // What is left of it goes and comes as before.
    assert_eq!(sandbox.ok(&["run", "--rm", "--network", "none", "list:1"]), "one");
    sandbox.ok(&["rmi", "list:1"]);
    sandbox.ok(&["system", "check"]);
}

#[test]
fn an_attestation_is_never_chosen() {
    use crate::manifest::Layout;
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let layout = Layout::new(&sandbox, "layout");
    let arm = layout.image("arm64");
    // It comes first, and nothing here is for this machine.
    let entries = [layout.attestation(&arm), arm];
    let (place, digest) = layout.name(layout.listing(&entries), "foreign");
    let name = registry.name("foreign:1");
    assert_eq!(sandbox.ok(&["copy", "-q", "--all", &place, &format!("docker://{name}")]), digest);
    sandbox.img(&["copy", &place, "one:1"]).refuses(1, &["linux/amd64"]);
    sandbox.img(&["pull", &name]).refuses(1, &["linux/amd64"]);
    sandbox.img(&["run", "--rm", &name, "true"]).refuses(125, &["linux/amd64"]);
    assert_eq!(sandbox.ok(&["images", "--all", "--quiet"]), "");
    sandbox.ok(&["pull", "-q", "--all-platforms", &name]);
    assert_eq!(sandbox.inspect(&name)["Architecture"], "arm64");
    assert_eq!(sandbox.inspect(&name)["Attached"].as_array().unwrap().len(), 1);
    // A list takes it along, and loses it only when it is told to.
    sandbox.ok(&["manifest", "create", "--all", "list:1", &name]);
    sandbox.ok(&["rmi", &name]);
    sandbox.ok(&["system", "prune", "--force"]);
    assert_eq!(
        sandbox.ok(&["manifest", "push", "-q", "list:1", &format!("docker://{}", registry.name("back:1"))]).len(),
        71
    );
    let attested = inspect(&sandbox, "list:1")[0]["digest"].as_str().unwrap().to_owned();
    sandbox.ok(&["manifest", "remove", "list:1", &attested]);
    assert_eq!(sandbox.inspect("list:1")["Attached"].as_array().unwrap().len(), 0);
    sandbox.ok(&["system", "check"]);
}

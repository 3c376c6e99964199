//! `img push`: what arrives is what skopeo and podman pull, nothing is sent twice, and a refusal leaves no tag.

use crate::support::registry::PASSWORD;
use crate::support::tools::{self, Podman};
use crate::support::{Registry, Sandbox};

#[test]
fn pushed_images_are_pulled_by_skopeo_podman_and_img_with_the_same_id() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    sandbox.pull("odd");
    let name = registry.name("team/odd:1");
    sandbox.ok(&["tag", "odd", &name]);
    let pushed = sandbox.img(&["push", &name]);
    pushed.ok().prints(&["sha256:"]);

    let reference = format!("docker://{name}");
    let inspected = tools::run("skopeo", ["inspect", "--tls-verify=false", &reference]).json();
    assert!(pushed.stdout().contains(inspected["Digest"].as_str().unwrap()), "{pushed}\n{inspected}");
    let copy = format!("oci:{}:latest", sandbox.text("copy"));
    tools::run("skopeo", ["copy", "--quiet", "--src-tls-verify=false", &reference, &copy]);

    let podman = Podman::new(&sandbox.path("podman"), registry.address());
    podman.run(&["pull", "--tls-verify=false", &name]).ok();
    let id = sandbox.inspect("odd")["Id"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    assert_eq!(podman.run(&["image", "inspect", "--format", "{{.Id}}", &name]).ok().word(), id);

    let mut other = sandbox.sibling();
    other.trust(&registry);
    other.ok(&["pull", &name]);
    assert_eq!(other.inspect(&name)["Id"], format!("sha256:{id}"));
}

#[test]
fn a_built_image_is_compressed_on_the_way_and_runs_elsewhere() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let name = registry.name("built:1");
    sandbox.write("context/file", "data\n".repeat(10_000));
    sandbox.build("context", &name, "FROM busybox\nCOPY file /file\nCMD [\"wc\", \"-l\", \"/file\"]\n").ok();
    sandbox.img(&["push", &name]).ok();
    let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]).json();
    let layers = raw["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        assert!(layer["mediaType"].as_str().unwrap().contains("gzip"), "{layer}");
    }
    assert!(layers[1]["size"].as_u64().unwrap() < 10_000, "fifty thousand bytes of one line are small: {}", layers[1]);
    let podman = Podman::new(&sandbox.path("podman"), registry.address());
    let run = podman.run(&[
        "run",
        "--rm",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=4096:4096",
        "--tls-verify=false",
        "--network",
        "none",
        &name,
    ]);
    run.ok().prints(&["10000 /file"]);
}

#[test]
fn pushing_again_sends_nothing_and_gives_the_same_digest() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    sandbox.pull("busybox");
    let (one, two) = (registry.name("a/one:1"), registry.name("a/two:1"));
    sandbox.ok(&["tag", "busybox", &one]);
    sandbox.ok(&["tag", "busybox", &two]);
    let digest = |out: &crate::support::Out| out.ok().stdout().split("sha256:").nth(1).unwrap()[..64].to_owned();
    let first = digest(&sandbox.img(&["push", &one]));
    let blobs = registry.blobs();
    let again = sandbox.img(&["push", &one]);
    assert_eq!(digest(&again), first);
    assert_eq!(digest(&sandbox.img(&["push", &two])), first);
    assert_eq!(registry.blobs(), blobs, "the second repository shares the blobs");
}

#[test]
fn quiet_prints_the_digest_alone() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    sandbox.pull("busybox");
    let name = registry.name("quiet:1");
    sandbox.ok(&["tag", "busybox", &name]);
    let out = sandbox.img(&["push", "-q", &name]);
    assert!(out.ok().word().starts_with("sha256:") && out.word().len() == 71, "{out}");
    assert_eq!(out.stderr(), "");
}

#[test]
fn credentials_are_needed_and_used() {
    let registry = Registry::with_password();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    sandbox.pull("busybox");
    let name = registry.name("private/x:1");
    sandbox.ok(&["tag", "busybox", &name]);
    sandbox.img(&["push", &name]).refuses(1, &[&name]).hints().says(&["img login"]);
    assert!(registry.blobs().is_empty());
    sandbox.img_with_input(&["login", "-u", "alice", "--password-stdin", registry.address()], PASSWORD).ok();
    sandbox.img(&["push", &name]).ok();
    assert!(!registry.blobs().is_empty());
}

#[test]
fn refusals() {
    let mut registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    sandbox.pull("busybox");
    let name = registry.name("x:1");
    sandbox.img(&["push", &name]).refuses(1, &[&name, "no such image"]);
    sandbox.ok(&["tag", "busybox", &name]);
    registry.stop();
    sandbox.img(&["push", &name]).refuses(1, &[registry.address(), "refused"]).hints();
    // The base images' registry takes nothing.
    let there = Registry::bases().name("x:1");
    sandbox.ok(&["tag", "busybox", &there]);
    sandbox.img(&["push", &there]).refuses(1, &[Registry::bases().address()]);
}

#[test]
fn every_tag_of_a_repository() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    sandbox.pull("busybox");
    let repository = registry.name("team/all");
    for tag in ["one", "two"] {
        sandbox.ok(&["tag", "busybox", &format!("{repository}:{tag}")]);
    }
    let pushed = sandbox.img(&["push", "--all-tags", &repository]);
    assert_eq!(pushed.ok().stdout().lines().count(), 2);
    sandbox.img(&["push", "-a", &format!("{repository}:one")]).refuses(125, &["names one image"]);
    sandbox.img(&["push", "-a", &registry.name("team/none")]).refuses(1, &["no image of the repository"]);
    let file = sandbox.text("digest");
    let digest = sandbox.ok(&["push", "-q", "--digestfile", &file, &format!("{repository}:one")]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), digest.trim());

    let mut other = sandbox.sibling();
    other.trust(&registry);
    other.img(&["pull", "--all-tags", &repository]).ok().prints(&["team/all:one", "team/all:two"]);
    other.img(&["pull", "-a", &format!("{repository}:one")]).refuses(125, &["names one image"]);
    assert_eq!(other.img(&["images", "-q", &repository]).ok().stdout().lines().count(), 2);
}

//! Multi-platform images kept whole: every platform comes and goes with the tag, and the index leaves as it came.

use crate::copy::{digest_at, put_index};
use crate::support::{Registry, Sandbox, tools};

/// A store with both platforms of an index; gives the name and the index's digest.
fn pulled_whole(sandbox: &mut Sandbox, registry: &Registry) -> (String, String) {
    sandbox.trust(registry);
    let name = put_index(registry, sandbox);
    let digest = digest_at(&format!("docker://{name}"));
    sandbox.img(&["pull", "--all-platforms", &name]).ok().says(&["linux/amd64", "linux/arm64", &digest]);
    (name, digest)
}

fn ids(sandbox: &Sandbox, all: &[&str]) -> Vec<String> {
    let words = [&["images", "--no-trunc", "--format", "{{.ID}}"], all].concat();
    sandbox.img(&words).ok().stdout().lines().map(str::to_owned).collect()
}

#[test]
fn all_platforms_are_kept_listed_and_removed_with_the_tag() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    let (name, digest) = pulled_whole(&mut sandbox, &registry);
    let own = ids(&sandbox, &[]);
    assert_eq!(own.len(), 1, "one line for the name: {own:?}");
    let both = ids(&sandbox, &["--all"]);
    assert_eq!(both.len(), 2, "{both:?}");
    let other = both.iter().find(|id| !own.contains(id)).unwrap();
    let seen = sandbox.inspect(&name);
    let platforms: Vec<&str> =
        seen["Platforms"].as_array().unwrap().iter().map(|one| one["Platform"].as_str().unwrap()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert!(seen["RepoDigests"][0].as_str().unwrap().ends_with(&digest), "{seen}");
    // Once more changes nothing.
    sandbox.img(&["pull", "--all-platforms", &name]).ok().says(&["up to date"]);
    // No collection takes a part of what is named, nor does an id.
    sandbox.ok(&["image", "prune", "--force"]);
    sandbox.ok(&["system", "prune", "--force"]);
    assert_eq!(ids(&sandbox, &["--all"]), both);
    sandbox.img(&["rmi", other]).refuses(1, &["is one of the platforms of"]);
    sandbox.ok(&["system", "check"]);
    // The platform is chosen among those that are here: the registry is gone.
    drop(registry);
    let made = sandbox.ok(&["create", "--platform", "linux/arm64", "--network", "none", &name, "true"]);
    let image = sandbox.ok(&["container", "inspect", "--format", "{{.Image}}", &made]);
    assert_eq!(&image, other);
    sandbox.ok(&["rm", &made]);
    sandbox.ok(&["run", "--rm", "--network", "none", &name, "true"]);
    // A second name keeps all of it too.
    sandbox.ok(&["tag", &name, "second:1"]);
    sandbox.ok(&["rmi", &name]);
    assert_eq!(ids(&sandbox, &["--all"]).len(), 2);
    let said = sandbox.ok(&["rmi", "second:1"]);
    assert!(both.iter().all(|id| said.contains(id.as_str())), "{said}");
    assert!(ids(&sandbox, &["--all"]).is_empty());
    sandbox.ok(&["system", "check"]);
}

#[test]
fn a_whole_index_is_pushed_with_its_digest() {
    let (first, second) = (Registry::fresh(), Registry::fresh());
    let mut sandbox = Sandbox::new();
    sandbox.trust(&second);
    let (name, digest) = pulled_whole(&mut sandbox, &first);
    let to = second.name("whole:1");
    assert_eq!(sandbox.ok(&["push", "-q", &name, &to]), digest);
    assert_eq!(digest_at(&format!("docker://{to}")), digest);
    // skopeo finds everything that the index lists.
    let (from, copy) = (format!("docker://{to}"), format!("dir:{}", sandbox.text("copy")));
    tools::run("skopeo", ["copy", "--quiet", "--all", "--src-tls-verify=false", &from, &copy]);
    // One of them goes alone when it is asked for, and the store keeps the index.
    let one = second.name("one:1");
    sandbox.ok(&["push", "-q", "--platform", "linux/arm64", &name, &one]);
    assert_eq!(digest_at(&format!("docker://{one}")), digest_at(&format!("docker://{}", first.name("multi:arm64"))));
    sandbox.img(&["push", "--platform", "linux/s390x", &name, &one]).refuses(1, &["linux/s390x", "linux/arm64"]);
    assert_eq!(sandbox.ok(&["push", "-q", &name, &to]), digest);
    // Of an index of which one platform is here, that one goes, and it is said.
    sandbox.ok(&["rmi", &name]);
    sandbox.ok(&["pull", "-q", &name]);
    sandbox.img(&["push", &name, &second.name("part:1")]).ok().says(&["only a part of the index"]);
}

#[test]
fn archives_have_the_whole_index_and_give_it_back() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    let (name, digest) = pulled_whole(&mut sandbox, &registry);
    let both = ids(&sandbox, &["--all"]);
    let (archive, folder, arm) = (sandbox.text("whole.tar"), sandbox.text("whole"), sandbox.text("arm.tar"));
    sandbox.ok(&["save", "-o", &archive, &name]);
    sandbox.ok(&["save", "--format", "oci-dir", "-o", &folder, &name]);
    sandbox.ok(&["save", "--platform", "linux/arm64", "-o", &arm, &name]);
    // skopeo finds the index and everything that it lists.
    for (at, place) in [format!("oci-archive:{archive}"), format!("oci:{folder}")].iter().enumerate() {
        assert_eq!(digest_at(place), digest, "{place}");
        let copy = format!("dir:{}", sandbox.text(&format!("copy-{at}")));
        tools::run("skopeo", ["copy", "--quiet", "--all", place, &copy]);
    }
    let config =
        tools::run("skopeo", ["inspect", "--config", "--override-arch", "arm64", &format!("oci-archive:{arm}")]);
    assert_eq!(config.json()["architecture"], "arm64");
    drop(registry);
    for (place, platforms) in [(&archive, 2), (&folder, 2), (&arm, 1)] {
        let fresh = Sandbox::new();
        fresh.img(&["load", "-i", place]).ok().prints(&["Loaded image: "]);
        let here = ids(&fresh, &["--all"]);
        assert_eq!(here.len(), platforms, "{place}: {here:?}");
        assert!(here.iter().all(|id| both.contains(id)), "{place}: {here:?}");
        if platforms == 2 {
            assert!(fresh.inspect(&name)["RepoDigests"][0].as_str().unwrap().ends_with(&digest), "{place}");
            // What was loaded is saved again without anybody being asked.
            let again = fresh.text("again.tar");
            fresh.ok(&["save", "-o", &again, &name]);
            assert_eq!(digest_at(&format!("oci-archive:{again}")), digest);
        }
        fresh.ok(&["system", "check"]);
        fresh.ok(&["rmi", &name]);
        assert!(ids(&fresh, &["--all"]).is_empty());
    }
}

//! Indexes in the store, and the lists that `img manifest` makes: in and out of it with their digests, with indexes in them and
//! attestations beside their images; skopeo and podman read what was pushed.

use std::path::Path;

use serde_json::{Value, json};

use crate::copy::digest_at;
use crate::support::{Registry, Sandbox, images, tools};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An OCI layout that a test fills.
pub struct Layout(String);

impl Layout {
    /// With an image for this machine, `amd64`, and one for another, `arm64`.
    pub fn new(sandbox: &Sandbox, name: &str) -> Self {
        let this = Self(sandbox.text(name));
        let from = format!("oci:{}:latest", images::layout("busybox").display());
        for architecture in ["amd64", "arm64"] {
            let at = format!("{}:{architecture}", this.0);
            tools::run("skopeo", ["copy", "--quiet", &from, &format!("oci:{at}")]);
            tools::run("umoci", ["config", "--image", &at, "--architecture", architecture]);
        }
        this
    }

    /// Puts a blob into it; gives the entry for it.
    pub fn put(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = store::Digest::of(bytes);
        std::fs::write(Path::new(&self.0).join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn index(&self) -> Value {
        serde_json::from_slice(&std::fs::read(Path::new(&self.0).join("index.json")).unwrap()).unwrap()
    }

    /// The entry for an image.
    pub fn image(&self, architecture: &str) -> Value {
        let index = self.index();
        let named = |line: &&Value| line["annotations"]["org.opencontainers.image.ref.name"] == architecture;
        let mut entry = index["manifests"].as_array().unwrap().iter().find(named).unwrap().clone();
        entry.as_object_mut().unwrap().remove("annotations");
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    }

    /// The entry for an attestation of an image, as BuildKit makes it.
    pub fn attestation(&self, image: &Value) -> Value {
        let statement = self.put(br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#, "application/vnd.in-toto+json");
        let config =
            br#"{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config = self.put(config, "application/vnd.oci.image.config.v1+json");
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [statement] });
        let mut entry = self.put(manifest.to_string().as_bytes(), OCI_MANIFEST);
        entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        entry["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"],
        });
        entry
    }

    /// The entry of an index of these.
    pub fn listing(&self, entries: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
        self.put(index.to_string().as_bytes(), OCI_INDEX)
    }

    /// Calls an entry `name`; gives its place and its digest.
    pub fn name(&self, mut entry: Value, name: &str) -> (String, String) {
        let digest = entry["digest"].as_str().unwrap().to_owned();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let mut index = self.index();
        index["manifests"].as_array_mut().unwrap().push(entry);
        std::fs::write(Path::new(&self.0).join("index.json"), index.to_string()).unwrap();
        (format!("oci:{}:{name}", self.0), digest)
    }
}

fn ids(sandbox: &Sandbox, all: &[&str]) -> Vec<String> {
    let words = [&["images", "--no-trunc", "--format", "{{.ID}}"], all].concat();
    sandbox.img(&words).ok().stdout().lines().map(str::to_owned).collect()
}

/// The digest of the document that `img` has under a name.
fn digest_here(sandbox: &Sandbox, name: &str) -> String {
    store::Digest::of(sandbox.img(&["manifest", "inspect", "--raw", name]).ok().bytes()).to_string()
}

#[test]
fn an_index_goes_into_the_store_and_out_of_it_as_it_is() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let layout = Layout::new(&sandbox, "layout");
    let (amd, arm) = (layout.image("amd64"), layout.image("arm64"));
    let entries = [amd.clone(), arm.clone(), layout.attestation(&amd)];
    let (place, digest) = layout.name(layout.listing(&entries), "whole");
    // Without --all this machine's image, or the platform that is asked for.
    sandbox.ok(&["copy", "-q", &place, "one:1"]);
    assert_eq!(ids(&sandbox, &["--all"]).len(), 1);
    sandbox.ok(&["copy", "-q", "--platform", "linux/arm64", &place, "other:1"]);
    assert_eq!(sandbox.inspect("other:1")["Architecture"], "arm64");
    sandbox.ok(&["rmi", "one:1", "other:1"]);
    // With --all everything, and out of the store to every place.
    assert_eq!(sandbox.ok(&["copy", "-q", "--all", &place, "whole:1"]), digest);
    assert_eq!(ids(&sandbox, &["--all"]).len(), 2);
    std::fs::remove_dir_all(&layout.0).unwrap();
    let places = [
        format!("oci:{}:out", sandbox.text("out")),
        format!("oci-archive:{}:out", sandbox.text("out.tar")),
        format!("dir:{}", sandbox.text("dir")),
        format!("docker://{}", registry.name("out:1")),
    ];
    for (at, to) in places.iter().enumerate() {
        assert_eq!(sandbox.ok(&["copy", "-q", "--all", "whole:1", to]), digest, "{to}");
        assert_eq!(digest_at(to), digest, "{to}");
        let copy = format!("dir:{}", sandbox.text(&format!("skopeo-{at}")));
        tools::run("skopeo", ["copy", "--quiet", "--all", "--src-tls-verify=false", to, &copy]);
        // And in again, where nothing of it is.
        let fresh = Sandbox::new();
        assert_eq!(fresh.ok(&["copy", "-q", "--all", to, "again:1"]), digest, "{to}");
        assert_eq!(digest_here(&fresh, "again:1"), digest, "{to}");
        fresh.ok(&["system", "prune", "--force"]);
        fresh.ok(&["system", "check"]);
        fresh.img(&["run", "--rm", "--network", "none", "again:1", "true"]).ok();
    }
    let one = format!("dir:{}", sandbox.text("one"));
    assert_eq!(sandbox.ok(&["copy", "-q", "whole:1", &one]), amd["digest"].as_str().unwrap());
    let chosen = ["copy", "-q", "--platform", "linux/arm64", "whole:1", &one];
    assert_eq!(sandbox.ok(&chosen), arm["digest"].as_str().unwrap());
    sandbox.img(&["copy", "--platform", "linux/s390x", "whole:1", &one]).refuses(1, &["linux/s390x"]).hints();
    let docker = format!("docker-archive:{}", sandbox.text("docker.tar"));
    sandbox.img(&["copy", "--all", "whole:1", &docker]).refuses(1, &["holds no index"]).hints();
    // Within the store: all of it, or one image.
    sandbox.ok(&["copy", "-q", "--all", "whole:1", "second:1"]);
    sandbox.ok(&["copy", "-q", "whole:1", "single:1"]);
    assert_eq!(digest_here(&sandbox, "second:1"), digest);
    assert_eq!(digest_here(&sandbox, "single:1"), amd["digest"].as_str().unwrap());
    sandbox.ok(&["rmi", "whole:1", "second:1"]);
    assert_eq!(ids(&sandbox, &["--all"]).len(), 1);
    sandbox.ok(&["system", "check"]);
}

#[test]
fn an_index_in_an_index_is_kept_whole() {
    let (first, second) = (Registry::fresh(), Registry::fresh());
    let mut sandbox = Sandbox::new();
    sandbox.trust(&first);
    sandbox.trust(&second);
    let layout = Layout::new(&sandbox, "layout");
    let inner = layout.listing(&[layout.image("arm64")]);
    let (place, digest) = layout.name(layout.listing(&[layout.image("amd64"), inner]), "nested");
    sandbox.ok(&["copy", "-q", "--all", &place, "nested:1"]);
    let seen = sandbox.inspect("nested:1");
    let platforms: Vec<&str> =
        seen["Platforms"].as_array().unwrap().iter().map(|one| one["Platform"].as_str().unwrap()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    let (one, two) = (first.name("nested:1"), second.name("nested:1"));
    assert_eq!(sandbox.ok(&["push", "-q", "nested:1", &one]), digest);
    let archive = sandbox.text("nested.tar");
    sandbox.ok(&["save", "-o", &archive, "nested:1"]);
    let fresh = Sandbox::new();
    fresh.ok(&["load", "-i", &archive]);
    assert_eq!(digest_here(&fresh, "nested:1"), digest);
    let mut fresh = Sandbox::new();
    fresh.trust(&first);
    fresh.trust(&second);
    fresh.ok(&["pull", "-q", "--all-platforms", &one]);
    assert_eq!(fresh.ok(&["push", "-q", &one, &two]), digest);
    assert_eq!(digest_at(&format!("docker://{two}")), digest);
    fresh.ok(&["system", "check"]);
    // Without end it is refused.
    let mut entry = layout.listing(&[layout.image("amd64")]);
    for _ in 0..4 {
        entry = layout.listing(&[entry]);
    }
    let (deep, _) = layout.name(entry, "deep");
    sandbox.img(&["copy", "--all", &deep, "deep:1"]).refuses(1, &["too deep"]);
}

#[test]
fn other_platforms_stand_under_the_name_of_their_index() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let layout = Layout::new(&sandbox, "layout");
    let (amd, arm) = (layout.image("amd64"), layout.image("arm64"));
    let (place, _) = layout.name(layout.listing(&[amd.clone(), arm, layout.attestation(&amd)]), "whole");
    sandbox.ok(&["copy", "-q", "--all", &place, "whole:1"]);
    let both = ids(&sandbox, &["whole", "--all"]);
    assert_eq!(both.len(), 2);
    let platforms = sandbox.ok(&["images", "--all", "--format", "{{.Repository}} {{.Platform}}", "whole"]);
    assert_eq!(platforms, "whole linux/amd64\nwhole linux/arm64");
    sandbox.img(&["images", "--all"]).ok().prints(&["\n  linux/arm64 "]);
    // What the index has for nobody to run is told apart, and is no platform.
    let seen = sandbox.inspect("whole:1");
    assert_eq!(seen["Platforms"].as_array().unwrap().len(), 2, "{seen}");
    assert_eq!(seen["Attached"][0]["Type"], "attestation-manifest", "{seen}");
    assert_eq!(seen["Attached"][0]["Manifest"], amd["digest"], "{seen}");
    sandbox
        .img(&["run", "--platform", "unknown/unknown", "--pull", "never", "whole:1", "true"])
        .refuses(125, &["unknown"]);
    // The layer is one that the other image has: two images share it, not three.
    let tree = sandbox.img(&["image", "tree", "--format", "json", "whole:1"]).ok().json();
    let names: Vec<&str> = tree[0]["Images"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(names.contains(&"whole:1") && names.contains(&"whole:1 (linux/arm64)"), "{tree}");
    assert_eq!(tree[0]["SharedBy"], 2, "{tree}");
    // Two images, and every byte of them is told.
    let rows = sandbox.img(&["system", "df", "--format", "{{json .}}"]).ok().json_lines();
    assert_eq!(rows[0]["TotalCount"], 2);
    let all = sandbox.img(&["system", "df", "-v", "--format", "json"]).ok().json();
    let images = all["Images"].as_array().unwrap();
    assert_eq!(images.len(), 2, "{all}");
    let own: u64 = images.iter().map(|image| image["UniqueBytes"].as_u64().unwrap()).sum();
    let told = own + all["SharedLayersBytes"].as_u64().unwrap() + all["RestBytes"]["Images"].as_u64().unwrap();
    assert_eq!(Some(told), rows[0]["Bytes"].as_u64(), "{all}");
    let whole = images.iter().find(|image| image["Repository"] == "whole").unwrap();
    // Two configs, two manifests, the index, the attestation's three and two records: all blocks of its own.
    assert!(whole["UniqueBytes"].as_u64().unwrap() >= 10 * 4096, "{all}");
    tools::run("sync", ["-f", &sandbox.root().display().to_string()]).ok();
    let on_disk = tools::run("du", ["-sx", "-B1", &sandbox.root().display().to_string()]).ok().stdout();
    let total = sandbox.img(&["system", "df", "-v", "--format", "json"]).ok().json()["TotalBytes"].to_string();
    assert_eq!(on_disk.split('\t').next(), Some(&*total), "the store as du sees it");
    // A container of the other platform makes its index one that is used.
    sandbox.ok(&["create", "--platform", "linux/arm64", "--network", "none", "whole:1", "true"]);
    let rows = sandbox.img(&["system", "df", "--format", "{{json .}}"]).ok().json_lines();
    assert_eq!(rows[0]["Active"], 1);
}

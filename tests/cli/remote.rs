//! `list-tags`, `referrers` and `delete` against Debian's docker-registry, filled by skopeo. That registry knows no
//! referrers API, so the tag that stands for it is used; a registry with the API is in the client's own tests.

use crate::support::{Registry, Sandbox, tools};

#[test]
fn tags_are_listed_beyond_one_page_and_as_skopeo_prints_them() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let first = registry.put("busybox", "team/app:1");
    sandbox.pull("busybox");
    sandbox.img(&["pull", &first]).ok();
    for tag in ["2", "3"] {
        sandbox.img(&["push", &first, &registry.name(&format!("team/app:{tag}"))]).ok();
    }
    let repository = registry.name("team/app");
    let lines = sandbox.ok(&["list-tags", &repository]);
    let mut tags: Vec<&str> = lines.lines().collect();
    // The registry's order, which is none.
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2", "3"]);
    let ours = sandbox.ok(&["list-tags", "--format", "json", &format!("docker://{repository}")]);
    let theirs = tools::run("skopeo", ["list-tags", "--tls-verify=false", &format!("docker://{repository}")]).stdout();
    let parsed = |text: &str| {
        let mut found: serde_json::Value = serde_json::from_str(text).expect("JSON");
        found["Tags"].as_array_mut().expect("a list").sort_by_key(ToString::to_string);
        found
    };
    assert_eq!(parsed(&ours), parsed(&theirs));
    sandbox.img(&["list-tags", &first]).refuses(125, &["names one image already"]);
    sandbox.img(&["list-tags", &registry.name("no/such")]).refuses(1, &["no/such", "not found"]);
}

#[test]
fn a_deleted_manifest_takes_its_tags_with_it() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let one = registry.put("busybox", "app:1");
    let other = registry.put("odd", "app:other");
    sandbox.img(&["pull", &one]).ok();
    let two = registry.name("app:2");
    sandbox.img(&["push", &one, &two]).ok();
    sandbox.img(&["delete", &registry.name("app")]).refuses(125, &["neither a tag nor a digest"]);
    let digest = sandbox.ok(&["delete", &one]);
    assert!(digest.starts_with("sha256:"), "{digest}");
    sandbox.img(&["pull", &two]).refuses(1, &["not found"]);
    sandbox.img(&["list-tags", &registry.name("app")]).ok();
    sandbox.img(&["pull", &other]).ok();
    sandbox.img(&["delete", &one]).refuses(1, &["cannot delete", "not found"]);
    // This registry removes no tag alone, and says so.
    sandbox.img(&["delete", "--tag-only", &other]).refuses(1, &["cannot delete"]);
    sandbox.img(&["pull", &other]).ok();
}

#[test]
fn what_refers_to_an_image_is_found_under_its_tag() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let image = registry.put("busybox", "app:1");
    sandbox.img(&["referrers", &image]).ok();
    let digest = sandbox.ok(&["pull", &image]);
    let digest = digest.rsplit('@').next().unwrap_or_default().to_owned();
    let manifest =
        tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{image}")]).stdout();
    let digest = if digest.starts_with("sha256:") { digest } else { sha256(&manifest) };
    // An index under the tag sha256-HEX, as the distribution spec has it for such registries.
    let entry = |kind: &str| {
        serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest,
            "size": manifest.len(), "artifactType": kind})
    };
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry("application/spdx+json"), entry("application/x.signature")]});
    let url = format!("http://{}/v2/app/manifests/{}", registry.address(), digest.replace(':', "-"));
    let kind = "Content-Type: application/vnd.oci.image.index.v1+json";
    tools::run("curl", ["-sSf", "-X", "PUT", "-H", kind, "-d", &index.to_string(), &url]);
    let all = sandbox.ok(&["referrers", "--format", "{{.ArtifactType}}", &image]);
    assert_eq!(all, "application/spdx+json\napplication/x.signature");
    let json = sandbox.ok(&["referrers", "--format", "json", "--artifact-type", "application/spdx+json", &image]);
    let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((found.as_array().map(Vec::len), &found[0]["digest"]), (Some(1), &serde_json::json!(digest)));
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    let hex: String = sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

//! `img pull`: names as Docker reads them, mirrors, digests, credentials, progress, and the tree that comes out.

use std::path::Path;

use crate::support::registry::PASSWORD;
use crate::support::{Registry, Sandbox, images, tools, tree};

#[test]
fn a_short_name_comes_through_the_configured_mirror() {
    let sandbox = Sandbox::new();
    let out = sandbox.img(&["pull", "debian"]);
    out.ok().prints(&["docker.io/library/debian:latest"]).says(&["Digest: sha256:"]);
    assert!(!out.stderr().contains('\u{1b}'), "no colour and no cursor movement without a terminal\n{out}");
    let listed = sandbox.img(&["images", "--format", "{{json .}}"]).ok().json_lines();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0]["Repository"].as_str(), listed[0]["Tag"].as_str()), (Some("debian"), Some("latest")));
}

#[test]
fn quiet_prints_the_image_id_and_nothing_else() {
    let sandbox = Sandbox::new();
    let out = sandbox.img(&["pull", "-q", "busybox"]);
    assert_eq!(out.ok().word(), sandbox.inspect("busybox")["Id"]);
    assert_eq!(out.stderr(), "", "nothing when quiet");
}

#[test]
fn pulling_again_changes_nothing_and_says_so() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let before = sandbox.store_picture();
    sandbox.img(&["pull", "busybox"]).ok().says(&["up to date"]);
    assert_eq!(sandbox.store_picture(), before);
}

#[test]
fn a_digest_pins_the_manifest() {
    let sandbox = Sandbox::new();
    let reference = format!("docker://{}", Registry::bases().name("library/busybox"));
    let digest = tools::run("skopeo", ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &reference]).word();
    let name = format!("busybox@{digest}");
    sandbox.img(&["pull", &name]).ok().says(&[&digest]);
    sandbox.img(&["run", "--rm", "--network", "none", &name, "true"]).ok();
    let wrong = format!("busybox@sha256:{}", "0".repeat(64));
    sandbox.img(&["pull", &wrong]).refuses(1, &["not found"]);
}

#[test]
fn the_image_id_is_the_digest_of_the_config_bytes() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    let config = tools::run(
        "skopeo",
        ["inspect", "--config", "--raw", &format!("oci:{}:latest", images::layout("odd").display())],
    );
    let path = sandbox.write("config.json", config.bytes());
    let sum = tools::run("sha256sum", [&path]).word();
    let expected = format!("sha256:{}", sum.split(' ').next().unwrap());
    assert_eq!(sandbox.inspect("odd")["Id"].as_str(), Some(expected.as_str()));
}

#[test]
fn the_flattened_trees_of_the_odd_images_are_what_umoci_unpacks() {
    let sandbox = Sandbox::new();
    for name in ["odd", "lowerlink"] {
        sandbox.pull(name);
        let ours = sandbox.flatten(name, &format!("{name}-ours"));
        let theirs = sandbox.text(&format!("{name}-theirs"));
        let image = format!("{}:latest", images::layout(name).display());
        tools::run("umoci", ["unpack", "--image", &image, &theirs]);
        // What a container run-time puts into a root itself is not the image's.
        let made_for_containers =
            ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"];
        tree::drop_empty_xattr(&ours.join("odd/xattrs"), "user.empty");
        // umoci leaves trusted.* out; the odd image has none left above its last layer.
        tree::assert_same(&ours, &Path::new(&theirs).join("rootfs"), &made_for_containers);
    }
}

#[test]
fn layers_are_written_once_for_all_images_that_share_them() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let count = || std::fs::read_dir(sandbox.root().join("layers/sha256")).map(|d| d.count()).unwrap_or(0);
    assert_eq!(count(), 1);
    sandbox.pull("odd");
    assert_eq!(count(), 5, "odd has busybox's layer and four more");
}

#[test]
fn the_registry_in_the_name_is_asked_and_no_other() {
    let registry = Registry::fresh();
    let reference = registry.put("busybox", "team/tool:1.0");
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    sandbox.img(&["pull", &reference]).ok();
    sandbox.img(&["run", "--rm", "--network", "none", &reference, "echo", "here"]).ok().prints_exactly("here\n");
    sandbox.img(&["pull", &registry.name("team/tool:2.0")]).refuses(1, &["2.0", "not found"]);
}

#[test]
fn credentials_come_from_login_and_leave_with_logout() {
    let registry = Registry::with_password();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let name = registry.name("private/busybox:1");
    let credentials = format!("alice:{PASSWORD}");
    let from = format!("oci:{}:latest", images::layout("busybox").display());
    let to = format!("docker://{name}");
    tools::run("skopeo", ["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", &credentials, &from, &to]);

    sandbox.img(&["pull", &name]).refuses(1, &[&name]).hints().says(&["img login"]);
    let login = ["login", "--username", "alice", "--password-stdin", registry.address()];
    sandbox.img_with_input(&login, "wrong").refuses(1, &["unauthorized"]);
    sandbox.img_with_input(&login, format!("{PASSWORD}\n")).ok();
    let file = sandbox.path("home/.docker/config.json");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600, "credentials are the owner's alone");
    let out = sandbox.img(&["pull", &name]);
    out.ok();
    assert!(!out.stderr().contains(PASSWORD) && !out.stdout().contains(PASSWORD));
    sandbox.img(&["rmi", &name]).ok();
    sandbox.img(&["logout", registry.address()]).ok();
    sandbox.img(&["pull", &name]).refuses(1, &[&name]);
}

#[test]
fn the_platform_is_chosen_or_refused_by_name() {
    let sandbox = Sandbox::new();
    sandbox.img(&["pull", "--platform", "linux/s390x", "busybox"]).refuses(1, &["s390x"]);
    sandbox.img(&["pull", "--platform", "nonsense/", "busybox"]).refuses(1, &["platform"]);
}

#[test]
fn two_pulls_of_one_image_at_once_both_succeed() {
    let sandbox = Sandbox::new();
    let mut both = [sandbox.spawn(&["pull", "debian"]), sandbox.spawn(&["pull", "debian:bookworm"])];
    for one in &mut both {
        assert_eq!(one.wait(), 0);
    }
    assert_eq!(sandbox.img(&["images", "-q"]).ok().stdout().lines().count(), 2);
    sandbox.img(&["system", "check"]).ok();
}

#[test]
fn a_pull_killed_anywhere_leaves_a_store_where_the_next_one_succeeds() {
    let sandbox = Sandbox::new();
    for delay in [1, 5, 20, 60, 150, 400] {
        let mut pull = sandbox.spawn(&["pull", "debian"]);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        if matches!(pull.0.try_wait(), Ok(None)) {
            pull.signal(rustix::process::Signal::KILL);
        }
        pull.wait();
        sandbox.img(&["system", "check"]).ok();
        sandbox.img(&["rmi", "--force", "debian"]);
    }
    sandbox.ok(&["pull", "debian"]);
    sandbox.img(&["run", "--rm", "--network", "none", "debian", "true"]).ok();
}

#[test]
fn progress_on_a_terminal_has_bytes_and_ends_clean() {
    let sandbox = Sandbox::new();
    let mut terminal = sandbox.terminal(&["pull", "debian"]);
    let (code, screen) = terminal.finish();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("MB") || screen.contains("MiB"), "a bar shows bytes\n{screen}");
    assert!(screen.trim_end().ends_with("docker.io/library/debian:latest"), "{screen}");
}

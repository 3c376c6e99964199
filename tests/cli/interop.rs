//! Others as oracles: what podman, buildah, skopeo, umoci and docker make `img` takes, what `img` makes they take, and
//! the trees are equal file by file.

use crate::support::tools::{self, Podman};
use crate::support::{Registry, Sandbox, images, skip, tree};

/// What a container run-time makes in a root by itself.
const OWN: [&str; 9] =
    ["dev", "proc", "sys", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"];

#[test]
fn a_saved_image_loads_in_podman_with_the_same_id_and_comes_back() {
    let sandbox = Sandbox::new();
    let podman = Podman::new(&sandbox.path("podman"), Registry::bases().address());
    sandbox.pull("odd");
    let id = sandbox.inspect("odd")["Id"].as_str().unwrap().to_owned();
    let archive = sandbox.text("ours.tar");
    sandbox.ok(&["save", "-o", &archive, "odd"]);
    podman.run(&["load", "-i", &archive]).ok();
    assert_eq!(
        podman.run(&["image", "inspect", "--format", "{{.Id}}", "odd"]).ok().word(),
        id.trim_start_matches("sha256:")
    );
    // Back from podman with a plain image: podman cannot write a layer with sparse entries again.
    sandbox.pull("busybox");
    let id = sandbox.inspect("busybox")["Id"].as_str().unwrap().to_owned();
    let archive = sandbox.text("plain.tar");
    sandbox.ok(&["save", "-o", &archive, "busybox"]);
    podman.run(&["load", "-i", &archive]).ok();
    for format in ["docker-archive", "oci-archive"] {
        let back = sandbox.text(&format!("{format}.tar"));
        podman.run(&["save", "--format", format, "-o", &back, "busybox"]).ok();
        let other = sandbox.sibling();
        other.img(&["load", "-i", &back]).ok();
        assert_eq!(other.ok(&["images", "-q", "--no-trunc"]), id, "{format} through podman and back");
    }
}

#[test]
fn a_saved_image_is_read_by_skopeo_as_both_kinds_of_archive() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    let id = sandbox.inspect("odd")["Id"].as_str().unwrap().to_owned();
    let archive = sandbox.text("ours.tar");
    sandbox.ok(&["save", "-o", &archive, "odd"]);
    for kind in ["docker-archive", "oci-archive"] {
        let out = tools::run("skopeo", ["inspect", "--raw", &format!("{kind}:{archive}")]);
        assert_eq!(out.json()["config"]["digest"], id.as_str(), "{kind}");
    }
}

#[test]
fn docker_loads_it_with_the_same_id() {
    let sandbox = Sandbox::alone();
    let Some(docker) = Docker::start(&sandbox) else {
        skip!("/usr/bin/docker and dockerd are needed");
    };
    sandbox.pull("odd");
    let id = sandbox.inspect("odd")["Id"].as_str().unwrap().to_owned();
    let archive = sandbox.text("ours.tar");
    sandbox.ok(&["save", "-o", &archive, "odd"]);
    docker.run(&["load", "-i", &archive]);
    assert_eq!(docker.run(&["image", "inspect", "--format", "{{.Id}}", "odd"]).word(), id);
    // And back. Docker cannot save `odd` itself, whoever it came from: its tar-split loses count in sparse files.
    sandbox.pull("debian");
    let id = sandbox.inspect("debian")["Id"].as_str().unwrap().to_owned();
    sandbox.ok(&["save", "-o", &archive, "debian"]);
    docker.run(&["load", "-i", &archive]);
    let back = sandbox.text("theirs.tar");
    docker.run(&["save", "-o", &back, "debian"]);
    let other = sandbox.sibling();
    other.img(&["load", "-i", &back]).ok();
    assert_eq!(other.ok(&["images", "-q", "--no-trunc"]), id);
}

#[test]
fn what_podman_and_buildah_pushed_is_pulled_and_run() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let podman = Podman::new(&sandbox.path("podman"), registry.address());
    let base = format!("oci:{}:latest", images::layout("busybox").display());
    podman.run(&["pull", &base]).ok();
    let image = podman.run(&["images", "-q"]).ok().word();
    sandbox.write("context/Containerfile", format!("FROM {image}\nRUN mkdir -p /d/e && echo built > /d/e/f && ln /d/e/f /d/g && rm /bin/vi\nCOPY Containerfile /c\nCMD [\"cat\", \"/d/g\"]\n"));
    for (format, compression) in [("oci", "gzip"), ("docker", "gzip"), ("oci", "zstd")] {
        let name = registry.name(&format!("by/buildah:{format}-{compression}"));
        let context = sandbox.text("context");
        podman.buildah(&["bud", "--isolation", "chroot", "--format", format, "-t", &name, &context]).ok();
        podman
            .run(&[
                "push",
                "--tls-verify=false",
                "--format",
                if format == "oci" { "oci" } else { "v2s2" },
                "--compression-format",
                compression,
                &name,
            ])
            .ok();
        sandbox.img(&["pull", &name]).ok();
        sandbox.img(&["run", "--rm", "--network", "none", &name]).ok().prints_exactly("built\n");
        let theirs = sandbox.text(&format!("theirs-{format}-{compression}.tar"));
        let container = podman.run(&["create", &name]).ok().word();
        podman.run(&["export", "-o", &theirs, &container]).ok();
        podman.run(&["rm", &container]).ok();
        let into = sandbox.path(format!("theirs-{format}-{compression}"));
        tools::untar(std::path::Path::new(&theirs), &into);
        tree::assert_same(&sandbox.flatten(&name, &format!("ours-{format}-{compression}")), &into, &OWN);
    }
}

#[test]
fn the_whole_debian_image_is_equal_file_by_file() {
    let sandbox = Sandbox::new();
    sandbox.pull("debian");
    let theirs = sandbox.text("theirs");
    tools::run("umoci", ["unpack", "--image", &format!("{}:latest", images::layout("debian").display()), &theirs]);
    tree::assert_same(&sandbox.flatten("debian", "ours"), &sandbox.path("theirs/rootfs"), &OWN);
}

#[test]
fn a_layer_built_here_unpacks_the_same_elsewhere() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let name = registry.name("ours/changed:1");
    let script = "cd /odd && rm plain && rm -r dir && mkdir dir && echo x > dir/x && chmod 4755 caps && chown 9:9 xattrs && mv sticky moved && ln moved/../setuid hard3 && mkfifo pipe && truncate -s 1M hole && ln -sf other symlink";
    sandbox.build("context", &name, &format!("FROM odd\nUSER 0\nRUN {script}\n")).ok();
    sandbox.ok(&["push", "-q", &name]);
    let copy = format!("oci:{}:latest", sandbox.text("copy"));
    tools::run("skopeo", ["copy", "--quiet", "--src-tls-verify=false", &format!("docker://{name}"), &copy]);
    tools::run("umoci", ["unpack", "--image", &format!("{}:latest", sandbox.text("copy")), &sandbox.text("theirs")]);
    let ours = sandbox.flatten(&name, "ours");
    tree::drop_empty_xattr(&ours.join("odd/xattrs"), "user.empty");
    tree::assert_same(&ours, &sandbox.path("theirs/rootfs"), &OWN);
}

#[test]
fn nothing_of_the_overlay_crosses_into_a_layer() {
    let sandbox = Sandbox::new();
    sandbox
        .build(
            "context",
            "made",
            "FROM odd\nUSER 0\nRUN rm -r dir opaque && mkdir dir opaque && mv sticky renamed && touch plain\n",
        )
        .ok();
    let archive = sandbox.text("made.tar");
    sandbox.ok(&["save", "-o", &archive, "made"]);
    tools::run(
        "skopeo",
        ["copy", "--quiet", &format!("docker-archive:{archive}"), &format!("dir:{}", sandbox.text("layers"))],
    );
    let listing = tools::run(
        "sh",
        [
            "-c",
            "for f in \"$0\"/*; do tar --xattrs --xattrs-include='*' -tvvf \"$f\" 2>/dev/null; strings -n 8 \"$f\" 2>/dev/null | grep -a 'overlay\\.' || true; done",
            &sandbox.text("layers"),
        ],
    );
    assert!(listing.stdout().contains(".wh."), "whiteouts are there\n{listing}");
    assert!(!listing.stdout().contains("overlay."), "{listing}");
    assert!(!listing.stdout().lines().any(|line| line.starts_with('c') && line.contains(" 0,0 ")), "{listing}");
}

/// A dockerd of the test's own, ended by its id.
struct Docker {
    daemon: std::process::Child,
    socket: String,
    mounts: String,
}

impl Docker {
    fn start(sandbox: &Sandbox) -> Option<Self> {
        if !std::path::Path::new("/usr/bin/docker").exists() || !tools::has("dockerd") {
            return None;
        }
        let place = sandbox.text("docker");
        std::fs::create_dir(&place).unwrap();
        let socket = format!("unix://{place}/docker.sock");
        let words = [
            "--host",
            &socket,
            "--data-root",
            &format!("{place}/data"),
            "--exec-root",
            &format!("{place}/exec"),
            "--pidfile",
            &format!("{place}/pid"),
        ];
        let quiet = [
            "--bridge",
            "none",
            "--iptables=false",
            "--ip6tables=false",
            "--storage-driver",
            "vfs",
            "--containerd-namespace",
            "img-test",
        ];
        let log = std::fs::File::create(format!("{place}/log")).unwrap();
        let mut command = std::process::Command::new("dockerd");
        command.args(words).args(quiet).stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let docker = Self { daemon: command.spawn().ok()?, socket, mounts: place.clone() };
        for _ in 0..200 {
            let asked = std::process::Command::new("/usr/bin/docker").args(["-H", &docker.socket, "version"]).output();
            if asked.is_ok_and(|out| out.status.success()) {
                return Some(docker);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("dockerd did not come up:\n{}", std::fs::read_to_string(format!("{place}/log")).unwrap_or_default());
    }

    fn run(&self, words: &[&str]) -> crate::support::Out {
        let mut all = vec!["-H", &self.socket];
        all.extend(words);
        tools::run("/usr/bin/docker", all)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(tools::run("kill", ["-TERM", &self.daemon.id().to_string()]));
        let began = std::time::Instant::now();
        while matches!(self.daemon.try_wait(), Ok(None)) && began.elapsed().as_secs() < 15 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        drop(self.daemon.kill());
        drop(self.daemon.wait());
        for mount in crate::support::leaks::mounts_with(&self.mounts) {
            let point = mount.split(' ').next().unwrap_or_default().to_owned();
            drop(std::process::Command::new("umount").args(["--lazy", &point]).output());
        }
    }
}

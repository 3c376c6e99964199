//! `img mount` and `img image mount`: roots that the host's tools look into, and how they go away.

use std::path::Path;

use serde_json::Value;

use crate::support::Sandbox;

fn mounts(sandbox: &Sandbox) -> usize {
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = format!("{}/", sandbox.path("run/mounts").display());
    all.lines().filter(|line| line.contains(&place)).count()
}

#[test]
fn the_root_of_a_container_is_shown_over_starts_until_rm() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script = "echo inside > /made; sleep 1000";
    sandbox.ok(&["create", "--name", "box", "--network", "none", "-v", "/data", "busybox", "sh", "-c", script]);
    let place = sandbox.ok(&["mount", "box"]);
    let root = Path::new(&place);
    std::fs::write(root.join("first"), "of the host\n").unwrap();
    assert_eq!(sandbox.ok(&["mount", "box"]), place, "once is enough");
    assert_eq!(mounts(&sandbox), 1);
    sandbox.img(&["mount"]).ok().prints(&["ID", "NAMES", "box", &place]);
    let listed: Value = serde_json::from_str(&sandbox.ok(&["mount", "--format", "json"])).unwrap();
    assert_eq!(listed[0]["Mountpoint"], place.as_str());
    for round in 0..2 {
        sandbox.ok(&["start", "box"]);
        sandbox.wait_until("the program has written", || root.join("made").exists());
        // One file system: each sees at once what the other writes.
        std::fs::write(root.join(format!("round-{round}")), "of the host\n").unwrap();
        sandbox.img(&["exec", "box", "cat", "/first", &format!("/round-{round}")]).ok();
        assert_eq!(mounts(&sandbox), 1);
        sandbox.ok(&["stop", "-t", "0", "box"]);
        std::fs::remove_file(root.join("made")).unwrap();
    }
    sandbox.img(&["unmount", "box"]).ok().prints_exactly("box\n");
    assert!(!root.exists() && mounts(&sandbox) == 0);
    sandbox.img(&["unmount", "box"]).refuses(1, &["box", "not mounted"]);
    sandbox.img(&["unmount"]).refuses(125, &["nothing is named"]);
    sandbox.img(&["mount", "nobody"]).refuses(1, &["no such container"]);
    sandbox.ok(&["mount", "--all"]);
    sandbox.img(&["diff", "box"]).ok().prints(&["A /first", "A /round-1"]);
    sandbox.ok(&["rm", "box"]);
    assert!(!root.exists() && mounts(&sandbox) == 0);
}

#[test]
fn an_image_is_shown_read_only_and_goes_with_system_unmount() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let place = sandbox.ok(&["image", "mount", "busybox"]);
    assert!(Path::new(&place).join("bin/busybox").exists());
    let error = std::fs::write(Path::new(&place).join("new"), "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    sandbox.img(&["image", "mount"]).ok().prints(&["busybox:latest", &place]);
    sandbox.img(&["rmi", "busybox"]).refuses(1, &["busybox", "mounted"]);
    sandbox.img(&["image", "umount", "busybox"]).ok().prints_exactly("busybox\n");
    sandbox.img(&["image", "unmount", "busybox"]).refuses(1, &["not mounted"]);
    sandbox.ok(&["image", "mount", "busybox"]);
    sandbox.ok(&["system", "unmount"]);
    assert!(!Path::new(&place).exists() && mounts(&sandbox) == 0);
    sandbox.ok(&["image", "mount", "busybox"]);
    sandbox.ok(&["rmi", "-f", "busybox"]);
    assert!(!Path::new(&place).exists() && mounts(&sandbox) == 0);
}

#[test]
fn what_a_kill_left_is_swept() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox", "true"]);
    let place = sandbox.ok(&["mount", "box"]);
    let root = Path::new(&place);
    // As if killed before the mount was made, and as if the record had gone without it.
    let unborn = root.with_file_name("0".repeat(64));
    std::fs::create_dir(&unborn).unwrap();
    let id = root.file_name().unwrap();
    let record = sandbox.root().join("containers").join(id);
    assert!(record.exists(), "{}", record.display());
    sandbox.ok(&["ps", "-a"]);
    assert!(!unborn.exists() && root.join("bin").exists());
    let aside = sandbox.path("aside");
    std::fs::rename(&record, &aside).unwrap();
    sandbox.ok(&["ps", "-a"]);
    assert!(!root.exists() && mounts(&sandbox) == 0);
    std::fs::rename(&aside, &record).unwrap();
    // Its name was swept with it.
    sandbox.ok(&["rm", id.to_str().unwrap()]);
}

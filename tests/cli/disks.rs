//! Disks that are full or read-only, for real: what looks and what removes goes on working, the rest says what is wrong, and
//! nothing is left of it.

use crate::support::{Disk, Sandbox, skip};

/// Two images, a container that has run and wrote something, one that runs, and a volume.
fn inhabited(disk: &Disk) -> Sandbox {
    let sandbox = disk.sandbox();
    sandbox.pull("busybox");
    sandbox.build("made", "made", "FROM busybox\nRUN head -c 300000 /dev/urandom > /made\n").ok();
    sandbox.ok(&["tag", "made", "again"]);
    let write = "echo kept > /kept; rm /etc/passwd; echo said";
    sandbox.ok(&["run", "--name", "old", "--network", "none", "busybox", "sh", "-c", write]);
    sandbox.ok(&["create", "--name", "new", "--network", "none", "busybox", "sh", "-c", "cat /etc/group; echo > /f"]);
    sandbox.ok(&["volume", "create", "data"]);
    sandbox.ok(&["volume", "create", "spare"]);
    sandbox.ok(&["run", "-d", "--name", "up", "--network", "none", "-v", "data:/d", "made", "sleep", "1000"]);
    sandbox
}

/// What only looks.
fn looks(sandbox: &Sandbox) {
    for (words, seen) in [
        (&["images"][..], "again"),
        (&["ps", "-a"], "old"),
        (&["inspect", "old"], "\"Id\""),
        (&["image", "inspect", "made"], "made:latest"),
        (&["history", "made"], "urandom"),
        (&["image", "tree", "made"], "made"),
        (&["logs", "old"], "said"),
        (&["diff", "old"], "A /kept"),
        (&["volume", "ls"], "data"),
        (&["network", "ls"], "bridge"),
        (&["system", "df", "-v"], "made"),
        (&["top", "up"], "sleep"),
        (&["exec", "up", "echo", "inside"], "inside"),
        (&["exec", "up", "sha256sum", "/made"], "/made"),
        (&["stats", "--no-stream", "up"], "up"),
        (&["events", "--since", "1h", "--until", "0s"], "create"),
        (&["info"], "Images"),
        (&["doctor"], "kernel"),
        (&["why", "made"], "made"),
    ] {
        sandbox.img(words).ok().prints(&[seen]);
    }
    sandbox.img(&["save", "-o", "/dev/null", "busybox"]).ok();
    sandbox.img(&["export", "-o", "/dev/null", "old"]).ok();
    sandbox.img(&["cp", "old:/kept", &sandbox.text("kept")]).ok();
    assert_eq!(std::fs::read_to_string(sandbox.path("kept")).unwrap(), "kept\n");
    std::fs::remove_file(sandbox.path("kept")).unwrap();
    sandbox.img(&["system", "check"]).ok();
}

/// What cannot be done, with what it says; nothing of it is left.
fn cannot(sandbox: &Sandbox, why: &str) {
    let context = sandbox.text("made");
    let archive = sandbox.text("archive");
    std::fs::write(sandbox.path("made/Buildfile"), "FROM busybox\nRUN head -c 3000000 /dev/urandom > /made\n").unwrap();
    for (code, words) in [
        (1, &["pull", "odd"][..]),
        (1, &["import", &archive, "imported"]),
        (1, &["build", "-t", "other", &context]),
        (1, &["volume", "create", "more"]),
        (1, &["network", "create", "more"]),
        (1, &["commit", "old", "committed"]),
        (125, &["run", "--rm", "--network", "none", "busybox", "true"]),
        (125, &["create", "busybox", "true"]),
    ] {
        let out = sandbox.img(words);
        out.refuses(code, &[why]).hints();
    }
}

fn archive(sandbox: &Sandbox) {
    std::fs::create_dir(sandbox.path("files")).unwrap();
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    let mut file = std::fs::File::create(sandbox.path("files/f")).unwrap();
    std::io::copy(&mut std::io::Read::by_ref(&mut std::io::Read::take(&mut random, 3 << 20)), &mut file).unwrap();
    crate::support::tools::run("tar", ["-C", &sandbox.text("files"), "-cf", &sandbox.text("archive"), "."]).ok();
}

#[test]
fn a_full_disk_can_be_looked_at_and_cleared() {
    if !Disk::can_be_made() {
        skip!("mkfs.ext4 and loop devices are needed");
    }
    let disk = Disk::new(48);
    let sandbox = inhabited(&disk);
    archive(&sandbox);
    disk.fill();
    looks(&sandbox);
    cannot(&sandbox, "no space left");
    looks(&sandbox);
    // What runs goes on, and ends.
    sandbox.img(&["exec", "up", "sh", "-c", "echo x > /d/x"]).exits(1);
    sandbox.img(&["stop", "-t", "0", "up"]).ok();
    // Removing needs no room.
    sandbox.img(&["rm", "old"]).ok();
    sandbox.img(&["rmi", "again"]).ok();
    sandbox.img(&["rm", "up"]).ok();
    sandbox.img(&["volume", "rm", "data"]).ok();
    sandbox.img(&["container", "prune", "--force"]).ok();
    sandbox.img(&["volume", "prune", "--all", "--force"]).ok();
    sandbox.img(&["network", "prune", "--force"]).ok();
    sandbox.img(&["builder", "prune", "--all", "--force"]).ok();
    sandbox.img(&["image", "prune", "--all", "--force"]).ok();
    sandbox.img(&["system", "prune", "--all", "--force"]).ok();
    sandbox.img(&["system", "check"]).ok();
    disk.empty();
    sandbox.assert_usable();
    assert_eq!(std::fs::read_dir(sandbox.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_read_only_disk_can_be_read_and_run_from() {
    if !Disk::can_be_made() {
        skip!("mkfs.ext4 and loop devices are needed");
    }
    let disk = Disk::new(48);
    let sandbox = inhabited(&disk);
    archive(&sandbox);
    sandbox.img(&["stop", "-t", "0", "up"]).ok();
    sandbox.img(&["system", "unmount"]).ok();
    // A running container keeps its disk busy: here a disk is meant that fell to read-only, or was mounted so.
    disk.read_only();
    for words in [&["start", "-a", "new"][..], &["start", "-a", "old"]] {
        let out = sandbox.img(words);
        assert!(out.stdout().contains("root:x:0:") || out.stdout().contains("said"), "{out}");
        assert!(out.stderr().contains("Read-only file system"), "{out}");
    }
    // Its own layer is there, with what it removed.
    sandbox.img(&["start", "up"]).ok();
    looks(&sandbox);
    sandbox.img(&["exec", "up", "sh", "-c", "echo > /f"]).exits(1);
    cannot(&sandbox, "read-only file system");
    for words in [&["rm", "old"][..], &["rmi", "again"], &["volume", "rm", "spare"], &["tag", "made", "third"]] {
        sandbox.img(words).refuses(1, &["read-only file system"]).hints();
    }
    sandbox.img(&["kill", "up"]).ok();
    sandbox.img(&["wait", "up"]).ok();
    sandbox.img(&["system", "unmount"]).ok();
    disk.writable();
    sandbox.img(&["start", "-a", "new"]).ok().prints(&["root:x:0:"]);
    sandbox.img(&["diff", "new"]).ok().prints(&["A /f"]);
    sandbox.img(&["system", "check"]).ok();
    assert_eq!(std::fs::read_dir(sandbox.root().join("tmp")).unwrap().count(), 0);
}

//! Disks that are full or read-only, for real: what looks and what removes goes on working, the rest says what is wrong, and
//! nothing is left of it.

use std::io::{BufRead, BufReader};

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
        (125, &["run", "--rm", "--network", "none", "-v", "more:/d", "busybox", "true"]),
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
    for words in [&["run", "--rm", "--network", "none", "busybox", "true"][..], &["create", "busybox", "true"]] {
        sandbox.img(words).refuses(125, &["no space left"]).hints();
    }
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

/// New containers on a read-only disk live in memory: everything of theirs works, and they take nothing of the disk, also once that can be
/// written again.
#[test]
fn new_containers_on_a_read_only_disk_live_in_memory() {
    if !Disk::can_be_made() {
        skip!("mkfs.ext4 and loop devices are needed");
    }
    let disk = Disk::new(48);
    let sandbox = disk.sandbox();
    sandbox.pull("busybox");
    sandbox.build("made", "made", "FROM busybox\nVOLUME /data\nRUN echo made > /made\n").ok();
    sandbox.ok(&["create", "--name", "old", "--network", "none", "busybox", "true"]);
    sandbox.img(&["system", "unmount"]).ok();
    disk.read_only();

    let write = "echo written > /f; cat /f";
    let out = sandbox.img(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", write]);
    out.ok().prints(&["written"]);
    assert!(!out.stderr().contains("in memory"), "of one that goes at once there is nothing to say: {out}");
    let out = sandbox.img(&["run", "--name", "one", "--network", "none", "busybox", "sh", "-c", write]);
    assert!(out.ok().stderr().contains("container one lives in memory, until the next boot"), "{out}");
    for taken in ["one", "old"] {
        sandbox.img(&["create", "--name", taken, "busybox", "true"]).refuses(125, &["already in use"]).hints();
    }
    let says = "cat /made > /data/f; echo said; sleep 1000";
    sandbox.ok(&["run", "-d", "--name", "up", "--network", "none", "made", "sh", "-c", says]);
    sandbox.wait_until("its word", || sandbox.img(&["logs", "up"]).ok().stdout().contains("said"));
    sandbox.img(&["exec", "up", "cat", "/data/f"]).ok().prints(&["made"]);
    sandbox.img(&["ps", "-a", "--format", "{{.Names}}"]).ok().prints(&["up", "one", "old"]);
    sandbox.img(&["diff", "one"]).ok().prints(&["A /f"]);
    sandbox.img(&["cp", "one:/f", &sandbox.text("copied")]).ok();
    sandbox.img(&["rename", "one", "two"]).ok();
    sandbox.img(&["start", "-a", "two"]).ok().prints(&["written"]);
    sandbox.img(&["inspect", "two"]).ok().prints(&["\"/two\""]);
    let mounted = sandbox.ok(&["mount", "two"]);
    assert_eq!(std::fs::read_to_string(std::path::Path::new(&mounted).join("f")).unwrap(), "written\n");
    sandbox.ok(&["umount", "two"]);
    sandbox.ok(&["run", "-d", "--restart=always", "--name", "again", "--network", "none", "busybox", "sleep", "1000"]);
    sandbox.ok(&["rm", "-f", "again"]);
    sandbox.img(&["system", "check"]).ok();
    // What it says of the disk adds up to the disk.
    let used = crate::support::tools::run("du", ["-sxD", "-B1", &sandbox.root().to_string_lossy()]).ok().stdout();
    let used = used.split_whitespace().next().unwrap().to_owned();
    sandbox.img(&["system", "df", "-v"]).ok().prints(&[&format!("({used} bytes)")]);
    sandbox.img(&["rm", "two"]).ok();
    // A volume with a name would be expected to stay.
    sandbox.img(&["run", "--rm", "-v", "kept:/d", "busybox", "true"]).refuses(125, &["read-only file system"]).hints();

    disk.writable();
    sandbox.img(&["create", "--name", "up", "busybox", "true"]).refuses(125, &["already in use"]).hints();
    sandbox.ok(&["run", "--name", "disk", "--network", "none", "busybox", "true"]);
    sandbox.img(&["ps", "-a", "--format", "{{.Names}}"]).ok().prints(&["disk", "up", "old"]);
    // Its image stays as long as it does.
    sandbox.img(&["image", "prune", "--all", "--force"]).ok();
    sandbox.img(&["exec", "up", "cat", "/made"]).ok().prints(&["made"]);
    sandbox.img(&["rm", "-f", "-v", "up"]).ok();
    sandbox.img(&["rm", "old", "disk"]).ok();
    assert_eq!(sandbox.img(&["volume", "ls", "-q"]).ok().word(), "");
    for place in ["containers", "containers/names", "volumes", "volumes/names", "trash"] {
        let names = std::fs::read_dir(sandbox.path("run/memory").join(place)).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).filter(|name| name != "names").collect();
        assert!(names.is_empty(), "{place}: {names:?}");
    }
    sandbox.img(&["system", "check"]).ok();
}

/// What happens while the disk is read-only is written down in memory, and shown with what was and what comes after.
#[test]
fn events_of_a_read_only_disk_are_those_of_memory_and_of_the_disk() {
    if !Disk::can_be_made() {
        skip!("mkfs.ext4 and loop devices are needed");
    }
    let disk = Disk::new(48);
    let sandbox = disk.sandbox();
    sandbox.pull("busybox");
    sandbox.ok(&["create", "--name", "old", "--network", "none", "busybox", "true"]);
    sandbox.img(&["system", "unmount"]).ok();
    disk.read_only();

    let told = |words: &[&str]| {
        let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
        let out = sandbox.img(&[&["events", "--filter", "type=container", "--format", format], words].concat());
        out.ok().stdout().lines().map(|line| line.trim_start_matches("container ").to_owned()).collect::<Vec<_>>()
    };
    let began = jiff::Timestamp::now().to_string();
    // It is there before anything is in memory, and reads on when the disk can be written again.
    let follow = ["events", "--since", &began, "--filter", "event=create", "--format", "{{.Actor.Attributes.name}}"];
    let mut follower = sandbox.spawn(&follow);
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let out = sandbox.img(&["start", "-a", "old"]);
    assert!(!out.stderr().contains("event"), "{out}");
    let out = sandbox.img(&["run", "--name", "one", "--network", "none", "busybox", "sh", "-c", "exit 3"]);
    assert!(!out.exits(3).stderr().contains("event"), "{out}");
    sandbox.img(&["run", "--rm", "--name", "gone", "--network", "none", "busybox", "true"]).ok().prints_exactly("");
    sandbox.img(&["run", "-d", "--name", "two", "--network", "none", "busybox", "true"]).ok();
    sandbox.img(&["wait", "two"]).ok().prints_exactly("0\n");
    let of_memory = [
        &["start old", "die old"][..],
        &["create one", "start one", "die one"],
        &["create gone", "start gone", "die gone", "destroy gone"],
        &["create two", "start two", "die two"],
    ]
    .concat();
    // A monitor tells of an end when it has recorded it.
    let before = || told(&["--since", &began, "--until", "0s"]);
    sandbox.wait_until("the last end is told", || before().len() == of_memory.len());
    assert_eq!(before(), of_memory);
    let until = jiff::Timestamp::now().to_string();

    disk.writable();
    sandbox.img(&["run", "--name", "disk", "--network", "none", "busybox", "true"]).ok();
    sandbox.img(&["rm", "one"]).ok();
    let of_disk = ["create disk", "start disk", "die disk", "destroy one"];
    let all = [&["create old"][..], &of_memory, &of_disk].concat();
    assert_eq!(told(&["--since", "1h", "--stream=false"]), all);
    assert_eq!(told(&["--since", &began, "--until", &until]), of_memory);
    assert_eq!(told(&["--since", &until, "--until", "0s"]), of_disk);
    let followed: Vec<String> = lines.by_ref().take(4).map(Result::unwrap).collect();
    assert_eq!(followed, ["one", "gone", "two", "disk"]);
    drop(follower);
    sandbox.img(&["system", "check"]).ok();
}

/// A prune removes what is in memory, and says of each container on the disk that it cannot.
#[test]
fn a_prune_of_a_read_only_disk_goes_on_past_what_it_cannot_remove() {
    if !Disk::can_be_made() {
        skip!("mkfs.ext4 and loop devices are needed");
    }
    let disk = Disk::new(48);
    let sandbox = disk.sandbox();
    sandbox.pull("busybox");
    for name in ["a", "z"] {
        sandbox.ok(&["create", "--name", name, "--network", "none", "busybox", "true"]);
    }
    sandbox.img(&["system", "unmount"]).ok();
    disk.read_only();
    let make = |name: &str| drop(sandbox.ok(&["run", "--name", name, "--network", "none", "busybox", "true"]));
    let here = || sandbox.ok(&["ps", "-a", "--no-trunc", "--format", "{{.Names}}"]);
    let failures = ["cannot remove container a", "cannot remove container z", "read-only file system"];
    for words in [&["container", "prune", "--force"][..], &["system", "prune", "--force"]] {
        make("m");
        make("n");
        let ids = ["m", "n"].map(|name| sandbox.inspect(name)["Id"].as_str().unwrap().to_owned());
        let out = sandbox.img(words);
        out.exits(1).says(&failures).prints(&["Deleted Containers:", &ids[0], &ids[1], "Total reclaimed space"]);
        assert_eq!(here(), "z\na");
    }
    disk.writable();
    let out = sandbox.img(&["container", "prune", "--force"]);
    assert_eq!(out.ok().stderr(), "");
    assert_eq!(here(), "");
    sandbox.img(&["system", "check"]).ok();
}

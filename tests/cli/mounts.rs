//! `-v`, `--mount`, `--mount-entry`, `--volumes-from` and what they mount: what is seen inside, what may be written, and
//! what is refused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;

use crate::support::Sandbox;

/// `img run --rm --network none … busybox sh -c SCRIPT`.
fn run(sandbox: &Sandbox, flags: &[&str], script: &str) -> crate::support::Out {
    let words = [&["run", "--rm", "--network", "none"][..], flags, &["busybox", "sh", "-c", script]].concat();
    sandbox.img(&words)
}

/// A directory of the test with a file in it, owned by user 1000.
fn source(sandbox: &Sandbox, name: &str) -> String {
    let path = sandbox.path(name);
    fs::create_dir_all(path.join("sub")).unwrap();
    fs::write(path.join("f"), "text\n").unwrap();
    fs::write(path.join("sub/g"), "below\n").unwrap();
    for path in [path.clone(), path.join("f"), path.join("sub"), path.join("sub/g")] {
        std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
    }
    path.display().to_string()
}

/// Whether a mount command of the host works; a test that needs it says so otherwise.
fn host(words: &[&str]) -> bool {
    Command::new(words[0]).args(&words[1..]).status().is_ok_and(|status| status.success())
}

#[test]
fn an_id_mapped_directory_belongs_to_the_user_inside_and_to_its_owner_outside() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "dir");
    let seen =
        run(&sandbox, &["-v", &format!("{dir}:/s:idmap")], "stat -c %u:%g /s /s/f; touch /s/new; chown 7 /s/new");
    assert_eq!(seen.ok().stdout().trim(), "0:0\n0:0");
    let new = fs::metadata(format!("{dir}/new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (7, 1000), "other ids stay what they are");
    let flags = ["-u", "33:33", "--mount", &format!("type=bind,src={dir},dst=/s,idmap")];
    assert_eq!(run(&sandbox, &flags, "stat -c %u:%g /s; touch /s/own").ok().stdout().trim(), "33:33");
    assert_eq!(fs::metadata(format!("{dir}/own")).unwrap().uid(), 1000);
    let mapping = format!("type=bind,src={dir},dst=/s,idmap=uids=1000-5-1#gids=1000-6-1");
    assert_eq!(run(&sandbox, &["--mount", &mapping], "stat -c %u:%g /s").ok().stdout().trim(), "5:6");
    run(&sandbox, &["-v", &format!("{dir}:/s:idmap=uids=1")], "true").refuses(125, &["FROM-TO-COUNT"]).hints();
}

#[test]
fn what_is_written_over_a_directory_is_thrown_away() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "dir");
    let script = "cat /s/f && echo new > /s/f && rm /s/sub/g && echo x > /s/x && cat /s/f";
    assert_eq!(run(&sandbox, &["-v", &format!("{dir}:/s:O")], script).ok().stdout(), "text\nnew\n");
    assert_eq!(fs::read_to_string(format!("{dir}/f")).unwrap(), "text\n");
    assert!(fs::metadata(format!("{dir}/sub/g")).is_ok() && fs::metadata(format!("{dir}/x")).is_err());
    run(&sandbox, &["-v", &format!("{dir}:/s:O,ro")], "true").refuses(125, &["exclude"]);
}

#[test]
fn a_tree_can_be_given_to_the_user_but_not_that_of_the_system() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "dir");
    let flags = ["-u", "77:78", "-v", &format!("{dir}:/s:U")];
    assert_eq!(run(&sandbox, &flags, "stat -c %u:%g /s /s/f /s/sub/g").ok().stdout().trim(), "77:78\n77:78\n77:78");
    run(&sandbox, &["-v", "/etc:/s:U"], "true").refuses(125, &["/etc", "system"]).hints();
}

#[test]
fn missing_sources_are_errors_unless_they_may_be_made_or_missed() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let missing = sandbox.path("missing/x").display().to_string();
    run(&sandbox, &["-v", &format!("{missing}:/s")], "true").refuses(125, &[&missing, "no such file"]).hints();
    let made = format!("type=bind,src={missing},dst=/s,bind-create-src");
    run(&sandbox, &["--mount", &made], "touch /s/y").ok();
    assert!(sandbox.path("missing/x/y").exists());
    let entry = "/nowhere/at/all s none bind,optional 0 0";
    assert_eq!(run(&sandbox, &["--mount-entry", entry], "ls -d /s 2>/dev/null || echo none").ok().stdout(), "none\n");
    run(&sandbox, &["--mount-entry", "/nowhere/at/all s none bind"], "true").refuses(125, &["/nowhere/at/all"]);
}

#[test]
fn a_file_of_mounts_is_mounted_line_by_line() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "a dir");
    let lines = format!(
        "# ours\n{} srv/data none bind,ro 0 0\ntmpfs /mem tmpfs size=1m,mode=700 0 0\n",
        dir.replace(' ', "\\040")
    );
    let file = sandbox.write("fstab", &lines);
    let script = "cat /srv/data/f; touch /srv/data/x 2>/dev/null || echo closed; stat -c %a /mem; df -k /mem | tail -1 | awk '{print $2}'";
    assert_eq!(run(&sandbox, &["--mount-file", &file], script).ok().stdout(), "text\nclosed\n700\n1024\n");
    run(&sandbox, &["--mount-file", "/nowhere"], "true").refuses(125, &["/nowhere"]);
}

#[test]
fn an_image_is_mounted_and_kept() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["tag", "busybox", "other"]);
    run(&sandbox, &["--mount", "type=image,src=other,dst=/i"], "test -x /i/bin/sh && touch /i/x")
        .exits(1)
        .says(&["Read-only"]);
    let part = ["--mount", "type=image,src=other,dst=/i,subpath=etc,rw"];
    assert_eq!(run(&sandbox, &part, "grep -c root /i/passwd; touch /i/x && ls /i/x").ok().stdout(), "1\n/i/x\n");
    run(&sandbox, &["--mount", "type=image,src=nothere:1,dst=/i"], "true").refuses(125, &["nothere:1"]).hints();
    sandbox.ok(&[
        "create",
        "--name",
        "box",
        "--network",
        "none",
        "--mount",
        "type=image,src=other,dst=/i",
        "busybox",
        "ls",
        "/i/bin/sh",
    ]);
    sandbox.ok(&["rmi", "-f", "other"]);
    assert_eq!(sandbox.ok(&["start", "-a", "box"]), "/i/bin/sh", "the image it was made with");
    let shown: Value = serde_json::from_str(&sandbox.ok(&["inspect", "box"])).unwrap();
    assert_eq!((&shown[0]["Mounts"][0]["Type"], &shown[0]["Mounts"][0]["RW"]), (&"image".into(), &false.into()));
}

#[test]
fn a_part_of_a_directory_is_looked_up_inside_of_it() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "dir");
    let part = |path: &str| format!("type=bind,src={dir},dst=/s,subpath={path},ro");
    assert_eq!(run(&sandbox, &["--mount", &part("sub")], "ls /s").ok().stdout(), "g\n");
    std::os::unix::fs::symlink("/etc", format!("{dir}/out")).unwrap();
    run(&sandbox, &["--mount", &part("out")], "true").refuses(125, &["out"]);
    fs::create_dir(format!("{dir}/etc")).unwrap();
    fs::write(format!("{dir}/etc/own"), "").unwrap();
    assert_eq!(run(&sandbox, &["--mount", &part("out")], "ls /s").ok().stdout(), "own\n", "a link stays inside");
    run(&sandbox, &["--mount", &part("../dir")], "true").refuses(125, &["does not lie inside"]);
}

#[test]
fn read_only_holds_for_mounts_below_too() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "dir");
    let below = format!("{dir}/sub");
    if !host(&["mount", "-t", "tmpfs", "tmpfs", &below]) {
        return println!("skip: cannot mount here");
    }
    let out = |option: &str| {
        let flags = ["--mount", &format!("type=bind,src={dir},dst=/s,{option}")];
        run(&sandbox, &flags, "touch /s/x 2>/dev/null && echo top; touch /s/sub/x 2>/dev/null && echo below; true")
    };
    let seen =
        [out("ro"), out("ro,bind-recursive=writable"), out("ro,bind-recursive=readonly"), out("bind-nonrecursive")];
    let seen = seen.map(|out| out.ok().stdout().to_owned());
    let hidden = fs::metadata(format!("{below}/x")).is_err();
    assert!(host(&["umount", &below]));
    assert_eq!(seen, ["", "below\n", "", "top\nbelow\n"]);
    assert!(!hidden, "the writable one below was the host's");
    assert!(fs::metadata(format!("{below}/x")).is_ok(), "without recursion what lies under the mount is seen");
}

#[test]
fn a_later_mount_of_the_host_propagates_if_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "dir");
    run(&sandbox, &["-v", &format!("{dir}/sub:/s:rshared")], "true").refuses(125, &["shared"]);
    if !(host(&["mount", "-t", "tmpfs", "tmpfs", &dir]) && host(&["mount", "--make-shared", &dir])) {
        return println!("skip: cannot mount here");
    }
    let inner = format!("{dir}/inner");
    fs::create_dir(&inner).unwrap();
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "-v",
        &format!("{dir}:/s:rslave"),
        "busybox",
        "sleep",
        "60",
    ]);
    let mounted = host(&["mount", "-t", "tmpfs", "tmpfs", &inner]);
    let seen = sandbox.img(&["exec", "box", "grep", "-c", " /s/inner ", "/proc/mounts"]);
    sandbox.ok(&["rm", "-f", "box"]);
    assert!(mounted && host(&["umount", &inner]) && host(&["umount", &dir]));
    seen.ok().prints_exactly("1\n");
}

#[test]
fn a_file_system_in_a_file_is_mounted() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let image = sandbox.path("disk.img").display().to_string();
    fs::File::create(&image).unwrap().set_len(17 << 20).unwrap();
    if !host(&["mkfs.ext4", "-q", "-E", "offset=1048576", &image, "16384"]) || !fs::exists("/dev/loop-control").unwrap()
    {
        return println!("skip: no mkfs.ext4 or no loop devices");
    }
    let mount = format!("type=image-file,src={image},dst=/d,offset=1m");
    run(&sandbox, &["--mount", &mount], "echo kept > /d/a").ok();
    run(&sandbox, &["--mount", &format!("{mount},ro")], "cat /d/a; touch /d/b")
        .exits(1)
        .prints(&["kept"])
        .says(&["Read-only"]);
    let text = sandbox.write("text", "x".repeat(9000));
    run(&sandbox, &["--mount", &format!("type=image-file,src={text},dst=/d")], "true")
        .refuses(125, &[&text, "no file system"]);
}

#[test]
fn mounts_of_another_container_are_taken_over() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "dir");
    sandbox.ok(&[
        "create",
        "--name",
        "box",
        "--network",
        "none",
        "-v",
        &format!("{dir}:/s"),
        "-v",
        "named:/n",
        "-v",
        "/anon",
        "--tmpfs",
        "/t",
        "busybox",
    ]);
    let script = "cat /s/f; echo 1 > /n/a; echo 2 > /anon/b; ls -d /t 2>/dev/null || echo own";
    assert_eq!(run(&sandbox, &["--volumes-from", "box"], script).ok().stdout(), "text\nown\n");
    let script = "cat /n/a /anon/b; for d in /s /n /anon; do touch $d/x 2>/dev/null && echo $d; done; true";
    assert_eq!(run(&sandbox, &["--volumes-from", "box:ro"], script).ok().stdout(), "1\n2\n");
    let over = ["--volumes-from", "box", "-v", "other:/n"];
    assert_eq!(run(&sandbox, &over, "ls /n; ls /anon").ok().stdout(), "b\n", "what is asked for itself comes first");
    run(&sandbox, &["--volumes-from", "box:x"], "true").refuses(125, &["\"x\""]).hints();
    run(&sandbox, &["--volumes-from", "nothere"], "true").refuses(125, &["nothere"]);
}

#[test]
fn an_anonymous_volume_stays_while_another_container_uses_it() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["create", "--name", "first", "--network", "none", "-v", "/anon", "busybox"]);
    sandbox.ok(&[
        "create",
        "--name",
        "second",
        "--network",
        "none",
        "--volumes-from",
        "first",
        "busybox",
        "ls",
        "-d",
        "/anon",
    ]);
    sandbox.ok(&["rm", "-v", "first"]);
    assert_eq!(sandbox.ok(&["start", "-a", "second"]), "/anon");
    sandbox.ok(&["rm", "-v", "second"]);
    sandbox.ok(&["volume", "prune", "-f"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn volumes_of_the_image_become_what_is_asked() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["create", "--name", "box", "--network", "none", "busybox"]);
    sandbox.ok(&["commit", "-c", "VOLUME /vol", "box", "with-volume"]);
    let seen = |mode: &str| {
        let words = [
            "run",
            "--rm",
            "--network",
            "none",
            "--image-volume",
            mode,
            "with-volume",
            "sh",
            "-c",
            "awk '$2==\"/vol\"{print $3}' /proc/mounts",
        ];
        sandbox.ok(&words)
    };
    assert_eq!((seen("ignore").as_str(), seen("tmpfs").as_str()), ("", "tmpfs"));
    assert!(!seen("bind").is_empty());
    sandbox.img(&["run", "--image-volume", "no", "with-volume"]).refuses(125, &["--image-volume"]);
}

#[test]
fn a_start_that_fails_leaves_no_mount_points() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let dir = source(&sandbox, "dir");
    let flags = ["run", "--name", "box", "--network", "none", "-v", &format!("{dir}:/new/place"), "--tmpfs", "/other"];
    // The program is not there; then a mount that comes after others cannot be made.
    sandbox.img(&[&flags[..], &["busybox", "/no/such/program"]].concat()).refuses(127, &["/no/such/program"]);
    assert_eq!(sandbox.ok(&["diff", "box"]), "");
    sandbox.ok(&["rm", "box"]);
    sandbox.img(&[&flags[..], &["-v", &format!("{dir}/f:/bin"), "busybox", "true"]].concat()).exits(125);
    assert_eq!(sandbox.ok(&["diff", "box"]), "");
}

//! `img volume create|ls|inspect|rm|prune`, and volumes in containers: what lasts, what is filled, what is refused.

use serde_json::Value;

use crate::support::{Sandbox, tools};

#[test]
fn made_listed_inspected_and_removed() {
    let sandbox = Sandbox::new();
    sandbox.img(&["volume", "create", "data", "--label", "team=a", "--label", "bare"]).ok().prints_exactly("data\n");
    let random = sandbox.ok(&["volume", "create"]);
    assert_eq!(random.len(), 64, "docker's habit: {random}");
    sandbox.img(&["volume", "ls"]).ok().prints(&["DRIVER", "VOLUME NAME", "local", "data"]);
    let mut names = [random.clone(), "data".to_owned()];
    names.sort();
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().collect::<Vec<_>>(), names);
    assert_eq!(sandbox.ok(&["volume", "ls", "--format", "{{.Name}}"]).lines().count(), 2);
    let shown: Value = serde_json::from_str(&sandbox.ok(&["volume", "inspect", "data"])).unwrap();
    assert_eq!((&shown[0]["Name"], &shown[0]["Labels"]["team"]), (&"data".into(), &"a".into()));
    assert!(std::path::Path::new(shown[0]["Mountpoint"].as_str().unwrap()).is_dir());
    sandbox.img(&["run", "--rm", "--network", "none", "-u", "1000", "-v", "data:/d", "busybox", "ls", "/d"]).ok();
    sandbox.img(&["volume", "rm", "data", "nothere"]).refuses(1, &["nothere"]).prints(&["data"]);
    sandbox.img(&["volume", "rm", "-f", "nothere"]).ok();
    sandbox.img(&["volume", "inspect", "data"]).refuses(1, &["data"]);
    sandbox.img(&["volume", "create", "../x"]).refuses(1, &["../x"]);
}

/// The name is taken before the record of the volume can be seen, and the volume goes as soon as nobody uses it.
#[test]
fn named_for_the_first_time_by_many_at_once() {
    let sandbox = Sandbox::new();
    for round in 0..30 {
        let all = [(); 6].map(|()| sandbox.spawn(&["volume", "create", "data"]));
        for mut one in all {
            let said = one.said();
            assert_eq!((one.wait(), said.as_str()), (0, ""), "round {round}");
        }
        sandbox.ok(&["volume", "rm", "data"]);
    }
}

/// Nobody sees a volume before it has what its files are kept in.
#[test]
fn used_at_the_instant_it_is_made() {
    let sandbox = Sandbox::new();
    for round in 0..20 {
        let mut users = vec![sandbox.spawn(&["volume", "create", "--opt", "size=8m", "data"])];
        users.extend([(); 4].map(|()| sandbox.spawn(&["volume", "mount", "data"])));
        for mut one in users {
            let said = one.said();
            let code = one.wait();
            assert!(code == 0 || said.starts_with("error: no such volume: data"), "round {round}: {said}");
        }
        sandbox.ok(&["volume", "unmount", "data"]);
        sandbox.ok(&["volume", "rm", "data"]);
    }
}

/// What is copied has no name until it is whole, and is not for others to clear away meanwhile.
#[test]
fn cloned_while_others_prune_and_clone() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["volume", "create", "data"]);
    let user = ["create", "--rootfs", "/", "--name", "user", "-v", "data:/data", "true"];
    sandbox.ok(&user);
    for round in 0..20 {
        let clones = [(); 2].map(|()| sandbox.spawn(&["volume", "clone", "data", "copy"]));
        let prunes = [(); 3].map(|()| sandbox.spawn(&["volume", "prune", "--force"]));
        for mut prune in prunes {
            let said = prune.said();
            assert_eq!((prune.wait(), said.as_str()), (0, ""), "round {round}");
        }
        for mut clone in clones {
            let said = clone.said();
            let code = clone.wait();
            assert!(code == 0 || said.contains("there is a volume copy already"), "round {round}: {said}");
        }
        sandbox.ok(&["volume", "rm", "copy"]);
    }
}

/// `db` may be the beginning of somebody's id.
#[test]
fn the_id_of_a_volume_is_not_abbreviated() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let random = sandbox.ok(&["volume", "create"]);
    let run = |volume: &str, script: &str| {
        let volume = format!("{volume}:/data");
        sandbox.ok(&["run", "--rm", "--network", "none", "-v", &volume, "busybox", "sh", "-c", script])
    };
    run(&random, "echo other > /data/file");
    let short = &random[..2];
    sandbox.img(&["volume", "rm", short]).refuses(1, &["no such volume", short]);
    assert_eq!(run(short, "ls /data"), "", "a volume of its own");
    sandbox.ok(&["volume", "rm", short]);
    assert_eq!(run(&random, "cat /data/file"), "other");
}

#[test]
fn a_volume_outlives_its_containers_and_is_filled_from_the_image_once() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let run = |script: &str| {
        sandbox.ok(&["run", "--rm", "--network", "none", "-v", "data:/etc", "busybox", "sh", "-c", script])
    };
    assert_eq!(run("grep -c root /etc/passwd; echo mine > /etc/mine"), "1", "it begins with what the image has there");
    assert_eq!(run("cat /etc/mine; rm /etc/passwd"), "mine");
    assert_eq!(run("ls /etc/passwd 2>/dev/null || echo gone"), "gone", "it is filled only while it is new");
    sandbox
        .img(&["run", "--rm", "--network", "none", "-v", "data:/etc:ro", "busybox", "touch", "/etc/x"])
        .exits(1)
        .says(&["Read-only"]);
}

#[test]
fn one_in_use_stays() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["create", "--name", "box", "--network", "none", "-v", "data:/data", "-v", "/anonymous", "busybox"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    sandbox.img(&["volume", "rm", "data"]).refuses(1, &["data", "use"]);
    sandbox.img(&["volume", "prune", "--all", "--force"]).ok();
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().count(), 2, "both are in use");
    sandbox.ok(&["rm", "box"]);
    sandbox.img(&["volume", "prune"]).refuses(125, &["terminal"]).hints();
    sandbox.img(&["volume", "prune", "--force"]).ok();
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "data", "only anonymous ones go by themselves");
    sandbox.img(&["volume", "prune", "--all", "--force"]).ok().prints(&["data"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn rm_with_volumes_takes_the_anonymous_ones_along() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let make = || sandbox.ok(&["create", "--network", "none", "-v", "data:/data", "-v", "/anonymous", "busybox"]);
    sandbox.ok(&["rm", "-v", &make()]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "data");
    sandbox.ok(&["run", "--rm", "--network", "none", "-v", "/anonymous", "busybox", "true"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "data", "--rm does so by itself");
}

/// `img run --rm --network none FLAGS busybox sh -c SCRIPT`.
fn run(sandbox: &Sandbox, flags: &[&str], script: &str) -> crate::support::Out {
    sandbox.img(&[&["run", "--rm", "--network", "none"][..], flags, &["busybox", "sh", "-c", script]].concat())
}

/// How many file systems of the sandbox's volumes are mounted on the host.
fn mounted(sandbox: &Sandbox) -> usize {
    let volumes = sandbox.root().join("volumes").display().to_string();
    std::fs::read_to_string("/proc/mounts").unwrap().lines().filter(|line| line.contains(&volumes)).count()
}

#[test]
fn options_of_the_driver_are_kept_shown_and_checked() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["volume", "create", "-d", "local", "-o", "uid=5", "--opt", "mode=700", "owned"]);
    let shown: Value = serde_json::from_str(&sandbox.ok(&["volume", "inspect", "owned"])).unwrap();
    assert_eq!((&shown[0]["Options"]["uid"], &shown[0]["Driver"]), (&"5".into(), &"local".into()));
    assert_eq!(sandbox.ok(&["volume", "inspect", "-f", "{{.Name}} {{.Options.mode}}", "owned"]), "owned 700");
    sandbox.img(&["volume", "create", "-o", "uid=5", "-o", "mode=700", "owned"]).ok();
    sandbox.img(&["volume", "create", "-o", "uid=6", "owned"]).refuses(1, &["owned", "other options"]).hints();
    sandbox.img(&["volume", "create", "--ignore", "-o", "uid=6", "owned"]).ok().prints_exactly("owned\n");
    let nfs = ["volume", "create", "-o", "type=nfs", "-o", "device=:/x", "-o", "o=addr=10.0.0.1,rw", "far"];
    sandbox.img(&nfs).refuses(125, &["nfs", "network"]).hints();
    sandbox.img(&["volume", "create", "-d", "other", "x1"]).refuses(125, &["other"]).hints();
    for bad in ["nonsense=1", "size=x", "size=5k", "device=/srv", "inodes=9"] {
        sandbox.img(&["volume", "create", "-o", bad, "bad"]).refuses(125, &[]);
    }
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "owned");
    sandbox.img(&["volume", "exists", "owned"]).ok();
    sandbox.img(&["volume", "exists", "bad"]).exits(1);
}

#[test]
fn lists_are_filtered_and_name_the_users() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["volume", "create", "--label", "team=a", "free"]);
    sandbox.ok(&["create", "--name", "box", "--network", "none", "-v", "used:/u", "-v", "/anon", "busybox"]);
    sandbox.ok(&["create", "--name", "other", "--network", "none", "-v", "used:/u", "busybox"]);
    let names = |filters: &[&str]| {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let words: Vec<&str> = ["volume", "ls", "-q"].into_iter().chain(filters).collect();
        sandbox.ok(&words)
    };
    assert_eq!(names(&["dangling=true"]), "free");
    assert_eq!(names(&["label=team"]), "free");
    assert_eq!(names(&["label=team=b"]), "");
    assert_eq!(names(&["name=us", "name=fre"]), "free\nused");
    assert_eq!(names(&["driver=nfs"]), "");
    assert_eq!(names(&["anonymous=true"]).len(), 64);
    sandbox.img(&["volume", "ls", "--filter", "size=1"]).refuses(125, &["size=1"]).hints();
    sandbox.img(&["volume", "ls"]).ok().prints(&["USED BY", "box, other"]);
    sandbox.img(&["volume", "rm", "used"]).refuses(1, &["box, other"]);
    sandbox.ok(&["volume", "create", "--label", "keep", "second"]);
    sandbox.ok(&["volume", "prune", "-af", "--filter", "label!=keep"]);
    assert_eq!(names(&["dangling=true"]), "second");
}

#[test]
fn a_volume_of_a_limited_size_is_full_at_its_limit() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    if !std::path::Path::new("/dev/loop-control").exists() {
        return println!("skip: no loop devices");
    }
    sandbox.ok(&["volume", "create", "-o", "size=8m", "-o", "uid=7", "-o", "mode=750", "small"]);
    let script = "stat -c %u:%a /s; ls /s | wc -l; dd if=/dev/zero of=/s/f bs=1M count=20 2>&1 | grep -o 'No space'; rm /s/f; echo kept > /s/k";
    assert_eq!(run(&sandbox, &["-v", "small:/s"], script).ok().stdout(), "7:750\n0\nNo space\n");
    assert_eq!(mounted(&sandbox), 0, "it is mounted while it is used");
    sandbox.ok(&["run", "-d", "--name", "one", "--network", "none", "-v", "small:/s", "busybox", "sleep", "60"]);
    sandbox.ok(&["run", "-d", "--name", "two", "--network", "none", "-v", "small:/s", "busybox", "sleep", "60"]);
    sandbox.ok(&["exec", "one", "sh", "-c", "echo shared > /s/x"]);
    sandbox.ok(&["rm", "-f", "one"]);
    assert_eq!((sandbox.ok(&["exec", "two", "cat", "/s/x", "/s/k"]).as_str(), mounted(&sandbox)), ("shared\nkept", 1));
    sandbox.ok(&["rm", "-f", "two"]);
    assert_eq!(mounted(&sandbox), 0);
    let path = sandbox.ok(&["volume", "mount", "small"]);
    assert_eq!(std::fs::read_to_string(format!("{path}/k")).unwrap(), "kept\n");
    run(&sandbox, &["-v", "small:/s"], "true").ok();
    assert_eq!(mounted(&sandbox), 1, "it stays mounted for who asked for it");
    sandbox.ok(&["volume", "unmount", "small"]);
    assert_eq!(mounted(&sandbox), 0);
    let flags = ["--mount", "type=volume,src=fresh,dst=/s,volume-opt=size=2m,volume-opt=inodes=20"];
    let script = "i=0; while touch /s/$i 2>/dev/null && [ $i -lt 100 ]; do i=$((i+1)); done; [ $i -lt 60 ] && echo few";
    assert_eq!(run(&sandbox, &flags, script).ok().stdout(), "few\n", "files are limited too");
    sandbox.ok(&["volume", "rm", "small", "fresh"]);
}

#[test]
fn a_volume_in_memory_lives_as_long_as_it_is_used() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=9,noexec", "mem"]);
    let seen = run(&sandbox, &["-v", "mem:/m"], "stat -c %u /m; df -k /m | tail -1 | awk '{print $2}'; echo 1 > /m/x");
    assert_eq!(seen.ok().stdout(), "9\n1024\n");
    assert_eq!(run(&sandbox, &["-v", "mem:/m"], "ls /m | wc -l").ok().word(), "0");
    assert_eq!(mounted(&sandbox), 0);
}

#[test]
fn a_volume_that_is_a_directory_of_the_host_leaves_it_alone() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    std::fs::create_dir(sandbox.path("dir")).unwrap();
    let device = format!("device={}", sandbox.path("dir").display());
    sandbox.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "named"]);
    run(&sandbox, &["-v", "named:/etc"], "grep -q root /etc/passwd && echo 1 > /etc/own").ok();
    assert!(sandbox.path("dir/own").exists() && sandbox.path("dir/passwd").exists(), "filled as any new volume");
    sandbox.ok(&["volume", "rm", "named"]);
    assert!(sandbox.path("dir/own").exists());
    sandbox.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/nowhere/x", "gone"]);
    run(&sandbox, &["-v", "gone:/x"], "true").refuses(125, &["gone", "/nowhere/x"]);
}

#[test]
fn what_the_image_has_is_copied_with_all_its_attributes_and_again_after_a_crash() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let script = "mkdir -p /d/sub && echo a > /d/sub/a && ln /d/sub/a /d/b && ln -s /etc/passwd /d/link && mkfifo /d/pipe && \
                  chown -R 33:44 /d/sub && chmod 4711 /d/sub/a && chmod 1770 /d && touch -d '2020-01-02 03:04:05' /d/sub";
    sandbox.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.ok(&["commit", "box", "made"]);
    let list = "cd /d; for f in . sub sub/a b link pipe; do stat -c '%n %u:%g %a %h %Y %F' $f; done | sed 's/^\\(\\. .*\\) [0-9]* dir/\\1 dir/'; readlink link";
    let image = sandbox.ok(&["run", "--rm", "--network", "none", "made", "sh", "-c", list]);
    let seen = |flags: &[&str]| {
        sandbox.ok(&[&["run", "--rm", "--network", "none"][..], flags, &["made", "sh", "-c", list]].concat())
    };
    assert_eq!(seen(&["-v", "vol:/d"]), image);
    sandbox.ok(&["volume", "create", "torn"]);
    let data = std::path::PathBuf::from(sandbox.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "torn"]));
    std::fs::write(data.parent().unwrap().join("filling"), "").unwrap();
    std::fs::create_dir_all(data.join("sub/half")).unwrap();
    std::fs::write(data.join("sub/a"), "half").unwrap();
    assert_eq!(seen(&["-v", "torn:/d"]), image, "half a copy is done again");
    sandbox.ok(&["run", "--rm", "--network", "none", "-v", "torn:/d", "made", "rm", "/d/b"]);
    assert_eq!(
        sandbox.ok(&["run", "--rm", "--network", "none", "-v", "torn:/d", "made", "ls", "/d/sub"]),
        "a",
        "and never again"
    );
    let empty = ["run", "--rm", "--network", "none", "-v", "none:/d:nocopy", "made", "ls", "/d"];
    assert_eq!(sandbox.ok(&empty), "");
}

#[test]
fn what_is_in_a_volume_goes_out_and_in_as_a_tar() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    run(&sandbox, &["-v", "from:/d"], "mkdir /d/x; echo 1 > /d/x/y; chown 5:6 /d/x/y; ln -s y /d/x/l").ok();
    let tar = sandbox.path("out.tar").display().to_string();
    sandbox.ok(&["volume", "export", "from", "-o", &tar]);
    sandbox.ok(&["volume", "create", "into"]);
    sandbox.ok(&["volume", "import", "into", &tar]);
    let list = "cd /d; find . | sort; stat -c %u:%g x/y; readlink x/l; cat x/y";
    assert_eq!(run(&sandbox, &["-v", "into:/d"], list).ok().stdout(), ".\n./x\n./x/l\n./x/y\n5:6\ny\n1\n");
    let piped = sandbox.img(&["volume", "export", "from"]);
    sandbox.ok(&["volume", "create", "piped"]);
    sandbox.img_with_input(&["volume", "import", "piped", "-"], piped.ok().bytes()).ok();
    assert_eq!(run(&sandbox, &["-v", "piped:/d"], "cat /d/x/y").ok().word(), "1");
    sandbox.img(&["volume", "import", "nothere", &tar]).refuses(1, &["nothere"]);
    sandbox.img_with_input(&["volume", "import", "piped"], "no tar at all").refuses(1, &["tar"]);
}

/// The files of somebody's disk, mounted in what goes, are not ours to remove.
#[test]
fn what_is_mounted_in_a_volume_or_container_is_not_emptied() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.ok(&["volume", "create", "data"]);
    let volume = sandbox.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]);
    sandbox.ok(&["create", "--name", "box", "busybox", "true"]);
    let upper = sandbox.inspect("box")["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap().to_owned();
    let places = [volume, upper].map(|folder| std::path::PathBuf::from(folder).join("some/disk"));
    for place in &places {
        std::fs::create_dir_all(place).unwrap();
        tools::run("mount", ["-t", "tmpfs", "none", place.to_str().unwrap()]);
        std::fs::write(place.join("mine"), "mine").unwrap();
    }
    let shown = places[0].to_str().unwrap();
    let refused = [sandbox.img(&["volume", "rm", "data"]), sandbox.img(&["volume", "prune", "--all", "--force"])];
    let rm = sandbox.img(&["rm", "box"]);
    let kept = std::fs::read_to_string(places[0].join("mine"));
    let disks = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let disks: Vec<&str> = disks.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let ours = sandbox.root().display().to_string();
    let disks: Vec<&str> =
        disks.into_iter().filter(|place| place.starts_with(&ours) && place.ends_with("/some/disk")).collect();
    let files: Vec<String> =
        disks.iter().map(|disk| std::fs::read_to_string(format!("{disk}/mine")).unwrap_or_default()).collect();
    for disk in &disks {
        tools::run("umount", [disk]);
    }
    for one in refused {
        one.refuses(1, &["something is mounted on", shown]);
    }
    rm.refuses(1, &["busy"]);
    assert_eq!((kept.unwrap().as_str(), files), ("mine", vec!["mine".to_owned(); 2]));
    sandbox.ok(&["volume", "rm", "data"]);
    sandbox.ok(&["system", "prune", "--force"]);
    assert_eq!(std::fs::read_dir(sandbox.root().join("trash")).unwrap().count(), 0);
}

#[test]
fn what_was_in_a_volume_before_its_first_container_is_never_removed() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let directory_of = |name: &str| {
        let data = sandbox.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", name]);
        std::path::PathBuf::from(data).parent().unwrap().to_owned()
    };
    // A directory of the host, with the mark of one that was killed while filling.
    let host = sandbox.path("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("mine"), "mine").unwrap();
    let device = format!("device={}", host.display());
    sandbox.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "bound"]);
    std::fs::write(directory_of("bound").join("filling"), "").unwrap();
    assert_eq!(run(&sandbox, &["-v", "bound:/etc"], "ls /etc/mine").ok().word(), "/etc/mine");
    assert_eq!(std::fs::read_to_string(host.join("mine")).unwrap(), "mine");
    assert!(!directory_of("bound").join("filling").exists(), "a mark that means nothing is gone");
    // A volume of ours with something in it: no mark is written, which the target of the link would show.
    sandbox.ok(&["volume", "create", "own"]);
    let own = directory_of("own");
    std::fs::write(own.join("data/mine"), "mine").unwrap();
    let marked = sandbox.path("marked");
    std::os::unix::fs::symlink(&marked, own.join("filling")).unwrap();
    assert_eq!(run(&sandbox, &["-v", "own:/etc"], "ls /etc/mine").ok().word(), "/etc/mine");
    assert!(!marked.exists(), "nothing says that it is being filled");
    // What the user put there is all there is, even if it is nothing.
    let tar = sandbox.path("empty.tar").display().to_string();
    std::fs::write(&tar, [0; 1024]).unwrap();
    sandbox.ok(&["volume", "create", "imported"]);
    std::fs::write(directory_of("imported").join("filling"), "").unwrap();
    sandbox.ok(&["volume", "import", "imported", &tar]);
    assert_eq!(run(&sandbox, &["-v", "imported:/etc"], "ls /etc/passwd || echo none").ok().word(), "none");
}

#[test]
fn a_volume_whose_record_a_power_cut_emptied_is_there_with_its_files() {
    let sandbox = Sandbox::new();
    let run = |words: &[&str]| sandbox.ok(&[&["run", "--rm", "--network", "none"], words].concat());
    run(&["-v", "data:/x", "busybox", "sh", "-c", "echo kept > /x/file"]);
    let mountpoint = sandbox.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]);
    let record = std::path::Path::new(&mountpoint).with_file_name("record.json");
    // What ext4 leaves of a file whose bytes had not come to the disk, and what XFS does.
    for left in [&b""[..], &[0; 300]] {
        std::fs::write(&record, left).unwrap();
        assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "data");
        assert_eq!(run(&["-v", "data:/x", "busybox", "cat", "/x/file"]), "kept");
        assert!(std::fs::read(&record).unwrap().starts_with(b"{"), "it is written whole again");
    }
    // One without a name belongs to nobody then, and is pruned.
    let id = sandbox.ok(&["create", "-v", "/y", "busybox"]);
    let name = sandbox.inspect(&id)["Mounts"][0]["Name"].as_str().unwrap().to_owned();
    let mountpoint = sandbox.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", &name]);
    std::fs::write(std::path::Path::new(&mountpoint).with_file_name("record.json"), "").unwrap();
    sandbox.ok(&["rm", &id]);
    sandbox.img(&["volume", "prune", "-f"]).ok().prints(&[&name]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "data");
}

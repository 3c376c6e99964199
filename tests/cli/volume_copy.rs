//! `volume clone`, `snapshot` and `restore`: what is in them, who stands still meanwhile, and what is left when it goes wrong.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::support::Sandbox;

fn in_volume(sandbox: &Sandbox, volume: &str, script: &str) -> String {
    sandbox.ok(&["run", "--rm", "--network", "none", "-v", &format!("{volume}:/v"), "busybox", "sh", "-c", script])
}

const LIST: &str =
    "cd /v; find . -exec stat -c '%n %F %a %u:%g %h %Y' {} + | sort; find . -type f -exec md5sum {} + | sort";

#[test]
fn a_clone_and_a_snapshot_are_what_the_volume_was() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["volume", "create", "--label", "a=b", "data"]);
    let fill = "mkdir -p /v/d; echo one > /v/d/f; ln /v/d/f /v/g; ln -s /etc/passwd /v/l; chown 5:6 /v/g; chmod 4711 /v/d; \
                head -c 300000 /dev/urandom > /v/big; touch -d 2001-02-03 /v/d";
    in_volume(&sandbox, "data", fill);
    let before = in_volume(&sandbox, "data", LIST);
    sandbox.img(&["volume", "clone", "data", "copy"]).ok().prints_exactly("copy\n");
    sandbox.img(&["volume", "snapshot", "data", "kept"]).ok().prints_exactly("kept\n");
    let named = sandbox.ok(&["volume", "snapshot", "data"]);
    assert!(named.starts_with("data-20"), "{named}");
    in_volume(&sandbox, "data", "rm -r /v/d /v/g; echo two > /v/new");
    for volume in ["copy", "kept", &named] {
        assert_eq!(in_volume(&sandbox, volume, LIST), before, "{volume}");
    }
    assert_eq!(sandbox.ok(&["volume", "inspect", "-f", "{{.Labels.a}} {{.SnapshotOf}}", "kept"]), "b data");
    in_volume(&sandbox, "copy", "echo x > /v/x");
    assert_ne!(in_volume(&sandbox, "copy", LIST), before);

    // A snapshot does not change, and pruning leaves it.
    assert!(in_volume(&sandbox, "kept", "touch /v/x 2>&1 || true").contains("Read-only"));
    sandbox.img_with_input(&["volume", "import", "kept"], "").refuses(1, &["snapshot"]).hints();
    sandbox.img(&["volume", "restore", "kept", "data"]).refuses(1, &["snapshot"]).hints();
    sandbox.ok(&["system", "prune", "-f", "--volumes"]);
    sandbox.img(&["volume", "prune", "-af"]).ok();
    let mut left = ["kept".to_owned(), named];
    left.sort();
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().collect::<Vec<_>>(), [&left[0], &left[1]]);
    sandbox.ok(&["volume", "clone", "kept", "data"]);
    assert_eq!(in_volume(&sandbox, "data", LIST), before);
    in_volume(&sandbox, "data", "rm -r /v/d /v/g; echo two > /v/new");
    sandbox.ok(&["volume", "restore", "data", "kept"]);
    assert_eq!(in_volume(&sandbox, "data", LIST), before);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().count(), 3, "nothing is left over");
}

#[test]
fn the_containers_of_a_volume_stand_still_while_it_is_copied() {
    let sandbox = Sandbox::new();
    // Two files that say the same at every moment when nobody writes.
    let script = "while :; do i=$((i+1)); echo $i > /v/a; echo $i > /v/b; done";
    sandbox.ok(&["run", "-d", "--name", "writer", "--network", "none", "-v", "data:/v", "busybox", "sh", "-c", script]);
    for number in 0..5 {
        let name = format!("s{number}");
        sandbox.ok(&["volume", "snapshot", "data", &name]);
        let texts = in_volume(&sandbox, &name, "cat /v/a /v/b");
        let numbers: Vec<u64> = texts.lines().filter_map(|line| line.parse().ok()).collect();
        // Caught between the two writes, or within one, and never further apart.
        assert!(numbers.len() < 2 || numbers[0] - numbers[1] <= 1, "{texts}");
    }
    let writes = |path: &str| sandbox.ok(&["exec", "writer", "cat", path]);
    let before = writes("/v/a");
    sandbox.wait_until("it goes on", || writes("/v/a") != before);
    sandbox.img(&["volume", "restore", "data", "s0"]).refuses(1, &["used by container writer"]).hints();
    sandbox.ok(&["stop", "-t", "0", "writer"]);
    sandbox.ok(&["volume", "restore", "data", "s0"]);
    assert_eq!(in_volume(&sandbox, "data", "cat /v/a"), in_volume(&sandbox, "s0", "cat /v/a"));
}

#[test]
fn a_restore_and_a_start_wait_for_each_other() {
    let sandbox = Sandbox::new();
    in_volume(&sandbox, "data", "echo old > /v/f");
    sandbox.ok(&["volume", "snapshot", "data", "kept"]);
    in_volume(&sandbox, "data", "echo new > /v/f");
    let files = sandbox.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]);
    let lock = File::open(Path::new(&files).with_file_name("lock")).expect("who started with the volume has locked it");
    let assert_waits = |command: &mut Child| {
        std::thread::sleep(Duration::from_millis(500));
        let ended = command.try_wait().unwrap();
        assert!(ended.is_none(), "it did not wait: {ended:?}");
    };

    // As a restore has it.
    lock.lock().unwrap();
    let mut read = sandbox.spawn(&["run", "--rm", "--network", "none", "-v", "data:/v", "busybox", "cat", "/v/f"]);
    assert_waits(&mut read.0);
    lock.unlock().unwrap();
    assert_eq!(read.wait(), 0, "{}", read.said());
    let mut text = String::new();
    read.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "new\n");

    // As a start has it, until its program runs.
    lock.lock_shared().unwrap();
    let mut restore = sandbox.spawn(&["volume", "restore", "data", "kept"]);
    assert_waits(&mut restore.0);
    assert_eq!(fs::read_to_string(Path::new(&files).join("f")).unwrap(), "new\n");
    assert_eq!(in_volume(&sandbox, "data", "cat /v/f"), "new", "a second start does not wait for the first");
    lock.unlock().unwrap();
    assert_eq!(restore.wait(), 0, "{}", restore.said());
    assert_eq!(in_volume(&sandbox, "data", "cat /v/f"), "old");
}

#[test]
fn volumes_of_a_limited_size_are_copied_too_and_those_elsewhere_are_not() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["volume", "create", "-o", "size=20m", "small"]);
    in_volume(&sandbox, "small", "echo one > /v/f");
    sandbox.ok(&["volume", "snapshot", "small", "kept"]);
    sandbox.ok(&["volume", "clone", "small", "copy"]);
    in_volume(&sandbox, "small", "echo two > /v/f");
    assert_eq!(in_volume(&sandbox, "copy", "cat /v/f; df /v | awk 'END { print ($2 < 25000) }'"), "one\n1");
    sandbox.ok(&["volume", "restore", "small", "kept"]);
    assert_eq!(in_volume(&sandbox, "small", "cat /v/f"), "one");
    sandbox.ok(&["volume", "create", "plain"]);
    sandbox.img(&["volume", "restore", "plain", "kept"]).refuses(1, &["cannot be restored", "kept"]).hints();
    sandbox.img(&["volume", "clone", "small", "plain"]).refuses(1, &["already"]);
    sandbox.img(&["volume", "clone", "small", "bad/name"]).refuses(1, &["bad/name"]);
    sandbox.img(&["volume", "clone", "none", "other"]).refuses(1, &["no such volume: none"]);
    sandbox.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory"]);
    sandbox.img(&["volume", "snapshot", "memory"]).refuses(1, &["memory", "not in the store"]).hints();
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "copy\nkept\nmemory\nplain\nsmall");
    // One that is killed while it copies leaves a volume without a name, which pruning takes.
    in_volume(&sandbox, "plain", "head -c 50000000 /dev/urandom > /v/big");
    drop(sandbox.spawn(&["volume", "clone", "plain", "twin"]));
    sandbox.ok(&["volume", "prune", "-f"]);
    let names = sandbox.ok(&["volume", "ls", "-q"]);
    assert!(names.lines().all(|name| name.len() < 64), "{names}");
}

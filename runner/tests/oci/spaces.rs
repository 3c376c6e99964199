//! User and time namespaces, id-mapped mounts, propagation, and what the file systems look like.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::fixture::{Lab, can_run};

fn maps() -> Value {
    json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}])
}

fn own_users(more: Value) -> Value {
    let mut config =
        json!({"linux": {"+namespaces": [{"type": "user"}], "uidMappings": maps(), "gidMappings": maps()}});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

#[test]
fn a_user_namespace_has_its_own_root() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let script = "id -u; tr -s ' ' < /proc/self/uid_map; ls -l /dev/null | cut -c1-10; echo x > /dev/null && \
                  touch /dev/shm/f && stat -c %u /dev/shm/f; hostname changed 2>/dev/null; cat /proc/self/oom_score_adj";
    let said = lab.run(script, own_users(json!({"process": {"oomScoreAdj": 300}})));
    assert_eq!(said.ok(), "0\n 0 100000 65536\ncrw-rw-rw-\n0\n300\n");
    lab.create("exec sleep 1000", own_users(json!({}))).ok();
    lab.start().ok();
    assert_eq!(std::fs::metadata(format!("/proc/{}", lab.pid())).unwrap().uid(), 100_000);
    let said = lab.call(&[
        "exec",
        &lab.id,
        "sh",
        "-c",
        "id -u; (readlink /proc/self/ns/user; readlink /proc/1/ns/user) | uniq | wc -l",
    ]);
    assert_eq!(said.ok(), "0\n1\n");
}

#[test]
fn a_container_joins_the_namespaces_of_another() {
    if !can_run() {
        return;
    }
    let first = Lab::new();
    first.create("hostname; exec sleep 1000", own_users(json!({"hostname": "first"}))).ok();
    first.start().ok();
    let process = format!("/proc/{}/ns", first.pid());
    let second = Lab::new();
    let space = |kind: &str, file: &str| json!({"type": kind, "path": format!("{process}/{file}")});
    let mut config = json!({"linux": {
        "namespaces": [{"type": "mount"}, {"type": "pid"}, space("user", "user"), space("network", "net"),
                       space("ipc", "ipc"), space("uts", "uts")],
        "uidMappings": maps(), "gidMappings": maps(),
    }, "process": {"oomScoreAdj": 300}});
    config["hostname"] = Value::Null;
    let said = second.run(
        "id -u; hostname; echo $$; for n in user net ipc uts; do readlink /proc/self/ns/$n; done; touch /dev/shm/x; cat /proc/self/oom_score_adj",
        config.clone(),
    );
    let files = ["user", "net", "ipc", "uts"].map(|name| std::fs::read_link(format!("{process}/{name}")).unwrap());
    let files: Vec<String> = files.iter().map(|file| format!("{}\n", file.display())).collect();
    assert_eq!(said.ok(), format!("0\nfirst\n1\n{}300\n", files.concat()));
    second.create("exec sleep 1000", config).ok();
    second.start().ok();
    let inside = second.call(&["exec", &second.id, "sh", "-c", "id -u; hostname"]);
    assert_eq!(inside.ok(), "0\nfirst\n");
    second.call(&["delete", "--force", &second.id]).ok();
}

#[test]
fn clocks_of_a_time_namespace_are_off() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let config = json!({"linux": {
        "+namespaces": [{"type": "time"}],
        "timeOffsets": {"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 5}},
    }});
    let text = lab.run("cut -d. -f1 /proc/uptime", config.clone()).ok();
    assert!(text.trim().parse::<u64>().unwrap() >= 1_000_000, "{text}");
    lab.create("exec sleep 1000", config).ok();
    lab.start().ok();
    let text = lab.call(&["exec", &lab.id, "cut", "-d.", "-f1", "/proc/uptime"]).ok();
    assert!(text.trim().parse::<u64>().unwrap() >= 1_000_000, "an exec has the same clocks: {text}");
}

#[test]
fn a_mount_can_have_ids_of_its_own() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let shared = lab.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("old"), "").unwrap();
    let ids = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let mount = json!([{"destination": "/mnt", "source": shared, "type": "bind", "options": ["bind", "idmap"],
                        "uidMappings": ids, "gidMappings": ids}]);
    let said = lab.run("stat -c %u:%g /mnt/old", json!({"+mounts": mount}));
    assert_eq!(said.ok(), "5000:5000\n");
    // With those of the container: its root writes files that are root's on the host.
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mount = json!([{"destination": "/mnt", "source": shared, "type": "bind", "options": ["bind", "idmap"]}]);
    let said = lab.run("stat -c %u:%g /mnt/old; touch /mnt/new", own_users(json!({"+mounts": mount})));
    assert_eq!(said.ok(), "0:0\n");
    assert_eq!(std::fs::metadata(shared.join("new")).unwrap().uid(), 0);
    lab.run("true", json!({"+mounts": mount})).refuses("ids of the mount are not given");
}

#[test]
fn a_tmpfs_can_begin_with_what_the_image_has() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    std::fs::write(lab.path("rootfs/mnt/file"), "text\n").unwrap();
    let mount = |options: Value| json!({"+mounts": [{"destination": "/mnt", "source": "tmpfs", "type": "tmpfs", "options": options}]});
    assert_eq!(lab.run("cat /mnt/file; rm /mnt/file", mount(json!(["tmpcopyup"]))).ok(), "text\n");
    assert_eq!(lab.run("ls /mnt", mount(json!([]))).ok(), "");
    assert!(lab.path("rootfs/mnt/file").exists());
}

#[test]
fn recursive_options_reach_the_mounts_below() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let script = "touch /mnt/x 2>/dev/null || echo read-only; touch /mnt/below/x 2>/dev/null && echo writable";
    let outer = lab.path("outer");
    std::fs::create_dir_all(outer.join("below")).unwrap();
    let status =
        std::process::Command::new("mount").args(["-t", "tmpfs", "oci-test"]).arg(outer.join("below")).status();
    assert!(status.unwrap().success());
    let run = |options: Value| {
        let mount = json!([{"destination": "/mnt", "source": outer, "type": "bind", "options": options}]);
        lab.run(script, json!({"+mounts": mount})).out
    };
    let (plain, recursive) = (run(json!(["rbind", "ro"])), run(json!(["rbind", "rro"])));
    let status = std::process::Command::new("umount").arg(outer.join("below")).status();
    assert!(status.unwrap().success());
    assert_eq!((plain.as_str(), recursive.as_str()), ("read-only\nwritable\n", "read-only\n"));
}

#[test]
fn the_root_has_the_propagation_of_the_configuration() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let root = "grep -c ' / / .* shared:' /proc/self/mountinfo; grep -c shared: /proc/self/mountinfo";
    let root = root.replace(" / / ", " [^ ]* / ");
    let shared = |word: &str| lab.run(&root, json!({"linux": {"rootfsPropagation": word}})).out;
    assert_eq!(shared("shared"), "1\n1\n");
    assert_eq!(shared("private"), "0\n0\n");
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(lab.dir.path().to_str().unwrap()));
}

#[test]
fn no_pivot_changes_the_root_too() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    lab.config("ls / | tr '\\n' ' '; test -e /config.json || echo inside", json!({}));
    let said = lab.call(&["run", "--no-pivot", "--bundle", lab.dir.path().to_str().unwrap(), &lab.id]);
    assert_eq!(said.ok(), "bin dev etc mnt proc root sys tmp inside\n");
}

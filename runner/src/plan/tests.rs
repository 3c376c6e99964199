//! The plan as data: order, refusals, and what is derived from the Spec.

use super::*;

fn spec(json: serde_json::Value) -> Spec {
    let mut base = serde_json::json!({
        "ociVersion": "1.2.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "cgroup"}]}
    });
    merge(&mut base, json);
    serde_json::from_value(base).unwrap()
}

fn merge(base: &mut serde_json::Value, more: serde_json::Value) {
    match (base, more) {
        (serde_json::Value::Object(base), serde_json::Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

fn plan(json: serde_json::Value) -> Result<Plan> {
    Plan::for_container(&spec(json), Settings::default())
}

fn position(plan: &Plan, wanted: &Step) -> usize {
    plan.steps.iter().position(|step| step == wanted).unwrap_or_else(|| panic!("no {wanted} in\n{plan}"))
}

#[test]
fn the_smallest_plan_in_full() {
    let plan = plan(serde_json::json!({})).unwrap();
    assert_eq!(plan.new_namespaces, (libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS) as u64);
    let expected = [
        "join the cgroups",
        "make a cgroup namespace",
        "join a new session keyring",
        "isolate the mounts",
        "mount the root file system",
        "look up the user",
        "change the root",
        "wait for the network",
        "enter the working directory /",
        "connect standard input and output",
        "set the umask 0022",
        "drop capabilities",
        "change the user",
        "set capabilities",
        "execute the program",
    ];
    assert_eq!(plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn the_filter_comes_last_with_no_new_privs_and_before_the_user_without() {
    let seccomp = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW"});
    let with = plan(serde_json::json!({"process": {"noNewPrivileges": true}, "linux": {"seccomp": seccomp}})).unwrap();
    assert_eq!(position(&with, &Step::LoadSeccomp) + 1, position(&with, &Step::Execute));
    assert!(position(&with, &Step::SetNoNewPrivileges) < position(&with, &Step::ChangeUser));
    let without = plan(serde_json::json!({"linux": {"seccomp": seccomp}})).unwrap();
    assert!(position(&without, &Step::LoadSeccomp) < position(&without, &Step::ChangeUser));
    assert!(position(&without, &Step::DropBoundingCapabilities) < position(&without, &Step::LoadSeccomp));
}

#[test]
fn devices_follow_a_fresh_dev_and_nothing_else() {
    let fresh = plan(serde_json::json!({
        "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/dev/shm", "type": "tmpfs"}],
        "linux": {"devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
                              {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]}
    }))
    .unwrap();
    let Some(Step::MakeDevices(nodes)) = fresh.steps.iter().find(|step| matches!(step, Step::MakeDevices(_))) else {
        panic!("no devices in\n{fresh}")
    };
    assert_eq!(nodes.len(), 7, "a listed node replaces the default one");
    assert!(nodes.iter().any(|node| node.path == Path::new("/dev/null") && node.mode == 0o600));
    let bound =
        plan(serde_json::json!({"mounts": [{"destination": "/dev", "source": "/dev", "options": ["rbind"]}]})).unwrap();
    assert!(!bound.steps.iter().any(|step| matches!(step, Step::MakeDevices(_))));
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (json, word) in [
        (serde_json::json!({"hooks": {}}), "hooks"),
        (serde_json::json!({"linux": {"namespaces": [{"type": "pid"}]}}), "mount namespace"),
        (serde_json::json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}), "user namespace"),
        (serde_json::json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}), "twice"),
        (serde_json::json!({"hostname": "x", "linux": {"namespaces": [{"type": "mount"}]}}), "UTS"),
        (serde_json::json!({"process": {"args": []}}), "no program"),
        (serde_json::json!({"process": {"cwd": "relative"}}), "absolute"),
        (serde_json::json!({"mounts": [{"destination": "/a/../b", "type": "tmpfs"}]}), "`..`"),
        (serde_json::json!({"mounts": [{"destination": "/", "type": "tmpfs"}]}), "cannot be /"),
        (serde_json::json!({"mounts": [{"destination": "/x", "type": "ext4", "source": "/dev/sda"}]}), "ext4"),
        (
            serde_json::json!({"mounts": [{"destination": "/x", "type": "bind", "source": "relative"}]}),
            "absolute source",
        ),
        (serde_json::json!({"linux": {"sysctl": {"net/../x": "1"}}}), "kernel parameter"),
        (
            serde_json::json!({"linux": {"devices": [{"path": "/etc/x", "type": "c", "major": 1, "minor": 3}]}}),
            "below /dev",
        ),
    ] {
        let mut json = json;
        if word == "below /dev" {
            merge(&mut json, serde_json::json!({"mounts": [{"destination": "/dev", "type": "tmpfs"}]}));
        }
        let error = plan(json).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn kernel_parameters_keep_dots_in_interface_names() {
    assert_eq!(sysctl_path("net.ipv4.ip_forward").unwrap(), "net/ipv4/ip_forward");
    assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
    assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
}

#[test]
fn an_exec_has_the_same_end_as_a_start() {
    let spec = spec(serde_json::json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}));
    let start = Plan::for_container(&spec, Settings::default()).unwrap();
    let exec = Plan::for_exec(spec.process().as_ref().unwrap(), true).unwrap();
    let end = Step::EnterWorkingDirectory("/".into());
    let from = |plan: &Plan| plan.steps[position(plan, &end)..].to_vec();
    assert_eq!(from(&start), from(&exec));
}

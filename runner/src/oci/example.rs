//! `spec`: a configuration to begin with.

use serde_json::{Value, json};

use super::SPEC_VERSION;

/// A configuration that runs a shell in `rootfs` with few capabilities. `rootless` is that of an ordinary user, as the only
/// id of a user namespace.
pub fn example(rootless: Option<(u32, u32)>) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        let mut mount = json!({"destination": destination, "type": kind, "source": source});
        if !options.is_empty() {
            mount["options"] = json!(options);
        }
        mount
    };
    let pts: &[&str] = match rootless {
        Some(_) => &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        None => &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    };
    let sys = match rootless {
        Some(_) => mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
        None => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    };
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    kinds.insert(1, if rootless.is_some() { "user" } else { "network" });
    let namespaces: Vec<Value> = kinds.into_iter().map(|kind| json!({"type": kind})).collect();
    let mut spec = json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "img-runtime",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", pts),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            sys,
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    if let Some((uid, gid)) = rootless {
        spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Settings};

    #[test]
    fn the_example_can_be_planned() {
        for rootless in [None, Some((1000, 1000))] {
            let spec = serde_json::from_value(example(rootless)).unwrap();
            let settings = Settings { staged: true, ..Settings::default() };
            Plan::for_container(&spec, settings).unwrap();
        }
    }
}

//! Prints how long a container takes from the call to its end, in milliseconds: minimum and median of many runs.
//!
//! `start_time ROOTFS [RUNS [LAYERS]]`: the layers above ROOTFS are empty. As root; ROOTFS needs `/bin/true`.

use std::path::PathBuf;
use std::time::Instant;

use runner::layers::LayerMount;
use runner::{Container, Foreground, Rootfs, delete, run_foreground};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let rootfs = PathBuf::from(args.next().ok_or("usage: start_time ROOTFS [RUNS [LAYERS]]")?);
    let runs: usize = args.next().map_or(Ok(50), |text| text.parse())?;
    let layers: usize = args.next().map_or(Ok(5), |text| text.parse())?;
    let dir = std::env::temp_dir().join(format!("start-time-{}", std::process::id()));
    for (name, network) in [("no network namespace", false), ("own network namespace", true)] {
        for memory in [true, false] {
            let mut times = Vec::new();
            for run in 0..runs {
                let rw = dir.join(format!("rw{run}"));
                std::fs::create_dir_all(rw.join("upper"))?;
                std::fs::create_dir_all(rw.join("work"))?;
                // Empty directories above the root, as many as asked for.
                let mut lowers = Vec::new();
                for number in 1..layers {
                    let path = dir.join(format!("layer{number}"));
                    std::fs::create_dir_all(&path)?;
                    lowers.push(LayerMount::Directory { id: format!("layer{number}"), path });
                }
                lowers.push(LayerMount::Directory { id: "root".into(), path: rootfs.clone() });
                let container = Container {
                    id: format!("start-time-{}-{run}", std::process::id()),
                    run_dir: dir.clone(),
                    state_dir: dir.join("containers").join(run.to_string()),
                    rootfs: if memory {
                        Rootfs::TmpfsOverlay { lowers, size: None }
                    } else {
                        Rootfs::Overlay { lowers, upper: rw.join("upper"), work: rw.join("work"), volatile: true }
                    },
                    spec: serde_json::from_value(spec(network))?,
                    network: None,
                    hosts: None,
                    init: false,
                    log: None,
                    create_cwd: false,
                    layer_mounts: Vec::new(),
                    file_mounts: Vec::new(),
                    cgroup_parent: None,
                    stop_signal: 15,
                    supervision: runner::Supervision::default(),
                    lenders: Vec::new(),
                    passed_on: Vec::new(),
                };
                let begin = Instant::now();
                let exit =
                    run_foreground(&container, Foreground { stdin: false, forward_signals: false }, &mut |_| ())?;
                times.push(begin.elapsed());
                if exit.code != Some(0) {
                    return Err(format!("the program ended with {exit:?}").into());
                }
                delete(&container.state_dir, false)?;
            }
            times.sort();
            let (least, median) = (times[0].as_secs_f64() * 1e3, times[runs / 2].as_secs_f64() * 1e3);
            let upper = if memory { "upper in memory" } else { "upper on disk" };
            let line = format!("{name}, {upper}, {layers} layers: min {least:.2} ms, median {median:.2} ms\n");
            std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
        }
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn spec(network: bool) -> serde_json::Value {
    let mut namespaces: Vec<_> =
        ["mount", "pid", "uts", "ipc"].into_iter().map(|name| serde_json::json!({"type": name})).collect();
    if network {
        namespaces.push(serde_json::json!({"type": "network"}));
    }
    let capabilities = runner::security::seccomp::policy::default_capabilities();
    serde_json::json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/",
            "capabilities": runner::security::capabilities::to_oci(&capabilities),
        },
        "hostname": "start-time",
        "mounts": [
            {"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}
        ],
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": runner::security::paths::MASKED,
            "readonlyPaths": runner::security::paths::READ_ONLY,
            "seccomp": runner::security::seccomp::policy::default(&capabilities),
            "resources": {"pids": {"limit": 4096}}
        }
    })
}

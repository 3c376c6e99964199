//! What this machine can do for img: each finding says what was looked at, what was found, and what to do about it.
//! Only reads; nothing is mounted or loaded to find out.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::config::Context;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All there.
    Good,
    /// img works, with less than it could.
    Limited,
    /// img, or a usual part of it, does not work.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What it is.
    pub what: &'static str,
    /// How it is to be taken.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

fn finding(what: &'static str, verdict: Verdict, found: impl Into<String>, remedy: Option<&str>) -> Finding {
    Finding { what, verdict, found: found.into(), remedy: remedy.map(str::to_owned) }
}

/// Looks at everything, whoever asks.
pub fn examine(context: &Context) -> Vec<Finding> {
    vec![
        user(),
        kernel(),
        layers(&context.root),
        file_system("overlay", "layers are stacked with it", "modprobe overlay"),
        namespaces(),
        cgroups(),
        seccomp(),
        limits(),
        firewall(),
        forwarding(),
        store(&context.root),
        run_directory(&context.runroot),
    ]
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Our effective capabilities, a bit each (proc_pid_status(5), `CapEff`); none if they cannot be read.
fn effective_capabilities() -> u64 {
    let status = read("/proc/self/status");
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    bits.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0)
}

fn user() -> Finding {
    if !rustix::process::geteuid().is_root() {
        let remedy = "run img as root (sudo); ordinary users are not supported yet";
        return finding("user", Verdict::Missing, "not root", Some(remedy));
    }
    let bits = effective_capabilities();
    const NEEDED: [(u32, &str); 8] = [
        (0, "CHOWN"),
        (1, "DAC_OVERRIDE"),
        (6, "SETGID"),
        (7, "SETUID"),
        (8, "SETPCAP"),
        (12, "NET_ADMIN"),
        (21, "SYS_ADMIN"),
        (27, "MKNOD"),
    ];
    let missing: Vec<&str> = NEEDED.iter().filter(|(bit, _)| bits >> bit & 1 == 0).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        finding("user", Verdict::Good, "root, with the capabilities that are needed", None)
    } else {
        let remedy = "img seems to run inside a container itself; give that one these capabilities";
        finding("user", Verdict::Missing, format!("root without {}", missing.join(", ")), Some(remedy))
    }
}

fn kernel() -> Finding {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    match version(&release) {
        Some(found) if found < (5, 12) => {
            finding("kernel", Verdict::Missing, release, Some("img needs Linux 5.12 or newer (mount_setattr, clone3)"))
        }
        Some(_) => finding("kernel", Verdict::Good, release, None),
        None => finding("kernel", Verdict::Limited, format!("{release} (not understood)"), None),
    }
}

/// The first two numbers of a kernel release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn layers(root: &Path) -> Finding {
    let place = root.ancestors().find(|place| place.exists()).unwrap_or(root);
    match super::layers::erofs_reason(place) {
        Ok(()) => finding("layers", Verdict::Good, "mounted from their tars by EROFS, never unpacked", None),
        Err(reason) => finding(
            "layers",
            Verdict::Limited,
            format!("unpacked into directories: {reason}"),
            Some("works, but pulling and removing take longer; a newer kernel with EROFS mends it"),
        ),
    }
}

fn file_system(name: &'static str, why: &str, remedy: &str) -> Finding {
    if read("/proc/filesystems").lines().any(|line| line.trim_start_matches("nodev").trim() == name) {
        finding(name, Verdict::Good, why, None)
    } else {
        finding(name, Verdict::Missing, format!("the kernel does not list it; {why}"), Some(remedy))
    }
}

fn namespaces() -> Finding {
    let missing: Vec<&str> = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
        .into_iter()
        .filter(|name| !Path::new(&format!("/proc/self/ns/{name}")).exists())
        .collect();
    if missing.is_empty() {
        finding("namespaces", Verdict::Good, "all kinds", None)
    } else {
        let found = format!("the kernel has no {} namespaces", missing.join(", "));
        finding("namespaces", Verdict::Missing, found, Some("use a kernel built with them"))
    }
}

fn cgroups() -> Finding {
    let mounts = read("/proc/self/mountinfo");
    let kinds: Vec<&str> = mounts.lines().filter_map(|line| line.split(" - ").nth(1)?.split(' ').next()).collect();
    let one = kinds.contains(&"cgroup");
    let two = kinds.contains(&"cgroup2");
    match (one, two) {
        (false, true) => {
            let controllers = read("/sys/fs/cgroup/cgroup.controllers");
            let missing: Vec<&str> = ["cpu", "memory", "pids"]
                .into_iter()
                .filter(|name| !controllers.split_whitespace().any(|c| c == *name))
                .collect();
            if missing.is_empty() {
                finding("cgroups", Verdict::Good, "version 2", None)
            } else {
                let found = format!("version 2 without {}", missing.join(", "));
                finding("cgroups", Verdict::Limited, found, Some("limits of these kinds will be refused"))
            }
        }
        (true, true) => {
            finding("cgroups", Verdict::Good, "hybrid: limits by version 1, freezing and killing by version 2", None)
        }
        (true, false) => {
            finding("cgroups", Verdict::Limited, "version 1 only", Some("mount a cgroup2 hierarchy for atomic kill"))
        }
        (false, false) => {
            finding("cgroups", Verdict::Missing, "none mounted", Some("mount -t cgroup2 none /sys/fs/cgroup"))
        }
    }
}

fn seccomp() -> Finding {
    let actions = read("/proc/sys/kernel/seccomp/actions_avail");
    if actions.contains("errno") {
        finding("seccomp", Verdict::Good, "filters are there", None)
    } else {
        finding(
            "seccomp",
            Verdict::Missing,
            "the kernel has no seccomp filters",
            Some("use a kernel with CONFIG_SECCOMP_FILTER"),
        )
    }
}

fn limits() -> Finding {
    let bits = effective_capabilities();
    if bits >> 24 & 1 == 1 {
        finding("rlimits", Verdict::Good, "--ulimit may raise hard limits", None)
    } else {
        let remedy = "--ulimit can only lower hard limits: CAP_SYS_RESOURCE is missing";
        finding("rlimits", Verdict::Limited, "no CAP_SYS_RESOURCE", Some(remedy))
    }
}

fn firewall() -> Finding {
    // The module may be loaded on demand, so its absence in the list proves nothing; a kernel without modules shows it.
    let there = Path::new("/proc/net/netfilter/nf_log").exists() || Path::new("/proc/net/nf_conntrack").exists();
    if there {
        finding("netfilter", Verdict::Good, "there; bridges and published ports use a table of their own", None)
    } else {
        let remedy = "bridge networks need nf_tables; --network none and host work without";
        finding("netfilter", Verdict::Limited, "not seen", Some(remedy))
    }
}

fn forwarding() -> Finding {
    if read("/proc/sys/net/ipv4/ip_forward").trim() == "1" {
        finding("forwarding", Verdict::Good, "on", None)
    } else {
        finding("forwarding", Verdict::Good, "off; the first container on a bridge turns it on", None)
    }
}

fn store(root: &Path) -> Finding {
    let mut place = root;
    while !place.exists() {
        let Some(parent) = place.parent() else { break };
        place = parent;
    }
    match rustix::fs::statvfs(place) {
        Ok(about) => {
            let free = about.f_bavail * about.f_frsize;
            let found = format!("{}, {} free", root.display(), crate::ui::human::size(free));
            if free < 1_000_000_000 {
                finding(
                    "store",
                    Verdict::Limited,
                    found,
                    Some("`img system prune` makes room; --root chooses another disk"),
                )
            } else {
                finding("store", Verdict::Good, found, None)
            }
        }
        Err(error) => finding(
            "store",
            Verdict::Missing,
            format!("{}: {error}", root.display()),
            Some("choose another with --root"),
        ),
    }
}

fn run_directory(run: &Path) -> Finding {
    let parent = run.ancestors().skip(1).find(|place| place.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::access(parent, rustix::fs::Access::WRITE_OK) {
        Ok(()) => finding("run directory", Verdict::Good, run.display().to_string(), None),
        Err(error) => finding(
            "run directory",
            Verdict::Missing,
            format!("{}: {error}", run.display()),
            Some("choose another with --runroot"),
        ),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn releases() {
        assert_eq!(super::version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(super::version("5.4.0-1.el8"), Some((5, 4)));
        assert_eq!(super::version("what"), None);
    }
}

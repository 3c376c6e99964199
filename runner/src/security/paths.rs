//! Which paths of /proc and /sys a container may not see or not write.
//!
//! Docker's current list (29.x), and with it what earlier ones left open: power meters (a side channel),
//! thermal controls and interrupt counters (keystroke timing). A path that does not exist is skipped when it is masked,
//! so one list serves all kernels. `--security-opt systempaths=unconfined` empties both, `mask=` and `unmask=` edit them.

use std::path::Path;

/// Paths that are hidden: a file by the null device, a directory by an empty read-only tmpfs.
pub const MASKED: [&str; 16] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
    "/sys/devices/virtual/thermal",
];

/// Paths that can be read but not written.
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Also masked, one directory for each CPU: the counters of thermal throttling. Known only at run time, so a parent that
/// wants them asks with the names of `/sys/devices/system/cpu`.
pub fn thermal_throttle(cpu_directories: impl IntoIterator<Item = String>) -> Vec<String> {
    cpu_directories
        .into_iter()
        .filter(|name| name.strip_prefix("cpu").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())))
        .map(|name| format!("/sys/devices/system/cpu/{name}/thermal_throttle"))
        .collect()
}

/// The two lists after `mask=` and `unmask=`: `unmask` takes `ALL` or paths, with `*` for any run of characters but a slash; what
/// it names leaves both lists, and what `mask` names is added to the masked ones.
pub fn adjust(mask: &[String], unmask: &[String]) -> (Vec<String>, Vec<String>) {
    let open = |path: &str| {
        unmask.iter().any(|pattern| pattern.eq_ignore_ascii_case("all") || matches(pattern.trim_end_matches('/'), path))
    };
    let kept =
        |list: &[&str]| list.iter().filter(|path| !open(path)).map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let mut masked = kept(&MASKED);
    for path in mask {
        let path = path.trim_end_matches('/').to_owned();
        if Path::new(&path).is_absolute() && !masked.contains(&path) {
            masked.push(path);
        }
    }
    (masked, kept(&READ_ONLY))
}

/// Shell-like match of one pattern, `*` not crossing a slash. Linear in practice: patterns come from the command line.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, tail)) => path.strip_prefix(head).is_some_and(|rest| {
            let reach = rest.find('/').unwrap_or(rest.len());
            (0..=reach).any(|skipped| rest.is_char_boundary(skipped) && matches(tail, &rest[skipped..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn unmask_takes_paths_patterns_and_all() {
        let (masked, read_only) = adjust(&[], &[]);
        assert_eq!((masked.len(), read_only.len()), (MASKED.len(), READ_ONLY.len()));
        let (masked, _) = adjust(&[], &strings(&["/proc/kcore"]));
        assert!(!masked.contains(&"/proc/kcore".to_owned()) && masked.contains(&"/proc/keys".to_owned()));
        let (masked, read_only) = adjust(&[], &strings(&["/proc/*"]));
        assert!(masked.iter().all(|path| path.starts_with("/sys/")) && read_only.is_empty());
        let (masked, read_only) = adjust(&[], &strings(&["all"]));
        assert!(masked.is_empty() && read_only.is_empty());
        let (masked, _) = adjust(&[], &strings(&["/sys/*"]));
        assert!(!masked.contains(&"/sys/firmware".to_owned()));
        assert!(masked.contains(&"/sys/dev/block".to_owned()), "a star does not cross a slash");
    }

    #[test]
    fn mask_adds_absolute_paths_once() {
        let (masked, _) = adjust(&strings(&["/proc/cpuinfo/", "/proc/kcore", "relative"]), &[]);
        assert_eq!(masked.len(), MASKED.len() + 1);
        assert_eq!(masked.last().unwrap(), "/proc/cpuinfo");
    }

    #[test]
    fn throttle_counters_of_real_cpus_only() {
        let found = thermal_throttle(strings(&["cpu0", "cpu12", "cpufreq", "cpuidle", "cpu"]));
        assert_eq!(
            found,
            ["/sys/devices/system/cpu/cpu0/thermal_throttle", "/sys/devices/system/cpu/cpu12/thermal_throttle"]
        );
    }
}

//! The flags that say where a container stands among its neighbours: control group, namespaces, devices.

use clap::Args;

use crate::engine::container::options::place::Place;
use crate::error::{CommandError, Result};

/// Control group and namespaces.
#[derive(Args)]
pub struct PlaceFlags {
    /// Control group to make the container's group in
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// Whose view of control groups it has: private, host
    #[arg(long, value_name = "MODE", value_parser = ["private", "host"], hide_possible_values = true)]
    cgroupns: Option<String>,
    /// Whose shared memory and queues it has: private, shareable, none, host, container:NAME
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// Whose processes it sees: private, host, container:NAME
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// Whose host name it has: private, host
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// Share namespaces with this machine: all, or some of net, pid, ipc, uts, cgroup; -KIND leaves one out
    #[arg(long, value_name = "KINDS", allow_hyphen_values = true)]
    share: Option<String>,
    /// Which cgroups are made: enabled, or no-conmon, which is the same here
    #[arg(long, value_name = "MODE", hide = true, value_parser = cgroups)]
    cgroups: Option<String>,
    /// Allow it devices by number, as 'c 1:3 rwm'
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// How willingly the kernel kills it when memory runs out, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,
}

impl PlaceFlags {
    /// The same as the engine takes it; a shared network is put to `networks` if those do not say otherwise.
    ///
    /// # Errors
    /// A kind that is none.
    pub fn place(self, networks: &mut Vec<String>) -> Result<Place> {
        let shared = self.share.as_deref().map(shared).transpose()?.unwrap_or_default();
        let host = |kind: &str| shared.contains(&kind).then(|| "host".to_owned());
        if networks.is_empty() {
            networks.extend(host("net"));
        }
        let (cgroup, ipc, pid, uts) = (host("cgroup"), host("ipc"), host("pid"), host("uts"));
        Ok(Place {
            cgroup_parent: self.cgroup_parent,
            cgroupns: self.cgroupns.or(cgroup),
            ipc: self.ipc.or(ipc),
            pid: self.pid.or(pid),
            uts: self.uts.or(uts),
            device_cgroup_rules: self.device_cgroup_rule,
            oom_score_adj: self.oom_score_adj,
        })
    }
}

/// The kinds that `--share` names.
fn shared(text: &str) -> Result<Vec<&'static str>> {
    const KINDS: [&str; 5] = ["net", "pid", "ipc", "uts", "cgroup"];
    let mut all: Vec<&'static str> = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (leave, name) = word.strip_prefix('-').map_or((false, word), |name| (true, name));
        let name = if name == "network" { "net" } else { name };
        let meant = KINDS.iter().filter(|kind| name == "all" || name == **kind);
        let before = meant.clone().count();
        if before == 0 {
            return Err(CommandError::usage(format!("--share {text}: {name} cannot be shared")).hint(
                "it takes all, net, pid, ipc, uts and cgroup; mounts are a container's own, `img unshare` shares them",
            ));
        }
        all.retain(|kind| !meant.clone().any(|other| other == kind));
        if !leave {
            all.extend(meant);
        }
    }
    Ok(all)
}

/// `--cgroups`: a container without a group could not be stopped for sure, and nothing here shares one with its monitor.
fn cgroups(text: &str) -> std::result::Result<String, String> {
    match text {
        "enabled" | "no-conmon" => Ok(text.to_owned()),
        "disabled" => Err("every container has a control group, by which it is ended".to_owned()),
        "split" => Err("a container's monitor is never in a control group of the container's".to_owned()),
        _ => Err("it takes enabled".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_added_and_left_out() {
        assert_eq!(shared("all").unwrap(), ["net", "pid", "ipc", "uts", "cgroup"]);
        assert_eq!(shared("all,-uts,-network").unwrap(), ["pid", "ipc", "cgroup"]);
        assert_eq!(shared("net,ipc,net").unwrap(), ["ipc", "net"]);
        assert_eq!(shared("-net").unwrap(), [""; 0]);
        for bad in ["mount", "all,-x", "user"] {
            assert!(shared(bad).is_err(), "{bad}");
        }
    }
}

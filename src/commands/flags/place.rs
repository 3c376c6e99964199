//! The flags that say where a container stands among its neighbours: control group, namespaces, devices.

use clap::Args;

use crate::engine::container::options::place::Place;

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
    /// The same as the engine takes it.
    pub fn place(self) -> Place {
        Place {
            cgroup_parent: self.cgroup_parent,
            cgroupns: self.cgroupns,
            ipc: self.ipc,
            pid: self.pid,
            uts: self.uts,
            device_cgroup_rules: self.device_cgroup_rule,
            oom_score_adj: self.oom_score_adj,
        }
    }
}

/// `--cgroups`: a container without a group could not be stopped for sure, and nothing here shares one with its monitor.
fn cgroups(text: &str) -> Result<String, String> {
    match text {
        "enabled" | "no-conmon" => Ok(text.to_owned()),
        "disabled" => Err("every container has a control group, by which it is ended".to_owned()),
        "split" => Err("a container's monitor is never in a control group of the container's".to_owned()),
        _ => Err("it takes enabled".to_owned()),
    }
}

//! Bundle in, process out: namespaces, mounts, cgroups, networks.

pub mod cgroup;
pub mod security;

//! Bundle in, process out: namespaces, mounts, cgroups, networks.

pub mod cgroup;
pub mod security;
pub mod spec;
pub mod validate;

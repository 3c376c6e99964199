//! Options to spec.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use oci_spec::runtime::{
    Capabilities, LinuxBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType, LinuxIdMapping,
    LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp,
    LinuxTimeOffsetBuilder, PosixRlimitBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::options::{DeviceNodeKind, NamespaceMode, Options};
use super::parse::SeccompChoice;
use super::{Error, Result, mounts, resources, sysctl};
use crate::security::seccomp::{policy, profile};
use crate::security::{capabilities, paths};

/// Names of groups for the process (comma-separated), to be looked up in the container: OCI has numbers only.
pub const GROUP_ADD_ANNOTATION: &str = "img.process.groups";
/// How many ids are to be chosen for a user namespace, and the first and last to choose from, parted by colons.
pub const AUTO_IDS_ANNOTATION: &str = "img.userns.auto";
/// The image specification's place for the stop signal.
pub const STOP_SIGNAL_ANNOTATION: &str = "org.opencontainers.image.stopSignal";

const GIVEN: &str = "every required field was given";

/// The capabilities a container will hold.
pub fn capabilities(options: &Options) -> Result<Capabilities> {
    let base = if options.privileged { &capabilities::ALL[..] } else { &capabilities::DEFAULT[..] };
    Ok(capabilities::adjust(base, &options.cap_add, &options.cap_drop)?)
}

/// The whole spec. Combinations that cannot work are refused by `validate` before; what is malformed is refused here.
pub fn build(options: &Options) -> Result<Spec> {
    let held = capabilities(options)?;
    let (masked, read_only) = match options.privileged || options.security.system_paths_unconfined {
        // A privileged container still may ask for single masks.
        true => (options.security.mask.clone(), Vec::new()),
        false => paths::adjust(&options.security.mask, &options.security.unmask),
    };
    let mut limits = resources::limits(&options.resources)?;
    let rules = resources::device_rules(options);
    if !rules.is_empty() {
        limits.set_devices(Some(rules));
    }
    let parent = options.cgroup_parent.as_deref().unwrap_or("img").trim_matches('/');
    let mut linux = LinuxBuilder::default()
        .resources(limits)
        .cgroups_path(PathBuf::from(format!("/{parent}/{}", options.id)))
        .namespaces(namespaces(options))
        .devices(options.devices.iter().map(device).collect::<Vec<_>>())
        .masked_paths(masked)
        .readonly_paths(read_only)
        .sysctl(sysctl::all(options)?.into_iter().collect::<HashMap<_, _>>())
        // The container's mounts never reach the host; the host's reach it only by mounts that ask for it.
        .rootfs_propagation(propagation(options));
    if !options.uid_map.is_empty() {
        let groups = if options.gid_map.is_empty() { &options.uid_map } else { &options.gid_map };
        linux = linux.uid_mappings(mappings(&options.uid_map)).gid_mappings(mappings(groups));
    }
    if let Some(seccomp) = seccomp(options, &held)? {
        linux = linux.seccomp(seccomp);
    }
    if let Some(label) = selinux(&options.security.labels) {
        // Files carry an object's role and type, and the process's level.
        let level = label.splitn(4, ':').nth(3).unwrap_or("s0");
        linux = linux.mount_label(format!("system_u:object_r:container_file_t:{level}"));
    }
    if !options.time_offsets.is_empty() {
        let offset = |seconds: i64| LinuxTimeOffsetBuilder::default().secs(seconds).build().expect(GIVEN);
        let offsets = options.time_offsets.iter().map(|(clock, seconds)| (clock.clone(), offset(*seconds)));
        linux = linux.time_offsets(offsets.collect::<HashMap<_, _>>());
    }
    let mut annotations: HashMap<String, String> = options.annotations.clone().into_iter().collect();
    let names: Vec<&str> =
        options.group_add.iter().map(String::as_str).filter(|name| name.parse::<u32>().is_err()).collect();
    if !names.is_empty() {
        annotations.insert(GROUP_ADD_ANNOTATION.to_owned(), names.join(","));
    }
    if let Some(signal) = options.stop_signal {
        annotations.insert(STOP_SIGNAL_ANNOTATION.to_owned(), super::parse::signal_name(signal));
    }
    if let Some((size, first, last)) = options.auto_ids {
        annotations.insert(AUTO_IDS_ANNOTATION.to_owned(), format!("{size}:{first}:{last}"));
    }
    let mut spec = SpecBuilder::default()
        .version("1.2.0")
        .root(RootBuilder::default().path(options.root.clone()).readonly(options.read_only).build().expect(GIVEN))
        .process(process(options, &held)?)
        .mounts(mounts::all(options)?)
        .linux(linux.build().expect(GIVEN))
        .annotations(annotations);
    if options.namespaces.uts != NamespaceMode::Host {
        if !options.hostname.is_empty() {
            spec = spec.hostname(options.hostname.clone());
        }
        if !options.domainname.is_empty() {
            spec = spec.domainname(options.domainname.clone());
        }
    }
    let mut spec = spec.build().expect(GIVEN);
    // The builder starts from an example that has a host name.
    if options.namespaces.uts == NamespaceMode::Host || options.hostname.is_empty() {
        spec.set_hostname(None);
    }
    Ok(spec)
}

fn process(options: &Options, held: &Capabilities) -> Result<Process> {
    if options.args.is_empty() {
        return Err(Error::conflict("there is no command to run", "add a command after the image's name"));
    }
    let has_zero = |text: &String| text.contains('\0');
    if options.args.iter().chain(&options.env).any(has_zero) {
        return Err(Error::conflict("an argument or variable holds a zero byte", "the kernel ends strings there"));
    }
    let mut user = UserBuilder::default().uid(0u32).gid(0u32);
    if !options.user.is_empty() {
        user = user.username(options.user.clone());
    }
    if let Some(umask) = options.umask {
        user = user.umask(umask);
    }
    let groups: Vec<u32> = options.group_add.iter().filter_map(|name| name.parse().ok()).collect();
    if groups.contains(&u32::MAX) {
        return Err(Error::invalid("group", "4294967295", "this number stands for no group"));
    }
    let limits = options.ulimits.iter().map(|limit| {
        PosixRlimitBuilder::default().typ(limit.kind).soft(limit.soft).hard(limit.hard).build().expect(GIVEN)
    });
    let cwd = if options.cwd.is_empty() { "/" } else { options.cwd.as_str() };
    let mut builder = ProcessBuilder::default()
        .terminal(options.terminal)
        .user(user.additional_gids(groups).build().expect(GIVEN))
        .args(options.args.clone())
        .env(options.env.clone())
        .cwd(cwd)
        .capabilities(capabilities::to_oci(held))
        .rlimits(limits.collect::<Vec<_>>())
        .no_new_privileges(options.security.no_new_privileges);
    if let Some(score) = options.oom_score_adj {
        if !(-1000..=1000).contains(&score) {
            return Err(Error::invalid("OOM score adjustment", &score.to_string(), "it goes from -1000 to 1000"));
        }
        builder = builder.oom_score_adj(score);
    }
    if let Some(profile) = options.security.apparmor.as_deref().filter(|&profile| profile != "unconfined") {
        builder = builder.apparmor_profile(profile);
    }
    if let Some(label) = selinux(&options.security.labels) {
        builder = builder.selinux_label(label);
    }
    Ok(builder.build().expect(GIVEN))
}

/// A full context from `label=` options; `None` if there are none, or `disable`.
pub(crate) fn selinux(labels: &[String]) -> Option<String> {
    if labels.is_empty() || labels.iter().any(|label| label == "disable") {
        return None;
    }
    let part = |key: &str, default: &str| {
        let given = labels.iter().rev().find_map(|label| label.strip_prefix(key)?.strip_prefix(':'));
        given.unwrap_or(default).to_owned()
    };
    Some(format!(
        "{}:{}:{}:{}",
        part("user", "system_u"),
        part("role", "system_r"),
        part("type", "container_t"),
        part("level", "s0")
    ))
}

fn seccomp(options: &Options, held: &Capabilities) -> Result<Option<LinuxSeccomp>> {
    match &options.security.seccomp {
        SeccompChoice::Default if options.privileged => Ok(None),
        SeccompChoice::Default | SeccompChoice::Builtin => Ok(Some(policy::default(held))),
        SeccompChoice::Unconfined => Ok(None),
        SeccompChoice::File(path) => {
            Err(Error::invalid("security option", &format!("seccomp={path}"), "the profile was not read from its file"))
        }
        SeccompChoice::Profile(json) => {
            let release = rustix::system::uname();
            let kernel = profile::parse_kernel(&release.release().to_string_lossy())?;
            Ok(Some(profile::parse(json.as_bytes(), profile::Facts { capabilities: held, kernel })?))
        }
    }
}

fn namespaces(options: &Options) -> Vec<LinuxNamespace> {
    let modes = &options.namespaces;
    let mut all = Vec::new();
    let mut add = |kind, mode: &NamespaceMode| {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        match mode {
            NamespaceMode::Host => {}
            NamespaceMode::Private => all.push(builder.build().expect(GIVEN)),
            NamespaceMode::Path(path) => all.push(builder.path(path.clone()).build().expect(GIVEN)),
        }
    };
    if let Some(mode) = &modes.user {
        add(LinuxNamespaceType::User, mode);
    }
    add(LinuxNamespaceType::Mount, &NamespaceMode::Private);
    add(LinuxNamespaceType::Pid, &modes.pid);
    add(LinuxNamespaceType::Ipc, &modes.ipc);
    add(LinuxNamespaceType::Uts, &modes.uts);
    add(LinuxNamespaceType::Network, &modes.network);
    add(LinuxNamespaceType::Cgroup, &modes.cgroup);
    if !options.time_offsets.is_empty() {
        add(LinuxNamespaceType::Time, &NamespaceMode::Private);
    }
    all
}

/// A mount that shares with the host needs a root that is not private itself.
fn propagation(options: &Options) -> String {
    use super::parse::Propagation::{RShared, RSlave, Shared, Slave};
    let asked: HashSet<_> = options.mounts.iter().filter_map(|mount| mount.propagation.map(|p| p.name())).collect();
    let any = |list: [super::parse::Propagation; 2]| list.iter().any(|one| asked.contains(one.name()));
    match (any([Shared, RShared]), any([Slave, RSlave])) {
        (true, _) => "rshared",
        (false, true) => "rslave",
        (false, false) => "rprivate",
    }
    .to_owned()
}

fn device(node: &super::options::DeviceNode) -> LinuxDevice {
    let kind = match node.kind {
        DeviceNodeKind::Block => LinuxDeviceType::B,
        DeviceNodeKind::Character => LinuxDeviceType::C,
    };
    LinuxDeviceBuilder::default()
        .path(node.path.clone())
        .typ(kind)
        .major(node.major)
        .minor(node.minor)
        .file_mode(node.mode)
        .uid(node.uid)
        .gid(node.gid)
        .build()
        .expect(GIVEN)
}

fn mappings(map: &[(u32, u32, u32)]) -> Vec<LinuxIdMapping> {
    let one = |&(container, host, size): &(u32, u32, u32)| {
        LinuxIdMappingBuilder::default().container_id(container).host_id(host).size(size).build().expect(GIVEN)
    };
    map.iter().map(one).collect()
}

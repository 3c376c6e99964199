//! The mounts of a container: the usual ones, then the user's.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount, MountBuilder};

use super::options::{NamespaceMode, Options, SharedMemory};
use super::parse::{BindRecursion, MountKind, MountRequest, Propagation};
use super::{Error, Result};

/// All mounts in the order they are made: the usual ones, then the user's, parents before children. A user's mount takes the place of a
/// usual one at the same path.
pub(super) fn all(options: &Options) -> Result<Vec<Mount>> {
    let mut mounts = usual(options);
    let mut asked = Vec::new();
    for request in &options.mounts {
        let target = normal(&request.target);
        if asked.iter().any(|(known, _)| *known == target) {
            return Err(Error::conflict(
                format!("two mounts have the same place, {}", target.display()),
                "leave one of them out, or give it another path",
            ));
        }
        mounts.retain(|mount: &Mount| *mount.destination() != target);
        asked.push((target.clone(), one(request, &target, options)?));
    }
    // A stable sort by depth: what lies deeper must come later or it would be hidden.
    asked.sort_by_key(|(target, _)| target.components().count());
    mounts.extend(asked.into_iter().map(|(_, mount)| mount));
    Ok(mounts)
}

fn usual(options: &Options) -> Vec<Mount> {
    let mut proc = words("nosuid,noexec,nodev");
    proc.extend(options.security.proc_options.iter().cloned());
    let mut mounts = vec![
        // Processes that are not of a namespace of its own can only be shown as whoever owns that shows them.
        match (options.namespaces.user.is_some(), &options.namespaces.pid) {
            (true, NamespaceMode::Host) => mount("/proc", "bind", "/proc", words("rbind,nosuid,noexec,nodev")),
            (true, NamespaceMode::Path(namespace)) => {
                // `/proc/PID/ns/pid`: of the container whose first process that is.
                let process = namespace.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
                let mut bind = mount("/proc", "bind", "", words("rbind,nosuid,noexec,nodev"));
                bind.set_source(Some(process.join("root/proc")));
                bind
            }
            _ => mount("/proc", "proc", "proc", proc),
        },
        mount("/dev", "tmpfs", "tmpfs", words("nosuid,noexec,strictatime,mode=755,size=65536k")),
        // Group 5 is `tty` on all distributions; a namespace that does not map it cannot name it.
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            words(if maps_tty(options) {
                "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"
            } else {
                "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"
            }),
        ),
    ];
    let writable = if options.privileged { "rw" } else { "ro" };
    // sysfs shows the network namespace it is mounted in, and only an owner of that namespace may mount it.
    let foreign = options.rootless || options.namespaces.user.is_some();
    if foreign && options.namespaces.network != NamespaceMode::Private {
        mounts.push(mount("/sys", "bind", "/sys", words(&format!("rbind,nosuid,noexec,nodev,{writable}"))));
    } else {
        mounts.push(mount("/sys", "sysfs", "sysfs", words(&format!("nosuid,noexec,nodev,{writable}"))));
    }
    let writable = if options.privileged || options.security.writable_cgroups { "rw" } else { "ro" };
    mounts.push(mount(
        "/sys/fs/cgroup",
        if options.cgroup2_view { "cgroup2" } else { "cgroup" },
        "cgroup",
        words(&format!("nosuid,noexec,nodev,relatime,{writable}")),
    ));
    // Queues belong to the IPC namespace, and only its owner may mount them.
    if !(options.namespaces.user.is_some() && options.namespaces.ipc != NamespaceMode::Private) {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", words("nosuid,noexec,nodev")));
    }
    match &options.shared_memory {
        SharedMemory::Size(bytes) => {
            let kilobytes = bytes.div_ceil(1024);
            mounts.push(mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                words(&format!("nosuid,noexec,nodev,mode=1777,size={kilobytes}k")),
            ));
        }
        SharedMemory::Bind(path) => {
            let mut bind = mount("/dev/shm", "bind", "", words("bind,nosuid,noexec,nodev,rprivate"));
            bind.set_source(Some(path.clone()));
            mounts.push(bind);
        }
        SharedMemory::None => {}
    }
    mounts
}

/// Whether group 5 exists in the container.
fn maps_tty(options: &Options) -> bool {
    let map = if options.gid_map.is_empty() { &options.uid_map } else { &options.gid_map };
    !options.rootless && map.is_empty() || map.iter().any(|&(inside, _, count)| inside <= 5 && 5 - inside < count)
}

fn one(request: &MountRequest, target: &Path, options: &Options) -> Result<Mount> {
    let place = target.to_string_lossy();
    if target.starts_with("/proc") && !options.privileged && !matches!(request.kind, MountKind::Tmpfs | MountKind::Proc)
    {
        // What lies on /proc may be a masked path: a mount there would undo the mask (CVE-2019-16884). Files that
        // lxcfs and the like provide are the known exceptions.
        let known = [
            "/proc/cpuinfo",
            "/proc/diskstats",
            "/proc/loadavg",
            "/proc/meminfo",
            "/proc/stat",
            "/proc/swaps",
            "/proc/uptime",
            "/proc/slabinfo",
            "/proc/net/dev",
        ];
        if !known.contains(&place.as_ref()) {
            return Err(Error::invalid("mount", &place, "nothing can be mounted inside /proc")
                .with_hint("known exceptions are the files of lxcfs, as /proc/meminfo"));
        }
    }
    let mut flags: Vec<String> = Vec::new();
    let mut add = |flag: &str| flags.push(flag.to_owned());
    match request.kind {
        MountKind::Bind => {
            let source = request.source.as_deref().filter(|source| source.starts_with('/'));
            let source = source.ok_or_else(|| Error::invalid("mount", &place, "its source is not an absolute path"))?;
            add(if request.recursion == BindRecursion::Disabled { "bind" } else { "rbind" });
            add(request.propagation.unwrap_or(Propagation::RPrivate).name());
            if request.read_only {
                add("ro");
                if matches!(request.recursion, BindRecursion::Enabled | BindRecursion::ReadOnly) {
                    add("rro");
                }
            }
            // Device nodes in a directory of the host stay closed, unless the directory is one of device nodes.
            let wants = |flag: &str| request.options.iter().any(|option| option == flag);
            if !options.privileged && !Path::new(source).starts_with("/dev") && !wants("dev") {
                add("nodev");
            }
            request.options.iter().for_each(|option| add(option));
            if let Some(subpath) = &request.subpath {
                add(&format!("X-mount.subdir={subpath}"));
            }
            if request.overlay {
                add("X-overlay");
            }
            mapped(request, mount(&place, "bind", source, flags))
        }
        MountKind::Tmpfs => {
            for (default, opposite) in [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev")] {
                if !request.options.iter().any(|option| option == opposite) {
                    add(default);
                }
            }
            request
                .options
                .iter()
                .filter(|option| !matches!(option.as_str(), "noexec" | "nosuid" | "nodev"))
                .for_each(|option| add(option));
            add(if request.read_only { "ro" } else { "rw" });
            add(request.propagation.unwrap_or(Propagation::RPrivate).name());
            if let Some(bytes) = request.tmpfs_size {
                add(&format!("size={bytes}"));
            }
            add(&format!("mode={:o}", request.tmpfs_mode.unwrap_or(0o1777)));
            Ok(mount(&place, "tmpfs", "tmpfs", flags))
        }
        MountKind::Devpts => {
            Ok(mount(&place, "devpts", "devpts", words("nosuid,noexec,newinstance,ptmxmode=0666,mode=0620")))
        }
        MountKind::Proc => {
            let writable = if request.read_only { "ro" } else { "rw" };
            Ok(mount(&place, "proc", "proc", words(&format!("nosuid,noexec,nodev,{writable}"))))
        }
        MountKind::DiskImage => {
            let source = request.source.as_deref().filter(|source| source.starts_with('/'));
            let source = source.ok_or_else(|| Error::invalid("mount", &place, "its source is not an absolute path"))?;
            add("nosuid");
            add("nodev");
            add(if request.read_only { "ro" } else { "rw" });
            request.options.iter().for_each(|option| add(option));
            if request.overlay {
                add("X-overlay");
            }
            mapped(request, mount(&place, crate::plan::DISK_IMAGE, source, flags))
        }
        MountKind::Layers => Ok(mount(
            &place,
            crate::plan::LAYERS,
            request.source.as_deref().unwrap_or_default(),
            words(if request.read_only { "ro" } else { "rw" }),
        )),
        MountKind::File => {
            let number = request.source.as_deref().unwrap_or_default();
            Ok(mount(&place, crate::plan::FILE, number, words("ro,nosuid,nodev,noexec")))
        }
        MountKind::Volume | MountKind::Image => {
            Err(Error::invalid("mount", &place, "its volume or image was not resolved to a directory"))
        }
    }
}

/// The mount with the mapping of ids that was asked for.
fn mapped(request: &MountRequest, mut mount: Mount) -> Result<Mount> {
    let Some(text) = &request.idmap else { return Ok(mount) };
    let mut options = mount.options().clone().unwrap_or_default();
    options.push(if request.recursion == BindRecursion::Disabled { "idmap" } else { "ridmap" }.to_owned());
    mount.set_options(Some(options));
    // Without words the mapping is that of the container's user namespace, if it has one.
    if !text.is_empty() {
        let map = super::parse::id_map(text)?;
        let list = |ranges: &[super::parse::IdRange]| -> Vec<LinuxIdMapping> {
            let one = |&(from, to, count): &super::parse::IdRange| {
                LinuxIdMappingBuilder::default().container_id(from).host_id(to).size(count).build()
            };
            ranges.iter().map(|range| one(range).expect("all of it was given")).collect()
        };
        mount.set_uid_mappings(Some(list(&map.uids)));
        mount.set_gid_mappings(Some(list(&map.gids)));
    }
    Ok(mount)
}

fn mount(target: &str, kind: &str, source: &str, flags: Vec<String>) -> Mount {
    let builder = MountBuilder::default().destination(target).typ(kind).source(source).options(flags);
    builder.build().expect("mappings of ids were not given")
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// Without doubled slashes, dots and a slash at the end. `..` was refused by the parser.
fn normal(path: &str) -> PathBuf {
    Path::new(path).components().collect()
}

//! From a refused call to the layer that refused it, and the smallest flag that would have allowed it.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp, Spec};
use rustix::fs::FileType;

use super::Denial;
use super::call::{self, Ended, error_name};
use super::ids::Ids;
use super::place::{Mount, Process};
use super::space;
use crate::container::Container;
use crate::error::Result;
use crate::security::{capabilities, seccomp};

/// What is known of the container beforehand.
#[derive(Debug)]
pub struct Facts {
    filter: Option<seccomp::Program>,
    /// The filter is our default for these capabilities.
    default_filter: bool,
    held: Capabilities,
    root_read_only: bool,
    /// What is written into the root goes to a file system of a size of its own (`--storage-opt size=`).
    limited: bool,
    masked: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    pids: Option<i64>,
    /// The memory limit.
    pub memory: Option<i64>,
}

/// The layer, what exactly, and the flag.
pub type Cause = (&'static str, String, Option<String>);

impl Facts {
    /// What the spec says.
    pub fn of(container: &Container) -> Result<Self> {
        let spec: &Spec = &container.spec;
        let linux = spec.linux().as_ref();
        let asked: Option<&LinuxSeccomp> = linux.and_then(|linux| linux.seccomp().as_ref());
        let sets = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
        let held = sets.and_then(|sets| sets.bounding().clone()).unwrap_or_default();
        let paths = |list: &Option<Vec<String>>| list.iter().flatten().map(PathBuf::from).collect();
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        Ok(Self {
            filter: asked.map(seccomp::compile).transpose()?,
            default_filter: asked.is_some_and(|asked| *asked == seccomp::policy::default(&held)),
            held,
            limited: space::is_limited(&container.rootfs),
            root_read_only: spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true),
            masked: linux.map(|linux| paths(linux.masked_paths())).unwrap_or_default(),
            read_only: linux.map(|linux| paths(linux.readonly_paths())).unwrap_or_default(),
            pids: resources.and_then(|all| all.pids().as_ref()).map(|pids| pids.limit()).filter(|limit| *limit > 0),
            memory: resources.and_then(|all| all.memory().as_ref()).and_then(|memory| memory.limit()),
        })
    }

    /// Why a call ended as it did, if that was a refusal.
    pub fn explain(&self, call: &Ended, pid: i32) -> Option<Denial> {
        let filtered =
            self.filter.as_ref().map_or(0, |filter| filter.error_for(call.architecture, call.number, call.arguments));
        let process = Process::new(pid);
        let object = process.object(call);
        let cause = if filtered != 0 && filtered == call.error {
            // C libraries try clone3 first and are meant to fall back.
            if call.name == "clone3" {
                return None;
            }
            Some(self.by_filter(call))
        } else {
            self.by_kernel(call, &process, object.as_deref())
        };
        let (layer, why, flag) = cause?;
        let name = match error_name(call.error) {
            Some(error) => format!("{}: {error}", call.name),
            None => call.name.to_owned(),
        };
        let object = object.map(|path| path.to_string_lossy().escape_debug().to_string());
        Some(Denial { call: name, object, layer: layer.into(), why, flag, count: 1 })
    }

    /// The filter said no: with which capability would it say yes?
    fn by_filter(&self, call: &Ended) -> Cause {
        let opens = |capability: &Capability| {
            let with = self.held.iter().copied().chain([*capability]).collect();
            let filter = seccomp::compile(&seccomp::policy::default(&with));
            filter.is_ok_and(|filter| filter.error_for(call.architecture, call.number, call.arguments) == 0)
        };
        // SYS_ADMIN opens most, so it comes last.
        let lacking = || capabilities::ALL.iter().filter(|capability| !self.held.contains(capability));
        let narrow = lacking().filter(|capability| **capability != Capability::SysAdmin);
        let found =
            narrow.chain(lacking().filter(|capability| **capability == Capability::SysAdmin)).find(|one| opens(one));
        match found.filter(|_| self.default_filter) {
            Some(capability) => {
                let short = short(*capability);
                let why = format!("the default filter wants CAP_{short} for it, and so does the kernel");
                ("seccomp", why, Some(format!("by --cap-add {short}")))
            }
            None => {
                let why = if self.default_filter { "refused to everybody" } else { "the profile refuses it" };
                (
                    "seccomp",
                    why.to_owned(),
                    Some("by --security-opt seccomp=unconfined, or a profile that has it".into()),
                )
            }
        }
    }

    /// The kernel itself said no, or said yes to something that is not what it seems.
    fn by_kernel(&self, call: &Ended, process: &Process, object: Option<&Path>) -> Option<Cause> {
        match call.error {
            0 => self.masked(call, object?),
            libc::EROFS => self.read_only(process, object?),
            libc::ENOSPC | libc::EDQUOT => space::full(self.limited, process, object?),
            libc::EAGAIN if call::is_fork(call.name) => Some(self.no_more_processes(process)),
            libc::EMFILE => Some(limit(process, "nofile", "Max open files")),
            libc::EFBIG => Some(limit(process, "fsize", "Max file size")),
            libc::ENOMEM | libc::EAGAIN | libc::EPERM if call.name.starts_with("mlock") => {
                Some(limit(process, "memlock", "Max locked memory"))
            }
            libc::ENOMEM if call::takes_memory(call.name) => {
                let limits = [("as", "Max address space"), ("data", "Max data size")];
                limits
                    .iter()
                    .find(|(_, line)| process.limit(line).is_some())
                    .map(|(name, line)| limit(process, name, line))
            }
            libc::EPERM => self
                .device(call, process, object)
                .or_else(|| self.capability(call, process))
                .or_else(|| Ids::of(process)?.foreign(call, process, object)),
            libc::EACCES => {
                self.no_access(call, process, object).or_else(|| Ids::of(process)?.foreign(call, process, object))
            }
            libc::EINVAL => Ids::of(process)?.unmapped(call),
            libc::EOVERFLOW => Ids::without_owner(process, object?),
            _ => None,
        }
    }

    /// A file that was opened and is only a mask.
    fn masked(&self, call: &Ended, object: &Path) -> Option<Cause> {
        let opens = matches!(call.name, "open" | "openat" | "openat2");
        let path = self.masked.iter().find(|path| object.starts_with(path)).filter(|_| opens)?;
        let path = path.display();
        Some((
            "masked path",
            format!("{path} is hidden and seems empty"),
            Some(format!("by --security-opt unmask={path}")),
        ))
    }

    fn read_only(&self, process: &Process, object: &Path) -> Option<Cause> {
        if let Some(path) = self.read_only.iter().find(|path| object.starts_with(path)) {
            let why = format!("{} is read-only in every container", path.display());
            let flag = match object.strip_prefix("/proc/sys") {
                Ok(name)
                    if name.starts_with("net") || name.starts_with("kernel/shm") || name.starts_with("kernel/msg") =>
                {
                    let name = name.display().to_string().replace('/', ".");
                    format!("by --sysctl {name}=VALUE")
                }
                _ => format!("by --security-opt unmask={}", path.display()),
            };
            return Some(("read-only path", why, Some(flag)));
        }
        let mount = process.mount(object)?;
        if mount.point == "/" && self.root_read_only {
            let why = "the root file system is read-only".to_owned();
            return Some(("read-only mount", why, Some("without --read-only, or by a --tmpfs there".into())));
        }
        let why = format!("{} is mounted read-only", mount.point);
        let flag = match mount.kind.as_str() {
            "sysfs" | "cgroup" | "cgroup2" => {
                Some("by --security-opt systempaths=unconfined or --privileged".to_owned())
            }
            _ => Some(format!("without ro in the option that mounts {}", mount.point)),
        };
        Some(("read-only mount", why, flag))
    }

    fn no_more_processes(&self, process: &Process) -> Cause {
        match (process.limit("Max processes"), self.pids) {
            (Some(limit), pids) if pids.is_none_or(|pids| pids as u64 > limit) && process.uid() != 0 => {
                ("ulimit", format!("nproc is {limit}"), Some(format!("by --ulimit nproc={}", limit.saturating_mul(2))))
            }
            (_, Some(limit)) => (
                "pids limit",
                format!("{limit} processes and threads, and they are there"),
                Some(format!("by --pids-limit {}", limit.saturating_mul(2))),
            ),
            _ => ("pids limit", "the host has no more processes to give".into(), None),
        }
    }

    /// `EPERM` of an open of a device.
    fn device(&self, call: &Ended, process: &Process, object: Option<&Path>) -> Option<Cause> {
        let path = object.filter(|_| matches!(call.name, "open" | "openat" | "openat2" | "creat"))?;
        let stat = process.stat(path)?;
        let letter = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => 'c',
            FileType::BlockDevice => 'b',
            _ => return None,
        };
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let why = format!("{letter} {major}:{minor} is not among the container's devices");
        // The name it has in the container may also be that of the host, and then the node comes along.
        let same = std::fs::metadata(path).is_ok_and(|host| {
            (host.file_type().is_char_device() || host.file_type().is_block_device()) && host.rdev() == stat.st_rdev
        });
        let flag = if same {
            format!("by --device {}", path.display())
        } else {
            format!("by --device-cgroup-rule '{letter} {major}:{minor} rwm'")
        };
        Some(("device rule", why, Some(flag)))
    }

    fn capability(&self, call: &Ended, process: &Process) -> Option<Cause> {
        let capability = call::capability(call.name)?;
        if process.has(capabilities::number(capability)) {
            return None;
        }
        Some(self.lacks(capability, process))
    }

    /// The flag that gives a capability: to root by itself, to another user only together with being root.
    fn lacks(&self, capability: Capability, process: &Process) -> Cause {
        let name = short(capability);
        let add = if self.held.contains(&capability) { String::new() } else { format!(" --cap-add {name}") };
        let flag = if process.uid() == 0 { add } else { format!(" --user 0{add}") };
        let flag = if flag.is_empty() { None } else { Some(format!("by{flag}")) };
        ("capability", format!("CAP_{name} is lacking (user {})", process.uid()), flag)
    }

    fn no_access(&self, call: &Ended, process: &Process, object: Option<&Path>) -> Option<Cause> {
        let Some(path) = object else { return self.capability(call, process) };
        let stat = process.stat(path);
        let mount = process.mount(path).unwrap_or_default();
        let has = |mount: &Mount, option: &str| mount.options.split(',').any(|found| found == option);
        let kind = stat.as_ref().map(|stat| FileType::from_raw_mode(stat.st_mode));
        if matches!(kind, Some(FileType::CharacterDevice | FileType::BlockDevice)) && has(&mount, "nodev") {
            let why = format!("{} is mounted nodev", mount.point);
            let flag = match mount.point.as_str() {
                "/" => "by --device, which puts it below /dev".to_owned(),
                point => format!("by dev in the option that mounts {point}"),
            };
            return Some(("nodev mount", why, Some(flag)));
        }
        if call.name.starts_with("execve") && has(&mount, "noexec") {
            let why = format!("{} is mounted noexec", mount.point);
            return Some(("noexec mount", why, Some(format!("by exec in the option that mounts {}", mount.point))));
        }
        if process.has(capabilities::number(Capability::DacOverride)) {
            return None;
        }
        let (_, _, flag) = self.lacks(Capability::DacOverride, process);
        let why = match stat {
            Some(stat) => {
                let ids = Ids::of(process);
                let user = ids.as_ref().and_then(|ids| ids.user(stat.st_uid)).unwrap_or(stat.st_uid);
                let group = ids.as_ref().and_then(|ids| ids.group(stat.st_gid)).unwrap_or(stat.st_gid);
                format!(
                    "its mode is {:04o}, it belongs to {user}:{group} and user {} asks",
                    stat.st_mode & 0o7777,
                    process.uid()
                )
            }
            None => format!("the directory above forbids it to user {}", process.uid()),
        };
        Some(("file mode", why, flag))
    }

    /// A program whose set-id bits were ignored.
    pub fn executed(&self, pid: i32, process: &Process) -> Option<Denial> {
        let link = format!("/proc/{pid}/exe");
        let file = std::fs::metadata(&link).ok()?;
        let gains = file.mode() & 0o4000 != 0 && file.uid() != process.uid();
        if !gains || !process.no_new_privs() {
            return None;
        }
        let name = std::fs::read_link(&link).ok()?;
        Some(Denial {
            call: "execve".into(),
            object: Some(name.to_string_lossy().escape_debug().to_string()),
            layer: "no_new_privs".into(),
            why: format!("its set-user-ID bit is ignored, it runs as {}", process.uid()),
            flag: Some("without --security-opt no-new-privileges".into()),
            count: 1,
        })
    }

    /// An end by a signal that a limit sends.
    pub fn signal(&self, signal: i32) -> Option<Denial> {
        let (name, what) = match signal {
            libc::SIGXCPU => ("cpu", "processor time"),
            libc::SIGXFSZ => ("fsize", "size of a file"),
            _ => return None,
        };
        Some(Denial {
            call: "the program".into(),
            object: None,
            layer: "ulimit".into(),
            why: format!("killed at the limit of {what} ({name})"),
            flag: Some(format!("by a higher --ulimit {name}")),
            count: 1,
        })
    }
}

/// Its name as flags have it.
pub fn short(capability: Capability) -> &'static str {
    let name = capabilities::name(capability);
    name.strip_prefix("CAP_").unwrap_or(name)
}

fn limit(process: &Process, name: &str, line: &str) -> Cause {
    match process.limit(line) {
        Some(limit) => {
            let more = limit.saturating_mul(4).max(64);
            ("ulimit", format!("{name} is {limit}"), Some(format!("by --ulimit {name}={more}:{more}")))
        }
        None => ("ulimit", name.to_string(), None),
    }
}

//! `create`: everything is made, and the child waits at its gate.
//!
//! The order: record, gate, groups, clone; then, while the child mounts, loopback; when it has mounted, the hooks of the runtime's
//! namespaces. If any of it fails, what was made is taken back and the record removed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hooks, Spec};
use rustix::fs::{FileType, Mode, OFlags};

use super::bundle::{self, Bundle};
use super::record::{CONFIG, FAILURES, ORDER, Record, Status};
use super::{Runtime, cgroups, console};
use crate::cgroup::Cgroup;
use crate::container::Rootfs;
use crate::create::{self, Started, Work};
use crate::error::{Doing, Error, Result};
use crate::init::{ChildHooks, Gate, Materials};
use crate::plan::{MountKind, Plan, Settings, Step};
use crate::security::seccomp;
use crate::{broker, hooks, network, rootfs, state, sys};

/// How a container is created.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The socket that gets the master of the container's terminal.
    pub console_socket: Option<PathBuf>,
    /// A file for the pid.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on are passed on.
    pub preserve_fds: u32,
    /// How many more are sockets that a service manager has opened for the program, which is told so.
    pub listen_fds: u32,
    /// Change the root without pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// systemd is to make the groups; refused.
    pub systemd_cgroup: bool,
    /// The caller stays and looks after the terminal itself.
    pub foreground: bool,
}

/// The program's standard input and output.
#[derive(Debug)]
pub enum Stdio {
    /// Those of this process.
    Inherit,
    /// These.
    Given([OwnedFd; 3]),
}

impl Stdio {
    pub(super) fn open(self) -> Result<[OwnedFd; 3]> {
        let copy =
            |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().doing(|| "use standard input and output".into());
        match self {
            Stdio::Inherit => {
                Ok([copy(rustix::stdio::stdin())?, copy(rustix::stdio::stdout())?, copy(rustix::stdio::stderr())?])
            }
            Stdio::Given(fds) => Ok(fds),
        }
    }
}

/// A container that waits to be started.
#[derive(Debug)]
pub struct Created {
    /// Its first process.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if no socket got it.
    pub console: Option<OwnedFd>,
}

impl Runtime {
    /// Creates a container. The caller must be single-threaded and is the parent of the container's process.
    ///
    /// # Errors
    /// A configuration that cannot be honoured, an id that is taken, whatever the kernel refuses.
    pub fn create(&self, id: &str, options: &CreateOptions, stdio: Stdio) -> Result<Created> {
        let mut bundle = Bundle::load(&options.bundle)?;
        bundle.tell_sockets(options.listen_fds);
        let settings = Settings {
            staged: true,
            create_cwd: true,
            keep_keyring: options.no_new_keyring,
            no_pivot: options.no_pivot,
            ..Settings::default()
        };
        let plan = Plan::for_container(&bundle.spec, settings)?;
        let terminal = create::process_of(&bundle.spec)?.terminal() == Some(true);
        let socket = console::asked(options.console_socket.as_deref(), terminal, options.foreground)?;
        let group = cgroups::path(&bundle.spec, id, options.systemd_cgroup)?;
        let mut record = Record::new(id, &bundle.path, &bundle.rootfs, &bundle.spec, group)?;
        let directory = self.make_directory(id)?;
        record.own_users = plan.has_users();
        // Nobody deletes it half made. The child lets go of the lock at its gate.
        let _lock = state::lock(&directory)?;
        let made = make(&bundle, &plan, &mut record, &directory, options, stdio).and_then(|started| {
            finish(&bundle.spec, &mut record, &directory, &started, options, socket.as_ref())?;
            Ok(started)
        });
        match made {
            Ok(started) => Ok(Created { pidfd: started.pidfd, console: started.console.filter(|_| socket.is_none()) }),
            Err(error) => {
                // The first error is the one to tell; what resists is left with its record, for `delete --force`.
                let _ = self.take_back(&record, &directory, bundle.spec.hooks().as_ref());
                Err(error)
            }
        }
    }
}

/// Makes the child.
fn make(
    bundle: &Bundle,
    plan: &Plan,
    record: &mut Record,
    directory: &Path,
    options: &CreateOptions,
    stdio: Stdio,
) -> Result<Started> {
    let spec = &bundle.spec;
    record.save(directory)?;
    state::replace_bytes(&directory.join(CONFIG), &bundle.text)?;
    let gate = Gate { order: fifo(&directory.join(ORDER))?, failures: fifo(&directory.join(FAILURES))? };
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let seccomp = seccomp.map(seccomp::compile).transpose()?;
    let root = Rootfs::Directory { path: bundle.rootfs.clone(), readonly: false, ids: None };
    let root = rootfs::prepare(directory, &root, true, false, None)?;
    let binds = crate::bind::all(plan)?;
    let devices = create::host_devices(plan)?;
    let (namespaces, around) = create::joined(plan)?;
    let terminal = create::process_of(spec)?.terminal() == Some(true);
    let stdio = if terminal { None } else { Some(stdio.open()?) };
    let cgroup = Cgroup::create_at(&record.cgroup, &bundle::resources(spec)?)?;
    record.made = true;
    record.save(directory)?;
    let wants_view =
        plan.steps.iter().any(|step| matches!(step, Step::Mount(mount) if mount.kind == MountKind::Cgroup));
    let all_hooks = spec.hooks().as_ref();
    let materials = Materials {
        plan,
        process: create::process_of(spec)?,
        group_names: &[],
        exact_groups: true,
        tasks: cgroup.tasks_fds(),
        namespaces,
        rootfs: Some(root),
        // Hooks look for what is mounted below the bundle's root.
        root_place: all_hooks.filter(|_| !options.no_pivot).map(|_| bundle.rootfs.clone()),
        devices,
        hooks: all_hooks.map(|hooks| ChildHooks { hooks, state: record.hook_state(Status::Creating) }),
        gate: Some(gate),
        binds,
        layers: BTreeMap::new(),
        files: &[],
        cgroup_view: if wants_view { create::cgroup_view(&cgroup)? } else { Vec::new() },
        seccomp,
        stdio,
        passed_on: broker::from_three(options.preserve_fds.saturating_add(options.listen_fds)),
        ttys: 0,
        die_with_parent: false,
    };
    let own_network = plan.new_namespaces & libc::CLONE_NEWNET as u64 != 0;
    let mut state = record.hook_state(Status::Creating);
    let work = Work {
        idle: &mut || {},
        meanwhile: |pid: i32| {
            if own_network {
                let path = format!("/proc/{pid}/ns/net");
                let namespace = std::fs::File::open(&path).doing(|| format!("open {path}"))?;
                network::loopback_up(namespace.as_fd())?;
            }
            Ok(())
        },
        mounted: |pid: i32| {
            state["pid"] = pid.into();
            all_hooks.map_or(Ok(()), |hooks| run_creating(hooks, &state))
        },
        root: None,
        interrupts: None,
    };
    let (started, ()) = create::start_child(&cgroup, &around, materials, work)?;
    Ok(started)
}

/// Records the process, and gives away pid and terminal.
fn finish(
    spec: &Spec,
    record: &mut Record,
    directory: &Path,
    started: &Started,
    options: &CreateOptions,
    socket: Option<&std::os::unix::net::UnixStream>,
) -> Result<()> {
    record.process = Some(started.process);
    record.save(directory)?;
    // The end of the dialogue is the gate, or the end of the child.
    let mut entry =
        [libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&started.pidfd), events: libc::POLLIN, revents: 0 }];
    if sys::poll(&mut entry, Some(std::time::Duration::ZERO)).doing(|| "examine the container's process".into())? > 0 {
        return Err(Error::invalid("the container's first process ended before it was started"));
    }
    if let Some(console) = &started.console {
        console::resize(console, create::process_of(spec)?)?;
        if let Some(socket) = socket {
            console::send(socket, console)?;
        }
    }
    match &options.pid_file {
        Some(path) => write_pid(path, started.process.pid),
        None => Ok(()),
    }
}

/// The hooks of the time before the root changes.
#[allow(deprecated)]
fn run_creating(all: &Hooks, state: &serde_json::Value) -> Result<()> {
    for (kind, list) in [("prestart", all.prestart()), ("createRuntime", all.create_runtime())] {
        hooks::run(kind, list.as_deref().unwrap_or_default(), state)?;
    }
    Ok(())
}

/// Writes a pid file, by rename: whoever waits for it never reads half of it.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}"));
    std::fs::write(&fresh, pid.to_string())
        .and_then(|()| std::fs::rename(&fresh, path))
        .doing(|| format!("write the pid file {}", path.display()))
}

/// Makes a fifo and opens it for both directions, so that neither end waits for the other.
fn fifo(path: &Path) -> Result<OwnedFd> {
    let doing = || format!("make the fifo {}", path.display());
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).doing(doing)?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).doing(doing)
}

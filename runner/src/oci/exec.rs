//! `exec`: a further process in a container, from a process.json or from the container's own process with changes.
//!
//! It is born in the container's groups and goes through the same steps as any exec of this crate.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use super::bundle::check_labels;
use super::create::write_pid;
use super::record::Status;
use super::{Runtime, Stdio, console};
use crate::broker;
use crate::cgroup::Cgroup;
use crate::create::{self, Work};
use crate::error::{Doing, Error, Result};
use crate::init::Materials;
use crate::plan::Plan;
use crate::security::{capabilities, seccomp};

/// How a process is added.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// The whole process; else the container's own with the changes below.
    pub process: Option<Process>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Variables beside those of the container.
    pub env: Vec<String>,
    /// User, and group if given.
    pub user: Option<(u32, Option<u32>)>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Capabilities beside those of the container.
    pub capabilities: Vec<String>,
    /// A terminal.
    pub terminal: bool,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label.
    pub label: Option<String>,
    /// No exec gains privileges.
    pub no_new_privileges: bool,
    /// Also in a container that is paused: it runs when that is resumed.
    pub ignore_paused: bool,
    /// The socket that gets the master of the terminal.
    pub console_socket: Option<PathBuf>,
    /// A file for the pid.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on are passed on.
    pub preserve_fds: u32,
    /// The caller stays and looks after the terminal itself.
    pub foreground: bool,
}

/// A process that runs.
#[derive(Debug)]
pub struct Executed {
    /// It.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if no socket got it.
    pub console: Option<OwnedFd>,
}

/// The namespaces an exec joins by the container's process; that of pids is the parent's work.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWTIME;

impl Runtime {
    /// The process that `options` describe, for callers that must know whether it has a terminal before they give it input and
    /// output.
    pub fn process_of(&self, id: &str, options: &ExecOptions) -> Result<Process> {
        let config = self.config(id)?;
        let mut process = match &options.process {
            Some(process) => process.clone(),
            None => changed(create::process_of(&config)?.clone(), options)?,
        };
        process.user_mut().set_username(None);
        check_labels(&process)?;
        Ok(process)
    }

    /// Executes a process in a container. The caller must be single-threaded and is its parent.
    ///
    /// # Errors
    /// The container has ended or is paused; the program cannot be executed.
    pub fn exec(&self, id: &str, process: &Process, options: &ExecOptions, stdio: Stdio) -> Result<Executed> {
        let (record, directory) = self.load(id)?;
        match record.status(&directory)? {
            Status::Stopped | Status::Creating => {
                return Err(Error::invalid("cannot exec in a stopped container"));
            }
            Status::Paused if !options.ignore_paused => {
                return Err(Error::invalid("cannot exec in a paused container (use --ignore-paused to override)"));
            }
            _ => {}
        }
        let pidfd = record.pidfd()?.ok_or_else(|| Error::invalid("cannot exec in a stopped container"))?;
        let terminal = process.terminal() == Some(true);
        let socket = console::asked(options.console_socket.as_deref(), terminal, options.foreground)?;
        let config = self.config(id)?;
        let seccomp = config.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let mut plan = Plan::for_exec(process, seccomp.is_some())?;
        let seccomp = seccomp.map(seccomp::compile).transpose()?;
        let mut cgroup = Cgroup::open_at(&record.cgroup)?;
        if let Some(process) = record.process {
            cgroup.follow(process.pid)?;
        }
        let pid_namespace = pidfd.as_fd().try_clone_to_owned().doing(|| "use the container's process".into())?;
        let mut namespaces = NAMESPACES;
        if record.own_users {
            plan.leave_oom_score_to_parent();
            namespaces |= libc::CLONE_NEWUSER;
        }
        let stdio = if terminal { None } else { Some(stdio.open()?) };
        let materials = Materials {
            plan: &plan,
            process,
            group_names: &[],
            exact_groups: true,
            tasks: cgroup.tasks_fds(),
            namespaces: vec![(namespaces, pidfd)],
            rootfs: None,
            root_place: None,
            devices: BTreeMap::new(),
            hooks: None,
            gate: None,
            binds: BTreeMap::new(),
            layers: BTreeMap::new(),
            files: &[],
            cgroup_view: Vec::new(),
            seccomp,
            stdio,
            passed_on: broker::from_three(options.preserve_fds),
            ttys: 0,
            die_with_parent: false,
        };
        let around = [(libc::CLONE_NEWPID, pid_namespace)];
        let work = Work { meanwhile: |_| Ok(()), mounted: |_| Ok(()), idle: &mut || {}, root: None, interrupts: None };
        let (started, ()) = create::start_child(&cgroup, &around, materials, work)?;
        if let Some(console) = &started.console {
            console::resize(console, process)?;
            if let Some(socket) = &socket {
                console::send(socket, console)?;
            }
        }
        if let Some(path) = &options.pid_file {
            write_pid(path, started.process.pid)?;
        }
        Ok(Executed { pidfd: started.pidfd, console: started.console.filter(|_| socket.is_none()) })
    }
}

/// The container's process with what was asked for.
fn changed(mut process: Process, options: &ExecOptions) -> Result<Process> {
    process.set_args(Some(options.args.clone()));
    process.set_terminal(Some(options.terminal));
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(options.env.iter().cloned());
    process.set_env(Some(env));
    if let Some((uid, gid)) = options.user {
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    if !options.additional_gids.is_empty() {
        let mut groups = process.user().additional_gids().clone().unwrap_or_default();
        groups.extend(&options.additional_gids);
        process.user_mut().set_additional_gids(Some(groups));
    }
    if options.apparmor.is_some() {
        process.set_apparmor_profile(options.apparmor.clone());
    }
    if options.label.is_some() {
        process.set_selinux_label(options.label.clone());
    }
    if options.no_new_privileges {
        process.set_no_new_privileges(Some(true));
    }
    if !options.capabilities.is_empty() {
        let more =
            options.capabilities.iter().map(|name| Ok(capabilities::parse(name)?)).collect::<Result<Vec<_>>>()?;
        process.set_capabilities(Some(with(process.capabilities().clone().unwrap_or_default(), &more)));
    }
    Ok(process)
}

/// Capabilities in the sets of a program that root runs.
fn with(mut sets: LinuxCapabilities, more: &[Capability]) -> LinuxCapabilities {
    let add = |set: &Option<oci_spec::runtime::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(more.iter().copied());
        Some(set)
    };
    let (bounding, effective, permitted) = (add(sets.bounding()), add(sets.effective()), add(sets.permitted()));
    sets.set_bounding(bounding);
    sets.set_effective(effective);
    sets.set_permitted(permitted);
    sets
}

//! The child: from the clone to the exec, one loop over the plan.
//!
//! [`run`] never returns: the process becomes the program, or says which step failed and ends. All state between steps is in [`Child`].
//! The rule: nothing of the host is opened here by path; what the child needs was opened by the parent and is borrowed.

mod copy_up;
mod devices;
pub mod dialogue;
mod execute;
pub(crate) mod filesystem;
mod gate;
mod identity;
mod memory_file;
mod reaper;

pub(crate) use filesystem::isolate as isolate_mounts;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use oci_spec::runtime::Process;

use crate::container::MountedFile;
use crate::error::{Doing, Error, Result};
use crate::inroot::{Root, Stub};
use crate::plan::{Plan, Step};
use crate::security::capabilities::Sets;
use crate::security::seccomp;
use crate::timing::{self, Mark};
use crate::{broker, rootfs, security, sys};
use dialogue::{Channel, Failure, Message};
pub use execute::{DEFAULT_PATH, candidates};
pub use gate::Gate;

/// What the parent prepared for the child.
#[derive(Debug)]
pub struct Materials<'a> {
    /// The steps.
    pub plan: &'a Plan,
    /// The program.
    pub process: &'a Process,
    /// Names of further groups of the program's user, looked up in the image.
    pub group_names: &'a [String],
    /// The groups are those of the Spec and no others: whoever wrote it has looked them up.
    pub exact_groups: bool,
    /// The `tasks` files of v1 groups.
    pub tasks: &'a [OwnedFd],
    /// Namespaces to join: flags, and a namespace file or pidfd.
    pub namespaces: Vec<(i32, OwnedFd)>,
    /// The root file system; `None` for exec, which takes the one it joins.
    pub rootfs: Option<rootfs::Prepared>,
    /// Where the root is attached before it becomes the root, for hooks that look for it there; `None`: nowhere else.
    pub root_place: Option<PathBuf>,
    /// Device nodes of the host by their path in the container, where nodes cannot be made.
    pub devices: BTreeMap<PathBuf, OwnedFd>,
    /// Hooks that the child runs.
    pub hooks: Option<ChildHooks<'a>>,
    /// What holds the child back until it is started.
    pub gate: Option<Gate>,
    /// Detached clones of bind sources, by the number of the mount in the Spec.
    pub binds: BTreeMap<usize, OwnedFd>,
    /// Opened layers by the number of the mount in the Spec, and the path in them to be shown.
    pub layers: BTreeMap<usize, (rootfs::Prepared, PathBuf)>,
    /// Files in memory, by the number that mounts of the Spec name.
    pub files: &'a [MountedFile],
    /// Clones of the container's v1 and hybrid groups by the name of their hierarchy; empty where cgroup2 is all there is.
    pub cgroup_view: Vec<(String, OwnedFd)>,
    /// The system call filter.
    pub seccomp: Option<seccomp::Program>,
    /// Standard input, output, error; not used with a terminal.
    pub stdio: Option<[OwnedFd; 3]>,
    /// Descriptors beside 0, 1 and 2 that the program keeps; they are not close-on-exec.
    pub passed_on: Vec<RawFd>,
    /// How many terminals there are beside the console.
    pub ttys: u8,
    /// Whether the child dies with the parent.
    pub die_with_parent: bool,
}

/// The hooks that run in the container.
#[derive(Debug)]
pub struct ChildHooks<'a> {
    /// All hooks of the Spec.
    pub hooks: &'a oci_spec::runtime::Hooks,
    /// The container's state as hooks read it, without `pid` and `status`.
    pub state: serde_json::Value,
}

/// The state between steps.
struct Child<'a> {
    materials: &'a Materials<'a>,
    channel: &'a Channel,
    root: Option<Root>,
    root_mount_id: u64,
    null_mask: Option<OwnedFd>,
    empty_mask: Option<OwnedFd>,
    proc: Option<OwnedFd>,
    /// `/proc/sys` of the procfs that the container sees.
    proc_sys: Option<OwnedFd>,
    console: Option<OwnedFd>,
    stubs: Vec<Stub>,
    user: identity::Identity,
    sets: Option<Sets>,
    /// Our number in the host's pid namespace, where the parent has told it.
    pid_outside: i32,
    /// The dialogue is over: only the gate's other side is still there.
    waited: bool,
}

/// Carries out the plan. The caller is the child of a clone and has nothing else to do.
pub fn run(materials: &Materials<'_>, channel: &Channel) -> ! {
    let mut child = Child {
        materials,
        channel,
        root: None,
        root_mount_id: 0,
        null_mask: None,
        empty_mask: None,
        proc: None,
        proc_sys: None,
        console: None,
        stubs: Vec::new(),
        user: identity::Identity::default(),
        sets: materials.process.capabilities().as_ref().map(Sets::from_oci),
        pid_outside: 0,
        waited: false,
    };
    let failure = match child.begin() {
        Err(error) => Failure::new("begin", &error),
        Ok(()) => 'steps: {
            for step in &materials.plan.steps {
                if let Err(error) = child.step(step) {
                    break 'steps Failure::new(step.to_string(), &error);
                }
            }
            Failure::new("execute the program", &io::Error::other("the plan ended without an exec"))
        }
    };
    let code = failure.exit_code();
    if !child.stubs.is_empty() {
        let stubs = std::mem::take(&mut child.stubs);
        drop(channel.send(&Message::Stubs(stubs), None));
    }
    match &materials.gate {
        Some(gate) if child.waited => gate.report(&failure),
        // If the parent is gone there is nobody to tell.
        _ => drop(channel.send(&Message::Failed(failure), None)),
    }
    sys::exit(code)
}

impl Child<'_> {
    fn begin(&mut self) -> Result<()> {
        sys::set_dumpable(false).doing(|| "seal the process".into())?;
        sys::reset_signals().doing(|| "reset the signals".into())?;
        // Modes are meant as they are given, until the program's own umask is set.
        rustix::process::umask(rustix::fs::Mode::empty());
        self.die_with_parent()?;
        if self.materials.hooks.is_some() {
            // What the caller left open is not for the hooks either; for the program it is closed in the end.
            broker::close_on_exec_all_but(&self.materials.passed_on).doing(|| "close descriptors".into())?;
        }
        if self.materials.plan.has_users() || self.materials.hooks.is_some() {
            self.be_born()?;
        }
        Ok(())
    }

    /// Hears from the parent who we are, and becomes the root of our user namespace.
    fn be_born(&mut self) -> Result<()> {
        match self.channel.receive().doing(|| "wait for the ids".into())? {
            Some((Message::Born(pid), _)) => self.pid_outside = pid,
            _ => sys::exit(125),
        }
        if self.materials.plan.has_users() { self.become_root() } else { Ok(()) }
    }

    /// Asks to die with the parent, and dies now if that was too late.
    fn die_with_parent(&self) -> Result<()> {
        if self.materials.die_with_parent {
            sys::die_with_parent().doing(|| "tie the process to its parent".into())?;
            if self.channel.is_closed() {
                sys::exit(125);
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::JoinCgroups => self.join_cgroups(),
            Step::JoinNamespaces => self.join_namespaces(),
            Step::NewCgroupNamespace => sys::unshare(libc::CLONE_NEWCGROUP).doing(|| "make a cgroup namespace".into()),
            Step::NewKeyring => Ok(security::keyring::join_session()?),
            Step::IsolateMounts => self.isolate_mounts(),
            Step::MountRoot => self.mount_root(),
            Step::Mount(mount) => self.mount(mount),
            Step::MakeDevices(nodes) => self.make_devices(nodes),
            Step::OpenConsole => self.open_console(),
            Step::MakeWorkingDirectory(path) => self.make_working_directory(path),
            Step::Mask(path) => self.mask(path),
            Step::MakeReadOnly(path) => self.make_read_only(path),
            Step::MakeRootReadOnly => self.make_root_read_only(),
            Step::AwaitHooks => self.await_hooks(),
            Step::RunCreateHooks => self.run_hooks("createContainer", "creating"),
            Step::PivotRoot => self.pivot_root(),
            Step::ChangeRoot => self.change_root(),
            Step::SetRootPropagation(kind, tree) => self.set_root_propagation(*kind, *tree),
            Step::Synchronise => self.synchronise(),
            Step::SetHostname(name) => nix::unistd::sethostname(name).doing(|| format!("set the host name {name:?}")),
            Step::SetDomainname(name) => {
                rustix::system::setdomainname(name.as_bytes()).doing(|| format!("set the domain name {name:?}"))
            }
            Step::SetSysctl(path, value) => self.set_sysctl(path, value),
            Step::SetAffinity(cpus) => sys::set_affinity(cpus).doing(|| format!("run on the CPUs {cpus:?}")),
            Step::SetIoPriority(priority) => sys::set_io_priority(*priority).doing(|| "set the I/O priority".into()),
            Step::SetScheduler(wanted) => sys::set_scheduler(wanted).doing(|| "set the scheduler".into()),
            Step::SetOomScore(score) => self.set_oom_score(*score),
            Step::SetRlimit(name, number, soft, hard) => set_rlimit(name, *number, *soft, *hard),
            Step::SetPersonality(persona) => sys::personality(*persona).doing(|| "set the personality".into()),
            Step::SetLabel(file, text) => self.write_own_proc(&format!("attr/{file}"), text),
            Step::LookUpUser => self.look_up_user(),
            Step::EnterWorkingDirectory(path) => self.enter_working_directory(path),
            Step::ConnectStdio => self.connect_stdio(),
            Step::SetUmask(mask) => {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(*mask));
                Ok(())
            }
            Step::DropBoundingCapabilities => self.sets.as_ref().map_or(Ok(()), |sets| Ok(sets.apply_bounding()?)),
            Step::SetNoNewPrivileges => sys::set_no_new_privs().doing(|| "set no_new_privs".into()),
            Step::LoadSeccomp => match &self.materials.seccomp {
                Some(program) => Ok(program.load()?),
                None => Err(Error::invalid("the seccomp filter was not prepared")),
            },
            Step::ChangeUser => self.change_user(),
            Step::SetCapabilities => {
                if let Some(sets) = &self.sets {
                    let sets = if self.user.uid == 0 { *sets } else { sets.of_ordinary_user() };
                    sets.apply_sets()?;
                }
                // The change of credentials made the kernel forget both.
                self.die_with_parent()?;
                sys::set_dumpable(false).doing(|| "seal the process".into())
            }
            Step::FindProgram => self.find_program(),
            Step::AwaitStart => self.await_start(),
            Step::RunStartHooks => self.run_hooks("startContainer", "created"),
            Step::BecomeInit => self.become_init(),
            Step::Execute => self.execute(),
        }
    }

    fn root(&mut self) -> Result<&Root> {
        if self.root.is_none() {
            // An exec has joined the container's mounts: its root is ours.
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            let fd = rustix::fs::open("/", flags, rustix::fs::Mode::empty()).doing(|| "open the root".into())?;
            self.root = Some(Root::new(fd));
        }
        self.root.as_ref().ok_or_else(|| Error::invalid("there is no root"))
    }

    fn join_cgroups(&self) -> Result<()> {
        for tasks in self.materials.tasks {
            rustix::io::write(tasks, b"0").doing(|| "join the container's cgroups".into())?;
        }
        Ok(())
    }

    fn join_namespaces(&mut self) -> Result<()> {
        let user = self.materials.namespaces.iter().any(|(kinds, _)| kinds & libc::CLONE_NEWUSER != 0);
        if user {
            // In a user namespace the kernel gives a procfs only while a whole one can be seen, which is not so in a container.
            self.open_proc()?;
        }
        for (kinds, fd) in &self.materials.namespaces {
            sys::setns(fd.as_fd(), *kinds).doing(|| format!("join the {} namespace", namespace_names(*kinds)))?;
        }
        if user { self.become_root() } else { Ok(()) }
    }

    /// Becomes the root of the user namespace that we are in.
    fn become_root(&self) -> Result<()> {
        sys::set_user(0, 0, &[]).doing(|| "become the root of the user namespace".into())?;
        sys::set_dumpable(false).doing(|| "seal the process".into())?;
        self.die_with_parent()
    }

    fn synchronise(&mut self) -> Result<()> {
        timing::mark(Mark::Mounted);
        if !self.stubs.is_empty() {
            let stubs = std::mem::take(&mut self.stubs);
            self.channel.send(&Message::Stubs(stubs), None).doing(|| "tell of new mount points".into())?;
        }
        match self.channel.receive().doing(|| "wait for the network".into())? {
            Some((Message::Go, _)) => Ok(()),
            // The parent gave up, and has its own error to show.
            _ => sys::exit(125),
        }
    }

    fn connect_stdio(&mut self) -> Result<()> {
        // With an init, the program's process makes its own session; the init itself has no terminal.
        if !self.has_init() {
            new_session(self.console.as_ref().map(AsFd::as_fd))?;
        }
        let doing = || "connect standard input and output".to_owned();
        match (&self.console, &self.materials.stdio) {
            (Some(console), _) => sys::set_stdio([console.as_fd(); 3]).doing(doing),
            (None, Some([stdin, stdout, stderr])) => {
                sys::set_stdio([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).doing(doing)
            }
            (None, None) => Err(Error::invalid("standard input and output were not prepared")),
        }
    }

    fn set_oom_score(&mut self, score: i32) -> Result<()> {
        self.write_own_proc("oom_score_adj", &score.to_string()).map_err(|error| match error {
            Error::Io { source, .. } if source.raw_os_error() == Some(libc::EACCES) => {
                Error::io(format!("set the OOM score adjustment {score}: lowering it needs CAP_SYS_RESOURCE"), source)
            }
            error => error,
        })
    }

    fn has_init(&self) -> bool {
        self.materials.plan.steps.contains(&Step::BecomeInit)
    }

    fn become_init(&mut self) -> Result<()> {
        // Held back from now on: a program that ends at once, or a stop that comes at once, must not be missed.
        let held = sys::signal_fd(&reaper::signals()).doing(|| "hold signals back".into())?;
        match sys::fork().doing(|| "start the program below the init".into())? {
            sys::Forked::Parent(child) => reaper::run(child),
            sys::Forked::Child => {
                drop(held);
                sys::reset_signals().doing(|| "reset the signals".into())?;
                sys::set_dumpable(false).doing(|| "seal the process".into())?;
                new_session(self.console.as_ref().map(AsFd::as_fd))
            }
        }
    }
}

/// A new session, with the terminal as its controlling one.
fn new_session(console: Option<BorrowedFd<'_>>) -> Result<()> {
    rustix::process::setsid().doing(|| "make a session".into())?;
    match console {
        Some(console) => sys::set_controlling_terminal(console).doing(|| "take the terminal".into()),
        None => Ok(()),
    }
}

fn set_rlimit(name: &str, number: u32, soft: u64, hard: u64) -> Result<()> {
    sys::set_rlimit(number, soft, hard).map_err(|error| {
        let mut doing = format!("set the limit {name} to {soft}:{hard}");
        if let (Some(libc::EPERM), Ok((_, have))) = (error.raw_os_error(), sys::get_rlimit(number)) {
            doing = format!("{doing}, the hard limit here is {have} and raising it needs CAP_SYS_RESOURCE");
        }
        Error::io(doing, error)
    })
}

/// The names of `CLONE_NEW*` flags, for messages.
fn namespace_names(kinds: i32) -> String {
    let names = [
        (libc::CLONE_NEWNS, "mount"),
        (libc::CLONE_NEWPID, "pid"),
        (libc::CLONE_NEWNET, "network"),
        (libc::CLONE_NEWIPC, "ipc"),
        (libc::CLONE_NEWUTS, "uts"),
        (libc::CLONE_NEWCGROUP, "cgroup"),
        (libc::CLONE_NEWUSER, "user"),
        (libc::CLONE_NEWTIME, "time"),
    ];
    names.iter().filter(|(flag, _)| kinds & flag != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

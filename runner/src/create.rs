//! The parent's side of a start: prepare everything of the host, clone, lead the dialogue, and take all back if it fails.
//!
//! The contract with the child is drawn in `docs/runner-dialogue.md`. The rule: creation is recorded before a thing is made, so that
//! whatever moment this process is killed in, [`crate::sweep`] finds by the state directory what is left.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Capability, LinuxResources, Process, Spec};
use rustix::fs::{Mode, OFlags};

use crate::cgroup::Cgroup;
use crate::container::{Container, HostsFile, Rootfs};
use crate::denied::Witness;
use crate::error::{Doing, Error, Result};
use crate::init::dialogue::{Channel, Failure, Message};
use crate::init::{self, Materials};
use crate::inroot::Stub;
use crate::plan::{MountKind, Plan, Settings, Step};
use crate::security::seccomp;
use crate::state::ProcessId;
use crate::timing::{self, Mark};
use crate::{auto_ids, bind, mount, network, rootfs, spaces, state, sys};

/// How long a child may take to become the program; mounting a slow network file system is the worst case.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A container whose program runs.
#[derive(Debug)]
pub(crate) struct Created {
    /// The first process, by its number in our pid namespace.
    pub process: ProcessId,
    /// The first process.
    pub pidfd: OwnedFd,
    /// The master of its terminal.
    pub console: Option<OwnedFd>,
    /// The masters of its further terminals.
    pub ttys: Vec<OwnedFd>,
    /// Its groups.
    pub cgroup: Cgroup,
    /// Its network.
    pub network: Option<network::Network>,
    /// Mount points that had to be made in its root.
    pub stubs: Vec<Stub>,
}

/// Checks an id, which becomes the name of directories, groups and interfaces.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) || !id.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(Error::invalid(format!("{id:?} cannot be the id of a container")));
    }
    Ok(())
}

/// Starts the container's first process. `stdio` are the child's descriptors, not used with a terminal. The caller is
/// single-threaded, and the state directory exists. A `witness` watches the program from its exec on;
/// `interrupts` ([`interrupts()`]) end the wait for it; `idle` is called once the child needs nothing more from us.
pub(crate) fn create(
    container: &Container,
    stdio: Option<[OwnedFd; 3]>,
    witness: Option<&Witness>,
    interrupts: Option<&OwnedFd>,
    idle: &mut dyn FnMut(),
) -> Result<Created> {
    check_id(&container.id)?;
    let allotted = auto_ids::allot(&container.spec)?;
    let spec = allotted.as_ref().map_or(&container.spec, |allotted| &allotted.spec);
    let settings = Settings { init: container.init, create_cwd: container.create_cwd, ..Settings::default() };
    let plan = Plan::for_container(spec, settings)?;
    let owner = plan.id_maps.as_ref().map(rootfs::Owner::new).transpose()?;
    if let (Some(owner), Some(stdio)) = (&owner, &stdio) {
        owner.give(stdio)?;
    }
    let process = process_of(spec)?;
    let linux = spec.linux().as_ref();
    let group_names = group_names(spec);
    let seccomp = linux.and_then(|linux| linux.seccomp().as_ref()).map(seccomp::compile).transpose()?;
    let privileged = may_mount(process);
    let rootfs = rootfs::prepare(&container.run_dir, &container.rootfs, privileged, true, owner.as_ref())?;
    timing::mark(Mark::Layered);
    let layers = layers(&plan, container, privileged, owner.as_ref())?;
    let opened = bind::all(&plan).and_then(|binds| Ok((binds, joined(&plan)?)));
    // Before its error: that of a process that has ended is only the echo of that.
    check_lenders(&container.lenders)?;
    let (binds, (namespaces, around)) = opened?;
    timing::mark(Mark::Opened);
    let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let mut cgroup = Cgroup::create(&container.id, container.cgroup_parent.as_deref(), &resources)?;
    timing::mark(Mark::Grouped);
    let wants_view =
        plan.steps.iter().any(|step| matches!(step, Step::Mount(mount) if mount.kind == MountKind::Cgroup));
    // cgroup2 by name is that alone, also where version 1 has controllers; an init in it takes it for the whole.
    let of_version2 = |mount: &oci_spec::runtime::Mount| mount.typ().as_deref() == Some("cgroup2");
    let wants_view =
        wants_view && !(cgroup.directory_fd().is_some() && spec.mounts().iter().flatten().any(of_version2));
    if delegates(spec)
        && let Err(error) = delegate(&mut cgroup, &resources, owner.as_ref())
    {
        let _ = cgroup.remove();
        return Err(error);
    }
    let result = (|| {
        let materials = Materials {
            plan: &plan,
            process,
            group_names: &group_names,
            exact_groups: false,
            tasks: cgroup.tasks_fds(),
            namespaces,
            rootfs: Some(rootfs),
            root_place: None,
            devices: host_devices(&plan)?,
            hooks: None,
            gate: None,
            binds,
            layers,
            files: &container.file_mounts,
            cgroup_view: if wants_view { cgroup_view(&cgroup)? } else { Vec::new() },
            seccomp,
            stdio,
            passed_on: container.passed_on.clone(),
            ttys: container.supervision.ttys,
            die_with_parent: true,
        };
        let meanwhile = |pid| {
            witness.map_or(Ok(()), |witness| witness.watch(pid))?;
            setup_network(container, pid)
        };
        let work = Work { meanwhile, mounted: |_| Ok(()), idle, root: Some(&container.rootfs), interrupts };
        start_child(&cgroup, &around, materials, work)
    })();
    match result {
        Ok((child, network)) => Ok(Created {
            process: child.process,
            pidfd: child.pidfd,
            console: child.console,
            ttys: child.ttys,
            cgroup,
            network: network.network,
            stubs: child.stubs,
        }),
        Err(error) => {
            // The first error is what the user wants to know; a group that stays is swept later.
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

/// A child that became its program.
#[derive(Debug)]
pub(crate) struct Started {
    pub process: ProcessId,
    pub pidfd: OwnedFd,
    pub console: Option<OwnedFd>,
    /// The masters of its further terminals.
    pub ttys: Vec<OwnedFd>,
    pub stubs: Vec<Stub>,
}

/// What the caller of [`start_child`] does while the child is on its way.
pub(crate) struct Work<'a, M, H> {
    /// Given the child's pid, while it mounts. What it made is its own to take back if it fails.
    pub meanwhile: M,
    /// Given the child's pid, when it has mounted everything and waits ([`Step::AwaitHooks`]).
    pub mounted: H,
    /// Called while the child needs nothing from us.
    pub idle: &'a mut dyn FnMut(),
    /// Where the mount points that were made are taken out again if the child fails.
    pub root: Option<&'a Rootfs>,
    /// The signals that end the wait for the child ([`interrupts`]).
    pub interrupts: Option<&'a OwnedFd>,
}

/// A signalfd of what ends the wait for a child, for a caller that blocks these signals to pass them on later.
pub(crate) fn interrupts() -> Result<OwnedFd> {
    sys::signal_fd(&[libc::SIGINT, libc::SIGTERM]).doing(|| "watch signals".into())
}

/// Clones the child and leads the dialogue until the program runs, or waits at its gate. `around` are namespaces that we
/// enter for the clone alone. `undo` of what `work.meanwhile` returned is called if the child fails.
pub(crate) fn start_child<T: Undo>(
    cgroup: &Cgroup,
    around: &[(i32, OwnedFd)],
    materials: Materials<'_>,
    work: Work<'_, impl FnOnce(i32) -> Result<T>, impl FnOnce(i32) -> Result<()>>,
) -> Result<(Started, T)> {
    let Work { meanwhile, mounted, idle, root, interrupts } = work;
    let (ours, theirs) = Channel::pair().doing(|| "make the socket to the child".into())?;
    sys::set_dumpable(false).doing(|| "seal the process".into())?;
    let child = spaces::clone_in(around, materials.plan, cgroup)?;
    let (pid, pidfd) = match child {
        sys::Forked::Child => {
            drop(ours);
            init::run(&materials, &theirs)
        }
        sys::Forked::Parent(child) => child,
    };
    timing::mark(Mark::Cloned);
    drop(theirs);
    let kill = |error: Error| {
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        let _ = sys::wait(pidfd.as_fd());
        error
    };
    let waits_for_hooks = materials.plan.steps.contains(&Step::AwaitHooks);
    let restricted = be_born(&materials, &ours, pid).and_then(|()| Ok(cgroup.restrict_devices(pid)?));
    // Asked while the child waits: the program may have ended before anybody could ask.
    let process = restricted.and_then(|()| {
        ProcessId::of(pid)?.ok_or_else(|| Error::invalid("the container's first process ended before it began"))
    });
    let (process, made) = match process.and_then(|process| Ok((process, meanwhile(pid)?))) {
        Ok(both) => both,
        Err(error) => {
            let error = kill(error);
            return Err(last_words(&ours).map_or(error, Error::Start));
        }
    };
    timing::mark(Mark::Networked);
    let mut stubs = Vec::new();
    let mut ttys = Vec::new();
    let dialogue = || -> Result<Option<OwnedFd>> {
        let go = || match ours.send(&Message::Go, None) {
            // A child that failed has hung up, and left a message that says why.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            result => result.doing(|| "talk to the child".into()),
        };
        let mut mounted = Some(mounted);
        if !waits_for_hooks {
            go()?;
            idle();
        }
        let mut console = None;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            wait_readable(&ours, interrupts, deadline)?;
            match ours.receive().doing(|| "listen to the child".into())? {
                Some((Message::Console, fd)) => console = fd,
                Some((Message::Terminal, fd)) => ttys.extend(fd),
                Some((Message::Stubs(made), _)) => stubs = made,
                Some((Message::Failed(failure), _)) => return Err(Error::Start(failure)),
                Some((Message::Mounted, _)) if let Some(mounted) = mounted.take() => {
                    mounted(pid)?;
                    go()?;
                    go()?;
                }
                Some((Message::Go | Message::Born(_) | Message::Mounted, _)) => {
                    return Err(Error::invalid("the child spoke out of turn"));
                }
                None => return Ok(console),
            }
        }
    };
    let outcome = dialogue();
    timing::mark(Mark::Executed);
    // Only now: closing the last descriptor of a detached mount costs an RCU grace period, for each layer, and it is not the
    // child on its way to the program that should pay it.
    drop(materials);
    match outcome {
        Ok(console) => Ok((Started { process, pidfd, console, ttys, stubs }, made)),
        Err(error) => {
            let error = kill(error);
            made.undo();
            // It is dead, and its mounts with it. The first error is the one to show.
            let _ = root.map_or(Ok(()), |root| remove_stubs(root, &stubs));
            Err(error)
        }
    }
}

/// What must be done before the child can do anything: its ids, its OOM score, and its number, if it waits for that.
fn be_born(materials: &Materials<'_>, channel: &Channel, pid: i32) -> Result<()> {
    if let (Some(maps), None) = (&materials.plan.id_maps, &materials.plan.joined_users) {
        maps.write(pid)?;
    }
    if let Some(score) = materials.plan.oom_score {
        let path = format!("/proc/{pid}/oom_score_adj");
        std::fs::write(&path, score.to_string()).doing(|| format!("write {score} to {path}"))?;
    }
    if materials.plan.has_users() || materials.hooks.is_some() {
        channel.send(&Message::Born(pid), None).doing(|| "talk to the child".into())?;
    }
    Ok(())
}

/// Why a child that is dead had given up, if it had: what then failed for the parent (its `/proc/PID` is gone) is only the
/// echo of that.
fn last_words(channel: &Channel) -> Option<Failure> {
    while let Ok(Some((message, _))) = channel.receive() {
        if let Message::Failed(failure) = message {
            return Some(failure);
        }
    }
    None
}

fn wait_readable(channel: &Channel, interrupts: Option<&OwnedFd>, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout {
                doing: "starting the container's first process".into(),
                seconds: START_LIMIT.as_secs(),
            });
        }
        // A negative descriptor is passed over.
        let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut entries = [entry(channel.as_fd().as_raw_fd()), entry(interrupts.map_or(-1, |fd| fd.as_raw_fd()))];
        sys::poll(&mut entries, Some(left)).doing(|| "wait for the child".into())?;
        if entries[0].revents != 0 {
            return Ok(());
        }
        if let Some(fd) = interrupts.filter(|_| entries[1].revents != 0)
            && let Some(signal) = sys::read_signal(fd.as_fd()).doing(|| "read a signal".into())?
        {
            return Err(Error::Interrupted { doing: "starting the program".into(), signal });
        }
    }
}

/// Something made for a child, to be taken back if the child fails.
pub(crate) trait Undo {
    fn undo(self);
}

impl Undo for () {
    fn undo(self) {}
}

/// A container's network together with what is needed to remove it.
struct MadeNetwork<'a> {
    state_dir: &'a Path,
    network: Option<network::Network>,
}

impl Undo for MadeNetwork<'_> {
    fn undo(self) {
        if let Some(network) = self.network {
            // The child's error is the one to show; leftovers are found by their names later.
            let _ = teardown_network(self.state_dir, &network.state);
        }
    }
}

fn setup_network(container: &Container, pid: i32) -> Result<MadeNetwork<'_>> {
    let state_dir = container.state_dir.as_path();
    let made = match &container.network {
        None => MadeNetwork { state_dir, network: None },
        Some(config) => {
            let path = format!("/proc/{pid}/ns/net");
            let namespace = std::fs::File::open(&path).doing(|| format!("open {path}"))?;
            let network = with_site(state_dir, |site| Ok(network::setup(config, site, Some(namespace.as_fd()))?))?;
            MadeNetwork { state_dir, network: Some(network) }
        }
    };
    match container.hosts.as_ref().map_or(Ok(()), |hosts| write_hosts(hosts, made.network.as_ref())) {
        Ok(()) => Ok(made),
        Err(error) => {
            made.undo();
            Err(error)
        }
    }
}

/// Writes `/etc/hosts`, while the child waits. The file is filled in place: it is mounted already.
fn write_hosts(hosts: &HostsFile, network: Option<&network::Network>) -> Result<()> {
    let place = network.and_then(|network| network.state.first());
    let text = network::files::hosts(&network::files::Hosts {
        names: &[&hosts.hostname],
        ip: place.map(|place| place.ip.into()),
        gateway: place.map(|place| place.gateway.into()),
        extra: &hosts.extra,
    })?;
    std::fs::write(&hosts.path, text).doing(|| format!("write {}", hosts.path.display()))
}

/// Takes a container's network back.
pub(crate) fn teardown_network(state_dir: &Path, network: &network::State) -> Result<()> {
    with_site(state_dir, |site| Ok(network::teardown(network, site)?))
}

/// Gives a network back whose processes are gone: its interfaces go with the namespace, and nobody waits for them.
pub(crate) fn release_network(state_dir: &Path, network: &network::State) -> Result<()> {
    with_site(state_dir, |site| Ok(network::release(network, site)?))
}

/// What all networks of this machine share: the leases, and who is alive.
fn with_site<T>(state_dir: &Path, work: impl FnOnce(&network::Site<'_>) -> Result<T>) -> Result<T> {
    crate::networks::with_site(state_dir.parent().unwrap_or(state_dir), work)
}

/// Whether a container of this run directory whose id begins so is there and not known to have ended. In doubt it is.
/// A container of another run directory is known by its control group ([`Cgroup::exists`]).
pub(crate) fn is_alive(containers: &Path, prefix: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(containers) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
            && match state::load(&entry.path()) {
                Ok(state) => state.status != state::Status::Stopped,
                Err(Error::NotFound(_)) => true,
                Err(_) => true,
            }
    })
}

/// Whether what was opened in the directories of these processes was theirs.
fn check_lenders(lenders: &[ProcessId]) -> Result<()> {
    for lender in lenders {
        if !lender.lives()? {
            return Err(Error::invalid(format!(
                "the process {} has ended, whose namespaces were to be joined",
                lender.pid
            )));
        }
    }
    Ok(())
}

pub(crate) fn process_of(spec: &Spec) -> Result<&Process> {
    spec.process().as_ref().ok_or_else(|| Error::invalid("the spec has no process"))
}

/// Names of groups that the spec could not put into numbers.
pub(crate) fn group_names(spec: &Spec) -> Vec<String> {
    let names = spec.annotations().as_ref().and_then(|all| all.get(crate::spec::GROUP_ADD_ANNOTATION));
    names.map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

/// Whether the process holds CAP_SYS_ADMIN: it could remount anyway, so its root is not `nodev`.
fn may_mount(process: &Process) -> bool {
    let bounding = process.capabilities().as_ref().and_then(|sets| sets.bounding().as_ref());
    process.capabilities().is_none() || bounding.is_some_and(|set| set.contains(&Capability::SysAdmin))
}

/// Opens the layers that mounts show, by the number of the mount, with the path in them that is meant.
fn layers(
    plan: &Plan,
    container: &Container,
    devices: bool,
    owner: Option<&rootfs::Owner>,
) -> Result<BTreeMap<usize, (rootfs::Prepared, PathBuf)>> {
    let mut prepared = BTreeMap::new();
    for step in &plan.steps {
        let Step::Mount(step) = step else { continue };
        let MountKind::Layers(number) = step.kind else { continue };
        let Some(layers) = container.layer_mounts.get(number) else {
            let at = step.destination.display();
            return Err(Error::invalid(format!("{at}: the layers {number} to mount there were not handed in")));
        };
        let parts = rootfs::prepare_layers(&container.run_dir, layers, devices, owner)?;
        prepared.insert(step.index, (parts, layers.path.clone()));
    }
    Ok(prepared)
}

/// Opens the namespaces to join: those that the child joins, and those the parent enters around the clone.
#[allow(clippy::type_complexity)]
pub(crate) fn joined(plan: &Plan) -> Result<(Vec<(i32, OwnedFd)>, Vec<(i32, OwnedFd)>)> {
    let (mut list, mut around) = (Vec::new(), Vec::new());
    for (kind, path) in &plan.joined {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(path, flags, Mode::empty()).doing(|| format!("open the namespace {}", path.display()))?;
        // Once in a user namespace of its own, the child may enter none that belongs to the host.
        if *kind == libc::CLONE_NEWPID || plan.has_users() {
            around.push((*kind, fd));
        } else {
            list.push((*kind, fd));
        }
    }
    Ok((list, around))
}

/// Device nodes of the host, as detached clones, for a child in a user namespace, which can make none.
pub(crate) fn host_devices(plan: &Plan) -> Result<BTreeMap<PathBuf, OwnedFd>> {
    let mut devices = BTreeMap::new();
    if !plan.has_users() {
        return Ok(devices);
    }
    for step in &plan.steps {
        let Step::MakeDevices(nodes) = step else { continue };
        for node in nodes.iter().filter(|node| node.kind != libc::S_IFIFO) {
            let at = node.path.display();
            let clone = mount::clone_path(&node.path, false).doing(|| format!("open the device {at}"))?;
            let stat = rustix::fs::fstat(&clone).doing(|| format!("examine {at}"))?;
            let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            if stat.st_mode & libc::S_IFMT != node.kind || number != (node.major, node.minor) {
                let wanted = format!("{}:{}", node.major, node.minor);
                return Err(Error::invalid(format!("{at}: in a user namespace a device must be {wanted} on the host")));
            }
            devices.insert(node.path.clone(), clone);
        }
    }
    Ok(devices)
}

/// Lets the container divide its control groups.
fn delegate(cgroup: &mut Cgroup, resources: &LinuxResources, owner: Option<&rootfs::Owner>) -> Result<()> {
    cgroup.delegate(resources)?;
    owner.map_or(Ok(()), |owner| owner.own_groups(cgroup.delegated()))
}

/// Whether the container may write to its control groups.
fn delegates(spec: &Spec) -> bool {
    spec.mounts().iter().flatten().any(|mount| {
        let writable = mount.options().iter().flatten().any(|option| option == "rw");
        writable && matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"))
    })
}

/// Clones of the container's groups of v1 (and of the cgroup2 tree beside them), by hierarchy. Empty where there is only
/// cgroup2, which the child mounts itself.
pub(crate) fn cgroup_view(cgroup: &Cgroup) -> Result<Vec<(String, OwnedFd)>> {
    if cgroup.tasks_fds().is_empty() && Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Ok(Vec::new());
    }
    let doing = || "open the container's cgroups".to_owned();
    let mut view = Vec::new();
    for (_, group) in cgroup.directories() {
        let name = group.strip_prefix("/sys/fs/cgroup").ok().and_then(|path| path.components().next());
        if let Some(name) = name {
            let clone = mount::clone_path(group, false).doing(doing)?;
            view.push((name.as_os_str().to_string_lossy().into_owned(), clone));
        }
    }
    Ok(view)
}

/// Removes the mount points that were made for a container from its writable layer, as far as they are still empty.
pub(crate) fn remove_stubs(rootfs: &Rootfs, stubs: &[Stub]) -> Result<()> {
    let Rootfs::Overlay { upper, .. } = rootfs else { return Ok(()) };
    if stubs.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(upper, flags, Mode::empty()).doing(|| format!("open {}", upper.display()))?;
    let root = crate::inroot::Root::new(fd);
    for stub in stubs.iter().rev() {
        root.remove_stub(stub).doing(|| format!("remove the mount point {}", stub.path.display()))?;
    }
    Ok(())
}

//! Control groups: limits, accounting, freezing and killing, over version 1, version 2 and both at once.
//!
//! A [`Cgroup`] is the groups of one container in every hierarchy it needs: always one cgroup2 group where that is mounted (the
//! container is born in it by CLONE_INTO_CGROUP, and freezing, killing and device rules go through it), and version 1 groups
//! only for controllers that the resources name. Limits are written before anybody joins. Version 1 groups are joined by
//! the child itself, while it has one thread, by writing `0` to their `tasks` files: that costs 0.06 ms where
//! `cgroup.procs` costs 10. Groups lie at `<mount>/img/<name>`, or `<mount>/<parent>/<name>`.

mod control;
mod control_file;
mod delegation;
mod device;
mod error;
mod file;
mod hierarchy;
mod layout;
mod plan;
mod stats;
mod translate;
mod v1;
mod v2;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

pub use error::Error;
use layout::{HOME, checked_path, enable_controllers, inherit_cpuset, relative_path};

pub use hierarchy::{Controller, Hierarchies, Mode, Unified};
pub use plan::{Write, plan};
pub use stats::{CpuStats, IoStats, MemoryStats, PidsStats, Stats};
pub use v2::{cpu_weight, io_weight};

/// The result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How long a group whose processes are dead may take to become removable.
const REMOVAL: Duration = Duration::from_secs(5);

/// The control groups of one container.
#[derive(Debug)]
pub struct Cgroup {
    /// Relative to every mount: `img/<name>` or `<parent>/<name>`.
    path: PathBuf,
    version1: BTreeMap<Controller, PathBuf>,
    unified: Option<PathBuf>,
    /// The cgroup2 group inside of that in which a container lives that may divide its own.
    payload: Option<PathBuf>,
    directory: Option<OwnedFd>,
    tasks: Vec<OwnedFd>,
    /// Device rules for the cgroup2 group that are not in force yet.
    device_rules: Vec<LinuxDeviceCgroup>,
    /// The version 1 group of device rules, if it had to be made late.
    late: OnceCell<PathBuf>,
    hierarchies: &'static Hierarchies,
}

impl Cgroup {
    /// Makes the groups of a new container with all limits written, before anybody is in them. Device rules come
    /// into force by [`Cgroup::restrict_devices`].
    ///
    /// `name` is one path component (the container's id); `parent` is a path below the mounts, as `lab.slice` or
    /// `/pods/a`. An empty leftover of that name is replaced, one with processes is [`Error::InUse`]. On failure nothing stays.
    pub fn create(name: &str, parent: Option<&str>, resources: &LinuxResources) -> Result<Self> {
        Self::create_in(Hierarchies::detect()?, &relative_path(name, parent)?, resources, false)
    }

    /// As [`Cgroup::create`], at any path below the mounts and in every hierarchy: whoever asked for the group looks for
    /// its figures there.
    pub fn create_at(path: &str, resources: &LinuxResources) -> Result<Self> {
        Self::create_in(Hierarchies::detect()?, &checked_path(path)?, resources, true)
    }

    fn create_in(
        hierarchies: &'static Hierarchies,
        path: &Path,
        resources: &LinuxResources,
        everywhere: bool,
    ) -> Result<Self> {
        let writes = plan(resources, hierarchies, false)?;
        let rules = resources.devices().clone().unwrap_or_default();
        let mut controllers = plan::version1_controllers(&writes);
        let mut enabled = plan::unified_controllers(&writes);
        if everywhere {
            controllers.extend(hierarchies.version1.keys());
            enabled.extend(hierarchies.unified.iter().flat_map(|unified| unified.usable()));
        }
        if hierarchies.unified.is_none() && !hierarchies.version1.is_empty() {
            // What the cgroup2 group is for: freezing and killing, processor time.
            controllers.extend([Controller::Freezer, Controller::Cpuacct]);
            controllers.retain(|controller| hierarchies.version1.contains_key(controller));
        }
        let mut group = Cgroup {
            path: path.to_owned(),
            version1: BTreeMap::new(),
            unified: None,
            payload: None,
            directory: None,
            tasks: Vec::new(),
            device_rules: Vec::new(),
            late: OnceCell::new(),
            hierarchies,
        };
        let made = group.make(&controllers, &enabled).and_then(|()| {
            group.write_all(&writes)?;
            if group.unified.is_some() {
                group.device_rules = rules;
                Ok(())
            } else {
                group.apply_devices(&rules)
            }
        });
        match made.and_then(|()| group.open_descriptors()) {
            Ok(()) => Ok(group),
            Err(error) => {
                // The first error is the one to tell; what cannot be removed is swept by a later command.
                let _ = group.remove();
                Err(error)
            }
        }
    }

    fn make(&mut self, controllers: &BTreeSet<Controller>, enable: &BTreeSet<&str>) -> Result<()> {
        if let Some(unified) = &self.hierarchies.unified {
            let directory = unified.base.join(&self.path);
            self.make_parents(&unified.base, None)?;
            enable_controllers(&unified.base, &self.path, enable)?;
            self.make_leaf(&directory)?;
            self.unified = Some(directory);
        }
        for &controller in controllers {
            self.make_version1(controller)?;
        }
        Ok(())
    }

    fn make_version1(&mut self, controller: Controller) -> Result<()> {
        let Some(mount) = self.hierarchies.version1.get(&controller) else { return Ok(()) };
        let directory = mount.join(&self.path);
        // Controllers that share a mount share the group.
        if !self.version1.values().any(|made| *made == directory) {
            self.make_parents(mount, Some(controller))?;
            self.make_leaf(&directory)?;
        }
        if controller == Controller::Cpuset {
            inherit_cpuset(&directory)?;
        }
        self.version1.insert(controller, directory);
        Ok(())
    }

    /// Makes the groups between a mount and ours.
    fn make_parents(&self, mount: &Path, controller: Option<Controller>) -> Result<()> {
        let mut directory = mount.to_owned();
        for component in self.path.parent().into_iter().flat_map(Path::components) {
            directory.push(component);
            self.make_directory(&directory)?;
            if controller == Some(Controller::Cpuset) {
                inherit_cpuset(&directory)?;
            }
        }
        Ok(())
    }

    fn make_leaf(&self, directory: &Path) -> Result<()> {
        if self.make_directory(directory)? {
            return Ok(());
        }
        let processes = control::processes_below(directory)?;
        if !processes.is_empty() {
            return Err(Error::InUse { name: self.name().to_owned(), processes });
        }
        file::remove_tree(directory, Instant::now() + REMOVAL)
            .map_err(|source| Error::io("remove old control group", directory, source))?;
        self.make_directory(directory).map(drop)
    }

    fn make_directory(&self, directory: &Path) -> Result<bool> {
        let made = file::make_directory(directory)?;
        #[cfg(test)]
        if let (true, Some(populate)) = (made, self.hierarchies.populate) {
            populate(directory);
        }
        Ok(made)
    }

    /// Writes limits. One that the kernel finds invalid is tried again after the others: whether memory or memory and swap,
    /// quota or period must change first depends on the old values.
    fn write_all(&self, writes: &[Write]) -> Result<()> {
        let mut again = Vec::new();
        for write in writes {
            match self.write(write) {
                Err(Error::Limit { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => again.push(write),
                result => result?,
            }
        }
        again.into_iter().try_for_each(|write| self.write(write))
    }

    fn write(&self, write: &Write) -> Result<()> {
        let directory = match write.version1 {
            true => self.version1.get(&write.controller),
            false => self.unified.as_ref(),
        };
        let Some(directory) = directory else {
            return Err(Error::Unavailable { reason: format!("no group for {}", write.what) });
        };
        self.write_in(directory, write)?;
        // What the container reads as its own limit.
        match self.payload.as_ref().filter(|_| !write.version1) {
            Some(payload) => self.write_in(payload, write),
            None => Ok(()),
        }
    }

    fn write_in(&self, directory: &Path, write: &Write) -> Result<()> {
        if write.file == "cpu.rt_runtime_us" {
            self.raise_realtime(directory, &write.value)?;
        }
        let mut written = file::write_raw(&directory.join(&write.file), &write.value);
        let mut value = &write.value;
        if written.as_ref().is_err_and(file::is_gone)
            && let Some((other, other_value)) = &write.instead
        {
            written = file::write_raw(&directory.join(other), other_value);
            value = other_value;
        }
        match written {
            Ok(()) => Ok(()),
            Err(error) if file::is_gone(&error) && write.optional => Ok(()),
            Err(error) if file::is_gone(&error) => Err(Error::Unsupported {
                what: write.what.to_owned(),
                reason: format!("this kernel's control groups have no `{}`", write.file),
            }),
            Err(source) => Err(Error::Limit { what: write.what.to_owned(), value: value.clone(), source }),
        }
    }

    /// A version 1 group gets real-time runtime out of what its parents have, which is nothing at first.
    fn raise_realtime(&self, directory: &Path, runtime: &str) -> Result<()> {
        let Some(mount) = self.hierarchies.version1.get(&Controller::Cpu) else { return Ok(()) };
        let mut parents: Vec<&Path> =
            directory.ancestors().skip(1).take_while(|parent| parent.starts_with(mount) && *parent != mount).collect();
        parents.reverse();
        for parent in parents {
            let path = parent.join("cpu.rt_runtime_us");
            let now: i64 = file::read(&path)?.trim().parse().unwrap_or(0);
            if now < runtime.parse().unwrap_or(0) {
                file::write_raw(&path, runtime).map_err(|source| Error::Limit {
                    what: "the real-time runtime of the parent group".to_owned(),
                    value: runtime.to_owned(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Brings the device rules into force, now that the container's first process `first` is in the cgroup2 group but has not
    /// become the program: loading an eBPF program takes the kernel 0.3 ms, in which the process mounts its root.
    pub fn restrict_devices(&self, first: i32) -> Result<()> {
        let Some(directory) = self.unified.as_ref().filter(|_| !self.device_rules.is_empty()) else { return Ok(()) };
        match device::attach(directory, &device::program(&self.device_rules)?) {
            Err(error) if error.means_no_bpf() => {}
            result => return result,
        }
        // A kernel without such programs: version 1's lists.
        let Some(mount) = self.hierarchies.version1.get(&Controller::Devices) else {
            return Err(Error::Unavailable { reason: "no hierarchy that can hold device rules".to_owned() });
        };
        let directory = mount.join(&self.path);
        self.make_parents(mount, Some(Controller::Devices))?;
        self.make_leaf(&directory)?;
        let directory = self.late.get_or_init(|| directory);
        device::write_version1(directory, &self.device_rules)?;
        file::write(&directory.join("tasks"), &first.to_string())
    }

    /// Puts device rules on the group: an eBPF program on the cgroup2 group, or version 1's lists where there is no such group
    /// or no such programs. No rules: no restriction.
    fn apply_devices(&mut self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        if let Some(directory) = &self.unified {
            match device::attach(directory, &device::program(rules)?) {
                Err(error) if self.hierarchies.version1.contains_key(&Controller::Devices) && error.means_no_bpf() => {}
                result => return result,
            }
        }
        if !self.hierarchies.version1.contains_key(&Controller::Devices) {
            return Err(Error::Unavailable { reason: "no hierarchy that can hold device rules".to_owned() });
        }
        self.make_version1(Controller::Devices)?;
        device::write_version1(&self.version1[&Controller::Devices], rules)
    }

    fn open_descriptors(&mut self) -> Result<()> {
        self.tasks.clear();
        let directories: BTreeSet<&PathBuf> = self.version1.values().collect();
        for directory in directories {
            let path = directory.join("tasks");
            let descriptor = file::open_for_writing(&path).map_err(|source| Error::io("open", path, source))?;
            self.tasks.push(descriptor);
        }
        match self.payload.as_ref().or(self.unified.as_ref()).cloned() {
            Some(directory) => self.open_directory(&directory),
            None => Ok(()),
        }
    }

    fn open_directory(&mut self, directory: &Path) -> Result<()> {
        let opened = file::open_directory(directory);
        self.directory = Some(opened.map_err(|source| Error::io("open control group", directory, source))?);
        Ok(())
    }

    /// The groups of an existing container. `name` is what [`Cgroup::name`] said, or the bare id of a container without a parent.
    /// A container that has no group left is [`Error::Unavailable`].
    pub fn open(name: &str) -> Result<Self> {
        let path = match name.contains('/') {
            true => checked_path(name)?,
            false => relative_path(name, None)?,
        };
        Self::open_in(Hierarchies::detect()?, &path)
    }

    /// The groups at any path below the mounts.
    pub fn open_at(path: &str) -> Result<Self> {
        Self::open_in(Hierarchies::detect()?, &checked_path(path)?)
    }

    fn open_in(hierarchies: &'static Hierarchies, path: &Path) -> Result<Self> {
        let there = |base: &Path| Some(base.join(path)).filter(|directory| directory.is_dir());
        let mut group = Cgroup {
            path: path.to_owned(),
            version1: BTreeMap::new(),
            unified: hierarchies.unified.as_ref().and_then(|unified| there(&unified.base)),
            payload: None,
            directory: None,
            tasks: Vec::new(),
            device_rules: Vec::new(),
            late: OnceCell::new(),
            hierarchies,
        };
        group.payload =
            group.unified.as_ref().map(|group| group.join(delegation::PAYLOAD)).filter(|payload| payload.is_dir());
        for (controller, mount) in &hierarchies.version1 {
            if let Some(directory) = there(mount) {
                group.version1.insert(*controller, directory);
            }
        }
        if group.unified.is_none() && group.version1.is_empty() {
            return Err(Error::Unavailable { reason: format!("there is no group `{}`", path.display()) });
        }
        group.open_descriptors()?;
        Ok(group)
    }

    /// The path below the mounts, which [`Cgroup::open`] takes: keep it in the container's state.
    pub fn name(&self) -> &str {
        self.path.to_str().expect("built from strings")
    }

    /// The cgroup2 group that processes are born in, for CLONE_INTO_CGROUP.
    pub fn directory_fd(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }

    /// The `tasks` files of the version 1 groups: the child, while it has one thread, joins by writing `0` to each.
    pub fn tasks_fds(&self) -> &[OwnedFd] {
        &self.tasks
    }

    /// Where the groups lie on the host: version 1 by controller, then cgroup2. For `inspect`, and for the container's
    /// view of /sys/fs/cgroup.
    pub fn directories(&self) -> impl Iterator<Item = (Option<Controller>, &Path)> {
        let version1 = self.version1.iter().map(|(controller, path)| (Some(*controller), path.as_path()));
        version1.chain(self.unified.iter().map(|path| (None, path.as_path())))
    }

    /// Changes limits of a running container; what `resources` does not name stays. -1 lifts a limit. Version 1 groups that
    /// the new limits need are made, and the processes moved into them.
    pub fn update(&mut self, resources: &LinuxResources) -> Result<()> {
        let writes = plan(resources, self.hierarchies, true)?;
        if let Some(memory) = resources.memory()
            && memory.check_before_update() == Some(true)
            && let (Some(limit), Some(used)) =
                (memory.limit().filter(|&l| l > 0), self.stats()?.memory.map(|m| m.usage))
            && used > limit as u64
        {
            let reason = format!("{used} bytes are in use, more than the new limit of {limit}");
            return Err(Error::Unsupported { what: "memory".to_owned(), reason });
        }
        if let Some(unified) = &self.hierarchies.unified {
            enable_controllers(&unified.base, &self.path, &plan::unified_controllers(&writes))?;
        }
        let mut joined = Vec::new();
        for controller in plan::version1_controllers(&writes) {
            if !self.version1.contains_key(&controller) {
                self.make_version1(controller)?;
                joined.extend(self.version1.get(&controller).cloned());
            }
        }
        self.write_all(&writes)?;
        for directory in joined {
            control::move_all(|| self.processes(), &directory)?;
        }
        if let Some(rules) = resources.devices() {
            self.apply_devices(rules)?;
        }
        self.open_descriptors()
    }

    /// Removes all groups, groups inside them included. Done twice is done. Processes in them are [`Error::InUse`] after a
    /// few seconds of waiting for the kernel to let go.
    pub fn remove(&mut self) -> Result<()> {
        (self.directory, self.tasks) = (None, Vec::new());
        let deadline = Instant::now() + REMOVAL;
        let mut first = None;
        for directory in self.version1.values().chain(self.late.get()).chain(&self.unified) {
            if let Err(source) = file::remove_tree(directory, deadline) {
                let error = match source.raw_os_error() {
                    Some(libc::EBUSY) => Error::InUse {
                        name: self.name().to_owned(),
                        processes: control::processes_below(directory).unwrap_or_default(),
                    },
                    _ => Error::io("remove control group", directory, source),
                };
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Whether there is a group of ours whose name begins so: a container has one from before its network is made until
    /// after it has ended, whatever run directory it belongs to. Those with a parent of their own are looked for too.
    pub fn exists(prefix: &str) -> bool {
        let Ok(hierarchies) = Hierarchies::detect() else { return false };
        let bases = hierarchies.version1.values().chain(hierarchies.unified.as_ref().map(|unified| &unified.base));
        bases.into_iter().any(|base| {
            layout::has_group(&base.join(HOME), prefix, 0) || layout::has_group(base, prefix, layout::DEEPEST_PARENT)
        })
    }

    /// Ends and removes the groups of containers that are no more: those below `img/` whose name `is_alive` denies. Returns the
    /// names removed. A group that resists is left for the next time.
    pub fn sweep(is_alive: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        Self::sweep_in(Hierarchies::detect()?, HOME, is_alive)
    }

    fn sweep_in(
        hierarchies: &'static Hierarchies,
        parent: &str,
        is_alive: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>> {
        let bases = hierarchies.version1.values().chain(hierarchies.unified.as_ref().map(|unified| &unified.base));
        let mut names = BTreeSet::new();
        for base in bases {
            names.extend(file::children(&base.join(parent))?);
        }
        let mut removed = Vec::new();
        for name in names.into_iter().filter(|name| !is_alive(name)) {
            let Ok(mut group) = Self::open_in(hierarchies, &Path::new(parent).join(&name)) else { continue };
            if group.kill_all().and_then(|()| group.remove()).is_ok() {
                removed.push(name);
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests;

//! Real groups on this machine, and the pure halves against a made-up cgroup2 tree.
//!
//! Each test works below a parent of its own, named after this process, and removes it.

use std::fs;
use std::os::fd::AsRawFd;

use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemoryBuilder,
    LinuxPidsBuilder, LinuxResourcesBuilder, LinuxThrottleDeviceBuilder,
};

use super::*;
use crate::security::sys;

const MIB: i64 = 1 << 20;

/// The parent group of one test; removed with all it holds at the end, also after a panic.
struct Parent(String);

impl Parent {
    /// `None`, said aloud, where groups cannot be made.
    fn new(test: &str) -> Option<Self> {
        let found = Hierarchies::detect().unwrap();
        if found.mode() == Mode::None || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: no control groups that may be changed here");
            return None;
        }
        Some(Parent(format!("img-test-{}-{test}", std::process::id())))
    }

    fn group(&self, name: &str, resources: LinuxResourcesBuilder) -> Result<Cgroup> {
        Cgroup::create(name, Some(&self.0), &resources.build().unwrap())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let found = Hierarchies::detect().unwrap();
        for base in found.version1.values().chain(found.unified.as_ref().map(|unified| &unified.base)) {
            file::remove_tree(&base.join(&self.0), Instant::now() + REMOVAL).unwrap();
        }
    }
}

/// Runs `child` in a process that joins the group as a container does.
fn inside(group: &Cgroup, child: impl FnOnce() -> i32) -> i32 {
    sys::in_forked_child(|| {
        for tasks in group.tasks_fds() {
            rustix::io::write(tasks, b"0").unwrap();
        }
        // A test is not born in its group (fork, not clone3), so it takes the slow way into the cgroup2 one.
        if let Some(directory) = &group.unified {
            fs::write(directory.join("cgroup.procs"), "0").unwrap();
        }
        child()
    })
}

fn version1(group: &Cgroup, controller: Controller, name: &str) -> String {
    fs::read_to_string(group.version1[&controller].join(name)).unwrap().trim().to_owned()
}

fn hybrid(test: &str) -> bool {
    let is = Hierarchies::detect().unwrap().mode() == Mode::Hybrid;
    if !is {
        eprintln!("SKIPPED {test}: this machine is not hybrid");
    }
    is
}

#[test]
fn limits_are_in_the_kernels_files() {
    let Some(parent) = Parent::new("limits") else { return };
    if !hybrid("limits") {
        return;
    }
    let cpu = LinuxCpuBuilder::default().shares(512u64).quota(150_000).period(100_000u64).cpus("0").mems("0");
    let memory = LinuxMemoryBuilder::default().limit(64 * MIB).swap(96 * MIB).reservation(32 * MIB);
    let mut group = parent
        .group(
            "a",
            LinuxResourcesBuilder::default()
                .cpu(cpu.build().unwrap())
                .memory(memory.build().unwrap())
                .pids(LinuxPidsBuilder::default().limit(7).build().unwrap()),
        )
        .unwrap();
    assert_eq!(version1(&group, Controller::Cpu, "cpu.shares"), "512");
    assert_eq!(version1(&group, Controller::Cpu, "cpu.cfs_quota_us"), "150000");
    assert_eq!(version1(&group, Controller::Memory, "memory.limit_in_bytes"), (64 * MIB).to_string());
    assert_eq!(version1(&group, Controller::Memory, "memory.memsw.limit_in_bytes"), (96 * MIB).to_string());
    assert_eq!(version1(&group, Controller::Memory, "memory.soft_limit_in_bytes"), (32 * MIB).to_string());
    assert_eq!(version1(&group, Controller::Pids, "pids.max"), "7");
    assert_eq!(version1(&group, Controller::Cpuset, "cpuset.cpus"), "0");
    assert_eq!(group.tasks_fds().len(), 4);
    assert!(group.directory_fd().unwrap().as_raw_fd() > 0);
    assert!(!group.version1.contains_key(&Controller::Io), "only what was asked for is made");

    // Raising and lowering need different orders of writing.
    for limit in [200 * MIB, 48 * MIB] {
        let memory = LinuxMemoryBuilder::default().limit(limit).swap(limit * 2).build().unwrap();
        group.update(&LinuxResourcesBuilder::default().memory(memory).build().unwrap()).unwrap();
        assert_eq!(version1(&group, Controller::Memory, "memory.limit_in_bytes"), limit.to_string());
        assert_eq!(version1(&group, Controller::Memory, "memory.memsw.limit_in_bytes"), (limit * 2).to_string());
    }
    let mut again = Cgroup::open(group.name()).unwrap();
    assert_eq!(again.name(), group.name());
    assert_eq!(again.stats().unwrap().memory.unwrap().limit, Some(48 * MIB as u64));
    assert_eq!(again.stats().unwrap().pids.unwrap().limit, Some(7));
    again.remove().unwrap();
    group.remove().unwrap();
    assert!(matches!(Cgroup::open(group.name()), Err(Error::Unavailable { .. })));
}

#[test]
fn a_child_joins_is_counted_and_is_killed_for_memory() {
    let Some(parent) = Parent::new("oom") else { return };
    if !hybrid("oom") {
        return;
    }
    let memory = LinuxMemoryBuilder::default().limit(16 * MIB).swap(16 * MIB).build().unwrap();
    let mut group = parent.group("a", LinuxResourcesBuilder::default().memory(memory)).unwrap();
    assert_eq!(group.oom_kills().unwrap(), 0);
    let status = inside(&group, || {
        let mut hog = vec![0u8; 64 * MIB as usize];
        for index in (0..hog.len()).step_by(4096) {
            hog[index] = 1;
        }
        i32::from(std::hint::black_box(&hog)[0])
    });
    assert_eq!(status, libc::SIGKILL, "killed, not exited");
    assert_eq!(group.oom_kills().unwrap(), 1);
    let stats = group.stats().unwrap();
    let memory = stats.memory.unwrap();
    assert!(memory.oom_kills == 1 && memory.peak.unwrap() > 8 * MIB as u64, "{memory:?}");
    assert!(stats.cpu.unwrap().usage > Duration::ZERO);
    group.remove().unwrap();
}

#[test]
fn processes_are_limited() {
    let Some(parent) = Parent::new("pids") else { return };
    let pids = LinuxPidsBuilder::default().limit(1).build().unwrap();
    let mut group = parent.group("a", LinuxResourcesBuilder::default().pids(pids)).unwrap();
    let status = inside(&group, || match sys::raw_syscall(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]) {
        0 => 0,
        error if error == -i64::from(libc::EAGAIN) => 42,
        _ => 1,
    });
    assert_eq!(status >> 8, 42);
    group.remove().unwrap();
}

#[test]
fn device_rules_hold_and_change() {
    let Some(parent) = Parent::new("devices") else { return };
    let rule = |allow, minor: i64| {
        LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .typ(LinuxDeviceType::C)
            .major(1i64)
            .minor(minor)
            .access("rwm")
            .build()
            .unwrap()
    };
    let deny_all = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().unwrap();
    let resources = LinuxResourcesBuilder::default().devices(vec![deny_all.clone(), rule(true, 3)]);
    let mut group = parent.group("a", resources).unwrap();
    group.restrict_devices(0).unwrap();
    let may_open = |path: &str| i32::from(fs::File::open(path).is_ok());
    let probe = || inside(&group, || may_open("/dev/null") | may_open("/dev/zero") << 1) >> 8;
    assert_eq!(probe(), 0b01, "null is allowed, zero is not");
    let update = LinuxResourcesBuilder::default().devices(vec![deny_all, rule(true, 5)]).build().unwrap();
    group.update(&update).unwrap();
    let probe = || inside(&group, || may_open("/dev/null") | may_open("/dev/zero") << 1) >> 8;
    assert_eq!(probe(), 0b10, "and the other way round");
    group.remove().unwrap();
}

#[test]
fn version1_device_lists_hold() {
    let Some(parent) = Parent::new("devices1") else { return };
    let found = Hierarchies::detect().unwrap();
    let Some(mount) = found.version1.get(&Controller::Devices) else {
        eprintln!("SKIPPED version1_device_lists_hold: no devices hierarchy");
        return;
    };
    let only: &'static Hierarchies = Box::leak(Box::new(Hierarchies {
        version1: [(Controller::Devices, mount.clone())].into(),
        ..Hierarchies::default()
    }));
    let null =
        LinuxDeviceCgroupBuilder::default().allow(true).typ(LinuxDeviceType::C).major(1i64).minor(3i64).access("rw");
    let deny_all = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().unwrap();
    let resources = LinuxResourcesBuilder::default().devices(vec![deny_all, null.build().unwrap()]).build().unwrap();
    let mut group = Cgroup::create_in(only, &Path::new(&parent.0).join("a"), &resources, false).unwrap();
    let open = |path: &str| i32::from(fs::File::open(path).is_ok());
    assert_eq!(inside(&group, || open("/dev/null") | open("/dev/zero") << 1) >> 8, 0b01);
    group.remove().unwrap();
}

/// A process of the group that sleeps until it is killed.
fn sleeper(group: &Cgroup) -> std::process::Child {
    let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    group.join(child.id() as i32).unwrap();
    child
}

#[test]
fn freeze_thaw_kill_and_sweep() {
    let Some(parent) = Parent::new("kill") else { return };
    let mut group = parent.group("a", LinuxResourcesBuilder::default()).unwrap();
    let mut child = sleeper(&group);
    assert_eq!(group.processes().unwrap(), [child.id() as i32]);
    assert!(group.populated().unwrap());
    assert!(group.stats().unwrap().memory.unwrap().estimated);
    group.freeze().unwrap();
    group.thaw().unwrap();
    group.freeze().unwrap();
    assert!(matches!(parent.group("a", LinuxResourcesBuilder::default()), Err(Error::InUse { .. })));
    group.kill_all().unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!group.populated().unwrap());
    // An empty leftover is taken over.
    parent.group("a", LinuxResourcesBuilder::default()).unwrap();

    let survivor = parent.group("b", LinuxResourcesBuilder::default()).unwrap();
    let mut doomed = sleeper(&group);
    fs::create_dir(group.directories().last().unwrap().1.join("inner")).unwrap();
    let swept = Cgroup::sweep_in(Hierarchies::detect().unwrap(), &parent.0, |name| name == "b").unwrap();
    assert_eq!(swept, ["a"]);
    assert!(!doomed.wait().unwrap().success());
    assert!(survivor.directories().all(|(_, path)| path.is_dir()));
    group.remove().unwrap();
    group.remove().unwrap();
}

#[test]
fn an_update_makes_the_group_it_needs_and_moves_the_processes() {
    let Some(parent) = Parent::new("update") else { return };
    if !hybrid("update") {
        return;
    }
    let mut group = parent.group("a", LinuxResourcesBuilder::default()).unwrap();
    let mut child = sleeper(&group);
    let cpu = LinuxCpuBuilder::default().shares(100u64).build().unwrap();
    group.update(&LinuxResourcesBuilder::default().cpu(cpu).build().unwrap()).unwrap();
    assert_eq!(version1(&group, Controller::Cpu, "cgroup.procs"), child.id().to_string());
    assert_eq!(group.tasks_fds().len(), 1);
    group.kill_all().unwrap();
    child.wait().unwrap();
    group.remove().unwrap();
}

#[test]
fn names_are_plain() {
    for (name, parent) in
        [("a/b", None), ("..", None), ("", None), ("a", Some("../x")), ("a", Some("x//y")), ("cgroup.x", None)]
    {
        assert!(matches!(relative_path(name, parent), Err(Error::Name { .. })), "{name} {parent:?}");
    }
    assert_eq!(relative_path("a", None).unwrap(), Path::new("img/a"));
    assert_eq!(relative_path("a", Some("/lab.slice/x/")).unwrap(), Path::new("lab.slice/x/a"));
}

/// What the kernel would put into a new cgroup2 directory.
fn populate(directory: &Path) {
    for name in
        ["memory.max", "memory.low", "memory.swap.max", "cpu.weight", "cpu.max", "pids.max", "io.max", "cpuset.cpus"]
    {
        fs::write(directory.join(name), "").unwrap();
    }
    for name in ["cgroup.procs", "cgroup.subtree_control", "io.weight", "cgroup.freeze", "cgroup.kill"] {
        fs::write(directory.join(name), "").unwrap();
    }
    fs::write(directory.join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
    fs::write(directory.join("memory.events"), "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n").unwrap();
    fs::write(directory.join("memory.current"), "4096\n").unwrap();
    fs::write(directory.join("memory.stat"), "anon 1000\nfile 3000\nkernel 96\nslab 50\nsock 7\ninactive_file 12\n")
        .unwrap();
    fs::write(directory.join("pids.current"), "3\n").unwrap();
    fs::write(directory.join("cpu.stat"), "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 2\nnr_throttled 1\n")
        .unwrap();
}

fn fake() -> (tempfile::TempDir, &'static Hierarchies) {
    let directory = tempfile::tempdir().unwrap();
    populate(directory.path());
    let controllers = ["cpuset", "cpu", "io", "memory", "pids"].map(str::to_owned).to_vec();
    let hierarchies = Hierarchies {
        version1: BTreeMap::new(),
        unified: Some(Unified { base: directory.path().to_owned(), controllers }),
        populate: Some(populate),
    };
    (directory, Box::leak(Box::new(hierarchies)))
}

#[test]
fn pure_version2() {
    let (root, hierarchies) = fake();
    let device = LinuxThrottleDeviceBuilder::default().major(8).minor(0).rate(1_048_576u64).build().unwrap();
    let resources = LinuxResourcesBuilder::default()
        .cpu(LinuxCpuBuilder::default().shares(512u64).quota(150_000).period(100_000u64).cpus("0-1").build().unwrap())
        .memory(LinuxMemoryBuilder::default().limit(64 * MIB).swap(96 * MIB).reservation(32 * MIB).build().unwrap())
        .pids(LinuxPidsBuilder::default().limit(4096).build().unwrap())
        .block_io(
            LinuxBlockIoBuilder::default().weight(500u16).throttle_write_bps_device(vec![device]).build().unwrap(),
        )
        .build()
        .unwrap();
    let group = Cgroup::create_in(hierarchies, Path::new("img/c"), &resources, false).unwrap();
    let text = |name: &str| fs::read_to_string(root.path().join("img/c").join(name)).unwrap();
    assert_eq!(text("cpu.weight"), "50", "512 shares are half of the default weight of 100");
    assert_eq!(text("cpu.max"), "150000 100000");
    assert_eq!(text("memory.max"), (64 * MIB).to_string());
    assert_eq!(text("memory.swap.max"), (32 * MIB).to_string(), "the swap part only");
    assert_eq!(text("memory.low"), (32 * MIB).to_string());
    assert_eq!(text("pids.max"), "4096");
    assert_eq!(text("io.max"), "8:0 wbps=1048576");
    assert_eq!(text("io.weight"), "4950");
    assert_eq!(text("cpuset.cpus"), "0-1");
    let enabled = fs::read_to_string(root.path().join("img/cgroup.subtree_control")).unwrap();
    assert_eq!(enabled, "+cpu +cpuset +io +memory +pids");
    assert_eq!(text("cgroup.subtree_control"), "", "the container's own group stays a leaf");
    assert!(group.tasks_fds().is_empty() && group.directory_fd().is_some());

    let stats = group.stats().unwrap();
    let memory = stats.memory.unwrap();
    assert_eq!((memory.usage, memory.anonymous, memory.file, memory.oom_kills), (4096, 1000, 3000, 2));
    assert_eq!((memory.limit, memory.limit_hits), (Some(64 * MIB as u64), 3));
    assert_eq!(group.oom_kills().unwrap(), 2);
    assert_eq!(stats.cpu.unwrap().user, Some(Duration::from_micros(6)));
    assert_eq!(stats.pids.unwrap(), PidsStats { current: 3, peak: None, limit: Some(4096) });
    group.kill_all().unwrap();
    assert_eq!(text("cgroup.kill"), "", "nobody is there to be killed");
}

#[test]
fn a_container_that_divides_its_group_lives_inside_of_it() {
    let (root, hierarchies) = fake();
    let resources = |limit: i64| {
        let memory = LinuxMemoryBuilder::default().limit(limit).build().unwrap();
        LinuxResourcesBuilder::default().memory(memory).build().unwrap()
    };
    let mut group = Cgroup::create_in(hierarchies, Path::new("img/c"), &resources(64 * MIB), false).unwrap();
    assert_eq!(group.delegated().collect::<Vec<_>>(), [root.path().join("img/c")]);
    group.delegate(&resources(64 * MIB)).unwrap();
    let inner = root.path().join("img/c/img.payload");
    assert_eq!(group.delegated().collect::<Vec<_>>(), [&inner], "the outer one is the host's");
    let text = |path: &str| fs::read_to_string(root.path().join("img/c").join(path)).unwrap();
    assert_eq!(text("cgroup.subtree_control"), "+cpu +cpuset +io +memory +pids", "all there is to divide");
    assert_eq!((text("memory.max"), text("img.payload/memory.max")), ((64 * MIB).to_string(), (64 * MIB).to_string()));
    let led_to =
        |group: &Cgroup| fs::read_link(format!("/proc/self/fd/{}", group.directory_fd().unwrap().as_raw_fd())).unwrap();
    assert_eq!(led_to(&group), inner);

    // What is there later is found, and changed in both.
    let mut again = Cgroup::open_in(hierarchies, Path::new("img/c")).unwrap();
    assert_eq!(led_to(&again), inner);
    again.update(&resources(48 * MIB)).unwrap();
    assert_eq!((text("memory.max"), text("img.payload/memory.max")), ((48 * MIB).to_string(), (48 * MIB).to_string()));
    again.set("memory.limit_in_bytes", "33554432").unwrap();
    assert_eq!((text("memory.max"), text("img.payload/memory.max")), ("33554432".to_owned(), "33554432".to_owned()));
    again.set("cgroup.freeze", "1").unwrap();
    assert_eq!((text("cgroup.freeze"), text("img.payload/cgroup.freeze")), ("1".to_owned(), String::new()));
    // Nobody has divided the inner one, so that is where the next process goes.
    again.follow(std::process::id() as i32).unwrap();
    assert_eq!(led_to(&again), inner);
}

#[test]
fn where_version2_has_no_controllers_there_is_nothing_to_divide() {
    let (root, hierarchies) = fake();
    let unified = Unified { base: root.path().to_owned(), controllers: Vec::new() };
    let bare = Hierarchies { unified: Some(unified), ..hierarchies.clone() };
    let resources = LinuxResourcesBuilder::default().build().unwrap();
    let mut group = Cgroup::create_in(Box::leak(Box::new(bare)), Path::new("img/c"), &resources, false).unwrap();
    group.delegate(&resources).unwrap();
    assert!(!root.path().join("img/c/img.payload").exists());
}

#[test]
fn what_version2_lacks_is_refused_before_anything_is_made() {
    let (root, hierarchies) = fake();
    let refused = |resources: LinuxResourcesBuilder| {
        let error = Cgroup::create_in(hierarchies, Path::new("img/c"), &resources.build().unwrap(), false).unwrap_err();
        assert!(!root.path().join("img").exists(), "nothing was made");
        error.to_string()
    };
    let memory = |builder: LinuxMemoryBuilder| LinuxResourcesBuilder::default().memory(builder.build().unwrap());
    let cpu = |builder: LinuxCpuBuilder| LinuxResourcesBuilder::default().cpu(builder.build().unwrap());
    assert!(refused(memory(LinuxMemoryBuilder::default().swappiness(10u64))).contains("cgroup v2 has no swappiness"));
    assert!(refused(memory(LinuxMemoryBuilder::default().disable_oom_killer(true))).contains("cannot switch it off"));
    assert!(refused(memory(LinuxMemoryBuilder::default().limit(100).swap(50))).contains("less than memory alone"));
    assert!(refused(memory(LinuxMemoryBuilder::default().swap(50))).contains("needs a limit of memory"));
    assert!(refused(cpu(LinuxCpuBuilder::default().realtime_runtime(1000))).contains("real-time"));
    let unified = [("memory.high".to_owned(), "1".to_owned()), ("cgroup.procs".to_owned(), "1".to_owned())];
    let raw =
        LinuxResourcesBuilder::default().unified(unified.into_iter().collect::<std::collections::HashMap<_, _>>());
    assert!(refused(raw).contains("cgroup.procs"));
}

#[test]
fn conversions_keep_proportions() {
    assert_eq!((cpu_weight(1024), cpu_weight(512), cpu_weight(2048)), (100, 50, 200));
    assert_eq!((cpu_weight(2), cpu_weight(262_144), cpu_weight(u64::MAX)), (1, 10_000, 10_000));
    assert_eq!((io_weight(10), io_weight(1000), io_weight(0)), (1, 10_000, 1));
}

#[test]
fn making_a_group_is_quick() {
    let Some(parent) = Parent::new("time") else { return };
    let pids = LinuxPidsBuilder::default().limit(4096).build().unwrap();
    let resources = LinuxResourcesBuilder::default().pids(pids).build().unwrap();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        let mut group = Cgroup::create("a", Some(&parent.0), &resources).unwrap();
        best = best.min(start.elapsed());
        group.remove().unwrap();
    }
    eprintln!("groups of a default container made in {best:?}");
    assert!(best < Duration::from_millis(20));
}

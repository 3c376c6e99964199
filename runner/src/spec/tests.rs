//! Specs from options: the default sandbox property by property, and what each option changes.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{Capability, LinuxNamespaceType, Mount, Spec};

use super::parse::{MountKind, MountRequest, SeccompChoice, SecurityOptions, Ulimit, device, tmpfs, volume};
use super::*;
use crate::security::capabilities;

fn options() -> Options {
    Options { id: "c1".into(), args: vec!["sh".into()], hostname: "c1".into(), ..Options::default() }
}

fn spec(change: impl FnOnce(&mut Options)) -> Spec {
    let mut options = options();
    change(&mut options);
    build(&options).unwrap()
}

fn refusal(change: impl FnOnce(&mut Options)) -> String {
    let mut options = options();
    change(&mut options);
    build(&options).expect_err("it should be refused").to_string()
}

fn mount_at<'a>(spec: &'a Spec, path: &str) -> Option<&'a Mount> {
    spec.mounts().as_ref().unwrap().iter().find(|mount| mount.destination() == Path::new(path))
}

fn mount_options(spec: &Spec, path: &str) -> String {
    mount_at(spec, path).unwrap_or_else(|| panic!("no mount at {path}")).options().as_ref().unwrap().join(",")
}

fn kinds(spec: &Spec) -> HashSet<LinuxNamespaceType> {
    spec.linux().as_ref().unwrap().namespaces().iter().flatten().map(|space| space.typ()).collect()
}

#[test]
fn the_default_sandbox() {
    let spec = spec(|_| {});
    let process = spec.process().as_ref().unwrap();
    let linux = spec.linux().as_ref().unwrap();
    let held = process.capabilities().as_ref().unwrap();
    assert_eq!(*held.bounding(), Some(HashSet::from(capabilities::DEFAULT)));
    assert_eq!((held.inheritable().clone(), held.ambient().clone()), (Some(HashSet::new()), Some(HashSet::new())));
    assert!(!held.bounding().as_ref().unwrap().contains(&Capability::NetRaw));
    assert!(linux.seccomp().is_some());
    let masked = linux.masked_paths().as_ref().unwrap();
    for path in ["/proc/kcore", "/proc/keys", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"] {
        assert!(masked.iter().any(|known| known == path), "{path}");
    }
    assert_eq!(linux.readonly_paths().as_ref().unwrap().len(), 5);
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    assert_eq!(kinds(&spec), HashSet::from([Mount, Pid, Ipc, Uts, Network, Cgroup]));
    assert_eq!(linux.resources().as_ref().unwrap().pids().unwrap().limit(), 4096);
    assert_eq!(process.no_new_privileges(), Some(false));
    let sysctl = linux.sysctl().as_ref().unwrap();
    assert_eq!(sysctl["net.ipv4.ping_group_range"], "0 2147483647");
    assert_eq!(sysctl["net.ipv4.ip_unprivileged_port_start"], "0");
    for (path, flag) in [
        ("/sys", "ro"),
        ("/sys/fs/cgroup", "ro"),
        ("/proc", "nodev"),
        ("/dev/shm", "size=65536k"),
        ("/dev/pts", "newinstance"),
    ] {
        assert!(mount_options(&spec, path).split(',').any(|option| option == flag), "{path} {flag}");
    }
    let rules = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert!(!rules[0].allow() && rules[1..].iter().all(|rule| rule.allow()));
    assert!(!rules.iter().any(|rule| rule.allow() && rule.major().is_none() && rule.access().as_deref() != Some("m")));
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/img/c1")));
    assert_eq!(linux.rootfs_propagation().as_deref(), Some("rprivate"));
    // The spec survives being written and read, as a bundle is.
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
}

#[test]
fn privileged_opens_everything_but_what_is_asked() {
    let all = spec(|o| o.privileged = true);
    let linux = all.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_none() && linux.masked_paths().as_ref().unwrap().is_empty());
    assert!(linux.readonly_paths().as_ref().unwrap().is_empty());
    assert!(linux.resources().as_ref().unwrap().devices().is_none());
    assert_eq!(all.process().as_ref().unwrap().capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 41);
    assert!(mount_options(&all, "/sys").contains("rw"));
    let some = spec(|o| {
        o.privileged = true;
        o.security.seccomp = SeccompChoice::Builtin;
        o.cap_drop = vec!["SYS_ADMIN".into()];
        o.security.mask = vec!["/proc/kcore".into()];
    });
    let linux = some.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_some());
    assert_eq!(linux.masked_paths().as_ref().unwrap(), &["/proc/kcore"]);
    assert!(
        !capabilities(&Options { privileged: true, cap_drop: vec!["SYS_ADMIN".into()], ..options() })
            .unwrap()
            .contains(&Capability::SysAdmin)
    );
}

#[test]
fn namespaces_follow_their_modes() {
    let host = spec(|o| {
        o.namespaces.network = NamespaceMode::Host;
        o.namespaces.pid = NamespaceMode::Path("/proc/7/ns/pid".into());
        o.namespaces.uts = NamespaceMode::Host;
        o.namespaces.cgroup = NamespaceMode::Host;
    });
    let linux = host.linux().as_ref().unwrap();
    assert!(
        !kinds(&host).contains(&LinuxNamespaceType::Network) && !kinds(&host).contains(&LinuxNamespaceType::Cgroup)
    );
    let pid = linux.namespaces().iter().flatten().find(|space| space.typ() == LinuxNamespaceType::Pid).unwrap();
    assert_eq!(pid.path().as_deref(), Some(Path::new("/proc/7/ns/pid")));
    assert!(linux.sysctl().as_ref().unwrap().is_empty(), "nothing of the host's network is changed");
    assert_eq!(host.hostname(), &None);
    let user = spec(|o| {
        o.namespaces.user = Some(NamespaceMode::Private);
        o.uid_map = vec![(0, 100_000, 65_536)];
    });
    let linux = user.linux().as_ref().unwrap();
    assert_eq!(linux.gid_mappings(), linux.uid_mappings());
    assert_eq!(linux.sysctl().as_ref().unwrap()["net.ipv4.ping_group_range"], "0 0");
    assert!(mount_options(&user, "/dev/pts").contains("gid=5"));
}

#[test]
fn sysctls_are_namespaced_or_refused() {
    let set = |name: &str| {
        let spec = spec(|o| o.sysctls = vec![(name.into(), "1".into())]);
        spec.linux().as_ref().unwrap().sysctl().as_ref().unwrap().keys().cloned().collect::<HashSet<_>>()
    };
    assert!(set("net.core.somaxconn").contains("net.core.somaxconn"));
    assert!(set("net/ipv4/conf/eth0.100/forwarding").contains("net.ipv4.conf.eth0/100.forwarding"));
    assert!(set("kernel.shmmax").contains("kernel.shmmax") && set("fs.mqueue.msg_max").contains("fs.mqueue.msg_max"));
    for (name, why) in [
        ("kernel.panic", "change the whole machine"),
        ("vm.swappiness", "change the whole machine"),
        ("kernel.hostname", "flag of its own"),
        ("net..x", "not the name"),
        ("../x", "not the name"),
    ] {
        let error = refusal(|o| o.sysctls = vec![(name.into(), "1".into())]);
        assert!(error.contains(why), "{name}: {error}");
    }
    let error = refusal(|o| {
        o.namespaces.network = NamespaceMode::Host;
        o.sysctls = vec![("net.core.somaxconn".into(), "1".into())];
    });
    assert!(error.contains("--network host"), "{error}");
}

#[test]
fn limits_are_converted() {
    let converted = |change: &dyn Fn(&mut ResourceOptions)| {
        let mut resources = ResourceOptions::unlimited();
        change(&mut resources);
        limits(&resources)
    };
    let memory = *converted(&|r| r.memory = Some(64 << 20)).unwrap().memory().as_ref().unwrap();
    assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(128 << 20)), "as much swap as memory");
    let memory =
        *converted(&|r| (r.memory, r.memory_swap) = (Some(64 << 20), Some(-1))).unwrap().memory().as_ref().unwrap();
    assert_eq!(memory.swap(), Some(-1));
    let cpu = converted(&|r| r.nano_cpus = Some(1_500_000_000)).unwrap().cpu().clone().unwrap();
    assert_eq!((cpu.quota(), cpu.period()), (Some(150_000), Some(100_000)));
    assert!(converted(&|_| {}).unwrap().pids().is_none());
    assert_eq!(converted(&|r| r.pids_limit = Some(0)).unwrap().pids().unwrap().limit(), -1);
    type Change = Box<dyn Fn(&mut ResourceOptions)>;
    let wrong: [(Change, &str); 8] = [
        (Box::new(|r| r.memory = Some(1 << 20)), "too small"),
        (Box::new(|r| r.memory_swap = Some(1 << 30)), "needs --memory"),
        (Box::new(|r| (r.memory, r.memory_swap) = (Some(64 << 20), Some(32 << 20))), "less than --memory"),
        (Box::new(|r| (r.memory, r.memory_reservation) = (Some(64 << 20), Some(65 << 20))), "more than --memory"),
        (Box::new(|r| (r.nano_cpus, r.cpu_quota) = (Some(1_000_000_000), Some(5000))), "excludes"),
        (Box::new(|r| r.cpu_period = Some(5)), "out of range"),
        (Box::new(|r| r.cpu_shares = Some(1)), "out of range"),
        (Box::new(|r| r.blkio_weight = Some(5)), "out of range"),
    ];
    for (change, why) in wrong {
        let error = converted(&*change).unwrap_err();
        assert!(error.to_string().contains(why) && error.hint().is_some(), "{error}");
    }
}

#[test]
fn mounts_are_ordered_and_tightened() {
    let ordered = spec(|o| {
        o.mounts = vec![
            volume("/host/deep:/data/deep/er:ro").unwrap(),
            volume("/host:/data").unwrap(),
            tmpfs("/dev/shm:size=1m").unwrap(),
            tmpfs("/run:exec").unwrap(),
            volume("/dev/snd:/dev/snd").unwrap(),
        ];
    });
    let paths: Vec<&Path> =
        ordered.mounts().as_ref().unwrap().iter().map(|mount| mount.destination().as_path()).collect();
    let place = |path: &str| paths.iter().position(|known| *known == Path::new(path)).unwrap();
    assert!(place("/data") < place("/data/deep/er"), "parents first");
    assert_eq!(paths.iter().filter(|path| **path == Path::new("/dev/shm")).count(), 1, "the user's takes the place");
    assert_eq!(mount_options(&ordered, "/data/deep/er"), "rbind,rprivate,ro,rro,nodev");
    assert_eq!(mount_options(&ordered, "/data"), "rbind,rprivate,nodev");
    assert_eq!(mount_options(&ordered, "/dev/snd"), "rbind,rprivate", "a directory of devices keeps them");
    assert_eq!(mount_options(&ordered, "/run"), "nosuid,nodev,exec,rw,rprivate,mode=1777");
    assert!(mount_options(&ordered, "/dev/shm").contains("size=1048576"));
    let twice = refusal(|o| o.mounts = vec![volume("/a:/b").unwrap(), volume("/c:/b/").unwrap()]);
    assert!(twice.contains("same place"), "{twice}");
    let proc = refusal(|o| o.mounts = vec![volume("/a:/proc/sys").unwrap()]);
    assert!(proc.contains("inside /proc"), "{proc}");
    let unresolved = refusal(|o| o.mounts = vec![MountRequest::new(MountKind::Volume, Some("vv"), "/v")]);
    assert!(unresolved.contains("was not resolved"), "{unresolved}");
    let shared = spec(|o| o.mounts = vec![volume("/a:/b:rshared").unwrap()]);
    assert_eq!(shared.linux().as_ref().unwrap().rootfs_propagation().as_deref(), Some("rshared"));
}

#[test]
fn processes_get_what_was_asked() {
    let spec = spec(|o| {
        o.user = "www-data:staff".into();
        o.group_add = vec!["5".into(), "audio".into()];
        o.umask = Some(0o27);
        o.ulimits = vec![Ulimit { kind: oci_spec::runtime::PosixRlimitType::RlimitNofile, soft: 10, hard: 20 }];
        o.oom_score_adj = Some(500);
        o.stop_signal = Some(libc::SIGQUIT);
        o.security = SecurityOptions::parse(["no-new-privileges", "label=type:x_t", "apparmor=p"]).unwrap();
        o.read_only = true;
    });
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.user().username().as_deref(), Some("www-data:staff"));
    assert_eq!(process.user().additional_gids().as_deref(), Some(&[5u32][..]));
    assert_eq!(process.rlimits().as_ref().unwrap()[0].hard(), 20);
    assert_eq!((process.oom_score_adj(), process.no_new_privileges()), (Some(500), Some(true)));
    assert_eq!(process.selinux_label().as_deref(), Some("system_u:system_r:x_t:s0"));
    assert_eq!(process.apparmor_profile().as_deref(), Some("p"));
    let annotations = spec.annotations().as_ref().unwrap();
    assert_eq!(annotations[GROUP_ADD_ANNOTATION], "audio");
    assert_eq!(annotations[STOP_SIGNAL_ANNOTATION], "SIGQUIT");
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    assert!(refusal(|o| o.oom_score_adj = Some(2000)).contains("-1000 to 1000"));
    assert!(refusal(|o| o.args.clear()).contains("no command"));
    assert!(refusal(|o| o.env = vec!["A=\0".into()]).contains("zero byte"));
    assert!(refusal(|o| o.cap_add = vec!["FROB".into()]).contains("unknown capability"));
    assert!(refusal(|o| o.security.seccomp = SeccompChoice::File("/p".into())).contains("was not read"));
}

#[test]
fn seccomp_follows_capabilities_and_profiles() {
    let names = |spec: &Spec| -> HashSet<String> {
        let seccomp = spec.linux().as_ref().unwrap().seccomp().clone().unwrap();
        seccomp.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
    };
    assert!(!names(&spec(|_| {})).contains("mount"));
    assert!(names(&spec(|o| o.cap_add = vec!["SYS_ADMIN".into()])).contains("mount"));
    let profile = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let own = spec(|o| o.security.seccomp = SeccompChoice::Profile(profile.into()));
    assert_eq!(names(&own), HashSet::from(["read".to_owned()]));
    assert!(refusal(|o| o.security.seccomp = SeccompChoice::Profile("{".into())).contains("cannot read"));
    assert!(spec(|o| o.security.seccomp = SeccompChoice::Unconfined).linux().as_ref().unwrap().seccomp().is_none());
}

#[test]
fn devices_of_the_host() {
    let nodes = device::resolve(&device("/dev/null:/dev/nil:r").unwrap()).unwrap();
    assert_eq!((nodes.len(), nodes[0].major, nodes[0].minor), (1, 1, 3));
    assert_eq!((nodes[0].path.as_path(), nodes[0].access.as_str()), (Path::new("/dev/nil"), "r"));
    assert!(device::resolve(&device("/etc/passwd").unwrap()).unwrap_err().to_string().contains("not a device"));
    assert!(device::resolve(&device("/dev/no-such-thing").unwrap()).is_err());
    assert!(device::resolve(&device("v.com/c=x").unwrap()).unwrap_err().to_string().contains("not supported yet"));
    assert!(device::block_device("/dev/null").is_err());
    let all = device::all_of_host().unwrap();
    assert!(!all.iter().any(|node| node.path == Path::new("/dev/null") || node.path.starts_with("/dev/pts")));
    let spec = spec(|o| o.devices = nodes);
    let linux = spec.linux().as_ref().unwrap();
    assert_eq!(linux.devices().as_ref().unwrap()[0].path(), Path::new("/dev/nil"));
    assert_eq!(
        linux.resources().as_ref().unwrap().devices().as_ref().unwrap().last().unwrap().access().as_deref(),
        Some("r")
    );
}

#[test]
fn image_and_user_are_joined_by_dockers_rules() {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let image = ImageDefaults {
        entrypoint: strings(&["/entry"]),
        cmd: strings(&["serve"]),
        env: strings(&["PATH=/opt/bin", "A=image", "B=image"]),
        workdir: "/srv".into(),
        user: "app".into(),
        exposed_ports: strings(&["80/tcp"]),
        stop_signal: Some("SIGQUIT".into()),
        ..ImageDefaults::default()
    };
    let plain = merge(&image, &UserChoices::default()).unwrap();
    assert_eq!(plain.args, ["/entry", "serve"]);
    assert_eq!((plain.cwd.as_str(), plain.user.as_str(), plain.stop_signal), ("/srv", "app", libc::SIGQUIT));
    assert_eq!(plain.env, ["PATH=/opt/bin", "A=image", "B=image"]);

    let user = UserChoices {
        args: strings(&["other"]),
        env: vec![("A".into(), "user".into()), ("A".into(), "last".into())],
        unset: strings(&["B"]),
        user: Some("0".into()),
        expose: strings(&["53/udp", "80/tcp"]),
        hostname: "h".into(),
        terminal: true,
        stop_signal: Some("9".into()),
        ..UserChoices::default()
    };
    let joined = merge(&image, &user).unwrap();
    assert_eq!(joined.args, ["/entry", "other"]);
    assert_eq!(joined.env, ["PATH=/opt/bin", "HOSTNAME=h", "TERM=xterm", "A=last"]);
    assert_eq!((joined.user.as_str(), joined.stop_signal), ("0", 9));
    assert_eq!(joined.exposed_ports, ["53/udp", "80/tcp"]);

    let entrypoint = |words: &[&str], args: &[&str]| {
        let user = UserChoices { entrypoint: Some(strings(words)), args: strings(args), ..UserChoices::default() };
        merge(&image, &user).map(|merged| merged.args)
    };
    assert_eq!(entrypoint(&["/sh"], &[]).unwrap(), ["/sh"], "the image's CMD goes with its entrypoint");
    assert_eq!(entrypoint(&["/sh"], &["-c", "x"]).unwrap(), ["/sh", "-c", "x"]);
    assert_eq!(entrypoint(&[""], &["ls"]).unwrap(), ["ls"], "an empty one clears");
    assert!(entrypoint(&[""], &[]).unwrap_err().to_string().contains("no command"));
    let relative = UserChoices { workdir: Some("x".into()), ..UserChoices::default() };
    assert!(merge(&image, &relative).is_err());
    let bare =
        merge(&ImageDefaults { cmd: strings(&["sh"]), ..ImageDefaults::default() }, &UserChoices::default()).unwrap();
    assert_eq!((bare.env, bare.cwd), (vec![format!("PATH={DEFAULT_PATH}")], "/".to_owned()));
}

#[test]
fn building_is_quick() {
    let best = (0..20)
        .map(|_| {
            let start = std::time::Instant::now();
            assert!(spec(|_| {}).linux().is_some());
            start.elapsed()
        })
        .min()
        .unwrap();
    eprintln!("spec built in {best:?}");
    assert!(best.as_millis() < 10);
}

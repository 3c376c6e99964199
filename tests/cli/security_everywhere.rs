//! The sandbox by the table of known attacks, the same for `run`, `exec` and the RUN of a build.

use crate::support::places::Places;
use crate::support::{Sandbox, tools};

/// Docker's default capabilities, the most that a container may have by default.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

/// Calls that are refused (number on x86_64, arguments, the errors that count as refused): privileges, namespaces, mounts,
/// keys, modules, and the parts of the kernel that are young or reach the hypervisor.
const REFUSED: &[(&str, &str, &str)] = &[
    ("mount", "165, 0, 0, 0, 0, 0", "1"),
    ("umount2", "166, 0, 2", "1"),
    ("pivot_root", "155, 0, 0", "1"),
    ("unshare(NEWUSER)", "272, 0x10000000", "1"),
    ("unshare(NEWNS)", "272, 0x20000", "1"),
    ("setns", "308, 0, 0", "1"),
    ("clone(NEWUSER)", "56, 0x10000011, 0, 0, 0, 0", "1"),
    ("clone3", "435, 0, 0", "38"),
    ("fsopen", "430, 0, 0", "1"),
    ("fsmount", "432, 0, 0, 0", "1"),
    ("open_tree", "428, 0, 0, 0", "1"),
    ("move_mount", "429, 0, 0, 0, 0, 0", "1"),
    ("mount_setattr", "442, 0, 0, 0, 0, 0", "1"),
    ("keyctl", "250, 0, -3, 0", "1"),
    ("add_key", "248, 0, 0, 0, 0, 0", "1"),
    ("request_key", "249, 0, 0, 0, 0", "1"),
    ("io_uring_setup", "425, 1, 0", "1"),
    ("io_uring_enter", "426, 0, 0, 0, 0, 0", "1"),
    ("io_uring_register", "427, 0, 0, 0, 0", "1"),
    ("userfaultfd", "323, 0", "1"),
    ("bpf", "321, 0, 0, 0", "1"),
    ("perf_event_open", "298, 0, 0, -1, -1, 0", "1"),
    ("kexec_load", "246, 0, 0, 0, 0", "1"),
    ("init_module", "175, 0, 0, 0", "1"),
    ("finit_module", "313, 0, 0, 0", "1"),
    ("delete_module", "176, 0, 0", "1"),
    ("open_by_handle_at", "304, 0, 0, 0", "1"),
    ("quotactl", "179, 0, 0, 0, 0", "1"),
    ("acct", "163, 0", "1"),
    ("iopl", "172, 3", "1"),
    ("ioperm", "173, 0, 1, 1", "1"),
    ("swapon", "167, 0, 0", "1"),
    ("reboot", "169, 0, 0, 0, 0", "1"),
    ("sethostname", "170, 0, 0", "1"),
    ("settimeofday", "164, 0, 0", "1"),
    ("syslog", "103, 3, 0, 0", "1"),
    ("fanotify_init", "300, 0, 0", "1"),
    ("personality", "135, 0x0040000", "1"),
    ("socket(VSOCK)", "41, 40, 1, 0", "97"),
    ("socket(VSOCK) with a high bit", "41, 0x100000028, 1, 0", "97"),
    ("socket(ALG)", "41, 38, 5, 0", "97"),
];

#[test]
fn system_calls_of_the_known_attacks_are_refused() {
    let sandbox = Sandbox::new();
    let places = Places::new(&sandbox, "debian");
    let list: Vec<String> =
        REFUSED.iter().map(|(_, call, _)| format!("$! = 0; syscall({call}); print $! + 0, qq( );")).collect();
    let script = format!("perl -e \"{}\"", list.concat().replace('$', "\\$"));
    let wanted: Vec<&str> = REFUSED.iter().map(|(_, _, error)| *error).collect();
    for printed in places.each(&script) {
        let got: Vec<&str> = printed.text.split_whitespace().collect();
        let wrong: Vec<_> = REFUSED.iter().zip(&got).filter(|((_, _, error), got)| error != *got).collect();
        assert!(wrong.is_empty() && got.len() == wanted.len(), "{}: {wrong:?}", printed.place);
    }
}

#[test]
fn capabilities_filter_and_groups_are_the_same_everywhere() {
    let sandbox = Sandbox::new();
    let places = Places::new(&sandbox, "debian");
    for printed in places.each("cat /proc/self/status") {
        let field = |name: &str| {
            let line = printed.text.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_default();
            line.split_whitespace().nth(1).unwrap_or_default().to_owned()
        };
        let set = |name: &str| u64::from_str_radix(&field(name), 16).unwrap();
        assert_eq!((set("CapInh"), set("CapAmb")), (0, 0), "{}", printed.place);
        for name in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(set(name) & !DEFAULT_CAPABILITIES, 0, "{}: {name}", printed.place);
        }
        assert_eq!(set("CapBnd") & 1 << 13, 0, "{}: no NET_RAW", printed.place);
        assert_eq!(field("Seccomp"), "2", "{}", printed.place);
    }
}

#[test]
fn nothing_of_the_host_is_open() {
    let sandbox = Sandbox::new();
    let places = Places::new(&sandbox, "debian");
    // The directory that ls itself reads is the fourth.
    places.print("ls /proc/self/fd | tr \"\\n\" \" \"", "0 1 2 3");
    places.print("readlink /proc/self/cwd; pwd -P; ls -d ../bin", "/\n/\n../bin");
    for printed in places.each("readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; cat /proc/self/mounts") {
        assert!(!printed.text.contains("img-test."), "{}: a path of the host shows\n{}", printed.place, printed.text);
    }
    places.fail("ls /proc/1/root/proc/1/root/../../etc/shadow.host");
}

#[test]
fn kernel_files_are_hidden_or_read_only_everywhere() {
    let sandbox = Sandbox::new();
    let places = Places::new(&sandbox, "debian");
    let files = "kcore keys timer_list sched_debug latency_stats timer_stats interrupts vmallocinfo";
    places.print(&format!("for f in {files}; do test -e /proc/$f && head -c 1 /proc/$f; done; true"), "");
    let folders = "/proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap /sys/dev/block";
    places.print(&format!("for d in {folders}; do test -d $d && ls -A $d; done; true"), "");
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/mm/ksm/run",
    ] {
        places.fail(&format!("test -e {path} || exit 1; echo 1 2>&1 > {path}"));
    }
    places.fail("mkdir /sys/fs/cgroup/x 2>&1 || mkdir /sys/fs/cgroup/memory/x 2>&1");
    places.print("for f in $(find /sys/fs/cgroup -name release_agent 2>&1 | head -3); do (echo /x > $f) 2>&1 | grep -c x; done; true", "");
    // Each mount but the device file systems of its own is nodev.
    let script = "while read a at kind options rest; do case ,$options, in *,nodev,*) ;; *) echo $at ;; esac; done < /proc/self/mounts | grep -v -e ^/dev -e ^/proc -e ^/sys; true";
    places.print(script, "");
}

#[test]
fn devices_of_the_host_cannot_be_reached_by_nodes() {
    let sandbox = Sandbox::new();
    let lines = "FROM busybox\nRUN mknod /disk b 8 0; mknod /mem c 1 1; mknod /kmsg c 1 11; true\n";
    sandbox.build("context", "nodes", lines).ok();
    let places = Places::new(&sandbox, "nodes");
    for node in ["/disk", "/mem", "/kmsg"] {
        places.fail(&format!("test -e {node} || exit 0; head -c 1 {node} 2>&1"));
    }
    places.fail("mknod /dev/d b 259 0 && head -c 1 /dev/d 2>&1");
    places.fail("mknod /dev/k c 1 2 && head -c 1 /dev/k 2>&1");
}

#[test]
fn the_hosts_binary_stays_as_it_is() {
    let sandbox = Sandbox::new();
    let places = Places::new(&sandbox, "debian");
    let binary = sandbox.command(&[]).get_program().to_owned();
    let sum = || tools::run("sha256sum", [&binary]).word();
    let before = sum();
    places.print("for i in 1 2 3 4 5; do for p in /proc/[0-9]* /proc/self; do (echo x >> $p/exe) 2>/dev/null && echo written; done; done; true", "");
    sandbox.write("context/evil", "#!/proc/self/exe\n");
    let lines = "FROM debian\nCOPY --chmod=755 evil /evil\n";
    sandbox.build("context", "evil", lines).ok();
    for _ in 0..5 {
        sandbox.img(&["run", "--rm", "--network", "none", "evil", "/evil"]);
        sandbox.build("step", "step", "FROM evil\nRUN [\"/evil\"]\n");
    }
    assert_eq!(sum(), before);
}

#[test]
fn masks_do_not_come_from_the_image() {
    let sandbox = Sandbox::new();
    let lines = "FROM busybox\nRUN rm -rf /dev/null; mkdir -p /dev; ln -s /etc/passwd /dev/null; ln -s /etc /dev/pts; ln -s /etc/passwd /dev/console; true\n";
    sandbox.build("context", "masks", lines);
    let places = Places::new(&sandbox, "masks");
    places
        .print("stat -c %t:%T /dev/null; for f in kcore keys timer_list; do test -e /proc/$f && head -c 1 /proc/$f; done; test -L /dev/null; echo $?", "1:3\n1");
}

#[test]
fn users_are_what_they_are_said_to_be() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let id = sandbox.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "1000"]);
    for user in ["4294967295", "4294967296", "-1", "0x10", "1000:4294967295", "99999999999999999999"] {
        sandbox.img(&["run", "--rm", "--network", "none", "--user", user, "busybox", "true"]).refuses(125, &[]);
        sandbox.img(&["exec", "--user", user, &id, "true"]).refuses(125, &[]);
        sandbox.build("step", "step", &format!("FROM busybox\nUSER {user}\nRUN --network=none true\n")).exits(1);
    }
    for words in [vec!["run", "--rm", "--network", "none", "-u", "4711", "busybox"], vec!["exec", "-u", "4711", &id]] {
        let words: Vec<&str> = words.into_iter().chain(["id", "-G"]).collect();
        sandbox.img(&words).ok().prints_exactly("0\n");
    }
}

#[test]
fn an_image_whose_passwd_is_a_trap() {
    let sandbox = Sandbox::new();
    let traps = [
        ("link", "ln -s ../../../../../../../../etc/passwd /etc/passwd"),
        ("magic", "ln -s /proc/self/fd/0 /etc/passwd"),
        ("fifo", "mkfifo /etc/passwd"),
        ("folder", "mkdir /etc/passwd"),
        ("huge", "head -c 20000000 /dev/zero > /etc/passwd"),
    ];
    for (name, make) in traps {
        sandbox.build("context", name, &format!("FROM busybox\nRUN rm /etc/passwd; {make}\n")).ok();
        let out = sandbox.img(&["run", "--rm", "--network", "none", "-u", "postgres", name, "id"]);
        out.refuses(125, &[]);
        let out = sandbox.img(&["create", name, "true"]);
        assert_eq!(out.code(), 0, "the image can be used otherwise\n{out}");
    }
}

#[test]
fn kernel_parameters_of_the_host_are_not_set() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    for parameter in [
        "kernel.panic=1",
        "vm.swappiness=1",
        "kernel.core_pattern=|/x",
        "fs.file-max=1",
        "net/../kernel/panic=1",
        "kernel.shm../panic=1",
    ] {
        sandbox.img(&["run", "--rm", "--network", "none", "--sysctl", parameter, "busybox", "true"]).refuses(125, &[]);
    }
    sandbox
        .img(&["run", "--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=0", "busybox", "true"])
        .refuses(125, &["net.ipv4"]);
}

#[test]
fn containers_do_not_see_each_other() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let one = sandbox.ok(&["run", "-d", "--network", "none", "-e", "SECRET=tea", "busybox", "sleep", "1000"]);
    let other = sandbox.img(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--cap-add",
        "SYS_PTRACE",
        "busybox",
        "sh",
        "-c",
        "cat /proc/[0-9]*/environ | grep -c tea; ls /proc | grep -c ^[0-9]",
    ]);
    other.prints(&["0\n"]);
    let sockets = || {
        std::fs::read_to_string("/proc/net/unix")
            .unwrap()
            .lines()
            .filter(|line| line.contains("@img") || line.contains("@/img"))
            .count()
    };
    let before = sockets();
    let host = sandbox.ok(&["run", "-d", "--network", "host", "busybox", "sleep", "1000"]);
    assert_eq!(sockets(), before, "a monitor listens on no abstract socket");
    sandbox.ok(&["rm", "-f", &one, &host]);
}

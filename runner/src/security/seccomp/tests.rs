//! The compiler against its rules, by interpreting what it made; and real filters on real processes.

use std::collections::HashSet;
use std::time::Instant;

use oci_spec::runtime::{Capability, LinuxSeccomp, LinuxSyscall};
use proptest::prelude::*;

use super::rules::{Architecture, Condition, Decision, RET_ALLOW, RET_ERRNO, RET_KILL_PROCESS, Test, X32_BIT};
use super::*;
use crate::security::{capabilities, sys};

const EPERM: u32 = RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = RET_ERRNO | libc::ENOSYS as u32;

fn interpret(program: &[Instruction], audit: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
    evaluate::interpret(program, audit, number, arguments).expect("a program of ours")
}

/// What the profile means for one architecture, worked out rule by rule without ranges or trees.
struct Reference<'a> {
    architecture: Architecture,
    default: u32,
    newest: u32,
    rules: Vec<(HashSet<u32>, &'a LinuxSyscall)>,
}

impl<'a> Reference<'a> {
    fn new(seccomp: &'a LinuxSeccomp, architecture: Architecture) -> Self {
        let number = |name: &String| u32::try_from(rules::find(name)?.numbers[architecture as usize]).ok();
        let numbers = |rule: &LinuxSyscall| rule.names().iter().filter_map(number).collect::<HashSet<u32>>();
        let rules: Vec<_> = seccomp.syscalls().iter().flatten().map(|rule| (numbers(rule), rule)).collect();
        let newest = rules.iter().flat_map(|(numbers, _)| numbers).copied().filter(|&number| number < 0xf0000).max();
        let default = seccomp.default_action().as_u32(seccomp.default_errno_ret());
        Reference { architecture, default, newest: newest.unwrap_or(u32::MAX), rules }
    }

    fn verdict(&self, number: u32, arguments: [u64; 6]) -> u32 {
        use oci_spec::runtime::LinuxSeccompOperator::*;
        if self.architecture == Architecture::X86_64 && number >= X32_BIT {
            return ENOSYS;
        }
        let mut named = false;
        let mut conditional = None;
        for (_, rule) in self.rules.iter().filter(|(numbers, _)| numbers.contains(&number)) {
            named = true;
            let tests = rule.args().as_deref().unwrap_or_default();
            let result = rule.action().as_u32(rule.errno_ret());
            if tests.is_empty() {
                return result;
            }
            let holds = |test: &oci_spec::runtime::LinuxSeccompArg| {
                let argument = arguments[test.index()];
                match test.op() {
                    ScmpCmpNe => argument != test.value(),
                    ScmpCmpLt => argument < test.value(),
                    ScmpCmpLe => argument <= test.value(),
                    ScmpCmpEq => argument == test.value(),
                    ScmpCmpGe => argument >= test.value(),
                    ScmpCmpGt => argument > test.value(),
                    ScmpCmpMaskedEq => argument & test.value() == test.value_two().unwrap_or(0),
                }
            };
            let indexes: HashSet<_> = tests.iter().map(|test| test.index()).collect();
            let matched = if indexes.len() < tests.len() { tests.iter().any(holds) } else { tests.iter().all(holds) };
            if matched {
                conditional.get_or_insert(result);
            }
        }
        match conditional {
            Some(result) => result,
            None if !named && number > self.newest && self.default != RET_ALLOW => ENOSYS,
            None => self.default,
        }
    }
}

const INTERESTING: [u64; 14] =
    [0, 1, 8, 37, 38, 40, 44, 0x2_0008, 0x7e02_0000, 0x1_0000_0028, 0xffff_ffff, 0x1000_0000, u64::MAX - 1, u64::MAX];

fn numbers() -> impl Iterator<Item = u32> {
    (0..1024).chain(0xf0000..0xf0008).chain([X32_BIT - 1, X32_BIT, X32_BIT + 1, X32_BIT + 56, u32::MAX - 1, u32::MAX])
}

fn assert_equivalent(seccomp: &LinuxSeccomp, native: Architecture) -> usize {
    let program = compile_on(seccomp, native).unwrap();
    let mut most = 0;
    for architecture in [Some(native), native.compatible()].into_iter().flatten() {
        let reference = Reference::new(seccomp, architecture);
        for number in numbers() {
            for value in INTERESTING {
                let arguments = [value, value.rotate_left(7), 0, value, 1, value];
                let (got, steps) = interpret(&program.instructions, architecture.audit(), number, arguments);
                assert_eq!(
                    got,
                    reference.verdict(number, arguments),
                    "{architecture:?} call {number} with {arguments:x?}"
                );
                most = most.max(steps);
            }
        }
    }
    most
}

fn all_architectures(seccomp: &LinuxSeccomp) -> LinuxSeccomp {
    let mut all = seccomp.clone();
    all.set_architectures(Some(
        [Architecture::X86_64, Architecture::X86, Architecture::Aarch64, Architecture::Arm]
            .map(|a| a.to_oci())
            .to_vec(),
    ));
    all
}

#[test]
fn table_is_sorted_and_agrees_with_the_kernel_headers() {
    assert!(table::SYSCALLS.is_sorted_by(|left, right| left.name < right.name));
    for column in 0..4 {
        let numbers: Vec<i32> = table::SYSCALLS.iter().map(|row| row.numbers[column]).filter(|&n| n >= 0).collect();
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len(), "column {column} has a number twice");
    }
    let native = Architecture::native().expect("tests run on x86_64 or aarch64") as usize;
    for (name, number) in [
        ("read", libc::SYS_read),
        ("clone3", libc::SYS_clone3),
        ("mount", libc::SYS_mount),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("openat2", libc::SYS_openat2),
        ("mseal", libc::SYS_mseal),
        ("newfstatat", libc::SYS_newfstatat),
    ] {
        assert_eq!(libc::c_long::from(rules::find(name).unwrap().numbers[native]), number, "{name}");
    }
}

#[test]
fn default_policy_compiles_to_what_it_says() {
    for capabilities in [
        policy::default_capabilities(),
        HashSet::new(),
        HashSet::from([Capability::SysAdmin]),
        HashSet::from([Capability::Bpf, Capability::SysPtrace]),
    ] {
        let seccomp = all_architectures(&policy::default(&capabilities));
        for native in [Architecture::X86_64, Architecture::Aarch64] {
            let most = assert_equivalent(&seccomp, native);
            assert!(most <= 40, "a call runs through {most} instructions");
        }
    }
}

#[test]
fn default_policy_verdicts() {
    let seccomp = policy::default(&policy::default_capabilities());
    let program = compile_on(&all_architectures(&seccomp), Architecture::X86_64).unwrap();
    let steps = |name: &str| {
        let number = rules::find(name).unwrap().numbers[0] as u32;
        interpret(&program.instructions, Architecture::X86_64.audit(), number, [0; 6]).1
    };
    eprintln!("default filter: {} instructions, read runs through {}", program.len(), steps("read"));
    assert!(table::SYSCALLS.iter().filter(|row| row.numbers[0] >= 0).all(|row| steps(row.name) <= 24));
    assert!(program.len() < 1000);
    let run = |name: &str, first: u64| {
        let number = rules::find(name).unwrap().numbers[0] as u32;
        interpret(&program.instructions, Architecture::X86_64.audit(), number, [first, 0, 0, 0, 0, 0]).0
    };
    let refused = "mount umount2 unshare setns keyctl add_key request_key bpf perf_event_open init_module finit_module \
                   delete_module kexec_load kexec_file_load pivot_root chroot_ reboot swapon swapoff io_uring_setup \
                   io_uring_enter io_uring_register userfaultfd open_by_handle_at fsopen fsmount move_mount open_tree \
                   mount_setattr settimeofday clock_settime acct ioperm iopl syslog quotactl nfsservctl lookup_dcookie \
                   sysfs ustat uselib vhangup kcmp pidfd_getfd mbind set_mempolicy get_mempolicy move_pages \
                   migrate_pages sethostname setdomainname fanotify_init create_module query_module get_kernel_syms _sysctl";
    for name in refused.split_whitespace().filter(|name| *name != "chroot_") {
        assert_eq!(run(name, 0), EPERM, "{name}");
    }
    for name in
        "read write openat execve clone ptrace chroot prctl capset setresuid mknod landlock_restrict_self".split(' ')
    {
        assert_eq!(run(name, 0), RET_ALLOW, "{name}");
    }
    assert_eq!(run("clone3", 0), ENOSYS);
    assert_eq!(run("clone", libc::CLONE_NEWUSER as u64 | libc::SIGCHLD as u64), EPERM);
    assert_eq!(run("clone", (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_VFORK) as u64), RET_ALLOW);
    assert_eq!(run("socket", libc::AF_INET as u64), RET_ALLOW);
    for family in [libc::AF_VSOCK as u64, libc::AF_ALG as u64, 1 << 32 | libc::AF_VSOCK as u64] {
        assert_eq!(run("socket", family), RET_ERRNO | libc::EAFNOSUPPORT as u32, "family {family:#x}");
    }
    assert_eq!(run("personality", 0xffff_ffff), RET_ALLOW);
    assert_eq!(run("personality", 0x4_0000), EPERM, "ADDR_NO_RANDOMIZE");
    let audit = Architecture::X86_64.audit();
    assert_eq!(interpret(&program.instructions, audit, 470, [0; 6]).0, ENOSYS, "a call newer than the table");
    assert_eq!(interpret(&program.instructions, audit, X32_BIT | 1, [0; 6]).0, ENOSYS, "x32");
    assert_eq!(interpret(&program.instructions, 0xc000_00f3, 1, [0; 6]).0, RET_KILL_PROCESS, "riscv64");
    let i386 = interpret(&program.instructions, Architecture::X86.audit(), 21, [0; 6]).0;
    assert_eq!(i386, EPERM, "mount is 21 on i386");
}

#[test]
fn capabilities_open_what_they_are_for() {
    let allowed = |capability, name: &str| {
        let seccomp = policy::default(&HashSet::from([capability]));
        let program = compile_on(&seccomp, Architecture::X86_64).unwrap();
        let number = rules::find(name).unwrap().numbers[0] as u32;
        interpret(&program.instructions, Architecture::X86_64.audit(), number, [0x7e02_0000; 6]).0 == RET_ALLOW
    };
    assert!(allowed(Capability::SysAdmin, "mount") && allowed(Capability::SysAdmin, "clone"));
    assert!(allowed(Capability::SysAdmin, "clone3") && allowed(Capability::SysAdmin, "unshare"));
    assert!(!allowed(Capability::SysAdmin, "keyctl") && !allowed(Capability::SysAdmin, "io_uring_setup"));
    assert!(allowed(Capability::SysModule, "init_module") && !allowed(Capability::SysModule, "mount"));
    assert!(allowed(Capability::SysTime, "clock_settime") && allowed(Capability::Bpf, "bpf"));
    assert!(allowed(Capability::SysPtrace, "pidfd_getfd") && allowed(Capability::Perfmon, "perf_event_open"));
}

#[test]
fn compiling_the_default_is_quick() {
    let best = (0..20)
        .map(|_| {
            let start = Instant::now();
            let program = compile(&policy::default(&policy::default_capabilities())).unwrap();
            assert!(!program.is_empty());
            start.elapsed()
        })
        .min()
        .unwrap();
    eprintln!("policy and filter made in {best:?}");
    assert!(best.as_micros() < 5_000, "{best:?}; the goal of 1 ms is for a release build on a quiet machine");
}

#[test]
fn profiles_that_cannot_be_enforced_are_refused() {
    let facts = profile::Facts { capabilities: &HashSet::new(), kernel: (6, 1) };
    let reason = |json: &str| profile::parse(json.as_bytes(), facts).and_then(|p| compile(&p)).unwrap_err().to_string();
    assert!(reason(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).contains("listener"));
    let unknown = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["frob"],"action":"SCMP_ACT_ERRNO"}]}"#;
    assert!(reason(unknown).contains("restricts `frob`"));
    let index = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW",
        "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert!(reason(index).contains("index 6"));
    assert!(reason(r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#).contains("4095"));
    assert!(reason("{").contains("cannot read"));
    // Unknown names that would only allow more are left out, as newer profiles on older programs need.
    let lenient =
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["frob","read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert!(compile(&profile::parse(lenient.as_bytes(), facts).unwrap()).is_ok());
}

#[test]
fn dockers_form_is_understood() {
    let json = br#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
      "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]},
                 {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],
      "syscalls":[
        {"names":["read","s390_runtime_instr"],"action":"SCMP_ACT_ALLOW"},
        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["umount2"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
        {"names":["process_vm_readv"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}},
        {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":5,"op":"SCMP_CMP_EQ"}],
         "includes":{"arches":["s390x"]}}]}"#;
    let names = |caps: HashSet<Capability>| {
        let parsed = profile::parse(json, profile::Facts { capabilities: &caps, kernel: (6, 18) }).unwrap();
        assert_equivalent(&parsed, Architecture::native().unwrap());
        parsed.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(HashSet::new()), ["read", "s390_runtime_instr", "umount2", "ptrace"]);
    assert_eq!(names(HashSet::from([Capability::SysAdmin])), ["read", "s390_runtime_instr", "mount", "ptrace"]);
    assert_eq!(profile::parse_kernel("5.10.1-generic").unwrap(), (5, 10));
    assert!(profile::parse_kernel("five").is_err());
}

/// The profile that podman and buildah install, if this machine has it: a large one written by others.
#[test]
fn an_installed_profile_compiles_to_what_it_says() {
    let Ok(json) = std::fs::read("/usr/share/containers/seccomp.json") else {
        eprintln!("SKIPPED an_installed_profile_compiles_to_what_it_says: no profile of podman here");
        return;
    };
    for caps in [policy::default_capabilities(), HashSet::from([Capability::SysAdmin])] {
        let facts = profile::Facts { capabilities: &caps, kernel: (6, 18) };
        assert_equivalent(&profile::parse(&json, facts).unwrap(), Architecture::native().unwrap());
    }
}

#[test]
fn a_loaded_filter_acts() {
    if sys::capget().unwrap().0 & 1 << capabilities::number(Capability::SysAdmin) == 0 {
        eprintln!("SKIPPED a_loaded_filter_acts: needs CAP_SYS_ADMIN");
        return;
    }
    let program = compile(&policy::default(&policy::default_capabilities())).unwrap();
    let status = sys::in_forked_child(|| {
        if program.load().is_err() {
            return 1;
        }
        let call = |number, first| sys::raw_syscall(number, [first, 0, 0, 0, 0, 0]);
        let checks = [
            call(libc::SYS_unshare, libc::CLONE_NEWUSER as u64) == -i64::from(libc::EPERM),
            call(libc::SYS_unshare, libc::CLONE_NEWNS as u64) == -i64::from(libc::EPERM),
            call(libc::SYS_clone3, 0) == -i64::from(libc::ENOSYS),
            call(libc::SYS_clone, (libc::CLONE_NEWUSER | libc::SIGCHLD) as u64) == -i64::from(libc::EPERM),
            call(libc::SYS_io_uring_setup, 0) == -i64::from(libc::EPERM),
            call(libc::SYS_keyctl, 0) == -i64::from(libc::EPERM),
            call(libc::SYS_mount, 0) == -i64::from(libc::EPERM),
            call(9_999, 0) == -i64::from(libc::ENOSYS),
            call(libc::SYS_personality, 0x4_0000) == -i64::from(libc::EPERM),
            sys::raw_syscall(libc::SYS_socket, [libc::AF_VSOCK as u64, 1, 0, 0, 0, 0])
                == -i64::from(libc::EAFNOSUPPORT),
            sys::raw_syscall(libc::SYS_socket, [libc::AF_UNIX as u64, 1, 0, 0, 0, 0]) >= 0,
            call(libc::SYS_getpid, 0) > 0,
            call(libc::SYS_getpid | 0x4000_0000, 0) == -i64::from(libc::ENOSYS),
        ];
        checks.iter().position(|held| !held).map_or(0, |index| index as i32 + 10)
    });
    assert_eq!(status, 0, "check {} failed", (status >> 8) - 10);
}

#[test]
fn no_new_privileges_lets_anybody_load() {
    let program = compile(&policy::default(&HashSet::new())).unwrap();
    let status = sys::in_forked_child(|| {
        let empty = capabilities::Sets::default();
        if empty.apply_sets().is_err() {
            return 1;
        }
        if program.load().is_ok() {
            return 2;
        }
        if set_no_new_privileges().is_err() || program.load().is_err() {
            return 3;
        }
        i32::from(sys::raw_syscall(libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]) != -1) * 4
    });
    assert_eq!(status, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any set of decisions over any ranges comes out of the tree as it went in.
    #[test]
    fn trees_and_comparisons_mean_what_the_rules_say(
        starts in proptest::collection::btree_set(1u32..5000, 0..300),
        seed in any::<u64>(),
        probes in proptest::collection::vec((0u32..6000, any::<[u64; 6]>()), 50),
    ) {
        let mut ranges = Vec::new();
        for (index, start) in [0].into_iter().chain(starts).enumerate() {
            let mix = seed.rotate_left(index as u32 * 7) ^ index as u64;
            let value = 0x5_0000 | (mix % 7) as u32;
            let decision = match mix % 5 {
                0 => {
                    let argument = (mix % 6) as u32;
                    let test = match mix / 8 % 7 {
                        0 => Test::Equal(mix),
                        1 => Test::NotEqual(mix),
                        2 => Test::Less(mix),
                        3 => Test::LessOrEqual(mix),
                        4 => Test::Greater(mix),
                        5 => Test::GreaterOrEqual(mix),
                        _ => Test::Masked { mask: mix, value: mix & seed },
                    };
                    let second = Condition { argument: (argument + 1) % 6, test: Test::Greater(u64::MAX / 3) };
                    Decision::Conditional(vec![(vec![Condition { argument, test }], value), (vec![second], 7)], RET_ALLOW)
                }
                _ => Decision::Return(value),
            };
            ranges.push((start, decision));
        }
        let rules = rules::Rules {
            architectures: vec![rules::ArchitectureRules { architecture: Architecture::Aarch64, ranges: ranges.clone() }],
            flags: 0,
        };
        let program = compiler::compile(&rules).unwrap();
        for (number, mut arguments) in probes {
            // Half of the probes sit right on a constant.
            if number % 2 == 0 { arguments = [seed.rotate_left(number); 6]; }
            let decision = &ranges.iter().rev().find(|(start, _)| *start <= number).unwrap().1;
            let meant = match decision {
                Decision::Return(value) => *value,
                Decision::Conditional(rows, otherwise) => rows
                    .iter()
                    .find(|(conditions, _)| conditions.iter().all(|condition| {
                        let argument = arguments[condition.argument as usize];
                        match condition.test {
                            Test::Equal(value) => argument == value,
                            Test::NotEqual(value) => argument != value,
                            Test::Less(value) => argument < value,
                            Test::LessOrEqual(value) => argument <= value,
                            Test::Greater(value) => argument > value,
                            Test::GreaterOrEqual(value) => argument >= value,
                            Test::Masked { mask, value } => argument & mask == value,
                        }
                    }))
                    .map_or(*otherwise, |(_, value)| *value),
            };
            prop_assert_eq!(interpret(&program, Architecture::Aarch64.audit(), number, arguments).0, meant);
        }
    }
}

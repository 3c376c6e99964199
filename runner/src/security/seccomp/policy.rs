//! The default policy: which system calls a container may make.
//!
//! Every call the table knows is judged there; a call nobody has judged is refused. The result is at least as
//! tight as Docker's current profile: no namespaces, mounts, key rings, kernel modules, BPF or performance events without
//! the capability for them, no io_uring and no userfaultfd at all. clone3 hides its flags in memory where a filter cannot see
//! them, so it answers ENOSYS and C libraries fall back to clone. Sockets are limited to the old families: VSOCK talks to
//! the hypervisor, and the families above it are little used kernel code.

use std::collections::HashSet;

use oci_spec::runtime::{
    Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::rules::Architecture;
use super::table::{Class, SYSCALLS};
use LinuxSeccompAction::{ScmpActAllow, ScmpActErrno};
use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpGe, ScmpCmpLt, ScmpCmpMaskedEq};

/// All `CLONE_NEW*` flags that clone(2) takes: mount, cgroup, uts, ipc, user, pid, network.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// `AF_ALG`, the kernel's crypto sockets; VSOCK (40), KCM, QIPCRTR, SMC, XDP and MCTP come after it.
const FIRST_REFUSED_FAMILY: u64 = 38;
const AF_XDP: u64 = 44;
/// personality(2) that change nothing dangerous: Linux, 32-bit, old kernel numbers, both, and asking.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default policy for a container that holds `capabilities`.
pub fn default(capabilities: &Capabilities) -> LinuxSeccomp {
    let holds = |any: &[Capability]| any.iter().any(|capability| capabilities.contains(capability));
    let admin = holds(&[Capability::SysAdmin]);
    let allowed: Vec<String> = SYSCALLS
        .iter()
        .filter(|syscall| match syscall.class {
            Class::Always => true,
            Class::Never | Class::ByArgument => false,
            Class::Needs(any) => holds(any),
        })
        .map(|syscall| syscall.name.to_owned())
        .collect();
    let mut syscalls = vec![rule(allowed, ScmpActAllow, None, None)];
    let mut one = |name: &str, action, errno, test| syscalls.push(rule(vec![name.to_owned()], action, errno, test));

    if admin {
        one("clone", ScmpActAllow, None, None);
    } else {
        one("clone", ScmpActAllow, None, Some(argument(ScmpCmpMaskedEq, NAMESPACE_FLAGS)));
        one("clone3", ScmpActErrno, Some(libc::ENOSYS), None);
    }
    // "Less than" and not "other than": the kernel looks at the low 32 bits only, a filter sees 64.
    one("socket", ScmpActAllow, None, Some(argument(ScmpCmpLt, FIRST_REFUSED_FAMILY)));
    if holds(&[Capability::SysAdmin, Capability::Bpf]) {
        one("socket", ScmpActAllow, None, Some(argument(ScmpCmpEq, AF_XDP)));
    }
    one("socket", ScmpActErrno, Some(libc::EAFNOSUPPORT), Some(argument(ScmpCmpGe, FIRST_REFUSED_FAMILY)));
    for personality in PERSONALITIES {
        one("personality", ScmpActAllow, None, Some(argument(ScmpCmpEq, personality)));
    }

    let native = Architecture::native();
    let architectures = native.into_iter().chain(native.and_then(Architecture::compatible));
    LinuxSeccompBuilder::default()
        .default_action(ScmpActErrno)
        .default_errno_ret(libc::EPERM as u32)
        .architectures(architectures.map(Architecture::to_oci).collect::<Vec<_>>())
        .syscalls(syscalls)
        .build()
        .expect("every required field was given")
}

/// The policy for what a container holds by default, the one nearly every start uses.
pub fn default_capabilities() -> Capabilities {
    HashSet::from(crate::security::capabilities::DEFAULT)
}

fn rule(
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno: Option<i32>,
    test: Option<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut builder = LinuxSyscallBuilder::default().names(names).action(action);
    if let Some(errno) = errno {
        builder = builder.errno_ret(errno as u32);
    }
    if let Some(test) = test {
        builder = builder.args(vec![test]);
    }
    builder.build().expect("every required field was given")
}

fn argument(op: LinuxSeccompOperator, value: u64) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default()
        .index(0usize)
        .value(value)
        .value_two(0u64)
        .op(op)
        .build()
        .expect("every required field was given")
}

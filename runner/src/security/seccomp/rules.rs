//! From an OCI seccomp section to numbers: for each architecture, what is decided for which call.
//!
//! Here names become numbers, actions become the kernel's return values, and the meaning that profiles rely on is
//! worked out (which rule wins, what happens to newer calls). What comes out is complete and checked; the
//! compiler only arranges it.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};

use super::table::SYSCALLS;
use crate::security::{Error, Result};

pub(super) const RET_ERRNO: u32 = 0x0005_0000;
pub(super) const RET_KILL_PROCESS: u32 = 0x8000_0000;
#[cfg(test)]
pub(super) const RET_ALLOW: u32 = 0x7fff_0000;
/// Calls of the x32 flavour of x86_64 have this bit set.
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// ARM's own calls lie far above all others.
const ARM_PRIVATE: u32 = 0x000f_0000;
const MAX_ERRNO: u32 = 4095;

/// The architectures that filters are made for; the value is the column in the table of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64 = 0,
    X86 = 1,
    Aarch64 = 2,
    Arm = 3,
}

impl Architecture {
    /// The machine this program was built for.
    pub(super) fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// `AUDIT_ARCH_*` of linux/audit.h.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The 32-bit architecture that the same kernel runs.
    pub(super) fn compatible(self) -> Option<Self> {
        match self {
            Self::X86_64 => Some(Self::X86),
            Self::Aarch64 => Some(Self::Arm),
            Self::X86 | Self::Arm => None,
        }
    }

    pub(super) fn to_oci(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X86 => Arch::ScmpArchX86,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
        }
    }
}

/// One comparison of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u32,
    pub(super) test: Test,
}

/// The comparison, unsigned 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// `argument & mask == value`.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// What is decided for one call number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Always this return value.
    Return(u32),
    /// The first row whose conditions all hold gives the value, else the last field does.
    Conditional(Vec<(Vec<Condition>, u32)>, u32),
}

/// The calls of one architecture.
#[derive(Debug)]
pub(super) struct ArchitectureRules {
    pub(super) architecture: Architecture,
    /// Sorted starts of ranges; the first starts at 0, each reaches to the next, neighbours differ.
    pub(super) ranges: Vec<(u32, Decision)>,
}

/// A whole profile.
#[derive(Debug)]
pub(super) struct Rules {
    /// The native architecture first.
    pub(super) architectures: Vec<ArchitectureRules>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(super) flags: u32,
}

/// Reads and checks a profile for a machine whose kernel is of architecture `native`.
pub(super) fn read(seccomp: &LinuxSeccomp, native: Architecture) -> Result<Rules> {
    if seccomp.listener_path().is_some() {
        return refuse("a listener (listenerPath) is not supported: no process would stay to answer it");
    }
    let default = action(seccomp.default_action(), seccomp.default_errno_ret(), "the default")?;
    let mut architectures = vec![native];
    if let (Some(named), Some(compatible)) = (seccomp.architectures(), native.compatible()) {
        // What this kernel cannot run needs no rules; x32 is refused whatever a profile says.
        if named.contains(&compatible.to_oci()) {
            architectures.push(compatible);
        }
    }
    let architectures = architectures
        .into_iter()
        .map(|architecture| read_architecture(seccomp, architecture, default))
        .collect::<Result<_>>()?;
    Ok(Rules { architectures, flags: flags(seccomp)? })
}

/// What one rule says about one call number.
struct Verdict {
    number: u32,
    value: u32,
    /// Where the conditions of the rule are; none of them if the list there is empty.
    rule: usize,
}

fn read_architecture(seccomp: &LinuxSeccomp, architecture: Architecture, default: u32) -> Result<ArchitectureRules> {
    let mut alternatives = Vec::new();
    let mut verdicts = Vec::with_capacity(SYSCALLS.len());
    for syscall in seccomp.syscalls().iter().flatten() {
        let value = action(syscall.action(), syscall.errno_ret(), syscall.names().first().map_or("a rule", |n| n))?;
        alternatives.push(conditions(syscall.args().as_deref().unwrap_or_default())?);
        let mut near = 0;
        for name in syscall.names() {
            let Some(index) = find_near(name, near) else {
                if !permits(value) && permits(default) && !is_foreign(name) {
                    return refuse(format!("it restricts `{name}`, a system call that is not known here"));
                }
                continue;
            };
            near = index;
            if let Ok(number) = u32::try_from(SYSCALLS[index].numbers[architecture as usize]) {
                verdicts.push(Verdict { number, value, rule: alternatives.len() - 1 });
            }
        }
    }
    // Stable: the order of the rules for one call decides which of them wins.
    verdicts.sort_by_key(|verdict| verdict.number);
    let newest = verdicts.iter().map(|verdict| verdict.number).rfind(|&number| number < ARM_PRIVATE);
    let unknown = RET_ERRNO | libc::ENOSYS as u32;
    let beyond = |number: u32| match newest {
        Some(newest) if number > newest && !permits(default) => unknown,
        _ => default,
    };
    let mut ranges: Vec<(u32, Decision)> = Vec::new();
    let mut add = |start: u32, decision: Decision| {
        if let Some((last, _)) = ranges.last()
            && *last == start
        {
            ranges.pop();
        }
        if ranges.last().is_none_or(|(_, last)| *last != decision) {
            ranges.push((start, decision));
        }
    };
    add(0, Decision::Return(beyond(0)));
    for of_call in verdicts.chunk_by(|one, other| one.number == other.number) {
        let number = of_call[0].number;
        let unconditional = of_call.iter().find(|verdict| alternatives[verdict.rule].is_empty());
        let decision = match unconditional {
            Some(verdict) => Decision::Return(verdict.value),
            None => {
                let rows = of_call
                    .iter()
                    .flat_map(|verdict| alternatives[verdict.rule].iter().map(|all| (all.clone(), verdict.value)));
                Decision::Conditional(rows.collect(), default)
            }
        };
        add(number, decision);
        add(number + 1, Decision::Return(beyond(number + 1)));
    }
    if architecture == Architecture::X86_64 {
        add(X32_BIT, Decision::Return(unknown));
    }
    Ok(ArchitectureRules { architecture, ranges })
}

/// Where a call is in the table. Profiles name most calls in the order of the table: the next is a few rows after `near`.
fn find_near(name: &str, near: usize) -> Option<usize> {
    const FEW: usize = 8;
    let next = SYSCALLS[near..].iter().take(FEW).position(|row| row.name == name);
    next.map(|offset| near + offset).or_else(|| SYSCALLS.binary_search_by(|row| row.name.cmp(name)).ok())
}

/// A call of the table by its name.
#[cfg(test)]
pub(super) fn find(name: &str) -> Option<&'static super::table::Syscall> {
    find_near(name, 0).map(|index| &SYSCALLS[index])
}

/// Calls that only other architectures have; profiles name them for all machines alike.
fn is_foreign(name: &str) -> bool {
    const NAMES: [&str; 16] = [
        "atomic_barrier",
        "atomic_cmpxchg_32",
        "getpagesize",
        "multiplexer",
        "rtas",
        "spu_create",
        "spu_run",
        "subpage_prot",
        "swapcontext",
        "switch_endian",
        "sync_file_range2",
        "sys_debug_setcontext",
        "sysmips",
        "timerfd",
        "utrap_install",
        "syscall",
    ];
    NAMES.contains(&name) || ["s390_", "riscv_", "osf_", "sparc_"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a return value lets the call through.
fn permits(value: u32) -> bool {
    matches!(value, 0x7ffc_0000 | 0x7fff_0000)
}

/// The kernel's return value for an action.
fn action(action: LinuxSeccompAction, errno: Option<u32>, whose: &str) -> Result<u32> {
    if action == LinuxSeccompAction::ScmpActNotify {
        return refuse(format!("the action of {whose} is SCMP_ACT_NOTIFY, which needs a listener process"));
    }
    if let Some(errno) = errno.filter(|&errno| errno > MAX_ERRNO) {
        return refuse(format!("errno {errno} of {whose} is above {MAX_ERRNO}"));
    }
    Ok(action.as_u32(errno))
}

/// The alternatives of a rule, each a list of conditions that must all hold. Empty: no condition at all.
fn conditions(arguments: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>> {
    let all = arguments.iter().map(condition).collect::<Result<Vec<_>>>()?;
    let repeated = all.iter().enumerate().any(|(i, one)| all[..i].iter().any(|other| other.argument == one.argument));
    Ok(match all {
        all if all.is_empty() => Vec::new(),
        all if repeated => all.into_iter().map(|condition| vec![condition]).collect(),
        all => vec![all],
    })
}

fn condition(argument: &LinuxSeccompArg) -> Result<Condition> {
    let index = match u32::try_from(argument.index()) {
        Ok(index @ 0..=5) => index,
        _ => return refuse(format!("argument index {} is not between 0 and 5", argument.index())),
    };
    let value = argument.value();
    let test = match argument.op() {
        LinuxSeccompOperator::ScmpCmpEq => Test::Equal(value),
        LinuxSeccompOperator::ScmpCmpNe => Test::NotEqual(value),
        LinuxSeccompOperator::ScmpCmpLt => Test::Less(value),
        LinuxSeccompOperator::ScmpCmpLe => Test::LessOrEqual(value),
        LinuxSeccompOperator::ScmpCmpGt => Test::Greater(value),
        LinuxSeccompOperator::ScmpCmpGe => Test::GreaterOrEqual(value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => Test::Masked { mask: value, value: argument.value_two().unwrap_or(0) },
    };
    Ok(Condition { argument: index, test })
}

fn flags(seccomp: &LinuxSeccomp) -> Result<u32> {
    let mut flags = 0;
    for flag in seccomp.flags().iter().flatten() {
        flags |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => 2,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 4,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                return refuse("the flag SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a listener process");
            }
        };
    }
    Ok(flags)
}

fn refuse<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::Seccomp { reason: reason.into() })
}

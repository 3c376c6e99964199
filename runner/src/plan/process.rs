//! The last part of a plan, the same for run, exec and build steps: limits, scheduling, user, sandbox, exec.
//!
//! Scheduling attributes are turned into the kernel's numbers here, so that a wrong one is refused before anything
//! is made.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler,
};

use super::{Settings, Step, absolute};
use crate::error::{Error, Result};
use crate::spec::parse::cpu_list;
use crate::sys::SchedulerAttributes;

/// The last part, the same for run, exec and build steps: limits, sandbox, exec. The user has been looked up before.
pub(super) fn process_steps(process: &Process, seccomp: bool, settings: Settings) -> Result<Vec<Step>> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("there is no program to run: the process has no arguments"));
    }
    let mut steps = Vec::new();
    steps.extend(affinity(process)?);
    if let Some(priority) = process.io_priority() {
        steps.push(Step::SetIoPriority(io_priority(priority)?));
    }
    if let Some(scheduler) = process.scheduler() {
        steps.push(Step::SetScheduler(scheduler_attributes(scheduler)?));
    }
    if let Some(score) = process.oom_score_adj() {
        steps.push(Step::SetOomScore(score));
    }
    let mut limits = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        let name = limit.typ().to_string();
        let number = rlimit_number(&name)?;
        if limit.soft() > limit.hard() {
            return Err(Error::invalid(format!("{name}: the soft limit is above the hard one")));
        }
        limits.push(Step::SetRlimit(name, number, limit.soft(), limit.hard()));
    }
    for (label, kind) in [
        (process.apparmor_profile(), crate::security::label::Label::AppArmor as fn(String) -> _),
        (process.selinux_label(), crate::security::label::Label::SeLinux),
    ] {
        if let Some(text) = label.as_ref().filter(|text| !text.is_empty()) {
            let (file, text) = kind(text.clone()).exec_attribute();
            steps.push(Step::SetLabel(file, text));
        }
    }
    steps.extend([
        Step::EnterWorkingDirectory(absolute(process.cwd(), "the working directory")?),
        Step::ConnectStdio,
        Step::SetUmask(process.user().umask().unwrap_or(0o022) & 0o7777),
    ]);
    // Meant for the program: a low limit of open files would keep the steps above from opening anything.
    steps.extend(limits);
    steps.push(Step::DropBoundingCapabilities);
    // Loading a filter needs no_new_privs or CAP_SYS_ADMIN. So with the first it comes last, and without it before the user
    // and the capabilities change, whose few calls every usable filter allows.
    let no_new_privileges = process.no_new_privileges() == Some(true);
    if no_new_privileges {
        steps.push(Step::SetNoNewPrivileges);
    } else if seccomp {
        steps.push(Step::LoadSeccomp);
    }
    steps.extend([Step::ChangeUser, Step::SetCapabilities]);
    if settings.staged {
        steps.push(Step::FindProgram);
    }
    if no_new_privileges && seccomp {
        steps.push(Step::LoadSeccomp);
    }
    if settings.staged {
        steps.extend([Step::AwaitStart, Step::RunStartHooks]);
    }
    if settings.init {
        steps.push(Step::BecomeInit);
    }
    steps.push(Step::Execute);
    Ok(steps)
}

/// The CPUs that an exec begins on and goes on on (`execCPUAffinity`). Both are set before the program runs, so the last
/// one counts for it.
fn affinity(process: &Process) -> Result<Option<Step>> {
    let Some(wanted) = process.exec_cpu_affinity() else { return Ok(None) };
    let lists = [wanted.cpu_affinity_final(), wanted.initial()];
    let Some(list) = lists.into_iter().flatten().find(|list| !list.is_empty()) else { return Ok(None) };
    let cpus = cpu_list("execCPUAffinity", list).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(Some(Step::SetAffinity(cpus)))
}

/// Class and level as ioprio_set(2) takes them.
fn io_priority(priority: &LinuxIOPriority) -> Result<u32> {
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok(class << 13 | level),
        _ => Err(Error::invalid(format!("the I/O priority {} is not between 0 and 7", priority.priority()))),
    }
}

/// What sched_setattr(2) takes.
fn scheduler_attributes(scheduler: &Scheduler) -> Result<SchedulerAttributes> {
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
        LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
        LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
        LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
        LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
        LinuxSchedulerPolicy::SchedDeadline => libc::SCHED_DEADLINE,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(Error::invalid("the scheduling policy SCHED_ISO is not in the kernel"));
        }
    };
    let flags = scheduler.flags().iter().flatten().map(|flag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    });
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Error::invalid(format!("the nice value {nice} is not between -20 and 19")));
    }
    let priority = scheduler.priority().unwrap_or(0);
    let priority = u32::try_from(priority)
        .map_err(|_| Error::invalid(format!("the scheduling priority {priority} is below 0")))?;
    Ok(SchedulerAttributes {
        policy: policy as u32,
        flags: flags.sum(),
        nice,
        priority,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    })
}

fn rlimit_number(name: &str) -> Result<u32> {
    Ok(match name {
        "RLIMIT_CPU" => libc::RLIMIT_CPU,
        "RLIMIT_FSIZE" => libc::RLIMIT_FSIZE,
        "RLIMIT_DATA" => libc::RLIMIT_DATA,
        "RLIMIT_STACK" => libc::RLIMIT_STACK,
        "RLIMIT_CORE" => libc::RLIMIT_CORE,
        "RLIMIT_RSS" => libc::RLIMIT_RSS,
        "RLIMIT_NPROC" => libc::RLIMIT_NPROC,
        "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE,
        "RLIMIT_MEMLOCK" => libc::RLIMIT_MEMLOCK,
        "RLIMIT_AS" => libc::RLIMIT_AS,
        "RLIMIT_LOCKS" => libc::RLIMIT_LOCKS,
        "RLIMIT_SIGPENDING" => libc::RLIMIT_SIGPENDING,
        "RLIMIT_MSGQUEUE" => libc::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => libc::RLIMIT_NICE,
        "RLIMIT_RTPRIO" => libc::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => libc::RLIMIT_RTTIME,
        other => return Err(Error::invalid(format!("unknown resource limit {other}"))),
    })
}

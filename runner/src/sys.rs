//! The only `unsafe` of this crate: raw system calls that neither rustix nor nix offers in the form needed, and fork.
//!
//! Everything here is a thin, total wrapper: arguments in, `io::Result` out, no policy. The rule: whoever calls
//! [`clone_child`] or [`fork`] goes on in two processes, and the new one must leave by [`exit`] or exec.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The number of threads of this process, from the link count of `/proc/self/task`.
pub fn thread_count() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// Which of the two processes goes on after a fork.
#[derive(Debug)]
pub enum Forked<P> {
    /// The caller, with what it knows of the new process.
    Parent(P),
    /// The new process.
    Child,
}

/// clone3(2) without shared memory: the child is a copy, like after fork. `namespaces` are `CLONE_NEW*` flags; `cgroup`
/// is a cgroup2 directory to be born in. The parent gets pid and pidfd.
///
/// The caller must be single-threaded (malloc's locks are copied as they are); this is checked.
pub fn clone_child(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked<(i32, OwnedFd)>> {
    clone3(namespaces, cgroup, libc::SIGCHLD as u64)
}

/// As [`clone_child`], but the new process is a child of our parent.
pub fn clone_sibling(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked<(i32, OwnedFd)>> {
    // The signal at its end is the one that we send at ours.
    clone3(namespaces | libc::CLONE_PARENT as u64, cgroup, 0)
}

fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>, exit_signal: u64) -> io::Result<Forked<(i32, OwnedFd)>> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    if thread_count()? != 1 {
        return Err(io::Error::other("the process has more than one thread"));
    }
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args has the kernel's layout (size passed along) and lives through the call; no CLONE_VM, so the child has a
    // copy of all memory and returns here on its own copy of the stack. One thread only: no lock is held by another.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel stored a fresh descriptor (close-on-exec) that nobody else owns.
    Ok(Forked::Parent((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })))
}

/// fork(3). glibc and musl make malloc usable in the child even if the parent has threads.
pub fn fork() -> io::Result<Forked<i32>> {
    // SAFETY: the child runs on a copy of this thread; callers keep to code that takes no lock of another thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// _exit(2): no destructors, no flushing of buffers copied from the parent.
pub fn exit(code: i32) -> ! {
    // SAFETY: ends the process; nothing can observe memory afterwards.
    unsafe { libc::_exit(code) }
}

/// Attributes of a mount as mount_setattr(2) takes them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave as it is.
    pub propagation: u64,
    /// The user namespace whose mapping `MOUNT_ATTR_IDMAP` takes, else 0.
    pub userns_fd: u64,
}

/// mount_setattr(2) on the mount `fd` refers to; `recursive` takes all below it along.
pub fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, attr has the layout of version 0 of struct mount_attr, its size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attr as *const MountAttr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// unshare(2) of namespaces only (`CLONE_NEW*`).
pub fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: namespace flags do not touch memory or the descriptor table.
    check(unsafe { libc::unshare(namespaces) }.into()).map(drop)
}

/// setns(2) to the namespaces of a namespace descriptor or a pidfd; `kinds` are `CLONE_NEW*` flags.
pub fn setns(fd: BorrowedFd<'_>, kinds: libc::c_int) -> io::Result<()> {
    // SAFETY: takes plain numbers only.
    check(unsafe { libc::setns(fd.as_raw_fd(), kinds) }.into()).map(drop)
}

/// Enters a user namespace, with what else `kinds` names (setns(2)). Not dumpable before, or its processes could trace this one; and again
/// after, as a change of ids undoes that.
pub fn enter_users(fd: BorrowedFd<'_>, kinds: libc::c_int) -> io::Result<()> {
    set_dumpable(false)?;
    setns(fd, kinds | libc::CLONE_NEWUSER)?;
    set_dumpable(false)
}

/// close_range(2): marks everything in `first..=last` close-on-exec.
pub fn close_on_exec(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: only sets a flag on descriptors, closes nothing.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// close_range(2) for a process that keeps none of the descriptors in `first..=last` in any live object.
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: callers (the init's reaper and the monitor after its fork) own no OwnedFd in that range that they still use.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Replaces descriptors 0, 1 and 2 by copies of `fds`.
pub fn set_stdio(fds: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    // The three may themselves be 0, 1 or 2: copy them out of the way first.
    let mut copies = [0; 3];
    for (copy, fd) in copies.iter_mut().zip(fds) {
        // SAFETY: duplicates a borrowed descriptor to a free number above 2.
        *copy = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) }.into())? as RawFd;
    }
    for (target, copy) in copies.into_iter().enumerate() {
        // SAFETY: 0, 1 and 2 are not owned by any OwnedFd of this crate; the copy was made above and is closed here.
        unsafe {
            check(libc::dup2(copy, target as RawFd).into())?;
            libc::close(copy);
        }
    }
    Ok(())
}

/// prctl(2) with one number.
fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: used with options that take plain numbers only.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) }.into()).map(drop)
}

/// Makes the process (not) dumpable: not dumpable, its /proc entries and ptrace need CAP_SYS_PTRACE.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

/// Asks for SIGKILL when the parent dies. Lost at every change of credentials.
pub fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
}

/// PR_SET_KEEPCAPS: keep permitted capabilities over a change of user.
pub fn keep_capabilities(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into())
}

/// PR_SET_NO_NEW_PRIVS, for good.
pub fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// PR_SET_CHILD_SUBREAPER: orphans below this process come to it.
pub fn set_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// What sched_setattr(2) takes (`struct sched_attr` without its clamps).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub runtime: u64,
    /// As `runtime`.
    pub deadline: u64,
    /// As `runtime`.
    pub period: u64,
}

/// sched_setattr(2) on the caller.
pub fn set_scheduler(wanted: &SchedulerAttributes) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: wanted.policy,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    };
    // SAFETY: the structure has the kernel's first layout (48 bytes), says its size and lives through the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

/// ioprio_set(2) on the caller; class and level in one number.
pub fn set_io_priority(priority: u32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) }).map(drop)
}

/// sched_setaffinity(2) on the caller.
pub fn set_affinity(cpus: &[u32]) -> io::Result<()> {
    let mut set = [0u64; 128];
    for cpu in cpus {
        let word = set.get_mut(*cpu as usize / 64).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        *word |= 1 << (cpu % 64);
    }
    // SAFETY: a valid array with its size in bytes; it is only read.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&set), set.as_ptr()) }).map(drop)
}

/// personality(2).
pub fn personality(persona: u64) -> io::Result<()> {
    // SAFETY: takes a plain number.
    check(unsafe { libc::personality(persona as libc::c_ulong) }.into()).map(drop)
}

/// Makes `fd` the controlling terminal of the caller's (new) session.
pub fn set_controlling_terminal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes a number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// setgroups, setresgid, setresuid, in this order, on a single-threaded process.
pub fn set_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the group list is a valid slice with its length; the other two take numbers. Raw calls: glibc's wrappers would
    // signal other threads, and there are none.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// setfsgid(2), setfsuid(2): as whom this thread makes and opens files. Both only tell the old id, so it is asked for again.
pub fn set_fs_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: both take plain numbers, and -1 changes nothing.
    let set = unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        (libc::syscall(libc::SYS_setfsuid, -1) as u32, libc::syscall(libc::SYS_setfsgid, -1) as u32)
    };
    if set == (uid, gid) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// setrlimit by prlimit64(2) on the caller.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: limit lives through the call and the old value is not asked for.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null_mut::<libc::rlimit64>())
    })
    .map(drop)
}

/// getrlimit by prlimit64(2) of the caller: soft, hard.
pub fn get_rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit64 into `limit`.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<libc::rlimit64>(), &raw mut limit)
    })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// execve(2); returns only with an error.
pub fn execve(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| {
        list.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect::<Vec<_>>()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// What waitid(2) tells of an ended child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It called exit with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// Reaps the child behind a pidfd. `Ok(None)`: it is still running.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    // SAFETY: a zeroed siginfo is valid, and the kernel fills it in; P_PIDFD takes the descriptor as a number.
    let (code, status, pid) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        check(
            libc::waitid(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, &raw mut info, libc::WEXITED | libc::WNOHANG)
                .into(),
        )?;
        (info.si_code, info.si_status(), info.si_pid())
    };
    Ok(match (pid, code) {
        (0, _) => None,
        (_, libc::CLD_EXITED) => Some(Ended::Exited(status)),
        _ => Some(Ended::Signalled(status)),
    })
}

/// Waits for the child behind a pidfd to end and reaps it.
pub fn wait(pidfd: BorrowedFd<'_>) -> io::Result<Ended> {
    loop {
        if let Some(ended) = reap(pidfd)? {
            return Ok(ended);
        }
        let mut entry = [libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        poll(&mut entry, None)?;
    }
}

/// waitpid(-1) for an init: `Ok(None)` when there is no child to reap now, `ECHILD` when there are none at all.
pub fn reap_any(block: bool) -> io::Result<Option<(i32, Ended)>> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    let pid =
        check(unsafe { libc::waitpid(-1, &raw mut status, if block { 0 } else { libc::WNOHANG }) }.into())? as i32;
    Ok((pid > 0).then(|| {
        let ended = if libc::WIFSIGNALED(status) {
            Ended::Signalled(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        };
        (pid, ended)
    }))
}

/// kill(2).
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// pidfd_send_signal(2); any number the kernel takes, real-time signals included.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no siginfo is passed, so the call takes plain numbers.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    })
    .map(drop)
}

/// getcwd(2), raw: the C library would hide a directory outside of the root behind an error. Returns the length.
pub fn getcwd(buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes into the buffer.
    Ok(check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })? as usize)
}

/// A set of signals, built without allocation.
fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set; sigaddset refuses numbers that are no signals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

/// Blocks the signals and returns a non-blocking signalfd for them.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: the set is initialised; a fresh descriptor is returned that nobody else owns.
    unsafe {
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Reads one signal from a signalfd; `None` when there is none.
pub fn read_signal(fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // SAFETY: a zeroed signalfd_siginfo is valid; the kernel writes whole records of that size.
    let (count, number) = unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let count = libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size_of::<libc::signalfd_siginfo>());
        (count, info.ssi_signo)
    };
    if count < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    Ok(Some(number as i32))
}

/// Gives every signal its default action and unblocks all: what a program expects after exec.
pub fn reset_signals() -> io::Result<()> {
    let none = signal_set(&[]);
    // SAFETY: SIG_DFL needs no handler; signals that cannot be changed (SIGKILL, SIGSTOP, libc's own) are refused with EINVAL,
    // which is fine. The mask is an initialised set.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()).into()).map(drop)
    }
}

/// The kind of file system a descriptor lies on: `f_type` of fstatfs(2), see linux/magic.h.
pub fn file_system_magic_of(fd: impl std::os::fd::AsFd) -> io::Result<i64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as i64)
}

/// Bind mount by the old interface; only for namespace files, which the new one refuses to attach.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    rustix::mount::mount_bind(source, target)?;
    Ok(())
}

/// poll(2) on `(descriptor, events)`; returns the events that happened, in order. A negative descriptor is skipped.
pub fn poll(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let millis = timeout.map_or(-1, |time| time.as_millis().clamp(0, 1 << 30) as i32);
    // SAFETY: a valid slice of pollfd with its length.
    match check(unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, millis) }.into()) {
        Ok(count) => Ok(count as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// The text of a file that is probably small. Files of /proc do not say how long they are, and growing a buffer from nothing
/// would take a handful of reads.
pub fn read_small(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(4096);
    io::Read::read_to_string(&mut std::fs::File::open(path)?, &mut text)?;
    Ok(text)
}

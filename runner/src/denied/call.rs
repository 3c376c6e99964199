//! What is known about system calls: which arguments are paths or descriptors, and which capability a call asks for.

use oci_spec::runtime::Capability::{self, *};

/// A call that has ended: its name, its arguments, the error it ended with (0 if none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `AUDIT_ARCH_*`.
    pub architecture: u32,
    /// Its number.
    pub number: u32,
    /// Its name, as in syscalls(2).
    pub name: &'static str,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// The error.
    pub error: i32,
}

/// The argument that is a path, and the one that is the directory it begins in.
pub fn path(name: &str) -> Option<(usize, Option<usize>)> {
    Some(match name {
        "open" | "creat" | "mkdir" | "rmdir" | "mknod" | "unlink" | "rename" | "chmod" | "chown" | "lchown"
        | "truncate" | "access" | "chdir" | "chroot" | "umount2" | "setxattr" | "lsetxattr" | "execve" | "swapon"
        | "swapoff" | "utime" | "utimes" | "acct" => (0, None),
        "mount" | "symlink" | "link" => (1, None),
        "openat" | "openat2" | "mkdirat" | "mknodat" | "unlinkat" | "renameat" | "renameat2" | "fchmodat"
        | "fchmodat2" | "fchownat" | "faccessat" | "faccessat2" | "utimensat" | "execveat" => (1, Some(0)),
        "symlinkat" => (2, Some(1)),
        "linkat" => (3, Some(2)),
        _ => return None,
    })
}

/// Whether the first argument is a descriptor of what the call is about.
pub fn is_on_descriptor(name: &str) -> bool {
    matches!(
        name,
        "write"
            | "pwrite64"
            | "writev"
            | "pwritev"
            | "fallocate"
            | "ftruncate"
            | "fchown"
            | "fchmod"
            | "ioctl"
            | "fsetxattr"
            | "sendfile"
            | "copy_file_range"
    )
}

/// Whether the call makes a process or thread.
pub fn is_fork(name: &str) -> bool {
    matches!(name, "fork" | "vfork" | "clone" | "clone3")
}

/// Whether the call takes memory.
pub fn takes_memory(name: &str) -> bool {
    matches!(name, "mmap" | "brk" | "mremap" | "mprotect")
}

/// The capability whose lack makes a call end with `EPERM` (or `EACCES`, for those few that say so).
pub fn capability(name: &str) -> Option<Capability> {
    Some(match name {
        "chown" | "fchown" | "lchown" | "fchownat" => Chown,
        "chmod" | "fchmod" | "fchmodat" | "fchmodat2" | "utimensat" | "utime" | "utimes" | "unlink" | "unlinkat"
        | "rename" | "renameat" | "renameat2" | "rmdir" | "open" | "openat" => Fowner,
        "setuid" | "setreuid" | "setresuid" | "setfsuid" => Setuid,
        "setgid" | "setregid" | "setresgid" | "setfsgid" | "setgroups" => Setgid,
        "kill" | "tkill" | "tgkill" | "rt_sigqueueinfo" | "rt_tgsigqueueinfo" | "pidfd_send_signal" => Kill,
        "setpriority" | "nice" | "sched_setscheduler" | "sched_setparam" | "sched_setaffinity" | "sched_setattr"
        | "ioprio_set" | "migrate_pages" | "move_pages" => SysNice,
        "mknod" | "mknodat" => Mknod,
        "chroot" => SysChroot,
        "socket" => NetRaw,
        "bind" => NetBindService,
        "setsockopt" | "ioctl" => NetAdmin,
        "setrlimit" | "prlimit64" => SysResource,
        "ptrace" | "process_vm_readv" | "process_vm_writev" | "kcmp" | "pidfd_getfd" | "process_madvise" => SysPtrace,
        "mlock" | "mlock2" | "mlockall" | "shmctl" | "shmget" => IpcLock,
        "capset" | "prctl" => Setpcap,
        "setxattr" | "lsetxattr" | "fsetxattr" => SysAdmin,
        "reboot" | "kexec_load" | "kexec_file_load" => SysBoot,
        "settimeofday" | "clock_settime" | "adjtimex" | "clock_adjtime" | "stime" => SysTime,
        "syslog" => Syslog,
        "acct" => SysPacct,
        "iopl" | "ioperm" => SysRawio,
        "init_module" | "finit_module" | "delete_module" => SysModule,
        "open_by_handle_at" => DacReadSearch,
        "vhangup" => SysTtyConfig,
        "perf_event_open" => Perfmon,
        "mount" | "umount2" | "pivot_root" | "unshare" | "setns" | "swapon" | "swapoff" | "sethostname"
        | "setdomainname" | "quotactl" | "bpf" | "fanotify_init" | "fsopen" | "fsmount" | "move_mount"
        | "open_tree" | "mount_setattr" | "clone" => SysAdmin,
        _ => return None,
    })
}

/// The name of an error that a refusal may be.
pub fn error_name(number: i32) -> Option<&'static str> {
    Some(match number {
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::ENOSYS => "ENOSYS",
        libc::EROFS => "EROFS",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::ENOSPC => "ENOSPC",
        libc::EDQUOT => "EDQUOT",
        libc::EFBIG => "EFBIG",
        libc::EINVAL => "EINVAL",
        libc::EOVERFLOW => "EOVERFLOW",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        _ => return None,
    })
}

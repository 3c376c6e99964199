//! The wrappers that the linker puts before the C library's functions, and the little that they share.
//!
//! They run in every thread, in forked children, and before `main`: nothing here allocates or takes a lock. Each has the
//! arguments of its original in the form in which the calling convention hands them over, so that variadic ones
//! (`open`, `ioctl`, `syscall`) need no list.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::io::Write as _;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use super::{Action, Kind, Plan};

const LOG_BYTES: usize = 4096;
/// Where in the page the highest count of any thread stands, as a native u32.
const MOST_AT: usize = LOG_BYTES - 4;

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
}
/// 0 before the first call, 1 while the plan is read, 2 without a plan, 3 with one.
static STATE: AtomicU8 = AtomicU8::new(0);
static LOG: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static mut PLAN: Option<Plan> = None;

/// The plan, read at the first call of all.
fn plan() -> Option<Plan> {
    match STATE.load(Ordering::Acquire) {
        3 => {
            // SAFETY: written once, before the state became 3.
            unsafe { (&raw const PLAN).read() }
        }
        0 if STATE.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok() => {
            // SAFETY: nobody else is in state 1; the environment of a process that is starting is whole.
            let found = unsafe { read_plan() };
            // SAFETY: as above.
            unsafe { (&raw mut PLAN).write(found) };
            STATE.store(if found.is_some() { 3 } else { 2 }, Ordering::Release);
            found
        }
        _ => None,
    }
}

/// # Safety
/// Only while the program has one thread.
unsafe fn read_plan() -> Option<Plan> {
    // SAFETY: getenv gives null or a string that lives as long as nobody changes the environment, which nobody does.
    let (text, log) = unsafe {
        let (text, log) = (libc::getenv(c"IMG_FAULT".as_ptr()), libc::getenv(c"IMG_FAULT_LOG".as_ptr()));
        if text.is_null() || log.is_null() {
            return None;
        }
        (CStr::from_ptr(text), log)
    };
    let plan = Plan::parse(text.to_bytes())?;
    // SAFETY: open and mmap with valid arguments; the page is shared with forked children and stays mapped.
    let page = unsafe {
        let file = __real_open64(log, libc::O_RDWR | libc::O_CLOEXEC, 0);
        if file < 0 {
            return None;
        }
        libc::mmap(std::ptr::null_mut(), LOG_BYTES, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file, 0)
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    LOG.store(page.cast(), Ordering::Release);
    Some(plan)
}

/// Counts a call and decides: what it shall give without being made, with errno set. Usually nothing.
fn strikes(name: &str, kind: Kind, path: *const c_char, fd: c_int) -> Option<i8> {
    let plan = plan()?;
    if !plan.counts(name, kind) {
        return None;
    }
    // A full disk is no matter of pipes, sockets and terminals.
    if plan.action != Action::Kill && fd >= 0 && !is_file(fd) {
        return None;
    }
    let count = COUNT.get() + 1;
    COUNT.set(count);
    let page = LOG.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: four aligned bytes at the end of the page, which stays mapped.
        unsafe { AtomicU32::from_ptr(page.add(MOST_AT).cast()) }.fetch_max(count, Ordering::Relaxed);
    }
    if count < plan.at || (count > plan.at && !plan.stays) {
        return None;
    }
    if count == plan.at {
        note(name, path, fd);
    }
    match plan.action {
        Action::Kill => {
            // SAFETY: ends this process; nothing after it runs.
            unsafe {
                libc::kill(libc::getpid(), libc::SIGKILL);
                // The first process of a PID namespace cannot kill itself so.
                libc::_exit(137)
            }
        }
        Action::Fail(number) => {
            // SAFETY: errno is this thread's.
            unsafe { *libc::__errno_location() = number };
            Some(-1)
        }
        Action::Lie => Some(0),
    }
}

fn is_file(fd: c_int) -> bool {
    // SAFETY: all-zero is a valid value that fstat fills in.
    unsafe {
        let mut meta: libc::stat64 = std::mem::zeroed();
        libc::fstat64(fd, &raw mut meta) == 0 && matches!(meta.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)
    }
}

/// Writes `name path` to the page, for whoever looks at what was met.
fn note(name: &str, path: *const c_char, fd: c_int) {
    let page = LOG.load(Ordering::Acquire);
    if page.is_null() {
        return;
    }
    let mut link = [0u8; 512];
    let path: &[u8] = if !path.is_null() {
        // SAFETY: the caller's path, ended by a zero.
        unsafe { CStr::from_ptr(path) }.to_bytes()
    } else if fd >= 0 {
        let mut name = [0u8; 32];
        // It fits, and the last byte stays zero.
        let _ = write!(&mut name[..31], "/proc/self/fd/{fd}");
        // SAFETY: the name is ended by a zero, the buffer has the length given.
        let length = unsafe { libc::readlink(name.as_ptr().cast(), link.as_mut_ptr().cast(), link.len()) };
        &link[..usize::try_from(length).unwrap_or(0)]
    } else {
        b""
    };
    let text = name.bytes().chain([b' ']).chain(path.iter().copied()).chain([b'\n']).take(MOST_AT - 1);
    for (at, byte) in text.enumerate() {
        // SAFETY: `take` stays below the end of the page.
        unsafe { page.add(at).write_volatile(byte) };
    }
}

fn opens(at: c_int, path: *const c_char, flags: c_int) -> Kind {
    // What is there needs no room. SAFETY: the caller's path, ended by a zero.
    let there = || unsafe { libc::faccessat(at, path, libc::F_OK, libc::AT_SYMLINK_NOFOLLOW) } == 0;
    // O_TMPFILE has the bit of O_DIRECTORY, which opens nothing for writing.
    let creates = flags & libc::O_CREAT != 0 && !there() || flags & libc::O_TMPFILE == libc::O_TMPFILE;
    Kind::Open { creates, writes: flags & libc::O_ACCMODE != libc::O_RDONLY }
}

/// One wrapper each: `name(arguments) -> result, kind, the path or null, the descriptor or -1`.
macro_rules! wrap {
    ($($wrapper:ident $real:ident $name:literal ($($argument:ident: $type:ty),*) -> $result:ty, $kind:expr, $path:expr, $fd:expr;)*) => {
        $(
            unsafe extern "C" {
                fn $real($($argument: $type),*) -> $result;
            }
            /// Stands before the C library's function of this name.
            ///
            /// # Safety
            /// As the function itself.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $wrapper($($argument: $type),*) -> $result {
                if let Some(answer) = strikes($name, $kind, $path, $fd) {
                    return answer.into();
                }
                // SAFETY: what the caller promised to the original.
                unsafe { $real($($argument),*) }
            }
        )*
    };
}

type Path = *const c_char;
type Buffer = *const c_void;
const NONE: Path = std::ptr::null();

wrap! {
    __wrap_open __real_open "open" (path: Path, flags: c_int, mode: c_int) -> c_int, opens(libc::AT_FDCWD, path, flags), path, -1;
    __wrap_open64 __real_open64 "open" (path: Path, flags: c_int, mode: c_int) -> c_int, opens(libc::AT_FDCWD, path, flags), path, -1;
    __wrap_openat __real_openat "open" (at: c_int, path: Path, flags: c_int, mode: c_int) -> c_int, opens(at, path, flags), path, -1;
    __wrap_openat64 __real_openat64 "open" (at: c_int, path: Path, flags: c_int, mode: c_int) -> c_int, opens(at, path, flags), path, -1;
    __wrap_read __real_read "read" (fd: c_int, to: *mut c_void, most: usize) -> isize, Kind::Read, NONE, fd;
    __wrap_readv __real_readv "read" (fd: c_int, to: Buffer, many: c_int) -> isize, Kind::Read, NONE, fd;
    __wrap_pread64 __real_pread64 "read" (fd: c_int, to: *mut c_void, most: usize, at: i64) -> isize, Kind::Read, NONE, fd;
    __wrap_write __real_write "write" (fd: c_int, from: Buffer, many: usize) -> isize, Kind::Write, NONE, fd;
    __wrap_writev __real_writev "write" (fd: c_int, from: Buffer, many: c_int) -> isize, Kind::Write, NONE, fd;
    __wrap_pwrite64 __real_pwrite64 "write" (fd: c_int, from: Buffer, many: usize, at: i64) -> isize, Kind::Write, NONE, fd;
    __wrap_ftruncate64 __real_ftruncate64 "ftruncate" (fd: c_int, length: i64) -> c_int, Kind::Write, NONE, fd;
    __wrap_fallocate64 __real_fallocate64 "fallocate" (fd: c_int, mode: c_int, at: i64, many: i64) -> c_int, Kind::Write, NONE, fd;
    __wrap_copy_file_range __real_copy_file_range "copy_file_range" (from: c_int, from_at: *mut i64, to: c_int, to_at: *mut i64, many: usize, flags: u32) -> isize, Kind::Write, NONE, to;
    __wrap_sendfile64 __real_sendfile64 "sendfile" (to: c_int, from: c_int, at: *mut i64, many: usize) -> isize, Kind::Write, NONE, to;
    __wrap_splice __real_splice "splice" (from: c_int, from_at: *mut i64, to: c_int, to_at: *mut i64, many: usize, flags: u32) -> isize, Kind::Write, NONE, to;
    __wrap_mkdir __real_mkdir "mkdir" (path: Path, mode: u32) -> c_int, Kind::Make, path, -1;
    __wrap_mkdirat __real_mkdirat "mkdir" (at: c_int, path: Path, mode: u32) -> c_int, Kind::Make, path, -1;
    __wrap_mknodat __real_mknodat "mknod" (at: c_int, path: Path, mode: u32, device: u64) -> c_int, Kind::Make, path, -1;
    __wrap_link __real_link "link" (from: Path, to: Path) -> c_int, Kind::Make, to, -1;
    __wrap_linkat __real_linkat "link" (from_at: c_int, from: Path, to_at: c_int, to: Path, flags: c_int) -> c_int, Kind::Make, to, -1;
    __wrap_symlink __real_symlink "symlink" (target: Path, path: Path) -> c_int, Kind::Make, path, -1;
    __wrap_symlinkat __real_symlinkat "symlink" (target: Path, at: c_int, path: Path) -> c_int, Kind::Make, path, -1;
    __wrap_rename __real_rename "rename" (from: Path, to: Path) -> c_int, Kind::Rename, to, -1;
    __wrap_renameat __real_renameat "rename" (from_at: c_int, from: Path, to_at: c_int, to: Path) -> c_int, Kind::Rename, to, -1;
    __wrap_renameat2 __real_renameat2 "rename" (from_at: c_int, from: Path, to_at: c_int, to: Path, flags: u32) -> c_int, Kind::Rename, to, -1;
    __wrap_unlink __real_unlink "unlink" (path: Path) -> c_int, Kind::Remove, path, -1;
    __wrap_unlinkat __real_unlinkat "unlink" (at: c_int, path: Path, flags: c_int) -> c_int, Kind::Remove, path, -1;
    __wrap_rmdir __real_rmdir "rmdir" (path: Path) -> c_int, Kind::Remove, path, -1;
    __wrap_fsync __real_fsync "fsync" (fd: c_int) -> c_int, Kind::Sync, NONE, fd;
    __wrap_fdatasync __real_fdatasync "fsync" (fd: c_int) -> c_int, Kind::Sync, NONE, fd;
    __wrap_syncfs __real_syncfs "syncfs" (fd: c_int) -> c_int, Kind::Sync, NONE, fd;
    __wrap_chmod __real_chmod "chmod" (path: Path, mode: u32) -> c_int, Kind::Attribute, path, -1;
    __wrap_fchmod __real_fchmod "chmod" (fd: c_int, mode: u32) -> c_int, Kind::Attribute, NONE, fd;
    __wrap_fchmodat __real_fchmodat "chmod" (at: c_int, path: Path, mode: u32, flags: c_int) -> c_int, Kind::Attribute, path, -1;
    __wrap_fchown __real_fchown "chown" (fd: c_int, owner: u32, group: u32) -> c_int, Kind::Attribute, NONE, fd;
    __wrap_fchownat __real_fchownat "chown" (at: c_int, path: Path, owner: u32, group: u32, flags: c_int) -> c_int, Kind::Attribute, path, -1;
    __wrap_lchown __real_lchown "chown" (path: Path, owner: u32, group: u32) -> c_int, Kind::Attribute, path, -1;
    __wrap_utimensat __real_utimensat "utimens" (at: c_int, path: Path, times: Buffer, flags: c_int) -> c_int, Kind::Attribute, path, -1;
    __wrap_futimens __real_futimens "utimens" (fd: c_int, times: Buffer) -> c_int, Kind::Attribute, NONE, fd;
    __wrap_fsetxattr __real_fsetxattr "setxattr" (fd: c_int, name: Path, value: Buffer, size: usize, flags: c_int) -> c_int, Kind::Attribute, NONE, fd;
    __wrap_lsetxattr __real_lsetxattr "setxattr" (path: Path, name: Path, value: Buffer, size: usize, flags: c_int) -> c_int, Kind::Attribute, path, -1;
    __wrap_setxattr __real_setxattr "setxattr" (path: Path, name: Path, value: Buffer, size: usize, flags: c_int) -> c_int, Kind::Attribute, path, -1;
    __wrap_flock __real_flock "flock" (fd: c_int, how: c_int) -> c_int, Kind::Lock, NONE, -1;
    __wrap_mount __real_mount "mount" (source: Path, target: Path, form: Path, flags: u64, data: Buffer) -> c_int, Kind::Other, target, -1;
    __wrap_umount2 __real_umount2 "umount" (target: Path, flags: c_int) -> c_int, Kind::Other, target, -1;
    __wrap_sendmsg __real_sendmsg "sendmsg" (fd: c_int, message: Buffer, flags: c_int) -> isize, Kind::Other, NONE, -1;
    __wrap_sendto __real_sendto "send" (fd: c_int, from: Buffer, many: usize, flags: c_int, address: Buffer, length: u32) -> isize, Kind::Other, NONE, -1;
    __wrap_send __real_send "send" (fd: c_int, from: Buffer, many: usize, flags: c_int) -> isize, Kind::Other, NONE, -1;
    __wrap_recvmsg __real_recvmsg "recv" (fd: c_int, message: *mut c_void, flags: c_int) -> isize, Kind::Other, NONE, -1;
    __wrap_connect __real_connect "connect" (fd: c_int, address: Buffer, length: u32) -> c_int, Kind::Other, NONE, -1;
    __wrap_socket __real_socket "socket" (domain: c_int, form: c_int, protocol: c_int) -> c_int, Kind::Other, NONE, -1;
    __wrap_ioctl __real_ioctl "ioctl" (fd: c_int, request: u64, argument: *mut c_void) -> c_int, Kind::Other, NONE, -1;
    __wrap_fork __real_fork "fork" () -> c_int, Kind::Other, NONE, -1;
    __wrap_setns __real_setns "setns" (fd: c_int, form: c_int) -> c_int, Kind::Other, NONE, -1;
    __wrap_unshare __real_unshare "unshare" (flags: c_int) -> c_int, Kind::Other, NONE, -1;
    __wrap_execve __real_execve "execve" (path: Path, words: Buffer, environment: Buffer) -> c_int, Kind::Other, path, -1;
    __wrap_syscall __real_syscall "syscall" (number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long, by_number(number), NONE, -1;
}

/// The kinds of calls made by their numbers: creation by `openat2` and the rest.
fn by_number(number: c_long) -> Kind {
    match number {
        libc::SYS_renameat2 => Kind::Rename,
        libc::SYS_openat2 => Kind::Open { creates: false, writes: false },
        libc::SYS_copy_file_range => Kind::Write,
        _ => Kind::Other,
    }
}

//! The raw system calls of the cgroup and security rooms: capset, prctl, seccomp, keyctl, bpf.
//!
//! The only unsafe code of these rooms. Each function is one call: it allocates nothing and takes no lock, so
//! that a child between clone and exec may use it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One classic BPF instruction (linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the test holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// capset(2) on the calling thread; bit n is capability n.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let header = CapHeader { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let half = |shift: u32| CapData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: header and data have the layout of version 3 (two data structs), and both outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// capget(2) of the calling thread: effective, permitted, inheritable.
pub fn capget() -> io::Result<(u64, u64, u64)> {
    let header = CapHeader { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: as in capset; the kernel writes two data structs into `data`.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((
        join(data[0].effective, data[1].effective),
        join(data[0].permitted, data[1].permitted),
        join(data[0].inheritable, data[1].inheritable),
    ))
}

/// prctl(2) with up to two integer arguments; the options used here take no pointers.
fn prctl(option: libc::c_int, arg2: u64, arg3: u64) -> io::Result<libc::c_long> {
    // SAFETY: only called with options whose arguments are plain numbers, so no memory is touched.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, arg2, arg3, 0u64, 0u64) })
}

/// Whether the capability is in the bounding set; `EINVAL` for one the kernel does not know.
pub fn bounding_has(capability: u32) -> io::Result<bool> {
    Ok(prctl(libc::PR_CAPBSET_READ, capability.into(), 0)? == 1)
}

/// Takes a capability out of the bounding set.
pub fn bounding_drop(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

/// Empties the ambient set.
pub fn ambient_clear() -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// Puts a capability into the ambient set (it must be permitted and inheritable).
pub fn ambient_raise(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability.into()).map(drop)
}

/// Sets `no_new_privs` on the calling thread, for good.
pub fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`.
pub fn seccomp_set_filter(flags: u32, program: &[Instruction]) -> io::Result<()> {
    #[repr(C)]
    struct Fprog {
        len: u16,
        filter: *const Instruction,
    }
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let fprog = Fprog { len, filter: program.as_ptr() };
    // SAFETY: fprog points at `len` instructions with the kernel's layout, alive during the call; it is only read.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) }).map(drop)
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING` with no name: a fresh anonymous session keyring. Returns its serial.
pub fn join_session_keyring() -> io::Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name is allowed and asks for an anonymous keyring; no memory is touched.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    Ok(check(serial)? as i32)
}

/// One eBPF instruction in the kernel's layout (linux/bpf.h `struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfInstruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Offset, or distance of a jump.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// bpf(2): the attribute is a struct whose unused tail is zero.
fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attribute` is a repr(C) struct that starts as the kernel's union member of this command does; its
    // size is passed along, so the kernel reads and writes nothing beyond it.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attribute as *mut T, size_of::<T>()) })
}

/// Loads a device program. The verifier's complaint is not asked for: the programs are our own.
pub fn bpf_load_device_program(program: &[BpfInstruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    let count = u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let mut load = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: count,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut load)?;
    // SAFETY: the kernel just made this descriptor (close-on-exec) and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The ids of the device programs attached to a cgroup directory itself (at most 64 are looked at).
pub fn bpf_query_device_programs(directory: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Query {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    let mut ids = [0u32; 64];
    let mut query = Query {
        target_fd: directory.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    Ok(ids[..(query.prog_cnt as usize).min(ids.len())].to_vec())
}

/// A descriptor of a loaded program by its id.
pub fn bpf_program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attribute = [id, 0, 0];
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut attribute)?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// Attaches a device program to a cgroup directory, in place of `replaced` if given.
pub fn bpf_attach_device_program(
    directory: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attach = Attach {
        target_fd: directory.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | if replaced.is_some() { BPF_F_REPLACE } else { 0 },
        replace_bpf_fd: replaced.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    bpf(BPF_PROG_ATTACH, &mut attach).map(drop)
}

/// Takes a device program off a cgroup directory.
pub fn bpf_detach_device_program(directory: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attach = Attach {
        target_fd: directory.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    bpf(BPF_PROG_DETACH, &mut attach).map(drop)
}

/// For tests: runs `child` in a forked process and returns its wait status. The child should stick to plain
/// system calls; its return value (or 255 for a panic) becomes the exit status.
#[cfg(test)]
pub fn in_forked_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: glibc makes malloc usable in a forked child; the child runs one closure and leaves by _exit, so no
    // destructor or buffer of the parent runs twice.
    unsafe {
        match libc::fork() {
            -1 => panic!("fork: {}", io::Error::last_os_error()),
            0 => {
                let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(255);
                libc::_exit(code)
            }
            pid => {
                let mut status = 0;
                while libc::waitpid(pid, &raw mut status, 0) < 0 {
                    assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EINTR));
                }
                status
            }
        }
    }
}

/// For tests: any system call by its number; the result, or minus errno.
#[cfg(test)]
pub fn raw_syscall(number: libc::c_long, arguments: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: tests call it with arguments that the kernel refuses or that touch no memory.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { result }
}

//! The loop driver's two ioctls (linux/loop.h).

#![allow(unsafe_code, reason = "the ioctls of the loop driver")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82u32 as libc::Ioctl;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0Au32 as libc::Ioctl;

/// `LO_FLAGS_READ_ONLY`, `LO_FLAGS_AUTOCLEAR`.
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// The number of a loop device that nobody uses at this moment, made if need be.
pub fn free_device(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Puts a file behind a loop device, to be let go when the last user of the device closes it. `EBUSY`: somebody was faster.
pub fn configure(device: BorrowedFd<'_>, file: BorrowedFd<'_>, offset: u64, read_only: bool) -> io::Result<()> {
    let info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset,
        sizelimit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: AUTOCLEAR | if read_only { READ_ONLY } else { 0 },
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let config = Config { fd: file.as_raw_fd() as u32, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: the structure has the kernel's layout and lives through the call, which only reads it.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

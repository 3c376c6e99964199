//! The kernel's calls for keys (keyctl(2), add_key(2)), one safe function each. Strings are ended by a zero here, lengths
//! are those of the buffers, and nothing else is asked of the caller.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;

use libc::{c_long, c_ulong};

/// A key or keyring.
pub(super) type Serial = i32;

/// The keyring of the process, which no other process sees.
const PROCESS_KEYRING: c_long = -2;
/// The keyring of the user.
const USER_KEYRING: c_long = -4;

const UNLINK: c_long = 9;
const LINK: c_long = 8;
const SEARCH: c_long = 10;
const READ: c_long = 11;

fn checked(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes the calling thread possess what the user's keyring holds, whatever its session keyring is.
pub(super) fn possess() -> io::Result<()> {
    // SAFETY: three numbers; no memory is touched.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, LINK, USER_KEYRING, PROCESS_KEYRING) }).map(drop)
}

/// Puts a key of type `user` into the user's keyring, in place of one of the same name.
pub(super) fn add(name: &CStr, secret: &[u8]) -> io::Result<()> {
    // SAFETY: both strings end with a zero, and the length is the secret's own.
    let key = unsafe {
        libc::syscall(libc::SYS_add_key, c"user".as_ptr(), name.as_ptr(), secret.as_ptr(), secret.len(), USER_KEYRING)
    };
    checked(key).map(drop)
}

/// The key of this name in the user's keyring.
pub(super) fn search(name: &CStr) -> io::Result<Serial> {
    // SAFETY: both strings end with a zero; the last argument names no keyring to link to.
    let key =
        unsafe { libc::syscall(libc::SYS_keyctl, SEARCH, USER_KEYRING, c"user".as_ptr(), name.as_ptr(), 0 as c_ulong) };
    Ok(Serial::try_from(checked(key)?).unwrap_or_default())
}

/// Reads a key into `buffer`; gives its whole length, which may be more.
pub(super) fn read(key: Serial, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes no more than the length, which is the buffer's own.
    let length = unsafe { libc::syscall(libc::SYS_keyctl, READ, c_long::from(key), buffer.as_mut_ptr(), buffer.len()) };
    Ok(usize::try_from(checked(length)?).unwrap_or_default())
}

/// Takes a key out of the user's keyring.
pub(super) fn unlink(key: Serial) -> io::Result<()> {
    // SAFETY: numbers only.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, UNLINK, c_long::from(key), USER_KEYRING) }).map(drop)
}

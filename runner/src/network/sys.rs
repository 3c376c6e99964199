//! The socket options that no safe wrapper offers. Each function is one system call with its arguments checked by type.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Asks for the kernel's words beside error numbers, and for refused requests to be cut to their header
/// (`NETLINK_EXT_ACK`, `NETLINK_CAP_ACK` of netlink(7)).
pub(super) fn enable_extended_answers(socket: &OwnedFd) -> io::Result<()> {
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open for the call, and the pointer and length describe one c_int.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Reads a socket option of the IP level into `buffer`, whose first bytes may hold arguments; returns how many bytes the
/// kernel filled in.
pub(super) fn ip_option(socket: &OwnedFd, option: libc::c_int, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length =
        libc::socklen_t::try_from(buffer.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: pointer and length describe `buffer`, which the kernel may fill and which outlives the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_IP, option, buffer.as_mut_ptr().cast(), &raw mut length)
    };
    match result {
        0 => Ok((length as usize).min(buffer.len())),
        _ => Err(io::Error::last_os_error()),
    }
}

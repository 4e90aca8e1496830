//! A sender inside the kernel: KCM (`Documentation/networking/kcm.rst`) gives TCP the messages that it is given.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use super::{
    bpf::{instruction, load},
    sys::{checked, checked_fd},
};

/// `AF_KCM` (`linux/socket.h`).
const AF_KCM: i32 = 41;
/// `SIOCKCMATTACH` (`linux/kcm.h`): `SIOCPROTOPRIVATE`.
const ATTACH: libc::Ioctl = 0x89e0;
/// `BPF_PROG_TYPE_SOCKET_FILTER`.
const SOCKET_FILTER: u32 = 1;

/// `struct kcm_attach`.
#[repr(C)]
struct Attach {
    fd: i32,
    bpf_fd: i32,
}

/// Sends a message over the connection, which is KCM's meanwhile.
pub(super) fn send(fd: RawFd, message: &[u8]) -> io::Result<i64> {
    // SAFETY: socket() takes three numbers.
    let socket = checked_fd(unsafe { libc::socket(AF_KCM, libc::SOCK_DGRAM, 0) })?;
    // SAFETY: the call has returned a descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // It tells how long a message is that comes, which none does: 0 asks for more of it.
    let parser =
        load(SOCKET_FILTER, &[instruction(0xb7, 0, 0, 0, 0), instruction(0x95, 0, 0, 0, 0)])?;
    let attach = Attach { fd, bpf_fd: parser.as_raw_fd() };
    // SAFETY: the struct outlives the call.
    let attached = unsafe { libc::ioctl(socket.as_raw_fd(), ATTACH, &raw const attach) };
    checked(i64::from(attached))?;
    // SAFETY: the pointer and the length describe the message.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    checked(i64::try_from(sent).unwrap_or(-1))
}

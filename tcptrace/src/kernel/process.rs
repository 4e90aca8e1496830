//! A process as a descriptor: readable once it has ended, and never another process of the same number.

use std::{
    fs, io,
    os::fd::{FromRawFd as _, OwnedFd},
};

/// `pidfd_open(2)`, from Linux 5.3 on. The caller has not reaped the process yet, so that it is the one that was meant.
///
/// # Errors
/// There is no such process, or no descriptor left.
pub fn opened(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call with two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_ulong::from(pid), 0_u64) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call has just opened it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The name of a thread, which is that of its process where `tid` is `pid`; nothing when it has ended.
pub fn comm(pid: u32, tid: u32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(comm.trim_end().to_owned())
}

//! BPF programs of the tests' own, written in the kernel's own instructions, because nothing else here needs a compiler.

use std::{
    io,
    mem::size_of_val,
    os::fd::{FromRawFd as _, OwnedFd},
};

use super::sys::{checked, checked_fd};

/// `BPF_PROG_LOAD` (`linux/bpf.h`).
const LOAD: i32 = 5;

/// One instruction: operation, registers, offset, number.
pub(super) const fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    (code as u64)
        | ((to as u64 & 15) | (from as u64 & 15) << 4) << 8
        | (offset.cast_unsigned() as u64) << 16
        | (number.cast_unsigned() as u64) << 32
}

/// How often a load that was interrupted is tried again.
const AGAIN: u32 = 5;

/// Loads a program of this kind (`BPF_PROG_TYPE_*`).
pub(super) fn load(kind: u32, code: &[u64]) -> io::Result<OwnedFd> {
    // To 5.10 a program counts as locked memory.
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit outlives the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
    checked(i64::from(result))?;
    let mut license = *b"GPL\0";
    let mut attributes = [0_u64; 16];
    attributes[0] = u64::from(kind) | (code.len() as u64) << 32;
    attributes[1] = code.as_ptr() as u64;
    attributes[2] = license.as_mut_ptr() as u64;
    let mut loaded = bpf(LOAD, &mut attributes);
    for _ in 0..AGAIN {
        // The verifier gives up where a signal is pending, and the end of a ring looks like one.
        if loaded.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            loaded = bpf(LOAD, &mut attributes);
        }
    }
    let program = loaded?;
    // SAFETY: the call has returned a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(program) })
}

/// The system call.
pub(super) fn bpf(command: i32, attributes: &mut [u64; 16]) -> io::Result<i32> {
    // SAFETY: the attributes are as large as is said, and what they point to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes))
    };
    checked_fd(i32::try_from(checked(result)?).unwrap_or(-1))
}

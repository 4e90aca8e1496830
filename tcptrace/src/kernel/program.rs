//! What the kernel counts of a loaded program and aya does not show: its time, its runs, the runs it skipped.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `BPF_OBJ_GET_INFO_BY_FD` (include/uapi/linux/bpf.h).
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// The kernel's own counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Time in the program, nanoseconds; counted only while `kernel.bpf_stats_enabled` is 1.
    pub run_time_ns: u64,
    /// Runs; counted as `run_time_ns` is.
    pub run_cnt: u64,
    /// Runs skipped because the program was running already on that CPU; `None` before 5.12.
    pub recursion_misses: Option<u64>,
}

/// Start of `struct bpf_prog_info` (include/uapi/linux/bpf.h): only its last three words are of interest here.
#[repr(C)]
struct ProgInfo {
    before: [u64; 24],
    run_time_ns: u64,
    run_cnt: u64,
    recursion_misses: u64,
}

#[repr(C)]
struct Attr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// Asks the kernel about the program at `fd`.
///
/// # Errors
/// The kernel refuses.
pub fn counts(fd: BorrowedFd<'_>) -> io::Result<Counts> {
    // SAFETY: plain numbers, for which 0 is a value.
    let mut info: ProgInfo = unsafe { mem::zeroed() };
    let length = u32::try_from(size_of::<ProgInfo>()).unwrap_or(0);
    let mut attr = Attr {
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        info_len: length,
        info: (&raw mut info).addr() as u64,
    };
    // SAFETY: `attr` and the buffer that it names live through the call, with the lengths given.
    let rc = unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, &raw mut attr, size_of::<Attr>())
    };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    let knows = |field: usize| attr.info_len as usize >= field + 8;
    Ok(Counts {
        run_time_ns: info.run_time_ns,
        run_cnt: info.run_cnt,
        recursion_misses: knows(mem::offset_of!(ProgInfo, recursion_misses))
            .then_some(info.recursion_misses),
    })
}

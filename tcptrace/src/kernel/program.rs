//! What the kernel counts of a loaded program and aya does not show: its time, its runs, the runs it skipped.

use std::{
    collections::BTreeMap,
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_GET_NEXT_ID: libc::c_long = 31;
const ENABLE_STATS: libc::c_long = 32;
/// `BPF_STATS_RUN_TIME`.
const STATS_RUN_TIME: u32 = 0;
/// Whether the kernel takes the time of every program, whoever wants it.
const ALWAYS_TAKEN: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// `BPF_LINK_TYPE_PERF_EVENT`: the links of kprobes.
const LINK_TYPE_PERF_EVENT: u32 = 7;

/// The kernel's own counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The kernel's number of the program.
    pub id: u32,
    /// Time in the program, nanoseconds; counted only while `kernel.bpf_stats_enabled` is 1.
    pub run_time_ns: u64,
    /// Runs; counted as `run_time_ns` is.
    pub run_cnt: u64,
    /// Runs skipped because the program was running already on that CPU; `None` before 5.12.
    pub recursion_misses: Option<u64>,
}

/// Start of `struct bpf_prog_info` (include/uapi/linux/bpf.h): only its number and its last three words are of interest
/// here.
#[repr(C)]
struct ProgInfo {
    kind: u32,
    id: u32,
    before: [u64; 23],
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

/// Start of `struct bpf_link_info` of a kprobe (include/uapi/linux/bpf.h).
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    event: u32,
    before: [u64; 3],
    addr: u64,
    missed: u64,
}

#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` lives through the call, and so does what it names; its length is given.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// Fills `info`, plain numbers, with what the kernel says of the object at `fd`; how many bytes of it the kernel knows.
fn info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<usize> {
    let mut attr = Attr {
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(size_of::<T>()).unwrap_or(0),
        info: (&raw mut *info).addr() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(attr.info_len as usize)
}

/// The links of kprobes to the programs with these numbers, by the program's. Empty where the kernel has no links for
/// them (before 5.15), or does not show them.
pub fn kprobe_links(programs: &[u32]) -> BTreeMap<u32, OwnedFd> {
    let mut found = BTreeMap::new();
    let mut next = ById { id: 0, next_id: 0, flags: 0 };
    while bpf(LINK_GET_NEXT_ID, &mut next).is_ok() {
        let id = next.next_id;
        next = ById { id, next_id: 0, flags: 0 };
        let Ok(fd) = bpf(LINK_GET_FD_BY_ID, &mut ById { id, next_id: 0, flags: 0 }) else {
            continue;
        };
        // SAFETY: the call has just opened it, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) };
        let Some((link, _)) = link_info(fd.as_fd()) else { continue };
        if link.kind == LINK_TYPE_PERF_EVENT && programs.contains(&link.prog_id) {
            found.insert(link.prog_id, fd);
        }
    }
    found
}

fn link_info(fd: BorrowedFd<'_>) -> Option<(LinkInfo, usize)> {
    // SAFETY: plain numbers, for which 0 is a value.
    let mut link: LinkInfo = unsafe { mem::zeroed() };
    let known = info(fd, &mut link).ok()?;
    Some((link, known))
}

/// Runs of the kprobe behind a link that the kernel skipped because another kprobe was running on that CPU; `None` where
/// it does not say (before 6.7).
pub fn kprobe_missed(link: BorrowedFd<'_>) -> Option<u64> {
    let (link, known) = link_info(link)?;
    (known >= size_of::<LinkInfo>()).then_some(link.missed)
}

/// Whether the kernel takes the time of every program anyway (`kernel.bpf_stats_enabled`).
pub fn takes_time() -> bool {
    std::fs::read_to_string(ALWAYS_TAKEN).is_ok_and(|text| text.trim() == "1")
}

/// Has the kernel take the time of every program of the host, until what is returned is dropped.
///
/// # Errors
/// The kernel refuses: it wants `CAP_SYS_ADMIN`.
pub fn take_time() -> io::Result<OwnedFd> {
    let mut attr = ById { id: STATS_RUN_TIME, next_id: 0, flags: 0 };
    let fd = bpf(ENABLE_STATS, &mut attr)?;
    // SAFETY: the call has just opened it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// Asks the kernel about the program at `fd`.
///
/// # Errors
/// The kernel refuses.
pub fn counts(fd: BorrowedFd<'_>) -> io::Result<Counts> {
    // SAFETY: plain numbers, for which 0 is a value.
    let mut program: ProgInfo = unsafe { mem::zeroed() };
    let known = info(fd, &mut program)?;
    let knows = |field: usize| known >= field + 8;
    Ok(Counts {
        id: program.id,
        run_time_ns: program.run_time_ns,
        run_cnt: program.run_cnt,
        recursion_misses: knows(mem::offset_of!(ProgInfo, recursion_misses))
            .then_some(program.recursion_misses),
    })
}

//! What the programs count of exchanges on which no byte waits, read where it lies in the kernel's memory.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use tcptrace_common::exchange::{BUCKETS, Exchange};

use super::Want;
use crate::source::{Counted, Slowest};

/// The table of exchanges, as it lies in the kernel's memory.
pub(super) struct Exchanges {
    /// Keeps the table.
    _map: MapData,
    at: *const Exchange,
}

impl Exchanges {
    /// `None` when it is not wanted, this kernel does not let a table be mapped, or is short of address space.
    pub(super) fn of(ebpf: &mut Ebpf, wants: &BTreeSet<Want>) -> Option<Self> {
        if !wants.contains(&Want::Counting) {
            return None;
        }
        let Some(Map::Array(map)) = ebpf.take_map("EXCHANGES") else { return None };
        let fd: BorrowedFd<'_> = map.fd().as_fd();
        let (bytes, fd) = (size_of::<Exchange>() * BUCKETS as usize, fd.as_raw_fd());
        // SAFETY: a new mapping, which aliases nothing of this program.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, fd, 0)
        };
        (at != libc::MAP_FAILED).then(|| Self { _map: map, at: at.cast() })
    }

    /// What all the buckets come to.
    pub(super) fn counted(&self, since_ns: u64) -> Counted {
        let mut all = Counted { since_ns, sockets: Some(0), ..Counted::default() };
        for bucket in 0..BUCKETS as usize {
            // SAFETY: the mapping holds so many values, and the programs that write them have been taken off.
            let one = unsafe { self.at.wrapping_add(bucket).read_volatile() };
            all.writes += one.writes;
            all.sockets = all
                .sockets
                .filter(|_| one.crowded == 0)
                .map(|sockets| sockets + u64::from(one.sockets));
            if one.slowest_ns > all.slowest.as_ref().map_or(0, |slowest| slowest.took_ns) {
                let name = one.slowest_comm.split(|byte| *byte == 0).next().unwrap_or_default();
                all.slowest = Some(Slowest {
                    took_ns: one.slowest_ns,
                    at_ns: one.slowest_at_ns,
                    pid: (one.slowest_by >> 32) as u32,
                    tid: (one.slowest_by & 0xffff_ffff) as u32,
                    comm: String::from_utf8_lossy(name).into_owned(),
                });
            }
        }
        all
    }
}

impl Drop for Exchanges {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `of`, which nobody else knows.
        unsafe {
            libc::munmap(self.at.cast_mut().cast(), size_of::<Exchange>() * BUCKETS as usize)
        };
    }
}

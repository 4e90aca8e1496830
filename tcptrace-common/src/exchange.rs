//! What the programs count of the exchanges on a socket, whether or not bytes are ever held there: one value per bucket of
//! `skc_hash`, which user space reads once, at the end.

/// Number of buckets; two sockets that share one take turns.
pub const BUCKETS: u32 = 1 << 14;

/// Of [`Exchange::from_start`]: what was written before may have waited.
pub const FROM_START: u32 = 1;
/// Of [`Exchange::from_start`]: every byte that waits was seen written.
pub const FROM_BIRTH: u32 = 2;

/// A bucket: the connection that uses it, and what all those that have used it come to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// `skc_hash` of the connection at hand.
    pub hash: u32,
    /// Its local and remote port, network byte order; 0 when there is none.
    pub ports: u32,
    /// When data came in on it last, nanoseconds, `CLOCK_MONOTONIC`; 0 when nothing has since the last write.
    pub arrived_ns: u64,
    /// The same, and a write does not clear it.
    pub last_arrived_ns: u64,
    /// Who wrote on it first: process in the high half, thread in the low one; 0 before that.
    pub writer: u64,
    /// Writes on it that followed data which came in, and its first one.
    pub turn: u32,
    /// Writes since then.
    pub part: u32,
    /// [`FROM_START`] when no byte had been exchanged on it before it was met, [`FROM_BIRTH`] when it was met in its handshake and
    /// none had been written either; else 0.
    pub from_start: u32,
    /// 1 while a write is at work that was counted when it pushed a part of its bytes and went to sleep.
    pub begun: u32,
    /// Connections of this bucket that were written on.
    pub sockets: u32,
    /// How often one took the place of another that had not ended: then `sockets` may be too high.
    pub crowded: u32,
    /// Writes of all of them.
    pub writes: u64,
    /// The longest time from data that came in to the next write, where the local port is the lower one, nanoseconds.
    pub slowest_ns: u64,
    /// When that write was, nanoseconds, `CLOCK_MONOTONIC`.
    pub slowest_at_ns: u64,
    /// Whose it was: process in the high half, thread in the low one.
    pub slowest_by: u64,
    /// The thread's name.
    pub slowest_comm: [u8; 16],
}

const _: () = assert!(
    size_of::<Exchange>() == 104,
    "no padding: user space reads the map as it lies in memory"
);

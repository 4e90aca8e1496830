//! Every map and every read-only global, with its bound and what happens at the bound.

use aya_ebpf::{
    macros::map,
    maps::{Array, CgroupArray, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tcptrace_common::{
    filter::{Filter, MAX_CGROUPS, MAX_PROCESSES},
    layout::Layout,
    loss::COUNTERS,
};

use crate::{frame, socket::State, stack::Stacks};

/// Events to user space. When it is full, the event is lost and counted.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Sockets that have been met, by address, until `tcp_v4_destroy_sock`. When it is full, a socket is not followed,
/// which is counted.
#[map]
pub static SOCKETS: HashMap<u64, State> = HashMap::with_max_entries(65_536, 0);

/// How many sockets hold bytes, by the low bits of `skc_hash`: one look tells that a socket holds none.
#[map]
pub static MARKS: Array<u64> = Array::with_max_entries(MARK_MASK + 1, 0);

/// Bits of `skc_hash` that pick the mark.
pub const MARK_MASK: u32 = 0xffff;

/// Lost events, by hook and reason; one value, because each look-up from user space keeps the kprobes of its CPU from
/// running meanwhile (`bpf_disable_instrumentation()`).
#[map]
pub static LOST: PerCpuArray<[u64; COUNTERS as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Arguments kept from a function's entry to its return (kprobe form only). The oldest makes room.
#[map]
pub static FRAMES: LruHashMap<frame::Key, frame::Arguments> = LruHashMap::with_max_entries(4096, 0);

/// The processes of a command: its own, put in by the loader, and those that descend from it, until the kernel forgets
/// them. When it is full, a child is not followed, which is counted. Without a command it has room for one.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// The cgroups whose tasks are let through, put in by the loader; those below them belong to them.
#[map]
pub static CGROUPS: CgroupArray = CgroupArray::with_max_entries(MAX_CGROUPS as u32, 0);

/// User stacks of calls, by the number that the kernel gives them. When another stack has the place of one, that one is
/// not told, and user space says so. Where no stacks are wanted it has room for one.
#[map]
pub static STACKS: Stacks = Stacks::new(4096);

/// 1 once every program is attached: what only some of them see would be told wrongly.
#[map]
pub static ENABLED: Array<u32> = Array::with_max_entries(1, 0);

/// A pair of clock readings: jiffies, nanoseconds.
#[map]
pub static CLOCK: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// Written by the loader before the load; constant to the verifier.
#[unsafe(no_mangle)]
pub static LAYOUT: Layout = Layout::EMPTY;

/// Written by the loader before the load; constant to the verifier.
#[unsafe(no_mangle)]
pub static FILTER: Filter = Filter::ALL;

/// Written by the loader before the load, constant to the verifier: 1 when the events of sockets that hold nothing are
/// wanted too. With 0, what serves only that is not even in the program that runs.
#[unsafe(no_mangle)]
pub static EVERYTHING: u32 = 0;

/// Written by the loader before the load, constant to the verifier: 1 when the user stack of a call that leaves bytes
/// waiting is wanted.
#[unsafe(no_mangle)]
pub static USER_STACKS: u32 = 0;

/// Written by the loader before the load: unread bytes at which user space is woken without waiting for its poll.
#[unsafe(no_mangle)]
pub static WAKE_BYTES: u64 = 64 << 10;

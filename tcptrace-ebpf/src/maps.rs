//! Every map and every read-only global, with its bound and what happens at the bound.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, CgroupArray, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tcptrace_common::{
    exchange::{BUCKETS, Exchange},
    filter::{Filter, MAX_CGROUPS, MAX_PROCESSES},
    layout::Layout,
    loss::COUNTERS,
};

use crate::{
    frame,
    probe::{Pages, Try},
    request::Pending,
    socket::State,
    sockopt::Call,
    stack::Stacks,
};

/// Events to user space. When it is full, the event is lost and counted.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Sockets that have been met, by address, until `tcp_v4_destroy_sock`. When it is full, a socket is not followed,
/// which is counted. The loader says how many there may be, and lets the kernel take memory for each as it comes, where that
/// may be asked for at any time.
#[map]
pub static SOCKETS: HashMap<u64, State> = HashMap::with_max_entries(65_536, 0);

/// How many sockets hold bytes, by the low bits of `skc_hash`: one look tells that a socket holds none.
/// A variable, and no array by its declaration: its address stands in the instructions.
#[unsafe(no_mangle)]
pub static mut MARKS: [u64; MARK_MASK as usize + 1] = [0; MARK_MASK as usize + 1];

/// What is counted of every exchange that the filter lets through, by the low bits of `skc_hash`. Two connections that
/// share a bucket take turns, which is counted. Where nothing is counted it has one.
#[map]
pub static EXCHANGES: Array<Exchange> = Array::with_max_entries(BUCKETS, BPF_F_MMAPABLE);

/// How many sockets hold bytes: with none, nobody asks what the other ends do.
#[unsafe(no_mangle)]
pub static mut HELD: u64 = 0;

/// Bits of `skc_hash` that pick the mark.
pub const MARK_MASK: u32 = 0xffff;

/// Lost events, by hook and reason; one value, because each look-up from user space keeps the kprobes of its CPU from
/// running meanwhile (`bpf_disable_instrumentation()`).
#[map]
pub static LOST: PerCpuArray<[u64; COUNTERS as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Arguments kept from a function's entry to its return (kprobe form only). The oldest makes room.
#[map]
pub static FRAMES: LruHashMap<frame::Key, frame::Arguments> = LruHashMap::with_max_entries(4096, 0);

/// The pages that a thread is giving by one call, by thread. The oldest makes room: a call that is forgotten counts as
/// large as what it gives from then on.
#[map]
pub static PAGES: LruHashMap<u32, Pages> = LruHashMap::with_max_entries(1024, 0);

/// The processes of a command: its own, put in by the loader, and those that descend from it, until the kernel forgets
/// them. When it is full, a child is not followed, which is counted. Without a command it has room for one.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// The cgroups whose tasks are let through, put in by the loader; those below them belong to them.
#[map]
pub static CGROUPS: CgroupArray = CgroupArray::with_max_entries(MAX_CGROUPS as u32, 0);

/// Minisocks of sockets that were met, by address, with their ports: another one may have the address since. The oldest
/// makes room. Where what closes is not wanted it has room for one.
#[map]
pub static MINISOCKS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(16_384, 0);

/// SYNs that `tcp_try_fastopen()` deals with, by the address of their request. The oldest makes room: each is taken back
/// before the processor does anything else. Where Fast Open is not wanted it has room for one.
#[map]
pub static TRIES: LruHashMap<u64, Try> = LruHashMap::with_max_entries(1024, 0);

/// Requests of listeners with `TCP_DEFER_ACCEPT`, by address, until they are sockets or dropped. When it is full, a connection
/// is not followed, which is counted. Where they are not wanted it has room for one; else as [`SOCKETS`].
#[map]
pub static REQUESTS: HashMap<u64, Pending> = HashMap::with_max_entries(65_536, 0);

/// System calls that set an option, by thread. The oldest makes room: each is taken back before the thread does anything
/// else. Where options are not wanted it has room for one.
#[map]
pub static CALLS: LruHashMap<u32, Call> = LruHashMap::with_max_entries(4096, 0);

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

/// Written by the loader before the load, constant to the verifier: 1 when what happens to sockets that are closing is
/// wanted.
#[unsafe(no_mangle)]
pub static CLOSING: u32 = 0;

/// Written by the loader before the load, constant to the verifier: 1 when what Fast Open does is wanted.
#[unsafe(no_mangle)]
pub static OPENING: u32 = 0;

/// Written by the loader before the load, constant to the verifier: 1 when what `TCP_DEFER_ACCEPT` does is wanted.
#[unsafe(no_mangle)]
pub static DEFERRING: u32 = 0;

/// Written by the loader before the load, constant to the verifier: 1 where the tracepoint `tcp_retransmit_skb` tells an error.
#[unsafe(no_mangle)]
pub static RETRANSMIT_TELLS_ERR: u32 = 0;

/// Written by the loader before the load, constant to the verifier: 1 where a tracing program may read the kernel's memory
/// by an address, which lockdown forbids.
#[unsafe(no_mangle)]
pub static KERNEL_READS: u32 = 0;

/// Written by the loader before the load, constant to the verifier: 1 when exchanges are counted on which no byte waits.
#[unsafe(no_mangle)]
pub static COUNTING: u32 = 0;

/// Written by the loader before the load, constant to the verifier: 1 when the user stack of a call that leaves bytes
/// waiting is wanted.
#[unsafe(no_mangle)]
pub static USER_STACKS: u32 = 0;

/// Written by the loader before the load: unread bytes, a power of two, at which user space is woken without waiting for its poll.
#[unsafe(no_mangle)]
pub static WAKE_BYTES: u64 = 64 << 10;

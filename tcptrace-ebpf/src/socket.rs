//! What the programs remember of a socket: that it was met, and whether it holds bytes.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_comm, generated::bpf_get_current_pid_tgid},
};
use tcptrace_common::{field::Field, filter::MAX_PORTS, hook::Hook, loss::Loss, tcp::TCP_CLOSE};

use crate::{
    emit,
    maps::{ENABLED, EVERYTHING, FILTER, MARK_MASK, MARKS, SOCKETS},
    read::Reader,
};

/// State of one socket that has been met.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct State {
    /// 1 while written bytes wait.
    pub holds: u32,
    /// The mark that was raised for it: its `skc_hash` may change when it closes.
    pub bucket: u32,
    /// Local and remote port: when they change, the socket has become another connection.
    pub ports: u32,
    /// Keeps the size a multiple of the alignment.
    pub pad: u32,
}

/// Bytes (and a FIN) that were written and not sent yet.
#[inline(always)]
pub fn waiting<R: Reader>(reader: &R) -> u32 {
    (reader.value(Field::write_seq) as u32).wrapping_sub(reader.value(Field::snd_nxt) as u32)
}

/// The state of a socket that holds bytes; `None`, after one look at the mark, for nearly every other.
#[inline(always)]
pub fn held<R: Reader>(reader: &R) -> Option<*mut State> {
    let bucket = bucket(reader);
    if *MARKS.get(bucket)? == 0 {
        return None;
    }
    let state = SOCKETS.get_ptr_mut(&reader.sk())?;
    // SAFETY: the map's value lives as long as the program runs.
    if unsafe { (*state).holds } == 1 { Some(state) } else { None }
}

/// Whether the events of sockets that hold nothing are wanted too.
#[inline(always)]
pub fn everything() -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    unsafe { core::ptr::read_volatile(&raw const EVERYTHING) != 0 }
}

/// Who is at work when a hook runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AtWork {
    /// The task that uses the socket.
    User,
    /// Anybody: softirq, a work queue, whoever releases the lock.
    Anybody,
}

/// The state of a socket whose event is wanted: it holds bytes or, with [`EVERYTHING`], the filter lets it through.
#[inline(always)]
pub fn wanted<R: Reader>(hook: Hook, reader: &R, at_work: AtWork) -> Option<*mut State> {
    if !everything() {
        return held(reader);
    }
    if !port_passes(reader) {
        return None;
    }
    if met(reader).is_none() {
        let passes = match at_work {
            AtWork::User => pid_passes(),
            // A timer or a queue can still come after `tcp_v4_destroy_sock`: met then, it would never be forgotten.
            AtWork::Anybody => !tasks_matter() && state(reader) != TCP_CLOSE,
        };
        if !passes {
            return None;
        }
    }
    meet(hook, reader)
}

/// `TCP_ESTABLISHED` and the like.
#[inline(always)]
pub fn state<R: Reader>(reader: &R) -> u32 {
    reader.value(Field::skc_state) as u32
}

/// The state of a socket that was met, whether it holds bytes or not.
#[inline(always)]
pub fn met<R: Reader>(reader: &R) -> Option<*mut State> {
    SOCKETS.get_ptr_mut(&reader.sk())
}

/// The socket's state; a socket met for the first time, or as another connection, is announced with a record.
#[inline(always)]
pub fn meet<R: Reader>(hook: Hook, reader: &R) -> Option<*mut State> {
    if ENABLED.get(0).copied() != Some(1) {
        return None;
    }
    let ports =
        (reader.value(Field::inet_sport) as u32) << 16 | reader.value(Field::skc_dport) as u32;
    if let Some(state) = met(reader) {
        // SAFETY: the map's value lives as long as the program runs.
        let before = unsafe { (*state).ports };
        if before == ports {
            return Some(state);
        }
        let_go(state);
        if before & 0xffff != 0 {
            emit::emit::<R, { Hook::socket_reused.slots() }>(Hook::socket_reused, reader, [0; 4]);
        }
        // SAFETY: as above.
        unsafe { (*state).ports = ports };
    } else {
        let fresh = State { holds: 0, bucket: 0, ports, pad: 0 };
        if SOCKETS.insert(&reader.sk(), &fresh, u64::from(BPF_NOEXIST)).is_err() {
            // Options are set without the lock: another task may have met it at this very moment.
            let state = met(reader);
            if state.is_none() {
                emit::lost(hook, Loss::TableFull);
            }
            return state;
        }
    }
    let comm = bpf_get_current_comm().unwrap_or([0; 16]);
    let word = |i: usize| u32::from_ne_bytes([comm[i], comm[i + 1], comm[i + 2], comm[i + 3]]);
    let values = [word(0), word(4), word(8), word(12)];
    let announced = emit::emit::<R, { Hook::socket.slots() }>(Hook::socket, reader, values);
    let state = met(reader)?;
    if !announced {
        // No such ports: it is announced again when it is met next.
        // SAFETY: as above.
        unsafe { (*state).ports = 0 };
    }
    Some(state)
}

/// Notes that the socket holds bytes.
#[inline(always)]
pub fn hold<R: Reader>(state: *mut State, reader: &R) {
    let bucket = bucket(reader);
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe {
        if (*state).holds == 1 {
            return;
        }
        (*state).holds = 1;
        (*state).bucket = bucket;
    }
    if let Some(mark) = MARKS.get_ptr_mut(bucket) {
        // SAFETY: an aligned 64-bit value of the map.
        unsafe { add(mark, 1) };
    }
}

/// Notes that the socket holds nothing any more.
#[inline(always)]
pub fn let_go(state: *mut State) {
    // SAFETY: the map's value; the socket lock keeps others from it.
    let bucket = unsafe {
        if (*state).holds == 0 {
            return;
        }
        (*state).holds = 0;
        (*state).bucket
    };
    if let Some(mark) = MARKS.get_ptr_mut(bucket) {
        // SAFETY: an aligned 64-bit value of the map.
        unsafe { add(mark, u64::MAX) };
    }
}

/// Adds atomically. The BPF target of Rust has no read-modify-write operations, the processor does.
///
/// # Safety
/// `at` is an aligned value of a map.
#[inline(always)]
unsafe fn add(at: *mut u64, n: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({at} + 0) += {n}", at = in(reg) at, n = in(reg) n) };
}

#[inline(always)]
fn bucket<R: Reader>(reader: &R) -> u32 {
    reader.value(Field::skc_hash) as u32 & MARK_MASK
}

/// Whether one of the socket's ports is asked for.
#[inline(always)]
pub fn port_passes<R: Reader>(reader: &R) -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    let used = unsafe { core::ptr::read_volatile(&raw const FILTER.ports_len) };
    if used == 0 {
        return true;
    }
    // The local port is 0 in the state CLOSE; `inet_sport` outlives it.
    let local = u16::from_be(reader.value(Field::inet_sport) as u16);
    let remote = u16::from_be(reader.value(Field::skc_dport) as u16);
    let mut i = 0;
    while i < MAX_PORTS {
        if i as u32 >= used {
            return false;
        }
        let row = (&raw const FILTER.ports).cast::<(u16, u16)>().wrapping_add(i);
        // SAFETY: as above, and `i` is below the length of the table.
        let (first, last) = unsafe {
            (
                core::ptr::read_volatile(&raw const (*row).0),
                core::ptr::read_volatile(&raw const (*row).1),
            )
        };
        if (first <= local && local <= last) || (first <= remote && remote <= last) {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether the process at work is asked for.
#[inline(always)]
pub fn pid_passes() -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    let pid = unsafe { core::ptr::read_volatile(&raw const FILTER.pid) };
    // SAFETY: the helper has no argument.
    pid == 0 || pid == (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// Whether some processes are asked for, and others not.
#[inline(always)]
fn tasks_matter() -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    unsafe { core::ptr::read_volatile(&raw const FILTER.pid) != 0 }
}

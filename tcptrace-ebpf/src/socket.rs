//! What the programs remember of a socket: that it was met, and whether it holds bytes.

use core::{arch::asm, ptr};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_get_current_comm,
        generated::{self, bpf_get_current_pid_tgid},
    },
};
use tcptrace_common::{
    field::Field,
    filter::{MAX_CGROUPS, MAX_COMMS, MAX_NETNS, MAX_PORTS, MAX_SIDES, Side},
    hook::Hook,
    loss::Loss,
    tcp::{AF_INET, TCP_CLOSE},
};

use crate::{
    emit,
    maps::{CGROUPS, ENABLED, EVERYTHING, FILTER, MARK_MASK, MARKS, PROCESSES, SOCKETS},
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
    /// 1 while a write sleeps in its call: until it ends, the socket counts as one that holds bytes.
    pub asleep: u32,
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
    unsafe { ptr::read_volatile(&raw const EVERYTHING) != 0 }
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
    if !passes(reader) {
        return None;
    }
    if met(reader).is_none() && !task_admits(reader, at_work) {
        return None;
    }
    meet(hook, reader)
}

/// Whether the filter lets an event of a socket through that happens rarely enough to be told of every socket.
#[inline(always)]
pub fn admits<R: Reader>(reader: &R, at_work: AtWork) -> bool {
    passes(reader) && (met(reader).is_some() || task_admits(reader, at_work))
}

/// Whether the filter lets a socket through that has not been met, for who is at work on it.
#[inline(always)]
fn task_admits<R: Reader>(reader: &R, at_work: AtWork) -> bool {
    match at_work {
        AtWork::User => task_passes(),
        // A timer or a queue can still come after `tcp_v4_destroy_sock`: met then, it would never be forgotten.
        AtWork::Anybody => !tasks_matter() && state(reader) != TCP_CLOSE,
    }
}

/// Whether the socket counts as one that holds bytes.
#[inline(always)]
pub fn is_holding(state: *mut State) -> bool {
    // SAFETY: the map's value lives as long as the program runs.
    unsafe { (*state).holds == 1 }
}

/// A write is about to sleep in its call: what it has still to give waits.
#[inline(always)]
pub fn fall_asleep<R: Reader>(state: *mut State, reader: &R) {
    hold(state, reader);
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe { (*state).asleep = 1 };
}

/// A write call has ended: with nothing left to send, the socket holds nothing any more.
#[inline(always)]
pub fn let_go_if_idle<R: Reader>(state: *mut State, reader: &R) {
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe { (*state).asleep = 0 };
    if waiting(reader) == 0 {
        let_go(state);
    }
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
        forget(state);
        if before & 0xffff != 0 {
            emit::emit::<R, { Hook::socket_reused.slots() }>(Hook::socket_reused, reader, [0; 4]);
        }
        // SAFETY: as above.
        unsafe { (*state).ports = ports };
    } else {
        let fresh = State { holds: 0, bucket: 0, ports, asleep: 0 };
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
        if (*state).holds == 0 || (*state).asleep == 1 {
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

/// The connection is gone, and whoever slept for it.
#[inline(always)]
pub fn forget(state: *mut State) {
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe { (*state).asleep = 0 };
    let_go(state);
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

/// Whether the socket itself is asked for, by its ports, its ends, its family and its network namespace.
#[inline(always)]
pub fn passes<R: Reader>(reader: &R) -> bool {
    port_passes(reader)
        && family_passes(reader)
        && netns_passes(reader)
        && end_passes(reader, &raw const FILTER.local_len, &raw const FILTER.local, &LOCAL)
        && end_passes(reader, &raw const FILTER.remote_len, &raw const FILTER.remote, &REMOTE)
}

/// A number of the filter: the loader may have written it; volatile keeps the compiler from using the value it sees.
///
/// # Safety
/// `at` is aligned and lies within the filter.
#[inline(always)]
unsafe fn told<T: Copy>(at: *const T) -> T {
    // SAFETY: the caller's promise.
    unsafe { ptr::read_volatile(at) }
}

/// Whether one of the socket's ports is asked for.
#[inline(always)]
fn port_passes<R: Reader>(reader: &R) -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(&raw const FILTER.ports_len) };
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
        // SAFETY: `i` is below the length of the table.
        let (first, last) = unsafe { (told(&raw const (*row).0), told(&raw const (*row).1)) };
        if (first <= local && local <= last) || (first <= remote && remote <= last) {
            return true;
        }
        i += 1;
    }
    false
}

/// Where one end of a connection is read from.
struct End {
    port: Field,
    v4: Field,
    v6: Field,
}

const LOCAL: End =
    End { port: Field::inet_sport, v4: Field::skc_rcv_saddr, v6: Field::skc_v6_rcv_saddr };
const REMOTE: End = End { port: Field::skc_dport, v4: Field::skc_daddr, v6: Field::skc_v6_daddr };

/// The first 96 bits of an IPv6 address that stands for an IPv4 one, without those that are 0 in any case.
const MAPPED: u64 = 0xffff;

/// An end's address in host byte order, high half first; IPv4 as the IPv6 address that stands for it.
#[inline(always)]
fn address<R: Reader>(reader: &R, end: &End) -> [u64; 2] {
    if reader.value(Field::skc_family) as u32 == AF_INET {
        return [0, MAPPED << 32 | u64::from(u32::from_be(reader.value(end.v4) as u32))];
    }
    let [high, low] = reader.wide_value(end.v6);
    [u64::from_be(high), u64::from_be(low)]
}

#[inline(always)]
fn is_mapped([high, low]: [u64; 2]) -> bool {
    high == 0 && low >> 32 == MAPPED
}

/// Whether the family is asked for; what an IPv6 socket with IPv4-mapped ends speaks is IPv4.
#[inline(always)]
fn family_passes<R: Reader>(reader: &R) -> bool {
    // SAFETY: a number of the filter.
    let wanted = unsafe { told(&raw const FILTER.family) };
    if wanted == 0 {
        return true;
    }
    // A connected socket has two ends of one family; one that listens has only its own.
    let is_v4 = is_mapped(address(reader, &REMOTE)) || is_mapped(address(reader, &LOCAL));
    is_v4 == (wanted == AF_INET)
}

/// Whether the socket's network namespace is asked for.
#[inline(always)]
fn netns_passes<R: Reader>(reader: &R) -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(&raw const FILTER.netns_len) };
    if used == 0 {
        return true;
    }
    let own = reader.followed_value(Field::netns);
    let mut i = 0;
    while i < MAX_NETNS {
        if i as u32 >= used {
            return false;
        }
        let row = (&raw const FILTER.netns).cast::<u32>().wrapping_add(i);
        // SAFETY: `i` is below the length of the table.
        if unsafe { told(row) } == own {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether this end is asked for.
#[inline(always)]
fn end_passes<R: Reader>(
    reader: &R,
    used: *const u32,
    rows: *const [Side; MAX_SIDES],
    end: &End,
) -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(used) };
    if used == 0 {
        return true;
    }
    let found = address(reader, end);
    let port = u16::from_be(reader.value(end.port) as u16);
    let mut i = 0;
    while i < MAX_SIDES {
        if i as u32 >= used {
            return false;
        }
        let row = rows.cast::<Side>().wrapping_add(i);
        // SAFETY: `i` is below the length of the table.
        let (net, mask, wanted, v6) = unsafe {
            let (net, mask) = (&raw const (*row).net, &raw const (*row).mask);
            let (net, mask) = (net.cast::<u64>(), mask.cast::<u64>());
            (
                [told(net), told(net.wrapping_add(1))],
                [told(mask), told(mask.wrapping_add(1))],
                told(&raw const (*row).port),
                told(&raw const (*row).v6),
            )
        };
        let differs = (found[0] ^ net[0]) & mask[0] | (found[1] ^ net[1]) & mask[1];
        let family = v6 == 0 || !is_mapped(found);
        if differs == 0 && (wanted == 0 || wanted == port) && family {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether some tasks are asked for, and others not.
#[inline(always)]
fn tasks_matter() -> bool {
    // SAFETY: numbers of the filter.
    let (pid, tree, comms, cgroups) = unsafe {
        (
            told(&raw const FILTER.pid),
            told(&raw const FILTER.tree),
            told(&raw const FILTER.comms_len),
            told(&raw const FILTER.cgroups_len),
        )
    };
    pid != 0 || tree != 0 || comms != 0 || cgroups != 0
}

/// Whether the task at work is asked for, by its process, its name, its descent and its cgroup.
#[inline(always)]
pub fn task_passes() -> bool {
    // SAFETY: numbers of the filter.
    let (pid, tree) = unsafe { (told(&raw const FILTER.pid), told(&raw const FILTER.tree)) };
    if pid == 0 && tree == 0 {
        return comm_passes() && cgroup_passes();
    }
    // SAFETY: the helper has no argument.
    let own = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    // SAFETY: the value is not looked at.
    (pid == 0 || pid == own)
        && (tree == 0 || unsafe { PROCESSES.get(&own) }.is_some())
        && comm_passes()
        && cgroup_passes()
}

/// Whether the task at work is in one of the cgroups, or below. Under cgroup v1 alone there are none to be asked for.
#[inline(always)]
fn cgroup_passes() -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(&raw const FILTER.cgroups_len) };
    if used == 0 {
        return true;
    }
    let mut i = 0;
    while i < MAX_CGROUPS as u32 {
        if i >= used {
            return false;
        }
        if CGROUPS.current_task_under_cgroup(i) == Ok(true) {
            return true;
        }
        i += 1;
    }
    false
}

#[inline(always)]
fn comm_passes() -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(&raw const FILTER.comms_len) };
    if used == 0 {
        return true;
    }
    let mut own = [0u64; 2];
    // SAFETY: the helper fills 16 bytes, with zeros after the name.
    unsafe { generated::bpf_get_current_comm((&raw mut own).cast(), size_of_val(&own) as u32) };
    let mut i = 0;
    while i < MAX_COMMS {
        if i as u32 >= used {
            return false;
        }
        let row = (&raw const FILTER.comms).cast::<[u64; 2]>().wrapping_add(i).cast::<u64>();
        // SAFETY: `i` is below the length of the table.
        let wanted = unsafe { [told(row), told(row.wrapping_add(1))] };
        if own[0] == wanted[0] && own[1] == wanted[1] {
            return true;
        }
        i += 1;
    }
    false
}

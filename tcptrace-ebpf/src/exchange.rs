//! What is counted of exchanges on which no byte waits: no event comes of it.

use core::ptr;

use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns,
};
use tcptrace_common::{
    exchange::{BUCKETS, Exchange, FROM_BIRTH, FROM_START},
    field::Field,
    tcp::{TCP_NAGLE_PUSH, TCP_SYN_RECV, TCP_SYN_SENT},
};

use crate::{
    filter,
    maps::{COUNTING, ENABLED, EXCHANGES},
    read::{Glance, Reader, Words},
    socket,
};

/// What a count by a glance has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Glanced {
    /// It is counted, or nothing is.
    Done,
    /// The whole socket must be looked at.
    Look,
    /// The filter does not let the socket's ports through: nobody wants anything of it.
    Foreign,
}

/// Whether a socket whose ports the filter does not let through is turned away by the count already.
#[inline(always)]
pub fn tells_foreign() -> bool {
    is_counted() && filter::only_ports()
}

/// Whether exchanges are counted.
#[inline(always)]
fn is_counted() -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    unsafe { ptr::read_volatile(&raw const COUNTING) != 0 }
}

/// The bucket, whoever uses it.
#[inline(always)]
fn bucket<W: Words>(sk: &W) -> Option<*mut Exchange> {
    EXCHANGES.get_ptr_mut(sk.word(Field::skc_hash) & (BUCKETS - 1))
}

/// Whether the connection with these ports uses the bucket.
///
/// # Safety
/// `at` is a value of the map.
#[inline(always)]
unsafe fn is_own<W: Words>(at: *const Exchange, sk: &W, ports: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe { (*at).ports == ports && (*at).hash == sk.word(Field::skc_hash) }
}

/// The bucket of the connection at hand, when it uses it already.
#[inline(always)]
fn known<R: Reader>(reader: &R) -> Option<*mut Exchange> {
    let at = bucket(reader)?;
    // SAFETY: a value of the map.
    if unsafe { is_own(at, reader, socket::ports(reader)) } { Some(at) } else { None }
}

/// The bucket of the connection at hand, which uses it from here on, once every program is attached.
#[inline(always)]
fn own<R: Reader>(reader: &R) -> Option<*mut Exchange> {
    let at = bucket(reader)?;
    let ports = socket::ports(reader);
    // SAFETY: a value of the map; the socket lock keeps others that use the same connection from it.
    unsafe {
        if !is_own(at, reader, ports) {
            if ENABLED.get(0).copied() != Some(1) {
                return None;
            }
            if (*at).ports != 0 {
                (*at).crowded += 1;
            }
            begin(at);
            (*at).hash = reader.word(Field::skc_hash);
            (*at).ports = ports;
            // Of the SYN the kernel counts one byte, at the end that sent it.
            let fresh =
                reader.value(Field::bytes_received) == 0 && reader.value(Field::bytes_acked) <= 1;
            (*at).from_start = if fresh { FROM_START } else { 0 };
        }
    }
    Some(at)
}

/// Forgets the connection that uses the bucket, and not what all of them come to.
///
/// # Safety
/// `at` is a value of the map.
#[inline(always)]
unsafe fn begin(at: *mut Exchange) {
    // SAFETY: the caller's promise.
    unsafe {
        (*at).ports = 0;
        (*at).arrived_ns = 0;
        (*at).last_arrived_ns = 0;
        (*at).writer = 0;
        (*at).turn = 0;
        (*at).part = 0;
        (*at).begun = 0;
    }
}

/// Whether the segment carries data: then the program has something to answer.
#[inline(always)]
fn has_data<W: Words>(sk: &W) -> bool {
    sk.word(Field::seq) != sk.word(Field::end_seq)
}

/// Notes when data came in.
///
/// # Safety
/// `at` is a value of the map.
#[inline(always)]
unsafe fn note_arrival(at: *mut Exchange) {
    // SAFETY: the caller's promise, and a helper without arguments.
    unsafe {
        let now = bpf_ktime_get_ns();
        (*at).arrived_ns = now;
        (*at).last_arrived_ns = now;
    }
}

/// A segment came in for a connection that is counted already, and the filter asks for nothing but ports; [`came`] looks
/// where that is not so.
#[inline(always)]
pub fn came_again<A>(sk: Glance, _arg: A) -> Glanced {
    if !is_counted() {
        return Glanced::Done;
    }
    if !filter::only_ports() {
        return Glanced::Look;
    }
    if !filter::ports_may_pass(sk) {
        return Glanced::Foreign;
    }
    if !has_data(&sk) {
        return Glanced::Done;
    }
    let Some(at) = bucket(&sk) else { return Glanced::Done };
    // SAFETY: a value of the map.
    unsafe {
        if !is_own(at, &sk, socket::by_pair(sk.word(Field::skc_portpair))) {
            return Glanced::Look;
        }
        note_arrival(at);
    }
    Glanced::Done
}

/// A segment came in for a connection.
#[inline(always)]
pub fn came<R: Reader, A>(reader: &R, _arg: A) {
    if !is_counted() || !has_data(reader) || !filter::passes(reader) {
        return;
    }
    if let Some(at) = own(reader) {
        // SAFETY: a value of the map.
        unsafe { note_arrival(at) };
    }
}

/// A segment came in for a connection that is not established, or not any more; [`born`] looks where it is of the handshake.
#[inline(always)]
pub fn may_be_born<A>(sk: Glance, _arg: A) -> Glanced {
    let looks = is_counted()
        && is_in_handshake(&sk)
        && (!filter::only_ports() || filter::ports_may_pass(sk));
    if looks { Glanced::Look } else { Glanced::Done }
}

/// A segment of its handshake came in for a connection: on one that has written nothing yet, all that waits later was seen
/// written, unless tasks may write that nobody asked for.
#[inline(always)]
pub fn born<R: Reader, A>(reader: &R, _arg: A) {
    let asked = is_counted() && !filter::tasks_matter();
    if !asked || !is_in_handshake(reader) || !filter::passes(reader) {
        return;
    }
    // The SYN has a number too. A write that opens the connection itself (Fast Open) stands behind it.
    let written = reader.word(Field::write_seq).wrapping_sub(reader.value(Field::snd_una) as u32);
    if written != 1 {
        return;
    }
    if let Some(at) = own(reader) {
        // SAFETY: a value of the map.
        unsafe { (*at).from_start = FROM_BIRTH };
    }
}

#[inline(always)]
fn is_in_handshake<W: Words>(sk: &W) -> bool {
    matches!(sk.state(), TCP_SYN_SENT | TCP_SYN_RECV)
}

/// Whether who wrote is the one that answers: who listens has the lower port, as a rule. The other end's time between an
/// answer and its next request is none of a reply.
///
/// # Safety
/// `at` is a value of the map.
#[inline(always)]
unsafe fn answers(at: *const Exchange) -> bool {
    // SAFETY: the caller's promise.
    let ports = unsafe { (*at).ports };
    u16::from_be((ports >> 16) as u16) <= u16::from_be(ports as u16)
}

/// Whether the write goes on behind the push that has these arguments: `tcp_push()` is told to send whatever the options say,
/// and nothing else, only by a write that is about to wait for buffer space (`wait_for_space` of `tcp_sendmsg_locked()`). The
/// bit stands alone nowhere else: an option that sets it in the socket sets `TCP_NAGLE_OFF` as well.
#[inline(always)]
fn goes_on(arg: impl Fn(usize) -> u32) -> bool {
    arg(3) == TCP_NAGLE_PUSH
}

/// A write has pushed, on a connection that is counted already, not its first, no reply that took longer than all before,
/// and the filter asks for nothing but ports; [`wrote`] looks where that is not so.
#[inline(always)]
pub fn wrote_again(sk: Glance, arg: impl Fn(usize) -> u32) -> Glanced {
    if !is_counted() {
        return Glanced::Done;
    }
    if !filter::only_ports() {
        return Glanced::Look;
    }
    if !filter::ports_may_pass(sk) {
        return Glanced::Foreign;
    }
    let Some(at) = bucket(&sk) else { return Glanced::Done };
    // SAFETY: a value of the map, and a helper without arguments.
    unsafe {
        if !is_own(at, &sk, socket::by_pair(sk.word(Field::skc_portpair))) || (*at).turn == 0 {
            return Glanced::Look;
        }
        if (*at).begun != 0 {
            (*at).begun = u32::from(goes_on(arg));
            return Glanced::Done;
        }
        let arrived = (*at).arrived_ns;
        if arrived != 0 {
            if answers(at) && bpf_ktime_get_ns().wrapping_sub(arrived) > (*at).slowest_ns {
                return Glanced::Look;
            }
            (*at).turn += 1;
            (*at).part = 0;
            (*at).arrived_ns = 0;
        }
        if goes_on(arg) {
            (*at).begun = 1;
        }
        (*at).writes += 1;
        (*at).part += 1;
    }
    Glanced::Done
}

/// A write has pushed: all its bytes, or the first of several parts.
#[inline(always)]
pub fn wrote<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if !is_counted() || !filter::passes(reader) || !filter::task_passes() {
        return;
    }
    let Some(at) = own(reader) else { return };
    // SAFETY: a value of the map, as in `own`.
    unsafe {
        let counted = (*at).begun != 0;
        (*at).begun = u32::from(goes_on(arg));
        if counted {
            return;
        }
        (*at).writes += 1;
        let arrived = (*at).arrived_ns;
        if (*at).turn == 0 {
            (*at).sockets += 1;
            (*at).writer = bpf_get_current_pid_tgid();
        }
        if arrived != 0 || (*at).turn == 0 {
            (*at).turn += 1;
            (*at).part = 0;
            (*at).arrived_ns = 0;
        }
        (*at).part += 1;
        if arrived != 0 && answers(at) {
            thought(at, bpf_ktime_get_ns().wrapping_sub(arrived));
        }
    }
}

/// How often a write has followed data that came in on the connection at hand, how many there were since, and whether it
/// was watched from its first byte on. 0 where that was not counted.
#[inline(always)]
pub fn at_hand<R: Reader>(reader: &R) -> [u32; 3] {
    if !is_counted() {
        return [0; 3];
    }
    let Some(at) = known(reader) else { return [0; 3] };
    // SAFETY: a value of the map.
    unsafe { [(*at).turn, (*at).part, (*at).from_start] }
}

/// Keeps the longest time that a program took for its answer.
///
/// # Safety
/// `at` is a value of the map.
#[inline(always)]
unsafe fn thought(at: *mut Exchange, took_ns: u64) {
    // SAFETY: the caller's promise; the helper fills 16 bytes.
    unsafe {
        if took_ns <= (*at).slowest_ns {
            return;
        }
        (*at).slowest_ns = took_ns;
        (*at).slowest_at_ns = bpf_ktime_get_ns();
        (*at).slowest_by = bpf_get_current_pid_tgid();
        bpf_get_current_comm((&raw mut (*at).slowest_comm).cast(), 16);
    }
}

/// How long ago data came in last, microseconds, and who wrote first: process, thread. 0 where that was not seen.
#[inline(always)]
pub fn receiver<R: Reader>(reader: &R) -> (u32, u32, u32) {
    let Some(at) = known(reader) else { return (0, 0, 0) };
    // SAFETY: a value of the map, and a helper without arguments.
    unsafe {
        let (arrived, writer) = ((*at).last_arrived_ns, (*at).writer);
        let ago = if arrived == 0 { 0 } else { bpf_ktime_get_ns().wrapping_sub(arrived) / 1000 };
        (ago as u32, (writer >> 32) as u32, writer as u32)
    }
}

/// The connection is over; how often a write had followed data that came in.
#[inline(always)]
pub fn over<R: Reader>(reader: &R) -> u32 {
    let Some(at) = known(reader) else { return 0 };
    // SAFETY: a value of the map.
    unsafe {
        let turn = (*at).turn;
        begin(at);
        turn
    }
}

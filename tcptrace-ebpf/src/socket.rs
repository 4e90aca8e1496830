//! What the programs remember of a socket: that it was met, and whether it holds bytes.

use core::{arch::asm, ptr};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_comm, generated::bpf_get_current_pid_tgid},
};
use tcptrace_common::{
    field::Field,
    hook::Hook,
    loss::Loss,
    tcp::{TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_NEW_SYN_RECV, TCP_SYN_RECV, TCP_SYN_SENT},
};

use crate::{
    emit::{self, Values},
    filter::{passes, task_passes, tasks_matter, told},
    maps::{CLOSING, DEFERRING, ENABLED, EVERYTHING, HELD, MARK_MASK, MARKS, OPENING, SOCKETS},
    read::{Glance, Reader, Words},
    request::deferring,
};

/// State of one socket that has been met.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct State {
    /// 1 while written bytes wait.
    pub holds: u32,
    /// The `skc_hash` whose mark was raised for it: the socket's own may change when it closes.
    pub bucket: u32,
    /// Local and remote port: when they change, the socket has become another connection.
    pub ports: u32,
    /// 1 while a write sleeps in its call: until it ends, the socket counts as one that holds bytes.
    pub asleep: u16,
    /// 1 once a task was at work on it that is asked for.
    pub ours: u16,
    /// What has not left yet and is told when it has: [`DATA`], [`FIN`].
    pub departs: u32,
    /// `snd_nxt` when the peer's FIN came.
    pub edge: u32,
    /// The thread whose name was told last.
    pub named: u32,
    /// [`ASKS`] or [`WRITES`] while a connection is opened with Fast Open, [`WITHHOLDS`] or [`EXPECTS`] with
    /// `TCP_DEFER_ACCEPT`.
    pub opens: u32,
    /// When the device or the pacing timer let it send last while a FIN waited, nanoseconds, `CLOCK_MONOTONIC`; the lowest bit
    /// says which ([`crate::closing::Ready`]).
    pub ready_ns: u64,
}

impl State {
    /// Of a socket that was just met.
    const FRESH: Self = Self {
        holds: 0,
        bucket: 0,
        ports: 0,
        asleep: 0,
        ours: 0,
        departs: 0,
        edge: 0,
        named: 0,
        opens: 0,
        ready_ns: 0,
    };
}

/// Of [`State::opens`]: the kernel was asked whether the SYN may carry data.
const ASKS: u32 = 1;
/// Of [`State::opens`]: the SYN has left, and the write that it is for has not returned.
const WRITES: u32 = 2;
/// Of [`State::opens`]: its handshake's ACK is put off.
const WITHHOLDS: u32 = 3;
/// Of [`State::opens`]: it was promoted without data, and none has come.
const EXPECTS: u32 = 4;

/// Bytes (and a FIN) that were written and not sent yet.
#[inline(always)]
pub fn waiting<R: Reader>(reader: &R) -> u32 {
    reader.word(Field::write_seq).wrapping_sub(reader.word(Field::snd_nxt))
}

/// Whether the events of the socket may be wanted: it may hold bytes, or closes where that is asked for, or everything
/// is. All that an event costs of any other.
#[inline(always)]
pub fn may_matter<A>(sk: Glance, _arg: A) -> bool {
    let more = set(&raw const EVERYTHING) | set(&raw const CLOSING) | set(&raw const DEFERRING);
    is_marked(sk.word(Field::skc_hash))
        || (more != 0 && (everything() || is_closing(&sk) || deferring()))
}

/// What one of the programs' switches is set to.
#[inline(always)]
fn set(variable: *const u32) -> u32 {
    // SAFETY: one of the programs' own.
    unsafe { told(variable) }
}

/// As [`may_matter`], where the end of any socket's connection is wanted.
#[inline(always)]
pub fn end_may_matter<A>(sk: Glance, arg: A) -> bool {
    closings() || opens() || may_matter(sk, arg)
}

/// As [`may_matter`], where a write may belong to a SYN.
#[inline(always)]
pub fn write_may_matter<A>(sk: Glance, arg: A) -> bool {
    opens() || may_matter(sk, arg)
}

/// Where the number of sockets stands that hold bytes and have this `skc_hash`.
#[inline(always)]
fn mark(hash: u32) -> *mut u64 {
    (&raw mut MARKS).cast::<u64>().wrapping_add((hash & MARK_MASK) as usize)
}

#[inline(always)]
fn is_marked(hash: u32) -> bool {
    // SAFETY: an element of the array; volatile, because it changes at any time.
    unsafe { ptr::read_volatile(mark(hash)) != 0 }
}

/// The state of a socket that holds bytes; `None`, after one look at the mark, for nearly every other.
#[inline(always)]
pub fn held<R: Reader>(reader: &R) -> Option<*mut State> {
    if !is_marked(reader.word(Field::skc_hash)) {
        return None;
    }
    let state = SOCKETS.get_ptr_mut(&reader.sk())?;
    // SAFETY: the map's value lives as long as the program runs.
    if unsafe { (*state).holds } == 1 { Some(state) } else { None }
}

/// Whether the events of sockets that hold nothing are wanted too.
#[inline(always)]
pub fn everything() -> bool {
    set(&raw const EVERYTHING) != 0
}

/// Whether what happens to sockets that are closing is wanted.
#[inline(always)]
pub fn closings() -> bool {
    set(&raw const CLOSING) != 0
}

/// Whether what Fast Open does is wanted.
#[inline(always)]
pub fn opens() -> bool {
    set(&raw const OPENING) != 0
}

/// The states in which nobody has begun to close.
const OPEN: u32 = 1 << TCP_ESTABLISHED
    | 1 << TCP_SYN_SENT
    | 1 << TCP_SYN_RECV
    | 1 << TCP_LISTEN
    | 1 << TCP_NEW_SYN_RECV;

/// Whether the socket is closing, where that is wanted.
#[inline(always)]
pub fn is_closing<W: Words>(sk: &W) -> bool {
    closings() && OPEN >> (sk.state() & 31) & 1 == 0
}

/// The state of a socket that is closing, where that is wanted; `None`, after one look at its state, for every other.
#[inline(always)]
pub fn closing<R: Reader>(hook: Hook, reader: &R) -> Option<*mut State> {
    if is_closing(reader) { followed(hook, reader, AtWork::Anybody) } else { None }
}

/// The state of a socket that the filter lets through.
#[inline(always)]
fn followed<R: Reader>(hook: Hook, reader: &R, at_work: AtWork) -> Option<*mut State> {
    if !passes(reader) {
        return None;
    }
    let state = met(reader);
    if state.is_none() && !task_admits(reader, at_work) {
        return None;
    }
    known(hook, reader, state)
}

/// The state of a socket whose connection ends at once, in any state: rare enough to be told of every socket.
#[inline(always)]
pub fn ending<R: Reader>(hook: Hook, reader: &R) -> Option<*mut State> {
    if opens() && !closings() {
        return met(reader);
    }
    if !closings() {
        return wanted(hook, reader, AtWork::Anybody);
    }
    followed(hook, reader, AtWork::Anybody)
}

/// The state of a socket that this host resets. In the state CLOSE a task is at work on it, and its life goes on.
#[inline(always)]
pub fn resetting<R: Reader>(hook: Hook, reader: &R) -> Option<*mut State> {
    if !closings() {
        return wanted(hook, reader, AtWork::Anybody);
    }
    let at_work = if reader.state() == TCP_CLOSE { AtWork::User } else { AtWork::Anybody };
    followed(hook, reader, at_work)
}

/// The state of a socket that the task at work begins to close, and whose name is told then. One that was met before its task
/// was known, and is none of those asked for, is left.
#[inline(always)]
pub fn claimed<R: Reader>(hook: Hook, reader: &R) -> Option<*mut State> {
    let state = taken(hook, reader)?;
    let tid = current_tid();
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe {
        if (*state).named != tid {
            (*state).named = tid;
            emit::emit::<R, { Hook::task.slots() }>(Hook::task, reader, name_of_task());
        }
    }
    Some(state)
}

/// As [`claimed`], without a name.
#[inline(always)]
fn taken<R: Reader>(hook: Hook, reader: &R) -> Option<*mut State> {
    if !closings() {
        return wanted(hook, reader, AtWork::User);
    }
    if !passes(reader) {
        return None;
    }
    if !tasks_matter() || task_passes() {
        let state = meet(hook, reader)?;
        // SAFETY: the map's value; the socket lock keeps others from it.
        unsafe { (*state).ours = 1 };
        return Some(state);
    }
    let state = met(reader)?;
    // SAFETY: the map's value lives as long as the program runs.
    if unsafe { (*state).ours == 1 || (*state).holds == 1 } {
        return Some(state);
    }
    let _ = SOCKETS.remove(&reader.sk());
    emit::emit::<R, { Hook::socket_left.slots() }>(Hook::socket_left, reader, [0; 7]);
    None
}

/// Who is at work when a hook runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AtWork {
    /// The task that uses the socket.
    User,
    /// Anybody: softirq, a work queue, whoever releases the lock.
    Anybody,
}

/// The state of a socket whose event is wanted: it holds bytes, closes where that is asked for or, with [`EVERYTHING`],
/// the filter lets it through.
#[inline(always)]
pub fn wanted<R: Reader>(hook: Hook, reader: &R, at_work: AtWork) -> Option<*mut State> {
    let all = everything();
    // A timer or a queue is at work on sockets that close.
    let at_work = if all { at_work } else { AtWork::Anybody };
    if (all || is_closing(reader))
        && let Some(state) = followed(hook, reader, at_work)
    {
        return Some(state);
    }
    if deferring()
        && let Some(state) = withholding(reader)
    {
        return Some(state);
    }
    if all { None } else { held(reader) }
}

/// Whether the filter lets an event of a socket through that happens rarely enough to be told of every socket.
#[inline(always)]
pub fn admits<R: Reader>(reader: &R, at_work: AtWork) -> bool {
    passes(reader) && (met(reader).is_some() || task_admits(reader, at_work))
}

/// Whether the filter lets a SYN through that came for a socket that listens: `from` are the two ends. Of tasks it is asked
/// whether one of them has accepted on that socket.
#[inline(always)]
pub fn admits_request<L: Reader, R: Reader>(listener: &L, from: &R) -> bool {
    passes(from) && (!tasks_matter() || met(listener).is_some())
}

/// Tells who the two ends of a request are, which is no socket yet.
#[inline(always)]
pub fn announce<R: Reader>(reader: &R) -> bool {
    is_enabled() && introduce(reader)
}

/// Whether every program is attached.
#[inline(always)]
pub fn is_enabled() -> bool {
    ENABLED.get(0).copied() == Some(1)
}

/// Tells who a socket is, and the name of the task at work.
#[inline(always)]
fn introduce<R: Reader>(reader: &R) -> bool {
    emit::emit::<R, { Hook::socket.slots() }>(Hook::socket, reader, name_of_task())
}

/// The name of the task at work, as the arguments of a record.
#[inline(always)]
fn name_of_task() -> Values {
    let comm = bpf_get_current_comm().unwrap_or([0; 16]);
    let word = |i: usize| u32::from_ne_bytes([comm[i], comm[i + 1], comm[i + 2], comm[i + 3]]);
    [word(0), word(4), word(8), word(12), 0, 0, 0]
}

/// The thread at work; in softirq, whichever was interrupted.
#[inline(always)]
fn current_tid() -> u32 {
    // SAFETY: the helper has no argument.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// A SYN is to leave, and the kernel was asked whether it may carry data.
#[inline(always)]
pub fn asks(state: *mut State) {
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe { (*state).opens = ASKS };
}

/// Whether the kernel was asked for the SYN that is to leave.
#[inline(always)]
pub fn is_asking<R: Reader>(reader: &R) -> bool {
    // SAFETY: the map's value lives as long as the program runs.
    met(reader).is_some_and(|state| unsafe { (*state).opens == ASKS })
}

/// Notes that the write of a SYN has not returned yet, or that it has.
#[inline(always)]
pub fn opens_by_write(state: *mut State, yes: bool) {
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe { (*state).opens = if yes { WRITES } else { 0 } };
}

/// Whether the write of a SYN has not returned yet.
#[inline(always)]
pub fn is_opening<R: Reader>(reader: &R) -> bool {
    // SAFETY: the map's value lives as long as the program runs.
    met(reader).is_some_and(|state| unsafe { (*state).opens == WRITES })
}

/// The ACK of its handshake is put off.
#[inline(always)]
pub fn withholds(state: *mut State) {
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe { (*state).opens = WITHHOLDS };
}

/// The state of a socket whose handshake's ACK is put off.
#[inline(always)]
pub fn withholding<R: Reader>(reader: &R) -> Option<*mut State> {
    // SAFETY: the map's value lives as long as the program runs.
    met(reader).filter(|state| unsafe { (**state).opens == WITHHOLDS })
}

/// It was promoted without data, and none has come.
#[inline(always)]
pub fn expects_data(state: *mut State, yes: bool) {
    // SAFETY: the map's value; nobody else has the socket yet, or the socket lock keeps others from it.
    unsafe { (*state).opens = if yes { EXPECTS } else { 0 } };
}

/// The state of a socket that was promoted without data, while none has come.
#[inline(always)]
pub fn expecting_data<R: Reader>(reader: &R) -> Option<*mut State> {
    // SAFETY: the map's value lives as long as the program runs.
    met(reader).filter(|state| unsafe { (**state).opens == EXPECTS })
}

/// Whether the filter lets a socket through that has not been met, for who is at work on it.
#[inline(always)]
fn task_admits<R: Reader>(reader: &R, at_work: AtWork) -> bool {
    match at_work {
        AtWork::User => task_passes(),
        // A timer or a queue can still come after `tcp_v4_destroy_sock`: met then, it would never be forgotten.
        AtWork::Anybody => !tasks_matter() && reader.state() != TCP_CLOSE,
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

/// The state of a socket that was met, whether it holds bytes or not.
#[inline(always)]
pub fn met<R: Reader>(reader: &R) -> Option<*mut State> {
    SOCKETS.get_ptr_mut(&reader.sk())
}

/// The socket's state; a socket met for the first time, or as another connection, is announced with a record.
#[inline(always)]
pub fn meet<R: Reader>(hook: Hook, reader: &R) -> Option<*mut State> {
    known(hook, reader, met(reader))
}

/// As [`meet`], with what [`met`] says.
#[inline(always)]
fn known<R: Reader>(hook: Hook, reader: &R, state: Option<*mut State>) -> Option<*mut State> {
    if !is_enabled() {
        return None;
    }
    let ports = ports(reader);
    if let Some(state) = state {
        // SAFETY: the map's value lives as long as the program runs.
        let before = unsafe { (*state).ports };
        if before == ports {
            return Some(state);
        }
        forget(state);
        if before & 0xffff != 0 {
            emit::emit::<R, { Hook::socket_reused.slots() }>(Hook::socket_reused, reader, [0; 7]);
        }
        // SAFETY: as above.
        unsafe { (*state).ports = ports };
    } else {
        let fresh = State { ports, ..State::FRESH };
        if SOCKETS.insert(&reader.sk(), &fresh, u64::from(BPF_NOEXIST)).is_err() {
            // Options are set without the lock: another task may have met it at this very moment.
            let state = met(reader);
            if state.is_none() {
                emit::lost(hook, Loss::TableFull);
            }
            return state;
        }
    }
    let announced = introduce(reader);
    let state = met(reader)?;
    // SAFETY: as above.
    unsafe {
        (*state).named = current_tid();
        if !announced {
            // No such ports: it is announced again when it is met next.
            (*state).ports = 0;
        }
    }
    Some(state)
}

/// Local and remote port, network byte order.
#[inline(always)]
pub fn ports<R: Reader>(reader: &R) -> u32 {
    if R::IS_SAFE {
        let pair = reader.word(Field::skc_portpair);
        if pair >> 16 != 0 {
            return by_pair(pair);
        }
    }
    // The local port is 0 there in the state CLOSE; `inet_sport` outlives it.
    (reader.value(Field::inet_sport) as u32) << 16 | reader.value(Field::skc_dport) as u32
}

/// The same from `skc_portpair`, whose local port is in host byte order.
#[inline(always)]
pub fn by_pair(pair: u32) -> u32 {
    u32::from(((pair >> 16) as u16).to_be()) << 16 | pair & 0xffff
}

/// Notes that the socket holds bytes.
#[inline(always)]
pub fn hold<R: Reader>(state: *mut State, reader: &R) {
    let bucket = reader.word(Field::skc_hash);
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe {
        if (*state).holds == 1 {
            return;
        }
        (*state).holds = 1;
        (*state).ours = 1;
        (*state).bucket = bucket;
    }
    count(bucket, 1);
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
    count(bucket, u64::MAX);
}

/// Counts the socket in, or out, among those that hold bytes.
#[inline(always)]
fn count(bucket: u32, n: u64) {
    // SAFETY: aligned 64-bit variables.
    unsafe {
        add(mark(bucket), n);
        add(&raw mut HELD, n);
    }
}

/// Whether any socket holds bytes.
#[inline(always)]
pub fn some_hold() -> bool {
    // SAFETY: a variable; volatile, because it changes at any time.
    unsafe { ptr::read_volatile(&raw const HELD) != 0 }
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

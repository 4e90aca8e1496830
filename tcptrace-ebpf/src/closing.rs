//! What a closing socket has sent, without a program on the path of data: the programs of its rarer events look whether
//! something has left since the event before, and when.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{TCP_ESTABLISHED, TCP_SYN_RECV},
};

use crate::{
    emit::{self, Values},
    read::{self, Reader},
    socket::{self, State},
};

/// Of [`State::departs`]: no data has left since the peer's FIN came.
const DATA: u32 = 1;
/// Of [`State::departs`]: a FIN was queued and has not left.
const FIN: u32 = 2;

/// What lets a socket send that no segment, timer or call does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The device has sent enough (TCP small queues).
    Device = 0,
    /// The timer of TCP's own pacing.
    PacingTimer = 1,
}

/// `tcp_pace_kick()` leads to `tcp_tsq_write()`, at once or when the socket's owner lets go: so soon after it, the latter is its
/// doing. Nanoseconds.
const KICKED_NS: u64 = 1_000_000;

/// The peer's FIN came: the first data that leaves after it is told.
#[inline(always)]
pub fn fin_came<R: Reader>(state: *mut State, reader: &R) {
    if socket::closings() && matches!(reader.state(), TCP_ESTABLISHED | TCP_SYN_RECV) {
        // SAFETY: the map's value; the socket lock keeps others from it.
        unsafe {
            (*state).departs = DATA;
            (*state).edge = reader.word(Field::snd_nxt);
        }
    }
}

/// A FIN is about to be queued: when it leaves is told.
#[inline(always)]
pub fn fin_comes(state: *mut State) {
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe {
        (*state).departs |= FIN;
        (*state).ready_ns = 0;
    }
}

/// The device, or the pacing timer, lets a socket send whose FIN waits: it is told with the FIN's departure.
#[inline(always)]
pub fn may_send_again<R: Reader>(reader: &R, by: Ready) {
    if !socket::closings() {
        return;
    }
    let Some(state) = socket::met(reader).filter(|state| is_fin_coming(*state)) else { return };
    // SAFETY: the map's value, of which each CPU writes a whole word; a helper without arguments.
    unsafe {
        let (now, before) = (bpf_ktime_get_ns(), (*state).ready_ns);
        let kicked =
            before & 1 == Ready::PacingTimer as u64 && now.wrapping_sub(before) < KICKED_NS;
        if by == Ready::PacingTimer || !kicked {
            (*state).ready_ns = now & !1 | by as u64;
        }
    }
}

/// Whether a FIN has been queued that has not left, for all that was told.
#[inline(always)]
pub fn is_fin_coming(state: *mut State) -> bool {
    // SAFETY: the map's value lives as long as the program runs.
    unsafe { (*state).departs & FIN != 0 }
}

/// Tells, once of each, that data after the peer's FIN, or a FIN that was held, has left since the event before.
#[inline(always)]
pub fn tell_departure<R: Reader>(state: *mut State, reader: &R) {
    // SAFETY: the map's value lives as long as the program runs.
    let (departs, edge) = unsafe { ((*state).departs, (*state).edge) };
    if !socket::closings() || departs == 0 {
        return;
    }
    let next = reader.word(Field::snd_nxt);
    let data = departs & DATA != 0 && next != edge;
    let fin = departs & FIN != 0 && next == reader.word(Field::write_seq);
    if !data && !fin {
        return;
    }
    // SAFETY: as above; the socket lock keeps others from it.
    unsafe { (*state).departs = if fin { 0 } else { departs & !DATA } };
    // SAFETY: as above.
    let ready_ns = unsafe { (*state).ready_ns };
    let [seq, end_seq, low, high, ..] = last(reader);
    let values = [seq, end_seq, low, high, ready_ns as u32, (ready_ns >> 32) as u32, 0];
    emit::emit::<R, { Hook::departure.slots() }>(Hook::departure, reader, values);
}

/// Tells whether the FIN that has just been queued has left.
#[inline(always)]
pub fn tell_fin<R: Reader>(state: *mut State, reader: &R) {
    // SAFETY: the map's value; the socket lock keeps others from it.
    unsafe {
        if reader.word(Field::snd_nxt) == reader.word(Field::write_seq) {
            (*state).departs = 0;
        }
    }
    emit::emit::<R, { Hook::fin_queued.slots() }>(Hook::fin_queued, reader, last(reader));
}

#[inline(always)]
fn last<R: Reader>(reader: &R) -> Values {
    let (seq, end_seq, left_ns) = read::last_in_flight(reader).unwrap_or((0, 0, 0));
    [seq, end_seq, left_ns as u32, (left_ns >> 32) as u32, 0, 0, 0]
}

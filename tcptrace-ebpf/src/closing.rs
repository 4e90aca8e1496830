//! What a closing socket has sent, without a program on the path of data: the programs of its rarer events look whether
//! something has left since the event before, and when.

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
    unsafe { (*state).departs |= FIN };
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
    emit::emit::<R, { Hook::departure.slots() }>(Hook::departure, reader, last(reader));
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

//! From what is known of a teardown to its shape and its reason.

use tcptrace_common::tcp::{TCP_CLOSE, TCP_CLOSE_WAIT, TCP_TIME_WAIT};

use super::{
    Acked, Closed, Fact, Mark, Numbers, Reason, Shape, Side, Spell, Teardown,
    state::{End, Ours, PeerFin, State},
};
use crate::finding::{Certainty, Finding};

/// The finding; `None` where nobody has begun to close. `is_end` says that the trace is over, not the teardown.
pub(super) fn conclude(
    state: &mut State,
    at_ns: u64,
    is_end: bool,
) -> Option<Finding<Teardown, Fact>> {
    let from_ns = state.episode.began_ns()?;
    state.told = true;
    let is_open = is_end && state.over_ns.is_none();
    let (shape, reason) = if is_open { open(state) } else { shape(state) };
    let side = side(state);
    let until_ns = state.over_ns.filter(|_| !is_open).unwrap_or(at_ns).max(from_ns);
    let since_fin = |at: Option<u64>| {
        at.zip(state.peer.map(|fin| fin.at_ns)).and_then(|(at, fin)| at.checked_sub(fin))
    };
    let marks = marks(state);
    let episode = state.episode.end();
    let teardown = Teardown {
        side,
        shape,
        reason,
        marks,
        segments: segments(state),
        repeated: state.own_fin_again + state.peer_fin_again + state.acks_again,
        closer: state.closer,
        holder: state.holder.filter(|_| reason == Reason::NotClosed),
        closed: state.closed,
        fin_to_close_ns: since_fin(state.closed_ns),
        fin_to_ack_ns: since_fin(state.peer.and_then(|fin| fin.acked).and_then(|(at, _)| at)),
        fin_to_fin_ns: since_fin(state.own.and_then(|fin| fin.sent_ns)),
        peer_fin_ns: state.peer.map(|fin| fin.at_ns),
        put_off: state.put_off,
        unread_bytes: state.unread_bytes,
        unsent_bytes: state.unsent_bytes,
        in_flight_bytes: state.in_flight_bytes,
        data_after_fin_bytes: state.own_data_bytes.saturating_add(state.peer_data_bytes),
        fin_held: state.own.and_then(|fin| fin.held),
        numbers: Numbers {
            own_fin: state.own.map(|fin| fin.end),
            peer_fin: state.peer.and_then(|fin| fin.end),
            reset: state.reset_at,
        },
        other: None,
        spells: spells(state, until_ns),
        lines_left_out: episode.left_out,
    };
    Some(Finding {
        socket: state.socket,
        from_ns,
        until_ns,
        cause: teardown,
        evidence: episode.lines,
        certainty: if state.midway { Certainty::May } else { episode.certainty },
        not_seen: Vec::new(),
    })
}

fn side(state: &State) -> Side {
    // What happened before it was met is not known.
    if state.midway {
        return Side::Undetermined;
    }
    let sent_ns = state.own.and_then(|fin| fin.sent_ns);
    match state.peer {
        Some(PeerFin { ours: Ours::Acknowledged, .. }) => Side::Active,
        Some(PeerFin { ours: Ours::Unacknowledged, at_ns, .. })
            if sent_ns.is_some_and(|sent_ns| sent_ns <= at_ns) =>
        {
            Side::Both
        }
        Some(_) => Side::Passive,
        None if state.own.is_none() && state.end == Some(End::ResetReceived) => Side::Passive,
        None => Side::Active,
    }
}

/// Of a teardown that the end of the trace cuts off.
fn open(state: &State) -> (Shape, Reason) {
    let waits = state.peer.is_some() && state.own.is_none();
    let in_close_wait = waits || state.states.last().is_some_and(|(s, _)| *s == TCP_CLOSE_WAIT);
    (Shape::Open, if in_close_wait { Reason::NotClosed } else { Reason::UnderWay })
}

fn shape(state: &State) -> (Shape, Reason) {
    let (shape, reason) = match state.end {
        Some(End::ResetSent(reason)) => (Shape::ResetSent, reason),
        Some(End::ResetReceived) => (Shape::ResetReceived, Reason::Peer),
        Some(End::GivenUp(reason)) => match reason {
            Reason::NoAnswer | Reason::OrphanLimit | Reason::FinTimeout => {
                (Shape::TimedOut, reason)
            }
            Reason::Aborted => (Shape::ResetSent, reason),
            _ => (Shape::Undetermined, reason),
        },
        Some(End::Closed) | None => by_fins(state),
    };
    if state.unestablished {
        let reason =
            if state.end.is_none() && state.closed.is_some() { Reason::Aborted } else { reason };
        return (Shape::NeverEstablished, reason);
    }
    (shape, reason)
}

/// Of a teardown with a FIN from each end.
fn by_fins(state: &State) -> (Shape, Reason) {
    let undetermined = (Shape::Undetermined, Reason::Undetermined);
    let (Some(peer), Some(own)) = (state.peer, state.own) else { return undetermined };
    if state.midway
        || state.episode.certainty() == Certainty::May
            && (peer.acked.is_none() || own.sent_ns.is_none())
    {
        return undetermined;
    }
    match side(state) {
        Side::Both => (Shape::Simultaneous, Reason::FinWait),
        Side::Active => match own.acked {
            Some((_, Acked::OnFin)) => (Shape::Merged, Reason::AckPending),
            Some((_, Acked::OnData)) => (Shape::AckOnData, Reason::DataAfterFin),
            Some((_, Acked::Alone)) if state.peer_data_bytes > 0 => {
                (Shape::HalfClose, Reason::Peer)
            }
            Some((_, Acked::Alone)) => (Shape::Separate, Reason::Peer),
            None => undetermined,
        },
        Side::Passive => match peer.acked {
            Some((_, Acked::OnFin)) => (Shape::Merged, Reason::AckPending),
            Some((_, Acked::OnData)) => (Shape::AckOnData, Reason::DataAfterFin),
            Some((_, Acked::Alone)) => {
                let why = peer.why.unwrap_or(Reason::Undetermined);
                let shape =
                    if state.own_data_bytes > 0 { Shape::HalfClose } else { Shape::Separate };
                (shape, why)
            }
            None => undetermined,
        },
        Side::Undetermined => undetermined,
    }
}

fn marks(state: &State) -> Vec<Mark> {
    let held = state.own.is_some_and(|fin| fin.unsent_bytes > 0);
    [
        (state.own_fin_again > 0 || state.peer_fin_again > 0, Mark::FinRetransmitted),
        (held, Mark::FinWithHeldData),
        (state.orphaned, Mark::Orphaned),
        (state.vanished, Mark::PeerVanished),
        (state.reused, Mark::TimeWaitReused),
    ]
    .into_iter()
    .filter_map(|(is, mark)| is.then_some(mark))
    .collect()
}

/// Segments that nothing but the teardown was the reason for, none twice.
fn segments(state: &State) -> u32 {
    let own_fin = state.own.is_some_and(|fin| fin.sent_ns.is_some());
    let own_acked = state.own.and_then(|fin| fin.acked).is_some_and(|(_, how)| how == Acked::Alone);
    let peer_acked =
        state.peer.and_then(|fin| fin.acked).is_some_and(|(_, how)| how == Acked::Alone);
    let reset = matches!(state.end, Some(End::ResetSent(_) | End::ResetReceived));
    [own_fin, own_acked, state.peer.is_some(), peer_acked, reset || state.reset_sent]
        .into_iter()
        .map(u32::from)
        .sum()
}

/// How long each state lasted; TIME-WAIT and CLOSE are its end, and last as long as nobody asks.
fn spells(state: &State, until_ns: u64) -> Vec<Spell> {
    let ends = state.states.iter().skip(1).map(|(_, at)| *at).chain([until_ns]);
    let all = state.states.iter().zip(ends);
    all.filter(|((skc_state, _), _)| !matches!(*skc_state, TCP_CLOSE | TCP_TIME_WAIT))
        .map(|((skc_state, from), until)| Spell {
            skc_state: *skc_state,
            lasted_ns: until.saturating_sub(*from),
        })
        .collect()
}

impl Teardown {
    /// How this end was closed, where that was by a program's own call.
    pub const fn by_shutdown(&self) -> bool {
        matches!(self.closed, Some(Closed::Shutdown))
    }
}

//! What is known of one socket's teardown so far.

use tcptrace_common::tcp::TCP_CLOSE;

use super::{Acked, Closed, Fact, FinHeld, MAX_LINES, PutOff, Reason};
use crate::{
    analysis::{
        episode::Episode,
        nagle::{Held, Release, Timer},
    },
    event::{Event, Holder, Seq, SocketId},
    finding::Task,
};

/// What happened last: what follows at once is its doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Context {
    /// Nothing that is of interest here.
    #[default]
    None,
    /// A segment is being processed, with this about it.
    Segment(Segment),
    /// The peer's FIN has just come in order.
    Fin,
    /// The delayed-ACK timer fired.
    AckTimer,
    /// A write timer fired; `None` for one without a name.
    WriteTimer(Option<Timer>),
    /// This host resets.
    Reset,
}

/// What matters of a segment that is being processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// It acknowledged our FIN for the first time.
    pub(super) acks_fin: bool,
    /// It acknowledged something for the first time.
    pub(super) acks: bool,
    /// It is a reset; `None` where its flags were not read.
    pub(super) rst: Option<bool>,
}

/// Our FIN.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnFin {
    pub(super) queued_ns: u64,
    /// Sequence number after it.
    pub(super) end: Seq,
    /// Bytes before it that had not left.
    pub(super) unsent_bytes: u32,
    /// When it left first.
    pub(super) sent_ns: Option<u64>,
    /// The ACK of the peer's FIN was owed when it left.
    pub(super) carried_ack: bool,
    /// When and by what it was acknowledged.
    pub(super) acked: Option<(u64, Acked)>,
    /// The first attempt that left it behind: what held it.
    pub(super) held_by: Option<Held>,
    pub(super) held: Option<FinHeld>,
}

/// The peer's FIN.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerFin {
    pub(super) at_ns: u64,
    /// Sequence number after it.
    pub(super) end: Option<Seq>,
    /// Where our own FIN was when it came.
    pub(super) ours: Ours,
    /// By what we acknowledged it, and when, where that is known.
    pub(super) acked: Option<(Option<u64>, Acked)>,
    /// `snd_nxt` when it came, where data may follow it.
    pub(super) edge: Option<Seq>,
    /// Why it was acknowledged by a segment of its own.
    pub(super) why: Option<Reason>,
    /// More than a full segment was unacknowledged.
    pub(super) moves_window: Option<bool>,
    /// `icsk_ack.dst_quick_ack`.
    pub(super) route_quick: Option<bool>,
}

/// Where our own FIN was when the peer's came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    /// Not queued.
    Unqueued,
    /// Queued and not acknowledged.
    Unacknowledged,
    /// Acknowledged, by the same segment or before.
    Acknowledged,
}

/// How it ended, where that was not by two FINs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// This host reset it.
    ResetSent(Reason),
    /// A reset came in.
    ResetReceived,
    /// It was given up.
    GivenUp(Reason),
    /// By two FINs.
    Closed,
}

/// The state of one socket.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each was seen or was not, whatever the others")]
pub(super) struct State {
    pub(super) socket: SocketId,
    /// Its teardown.
    pub(super) episode: Episode<Fact>,
    /// It was closing already when it was met.
    pub(super) midway: bool,
    pub(super) context: Context,
    /// Since when.
    pub(super) context_ns: u64,
    /// What has let it send without an event of its own, and when, nanoseconds.
    pub(super) let_send: Option<(Release, u64)>,
    /// In whose context the last write timer ran.
    pub(super) timer_tid: u32,
    /// `snd_nxt` at the event before.
    pub(super) next: Option<Seq>,
    /// When a segment came in last.
    pub(super) came_ns: Option<u64>,
    pub(super) closer: Option<Task>,
    /// Who has the socket open at the end.
    pub(super) holder: Option<Holder>,
    pub(super) closed: Option<Closed>,
    /// The call that closed this end first.
    pub(super) closed_ns: Option<u64>,
    pub(super) unread_bytes: Option<u32>,
    pub(super) unsent_bytes: Option<u32>,
    pub(super) in_flight_bytes: Option<u32>,
    /// What `close()` resets for.
    pub(super) abort: Option<Reason>,
    pub(super) own: Option<OwnFin>,
    pub(super) peer: Option<PeerFin>,
    pub(super) put_off: Option<PutOff>,
    pub(super) put_off_until: Option<u64>,
    pub(super) own_data_bytes: u32,
    /// Data has left after the peer's FIN, as the socket told and no event of its own.
    pub(super) data_departed: bool,
    pub(super) peer_data_bytes: u32,
    /// Bare ACKs of the peer's FIN beyond the first.
    pub(super) acks_again: u32,
    pub(super) own_fin_again: u32,
    pub(super) peer_fin_again: u32,
    /// A reset of ours that `tcp_send_active_reset()` sent.
    pub(super) reset_sent: bool,
    pub(super) end: Option<End>,
    /// What the receiver of the reset sends next.
    pub(super) reset_at: Option<Seq>,
    /// State in which the connection never was established.
    pub(super) unestablished: bool,
    /// No process has the socket any more.
    pub(super) orphan: bool,
    /// That was so when the kernel gave it up.
    pub(super) orphaned: bool,
    pub(super) vanished: bool,
    /// A minisock has taken its place: its substate, `TCP_*`.
    pub(super) minisock: Option<u32>,
    pub(super) reused: bool,
    /// The states it was in, and since when.
    pub(super) states: Vec<(u32, u64)>,
    /// When the teardown ended.
    pub(super) over_ns: Option<u64>,
    /// The finding has been handed over.
    pub(super) told: bool,
    /// The socket's life has ended.
    pub(super) gone: bool,
}

impl State {
    /// Adds a line.
    pub(super) fn note(&mut self, e: &Event, fact: Fact) {
        self.note_at(e, e.at_ns, fact);
    }

    /// Adds a line about a moment before the event that tells of it.
    pub(super) fn note_at(&mut self, e: &Event, at_ns: u64, fact: Fact) {
        self.episode.note(e.n, at_ns, fact, MAX_LINES);
    }

    /// The socket is in another state from here on.
    pub(super) fn enters(&mut self, skc_state: u32, at_ns: u64) {
        if self.states.last().is_none_or(|(last, _)| *last != skc_state) && self.states.len() < 16 {
            self.states.push((skc_state, at_ns));
        }
        if skc_state == TCP_CLOSE {
            self.over_ns.get_or_insert(at_ns);
        }
    }

    /// The peer's FIN came and nothing has acknowledged it.
    pub(super) fn owes_ack(&self) -> bool {
        self.peer.as_ref().is_some_and(|fin| fin.acked.is_none())
    }

    /// Something that left, when that is known, acknowledges the peer's FIN; whether it is the first.
    pub(super) fn acknowledges(&mut self, at_ns: Option<u64>, how: Acked) -> bool {
        match self.peer.as_mut().filter(|fin| fin.acked.is_none()) {
            Some(fin) => {
                fin.acked = Some((at_ns, how));
                true
            }
            None => false,
        }
    }
}

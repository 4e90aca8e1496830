//! What one teardown is: the data of a finding, and the lines of its evidence.

use schemars::JsonSchema;
use serde::Serialize;

#[cfg(feature = "mutate")]
use crate::analysis::nagle::Mutation;
use crate::{
    analysis::nagle::{Held, Release, Timer},
    event::{Holder, Seq},
    finding::Task,
};

/// Most lines of evidence of one teardown; what comes then is left out.
pub const MAX_LINES: usize = 64;

/// Who closed first, from where this host stands. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// This end sent its FIN, or its reset, first.
    Active,
    /// The other end did.
    Passive,
    /// Both sent their FINs before they had the other's.
    Both,
    /// The evidence does not tell.
    Undetermined,
}

/// The shape of a teardown. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// FIN, FIN with the ACK, ACK: three segments.
    Merged,
    /// FIN, ACK, FIN, ACK: four segments.
    Separate,
    /// The first FIN was acknowledged by a segment with data.
    AckOnData,
    /// Both ends sent their FINs before they had the other's.
    Simultaneous,
    /// The first FIN was acknowledged by itself, and data went the other way before the second.
    HalfClose,
    /// This host sent a reset.
    ResetSent,
    /// A reset came in.
    ResetReceived,
    /// The other end did not answer until this host gave the connection up.
    TimedOut,
    /// There was no connection yet.
    NeverEstablished,
    /// It was not over at the end of the run.
    Open,
    /// The evidence does not tell.
    Undetermined,
}

/// Why it had that shape. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The ACK of the first FIN was still owed when the second FIN left, which carried it.
    AckPending,
    /// The delayed-ACK timer sent the ACK before the program closed.
    AckTimer,
    /// The socket was in quick-ACK mode (`TCP_QUICKACK`).
    QuickAck,
    /// The route says `quickack`.
    RouteQuickack,
    /// No data had ever come in, so that the ACK was put off to the next tick only (`icsk_ack.ato` was 0).
    NoDataReceived,
    /// Data was sent after the first FIN had come in.
    DataAfterFin,
    /// More than a full segment was unacknowledged, so that the ACK, with the window that it moves, went at once, or when the
    /// program read.
    WindowUpdate,
    /// This end had sent its FIN when the other's came: such a FIN is acknowledged at once.
    FinWait,
    /// `close()` found bytes that had come in and were not read.
    UnreadData,
    /// `SO_LINGER` was on with no time.
    LingerZero,
    /// `TCP_LINGER2` was negative: no waiting for the peer's FIN.
    Linger2,
    /// Data came in after `close()`: nobody would have read it.
    DataAfterClose,
    /// The program ended the connection by `connect()` to no address (`AF_UNSPEC`), and keeps the socket.
    Disconnected,
    /// The listener was closed before a program had accepted the connection.
    NotAccepted,
    /// The connection was aborted, for instance by `ss -K`, or by an error from the network.
    Aborted,
    /// No process had the socket any more, and the kernel gave it up: too many such sockets, too little memory, or no answer.
    OrphanLimit,
    /// The other end answered nothing.
    NoAnswer,
    /// The peer's FIN did not come in the time that FIN-WAIT-2 may last (`tcp_fin_timeout`, `TCP_LINGER2`).
    FinTimeout,
    /// The other end's doing: why, only its own host tells.
    Peer,
    /// The peer has closed, and the program has not.
    NotClosed,
    /// The teardown was under way.
    UnderWay,
    /// The evidence does not tell.
    Undetermined,
}

/// What else there is to say of a teardown. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A FIN, this end's or the other's, was sent more than once.
    FinRetransmitted,
    /// Bytes that had not left yet stood before the FIN.
    FinWithHeldData,
    /// No process had the socket any more when the kernel gave it up.
    Orphaned,
    /// The other end stopped answering.
    PeerVanished,
    /// A connection of the same addresses and ports took the place of the minisock.
    TimeWaitReused,
}

/// How this end closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// `close()`, or the end of the process.
    Close,
    /// `shutdown()`, which keeps the socket.
    Shutdown,
    /// `connect()` to no address, which keeps the socket.
    Disconnect,
    /// `close()` of its listener, or the end of that process, before `accept()`.
    Listener,
}

/// What carried the ACK of a FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// A segment of its own.
    Alone,
    /// A segment with data.
    OnData,
    /// The other FIN.
    OnFin,
}

/// An ACK of the peer's FIN that was put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOff {
    /// When it was put off, nanoseconds, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Ticks (jiffies) from then to the timer.
    pub due_ticks: u32,
    /// `icsk_ack.ato`, ticks (jiffies).
    pub ato_ticks: Option<u32>,
}

/// A FIN that could not leave when it was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinHeld {
    /// What held it at first.
    pub by: Held,
    /// What let it go.
    pub release: Release,
    /// How long, nanoseconds.
    pub held_ns: u64,
}

/// How long the socket was in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// State, `TCP_*`.
    pub skc_state: u32,
    /// How long, nanoseconds.
    pub lasted_ns: u64,
}

/// What the other end of the connection has told, where it is a socket that is watched too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherEnd {
    /// Who closed it; `None` when nobody has, or it was not seen.
    pub closer: Option<Task>,
    /// The shape that it saw.
    pub shape: Shape,
    /// Why.
    pub reason: Reason,
    /// From the FIN of the end that the finding is about to the call that closed the other, nanoseconds.
    pub fin_to_close_ns: Option<u64>,
}

/// What both ends of a connection know it by: sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// After this end's FIN.
    pub own_fin: Option<Seq>,
    /// After the other end's FIN.
    pub peer_fin: Option<Seq>,
    /// Of a reset: what its receiver sends next.
    pub reset: Option<Seq>,
}

impl Numbers {
    /// Whether these are of the other end of the same connection.
    pub fn meet(self, other: Self) -> bool {
        let same = |one: Option<Seq>, other: Option<Seq>| one.is_some() && one == other;
        same(self.own_fin, other.peer_fin)
            || same(self.peer_fin, other.own_fin)
            || same(self.reset, other.reset)
    }
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teardown {
    /// Who closed first.
    pub side: Side,
    /// Its shape.
    pub shape: Shape,
    /// Why.
    pub reason: Reason,
    /// What else there is to say.
    pub marks: Vec<Mark>,
    /// Segments that it took: FINs, resets, and ACKs of FINs that carried nothing else; none twice.
    pub segments: u32,
    /// Segments of it that were sent again.
    pub repeated: u32,
    /// Who closed this end; `None` when nobody has, or it was not seen.
    pub closer: Option<Task>,
    /// Who had the socket open at the end and has not closed it; `None` when it was not looked up, or not found.
    pub holder: Option<Holder>,
    /// How this end was closed first.
    pub closed: Option<Closed>,
    /// From the peer's FIN to the call that closed this end, nanoseconds.
    pub fin_to_close_ns: Option<u64>,
    /// From the peer's FIN to the segment that acknowledged it, nanoseconds.
    pub fin_to_ack_ns: Option<u64>,
    /// From the peer's FIN to this end's FIN, nanoseconds.
    pub fin_to_fin_ns: Option<u64>,
    /// When the peer's FIN came in, nanoseconds, `CLOCK_MONOTONIC`.
    pub peer_fin_ns: Option<u64>,
    /// The ACK of it that was put off.
    pub put_off: Option<PutOff>,
    /// Bytes that had come in and were not read when this end was closed.
    pub unread_bytes: Option<u32>,
    /// Bytes that had not left when this end was closed.
    pub unsent_bytes: Option<u32>,
    /// Bytes that had left and were not acknowledged when this end was closed.
    pub in_flight_bytes: Option<u32>,
    /// Data that this end sent after the peer's FIN, or the other way round, bytes.
    pub data_after_fin_bytes: u32,
    /// This end's FIN could not leave at once.
    pub fin_held: Option<FinHeld>,
    /// What the other end knows the connection by.
    pub numbers: Numbers,
    /// The other end, where it was watched and its end came first.
    pub other: Option<OtherEnd>,
    /// How long it was in which state, in time order.
    pub spells: Vec<Spell>,
    /// Lines of evidence that were left out.
    pub lines_left_out: u32,
}

impl Teardown {
    /// Who closed, or should have.
    pub const fn task(&self) -> Option<Task> {
        match (self.closer, self.holder) {
            (None, Some(Holder { pid, .. })) => Some(Task { pid, tid: pid }),
            (closer, _) => closer,
        }
    }

    /// Falsifies the teardown in the way asked for: its shape, its reason, or its times.
    #[cfg(feature = "mutate")]
    pub fn mutate(&mut self, mutation: Mutation) {
        match mutation {
            Mutation::Causes => {
                self.shape = match self.shape {
                    Shape::Merged => Shape::Separate,
                    Shape::Separate => Shape::Merged,
                    Shape::ResetSent => Shape::ResetReceived,
                    Shape::ResetReceived => Shape::ResetSent,
                    other => other,
                };
            }
            Mutation::Releases => {
                self.reason = match self.reason {
                    Reason::AckPending => Reason::AckTimer,
                    Reason::AckTimer => Reason::AckPending,
                    Reason::UnreadData => Reason::LingerZero,
                    Reason::LingerZero => Reason::UnreadData,
                    other => other,
                };
            }
            // The margin follows from when the ACK was put off.
            Mutation::Times => {
                let later = |at_ns: u64| at_ns + 30_000_000;
                self.put_off = self.put_off.map(|it| PutOff { at_ns: later(it.at_ns), ..it });
            }
        }
    }

    /// Whether it was not over when the trace ended.
    pub const fn goes_on(&self) -> bool {
        matches!(self.shape, Shape::Open)
    }

    /// It is about no hold.
    pub const fn holds(&self) -> u64 {
        0
    }
    /// All of its lines matter.
    pub const fn minor(&self) -> u64 {
        0
    }
}

/// One line of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// The peer's FIN is in order: no more data will come.
    FinIn {
        /// State of the socket before it, `TCP_*`.
        #[serde(skip_serializing_if = "Option::is_none")]
        skc_state: Option<u32>,
        /// The segment also acknowledged our FIN for the first time.
        acks_fin: bool,
    },
    /// The peer's FIN came again.
    FinInAgain,
    /// The ACK of the peer's FIN was put off.
    AckPutOff {
        /// `icsk_ack.pingpong`: from the threshold on (1 by default), ACKs are put off.
        #[serde(skip_serializing_if = "Option::is_none")]
        pingpong: Option<u32>,
        /// `icsk_ack.ato`, ticks (jiffies): for how long an ACK is put off.
        #[serde(skip_serializing_if = "Option::is_none")]
        ato_ticks: Option<u32>,
        /// Ticks (jiffies) from this event to the timer.
        #[serde(skip_serializing_if = "Option::is_none")]
        due_ticks: Option<u32>,
    },
    /// The delayed-ACK timer fired and sends the ACK.
    AckTimerFired,
    /// `close()`, or the end of the process.
    CloseCalled {
        /// Bytes that had come in and were not read.
        #[serde(skip_serializing_if = "Option::is_none")]
        unread_bytes: Option<u32>,
        /// `SO_LINGER` is on with no time.
        linger_zero: bool,
        /// Who closed.
        #[serde(skip)]
        task: Task,
    },
    /// The connection is ended without a FIN: by `connect()` to no address, or by the end of its listener.
    Disconnected {
        /// A program had accepted the connection, or made it.
        accepted: bool,
        /// Who did.
        #[serde(skip)]
        task: Task,
    },
    /// A FIN was queued.
    FinQueued {
        /// By `close()` or by `shutdown()`.
        by: Closed,
        /// Bytes before it that had not left.
        #[serde(skip_serializing_if = "Option::is_none")]
        unsent_bytes: Option<u32>,
        /// Who closed.
        #[serde(skip)]
        task: Task,
    },
    /// The FIN could not leave: an attempt to send left it behind.
    FinHeld {
        /// What held it.
        cause: Held,
    },
    /// Our FIN left.
    FinOut {
        /// Bytes of data with it.
        bytes: u32,
        /// The ACK of the peer's FIN was still owed: this segment carries it.
        carries_ack: bool,
        /// It had left before.
        again: bool,
    },
    /// A segment that acknowledges the peer's FIN and carries nothing else left.
    AckOut {
        /// It had been acknowledged before.
        again: bool,
    },
    /// Data left after the peer's FIN had come in.
    DataOut {
        /// Bytes.
        bytes: u32,
        /// The ACK of the peer's FIN was still owed: this segment carries it.
        carries_ack: bool,
    },
    /// A segment came in after our FIN, or acknowledged it.
    SegmentIn {
        /// It acknowledges our FIN for the first time.
        acks_fin: bool,
        /// Bytes of data.
        bytes: u32,
    },
    /// A write timer fired.
    TimerFired {
        /// Which.
        timer: Timer,
    },
    /// The layers below did not take a segment.
    TransmitFailed {
        /// What they said: a negative error, or a positive `NET_XMIT_*`.
        returned: i32,
    },
    /// A reset of ours left.
    ResetOut,
    /// A reset came in.
    ResetIn,
    /// A minisock took the socket's place.
    Minisock {
        /// In which state, `TCP_*`.
        skc_state: u32,
    },
    /// A minisock's time was over.
    MinisockGone,
    /// A SYN of the same addresses and ports came for the minisock.
    SynIn,
    /// The connection is over.
    Over {
        /// State it was in, `TCP_*`.
        #[serde(skip_serializing_if = "Option::is_none")]
        skc_state: Option<u32>,
    },
    /// Events were lost somewhere: what is not here may have happened all the same.
    Lost,
}

impl Fact {
    /// It tells no user stack.
    pub const fn stack(&self) -> Option<u32> {
        None
    }

    /// The task that acted.
    pub const fn task(&self) -> Option<Task> {
        match self {
            Self::CloseCalled { task, .. }
            | Self::Disconnected { task, .. }
            | Self::FinQueued { task, .. } => Some(*task),
            _ => None,
        }
    }
}

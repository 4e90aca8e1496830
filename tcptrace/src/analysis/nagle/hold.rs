//! What one hold is: the data of a finding, and the lines of its evidence.

use schemars::JsonSchema;
use serde::Serialize;
use smallvec::SmallVec;

use super::number::{Nanoseconds, Number, Small};
use crate::finding::Task;

/// What kept bytes from leaving. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// A small segment behind an unacknowledged small one (RFC 1122 4.2.3.4, in Minshall's form).
    Nagle,
    /// `TCP_CORK` is on.
    Cork,
    /// The call said `MSG_MORE`.
    MsgMore,
    /// The device has not sent what it was given, so that `tcp_push()` made no attempt (`tcp_should_autocork()`).
    Autocork,
    /// As much is in flight as the congestion window allows.
    Cwnd,
    /// The next segment does not fit into the peer's receive window.
    PeerWindow,
    /// As [`Held::PeerWindow`], and the window is closed.
    #[serde(rename = "peer_window")]
    #[schemars(skip)]
    ZeroWindow,
    /// TCP's own pacing (`SK_PACING_NEEDED`): the rate does not allow it yet.
    Pacing,
    /// TCP small queues: the device has not sent enough of what it was given.
    Tsq,
    /// More bytes, or an ACK, are expected soon enough to fill a larger segment (`tcp_tso_should_defer()`).
    TsoDefer,
    /// The layers below did not take the segment.
    TransmitFailed,
    /// The connection was not established: the writer slept in its call.
    NotEstablished,
    /// The send buffer was full: the writer slept in its call.
    SendBuffer,
    /// As much waited already as `TCP_NOTSENT_LOWAT` allows: the writer slept in its call.
    NotsentLowat,
    /// The evidence does not tell.
    Undetermined,
}

/// What let the bytes go. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// An incoming ACK.
    Ack,
    /// An incoming segment that acknowledged nothing new and opened the peer's window.
    WindowUpdate,
    /// A later write filled a segment.
    MoreData,
    /// A later write without `MSG_MORE`.
    Push,
    /// A later write with `MSG_OOB`: no rule about small segments holds what stands in front of urgent data.
    UrgentData,
    /// `TCP_NODELAY` was set.
    Nodelay,
    /// `TCP_CORK` was cleared.
    Uncork,
    /// The probe timer (`ICSK_TIME_PROBE0`).
    ProbeTimer,
    /// The loss probe (`ICSK_TIME_LOSS_PROBE`, RFC 8985 7).
    LossProbe,
    /// `close()` or `shutdown()`: they left with the FIN, or because of it.
    Fin,
    /// TCP small queues: the device had sent enough.
    Tsq,
    /// The timer of TCP's own pacing.
    PacingTimer,
    /// They never left: reset, abort or time-out.
    Discarded,
    /// The writer slept in its call, which ended without giving all of them: a signal came, or `SO_SNDTIMEO` was over.
    GivenUp,
    /// They had not left when the trace ended.
    StillHeld,
    /// The evidence does not tell.
    Undetermined,
}

/// How bytes were given to TCP. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// By a call that writes, or by `io_uring` in its stead.
    Call,
    /// As pages: by `sendfile`, `splice`, or a sender in the kernel on a program's socket.
    Pages,
    /// As a record of kernel TLS.
    Tls,
    /// By MPTCP, on a subflow, of which no program has a descriptor.
    Mptcp,
    /// By the kernel, on a socket of its own, as NFS does.
    Kernel,
}

impl Held {
    /// Whether the bytes are still the program's: the writer sleeps in its call.
    pub const fn is_sleep(self) -> bool {
        matches!(self, Self::SendBuffer | Self::NotsentLowat | Self::NotEstablished)
    }

    /// Whether it is the everyday work of a sender of bulk data, which is worth a line of its own only when it lasts.
    pub const fn is_usual(self) -> bool {
        matches!(
            self,
            Self::Cwnd
                | Self::PeerWindow
                | Self::ZeroWindow
                | Self::Pacing
                | Self::Tsq
                | Self::TsoDefer
                | Self::SendBuffer
                | Self::NotsentLowat
        )
    }
}

/// One cause in a row of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Part {
    /// What held the bytes.
    #[serde(rename = "cause")]
    pub held: Held,
    /// The peer's window was closed, not only too small.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero: bool,
    /// For how long, nanoseconds.
    pub held_ns: u64,
}

impl Part {
    /// So long by this.
    pub const fn of(held: Held, held_ns: u64) -> Self {
        Self { held, zero: matches!(held, Held::ZeroWindow), held_ns }
    }
}

/// How the peer acknowledged, when an ACK let the bytes go. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerAck {
    /// It put its ACK off, and its delayed-ACK timer sent it.
    Delayed,
    /// It sent a pure ACK at once.
    Quick,
    /// Data that it sent carried the ACK.
    OnData,
}

/// How that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// Both ends are on this host, and both were seen.
    Seen,
    /// Only the sender was seen: concluded from what the ACK carries, and when it came.
    Inferred,
}

/// What the writes of a request come to, seen over several of them. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A message in several small writes, then a read of the answer: a write after the first one waits.
    WriteWriteRead,
    /// A small write and then a large one: what is left of the large one after whole segments waits.
    HeaderBody,
    /// One write, a little larger than whole segments: what is left of it waits.
    Tail,
}

/// A pattern, and what it has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pattern {
    /// What the writes look like.
    pub name: Shape,
    /// Requests (or answers) that waited for a millisecond or longer, of the same process and call site.
    pub paid: u64,
    /// All those on the same sockets up to here.
    pub requests: u64,
    /// How long one that paid waited, at the median of the last 4096, nanoseconds.
    pub median_ns: u64,
}

/// A write that took part in a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Bytes of it that waited and left with this hold.
    pub bytes: u32,
    /// When it began to wait, nanoseconds, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// How long it waited, nanoseconds.
    pub held_ns: u64,
}

/// One hold: from the end of the push that left bytes waiting to the departure of the last byte of the write that
/// started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who made the write that started it; 0 where that is not known.
    pub writer: Task,
    /// Bytes that waited and left (or were discarded, or still wait).
    pub bytes: u32,
    /// Size of the write that started it; `None` when its call was not seen.
    pub written_bytes: Option<u32>,
    /// How it was given to TCP; `None` where that was not seen.
    pub way: Option<Way>,
    /// The bytes are what was left after whole segments of the same write.
    pub tail: bool,
    /// Segments in flight when it began.
    pub packets_out: Option<u32>,
    /// Causes in time order; their durations add up to the hold's.
    pub parts: SmallVec<[Part; 1]>,
    /// What ended it.
    pub release: Release,
    /// The writes in it, the one that started it first; at most [`MAX_WRITES`].
    pub writes: SmallVec<[Write; 1]>,
    /// Writes that are not in `writes`.
    pub writes_left_out: u32,
    /// Whether a set `TCP_NODELAY` was seen on this socket, or in its bits, since it was met.
    pub nodelay_seen: bool,
    /// How often data had come in before a write on this socket, up to the write that started it; 0 where that was not
    /// counted.
    pub turn: u32,
    /// Which write it was since then, from 1; 0 where that was not counted.
    pub part: u32,
    /// The socket was watched from its first byte on: what was not seen on it has not happened.
    pub from_start: bool,
    /// How the peer sent the ACK that ended it, where that is known.
    pub peer_ack: Option<(PeerAck, Known)>,
    /// The pattern that it belongs to; told by the step that sees all sockets.
    pub pattern: Option<Pattern>,
}

impl Hold {
    /// The task whose write started it; `None` where it was pushed in softirq, for whoever wrote.
    pub const fn task(&self) -> Option<Task> {
        if self.writer.pid == 0 { None } else { Some(self.writer) }
    }

    /// Holds that this is about.
    pub const fn holds(&self) -> u64 {
        1
    }

    /// Whether its bytes still waited when the trace ended.
    pub const fn goes_on(&self) -> bool {
        matches!(self.release, Release::StillHeld)
    }

    /// Whether each of its causes is usual for bulk data.
    pub fn is_usual(&self) -> bool {
        self.parts.iter().all(|part| part.held.is_usual())
    }

    /// Lines of the evidence that do not matter to most readers.
    pub const fn minor(&self) -> u64 {
        0
    }

    /// Falsifies the hold in the way asked for.
    #[cfg(feature = "mutate")]
    pub fn mutate(&mut self, mutation: Mutation, from_ns: &mut u64) {
        match mutation {
            Mutation::Causes => {
                for part in &mut self.parts {
                    part.held = match part.held {
                        Held::Cork => Held::Nagle,
                        Held::Nagle => Held::Cork,
                        other => other,
                    };
                }
            }
            Mutation::Releases => {
                self.release = match self.release {
                    Release::ProbeTimer => Release::Ack,
                    Release::Ack => Release::ProbeTimer,
                    other => other,
                };
            }
            Mutation::Times => *from_ns += 5_000_000,
        }
    }
}

/// A way to falsify the analysis, to prove that the tests can fail.
#[cfg(feature = "mutate")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// Swaps cork and Nagle; of teardowns, shapes.
    Causes,
    /// Swaps the probe timer and the ACK; of teardowns, reasons.
    Releases,
    /// Shifts every start by 5 ms; of teardowns, when the delayed ACK was due, by 30 ms.
    Times,
}

/// Most entries of [`Hold::writes`].
pub const MAX_WRITES: usize = 64;

/// Which write timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// `ICSK_TIME_PROBE0`.
    Probe,
    /// `ICSK_TIME_LOSS_PROBE`.
    LossProbe,
    /// `ICSK_TIME_RETRANS`: sends again, never sends held bytes.
    Retransmit,
}

/// What an attempt to send came up against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Limit {
    /// The congestion window.
    Cwnd {
        /// Segments it allows.
        snd_cwnd: u32,
    },
    /// The peer's receive window.
    PeerWindow {
        /// What the peer announced, bytes.
        window_bytes: u32,
    },
    /// The rate of TCP's own pacing.
    Pacing {
        /// How long until it allows the next segment, nanoseconds.
        pacing_wait_ns: Nanoseconds,
    },
}

/// One line of evidence. Sequence numbers count from the first byte that the trace saw on the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// A write call of the program.
    Write {
        /// Its size, bytes; not known when only its end was seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<u32>,
        /// The call has given these bytes, had more and slept: it had not ended when they left. Absent when it had.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        call_goes_on: bool,
        /// The call said `MSG_MORE`.
        msg_more: bool,
        /// Who wrote.
        #[serde(skip)]
        task: Task,
    },
    /// Where the write above it came from: its user stack, in `frames`.
    Stack {
        /// Its number in the trace; 0 where the kernel could not keep it.
        #[serde(skip)]
        number: u32,
    },
    /// Bytes wait, and why.
    Held {
        /// Why.
        cause: Held,
        /// Bytes that wait.
        bytes: u32,
        /// The socket's `nonagle`: 1 is `TCP_NODELAY`, 2 is `TCP_CORK`, 4 is "push once".
        #[serde(skip_serializing_if = "Option::is_none")]
        nonagle: Option<Small>,
        /// Segments in flight.
        #[serde(skip_serializing_if = "Option::is_none")]
        packets_out: Option<Number>,
        /// Sequence number after the unacknowledged small segment that blocks.
        #[serde(skip_serializing_if = "Option::is_none")]
        small_end_seq: Option<Number>,
        /// Unacknowledged bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        unacked_bytes: Option<Number>,
        /// Size of a full segment.
        #[serde(skip_serializing_if = "Option::is_none")]
        mss_bytes: Option<Number>,
        /// The armed write timer, by the kernel's number (`ICSK_TIME_*`); 0 is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        icsk_pending: Option<Small>,
        /// The limit that the cause is about, by its kernel name.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        limit: Option<Limit>,
    },
    /// A write timer is armed.
    TimerArmed {
        /// Which.
        timer: Timer,
        /// Ticks (jiffies) from this event to its firing.
        due_ticks: u32,
        /// Retransmission timeout, ticks.
        #[serde(skip_serializing_if = "Option::is_none")]
        rto_ticks: Option<u32>,
        /// Smoothed round-trip time, microseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        srtt_us: Option<u32>,
        /// Segments in flight.
        #[serde(skip_serializing_if = "Option::is_none")]
        packets_out: Option<u32>,
    },
    /// A write timer fired.
    TimerFired {
        /// Which.
        timer: Timer,
    },
    /// A segment arrived.
    Ack {
        /// Bytes it newly acknowledges.
        acked_bytes: u32,
        /// Bytes of data in it.
        data_bytes: u32,
        /// Smoothed round-trip time before it, microseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        srtt_us: Option<Number>,
        /// Shortest round-trip time of the last minutes, microseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        rtt_min_us: Option<Number>,
        /// Time since the last segment that it acknowledges left, nanoseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        since_segment_ns: Option<u64>,
        /// The acknowledgement number as it is on the wire: what both ends know the segment by.
        #[serde(skip)]
        ack_seq: u32,
    },
    /// At the other end, on this host: the segment came in and its ACK was put off.
    AckPutOff {
        /// `icsk_ack.pingpong` there: from the threshold on (1 by default), ACKs are put off.
        #[serde(skip_serializing_if = "Option::is_none")]
        pingpong: Option<u32>,
        /// `icsk_ack.ato` there, ticks (jiffies): for how long an ACK is put off.
        #[serde(skip_serializing_if = "Option::is_none")]
        ato_ticks: Option<u32>,
        /// Who writes on that socket.
        #[serde(skip)]
        receiver: Option<Task>,
    },
    /// At the other end, on this host: the delayed-ACK timer fired and sent the ACK.
    AckTimerFired {
        /// Who writes on that socket.
        #[serde(skip)]
        receiver: Option<Task>,
    },
    /// An option was set.
    OptionSet {
        /// The option's own name.
        option: &'static str,
        /// Its new value, where the socket showed it afterwards.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<bool>,
        /// Who set it.
        #[serde(skip)]
        task: Task,
    },
    /// `close()` or `shutdown()` queued a FIN.
    FinQueued {
        /// Who closed.
        #[serde(skip)]
        task: Task,
    },
    /// The device, or the pacing timer, let the socket send again.
    Tsq,
    /// The pacing timer fired.
    PacingTimer,
    /// The layers below did not take a segment.
    TransmitFailed {
        /// Bytes of it.
        bytes: u32,
        /// What they said, where an event tells: a negative error, or a positive `NET_XMIT_*`.
        #[serde(skip_serializing_if = "Option::is_none")]
        returned: Option<i32>,
    },
    /// A segment that acknowledged nothing new changed the peer's window.
    WindowUpdate {
        /// The window after it, bytes.
        window_bytes: u32,
    },
    /// Bytes left.
    Left {
        /// How many.
        bytes: u32,
        /// First sequence number.
        seq: u32,
        /// Sequence number after the last.
        end_seq: u32,
        /// A FIN went with them.
        fin: bool,
    },
    /// The connection ended, the bytes with it.
    Discarded {
        /// How many.
        bytes: u32,
    },
}

impl Fact {
    /// The task that acted.
    pub const fn task(&self) -> Option<Task> {
        match self {
            Self::Write { task, .. } | Self::OptionSet { task, .. } | Self::FinQueued { task } => {
                Some(*task)
            }
            Self::AckPutOff { receiver, .. } | Self::AckTimerFired { receiver } => *receiver,
            _ => None,
        }
    }

    /// The user stack that it tells, by number.
    pub const fn stack(&self) -> Option<u32> {
        match self {
            Self::Stack { number } => Some(*number),
            _ => None,
        }
    }
}

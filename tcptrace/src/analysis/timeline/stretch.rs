//! What one stretch of activity is: the data of a finding, and its lines.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    analysis::{
        defer_accept, fastopen,
        nagle::{Held, Part, Release, Timer},
        sockopt,
    },
    finding::{Certainty, Task},
};

/// A stretch ends this long after its first line, nanoseconds: a live reader waits no longer.
pub const SPAN_NS: u64 = 1_000_000_000;
/// Most lines of one stretch; what comes then begins the next one.
pub const MAX_LINES: usize = 256;

/// A stretch of activity of one socket: at most [`SPAN_NS`] long, with at most [`MAX_LINES`] lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Who used the socket last, as far as it is known: who wrote, set an option or closed.
    pub owner: Option<Task>,
    /// State of the socket when the trace met it, `TCP_*`; only in its first stretch.
    pub met_in: Option<u32>,
    /// Bytes were held when the stretch began.
    pub begins_held: bool,
    /// Writes in it.
    pub writes: u32,
    /// Bytes that they added.
    pub written_bytes: u64,
    /// Bytes that left.
    pub left_bytes: u64,
    /// Bytes of data in segments that came in, those that came again included.
    pub received_bytes: u64,
    /// Holds that ended in it.
    pub holds_ended: u32,
    /// Lines that do not matter to most readers.
    pub minor_lines: u32,
}

impl Stretch {
    /// Who used the socket last.
    pub const fn task(&self) -> Option<Task> {
        self.owner
    }

    /// Holds that ended in it.
    pub const fn holds(&self) -> u64 {
        self.holds_ended as u64
    }

    /// Whether more may have happened: the end of the trace cuts it off as the end of a span does.
    pub const fn goes_on(&self) -> bool {
        true
    }

    /// Lines that do not matter to most readers.
    pub const fn minor(&self) -> u64 {
        self.minor_lines as u64
    }

    /// Counts a line that is complete.
    pub(super) fn count(&mut self, fact: &Fact) {
        self.minor_lines += u32::from(fact.is_minor());
        match fact {
            Fact::Write { bytes, waiting_bytes, returned, .. } => {
                // One whose push is in the next stretch counts there.
                self.writes += u32::from(waiting_bytes.is_some() || returned.is_some());
                self.written_bytes += u64::from(bytes.unwrap_or(0));
            }
            Fact::Left { bytes, .. } => self.left_bytes += u64::from(*bytes),
            Fact::SegmentIn { data_bytes, .. } => self.received_bytes += u64::from(*data_bytes),
            Fact::HoldEnded { .. } => self.holds_ended += 1,
            _ => {}
        }
    }
}

/// One line. Sequence numbers count from the first byte that the trace saw leave or wait on the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// Where the write above it came from: its user stack, in `frames`.
    Stack {
        /// Its number in the trace; 0 where the kernel could not keep it.
        #[serde(skip)]
        number: u32,
    },
    /// A write call, or a part of one that slept in between: when the first of its bytes was seen.
    Write {
        /// Bytes it added; `None` when what had been written before is not known.
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<u32>,
        /// `MSG_*` flags of the call.
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<u32>,
        /// Bytes the call was given; `None` when its return was not seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        given_bytes: Option<u32>,
        /// What it returned: bytes, or a negative error number.
        #[serde(skip_serializing_if = "Option::is_none")]
        returned: Option<i32>,
        /// Unsent bytes of the socket after it.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting_bytes: Option<u32>,
        /// Who wrote.
        #[serde(skip)]
        task: Task,
    },
    /// A write call returned whose bytes are not in this stretch, or that added none.
    WriteReturned {
        /// Bytes the call was given.
        given_bytes: u32,
        /// Bytes, or a negative error number.
        returned: i32,
        /// Who wrote.
        #[serde(skip)]
        task: Task,
    },
    /// `tcp_push()` ended.
    Push {
        /// `nonagle` of the call, with its `MSG_MORE`.
        #[serde(skip_serializing_if = "Option::is_none")]
        nonagle: Option<u32>,
        /// Unsent bytes of the socket after it.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting_bytes: Option<u32>,
        /// Segments in flight.
        #[serde(skip_serializing_if = "Option::is_none")]
        packets_out: Option<u32>,
    },
    /// `tcp_write_xmit()` ended.
    Attempt {
        /// Unsent bytes of the socket after it.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting_bytes: Option<u32>,
        /// Segments in flight.
        #[serde(skip_serializing_if = "Option::is_none")]
        packets_out: Option<u32>,
        /// Congestion window, segments.
        #[serde(skip_serializing_if = "Option::is_none")]
        snd_cwnd: Option<u32>,
        /// Peer's receive window, bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        snd_wnd: Option<u32>,
    },
    /// A segment left for the first time.
    Left {
        /// Bytes of data.
        bytes: u32,
        /// First sequence number.
        seq: u32,
        /// Sequence number after the last byte.
        end_seq: u32,
        /// It carries our FIN.
        fin: bool,
    },
    /// A segment came in.
    SegmentIn {
        /// Bytes of ours that it newly acknowledges.
        acked_bytes: u32,
        /// What it acknowledges up to.
        #[serde(skip_serializing_if = "Option::is_none")]
        ack_seq: Option<u32>,
        /// It newly acknowledges our FIN.
        acks_fin: bool,
        /// Bytes of data.
        data_bytes: u32,
        /// It carries the peer's SYN.
        syn: bool,
        /// It carries the peer's FIN.
        fin: bool,
        /// Something left because of it.
        released: bool,
    },
    /// The peer's FIN is in order: no more data will come.
    FinIn {
        /// State of the socket before it, `TCP_*`.
        #[serde(skip_serializing_if = "Option::is_none")]
        skc_state: Option<u32>,
    },
    /// An ACK is owed and put off: the timer sends it, or what is sent before carries it.
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
        /// Bytes wait for it.
        matters: bool,
    },
    /// A write timer fired.
    TimerFired {
        /// Which.
        timer: Timer,
    },
    /// An option of level `SOL_TCP` was set.
    OptionSet {
        /// Its name; `None` when it is newer than this program.
        #[serde(skip_serializing_if = "Option::is_none")]
        option: Option<&'static str>,
        /// Its number.
        optname: u32,
        /// Its new value, where the socket showed it afterwards.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<bool>,
        /// Who set it.
        #[serde(skip)]
        task: Task,
    },
    /// The call that set an option has returned.
    OptionReturned {
        /// Its name; `None` when it is newer than this program.
        #[serde(skip_serializing_if = "Option::is_none")]
        option: Option<&'static str>,
        /// 0, or a negative error.
        result: i32,
        /// Whether it changed anything.
        effect: sockopt::Effect,
        /// Who set it; `None` where no task was at work.
        #[serde(skip)]
        task: Option<Task>,
        /// All that is known of it.
        #[serde(skip)]
        change: Box<sockopt::Change>,
    },
    /// The device, or the pacing timer, let the socket send again.
    Tsq,
    /// A write sleeps in its call.
    WriterSleeps {
        /// Why: the send buffer is full, or there is no connection yet.
        cause: Held,
        /// Who sleeps.
        #[serde(skip)]
        task: Task,
    },
    /// The layers below did not take a segment.
    TransmitFailed {
        /// Bytes of it.
        bytes: u32,
        /// What they said: a negative error, or a positive `NET_XMIT_*`.
        returned: i32,
    },
    /// `close()` or `shutdown()` queued a FIN.
    FinQueued {
        /// Who closed.
        #[serde(skip)]
        task: Task,
    },
    /// `close()`, or the end of the process.
    CloseCalled {
        /// Bytes that had come in and were not read; the peer's FIN counts as one until its end was read.
        #[serde(skip_serializing_if = "Option::is_none")]
        unread_bytes: Option<u32>,
        /// Who closed.
        #[serde(skip)]
        task: Task,
    },
    /// A closing socket sent a segment without data: an ACK or a window probe.
    AckOut,
    /// This host resets the connection.
    ResetOut,
    /// The connection is ended as a reset asks: one came in, or data that nobody will read.
    Reset,
    /// A minisock takes the socket's place.
    Minisock {
        /// In which state, `TCP_*`.
        #[serde(skip_serializing_if = "Option::is_none")]
        skc_state: Option<u32>,
    },
    /// Written bytes wait.
    HoldBegan {
        /// What holds them.
        cause: Held,
        /// How many.
        bytes: u32,
        /// How long they have waited: not 0 when an earlier hold has just ended.
        held_ns: u64,
    },
    /// They are held by something else now.
    HeldBy {
        /// What holds them.
        cause: Held,
        /// How many.
        bytes: u32,
    },
    /// They wait at the end of this stretch.
    StillHeld {
        /// What holds them.
        cause: Held,
        /// How many.
        bytes: u32,
        /// How long they have waited.
        held_ns: u64,
    },
    /// The last byte of the write that began the hold has left, or never will.
    HoldEnded {
        /// Bytes that had waited.
        bytes: u32,
        /// Bytes of the write that began it.
        #[serde(skip_serializing_if = "Option::is_none")]
        written_bytes: Option<u32>,
        /// How long.
        held_ns: u64,
        /// What had held them; the times add up.
        causes: Vec<Part>,
        /// What let them go.
        release: Release,
        /// How far the evidence goes.
        certainty: Certainty,
    },
    /// The connection is over: closed, reset, aborted, timed out or handed to TIME-WAIT.
    Over {
        /// State it was in, `TCP_*`.
        #[serde(skip_serializing_if = "Option::is_none")]
        skc_state: Option<u32>,
    },
    /// The socket's life has ended.
    Gone {
        /// The end of its connection was seen before.
        after_over: bool,
    },
    /// The socket has become another connection.
    Reused,
    /// Events were lost somewhere: what is not here may have happened all the same.
    Lost,
    /// What the question `fastopen` says of it.
    #[serde(untagged)]
    Opening(fastopen::Fact),
    /// What the question `defer-accept` says of it.
    #[serde(untagged)]
    Deferral(defer_accept::Fact),
}

impl Fact {
    /// The user stack that it tells, by number.
    pub const fn stack(&self) -> Option<u32> {
        match self {
            Self::Stack { number } => Some(*number),
            _ => None,
        }
    }

    /// The task that acted.
    pub const fn task(&self) -> Option<Task> {
        match self {
            Self::OptionReturned { task, .. } => *task,
            Self::Opening(fact) => fact.task(),
            Self::Deferral(fact) => fact.task(),
            Self::Write { task, .. }
            | Self::WriteReturned { task, .. }
            | Self::OptionSet { task, .. }
            | Self::WriterSleeps { task, .. }
            | Self::CloseCalled { task, .. }
            | Self::FinQueued { task } => Some(*task),
            _ => None,
        }
    }

    /// Whether most readers can do without it.
    pub const fn is_minor(&self) -> bool {
        match self {
            Self::Push { .. } | Self::Attempt { .. } | Self::Tsq => true,
            // A FIN has a line of its own.
            Self::SegmentIn { acked_bytes, data_bytes, syn, released, acks_fin, .. } => {
                *acked_bytes == 0 && *data_bytes == 0 && !*syn && !*released && !*acks_fin
            }
            Self::TimerArmed { matters, .. } => !*matters,
            Self::Gone { after_over } => *after_over,
            _ => false,
        }
    }
}

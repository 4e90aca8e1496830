//! Why written bytes waited, and what let them go.

use std::collections::VecDeque;

use serde::Serialize;
use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{
        ICSK_TIME_LOSS_PROBE, ICSK_TIME_PROBE0, ICSK_TIME_RETRANS, MSG_MORE, SK_PACING_NEEDED, TCP_CORK, TCP_NAGLE_CORK,
        TCP_NAGLE_OFF, TCP_NAGLE_PUSH, TSQF_THROTTLED,
    },
};

use crate::{
    analysis::Analysis,
    event::{Event, Seq, SocketId},
    finding::{Certainty, Evidence, Finding, Task},
};

/// What kept bytes from leaving. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// A small segment behind an unacknowledged small one (RFC 1122 4.2.3.4, in Minshall's form).
    Nagle,
    /// `TCP_CORK` is on.
    Cork,
    /// The call said `MSG_MORE`.
    MsgMore,
    /// The evidence does not tell.
    Undetermined,
}

/// What let the bytes go. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// An incoming ACK.
    Ack,
    /// A later write filled a segment.
    MoreData,
    /// A later write without `MSG_MORE`.
    Push,
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
    /// They never left: reset, abort or time-out.
    Discarded,
    /// They had not left when the trace ended.
    StillHeld,
    /// The evidence does not tell.
    Undetermined,
}

/// One cause in a row of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What held the bytes.
    pub held: Held,
    /// For how long, nanoseconds.
    pub held_ns: u64,
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
    /// Who made the write that started it.
    pub writer: Task,
    /// Bytes that waited and left (or were discarded, or still wait).
    pub bytes: u32,
    /// Size of the write that started it; `None` when its call was not seen.
    pub written_bytes: Option<u32>,
    /// The bytes are what was left after whole segments of the same write.
    pub tail: bool,
    /// Segments in flight when it began.
    pub packets_out: Option<u32>,
    /// Causes in time order; their durations add up to the hold's.
    pub parts: Vec<Part>,
    /// What ended it.
    pub release: Release,
    /// The writes in it, the one that started it first; at most [`MAX_WRITES`].
    pub writes: Vec<Write>,
    /// Writes that are not in `writes`.
    pub writes_left_out: u32,
    /// Whether a set `TCP_NODELAY` was seen on this socket, or in its bits, since it was met.
    pub nodelay_seen: bool,
}

impl Hold {
    /// The task whose write started it.
    pub const fn task(&self) -> Option<Task> {
        Some(self.writer)
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
    /// Swaps cork and Nagle.
    Causes,
    /// Swaps the probe timer and the ACK.
    Releases,
    /// Shifts every start by 5 ms.
    Times,
}

/// Most entries of [`Hold::writes`].
pub const MAX_WRITES: usize = 64;

/// Which write timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// `ICSK_TIME_PROBE0`.
    Probe,
    /// `ICSK_TIME_LOSS_PROBE`.
    LossProbe,
    /// `ICSK_TIME_RETRANS`: sends again, never sends held bytes.
    Retransmit,
}

/// One line of evidence. Sequence numbers count from the first byte that the trace saw on the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// A write call of the program.
    Write {
        /// Bytes; `None` when only its end was seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<u32>,
        /// The call said `MSG_MORE`.
        msg_more: bool,
        /// Who wrote.
        #[serde(skip)]
        task: Task,
    },
    /// Bytes wait, and why.
    Held {
        /// Why.
        cause: Held,
        /// Bytes that wait.
        bytes: u32,
        /// The socket's `nonagle`.
        #[serde(skip_serializing_if = "Option::is_none")]
        nonagle: Option<u32>,
        /// Segments in flight.
        #[serde(skip_serializing_if = "Option::is_none")]
        packets_out: Option<u32>,
        /// Unacknowledged small segment that blocks: sequence range.
        #[serde(skip_serializing_if = "Option::is_none")]
        small_end_seq: Option<u32>,
        /// Unacknowledged bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        unacked_bytes: Option<u32>,
        /// Size of a full segment.
        #[serde(skip_serializing_if = "Option::is_none")]
        mss_bytes: Option<u32>,
        /// Armed write timer.
        #[serde(skip_serializing_if = "Option::is_none")]
        icsk_pending: Option<u32>,
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
        srtt_us: Option<u32>,
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
            Self::Write { task, .. } | Self::OptionSet { task, .. } | Self::FinQueued { task } => Some(*task),
            _ => None,
        }
    }
}

/// The state of one socket: what waits, since when, why, and what happened last.
///
/// Everything is counted in sequence space, so that writes merged into one buffer keep their own record. The rules of
/// attribution hold because the socket lock serialises everything that can send.
#[derive(Debug)]
pub struct Machine {
    /// Start of relative sequence numbers: the first byte seen waiting on this socket.
    base: Option<Seq>,
    /// Writes with bytes that wait, oldest first.
    waiting: VecDeque<Waiting>,
    /// Causes since the oldest of them began to wait: since when, what.
    causes: Vec<(u64, Held)>,
    evidence: Vec<Evidence<Fact>>,
    certainty: Certainty,
    not_seen: Vec<&'static str>,
    /// What runs on the socket: whatever entered last.
    context: Context,
    /// Options that tasks are setting: task, option, event number. Never in `context`, because their events come before
    /// the lock is taken.
    options: Vec<(u32, u32)>,
    /// Last time each of the two options was set, by anyone.
    last_set: Vec<Evidence<Fact>>,
    /// End of the bytes written, as of the last write that ended.
    written_to: Option<Seq>,
    /// A full segment, bytes.
    mss: Option<u32>,
    /// The last attempt was held by the pacing timer.
    paced: bool,
    fin: bool,
    nodelay_seen: bool,
    /// Timer that the evidence already says is armed, and its deadline.
    armed: Option<(u32, u64)>,
}

/// A write, and the part of it that waits.
#[derive(Debug)]
struct Waiting {
    start: Seq,
    end: Seq,
    at_ns: u64,
    task: Task,
    written: Option<u32>,
    packets_out: Option<u32>,
}

/// What entered the socket last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    Nothing,
    Segment,
    Timer(u32),
    Fin,
    Tsq,
}

/// Most lines of evidence that are kept for one hold; the ones in the middle are dropped.
const MAX_EVIDENCE: usize = 256;
/// Most tasks setting options on one socket at once.
const MAX_OPTIONS: usize = 16;
/// Most writes that wait at once and are told apart; further ones are taken together.
const MAX_WAITING: usize = 4096;

impl Default for Machine {
    fn default() -> Self {
        Self {
            base: None,
            waiting: VecDeque::new(),
            causes: Vec::new(),
            evidence: Vec::new(),
            certainty: Certainty::Seen,
            not_seen: Vec::new(),
            context: Context::Nothing,
            options: Vec::new(),
            last_set: Vec::new(),
            written_to: None,
            mss: None,
            paced: false,
            fin: false,
            nodelay_seen: false,
            armed: None,
        }
    }
}

impl Analysis for Machine {
    type Cause = Hold;
    type Fact = Fact;
    const HOOKS: &'static [Hook] = &[
        Hook::tcp_push,
        Hook::tcp_event_new_data_sent,
        Hook::tcp_write_timer_handler,
        Hook::tcp_send_fin,
        Hook::do_tcp_setsockopt,
        Hook::tcp_rcv_established,
        Hook::tcp_rcv_state_process,
        Hook::tcp_v4_destroy_sock,
        Hook::tcp_write_xmit,
        Hook::tcp_sendmsg_locked,
        Hook::tcp_done,
        Hook::tcp_tsq_handler,
    ];
    const REQUIRED: usize = 8;

    fn on_event(&mut self, e: &Event, out: &mut Vec<AnyHold>) {
        if let Some(nonagle) = e.u32(Field::nonagle) {
            self.nodelay_seen |= nonagle & TCP_NAGLE_OFF != 0;
            self.learn_option(nonagle, e.hook);
        }
        match e.hook {
            Hook::tcp_push => self.on_push(e, out),
            Hook::tcp_sendmsg_locked => self.on_write_end(e),
            Hook::tcp_write_xmit => self.on_attempt(e),
            Hook::tcp_event_new_data_sent => self.on_departure(e, out),
            Hook::tcp_rcv_established | Hook::tcp_rcv_state_process => self.on_segment(e),
            Hook::tcp_write_timer_handler => self.on_timer(e),
            Hook::tcp_send_fin => self.on_fin(e),
            Hook::do_tcp_setsockopt => self.on_option(e),
            Hook::tcp_tsq_handler => {
                self.enter(Context::Tsq, e);
                self.note(e, Fact::Tsq);
            }
            Hook::tcp_done | Hook::tcp_v4_destroy_sock => {
                if self.is_waiting() {
                    let bytes = self.bytes_waiting();
                    self.note(e, Fact::Discarded { bytes });
                    self.end_all(e.socket, e.at_ns, Release::Discarded, out);
                }
            }
            Hook::socket | Hook::tcp_fin => {}
        }
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<AnyHold>) {
        if self.is_waiting() {
            self.end_all(socket, at_ns, Release::StillHeld, out);
        }
    }

    fn on_loss(&mut self, _at_ns: u64) {
        if self.is_waiting() {
            self.certainty = Certainty::May;
        }
    }
}

type AnyHold = Finding<Hold, Fact>;

impl Machine {
    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Bytes of all writes that wait; a FIN is none.
    fn bytes_waiting(&self) -> u32 {
        self.waiting.iter().map(|w| w.end.since(w.start)).sum()
    }

    fn relative(&self, seq: Seq) -> u32 {
        self.base.map_or(0, |base| seq.0.wrapping_sub(base.0))
    }

    fn note(&mut self, e: &Event, fact: Fact) {
        self.note_at(e.n, e.at_ns, fact);
    }

    fn note_at(&mut self, n: u64, at_ns: u64, fact: Fact) {
        if !self.is_waiting() {
            return;
        }
        if self.evidence.len() >= MAX_EVIDENCE {
            self.evidence.remove(MAX_EVIDENCE / 2);
        }
        self.evidence.push(Evidence { n, at_ns, fact });
    }

    /// Something entered the socket; a task that does so while it owns the lock is no longer setting an option.
    fn enter(&mut self, context: Context, e: &Event) {
        self.context = context;
        if e.u32(Field::sk_lock_owned).unwrap_or(0) != 0 {
            self.options.retain(|(tid, _)| *tid != e.tid);
        }
    }

    /// `tcp_push()` returned: what is unsent waits from here on.
    fn on_push(&mut self, e: &Event, out: &mut Vec<AnyHold>) {
        let (Some(write_seq), Some(snd_nxt)) = (e.seq(Field::write_seq), e.seq(Field::snd_nxt)) else { return };
        self.options.retain(|(tid, _)| *tid != e.tid);
        self.mss = e.arg("mss_now");
        if self.is_waiting() && !snd_nxt.before(write_seq) {
            // Their departures were not seen.
            self.certainty = Certainty::May;
            self.end_all(e.socket, e.at_ns, Release::Undetermined, out);
        }
        self.written_to = Some(write_seq);
        if !snd_nxt.before(write_seq) {
            return;
        }
        self.base.get_or_insert(snd_nxt);
        let fresh = !self.is_waiting();
        let start = self.waiting.back().map_or(snd_nxt, |last| last.end.max(snd_nxt));
        let task = Task { pid: e.pid, tid: e.tid };
        if start.before(write_seq) {
            self.wait(Waiting {
                start,
                end: write_seq,
                at_ns: e.at_ns,
                task,
                written: None,
                packets_out: e.u32(Field::packets_out),
            });
            let msg_more = e.arg("flags").unwrap_or(0) & MSG_MORE != 0;
            if fresh {
                self.evidence.extend(self.last_set.iter().cloned());
            }
            self.note(e, Fact::Write { bytes: None, msg_more, task });
        }
        let nonagle = if e.arg("flags").unwrap_or(0) & MSG_MORE != 0 { Some(TCP_NAGLE_CORK) } else { e.arg("nonagle") };
        self.hold_by(e, nonagle);
    }

    fn wait(&mut self, write: Waiting) {
        let full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.back_mut() {
            Some(last) if full => last.end = write.end,
            _ => self.waiting.push_back(write),
        }
    }

    /// `tcp_sendmsg_locked()` returned: how large the write was.
    fn on_write_end(&mut self, e: &Event) {
        self.options.retain(|(tid, _)| *tid != e.tid);
        let taken = e.arg("ret").map_or(0, u32::cast_signed);
        let (Some(end), Ok(taken)) = (e.seq(Field::write_seq), u32::try_from(taken)) else { return };
        if taken == 0 {
            return;
        }
        let start = Seq(end.0.wrapping_sub(taken));
        // A call that slept for buffer space pushed more than once: its parts are one write.
        while let [.., a, b] = self.waiting.make_contiguous()
            && b.end == end
            && !a.start.before(start)
        {
            a.end = b.end;
            self.waiting.pop_back();
        }
        let Some(write) = self.waiting.back_mut().filter(|w| w.end == end) else { return };
        if write.start.before(start) {
            // Bytes waited here before the first event of this socket.
            self.certainty = Certainty::May;
            self.not_seen.push("the write of the first bytes");
            return;
        }
        write.written = Some(taken);
        let (left, mut at) = (write.start.since(start), self.evidence.len());
        let (range, when) = ((start, write.start), write.at_ns);
        for (i, line) in self.evidence.iter_mut().enumerate().rev() {
            if let Fact::Write { bytes, .. } = &mut line.fact {
                *bytes = Some(taken);
                at = i + 1;
                break;
            }
        }
        if left > 0 && self.waiting.len() == 1 && at <= self.evidence.len() {
            if self.base == Some(range.1) {
                self.base = Some(start);
            }
            let (seq, end_seq) = (self.relative(range.0), self.relative(range.1));
            let fact = Fact::Left { bytes: left, seq, end_seq, fin: false };
            self.evidence.insert(at, Evidence { n: e.n, at_ns: when, fact });
        }
    }

    /// `tcp_write_xmit()` returned and left bytes: perhaps for another reason than before.
    fn on_attempt(&mut self, e: &Event) {
        // A loss probe and a push of one buffer stop after it, whatever waits.
        if self.is_waiting() && e.arg("push_one") == Some(0) {
            self.hold_by(e, e.arg("nonagle"));
        }
    }

    fn hold_by(&mut self, e: &Event, nonagle: Option<u32>) {
        if !self.is_waiting() {
            return;
        }
        let attempt = Attempt::of(e, nonagle, self.mss);
        self.paced = attempt.is_paced();
        let held = attempt.held();
        let since = self.causes.last().map_or(e.at_ns, |_| e.at_ns);
        let changed = self.causes.last().is_none_or(|(_, last)| *last != held);
        if changed {
            self.causes.push((since, held));
        }
        if changed || e.hook == Hook::tcp_push {
            let fact = self.held_fact(e, held);
            self.note(e, fact);
        }
        self.note_timer(e);
    }

    fn held_fact(&self, e: &Event, cause: Held) -> Fact {
        let unacked = e.seq(Field::snd_nxt).zip(e.seq(Field::snd_una)).map(|(nxt, una)| nxt.since(una));
        let small = e.seq(Field::snd_sml).filter(|_| cause == Held::Nagle).map(|sml| self.relative(sml));
        Fact::Held {
            cause,
            bytes: self.bytes_waiting(),
            nonagle: e.u32(Field::nonagle),
            packets_out: e.u32(Field::packets_out),
            small_end_seq: small,
            unacked_bytes: unacked,
            mss_bytes: self.mss,
            icsk_pending: e.u32(Field::icsk_pending),
        }
    }

    /// Says which write timer is armed, once for each deadline.
    fn note_timer(&mut self, e: &Event) {
        let (Some(pending), Some(expires)) = (e.u32(Field::icsk_pending), e.field(Field::write_timer_expires)) else {
            return;
        };
        let timer = match pending {
            ICSK_TIME_PROBE0 => Timer::Probe,
            ICSK_TIME_LOSS_PROBE => Timer::LossProbe,
            _ => return,
        };
        if self.armed.replace((pending, expires)) == Some((pending, expires)) {
            return;
        }
        let due_ticks = ((expires & 0xffff_ffff) as u32).wrapping_sub(e.jiffies);
        let fact = Fact::TimerArmed {
            timer,
            // A deadline that has just passed.
            due_ticks: if due_ticks > u32::MAX / 2 { 0 } else { due_ticks },
            rto_ticks: e.u32(Field::icsk_rto),
            srtt_us: e.u32(Field::srtt_us).map(|s| s >> 3),
            packets_out: e.u32(Field::packets_out),
        };
        self.note(e, fact);
    }

    /// `tcp_event_new_data_sent()`: a segment has left.
    fn on_departure(&mut self, e: &Event, out: &mut Vec<AnyHold>) {
        let (Some(seq), Some(end_seq)) = (e.seq(Field::seq), e.seq(Field::end_seq)) else { return };
        // Under repair nothing reaches the wire.
        if !self.is_waiting() || e.u32(Field::repair) == Some(1) {
            return;
        }
        let release = self.release(e, end_seq.since(seq));
        let fin = self.fin && e.seq(Field::write_seq) == Some(end_seq);
        let fact = Fact::Left {
            bytes: end_seq.since(seq) - u32::from(fin),
            seq: self.relative(seq),
            end_seq: self.relative(end_seq),
            fin,
        };
        self.note(e, fact);
        while self.waiting.front().is_some_and(|first| !end_seq.before(first.end)) {
            self.end_first(e, end_seq, release, out);
        }
        if let Some(first) = self.waiting.front_mut() {
            first.start = first.start.max(end_seq);
        }
    }

    /// What made a segment of `length` bytes leave.
    fn release(&self, e: &Event, length: u32) -> Release {
        let grown = self.written_to.zip(e.seq(Field::write_seq)).is_some_and(|(known, now)| known.before(now));
        if grown {
            // Bytes were added since the last write ended: a write is at work.
            return if self.mss.is_some_and(|mss| length >= mss) { Release::MoreData } else { Release::Push };
        }
        let owned = e.u32(Field::sk_lock_owned).unwrap_or(0) != 0;
        if owned && let Some((_, option)) = self.options.iter().find(|(tid, _)| *tid == e.tid) {
            return if *option == TCP_CORK { Release::Uncork } else { Release::Nodelay };
        }
        match self.context {
            Context::Segment => Release::Ack,
            Context::Timer(ICSK_TIME_PROBE0) => Release::ProbeTimer,
            Context::Timer(ICSK_TIME_LOSS_PROBE) => Release::LossProbe,
            Context::Fin => Release::Fin,
            // The pacing timer comes this way too, and nothing here tells it from a device that has caught up.
            Context::Tsq if !self.paced => Release::Tsq,
            _ => Release::Undetermined,
        }
    }

    /// The oldest write has left as a whole: one finding, with the writes that left as a whole beside it.
    fn end_first(&mut self, e: &Event, end_seq: Seq, release: Release, out: &mut Vec<AnyHold>) {
        let gone = self.waiting.iter().take_while(|w| !end_seq.before(w.end)).count();
        let gone: Vec<Waiting> = self.waiting.drain(..gone).collect();
        self.conclude(e.socket, e.at_ns, gone, release, out);
    }

    /// Nothing waits any more, or nobody looks any more.
    fn end_all(&mut self, socket: SocketId, at_ns: u64, release: Release, out: &mut Vec<AnyHold>) {
        let gone: Vec<Waiting> = self.waiting.drain(..).collect();
        self.conclude(socket, at_ns, gone, release, out);
    }

    fn conclude(
        &mut self,
        socket: SocketId,
        at_ns: u64,
        gone: Vec<Waiting>,
        release: Release,
        out: &mut Vec<AnyHold>,
    ) {
        let Some(first) = gone.first() else { return };
        let from_ns = first.at_ns;
        let length = |w: &Waiting| w.end.since(w.start);
        let writes: Vec<Write> = gone
            .iter()
            .take(MAX_WRITES)
            .map(|w| Write { bytes: length(w), at_ns: w.at_ns, held_ns: at_ns.saturating_sub(w.at_ns) })
            .collect();
        let hold = Hold {
            writer: first.task,
            bytes: gone.iter().map(length).sum(),
            written_bytes: first.written,
            tail: first.written.is_some_and(|written| written > length(first)),
            packets_out: first.packets_out,
            parts: parts(&self.causes, from_ns, at_ns),
            release,
            writes_left_out: u32::try_from(gone.len() - writes.len()).unwrap_or(u32::MAX),
            writes,
            nodelay_seen: self.nodelay_seen,
        };
        out.push(Finding {
            socket,
            from_ns,
            until_ns: at_ns,
            cause: hold,
            evidence: self.evidence.clone(),
            certainty: self.certainty,
            not_seen: self.not_seen.clone(),
        });
        self.forget();
    }

    /// Keeps of the evidence and the causes what concerns the writes that still wait.
    fn forget(&mut self) {
        let Some(first) = self.waiting.front() else {
            self.causes.clear();
            self.evidence.clear();
            self.not_seen.clear();
            self.certainty = Certainty::Seen;
            self.armed = None;
            return;
        };
        let since = first.at_ns;
        self.evidence.retain(|line| line.at_ns >= since);
        let before = self.causes.iter().filter(|(at, _)| *at <= since).count();
        self.causes.drain(..before.saturating_sub(1));
    }

    fn on_segment(&mut self, e: &Event) {
        self.enter(Context::Segment, e);
        let acked = e.seq(Field::ack_seq).zip(e.seq(Field::snd_una)).map_or(0, |(ack, una)| ack.since(una));
        let data = e.seq(Field::end_seq).zip(e.seq(Field::seq)).map_or(0, |(end, start)| end.since(start));
        if acked > 0 || data > 0 {
            let srtt_us = e.u32(Field::srtt_us).map(|s| s >> 3);
            self.note(e, Fact::Ack { acked_bytes: acked, data_bytes: data, srtt_us });
        }
    }

    fn on_timer(&mut self, e: &Event) {
        let pending = e.u32(Field::icsk_pending).unwrap_or(0);
        let timer = match pending {
            // A stale timer, which does nothing.
            0 => return,
            ICSK_TIME_PROBE0 => Some(Timer::Probe),
            ICSK_TIME_LOSS_PROBE => Some(Timer::LossProbe),
            ICSK_TIME_RETRANS => Some(Timer::Retransmit),
            _ => None,
        };
        self.enter(Context::Timer(pending), e);
        // The handler is also entered when the deadline has moved, and then only sets the timer again.
        let moved = e.field(Field::write_timer_expires).is_some_and(|at| {
            ((at & 0xffff_ffff) as u32).wrapping_sub(e.jiffies).wrapping_sub(1) < u32::MAX / 2
        });
        if let Some(timer) = timer.filter(|_| !moved) {
            self.note(e, Fact::TimerFired { timer });
        }
    }

    fn on_fin(&mut self, e: &Event) {
        self.enter(Context::Fin, e);
        self.options.retain(|(tid, _)| *tid != e.tid);
        self.fin = true;
        self.written_to = e.seq(Field::write_seq).map(|end| Seq(end.0.wrapping_add(1)));
        self.note(e, Fact::FinQueued { task: Task { pid: e.pid, tid: e.tid } });
    }

    fn on_option(&mut self, e: &Event) {
        let Some(optname) = e.arg("optname") else { return };
        let option = if optname == TCP_CORK { "TCP_CORK" } else { "TCP_NODELAY" };
        if self.options.len() >= MAX_OPTIONS {
            self.options.remove(0);
        }
        self.options.retain(|(tid, _)| *tid != e.tid);
        self.options.push((e.tid, optname));
        let fact = Fact::OptionSet { option, value: None, task: Task { pid: e.pid, tid: e.tid } };
        self.last_set.retain(|set| !matches!(set.fact, Fact::OptionSet { option: known, .. } if known == option));
        self.last_set.push(Evidence { n: e.n, at_ns: e.at_ns, fact: fact.clone() });
        self.note(e, fact);
    }

    /// The first look at the socket after an option was set tells its value.
    fn learn_option(&mut self, nonagle: u32, hook: Hook) {
        if hook == Hook::do_tcp_setsockopt {
            return;
        }
        for line in self.last_set.iter_mut().chain(&mut self.evidence) {
            if let Fact::OptionSet { option, value: value @ None, .. } = &mut line.fact {
                let bit = if *option == "TCP_CORK" { TCP_NAGLE_CORK } else { TCP_NAGLE_OFF };
                *value = Some(nonagle & bit != 0);
            }
        }
    }
}

/// Causes between two moments; their durations add up.
fn parts(causes: &[(u64, Held)], from_ns: u64, until_ns: u64) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (i, (since, held)) in causes.iter().enumerate() {
        let start = if i == 0 { from_ns } else { (*since).max(from_ns) };
        let end = causes.get(i + 1).map_or(until_ns, |(next, _)| (*next).clamp(from_ns, until_ns));
        let last = i + 1 == causes.len();
        if end > start || (last && parts.is_empty()) {
            parts.push(Part { held: *held, held_ns: end.saturating_sub(start) });
        }
    }
    if parts.is_empty() {
        parts.push(Part { held: Held::Undetermined, held_ns: until_ns.saturating_sub(from_ns) });
    }
    parts
}

/// The state of the socket at the end of an attempt to send, from which the reason follows: the conditions are those
/// of `tcp_write_xmit()`, evaluated again, because the kernel's own tests are inlined.
struct Attempt<'a> {
    e: &'a Event,
    /// The `nonagle` that decided.
    nonagle: Option<u32>,
    mss: Option<u32>,
}

impl<'a> Attempt<'a> {
    const fn of(e: &'a Event, nonagle: Option<u32>, mss: Option<u32>) -> Self {
        Self { e, nonagle, mss }
    }

    fn held(&self) -> Held {
        self.by_small_segment().unwrap_or(Held::Undetermined)
    }

    /// `None` where something else held the bytes, or a field that would exclude it is missing.
    fn by_small_segment(&self) -> Option<Held> {
        let (nonagle, mss, waiting) = (self.nonagle?, self.mss?, self.e.waiting()?);
        if self.is_paced() || self.is_throttled()? || self.is_cwnd_full()? || self.is_window_full(waiting)? {
            return None;
        }
        // tcp_nagle_test(): only the last buffer, and only when it fills no segment.
        if waiting >= mss || self.e.u32(Field::tail_len).is_some_and(|tail| tail != waiting) {
            return None;
        }
        // tcp_nagle_check(): a push overrides everything, then cork, then Nagle.
        if nonagle & TCP_NAGLE_PUSH != 0 {
            return None;
        }
        if nonagle & TCP_NAGLE_CORK != 0 {
            let corked = self.e.u32(Field::nonagle)? & TCP_NAGLE_CORK != 0;
            return Some(if corked { Held::Cork } else { Held::MsgMore });
        }
        (nonagle == 0 && self.e.u32(Field::packets_out)? > 0 && self.is_small_unacked()?).then_some(Held::Nagle)
    }

    /// tcp_minshall_check(): a small segment is in flight.
    fn is_small_unacked(&self) -> Option<bool> {
        let (sml, una, nxt) = (self.e.seq(Field::snd_sml)?, self.e.seq(Field::snd_una)?, self.e.seq(Field::snd_nxt)?);
        Some(sml.after(una) && !sml.after(nxt))
    }

    /// tcp_pacing_check().
    fn is_paced(&self) -> bool {
        self.e.u32(Field::sk_pacing_status) == Some(SK_PACING_NEEDED)
            && self.e.field(Field::tcp_wstamp_ns) > self.e.field(Field::tcp_clock_cache)
    }

    /// The device is behind, or tcp_should_autocork() kept the attempt from being made.
    fn is_throttled(&self) -> Option<bool> {
        Some(self.e.u32(Field::sk_tsq_flags)? & TSQF_THROTTLED != 0)
    }

    /// tcp_cwnd_test().
    fn is_cwnd_full(&self) -> Option<bool> {
        let of = |field| self.e.u32(field);
        let gone = of(Field::sacked_out)?.saturating_add(of(Field::lost_out)?);
        let in_flight = of(Field::packets_out)?.saturating_sub(gone).saturating_add(of(Field::retrans_out)?);
        Some(in_flight >= of(Field::snd_cwnd)?)
    }

    /// tcp_snd_wnd_test(): the next segment, or all that waits, does not fit.
    fn is_window_full(&self, waiting: u32) -> Option<bool> {
        let (una, nxt) = (self.e.seq(Field::snd_una)?, self.e.seq(Field::snd_nxt)?);
        let end = Seq(nxt.0.wrapping_add(waiting.min(self.mss?)));
        Some(end.after(Seq(una.0.wrapping_add(self.e.u32(Field::snd_wnd)?))))
    }
}

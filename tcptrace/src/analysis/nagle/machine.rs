//! The state of one socket, and what its events make of it.

use std::mem;

use smallvec::SmallVec;
use tcptrace_common::{
    exchange::FROM_BIRTH,
    field::Field,
    hook::Hook,
    tcp::{
        MSG_MORE, MSG_SPLICE_PAGES, TCP_CORK, TCP_NAGLE_CORK, TCP_NAGLE_OFF, TCP_NEW_SYN_RECV,
        TCP_NODELAY, TCP_SYN_RECV, TCP_SYN_SENT,
    },
};
use thin_vec::ThinVec;

use crate::{
    analysis::{
        Analysis,
        nagle::{
            Fact, Held, Hold, Known, Limit, MAX_WRITES, Number, Part, PeerAck, Release, Small,
            Timer, Way, Write,
            acks::{Acks, inferred},
            attempt::{self, Attempt},
            attribution::{Attribution, Context, Lasting, Ready, edge_of},
            blocked::{Blocked, no_room},
            sparse::{AtWork, Sparse},
            timer,
        },
    },
    event::{Event, Seq, SocketId, position},
    finding::{Certainty, Evidence, Finding, Task},
};

/// The state of one socket: what waits, since when, why, and what happened last.
///
/// Everything is counted in sequence space, so that writes merged into one buffer keep their own record. The rules of
/// attribution hold because the socket lock serialises everything that can send.
#[derive(Debug)]
pub(super) struct Machine {
    /// Start of relative sequence numbers: the first byte seen waiting on this socket.
    base: Option<Seq>,
    /// Writes with bytes that wait, oldest first.
    waiting: SmallVec<[Waiting; 1]>,
    /// Causes since the oldest of them began to wait: since when, what.
    causes: SmallVec<[(u64, Held); 1]>,
    evidence: Vec<Evidence<Fact>>,
    certainty: Certainty,
    not_seen: ThinVec<&'static str>,
    /// Who is at work.
    attribution: Attribution,
    /// Last time each of the two options was set, by anyone.
    last_set: ThinVec<Evidence<Fact>>,
    /// A full segment, bytes.
    mss: Option<Number>,
    /// The last attempt was held by the pacing timer.
    paced: bool,
    written: Written,
    nodelay_seen: bool,
    /// Whose socket it is, where it is no program's.
    owner: Option<Way>,
    /// Timer that the evidence already says is armed, and its deadline.
    armed: Option<(Timer, u64)>,
    /// The write's own attempt to send, until its push ends.
    attempted: Option<Attempted>,
    /// A segment that the layers below did not take: the thread at work, whether it owned the socket, and what is told.
    failed: Option<Box<(u32, bool, Evidence<Fact>)>>,
    /// A segment that acknowledged nothing new, while it is at work.
    update: Option<Box<Evidence<Fact>>>,
    /// Writes that sleep in their call.
    blocked: Blocked,
    /// When segments left, and what the ACKs for them tell.
    acks: Acks,
    /// Only the ends of holds are told.
    sparse: Option<Box<Sparse>>,
}

/// Whether every byte that waits was seen written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Written {
    /// Not so at first on a socket that may be older than the trace.
    #[default]
    Unknown,
    Seen,
    /// Events were lost: until nothing waits, nobody knows.
    Lost,
}

/// An attempt to send that a write has made.
#[derive(Clone, Copy, Debug)]
struct Attempted {
    tid: u32,
    write_seq: Option<Seq>,
    /// A segment of it was not taken by the layers below.
    failed: bool,
}

/// A write, and the part of it that waits.
#[derive(Debug)]
struct Waiting {
    /// First byte that has waited in this hold.
    held_from: Seq,
    /// First byte that still waits.
    start: Seq,
    end: Seq,
    at_ns: u64,
    task: Task,
    written: Option<Number>,
    packets_out: Option<Number>,
    /// Of its push.
    turn: u32,
    part: u32,
    from_start: bool,
    way: Option<Way>,
}

/// What is remembered of a socket that holds nothing.
#[derive(Debug, Default)]
pub(super) struct Kept {
    base: Option<Seq>,
    attribution: Lasting,
    last_set: ThinVec<Evidence<Fact>>,
    acks: Acks,
    mss: Option<Number>,
    paced: bool,
    written: Written,
    nodelay_seen: bool,
    owner: Option<Way>,
    sparse: Option<Box<Sparse>>,
}

impl Kept {
    /// As [`Analysis::glance`].
    pub(super) fn glance(&self) -> u64 {
        self.acks.glance()
    }

    /// Takes an event that begins nothing on a socket that holds nothing, as [`Machine`] would with more effort; `false`
    /// where it may be another.
    pub(super) fn suffices(&mut self, e: &Event) -> bool {
        match e.hook {
            Hook::socket => {
                self.owner = owner(e);
                self.written = written(e, self.written);
            }
            Hook::tcp_sendmsg_locked | Hook::do_tcp_sendpages => self.attribution.write_done(e),
            Hook::tcp_event_new_data_sent => self.acks.departed(e),
            Hook::tcp_rcv_established | Hook::tcp_rcv_state_process => {
                self.attribution.entered(e);
                self.acks.acknowledged(e.seq(Field::ack_seq));
            }
            _ => return false,
        }
        if let Some(nonagle) = e.u32(Field::nonagle) {
            self.nodelay_seen |= nonagle & TCP_NAGLE_OFF != 0;
            learn_option(&mut self.last_set, nonagle, e);
        }
        if let Some(sparse) = &mut self.sparse {
            sparse.notice(e);
        }
        true
    }
}

impl From<Kept> for Machine {
    fn from(kept: Kept) -> Self {
        Self {
            base: kept.base,
            attribution: kept.attribution.into(),
            last_set: kept.last_set,
            acks: kept.acks,
            mss: kept.mss,
            paced: kept.paced,
            written: kept.written,
            nodelay_seen: kept.nodelay_seen,
            owner: kept.owner,
            sparse: kept.sparse,
            ..Self::default()
        }
    }
}

/// How a hold ends.
#[derive(Clone, Copy, Debug)]
struct End {
    socket: SocketId,
    at_ns: u64,
    release: Release,
}

/// Most lines of evidence that are kept for one hold; the ones in the middle are dropped.
const MAX_EVIDENCE: usize = 256;
/// Arguments of `tcp_push()` and what is counted with it.
const MSS_NOW: usize = position(Hook::tcp_push, "mss_now");
const FLAGS: usize = position(Hook::tcp_push, "flags");
const NONAGLE: usize = position(Hook::tcp_push, "nonagle");
const TURN: usize = position(Hook::tcp_push, "turn");
const PART: usize = position(Hook::tcp_push, "part");
const FROM_START: usize = position(Hook::tcp_push, "from_start");
/// As many lines has a hold as a rule while its bytes wait: room for them is made at once.
const USUAL_EVIDENCE: usize = 5;
/// Most writes that wait at once and are told apart; further ones are taken together.
const MAX_WAITING: usize = 4096;
/// Most changes of the cause that are kept for one hold; what held in the middle is then undetermined.
const MAX_CAUSES: usize = 64;

impl Default for Machine {
    fn default() -> Self {
        Self {
            base: None,
            waiting: SmallVec::new(),
            causes: SmallVec::new(),
            evidence: Vec::new(),
            certainty: Certainty::Seen,
            not_seen: ThinVec::new(),
            attribution: Attribution::default(),
            last_set: ThinVec::new(),
            mss: None,
            paced: false,
            written: Written::default(),
            nodelay_seen: false,
            owner: None,
            armed: None,
            attempted: None,
            failed: None,
            update: None,
            blocked: Blocked::default(),
            acks: Acks::default(),
            sparse: None,
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
        Hook::tcp_tsq_write,
        Hook::tcp_pace_kick,
        Hook::sk_stream_wait_memory,
        Hook::sk_stream_wait_connect,
        Hook::do_tcp_sendpages,
        Hook::tcp_connect,
        Hook::tcp_delack_timer_handler,
    ];
    const REQUIRED: usize = 8;
    const SPARSE: &'static [Hook] = &[
        Hook::tcp_push,
        Hook::tcp_event_new_data_sent,
        Hook::tcp_write_timer_handler,
        Hook::tcp_send_fin,
        Hook::do_tcp_setsockopt,
        Hook::tcp_v4_destroy_sock,
        Hook::tcp_done,
        Hook::tcp_tsq_write,
        Hook::tcp_pace_kick,
    ];
    const SPARSE_REQUIRED: usize = 6;

    fn sparse(&mut self) {
        self.sparse = Some(Box::default());
    }

    fn glance(&self) -> u64 {
        let waits = self.waiting.first().map_or(0, |first| first.at_ns);
        let held = self.causes.last().map_or(0, |(at_ns, _)| *at_ns);
        let first = self.evidence.first().map_or(0, |line| line.n);
        let last = self.evidence.last().map_or(0, |line| line.n);
        // The parts of the block itself that the next event reads.
        let own = [self.failed.is_some(), self.armed.is_some(), self.blocked.is_empty()];
        waits ^ held ^ first ^ last ^ self.acks.glance() ^ u64::from(own.contains(&true))
    }

    fn on_event(&mut self, e: &Event, out: &mut Vec<AnyHold>) {
        if let Some(nonagle) = e.u32(Field::nonagle) {
            self.nodelay_seen |= nonagle & TCP_NAGLE_OFF != 0;
            learn_option(&mut self.last_set, nonagle, e);
            learn_option(&mut self.evidence, nonagle, e);
        }
        self.catch_up(e, out);
        self.blocked.notice(e);
        match e.hook {
            Hook::tcp_push => self.on_push(e),
            Hook::tcp_sendmsg_locked | Hook::do_tcp_sendpages => {
                self.on_write_end(e);
                out.extend(self.blocked.returned(e, way(e), self.nodelay_seen));
            }
            Hook::tcp_write_xmit => self.on_attempt(e),
            Hook::tcp_event_new_data_sent => self.on_departure(e, out),
            Hook::tcp_rcv_established | Hook::tcp_rcv_state_process => self.on_segment(e),
            Hook::tcp_write_timer_handler => self.on_timer(e),
            Hook::tcp_send_fin => self.on_fin(e),
            Hook::do_tcp_setsockopt => self.on_option(e),
            Hook::tcp_tsq_write => {
                let ready = self.attribution.sends_again(e);
                self.on_ready(e, ready);
            }
            Hook::tcp_tsq_handler => {
                let ready = self.attribution.may_send_again(e);
                self.on_ready(e, ready);
            }
            Hook::tcp_pace_kick => self.attribution.pacing_timer(),
            Hook::__tcp_transmit_skb => self.on_failure(e),
            Hook::sk_stream_wait_memory => self.blocked.sleeps(e, no_room(e)),
            Hook::sk_stream_wait_connect | Hook::tcp_connect if e.awaits_connection() => {
                self.blocked.sleeps(e, Held::NotEstablished);
            }
            Hook::socket_reused => self.on_reuse(e, out),
            Hook::tcp_done | Hook::tcp_v4_destroy_sock if self.is_waiting() => {
                let bytes = self.bytes_waiting();
                self.note(e, Fact::Discarded { bytes });
                self.end_all(
                    End { socket: e.socket, at_ns: e.at_ns, release: Release::Discarded },
                    out,
                );
            }
            Hook::user_stack => self.on_stack(e),
            Hook::socket => {
                self.owner = owner(e);
                self.written = written(e, self.written);
            }
            // What holds or releases bytes passes none of the others.
            _ => {}
        }
        if let Some(sparse) = &mut self.sparse {
            sparse.notice(e);
        }
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<AnyHold>) {
        if self.is_waiting() {
            self.end_all(End { socket, at_ns, release: Release::StillHeld }, out);
        }
        out.extend(self.blocked.still(socket, at_ns, self.nodelay_seen));
    }

    fn on_loss(&mut self, _at_ns: u64) {
        self.attribution.forget();
        (self.attempted, self.failed, self.update) = (None, None, None);
        self.blocked.on_loss();
        self.written = Written::Lost;
        if let Some(sparse) = &mut self.sparse {
            **sparse = Sparse::default();
        }
        if self.is_waiting() {
            self.certainty = Certainty::May;
        }
    }
}

type AnyHold = Finding<Hold, Fact>;

impl Machine {
    /// Since when the oldest write waits, nanoseconds, `CLOCK_MONOTONIC`; how many bytes do; and what holds them.
    pub(in crate::analysis) fn held(&self) -> Option<(u64, u32, Held)> {
        let first = self.waiting.first()?;
        let held = self.causes.last().map_or(Held::Undetermined, |(_, held)| *held);
        Some((first.at_ns, self.bytes_waiting(), held))
    }

    /// Whether nothing is going on that [`Kept`] does not keep.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.causes.is_empty()
            && self.evidence.is_empty()
            && self.certainty == Certainty::Seen
            && self.not_seen.is_empty()
            && self.armed.is_none()
            && self.attempted.is_none()
            && self.failed.is_none()
            && self.update.is_none()
            && self.blocked.is_empty()
    }

    /// Takes what is to be kept of a socket at which nothing is going on.
    pub(super) fn kept(&mut self) -> Kept {
        Kept {
            base: self.base,
            attribution: mem::take(&mut self.attribution).lasting(),
            last_set: mem::take(&mut self.last_set),
            acks: mem::take(&mut self.acks),
            mss: self.mss,
            paced: self.paced,
            written: self.written,
            nodelay_seen: self.nodelay_seen,
            owner: self.owner,
            sparse: self.sparse.take(),
        }
    }

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
        // Of what is only counted nobody asks for the evidence, but for the write: a user stack stands behind it.
        if !self.is_waiting() || self.sparse.is_some() && !matches!(fact, Fact::Write { .. }) {
            return;
        }
        if self.evidence.len() >= MAX_EVIDENCE {
            self.evidence.remove(MAX_EVIDENCE / 2);
        }
        if self.evidence.len() == self.evidence.capacity() {
            // Very many sockets may hold bytes at one time: a vector left to itself has room for twice the lines of each.
            let more = match self.evidence.len() {
                0 if self.sparse.is_none() => USUAL_EVIDENCE,
                0 => 1,
                lines => lines.div_ceil(2),
            };
            self.evidence.reserve_exact(more);
        }
        self.evidence.push(Evidence { n, at_ns, fact });
    }

    fn misses(&mut self, name: &'static str) {
        if !self.not_seen.contains(&name) {
            self.not_seen.push(name);
        }
    }

    /// Bytes that have left although no departure was seen: what they waited for is unknown.
    fn catch_up(&mut self, e: &Event, out: &mut Vec<AnyHold>) {
        // These run before the lock is taken: their numbers can be newer than their place in the trace.
        if matches!(e.hook, Hook::do_tcp_setsockopt | Hook::tcp_tsq_handler) {
            return;
        }
        let next =
            if e.hook == Hook::tcp_event_new_data_sent { Field::seq } else { Field::snd_nxt };
        let Some(next) = e.seq(next) else { return };
        while self.waiting.first().is_some_and(|first| !first.end.after(next)) {
            self.certainty = Certainty::May;
            self.end_first(
                next,
                End { socket: e.socket, at_ns: e.at_ns, release: Release::Undetermined },
                out,
            );
        }
        if let Some(first) = self.waiting.first_mut().filter(|first| first.start.before(next)) {
            (first.held_from, first.start) = (next, next);
            self.certainty = Certainty::May;
        }
    }

    /// `tcp_push()` returned: what is unsent waits from here on.
    fn on_push(&mut self, e: &Event) {
        let (Some(write_seq), Some(snd_nxt)) = (e.seq(Field::write_seq), e.seq(Field::snd_nxt))
        else {
            return;
        };
        self.attribution.write_done(e);
        self.acks.disordered(e);
        self.update = None;
        self.mss = e.arg_at(MSS_NOW).and_then(Number::new);
        if !snd_nxt.before(write_seq) {
            (self.attempted, self.failed) = (None, None);
            return;
        }
        self.base.get_or_insert(snd_nxt);
        let msg_more = e.arg_at(FLAGS).is_some_and(|flags| flags & MSG_MORE != 0);
        let fresh = !self.is_waiting();
        let start = self.waiting.last().map_or(snd_nxt, |last| last.end.max(snd_nxt));
        // MPTCP pushes in softirq too, for whoever wrote: the task that it interrupts has not.
        let in_softirq = e.u32(Field::sk_lock_owned) == Some(0);
        let task = if in_softirq { Task { pid: 0, tid: 0 } } else { Task::at_work(e) };
        let [turn, part, from_start] = [TURN, PART, FROM_START].map(|at| e.arg_at(at).unwrap_or(0));
        // A push before this one was counted, and left nothing: it would have been told.
        let is_counted = fresh && turn.max(part) > 1;
        if self.written == Written::Unknown && (is_counted || from_start == FROM_BIRTH) {
            self.written = Written::Seen;
        }
        if start.before(write_seq) {
            self.wait(Waiting {
                held_from: start,
                start,
                end: write_seq,
                at_ns: e.at_ns,
                task,
                written: None,
                way: None,
                packets_out: e.u32(Field::packets_out).and_then(Number::new),
                turn,
                part,
                from_start: from_start != 0,
            });
            if fresh && e.u32(Field::nonagle).is_some_and(|n| n & TCP_NAGLE_CORK != 0) {
                let cork = |set: &&Evidence<Fact>| {
                    matches!(set.fact, Fact::OptionSet { option: "TCP_CORK", .. })
                };
                self.evidence.extend(self.last_set.iter().filter(cork).cloned());
            }
            self.note(e, Fact::Write { bytes: None, call_goes_on: false, msg_more, task });
        }
        let nonagle = if msg_more { Some(TCP_NAGLE_CORK) } else { e.arg_at(NONAGLE) };
        let own = |attempted: &Attempted| {
            attempted.tid == e.tid && attempted.write_seq == Some(write_seq)
        };
        let attempted = self.attempted.take().filter(own);
        let failed = attempted.is_some_and(|attempted| attempted.failed) || self.takes_failure(e);
        let unattempted = self.sparse.is_none().then_some(attempted.is_none());
        self.hold_by(e, nonagle, failed, unattempted);
    }

    fn wait(&mut self, write: Waiting) {
        let full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.last_mut() {
            Some(last) if full => last.end = write.end,
            _ => self.waiting.push(write),
        }
    }

    /// `tcp_sendmsg_locked()` returned: how large the write was.
    fn on_write_end(&mut self, e: &Event) {
        self.attribution.write_done(e);
        let taken = e.arg("ret").map_or(0, u32::cast_signed);
        let (Some(end), Ok(taken)) = (e.seq(Field::write_seq), u32::try_from(taken)) else {
            return;
        };
        if taken == 0 {
            return;
        }
        let start = Seq(end.0.wrapping_sub(taken));
        // A call that slept for buffer space pushed more than once: its parts are one write.
        while let [.., a, b] = self.waiting.as_mut_slice()
            && b.end == end
            && !a.start.before(start)
        {
            a.end = b.end;
            self.waiting.pop();
        }
        let Some(write) = self.waiting.last_mut().filter(|w| w.end == end) else { return };
        if write.held_from.before(start) {
            // Bytes waited here before the first event of this socket.
            self.certainty = Certainty::May;
            self.misses("the write of the first bytes");
            return;
        }
        if mem::replace(&mut write.written, Number::new(taken)).is_some() {
            // The same end twice: there is nothing new in it.
            return;
        }
        write.way = Some(way(e));
        self.written = Written::Seen;
        let (left, mut at) = (write.held_from.since(start), self.evidence.len());
        let (range, when) = ((start, write.held_from), write.at_ns);
        for (i, line) in self.evidence.iter_mut().enumerate().rev() {
            if let Fact::Write { bytes, .. } = &mut line.fact {
                *bytes = Some(taken);
                at = i + 1;
                break;
            }
        }
        at += usize::from(self.evidence.get(at).is_some_and(|next| next.fact.stack().is_some()));
        if left > 0 && self.waiting.len() == 1 && at <= self.evidence.len() {
            if self.base == Some(range.1) {
                self.base = Some(start);
            }
            let (seq, end_seq) = (self.relative(range.0), self.relative(range.1));
            let fact = Fact::Left { bytes: left, seq, end_seq, fin: false };
            self.evidence.insert(at, Evidence { n: e.n, at_ns: when, fact });
        }
    }

    /// Where the write at work came from; told once for each.
    fn on_stack(&mut self, e: &Event) {
        let (Some(number), own) = (e.arg("stack"), Task::at_work(e)) else { return };
        let write =
            |line: &Evidence<Fact>| matches!(&line.fact, Fact::Write { task, .. } if *task == own);
        let Some(at) = self.evidence.iter().rposition(write) else { return };
        let told = self.evidence.get(at + 1).is_some_and(|next| next.fact.stack().is_some());
        if self.is_waiting() && !told && self.evidence.len() < MAX_EVIDENCE {
            let fact = Fact::Stack { number };
            self.evidence.insert(at + 1, Evidence { n: e.n, at_ns: e.at_ns, fact });
        }
    }

    /// `tcp_write_xmit()` returned and left bytes: perhaps for another reason than before.
    fn on_attempt(&mut self, e: &Event) {
        self.attribution.attempted(e);
        self.acks.disordered(e);
        // It follows the path's MTU and half the largest window that the peer has offered: perhaps another than at the push.
        self.mss = e.arg("mss_now").and_then(Number::new).or(self.mss);
        let (write_seq, owned) = (e.seq(Field::write_seq), e.u32(Field::sk_lock_owned) == Some(1));
        let written = self.waiting.last().map(|last| last.end);
        // Behind a FIN nobody writes: what has grown then is the FIN.
        let writes = owned
            && !self.attribution.is_fin()
            && e.waiting().is_some_and(|waiting| waiting > 0)
            && written.is_none_or(|end| write_seq.is_some_and(|now| end.before(now)));
        if writes {
            // The write's push ends next: it tells which bytes are new, and why they stay.
            let failed = self.failure_told(e);
            self.attempted = Some(Attempted { tid: e.tid, write_seq, failed });
            return;
        }
        let failed = self.takes_failure(e);
        // A loss probe and a push of one buffer stop after it, whatever waits.
        if self.is_waiting() && (e.arg("push_one") == Some(0) || failed) {
            self.hold_by(e, e.arg("nonagle"), failed, Some(false));
        }
    }

    /// A segment was not taken by the layers below: the attempt that ends next tells so.
    fn on_failure(&mut self, e: &Event) {
        let (seq, next) = (e.seq(Field::seq), e.seq(Field::snd_nxt));
        // What is sent again does not wait.
        if seq.zip(next).is_none_or(|(seq, next)| seq.before(next)) {
            return;
        }
        let bytes = e.seq(Field::end_seq).zip(seq).map_or(0, |(end, seq)| end.since(seq));
        let returned = e.arg("ret").unwrap_or(0).cast_signed();
        let fact = Fact::TransmitFailed { bytes, returned: Some(returned) };
        let owned = e.u32(Field::sk_lock_owned) == Some(1);
        let told = Evidence { n: e.n, at_ns: e.at_ns, fact };
        self.failed = Some(Box::new((e.tid, owned, told)));
    }

    /// Whether the attempt that has ended failed, as an event or the socket itself tells.
    fn takes_failure(&mut self, e: &Event) -> bool {
        if self.failure_told(e) {
            return true;
        }
        let failed = attempt::failed(e);
        if failed {
            let bytes = e.u32(Field::head_len).unwrap_or(0);
            self.note(e, Fact::TransmitFailed { bytes, returned: None });
        }
        failed
    }

    /// Whether an event has told that the attempt failed.
    fn failure_told(&mut self, e: &Event) -> bool {
        let now = (e.tid, e.u32(Field::sk_lock_owned) == Some(1));
        let Some(failed) = self.failed.take().filter(|failed| (failed.0, failed.1) == now) else {
            return false;
        };
        let (_, _, told) = *failed;
        self.note_at(told.n, told.at_ns, told.fact);
        true
    }

    fn on_ready(&mut self, e: &Event, ready: Ready) {
        (self.failed, self.update) = (None, None);
        let fact = match ready {
            Ready::Device => Fact::Tsq,
            Ready::PacingTimer => Fact::PacingTimer,
        };
        self.note(e, fact);
    }

    fn hold_by(
        &mut self,
        e: &Event,
        nonagle: Option<u32>,
        failed: bool,
        unattempted: Option<bool>,
    ) {
        if !self.is_waiting() {
            return;
        }
        let fin = self.attribution.is_fin();
        let mss = self.mss.map(Number::get);
        let attempt = Attempt { e, nonagle, mss, failed, unattempted, fin };
        self.paced = attempt.is_paced();
        let held = attempt.held();
        let changed = self.causes.last().is_none_or(|(_, last)| *last != held);
        if changed {
            self.cause(e.at_ns, held);
        }
        if self.sparse.is_some() {
            return;
        }
        if changed || e.hook == Hook::tcp_push {
            let fact = self.held_fact(e, held, attempt.limit(held));
            self.note(e, fact);
        }
        self.note_timer(e);
    }

    /// From here on, `held` holds. Events of two CPUs can stand in the trace the other way round.
    fn cause(&mut self, at_ns: u64, held: Held) {
        if self.causes.len() >= MAX_CAUSES {
            let middle = MAX_CAUSES / 2;
            self.causes.remove(middle);
            if let Some((_, before)) = self.causes.get_mut(middle - 1) {
                *before = Held::Undetermined;
            }
        }
        let at_ns = self.causes.last().map_or(at_ns, |(last_ns, _)| at_ns.max(*last_ns));
        self.causes.push((at_ns, held));
    }

    fn held_fact(&self, e: &Event, cause: Held, limit: Option<Limit>) -> Fact {
        let unacked =
            e.seq(Field::snd_nxt).zip(e.seq(Field::snd_una)).map(|(nxt, una)| nxt.since(una));
        let small = e
            .seq(Field::snd_sml)
            .filter(|sml| cause == Held::Nagle && self.base.is_some_and(|base| sml.after(base)))
            .and_then(|sml| Number::new(self.relative(sml)));
        let number = |field| e.u32(field).and_then(Number::new);
        Fact::Held {
            cause,
            bytes: self.bytes_waiting(),
            nonagle: e.u32(Field::nonagle).and_then(Small::new),
            packets_out: number(Field::packets_out),
            small_end_seq: small,
            unacked_bytes: unacked.and_then(Number::new),
            mss_bytes: self.mss,
            icsk_pending: e.u32(Field::icsk_pending).and_then(Small::new),
            limit,
        }
    }

    /// Says which write timer is armed, once for each deadline.
    fn note_timer(&mut self, e: &Event) {
        let Some(armed) = timer::armed(e).filter(|armed| armed.timer != Timer::Retransmit) else {
            if e.u32(Field::icsk_pending).is_some() && e.field(Field::write_timer_expires).is_some()
            {
                self.armed = None;
            }
            return;
        };
        if self.armed.replace((armed.timer, armed.expires)) == Some((armed.timer, armed.expires)) {
            return;
        }
        let fact = Fact::TimerArmed {
            timer: armed.timer,
            due_ticks: armed.due_ticks,
            rto_ticks: e.u32(Field::icsk_rto),
            srtt_us: e.u32(Field::srtt_us).map(|s| s >> 3),
            packets_out: e.u32(Field::packets_out),
        };
        self.note(e, fact);
    }

    /// `tcp_event_new_data_sent()`: a segment has left.
    fn on_departure(&mut self, e: &Event, out: &mut Vec<AnyHold>) {
        let (Some(seq), Some(end_seq)) = (e.seq(Field::seq), e.seq(Field::end_seq)) else { return };
        self.acks.left(end_seq, e.at_ns);
        if !self.is_waiting() {
            return;
        }
        let mss = self.mss.map(Number::get).into_iter().chain(e.u32(Field::mss_cache)).min();
        let held = self.causes.last().map_or(Held::Undetermined, |(_, held)| *held);
        let release = if e.u32(Field::repair) == Some(1) {
            // Nothing reaches the wire then.
            self.certainty = Certainty::May;
            Release::Undetermined
        } else {
            let full = mss.is_some_and(|mss| end_seq.since(seq) >= mss);
            // tcp_nagle_test(): a buffer with another behind it, which nothing was added to, leaves as a full one does.
            let last = e.seq(Field::write_seq).is_none_or(|end| end == end_seq);
            self.release(e, full || !last, held)
        };
        if let Some(update) = self.update.take() {
            let Evidence { n, at_ns, fact } = *update;
            match (release, e.u32(Field::snd_wnd)) {
                (Release::WindowUpdate, Some(window_bytes)) => {
                    self.note_at(n, at_ns, Fact::WindowUpdate { window_bytes });
                }
                (Release::Ack, _) => self.note_at(n, at_ns, fact),
                _ => {}
            }
        }
        let fin = self.attribution.is_fin() && e.seq(Field::write_seq) == Some(end_seq);
        let fact = Fact::Left {
            bytes: end_seq.since(seq).saturating_sub(u32::from(fin)),
            seq: self.relative(seq),
            end_seq: self.relative(end_seq),
            fin,
        };
        self.note(e, fact);
        while self.waiting.first().is_some_and(|first| !end_seq.before(first.end)) {
            self.end_first(end_seq, End { socket: e.socket, at_ns: e.at_ns, release }, out);
        }
        if let Some(first) = self.waiting.first_mut() {
            first.start = first.start.max(end_seq);
        }
    }

    /// What let the segment go that has left; where segments that arrive are not told, one that must have is put in.
    fn release(&mut self, e: &Event, full: bool, held: Held) -> Release {
        let grown = self.attribution.is_grown(e);
        match self.sparse.as_mut().map_or(AtWork::Told, |sparse| sparse.at_work(e, held, grown)) {
            AtWork::Told => {}
            AtWork::Untold(segment) => self.attribution.enter(segment, e),
            AtWork::Unknown => return Release::Undetermined,
        }
        self.attribution.release(e, full, held, self.paced)
    }

    /// The oldest write has left as a whole: one finding, with the writes that left as a whole beside it.
    fn end_first(&mut self, end_seq: Seq, end: End, out: &mut Vec<AnyHold>) {
        let gone = self.waiting.iter().take_while(|w| !end_seq.before(w.end)).count();
        self.conclude(gone, end, out);
    }

    /// Nothing waits any more, or nobody looks any more.
    fn end_all(&mut self, end: End, out: &mut Vec<AnyHold>) {
        self.conclude(self.waiting.len(), end, out);
    }

    /// The first `many` writes wait no more.
    fn conclude(&mut self, many: usize, end: End, out: &mut Vec<AnyHold>) {
        let End { socket, at_ns, release } = end;
        let gone: SmallVec<[Waiting; 1]> = self.waiting.drain(..many).collect();
        let Some(first) = gone.first() else { return };
        let from_ns = first.at_ns;
        let at_ns = at_ns.max(from_ns);
        let (turn, part, from_start) = (first.turn, first.part, first.from_start);
        let written = first.written.map(Number::get);
        let length = |w: &Waiting| w.end.since(w.held_from);
        if self.written != Written::Seen && first.written.is_none() {
            // What waited may be older than the trace, and somebody else's.
            self.certainty = Certainty::May;
            self.misses("the call that wrote these bytes");
        }
        if first.written.is_none() && self.blocked.sleeps_in(first.task.tid) {
            self.call_goes_on(first.task);
        }
        let writes: SmallVec<[Write; 1]> = gone
            .iter()
            .take(MAX_WRITES)
            .map(|w| Write {
                bytes: length(w),
                at_ns: w.at_ns,
                held_ns: at_ns.saturating_sub(w.at_ns),
            })
            .collect();
        let hold = Hold {
            writer: first.task,
            bytes: gone.iter().map(length).sum(),
            written_bytes: written,
            way: self.owner.or(first.way),
            tail: written.is_some_and(|written| written > length(first)),
            packets_out: first.packets_out.map(Number::get),
            parts: parts(&self.causes, from_ns, at_ns),
            release,
            writes_left_out: u32::try_from(gone.len() - writes.len()).unwrap_or(u32::MAX),
            writes,
            nodelay_seen: self.nodelay_seen,
            turn,
            part,
            from_start,
            peer_ack: (release == Release::Ack).then(|| self.peer_ack()).flatten(),
            pattern: None,
        };
        let (evidence, not_seen) = if self.is_waiting() {
            (self.evidence.clone(), self.not_seen.clone())
        } else {
            (mem::take(&mut self.evidence), mem::take(&mut self.not_seen))
        };
        out.push(Finding {
            socket,
            from_ns,
            until_ns: at_ns,
            cause: hold,
            evidence,
            certainty: self.certainty,
            not_seen: not_seen.into_iter().collect(),
        });
        self.forget();
    }

    /// The call of the task has not ended: how large its write is, it will tell.
    fn call_goes_on(&mut self, of: Task) {
        for line in &mut self.evidence {
            if let Fact::Write { bytes: None, call_goes_on, task, .. } = &mut line.fact {
                *call_goes_on |= *task == of;
            }
        }
    }

    /// How the peer sent the last ACK; nothing of one that answers no segment for the first time.
    fn peer_ack(&self) -> Option<(PeerAck, Known)> {
        let mut acks = self.evidence.iter().rev().map(|line| &line.fact);
        let last = acks.find(|fact| matches!(fact, Fact::Ack { .. }))?;
        if matches!(last, Fact::Ack { acked_bytes: 0, .. }) { None } else { inferred(last) }
    }

    /// Keeps of the evidence and the causes what concerns the writes that still wait.
    fn forget(&mut self) {
        let Some(first) = self.waiting.first_mut() else {
            self.written = Written::Seen;
            self.causes.clear();
            self.evidence.clear();
            self.not_seen.clear();
            self.certainty = Certainty::Seen;
            self.armed = None;
            self.attribution.idle();
            return;
        };
        first.held_from = first.start;
        let since = first.at_ns;
        self.evidence.retain(|line| line.at_ns >= since);
        let before = self.causes.iter().filter(|(at, _)| *at <= since).count();
        self.causes.drain(..before.saturating_sub(1));
    }

    fn on_segment(&mut self, e: &Event) {
        let acked = e.acked();
        self.attribution.enter(Context::Segment { acked: acked > 0, edge: edge_of(e) }, e);
        self.failed = None;
        self.update = None;
        let data =
            e.seq(Field::end_seq).zip(e.seq(Field::seq)).map_or(0, |(end, start)| end.since(start));
        let fact = self.acks.came(e, acked, data);
        if acked > 0 || data > 0 {
            self.note(e, fact);
        } else if self.is_waiting() {
            self.update = Some(Box::new(Evidence { n: e.n, at_ns: e.at_ns, fact }));
        }
    }

    fn on_timer(&mut self, e: &Event) {
        let Some((pending, timer)) = timer::fired(e) else { return };
        self.attribution.enter(Context::Timer(pending), e);
        (self.failed, self.update) = (None, None);
        self.acks.sent_again(e);
        if let Some(timer) = timer {
            self.note(e, Fact::TimerFired { timer });
        }
    }

    fn on_fin(&mut self, e: &Event) {
        self.attribution.fin_queued(e);
        (self.failed, self.update) = (None, None);
        self.note(e, Fact::FinQueued { task: Task::at_work(e) });
    }

    fn on_option(&mut self, e: &Event) {
        // No other option says when bytes may leave.
        let (optname, option) = match e.arg("optname") {
            Some(TCP_CORK) => (TCP_CORK, "TCP_CORK"),
            Some(TCP_NODELAY) => (TCP_NODELAY, "TCP_NODELAY"),
            _ => return,
        };
        self.attribution.sets(e.tid, optname);
        let fact = Fact::OptionSet { option, value: None, task: Task::at_work(e) };
        self.last_set.retain(
            |set| !matches!(set.fact, Fact::OptionSet { option: known, .. } if known == option),
        );
        // One as a rule, and for as long as the socket lives.
        self.last_set.reserve_exact(1);
        self.last_set.push(Evidence { n: e.n, at_ns: e.at_ns, fact: fact.clone() });
        self.note(e, fact);
    }

    /// The socket has become another connection.
    fn on_reuse(&mut self, e: &Event, out: &mut Vec<AnyHold>) {
        self.certainty = Certainty::May;
        self.end_all(End { socket: e.socket, at_ns: e.at_ns, release: Release::Undetermined }, out);
        let sparse = self.sparse.is_some();
        *self = Self::default();
        if sparse {
            self.sparse();
        }
    }
}

/// A socket that is met before its handshake is over has no byte that nobody saw written.
fn written(e: &Event, known: Written) -> Written {
    match (known, e.u32(Field::skc_state)) {
        (Written::Unknown, Some(TCP_SYN_SENT | TCP_SYN_RECV | TCP_NEW_SYN_RECV)) => Written::Seen,
        _ => known,
    }
}

/// Whose socket it is, where it is no program's.
fn owner(e: &Event) -> Option<Way> {
    match (e.u32(Field::is_mptcp), e.u32(Field::sk_kern_sock)) {
        (Some(1), _) => Some(Way::Mptcp),
        (_, Some(1)) => Some(Way::Kernel),
        _ => None,
    }
}

/// How the bytes were given that a call has just taken. Older traces tell of pages only.
fn way(e: &Event) -> Way {
    if e.wide(Field::icsk_ulp_name).is_some_and(|name| name.starts_with(b"tls\0")) {
        return Way::Tls;
    }
    let pages = e.u32(Field::msg_flags).is_some_and(|flags| flags & MSG_SPLICE_PAGES != 0);
    if pages || e.hook == Hook::do_tcp_sendpages { Way::Pages } else { Way::Call }
}

/// The next look at the socket by the thread that set an option tells the option's value.
fn learn_option(lines: &mut [Evidence<Fact>], nonagle: u32, e: &Event) {
    for line in lines {
        if let Fact::OptionSet { option, value: value @ None, task } = &mut line.fact
            && task.tid == e.tid
        {
            let bit = if *option == "TCP_CORK" { TCP_NAGLE_CORK } else { TCP_NAGLE_OFF };
            *value = Some(nonagle & bit != 0);
        }
    }
}

/// Causes between two moments; their durations add up.
pub(super) fn parts(causes: &[(u64, Held)], from_ns: u64, until_ns: u64) -> SmallVec<[Part; 1]> {
    let mut parts: SmallVec<[Part; 1]> = SmallVec::new();
    for (i, (since, held)) in causes.iter().enumerate() {
        let start = if i == 0 { from_ns } else { (*since).clamp(from_ns, until_ns) };
        let end = causes.get(i + 1).map_or(until_ns, |(next, _)| (*next).clamp(from_ns, until_ns));
        let last = i + 1 == causes.len();
        if end > start || (last && parts.is_empty()) {
            parts.push(Part::of(*held, end.saturating_sub(start)));
        }
    }
    if parts.is_empty() {
        parts.push(Part::of(Held::Undetermined, until_ns.saturating_sub(from_ns)));
    }
    parts
}

#[cfg(test)]
mod tests {
    use tcptrace_common::exchange::FROM_START;

    use super::*;
    use crate::trace;

    /// Findings of a written trace, one line each: bytes, causes with their milliseconds, release, marks. They must be
    /// the same when the programs also tell what happens while nothing waits.
    fn check(text: &str) -> Vec<String> {
        let machine = || Machine { written: Written::Seen, ..Machine::default() };
        let (held_only, everything) = (found(machine(), text, &[]), found(machine(), text, UNHELD));
        assert_eq!(held_only, everything, "events while nothing waits change the holds");
        held_only
    }

    /// What happens while nothing waits; `NEXT` and `WRITTEN` stand for the numbers of the event that comes then.
    const UNHELD: &[&str] = &[
        "s1 pid=7 do_tcp_setsockopt level=6 optname=12 jiffies=0 | nonagle=0 write_seq=WRITTEN snd_nxt=NEXT",
        "s1 pid=7 tcp_event_new_data_sent | seq=NEXT end_seq=WRITTEN snd_nxt=NEXT write_seq=WRITTEN sk_lock_owned=1",
        "s1 pid=7 tcp_push mss_now=1400 flags=32768 | nonagle=0 snd_nxt=WRITTEN write_seq=WRITTEN icsk_pending=5",
        "s1 pid=7 tcp_sendmsg_locked size=9 ret=9 | write_seq=WRITTEN snd_nxt=WRITTEN",
        "s1 pid=0 tcp_write_xmit mss_now=700 nonagle=1 push_one=0 | nonagle=1 snd_nxt=WRITTEN write_seq=WRITTEN",
        "s1 pid=0 tcp_tsq_write | sk_lock_owned=0",
        "s1 pid=9 tcp_tsq_handler | sk_lock_owned=1",
        "s1 pid=0 tcp_rcv_established | ack_seq=90 snd_una=80 seq=1 end_seq=9 snd_nxt=WRITTEN sk_lock_owned=0",
        "s1 pid=0 tcp_write_timer_handler | icsk_pending=5 sk_lock_owned=0",
        "s1 pid=0 tcp_fin | skc_state=1",
    ];

    fn found(machine: Machine, text: &str, unheld: &[&str]) -> Vec<String> {
        run(machine, text, unheld).iter().map(brief).collect()
    }

    fn run(mut machine: Machine, text: &str, unheld: &[&str]) -> Vec<AnyHold> {
        let mut out = Vec::new();
        let (mut last, mut n) = (0, 0);
        let mut take = |machine: &mut Machine, line: &str| {
            let mut event = trace::parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            n += 1;
            event.n = n;
            last = event.at_ns;
            machine.on_event(&event, &mut out);
        };
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let number = |name| {
                line.split(name).nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("100")
            };
            let (at, next) = (line.split(' ').next().unwrap_or("0"), number(" snd_nxt="));
            for other in unheld {
                // The same event cannot come before the lock is taken for what the next line does.
                if !machine.is_waiting() {
                    let other = other.replace("NEXT", next).replace("WRITTEN", next);
                    take(&mut machine, &format!("{at} {other}"));
                }
            }
            take(&mut machine, line);
        }
        machine.on_end(SocketId(1), last, &mut out);
        out
    }

    fn brief(f: &AnyHold) -> String {
        let parts: Vec<String> = f
            .cause
            .parts
            .iter()
            .map(|p| format!("{:?} {}", p.held, p.held_ns / 1_000_000))
            .collect();
        let tail = if f.cause.tail { " tail" } else { "" };
        let may = if f.certainty == Certainty::May { " may" } else { "" };
        let held: u64 = f.cause.parts.iter().map(|p| p.held_ns).sum();
        assert_eq!(held, f.until_ns - f.from_ns, "the causes add up to the hold");
        let writes: Vec<String> = f
            .cause
            .writes
            .iter()
            .map(|w| format!("{}@{}", w.bytes, w.held_ns / 1_000_000))
            .collect();
        let (bytes, release) = (f.cause.bytes, f.cause.release);
        format!("{bytes} B: {}; {release:?}{tail}{may} [{}]", parts.join(", "), writes.join(" "))
    }

    /// A push that ends with `waiting` bytes unsent, with nothing but small-segment rules in the way.
    fn push(at: &str, args: &str, fields: &str, snd_nxt: u32, write_seq: u32) -> String {
        format!(
            "{at} s1 pid=7 tcp_push mss_now=1000 {args} jiffies=100 | {fields} snd_nxt={snd_nxt} write_seq={write_seq} \
             snd_wnd=60000 snd_cwnd=10 sacked_out=0 lost_out=0 retrans_out=0 sk_pacing_status=0 sk_tsq_flags=0 tail_len={}\n",
            write_seq - snd_nxt
        )
    }

    /// A departure; in the context of task 0 nobody owns the socket.
    fn left(at: &str, pid: u32, seq: u32, end_seq: u32, write_seq: u32) -> String {
        let owned = u32::from(pid != 0);
        format!(
            "{at} s1 pid={pid} tcp_event_new_data_sent jiffies=0 | seq={seq} end_seq={end_seq} snd_nxt={seq} \
             write_seq={write_seq} repair=0 sk_lock_owned={owned}\n"
        )
    }

    fn wrote(at: &str, size: u32, write_seq: u32) -> String {
        format!("{at} s1 pid=7 tcp_sendmsg_locked size={size} ret={size} | write_seq={write_seq}\n")
    }

    const CORKED: &str = "nonagle=2 packets_out=0 snd_sml=100 snd_una=100";
    const NAGLED: &str = "nonagle=0 packets_out=1 snd_sml=200 snd_una=100";

    #[test]
    fn cork_with_nothing_in_flight_waits_for_the_probe_timer() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 108)
            + &wrote("1.00001", 8, 108)
            + "1.2 s1 pid=0 tcp_write_timer_handler | icsk_pending=3 sk_lock_owned=0\n"
            + &left("1.2", 0, 100, 108, 108);
        assert_eq!(check(&text), ["8 B: Cork 200; ProbeTimer [8@200]"]);
    }

    #[test]
    fn the_tail_of_a_large_write_is_released_by_the_loss_probe() {
        let text =
            push("1.0", "nonagle=2", "nonagle=2 packets_out=2 snd_sml=100 snd_una=100", 2100, 2105)
                + &wrote("1.00001", 2005, 2105)
                + "1.04 s1 pid=0 tcp_write_timer_handler | icsk_pending=5 sk_lock_owned=0\n"
                + &left("1.04", 0, 2100, 2105, 2105);
        assert_eq!(check(&text), ["5 B: Cork 40; LossProbe tail [5@40]"]);
    }

    #[test]
    fn nagle_waits_for_the_ack_of_a_small_segment() {
        let text = push("1.0", "nonagle=0", NAGLED, 200, 250)
            + &wrote("1.00001", 50, 250)
            + "1.03 s1 pid=0 tcp_rcv_established | ack_seq=200 snd_una=100 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &left("1.03", 0, 200, 250, 250);
        assert_eq!(check(&text), ["50 B: Nagle 30; Ack [50@30]"]);
    }

    #[test]
    fn a_full_segment_in_flight_is_no_reason_of_nagle() {
        let text =
            push("1.0", "nonagle=0", "nonagle=0 packets_out=1 snd_sml=100 snd_una=100", 1100, 1150);
        assert_eq!(check(&text), ["50 B: Undetermined 0; StillHeld [50@0]"]);
    }

    #[test]
    fn a_buffer_that_was_full_is_small_for_an_attempt_with_larger_segments() {
        let grown = "nonagle=0 packets_out=3 snd_sml=3200 snd_una=200 snd_nxt=3200 write_seq=4200 snd_wnd=60000 snd_cwnd=10 \
                     sacked_out=0 lost_out=0 retrans_out=0 sk_pacing_status=0 sk_tsq_flags=0 tail_len=1000 head_len=1000";
        let text = push(
            "1.0",
            "nonagle=0",
            "nonagle=0 packets_out=10 snd_sml=100 snd_una=100",
            200,
            4200,
        ) + &wrote("1.0", 4000, 4200)
            + "1.03 s1 pid=0 tcp_rcv_established | ack_seq=200 snd_una=100 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &left("1.03", 0, 200, 3200, 4200)
            + &format!(
                "1.03 s1 pid=0 tcp_write_xmit mss_now=2000 nonagle=0 push_one=0 ret=0 | {grown} sk_lock_owned=0\n"
            )
            + "1.05 s1 pid=0 tcp_rcv_established | ack_seq=3200 snd_una=200 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &left("1.05", 0, 3200, 4200, 4200);
        assert_eq!(check(&text), ["4000 B: Cwnd 30, Nagle 20; Ack [4000@50]"]);
    }

    #[test]
    fn msg_more_is_told_from_cork_by_the_socket() {
        let text = push(
            "1.0",
            "flags=32768 nonagle=0",
            "nonagle=0 packets_out=0 snd_sml=0 snd_una=100",
            100,
            140,
        ) + "1.1 s1 pid=0 tcp_write_timer_handler | icsk_pending=3 sk_lock_owned=0\n"
            + &left("1.1", 0, 100, 140, 140);
        assert_eq!(check(&text), ["40 B: MsgMore 100; ProbeTimer [40@100]"]);
    }

    #[test]
    fn a_write_that_fills_a_segment_releases_and_its_rest_waits_anew() {
        let text = push("1.0", "nonagle=0", NAGLED, 200, 800)
            + &wrote("1.0", 600, 800)
            + &left("1.004", 7, 200, 1200, 1400)
            + &push(
                "1.004",
                "nonagle=0",
                "nonagle=0 packets_out=2 snd_sml=200 snd_una=100",
                1200,
                1400,
            )
            + &wrote("1.004", 600, 1400)
            + "1.03 s1 pid=0 tcp_rcv_established | ack_seq=1200 snd_una=100 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &left("1.03", 0, 1200, 1400, 1400);
        assert_eq!(
            check(&text),
            ["600 B: Nagle 4; MoreData [600@4]", "200 B: Nagle 26; Ack tail [200@26]"]
        );
    }

    #[test]
    fn a_write_without_msg_more_that_fills_nothing_is_a_push() {
        let text = push(
            "1.0",
            "flags=32768 nonagle=0",
            "nonagle=0 packets_out=0 snd_sml=0 snd_una=100",
            100,
            140,
        ) + &left("1.01", 7, 100, 180, 180);
        assert_eq!(check(&text), ["40 B: MsgMore 10; Push [40@10]"]);
    }

    #[test]
    fn writes_that_joined_and_left_with_it_belong_to_the_hold() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 140)
            + &push("1.01", "nonagle=2", CORKED, 100, 180)
            + "1.06 s1 pid=7 do_tcp_setsockopt level=6 optname=3 |\n"
            + &left("1.06", 7, 100, 180, 180);
        assert_eq!(check(&text), ["80 B: Cork 60; Uncork [40@60 40@50]"]);
    }

    #[test]
    fn an_option_set_by_another_task_releases_nothing() {
        let text = push("1.0", "nonagle=0", NAGLED, 200, 250)
            + "1.01 s1 pid=7 tid=8 do_tcp_setsockopt level=6 optname=1 |\n"
            + "1.02 s1 pid=9 tcp_rcv_established | ack_seq=200 snd_una=100 seq=1 end_seq=1 sk_lock_owned=1\n"
            + &left("1.02", 9, 200, 250, 250);
        assert_eq!(check(&text), ["50 B: Nagle 20; Ack [50@20]"]);
    }

    #[test]
    fn an_option_that_says_nothing_about_sending_releases_nothing() {
        let text = push("1.0", "nonagle=0", NAGLED, 200, 250)
            + "1.01 s1 pid=7 do_tcp_setsockopt level=6 optname=12 |\n"
            + &left("1.01", 7, 200, 250, 250);
        assert_eq!(check(&text), ["50 B: Nagle 10; Undetermined [50@10]"]);
    }

    #[test]
    fn nodelay_by_the_task_that_owns_the_socket_releases() {
        let text = push("1.0", "nonagle=0", NAGLED, 200, 250)
            + "1.01 s1 pid=7 do_tcp_setsockopt level=6 optname=1 |\n"
            + &left("1.01", 7, 200, 250, 250);
        assert_eq!(check(&text), ["50 B: Nagle 10; Nodelay [50@10]"]);
    }

    #[test]
    fn close_sends_what_is_held_with_its_fin() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 200)
            + "1.05 s1 pid=7 tcp_send_fin | write_seq=200 snd_nxt=100 sk_lock_owned=1\n"
            + &left("1.05", 7, 100, 201, 201);
        assert_eq!(check(&text), ["100 B: Cork 50; Fin [100@50]"]);
    }

    #[test]
    fn uncork_can_leave_bytes_to_nagle() {
        let attempt = push("1.02", "", NAGLED, 200, 250)
            .replace("tcp_push mss_now=1000 ", "tcp_write_xmit mss_now=1000 nonagle=0 push_one=0");
        let text = push(
            "1.0",
            "nonagle=2",
            "nonagle=2 packets_out=1 snd_sml=200 snd_una=100",
            200,
            250,
        ) + "1.02 s1 pid=7 do_tcp_setsockopt level=6 optname=3 |\n"
            + &attempt
            + "1.05 s1 pid=0 tcp_rcv_established | ack_seq=200 snd_una=100 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &left("1.05", 0, 200, 250, 250);
        assert_eq!(check(&text), ["50 B: Cork 20, Nagle 30; Ack [50@50]"]);
    }

    #[test]
    fn a_limit_that_comes_first_is_the_cause() {
        for (from, to, held) in [
            ("snd_cwnd=10", "snd_cwnd=0", "Cwnd"),
            ("snd_wnd=60000", "snd_wnd=7", "PeerWindow"),
            ("snd_wnd=60000", "snd_wnd=0", "ZeroWindow"),
            (
                "sk_pacing_status=0",
                "sk_pacing_status=1 tcp_wstamp_ns=2 tcp_clock_cache=1",
                "Pacing",
            ),
            // Without it nothing is excluded.
            ("snd_cwnd=10 ", "", "Undetermined"),
            ("sk_tsq_flags=0 ", "", "Undetermined"),
        ] {
            let text = push("1.0", "nonagle=2", CORKED, 100, 108).replace(from, to);
            assert_eq!(check(&text), [format!("8 B: {held} 0; StillHeld [8@0]")], "{to}");
        }
    }

    /// As [`check`], where nothing can come between two of the events: one holder of the lock makes them all.
    fn told(text: &str) -> Vec<String> {
        found(Machine { written: Written::Seen, ..Machine::default() }, text, &[])
    }

    /// An attempt of the write that the next push ends.
    fn attempt(at: &str, fields: &str, snd_nxt: u32, write_seq: u32) -> String {
        push(at, "nonagle=1", fields, snd_nxt, write_seq)
            .replace("tcp_push mss_now=1000 ", "tcp_write_xmit mss_now=1000 push_one=0 ")
            .replace("sk_pacing_status=0", "sk_pacing_status=0 sk_lock_owned=1")
    }

    const THROTTLED: &str = "nonagle=1 packets_out=1 snd_sml=100 snd_una=100";

    #[test]
    fn a_fin_that_cannot_leave_tells_what_holds_the_bytes_before_it() {
        let state = |in_flight: u32| format!("packets_out={in_flight} snd_sml=100 snd_una=100");
        let text = push("1.0", "nonagle=2", &format!("nonagle=2 {}", state(2)), 2100, 2150)
            + &wrote("1.0", 50, 2150)
            + "1.05 s1 pid=7 tcp_send_fin | write_seq=2150 snd_nxt=2100 sk_lock_owned=1\n"
            + &attempt("1.05", &format!("nonagle=3 {}", state(10)), 2100, 2151)
            + "1.07 s1 pid=0 tcp_rcv_state_process | ack_seq=2100 snd_una=100 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &left("1.07", 0, 2100, 2151, 2151);
        assert_eq!(told(&text), ["50 B: Cork 50, Cwnd 20; Ack [50@70]"]);
    }

    #[test]
    fn of_what_is_only_counted_the_evidence_is_the_write_and_its_stack() {
        let state = "nonagle=0 packets_out=1 snd_sml=200 snd_una=100";
        let text = push("1.0", "nonagle=0", state, 200, 250)
            + "1.0 s1 pid=7 user_stack stack=3 | \n"
            + &left("1.04", 0, 200, 250, 250);
        let machine = || Machine { written: Written::Seen, ..Machine::default() };
        let mut sparse = machine();
        sparse.sparse();
        let (all, few) = (run(machine(), &text, &[]), run(sparse, &text, &[]));
        let ([all], [few]) = (all.as_slice(), few.as_slice()) else { panic!("{all:?} {few:?}") };
        assert_eq!((all.from_ns, all.until_ns), (few.from_ns, few.until_ns));
        assert_eq!((all.cause.bytes, &all.cause.parts), (few.cause.bytes, &few.cause.parts));
        let facts: Vec<&Fact> = few.evidence.iter().map(|line| &line.fact).collect();
        assert!(matches!(facts[..], [Fact::Write { .. }, Fact::Stack { number: 3 }]), "{facts:?}");
        assert!(all.evidence.len() > facts.len(), "{all:?}");
    }

    #[test]
    fn a_push_without_an_attempt_is_autocorking() {
        let text = push("1.0", "nonagle=1 size_goal=2000", THROTTLED, 200, 250)
            .replace("sk_tsq_flags=0", "sk_tsq_flags=1")
            + "1.008 s1 pid=0 tcp_tsq_write | sk_lock_owned=0\n"
            + &left("1.008", 0, 200, 250, 250);
        assert_eq!(check(&text), ["50 B: Autocork 8; Tsq [50@8]"]);
        // A later write finds the device idle.
        let text = push("1.0", "nonagle=1 size_goal=2000", THROTTLED, 200, 250)
            .replace("sk_tsq_flags=0", "sk_tsq_flags=1")
            + &left("1.009", 7, 200, 300, 300);
        assert_eq!(check(&text), ["50 B: Autocork 9; MoreData [50@9]"]);
        // The buffer had grown as far as it can.
        let text = push("1.0", "nonagle=1 size_goal=50", THROTTLED, 200, 250)
            .replace("sk_tsq_flags=0", "sk_tsq_flags=1");
        assert_eq!(check(&text), ["50 B: Undetermined 0; StillHeld [50@0]"]);
    }

    #[test]
    fn an_attempt_that_the_device_stops_is_tsq() {
        let throttled = |text: String| text.replace("sk_tsq_flags=0", "sk_tsq_flags=1");
        let text = throttled(attempt("1.0", THROTTLED, 200, 250))
            + &throttled(push("1.0", "nonagle=1 size_goal=2000", THROTTLED, 200, 250));
        assert_eq!(told(&text), ["50 B: Tsq 0; StillHeld [50@0]"]);
    }

    #[test]
    fn more_than_a_segment_waits_for_a_larger_one() {
        let text = push("1.0", "nonagle=1", THROTTLED, 200, 5200)
            .replace("tail_len=5000", "tail_len=5000 head_len=5000");
        assert_eq!(check(&text), ["5000 B: TsoDefer 0; StillHeld [5000@0]"]);
        let idle = text.replace("packets_out=1", "packets_out=0");
        assert_eq!(check(&idle), ["5000 B: Undetermined 0; StillHeld [5000@0]"]);
    }

    #[test]
    fn a_segment_that_was_not_taken_is_the_cause_of_its_own_attempt_only() {
        let failed = "1.0 s1 pid=7 __tcp_transmit_skb clone_it=1 ret=1 | seq=200 end_seq=250 snd_nxt=200 sk_lock_owned=1\n";
        let owned =
            |text: String| text.replace("sk_pacing_status=0", "sk_pacing_status=0 sk_lock_owned=1");
        let push = |at: &str| owned(push(at, "nonagle=1", THROTTLED, 200, 250));
        let probe = "1.2 s1 pid=0 tcp_write_timer_handler | icsk_pending=3 sk_lock_owned=0\n"
            .to_owned()
            + &left("1.2", 0, 200, 250, 250);
        assert_eq!(
            told(&(failed.to_owned() + &push("1.0") + &probe)),
            ["50 B: TransmitFailed 200; ProbeTimer [50@200]"]
        );
        // Something sent again failed.
        let again = failed.replace("seq=200 end_seq=250", "seq=100 end_seq=200");
        assert_eq!(
            told(&(again + &push("1.0") + &probe)),
            ["50 B: Undetermined 200; ProbeTimer [50@200]"]
        );
        // The socket tells it: what waits was tried in this attempt, or in one before.
        let tried = |at: &str, since: &str| {
            push("1.0").replace("tcp_clock_cache=1", "").replace(
                "sk_pacing_status=0",
                &format!("sk_pacing_status=0 tcp_clock_cache={since} head_mstamp_ns={at}"),
            )
        };
        assert_eq!(
            told(&(tried("1000000000", "1000000000") + &probe)),
            ["50 B: TransmitFailed 200; ProbeTimer [50@200]"]
        );
        for (at, since) in [("999000000", "1000000000"), ("0", "0")] {
            assert_eq!(
                told(&(tried(at, since) + &probe)),
                ["50 B: Undetermined 200; ProbeTimer [50@200]"],
                "{at}"
            );
        }
        // A timer's segment failed, and a write came later.
        let timer = "0.9 s1 pid=0 tcp_write_timer_handler | icsk_pending=3 sk_lock_owned=0\n"
            .to_owned()
            + &failed.replace("1.0 ", "0.9 ").replace("sk_lock_owned=1", "sk_lock_owned=0");
        assert_eq!(
            told(&(timer + &push("1.0") + &probe)),
            ["50 B: Undetermined 200; ProbeTimer [50@200]"]
        );
    }

    #[test]
    fn the_pacing_timer_is_told_from_the_device() {
        let paced = push("1.0", "nonagle=1", THROTTLED, 200, 250)
            .replace("sk_pacing_status=0", "sk_pacing_status=1 tcp_wstamp_ns=2 tcp_clock_cache=1");
        let ready = "1.036 s1 pid=0 tcp_tsq_write | sk_lock_owned=0\n";
        let text = paced.clone()
            + "1.036 s1 pid=0 tcp_pace_kick |\n"
            + ready
            + &left("1.036", 0, 200, 250, 250);
        assert_eq!(check(&text), ["50 B: Pacing 36; PacingTimer [50@36]"]);
        // Where the timer cannot be probed, it comes as the device does.
        let text = paced + ready + &left("1.036", 0, 200, 250, 250);
        assert_eq!(check(&text), ["50 B: Pacing 36; Undetermined [50@36]"]);
    }

    #[test]
    fn a_pacing_timer_of_an_earlier_hold_is_not_the_device_of_a_later_one() {
        let push = |at: &str| push(at, "nonagle=1", THROTTLED, 200, 250);
        let paced = push("1.0")
            .replace("sk_pacing_status=0", "sk_pacing_status=1 tcp_wstamp_ns=2 tcp_clock_cache=1");
        let throttled = push("2.0").replace("sk_tsq_flags=0", "sk_tsq_flags=1");
        let text = paced
            + "1.036 s1 pid=7 tcp_pace_kick |\n"
            + &left("1.037", 7, 200, 300, 300)
            + &throttled.replace("snd_nxt=200 write_seq=250", "snd_nxt=300 write_seq=350")
            + "2.01 s1 pid=0 tcp_tsq_write | sk_lock_owned=0\n"
            + &left("2.01", 0, 300, 350, 350);
        let found = told(&text);
        assert!(found[1].contains("; Tsq"), "{found:?}");
    }

    #[test]
    fn what_the_owner_put_off_is_told_by_the_note_in_the_socket() {
        let text = |flags: &str| {
            push("1.0", "nonagle=2", CORKED, 100, 108)
                + "1.1 s1 pid=7 tcp_tsq_handler | sk_lock_owned=1\n"
                + "1.1 s1 pid=7 tcp_rcv_established | ack_seq=100 snd_una=100 seq=1 end_seq=1 sk_lock_owned=1\n"
                + &left("1.1", 7, 100, 108, 108).replace("repair=0", flags)
        };
        // Still to be done: the segment is at work. Done with: the owner sends for the device.
        assert_eq!(check(&text("sk_tsq_flags=4")), ["8 B: Cork 100; Ack [8@100]"]);
        assert_eq!(check(&text("sk_tsq_flags=0")), ["8 B: Cork 100; Tsq [8@100]"]);
    }

    #[test]
    fn a_wider_window_alone_is_a_window_update() {
        let text = |window: u32, ack: u32| {
            push("1.0", "nonagle=1", THROTTLED, 200, 250).replace("snd_wnd=60000", "snd_wnd=100")
                + &format!(
                    "1.05 s1 pid=0 tcp_rcv_established | ack_seq={ack} snd_una=100 snd_wnd=100 snd_nxt=200 seq=1 end_seq=1 sk_lock_owned=0\n"
                )
                + &left("1.05", 0, 200, 250, 250)
                    .replace("repair=0", &format!("repair=0 snd_una={ack} snd_wnd={window}"))
        };
        assert_eq!(check(&text(60_000, 100)), ["50 B: PeerWindow 50; WindowUpdate [50@50]"]);
        assert_eq!(check(&text(100, 200)), ["50 B: PeerWindow 50; Ack [50@50]"]);
        assert_eq!(check(&text(60_000, 200)), ["50 B: PeerWindow 50; Ack [50@50]"]);
    }

    #[test]
    fn an_ack_that_answers_nothing_new_says_nothing_of_the_peer() {
        let text = push("1.0", "nonagle=0 flags=32768", NAGLED, 200, 250)
            + "1.01 s1 pid=0 tcp_rcv_established | ack_seq=200 snd_una=100 snd_nxt=200 seq=1 end_seq=1 srtt_us=8000 rtt_min=1000 rtx_mstamp_ns=999000000 rtx_end_seq=200\n"
            + "1.05 s1 pid=0 tcp_rcv_established | ack_seq=150 snd_una=200 snd_nxt=200 seq=1 end_seq=1\n"
            + &left("1.05", 0, 200, 250, 250);
        let found = run(Machine { written: Written::Seen, ..Machine::default() }, &text, &[]);
        let hold = &found[0];
        assert_eq!((hold.cause.release, hold.cause.peer_ack), (Release::Ack, None));
        let lines: Vec<(u64, u32)> = hold
            .evidence
            .iter()
            .filter_map(|line| match line.fact {
                Fact::Ack { acked_bytes, .. } => Some((line.n, acked_bytes)),
                _ => None,
            })
            .collect();
        assert_eq!(lines.last(), Some(&(3, 0)), "{lines:?}");
    }

    #[test]
    fn a_writer_that_sleeps_for_room_is_a_hold_of_its_own() {
        let sleeps = "1.0 s1 pid=7 sk_stream_wait_memory | write_seq=2100 snd_nxt=1100\n";
        let ack = "1.1 s1 pid=0 tcp_rcv_established | ack_seq=1100 snd_una=100 snd_nxt=2100 write_seq=2100 seq=1 end_seq=1 sk_lock_owned=0\n";
        let more = "1.101 s1 pid=7 tcp_write_xmit push_one=1 | write_seq=2500 snd_nxt=2500\n";
        let returns = |ret: i32| {
            format!(
                "1.102 s1 pid=7 tcp_sendmsg_locked size=2500 ret={} | write_seq=2600 snd_nxt=2600\n",
                ret.cast_unsigned()
            )
        };
        assert_eq!(
            told(&(sleeps.to_owned() + ack + more + &returns(2500))),
            ["500 B: SendBuffer 101; Ack tail [500@101]"]
        );
        // It may have given up, or would not wait; the peer reset.
        let nothing_more = |ret: i32| returns(ret).replace("2600", "2100");
        assert_eq!(told(&(sleeps.to_owned() + &nothing_more(2000))), [""; 0]);
        assert_eq!(told(&(sleeps.to_owned() + &nothing_more(-11))), [""; 0]);
        assert_eq!(
            told(&(sleeps.to_owned() + &nothing_more(-104))),
            ["2500 B: SendBuffer 102; Discarded [2500@102]"]
        );
    }

    #[test]
    fn the_first_write_of_a_socket_that_was_met_in_its_handshake_is_certain() {
        let large = push(
            "1.0",
            "nonagle=0 turn=1 part=1",
            "nonagle=0 packets_out=10 snd_sml=100 snd_una=100",
            200,
            900_000,
        ) + &left("1.1", 0, 200, 900_000, 900_000);
        let met = |state: u32| {
            let met = format!("0.5 s1 pid=7 socket | skc_state={state}\n");
            found(Machine::default(), &(met + &large), &[])
        };
        assert_eq!(met(2), ["899800 B: Cwnd 100; Undetermined [899800@100]"]);
        assert_eq!(met(3), ["899800 B: Cwnd 100; Undetermined [899800@100]"]);
        assert_eq!(met(1), ["899800 B: Cwnd 100; Undetermined may [899800@100]"]);
    }

    #[test]
    fn a_writer_that_gives_up_has_waited_for_what_it_did_not_give() {
        let sleeps = "1.0 s1 pid=7 sk_stream_wait_memory | write_seq=2100 snd_nxt=1100\n";
        let ack = "1.1 s1 pid=0 tcp_rcv_established | ack_seq=1100 snd_una=100 snd_nxt=2100 write_seq=2100 seq=1 end_seq=1 sk_lock_owned=0\n";
        let again = "1.101 s1 pid=7 sk_stream_wait_memory | write_seq=2300 snd_nxt=2100\n";
        let returns = |ret: i32, write_seq: u32, flags: u32| {
            format!(
                "1.3 s1 pid=7 tcp_sendmsg_locked size=2500 ret={} | write_seq={write_seq} snd_nxt=2100 msg_flags={flags}\n",
                ret.cast_unsigned()
            )
        };
        let once = |ret, flags| told(&(sleeps.to_owned() + &returns(ret, 2100, flags)));
        assert_eq!(once(-11, 0), ["2500 B: SendBuffer 300; GivenUp [2500@300]"]);
        assert_eq!(once(-512, 0x4000), ["2500 B: SendBuffer 300; GivenUp [2500@300]"]);
        assert_eq!(once(2000, 0), ["500 B: SendBuffer 300; GivenUp tail [500@300]"]);
        // It would not wait.
        assert_eq!(once(2000, 0x40), [""; 0]);
        // The ACK made room for 200 B of 500.
        let twice = sleeps.to_owned() + ack + again;
        assert_eq!(
            told(&(twice.clone() + &returns(2200, 2300, 0))),
            ["500 B: SendBuffer 300; GivenUp tail [500@300]"]
        );
        // The peer's reset, and another thread's shutdown().
        for ended in ["tcp_done | skc_state=7", "tcp_send_fin | write_seq=2300 snd_nxt=2100"] {
            let ended = format!("1.2 s1 pid=8 {ended}\n");
            assert_eq!(
                told(&(twice.clone() + &ended + &returns(2200, 2300, 0))),
                ["500 B: SendBuffer 300; Discarded tail [500@300]"]
            );
        }
    }

    #[test]
    fn what_a_writer_sleeps_for_is_told_by_what_the_kernel_asks() {
        let sleeps = |at: &str, queued: u32, own: u32| {
            format!(
                "{at} s1 pid=7 sk_stream_wait_memory | write_seq=2100 snd_nxt=1100 sk_wmem_queued={queued} sk_sndbuf=9000 \
                 notsent_lowat={own} sysctl_tcp_notsent_lowat=1000\n"
            )
        };
        let ack = "1.1 s1 pid=0 tcp_rcv_established | ack_seq=1100 snd_una=100 snd_nxt=2100 write_seq=2100 seq=1 end_seq=1\n";
        let returns =
            "1.2 s1 pid=7 tcp_sendmsg_locked size=500 ret=500 | write_seq=2600 snd_nxt=2600\n";
        let of = |queued, own| told(&(sleeps("1.0", queued, own) + ack + returns));
        assert_eq!(of(9_000, 1), ["500 B: SendBuffer 200; Ack [500@200]"]);
        assert_eq!(of(8_999, 500), ["500 B: NotsentLowat 200; Ack [500@200]"]);
        // Without a value of the socket's own that of the namespace counts.
        assert_eq!(of(8_999, 0), ["500 B: NotsentLowat 200; Ack [500@200]"]);
        // There is room: no ACK ends such a sleep.
        assert_eq!(of(8_999, 1_001), ["500 B: Undetermined 200; Undetermined [500@200]"]);
        let both = sleeps("1.0", 9_000, 1_001) + &sleeps("1.05", 8_999, 500) + ack + returns;
        assert_eq!(told(&both), ["500 B: SendBuffer 50, NotsentLowat 150; Ack [500@200]"]);
    }

    #[test]
    fn a_write_that_opens_the_connection_waits_with_what_the_syn_did_not_carry() {
        let text = |ret: i32, write_seq: u32| {
            "1.0 s1 pid=7 tcp_connect ret=0 | write_seq=1101 snd_nxt=1101 fastopen_size=500\n\
             1.1 s1 pid=0 tcp_rcv_state_process | ack_seq=1101 snd_una=1000 snd_nxt=1101 write_seq=1101 seq=1 end_seq=2\n"
                .to_owned()
                + &format!(
                    "1.101 s1 pid=7 tcp_sendmsg_locked size=500 ret={} | write_seq={write_seq} snd_nxt={write_seq}\n",
                    ret.cast_unsigned()
                )
        };
        assert_eq!(told(&text(500, 1501)), ["400 B: NotEstablished 101; Ack tail [400@101]"]);
        // It carried all, or the write would not wait.
        assert_eq!(told(&text(100, 1101)), [""; 0]);
        // The SYN could not be sent.
        assert_eq!(
            told(&text(-111, 1101).replace("tcp_connect ret=0", "tcp_connect ret=4294967185")),
            [""; 0]
        );
        // Nobody listens there.
        assert_eq!(told(&text(-111, 1101)), ["500 B: NotEstablished 101; Discarded [500@101]"]);
    }

    #[test]
    fn a_write_that_finds_no_connection_fails_and_does_not_wait() {
        let text = |state: u32| {
            format!(
                "1.0 s1 pid=7 sk_stream_wait_connect | write_seq=1100 snd_nxt=1100 skc_state={state}\n\
                 1.1 s1 pid=7 tcp_sendmsg_locked size=5 ret={} | write_seq=1100 snd_nxt=1100\n",
                (-32_i32).cast_unsigned(),
            )
        };
        // SYN-SENT and SYN-RECV; a reset has come; the FIN is out.
        for state in [2, 3] {
            assert_eq!(told(&text(state)), ["5 B: NotEstablished 100; Discarded [5@100]"]);
        }
        for state in [7, 4, 5] {
            assert_eq!(told(&text(state)), [""; 0], "{state}");
        }
    }

    #[test]
    fn a_writer_that_sleeps_to_the_end_is_still_held() {
        let sleeps = "1.0 s1 pid=7 sk_stream_wait_memory | write_seq=2100 snd_nxt=1100\n";
        let later = "1.2 s1 pid=0 tcp_rcv_established | ack_seq=1100 snd_una=1100 snd_nxt=1100 write_seq=2100 seq=1 end_seq=1\n";
        assert_eq!(told(&(sleeps.to_owned() + later)), ["0 B: SendBuffer 200; StillHeld []"]);
        // It has woken up, and has not returned: it does not sleep.
        let woken = later.replace("write_seq=2100", "write_seq=2600");
        assert_eq!(told(&(sleeps.to_owned() + &woken)), [""; 0]);
    }

    #[test]
    fn an_ack_tells_how_the_peer_sent_it_where_its_segment_was_seen_to_leave() {
        let peer = |fields: &str| {
            let text = push("1.0", "nonagle=0", NAGLED, 200, 250)
                + &format!(
                    "1.042 s1 pid=0 tcp_rcv_established | ack_seq=200 snd_una=100 snd_nxt=200 seq=1 end_seq=1 sk_lock_owned=0 rtt_min=1100 {fields}\n"
                )
                + &left("1.042", 0, 200, 250, 250);
            let (mut machine, mut out) = (Machine::default(), Vec::new());
            for line in text.lines() {
                machine.on_event(&trace::parse(line).unwrap(), &mut out);
            }
            out[0].cause.peer_ack
        };
        let delayed = Some((PeerAck::Delayed, Known::Inferred));
        assert_eq!(peer("rtx_end_seq=200 rtx_mstamp_ns=999900000"), delayed);
        assert_eq!(peer("rtx_end_seq=150 rtx_mstamp_ns=999900000"), None);
        assert_eq!(peer(""), None);
    }

    #[test]
    fn a_splice_that_ends_pushes_what_said_that_more_would_come() {
        let text = push(
            "1.0",
            "flags=32768 nonagle=0",
            "nonagle=0 packets_out=0 snd_sml=0 snd_una=100",
            100,
            140,
        ) + &wrote("1.0", 40, 140)
            + &left("1.01", 7, 100, 140, 140);
        assert_eq!(check(&text), ["40 B: MsgMore 10; Push [40@10]"]);
    }

    #[test]
    fn urgent_data_takes_along_what_only_rules_about_small_segments_held() {
        let urgent = |at: &str, end: u32, full: &str| {
            left(at, 7, 100, end, end)
                .replace("repair=0", &format!("repair=0 snd_una=100 snd_up={end} {full}"))
        };
        for (cause, args, fields) in [
            ("Cork", "nonagle=2", CORKED),
            ("MsgMore", "flags=32768 nonagle=0", "nonagle=0 packets_out=0 snd_sml=0 snd_una=100"),
            ("Nagle", "nonagle=0", "nonagle=0 packets_out=1 snd_sml=100 snd_una=50"),
        ] {
            let waits = push("1.0", args, fields, 100, 108) + &wrote("1.0", 8, 108);
            assert_eq!(
                check(&(waits.clone() + &urgent("1.2", 109, ""))),
                [format!("8 B: {cause} 200; UrgentData [8@200]")]
            );
            // A full one needs no such reason.
            assert_eq!(
                check(&(waits + &urgent("1.2", 1_100, "mss_cache=1000"))),
                [format!("8 B: {cause} 200; MoreData [8@200]")]
            );
        }
    }

    #[test]
    fn while_urgent_data_is_on_its_way_no_rule_about_small_segments_holds() {
        let text = |state: &str| {
            push("1.0", "nonagle=2", &format!("{CORKED} {state}"), 100, 108) + &wrote("1.0", 8, 108)
        };
        assert_eq!(check(&text("snd_up=101")), ["8 B: Undetermined 0; StillHeld [8@0]"]);
        assert_eq!(check(&text("snd_up=100")), ["8 B: Cork 0; StillHeld [8@0]"]);
    }

    #[test]
    fn options_that_the_kernel_sets_without_a_call_are_told_by_the_sockets_bits() {
        let of = |cause: &str, args: &str, fields: &str, nonagle: u32| {
            let text = push("1.0", args, fields, 200, 250)
                + &wrote("1.0", 50, 250)
                + &left("1.1", 7, 200, 250, 250)
                    .replace("repair=0", &format!("repair=0 nonagle={nonagle}"));
            let found = check(&text);
            let [one] = found.as_slice() else { panic!("{found:?}") };
            let rest = one.strip_prefix(&format!("50 B: {cause} 100; ")).expect(one);
            rest.split(' ').next().unwrap().to_owned()
        };
        let cork = |nonagle| of("Cork", "nonagle=2", &CORKED.replace("=100", "=200"), nonagle);
        assert_eq!(
            [0, 5, 7, 2, 3].map(cork),
            ["Uncork", "Uncork", "Nodelay", "Undetermined", "Undetermined"]
        );
        let nagle = |nonagle| of("Nagle", "nonagle=0", NAGLED, nonagle);
        assert_eq!([5, 1, 0].map(nagle), ["Nodelay", "Nodelay", "Undetermined"]);
    }

    #[test]
    fn a_push_in_softirq_tells_no_writer() {
        let writers = |owned: &str| {
            let text = push("1.0", "nonagle=2", &format!("{CORKED} {owned}"), 100, 108);
            let found = run(Machine::default(), &text, &[]);
            found.iter().map(|hold| hold.cause.writer.pid).collect::<Vec<_>>()
        };
        assert_eq!(writers("sk_lock_owned=1"), [7]);
        assert_eq!(writers("sk_lock_owned=0"), [0]);
    }

    #[test]
    fn a_write_after_one_that_was_counted_and_left_nothing_is_all_that_waits() {
        let told = |args: &str, lost: bool| {
            let mut machine = Machine::default();
            let mut out = Vec::new();
            if lost {
                machine.on_loss(0);
            }
            let text = push("1.0", &format!("nonagle=0 {args}"), NAGLED, 200, 250);
            machine.on_event(&trace::parse(text.trim()).unwrap(), &mut out);
            machine.on_end(SocketId(1), 1_000_000_000, &mut out);
            out[0].certainty
        };
        assert_eq!(told("turn=1 part=2", false), Certainty::Seen);
        assert_eq!(told("turn=2 part=1", false), Certainty::Seen);
        // The first may follow others that nobody counted; of a lost one nobody knows what it left.
        assert_eq!(told("turn=1 part=1", false), Certainty::May);
        assert_eq!(told("turn=2 part=1", true), Certainty::May);
        assert_eq!(told("", false), Certainty::May);
    }

    #[test]
    fn how_bytes_were_given_is_told_by_the_call_or_by_whose_socket_it_is() {
        let after = |before: &str, call: String| {
            let text = before.to_owned() + &push("1.0", "nonagle=2", CORKED, 100, 108) + &call;
            run(Machine::default(), &text, &[])[0].cause.way
        };
        let with = |before: &str, fields: &str| {
            after(before, wrote("1.0", 8, 108).replace("| ", &format!("| {fields} ")))
        };
        let page = wrote("1.0", 8, 108).replace("tcp_sendmsg_locked", "do_tcp_sendpages");
        assert_eq!(after("", page), Some(Way::Pages));
        assert_eq!(with("", "msg_flags=134217728"), Some(Way::Pages));
        assert_eq!(with("", "msg_flags=32768"), Some(Way::Call));
        let tls = "icsk_ulp_name=746c7300000000000000000000000000";
        assert_eq!(with("", &format!("msg_flags=134217728 {tls}")), Some(Way::Tls));
        let socket = |fields: &str| format!("0.9 s1 pid=7 socket | {fields}\n");
        assert_eq!(with(&socket("is_mptcp=1 sk_kern_sock=1"), ""), Some(Way::Mptcp));
        assert_eq!(with(&socket("is_mptcp=0 sk_kern_sock=1"), ""), Some(Way::Kernel));
        assert_eq!(with(&socket("is_mptcp=0 sk_kern_sock=0"), ""), Some(Way::Call));
    }

    #[test]
    fn a_buffer_with_another_behind_it_leaves_as_a_full_one_does() {
        let text = push("1.0", "nonagle=0", NAGLED, 200, 250)
            + &wrote("1.00001", 50, 250)
            + &left("1.008", 7, 200, 250, 310)
            + &push("1.008", "nonagle=0", NAGLED, 250, 310)
            + &wrote("1.008", 60, 310)
            + "1.03 s1 pid=0 tcp_rcv_established | ack_seq=250 snd_una=100 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &left("1.03", 0, 250, 310, 310);
        assert_eq!(check(&text), ["50 B: Nagle 8; MoreData [50@8]", "60 B: Nagle 22; Ack [60@22]"]);
    }

    #[test]
    fn a_reset_discards() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 108)
            + "1.5 s1 pid=0 tcp_done | write_seq=108 snd_nxt=100\n";
        assert_eq!(check(&text), ["8 B: Cork 500; Discarded [8@500]"]);
    }

    #[test]
    fn a_departure_that_was_not_seen_leaves_the_release_open() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 108)
            + "1.2 s1 pid=0 tcp_rcv_established | ack_seq=100 snd_una=100 snd_nxt=108 write_seq=108\n";
        assert_eq!(check(&text), ["8 B: Cork 200; Undetermined may [8@200]"]);
    }

    #[test]
    fn a_part_that_left_unseen_makes_it_uncertain() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 108) + &left("1.2", 0, 104, 108, 108);
        assert_eq!(check(&text), ["4 B: Cork 200; Undetermined may [4@200]"]);
    }

    #[test]
    fn a_write_whose_call_was_not_seen_may_be_older_than_the_trace() {
        let mut out = Vec::new();
        let mut machine = Machine::default();
        for line in
            (push("1.0", "nonagle=2", CORKED, 100, 108) + &left("1.2", 0, 100, 108, 108)).lines()
        {
            machine.on_event(&trace::parse(line).unwrap(), &mut out);
        }
        assert_eq!(brief(&out[0]), "8 B: Cork 200; Undetermined may [8@200]");
    }

    #[test]
    fn on_a_socket_that_was_met_in_its_handshake_no_byte_is_older_than_the_trace() {
        for (from_start, want) in [
            (FROM_START, "8 B: Cork 200; Undetermined may [8@200]"),
            (FROM_BIRTH, "8 B: Cork 200; Undetermined [8@200]"),
        ] {
            let told = format!("nonagle=2 turn=1 part=1 from_start={from_start}");
            let text = push("1.0", &told, CORKED, 100, 108) + &left("1.2", 0, 100, 108, 108);
            assert_eq!(found(Machine::default(), &text, &[]), [want]);
        }
    }

    #[test]
    fn a_call_that_sleeps_when_its_first_bytes_have_left_goes_on() {
        let sleeps = "1.01 s1 pid=7 sk_stream_wait_memory | write_seq=900 snd_nxt=100 sk_wmem_queued=9000 sk_sndbuf=8000\n";
        let text = push("1.0", "nonagle=2", CORKED, 100, 900);
        let ends = left("1.1", 0, 100, 900, 900);
        for (text, goes_on) in [(text.clone() + sleeps + &ends, true), (text + &ends, false)] {
            let mut out = Vec::new();
            let mut machine = Machine { written: Written::Seen, ..Machine::default() };
            for line in text.lines() {
                machine.on_event(&trace::parse(line).unwrap(), &mut out);
            }
            let write = out[0].evidence.iter().find_map(|line| match line.fact {
                Fact::Write { bytes, call_goes_on, .. } => Some((bytes, call_goes_on)),
                _ => None,
            });
            assert_eq!(write, Some((None, goes_on)));
        }
    }

    #[test]
    fn bytes_that_leave_in_parts_are_all_counted() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 900)
            + &wrote("1.0", 800, 900)
            + "1.1 s1 pid=0 tcp_rcv_established | ack_seq=100 snd_una=100 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &left("1.1", 0, 100, 500, 900)
            + &left("1.1", 0, 500, 900, 900);
        assert_eq!(check(&text), ["800 B: Cork 100; Ack [800@100]"]);
    }

    #[test]
    fn what_entered_before_a_write_is_not_at_work_after_it() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 108)
            + "1.1 s1 pid=0 tcp_rcv_established | ack_seq=100 snd_una=100 seq=1 end_seq=1 sk_lock_owned=0\n"
            + &push("1.2", "nonagle=2", CORKED, 100, 116)
            + &left("1.3", 0, 100, 116, 116);
        assert_eq!(check(&text), ["16 B: Cork 300; Undetermined [8@300 8@100]"]);
    }

    #[test]
    fn a_deferred_device_leaves_the_ack_open() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 108)
            + "1.1 s1 pid=7 tcp_tsq_handler | sk_lock_owned=1\n"
            + "1.1 s1 pid=7 tcp_rcv_established | ack_seq=100 snd_una=100 seq=1 end_seq=1 sk_lock_owned=1\n"
            + &left("1.1", 7, 100, 108, 108);
        assert_eq!(check(&text), ["8 B: Cork 100; Undetermined [8@100]"]);
    }

    #[test]
    fn another_connection_in_the_same_socket_ends_what_waits() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 108)
            + "1.1 s1 pid=7 socket_reused | write_seq=70000 snd_nxt=70000\n";
        assert_eq!(check(&text), ["8 B: Cork 100; Undetermined may [8@100]"]);
    }

    #[test]
    fn bytes_that_waited_before_the_first_event_make_it_uncertain() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 200) + &wrote("1.0", 8, 200);
        assert_eq!(check(&text), ["100 B: Cork 0; StillHeld may [100@0]"]);
    }
    #[test]
    fn a_hold_never_ends_before_it_begins() {
        let text = push("1.0", "nonagle=2", CORKED, 100, 108)
            + &push("0.9", "nonagle=0", NAGLED, 100, 116)
            + &push("1.1", "nonagle=2", CORKED, 100, 124)
            + &left("0.8", 0, 100, 124, 124);
        let mut out = Vec::new();
        let mut machine = Machine::default();
        for line in text.lines() {
            machine.on_event(&trace::parse(line).unwrap(), &mut out);
        }
        let [hold] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!((hold.from_ns, hold.until_ns), (1_000_000_000, 1_000_000_000));
        assert_eq!(hold.cause.parts.iter().map(|part| part.held_ns).sum::<u64>(), 0);
    }

    #[test]
    fn what_one_socket_can_make_us_keep_is_bounded() {
        let first = push("1.0", "nonagle=2", CORKED, 100, 108) + &wrote("1.0", 16, 108);
        let mut machine = Machine::default();
        for line in first.lines() {
            machine.on_event(&trace::parse(line).unwrap(), &mut Vec::new());
        }
        let again = [
            trace::parse(wrote("1.0", 16, 108).trim_end()).unwrap(),
            trace::parse(wrote("1.0", 4, 108).trim_end()).unwrap(),
            trace::parse(push("1.0", "nonagle=0", NAGLED, 100, 108).trim_end()).unwrap(),
            trace::parse(push("1.0", "nonagle=2", CORKED, 100, 108).trim_end()).unwrap(),
        ];
        let mut out = Vec::new();
        for n in 0..4_000 {
            for event in &again {
                let mut event = event.clone();
                event.at_ns += n * 1_000_000;
                machine.on_event(&event, &mut out);
            }
        }
        machine.on_end(SocketId(1), 10_000_000_000, &mut out);
        let [hold] = out.as_slice() else { panic!("{} holds", out.len()) };
        assert!(hold.evidence.len() <= MAX_EVIDENCE + 8, "{} lines", hold.evidence.len());
        assert!(hold.not_seen.len() <= 2, "{:?}", hold.not_seen);
        assert_eq!(hold.cause.parts.iter().map(|part| part.held_ns).sum::<u64>(), 9_000_000_000);
        assert!(hold.cause.parts.len() <= MAX_CAUSES);
    }
}

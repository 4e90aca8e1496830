//! The state of one socket: the stretch that is being collected, and what the next event is compared with.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{
        SOL_TCP, TCP_CLOSE, TCP_CORK, TCP_NAGLE_CORK, TCP_NAGLE_OFF, TCP_NODELAY, TCP_SYN_SENT,
        option_name,
    },
};

use super::{Fact, MAX_LINES, SPAN_NS, Stretch};
use crate::{
    analysis::{
        Analysis,
        nagle::{self, Held, Timer, timer},
    },
    event::{Event, Seq, SocketId},
    finding::{Certainty, Evidence, Finding, Task},
};

/// The state of one socket. The holds come from a machine of the question `nagle` inside.
#[derive(Debug, Default)]
pub struct Machine {
    nagle: nagle::Machine,
    socket: SocketId,
    /// The stretch that is being collected.
    open: Option<Open>,
    /// Stretches that ended with the event at hand.
    ended: Vec<AnyStretch>,
    /// Number of this socket's last event.
    last_n: u64,
    /// Start of relative sequence numbers.
    base: Option<Seq>,
    owner: Option<Task>,
    /// State at the first record, until a stretch has told it.
    met_in: Option<u32>,
    /// The next segment may be the answer to our SYN.
    connecting: bool,
    /// End of the bytes written, when no write is at work.
    written_to: Option<Seq>,
    /// Sequence number after our FIN.
    fin_end: Option<Seq>,
    /// Highest end of the segments that came in.
    received_to: Option<Seq>,
    /// The hold that the lines say is going on: since when, by what.
    hold: Option<(u64, Held)>,
    /// Timer that the lines say is armed, its deadline, and whether that line matters.
    armed: Option<(Timer, u64, bool)>,
    /// The end of the connection was seen.
    over: bool,
}

/// A stretch that is being collected.
#[derive(Debug)]
struct Open {
    from_ns: u64,
    last_ns: u64,
    begins_held: bool,
    lines: Vec<Evidence<Fact>>,
    certainty: Certainty,
    /// The line of the write that is at work.
    writing: Option<usize>,
    /// The segment that is being processed.
    segment: Option<Segment>,
    /// A line tells of an option whose value is not known yet.
    unlearned: bool,
}

/// A segment that is being processed.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Its line in the stretch.
    line: usize,
    /// The thread at work.
    tid: u32,
    /// A task owns the socket.
    owned: bool,
    /// Nothing that came before it ends later.
    last: bool,
}

type AnyStretch = Finding<Stretch, Fact>;

impl Analysis for Machine {
    type Cause = Stretch;
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
        Hook::tcp_fin,
    ];
    const REQUIRED: usize = 8;
    const EVERYTHING: bool = true;
    const TICKS: bool = true;

    fn on_event(&mut self, e: &Event, out: &mut Vec<AnyStretch>) {
        if self.due_ns().is_some_and(|due| due <= e.at_ns) {
            self.on_due(out);
        }
        (self.socket, self.last_n) = (e.socket, e.n);
        self.learn_option(e);
        match e.hook {
            Hook::socket => self.meet(e),
            Hook::tcp_push => self.on_push(e),
            Hook::tcp_sendmsg_locked => self.on_write_end(e),
            Hook::tcp_write_xmit => self.on_attempt(e),
            Hook::tcp_event_new_data_sent => self.on_departure(e),
            Hook::tcp_rcv_established | Hook::tcp_rcv_state_process => self.on_segment(e),
            Hook::tcp_fin => self.on_fin_in(e),
            Hook::tcp_write_timer_handler => self.on_timer(e),
            Hook::tcp_send_fin => self.on_fin(e),
            Hook::do_tcp_setsockopt => self.on_option(e),
            Hook::tcp_tsq_write | Hook::tcp_tsq_handler => self.note(e, Fact::Tsq),
            Hook::tcp_done | Hook::tcp_v4_destroy_sock | Hook::socket_reused => {}
        }
        self.follow_hold(e);
        self.on_life(e);
        out.append(&mut self.ended);
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<AnyStretch>) {
        self.socket = socket;
        self.flush(at_ns);
        out.append(&mut self.ended);
    }

    fn on_loss(&mut self, at_ns: u64) {
        self.nagle.on_loss(at_ns);
        (self.written_to, self.armed) = (None, None);
        let Some(open) = &mut self.open else { return };
        (open.certainty, open.writing, open.segment) = (Certainty::May, None, None);
        if !matches!(open.lines.last(), Some(Evidence { fact: Fact::Lost, .. })) {
            open.lines.push(Evidence { n: self.last_n, at_ns, fact: Fact::Lost });
        }
    }

    fn due_ns(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.from_ns.saturating_add(SPAN_NS))
    }

    fn on_due(&mut self, out: &mut Vec<AnyStretch>) {
        if let Some(due) = self.due_ns() {
            self.flush(due);
        }
        out.append(&mut self.ended);
    }
}

impl Machine {
    /// Adds a line.
    fn note(&mut self, e: &Event, fact: Fact) {
        self.line(e.n, e.at_ns, fact);
        self.end_if_full(e);
    }

    fn end_if_full(&mut self, e: &Event) {
        if self.open.as_ref().is_some_and(|open| open.lines.len() >= MAX_LINES) {
            self.flush(e.at_ns);
        }
    }

    fn line(&mut self, n: u64, at_ns: u64, fact: Fact) {
        let begins_held = self.hold.is_some();
        let open = self.open.get_or_insert_with(|| Open {
            from_ns: at_ns,
            last_ns: at_ns,
            begins_held,
            lines: Vec::new(),
            certainty: Certainty::Seen,
            writing: None,
            segment: None,
            unlearned: false,
        });
        open.last_ns = open.last_ns.max(at_ns);
        open.lines.push(Evidence { n, at_ns, fact });
    }

    /// Ends the stretch at `at_ns`, with what is still held then.
    fn flush(&mut self, at_ns: u64) {
        if let (Some((since, cause)), Some((_, bytes, _))) = (self.hold, self.nagle.held()) {
            let held_ns = at_ns.saturating_sub(since);
            self.line(self.last_n, at_ns, Fact::StillHeld { cause, bytes, held_ns });
        }
        let Some(open) = self.open.take() else { return };
        let mut stretch = Stretch {
            owner: self.owner,
            met_in: self.met_in.take(),
            begins_held: open.begins_held,
            ..Stretch::default()
        };
        for line in &open.lines {
            stretch.count(&line.fact);
        }
        self.ended.push(Finding {
            socket: self.socket,
            from_ns: open.from_ns,
            until_ns: open.last_ns,
            cause: stretch,
            evidence: open.lines,
            certainty: open.certainty,
            not_seen: Vec::new(),
        });
    }

    /// Nobody is at work any more.
    const fn leave(&mut self) {
        if let Some(open) = &mut self.open {
            open.segment = None;
        }
    }

    fn relative(&self, seq: Seq) -> u32 {
        self.base.map_or(0, |base| seq.0.wrapping_sub(base.0))
    }

    fn act(&mut self, e: &Event) -> Task {
        let task = Task { pid: e.pid, tid: e.tid };
        self.owner = Some(task);
        task
    }

    fn meet(&mut self, e: &Event) {
        self.met_in = e.u32(Field::skc_state);
        // A socket of which options are set before it connects is met in CLOSE.
        self.connecting = matches!(self.met_in, Some(TCP_SYN_SENT | TCP_CLOSE));
    }

    /// Bytes were written that no line tells of yet: a write is at work.
    fn grown(&self, e: &Event) -> bool {
        let new = self.written_to.zip(e.seq(Field::write_seq));
        new.is_some_and(|(known, now)| known.before(now))
    }

    /// A write begins, as far as it can be seen.
    fn begin_write(&mut self, e: &Event) {
        let task = self.act(e);
        let (bytes, flags, given, returned, waiting_bytes) = (None, None, None, None, None);
        self.note(e, Fact::Write { bytes, flags, given, returned, waiting_bytes, task });
        if let Some(open) = &mut self.open {
            open.writing = open.lines.len().checked_sub(1);
        }
    }

    fn on_push(&mut self, e: &Event) {
        self.leave();
        let at_work = self.open.as_ref().is_some_and(|open| open.writing.is_some());
        if !at_work && (self.written_to.is_none() || self.grown(e)) {
            self.begin_write(e);
        }
        let added = self.written_to.zip(e.seq(Field::write_seq)).map(|(was, now)| now.since(was));
        let (waiting, sent) = (e.waiting(), e.arg("flags"));
        self.written_to = e.seq(Field::write_seq).or(self.written_to);
        if let Some((open, at)) = self.open.as_mut().and_then(|o| o.writing.take().map(|at| (o, at)))
            && let Some(Evidence { fact: Fact::Write { bytes, flags, waiting_bytes, .. }, .. }) =
                open.lines.get_mut(at)
        {
            (*bytes, *flags, *waiting_bytes) = (added, sent, waiting);
        }
        if let Some(snd_nxt) = e.seq(Field::snd_nxt) {
            self.base.get_or_insert(snd_nxt);
        }
        let (nonagle, packets_out) = (e.arg("nonagle"), e.u32(Field::packets_out));
        self.note(e, Fact::Push { nonagle, waiting_bytes: waiting, packets_out });
    }

    /// `tcp_sendmsg_locked()` returned: what the call was given and what it took.
    fn on_write_end(&mut self, e: &Event) {
        self.leave();
        let task = self.act(e);
        let (given_bytes, result) =
            (e.arg("size").unwrap_or(0), e.arg("ret").unwrap_or(0).cast_signed());
        let end = e.seq(Field::write_seq);
        let added = self.written_to.zip(end).map(|(was, now)| now.since(was));
        let own = |line: &&mut Evidence<Fact>| {
            matches!(&line.fact, Fact::Write { task: writer, returned: None, .. } if *writer == task)
        };
        let line = self.open.as_mut().and_then(|open| {
            open.writing = None;
            open.lines.iter_mut().rev().find(own)
        });
        self.written_to = end.or(self.written_to);
        match line.map(|line| &mut line.fact) {
            Some(Fact::Write { bytes, given, returned, .. }) if result > 0 => {
                (*given, *returned) = (Some(given_bytes), Some(result));
                // A write that was not pushed (the last segment was full, or it failed half-way) is told by its end.
                *bytes = bytes.or(added.filter(|added| *added > 0)).or(u32::try_from(result).ok());
            }
            _ => self.note(e, Fact::WriteReturned { given: given_bytes, returned: result, task }),
        }
    }

    fn on_attempt(&mut self, e: &Event) {
        let of = |field| e.u32(field);
        let fact = Fact::Attempt {
            waiting_bytes: e.waiting(),
            packets_out: of(Field::packets_out),
            snd_cwnd: of(Field::snd_cwnd),
            snd_wnd: of(Field::snd_wnd),
        };
        self.note(e, fact);
    }

    fn on_departure(&mut self, e: &Event) {
        let (Some(seq), Some(end_seq)) = (e.seq(Field::seq), e.seq(Field::end_seq)) else { return };
        self.base.get_or_insert(seq);
        let owned = e.u32(Field::sk_lock_owned).unwrap_or(0) != 0;
        let at_work = self.open.as_ref().is_some_and(|open| open.writing.is_some());
        if owned && self.fin_end.is_none() && self.grown(e) {
            if !at_work {
                self.begin_write(e);
            }
        } else if let Some(open) = &mut self.open
            && let Some(segment) = open.segment.filter(|s| s.tid == e.tid && s.owned == owned)
            && let Some(Evidence { fact: Fact::SegmentIn { released, .. }, .. }) =
                open.lines.get_mut(segment.line)
        {
            *released = true;
        }
        let fin = self.fin_end == Some(end_seq);
        let bytes = end_seq.since(seq).saturating_sub(u32::from(fin));
        let start = self.relative(seq);
        self.note(e, Fact::Left { bytes, seq: start, end_seq: start.wrapping_add(bytes), fin });
    }

    fn on_segment(&mut self, e: &Event) {
        let owned = e.u32(Field::sk_lock_owned).unwrap_or(0) != 0;
        if !owned && let Some(write_seq) = e.seq(Field::write_seq) {
            self.written_to = Some(write_seq);
        }
        let (ack, una) = (e.seq(Field::ack_seq), e.seq(Field::snd_una));
        let (seq, end) = (e.seq(Field::seq), e.seq(Field::end_seq));
        let mut acked = ack.zip(una).map_or(0, |(ack, una)| ack.since(una));
        let mut data = end.zip(seq).map_or(0, |(end, seq)| end.since(seq));
        // Data before the handshake is over comes with the SYN, which counts as one in sequence space.
        let syn = self.connecting && e.hook == Hook::tcp_rcv_state_process && data > 0;
        self.connecting &= acked == 0;
        if syn {
            (acked, data) = (acked.saturating_sub(1), data - 1);
        } else if let Some(una) = una.filter(|_| acked > 0) {
            self.base.get_or_insert(una);
        }
        let acks_fin = acked > 0 && self.fin_end.is_some() && self.fin_end == ack;
        acked -= u32::from(acks_fin);
        let ack_seq = ack.filter(|_| acked > 0 && self.base.is_some()).map(|ack| {
            self.relative(ack).wrapping_sub(u32::from(acks_fin))
        });
        self.received_to = match (self.received_to, end) {
            (Some(known), Some(end)) => Some(known.max(end)),
            (known, end) => known.or(end),
        };
        let (fin, released) = (false, false);
        let fact =
            Fact::SegmentIn { acked_bytes: acked, ack_seq, acks_fin, data_bytes: data, syn, fin, released };
        self.note(e, fact);
        // Only the last of the peer's bytes can be its FIN.
        let last = end.is_some() && end == self.received_to;
        if let Some(open) = &mut self.open
            && let Some(line) = open.lines.len().checked_sub(1)
        {
            open.segment = Some(Segment { line, tid: e.tid, owned, last });
        }
    }

    /// `tcp_fin()` runs while the segment that completes the peer's bytes is processed.
    fn on_fin_in(&mut self, e: &Event) {
        if let Some(open) = &mut self.open
            && let Some(segment) = open.segment.filter(|s| s.tid == e.tid && s.last)
            && let Some(Evidence { fact: Fact::SegmentIn { data_bytes, fin, .. }, .. }) =
                open.lines.get_mut(segment.line)
            && *data_bytes > 0
        {
            (*data_bytes, *fin) = (*data_bytes - 1, true);
        }
        self.note(e, Fact::FinIn { skc_state: e.u32(Field::skc_state) });
    }

    fn on_timer(&mut self, e: &Event) {
        let Some((_, timer)) = timer::fired(e) else { return };
        self.leave();
        self.armed = None;
        if let Some(timer) = timer {
            self.note(e, Fact::TimerFired { timer });
        }
    }

    /// Says which write timer is armed, once for each deadline, and again when bytes begin to wait for it.
    fn note_timer(&mut self, e: &Event) {
        let Some(armed) = timer::armed(e) else { return };
        let matters = self.hold.is_some() && armed.timer != Timer::Retransmit;
        let known = self.armed.is_some_and(|(timer, expires, mattered)| {
            (timer, expires) == (armed.timer, armed.expires) && (mattered || !matters)
        });
        if known {
            return;
        }
        self.armed = Some((armed.timer, armed.expires, matters));
        let fact = Fact::TimerArmed {
            timer: armed.timer,
            due_ticks: armed.due_ticks,
            rto_ticks: e.u32(Field::icsk_rto),
            srtt_us: e.u32(Field::srtt_us).map(|s| s >> 3),
            packets_out: e.u32(Field::packets_out),
            matters,
        };
        self.note(e, fact);
    }

    fn on_fin(&mut self, e: &Event) {
        self.leave();
        let task = self.act(e);
        if let Some(write_seq) = e.seq(Field::write_seq) {
            self.fin_end = Some(Seq(write_seq.0.wrapping_add(1)));
            self.written_to = self.fin_end;
        }
        self.note(e, Fact::FinQueued { task });
    }

    fn on_option(&mut self, e: &Event) {
        let Some(optname) = e.arg("optname").filter(|_| e.arg("level") == Some(SOL_TCP)) else {
            return;
        };
        let task = self.act(e);
        self.note(e, Fact::OptionSet { option: option_name(optname), optname, value: None, task });
        if let Some(open) = &mut self.open {
            open.unlearned |= matches!(optname, TCP_CORK | TCP_NODELAY);
        }
    }

    /// The next look at the socket by the thread that set an option tells the option's value.
    fn learn_option(&mut self, e: &Event) {
        let Some(nonagle) = e.u32(Field::nonagle) else { return };
        let Some(open) = self.open.as_mut().filter(|open| open.unlearned) else { return };
        open.unlearned = false;
        for line in &mut open.lines {
            if let Fact::OptionSet { optname, value: value @ None, task, .. } = &mut line.fact {
                let bit = match *optname {
                    TCP_CORK => TCP_NAGLE_CORK,
                    TCP_NODELAY => TCP_NAGLE_OFF,
                    _ => continue,
                };
                if task.tid == e.tid {
                    *value = Some(nonagle & bit != 0);
                } else {
                    open.unlearned = true;
                }
            }
        }
    }

    /// What the event means for the bytes that are held.
    fn follow_hold(&mut self, e: &Event) {
        let mut found = Vec::new();
        self.nagle.on_event(e, &mut found);
        for hold in found {
            let fact = Fact::HoldEnded {
                bytes: hold.cause.bytes,
                written_bytes: hold.cause.written_bytes,
                held_ns: hold.until_ns.saturating_sub(hold.from_ns),
                causes: hold.cause.parts,
                release: hold.cause.release,
                certainty: hold.certainty,
            };
            self.line(e.n, e.at_ns, fact);
            self.hold = None;
            self.end_if_full(e);
        }
        match (self.hold, self.nagle.held()) {
            (_, None) => self.hold = None,
            (Some((since, known)), Some((from_ns, bytes, cause))) if since == from_ns => {
                if known != cause {
                    self.line(e.n, e.at_ns, Fact::HeldBy { cause, bytes });
                }
                self.hold = Some((from_ns, cause));
            }
            (_, Some((from_ns, bytes, cause))) => {
                let held_ns = e.at_ns.saturating_sub(from_ns);
                self.line(e.n, e.at_ns, Fact::HoldBegan { cause, bytes, held_ns });
                self.hold = Some((from_ns, cause));
            }
        }
        self.end_if_full(e);
        if matches!(e.hook, Hook::tcp_push | Hook::tcp_write_xmit) {
            self.note_timer(e);
        }
    }

    /// The ends of a connection and of a socket.
    fn on_life(&mut self, e: &Event) {
        match e.hook {
            Hook::tcp_done => {
                self.over = true;
                self.note(e, Fact::Over { skc_state: e.u32(Field::skc_state) });
            }
            Hook::tcp_v4_destroy_sock => {
                self.note(e, Fact::Gone { after_over: self.over });
                self.flush(e.at_ns);
            }
            Hook::socket_reused => {
                self.line(e.n, e.at_ns, Fact::Reused);
                if let Some(open) = &mut self.open {
                    open.certainty = Certainty::May;
                }
                self.flush(e.at_ns);
                let ended = std::mem::take(&mut self.ended);
                *self = Self { ended, ..Self::default() };
            }
            _ => {}
        }
    }
}

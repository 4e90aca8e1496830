//! The state of one socket: the stretch that is being collected, and what the next event is compared with.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{
        SOL_TCP, TCP_CLOSE, TCP_CORK, TCP_NAGLE_CORK, TCP_NAGLE_OFF, TCP_NODELAY, TCP_SYN_SENT,
        option_name,
    },
};

use super::{Fact, MAX_LINES, SPAN_NS, Stretch, others::Others};
use crate::{
    analysis::{
        Analysis, delack,
        nagle::{self, Held, Timer, blocked::no_room, timer},
    },
    event::{Event, Seq, SocketId},
    finding::{Certainty, Evidence, Finding, Task},
};

/// The state of one socket. The holds come from a machine of the question `nagle` inside.
#[derive(Debug, Default)]
pub struct Machine {
    /// In a box: machines of other questions are smaller, and their sockets should not pay for this one.
    state: Box<State>,
}

#[derive(Debug, Default)]
struct State {
    nagle: nagle::Machine,
    others: Others,
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
    /// Deadline of the ACK that the lines say is put off, jiffies.
    ack_due: Option<u64>,
    /// The end of the connection was seen.
    over: bool,
    /// Something happened that only happens to a socket, which lives.
    is_socket: bool,
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
        Hook::__tcp_transmit_skb,
        Hook::tcp_pace_kick,
        Hook::sk_stream_wait_memory,
        Hook::sk_stream_wait_connect,
        Hook::do_tcp_sendpages,
        Hook::tcp_connect,
        Hook::tcp_send_ack,
        Hook::tcp_send_delayed_ack,
        Hook::tcp_delack_timer_handler,
        Hook::__tcp_close,
        Hook::tcp_send_active_reset,
        Hook::tcp_reset,
        Hook::tcp_time_wait,
        Hook::option_before,
        Hook::__sys_setsockopt,
        Hook::do_sock_setsockopt,
        Hook::__bpf_setsockopt,
        Hook::tcp_fastopen_cookie_check,
        Hook::tcp_fastopen_cache_set,
        Hook::tcp_fastopen_defer_connect,
        Hook::tcp_fastopen_active_detect_blackhole,
        Hook::tcp_fastopen_active_disable,
        Hook::tcp_finish_connect,
        Hook::tcp_try_fastopen,
        Hook::reqsk_fastopen_remove,
        Hook::inet_csk_reqsk_queue_add,
        Hook::inet_csk_reqsk_queue_hash_add,
        Hook::tcp_check_req,
        Hook::inet_csk_complete_hashdance,
        Hook::tcp_syn_ack_timeout,
        Hook::tcp_rtx_synack,
        Hook::__inet_csk_reqsk_queue_drop,
        Hook::inet_csk_reqsk_queue_drop_and_put,
        Hook::reqsk_timer_handler,
        Hook::tcp_req_err,
        Hook::inet_reqsk_clone,
        Hook::tcp_data_ready,
        Hook::security_sock_graft,
        Hook::inet_csk_accept,
    ];
    const REQUIRED: usize = 8;
    const EVERYTHING: bool = true;
    const CLOSING: bool = true;
    const OPENING: bool = true;
    const DEFERRING: bool = true;
    const TICKS: bool = true;

    fn on_event(&mut self, e: &Event, out: &mut Vec<AnyStretch>) {
        self.state.on_event(e);
        out.append(&mut self.state.ended);
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<AnyStretch>) {
        self.state.socket = socket;
        self.state.flush(at_ns);
        out.append(&mut self.state.ended);
    }

    fn on_loss(&mut self, at_ns: u64) {
        self.state.on_loss(at_ns);
    }

    fn is_over(&self, gone: bool) -> bool {
        // The end of a request of the same name is not that of a socket, of which something may still be held.
        gone && !self.state.is_socket
    }

    fn due_ns(&self) -> Option<u64> {
        self.state.due_ns()
    }

    fn on_due(&mut self, out: &mut Vec<AnyStretch>) {
        if let Some(due) = self.due_ns() {
            self.state.flush(due);
        }
        out.append(&mut self.state.ended);
    }
}

impl State {
    fn on_event(&mut self, e: &Event) {
        if let Some(due) = self.due_ns().filter(|due| *due <= e.at_ns) {
            self.flush(due);
        }
        (self.socket, self.last_n) = (e.socket, e.n);
        self.learn_option(e);
        self.is_socket |= nagle::Machine::HOOKS.contains(&e.hook);
        match e.hook {
            Hook::socket => self.meet(e),
            Hook::tcp_push => self.on_push(e),
            Hook::tcp_sendmsg_locked | Hook::do_tcp_sendpages => self.on_write_end(e),
            Hook::tcp_write_xmit => self.on_attempt(e),
            Hook::tcp_event_new_data_sent => self.on_departure(e),
            Hook::tcp_rcv_established | Hook::tcp_rcv_state_process => self.on_segment(e),
            Hook::tcp_fin => self.on_fin_in(e),
            Hook::tcp_write_timer_handler => self.on_timer(e),
            Hook::tcp_send_fin => self.on_fin(e),
            Hook::do_tcp_setsockopt => self.on_option(e),
            Hook::tcp_tsq_write | Hook::tcp_tsq_handler => self.note(e, Fact::Tsq),
            Hook::user_stack => self.note(e, Fact::Stack { number: e.arg("stack").unwrap_or(0) }),
            Hook::__tcp_transmit_skb => self.on_failure(e),
            Hook::sk_stream_wait_memory => self.on_sleep(e, no_room(e)),
            Hook::sk_stream_wait_connect | Hook::tcp_connect if e.awaits_connection() => {
                self.on_sleep(e, Held::NotEstablished);
            }
            Hook::__tcp_close => self.on_close(e),
            Hook::ack_sent | Hook::tcp_send_ack => self.note(e, Fact::AckOut),
            Hook::tcp_send_active_reset => self.note(e, Fact::ResetOut),
            Hook::tcp_reset => self.note(e, Fact::Reset),
            Hook::tcp_time_wait => self.note(e, Fact::Minisock { skc_state: e.arg("state") }),
            Hook::tcp_send_delayed_ack => self.on_ack_put_off(e),
            Hook::tcp_delack_timer_handler => self.on_ack_timer(e),
            // They tell nothing that a line below, or another event, does not.
            _ => {}
        }
        for fact in self.others.on_event(e) {
            self.note(e, fact);
        }
        self.follow_hold(e);
        self.on_life(e);
    }

    fn on_loss(&mut self, at_ns: u64) {
        self.nagle.on_loss(at_ns);
        self.others.on_loss(at_ns);
        (self.written_to, self.armed) = (None, None);
        let Some(open) = &mut self.open else { return };
        (open.certainty, open.writing, open.segment) = (Certainty::May, None, None);
        if !matches!(open.lines.last(), Some(Evidence { fact: Fact::Lost, .. })) {
            // The gap may have begun before what has come by now.
            let last_ns = open.lines.last().map_or(open.from_ns, |line| line.at_ns);
            let at_ns = at_ns.max(last_ns);
            open.lines.push(Evidence { n: self.last_n, at_ns, fact: Fact::Lost });
        }
    }

    fn due_ns(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.from_ns.saturating_add(SPAN_NS))
    }

    /// Adds a line.
    fn note(&mut self, e: &Event, fact: Fact) {
        self.line(e.n, e.at_ns, fact);
        self.end_if_full(e);
    }

    fn end_if_full(&mut self, e: &Event) {
        // Room is left for a line that says what is still held, and for one that says that events were lost.
        if self.open.as_ref().is_some_and(|open| open.lines.len() + 2 >= MAX_LINES) {
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
        let task = Task::at_work(e);
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
        let (bytes, flags, given_bytes, returned, waiting_bytes) = (None, None, None, None, None);
        // The stretch does not end with it: what it wrote is told when its push ends.
        let fact = Fact::Write { bytes, flags, given_bytes, returned, waiting_bytes, task };
        self.line(e.n, e.at_ns, fact);
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
        if let Some((open, at)) =
            self.open.as_mut().and_then(|o| o.writing.take().map(|at| (o, at)))
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
        let (size, result) = (e.arg("size").unwrap_or(0), e.arg("ret").unwrap_or(0).cast_signed());
        let end = e.seq(Field::write_seq);
        let added = self.written_to.zip(end).map(|(was, now)| now.since(was));
        let own = |line: &&mut Evidence<Fact>| matches!(&line.fact, Fact::Write { task: writer, returned: None, .. } if *writer == task);
        let line = self.open.as_mut().and_then(|open| {
            open.writing = None;
            open.lines.iter_mut().rev().find(own)
        });
        self.written_to = end.or(self.written_to);
        match line.map(|line| &mut line.fact) {
            Some(Fact::Write { bytes, given_bytes, returned, .. }) if result > 0 => {
                (*given_bytes, *returned) = (Some(size), Some(result));
                // A write that was not pushed (the last segment was full, or it failed half-way) is told by its end.
                *bytes = bytes.or(added.filter(|added| *added > 0)).or(u32::try_from(result).ok());
            }
            _ => self.note(e, Fact::WriteReturned { given_bytes: size, returned: result, task }),
        }
    }

    fn on_sleep(&mut self, e: &Event, cause: Held) {
        let task = self.act(e);
        self.note(e, Fact::WriterSleeps { cause, task });
    }

    fn on_failure(&mut self, e: &Event) {
        let bytes =
            e.seq(Field::end_seq).zip(e.seq(Field::seq)).map_or(0, |(end, seq)| end.since(seq));
        let returned = e.arg("ret").unwrap_or(0).cast_signed();
        self.note(e, Fact::TransmitFailed { bytes, returned });
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
        let mut acked = e.acked();
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
        let ack_seq = ack
            .filter(|_| acked > 0 && self.base.is_some())
            .map(|ack| self.relative(ack).wrapping_sub(u32::from(acks_fin)));
        self.received_to = match (self.received_to, end) {
            (Some(known), Some(end)) => Some(known.max(end)),
            (known, end) => known.or(end),
        };
        let (fin, released) = (false, false);
        let fact = Fact::SegmentIn {
            acked_bytes: acked,
            ack_seq,
            acks_fin,
            data_bytes: data,
            syn,
            fin,
            released,
        };
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

    fn on_close(&mut self, e: &Event) {
        self.leave();
        let task = self.act(e);
        self.note(e, Fact::CloseCalled { unread_bytes: e.unread(), task });
    }

    /// Tells of an ACK that is put off once for each deadline.
    fn on_ack_put_off(&mut self, e: &Event) {
        let expires = e.field(Field::icsk_ack_timeout).filter(|_| delack::is_armed(e));
        if expires.is_none() || expires == self.ack_due {
            return;
        }
        self.ack_due = expires;
        let fact = Fact::AckPutOff {
            pingpong: e.u32(Field::icsk_ack_pingpong),
            ato_ticks: e.u32(Field::icsk_ack_ato),
            due_ticks: delack::due_ticks(e),
        };
        self.note(e, fact);
    }

    fn on_ack_timer(&mut self, e: &Event) {
        if delack::fires(e) {
            self.leave();
            self.ack_due = None;
            self.note(e, Fact::AckTimerFired);
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
            // One that sleeps in its call is no hold of the queue, which may have one at the same time.
            let in_queue = !hold.cause.parts.iter().all(|part| part.held.is_sleep());
            let fact = Fact::HoldEnded {
                bytes: hold.cause.bytes,
                written_bytes: hold.cause.written_bytes,
                held_ns: hold.until_ns.saturating_sub(hold.from_ns),
                causes: hold.cause.parts.into_vec(),
                release: hold.cause.release,
                certainty: hold.certainty,
            };
            self.line(e.n, e.at_ns, fact);
            if in_queue {
                self.hold = None;
            }
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
            _ if e.is_turned_away() => self.flush(e.at_ns),
            Hook::tcp_done => {
                self.over = true;
                self.note(e, Fact::Over { skc_state: e.u32(Field::skc_state) });
            }
            Hook::tcp_v4_destroy_sock => {
                self.note(e, Fact::Gone { after_over: self.over });
                self.flush(e.at_ns);
                self.is_socket = false;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace;

    /// Stretches of a written trace: their lines, one word or two each, joined.
    fn check(text: &str) -> Vec<String> {
        briefs(&run(text, None))
    }

    fn run(text: &str, lost_before: Option<usize>) -> Vec<AnyStretch> {
        let (mut machine, mut out) = (Machine::default(), Vec::new());
        let mut last = 0;
        for (n, line) in text.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate() {
            let mut event = trace::parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            event.n = n as u64 + 1;
            last = event.at_ns;
            if lost_before == Some(n) {
                machine.on_loss(last);
            }
            machine.on_event(&event, &mut out);
        }
        machine.on_end(SocketId(1), last, &mut out);
        out
    }

    fn briefs(stretches: &[AnyStretch]) -> Vec<String> {
        let lines = |s: &AnyStretch| s.evidence.iter().map(|l| brief(&l.fact)).collect::<Vec<_>>();
        stretches.iter().map(|s| lines(s).join(", ")).collect()
    }

    fn brief(fact: &Fact) -> String {
        match fact {
            Fact::Write { bytes, given_bytes: given, returned, .. } => match returned {
                Some(returned) => format!("write {bytes:?} {}/{returned}", given.unwrap_or(0)),
                None => format!("write {bytes:?}"),
            },
            Fact::WriteReturned { given_bytes: given, returned, .. } => {
                format!("returned {given}/{returned}")
            }
            Fact::Left { seq, end_seq, fin, .. } => {
                format!("left {seq}..{end_seq}{}", if *fin { " fin" } else { "" })
            }
            Fact::SegmentIn { acked_bytes, acks_fin, data_bytes, syn, fin, released, .. } => {
                let marks =
                    [(syn, "syn"), (fin, "fin"), (released, "released"), (acks_fin, "acks_fin")];
                let marks = marks.iter().filter(|(is, _)| **is).map(|(_, name)| format!(" {name}"));
                format!("in {acked_bytes}+{data_bytes}{}", marks.collect::<String>())
            }
            Fact::HoldBegan { cause, held_ns, .. } => {
                format!("began {cause:?} {}", held_ns / 1_000_000)
            }
            Fact::HeldBy { cause, .. } => format!("then {cause:?}"),
            Fact::StillHeld { held_ns, .. } => format!("still {}", held_ns / 1_000_000),
            Fact::HoldEnded { held_ns, release, .. } => {
                format!("ended {release:?} {}", held_ns / 1_000_000)
            }
            Fact::TimerArmed { timer, matters, .. } => {
                format!("armed {timer:?}{}", if *matters { "" } else { " minor" })
            }
            Fact::TimerFired { timer } => format!("fired {timer:?}"),
            Fact::OptionSet { optname, value, .. } => format!("option {optname} {value:?}"),
            Fact::Gone { after_over } => format!("gone {after_over}"),
            other => format!("{other:?}").split([' ', '{']).next().unwrap_or("").to_lowercase(),
        }
    }

    /// A push that ends with what is between the two numbers unsent.
    fn push(at: &str, nonagle: u32, snd_nxt: u32, write_seq: u32) -> String {
        format!(
            "{at} s1 pid=7 tcp_push mss_now=1000 nonagle={nonagle} | nonagle={nonagle} packets_out=1 snd_sml={snd_nxt} \
             snd_una=50 snd_nxt={snd_nxt} write_seq={write_seq} snd_wnd=60000 snd_cwnd=10 sacked_out=0 lost_out=0 \
             retrans_out=0 sk_pacing_status=0 sk_tsq_flags=0 tail_len={}\n",
            write_seq - snd_nxt
        )
    }

    fn left(at: &str, pid: u32, seq: u32, end_seq: u32, write_seq: u32) -> String {
        format!(
            "{at} s1 pid={pid} tcp_event_new_data_sent | seq={seq} end_seq={end_seq} snd_nxt={seq} \
             write_seq={write_seq} repair=0 sk_lock_owned={}\n",
            u32::from(pid != 0)
        )
    }

    fn wrote(at: &str, size: u32, ret: u32, write_seq: u32) -> String {
        format!("{at} s1 pid=7 tcp_sendmsg_locked size={size} ret={ret} | write_seq={write_seq}\n")
    }

    /// A segment without data that acknowledges up to `ack`; the socket has written up to `write_seq`.
    fn ack(at: &str, una: u32, ack: u32, write_seq: u32) -> String {
        format!(
            "{at} s1 pid=0 tcp_rcv_established | seq=1 end_seq=1 ack_seq={ack} snd_una={una} write_seq={write_seq} \
             sk_lock_owned=0\n"
        )
    }

    #[test]
    fn a_write_stands_before_what_leaves_because_of_it() {
        let text = ack("1.0", 100, 100, 100)
            + &left("1.001", 7, 100, 108, 108)
            + &push("1.001", 1, 108, 108)
            + &wrote("1.001", 8, 8, 108);
        assert_eq!(check(&text), ["in 0+0, write Some(8) 8/8, left 0..8, push"]);
    }

    #[test]
    fn a_call_that_slept_is_told_in_parts_and_ends_with_what_it_took() {
        let text = ack("1.0", 100, 100, 100)
            + &push("1.1", 1, 900, 900)
            + &push("1.2", 1, 1500, 1500)
            + &wrote("1.2", 1400, 1400, 1500);
        assert_eq!(
            check(&text),
            ["in 0+0, write Some(800), push, write Some(600) 1400/1400, push"]
        );
    }

    #[test]
    fn a_write_that_failed_has_its_error_and_one_met_midway_its_result() {
        let failed = wrote("1.0", 8, 11_u32.wrapping_neg(), 100);
        assert_eq!(check(&failed), ["returned 8/-11"]);
        assert_eq!(check(&wrote("1.0", 8, 8, 100)), ["returned 8/8"]);
        let first = push("1.0", 1, 108, 108) + &wrote("1.0", 8, 8, 108);
        assert_eq!(check(&first), ["write Some(8) 8/8, push"]);
    }

    #[test]
    fn what_leaves_because_of_a_segment_makes_it_matter() {
        let text = push("1.0", 0, 100, 150)
            + &wrote("1.0", 50, 50, 150)
            + &ack("1.03", 50, 100, 150)
            + &left("1.03", 0, 100, 150, 150)
            + &ack("1.05", 100, 100, 150);
        assert_eq!(
            check(&text),
            [
                "write Some(50) 50/50, push, began Nagle 0, in 50+0 released, left 0..50, ended Ack 30, in 0+0"
            ]
        );
        let minor: Vec<_> =
            run(&text, None)[0].evidence.iter().map(|l| l.fact.is_minor()).collect();
        assert_eq!(minor, [false, true, false, false, false, false, true]);
    }

    #[test]
    fn a_syn_is_no_data_and_its_ack_acknowledges_none() {
        let text = "1.0 s1 pid=7 socket | skc_state=2\n\
                    1.1 s1 pid=0 tcp_rcv_state_process | seq=7 end_seq=8 ack_seq=101 snd_una=100 write_seq=101\n\
                    1.2 s1 pid=0 tcp_rcv_established | seq=8 end_seq=18 ack_seq=101 snd_una=101 write_seq=101\n";
        let found = run(text, None);
        assert_eq!(briefs(&found), ["in 0+0 syn, in 0+10"]);
        assert_eq!(found[0].cause.met_in, Some(TCP_SYN_SENT));
    }

    #[test]
    fn a_fin_is_taken_off_the_segment_that_carries_it_and_no_other() {
        let segment = |at: &str, seq: u32, end: u32| {
            format!(
                "{at} s1 pid=0 tcp_rcv_established | seq={seq} end_seq={end} ack_seq=1 snd_una=1\n"
            )
        };
        let fin = "1.1 s1 pid=0 tcp_fin | skc_state=1\n";
        let with = segment("1.1", 10, 21) + fin;
        assert_eq!(check(&with), ["in 0+10 fin, finin"]);
        let before = segment("1.0", 20, 31) + &segment("1.1", 10, 20) + fin;
        assert_eq!(check(&before), ["in 0+11, in 0+10, finin"]);
    }

    #[test]
    fn our_fin_is_no_byte() {
        let text = ack("1.0", 100, 100, 100)
            + "1.0 s1 pid=7 tcp_send_fin | write_seq=100 snd_nxt=100 sk_lock_owned=1\n"
            + &left("1.0", 7, 100, 101, 101)
            + &ack("1.1", 100, 101, 101)
            + "1.1 s1 pid=0 tcp_done | skc_state=5\n1.1 s1 pid=0 tcp_v4_destroy_sock |\n";
        assert_eq!(
            check(&text),
            ["in 0+0, finqueued, left 0..0 fin, in 0+0 acks_fin, over, gone true"]
        );
        assert_eq!(check("1.1 s1 pid=0 tcp_v4_destroy_sock |"), ["gone false"]);
    }

    #[test]
    fn a_stretch_ends_after_a_second_and_says_what_is_still_held() {
        let text = push("1.0", 2, 100, 108)
            + &wrote("1.0", 8, 8, 108)
            + &ack("2.1", 100, 100, 108)
            + &left("2.2", 0, 100, 108, 108);
        let found = run(&text, None);
        assert_eq!(
            briefs(&found),
            [
                "write Some(8) 8/8, push, began Cork 0, still 1000",
                "in 0+0 released, left 0..8, ended Ack 1200"
            ]
        );
        assert_eq!((found[0].until_ns, found[1].from_ns), (2_000_000_000, 2_100_000_000));
        assert_eq!((found[0].cause.begins_held, found[1].cause.begins_held), (false, true));
    }

    #[test]
    fn what_still_waits_at_the_end_is_told_once_more() {
        let text = push("1.0", 2, 100, 108) + &ack("5.0", 100, 100, 108);
        assert_eq!(
            check(&text),
            ["write None, push, began Cork 0, still 1000", "in 0+0, still 4000"]
        );
    }

    #[test]
    fn a_hold_that_follows_another_tells_how_long_its_bytes_have_waited() {
        let text = push("1.0", 0, 100, 700)
            + &wrote("1.0", 600, 600, 700)
            + &left("1.004", 7, 100, 1100, 1300)
            + &push("1.004", 0, 1100, 1300)
            + &push("1.006", 0, 1100, 1400)
            + &ack("1.03", 50, 1100, 1400)
            + &left("1.03", 0, 1100, 1300, 1400);
        assert_eq!(
            check(&text),
            [
                "write Some(600) 600/600, push, began Nagle 0, write Some(600), left 0..1000, ended MoreData 4, push, \
              began Nagle 0, write Some(100), push, in 1050+0 released, left 1000..1200, ended Ack 26, began Nagle 24, \
              still 24"
            ]
        );
    }

    #[test]
    fn a_changed_cause_is_a_line_of_its_own() {
        let attempt = push("1.02", 0, 100, 108)
            .replace("tcp_push mss_now=1000 ", "tcp_write_xmit mss_now=1000 push_one=0 ");
        let text = push("1.0", 2, 100, 108)
            + "1.02 s1 pid=7 do_tcp_setsockopt level=6 optname=3 |\n"
            + &attempt;
        assert_eq!(
            check(&text),
            ["write None, push, began Cork 0, option 3 Some(false), attempt, then Nagle, still 20"]
        );
    }

    #[test]
    fn a_timer_is_told_again_when_bytes_begin_to_wait_for_it() {
        let timer = "icsk_pending=5 write_timer_expires=110 tail_len";
        let text = push("1.0", 0, 100, 100).replace("tail_len", timer)
            + &push("1.0", 2, 100, 108).replace("tail_len", timer)
            + &push("1.0", 2, 100, 116).replace("tail_len", timer)
            + "1.04 s1 pid=0 tcp_write_timer_handler jiffies=110 | icsk_pending=5 write_timer_expires=110\n\
               1.05 s1 pid=0 tcp_write_timer_handler jiffies=110 | icsk_pending=5 write_timer_expires=120\n\
               1.05 s1 pid=0 tcp_write_timer_handler jiffies=110 | icsk_pending=0\n";
        assert_eq!(
            check(&text),
            [
                "write None, push, armed LossProbe minor, write Some(8), push, began Cork 0, armed LossProbe, \
              write Some(8), push, fired LossProbe, still 50"
            ]
        );
    }

    #[test]
    fn an_ack_that_is_put_off_is_told_once_for_each_deadline_and_its_timer_when_it_sends() {
        let ack = |hook: &str, jiffies: u32, pending: u32, timeout: u32| {
            format!(
                "1.0 s1 pid=0 {hook} jiffies={jiffies} | icsk_ack_pending={pending} icsk_ack_pingpong=1 icsk_ack_ato=10 \
                 icsk_ack_timeout={timeout}\n"
            )
        };
        let (put_off, timer) = ("tcp_send_delayed_ack", "tcp_delack_timer_handler");
        // Sent at once, because its time was up; put off, twice for the same deadline; for another; timers that send
        // nothing, because none is owed or the time has moved; one that sends.
        let text = ack(put_off, 100, 0, 110)
            + &ack(put_off, 100, 3, 110)
            + &ack(put_off, 101, 3, 110)
            + &ack(put_off, 102, 3, 112)
            + &ack(timer, 110, 0, 112)
            + &ack(timer, 110, 3, 112)
            + &ack(timer, 112, 3, 112);
        assert_eq!(check(&text), ["ackputoff, ackputoff, acktimerfired"]);
        let due = |fact: &Fact| match fact {
            Fact::AckPutOff { due_ticks, .. } => *due_ticks,
            _ => None,
        };
        let found = run(&text, None);
        assert_eq!(
            found[0].evidence.iter().map(|l| due(&l.fact)).collect::<Vec<_>>(),
            [Some(10), Some(10), None]
        );
    }

    #[test]
    fn options_of_other_levels_are_not_told_and_values_only_where_the_socket_shows_them() {
        let option = |level: u32, optname: u32| {
            format!("1.0 s1 pid=7 do_tcp_setsockopt level={level} optname={optname} |\n")
        };
        let text = option(1, 3) + &option(6, 77) + &option(6, 1) + &push("1.0", 1, 100, 100);
        assert_eq!(check(&text), ["option 77 None, option 1 Some(true), write None, push"]);
        let by_another = option(6, 1) + &push("1.0", 1, 100, 100).replace("pid=7", "pid=8");
        assert_eq!(check(&by_another), ["option 1 None, write None, push"]);
    }

    #[test]
    fn a_loss_stands_in_its_place_and_makes_the_stretch_uncertain() {
        let text = push("1.0", 2, 100, 108)
            + &ack("1.1", 100, 100, 108)
            + &left("1.2", 0, 100, 108, 108)
            + &ack("3.0", 100, 108, 108);
        let found = run(&text, Some(1));
        assert_eq!(
            briefs(&found),
            [
                "write None, push, began Cork 0, lost, in 0+0 released, left 0..8, ended Ack 200",
                "in 8+0"
            ]
        );
        assert_eq!(
            found.iter().map(|f| f.certainty).collect::<Vec<_>>(),
            [Certainty::May, Certainty::Seen]
        );
    }

    #[test]
    fn another_connection_in_the_same_socket_begins_anew() {
        let text = push("1.0", 2, 100, 108)
            + "1.1 s1 pid=7 socket_reused | write_seq=70000 snd_nxt=70000\n"
            + &left("1.2", 7, 70_000, 70_008, 70_008);
        let found = run(&text, None);
        assert_eq!(
            briefs(&found),
            ["write None, push, began Cork 0, ended Undetermined 100, reused", "left 0..8"]
        );
        assert_eq!(found[0].certainty, Certainty::May);
    }

    #[test]
    fn where_a_stretch_ends_no_write_is_lost_or_told_twice() {
        let to = |i: u32| 100 + 8 * (i + 1);
        let pushed = |i: u32| push(&format!("1.{i:03}"), 1, to(i), to(i));
        let sent = |i: u32| left(&format!("1.{i:03}"), 7, to(i) - 8, to(i), to(i)) + &pushed(i);
        // A write has two or three lines: the end of a stretch falls on each of them.
        for before in 0..3 {
            let first: String = (0..before).map(|_| ack("0.9", 100, 100, 100)).collect();
            for text in [(0..600).map(pushed).collect::<String>(), (0..600).map(sent).collect()] {
                let found = run(&(first.clone() + &text), None);
                let writes: u32 = found.iter().map(|f| f.cause.writes).sum();
                let bytes: u64 = found.iter().map(|f| f.cause.written_bytes).sum();
                assert!(found.len() > 1);
                // Without a segment before, nobody knows how much the first write added.
                let known = if before > 0 { 600 } else { 599 };
                assert_eq!((writes, bytes), (600, 8 * known), "{before}");
            }
        }
    }

    #[test]
    fn a_stretch_has_its_most_lines() {
        let text: String = (0..1000).map(|i| ack(&format!("1.{i:03}"), 100, 100, 100)).collect();
        let lengths: Vec<usize> = run(&text, None).iter().map(|f| f.evidence.len()).collect();
        assert_eq!(lengths, [254, 254, 254, 238]);
        let held = push("1.0", 2, 100, 108) + &text;
        assert!(run(&held, None).iter().all(|f| f.evidence.len() <= MAX_LINES));
    }
}

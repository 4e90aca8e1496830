//! The state of one socket: what each event tells of its teardown.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{
        ECONNABORTED, ETIMEDOUT, SOCK_DEAD, SOCK_LINGER, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CLOSING,
        TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_LISTEN, TCP_NEW_SYN_RECV,
        TCP_SYN_RECV, TCP_SYN_SENT, TCP_TIME_WAIT, TCPHDR_ACK, TCPHDR_FIN, TCPHDR_RST, TCPHDR_SYN,
    },
};

use super::{
    Acked, Closed, Fact, FinHeld, MAX_LINES, PutOff, Reason, Teardown,
    conclusion::conclude,
    state::{Context, End, Ours, OwnFin, PeerFin, Segment, State},
};
use crate::{
    analysis::{
        Analysis, delack,
        nagle::{Release, Timer, timer},
    },
    event::{Event, Holder, Seq, SocketId},
    finding::{Finding, Task},
};

/// How long a minisock in TIME-WAIT is watched before the teardown is told, nanoseconds: a lost ACK brings the peer's FIN
/// again, and a new connection may come at once.
const TIME_WAIT_NS: u64 = 1_000_000_000;

/// What follows a segment or a timer within this is their doing, nanoseconds: the kernel does it in the same call.
const AT_ONCE_NS: u64 = 1_000_000;

/// The state of one socket.
#[derive(Debug, Default)]
pub struct Machine {
    /// In a box: machines of other questions are smaller, and their sockets should not pay for this one.
    state: Box<State>,
}

type AnyTeardown = Finding<Teardown, Fact>;

impl Analysis for Machine {
    type Cause = Teardown;
    type Fact = Fact;
    const HOOKS: &'static [Hook] = &[
        Hook::__tcp_close,
        Hook::tcp_fin,
        Hook::tcp_send_fin,
        Hook::tcp_rcv_state_process,
        Hook::tcp_send_ack,
        Hook::tcp_reset,
        Hook::tcp_send_active_reset,
        Hook::tcp_time_wait,
        Hook::tcp_done,
        Hook::tcp_v4_destroy_sock,
        Hook::__tcp_retransmit_skb,
        Hook::tcp_write_wakeup,
        Hook::tcp_delack_timer_handler,
        Hook::inet_twsk_alloc,
        Hook::tcp_timewait_state_process,
        Hook::tw_timer_handler,
        Hook::tcp_write_timer_handler,
        Hook::tcp_disconnect,
        Hook::tcp_pace_kick,
        Hook::tcp_tsq_write,
    ];
    const REQUIRED: usize = 10;
    const CLOSING: bool = true;
    const TICKS: bool = true;

    fn on_event(&mut self, e: &Event, out: &mut Vec<AnyTeardown>) {
        let state = &mut *self.state;
        state.socket = e.socket;
        if state.told {
            state.gone |= e.hook == Hook::tcp_v4_destroy_sock;
            return;
        }
        match e.hook {
            Hook::socket => state.meet(e),
            Hook::__tcp_close => state.on_close(e),
            Hook::tcp_disconnect => state.on_disconnect(e),
            Hook::tcp_send_fin => {
                state.learn_ack(e);
                state.on_fin_queued(e);
            }
            Hook::fin_queued => state.on_fin_tried(e),
            Hook::departure => state.on_departure(e),
            Hook::tcp_fin => state.on_fin_in(e),
            Hook::tcp_send_delayed_ack => state.on_put_off(e),
            Hook::tcp_delack_timer_handler => state.on_ack_timer(e),
            Hook::tcp_write_timer_handler => state.on_write_timer(e),
            Hook::tcp_write_xmit => state.on_attempt(e),
            Hook::segment_sent => state.on_sent(e),
            Hook::ack_sent | Hook::tcp_send_ack => state.on_ack_sent(e),
            Hook::__tcp_retransmit_skb if e.arg("err") == Some(0) => state.on_sent(e),
            Hook::tcp_write_wakeup => state.on_probe(e),
            Hook::__tcp_transmit_skb => state.on_failure(e),
            Hook::tcp_rcv_state_process => state.on_segment(e),
            Hook::tcp_rcv_established => state.context = Context::None,
            Hook::tcp_reset => state.on_reset(e),
            Hook::tcp_send_active_reset => state.on_own_reset(e),
            Hook::tcp_time_wait => state.on_time_wait(e),
            Hook::tcp_timewait_state_process => state.on_minisock(e),
            Hook::tw_timer_handler => state.on_minisock_gone(e),
            Hook::tcp_done => state.on_done(e),
            Hook::tcp_v4_destroy_sock | Hook::socket_reused => state.on_gone(e),
            _ => {}
        }
        state.count_data(e);
        state.next = e.seq(Field::snd_nxt).or(state.next);
        self.tell_if_over(e.at_ns, out);
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<AnyTeardown>) {
        self.state.socket = socket;
        if !self.state.told {
            out.extend(conclude(&mut self.state, at_ns, true));
        }
    }

    fn on_loss(&mut self, at_ns: u64) {
        let state = &mut *self.state;
        if state.told {
            return;
        }
        state.context = Context::None;
        state.episode.note_loss(at_ns, Fact::Lost, MAX_LINES);
    }

    fn on_holder(&mut self, holder: Holder) {
        self.state.holder = Some(holder);
    }

    fn is_over(&self, gone: bool) -> bool {
        let gone = gone || self.state.gone;
        gone && (self.state.told || self.state.minisock.is_none())
    }

    fn due_ns(&self) -> Option<u64> {
        let state = &self.state;
        let waits = !state.told && state.minisock == Some(TCP_TIME_WAIT);
        state.over_ns.filter(|_| waits).map(|over| over.saturating_add(TIME_WAIT_NS))
    }

    fn on_due(&mut self, out: &mut Vec<AnyTeardown>) {
        if let Some(due) = self.due_ns() {
            out.extend(conclude(&mut self.state, due, false));
        }
    }
}

impl Machine {
    /// Tells of a teardown that is over; one that left a minisock waits for what that hears.
    fn tell_if_over(&mut self, at_ns: u64, out: &mut Vec<AnyTeardown>) {
        let state = &mut *self.state;
        let waits = state.minisock.is_some() && state.end.is_none() && !state.reused;
        if state.over_ns.is_some() && !waits && !state.told {
            out.extend(conclude(state, at_ns, false));
        }
    }
}

impl State {
    fn meet(&mut self, e: &Event) {
        let state = e.u32(Field::skc_state).unwrap_or(TCP_ESTABLISHED);
        // The first call of a teardown finds these already; what comes next tells.
        self.midway = matches!(
            state,
            TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING | TCP_FIN_WAIT1 | TCP_FIN_WAIT2
        );
        if self.midway {
            self.enters(state, e.at_ns);
        }
    }

    fn begins_closing(&mut self, e: &Event, how: Closed) -> Task {
        let task = Task::at_work(e);
        if self.closed.is_none() {
            (self.closer, self.closed, self.closed_ns) = (Some(task), Some(how), Some(e.at_ns));
            self.unsent_bytes = e.waiting();
            self.in_flight_bytes =
                e.seq(Field::snd_nxt).zip(e.seq(Field::snd_una)).map(|(to, from)| to.since(from));
        }
        task
    }

    fn on_close(&mut self, e: &Event) {
        self.context = Context::None;
        if e.u32(Field::skc_state) == Some(TCP_CLOSE) {
            return;
        }
        let task = self.begins_closing(e, Closed::Close);
        self.orphan = true;
        let unread = e.unread();
        self.unread_bytes = unread;
        let lingers = e.field(Field::skc_flags).is_some_and(|flags| flags & SOCK_LINGER != 0);
        let linger_zero = lingers && e.field(Field::sk_lingertime) == Some(0);
        let now = e.u32(Field::linger2).is_some_and(|linger2| linger2.cast_signed() < 0);
        // __tcp_close(): unread bytes are looked at first, whether a FIN has left or not.
        self.abort = match unread {
            Some(1..) => Some(Reason::UnreadData),
            _ if linger_zero => Some(Reason::LingerZero),
            _ if now && e.u32(Field::skc_state) == Some(TCP_FIN_WAIT2) => Some(Reason::Linger2),
            _ => None,
        };
        self.unestablished |= matches!(e.u32(Field::skc_state), Some(TCP_SYN_SENT));
        self.note(e, Fact::CloseCalled { unread_bytes: unread, linger_zero, task });
    }

    /// It ends without a FIN, and without a `close()` of its own.
    fn on_disconnect(&mut self, e: &Event) {
        // __tcp_close() comes here too, under SO_LINGER with no time.
        if self.orphan {
            return;
        }
        self.context = Context::None;
        let accepted = e.arg("accepted") != Some(0);
        let (how, reason) = if accepted {
            (Closed::Disconnect, Reason::Disconnected)
        } else {
            (Closed::Listener, Reason::NotAccepted)
        };
        let task = self.begins_closing(e, how);
        self.abort = Some(reason);
        self.unestablished |= e.u32(Field::skc_state) == Some(TCP_SYN_SENT);
        self.note(e, Fact::Disconnected { accepted, task });
    }

    fn on_fin_queued(&mut self, e: &Event) {
        // A close() has just been told; otherwise it is a shutdown().
        let by_close = self.closed == Some(Closed::Close);
        let by = if by_close { Closed::Close } else { Closed::Shutdown };
        let task = self.begins_closing(e, by);
        let state = e.u32(Field::skc_state).unwrap_or(match self.peer {
            Some(_) => TCP_LAST_ACK,
            None => TCP_FIN_WAIT1,
        });
        // Met in FIN-WAIT-1 by this very call, it was not closing before.
        self.midway &= !(state == TCP_FIN_WAIT1 && self.episode.began_ns().is_none());
        let end = Seq(e.u32(Field::write_seq).unwrap_or(0).wrapping_add(1));
        let unsent = e.waiting();
        self.own = Some(OwnFin {
            queued_ns: e.at_ns,
            end,
            unsent_bytes: unsent.unwrap_or(0),
            sent_ns: None,
            carried_ack: false,
            acked: None,
            held_by: None,
            held: None,
        });
        self.context = Context::None;
        self.note(e, Fact::FinQueued { by, unsent_bytes: unsent, task });
        self.enters(state, e.at_ns);
    }

    fn on_fin_in(&mut self, e: &Event) {
        let skc_state = e.u32(Field::skc_state);
        let ours = match &self.own {
            None => Ours::Unqueued,
            Some(fin) if fin.acked.is_some() => Ours::Acknowledged,
            Some(_) => Ours::Unacknowledged,
        };
        let acks_fin = matches!(self.context, Context::Segment(Segment { acks_fin: true, .. }));
        if acks_fin && let Some((_, how)) = self.own.as_mut().and_then(|fin| fin.acked.as_mut()) {
            *how = Acked::OnFin;
        }
        let full = e.u32(Field::icsk_ack_rcv_mss);
        let owed = e.seq(Field::rcv_nxt).zip(e.seq(Field::rcv_wup));
        self.peer = Some(PeerFin {
            at_ns: e.at_ns,
            end: e.seq(Field::rcv_nxt),
            ours,
            acked: None,
            edge: e
                .seq(Field::snd_nxt)
                .filter(|_| matches!(skc_state, Some(TCP_ESTABLISHED | TCP_SYN_RECV))),
            why: None,
            moves_window: owed.zip(full).map(|((to, from), full)| to.since(from) > full),
            route_quick: e.u32(Field::icsk_ack_dst_quick_ack).map(|on| on != 0),
        });
        self.midway &= skc_state != Some(TCP_ESTABLISHED);
        self.context = Context::Fin;
        self.came_ns = Some(e.at_ns);
        self.note(e, Fact::FinIn { skc_state, acks_fin });
        match skc_state {
            Some(TCP_ESTABLISHED | TCP_SYN_RECV) => self.enters(TCP_CLOSE_WAIT, e.at_ns),
            Some(TCP_FIN_WAIT1) => self.enters(TCP_CLOSING, e.at_ns),
            _ => {}
        }
    }

    pub(super) fn on_put_off(&mut self, e: &Event) {
        let expires = e.field(Field::icsk_ack_timeout).filter(|_| delack::is_armed(e));
        if !self.owes_ack() || expires.is_none() || expires == self.put_off_until {
            return;
        }
        self.context = Context::None;
        self.put_off_until = expires;
        let (ato_ticks, due_ticks) = (e.u32(Field::icsk_ack_ato), delack::due_ticks(e));
        if self.put_off.is_none() {
            self.put_off =
                due_ticks.map(|due_ticks| PutOff { at_ns: e.at_ns, due_ticks, ato_ticks });
        }
        let pingpong = e.u32(Field::icsk_ack_pingpong);
        self.note(e, Fact::AckPutOff { pingpong, ato_ticks, due_ticks });
    }

    fn on_ack_timer(&mut self, e: &Event) {
        if delack::fires(e) && self.owes_ack() {
            self.learn_put_off(e);
            self.context = Context::AckTimer;
            self.note(e, Fact::AckTimerFired);
        } else {
            self.learn_ack(e);
        }
    }

    fn on_write_timer(&mut self, e: &Event) {
        let Some((_, fired)) = timer::fired(e) else { return };
        (self.context, self.context_ns) = (Context::WriteTimer(fired), e.at_ns);
        self.timer_tid = e.tid;
        if let Some(timer) = fired.filter(|_| self.own.is_some()) {
            self.note(e, Fact::TimerFired { timer });
        }
    }

    /// An attempt to send left something behind: the FIN, where it is queued.
    fn on_attempt(&mut self, e: &Event) {
        if e.waiting().is_some_and(|waiting| waiting > 0) {
            self.fin_stays(e, e.arg("nonagle"), e.arg("mss_now"));
        }
    }

    fn on_failure(&mut self, e: &Event) {
        let returned = e.arg("ret").unwrap_or(0).cast_signed();
        if returned != 0 && (self.own.is_some() || self.peer.is_some()) {
            self.note(e, Fact::TransmitFailed { returned });
        }
    }

    /// A segment with data, a FIN or both left.
    fn on_sent(&mut self, e: &Event) {
        let (Some(seq), Some(end)) = (e.seq(Field::seq), e.seq(Field::end_seq)) else { return };
        let fin = e.u32(Field::tcp_flags).map_or_else(
            || self.own.as_ref().is_some_and(|fin| fin.end == end),
            |flags| flags & TCPHDR_FIN != 0,
        );
        let bytes = end.since(seq).saturating_sub(u32::from(fin));
        let again = e.seq(Field::snd_nxt).is_some_and(|next| !end.after(next));
        let how = if fin { Acked::OnFin } else { Acked::OnData };
        let carries_ack = self.acknowledges(Some(e.at_ns), how);
        if fin {
            self.fin_left(e, e.at_ns, (bytes, carries_ack, again));
        } else if self.peer.is_some() {
            if !again {
                self.own_data_bytes = self.own_data_bytes.saturating_add(bytes);
            }
            self.note(e, Fact::DataOut { bytes, carries_ack });
        }
    }

    pub(super) fn fin_left(
        &mut self,
        e: &Event,
        at_ns: u64,
        (bytes, carries_ack, again): (u32, bool, bool),
    ) {
        let at_once = |since_ns: u64| at_ns.saturating_sub(since_ns) < AT_ONCE_NS;
        // Neither is an event of its own.
        let let_send = self.let_send.filter(|(_, ready_ns)| {
            (self.context_ns..=at_ns).contains(ready_ns) && at_once(*ready_ns)
        });
        let release = match self.context {
            _ if let Some((release, _)) = let_send => release,
            _ if !at_once(self.context_ns) => Release::Undetermined,
            Context::Segment(Segment { acks: true, .. }) => Release::Ack,
            Context::Segment(_) => Release::WindowUpdate,
            Context::WriteTimer(Some(Timer::Probe)) => Release::ProbeTimer,
            Context::WriteTimer(Some(Timer::LossProbe)) => Release::LossProbe,
            _ => Release::Undetermined,
        };
        let again = match &mut self.own {
            Some(fin) if fin.sent_ns.is_none() => {
                fin.sent_ns = Some(at_ns);
                fin.carried_ack = carries_ack;
                let held_ns = at_ns.saturating_sub(fin.queued_ns);
                fin.held = fin.held_by.map(|by| FinHeld { by, release, held_ns });
                false
            }
            Some(_) => {
                self.own_fin_again = self.own_fin_again.saturating_add(1);
                true
            }
            None => again,
        };
        self.note_at(e, at_ns, Fact::FinOut { bytes, carries_ack, again });
    }

    /// A segment that is not kept left: an ACK, a window probe or, in older traces, a reset.
    pub(super) fn on_ack_sent(&mut self, e: &Event) {
        if self.context == Context::Reset || self.peer.is_none() {
            return;
        }
        // There was no memory for it: it is still owed.
        if e.seq(Field::rcv_wup).is_some_and(|wup| e.seq(Field::rcv_nxt) != Some(wup)) {
            return;
        }
        let why = self.why_alone(e);
        if self.owes_ack() {
            self.ack_left(e, e.at_ns, why);
        } else {
            self.acks_again = self.acks_again.saturating_add(1);
            self.note(e, Fact::AckOut { again: true });
        }
    }

    /// The ACK of the peer's FIN left by itself.
    pub(super) fn ack_left(&mut self, e: &Event, at_ns: u64, why: Reason) {
        if self.acknowledges(Some(at_ns), Acked::Alone) {
            if let Some(fin) = &mut self.peer {
                fin.why = Some(why);
            }
            self.note_at(e, at_ns, Fact::AckOut { again: false });
        }
    }

    /// What asks for an ACK at once, before the kernel looks at anything else.
    pub(super) fn why_at_once(&self) -> Option<Reason> {
        let fin = self.peer.as_ref()?;
        match (fin.moves_window, fin.route_quick) {
            (Some(true), _) => Some(Reason::WindowUpdate),
            (_, Some(true)) => Some(Reason::RouteQuickack),
            _ => None,
        }
    }

    /// Why the ACK of the peer's FIN goes by itself, in the order of `__tcp_ack_snd_check()`.
    fn why_alone(&self, e: &Event) -> Reason {
        let Some(fin) = &self.peer else { return Reason::Undetermined };
        if fin.ours != Ours::Unqueued {
            return Reason::FinWait;
        }
        match self.context {
            Context::AckTimer if self.put_off.is_some_and(|it| it.ato_ticks == Some(0)) => {
                Reason::NoDataReceived
            }
            Context::AckTimer => Reason::AckTimer,
            Context::Fin if let Some(why) = self.why_at_once() => why,
            // Before 6.12 no field tells of the route; tcp_fin() has just left nothing else that asks for an ACK at once.
            Context::Fin
                if fin.moves_window == Some(false)
                    && fin.route_quick.is_none()
                    && e.u32(Field::icsk_ack_pingpong).is_some_and(|mode| mode > 0) =>
            {
                Reason::RouteQuickack
            }
            // tcp_cleanup_rbuf(): the program has read, and more than a full segment was unacknowledged.
            Context::None
                if fin.moves_window == Some(true)
                    && e.u32(Field::sk_lock_owned).is_some_and(|owned| owned > 0)
                    && e.u32(Field::icsk_ack_pingpong).is_some_and(|mode| mode > 0) =>
            {
                Reason::WindowUpdate
            }
            // TCP_QUICKACK has ended the interactive mode that tcp_fin() began. The timer ends it too, but no task is at work then.
            _ if e.u32(Field::sk_lock_owned).is_some_and(|owned| owned > 0)
                && e.u32(Field::icsk_ack_pingpong) == Some(0) =>
            {
                Reason::QuickAck
            }
            _ => Reason::Undetermined,
        }
    }

    fn on_segment(&mut self, e: &Event) {
        let state = e.u32(Field::skc_state);
        if matches!(state, Some(TCP_LISTEN | TCP_SYN_SENT | TCP_SYN_RECV | TCP_NEW_SYN_RECV)) {
            self.context = Context::None;
            return;
        }
        let flags = e.u32(Field::tcp_flags);
        let has = |bit: u32| flags.map(|flags| flags & bit != 0);
        let (acked, ack) = (e.acked(), e.seq(Field::ack_seq));
        let unacked = self.own.filter(|fin| fin.acked.is_none());
        let acks_fin = acked > 0 && unacked.is_some_and(|fin| ack == Some(fin.end));
        let fin = has(TCPHDR_FIN) == Some(true);
        let bytes = e
            .seq(Field::end_seq)
            .zip(e.seq(Field::seq))
            .map_or(0, |(end, seq)| end.since(seq).saturating_sub(u32::from(fin)));
        let segment = Segment { acks_fin, acks: acked > 0, rst: has(TCPHDR_RST) };
        (self.context, self.context_ns) = (Context::Segment(segment), e.at_ns);
        self.came_ns = Some(e.at_ns);
        if has(TCPHDR_RST) == Some(true) {
            return;
        }
        // What was in the window before does not count as new.
        let fresh = e
            .seq(Field::end_seq)
            .zip(e.seq(Field::rcv_nxt))
            .is_none_or(|(end, next)| end.after(next));
        if fin && self.peer.is_some() {
            self.peer_fin_again = self.peer_fin_again.saturating_add(1);
            self.note(e, Fact::FinInAgain);
        } else if bytes > 0 && fresh && self.own.is_some() && self.peer.is_none() {
            self.peer_data_bytes = self.peer_data_bytes.saturating_add(bytes);
        }
        if acks_fin {
            let how = if bytes > 0 { Acked::OnData } else { Acked::Alone };
            if let Some(own) = &mut self.own {
                own.acked = Some((e.at_ns, how));
            }
            if state == Some(TCP_FIN_WAIT1) {
                self.enters(TCP_FIN_WAIT2, e.at_ns);
            }
        }
        if acks_fin || bytes > 0 && self.own.is_some() {
            self.note(e, Fact::SegmentIn { acks_fin, bytes });
        }
    }

    /// `tcp_reset()` runs for a reset, and for data that nobody will read, which this host then resets.
    fn on_reset(&mut self, e: &Event) {
        let state = e.u32(Field::skc_state);
        self.unestablished |= matches!(state, Some(TCP_SYN_SENT | TCP_SYN_RECV));
        let is_closing = matches!(state, Some(TCP_FIN_WAIT1 | TCP_FIN_WAIT2));
        let received = match self.context {
            Context::Segment(Segment { rst, .. }) if is_closing => rst,
            _ if is_closing => None,
            _ => Some(true),
        };
        self.end = Some(match received {
            Some(false) => {
                self.note(e, Fact::ResetOut);
                End::ResetSent(Reason::DataAfterClose)
            }
            Some(true) => {
                self.reset_at = e.seq(Field::snd_nxt);
                self.note(e, Fact::ResetIn);
                End::ResetReceived
            }
            None => End::GivenUp(Reason::Undetermined),
        });
        self.enters(TCP_CLOSE, e.at_ns);
    }

    fn on_own_reset(&mut self, e: &Event) {
        let state = e.u32(Field::skc_state);
        (self.reset_sent, self.reset_at) = (true, e.seq(Field::rcv_nxt));
        let by_timer = matches!(self.context, Context::WriteTimer(_));
        let orphan = self.orphan && self.own.is_some();
        let reason = match (self.abort, state, e.u32(Field::sk_err)) {
            (Some(reason), ..) => reason,
            (_, _, Some(ECONNABORTED)) => Reason::Aborted,
            // __tcp_close() asks tcp_check_oom() when the FIN is queued.
            (_, Some(TCP_CLOSE), _) if orphan => Reason::OrphanLimit,
            // tcp_out_of_resources()
            (_, Some(TCP_FIN_WAIT1 | TCP_LAST_ACK | TCP_CLOSING), _) if orphan && by_timer => {
                Reason::OrphanLimit
            }
            // tcp_keepalive_timer()
            (_, Some(TCP_FIN_WAIT2), _) if orphan && !by_timer => Reason::FinTimeout,
            _ => Reason::Undetermined,
        };
        self.orphaned |= matches!(reason, Reason::OrphanLimit | Reason::FinTimeout);
        self.end = Some(End::ResetSent(reason));
        self.context = Context::Reset;
        self.note(e, Fact::ResetOut);
        if state == Some(TCP_CLOSE) {
            self.enters(TCP_CLOSE, e.at_ns);
        }
    }

    fn on_time_wait(&mut self, e: &Event) {
        let substate = e.arg("state").unwrap_or(TCP_TIME_WAIT);
        self.minisock = Some(substate);
        self.context = Context::None;
        self.note(e, Fact::Minisock { skc_state: substate });
        self.enters(substate, e.at_ns);
        if substate == TCP_TIME_WAIT {
            // tcp_fin() acknowledges at once in these states; a nested kretprobe can miss that segment.
            if self.acknowledges(Some(e.at_ns), Acked::Alone)
                && let Some(fin) = &mut self.peer
            {
                fin.why = Some(Reason::FinWait);
            }
            self.over_ns.get_or_insert(e.at_ns);
        }
    }

    /// A segment came for the minisock; what follows is `tcp_timewait_state_process()`'s own decision.
    fn on_minisock(&mut self, e: &Event) {
        let (Some(flags), Some(substate)) = (e.u32(Field::tcp_flags), e.u32(Field::tw_substate))
        else {
            return;
        };
        let (Some(seq), Some(end), Some(next)) =
            (e.seq(Field::seq), e.seq(Field::end_seq), e.seq(Field::tw_rcv_nxt))
        else {
            return;
        };
        let has = |bit: u32| flags & bit != 0;
        if substate == TCP_FIN_WAIT2 {
            if has(TCPHDR_RST) {
                self.note(e, Fact::ResetIn);
                self.end = Some(End::ResetReceived);
                self.enters(TCP_CLOSE, e.at_ns);
            } else if !has(TCPHDR_ACK) || !end.after(next) || end == seq {
                // An old segment, or one that only acknowledges: dropped.
            } else if !has(TCPHDR_FIN) || end.since(next) != 1 {
                let bytes = end.since(seq).saturating_sub(u32::from(has(TCPHDR_FIN)));
                self.note(e, Fact::SegmentIn { acks_fin: false, bytes });
                self.note(e, Fact::ResetOut);
                self.end = Some(End::ResetSent(Reason::DataAfterClose));
                self.enters(TCP_CLOSE, e.at_ns);
            } else {
                self.peer = Some(PeerFin {
                    at_ns: e.at_ns,
                    end: Some(end),
                    ours: Ours::Acknowledged,
                    acked: Some((Some(e.at_ns), Acked::Alone)),
                    edge: None,
                    why: Some(Reason::FinWait),
                    moves_window: None,
                    route_quick: None,
                });
                self.note(e, Fact::FinIn { skc_state: Some(TCP_FIN_WAIT2), acks_fin: false });
                self.note(e, Fact::AckOut { again: false });
                self.minisock = Some(TCP_TIME_WAIT);
                self.enters(TCP_TIME_WAIT, e.at_ns);
                self.over_ns.get_or_insert(e.at_ns);
            }
        } else if has(TCPHDR_FIN) {
            self.peer_fin_again = self.peer_fin_again.saturating_add(1);
            self.note(e, Fact::FinInAgain);
        } else if has(TCPHDR_SYN) && !has(TCPHDR_ACK) && seq.after(next) {
            self.reused = true;
            self.note(e, Fact::SynIn);
        }
    }

    fn on_minisock_gone(&mut self, e: &Event) {
        if self.minisock == Some(TCP_FIN_WAIT2) && self.end.is_none() {
            // The peer has acknowledged the FIN: whether it is still there, nobody knows.
            self.orphaned = true;
            self.end = Some(End::GivenUp(Reason::FinTimeout));
        }
        self.note(e, Fact::MinisockGone);
        self.minisock = None;
        self.enters(TCP_CLOSE, e.at_ns);
    }

    fn on_done(&mut self, e: &Event) {
        let state = e.u32(Field::skc_state);
        if self.minisock.is_some() {
            return;
        }
        self.unestablished |= matches!(state, Some(TCP_SYN_SENT | TCP_SYN_RECV | TCP_NEW_SYN_RECV));
        let dead = e.field(Field::skc_flags).is_some_and(|flags| flags & SOCK_DEAD != 0);
        let closed = self.own.is_some_and(|fin| fin.acked.is_some()) && self.peer.is_some();
        let by_segment = matches!(self.context, Context::Segment(_));
        // An ICMP error may come long after a timer has sent something again, or soon, in another's context.
        let by_timer = matches!(self.context, Context::WriteTimer(_))
            && e.at_ns.saturating_sub(self.context_ns) < AT_ONCE_NS
            && e.tid == self.timer_tid;
        let end = match e.u32(Field::sk_err) {
            _ if matches!(self.end, Some(End::ResetReceived)) => End::ResetReceived,
            Some(ETIMEDOUT) => self.gave_up(dead),
            // From 6.12 on tcp_abort() sends the reset before it sets the error.
            Some(ECONNABORTED) if self.reset_sent => End::ResetSent(Reason::Aborted),
            _ if self.end.is_some() => self.end.unwrap_or(End::Closed),
            _ if closed => End::Closed,
            // tcp_rcv_state_process(): our FIN is acknowledged, no process is there to take anything.
            _ if by_segment && state == Some(TCP_FIN_WAIT2) => {
                self.note(e, Fact::ResetOut);
                let now = e.u32(Field::linger2).is_some_and(|linger2| linger2.cast_signed() < 0);
                End::ResetSent(if now { Reason::Linger2 } else { Reason::DataAfterClose })
            }
            // tcp_write_err(): an error that the network had told of before stands for the time that is over.
            Some(1..) if by_timer => self.gave_up(dead),
            _ if dead && by_timer => {
                (self.orphaned, self.vanished) = (true, true);
                End::GivenUp(Reason::OrphanLimit)
            }
            Some(1..) => End::GivenUp(Reason::Aborted),
            _ => End::GivenUp(Reason::Undetermined),
        };
        self.end = Some(end);
        self.note(e, Fact::Over { skc_state: state });
        self.enters(TCP_CLOSE, e.at_ns);
    }

    /// The peer answered nothing in the time that it had; `dead` says that no process had the socket any more.
    fn gave_up(&mut self, dead: bool) -> End {
        self.vanished = true;
        self.orphaned |= dead;
        End::GivenUp(Reason::NoAnswer)
    }

    fn on_gone(&mut self, e: &Event) {
        self.gone = true;
        if self.minisock.is_some() && e.hook == Hook::tcp_v4_destroy_sock {
            return;
        }
        if e.hook == Hook::socket_reused {
            self.episode.doubt();
        }
        if self.episode.began_ns().is_some() {
            self.enters(TCP_CLOSE, e.at_ns);
        }
    }
}

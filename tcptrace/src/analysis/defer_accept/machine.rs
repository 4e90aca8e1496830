//! The state of one socket: a listener with the option, a connection to one, or a client that has set it.

use tcptrace_common::{field::Field, hook::Hook, tcp::ICSK_ACK_TIMER};

use super::{Deferral, Fact, MAX_LINES, Outcome, Side, Trigger, listener::Known, request::Request};
use crate::{
    analysis::{Analysis, episode::Episode},
    event::{Event, SocketId},
    finding::{Certainty, Evidence, Finding},
};

/// How long after the end of the deferral `accept()`, and the first data, are waited for, nanoseconds.
const PATIENCE_NS: u64 = 1_000_000_000;

pub(super) type AnyDeferral = Finding<Deferral, Fact>;

/// The state of one socket.
#[derive(Debug, Default)]
pub struct Machine {
    state: Box<State>,
}

/// What is known of one socket.
#[derive(Debug, Default)]
pub(super) struct State {
    socket: SocketId,
    /// The connection that is told of.
    episode: Episode<Fact>,
    pub(super) request: Option<Request>,
    pub(super) option: Known,
    /// When the ACK of a client's handshake was put off.
    put_off_ns: Option<u64>,
    /// When the connection is told although something may still come.
    due_ns: Option<u64>,
    /// The request was dropped: it is no socket, and its address another's.
    is_over: bool,
}

impl Analysis for Machine {
    type Cause = Deferral;
    type Fact = Fact;
    const HOOKS: &'static [Hook] = &[
        Hook::inet_csk_reqsk_queue_hash_add,
        Hook::tcp_check_req,
        Hook::inet_csk_complete_hashdance,
        Hook::tcp_syn_ack_timeout,
        Hook::tcp_rtx_synack,
        Hook::__inet_csk_reqsk_queue_drop,
        Hook::tcp_v4_destroy_sock,
        Hook::inet_csk_reqsk_queue_add,
        Hook::inet_csk_reqsk_queue_drop_and_put,
        Hook::reqsk_timer_handler,
        Hook::tcp_req_err,
        Hook::inet_reqsk_clone,
        Hook::security_sock_graft,
        Hook::tcp_data_ready,
        Hook::option_before,
        Hook::__sys_setsockopt,
        Hook::do_sock_setsockopt,
        Hook::__bpf_setsockopt,
        Hook::inet_listen,
        Hook::inet_csk_accept,
        Hook::tcp_finish_connect,
        Hook::tcp_event_new_data_sent,
        Hook::tcp_delack_timer_handler,
    ];
    const REQUIRED: usize = 7;
    const DEFERRING: bool = true;
    const TICKS: bool = true;

    fn on_event(&mut self, e: &Event, out: &mut Vec<AnyDeferral>) {
        let state = &mut *self.state;
        state.socket = e.socket;
        match e.hook {
            Hook::option_after => state.on_option(e, out),
            Hook::inet_listen => state.on_listen(e, out),
            Hook::listener => {
                state.on_listener(e, out);
                state.is_over = true;
            }
            Hook::inet_csk_reqsk_queue_hash_add => {
                state.tell(e.at_ns, false, out);
                state.on_request(e);
            }
            Hook::inet_csk_reqsk_queue_add => state.on_not_deferred(e),
            Hook::tcp_check_req => state.on_segment(e),
            Hook::tcp_syn_ack_timeout => state.on_timer(e),
            Hook::tcp_rtx_synack => state.on_syn_ack(e),
            Hook::__inet_csk_reqsk_queue_drop
            | Hook::inet_csk_reqsk_queue_drop_and_put
            | Hook::reqsk_timer_handler => state.on_drop(e),
            Hook::tcp_req_err => state.on_icmp(e),
            Hook::inet_reqsk_clone => state.on_clone(e),
            Hook::security_sock_graft => state.on_accepted(e),
            Hook::tcp_data_ready => state.on_data(e),
            Hook::tcp_finish_connect => state.on_put_off(e),
            Hook::tcp_event_new_data_sent => state.on_ack_sent(e, Trigger::Data, out),
            Hook::tcp_delack_timer_handler => state.on_delayed_ack(e, out),
            Hook::tcp_v4_destroy_sock | Hook::socket_reused => {
                if state.request.is_some() {
                    state.note(e, Fact::Gone);
                }
                state.tell(e.at_ns, false, out);
                state.put_off_ns = None;
            }
            _ => {}
        }
        if state.request.as_ref().is_some_and(Request::is_settled) {
            state.tell(e.at_ns, false, out);
        }
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<AnyDeferral>) {
        self.state.socket = socket;
        self.state.tell(at_ns, true, out);
    }

    fn on_loss(&mut self, at_ns: u64) {
        let state = &mut *self.state;
        if state.request.is_none() && state.put_off_ns.is_none() {
            return;
        }
        state.episode.note_loss(at_ns, Fact::Lost, MAX_LINES);
    }

    fn is_over(&self, gone: bool) -> bool {
        gone || self.state.is_over
    }

    fn due_ns(&self) -> Option<u64> {
        self.state.due_ns
    }

    fn on_due(&mut self, out: &mut Vec<AnyDeferral>) {
        if let Some(due) = self.state.due_ns {
            self.state.tell(due, false, out);
        }
    }
}

impl Machine {
    /// The lines that are not told yet.
    pub(in crate::analysis) fn kept(&self) -> &[Evidence<Fact>] {
        self.state.episode.lines()
    }
}

impl State {
    /// Adds a line.
    pub(super) fn note(&mut self, e: &Event, fact: Fact) {
        self.episode.note(e.n, e.at_ns, fact, MAX_LINES);
    }

    /// Takes the line of a timer back that led to something: which period it ended.
    pub(super) fn take_timer(&mut self) -> Option<u32> {
        let Some(Fact::Timer { period, .. }) = self.episode.lines().last().map(|line| &line.fact)
        else {
            return None;
        };
        let period = *period;
        self.episode.take_last();
        Some(period)
    }

    /// It had begun before it was met.
    pub(super) const fn is_midway(&mut self) {
        self.episode.doubt();
    }

    /// The deferral is over: what belongs to it comes at once, or is not waited for.
    pub(super) fn waits(&mut self, e: &Event) {
        self.due_ns.get_or_insert(e.at_ns.saturating_add(PATIENCE_NS));
    }

    /// A finding of this socket that is complete.
    pub(super) fn told(
        &self,
        from_ns: u64,
        until_ns: u64,
        cause: Deferral,
        evidence: Vec<Evidence<Fact>>,
    ) -> AnyDeferral {
        Finding {
            socket: self.socket,
            from_ns,
            until_ns,
            cause,
            evidence,
            certainty: Certainty::Seen,
            not_seen: Vec::new(),
        }
    }

    /// Tells the connection that is going on, if there is one; `is_end` says that the trace is over.
    fn tell(&mut self, at_ns: u64, is_end: bool, out: &mut Vec<AnyDeferral>) {
        let request = self.request.take();
        let episode = self.episode.end();
        self.due_ns = None;
        let Some(request) = request else { return };
        let ended_ns = request.ended_ns();
        let is_socket = !request.is_dropped();
        let mut deferral = request.deferral(at_ns, is_end);
        deferral.lines_left_out = episode.left_out;
        self.is_over |= !is_socket;
        let from_ns = episode.began_ns.unwrap_or(at_ns);
        let until_ns = ended_ns.unwrap_or(at_ns).max(from_ns);
        let finding = self.told(from_ns, until_ns, deferral, episode.lines);
        out.push(Finding { certainty: episode.certainty, ..finding });
    }

    /// The SYN-ACK came for a client that has set the option: its ACK is put off.
    fn on_put_off(&mut self, e: &Event) {
        if e.u32(Field::rskq_defer_accept).is_some_and(|periods| periods > 0) {
            self.put_off_ns = Some(e.at_ns);
            self.note(e, Fact::AckPutOff);
        }
    }

    /// The delayed-ACK timer ran.
    fn on_delayed_ack(&mut self, e: &Event, out: &mut Vec<AnyDeferral>) {
        if e.u32(Field::icsk_ack_pending).is_some_and(|pending| pending & ICSK_ACK_TIMER != 0) {
            self.on_ack_sent(e, Trigger::Timer, out);
        }
    }

    /// The ACK that was put off has left.
    fn on_ack_sent(&mut self, e: &Event, by: Trigger, out: &mut Vec<AnyDeferral>) {
        let Some(from_ns) = self.put_off_ns.take() else { return };
        self.note(e, Fact::AckSent { by });
        let episode = self.episode.end();
        let it = Deferral {
            held_ns: Some(e.at_ns.saturating_sub(from_ns)),
            sent_by: Some(by),
            ..Deferral::new(Side::Client, Outcome::Withheld)
        };
        let finding = self.told(from_ns, e.at_ns, it, episode.lines);
        out.push(Finding { certainty: episode.certainty, ..finding });
    }
}

//! A connection from its SYN to its `accept()`: what each segment and each run of the timer made of its request, in the
//! order of `tcp_check_req()` and `reqsk_timer_handler()`.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{TCP_CLOSE_WAIT, TCP_LISTEN, TCPHDR_ACK, TCPHDR_FIN, TCPHDR_RST, TCPHDR_SYN},
};

use super::{Deferral, Fact, Outcome, Setting, Side, Trigger, listener::setting, machine::State};
use crate::{event::Event, finding::Task};

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Request {
    began_ns: u64,
    listener: Option<std::net::SocketAddr>,
    setting: Setting,
    /// The listener's periods as they were read last.
    periods_now: u32,
    /// It had begun before it was met.
    midway: bool,
    /// When the first bare ACK was dropped.
    held_from_ns: Option<u64>,
    counts: Counts,
    migrated: bool,
    /// The last thing that was told of it, which the next one may belong to.
    last: Last,
    end: Option<End>,
    accepted: Option<(u64, Task)>,
    data_at_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    periods_over: u32,
    timer_runs: u32,
    syn_acks: u32,
    syns: u32,
    acks_dropped: u32,
    queue_full: u32,
    resets_ignored: u32,
}

/// What was told last, and when, nanoseconds, `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Timer { at_ns: u64 },
    Icmp { at_ns: u64 },
    Other,
}

/// What a timer or ICMP leads to follows in the same function call; it takes longer only where the machine stands still.
const AT_ONCE_NS: u64 = 20_000_000;

/// How the deferral ended.
#[derive(Clone, Copy, Debug)]
struct End {
    at_ns: u64,
    outcome: Outcome,
    bytes: Option<u32>,
    queue: Option<(u32, u32)>,
    /// It is a socket now.
    is_socket: bool,
}

impl Request {
    fn new(e: &Event, midway: bool) -> Self {
        let setting = setting(e);
        Self {
            began_ns: e.at_ns,
            listener: e.local(),
            setting,
            periods_now: setting.periods,
            midway,
            held_from_ns: None,
            counts: Counts {
                periods_over: e.u32(Field::req_num_timeout).unwrap_or(0),
                ..Counts::default()
            },
            migrated: false,
            last: Last::Other,
            end: None,
            accepted: None,
            data_at_ns: None,
        }
    }

    /// Nothing more can belong to it.
    pub(super) fn is_settled(&self) -> bool {
        self.end.is_some_and(|end| {
            let empty = matches!(end.outcome, Outcome::Deadline | Outcome::SwitchedOff);
            !end.is_socket || (self.accepted.is_some() && (!empty || self.data_at_ns.is_some()))
        })
    }

    /// It never became a socket, and is gone.
    pub(super) fn is_dropped(&self) -> bool {
        self.end.is_some_and(|end| !end.is_socket)
    }

    /// When its end came.
    pub(super) fn ended_ns(&self) -> Option<u64> {
        self.end.map(|end| end.at_ns)
    }

    /// What became of it.
    pub(super) fn deferral(self, at_ns: u64, is_end: bool) -> Deferral {
        let outcome = match (self.end, self.held_from_ns) {
            (Some(end), _) => end.outcome,
            (None, _) if !is_end => Outcome::Undetermined,
            (None, None) if !self.midway => Outcome::UnderWay,
            (None, _) => Outcome::Held,
        };
        let until_ns = self.ended_ns().unwrap_or(at_ns);
        let since = |from: u64, until: u64| until.saturating_sub(from);
        Deferral {
            task: self.accepted.map(|(_, task)| task),
            listener: self.listener,
            setting: self.setting,
            other_periods: Some(self.periods_now).filter(|now| *now != self.setting.periods),
            periods_over: self.counts.periods_over,
            timer_runs: self.counts.timer_runs,
            syn_acks_repeated: self.counts.syn_acks,
            syns_again: self.counts.syns,
            acks_dropped: self.counts.acks_dropped,
            queue_full: self.counts.queue_full,
            resets_ignored: self.counts.resets_ignored,
            connected_ns: self
                .held_from_ns
                .filter(|_| !self.midway)
                .map(|at| since(self.began_ns, at)),
            held_ns: self.held_from_ns.map(|from| since(from, until_ns)),
            lasted_ns: (!self.midway).then(|| since(self.began_ns, until_ns)),
            queued_ns: self.accepted.map(|(at, _)| since(until_ns, at)),
            bytes: self.end.and_then(|end| end.bytes),
            data_after_ns: self.data_at_ns.map(|at| since(until_ns, at)),
            accept_queue: self.end.and_then(|end| end.queue),
            migrated: self.migrated,
            ..Deferral::new(Side::Server, outcome)
        }
    }
}

impl State {
    /// A SYN came, or something tells of a request that had begun before.
    pub(super) fn on_request(&mut self, e: &Event) {
        let midway = e.arg("midway") == Some(1);
        self.request = Some(Request::new(e, midway));
        if midway {
            self.is_midway();
            let periods_over = e.u32(Field::req_num_timeout).unwrap_or(0);
            self.note(e, Fact::MetMidway { periods_over });
        } else {
            self.note(e, Fact::SynIn);
        }
    }

    /// A segment came for the request, and was dealt with.
    pub(super) fn on_segment(&mut self, e: &Event) {
        self.notice_change(e);
        let Some(request) = self.request.as_mut() else { return };
        if request.end.is_some() {
            return;
        }
        let (Some(segment), Some(end)) = (Segment::of(e), e.arg("end")) else { return };
        request.last = Last::Other;
        if end & 4 != 0 {
            request.migrated = true;
        }
        let (queued, backlog) = (e.u32(Field::sk_ack_backlog), e.u32(Field::sk_max_ack_backlog));
        if end & 1 != 0 {
            let outcome = request.promotion(segment);
            request.end = Some(End {
                at_ns: e.at_ns,
                outcome,
                bytes: Some(segment.bytes),
                queue: queued.zip(backlog),
                is_socket: true,
            });
            let (bytes, fin) = (segment.bytes, segment.is(TCPHDR_FIN));
            self.note(e, Fact::Promoted { bytes, fin, queued, backlog });
            self.waits(e);
            return;
        }
        if end & 2 != 0 {
            let (outcome, fact) = if segment.is(TCPHDR_RST) {
                (Outcome::ClientReset, Fact::ResetIn { taken: true })
            } else if segment.found_queue_full {
                request.counts.queue_full += 1;
                (Outcome::QueueFull, Fact::AcceptQueueFull { bytes: segment.bytes })
            } else {
                (Outcome::Undetermined, Fact::Dropped { listener_closed: false })
            };
            request.dropped(e, outcome);
            self.note(e, fact);
            return;
        }
        let fact = if segment.is(TCPHDR_RST) {
            request.counts.resets_ignored += 1;
            Fact::ResetIn { taken: false }
        } else if segment.is(TCPHDR_SYN) {
            // The SYN-ACK that answers it has been told.
            return;
        } else if segment.is_held(request.periods_now) {
            request.counts.acks_dropped += 1;
            let first = request.held_from_ns.is_none();
            request.held_from_ns.get_or_insert(e.at_ns);
            Fact::AckDropped { first }
        } else if segment.fits() && segment.found_queue_full {
            request.counts.queue_full += 1;
            Fact::AcceptQueueFull { bytes: segment.bytes }
        } else {
            Fact::Ignored { flags: segment.flags }
        };
        self.note(e, fact);
    }

    /// The request's timer ran.
    pub(super) fn on_timer(&mut self, e: &Event) {
        let Some(request) = self.request.as_mut() else { return };
        let Some(over) = e.u32(Field::req_num_timeout) else { return };
        request.counts.periods_over = over + 1;
        request.counts.timer_runs += 1;
        request.last = Last::Timer { at_ns: e.at_ns };
        let acked = e.u32(Field::req_acked) == Some(1);
        self.note(e, Fact::Timer { period: over + 1, acked });
    }

    /// The SYN-ACK was sent again.
    pub(super) fn on_syn_ack(&mut self, e: &Event) {
        if e.arg("ret") != Some(0) {
            return;
        }
        let by_timer = self.request.as_ref().is_some_and(|request| request.is_timer(e));
        let line = if by_timer { self.take_timer() } else { None };
        self.notice_change(e);
        let Some(request) = self.request.as_mut() else { return };
        let deferred = e.u32(Field::req_acked) == Some(1);
        let repeated = request.counts.syn_acks > 0;
        let by = if by_timer {
            request.counts.syn_acks += 1;
            Trigger::Timer
        } else {
            request.counts.syns += 1;
            Trigger::Segment
        };
        self.note(e, Fact::SynAckAgain { by, period: line, deferred, repeated });
    }

    /// The request was dropped.
    pub(super) fn on_drop(&mut self, e: &Event) {
        let Some(request) = self.request.as_mut() else { return };
        let listener_closed = e.u32(Field::skc_state).is_some_and(|state| state != TCP_LISTEN);
        let outcome = match request.last {
            _ if listener_closed => Outcome::ListenerClosed,
            Last::Icmp { at_ns } if is_at_once(at_ns, e) => Outcome::Icmp,
            _ if e.hook == Hook::reqsk_timer_handler || request.is_timer(e) => Outcome::Unanswered,
            _ => Outcome::Undetermined,
        };
        request.dropped(e, outcome);
        if outcome == Outcome::Unanswered {
            self.take_timer();
        }
        self.note(e, Fact::Dropped { listener_closed });
    }

    /// ICMP came for the request.
    pub(super) fn on_icmp(&mut self, e: &Event) {
        let Some(request) = self.request.as_mut() else { return };
        let fits = e.arg("fits") == Some(1) && e.arg("abort") != Some(0);
        if fits {
            request.last = Last::Icmp { at_ns: e.at_ns };
        }
        self.note(e, Fact::IcmpIn { fits });
    }

    /// Another listener took the request over.
    pub(super) fn on_clone(&mut self, e: &Event) {
        let Some(request) = self.request.as_mut() else { return };
        request.migrated = true;
        self.note(e, Fact::Migrated);
    }

    /// A connection that was not deferred waits to be accepted.
    pub(super) fn on_not_deferred(&mut self, e: &Event) {
        // Where Fast Open is asked after too, its listeners are told of as well.
        if e.u32(Field::rskq_defer_accept) == Some(0) {
            return;
        }
        let syn_cookie = e.arg("syn_cookie") == Some(1);
        let outcome = if syn_cookie { Outcome::SynCookie } else { Outcome::Fastopen };
        let queue = e.u32(Field::sk_ack_backlog).zip(e.u32(Field::sk_max_ack_backlog));
        let end = End { at_ns: e.at_ns, outcome, bytes: None, queue, is_socket: true };
        // Of a SYN cookie nothing was kept: when the SYN came is not known.
        self.request = Some(Request { end: Some(end), ..Request::new(e, syn_cookie) });
        self.note(e, Fact::NotDeferred { syn_cookie });
        self.waits(e);
    }

    /// A program has accepted the connection.
    pub(super) fn on_accepted(&mut self, e: &Event) {
        let Some(request) = self.request.as_mut() else { return };
        request.accepted = Some((e.at_ns, Task::at_work(e)));
        self.note(e, Fact::Accepted { task: Task::at_work(e) });
    }

    /// The first data came.
    pub(super) fn on_data(&mut self, e: &Event) {
        let Some(request) = self.request.as_mut() else { return };
        let empty = |end: End| matches!(end.outcome, Outcome::Deadline | Outcome::SwitchedOff);
        // The FIN counts as one.
        let fin = u64::from(e.u32(Field::skc_state) == Some(TCP_CLOSE_WAIT));
        let has_data = e.field(Field::bytes_received).is_some_and(|bytes| bytes > fin);
        if has_data && request.end.is_some_and(empty) {
            request.data_at_ns.get_or_insert(e.at_ns);
            self.note(e, Fact::DataIn);
        }
    }

    /// The listener's option may be another one since the connection came.
    fn notice_change(&mut self, e: &Event) {
        let Some(request) = self.request.as_mut() else { return };
        let Some(to) = e.u32(Field::rskq_defer_accept) else { return };
        let from = std::mem::replace(&mut request.periods_now, to);
        if from != to {
            self.note(e, Fact::Changed { from, to });
        }
    }
}

impl Request {
    /// The kernel's reasons for making the request a socket.
    const fn promotion(&self, segment: Segment) -> Outcome {
        if self.held_from_ns.is_none() && !segment.acked_before {
            return Outcome::NeverHeld;
        }
        if segment.bytes > 0 {
            return Outcome::Data;
        }
        match (segment.is(TCPHDR_FIN), self.periods_now) {
            (true, _) => Outcome::Fin,
            (false, 0) => Outcome::SwitchedOff,
            (false, periods) if segment.periods_over >= periods => Outcome::Deadline,
            (false, _) => Outcome::Undetermined,
        }
    }

    fn dropped(&mut self, e: &Event, outcome: Outcome) {
        self.end =
            Some(End { at_ns: e.at_ns, outcome, bytes: None, queue: None, is_socket: false });
    }

    /// Whether the event is of the run of the timer that was told last.
    fn is_timer(&self, e: &Event) -> bool {
        matches!(self.last, Last::Timer { at_ns } if is_at_once(at_ns, e))
    }
}

const fn is_at_once(at_ns: u64, e: &Event) -> bool {
    e.at_ns.saturating_sub(at_ns) < AT_ONCE_NS
}

/// A segment that came for a request.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "bits of one number of the record")]
struct Segment {
    flags: u32,
    /// Bytes of data.
    bytes: u32,
    /// Its data and FIN as one number; 1 less where it begins one too early, as a keepalive does.
    payload: i32,
    periods_over: u32,
    acked_before: bool,
    found_queue_full: bool,
    in_order: bool,
    acks_syn_ack: bool,
}

impl Segment {
    fn of(e: &Event) -> Option<Self> {
        let (flags, before) = (e.arg("flags")?, e.arg("before")?);
        let payload = e.arg("payload")?.cast_signed();
        let fin = i32::from(flags & TCPHDR_FIN != 0);
        Some(Self {
            flags,
            bytes: u32::try_from(payload - fin).unwrap_or(0),
            payload,
            periods_over: e.arg("num_timeout")?,
            acked_before: before & 1 != 0,
            found_queue_full: before & 2 != 0,
            in_order: before & 4 != 0,
            acks_syn_ack: before & 8 != 0,
        })
    }

    const fn is(self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// It would complete the handshake.
    const fn fits(self) -> bool {
        self.is(TCPHDR_ACK) && self.in_order && self.acks_syn_ack
    }

    /// The bare ACK that the option has the kernel drop.
    const fn is_held(self, periods: u32) -> bool {
        self.fits() && self.payload == 0 && self.periods_over < periods
    }
}

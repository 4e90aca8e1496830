//! The state of one socket: whether it opens, or was opened, by Fast Open.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TFO_CLIENT_ENABLE, TFO_SERVER_ENABLE},
};

use super::{
    Asked, Attempt, Blackhole, Fact, MAX_LINES, Outcome, Pause, Queue, Reason, Side,
    client::Client, server::Server,
};
use crate::{
    analysis::{Analysis, episode::Episode},
    event::{Event, Seq, SocketId},
    finding::{Certainty, Evidence, Finding, Task},
};

/// How long after the answer the return of the write, or of `accept()`, is waited for, nanoseconds.
const PATIENCE_NS: u64 = 1_000_000_000;

pub(super) type AnyAttempt = Finding<Attempt, Fact>;

/// The state of one socket.
#[derive(Debug, Default)]
pub struct Machine {
    state: Box<State>,
}

/// What is known of one socket.
#[derive(Debug, Default)]
pub(super) struct State {
    socket: SocketId,
    /// The attempt that is going on.
    episode: Episode<Fact>,
    pub(super) client: Option<Client>,
    pub(super) server: Option<Server>,
    /// Fast Open has made the socket.
    pub(super) is_made: bool,
    /// When the attempt is told although something may still come.
    due_ns: Option<u64>,
}

impl Analysis for Machine {
    type Cause = Attempt;
    type Fact = Fact;
    const HOOKS: &'static [Hook] = &[
        Hook::tcp_fastopen_cookie_check,
        Hook::tcp_connect,
        Hook::tcp_fastopen_cache_set,
        Hook::tcp_sendmsg_locked,
        Hook::tcp_finish_connect,
        Hook::tcp_try_fastopen,
        Hook::reqsk_fastopen_remove,
        Hook::tcp_done,
        Hook::tcp_v4_destroy_sock,
        Hook::tcp_fastopen_defer_connect,
        Hook::tcp_fastopen_active_detect_blackhole,
        Hook::tcp_fastopen_active_disable,
        Hook::do_tcp_setsockopt,
        Hook::security_sock_graft,
        Hook::inet_csk_accept,
        Hook::inet_csk_reqsk_queue_add,
    ];
    const REQUIRED: usize = 9;
    const OPENING: bool = true;
    const TICKS: bool = true;

    fn on_event(&mut self, e: &Event, out: &mut Vec<AnyAttempt>) {
        let state = &mut *self.state;
        state.socket = e.socket;
        match e.hook {
            Hook::fastopen_option => state.on_option(e, out),
            Hook::listener => state.on_listener(e, out),
            Hook::tcp_fastopen_defer_connect => state.on_deferred(e),
            Hook::tcp_fastopen_cookie_check => state.on_looked(e),
            Hook::fastopen_syn => state.on_syn(e),
            Hook::tcp_fastopen_cache_set => state.on_answer(e),
            Hook::tcp_finish_connect => state.on_established(e),
            Hook::fastopen_write => state.on_write(e, out),
            Hook::tcp_fastopen_active_detect_blackhole => state.on_timeout(e, out),
            Hook::tcp_fastopen_active_disable => {
                state.blackhole(e, Reason::OutOfOrder, out);
            }
            Hook::tcp_try_fastopen => state.on_try(e),
            Hook::inet_csk_reqsk_queue_add => state.on_syn_cookie(e, out),
            Hook::reqsk_fastopen_remove => state.on_removed(e),
            Hook::security_sock_graft => state.on_accepted(e),
            Hook::tcp_done => state.on_done(e),
            Hook::tcp_v4_destroy_sock | Hook::socket_reused => {
                state.on_gone(e);
                state.tell(e.at_ns, false, out);
            }
            _ => {}
        }
        if state.is_settled() {
            state.tell(e.at_ns, false, out);
        }
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<AnyAttempt>) {
        self.state.socket = socket;
        self.state.tell(at_ns, true, out);
    }

    fn on_loss(&mut self, at_ns: u64) {
        let state = &mut *self.state;
        if state.client.is_none() && state.server.is_none() {
            return;
        }
        state.episode.note_loss(at_ns, Fact::Lost, MAX_LINES);
    }

    fn is_over(&self, gone: bool) -> bool {
        gone
    }

    fn due_ns(&self) -> Option<u64> {
        self.state.due_ns
    }

    fn on_due(&mut self, out: &mut Vec<AnyAttempt>) {
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

    /// It had begun before it was met.
    pub(super) fn is_midway(&mut self) {
        self.episode.doubt();
    }

    /// The answer is known: what belongs to it comes at once, or not at all.
    pub(super) fn waits(&mut self, e: &Event) {
        self.due_ns.get_or_insert(e.at_ns.saturating_add(PATIENCE_NS));
    }

    /// Whether nothing more can belong to it.
    fn is_settled(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_settled)
            || self.server.as_ref().is_some_and(Server::is_settled)
    }

    /// A finding that one event makes by itself.
    pub(super) fn at_once(&self, e: &Event, attempt: Attempt, fact: Option<Fact>) -> AnyAttempt {
        Finding {
            socket: self.socket,
            from_ns: e.at_ns,
            until_ns: e.at_ns,
            cause: attempt,
            evidence: fact
                .map(|fact| Evidence { n: e.n, at_ns: e.at_ns, fact })
                .into_iter()
                .collect(),
            certainty: Certainty::Seen,
            not_seen: Vec::new(),
        }
    }

    /// Tells the attempt that is going on, if there is one; `is_end` says that the trace is over.
    fn tell(&mut self, at_ns: u64, is_end: bool, out: &mut Vec<AnyAttempt>) {
        let attempt = match (self.client.take(), self.server.take()) {
            (Some(client), _) => client.attempt(is_end),
            (None, Some(server)) => Some(server.attempt()),
            (None, None) => None,
        };
        let episode = self.episode.end();
        self.due_ns = None;
        let Some(mut attempt) = attempt else { return };
        attempt.lines_left_out = episode.left_out;
        let last_ns = episode.lines.last().map_or(at_ns, |line| line.at_ns);
        let from_ns = episode.began_ns.unwrap_or(at_ns);
        let open = is_end && attempt.outcome == Outcome::UnderWay;
        out.push(Finding {
            socket: self.socket,
            from_ns,
            until_ns: if open { at_ns } else { last_ns }.max(from_ns),
            cause: attempt,
            evidence: episode.lines,
            certainty: episode.certainty,
            not_seen: Vec::new(),
        });
    }

    /// An option is set, which the kernel may refuse, or which may be of no use.
    fn on_option(&mut self, e: &Event, out: &mut Vec<AnyAttempt>) {
        let (Some(optname), Some(setting)) = (e.arg("optname"), e.u32(Field::sysctl_tcp_fastopen))
        else {
            return;
        };
        let (side, outcome, reason, asked) = match optname {
            TCP_FASTOPEN_CONNECT if setting & TFO_CLIENT_ENABLE == 0 => (
                Side::Client,
                Outcome::NotTried,
                Reason::ClientBitOff,
                Some(Asked::FastopenConnect),
            ),
            TCP_FASTOPEN if setting & TFO_SERVER_ENABLE == 0 => {
                (Side::Server, Outcome::NotUsable, Reason::ServerBitOff, None)
            }
            _ => return,
        };
        let attempt = Attempt {
            asked,
            task: Some(Task::at_work(e)),
            setting: Some(setting),
            ..Attempt::new(side, outcome, Some(reason))
        };
        out.push(self.at_once(
            e,
            attempt,
            Some(Fact::OptionSet { optname, task: Task::at_work(e) }),
        ));
    }

    /// A socket that listened at the start.
    fn on_listener(&mut self, e: &Event, out: &mut Vec<AnyAttempt>) {
        let (Some(max_qlen), Some(setting)) = (e.arg("max_qlen"), e.arg("sysctl_tcp_fastopen"))
        else {
            return;
        };
        if max_qlen == 0 || setting & TFO_SERVER_ENABLE != 0 {
            return;
        }
        let attempt = Attempt {
            task: Some(Task::at_work(e)),
            setting: Some(setting),
            queue: Some(Queue { qlen: 0, max_qlen, resets: false }),
            ..Attempt::new(Side::Server, Outcome::NotUsable, Some(Reason::ServerBitOff))
        };
        out.push(self.at_once(
            e,
            attempt,
            Some(Fact::Listens { max_qlen, task: Task::at_work(e) }),
        ));
    }

    /// A connection was made from a SYN cookie.
    fn on_syn_cookie(&self, e: &Event, out: &mut Vec<AnyAttempt>) {
        let max_qlen = e.u32(Field::fastopenq_max_qlen).unwrap_or(0);
        if max_qlen == 0 || e.arg("syn_cookie") != Some(1) {
            return;
        }
        let attempt = Attempt {
            queue: Some(Queue { qlen: 0, max_qlen, resets: false }),
            isn: e.arg("isn").map(Seq),
            ..Attempt::new(Side::Server, Outcome::NotTried, Some(Reason::SynCookie))
        };
        out.push(self.at_once(e, attempt, Some(Fact::SynCookie)));
    }

    /// The retransmission timer ran (`tcp_fastopen_active_detect_blackhole()`: its condition is applied here, because what
    /// it calls is inlined).
    fn on_timeout(&mut self, e: &Event, out: &mut Vec<AnyAttempt>) {
        self.on_syn_timeout();
        let before = e.u32(Field::icsk_retransmits);
        let gives_up = e.arg("expired").is_some_and(|expired| expired != 0);
        if self.client.is_some() || self.server.is_some() {
            let timeouts = before.map(|before| before + 1);
            self.note(e, Fact::TimedOut { timeouts, gives_up });
        }
        if let Some(before) = before
            && (before == 2 || before < 2 && gives_up)
        {
            self.blackhole(e, Reason::Timeouts, out);
        }
    }

    /// The kernel takes the path for one that does not let Fast Open through.
    fn blackhole(&mut self, e: &Event, reason: Reason, out: &mut Vec<AnyAttempt>) {
        let first_s = e.u32(Field::sysctl_tcp_fastopen_blackhole_timeout);
        let times = e.u32(Field::tfo_active_disable_times);
        let pause = first_s.zip(times).filter(|(first_s, _)| *first_s > 0);
        let pause =
            pause.map(|(first_s, times)| Pause { times: times + 1, first_s, since_ticks: 0 });
        // Out of order, it is counted only where there is a pause.
        if first_s.is_none() || (reason == Reason::OutOfOrder && pause.is_none()) {
            return;
        }
        let side = if self.is_made { Side::Server } else { Side::Client };
        let task = self.client.as_ref().and_then(|client| client.task);
        let attempt = Attempt {
            blackhole: Some(Blackhole { pause }),
            task,
            ..Attempt::new(side, Outcome::Blackhole, Some(reason))
        };
        out.push(self.at_once(e, attempt, Some(Fact::Blackhole)));
    }
}

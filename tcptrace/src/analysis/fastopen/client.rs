//! The end that sends the SYN: in the kernel's order, what was asked, what left, and what came back.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{
        EALREADY, ECONNREFUSED, EINPROGRESS, EINVAL, EISCONN, EOPNOTSUPP, ETIMEDOUT, MSG_FASTOPEN,
        TCP_SYN_SENT, TFO_CLIENT_ENABLE,
    },
};

use super::{
    Asked, Attempt, Fact, Looked, Outcome, Pause, Reason, Side, SynOption,
    machine::{AnyAttempt, State},
};
use crate::{
    event::{Event, Seq},
    finding::Task,
};

/// No timer sends a SYN again so soon: the first one is set to `TCP_TIMEOUT_INIT` (`net/tcp.h`), 1 s in jiffies.
const SOONEST_TIMEOUT_NS: u64 = 900_000_000;

/// A connection that is being opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    asked: Option<Asked>,
    pub(super) task: Option<Task>,
    looked: Option<Looked>,
    setting: Option<u32>,
    pause: Option<Pause>,
    deferred_at_ns: Option<u64>,
    syn: Option<Syn>,
    answer: Option<Answer>,
    /// The return of the write that sent the SYN.
    returned: Option<i32>,
    /// A write is to return.
    writes: bool,
    /// How often the retransmission timer ran before the answer.
    timeouts: u32,
}

/// The SYN.
#[derive(Clone, Copy, Debug)]
struct Syn {
    at_ns: u64,
    isn: Option<Seq>,
    /// Bytes that the write gave; `None` where `connect()` sent it, with nothing to give.
    given: Option<u32>,
    /// Bytes of data in it.
    data: u32,
    /// Bytes were queued behind a SYN that did not carry them.
    left_behind: bool,
    option: SynOption,
    experimental: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
struct Answer {
    at_ns: u64,
    outcome: Outcome,
    reason: Option<Reason>,
    acked: Option<u32>,
    cookie: Option<bool>,
    resent: u32,
    error: Option<u32>,
    /// Bytes of the SYN, where it left before the socket was met.
    data: Option<u32>,
}

impl Answer {
    fn new(e: &Event, outcome: Outcome, reason: Option<Reason>) -> Self {
        Self {
            at_ns: e.at_ns,
            outcome,
            reason,
            acked: None,
            cookie: None,
            resent: 0,
            error: None,
            data: None,
        }
    }
}

impl Client {
    /// The answer came, and the write has returned.
    pub(super) const fn is_settled(&self) -> bool {
        self.answer.is_some() && !self.writes
    }

    /// What became of it; `None` where nothing was begun.
    pub(super) fn attempt(self, is_end: bool) -> Option<Attempt> {
        let (outcome, reason) = match (self.answer, self.syn) {
            (Some(answer), _) => (answer.outcome, answer.reason),
            (None, None) if self.deferred_at_ns.is_none() => return None,
            (None, None) if !is_end => (Outcome::DeferredUnsent, Some(Reason::NeverWritten)),
            (None, Some(_)) if !is_end => (Outcome::Undetermined, Some(Reason::Undetermined)),
            (None, _) => (Outcome::UnderWay, None),
        };
        let syn = self.syn;
        let answer = self.answer;
        let round_trip_ns =
            answer.zip(syn).map(|(answer, syn)| answer.at_ns.saturating_sub(syn.at_ns));
        let deferred_ns = self
            .deferred_at_ns
            .zip(syn.map(|syn| syn.at_ns))
            .map(|(from, until)| until.saturating_sub(from));
        Some(Attempt {
            asked: self.asked,
            task: self.task,
            given_bytes: syn.and_then(|syn| syn.given),
            syn_data_bytes: syn
                .map(|syn| syn.data)
                .or_else(|| answer.and_then(|answer| answer.data)),
            acked_bytes: answer.and_then(|answer| answer.acked),
            option: syn.map(|syn| syn.option),
            experimental: syn.is_some_and(|syn| syn.experimental),
            cookie_given: answer.and_then(|answer| answer.cookie),
            round_trip_ns: round_trip_ns.filter(|_| answer.is_some_and(|it| it.cookie.is_some())),
            resent: answer.map_or(0, |answer| answer.resent),
            setting: self.setting,
            pause: self.pause.filter(|_| self.looked == Some(Looked::Paused)),
            returned: self.returned,
            error: answer.and_then(|answer| answer.error),
            deferred_ns,
            isn: syn.and_then(|syn| syn.isn),
            ..Attempt::new(Side::Client, outcome, reason)
        })
    }
}

impl State {
    /// `connect()` has returned at once.
    pub(super) fn on_deferred(&mut self, e: &Event) {
        if !is_true(e) {
            return;
        }
        let client = self.client.get_or_insert_default();
        client.asked = Some(Asked::FastopenConnect);
        client.task = Some(Task::at_work(e));
        client.deferred_at_ns.get_or_insert(e.at_ns);
        self.note(e, Fact::ConnectDeferred { task: Task::at_work(e) });
    }

    /// The kernel has looked for a cookie; with `TCP_FASTOPEN_CONNECT` again when the SYN leaves, which then counts.
    pub(super) fn on_looked(&mut self, e: &Event) {
        let data = is_true(e);
        let Some(length) = e.u32(Field::foc_len).map(|len| (len & 0xff).cast_signed() << 24 >> 24)
        else {
            return;
        };
        let found = match (data, length) {
            (true, 1..) => Looked::Cookie,
            (true, _) => Looked::NotNeeded,
            (false, 0..) => Looked::None,
            (false, _) => Looked::Paused,
        };
        let client = self.client.get_or_insert_default();
        client.looked = Some(found);
        client.task = Some(Task::at_work(e));
        client.setting = e.u32(Field::sysctl_tcp_fastopen);
        client.pause = pause(e);
        let by_option = e.u32(Field::fastopen_connect) == Some(1);
        client.asked = Some(if by_option { Asked::FastopenConnect } else { Asked::MsgFastopen });
        self.note(e, Fact::CookieLooked { found });
    }

    /// The SYN has left.
    pub(super) fn on_syn(&mut self, e: &Event) {
        if e.arg("ret").is_some_and(|ret| ret != 0) {
            return self.on_no_syn(e);
        }
        let looked = self.client.as_ref().and_then(|client| client.looked);
        let Some((isn, sent)) = e.seq(Field::snd_una).zip(e.seq(Field::snd_nxt)) else { return };
        let carries = e.u32(Field::syn_data) == Some(1);
        let queued = e.seq(Field::write_seq).map_or(0, |end| end.since(isn).saturating_sub(1));
        let data = if carries { sent.since(isn).saturating_sub(1) } else { 0 };
        // `connect()` itself sends a request for a cookie, and offers nothing.
        let given = e.u32(Field::fastopen_size);
        let by_connect = e.u32(Field::fastopen_connect) == Some(1) && given == Some(0);
        let option = match (e.u32(Field::syn_fastopen) == Some(1), looked) {
            (false, _) => SynOption::None,
            (true, Some(Looked::Cookie)) if data > 0 || given == Some(0) => SynOption::Cookie,
            (true, _) => SynOption::Request,
        };
        let experimental = e.u32(Field::syn_fastopen_exp) == Some(1);
        let syn = Syn {
            at_ns: e.at_ns,
            isn: Some(isn),
            given: given.filter(|_| !by_connect),
            data,
            left_behind: !carries && queued > 0,
            option,
            experimental,
        };
        let client = self.client.get_or_insert_default();
        client.syn = Some(syn);
        client.task = Some(Task::at_work(e));
        client.writes = !by_connect;
        let (bytes, given_bytes) = (data, syn.given);
        self.note(
            e,
            Fact::SynOut { bytes, given_bytes, option, experimental, task: Task::at_work(e) },
        );
    }

    /// The kernel could send no SYN at all.
    fn on_no_syn(&mut self, e: &Event) {
        let error = e.arg("ret").map(|ret| ret.cast_signed().unsigned_abs());
        let client = self.client.get_or_insert_default();
        let reason = Some(Reason::Undetermined);
        client.answer = Some(Answer { error, ..Answer::new(e, Outcome::NotTried, reason) });
        self.note(e, Fact::Over { error: error.unwrap_or(0) });
    }

    /// The timer of the SYN ran.
    pub(super) fn on_syn_timeout(&mut self) {
        if let Some(client) = self.client.as_mut().filter(|client| client.answer.is_none()) {
            client.timeouts += 1;
        }
    }

    /// What the SYN-ACK says (`tcp_rcv_fastopen_synack()`).
    pub(super) fn on_answer(&mut self, e: &Event) {
        if self.client.as_ref().and_then(|client| client.syn).is_none() {
            self.on_answer_midway(e);
            return;
        }
        let cookie = e.u32(Field::foc_len).map(|len| len & 0x80 == 0 && len > 0);
        let Some(client) = self.client.as_mut() else { return };
        let Some(syn) = client.syn else { return };
        let acked =
            e.seq(Field::snd_una).zip(syn.isn).map(|(una, isn)| una.since(isn).saturating_sub(1));
        let resent = e.u32(Field::total_retrans).unwrap_or(0);
        let (outcome, mut reason) = answered(syn, client.looked, acked, cookie, resent);
        let by_no_timer =
            client.timeouts == 0 && e.at_ns.saturating_sub(syn.at_ns) < SOONEST_TIMEOUT_NS;
        if reason == Some(Reason::SynLost) && by_no_timer {
            reason = Some(Reason::SynTurnedAway);
        }
        client.answer = Some(Answer { acked, cookie, resent, ..Answer::new(e, outcome, reason) });
        self.note(e, Fact::SynAckIn { acked_bytes: acked.filter(|_| syn.data > 0), cookie });
        self.waits(e);
    }

    /// The same of a SYN that left before the probes were there: how much it carried is not known.
    fn on_answer_midway(&mut self, e: &Event) {
        let cookie = e.u32(Field::foc_len).map(|len| len & 0x80 == 0 && len > 0);
        let resent = e.u32(Field::total_retrans).unwrap_or(0);
        let unacked =
            e.seq(Field::snd_nxt).zip(e.seq(Field::snd_una)).map(|(end, una)| end.since(una));
        let carried = e.u32(Field::syn_data).map(|bit| bit == 1);
        let (outcome, reason) = match (carried, unacked, cookie) {
            (Some(true), Some(0), _) => (Outcome::Worked, None),
            (Some(true), Some(_), Some(true)) => (Outcome::Refused, Some(Reason::StaleCookie)),
            (Some(true), Some(_), Some(false)) if resent > 0 => {
                (Outcome::Lost, Some(Reason::SynLost))
            }
            (Some(false), _, Some(true)) => (Outcome::CookieGranted, Some(Reason::NoCookie)),
            (Some(false), _, Some(false)) if resent > 0 => (Outcome::Lost, Some(Reason::NoCookie)),
            _ => (Outcome::Undetermined, Some(Reason::Undetermined)),
        };
        let client = self.client.get_or_insert_default();
        let data = carried.filter(|carried| !carried).map(|_| 0);
        client.answer = Some(Answer { cookie, resent, data, ..Answer::new(e, outcome, reason) });
        self.is_midway();
        self.note(e, Fact::SynAckIn { acked_bytes: None, cookie });
    }

    /// The connection is established. `tcp_fastopen_cache_set()` follows where the SYN carried anything of Fast Open.
    pub(super) fn on_established(&mut self, e: &Event) {
        let Some(client) = self.client.as_mut() else { return };
        let Some(syn) = client.syn else { return };
        if syn.option != SynOption::None || syn.data > 0 || client.answer.is_some() {
            return;
        }
        let reason = match client.looked {
            Some(Looked::Paused) => Reason::Paused,
            _ if syn.left_behind => Reason::TransmitFailed,
            Some(Looked::None | Looked::Cookie) if syn.given != Some(0) => Reason::OptionSpace,
            _ => Reason::Undetermined,
        };
        client.answer = Some(Answer {
            resent: e.u32(Field::total_retrans).unwrap_or(0),
            ..Answer::new(e, Outcome::NotTried, Some(reason))
        });
        self.note(e, Fact::SynAckIn { acked_bytes: None, cookie: None });
        self.waits(e);
    }

    /// A write has returned: the one that sent the SYN, a later one, or one that was refused before any SYN.
    pub(super) fn on_write(&mut self, e: &Event, out: &mut Vec<AnyAttempt>) {
        let (Some(size), Some(returned)) = (e.arg("size"), e.arg("ret").map(u32::cast_signed))
        else {
            return;
        };
        let flags = e.arg("msg_flags").unwrap_or(0);
        let fact = Fact::Written { bytes: size, returned, flags, task: Task::at_work(e) };
        let error = if returned < 0 { returned.unsigned_abs() } else { 0 };
        if let Some(reason) = refusal(e, error)
            && flags & MSG_FASTOPEN != 0
        {
            let attempt = Attempt {
                asked: Some(Asked::MsgFastopen),
                task: Some(Task::at_work(e)),
                given_bytes: Some(size),
                syn_data_bytes: Some(0),
                setting: e.u32(Field::sysctl_tcp_fastopen),
                returned: Some(returned),
                ..Attempt::new(Side::Client, Outcome::NotTried, Some(reason))
            };
            out.push(self.at_once(e, attempt, Some(fact)));
            return;
        }
        let Some(client) = self.client.as_mut().filter(|client| client.writes) else { return };
        if flags & MSG_FASTOPEN != 0 {
            client.asked = Some(Asked::MsgFastopen);
        }
        client.returned.get_or_insert(returned);
        // Without a cookie a write that does not wait has left nothing behind: the program writes again.
        client.writes = error == EINPROGRESS && client.syn.is_some_and(|syn| syn.data == 0);
        self.note(e, fact);
    }

    /// The connection is over before it was established.
    pub(super) fn on_done(&mut self, e: &Event) {
        let error = e.u32(Field::sk_err).unwrap_or(0);
        if let Some(server) = self.server.as_mut() {
            // What it means for the request follows.
            server.over(error);
            return;
        }
        let Some(client) = self.client.as_mut() else { return };
        if client.answer.is_some() || e.u32(Field::skc_state) != Some(TCP_SYN_SENT) {
            return;
        }
        let (outcome, reason) = match error {
            ECONNREFUSED => (Outcome::Refused, Reason::Reset),
            ETIMEDOUT => (Outcome::Lost, Reason::NoAnswer),
            0 => (Outcome::Lost, Reason::Closed),
            _ => (Outcome::Lost, Reason::Unreachable),
        };
        if client.syn.is_some() {
            client.answer =
                Some(Answer { error: Some(error), ..Answer::new(e, outcome, Some(reason)) });
            self.note(e, Fact::Over { error });
            self.waits(e);
        }
    }

    /// The socket is gone.
    pub(super) fn on_gone(&mut self, e: &Event) {
        if let Some(server) = self.server.as_mut() {
            server.gone();
            return;
        }
        let Some(client) = self.client.as_mut() else { return };
        if client.answer.is_some() || e.hook != Hook::tcp_v4_destroy_sock {
            return;
        }
        if client.syn.is_some() {
            client.answer = Some(Answer::new(e, Outcome::Lost, Some(Reason::Closed)));
        }
        self.note(e, Fact::Over { error: 0 });
    }
}

/// What a SYN-ACK makes of a SYN.
fn answered(
    syn: Syn,
    looked: Option<Looked>,
    acked: Option<u32>,
    cookie: Option<bool>,
    resent: u32,
) -> (Outcome, Option<Reason>) {
    let undetermined = (Outcome::Undetermined, Some(Reason::Undetermined));
    let (Some(acked), Some(cookie)) = (acked, cookie) else { return undetermined };
    let cookieless = looked == Some(Looked::NotNeeded);
    if syn.data > 0 {
        return match acked {
            all if all >= syn.data => (Outcome::Worked, cookieless.then_some(Reason::Cookieless)),
            0 if looked == Some(Looked::Cookie) && syn.option == SynOption::None => {
                (Outcome::NotTried, Some(Reason::OptionSpace))
            }
            0 if resent > 0 && !cookie => (Outcome::Lost, Some(Reason::SynLost)),
            0 if cookie => (Outcome::Refused, Some(Reason::StaleCookie)),
            0 => (Outcome::Refused, Some(Reason::DataNotAcked)),
            _ => (Outcome::Partial, Some(Reason::PartlyAcked)),
        };
    }
    match syn.option {
        SynOption::Cookie => (Outcome::NotTried, Some(Reason::NoData)),
        SynOption::Request if looked == Some(Looked::Cookie) || cookieless => {
            let reason = if syn.left_behind { Reason::TransmitFailed } else { Reason::CopyFault };
            (Outcome::NotTried, Some(reason))
        }
        SynOption::Request if cookie => (Outcome::CookieGranted, Some(Reason::NoCookie)),
        SynOption::Request if resent > 0 => (Outcome::Lost, Some(Reason::NoCookie)),
        SynOption::Request => (Outcome::CookieRequested, Some(Reason::NoCookie)),
        SynOption::None => undetermined,
    }
}

/// Why a write was refused before any SYN left (`tcp_sendmsg_fastopen()`).
fn refusal(e: &Event, error: u32) -> Option<Reason> {
    match error {
        EOPNOTSUPP => Some(match e.u32(Field::sysctl_tcp_fastopen) {
            Some(setting) if setting & TFO_CLIENT_ENABLE == 0 => Reason::ClientBitOff,
            Some(_) => Reason::Family,
            None => Reason::Undetermined,
        }),
        EALREADY => Some(Reason::InProgress),
        EINVAL if e.arg("msg_namelen") == Some(0) => Some(Reason::NoAddress),
        EISCONN => Some(Reason::Connected),
        _ => None,
    }
}

/// The pause that the network namespace is in, or was in last.
fn pause(e: &Event) -> Option<Pause> {
    let (first_s, times) = e
        .u32(Field::sysctl_tcp_fastopen_blackhole_timeout)
        .zip(e.u32(Field::tfo_active_disable_times))?;
    // The low word, as that of the event.
    let stamp = e.u32(Field::tfo_active_disable_stamp)?;
    (times > 0).then_some(Pause { times, first_s, since_ticks: e.jiffies.wrapping_sub(stamp) })
}

/// The result of a function that returns a `bool`, which is all that its register holds for sure.
fn is_true(e: &Event) -> bool {
    e.arg("ret").is_some_and(|ret| ret.to_le_bytes()[0] != 0)
}

//! One deferral told: its verdict, its lines, what to change.

use super::{fields::longest_ns, line::line};
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        defer_accept::{Deferral, Fact, Outcome, Side, Trigger, lasts_ns},
    },
    explain::{
        Context, Explanation, task,
        units::{bytes, counted, duration, limit},
    },
    finding::{Certainty, Evidence, Finding},
};

pub(in crate::explain) fn explain(
    finding: &Finding<Cause, AnyFact>,
    it: &Deferral,
    evidence: &[Evidence<&Fact>],
    context: &Context<'_>,
) -> Explanation {
    let story = Story { it, context, may: finding.certainty == Certainty::May };
    Explanation {
        subject: it.task.map(|who| (who, task(who, context.comms))),
        aside: Some(
            match it.side {
                Side::Listener => "TCP_DEFER_ACCEPT, listener",
                Side::Server => "TCP_DEFER_ACCEPT",
                Side::Client => "TCP_DEFER_ACCEPT, client",
            }
            .to_owned(),
        ),
        verdict: story.verdict(),
        zero_ns: finding.from_ns,
        lines: evidence.iter().map(|each| line(each, Some(it.setting.periods), context)).collect(),
        change: story.change(),
        pattern: None,
    }
}

struct Story<'a> {
    it: &'a Deferral,
    context: &'a Context<'a>,
    may: bool,
}

impl Story<'_> {
    fn verdict(&self) -> String {
        let what = match self.it.side {
            Side::Listener => self.listener(),
            Side::Client => self.client(),
            Side::Server => self.server(),
        };
        let may = if self.may { "; events may be missing" } else { "" };
        format!("{what}{may}.")
    }

    /// What the program is called that accepts.
    fn program(&self) -> String {
        self.it.task.map_or_else(|| "the program".to_owned(), |who| task(who, self.context.comms))
    }

    fn listener(&self) -> String {
        let setting = &self.it.setting;
        let asked = self.it.seconds.map(|seconds| format!("{seconds} s"));
        if setting.periods == 0 {
            return "TCP_DEFER_ACCEPT was switched off".to_owned();
        }
        let longest_ns = longest_ns(setting, self.context.facts);
        let periods = counted(setting.periods.into(), "timer period", "timer periods");
        let lasts = limit(lasts_ns(setting.periods, longest_ns));
        let is = if setting.periods == 1 { "is" } else { "are" };
        let before = self
            .it
            .other_periods
            .map_or_else(String::new, |before| format!("; before, it was {before}"));
        let gives_up = setting.retries().map_or_else(String::new, |retries| {
            let ticks = retries.max(setting.periods) + 1;
            format!(
                ". A client that never answers is dropped after {}",
                limit(lasts_ns(ticks, longest_ns))
            )
        });
        match (self.it.outcome, asked) {
            (Outcome::Found, Some(asked)) => format!(
                "found with TCP_DEFER_ACCEPT, {asked} by getsockopt(): {periods}, which {is} {lasts}; who set it was not \
                 seen"
            ),
            (_, Some(asked)) => format!(
                "set TCP_DEFER_ACCEPT to {asked}: the kernel keeps {periods}, which {is} {lasts}{before}{gives_up}"
            ),
            (_, None) => format!(
                "has TCP_DEFER_ACCEPT: {periods}, which {is} {lasts}{before}; how many seconds were asked for was not \
                 seen{gives_up}"
            ),
        }
    }

    fn client(&self) -> String {
        let held = duration(self.it.held_ns.unwrap_or(0));
        let by = match self.it.sent_by {
            Some(Trigger::Data) => "left with the first data",
            _ => "was sent by the delayed-ACK timer",
        };
        format!(
            "this client has set TCP_DEFER_ACCEPT itself: the ACK of its handshake was put off for {held} and {by}; until then \
             the server has no connection to accept"
        )
    }

    fn server(&self) -> String {
        let it = self.it;
        match it.outcome {
            Outcome::Data => format!(
                "accept() waited {} for the first {}; {} was spared one wake-up and {} with an empty socket",
                self.held(),
                bytes(it.bytes.unwrap_or(0).into()),
                self.program(),
                self.held()
            ),
            Outcome::Fin => format!(
                "accept() waited {} for a client that closed without a word; then {} got a connection at its end",
                self.held(),
                self.program()
            ),
            Outcome::Deadline => self.deadline(),
            Outcome::SwitchedOff => format!(
                "accept() waited {} for a client that said nothing, until TCP_DEFER_ACCEPT was switched off; then {} got the \
                 connection without data{}",
                self.held(),
                self.program(),
                self.later()
            ),
            Outcome::SynCookie => format!(
                "not deferred: the SYN was answered by a SYN cookie, which leaves no request to hold; {} got the connection \
                 with the first ACK",
                self.program()
            ),
            Outcome::Fastopen => format!(
                "not deferred: Fast Open accepted the connection at the SYN; {} got it at once",
                self.program()
            ),
            Outcome::NeverHeld => self.never_held(),
            _ => self.unfinished(),
        }
    }

    /// How long it was held.
    fn held(&self) -> String {
        duration(self.it.held_ns.unwrap_or(0))
    }

    fn deadline(&self) -> String {
        let changed = match self.it.other_periods {
            Some(now) if now < self.it.setting.periods => format!(
                "; the option was lowered meanwhile, from {} to {}",
                counted(self.it.setting.periods.into(), "period", "periods"),
                now
            ),
            Some(now) => format!(
                "; the option was raised meanwhile, from {} to {}",
                counted(self.it.setting.periods.into(), "period", "periods"),
                now
            ),
            None => String::new(),
        };
        format!(
            "accept() waited {} for a client that said nothing; then {} got the connection without data{}{changed}",
            self.held(),
            self.program(),
            self.later()
        )
    }

    /// When the client spoke, where it did so after the promotion.
    fn later(&self) -> String {
        self.it.data_after_ns.map_or_else(String::new, |ns| {
            format!("; the first data came {} after that", duration(ns))
        })
    }

    fn never_held(&self) -> String {
        let it = self.it;
        if it.periods_over > 0 && it.syn_acks_repeated > 0 {
            let more = match it.syn_acks_repeated {
                1 => "one more SYN-ACK was sent".to_owned(),
                times => format!("{times} more SYN-ACKs were sent"),
            };
            return format!(
                "not held: the first ACK came {} after the SYN; {more} until then, because none had come",
                duration(it.lasted_ns.unwrap_or(0))
            );
        }
        match it.bytes.unwrap_or(0) {
            0 => "not held: the first segment with ACK ended the deferral".to_owned(),
            data => format!(
                "not held: {} came with the ACK of the handshake, and {} got the connection at once",
                bytes(data.into()),
                self.program()
            ),
        }
    }

    /// What never became a socket, or has not.
    fn unfinished(&self) -> String {
        let it = self.it;
        let held = self.held();
        let asked = match it.syn_acks_repeated {
            0 => String::new(),
            times => {
                format!("; the SYN-ACK was repeated {}", counted(times.into(), "time", "times"))
            }
        };
        let lasted = it.lasted_ns.map_or_else(|| held.clone(), duration);
        match it.outcome {
            Outcome::ClientReset if it.held_ns.is_some() => {
                format!("held for {held}, then the client reset it: no program was told of it")
            }
            Outcome::ClientReset => {
                "the client reset it before its handshake was complete: no program was told of it"
                    .to_owned()
            }
            Outcome::Unanswered if it.held_ns.is_some() => format!(
                "held for {held}, then dropped without a word: the client had stopped answering{asked}. It may believe that it \
                 is connected"
            ),
            Outcome::Unanswered => format!(
                "not held: the handshake was never completed, and the kernel gave it up after {lasted}{asked}"
            ),
            Outcome::ListenerClosed => format!(
                "held for {held}, then dropped: its listener was closed. The client believes that it is connected until it \
                 sends"
            ),
            Outcome::Icmp => format!(
                "held for {held}, then dropped: ICMP said that the client cannot be reached; what the client sends next is \
                 answered by a reset"
            ),
            Outcome::QueueFull => format!(
                "held for {held}, then reset: the accept queue was full, and net.ipv4.tcp_abort_on_overflow is set"
            ),
            Outcome::Held => format!(
                "held for {held} and counting: no data has come{asked}. The client believes that it is connected"
            ),
            Outcome::UnderWay => {
                format!("not held: no ACK has come for {lasted} and counting{asked}")
            }
            _ => format!("held for {held}; how it ended is not determined{asked}"),
        }
    }

    fn change(&self) -> Option<String> {
        let it = self.it;
        match it.outcome {
            Outcome::Deadline => Some(
                "leave TCP_DEFER_ACCEPT off where the server speaks first, or where clients connect and say nothing: each waits \
                 for the deadline."
                    .to_owned(),
            ),
            Outcome::SynCookie => Some(
                "a larger backlog: held connections count in the SYN queue, and a full one answers by SYN cookies \
                 (net.ipv4.tcp_syncookies)."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

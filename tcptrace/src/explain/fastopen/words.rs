//! The names of things, and the sentence about all attempts.

use std::collections::BTreeMap;

use smallvec::smallvec;

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        fastopen::{Attempt, Outcome, Reason, Side},
    },
    explain::{
        Name, Place, Shape as Layout, Totals, Words, names_of_both,
        units::{count, counted},
    },
    finding::{Finding, Task},
    joined::Compared,
};

pub(in crate::explain) const WORDS: Words = Words {
    question: "fastopen",
    about: "did TCP Fast Open work, and if not, why",
    manual: "\
Whether TCP Fast Open worked, and if not, exactly why.

Each attempt is one finding. On the end that connects: how Fast Open was asked for (MSG_FASTOPEN, TCP_FASTOPEN_CONNECT), what \
the SYN carried, what the SYN-ACK made of it, and the round trip saved. On the end that listens: what came in the SYN, and \
the kernel's reason for taking it or not. A connection for which nobody asks for Fast Open is not told, and costs one look. \
What the evidence does not tell is called not determined, never guessed; a finding across lost events, or of a SYN that left \
before the start, says so.

A cookie belongs to an address, not to a port: one listener may refuse what another has given. The kernel tells a client only \
what the SYN-ACK says; why a server took no data, only its own host tells. With --port a write that is refused before the \
socket has a port is not seen. With --pid and --comm a listener is known from its first accept() on.

The evidence stands below each verdict, in milliseconds from the first event.",
    one: "fastopen",
    many: "attempts",
    total_ns: "opening_total_ns",
    columns: &["outcome", "why"],
    headline,
    innocent: |_, _| None,
    shape: Layout::Story,
    causes,
    releases: Vec::new,
    least: "--min-duration",
    sized: false,
    asks: true,
};

/// Nobody, where nobody was seen.
const NOBODY: Task = Task { pid: 0, tid: 0 };

/// The outcomes, then the reasons; what is both stands once.
fn causes() -> Vec<Name> {
    names_of_both::<Outcome, Reason>()
}

pub(in crate::explain) fn place(finding: &Finding<Cause, AnyFact>, it: &Attempt) -> Place {
    Place {
        task: it.task.unwrap_or(NOBODY),
        columns: smallvec![
            format!("{}: {}", side(it.side), outcome(it.outcome)).into(),
            it.reason.map_or("-", why).into(),
        ],
        bytes: 0,
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
        usual: false,
        always: true,
    }
}

/// What the kernel has counted in the same time, and what the findings say of it; nothing where neither has counted.
pub(in crate::explain) fn counters(compared: &[Compared]) -> Option<String> {
    if compared.is_empty() {
        return None;
    }
    let differing: Vec<String> = compared
        .iter()
        .filter(|it| !it.agrees())
        .map(|it| {
            format!(
                "{} {} in network namespace {}, {} by the findings",
                it.name, it.kernel, it.netns, it.found
            )
        })
        .collect();
    if !differing.is_empty() {
        return Some(format!(
            "differ: {} (a connection that was being opened at the start or the end counts on one side only).",
            differing.join("; ")
        ));
    }
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for it in compared {
        *sums.entry(it.name).or_default() += if it.shared { it.found } else { it.kernel };
    }
    let sums: Vec<String> =
        sums.into_iter().map(|(name, sum)| format!("{name} {}", count(sum))).collect();
    Some(format!("agree: {} in the same time.", sums.join(", ")))
}

/// `client`.
pub(super) const fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Worked => "worked",
        Outcome::Partial => "worked in part",
        Outcome::CookieRequested => "asked, got none",
        Outcome::CookieGranted => "cookie given",
        Outcome::NotTried => "not tried",
        Outcome::Refused => "refused",
        Outcome::Lost => "lost",
        Outcome::DeferredUnsent => "never sent",
        Outcome::NotUsable => "not usable",
        Outcome::Blackhole => "black hole",
        Outcome::UnderWay => "under way",
        Outcome::Undetermined => "not determined",
    }
}

/// A few words for the reason.
pub(super) const fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::ClientBitOff => "client bit off",
        Reason::Family => "address family",
        Reason::InProgress => "already connecting",
        Reason::NoAddress => "no address",
        Reason::Connected => "already connected",
        Reason::Paused => "paused",
        Reason::NoCookie => "no cookie known",
        Reason::OptionSpace => "no room for the option",
        Reason::NoData => "no data",
        Reason::CopyFault => "data not copied",
        Reason::TransmitFailed => "not transmitted",
        Reason::Reset => "reset",
        Reason::SynLost => "SYN lost",
        Reason::SynTurnedAway => "SYN turned away",
        Reason::DataNotAcked => "data not acknowledged",
        Reason::PartlyAcked => "partly acknowledged",
        Reason::NoAnswer => "no answer",
        Reason::Unreachable => "unreachable",
        Reason::Closed => "closed before the answer",
        Reason::NeverWritten => "nothing written",
        Reason::ServerBitOff => "server bit off",
        Reason::NotEnabled => "listener without TCP_FASTOPEN",
        Reason::QueueFull => "queue full",
        Reason::NoOption => "data without a cookie",
        Reason::NoKey => "no key",
        Reason::ChildFailed => "socket not made",
        Reason::BadCookie | Reason::StaleCookie => "cookie not valid",
        Reason::OldKey => "old key",
        Reason::SynCookie => "SYN cookie",
        Reason::Cookieless => "no cookie needed",
        Reason::ChildReset => "reset before the handshake",
        Reason::ChildTimedOut => "handshake never completed",
        Reason::Timeouts => "three timeouts",
        Reason::OutOfOrder => "out of order",
        Reason::Undetermined => "not determined",
    }
}

pub(super) fn headline(totals: &Totals) -> String {
    let sockets = counted(totals.sockets_found, "connection", "connections");
    match totals {
        Totals { findings: 0, lost: true, .. } => {
            "no attempt at Fast Open was seen, but events were lost: that proves nothing."
                .to_owned()
        }
        Totals { findings: 0, .. } => "nobody asked for Fast Open.".to_owned(),
        Totals { findings, .. } => {
            format!(
                "{} on {sockets}",
                counted(*findings, "attempt at Fast Open", "attempts at Fast Open")
            )
        }
    }
}

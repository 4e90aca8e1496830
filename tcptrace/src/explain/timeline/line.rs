//! The lines of a stretch.

use super::words::{error, flags, state};
use crate::{
    analysis::{
        nagle::{self, Held},
        timeline::{Fact, Stretch},
    },
    explain::{
        Context, Line, Mark, defer_accept, fastopen,
        nagle::{armed, failure, merged, named, pending, released_by, short, timer_name},
        sockopt, task,
        units::{bytes, duration, ticks},
    },
    finding::{Certainty, Evidence, Task},
};

pub(super) fn line(
    evidence: &Evidence<&Fact>,
    stretch: &Stretch,
    held: bool,
    context: &Context<'_>,
) -> Line {
    let fact = evidence.fact;
    if let Some(line) = of_another(evidence, context) {
        return line;
    }
    // Who acts is said above the lines; here only where it is somebody else.
    let other = fact.task().filter(|actor| stretch.owner.is_none_or(|o| o.pid != actor.pid));
    let by = other.map(|actor: Task| task(actor, context.comms));
    let (mark, label, detail) = match fact {
        Fact::Write { .. } | Fact::WriteReturned { .. } => write(fact),
        Fact::Push { .. } | Fact::Attempt { .. } => (Mark::Out, tried(fact), sending(fact)),
        Fact::Left { bytes: size, seq, end_seq, fin } => left(*size, (*seq, *end_seq), *fin),
        Fact::SegmentIn { .. } => segment(fact),
        Fact::TimerArmed { timer, .. } => {
            (Mark::None, format!("{} armed", timer_name(*timer)), timer_rule(fact, context))
        }
        Fact::TimerFired { timer } => (
            Mark::None,
            format!("{} fired", timer_name(*timer)),
            format!("icsk_pending={}", pending(*timer)),
        ),
        Fact::FinIn { .. }
        | Fact::AckPutOff { .. }
        | Fact::AckTimerFired
        | Fact::CloseCalled { .. }
        | Fact::AckOut
        | Fact::ResetOut
        | Fact::Reset
        | Fact::Minisock { .. }
        | Fact::Over { .. }
        | Fact::Gone { .. }
        | Fact::Reused
        | Fact::Lost => closing(fact, context),
        Fact::OptionSet { option, optname, value, .. } => set(*option, *optname, *value),
        Fact::WriterSleeps { cause, .. } => word("writer sleeps", no_room(*cause)),
        Fact::TransmitFailed { bytes: size, returned } => (
            Mark::None,
            "transmit failed".to_owned(),
            format!("{} not taken: {}", bytes((*size).into()), failure(*returned)),
        ),
        Fact::OptionReturned { change, .. } => {
            (Mark::Out, "option".to_owned(), sockopt::verdict(change, context))
        }
        Fact::Tsq => word("TSQ or pacing", "the socket may send again"),
        // They have lines of their own.
        Fact::Stack { .. } | Fact::Opening(_) | Fact::Deferral(_) => word("", ""),
        Fact::FinQueued { .. } => (Mark::Out, "FIN queued".to_owned(), String::new()),
        Fact::HoldBegan { .. }
        | Fact::HeldBy { .. }
        | Fact::StillHeld { .. }
        | Fact::HoldEnded { .. } => span(fact),
    };
    let detail = by.into_iter().chain(Some(detail).filter(|d| !d.is_empty()));
    Line {
        at_ns: evidence.at_ns,
        mark,
        held,
        minor: fact.is_minor(),
        label,
        detail: detail.collect::<Vec<_>>().join("; "),
    }
}

/// The line that another question has for it.
fn of_another(evidence: &Evidence<&Fact>, context: &Context<'_>) -> Option<Line> {
    let (n, at_ns) = (evidence.n, evidence.at_ns);
    match evidence.fact {
        Fact::Opening(fact) => Some(fastopen::line(&Evidence { n, at_ns, fact }, context)),
        Fact::Deferral(fact) => {
            Some(defer_accept::line(&Evidence { n, at_ns, fact }, None, context))
        }
        _ => None,
    }
}

/// ACKs that are put off, and what ends a connection or what is known of it.
fn closing(fact: &Fact, context: &Context<'_>) -> (Mark, String, String) {
    match fact {
        Fact::FinIn { skc_state } => {
            let state = skc_state.and_then(state).map_or_else(String::new, |s| format!("in {s}"));
            (Mark::In, "FIN".to_owned(), state)
        }
        Fact::AckPutOff { pingpong, ato_ticks, due_ticks } => (
            Mark::In,
            "ACK put off".to_owned(),
            put_off(*pingpong, *ato_ticks, *due_ticks, context),
        ),
        Fact::CloseCalled { unread_bytes, .. } => {
            let unread = unread_bytes.filter(|unread| *unread > 0);
            let unread = unread.map(|unread| format!("{} unread", bytes(unread.into())));
            (Mark::Out, "close()".to_owned(), unread.unwrap_or_default())
        }
        Fact::AckOut => (Mark::Out, "ACK".to_owned(), "nothing else".to_owned()),
        Fact::ResetOut => (Mark::Out, "RST".to_owned(), String::new()),
        Fact::Reset => word("reset", "one came in, or data that nobody will read"),
        Fact::Minisock { skc_state } => {
            let now = skc_state.and_then(state).map_or_else(String::new, |s| format!("in {s}"));
            (Mark::None, "minisock".to_owned(), now)
        }
        Fact::AckTimerFired => word("delayed-ACK timer fired", "it sends the ACK"),
        Fact::Over { skc_state } => {
            let was = skc_state.and_then(state).map_or_else(String::new, |s| format!("was {s}"));
            (Mark::None, "connection over".to_owned(), was)
        }
        Fact::Gone { .. } => (Mark::None, "socket gone".to_owned(), String::new()),
        Fact::Reused => {
            let label = "socket used again".to_owned();
            (Mark::None, label, "the end of its connection was not seen".to_owned())
        }
        Fact::Lost => {
            let label = "events were lost".to_owned();
            (Mark::None, label, "more may have happened here".to_owned())
        }
        _ => word("", ""),
    }
}

fn word(label: &str, detail: &str) -> (Mark, String, String) {
    (Mark::None, label.to_owned(), detail.to_owned())
}

fn write(fact: &Fact) -> (Mark, String, String) {
    let mut details = Vec::new();
    let label = match fact {
        Fact::Write {
            bytes: size,
            flags: sent,
            given_bytes: given,
            returned,
            waiting_bytes,
            ..
        } => {
            let taken = returned.and_then(|taken| u32::try_from(taken).ok());
            if size.is_none() {
                details.push("size not seen".to_owned());
            } else if let Some(taken) = taken.filter(|taken| Some(*taken) != *size) {
                details.push(format!("end of a call that wrote {}", bytes(taken.into())));
            }
            if let (Some(given), Some(taken)) = (given, taken)
                && *given != taken
            {
                details.push(format!("{} were given", bytes((*given).into())));
            }
            details.extend(sent.map(flags).filter(|flags| !flags.is_empty()));
            details.extend(waits(*waiting_bytes));
            size.map_or_else(|| "write".to_owned(), |size| format!("write {}", bytes(size.into())))
        }
        Fact::WriteReturned { given_bytes: given, returned, .. } => {
            let given = bytes((*given).into());
            match u32::try_from(*returned) {
                Ok(taken) => {
                    details.push(format!("{given} were given"));
                    format!("write call took {}", bytes(taken.into()))
                }
                Err(_negative) => {
                    details.push(error(returned.saturating_neg()));
                    format!("write {given} failed")
                }
            }
        }
        _ => String::new(),
    };
    (Mark::Out, label, details.join("; "))
}

fn waits(waiting_bytes: Option<u32>) -> Option<String> {
    let waiting = waiting_bytes.filter(|waiting| *waiting > 0)?;
    Some(format!("{} unsent", bytes(waiting.into())))
}

fn tried(fact: &Fact) -> String {
    let label = if matches!(fact, Fact::Push { .. }) { "push" } else { "attempt to send" };
    label.to_owned()
}

fn sending(fact: &Fact) -> String {
    let (waiting, values) = match *fact {
        Fact::Push { nonagle, waiting_bytes, packets_out } => {
            (waiting_bytes, [("nonagle", nonagle), ("packets_out", packets_out), ("snd_wnd", None)])
        }
        Fact::Attempt { waiting_bytes, packets_out, snd_cwnd, snd_wnd } => (
            waiting_bytes,
            [("packets_out", packets_out), ("snd_cwnd", snd_cwnd), ("snd_wnd", snd_wnd)],
        ),
        _ => return String::new(),
    };
    let waiting = waiting.map(|waiting| format!("{} unsent", bytes(waiting.into())));
    let values = Some(named(&values)).filter(|values| !values.is_empty());
    waiting.into_iter().chain(values).collect::<Vec<_>>().join("; ")
}

fn left(size: u32, (seq, end_seq): (u32, u32), fin: bool) -> (Mark, String, String) {
    match (size, fin) {
        (0, true) => (Mark::Out, "FIN left".to_owned(), String::new()),
        (_, fin) => {
            let with = if fin { ", with the FIN" } else { "" };
            let label = format!("{} left", bytes(size.into()));
            (Mark::Out, label, format!("seq {seq}..{end_seq}{with}"))
        }
    }
}

/// `ACK 8 B, 78 B of data`.
fn segment(fact: &Fact) -> (Mark, String, String) {
    let Fact::SegmentIn { acked_bytes, ack_seq, acks_fin, data_bytes, syn, fin, released } = fact
    else {
        return (Mark::In, String::new(), String::new());
    };
    let mut labels = Vec::new();
    if *syn {
        labels.push("SYN".to_owned());
    }
    match (*acked_bytes, *acks_fin) {
        (0, false) => {}
        (0, true) => labels.push("ACK of the FIN".to_owned()),
        (acked, false) => labels.push(format!("ACK {}", bytes(acked.into()))),
        (acked, true) => labels.push(format!("ACK {} and the FIN", bytes(acked.into()))),
    }
    if *data_bytes > 0 {
        labels.push(format!("{} of data", bytes((*data_bytes).into())));
    }
    let mut details = Vec::new();
    if labels.is_empty() {
        let label = if *fin { "segment with the FIN" } else { "segment" };
        labels.push(label.to_owned());
        details.push("nothing new acknowledged".to_owned());
    }
    details.extend(ack_seq.map(|ack| format!("up to seq {ack}")));
    if *released {
        details.push("what follows left because of it".to_owned());
    }
    (Mark::In, labels.join(", "), details.join("; "))
}

/// `pingpong, ato 40 ms, due in 40 ms`: why an ACK may wait, and how long it does at most.
pub(in crate::explain) fn put_off(
    pingpong: Option<u32>,
    ato_ticks: Option<u32>,
    due_ticks: Option<u32>,
    context: &Context<'_>,
) -> String {
    let hz = context.facts.hz;
    let mode = pingpong.map(|count| if count > 0 { "pingpong" } else { "not in pingpong" });
    let words = [
        mode.map(str::to_owned),
        ato_ticks.map(|ato| format!("ato {}", ticks(ato, hz))),
        due_ticks.map(|due| format!("due in {}", ticks(due, hz))),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn timer_rule(fact: &Fact, context: &Context<'_>) -> String {
    let Fact::TimerArmed { timer, due_ticks, rto_ticks, srtt_us, packets_out, .. } = *fact else {
        return String::new();
    };
    let fact = nagle::Fact::TimerArmed { timer, due_ticks, rto_ticks, srtt_us, packets_out };
    armed(&fact, context)
}

fn span(fact: &Fact) -> (Mark, String, String) {
    let by = |cause| match cause {
        Held::Undetermined => "held, cause not determined".to_owned(),
        cause => format!("held by {}", short(cause)),
    };
    match fact {
        Fact::HoldBegan { cause, bytes: size, held_ns } => {
            let since = match held_ns {
                0 => String::new(),
                held_ns => format!("; written {} before", duration(*held_ns)),
            };
            (Mark::Begin, by(*cause), format!("{}{since}", bytes((*size).into())))
        }
        Fact::HeldBy { cause, bytes: size } => {
            (Mark::Within, format!("then {}", by(*cause)), bytes((*size).into()))
        }
        Fact::StillHeld { cause, bytes: size, held_ns } => {
            let label = format!("still {}, {}", by(*cause), duration(*held_ns));
            (Mark::Within, label, bytes((*size).into()))
        }
        Fact::HoldEnded { .. } => hold_ended(fact),
        _ => (Mark::Within, String::new(), String::new()),
    }
}

/// `left: probe timer, 226.9 ms`.
fn hold_ended(fact: &Fact) -> (Mark, String, String) {
    let Fact::HoldEnded { bytes: size, written_bytes, held_ns, causes, release, certainty } = fact
    else {
        return (Mark::End, String::new(), String::new());
    };
    let waited = duration(*held_ns);
    if let [only] = causes.as_slice()
        && only.held.is_sleep()
    {
        let detail = format!("{}; {}", bytes((*size).into()), released_by(*release));
        return (Mark::None, format!("writer slept {waited}"), detail);
    }
    let label = match release {
        nagle::Release::Discarded => format!("discarded: never left, {waited}"),
        nagle::Release::Undetermined => format!("left: release not determined, {waited}"),
        release => format!("left: {}, {waited}", released_by(*release)),
    };
    let size = match written_bytes {
        Some(written) if written > size => format!("{size} of {}", bytes((*written).into())),
        _ => bytes((*size).into()),
    };
    let merged = merged(causes);
    let causes = match merged.as_slice() {
        [] | [_] => String::new(),
        parts => {
            let part = |p: &nagle::Part| format!("{} {}", duration(p.held_ns), short(p.held));
            format!("; {}", parts.iter().map(part).collect::<Vec<_>>().join(", then "))
        }
    };
    let may = if *certainty == Certainty::May { "; may be otherwise" } else { "" };
    (Mark::End, label, format!("{size}{causes}{may}"))
}

fn set(option: Option<&str>, optname: u32, value: Option<bool>) -> (Mark, String, String) {
    let name = option.map_or_else(|| format!("TCP option {optname}"), str::to_owned);
    let (what, unseen) = match value {
        Some(true) => ("set", ""),
        Some(false) => ("cleared", ""),
        None => ("changed", "new value not seen"),
    };
    (Mark::None, format!("{name} {what}"), unseen.to_owned())
}

const fn no_room(cause: Held) -> &'static str {
    match cause {
        Held::SendBuffer => "the send buffer is full",
        Held::NotsentLowat => "as much waits as TCP_NOTSENT_LOWAT allows",
        _ => "not connected yet",
    }
}

//! The lines of a deferral's evidence.

use tcptrace_common::tcp::{TCPHDR_ACK, TCPHDR_FIN, TCPHDR_RST, TCPHDR_SYN};

use crate::{
    analysis::defer_accept::{Fact, Trigger},
    explain::{
        Context, Line, Mark, task,
        units::{bytes, counted},
    },
    finding::Evidence,
};

/// The line of a fact; `periods` is for how many the listener deferred, where that is known.
pub(in crate::explain) fn line(
    evidence: &Evidence<&Fact>,
    periods: Option<u32>,
    context: &Context<'_>,
) -> Line {
    let (mark, label, detail) = match evidence.fact {
        Fact::SynIn
        | Fact::AckDropped { .. }
        | Fact::Promoted { .. }
        | Fact::AcceptQueueFull { .. }
        | Fact::ResetIn { .. }
        | Fact::IcmpIn { .. }
        | Fact::Ignored { .. }
        | Fact::DataIn
        | Fact::AckPutOff => {
            let (label, detail) = came(evidence.fact);
            (Mark::In, label, detail)
        }
        Fact::SynAckAgain { .. } | Fact::AckSent { .. } => {
            let (label, detail) = left(evidence.fact, periods);
            (Mark::Out, label, detail)
        }
        fact => {
            let (label, detail) = happened(fact, periods, context);
            (Mark::None, label, detail)
        }
    };
    Line { at_ns: evidence.at_ns, mark, held: false, minor: false, label, detail }
}

fn came(fact: &Fact) -> (String, String) {
    let (label, detail) = match fact {
        Fact::SynIn => ("SYN in", "a SYN-ACK answers it".to_owned()),
        Fact::AckDropped { first: true } => (
            "ACK dropped",
            "deferred, not loss: no data with it. The client believes it is connected".to_owned(),
        ),
        Fact::AckDropped { first: false } => {
            ("ACK dropped", "again, deferred, not loss: no data with it".to_owned())
        }
        Fact::Promoted { bytes: data, fin, queued, backlog } => {
            let queue = queued.zip(*backlog).map_or_else(String::new, |(queued, backlog)| {
                format!("; accept queue {queued} of {backlog}")
            });
            let (label, detail) = match (data, fin) {
                (0, true) => ("FIN in", "promoted: the client has closed"),
                (0, false) => ("ACK accepted", "promoted without data"),
                _ => {
                    let fin = if *fin { " and a FIN" } else { "" };
                    let detail = format!("{}{fin}: promoted{queue}", bytes((*data).into()));
                    return ("data in".to_owned(), detail);
                }
            };
            (label, format!("{detail}{queue}"))
        }
        Fact::AcceptQueueFull { bytes: data } => {
            let lost = match data {
                0 => String::new(),
                data => format!("; the {} in it are dropped", bytes((*data).into())),
            };
            ("not promoted", format!("the accept queue is full{lost}"))
        }
        Fact::ResetIn { taken: true } => ("RST in", "the request is dropped".to_owned()),
        Fact::ResetIn { taken: false } => {
            ("RST in", "not taken: its sequence number is not the one expected".to_owned())
        }
        Fact::IcmpIn { fits: true } => {
            ("ICMP in", "the client cannot be reached: quotes the SYN-ACK".to_owned())
        }
        Fact::IcmpIn { fits: false } => ("ICMP in", "not taken".to_owned()),
        Fact::Ignored { flags } => ("segment in", format!("not taken: {}", named(*flags))),
        Fact::DataIn => ("first data in", String::new()),
        _ => ("SYN-ACK in", "its ACK is put off: this socket has set TCP_DEFER_ACCEPT".to_owned()),
    };
    (label.to_owned(), detail)
}

fn left(fact: &Fact, periods: Option<u32>) -> (String, String) {
    let detail = match fact {
        Fact::SynAckAgain { by: Trigger::Segment, .. } => "the SYN came again".to_owned(),
        Fact::SynAckAgain { period, deferred: true, repeated, .. } => {
            let of = period.zip(periods).filter(|(period, of)| period <= of);
            let of = of.map_or_else(String::new, |(period, of)| format!(" ({period} of {of})"));
            if *repeated {
                format!("deferred, not loss of it: nobody has answered the one before{of}")
            } else {
                format!("deferred, not loss: asks for the ACK once more{of}")
            }
        }
        Fact::SynAckAgain { .. } => {
            "no ACK has come: the answer to it was lost, or it was".to_owned()
        }
        Fact::AckSent { by: Trigger::Data } => {
            return ("ACK out".to_owned(), "with data".to_owned());
        }
        _ => return ("ACK out".to_owned(), "by the delayed-ACK timer".to_owned()),
    };
    ("SYN-ACK again".to_owned(), detail)
}

fn happened(fact: &Fact, periods: Option<u32>, context: &Context<'_>) -> (String, String) {
    let (label, detail) = match fact {
        Fact::OptionSet { seconds, periods, task: who } => {
            let asked = seconds.map_or_else(String::new, |seconds| format!(" to {seconds} s"));
            let periods = counted((*periods).into(), "period", "periods");
            return (
                "sets the option".to_owned(),
                format!("{}: TCP_DEFER_ACCEPT{asked}, {periods}", task(*who, context.comms)),
            );
        }
        Fact::Listens { backlog, task: who } => {
            let backlog =
                backlog.map_or_else(String::new, |backlog| format!("; backlog {backlog}"));
            ("listens", format!("{}{backlog}", task(*who, context.comms)))
        }
        Fact::MetMidway { periods_over } => (
            "met midway",
            match periods_over {
                0 => "its SYN came before the start".to_owned(),
                over => format!(
                    "its SYN came before the start: {} over",
                    counted((*over).into(), "period is", "periods are")
                ),
            },
        ),
        Fact::Timer { period, acked: true } if periods.is_some_and(|of| *period <= of) => {
            ("timer", format!("SYN-ACK not repeated ({period} of {})", periods.unwrap_or_default()))
        }
        Fact::Timer { .. } => ("timer", "SYN-ACK not repeated".to_owned()),
        Fact::Changed { from, to } => {
            ("option changed", format!("TCP_DEFER_ACCEPT from {from} to {to} periods"))
        }
        Fact::NotDeferred { syn_cookie: true } => {
            ("not deferred", "its SYN was answered by a SYN cookie".to_owned())
        }
        Fact::NotDeferred { syn_cookie: false } => {
            ("not deferred", "Fast Open accepted it at the SYN".to_owned())
        }
        Fact::Migrated => (
            "request moved",
            "its listener was closed; another one of the SO_REUSEPORT group has it".to_owned(),
        ),
        Fact::Dropped { listener_closed: true } => {
            ("request dropped", "its listener is closed".to_owned())
        }
        Fact::Dropped { listener_closed: false } => ("request dropped", String::new()),
        Fact::Accepted { task: who } => {
            return (
                format!("{} woken", task(*who, context.comms)),
                "accept() returned".to_owned(),
            );
        }
        Fact::Gone => ("socket gone", String::new()),
        _ => ("events were lost", "more may have happened here".to_owned()),
    };
    (label.to_owned(), detail)
}

/// `SYN, ACK`.
fn named(flags: u32) -> String {
    let known =
        [(TCPHDR_SYN, "SYN"), (TCPHDR_FIN, "FIN"), (TCPHDR_RST, "RST"), (TCPHDR_ACK, "ACK")];
    let set: Vec<&str> =
        known.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "no flags".to_owned() } else { set.join(", ") }
}

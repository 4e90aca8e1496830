//! The lines of a teardown's evidence.

use crate::{
    analysis::close::{Closed, Fact},
    explain::{
        Context, Line, Mark,
        nagle::{failure, pending, short, timer_name},
        task,
        timeline::{put_off, state},
        units::bytes,
    },
    finding::Evidence,
};

pub(super) fn line(evidence: &Evidence<&Fact>, context: &Context<'_>) -> Line {
    let (mark, label, detail) = match evidence.fact {
        Fact::FinIn { .. }
        | Fact::FinInAgain
        | Fact::AckPutOff { .. }
        | Fact::SegmentIn { .. }
        | Fact::ResetIn
        | Fact::SynIn => (Mark::In, came(evidence.fact), came_how(evidence.fact, context)),
        Fact::CloseCalled { .. }
        | Fact::Disconnected { .. }
        | Fact::FinQueued { .. }
        | Fact::FinOut { .. }
        | Fact::AckOut { .. }
        | Fact::DataOut { .. }
        | Fact::ResetOut => (Mark::Out, went(evidence.fact), went_how(evidence.fact, context)),
        fact => {
            let (label, detail) = happened(fact);
            (Mark::None, label, detail)
        }
    };
    Line { at_ns: evidence.at_ns, mark, held: false, minor: false, label, detail }
}

/// What came in, or concerns what did.
fn came(fact: &Fact) -> String {
    let label = match fact {
        Fact::FinIn { .. } => "FIN in",
        Fact::FinInAgain => "FIN in again",
        Fact::AckPutOff { .. } => "ACK put off",
        Fact::SegmentIn { bytes: 0, acks_fin: true } => "ACK in",
        Fact::SegmentIn { bytes: 0, .. } => "segment in",
        Fact::SegmentIn { bytes: data, .. } => return format!("{} in", bytes((*data).into())),
        Fact::SynIn => "SYN in",
        _ => "RST in",
    };
    label.to_owned()
}

fn came_how(fact: &Fact, context: &Context<'_>) -> String {
    let words = match fact {
        Fact::FinIn { skc_state, acks_fin } => {
            let was = skc_state.and_then(state).map(|was| format!("was {was}"));
            return joined([was, acks_fin.then(|| "it carries the ACK of ours".to_owned())]);
        }
        Fact::AckPutOff { pingpong, ato_ticks, due_ticks } => {
            return put_off(*pingpong, *ato_ticks, *due_ticks, context);
        }
        Fact::SegmentIn { acks_fin: true, bytes: 0 } => "of our FIN",
        Fact::SegmentIn { acks_fin: true, .. } => "with the ACK of our FIN",
        Fact::SegmentIn { .. } => "after our FIN",
        Fact::SynIn => "of a new connection",
        _ => "",
    };
    words.to_owned()
}

/// What this end did.
fn went(fact: &Fact) -> String {
    let label = match fact {
        Fact::CloseCalled { .. } => "close()",
        Fact::Disconnected { accepted: true, .. } => "connect()",
        Fact::Disconnected { .. } => "listener closed",
        Fact::FinQueued { .. } => "FIN queued",
        Fact::FinOut { again: true, .. } => "FIN out again",
        Fact::FinOut { carries_ack: true, .. } => "FIN+ACK out",
        Fact::FinOut { .. } => "FIN out",
        Fact::AckOut { .. } => "ACK out",
        Fact::DataOut { bytes: data, .. } => return format!("{} out", bytes((*data).into())),
        _ => "RST out",
    };
    label.to_owned()
}

fn went_how(fact: &Fact, context: &Context<'_>) -> String {
    let some = |size: &u32| Some(*size).filter(|size| *size > 0);
    let owed =
        |carries: &bool| carries.then(|| "an ACK was owed: this segment carries it".to_owned());
    match fact {
        Fact::CloseCalled { unread_bytes, linger_zero, task: closer } => {
            let unread = unread_bytes.as_ref().and_then(some);
            joined([
                Some(task(*closer, context.comms)),
                unread.map(|unread| format!("{} unread", bytes(unread.into()))),
                linger_zero.then(|| "SO_LINGER with no time".to_owned()),
            ])
        }
        Fact::Disconnected { accepted, task: closer } => {
            let how = if *accepted { "with no address (AF_UNSPEC)" } else { "before accept()" };
            joined([Some(task(*closer, context.comms)), Some(how.to_owned())])
        }
        Fact::FinQueued { by, unsent_bytes, task: closer } => {
            let unsent = unsent_bytes.as_ref().and_then(some);
            let by_shutdown = *by == Closed::Shutdown;
            joined([
                by_shutdown.then(|| format!("shutdown() by {}", task(*closer, context.comms))),
                unsent.map(|unsent| format!("behind {} that had not left", bytes(unsent.into()))),
            ])
        }
        Fact::FinOut { bytes: data, carries_ack, .. } => {
            let with = some(data).map(|data| format!("with {}", bytes(data.into())));
            joined([with, owed(carries_ack)])
        }
        Fact::AckOut { again: true } => "once more".to_owned(),
        Fact::AckOut { .. } => "of the peer's FIN".to_owned(),
        Fact::DataOut { carries_ack, .. } => joined([owed(carries_ack)]),
        _ => String::new(),
    }
}

/// What happened to the socket.
fn happened(fact: &Fact) -> (String, String) {
    let in_state = |skc_state: u32| state(skc_state).map(|s| format!("in {s}")).unwrap_or_default();
    let (label, detail) = match fact {
        Fact::AckTimerFired => ("delayed-ACK timer", "it sends the ACK".to_owned()),
        Fact::FinHeld { cause } => ("FIN held", short(*cause).to_owned()),
        Fact::TimerFired { timer } => {
            let detail = format!("icsk_pending={}", pending(*timer));
            return (format!("{} fired", timer_name(*timer)), detail);
        }
        Fact::TransmitFailed { returned } => ("transmit failed", failure(*returned)),
        Fact::Minisock { skc_state } => ("minisock", in_state(*skc_state)),
        Fact::MinisockGone => ("minisock gone", "its time is over".to_owned()),
        Fact::Over { skc_state } => {
            let was = skc_state.and_then(state).map(|s| format!("was {s}"));
            ("connection over", was.unwrap_or_default())
        }
        _ => ("events were lost", "more may have happened here".to_owned()),
    };
    (label.to_owned(), detail)
}

fn joined<const N: usize>(words: [Option<String>; N]) -> String {
    words.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

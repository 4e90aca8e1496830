//! The names of things, and the sentence about all teardowns.

use std::borrow::Cow;

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        close::{Reason, Shape, Side, Teardown},
    },
    explain::{
        Name, Place, Shape as Layout, Totals, Words, names_of_both,
        units::{count, counted, limit},
    },
    finding::{Finding, Task},
};

pub(in crate::explain) const WORDS: Words = Words {
    question: "close",
    about: "what shape each close had, and why",
    manual: "\
What shape the end of each connection had, and why.

Each teardown is one finding: who closed first, how many segments it took and why. A FIN that leaves while the ACK of the \
peer's FIN is still owed carries it: three segments. Four take it when the ACK left before, for instance by the \
delayed-ACK timer. A reset in place of a FIN has its reason: unread data, SO_LINGER, data after close(). A socket that the \
peer has closed and the program has not is told at the end of the run. What the evidence does not tell is called not \
determined, never guessed; a finding across lost events, or of a connection that was closing already, says so.

A connection that is not closing costs one look at its state for each segment. What is left of a closed socket, a minisock \
in TIME-WAIT or FIN-WAIT-2, is followed; a teardown that ends in TIME-WAIT is told a second later, because the peer's FIN \
may come again.

The evidence stands below each verdict, in milliseconds from the first event. Names such as pingpong and ato are the \
kernel's own.",
    one: "close",
    many: "closes",
    total_ns: "closing_total_ns",
    columns: &["shape", "why", "first"],
    headline,
    innocent: |_, _| None,
    shape: Layout::Story,
    causes,
    releases: Vec::new,
    least: "--min-duration",
    sized: false,
    asks: true,
};

/// Nobody, where nobody has closed this end.
const NOBODY: Task = Task { pid: 0, tid: 0 };

/// The shapes, then the reasons; what is both stands once.
fn causes() -> Vec<Name> {
    names_of_both::<Shape, Reason>()
}

pub(in crate::explain) fn place(finding: &Finding<Cause, AnyFact>, it: &Teardown) -> Place {
    let first = match it.side {
        Side::Active => "this end",
        Side::Passive => "peer",
        Side::Both => "both",
        Side::Undetermined => "not determined",
    };
    // A close in good order that took no time is nobody's concern; everything else is.
    let orderly = matches!(
        it.shape,
        Shape::Merged | Shape::Separate | Shape::AckOnData | Shape::Simultaneous | Shape::HalfClose
    );
    Place {
        task: it.task().unwrap_or(NOBODY),
        columns: [short(it), brief(it.reason), first].map(Cow::Borrowed).into_iter().collect(),
        bytes: 0,
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
        usual: false,
        always: !orderly || !it.marks.is_empty(),
    }
}

const fn short(it: &Teardown) -> &'static str {
    match it.shape {
        Shape::Merged => "3 segments",
        Shape::Separate => "4 segments",
        Shape::AckOnData => "ACK on data",
        Shape::Simultaneous => "simultaneous",
        Shape::HalfClose => "half-close",
        Shape::ResetSent => "our reset",
        Shape::ResetReceived => "peer's reset",
        Shape::TimedOut => "given up",
        Shape::NeverEstablished => "no connection",
        Shape::Open => match it.reason {
            Reason::NotClosed => "in CLOSE-WAIT",
            _ => "still closing",
        },
        Shape::Undetermined => "not determined",
    }
}

/// The reason in a column.
const fn brief(reason: Reason) -> &'static str {
    match reason {
        Reason::AckPending => "ACK pending",
        Reason::AckTimer => "ACK timer",
        Reason::NoDataReceived => "no data received",
        Reason::DataAfterFin => "data after FIN",
        Reason::FinWait => "FIN met FIN",
        Reason::DataAfterClose => "data after close",
        Reason::Peer => "peer",
        Reason::NotClosed => "not closed",
        other => why(other),
    }
}

/// A few words for the reason.
pub(super) const fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::AckPending => "closed before the ACK left",
        Reason::AckTimer => "the delayed ACK came before close()",
        Reason::QuickAck => "TCP_QUICKACK",
        Reason::RouteQuickack => "route quickack",
        Reason::NoDataReceived => "no data was received",
        Reason::DataAfterFin => "data after the FIN",
        Reason::WindowUpdate => "window update",
        Reason::FinWait => "the FIN met a FIN",
        Reason::UnreadData => "unread data",
        Reason::LingerZero => "SO_LINGER 0",
        Reason::Linger2 => "TCP_LINGER2",
        Reason::DataAfterClose => "data after close()",
        Reason::Disconnected => "disconnected",
        Reason::NotAccepted => "never accepted",
        Reason::Aborted => "aborted",
        Reason::OrphanLimit => "orphan limit",
        Reason::NoAnswer => "no answer",
        Reason::FinTimeout => "no FIN in time",
        Reason::Peer => "the peer's doing",
        Reason::NotClosed => "the program has not closed",
        Reason::UnderWay => "under way",
        Reason::Undetermined => "not determined",
    }
}

/// `passive close`.
pub(super) const fn side(side: Side) -> &'static str {
    match side {
        Side::Active => "active close",
        Side::Passive => "passive close",
        Side::Both => "close from both ends",
        Side::Undetermined => "close",
    }
}

/// `3 segments`.
pub(super) fn segments(many: u32) -> String {
    counted(many.into(), "segment", "segments")
}

pub(super) fn headline(totals: &Totals) -> String {
    let sockets = counted(totals.sockets_found, "socket", "sockets");
    match totals {
        Totals { findings: 0, lost: true, .. } => {
            "no close was seen, but events were lost: that proves nothing.".to_owned()
        }
        Totals { findings: 0, .. } => "no connection was closed.".to_owned(),
        Totals { findings, below_limit, .. } => {
            let shorter = match below_limit {
                0 => String::new(),
                many => format!(
                    "; {} not printed, in good order and shorter than {}",
                    count(*many),
                    limit(totals.limit_ns)
                ),
            };
            format!("{} on {sockets}{shorter}", counted(*findings, "close", "closes"))
        }
    }
}

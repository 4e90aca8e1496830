//! The names of things, and the sentence about all connections.

use smallvec::smallvec;

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        defer_accept::{Deferral, Outcome, Side},
    },
    explain::{
        Place, Shape as Layout, Totals, Words, names_of,
        units::{count, counted, duration},
    },
    finding::{Finding, Task},
    joined::Listened,
};

pub(in crate::explain) const WORDS: Words = Words {
    question: "defer-accept",
    about: "what TCP_DEFER_ACCEPT did to each connection",
    manual: "\
What TCP_DEFER_ACCEPT did to each connection.

A listener with the option gets a connection from accept() only when data has come. The seconds that are asked for become \
timer periods of 1, 2, 4 and so on seconds, rounded up: 10 s are 4 periods, which are 15 s. Each listener that sets the option is \
one finding, and so is each that has it at the start; each connection to one is another.

Of a connection is told: the SYN, the bare ACK that was dropped, each period of the timer, each SYN-ACK that was sent again (the \
deferral, not loss), what made it ready for accept() or dropped it, and accept() itself. The client takes itself for connected from \
its own ACK on; how long accept() waited after that is held_ns. No time is computed where an event tells it: TCP_SYNCNT, \
TCP_RTO_MAX_MS and a change of the option on a listener alter them.

What the evidence does not tell is called not determined, never guessed; a finding across lost events, or of a connection \
whose SYN came before the start, says so. Connections that were held for less than --min-duration are counted and not printed. \
With --pid and --comm a listener is known from its first accept() on.

The evidence stands below each verdict, in milliseconds from the first event.",
    one: "defer",
    many: "connections",
    total_ns: "deferred_total_ns",
    columns: &["listener", "outcome"],
    headline,
    innocent: |_, _| None,
    shape: Layout::Story,
    causes: names_of::<Outcome>,
    releases: Vec::new,
    least: "--min-duration",
    sized: false,
    asks: true,
};

/// The connections to each listener, the first row being headings.
pub(in crate::explain) fn listeners(rows: &[Listened]) -> Vec<Vec<String>> {
    if rows.is_empty() {
        return Vec::new();
    }
    let heads = [
        "listener",
        "deferred",
        "data came",
        "promoted empty",
        "dropped",
        "held",
        "not deferred",
        "wait p50",
        "p99",
        "max",
    ];
    let one = |row: &Listened| {
        let numbers = [
            row.deferred,
            row.data_came,
            row.promoted_empty,
            row.dropped,
            row.held,
            row.not_deferred,
        ];
        let times = [row.held_p50_ns, row.held_p99_ns, row.held_max_ns];
        let time = |ns| if row.deferred == 0 { "-".to_owned() } else { duration(ns) };
        [row.listener.to_string()]
            .into_iter()
            .chain(numbers.map(count))
            .chain(times.map(time))
            .collect()
    };
    [heads.map(str::to_owned).to_vec()].into_iter().chain(rows.iter().map(one)).collect()
}

/// Nobody, where nobody was seen.
const NOBODY: Task = Task { pid: 0, tid: 0 };

pub(in crate::explain) fn place(_finding: &Finding<Cause, AnyFact>, it: &Deferral) -> Place {
    let listener = match (it.side, it.listener) {
        (Side::Server, Some(address)) => address.to_string(),
        (Side::Listener, _) => "itself".to_owned(),
        _ => "-".to_owned(),
    };
    Place {
        task: it.task.unwrap_or(NOBODY),
        columns: smallvec![listener.into(), outcome(it.outcome).into()],
        bytes: 0,
        lasted_ns: it.held_ns.unwrap_or(0),
        usual: false,
        always: !matches!(it.outcome, Outcome::Data | Outcome::Fin | Outcome::NeverHeld),
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Set => "option set",
        Outcome::Found => "option found",
        Outcome::Data => "data came",
        Outcome::Fin => "closed without data",
        Outcome::Deadline => "promoted empty",
        Outcome::SwitchedOff => "option switched off",
        Outcome::ClientReset => "reset by the client",
        Outcome::Unanswered => "unanswered",
        Outcome::ListenerClosed => "listener closed",
        Outcome::Icmp => "unreachable (ICMP)",
        Outcome::QueueFull => "accept queue full",
        Outcome::SynCookie => "not deferred: SYN cookie",
        Outcome::Fastopen => "not deferred: Fast Open",
        Outcome::NeverHeld => "never held",
        Outcome::Held => "held at the end",
        Outcome::UnderWay => "no ACK at the end",
        Outcome::Withheld => "own ACK put off",
        Outcome::Undetermined => "not determined",
    }
}

fn headline(totals: &Totals) -> String {
    let sockets = counted(totals.sockets_found, "socket", "sockets");
    match totals {
        Totals { findings: 0, lost: true, .. } => {
            "nothing that concerns TCP_DEFER_ACCEPT was seen, but events were lost: that proves nothing."
                .to_owned()
        }
        Totals { findings: 0, .. } => "no listener with TCP_DEFER_ACCEPT was seen.".to_owned(),
        Totals { findings, .. } => {
            format!("{} of TCP_DEFER_ACCEPT on {sockets}", counted(*findings, "finding", "findings"))
        }
    }
}

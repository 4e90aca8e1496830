//! The names of things, and the sentence about all holds.

use smallvec::{SmallVec, smallvec};
use tcptrace_common::tcp::{
    ICSK_TIME_LOSS_PROBE, ICSK_TIME_PROBE0, ICSK_TIME_REO_TIMEOUT, ICSK_TIME_RETRANS,
};

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        nagle::{Held, Hold, Number, Part, Pattern, Release, Shape as Writes, Small, Timer},
    },
    explain::{
        Place, Shape, Slowest, Totals, Words, names_of, printable,
        units::{count, counted, duration, limit},
    },
    finding::Finding,
};

/// Nanoseconds.
const MILLI: u64 = 1_000_000;

pub(in crate::explain) const WORDS: Words = Words {
    question: "nagle",
    about: "why written bytes waited, and what let them go",
    manual: "\
Why written bytes waited in this host's TCP, and what let them go.

Each hold is one finding: how many bytes waited, how long, what held them (Nagle's algorithm, TCP_CORK, \
MSG_MORE, a window, pacing, the device and the like) and what released them. A hold starts when a write leaves bytes waiting on a socket that had none waiting, and ends \
when the last byte of that write has left, or never will. What the evidence does not tell is called not determined, \
never guessed; a finding across lost events says \"may\". A tail is what was left after whole segments of the same \
write.

The evidence stands below each verdict, in milliseconds from the write. Names such as nonagle, packets_out and \
icsk_pending are the kernel's own. Sequence numbers count from the first byte seen on the socket. No byte of what was \
written is read, shown or stored.",
    one: "hold",
    many: "holds",
    total_ns: "held_total_ns",
    columns: &["cause", "released by"],
    headline,
    innocent,
    shape: Shape::Story,
    causes: names_of::<Held>,
    releases: names_of::<Release>,
    least: "--min-hold",
    sized: true,
    asks: true,
};

pub(in crate::explain) fn place(finding: &Finding<Cause, AnyFact>, hold: &Hold) -> Place {
    let mut causes: SmallVec<[&'static str; 4]> = SmallVec::new();
    for word in hold.parts.iter().map(|part| short(part.held)) {
        if !causes.contains(&word) {
            causes.push(word);
        }
    }
    let causes = match causes.as_slice() {
        [] => short(Held::Undetermined).into(),
        [one] => (*one).into(),
        several => several.join("+").into(),
    };
    Place {
        task: hold.writer,
        columns: smallvec![causes, released_by(hold.release).into()],
        bytes: u64::from(hold.bytes),
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
        usual: hold.is_usual(),
        always: false,
    }
}

pub(super) fn headline(totals: &Totals) -> String {
    let sockets = match totals.sockets_seen {
        Some(seen) => {
            format!("{} of {}", count(totals.sockets_found), counted(seen, "socket", "sockets"))
        }
        None => counted(totals.sockets_found, "socket", "sockets"),
    };
    match totals {
        Totals { findings: 0, lost: true, .. } => {
            "no hold was seen, but events were lost: that proves nothing.".to_owned()
        }
        Totals { findings: 0, narrowed: true, .. } => "no hold was one of these.".to_owned(),
        Totals { findings: 0, writes: None, .. } => {
            "no hold began. Writes that left at once are not counted.".to_owned()
        }
        Totals { findings: 0, writes: Some(0), .. } => {
            "no byte waited; no write was seen.".to_owned()
        }
        Totals { findings: 0, writes: Some(writes), .. } => {
            let writes = counted(*writes, "write", "writes");
            let on = totals.sockets_seen.map_or_else(String::new, |sockets| {
                format!(" on {}", counted(sockets, "socket", "sockets"))
            });
            format!("no byte waited: {writes}{on} left at once.")
        }
        Totals { findings, below_limit, .. }
            if findings == below_limit && totals.longest_ns < totals.limit_ns =>
        {
            format!(
                "no byte {} {} or longer; {} on {sockets}, the longest {}",
                if totals.lost { "was seen to wait" } else { "waited" },
                limit(totals.limit_ns),
                counted(*findings, "shorter hold", "shorter holds"),
                duration(totals.longest_ns),
            )
        }
        Totals { findings, below_limit, .. } => {
            let shorter = match below_limit {
                0 => String::new(),
                _ => format!("; {} not printed, {}", count(*below_limit), shorter_than(totals)),
            };
            format!(
                "{} on {sockets}, {} of waiting in all{shorter}",
                counted(*findings, "hold", "holds"),
                duration(totals.total_ns),
            )
        }
    }
}

/// Where no hold is worth a line, what was slow was the program.
fn innocent(totals: &Totals, slowest: &Slowest<'_>) -> Option<String> {
    let held = totals.findings > totals.below_limit || totals.lost || totals.narrowed;
    (!held && slowest.took_ns >= MILLI).then(|| {
        format!(
            "slowest reply: {}[{}] wrote it {} after the request had come in. That time passed in the program.",
            printable(slowest.comm),
            slowest.task.pid,
            duration(slowest.took_ns)
        )
    })
}

/// `write, write, read: 19 of 20 requests paid, 42.6 ms each at the median.`
pub(in crate::explain) fn pattern(pattern: &Pattern) -> String {
    let Pattern { name, paid, requests, median_ns } = pattern;
    let name = match name {
        Writes::WriteWriteRead => "write, write, read",
        Writes::HeaderBody => "header, then body, read",
        Writes::Tail => "a write just over whole segments, read",
    };
    format!(
        "{name}: {} of {} paid, {} each at the median.",
        count(*paid),
        counted(*requests, "request", "requests"),
        duration(*median_ns)
    )
}

/// `shorter than 1 ms`, and the other limit where there is one.
fn shorter_than(totals: &Totals) -> String {
    let any = limit(totals.limit_ns);
    if totals.usual_limit_ns > totals.limit_ns {
        let usual = limit(totals.usual_limit_ns);
        return format!("shorter than {any}, or than {usual} by a window, pacing or the device");
    }
    format!("shorter than {any}")
}

/// A word for tables.
pub(in crate::explain) const fn short(held: Held) -> &'static str {
    match held {
        Held::Nagle => "Nagle",
        Held::Cork => "cork",
        Held::MsgMore => "MSG_MORE",
        Held::Autocork => "autocork",
        Held::Cwnd => "cwnd",
        Held::PeerWindow => "peer window",
        Held::ZeroWindow => "zero window",
        Held::Pacing => "pacing",
        Held::Tsq => "TSQ",
        Held::TsoDefer => "TSO deferral",
        Held::TransmitFailed => "transmit failed",
        Held::NotEstablished => "not established",
        Held::SendBuffer => "send buffer",
        Held::NotsentLowat => "TCP_NOTSENT_LOWAT",
        Held::Undetermined => "not determined",
    }
}

/// A word for sentences.
pub(super) const fn long(held: Held) -> &'static str {
    match held {
        Held::Nagle => "Nagle",
        Held::Cork => "TCP_CORK",
        Held::MsgMore => "MSG_MORE",
        Held::Autocork => "autocorking",
        Held::Cwnd => "the congestion window",
        Held::PeerWindow => "peer window too small",
        Held::ZeroWindow => "peer window closed",
        Held::Pacing => "pacing",
        Held::Tsq => "TCP small queues",
        Held::TsoDefer => "TSO deferral",
        Held::TransmitFailed => "after a failed transmission",
        Held::NotEstablished => "not established",
        Held::SendBuffer => "a full send buffer",
        Held::NotsentLowat => "TCP_NOTSENT_LOWAT",
        Held::Undetermined => "not determined",
    }
}

pub(in crate::explain) const fn released_by(release: Release) -> &'static str {
    match release {
        Release::Ack => "ACK",
        Release::WindowUpdate => "window update",
        Release::MoreData => "more data",
        Release::Push => "push",
        Release::UrgentData => "urgent data",
        Release::Nodelay => "TCP_NODELAY",
        Release::Uncork => "uncork",
        Release::ProbeTimer => "probe timer",
        Release::LossProbe => "loss probe",
        Release::Fin => "FIN",
        Release::Tsq => "TSQ",
        Release::PacingTimer => "pacing timer",
        Release::Discarded => "discarded",
        Release::GivenUp => "given up",
        Release::StillHeld => "still held",
        Release::Undetermined => "not determined",
    }
}

/// Neighbours with the same cause are one part.
pub(in crate::explain) fn merged(parts: &[Part]) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        match out.last_mut() {
            Some(last) if last.held == part.held => {
                last.held_ns = last.held_ns.saturating_add(part.held_ns);
            }
            _ => out.push(*part),
        }
    }
    if out.is_empty() {
        out.push(Part::of(Held::Undetermined, 0));
    }
    out
}

pub(in crate::explain) const fn timer_name(timer: Timer) -> &'static str {
    match timer {
        Timer::Probe => "probe timer",
        Timer::LossProbe => "loss probe",
        Timer::Retransmit => "RTO timer",
    }
}

/// `nonagle=2 packets_out=0 icsk_pending=PROBE0`, by the kernel's own names; what is not known is left out.
pub(super) fn state(
    nonagle: Option<Small>,
    packets_out: Option<Number>,
    icsk_pending: Option<Small>,
) -> String {
    let packets_out = packets_out.map(Number::get);
    let mut words = named(&[("nonagle", nonagle.map(Small::get)), ("packets_out", packets_out)]);
    if let Some(timer) = icsk_pending.map(Small::get) {
        let name = match timer {
            ICSK_TIME_RETRANS => "RETRANS".to_owned(),
            ICSK_TIME_PROBE0 => "PROBE0".to_owned(),
            ICSK_TIME_LOSS_PROBE => "LOSS_PROBE".to_owned(),
            ICSK_TIME_REO_TIMEOUT => "REO_TIMEOUT".to_owned(),
            other => other.to_string(),
        };
        let space = if words.is_empty() { "" } else { " " };
        words.extend([space, "icsk_pending=", &name]);
    }
    words
}

/// `nonagle=2 packets_out=0`, of what was read.
pub(in crate::explain) fn named(values: &[(&str, Option<u32>)]) -> String {
    let known =
        values.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}")));
    known.collect::<Vec<_>>().join(" ")
}

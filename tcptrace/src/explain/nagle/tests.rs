//! Every sentence of `nagle`: a variant without one does not pass.

use std::collections::BTreeMap;

use smallvec::{SmallVec, smallvec};

use super::words::headline;
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        nagle::{
            Fact, Held, Hold, Known, Limit, Number, Part, Pattern, PeerAck, Release, Shape, Small,
            Timer, Way, Write,
        },
    },
    event::{Facts, SocketId},
    explain::{Context, Explanation, Slowest, Totals},
    finding::{Certainty, Evidence, Finding, Task},
};

const WRITER: Task = Task { pid: 2211, tid: 2211 };
const MS: u64 = 1_000_000;

fn hold(held: Held, release: Release) -> Hold {
    Hold {
        writer: WRITER,
        bytes: 8,
        written_bytes: Some(8),
        way: Some(Way::Call),
        tail: false,
        packets_out: Some(1),
        parts: smallvec![Part::of(held, 42 * MS)],
        release,
        writes: smallvec![Write { bytes: 8, at_ns: 0, held_ns: 42 * MS }],
        writes_left_out: 0,
        nodelay_seen: false,
        turn: 0,
        part: 0,
        from_start: true,
        peer_ack: None,
        pattern: None,
    }
}

fn ack(acked_bytes: u32, data_bytes: u32, since_segment_ns: Option<u64>) -> Fact {
    Fact::Ack {
        acked_bytes,
        data_bytes,
        srtt_us: Number::new(1_100),
        rtt_min_us: Number::new(1_000),
        since_segment_ns,
        ack_seq: 0,
    }
}

fn waiting(cause: Held) -> Fact {
    Fact::Held {
        cause,
        bytes: 8,
        nonagle: Small::new(1),
        packets_out: Number::new(0),
        small_end_seq: Number::new(50),
        unacked_bytes: Number::new(10),
        mss_bytes: Number::new(50),
        icsk_pending: Small::new(0),
        limit: match cause {
            Held::Cwnd => Some(Limit::Cwnd { snd_cwnd: 10 }),
            Held::PeerWindow | Held::ZeroWindow => Some(Limit::PeerWindow { window_bytes: 4 }),
            Held::Pacing => Some(Limit::Pacing { pacing_wait_ns: (40 * MS).into() }),
            _ => None,
        },
    }
}

fn told(hold: Hold, facts: Vec<(u64, Fact)>, certainty: Certainty) -> Explanation {
    told_on(hold, facts, certainty, Some(250), true)
}

fn told_on(
    hold: Hold,
    facts: Vec<(u64, Fact)>,
    certainty: Certainty,
    hz: Option<u32>,
    all_tasks: bool,
) -> Explanation {
    let until_ns = hold.parts.iter().map(|part| part.held_ns).sum();
    let evidence =
        facts.into_iter().map(|(at_ns, fact)| Evidence { n: 1, at_ns, fact: AnyFact::Nagle(fact) });
    let finding = Finding {
        socket: SocketId(1),
        from_ns: 0,
        until_ns,
        cause: Cause::Nagle(hold),
        evidence: evidence.collect(),
        certainty,
        not_seen: Vec::new(),
    };
    let facts = Facts {
        release: "6.1.0".to_owned(),
        hz,
        mono_ns: 0,
        real_ns: 0,
        probes: 14,
        ..Facts::default()
    };
    let comms = [(2211, "server")].into();
    let context = Context {
        facts: &facts,
        comms: &comms,
        stacks: &BTreeMap::new(),
        all_tasks,
        meets_all: true,
    };
    crate::explain::explain(&finding, &context)
}

fn verdict(hold: Hold) -> String {
    let held = hold.parts.first().map_or(Held::Undetermined, |part| part.held);
    told(hold, vec![(0, corked()), (0, waiting(held))], Certainty::Seen).verdict
}

/// The writer sets `TCP_CORK`.
fn corked() -> Fact {
    Fact::OptionSet { option: "TCP_CORK", value: Some(true), task: WRITER }
}

#[test]
fn a_cork_that_nobody_was_seen_setting_was_set_out_of_sight() {
    let cork = || hold(Held::Cork, Release::Uncork);
    let said = |facts: Vec<Fact>, certainty, all_tasks| {
        let facts = facts.into_iter().map(|fact| (0, fact)).collect();
        let words = told_on(cork(), facts, certainty, Some(250), all_tasks);
        words.verdict.contains("set out of sight (earlier, on the listener, or by the kernel)")
    };
    let held = || waiting(Held::Cork);
    assert!(said(vec![held()], Certainty::Seen, true));
    // What ends it comes later, and says nothing about the beginning.
    assert!(said(vec![held(), corked()], Certainty::Seen, true));
    assert!(!said(vec![corked(), held()], Certainty::Seen, true));
    // Where somebody could have set it unseen, nothing is said.
    assert!(!said(vec![held()], Certainty::May, true));
    assert!(!said(vec![held()], Certainty::Seen, false));
}

/// Exhaustive, so that a variant without a number does not compile and one without a sentence fails the test.
fn held_number(held: Held) -> usize {
    match held {
        Held::Nagle => 0,
        Held::Cork => 1,
        Held::MsgMore => 2,
        Held::Undetermined => 3,
        Held::Autocork => 4,
        Held::Cwnd => 5,
        Held::PeerWindow => 6,
        Held::ZeroWindow => 7,
        Held::Pacing => 8,
        Held::Tsq => 9,
        Held::TsoDefer => 10,
        Held::TransmitFailed => 11,
        Held::NotEstablished => 12,
        Held::SendBuffer => 13,
        Held::NotsentLowat => 14,
    }
}

fn release_number(release: Release) -> usize {
    match release {
        Release::Ack => 0,
        Release::MoreData => 1,
        Release::Push => 2,
        Release::Nodelay => 3,
        Release::Uncork => 4,
        Release::ProbeTimer => 5,
        Release::LossProbe => 6,
        Release::Fin => 7,
        Release::Tsq => 8,
        Release::Discarded => 9,
        Release::StillHeld => 10,
        Release::Undetermined => 11,
        Release::WindowUpdate => 12,
        Release::PacingTimer => 13,
        Release::UrgentData => 14,
        Release::GivenUp => 15,
    }
}

#[test]
fn every_cause_has_its_sentence() {
    let sentences = [
        (
            Held::Nagle,
            "8 B waited 42.0 ms: Nagle held them behind 10 unacknowledged bytes; an ACK released them.",
        ),
        (Held::Cork, "8 B waited 42.0 ms: held by TCP_CORK; an ACK released them."),
        (Held::MsgMore, "8 B waited 42.0 ms: held by MSG_MORE; an ACK released them."),
        (
            Held::Undetermined,
            "8 B waited 42.0 ms: cause not determined (nonagle=1 packets_out=0 icsk_pending=0); an ACK released them.",
        ),
        (
            Held::Autocork,
            "8 B waited 42.0 ms: autocorking held them until the device has sent what it was given before; an ACK released them.",
        ),
        (
            Held::Cwnd,
            "8 B waited 42.0 ms: the congestion window was full (10 segments in flight); an ACK released them.",
        ),
        (
            Held::PeerWindow,
            "8 B waited 42.0 ms: the peer's window of 4 B had no room for the next segment; an ACK released them.",
        ),
        (
            Held::ZeroWindow,
            "8 B waited 42.0 ms: the peer's window was closed; an ACK released them.",
        ),
        (Held::Pacing, "8 B waited 42.0 ms: pacing held them; an ACK released them."),
        (
            Held::Tsq,
            "8 B waited 42.0 ms: TCP small queues held them until the device has sent what it was given before; an ACK released them.",
        ),
        (
            Held::TsoDefer,
            "8 B waited 42.0 ms: TSO deferral held them for a larger segment; an ACK released them.",
        ),
        (
            Held::TransmitFailed,
            "8 B waited 42.0 ms: the layers below did not take the segment (queueing discipline, firewall or memory); an ACK released them.",
        ),
        (
            Held::NotEstablished,
            "8 B waited 42.0 ms: the connection was not established yet; an ACK released them.",
        ),
        (
            Held::SendBuffer,
            "8 B waited 42.0 ms: the send buffer was full, and the writer slept; an ACK made room.",
        ),
        (
            Held::NotsentLowat,
            "8 B waited 42.0 ms: as much waited as TCP_NOTSENT_LOWAT allows, and the writer slept; an ACK made room.",
        ),
    ];
    let mut numbers: Vec<_> = sentences.iter().map(|(held, _)| held_number(*held)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..15).collect::<Vec<_>>());
    for (held, sentence) in sentences {
        assert_eq!(verdict(hold(held, Release::Ack)), sentence);
    }
}

#[test]
fn every_release_has_its_sentence() {
    let ends = [
        (Release::Ack, "; an ACK released them."),
        (Release::WindowUpdate, "; a window update released them."),
        (Release::PacingTimer, "; the pacing timer sent them."),
        (Release::MoreData, "; released by more data."),
        (Release::Push, "; a write without MSG_MORE sent them."),
        (Release::UrgentData, "; urgent data (MSG_OOB) behind them sent them."),
        (Release::Nodelay, "; setting TCP_NODELAY sent them."),
        (Release::Uncork, "; clearing TCP_CORK sent them."),
        (Release::ProbeTimer, "; the probe timer sent them."),
        (Release::LossProbe, "; the loss probe sent them."),
        (Release::Fin, "; the FIN took them along."),
        (Release::Tsq, "; they left when the device had room again (TSQ)."),
        (Release::Discarded, "; the connection ended and they never left."),
        (
            Release::GivenUp,
            "; its call ended before it had given all of them (a signal, or SO_SNDTIMEO).",
        ),
        (Release::Undetermined, "; what released them is not determined."),
    ];
    let mut numbers: Vec<_> = ends.iter().map(|(release, _)| release_number(*release)).collect();
    numbers.push(release_number(Release::StillHeld));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..16).collect::<Vec<_>>());
    for (release, end) in ends {
        assert_eq!(
            verdict(hold(Held::Cork, release)),
            format!("8 B waited 42.0 ms: held by TCP_CORK{end}")
        );
    }
    assert_eq!(
        verdict(hold(Held::Cork, Release::StillHeld)),
        "8 B have waited 42.0 ms and still wait: held by TCP_CORK."
    );
}

#[test]
fn every_cause_reads_well_with_every_release() {
    let releases: Vec<_> = [
        Release::Ack,
        Release::MoreData,
        Release::Push,
        Release::UrgentData,
        Release::Nodelay,
        Release::Uncork,
        Release::ProbeTimer,
        Release::LossProbe,
        Release::Fin,
        Release::Tsq,
        Release::Discarded,
        Release::GivenUp,
        Release::StillHeld,
        Release::Undetermined,
    ]
    .into();
    for held in [Held::Nagle, Held::Cork, Held::MsgMore, Held::Undetermined] {
        for release in &releases {
            let text = verdict(hold(held, *release));
            assert!(text.ends_with('.') && text.matches(": ").count() == 1, "{text}");
            assert!(!text.contains("  ") && !text.contains(".."), "{text}");
        }
    }
}

#[test]
fn what_still_waits_names_the_timer_that_is_due() {
    let mut story = hold(Held::Cork, Release::StillHeld);
    story.packets_out = Some(0);
    let armed = |timer| Fact::TimerArmed {
        timer,
        due_ticks: 50,
        rto_ticks: None,
        srtt_us: None,
        packets_out: None,
    };
    let facts = vec![(0, corked()), (0, waiting(Held::Cork)), (2 * MS, armed(Timer::Probe))];
    assert_eq!(
        told(story.clone(), facts.clone(), Certainty::Seen).verdict,
        "8 B have waited 42.0 ms and still wait: held by TCP_CORK with nothing in flight; the probe timer is due in 160.0 ms."
    );
    let end = "still wait: held by TCP_CORK with nothing in flight.";
    assert!(told_on(story.clone(), facts, Certainty::Seen, None, true).verdict.ends_with(end));
    let retransmit = vec![(2 * MS, armed(Timer::Retransmit))];
    assert!(told(story.clone(), retransmit, Certainty::Seen).verdict.ends_with(end));
    let fired =
        vec![(2 * MS, armed(Timer::Probe)), (3 * MS, Fact::TimerFired { timer: Timer::Probe })];
    assert!(told(story, fired, Certainty::Seen).verdict.ends_with(end));
}

#[test]
fn one_byte_is_it_and_has_waited() {
    let mut one = hold(Held::Nagle, Release::StillHeld);
    one.writes[0].bytes = 1;
    one.bytes = 1;
    assert_eq!(
        verdict(one.clone()),
        "1 B has waited 42.0 ms and still waits: Nagle held it behind 10 unacknowledged bytes."
    );
    one.release = Release::Discarded;
    assert!(verdict(one).ends_with("; the connection ended and it never left."));
}

#[test]
fn a_tail_says_what_went_before_it() {
    let mut tail = hold(Held::Cork, Release::LossProbe);
    (tail.tail, tail.bytes, tail.written_bytes, tail.packets_out) = (true, 5, Some(105), Some(2));
    tail.writes[0].bytes = 5;
    assert_eq!(
        verdict(tail.clone()),
        "5 of 105 B waited 42.0 ms: the tail after two full segments, held by TCP_CORK; the loss probe sent it."
    );
    tail.written_bytes = Some(55);
    assert!(verdict(tail.clone()).contains(": the tail after one full segment, held by"));
    tail.written_bytes = Some(106);
    assert!(verdict(tail.clone()).contains(": the tail of the write, held by"));
    tail.written_bytes = None;
    assert!(
        verdict(tail.clone()).starts_with("5 B waited 42.0 ms: the tail of the write, held by")
    );
    tail.parts[0].held = Held::Nagle;
    assert!(
        verdict(tail.clone())
            .contains(": the tail of the write, held by Nagle behind 10 unacknowledged bytes; ")
    );
    tail.written_bytes = Some(14_205);
    assert!(verdict(tail).starts_with("5 B of 14.2 kB waited"));
}

#[test]
fn several_writes_are_counted() {
    let mut many = hold(Held::Cork, Release::Uncork);
    many.writes.push(Write { bytes: 16, at_ns: MS, held_ns: 41 * MS });
    many.bytes = 24;
    assert_eq!(
        verdict(many.clone()),
        "24 B of 2 writes waited 42.0 ms: held by TCP_CORK; clearing TCP_CORK sent them."
    );
    (many.tail, many.writes_left_out, many.written_bytes) = (true, 1_000, Some(108));
    assert_eq!(
        verdict(many),
        "24 B of 1,002 writes waited 42.0 ms: first the tail after two full segments, held by TCP_CORK; clearing \
         TCP_CORK sent them."
    );
}

#[test]
fn causes_in_a_row_add_up_and_neighbours_join() {
    let mut row = hold(Held::Cork, Release::Ack);
    let part = |held, ms| Part::of(held, ms * MS);
    row.parts = smallvec![part(Held::Cork, 30), part(Held::Cork, 6), part(Held::Nagle, 45)];
    assert_eq!(
        verdict(row.clone()),
        "8 B waited 81.0 ms: 36.0 ms TCP_CORK, then 45.0 ms Nagle; an ACK released them."
    );
    row.parts = smallvec![part(Held::Undetermined, 3), part(Held::MsgMore, 4)];
    assert!(verdict(row.clone()).contains(": 3.0 ms not determined, then 4.0 ms MSG_MORE; "));
    let turns = [Held::PeerWindow, Held::ZeroWindow].map(|held| part(held, 2));
    row.parts = turns.iter().cycle().take(7).copied().collect();
    assert_eq!(
        verdict(row),
        "8 B waited 14.0 ms: by turns 8.0 ms peer window too small and 6.0 ms peer window closed (7 spells); an ACK \
         released them."
    );
}

#[test]
fn across_a_gap_it_says_may_and_gives_no_advice() {
    let may = told(hold(Held::Cork, Release::LossProbe), Vec::new(), Certainty::May);
    assert_eq!(
        may.verdict,
        "8 B may have waited 42.0 ms: held by TCP_CORK; the loss probe sent them."
    );
    assert_eq!(may.change, None);
    let still = told(hold(Held::Cork, Release::StillHeld), Vec::new(), Certainty::May).verdict;
    assert_eq!(still, "8 B may have waited 42.0 ms and still wait: held by TCP_CORK.");
    let nothing = told(hold(Held::Undetermined, Release::Ack), Vec::new(), Certainty::Seen).verdict;
    assert_eq!(nothing, "8 B waited 42.0 ms: cause not determined; an ACK released them.");
}

#[test]
fn advice_only_where_the_evidence_carries_it() {
    let change = |hold: Hold| told(hold, Vec::new(), Certainty::Seen).change;
    let mut alone = hold(Held::Cork, Release::ProbeTimer);
    alone.packets_out = Some(0);
    assert_eq!(
        change(alone).as_deref(),
        Some("clear TCP_CORK when the reply is complete; nothing else came to send these bytes.")
    );
    let cork = Some("clear TCP_CORK when the reply is complete.");
    assert_eq!(change(hold(Held::Cork, Release::LossProbe)).as_deref(), cork);
    assert_eq!(change(hold(Held::Cork, Release::Uncork)).as_deref(), cork);
    let mut joined = hold(Held::Cork, Release::Uncork);
    joined.writes_left_out = 1;
    assert_eq!(change(joined), None);
    assert_eq!(change(hold(Held::Cork, Release::MoreData)), None);
    assert_eq!(
        change(hold(Held::MsgMore, Release::ProbeTimer)).as_deref(),
        Some("send the last part without MSG_MORE.")
    );
    assert_eq!(change(hold(Held::MsgMore, Release::Push)), None);
    let nagle = hold(Held::Nagle, Release::Ack);
    assert_eq!(
        change(nagle.clone()).as_deref(),
        Some(
            "send both parts with one writev(), or set TCP_NODELAY (never set on this socket since connect)."
        )
    );
    let short = Some("send both parts with one writev(), or set TCP_NODELAY.");
    let met_late = told_on(nagle.clone(), Vec::new(), Certainty::Seen, Some(250), false).change;
    assert_eq!(met_late.as_deref(), short);
    assert_eq!(change(Hold { nodelay_seen: true, ..nagle.clone() }).as_deref(), short);
    assert_eq!(change(Hold { release: Release::Nodelay, ..nagle.clone() }), None);
    let brief = smallvec![Part::of(Held::Nagle, 40_000)];
    assert_eq!(change(Hold { parts: brief, ..nagle }), None);
    assert_eq!(change(hold(Held::Undetermined, Release::Ack)), None);
}

#[test]
fn advice_is_in_words_of_the_calls_that_gave_the_bytes() {
    let change = |held, way, part| {
        told(Hold { way, part, ..hold(held, Release::Ack) }, Vec::new(), Certainty::Seen).change
    };
    let never = "set TCP_NODELAY (never set on this socket since connect)";
    let of = |way| change(Held::Nagle, way, 2).unwrap_or_default();
    assert_eq!(of(Some(Way::Call)), format!("send both parts with one writev(), or {never}."));
    assert_eq!(
        of(Some(Way::Pages)),
        format!("{never}, or TCP_CORK from the first part to the end of the last.")
    );
    // Two records may be one write; of a call that was not seen nothing is known.
    assert_eq!(of(Some(Way::Tls)), format!("{never}."));
    assert_eq!(of(None), format!("{never}."));
    // Nobody has a descriptor of the subflow, but of what gives it its bytes.
    assert_eq!(of(Some(Way::Mptcp)), "send both parts with one writev().");
    assert_eq!(of(Some(Way::Kernel)), "");
    // There is no other part.
    assert_eq!(change(Held::Nagle, Some(Way::Call), 1).unwrap(), format!("{never}."));
    assert_eq!(change(Held::Nagle, Some(Way::Mptcp), 1), None);
    assert_eq!(
        change(Held::MsgMore, Some(Way::Call), 1),
        None,
        "an ACK lets MSG_MORE go whether or not the program was about to write on"
    );
    let probed = |way| {
        told(Hold { way, ..hold(Held::MsgMore, Release::ProbeTimer) }, Vec::new(), Certainty::Seen)
            .change
            .unwrap_or_default()
    };
    assert_eq!(probed(Some(Way::Call)), "send the last part without MSG_MORE.");
    assert_eq!(probed(Some(Way::Tls)), "send the last part without MSG_MORE.");
    assert!(probed(Some(Way::Pages)).contains("splice() without SPLICE_F_MORE"));
    assert_eq!(probed(Some(Way::Kernel)), "");
}

fn lines(facts: Vec<Fact>, hz: Option<u32>) -> Vec<(String, String)> {
    let facts = facts.into_iter().map(|fact| (0, fact)).collect();
    let told = told_on(hold(Held::Cork, Release::Ack), facts, Certainty::Seen, hz, true);
    told.lines.into_iter().map(|line| (line.label, line.detail)).collect()
}

fn line(fact: Fact) -> String {
    joined(lines(vec![fact], Some(250)).remove(0))
}

fn joined((label, detail): (String, String)) -> String {
    format!("{label} | {detail}")
}

#[test]
fn every_fact_has_its_line() {
    let task = WRITER;
    let shown = [
        Fact::Write { bytes: Some(8), call_goes_on: false, msg_more: true, task },
        Fact::Write {
            bytes: None,
            call_goes_on: false,
            msg_more: false,
            task: Task { pid: 7, tid: 7 },
        },
        Fact::Write { bytes: None, call_goes_on: true, msg_more: false, task },
        waiting(Held::Nagle),
        waiting(Held::Cork),
        waiting(Held::Undetermined),
        Fact::TimerFired { timer: Timer::Probe },
        Fact::TimerFired { timer: Timer::LossProbe },
        Fact::TimerFired { timer: Timer::Retransmit },
        ack(100, 0, None),
        ack(0, 20, None),
        Fact::OptionSet { option: "TCP_CORK", value: Some(false), task },
        Fact::OptionSet { option: "TCP_NODELAY", value: Some(true), task },
        Fact::OptionSet { option: "TCP_NODELAY", value: None, task },
        Fact::FinQueued { task },
        Fact::Tsq,
        Fact::Left { bytes: 8, seq: 0, end_seq: 8, fin: true },
        Fact::Discarded { bytes: 8 },
    ]
    .map(line);
    assert_eq!(
        shown,
        [
            "write 8 B | server[2211]; MSG_MORE",
            "write | pid 7; size not seen",
            "write | server[2211]; the call has more to give",
            "held: Nagle | nonagle=1 packets_out=0, 10 B unacknowledged, small segment up to seq 50 among them, 8 B of a 50 B segment",
            "held: cork | nonagle=1 packets_out=0, 8 B of a 50 B segment",
            "held: not determined | nonagle=1 packets_out=0 icsk_pending=0, 8 B of a 50 B segment",
            "probe timer fired | icsk_pending=PROBE0",
            "loss probe fired | icsk_pending=LOSS_PROBE",
            "RTO timer fired | icsk_pending=RETRANS",
            "ACK in | acknowledges 100 B",
            "ACK in | acknowledges nothing new, carries 20 B",
            "TCP_CORK cleared | server[2211]",
            "TCP_NODELAY set | server[2211]",
            "TCP_NODELAY changed | server[2211]; new value not seen",
            "FIN queued | server[2211]",
            "TSQ | the socket may send again",
            "8 B left | seq 0..8, with the FIN",
            "8 B discarded | the connection ended",
        ]
    );
    let left = Fact::Left { bytes: 100, seq: 8, end_seq: 108, fin: false };
    let shown = lines(vec![waiting(Held::Cork), left], Some(250)).remove(1);
    assert_eq!(joined(shown), "100 B left | 2 segments of 50 B, seq 8..108");
}

#[test]
fn a_timers_rule_is_named_only_when_it_yields_the_number() {
    let armed = |timer, due_ticks, rto, srtt_us, packets, hz| {
        let fact =
            Fact::TimerArmed { timer, due_ticks, rto_ticks: rto, srtt_us, packets_out: packets };
        lines(vec![fact], hz).remove(0).1
    };
    let hz = Some(250);
    assert_eq!(
        armed(Timer::Probe, 56, Some(56), Some(20_000), Some(0), hz),
        "224 ms = RTO (srtt 20.0 ms)"
    );
    assert_eq!(armed(Timer::Probe, 112, Some(56), Some(20_000), Some(0), hz), "448 ms");
    assert_eq!(armed(Timer::Probe, 56, Some(56), None, None, None), "56 ticks = RTO");
    let probe =
        |due, packets, hz| armed(Timer::LossProbe, due, Some(56), Some(17_600), Some(packets), hz);
    assert_eq!(probe(10, 2, hz), "40 ms = 2 x srtt 17.6 ms + 2 ms, in ticks of 4 ms");
    assert_eq!(probe(11, 2, hz), "44 ms = 2 x srtt 17.6 ms + 2 ticks, in ticks of 4 ms");
    assert_eq!(probe(59, 1, hz), "236 ms = 2 x srtt 17.6 ms + 200 ms, in ticks of 4 ms");
    assert_eq!(probe(56, 1, hz), "224 ms, capped by the RTO");
    assert_eq!(probe(20, 2, hz), "80 ms");
    assert_eq!(probe(10, 2, None), "10 ticks");
    assert_eq!(probe(12, 2, Some(300)), "40 ms = 2 x srtt 17.6 ms + 2 ms, in ticks of 3.3 ms");
}

#[test]
fn the_headline_says_what_was_counted() {
    let totals =
        Totals { sockets_seen: Some(9), writes: Some(1_204), limit_ns: MS, ..Totals::default() };
    assert_eq!(headline(&totals), "no byte waited: 1,204 writes on 9 sockets left at once.");
    assert_eq!(
        headline(&Totals { writes: Some(0), ..totals }),
        "no byte waited; no write was seen."
    );
    assert_eq!(
        headline(&Totals { writes: None, ..totals }),
        "no hold began. Writes that left at once are not counted."
    );
    assert_eq!(
        headline(&Totals { lost: true, ..totals }),
        "no hold was seen, but events were lost: that proves nothing."
    );
    let short =
        Totals { findings: 2, below_limit: 2, longest_ns: 400_000, sockets_found: 1, ..totals };
    assert_eq!(
        headline(&short),
        "no byte waited 1 ms or longer; 2 shorter holds on 1 of 9 sockets, the longest 400 µs"
    );
    assert!(
        headline(&Totals { lost: true, ..short })
            .starts_with("no byte was seen to wait 1 ms or longer; ")
    );
    let some = Totals { findings: 31, total_ns: 6_480 * MS, sockets_found: 2, ..totals };
    assert_eq!(headline(&some), "31 holds on 2 of 9 sockets, 6.48 s of waiting in all");
    assert_eq!(
        headline(&Totals { sockets_seen: None, below_limit: 3, ..some }),
        "31 holds on 2 sockets, 6.48 s of waiting in all; 3 not printed, shorter than 1 ms"
    );
}

#[test]
fn a_delayed_ack_is_told_as_it_is_known() {
    let nagle = |known| Hold {
        peer_ack: Some((PeerAck::Delayed, known)),
        ..hold(Held::Nagle, Release::Ack)
    };
    let facts = || vec![(0, waiting(Held::Nagle)), (42 * MS, ack(10, 0, Some(42_100_000)))];
    assert_eq!(
        told(nagle(Known::Inferred), facts(), Certainty::Seen).verdict,
        "8 B waited 42.0 ms: Nagle held them behind 10 unacknowledged bytes; an ACK released them; inferred: the peer delayed its ACK (pure ACK 42.1 ms after the segment, srtt 1.1 ms)."
    );
    let receiver = Some(Task { pid: 412, tid: 412 });
    let mut both = facts();
    let put_off = Fact::AckPutOff { pingpong: Some(1), ato_ticks: Some(10), receiver };
    both.splice(1..1, [(MS, put_off), (42 * MS, Fact::AckTimerFired { receiver })]);
    let words = told(nagle(Known::Seen), both, Certainty::Seen);
    assert_eq!(
        words.verdict,
        "8 B waited 42.0 ms: Nagle held them behind 10 unacknowledged bytes, and the receiver delayed its ACK."
    );
    assert_eq!(words.subject.unwrap().1, "server[2211] to pid 412");
    let lines: Vec<_> = words.lines.iter().map(|l| (l.label.as_str(), l.detail.as_str())).collect();
    assert_eq!(
        lines[1..3],
        [
            ("< ACK put off", "pingpong, ato 40 ms, receiver pid 412"),
            ("< ACK sent", "delayed-ACK timer"),
        ]
    );
    assert_eq!(lines[0].0, "> held: Nagle");
}

#[test]
fn a_writer_that_still_sleeps_has_no_bytes_to_tell_of() {
    let asleep = Hold {
        bytes: 0,
        written_bytes: None,
        writes: SmallVec::new(),
        ..hold(Held::SendBuffer, Release::StillHeld)
    };
    let words = told(asleep, Vec::new(), Certainty::Seen);
    assert_eq!(
        words.verdict,
        "a write has waited 42.0 ms and still waits: the send buffer was full, and the writer slept."
    );
}

#[test]
fn a_pattern_has_its_sentence_and_its_remedy() {
    let with = |name| {
        let pattern = Pattern { name, paid: 19, requests: 20, median_ns: 42_600_000 };
        let nagle = Hold { pattern: Some(pattern), ..hold(Held::Nagle, Release::Ack) };
        let words = told(nagle, vec![(0, waiting(Held::Nagle))], Certainty::Seen);
        (words.pattern.unwrap(), words.change.unwrap())
    };
    let never = "set TCP_NODELAY (never set on this socket since connect).";
    assert_eq!(
        with(Shape::WriteWriteRead),
        (
            "write, write, read: 19 of 20 requests paid, 42.6 ms each at the median.".to_owned(),
            format!("send both parts with one writev(), or {never}")
        )
    );
    let (name, change) = with(Shape::HeaderBody);
    assert!(name.starts_with("header, then body, read: 19 of 20"), "{name}");
    assert!(change.contains("the header with MSG_MORE"), "{change}");
    let (name, change) = with(Shape::Tail);
    assert!(name.starts_with("a write just over whole segments, read: "), "{name}");
    assert_eq!(change, never);
}

#[test]
fn where_nothing_was_held_the_program_is_named() {
    let totals = Totals { writes: Some(1_204), sockets_seen: Some(3), ..Totals::default() };
    assert_eq!(headline(&totals), "no byte waited: 1,204 writes on 3 sockets left at once.");
    let slowest = Slowest { task: WRITER, comm: "server", took_ns: 38_200_000, at_ns: 0 };
    let innocent = super::WORDS.innocent;
    assert_eq!(
        innocent(&totals, &slowest).unwrap(),
        "slowest reply: server[2211] wrote it 38.2 ms after the request had come in. That time passed in the program."
    );
    // Nothing slow; something held; something lost; only some holds asked for.
    assert_eq!(innocent(&totals, &Slowest { took_ns: 40_000, ..slowest }), None);
    assert_eq!(innocent(&Totals { findings: 1, ..totals }, &slowest), None);
    assert_eq!(innocent(&Totals { lost: true, ..totals }, &slowest), None);
    let narrowed = Totals { narrowed: true, ..totals };
    assert_eq!(innocent(&narrowed, &slowest), None);
    assert_eq!(headline(&narrowed), "no hold was one of these.");
}

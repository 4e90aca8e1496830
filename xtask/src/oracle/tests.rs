//! The oracle on call logs and wires written by hand.

use super::{Call, CallRecord, Conversation, Hold, Reported, Segment, against_tool, holds};
use crate::report::Outcome;

const MS: u64 = 1_000_000;
/// So long a call takes.
const CALL: u64 = 40_000;
const ISN: u32 = u32::MAX - 50;

fn call(at_ns: u64, call: Call) -> CallRecord {
    let result = match &call {
        Call::Write(bytes) | Call::SendMore(bytes) => i64::try_from(*bytes).unwrap(),
        _ => 0,
    };
    CallRecord { call, at_ns, ret_ns: at_ns + CALL, result }
}

fn blank(at_ns: u64, outgoing: bool) -> Segment {
    Segment {
        at_ns,
        outgoing,
        sport: 0,
        dport: 0,
        seq: 0,
        ack: 0,
        bytes: 0,
        acks: true,
        syn: false,
        mss_bytes: None,
        timestamps: false,
    }
}

/// The host sends bytes of the stream.
fn left(at_ns: u64, from: u32, to: u32) -> Segment {
    Segment { seq: ISN.wrapping_add(1).wrapping_add(from), bytes: to - from, ..blank(at_ns, true) }
}

/// The peer acknowledges up to a byte.
fn acked(at_ns: u64, up_to: u32) -> Segment {
    Segment { ack: ISN.wrapping_add(1).wrapping_add(up_to), ..blank(at_ns, false) }
}

fn talk(calls: Vec<CallRecord>, rest: Vec<Segment>) -> Conversation {
    let mut wire = vec![
        Segment { syn: true, acks: false, mss_bytes: Some(1000), ..blank(0, false) },
        Segment { syn: true, seq: ISN, mss_bytes: Some(1460), ..blank(0, true) },
    ];
    wire.extend(rest);
    Conversation { calls, wire }
}

fn hold(
    start_ns: u64,
    held_ns: u64,
    bytes: u64,
    causes: &[&'static str],
    release: &'static str,
) -> Hold {
    Hold { start_ns, held_ns, bytes, causes: causes.to_vec(), release, tail: false }
}

#[test]
fn nagle_waits_for_the_acknowledgement() {
    let seen = talk(
        vec![call(10 * MS, Call::Write(100)), call(11 * MS, Call::Write(50))],
        vec![left(10 * MS + 9, 0, 100), acked(41 * MS, 100), left(41 * MS + 20_000, 100, 150)],
    );
    let start = 11 * MS + CALL;
    assert_eq!(holds(&seen), [hold(start, 41 * MS + 20_000 - start, 50, &["nagle"], "ack")]);
}

#[test]
fn a_filled_segment_ends_one_hold_and_its_writer_starts_the_next() {
    let seen = talk(
        vec![
            call(10 * MS, Call::Write(100)),
            call(11 * MS, Call::Write(600)),
            call(15 * MS, Call::Write(600)),
        ],
        vec![
            left(10 * MS + 9, 0, 100),
            left(15 * MS + 9, 100, 1100),
            acked(45 * MS, 1100),
            left(45 * MS + 9, 1100, 1300),
        ],
    );
    let first = hold(11 * MS + CALL, 4 * MS + 9 - CALL, 600, &["nagle"], "more_data");
    let second =
        Hold { tail: true, ..hold(15 * MS + CALL, 30 * MS + 9 - CALL, 200, &["nagle"], "ack") };
    assert_eq!(holds(&seen), [first, second]);
}

#[test]
fn corked_writes_join_and_the_acknowledgement_changes_nothing() {
    let seen = talk(
        vec![
            call(MS, Call::Cork(true)),
            call(10 * MS, Call::Write(1040)),
            call(20 * MS, Call::Write(40)),
            call(70 * MS, Call::Cork(false)),
        ],
        vec![left(10 * MS + 9, 0, 1000), acked(30 * MS, 1000), left(70 * MS + 9, 1000, 1080)],
    );
    let start = 10 * MS + CALL;
    let wanted = Hold { tail: true, ..hold(start, 70 * MS + 9 - start, 80, &["cork"], "uncork") };
    assert_eq!(holds(&seen), [wanted]);
}

#[test]
fn timers_are_told_apart_by_what_is_in_flight() {
    let seen = talk(
        vec![
            call(MS, Call::Cork(true)),
            call(10 * MS, Call::Write(8)),
            call(500 * MS, Call::Write(1005)),
        ],
        vec![
            left(234 * MS, 0, 8),
            acked(254 * MS, 8),
            left(500 * MS + 9, 8, 1008),
            left(544 * MS, 1008, 1013),
        ],
    );
    let found: Vec<_> = holds(&seen).iter().map(|hold| (hold.bytes, hold.release)).collect();
    assert_eq!(found, [(8, "probe_timer"), (5, "loss_probe")]);
}

#[test]
fn uncork_may_leave_the_bytes_to_nagle() {
    let seen = talk(
        vec![
            call(MS, Call::Write(10)),
            call(2 * MS, Call::Cork(true)),
            call(3 * MS, Call::Write(20)),
            call(5 * MS, Call::Cork(false)),
        ],
        vec![left(MS + 9, 0, 10), acked(9 * MS, 10), left(9 * MS + 9, 10, 30)],
    );
    assert_eq!(
        holds(&seen),
        [hold(3 * MS + CALL, 6 * MS + 9 - CALL, 20, &["cork", "nagle"], "ack")]
    );
}

#[test]
fn after_the_probe_timer_a_small_write_is_not_nagles() {
    let seen = talk(
        vec![
            call(MS, Call::SendMore(40)),
            call(300 * MS, Call::Write(10)),
            call(310 * MS, Call::Write(10)),
            call(320 * MS, Call::Close),
        ],
        vec![left(220 * MS, 0, 40), left(300 * MS + 9, 40, 50), left(320 * MS + 9, 50, 60)],
    );
    let found: Vec<_> =
        holds(&seen).iter().map(|hold| (hold.bytes, hold.causes.clone(), hold.release)).collect();
    assert_eq!(found, [(40, vec!["msg_more"], "probe_timer"), (10, vec!["nagle"], "fin")]);
}

#[test]
fn what_was_sent_again_is_no_departure() {
    let seen = talk(
        vec![call(10 * MS, Call::Write(100)), call(11 * MS, Call::Write(50))],
        vec![
            left(10 * MS + 9, 0, 100),
            left(230 * MS, 0, 100),
            acked(240 * MS, 100),
            left(240 * MS + 9, 100, 150),
        ],
    );
    assert_eq!(holds(&seen).first().map(|hold| hold.release), Some("ack"));
}

#[test]
fn large_and_undelayed_writes_are_no_holds() {
    let seen = talk(
        vec![
            call(MS, Call::Nodelay(true)),
            call(10 * MS, Call::Write(2500)),
            call(11 * MS, Call::Write(5)),
        ],
        vec![
            left(10 * MS + 9, 0, 1000),
            left(10 * MS + 10, 1000, 2000),
            left(10 * MS + 11, 2000, 2500),
            left(11 * MS + 9, 2500, 2505),
        ],
    );
    assert_eq!(holds(&seen), []);
}

fn compared(change: impl FnOnce(&mut Reported)) -> Outcome {
    let seen = talk(
        vec![call(10 * MS, Call::Write(100)), call(11 * MS, Call::Write(50))],
        vec![left(10 * MS + 9, 0, 100), acked(41 * MS, 100), left(41 * MS + 9, 100, 150)],
    );
    let mut tool = Reported {
        start_ns: 11 * MS + CALL,
        held_ns: 30 * MS,
        bytes: 50,
        causes: vec!["nagle".to_owned()],
        release: "ack".to_owned(),
        tail: false,
    };
    change(&mut tool);
    let mut outcome = Outcome::default();
    against_tool(&mut outcome, &seen, &holds(&seen), &[tool]);
    outcome
}

#[test]
fn agreement_passes() {
    assert!(compared(|_| {}).passed());
}

#[test]
fn each_kind_of_error_is_counted() {
    assert_eq!(compared(|tool| tool.causes = vec!["cork".to_owned()]).wrong_causes, 1);
    assert_eq!(compared(|tool| tool.release = "loss_probe".to_owned()).wrong_releases, 1);
    assert_eq!(compared(|tool| tool.held_ns += 5 * MS).wrong_figures, 1);
    assert_eq!(compared(|tool| tool.start_ns += 5 * MS).wrong_figures, 1);
    assert_eq!(compared(|tool| tool.bytes = 51).wrong_figures, 1);
    let elsewhere = compared(|tool| tool.start_ns += 500 * MS);
    assert_eq!((elsewhere.missed, elsewhere.false_holds), (1, 1));
}

//! The oracle on call logs and wires written by hand.

use super::{
    Call, CallRecord, Conversation, Hold, NOT_ESTABLISHED, Reported, SEND_BUFFER, Segment, Way,
    Writer, against_bytes, against_certain, against_latecomer, against_tool, holds,
};
use crate::report::Outcome;

const MS: u64 = 1_000_000;
/// So long a call takes.
const CALL: u64 = 40_000;
const ISN: u32 = u32::MAX - 50;

fn call(at_ns: u64, call: Call) -> CallRecord {
    let result = match &call {
        Call::Write(bytes) | Call::SendMore(bytes) | Call::By(_, bytes) => {
            i64::try_from(*bytes).unwrap()
        }
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
        fin: false,
        syn: false,
        rst: false,
        urgent: false,
        window: 257,
        window_shift: None,
        mss_bytes: None,
        timestamps: false,
        fastopen: None,
    }
}

fn opening(at_ns: u64, outgoing: bool) -> Segment {
    Segment { syn: true, window_shift: Some(7), ..blank(at_ns, outgoing) }
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
        Segment { mss_bytes: Some(1000), acks: false, ..opening(0, false) },
        Segment { mss_bytes: Some(1460), seq: ISN, ..opening(0, true) },
    ];
    wire.extend(rest);
    Conversation { calls, wire, ..Conversation::default() }
}

fn hold(
    start_ns: u64,
    held_ns: u64,
    bytes: u64,
    causes: &[&'static str],
    release: &'static str,
) -> Hold {
    Hold {
        start_ns,
        held_ns,
        bytes,
        causes: causes.to_vec(),
        release,
        or: None,
        peer_ack: if release == "ack" { None } else { Some("") },
        tail: false,
        way: "call",
        after_loss: false,
    }
}

/// What tcptrace should tell of it.
fn told(hold: &Hold) -> Reported {
    Reported {
        start_ns: hold.start_ns,
        held_ns: hold.held_ns,
        bytes: hold.bytes,
        causes: hold.causes.iter().map(ToString::to_string).collect(),
        release: hold.release.to_owned(),
        tail: hold.tail,
        way: Some(hold.way.to_owned()),
        writer: Writer::Program,
        peer_ack: None,
        certain: true,
    }
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
fn a_timer_within_a_write_is_told_from_the_write_by_what_left() {
    let interrupted = |to| {
        let seen = talk(
            vec![
                call(MS, Call::Cork(true)),
                call(2 * MS, Call::Write(40)),
                call(220 * MS, Call::Write(10)),
                call(230 * MS, Call::Close),
            ],
            vec![left(220 * MS + 9, 0, to), left(230 * MS + 9, to, 50)],
        );
        let found = holds(&seen);
        (found[0].release, found[0].or)
    };
    assert_eq!(interrupted(40), ("probe_timer", Some("more_data")));
    assert_eq!(interrupted(50), ("push", Some("probe_timer")));
}

#[test]
fn an_ack_within_a_write_may_have_let_go_what_left_in_it() {
    let met = |acked_at| {
        let seen = talk(
            vec![
                call(MS, Call::Write(10)),
                call(2 * MS, Call::Write(20)),
                call(9 * MS, Call::Nodelay(true)),
            ],
            vec![left(MS + 9, 0, 10), acked(acked_at, 10), left(9 * MS + 9, 10, 30)],
        );
        let found = holds(&seen);
        (found[0].release, found[0].or)
    };
    assert_eq!(met(9 * MS + 2), ("nodelay", Some("ack")));
    assert_eq!(met(9 * MS - 2), ("nodelay", None));
}

#[test]
fn what_left_in_one_buffer_may_be_told_as_one_hold() {
    let held = |start, bytes| Hold {
        peer_ack: Some(""),
        ..hold(start, 30 * MS - start, bytes, &["peer_window"], "ack")
    };
    let holds = [held(10 * MS, 1000), held(20 * MS, 500)];
    let together = |bytes| {
        let told = Reported { bytes, ..told(&holds[0]) };
        let mut outcome = Outcome::default();
        against_tool(&mut outcome, &Conversation::default(), &holds, &[told]);
        outcome.passed()
    };
    assert!(together(1500));
    assert!(!together(1400));
    assert!(!together(1000));
}

#[test]
fn a_window_counts_only_from_a_segment_that_is_newer_or_opens_it() {
    let window = |at_ns, seq: u32, window| Segment { seq, window, ..acked(at_ns, 100) };
    let seen = |second: Segment| {
        let first = Segment { seq: 7, window: 100, ..acked(5 * MS, 100) };
        let wire = vec![left(MS + 9, 0, 100), first, second, left(30 * MS + 9, 100, 600)];
        let calls = vec![
            call(MS, Call::Write(100)),
            call(20 * MS, Call::Cork(true)),
            call(21 * MS, Call::Write(500)),
            call(30 * MS, Call::Close),
        ];
        holds(&talk(calls, wire))[0].causes.clone()
    };
    assert_eq!(seen(window(10 * MS, 7, 3)), ["cork"]);
    assert_eq!(seen(window(10 * MS, 8, 3)), ["peer_window"]);
}

#[test]
fn urgent_data_lets_all_go_that_is_in_front_of_it_until_it_is_acknowledged() {
    let urgent = |at_ns, from, to| Segment { urgent: true, ..left(at_ns, from, to) };
    let seen = talk(
        vec![
            call(MS, Call::Cork(true)),
            call(10 * MS, Call::Write(40)),
            call(20 * MS, Call::By(Way::Urgent, 1)),
            call(22 * MS, Call::Write(30)),
            call(40 * MS, Call::Write(20)),
            call(50 * MS, Call::Cork(false)),
        ],
        vec![
            urgent(20 * MS + 9, 0, 41),
            left(22 * MS + 9, 41, 71),
            acked(30 * MS, 71),
            left(50 * MS + 9, 71, 91),
        ],
    );
    let (first, second) = (10 * MS + CALL, 40 * MS + CALL);
    assert_eq!(
        holds(&seen),
        [
            hold(first, 10 * MS + 9 - CALL, 40, &["cork"], "urgent_data"),
            hold(second, 10 * MS + 9 - CALL, 20, &["cork"], "uncork"),
        ]
    );
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

#[test]
fn a_reset_of_either_side_discards_all_that_waits() {
    for outgoing in [false, true] {
        let reset = Segment { rst: true, acks: outgoing, ..blank(50 * MS, outgoing) };
        let seen = talk(
            vec![
                call(MS, Call::Cork(true)),
                call(10 * MS, Call::Write(100)),
                call(20 * MS, Call::Write(20)),
                call(50 * MS - 9, Call::Close),
            ],
            vec![reset],
        );
        let start = 10 * MS + CALL;
        assert_eq!(holds(&seen), [hold(start, 50 * MS - start, 120, &["cork"], "discarded")]);
    }
}

#[test]
fn the_peers_window_comes_before_cork() {
    let window = |at_ns, window| Segment { window, ..acked(at_ns, 0) };
    let seen = talk(
        vec![
            call(MS, Call::Cork(true)),
            call(10 * MS, Call::Write(500)),
            call(80 * MS, Call::Cork(false)),
        ],
        vec![window(2 * MS, 3), window(60 * MS, 4), left(80 * MS + 9, 0, 500)],
    );
    let start = 10 * MS + CALL;
    let wanted = hold(start, 70 * MS + 9 - CALL, 500, &["peer_window", "cork"], "uncork");
    assert_eq!(holds(&seen), [wanted]);
}

#[test]
fn an_acknowledgement_just_before_a_call_released_nothing() {
    let seen = talk(
        vec![
            call(10 * MS, Call::SendMore(50)),
            call(20 * MS, Call::Cork(true)),
            call(30 * MS, Call::Nodelay(true)),
        ],
        vec![acked(30 * MS - 9_000, 0), left(30 * MS + 9, 0, 50)],
    );
    let start = 10 * MS + CALL;
    let wanted = hold(start, 30 * MS + 9 - start, 50, &["msg_more", "cork"], "nodelay");
    assert_eq!(holds(&seen), [wanted]);
}

#[test]
fn an_ack_lets_go_late_what_nothing_else_holds() {
    let late = |ms: u64| {
        talk(
            vec![call(MS, Call::Write(10)), call(2 * MS, Call::Write(20))],
            vec![left(MS + 9, 0, 10), acked(42 * MS, 10), left((42 + ms) * MS, 10, 30)],
        )
    };
    let start = 2 * MS + CALL;
    let found = |ms: u64, causes: &[&'static str], release| {
        let held = holds(&late(ms)).pop().unwrap();
        assert_eq!((&*held.causes, held.release), (causes, release), "{ms}");
        assert_eq!(held.held_ns, (42 + ms) * MS - start);
    };
    found(6, &["nagle"], "ack");
    found(206, &["nagle", "undetermined"], "probe_timer");
}

#[test]
fn what_a_fin_does_not_take_along_waits_for_something_else() {
    let seen = talk(
        vec![
            call(MS, Call::Cork(true)),
            call(10 * MS, Call::Write(50)),
            call(30 * MS, Call::Close),
        ],
        vec![acked(60 * MS, 0), left(60 * MS + 9, 0, 50)],
    );
    let start = 10 * MS + CALL;
    let wanted = hold(start, 50 * MS + 9 - CALL, 50, &["cork", "undetermined"], "ack");
    assert_eq!(holds(&seen), [wanted]);
}

#[test]
fn after_a_loss_the_cause_may_be_undetermined() {
    let seen = talk(
        vec![
            call(10 * MS, Call::Write(100)),
            call(11 * MS, Call::Cork(true)),
            call(12 * MS, Call::Write(50)),
            call(250 * MS, Call::Cork(false)),
        ],
        vec![
            left(10 * MS + 9, 0, 100),
            left(230 * MS, 0, 100),
            acked(300 * MS, 100),
            left(300 * MS + 9, 100, 150),
        ],
    );
    let held = holds(&seen);
    assert_eq!(held.iter().map(|it| it.after_loss).collect::<Vec<_>>(), [true]);
    for (causes, wrong) in [
        (&["cork", "nagle"][..], 0),
        (&["cork", "undetermined"], 0),
        (&["cork", "cwnd"], 0),
        (&["nagle", "undetermined", "cork"], 1),
        (&["cork"], 1),
        (&["undetermined", "msg_more"], 1),
    ] {
        let causes = causes.to_vec();
        let tool = told(&Hold { causes, ..hold(12 * MS + CALL, 288 * MS - CALL, 50, &[], "ack") });
        let mut outcome = Outcome::default();
        against_tool(&mut outcome, &seen, &held, std::slice::from_ref(&tool));
        assert_eq!(outcome.wrong_causes, wrong, "{tool:?}");
    }
}

#[test]
fn ten_segments_in_flight_fill_the_window_before_nagle_is_asked() {
    let mut calls = vec![call(MS, Call::Nodelay(true))];
    let mut wire = Vec::new();
    for at in 0..10_u32 {
        let at_ns = (2 + u64::from(at)) * MS;
        calls.push(call(at_ns, Call::Write(100)));
        wire.push(left(at_ns + 9, at * 100, at * 100 + 100));
    }
    calls.extend([call(20 * MS, Call::Nodelay(false)), call(21 * MS, Call::Write(50))]);
    wire.extend([acked(30 * MS, 100), acked(40 * MS, 1000), left(40 * MS + 9, 1000, 1050)]);
    let start = 21 * MS + CALL;
    let wanted = hold(start, 40 * MS + 9 - start, 50, &["cwnd", "nagle"], "ack");
    assert_eq!(holds(&talk(calls, wire)), [wanted]);
}

#[test]
fn a_wider_window_alone_is_a_window_update() {
    let window = |at_ns, window| Segment { window, ..acked(at_ns, 0) };
    let seen = talk(
        vec![call(10 * MS, Call::Write(500))],
        vec![window(2 * MS, 0), window(60 * MS, 257), left(60 * MS + 9, 0, 500)],
    );
    let start = 10 * MS + CALL;
    assert_eq!(
        holds(&seen),
        [hold(start, 60 * MS + 9 - start, 500, &["peer_window"], "window_update")]
    );
}

#[test]
fn a_write_that_sleeps_is_a_hold_of_its_own() {
    let mut write = call(10 * MS, Call::Write(500));
    write.ret_ns = 50 * MS;
    let seen = talk(
        vec![write],
        vec![left(11 * MS, 0, 100), acked(49 * MS, 100), left(49 * MS + 9, 100, 500)],
    );
    let found: Vec<_> =
        holds(&seen).iter().map(|hold| (hold.causes.clone(), hold.held_ns, hold.release)).collect();
    assert_eq!(found, [(vec![SEND_BUFFER], 40 * MS, "ack")]);
}

#[test]
fn what_the_device_does_not_take_is_a_failed_transmission() {
    let seen = talk(
        vec![
            call(MS, Call::DeviceDrops(true)),
            call(10 * MS, Call::Write(100)),
            call(20 * MS, Call::DeviceDrops(false)),
        ],
        vec![left(235 * MS, 0, 100)],
    );
    let found: Vec<_> =
        holds(&seen).iter().map(|hold| (hold.causes.clone(), hold.release)).collect();
    assert_eq!(found, [(vec!["transmit_failed"], "probe_timer")]);
}

#[test]
fn before_any_write_timer_it_is_the_pacing_timer() {
    for (left_at, release) in [(89 * MS, "pacing_timer"), (220 * MS, "probe_timer")] {
        let seen = talk(
            vec![call(MS, Call::PacingRate(20_000)), call(10 * MS, Call::Write(300))],
            vec![left(left_at, 0, 300)],
        );
        let found: Vec<_> =
            holds(&seen).iter().map(|hold| (hold.causes.clone(), hold.release)).collect();
        assert_eq!(found, [(vec!["pacing"], release)]);
    }
}

/// A connection that the program opens: its SYN carries some bytes, the peer's answer comes at 60 ms.
fn opened(in_syn: u32, bytes: usize, rest: Vec<Segment>) -> Conversation {
    let mut write = call(10 * MS, Call::Write(bytes));
    write.ret_ns = 60 * MS + CALL;
    let mut wire = vec![
        Segment {
            mss_bytes: Some(1460),
            seq: ISN,
            bytes: in_syn,
            acks: false,
            ..opening(10 * MS, true)
        },
        Segment { mss_bytes: Some(1000), ..opening(60 * MS, false) },
    ];
    wire.extend(rest);
    Conversation { calls: vec![write], wire, ..Conversation::default() }
}

#[test]
fn a_write_before_there_is_a_connection_sleeps_for_it() {
    let wait = |bytes, tail| Hold {
        tail,
        ..hold(10 * MS, 50 * MS + CALL, bytes, &[NOT_ESTABLISHED], "ack")
    };
    assert_eq!(holds(&opened(0, 100, vec![left(60 * MS + 9, 0, 100)])), [wait(100, false)]);
    // What the SYN carried has left.
    assert_eq!(holds(&opened(40, 100, vec![left(60 * MS + 9, 40, 100)])), [wait(60, true)]);
    assert_eq!(holds(&opened(100, 100, Vec::new())), []);
}

#[test]
fn a_short_segment_with_more_behind_it_was_complete() {
    let seen = talk(
        vec![
            call(10 * MS, Call::Write(100)),
            call(11 * MS, Call::By(Way::EndOfRecord, 50)),
            call(19 * MS, Call::Write(60)),
        ],
        vec![left(10 * MS + 9, 0, 100), left(19 * MS + 9, 100, 150), left(40 * MS, 150, 210)],
    );
    let found: Vec<_> = holds(&seen).iter().map(|hold| (hold.bytes, hold.release)).collect();
    assert_eq!(found[0], (50, "more_data"));
}

#[test]
fn a_record_of_tls_is_longer_than_the_write() {
    let mut calls = vec![call(MS, Call::Encrypt)];
    calls.extend([call(10 * MS, Call::Write(100)), call(11 * MS, Call::Write(50))]);
    let seen = talk(
        calls,
        vec![left(10 * MS + 9, 0, 129), acked(41 * MS, 129), left(41 * MS + 9, 129, 208)],
    );
    let start = 11 * MS + CALL;
    let held = hold(start, 41 * MS + 9 - start, 79, &["nagle"], "ack");
    assert_eq!(holds(&seen), [Hold { way: "tls", ..held }]);
}

#[test]
fn pages_and_subflows_are_no_calls() {
    let written = |call_: Call| {
        talk(
            vec![call(10 * MS, Call::Write(100)), call(11 * MS, call_)],
            vec![left(10 * MS + 9, 0, 100), acked(41 * MS, 100), left(41 * MS + 9, 100, 150)],
        )
    };
    let way = |seen: &Conversation| holds(seen).first().map(|hold| hold.way);
    let sendfile = written(Call::By(Way::Sendfile, 50));
    assert_eq!(way(&sendfile), Some("pages"));
    assert_eq!(way(&written(Call::By(Way::IoUringWorker, 50))), Some("call"));
    assert_eq!(way(&Conversation { mptcp: true, ..sendfile }), Some("mptcp"));
}

#[test]
fn a_write_that_sleeps_lets_nothing_go() {
    let mut sleeps = call(12 * MS, Call::Write(100));
    sleeps.ret_ns = 31 * MS;
    let seen = talk(
        vec![
            call(MS, Call::NotsentLowat(50)),
            call(10 * MS, Call::Write(100)),
            call(11 * MS, Call::Write(50)),
            sleeps,
        ],
        vec![
            left(10 * MS + 9, 0, 100),
            acked(30 * MS, 100),
            left(30 * MS + 9, 100, 150),
            left(31 * MS - 9, 150, 250),
        ],
    );
    let found: Vec<_> =
        holds(&seen).into_iter().map(|hold| (hold.bytes, hold.causes, hold.release)).collect();
    let lowat = vec!["notsent_lowat"];
    assert_eq!(found, [(50, vec!["nagle"], "ack"), (100, lowat, "ack")]);
}

#[test]
fn a_device_that_is_behind_holds_and_lets_go() {
    let story = |second: u32, nodelay: bool, then: Vec<Segment>| {
        let size = usize::try_from(second).unwrap();
        let mut wire =
            vec![left(10 * MS + 9, 0, 1000), left(10 * MS + CALL + 9, 1000, 1000 + second)];
        wire.extend(then);
        let calls = vec![
            call(MS, Call::Nodelay(nodelay)),
            call(10 * MS, Call::Write(1000)),
            call(10 * MS + CALL, Call::Write(size)),
            call(10 * MS + 2 * CALL, Call::Write(10)),
        ];
        let end = ISN.wrapping_add(1);
        let device = vec![
            (10 * MS + 20, end.wrapping_add(1000)),
            (15 * MS, end.wrapping_add(1000 + second)),
        ];
        Conversation { device, ..talk(calls, wire) }
    };
    let start = 10 * MS + 3 * CALL;
    let gone = left(15 * MS + 9, 2000, 2010);
    assert_eq!(
        holds(&story(1000, true, vec![gone])),
        [hold(start, 15 * MS + 9 - start, 10, &["autocork"], "tsq")]
    );
    // It has sent, and Nagle's algorithm comes next.
    let later = vec![acked(40 * MS, 1500), left(40 * MS + 9, 1500, 1510)];
    assert_eq!(
        holds(&story(500, false, later)),
        [hold(start, 40 * MS + 9 - start, 10, &["autocork", "nagle"], "ack")]
    );
}

fn compared(change: impl FnOnce(&mut Reported)) -> Outcome {
    let seen = talk(
        vec![call(10 * MS, Call::Write(100)), call(11 * MS, Call::Write(50))],
        vec![left(10 * MS + 9, 0, 100), acked(41 * MS, 100), left(41 * MS + 9, 100, 150)],
    );
    let mut tool = told(&hold(11 * MS + CALL, 30 * MS, 50, &["nagle"], "ack"));
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
    assert_eq!(compared(|tool| tool.way = Some("pages".to_owned())).wrong_figures, 1);
    assert_eq!(compared(|tool| tool.way = None).wrong_figures, 1);
    for writer in [Writer::Other, Writer::Nobody] {
        assert_eq!(compared(|tool| tool.writer = writer).wrong_figures, 1);
    }
    let elsewhere = compared(|tool| tool.start_ns += 500 * MS);
    assert_eq!((elsewhere.missed, elsewhere.false_holds), (1, 1));
}

#[test]
fn where_nothing_was_lost_there_is_no_may() {
    assert_eq!(compared(|tool| tool.certain = false).wrong_figures, 1);
}

/// A hold at 11 ms that tcptrace could not see, and one at 101 ms that it could.
fn two_holds() -> (Conversation, Vec<Reported>) {
    let seen = talk(
        vec![
            call(10 * MS, Call::Write(100)),
            call(11 * MS, Call::Write(50)),
            call(100 * MS, Call::Write(100)),
            call(101 * MS, Call::Write(50)),
        ],
        vec![
            left(10 * MS + 9, 0, 100),
            acked(41 * MS, 100),
            left(41 * MS + 9, 100, 150),
            acked(60 * MS, 150),
            left(100 * MS + 9, 150, 250),
            acked(131 * MS, 250),
            left(131 * MS + 9, 250, 300),
        ],
    );
    let of = |start_ms: u64| hold(start_ms * MS + CALL, 30 * MS, 50, &["nagle"], "ack");
    let reported = [11, 101].map(|start_ms| told(&of(start_ms)));
    (seen, reported.to_vec())
}

fn certain(change: impl FnOnce(&mut Vec<Reported>)) -> Outcome {
    let (seen, mut reported) = two_holds();
    change(&mut reported);
    let mut outcome = Outcome::default();
    against_certain(&mut outcome, &seen, &holds(&seen), &reported);
    outcome
}

#[test]
fn after_losses_only_what_is_certain_counts() {
    assert!(certain(|_| {}).passed());
    assert!(certain(|tools| tools.truncate(1)).passed());
    let wrong = |tool: &mut Reported| tool.release = "fin".to_owned();
    assert_eq!(certain(|tools| wrong(&mut tools[0])).wrong_releases, 1);
    assert_eq!(certain(|tools| tools[0].start_ns += 500 * MS).false_holds, 1);
    let doubtful = |tools: &mut Vec<Reported>| {
        wrong(&mut tools[0]);
        tools[0].certain = false;
    };
    assert!(certain(doubtful).passed());
}

fn late(from_ms: u64, change: impl FnOnce(&mut Vec<Reported>)) -> Outcome {
    let (seen, mut reported) = two_holds();
    change(&mut reported);
    let mut outcome = Outcome::default();
    against_latecomer(&mut outcome, &seen, &holds(&seen), &reported, from_ms * MS);
    outcome
}

#[test]
fn a_latecomer_may_guess_at_what_waited_and_at_nothing_else() {
    assert!(late(20, |tools| tools[0].certain = false).passed());
    assert!(late(20, |tools| drop(tools.remove(0))).passed());
    assert_eq!(late(20, |_| {}).false_holds, 1);
    assert_eq!(late(20, |tools| tools.truncate(0)).missed, 1);
    let all_guessed = |tools: &mut Vec<Reported>| {
        for tool in tools {
            tool.certain = false;
        }
    };
    assert_eq!(late(20, all_guessed).wrong_figures, 1);
    assert_eq!(late(50, |tools| drop(tools.remove(0))).broken.len(), 1);
}

fn bytes(change: impl FnOnce(&mut Vec<Reported>)) -> Outcome {
    let (seen, mut reported) = two_holds();
    change(&mut reported);
    let mut outcome = Outcome::default();
    against_bytes(&mut outcome, &seen, &reported);
    outcome
}

#[test]
fn bytes_must_add_up_whoever_wrote_them() {
    assert!(bytes(|_| {}).passed());
    assert_eq!(bytes(|tools| drop(tools.remove(1))).missed, 1);
    assert_eq!(bytes(|tools| tools[0].bytes = 300).false_holds, 2);
    assert_eq!(bytes(|tools| tools[0].bytes = 151).false_holds, 1);
    assert_eq!(bytes(|tools| tools[0].certain = false).wrong_figures, 1);
}

//! Every shape, reason, mark, sentence and line of `close`, from written traces.
#![allow(missing_docs, reason = "a test")]

mod written;

use std::collections::BTreeMap;

use tcptrace::{
    analysis::{
        Analysis as _, Cause, Fact as AnyFact, Kind,
        close::{Closed, Fact, MAX_LINES, Machine, Teardown},
        nagle::{Held, Release, Timer},
    },
    correlate::Correlator,
    event::{About, Facts, Holder, SocketId},
    explain::{Context, Explanation, Mark, Totals, explain, words},
    finding::{Certainty, Evidence, Finding, Task},
    joined::Ends,
    timeline::Entry,
    trace::parse,
};

/// Written traces, each below its name.
const STORIES: &str = include_str!("stories/close.txt");

fn stories() -> BTreeMap<&'static str, &'static str> {
    written::stories(STORIES)
}

fn run(name: &str) -> Vec<Finding<Teardown, Fact>> {
    written::run::<Machine>(stories().get(name).expect("a story of this name"))
}

fn only(name: &str) -> Finding<Teardown, Fact> {
    let mut found = run(name);
    assert_eq!(found.len(), 1, "{name}: {found:#?}");
    found.remove(0)
}

/// Side, shape, reason, segments and those sent again, marks.
fn brief(name: &str) -> String {
    let it = only(name).cause;
    let numbers = format!("{}+{}", it.segments, it.repeated);
    let first = [format!("{:?} {:?} {:?}", it.side, it.shape, it.reason), numbers];
    let marks = it.marks.iter().map(|mark| format!("{mark:?}"));
    first.into_iter().chain(marks).collect::<Vec<_>>().join(" ")
}

/// What [`brief`] says of each.
const SHAPES: [(&str, &str); 59] = [
    ("merged", "Passive Merged AckPending 3+0"),
    ("ack_timer", "Passive Separate AckTimer 4+0"),
    ("no_data_received", "Passive Separate NoDataReceived 4+0"),
    ("quick_ack", "Passive Separate QuickAck 4+0"),
    ("route_quickack", "Passive Separate RouteQuickack 4+0"),
    ("window_update", "Passive Separate WindowUpdate 4+0"),
    ("ack_on_data", "Passive AckOnData DataAfterFin 3+0"),
    ("passive_half_close_with_a_repeated_fin", "Passive HalfClose AckTimer 4+2 FinRetransmitted"),
    ("active_merged", "Active Merged AckPending 3+0"),
    (
        "active_separate_and_its_minisock_reused",
        "Active Separate Peer 4+1 FinRetransmitted TimeWaitReused",
    ),
    ("active_half_close_by_shutdown", "Active HalfClose Peer 4+0"),
    ("active_ack_on_data", "Active AckOnData DataAfterFin 3+0"),
    ("simultaneous", "Both Simultaneous FinWait 4+0"),
    ("fin_held", "Active Merged AckPending 3+1 FinRetransmitted FinWithHeldData"),
    ("fin_held_by_cwnd", "Active Separate Peer 4+0"),
    ("unread_data", "Active ResetSent UnreadData 1+0"),
    ("linger_zero", "Active ResetSent LingerZero 1+0"),
    ("linger2", "Active ResetSent Linger2 3+0"),
    ("data_after_close", "Active ResetSent DataAfterClose 2+0"),
    ("data_after_close_in_the_minisock", "Active ResetSent DataAfterClose 3+0"),
    ("unread_data_after_shutdown", "Active ResetSent UnreadData 3+0"),
    ("linger_zero_after_shutdown", "Active ResetSent LingerZero 3+0"),
    ("linger2_after_shutdown", "Active ResetSent Linger2 3+0"),
    ("disconnect_after_shutdown", "Active ResetSent Undetermined 3+0"),
    ("disconnected", "Active ResetSent Disconnected 1+0"),
    ("disconnected_after_shutdown", "Active ResetSent Disconnected 3+0"),
    ("disconnected_before_it_was_established", "Active NeverEstablished Aborted 0+0"),
    ("never_accepted", "Active ResetSent NotAccepted 1+0"),
    ("linger_zero_by_way_of_disconnect", "Active ResetSent LingerZero 1+0"),
    ("reset_received", "Passive ResetReceived Peer 1+0"),
    ("reset_received_after_our_fin", "Active ResetReceived Peer 2+0"),
    ("aborted", "Active ResetSent Aborted 1+0"),
    ("aborted_before_its_error_was_set", "Active ResetSent Aborted 1+0"),
    ("orphan_limit", "Active TimedOut OrphanLimit 1+0 Orphaned PeerVanished"),
    ("no_answer", "Active TimedOut NoAnswer 1+0 Orphaned PeerVanished"),
    ("fin_timeout", "Active TimedOut FinTimeout 2+0 Orphaned"),
    ("never_established", "Passive NeverEstablished Peer 1+0"),
    ("unreachable_before_it_was_established", "Active NeverEstablished Aborted 0+0"),
    ("unreachable_as_the_syn_is_sent_again", "Active NeverEstablished Aborted 0+0"),
    ("never_answered", "Active NeverEstablished NoAnswer 0+0 PeerVanished"),
    (
        "never_answered_after_the_network_had_told_an_error",
        "Active NeverEstablished NoAnswer 0+0 PeerVanished",
    ),
    ("closed_before_it_was_established", "Active NeverEstablished Aborted 0+0"),
    ("not_closed", "Passive Open NotClosed 2+0"),
    ("under_way", "Active Open UnderWay 1+0"),
    ("midway", "Undetermined Undetermined Undetermined 2+0"),
    ("merged_as_the_socket_tells", "Passive Merged AckPending 3+0"),
    ("ack_timer_as_the_socket_tells", "Passive Separate AckTimer 4+0"),
    ("an_ack_that_found_no_memory", "Passive Merged AckPending 3+0"),
    ("an_ack_that_no_function_tells", "Passive Separate WindowUpdate 4+0"),
    ("ack_on_data_as_the_socket_tells", "Passive AckOnData DataAfterFin 3+0"),
    ("ack_on_data_of_which_the_first_is_not_the_last", "Passive AckOnData DataAfterFin 3+0"),
    ("ack_on_data_before_a_timer_with_nothing_to_send", "Passive AckOnData DataAfterFin 3+0"),
    ("ack_on_data_at_an_unknown_time", "Passive AckOnData DataAfterFin 3+0"),
    ("data_and_fin_in_one_segment", "Passive Merged AckPending 3+0 FinWithHeldData"),
    (
        "fin_held_as_the_socket_tells",
        "Active Merged AckPending 3+1 FinRetransmitted FinWithHeldData",
    ),
    ("fin_that_the_device_did_not_take", "Active Separate Peer 4+0"),
    ("fin_held_and_let_go_by_nothing_that_is_known", "Active Separate Peer 4+0"),
    ("fin_appended_to_what_has_left", "Active Separate Peer 4+0"),
    ("a_probe_carries_the_ack", "Passive HalfClose Undetermined 4+0"),
];

#[test]
fn every_teardown_has_its_shape_and_its_reason() {
    let told = SHAPES.map(|(name, _)| (name, brief(name)));
    assert_eq!(told, SHAPES.map(|(name, brief)| (name, brief.to_owned())));
    assert_eq!(SHAPES.len(), stories().len());
}

#[test]
fn a_merged_close_tells_when_its_ack_was_due() {
    let it = only("merged").cause;
    let put_off = it.put_off.unwrap();
    assert_eq!((put_off.due_ticks, put_off.ato_ticks), (10, Some(10)));
    assert_eq!((it.fin_to_close_ns, it.fin_to_ack_ns), (Some(10_000_000), Some(10_000_000)));
    let spells: Vec<_> = it.spells.iter().map(|s| (s.skc_state, s.lasted_ns / 1_000_000)).collect();
    assert_eq!(spells, [(8, 10), (9, 10)]);
}

#[test]
fn a_held_fin_tells_what_held_it_and_what_let_it_go() {
    let held = only("fin_held").cause.fin_held.unwrap();
    assert_eq!((held.by, held.release), (Held::ZeroWindow, Release::WindowUpdate));
    assert_eq!(held.held_ns, 250_000_000);
    let held = only("fin_held_by_cwnd").cause.fin_held.unwrap();
    assert_eq!((held.by, held.release), (Held::Cwnd, Release::LossProbe));
    assert_eq!(held.held_ns, 42_000_000);
}

#[test]
fn what_the_socket_tells_is_dated_by_the_segment() {
    let it = only("merged_as_the_socket_tells").cause;
    let put_off = it.put_off.unwrap();
    assert_eq!((put_off.at_ns, put_off.due_ticks), (1_010_000_000, 8));
    assert_eq!((it.fin_to_ack_ns, it.fin_to_fin_ns), (Some(10_000_000), Some(10_000_000)));
    let it = only("ack_timer_as_the_socket_tells").cause;
    assert_eq!(it.put_off.map(|it| (it.due_ticks, it.ato_ticks)), Some((0, Some(10))));
    assert_eq!(it.fin_to_ack_ns, Some(41_000_000));
    assert_eq!(only("an_ack_that_no_function_tells").cause.fin_to_ack_ns, Some(0));
    let data = |name: &str| {
        let it = only(name).cause;
        (it.fin_to_ack_ns, it.data_after_fin_bytes)
    };
    assert_eq!(data("ack_on_data_as_the_socket_tells"), (Some(5_000_000), 300));
    let two = data("ack_on_data_of_which_the_first_is_not_the_last");
    assert_eq!(two, (Some(4_000_000), 800));
    assert_eq!(data("ack_on_data_at_an_unknown_time"), (None, 600));
    assert_eq!(data("data_and_fin_in_one_segment"), (Some(10_000_000), 0));
    assert_eq!(data("a_probe_carries_the_ack"), (Some(20_000_000), 300));
}

#[test]
fn a_fin_that_the_device_or_the_pacing_timer_let_go_tells_it() {
    let written = stories()["fin_held_and_let_go_by_nothing_that_is_known"];
    // It left at 1.042 s; an odd time is the pacing timer's.
    for (ready_ns, release) in [
        (1_041_800_000, Release::Tsq),
        (1_041_800_001, Release::PacingTimer),
        // Long before it, after it, and not at all.
        (1_030_000_001, Release::Undetermined),
        (1_042_100_001, Release::Undetermined),
        (0, Release::Undetermined),
    ] {
        let told = format!("mstamp_high=0 ready_low={ready_ns} ready_high=0 | snd_nxt=10101");
        let text = written.replace("mstamp_high=0 | snd_nxt=10101", &told);
        assert_ne!(text, written);
        let held = written::run::<Machine>(&text).remove(0).cause.fin_held.unwrap();
        assert_eq!((held.release, held.held_ns), (release, 42_000_000), "{ready_ns}");
    }
    // What came in since then is nearer.
    let told = "mstamp_high=0 ready_low=1009500001 ready_high=0 | snd_nxt=10101";
    let text = written
        .replace("mstamp_low=1042000000", "mstamp_low=1010200000")
        .replace("mstamp_high=0 | snd_nxt=10101", told);
    let held = written::run::<Machine>(&text).remove(0).cause.fin_held.unwrap();
    assert_eq!(held.release, Release::Ack);
}

#[test]
fn a_fin_that_was_held_left_when_its_segment_says() {
    let held = only("fin_held_as_the_socket_tells").cause.fin_held.unwrap();
    assert_eq!((held.by, held.release), (Held::ZeroWindow, Release::WindowUpdate));
    assert_eq!(held.held_ns, 250_000_000);
    // An ACK came 32 ms before: it was not that.
    let held = only("fin_held_and_let_go_by_nothing_that_is_known").cause.fin_held.unwrap();
    assert_eq!((held.by, held.release), (Held::TransmitFailed, Release::Undetermined));
    assert_eq!(held.held_ns, 42_000_000);
    let appended = only("fin_appended_to_what_has_left");
    let left = appended.evidence.iter().find(|it| matches!(it.fact, Fact::FinOut { .. }));
    assert_eq!(left.map(|it| it.at_ns), Some(1_200_000_000));
}

#[test]
fn the_lines_stand_in_the_order_of_time() {
    for name in stories().keys() {
        let lines = only(name).evidence;
        assert!(lines.is_sorted_by_key(|line| line.at_ns), "{name}");
    }
}

#[test]
fn what_was_closing_already_is_not_guessed() {
    assert_eq!(only("midway").certainty, Certainty::May);
    assert_eq!(only("merged").certainty, Certainty::Seen);
}

#[test]
fn every_line_names_an_event() {
    written::every_line_names_an_event::<Machine>(STORIES);
}

#[test]
fn losses_do_not_lengthen_the_evidence_without_end() {
    let (mut machine, mut out) = (Machine::default(), Vec::new());
    for n in 1..=200 {
        let line = format!("{n}.0 s1 pid=7 ack_sent | skc_state=8 icsk_ack_pingpong=0");
        let mut event = parse(&line).expect(&line);
        event.n = n;
        machine.on_event(&event, &mut out);
        machine.on_event(&parse("1.0 s1 pid=0 tcp_fin | skc_state=1").unwrap(), &mut out);
        machine.on_loss(event.at_ns);
    }
    machine.on_end(SocketId(1), 201_000_000_000, &mut out);
    let found = out.remove(0);
    assert_eq!(found.evidence.len(), MAX_LINES);
    assert!(found.cause.lines_left_out > 200, "{}", found.cause.lines_left_out);
}

#[test]
fn a_socket_that_nobody_closes_tells_nothing_before_the_end() {
    let mut machine = Machine::default();
    let mut out = Vec::new();
    let event = parse("1.0 s1 pid=7 tcp_write_timer_handler | icsk_pending=1").unwrap();
    machine.on_event(&event, &mut out);
    machine.on_end(SocketId(1), 2, &mut out);
    assert!(out.is_empty());
}

fn told(finding: Finding<Teardown, Fact>) -> Explanation {
    written::explained(&finding.map(Cause::Close, AnyFact::Close))
}

/// The verdict on a socket that its program has not closed, and whose doing that is.
fn not_closed(holder: Option<Holder>) -> (Option<Task>, String) {
    let mut correlator = Correlator::new(Kind::Close);
    let stories = stories();
    for line in stories.get("not_closed").expect("a story").lines() {
        correlator.push(&parse(line).expect(line));
    }
    correlator.comm(812, "python3".to_owned());
    if let Some(holder) = holder {
        correlator.about(About::Holder { socket: SocketId(1), holder });
    }
    let mut entries = Vec::new();
    correlator.finish(1_050_000_000, true, &mut entries);
    let entry = entries.remove(0);
    let facts = Facts::default();
    let context = Context {
        facts: &facts,
        comms: &entry.comms,
        stacks: &BTreeMap::new(),
        all_tasks: true,
        meets_all: true,
    };
    (entry.finding.cause.task(), explain(&entry.finding, &context).verdict)
}

#[test]
fn who_has_not_closed_is_named_where_that_was_seen() {
    let verdict =
        |who: &str| format!("CLOSE-WAIT for 50.0 ms and counting: the peer has closed, and {who}.");
    let of = |processes| not_closed(Some(Holder { pid: 812, processes }));
    let task = Some(Task { pid: 812, tid: 812 });
    assert_eq!(not_closed(None), (None, verdict("the program has not")));
    assert_eq!(of(1), (task, verdict("python3[812] has not")));
    assert_eq!(
        of(2),
        (task, verdict("python3[812] has not, nor 1 other process that has the same socket"))
    );
}

/// Both ends of one connection: s1 closes first and is told second. `fin` is what s2 has received with the FIN of s1.
fn both_ends(fin: u32) -> Vec<String> {
    let ends = |s, sport: u16, dport: u16| {
        format!(
            "0.9 s{s} pid=7 socket | skc_family=2 skc_rcv_saddr=16777343 skc_daddr=16777343 inet_sport={} skc_dport={}",
            sport.to_be(),
            dport.to_be()
        )
    };
    let text = [
        ends(1, 40000, 8080),
        ends(2, 8080, 40000),
        "1.000 s1 pid=7 tcp_send_fin | write_seq=100 snd_nxt=100 sk_lock_owned=1 skc_state=4"
            .to_owned(),
        "1.000 s1 pid=7 segment_sent | seq=100 end_seq=101 tcp_flags=17 snd_nxt=100".to_owned(),
        format!(
            "1.000 s2 pid=0 tcp_fin | skc_state=1 rcv_nxt={fin} rcv_wup=100 icsk_ack_rcv_mss=536"
        ),
        format!(
            "1.010 s2 pid=7 __tcp_close | skc_state=8 copied_seq=100 rcv_nxt=101 write_seq=200 snd_nxt=200 snd_una=200 sk_lingertime=0 skc_flags={}",
            1 << 4
        ),
        "1.010 s2 pid=7 tcp_send_active_reset | skc_state=7 rcv_nxt=101 sk_err=0".to_owned(),
        "1.011 s1 pid=0 tcp_rcv_state_process | seq=200 end_seq=200 ack_seq=101 snd_una=100 snd_nxt=102 tcp_flags=20 skc_state=4 rcv_nxt=200".to_owned(),
        "1.011 s1 pid=0 tcp_reset | skc_state=4 snd_nxt=102 snd_una=100".to_owned(),
        "1.011 s1 pid=0 tcp_done | skc_state=4 sk_err=104".to_owned(),
    ];
    let (mut correlator, mut ends) = (Correlator::new(Kind::Close), Ends::default());
    for line in text {
        correlator.push(&parse(&line).expect(&line));
    }
    let mut entries = Vec::new();
    correlator.settle(&mut entries);
    let told = |mut entry: Entry| {
        ends.join(&mut entry);
        written::explained(&entry.finding).verdict
    };
    entries.into_iter().map(told).collect()
}

#[test]
fn the_end_that_is_told_last_tells_of_the_other() {
    let told = both_ends(101);
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], "RST instead of FIN: close() under SO_LINGER with no time.");
    assert_eq!(
        told[1],
        "the peer reset the connection; the other end is on this host: app[7] closed 10.0 ms after our FIN came (SO_LINGER 0)."
    );
}

#[test]
fn ends_without_a_number_in_common_are_not_joined() {
    let told = both_ends(500);
    assert_eq!(told[1], "the peer reset the connection: why, only its own host tells.");
}

fn verdicts() -> Vec<(String, String)> {
    let one = |name: &str| {
        let words = told(only(name));
        (name.to_owned(), format!("{} | {}", words.aside.unwrap_or_default(), words.verdict))
    };
    stories().into_keys().map(one).collect()
}

#[test]
fn every_teardown_has_its_sentence() {
    let told: Vec<String> =
        verdicts().into_iter().map(|(name, text)| format!("{name}: {text}")).collect();
    assert_eq!(told.join("\n") + "\n", include_str!("stories/close.verdicts.txt"));
}

#[test]
fn a_sentence_is_one_and_has_no_holes() {
    for (name, text) in verdicts() {
        assert!(
            text.ends_with('.') && !text.contains("  ") && !text.contains(".."),
            "{name}: {text}"
        );
        assert!(
            !text.contains(" ;") && !text.contains(",,") && !text.contains(", ,"),
            "{name}: {text}"
        );
    }
}

#[test]
fn advice_only_where_the_evidence_carries_it() {
    let advice = |name: &str| told(only(name)).change;
    assert!(advice("unread_data").is_some_and(|change| change.starts_with("read to the end")));
    assert_eq!(advice("not_closed"), None, "it has not waited for long");
    assert_eq!(advice("merged"), None);
}

fn line(fact: Fact) -> String {
    let mut it = only("merged");
    it.evidence = vec![Evidence { n: 1, at_ns: 0, fact }];
    let line = told(it).lines.remove(0);
    let mark = match line.mark {
        Mark::Out => '>',
        Mark::In => '<',
        _ => ' ',
    };
    format!("{mark} {} | {}", line.label, line.detail)
}

#[test]
fn every_fact_has_its_line() {
    let task = Task { pid: 7, tid: 7 };
    let shown = [
        Fact::FinIn { skc_state: Some(1), acks_fin: false },
        Fact::FinIn { skc_state: Some(5), acks_fin: true },
        Fact::FinInAgain,
        Fact::AckPutOff { pingpong: Some(1), ato_ticks: Some(10), due_ticks: Some(10) },
        Fact::AckTimerFired,
        Fact::CloseCalled { unread_bytes: Some(312), linger_zero: false, task },
        Fact::CloseCalled { unread_bytes: Some(0), linger_zero: true, task },
        Fact::Disconnected { accepted: true, task },
        Fact::Disconnected { accepted: false, task },
        Fact::FinQueued { by: Closed::Shutdown, unsent_bytes: Some(500), task },
        Fact::FinQueued { by: Closed::Close, unsent_bytes: Some(0), task },
        Fact::FinHeld { cause: Held::ZeroWindow },
        Fact::FinOut { bytes: 0, carries_ack: true, again: false },
        Fact::FinOut { bytes: 500, carries_ack: false, again: false },
        Fact::FinOut { bytes: 0, carries_ack: false, again: true },
        Fact::AckOut { again: false },
        Fact::AckOut { again: true },
        Fact::DataOut { bytes: 300, carries_ack: true },
        Fact::SegmentIn { acks_fin: true, bytes: 0 },
        Fact::SegmentIn { acks_fin: true, bytes: 100 },
        Fact::SegmentIn { acks_fin: false, bytes: 100 },
        Fact::TimerFired { timer: Timer::Probe },
        Fact::TransmitFailed { returned: 1 },
        Fact::ResetOut,
        Fact::ResetIn,
        Fact::Minisock { skc_state: 6 },
        Fact::MinisockGone,
        Fact::SynIn,
        Fact::Over { skc_state: Some(9) },
        Fact::Lost,
    ]
    .map(line);
    assert_eq!(shown.join("\n") + "\n", include_str!("stories/close.lines.txt"));
}

#[test]
fn the_headline_says_what_was_counted() {
    let headline = words(Kind::Close).headline;
    let totals = Totals { limit_ns: 1_000_000, ..Totals::default() };
    assert_eq!(headline(&totals), "no connection was closed.");
    assert_eq!(
        headline(&Totals { lost: true, ..totals }),
        "no close was seen, but events were lost: that proves nothing."
    );
    let some = Totals { findings: 31, sockets_found: 31, below_limit: 4, ..totals };
    assert_eq!(
        headline(&some),
        "31 closes on 31 sockets; 4 not printed, in good order and shorter than 1 ms"
    );
}

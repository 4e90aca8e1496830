//! `timeline`, from written traces to text, byte for byte, and to JSON.
#![allow(missing_docs, reason = "a test")]

use std::{fmt::Write as _, sync::LazyLock};

use tcptrace::{
    analysis::Kind,
    correlate::Correlator,
    event::{Event, Facts},
    explain::{Totals, words},
    filter::Filter,
    render::{Clock, Closing, Detail, Format, Gap, Json, Run, Text},
    timeline::{Entry, RowKey, Tally},
    trace,
};

static PORT_8080: LazyLock<Filter> =
    LazyLock::new(|| "port=8080".parse().expect("a filter in its own words"));

/// What a source delivers.
#[expect(clippy::large_enum_variant, reason = "nearly every item is an event")]
enum Item {
    Event(Event),
    Tick(u64),
}

/// A server's connection that was open before the start: a corked reply, its probe timer, a request, the close. Times
/// are milliseconds.
const CORKED: &str = "\
0 pid=2211 socket | skc_family=2 skc_state=1 inet_sport=36895 skc_dport=45212 skc_rcv_saddr=167903424 \
    skc_daddr=1291976896 nonagle=0
0 pid=2211 do_tcp_setsockopt level=6 optname=3 | nonagle=0 write_seq=1000 snd_nxt=1000
0 pid=2211 tcp_push flags=64 mss_now=50 nonagle=2 size_goal=50 jiffies=1000 | nonagle=2 packets_out=0 \
    snd_sml=1000 snd_una=1000 snd_nxt=1000 write_seq=1008 tail_len=8 mss_cache=50 icsk_pending=3 icsk_rto=56 \
    write_timer_expires=1056 srtt_us=160000 sk_lock_owned=1 snd_wnd=60000 snd_cwnd=10 sacked_out=0 \
    lost_out=0 retrans_out=0 sk_pacing_status=0 sk_tsq_flags=0
0 pid=2211 tcp_sendmsg_locked size=8 ret=8 | write_seq=1008 snd_nxt=1000
20 pid=0 tcp_rcv_established jiffies=1005 | seq=7000 end_seq=7000 ack_seq=1000 snd_una=1000 snd_nxt=1000 \
    write_seq=1008
227 pid=0 tcp_write_timer_handler jiffies=1056 | icsk_pending=3 snd_nxt=1000 write_seq=1008 \
    write_timer_expires=1056 sk_lock_owned=0
227 pid=0 tcp_event_new_data_sent jiffies=1056 | seq=1000 end_seq=1008 snd_nxt=1000 write_seq=1008 \
    nonagle=2 repair=0 sk_lock_owned=0
247 pid=0 tcp_rcv_established jiffies=1061 | seq=7000 end_seq=7000 ack_seq=1008 snd_una=1000 \
    snd_nxt=1008 write_seq=1008
1300 pid=0 tcp_rcv_established jiffies=1300 | seq=7000 end_seq=7079 ack_seq=1008 snd_una=1008 \
    snd_nxt=1008 write_seq=1008
1300 pid=0 tcp_fin jiffies=1300 | skc_state=1 write_seq=1008 snd_nxt=1008
1310 pid=2212 tcp_send_fin jiffies=1302 | write_seq=1008 snd_nxt=1008 sk_lock_owned=1
1310 pid=2212 tcp_event_new_data_sent jiffies=1302 | seq=1008 end_seq=1009 snd_nxt=1008 write_seq=1009 \
    sk_lock_owned=1
1330 pid=0 tcp_rcv_state_process jiffies=1307 | seq=7079 end_seq=7079 ack_seq=1009 snd_una=1008 \
    snd_nxt=1009 write_seq=1009
1330 pid=0 tcp_done jiffies=1307 | skc_state=9 write_seq=1009 snd_nxt=1009
1330 pid=0 tcp_v4_destroy_sock jiffies=1307 | write_seq=1009 snd_nxt=1009
";

/// [`CORKED`] from `start_ms` on, as socket `s`; its lines are 10 microseconds apart at least.
fn corked(start_ms: u64, s: &str) -> String {
    let mut out = String::new();
    for (line, i) in CORKED.lines().zip(0..) {
        let (ms, rest) = line.split_once(' ').expect("a time stands first");
        let us = (start_ms + ms.parse::<u64>().expect("milliseconds")) * 1000 + 10 * i;
        writeln!(out, "{}.{:06} {s} {rest}", us / 1_000_000, us % 1_000_000)
            .expect("a string takes all");
    }
    out
}

fn items(text: &str) -> Vec<Item> {
    let mut events: Vec<Event> = text.lines().map(|line| trace::parse(line).expect(line)).collect();
    events.sort_by_key(|event| event.at_ns);
    for (event, n) in events.iter_mut().zip(1..) {
        event.n = n;
    }
    events.into_iter().map(Item::Event).collect()
}

fn entries(items: &[Item], end_ns: u64) -> Vec<Entry> {
    let (mut correlator, mut out) = (Correlator::new(Kind::Timeline), Vec::new());
    for (tid, name) in [(2211, "server"), (2212, "reaper")] {
        correlator.comm(tid, name.to_owned());
    }
    for item in items {
        match item {
            Item::Event(event) => correlator.push(event),
            Item::Tick(now_ns) => {
                correlator.tick(*now_ns);
                correlator.settle(&mut out);
            }
        }
    }
    correlator.finish(end_ns, true, &mut out);
    out
}

fn facts() -> Facts {
    Facts {
        release: "6.1.0-56-cloud-amd64".to_owned(),
        hz: Some(250),
        mono_ns: 0,
        // 2026-11-22T14:03:02.412Z on both clocks.
        real_ns: 1_795_356_182_412_000_000,
        probes: 13,
        ..Facts::default()
    }
}

fn run(facts: &Facts) -> Run<'_> {
    Run {
        words: words(Kind::Timeline),
        facts,
        filter: &PORT_8080,
        everything: true,
        only: (&[], &[]),
    }
}

fn shown(mut format: impl Format, entries: &[Entry]) -> String {
    let facts = facts();
    entries.iter().map(|entry| format.finding(&run(&facts), entry)).collect()
}

fn text(width: usize, color: bool, detail: Detail) -> Text {
    Text::new(width, color, Clock::Wall(jiff::tz::TimeZone::UTC), detail)
}

/// A story of another question, as the timeline tells it.
fn of_another(file: &str, story: &str) -> String {
    let lines = file.split("## ").find_map(|text| text.strip_prefix(&format!("{story}\n")));
    let found = entries(&items(lines.expect(story)), 9_000_000_000);
    shown(text(100, false, Detail::Evidence), &found)
}

#[test]
fn what_other_questions_see_stands_in_its_place() {
    let deferred = of_another(include_str!("stories/defer_accept.txt"), "data");
    let option = of_another(include_str!("stories/sockopt.txt"), "took_effect");
    let refused = of_another(include_str!("stories/sockopt.txt"), "out_of_range");
    let opened = of_another(include_str!("stories/fastopen.txt"), "worked");
    insta::with_settings!({ snapshot_path => "stories" }, {
        insta::assert_snapshot!([deferred, option, refused, opened].join("\n"));
    });
}

/// Two connections at once, the second 400 ms behind.
fn two() -> String {
    corked(5_000, "s1") + &corked(5_400, "s2").replace("skc_dport=45212", "skc_dport=45468")
}

#[test]
fn text_reads_like_the_manual() {
    let found = entries(&items(&corked(5_000, "s1")), 9_000_000_000);
    let shown = shown(text(100, false, Detail::Evidence), &found);
    assert!(
        include_str!("../../docs/timeline.md").contains(&shown),
        "the page shows something else"
    );
    assert_eq!(
        shown,
        "\
192.0.2.10:8080 > 192.0.2.77:40112   server[2211]   open before the start
  14:03:07.412   +0.00 ms    TCP_CORK set
                 +0.01 ms  > write 8 B                     MSG_DONTWAIT; 8 B unsent
                 +0.01 ms  ┌ held by cork                  8 B
                 +0.01 ms  │   probe timer armed           224 ms = RTO (srtt 20.0 ms)
               +227.04 ms  │   probe timer fired           icsk_pending=PROBE0
               +227.05 ms  │ > 8 B left                    seq 0..8
               +227.05 ms  └ left: probe timer, 227.0 ms   8 B
               +247.06 ms  < ACK 8 B                       up to seq 8
192.0.2.10:8080 > 192.0.2.77:40112   reaper[2212]
  14:03:08.712   +0.00 ms  < 78 B of data
                 +0.01 ms  < FIN                           in ESTABLISHED
                +10.02 ms  > FIN queued
                +10.03 ms  > FIN left
                +30.04 ms  < ACK of the FIN
                +30.05 ms    connection over               was LAST-ACK
"
    );
}

#[test]
fn all_of_it_in_few_columns_wraps_and_loses_nothing() {
    let found = entries(&items(&corked(5_000, "s1")), 9_000_000_000);
    assert_eq!(
        shown(text(60, false, Detail::Everything), &found),
        "\
192.0.2.10:8080 > 192.0.2.77:40112 server[2211] open before
the start
  14:03:07.412
     +0.00 ms    TCP_CORK set
     +0.01 ms  > write 8 B (MSG_DONTWAIT; 8 B unsent)
     +0.01 ms  > push (8 B unsent; nonagle=2 packets_out=0)
     +0.01 ms  ┌ held by cork (8 B)
     +0.01 ms  │   probe timer armed (224 ms = RTO (srtt
                   20.0 ms))
    +20.03 ms  │ < segment (nothing new acknowledged)
   +227.04 ms  │   probe timer fired (icsk_pending=PROBE0)
   +227.05 ms  │ > 8 B left (seq 0..8)
   +227.05 ms  └ left: probe timer, 227.0 ms (8 B)
   +247.06 ms  < ACK 8 B (up to seq 8)
192.0.2.10:8080 > 192.0.2.77:40112   reaper[2212]
  14:03:08.712
     +0.00 ms  < 78 B of data
     +0.01 ms  < FIN (in ESTABLISHED)
    +10.02 ms  > FIN queued
    +10.03 ms  > FIN left
    +30.04 ms  < ACK of the FIN
    +30.05 ms    connection over (was LAST-ACK)
    +30.06 ms    socket gone
"
    );
}

#[test]
fn colour_adds_nothing_but_colour() {
    let found = entries(&items(&two()), 9_000_000_000);
    for (width, detail) in
        [(100, Detail::Evidence), (60, Detail::Everything), (60, Detail::Verdicts)]
    {
        let (plain, colored) =
            (shown(text(width, false, detail), &found), shown(text(width, true, detail), &found));
        let bare: String = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[33m"]
            .iter()
            .fold(colored.clone(), |text, code| text.replace(code, ""));
        assert_ne!(plain, colored);
        assert_eq!(bare, plain);
    }
    let colored = shown(text(100, true, Detail::Evidence), &found);
    let lines: Vec<&str> = colored.lines().take(4).collect();
    assert_eq!(
        (lines[0], lines[3]),
        (
            "\u{1b}[1m192.0.2.10:8080 > 192.0.2.77:40112   server[2211]   open before the start\u{1b}[0m",
            "                 +0.01 ms  ┌ \u{1b}[33mheld by cork\u{1b}[0m                  8 B"
        )
    );
}

#[test]
fn a_header_stands_where_another_socket_or_another_process_follows() {
    let found = entries(&items(&two()), 9_000_000_000);
    let shown = shown(text(100, false, Detail::Verdicts), &found);
    assert_eq!(
        shown,
        "\
192.0.2.10:8080 > 192.0.2.77:40112   server[2211]   open before the start
  14:03:07.412  1 write of 8 B, 8 B left, 1 hold ended, in 247.1 ms.
192.0.2.10:8080 > 192.0.2.77:40112   reaper[2212]
  14:03:08.712  78 B came in, in 30.1 ms.
192.0.2.10:8080 > 192.0.2.77:40113   server[2211]   open before the start
  14:03:07.812  1 write of 8 B, 8 B left, 1 hold ended, in 247.1 ms.
192.0.2.10:8080 > 192.0.2.77:40113   reaper[2212]
  14:03:09.112  78 B came in, in 30.1 ms.
"
    );
}

#[test]
fn where_a_filter_by_process_hides_sockets_nothing_is_said_of_the_time_before() {
    let (facts, found) = (facts(), entries(&items(&corked(5_000, "s1")), 9_000_000_000));
    let filter = Filter { pid: Some(2211), ..Filter::default() };
    let run = Run { filter: &filter, ..run(&facts) };
    let mut format = text(100, false, Detail::Evidence);
    let first = format.finding(&run, &found[0]);
    assert!(first.contains("server[2211]   first seen in ESTABLISHED\n"), "{first}");
    let born = corked(5_000, "s1").replace("skc_state=1 inet", "skc_state=3 inet");
    let born = entries(&items(&born), 9_000_000_000);
    assert!(format.finding(&run, &born[0]).starts_with("  14:03"), "the same header");
    let mut fresh = text(100, false, Detail::Evidence);
    assert!(fresh.finding(&run, &born[0]).contains("server[2211]\n"));
}

#[test]
fn no_line_is_wider_than_asked_for() {
    let long = corked(5_000, "s1").replace("flags=64", "flags=67141697");
    let found = entries(&items(&long), 9_000_000_000);
    for width in 40..=120 {
        for detail in [Detail::Evidence, Detail::Everything, Detail::Verdicts] {
            for line in shown(text(width, false, detail), &found).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn json_has_every_line_as_an_object() {
    let found = entries(&items(&corked(5_000, "s1")), 9_000_000_000);
    let json = shown(Json, &found);
    let first = json.lines().next().unwrap();
    assert_eq!(
        first,
        concat!(
            r#"{"type":"stretch","time":"2026-11-22T14:03:07.412010000Z","monotonic_ns":5000010000,"#,
            r#""socket":{"id":1,"local":"192.0.2.10:8080","remote":"192.0.2.77:40112"},"#,
            r#""process":{"pid":2211,"tid":2211,"comm":"server"},"lasted_ns":247060000,"writes":1,"#,
            r#""written_bytes":8,"left_bytes":8,"received_bytes":0,"holds_ended":1,"begins_held":false,"#,
            r#""met_in":"ESTABLISHED","certainty":"seen","evidence":["#,
            r#"{"n":2,"at_ns":0,"event":"option_set","option":"TCP_CORK","optname":3,"value":true},"#,
            r#"{"n":3,"at_ns":10000,"event":"write","bytes":8,"flags":64,"given_bytes":8,"returned":8,"waiting_bytes":8},"#,
            r#"{"n":3,"at_ns":10000,"event":"push","nonagle":2,"waiting_bytes":8,"packets_out":0},"#,
            r#"{"n":3,"at_ns":10000,"event":"hold_began","cause":"cork","bytes":8,"held_ns":0},"#,
            r#"{"n":3,"at_ns":10000,"event":"timer_armed","timer":"probe","due_ticks":56,"rto_ticks":56,"#,
            r#""srtt_us":20000,"packets_out":0,"matters":true},"#,
            r#"{"n":5,"at_ns":20030000,"event":"segment_in","acked_bytes":0,"acks_fin":false,"data_bytes":0,"#,
            r#""syn":false,"fin":false,"released":false},"#,
            r#"{"n":6,"at_ns":227040000,"event":"timer_fired","timer":"probe"},"#,
            r#"{"n":7,"at_ns":227050000,"event":"left","bytes":8,"seq":0,"end_seq":8,"fin":false},"#,
            r#"{"n":7,"at_ns":227050000,"event":"hold_ended","bytes":8,"written_bytes":8,"held_ns":227040000,"#,
            r#""causes":[{"cause":"cork","held_ns":227040000}],"release":"probe_timer","certainty":"seen"},"#,
            r#"{"n":8,"at_ns":247060000,"event":"segment_in","acked_bytes":8,"ack_seq":8,"acks_fin":false,"#,
            r#""data_bytes":0,"syn":false,"fin":false,"released":false}],"#,
            r#""text":"1 write of 8 B, 8 B left, 1 hold ended, in 247.1 ms.","not_seen":["netns","cgroup"]}"#,
        )
    );
    let nobody = "5.0 s1 pid=0 tcp_rcv_established | seq=1 end_seq=9 ack_seq=1 snd_una=1\n";
    let json = shown(Json, &entries(&items(nobody), 9_000_000_000));
    assert!(json.contains(r#""socket":{"id":1},"lasted_ns":0,"writes":0"#), "{json}");
    assert!(json.contains(r#""not_seen":["netns","local","remote","process"]"#), "{json}");
}

#[test]
fn lost_events_are_a_line_between_the_others() {
    let (facts, gap) = (
        facts(),
        Gap { hook: "tcp_push", events: 1_920, from_ns: 7_000_000_000, until_ns: 7_300_000_000 },
    );
    assert_eq!(
        text(100, false, Detail::Evidence).gap(&run(&facts), &gap),
        "gap: 14:03:09.412 to 14:03:09.712: 1,920 events lost at tcp_push\n"
    );
    let (mut correlator, mut out) = (Correlator::new(Kind::Timeline), Vec::new());
    for item in items(&corked(5_000, "s1")).into_iter().take(5) {
        if let Item::Event(event) = item {
            correlator.push(&event);
        }
    }
    correlator.loss(5_100_000_000);
    correlator.finish(5_500_000_000, true, &mut out);
    let shown = shown(text(100, false, Detail::Evidence), &out);
    assert!(
        shown.ends_with(
            "\
                +99.99 ms  │   events were lost            more may have happened here
               +499.99 ms  │ still held by cork, 500.0 ms  8 B
"
        ),
        "{shown}"
    );
}

#[test]
fn the_summary_counts_lines_and_has_no_table() {
    let (facts, found) = (facts(), entries(&items(&two()), 9_000_000_000));
    let mut tally = Tally::default();
    for entry in &found {
        let key =
            RowKey { pid: 1, process: "".into(), remote: None, columns: smallvec::SmallVec::new() };
        tally.add(entry, key, (0, 0), true);
    }
    let totals = Totals {
        findings: 4,
        sockets_found: tally.sockets() as u64,
        lines: tally.lines(),
        minor_lines: tally.minor(),
        holds: tally.holds(),
        ..Totals::default()
    };
    let closing = Closing {
        listeners: &[],
        started_ns: 0,
        ended_ns: 1_200_000_000,
        tally: &tally,
        top: 10,
        totals,
        patterns: &[],
        counters: &[],
        slowest: None,
        midlife: None,
        events: 30,
        lost: &[],
        lost_span: None,
        larger_buffer: None,
        sockets_full: false,
        misses: Some(0),
        complete: true,
        cost: None,
        estimated_ns: Some(9_600),
        shared: Vec::new(),
    };
    assert_eq!(
        text(100, false, Detail::Evidence).summary(&run(&facts), &closing),
        "\
1.20 s, port 8080: 34 lines (6 of them only with -v) on 2 sockets, 2 holds
seen: all events; 0 lost, 0 probe misses.
cost: less than 0.1 % of one CPU inside the probes, estimated from 30 events; -v measures it.
"
    );
}

/// Every item of `items`, with a tick each `every_ms`, and of those without an event before them only some.
fn ticked(text: &str, every_ms: u64, keep: impl Fn(u64) -> bool) -> Vec<Item> {
    let mut out = Vec::new();
    let mut now_ms = 4_900;
    let mut fresh = true;
    for item in items(text) {
        let Item::Event(event) = item else { continue };
        while now_ms * 1_000_000 < event.at_ns {
            if fresh || keep(now_ms) {
                out.push(Item::Tick(now_ms * 1_000_000));
            }
            (now_ms, fresh) = (now_ms + every_ms, false);
        }
        fresh = true;
        out.push(Item::Event(event));
    }
    out
}

#[test]
fn ticks_change_when_lines_are_printed_and_never_which_or_in_what_order() {
    let text_of = |items: &[Item]| {
        shown(text(100, false, Detail::Everything), &entries(items, 12_000_000_000))
    };
    let many: String =
        (0..9).map(|i| corked(5_000 + 173 * i, &format!("s{}", i % 9 + 1))).collect::<String>()
            + &corked(7_900, "s10")
            + &corked(8_950, "s11");
    let without = text_of(&items(&many));
    assert!(without.lines().count() > 150);
    assert_eq!(text_of(&ticked(&many, 50, |_| true)), without);
    assert_eq!(text_of(&ticked(&many, 50, |ms| ms % 1_000 == 0)), without);
    assert_eq!(text_of(&ticked(&many, 7, |ms| ms % 13 == 0)), without);
    assert_eq!(text_of(&ticked(&many, 333, |_| false)), without);
}

#[test]
fn a_thread_that_is_named_anew_had_its_old_name_before() {
    let shown_with = |tick: bool| {
        let (mut correlator, mut out) = (Correlator::new(Kind::Timeline), Vec::new());
        let mut events = items(&(corked(5_000, "s1") + &corked(7_000, "s2"))).into_iter();
        let mut push = |correlator: &mut Correlator, count| {
            for item in events.by_ref().take(count) {
                if let Item::Event(event) = item {
                    correlator.push(&event);
                }
            }
        };
        correlator.comm(2212, "reaper".to_owned());
        correlator.comm(2211, "sh".to_owned());
        push(&mut correlator, 13);
        if tick {
            correlator.tick(6_900_000_000);
        }
        correlator.comm(2211, "server".to_owned());
        push(&mut correlator, 100);
        correlator.finish(12_000_000_000, true, &mut out);
        shown(text(100, false, Detail::Verdicts), &out)
    };
    let shown = shown_with(true);
    assert_eq!((shown.matches("sh[2211]").count(), shown.matches("server[2211]").count()), (1, 1));
    assert_eq!(shown_with(false), shown);
}

#[test]
fn a_live_reader_sees_a_line_within_a_second() {
    let mut correlator = Correlator::new(Kind::Timeline);
    let mut out = Vec::new();
    for item in items(&corked(5_000, "s1")).into_iter().take(4) {
        if let Item::Event(event) = item {
            correlator.push(&event);
        }
    }
    correlator.tick(5_950_000_000);
    correlator.settle(&mut out);
    assert!(out.is_empty());
    correlator.tick(6_050_000_000);
    correlator.settle(&mut out);
    assert_eq!(out.len(), 1);
}

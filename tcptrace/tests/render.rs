//! Both formats, byte for byte, for two holds of the manual and for a run that lost events.

mod strict;

use std::{collections::BTreeMap, sync::LazyLock};

use smallvec::smallvec;
use tcptrace::{
    analysis::{
        Cause, Fact as AnyFact, Kind,
        nagle::{Fact, Held, Hold, Number, Part, Release, Small, Timer, Way, Write},
    },
    cost::{Cost, Spent},
    event::{Facts, Frame, SocketId},
    explain::{Totals, words},
    filter::Filter,
    finding::{Certainty, Evidence, Finding, Task},
    render::{Clock, Closing, Detail, Format as _, Gap, Json, Lost, Run, Text},
    timeline::{Entry, RowKey, Socket, Tally},
};
use tcptrace_common::hook::Hook;

const TASK: Task = Task { pid: 2211, tid: 2211 };
const START: u64 = 5_000_000_000;

static PORT_8080: LazyLock<Filter> =
    LazyLock::new(|| "port=8080".parse().expect("a filter in its own words"));

fn facts() -> Facts {
    Facts {
        release: "6.1.0-56-cloud-amd64".to_owned(),
        hz: Some(250),
        // 2026-11-22T14:03:02.412Z on both clocks.
        mono_ns: 0,
        real_ns: 1_795_356_182_412_000_000,
        probes: 14,
        // Nobody can say whether a call set the option.
        not_seen: vec!["do_tcp_setsockopt"],
        ..Facts::default()
    }
}

fn run(facts: &Facts) -> Run<'_> {
    Run {
        words: words(Kind::Nagle),
        facts,
        filter: &PORT_8080,
        everything: false,
        only: (&[], &[]),
    }
}

/// A line of JSON, as it is; it passes the schema.
#[track_caller]
fn passed(line: String) -> String {
    strict::check(&line);
    line
}

fn text(detail: Detail) -> Text {
    Text::new(110, false, Clock::Relative, detail)
}

fn entry(hold: Hold, (from_ns, until_ns): (u64, u64), facts: Vec<(u64, Fact)>) -> Entry {
    let evidence = (17..).zip(facts).map(|(n, (us, fact))| Evidence {
        n,
        at_ns: START + us * 1_000,
        fact: AnyFact::Nagle(fact),
    });
    Entry {
        socket: Socket {
            id: SocketId(1),
            cookie: Some(4097),
            netns: Some(4_026_531_840),
            local: "192.0.2.10:8080".parse().ok(),
            remote: "192.0.2.77:40112".parse().ok(),
        },
        finding: Finding {
            socket: SocketId(1),
            from_ns: START + from_ns,
            until_ns: START + until_ns,
            cause: Cause::Nagle(hold),
            evidence: evidence.collect(),
            certainty: Certainty::Seen,
            not_seen: Vec::new(),
        },
        comms: [(2211, "server")].into(),
        cgroup: Some("/system.slice/server.service".into()),
        stacks: BTreeMap::new(),
    }
}

fn hold(bytes: u32, written: u32, packets_out: u32, held_ns: u64) -> Hold {
    Hold {
        writer: TASK,
        bytes,
        written_bytes: Some(written),
        way: Some(Way::Call),
        tail: bytes < written,
        packets_out: Some(packets_out),
        parts: smallvec![Part::of(Held::Cork, held_ns)],
        release: if packets_out == 0 { Release::ProbeTimer } else { Release::LossProbe },
        writes: smallvec![Write { bytes, at_ns: START + 40_000, held_ns }],
        writes_left_out: 0,
        nodelay_seen: false,
        turn: 0,
        part: 0,
        from_start: false,
        peer_ack: None,
        pattern: None,
    }
}

fn held(bytes: u32, packets_out: u32) -> Fact {
    Fact::Held {
        cause: Held::Cork,
        bytes,
        nonagle: Small::new(2),
        packets_out: Number::new(packets_out),
        small_end_seq: None,
        unacked_bytes: None,
        mss_bytes: Number::new(50),
        icsk_pending: None,
        limit: None,
    }
}

fn armed(timer: Timer, due_ticks: u32, srtt_us: u32, packets_out: u32) -> Fact {
    let (rto_ticks, srtt_us, packets_out) = (Some(56), Some(srtt_us), Some(packets_out));
    Fact::TimerArmed { timer, due_ticks, rto_ticks, srtt_us, packets_out }
}

fn left(bytes: u32, seq: u32) -> Fact {
    Fact::Left { bytes, seq, end_seq: seq + bytes, fin: false }
}

fn corked() -> Entry {
    let facts = vec![
        (0, Fact::Write { bytes: Some(8), call_goes_on: false, msg_more: false, task: TASK }),
        (40, held(8, 0)),
        (40, armed(Timer::Probe, 56, 20_000, 0)),
        (226_950, Fact::TimerFired { timer: Timer::Probe }),
        (226_970, left(8, 0)),
    ];
    entry(hold(8, 8, 0, 226_930_000), (40_000, 226_970_000), facts)
}

fn tail() -> Entry {
    let facts = vec![
        (0, Fact::Write { bytes: Some(105), call_goes_on: false, msg_more: false, task: TASK }),
        (30, left(100, 8)),
        (30, held(5, 2)),
        (30, armed(Timer::LossProbe, 10, 17_600, 2)),
        (43_850, Fact::TimerFired { timer: Timer::LossProbe }),
        (43_870, left(5, 108)),
    ];
    entry(hold(5, 105, 2, 43_840_000), (30_000, 43_870_000), facts)
}

#[test]
fn text_reads_like_the_manual() {
    let facts = facts();
    let shown = [corked(), tail()]
        .map(|entry| text(Detail::Evidence).finding(&run(&facts), &entry))
        .concat();
    assert_eq!(
        shown,
        "\
+5.000 s  192.0.2.10:8080 > 192.0.2.77:40112   server[2211]
  8 B waited 226.9 ms: held by TCP_CORK with nothing in flight; the probe timer sent them.
       0.00 ms  write 8 B             server[2211]
       0.04 ms  held: cork            nonagle=2 packets_out=0, 8 B of a 50 B segment
       0.04 ms  probe timer armed     224 ms = RTO (srtt 20.0 ms)
     226.95 ms  probe timer fired     icsk_pending=PROBE0
     226.97 ms  8 B left              seq 0..8
  change: clear TCP_CORK when the reply is complete; nothing else came to send these bytes.

+5.000 s  192.0.2.10:8080 > 192.0.2.77:40112   server[2211]
  5 of 105 B waited 43.8 ms: the tail after two full segments, held by TCP_CORK; the loss probe sent it.
       0.00 ms  write 105 B           server[2211]
       0.03 ms  100 B left            2 segments of 50 B, seq 8..108
       0.03 ms  held: cork            nonagle=2 packets_out=2, 5 B of a 50 B segment
       0.03 ms  loss probe armed      40 ms = 2 x srtt 17.6 ms + 2 ms, in ticks of 4 ms
      43.85 ms  loss probe fired      icsk_pending=LOSS_PROBE
      43.87 ms  5 B left              seq 108..113
  change: clear TCP_CORK when the reply is complete.

"
    );
}

#[test]
fn quiet_text_is_verdicts_and_unknown_ends_are_question_marks() {
    let facts = facts();
    let mut entry = corked();
    (entry.socket.local, entry.socket.remote) = (None, "[2001:db8::1]:443".parse().ok());
    entry.comms = [(2211, "a\u{1b}[2J")].into();
    let mut utc = Text::new(100, false, Clock::Wall(jiff::tz::TimeZone::UTC), Detail::Verdicts);
    assert_eq!(
        utc.finding(&run(&facts), &entry),
        "14:03:07.412  ? > [2001:db8::1]:443   a?[2J[2211]\n  \
         8 B waited 226.9 ms: held by TCP_CORK with nothing in flight; the probe timer sent them.\n"
    );
}

#[test]
fn a_long_story_is_cut_short_unless_all_is_wanted() {
    let facts = facts();
    let mut long = corked();
    long.finding.evidence =
        (0..40).map(|n| Evidence { n, at_ns: START, fact: AnyFact::Nagle(Fact::Tsq) }).collect();
    let short = text(Detail::Evidence).finding(&run(&facts), &long);
    assert_eq!(
        (short.matches("TSQ ").count(), short.contains("... 26 more (-v shows them)\n")),
        (14, true)
    );
    assert_eq!(text(Detail::Everything).finding(&run(&facts), &long).matches("TSQ ").count(), 40);
}

fn with_stack(frames: Vec<Frame>) -> Entry {
    let mut entry = corked();
    let stack = Evidence { n: 18, at_ns: START, fact: AnyFact::Nagle(Fact::Stack { number: 4 }) };
    entry.finding.evidence.insert(1, stack);
    entry.stacks = [(4, frames)].into();
    entry
}

#[test]
fn a_user_stack_stands_under_its_write_or_is_called_not_seen() {
    let facts = facts();
    let frame = |function: &str, file: Option<&str>, line| Frame {
        function: function.to_owned(),
        file: file.map(str::to_owned),
        line,
    };
    let named = with_stack(vec![
        frame("write", None, None),
        frame("send_reply", Some("src/reply.c"), Some(40)),
        frame("a\u{1b}[2J", Some("x.c"), None),
    ]);
    let shown = text(Detail::Evidence).finding(&run(&facts), &named);
    assert!(
        shown.contains(
            "       0.00 ms  write 8 B             server[2211]
                  at write
                  at send_reply       src/reply.c:40
                  at a?[2J            x.c
       0.04 ms  held: cork "
        ),
        "{shown}"
    );
    let line = passed(Json.finding(&run(&facts), &named));
    assert!(
        line.contains(
            r#""event":"stack","frames":[{"function":"write"},{"function":"send_reply","file":"src/reply.c","line":40},"#
        ),
        "{line}"
    );
    let gone = with_stack(Vec::new());
    let shown = text(Detail::Evidence).finding(&run(&facts), &gone);
    assert!(shown.contains("\n                  not seen: its user stack\n"), "{shown}");
    let line = passed(Json.finding(&run(&facts), &gone));
    assert!(line.ends_with("\"not_seen\":[\"frames\"]}\n"), "{line}");
}

#[test]
fn cgroup_and_namespace_are_told_where_they_are_not_the_hosts_own() {
    let told = |netns, detail| {
        let facts = Facts { netns, ..facts() };
        let shown = text(detail).finding(&run(&facts), &corked());
        (shown.contains("\n  cgroup: /system.slice/server.service\n  netns: 4026531840\n"), shown)
    };
    for (netns, detail, wanted) in [
        (Some(4_026_531_840), Detail::Evidence, false),
        (Some(1), Detail::Evidence, true),
        (None, Detail::Evidence, false),
        (None, Detail::Everything, true),
        (Some(1), Detail::Verdicts, false),
    ] {
        let (found, shown) = told(netns, detail);
        assert_eq!(found, wanted, "{shown}");
        assert_eq!(shown.contains("netns"), wanted);
    }
}

#[test]
fn json_has_fixed_fields_and_no_nulls() {
    let facts = facts();
    assert_eq!(
        passed(Json.start(&run(&facts))),
        concat!(
            r#"{"type":"start","format":1,"tcptrace":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","question":"nagle","kernel":"6.1.0-56-cloud-amd64","hz":250,"filter":{"port":[8080]},"#,
            r#""started":"2026-11-22T14:03:02.412000000Z","not_seen":["do_tcp_setsockopt"]}"#,
            "\n"
        )
    );
    assert_eq!(
        passed(Json.finding(&run(&facts), &tail())),
        concat!(
            r#"{"type":"hold","time":"2026-11-22T14:03:07.412030000Z","monotonic_ns":5000030000,"socket":{"id":1,"#,
            r#""cookie":4097,"netns":4026531840,"local":"192.0.2.10:8080","remote":"192.0.2.77:40112"},"#,
            r#""process":{"pid":2211,"tid":2211,"comm":"server","cgroup":"/system.slice/server.service"},"bytes":5,"written_bytes":105,"way":"call","held_ns":43840000,"#,
            r#""causes":[{"cause":"cork","held_ns":43840000}],"release":"loss_probe","tail":true,"#,
            r#""writes":[{"bytes":5,"at_ns":10000,"held_ns":43840000}],"certainty":"seen","evidence":["#,
            r#"{"n":17,"at_ns":-30000,"event":"write","bytes":105,"msg_more":false},"#,
            r#"{"n":18,"at_ns":0,"event":"left","bytes":100,"seq":8,"end_seq":108,"fin":false},"#,
            r#"{"n":19,"at_ns":0,"event":"held","cause":"cork","bytes":5,"nonagle":2,"packets_out":2,"mss_bytes":50},"#,
            r#"{"n":20,"at_ns":0,"event":"timer_armed","timer":"loss_probe","due_ticks":10,"rto_ticks":56,"#,
            r#""srtt_us":17600,"packets_out":2},"#,
            r#"{"n":21,"at_ns":43820000,"event":"timer_fired","timer":"loss_probe"},"#,
            r#"{"n":22,"at_ns":43840000,"event":"left","bytes":5,"seq":108,"end_seq":113,"fin":false}],"#,
            r#""text":"5 of 105 B waited 43.8 ms: the tail after two full segments, held by TCP_CORK; "#,
            r#"the loss probe sent it."}"#,
            "\n"
        )
    );
}

#[test]
fn json_names_what_is_not_known() {
    let facts = facts();
    let mut entry = corked();
    entry.cgroup = None;
    (entry.socket, entry.comms) = (Socket { id: SocketId(3), ..Socket::default() }, [].into());
    let line = passed(Json.finding(&run(&facts), &entry));
    assert!(line.contains(r#""socket":{"id":3},"process":{"pid":2211,"tid":2211},"#), "{line}");
    assert!(
        line.ends_with("\"not_seen\":[\"netns\",\"local\",\"remote\",\"comm\",\"cgroup\"]}\n"),
        "{line}"
    );
    let gap = Gap { hook: "tcp_push", events: 7, from_ns: 0, until_ns: 50_000_000 };
    assert_eq!(
        passed(Json.gap(&run(&facts), &gap)),
        "{\"type\":\"gap\",\"hook\":\"tcp_push\",\"events\":7,\"from\":\"2026-11-22T14:03:02.412000000Z\",\"to\":\"2026-11-22T14:03:02.462000000Z\"}\n"
    );
}

#[test]
fn the_start_line_tells_each_criterion() {
    let facts = facts();
    let words_of = "port=80,8000-8010 local=10.0.0.0/8 remote=[2001:db8::]/32:443 family=6 pid=5 \
                    netns=7 comm=nginx cgroup=/a command=./bench@9";
    let filter: Filter = words_of.parse().expect("a filter in its own words");
    let run = Run {
        words: words(Kind::Nagle),
        facts: &facts,
        filter: &filter,
        everything: false,
        only: (&[], &[]),
    };
    let start = Json.start(&run);
    let told = concat!(
        r#""filter":{"port":[80,"8000-8010"],"local":["10.0.0.0/8"],"#,
        r#""remote":["[2001:db8::]/32:443"],"family":6,"netns":[7],"pid":5,"comm":["nginx"],"cgroup":["/a"],"command":"./bench"},"#
    );
    assert!(start.contains(told), "{start}");
    let everything = Run { filter: &Filter::default(), ..run };
    assert!(Json.start(&everything).contains(r#""filter":{},"#));
}

fn counted() -> (Tally, Totals) {
    let mut tally = Tally::default();
    for (entry, release, bytes, lasted_ns) in [
        (corked(), "probe timer", 8, 226_930_000),
        (corked(), "probe timer", 8, 228_100_000),
        (tail(), "loss probe", 5, 43_840_000),
    ] {
        let key = RowKey {
            pid: 2211,
            process: "server[2211]".into(),
            remote: entry.socket.remote.map(|remote| remote.ip()),
            columns: smallvec!["cork".into(), release.into()],
        };
        tally.add(&entry, key, (bytes, lasted_ns), true);
    }
    let totals = Totals {
        findings: 3,
        limit_ns: 1_000_000,
        total_ns: 498_870_000,
        longest_ns: 228_100_000,
        sockets_found: 1,
        ..Totals::default()
    };
    (tally, totals)
}

fn closing<'a>(tally: &'a Tally, totals: Totals, lost: &'a [Lost]) -> Closing<'a> {
    Closing {
        listeners: &[],
        started_ns: 0,
        ended_ns: 12_400_000_000,
        tally,
        top: 10,
        totals,
        patterns: &[],
        counters: &[],
        slowest: None,
        midlife: Some(1),
        events: 82_193,
        lost,
        lost_span: None,
        larger_buffer: None,
        sockets_full: false,
        misses: Some(0),
        complete: true,
        cost: None,
        estimated_ns: Some(49_600_000),
        shared: Vec::new(),
    }
}

#[test]
fn the_summary_counts_and_says_what_was_seen() {
    let (facts, (tally, totals)) = (facts(), counted());
    let cost = Cost { run_ns: 49_600_000, runs: 1_204, ..Cost::default() };
    let closing = Closing { cost: Some(&cost), estimated_ns: None, ..closing(&tally, totals, &[]) };
    assert_eq!(
        text(Detail::Evidence).summary(&run(&facts), &closing),
        "\
12.4 s, port 8080: 3 holds on 1 socket, 498.9 ms of waiting in all
  process       remote      cause  released by  holds  bytes       p50       p99       max
  server[2211]  192.0.2.77  cork   probe timer      2   16 B  226.9 ms  228.1 ms  228.1 ms
  server[2211]  192.0.2.77  cork   loss probe       1    5 B   43.8 ms   43.8 ms   43.8 ms
  how long        0.1 ms    1 ms      10 ms     100 ms    1 s
  cork                                      ▄      █
seen: all events; 0 lost, 0 probe misses. 1 socket was open before the start (options read, not watched).
cost: 0.4 % of one CPU inside the probes, 1,204 runs.
"
    );
    assert_eq!(
        passed(Json.summary(&run(&facts), &closing)),
        concat!(
            r#"{"type":"summary","holds":3,"held_total_ns":498870000,"events_lost":{},"probe_misses":{},"#,
            r#""sockets_seen_midlife":1,"sockets_found":1,"below_limit":0,"events":82193,"watched_ns":12400000000,"complete":true,"#,
            r#""probes_ns":49600000,"probe_runs":1204,"probes_over_ns":12400000000,"ended":"2026-11-22T14:03:14.812000000Z","#,
            r#""not_seen":["sockets_seen","writes"]}"#,
            "\n"
        )
    );
}

#[test]
fn what_the_probes_cost_is_told_hook_by_hook_with_v() {
    let (facts, (tally, totals)) = (facts(), counted());
    let spent = |hook, runs, run_ns| Spent { hook, runs, run_ns };
    let cost = Cost {
        run_ns: 12_000_000,
        runs: 50_100,
        sampled_ns: Some(500_000_000),
        by_hook: vec![
            spent(Hook::tcp_fin, 0, 0),
            spent(Hook::tcp_sendmsg_locked, 25_000, 2_000_000),
            spent(Hook::tcp_push, 25_100, 10_000_000),
        ],
    };
    let closing = Closing {
        cost: Some(&cost),
        estimated_ns: None,
        shared: vec!["tcp_push"],
        ..closing(&tally, Totals { writes: Some(600_000), ..totals }, &[])
    };
    let shown = text(Detail::Everything).summary(&run(&facts), &closing);
    let (_, shown) = shown.split_once("\ncost: ").unwrap();
    assert_eq!(
        shown,
        "\
2.4 % of one CPU inside the probes, 600,000 writes; sampled, 500.0 ms of 12.4 s. A tracer of another
      kind sits on tcp_push as well: there, each run costs two to eight times as much.
  probe                 runs  ns/run  % of one CPU
  tcp_push            25,100     398           2.0
  tcp_sendmsg_locked  25,000      80           0.4
"
    );
    let shown = text(Detail::Evidence).summary(&run(&facts), &closing);
    assert!(shown.ends_with("times as much.\n"), "{shown}");
    let json = passed(Json.summary(&run(&facts), &closing));
    assert!(json.contains(r#""probes_over_ns":500000000,"probes":[{"hook":"tcp_fin","runs":0,"#));
    assert!(json.contains(r#""shared_hooks":["tcp_push"]"#), "{json}");
    // Without counted writes, the runs tell how much there was to do.
    let closing = Closing { totals, ..closing };
    let shown = text(Detail::Evidence).summary(&run(&facts), &closing);
    assert!(shown.contains("inside the probes, 100,200 runs a second; sampled"), "{shown}");
}

#[test]
fn losses_come_first() {
    let (facts, (tally, totals)) = (facts(), counted());
    let lost = [Lost { hook: "tcp_push", reason: "buffer full", events: 1_920 }];
    let closing = Closing {
        lost_span: Some((7_000_000_000, 7_300_000_000)),
        larger_buffer: Some("16MiB".to_owned()),
        sockets_full: false,
        midlife: None,
        misses: None,
        ..closing(&tally, Totals { lost: true, ..totals }, &lost)
    };
    let shown = text(Detail::Verdicts).summary(&run(&facts), &closing);
    assert_eq!(
        shown,
        "\
seen: NOT ALL. 1,920 of 84,113 events lost at tcp_push (buffer full), +7.0 s to +7.3 s. probe misses not
      counted on this kernel. try: --buffer 16MiB, or a narrower filter
12.4 s, port 8080: 3 holds on 1 socket, 498.9 ms of waiting in all
cost: about 0.4 % of one CPU inside the probes, estimated from 82,193 events; -v measures it.
"
    );
    let json = passed(Json.summary(&run(&facts), &closing));
    assert!(json.contains(r#""events_lost":{"tcp_push":1920},"sockets_found":1"#), "{json}");
    assert!(json.contains(r#""not_seen":["probe_misses","sockets_seen_midlife","#), "{json}");
}

//! `timeline`, from written traces to text, byte for byte, and to JSON.
#![allow(missing_docs, reason = "a test")]

use tcptrace::{
    analysis::Kind,
    correlate::Correlator,
    event::{Event, Facts},
    explain::{Totals, words},
    render::{Clock, Closing, Detail, Format, Gap, Json, Run, Text},
    timeline::{Entry, RowKey, Tally},
    trace,
};

/// What a source delivers.
enum Item {
    Event(Event),
    Tick(u64),
}

const COMMON: &str = "snd_wnd=60000 snd_cwnd=10 sacked_out=0 lost_out=0 retrans_out=0 sk_pacing_status=0 sk_tsq_flags=0";

/// A server's connection that was open before the start: a corked reply, its probe timer, a request, the close. Times
/// in milliseconds from `start`.
fn corked(start_ms: u64, s: &str) -> String {
    let lines = [
        (
            0,
            "pid=2211 socket |",
            "skc_family=2 skc_state=1 inet_sport=36895 skc_dport=45212 skc_rcv_saddr=167903424 skc_daddr=1291976896 nonagle=0",
        ),
        (
            0,
            "pid=2211 do_tcp_setsockopt level=6 optname=3 |",
            "nonagle=0 write_seq=1000 snd_nxt=1000",
        ),
        (
            0,
            "pid=2211 tcp_push flags=64 mss_now=50 nonagle=2 size_goal=50 jiffies=1000 |",
            "nonagle=2 packets_out=0 snd_sml=1000 snd_una=1000 snd_nxt=1000 write_seq=1008 tail_len=8 mss_cache=50 \
             icsk_pending=3 icsk_rto=56 write_timer_expires=1056 srtt_us=160000 sk_lock_owned=1 COMMON",
        ),
        (0, "pid=2211 tcp_sendmsg_locked size=8 ret=8 |", "write_seq=1008 snd_nxt=1000"),
        (
            20,
            "pid=0 tcp_rcv_established jiffies=1005 |",
            "seq=7000 end_seq=7000 ack_seq=1000 snd_una=1000 snd_nxt=1000 write_seq=1008",
        ),
        (
            227,
            "pid=0 tcp_write_timer_handler jiffies=1056 |",
            "icsk_pending=3 snd_nxt=1000 write_seq=1008 write_timer_expires=1056 sk_lock_owned=0",
        ),
        (
            227,
            "pid=0 tcp_event_new_data_sent jiffies=1056 |",
            "seq=1000 end_seq=1008 snd_nxt=1000 write_seq=1008 nonagle=2 repair=0 sk_lock_owned=0",
        ),
        (
            247,
            "pid=0 tcp_rcv_established jiffies=1061 |",
            "seq=7000 end_seq=7000 ack_seq=1008 snd_una=1000 snd_nxt=1008 write_seq=1008",
        ),
        (
            1300,
            "pid=0 tcp_rcv_established jiffies=1300 |",
            "seq=7000 end_seq=7079 ack_seq=1008 snd_una=1008 snd_nxt=1008 write_seq=1008",
        ),
        (1300, "pid=0 tcp_fin jiffies=1300 |", "skc_state=1 write_seq=1008 snd_nxt=1008"),
        (
            1310,
            "pid=2212 tcp_send_fin jiffies=1302 |",
            "write_seq=1008 snd_nxt=1008 sk_lock_owned=1",
        ),
        (
            1310,
            "pid=2212 tcp_event_new_data_sent jiffies=1302 |",
            "seq=1008 end_seq=1009 snd_nxt=1008 write_seq=1009 sk_lock_owned=1",
        ),
        (
            1330,
            "pid=0 tcp_rcv_state_process jiffies=1307 |",
            "seq=7079 end_seq=7079 ack_seq=1009 snd_una=1008 snd_nxt=1009 write_seq=1009",
        ),
        (1330, "pid=0 tcp_done jiffies=1307 |", "skc_state=9 write_seq=1009 snd_nxt=1009"),
        (1330, "pid=0 tcp_v4_destroy_sock jiffies=1307 |", "write_seq=1009 snd_nxt=1009"),
    ];
    lines
        .iter()
        .zip(0_u64..)
        .map(|((ms, head, fields), i)| {
            let us = (start_ms + ms) * 1000 + 10 * i;
            let fields = fields.replace("COMMON", COMMON);
            format!("{}.{:06} {s} {head} {fields}\n", us / 1_000_000, us % 1_000_000)
        })
        .collect()
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
        not_seen: Vec::new(),
    }
}

fn run(facts: &Facts) -> Run<'_> {
    Run { words: words(Kind::Timeline), facts, ports: &[(8080, 8080)], pid: None }
}

fn shown(mut format: impl Format, entries: &[Entry]) -> String {
    let facts = facts();
    entries.iter().map(|entry| format.finding(&run(&facts), entry)).collect()
}

fn text(width: usize, color: bool, detail: Detail) -> Text {
    Text::new(width, color, Clock::Wall(jiff::tz::TimeZone::UTC), detail)
}

#[test]
fn print_it() {
    let found = entries(&items(&corked(5_000, "s1")), 9_000_000_000);
    println!("{}", shown(text(100, false, Detail::Evidence), &found));
    println!("{}", shown(text(100, false, Detail::Everything), &found));
    println!("{}", shown(text(60, false, Detail::Everything), &found));
    println!("{}", shown(text(100, true, Detail::Evidence), &found));
    println!("{}", shown(text(100, true, Detail::Verdicts), &found));
    println!("{}", shown(Json, &found));
    let two = entries(&items(&(corked(5_000, "s1") + &corked(5_400, "s2"))), 9_000_000_000);
    println!("{}", shown(text(100, false, Detail::Evidence), &two));
    let _ = (Item::Tick(0), Gap { hook: "", events: 0, from_ns: 0, until_ns: 0 });
    let _: Option<(Totals, Closing<'_>, RowKey, Tally)> = None;
}

//! The JSON Schema against lines that the whole pipeline makes of written traces.

mod strict;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use strict::{check, complaints, parsed};
use tcptrace::{
    analysis::Kind,
    correlate::Correlator,
    event::{About, Facts, Frame, Holder, SocketId},
    explain::words,
    filter::Filter,
    joined::{Ends, Patterns},
    render::{Format as _, Json, Run},
    trace,
};

/// The schema as it is printed.
fn schema() -> Value {
    tcptrace::render::schema().into()
}

fn passes(line: &Value) -> bool {
    complaints(line).is_empty()
}

/// A push that leaves `from..to` waiting, with nothing but small-segment rules in the way.
fn push(at: &str, args: &str, state: &str, (from, to): (u32, u32)) -> String {
    format!(
        "{at} s1 pid=7 tcp_push mss_now=1000 {args} jiffies=100 | {state} snd_nxt={from} write_seq={to} snd_wnd=60000 \
         snd_cwnd=10 sacked_out=0 lost_out=0 retrans_out=0 sk_pacing_status=0 sk_tsq_flags=0 tail_len={} \
         icsk_rto=56 srtt_us=160000\n{at} s1 pid=7 tcp_sendmsg_locked size={size} ret={size} | write_seq={to}\n",
        to - from,
        size = to - from
    )
}

/// A departure; in the context of task 0 nobody owns the socket.
fn left(at: &str, pid: u32, (seq, end_seq): (u32, u32), write_seq: u32) -> String {
    let owned = u32::from(pid != 0);
    format!(
        "{at} s1 pid={pid} tcp_event_new_data_sent jiffies=0 | seq={seq} end_seq={end_seq} snd_nxt={seq} \
         write_seq={write_seq} repair=0 sk_lock_owned={owned}\n"
    )
}

const CORKED: &str = "nonagle=2 packets_out=0 snd_sml=100 snd_una=100";
const NAGLED: &str = "nonagle=0 packets_out=1 snd_sml=200 snd_una=100";
const MORE: &str = "nonagle=0 packets_out=0 snd_sml=0 snd_una=100";
const SOCKET: &str = "0.9 s1 pid=7 socket comm0=1986356339 comm1=29285 comm2=0 comm3=0 | skc_family=2 \
                      skc_state=1 inet_sport=36895 skc_dport=36895 skc_rcv_saddr=16777343 skc_daddr=16777343 \
                      netns=4026531840 skc_cookie=4097 nonagle=0\n";

/// `tls`, as 16 bytes.
const TLS: &str = "746c7300000000000000000000000000";

/// Small stories, one per way in which a hold can end, and what stands in between.
fn stories() -> Vec<String> {
    let corked = || SOCKET.to_owned() + &push("1.0", "nonagle=2", CORKED, (100, 108));
    let probe = "icsk_pending=3 write_timer_expires=156";
    let loss_probe = "icsk_pending=5 write_timer_expires=110";
    let armed = |state: &str, timer: &str| {
        push("1.0", "nonagle=2", &format!("{state} {timer}"), (100, 108))
    };
    let timer = |pending| {
        format!("1.2 s1 pid=0 tcp_write_timer_handler | icsk_pending={pending} sk_lock_owned=0\n")
    };
    let gone = |pid| left("1.2", pid, (100, 108), 108);
    let ack = "1.1 s1 pid=0 tcp_rcv_established | ack_seq=200 snd_una=100 seq=1 end_seq=1 srtt_us=160000 sk_lock_owned=0\n";
    // One byte each, and none has left.
    let many: String = (108..178)
        .map(|n| {
            let push = push("1.1", "nonagle=2", CORKED, (n, n + 1));
            push.replace(&format!("snd_nxt={n} "), "snd_nxt=100 ")
        })
        .collect();
    let still_nagled = push("1.02", "", NAGLED, (100, 108))
        .replace("tcp_push mss_now=1000 ", "tcp_write_xmit mss_now=1000 nonagle=0 push_one=0");
    let behind_a_small_one =
        push("1.3", "nonagle=0", "nonagle=0 packets_out=1 snd_sml=108 snd_una=100", (108, 116));
    vec![
        armed(CORKED, probe) + &timer(3) + &gone(0),
        armed(CORKED, loss_probe) + &timer(5) + &gone(0),
        corked() + &timer(1) + &gone(7),
        push("1.0", "nonagle=0", NAGLED, (200, 250)) + ack + &left("1.1", 0, (200, 250), 250),
        push("1.0", "nonagle=0", NAGLED, (200, 250))
            + "1.01 s1 pid=7 do_tcp_setsockopt level=6 optname=1 |\n"
            + &left("1.01", 7, (200, 250), 250),
        corked()
            + "1.1 s1 pid=7 do_tcp_setsockopt level=6 optname=3 |\n"
            + still_nagled.lines().next().unwrap_or_default()
            + "
" + &gone(7) + &behind_a_small_one,
        push("1.0", "nonagle=0", NAGLED, (200, 800)) + &left("1.004", 7, (200, 1200), 1400),
        push("1.0", "flags=32768 nonagle=0", MORE, (100, 140)) + &left("1.01", 7, (100, 180), 180),
        corked()
            + &left("1.1", 7, (100, 109), 109)
                .replace("repair=0", "repair=0 snd_up=109 snd_una=100"),
        corked()
            + "1.05 s1 pid=7 tcp_send_fin | write_seq=108 snd_nxt=100 sk_lock_owned=1\n"
            + &left("1.05", 7, (100, 109), 109),
        corked()
            + "1.1 s1 pid=0 tcp_tsq_write | write_seq=108 snd_nxt=100 sk_tsq_flags=0 sk_lock_owned=0\n"
            + &gone(0),
        corked() + "1.5 s1 pid=0 tcp_done | write_seq=108 snd_nxt=100\n",
        push("1.0", "nonagle=2", CORKED, (2100, 2105))
            .replace("size=5 ret=5", "size=2005 ret=2005")
            + &left("1.2", 0, (2100, 2105), 2105),
        push("1.0", "nonagle=2", CORKED, (100, 108)) + &many,
        // With the user stack of the call, and without.
        push("1.0", "nonagle=2", CORKED, (100, 108)) + "1.0 s1 pid=7 user_stack stack=1 |\n",
        push("1.0", "nonagle=2", CORKED, (100, 108)) + "1.0 s1 pid=7 user_stack stack=0 |\n",
        // Given otherwise than by a call of its own.
        corked().replace("| write_seq=108", "| write_seq=108 msg_flags=134217728"),
        corked().replace("| write_seq=108", &format!("| write_seq=108 icsk_ulp_name={TLS}")),
        corked().replace("netns=", "is_mptcp=1 netns="),
        corked().replace("netns=", "sk_kern_sock=1 netns="),
        // The call was not seen.
        push("1.0", "nonagle=2", CORKED, (100, 108)).lines().next().unwrap_or_default().to_owned()
            + "\n"
            + &gone(0),
    ]
}

/// Less than the buffer allows, and more than may wait.
const ROOM: &str = "snd_nxt=50 sk_wmem_queued=2304 sk_sndbuf=87040 notsent_lowat=10";

/// One per limit that can hold bytes, with the releases that only those have.
fn limits() -> Vec<String> {
    const IDLE: &str = "nonagle=1 packets_out=1 snd_sml=100 snd_una=100";
    let held = |from: &str, to: &str| {
        push("1.0", "nonagle=1 size_goal=2000", IDLE, (200, 250)).replace(from, to)
    };
    let gone = left("1.1", 0, (200, 250), 250);
    let throttled = ("sk_tsq_flags=0", "sk_tsq_flags=1");
    let attempt = |text: String| {
        let push = text.lines().next().unwrap_or_default();
        let attempt = push
            .replace("tcp_push mss_now=1000 ", "tcp_write_xmit mss_now=1000 push_one=0 ")
            .replace(" size_goal=2000", "")
            .replace("tail_len=50", "tail_len=50 sk_lock_owned=1");
        format!("{attempt}\n{text}")
    };
    let update = "1.1 s1 pid=0 tcp_rcv_established | ack_seq=100 snd_una=100 snd_wnd=0 snd_nxt=200 seq=1 end_seq=1 sk_lock_owned=0\n";
    let opened = gone.replace("repair=0", "repair=0 snd_una=100 snd_wnd=9000");
    let slept = |hook: &str| {
        format!(
            "1.0 s1 pid=7 {hook} | write_seq=100 snd_nxt=100\n\
             1.1 s1 pid=0 tcp_rcv_established | ack_seq=100 snd_una=90 write_seq=100\n\
             1.2 s1 pid=7 tcp_sendmsg_locked size=50 ret=50 | write_seq=150 snd_nxt=150\n"
        )
    };
    vec![
        held(throttled.0, throttled.1) + "1.1 s1 pid=0 tcp_tsq_write | sk_lock_owned=0\n" + &gone,
        attempt(held(throttled.0, throttled.1)),
        held("snd_cwnd=10", "snd_cwnd=1"),
        held("snd_wnd=60000", "snd_wnd=0") + update + &opened,
        held("snd_wnd=60000", "snd_wnd=120"),
        held("sk_pacing_status=0", "sk_pacing_status=1 tcp_wstamp_ns=2 tcp_clock_cache=1")
            + "1.1 s1 pid=0 tcp_pace_kick |\n1.1 s1 pid=0 tcp_tsq_write | sk_lock_owned=0\n"
            + &gone,
        held("tail_len=50", "tail_len=50 head_len=5000"),
        push("0.9", "nonagle=2", "nonagle=2 packets_out=1 snd_sml=100 snd_una=100", (200, 210))
            + "1.0 s1 pid=7 __tcp_transmit_skb clone_it=1 ret=1 | seq=200 end_seq=250 snd_nxt=200 sk_lock_owned=1\n"
            + &held("tail_len=50", "tail_len=50 sk_lock_owned=1"),
        slept("sk_stream_wait_memory"),
        slept("sk_stream_wait_memory")
            .replace("ret=50", "ret=20")
            .replace("write_seq=150 snd_nxt=150", "write_seq=120 snd_nxt=120 msg_flags=0"),
        slept("sk_stream_wait_memory").replacen("snd_nxt=100", ROOM, 1),
        slept("sk_stream_wait_memory").replacen(
            "snd_nxt=100",
            &ROOM.replace("notsent_lowat=10", "notsent_lowat=90"),
            1,
        ),
        slept("sk_stream_wait_connect"),
        slept("tcp_connect ret=0"),
        // The call sleeps for room when its first bytes leave.
        held("snd_cwnd=10", "snd_cwnd=1").lines().next().unwrap_or_default().to_owned()
            + "\n1.0 s1 pid=7 sk_stream_wait_memory | write_seq=250 snd_nxt=200\n"
            + &gone,
    ]
}

/// What is said of the peer, and of several writes together.
fn acknowledged() -> Vec<String> {
    // 50 bytes that wait behind 50 others until their ACK comes.
    let waits = |at: u32, from: u32, args: &str, came: &str| {
        let (una, to) = (from - 50, from + 50);
        let state = format!("nonagle=0 packets_out=1 snd_sml={from} snd_una={una}");
        push(&format!("{at}.0"), &format!("nonagle=0 {args}"), &state, (from, to))
            + &format!(
                "{at}.{came} snd_una={una} snd_nxt={from} ack_seq={from} srtt_us=8800 rtt_min=1100 \
                 rtx_end_seq={from} rtx_mstamp_ns={at}000000000 sk_lock_owned=0\n"
            )
            + &left(&format!("{at}.05"), 0, (from, to), to)
    };
    let pure = "042 s1 pid=0 tcp_rcv_established | seq=1 end_seq=1";
    let twice = |part: u32, size: &str| {
        let one = |turn: u32| {
            waits(turn, 100 + 50 * turn, &format!("turn={turn} part={part}"), pure)
                .replace("size=50 ret=50", size)
        };
        one(1) + &one(2)
    };
    let (small, large) = ("size=50 ret=50", "size=1050 ret=1050");
    let timer = "1.0419 s1 pid=0 tcp_delack_timer_handler arrived_us=41000 pid=7 tid=7 jiffies=110 | \
                 icsk_ack_pending=3 icsk_ack_pingpong=1 icsk_ack_ato=10 icsk_ack_timeout=110 rcv_nxt=200\n";
    vec![
        waits(1, 200, "", "0012 s1 pid=0 tcp_rcv_established | seq=1 end_seq=1"),
        waits(1, 200, "", "042 s1 pid=0 tcp_rcv_established | seq=1 end_seq=9"),
        // Both ends have the same name here.
        SOCKET.to_owned() + timer + &waits(1, 200, "", pure),
        twice(2, small),
        twice(2, large),
        twice(1, large),
    ]
}

/// What only `timeline` tells, beside what it tells of [`stories`].
fn stories_of_a_socket() -> Vec<String> {
    let pushed = push("1.0", "nonagle=2", CORKED, (100, 108));
    // The stretch ends while the call sleeps: its return is in the next one.
    let slept = pushed.lines().next().unwrap_or_default().to_owned()
        + "\n3.0 s1 pid=7 tcp_sendmsg_locked size=8 ret=8 | write_seq=108\n";
    vec![
        SOCKET.to_owned() + &slept,
        SOCKET.to_owned()
            + "1.0 s1 pid=0 tcp_rcv_established | seq=1 end_seq=9 ack_seq=100 snd_una=100 write_seq=100\n\
               1.0 s1 pid=0 tcp_fin | skc_state=1 write_seq=100 snd_nxt=100\n\
               1.1 s1 pid=0 tcp_done | skc_state=9 write_seq=100 snd_nxt=100\n\
               1.1 s1 pid=0 tcp_v4_destroy_sock | write_seq=100 snd_nxt=100\n",
        "1.0 s1 pid=0 tcp_send_delayed_ack jiffies=100 | icsk_ack_pending=3 icsk_ack_pingpong=1 icsk_ack_ato=10 icsk_ack_timeout=110\n\
         1.04 s1 pid=0 tcp_delack_timer_handler jiffies=110 | icsk_ack_pending=3 icsk_ack_timeout=110\n".to_owned(),
        "1.0 s1 pid=7 __tcp_close | skc_state=1 copied_seq=1 rcv_nxt=2\n1.0 s1 pid=7 ack_sent |\n1.0 s1 pid=7 tcp_send_active_reset |\n\
         1.0 s1 pid=7 tcp_reset |\n1.0 s1 pid=7 tcp_time_wait state=6 |\n".to_owned(),
        pushed.clone() + LOSS + "\n" + &left("1.2", 0, (100, 108), 108),
        pushed + "1.1 s1 pid=7 socket_reused | write_seq=70000 snd_nxt=70000\n",
    ]
}

/// Those that the machine's own tests have too.
fn stories_of_closes() -> Vec<String> {
    let stories = include_str!("stories/close.txt").split("## ").filter_map(|s| s.split_once('\n'));
    // More lines than are kept.
    let again = "1.1 s1 pid=0 tcp_rcv_state_process | seq=201 end_seq=202 ack_seq=100 snd_una=100 snd_nxt=100 \
                 tcp_flags=17 skc_state=8 rcv_nxt=202\n";
    let many =
        format!("{SOCKET}1.0 s1 pid=0 tcp_fin | skc_state=1 rcv_nxt=202\n{}", again.repeat(70));
    let others = [many, format!("{SOCKET}{BOTH_ENDS}")];
    stories.map(|(_, lines)| SOCKET.to_owned() + lines).chain(others).collect()
}

/// Those that the machine's own tests have too, and one whose other end is told first.
fn stories_of_openings() -> Vec<String> {
    let stories = include_str!("stories/fastopen.txt");
    let stories: Vec<(&str, &str)> =
        stories.split("## ").filter_map(|story| story.split_once('\n')).collect();
    let of = |wanted: &str| {
        let found = stories.iter().find(|(name, _)| name.trim() == wanted);
        found.map(|(_, lines)| *lines).expect("a story of this name")
    };
    let other = SOCKET.replace("s1", "s2") + &of("server_bit_off").replace("s1", "s2");
    let both = format!("{SOCKET}{other}{}", of("cookie_requested"));
    let accepted = SOCKET.replace("s1", "s2") + &of("server_old_key").replace("s1", "s2");
    let both_worked = format!("{SOCKET}{accepted}{}", of("worked"));
    // More lines than are kept.
    let many = of("not_answered_yet").to_owned()
        + &"1.1 s1 pid=0 tcp_fastopen_active_detect_blackhole expired=0 | icsk_retransmits=5\n"
            .repeat(40);
    let others = [both, both_worked, SOCKET.to_owned() + &many];
    stories.iter().map(|(_, lines)| SOCKET.to_owned() + lines).chain(others).collect()
}

/// Those that the machine's own tests have too, and one with more lines than are kept.
fn stories_of_deferrals() -> Vec<String> {
    let stories = include_str!("stories/defer_accept.txt");
    let stories: Vec<&str> =
        stories.split("## ").filter_map(|story| story.split_once('\n')).map(|(_, it)| it).collect();
    let many = stories.first().copied().unwrap_or_default().lines().next().unwrap_or_default();
    let timer = "\n1.1 s1 pid=0 tcp_syn_ack_timeout | req_num_timeout=1 req_acked=1".repeat(80);
    let of = |lines: &str| SOCKET.to_owned() + lines;
    stories.into_iter().map(of).chain([of(&format!("{many}{timer}\n"))]).collect()
}

/// Those that the machine's own tests have too.
fn stories_of_options() -> Vec<String> {
    let stories =
        include_str!("stories/sockopt.txt").split("## ").filter_map(|s| s.split_once('\n'));
    stories.map(|(_, lines)| SOCKET.to_owned() + lines).collect()
}

/// The other end of the socket closes second, and is told first.
const BOTH_ENDS: &str = "\
0.9 s2 pid=7 socket comm0=1986356339 comm1=29285 comm2=0 comm3=0 | skc_family=2 skc_rcv_saddr=16777343 skc_daddr=16777343 inet_sport=36895 skc_dport=36895
1.000 s1 pid=7 tcp_send_fin | write_seq=100 snd_nxt=100 sk_lock_owned=1 skc_state=4
1.000 s1 pid=7 segment_sent | seq=100 end_seq=101 tcp_flags=17 snd_nxt=100
1.000 s2 pid=0 tcp_fin | skc_state=1 rcv_nxt=101 rcv_wup=100 icsk_ack_rcv_mss=536
1.010 s2 pid=7 __tcp_close | skc_state=8 copied_seq=100 rcv_nxt=101 write_seq=200 snd_nxt=200 snd_una=200 skc_flags=0
1.010 s2 pid=7 tcp_send_fin | write_seq=200 snd_nxt=200 sk_lock_owned=1 skc_state=9
1.010 s2 pid=7 segment_sent | seq=200 end_seq=201 tcp_flags=17 snd_nxt=200
1.010 s1 pid=0 tcp_rcv_state_process | seq=200 end_seq=201 ack_seq=101 snd_una=100 snd_nxt=101 tcp_flags=17 skc_state=4 rcv_nxt=200
1.010 s1 pid=0 tcp_fin | skc_state=5 rcv_nxt=201
1.010 s1 pid=0 tcp_time_wait state=6 timeo=0 | skc_state=5
1.011 s2 pid=0 tcp_rcv_state_process | seq=101 end_seq=101 ack_seq=201 snd_una=200 snd_nxt=201 tcp_flags=16 skc_state=9 rcv_nxt=101
1.011 s2 pid=0 tcp_done | skc_state=9 sk_err=0
";

/// Written traces that between them make every word and every field of the question's findings.
fn stories_of(kind: Kind) -> Vec<String> {
    match kind {
        Kind::Nagle => stories().into_iter().chain(limits()).chain(acknowledged()).collect(),
        Kind::Close => stories_of_closes(),
        Kind::Fastopen => stories_of_openings(),
        Kind::DeferAccept => stories_of_deferrals(),
        Kind::Sockopt => stories_of_options(),
        // What other questions see is told here too.
        Kind::Timeline => [
            stories(),
            limits(),
            stories_of_a_socket(),
            stories_of_openings(),
            stories_of_deferrals(),
            stories_of_options(),
        ]
        .concat(),
    }
}

/// What the schema has and no line of this question.
const fn never(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Nagle => &[],
        // Only close() and shutdown() queue a FIN. A FIN is held by few of the things that hold data, and let go by few of those that let it go; a close has no
        // user stack.
        Kind::Close => &NEVER_OF_A_FIN,
        // None of these has a user stack.
        Kind::DeferAccept => &["file", "frames", "function", "line", "sent_by=segment"],
        Kind::Fastopen | Kind::Sockopt => &["file", "frames", "function", "line"],
        // The releases are those of `hold`; what is held at the end of the run is the line `still_held` here. The rest is of
        // lines of other questions for which the timeline has its own.
        Kind::Timeline => &[
            "by=data",
            "error",
            "event=ack_sent",
            "event=timed_out",
            "event=written",
            "gives_up",
            "max_qlen",
            "periods",
            "release=still_held",
            "seconds",
            "timeouts",
        ],
    }
}

const NEVER_OF_A_FIN: [&str; 40] = [
    "by=disconnect",
    "by=listener",
    "cause=autocork",
    "cause=cork",
    "cause=msg_more",
    "cause=nagle",
    "cause=not_established",
    "cause=notsent_lowat",
    "cause=pacing",
    "cause=send_buffer",
    "cause=tso_defer",
    "cause=tsq",
    "cause=undetermined",
    "file",
    "fin_held_by=autocork",
    "fin_held_by=cork",
    "fin_held_by=msg_more",
    "fin_held_by=nagle",
    "fin_held_by=not_established",
    "fin_held_by=notsent_lowat",
    "fin_held_by=pacing",
    "fin_held_by=send_buffer",
    "fin_held_by=tso_defer",
    "fin_held_by=tsq",
    "fin_held_by=undetermined",
    "fin_release=ack",
    "fin_release=discarded",
    "fin_release=fin",
    "fin_release=given_up",
    "fin_release=more_data",
    "fin_release=nodelay",
    "fin_release=pacing_timer",
    "fin_release=push",
    "fin_release=still_held",
    "fin_release=tsq",
    "fin_release=uncork",
    "fin_release=urgent_data",
    "frames",
    "function",
    "line",
];

/// In place of an event: some were lost here.
const LOSS: &str = "lost";

fn lines(kind: Kind, story: &str) -> Vec<String> {
    let facts = Facts { release: "6.1.0".to_owned(), hz: Some(250), ..Facts::default() };
    let filter: Filter = "port=80 pid=7".parse().expect("a filter in its own words");
    let run = Run {
        words: words(kind),
        facts: &facts,
        filter: &filter,
        everything: kind.everything(),
        only: (&[], &[]),
    };
    let (mut correlator, mut entries) = (Correlator::new(kind), Vec::new());
    correlator.comm(7, "server".to_owned());
    correlator.about(About::Cgroup { pid: 7, path: "/server".to_owned() });
    let (file, line) = (Some("reply.c".to_owned()), Some(40));
    let frame = Frame { function: "reply".to_owned(), file, line };
    correlator.about(About::Stack { number: 1, frames: vec![frame] });
    let (mut ends, mut patterns) = (Ends::default(), Patterns::default());
    let mut last_ns = 0;
    for (n, line) in (1..).zip(story.lines()) {
        if line == LOSS {
            correlator.loss(last_ns);
            continue;
        }
        let mut event = trace::parse(line).expect(line);
        event.n = n;
        last_ns = event.at_ns;
        ends.event(&event, correlator.socket(event.socket).as_ref(), |_| Some("server".into()));
        correlator.push(&event);
    }
    let holder = Holder { pid: 7, processes: 1 };
    correlator.about(About::Holder { socket: SocketId(1), holder });
    correlator.finish(last_ns, true, &mut entries);
    for entry in &mut entries {
        ends.join(entry);
        patterns.add(entry);
    }
    entries.iter().map(|entry| Json.finding(&run, entry)).collect()
}

/// Calls `each` with the schema of every value that a line of `schema` can have, and the name of its field.
fn fields(schema: &Value, name: &str, each: &mut dyn FnMut(&str, &Value)) {
    each(name, schema);
    let part = |keyword: &str| schema.get(keyword).into_iter();
    for keyword in ["oneOf", "anyOf", "allOf"] {
        part(keyword)
            .filter_map(Value::as_array)
            .flatten()
            .for_each(|part| fields(part, name, each));
    }
    part("items").chain(part("additionalProperties")).for_each(|part| fields(part, name, each));
    for (name, part) in part("properties").filter_map(Value::as_object).flatten() {
        fields(part, name, each);
    }
}

/// Every `NAME=TEXT` in the value, of fields that hold a text, and every `NAME` of the others.
fn said(value: &Value, name: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            out.insert(name.clone());
            said(value, name, out);
        }),
        Value::Array(array) => array.iter().for_each(|value| said(value, name, out)),
        Value::String(text) => {
            out.insert(format!("{name}={text}"));
        }
        _ => {}
    }
}

#[test]
fn every_word_and_field_of_a_finding_comes_from_some_trace_and_passes() {
    for kind in Kind::ALL {
        made_by_traces(*kind);
    }
}

fn made_by_traces(kind: Kind) {
    let mut seen = BTreeSet::new();
    for line in stories_of(kind).iter().flat_map(|story| lines(kind, story)) {
        check(&line);
        said(&parsed(&line), "", &mut seen);
    }
    let whole = schema();
    let finding =
        whole.pointer(&format!("/$defs/{}", words(kind).one)).expect("it is in the schema");
    let mut wanted = BTreeSet::new();
    fields(finding, "", &mut |name, schema| {
        wanted.insert(name.to_owned());
        if let Some(word) = schema.get("const").and_then(Value::as_str) {
            wanted.insert(format!("{name}={word}"));
        }
    });
    wanted.remove("");
    assert!(wanted.len() > 10, "{wanted:?}");
    let missing: Vec<_> = wanted.difference(&seen).map(String::as_str).collect();
    assert_eq!(missing, never(kind), "in no line");
}

#[test]
fn the_examples_of_the_documentation_pass() {
    for (page, wanted) in [
        (
            include_str!("../../docs/json.md"),
            ["start", "hold", "close", "stretch", "summary"].as_slice(),
        ),
        (include_str!("../../docs/timeline.md"), &["stretch"]),
    ] {
        let examples: Vec<&str> =
            page.lines().filter(|line| line.starts_with("{\"type\"")).collect();
        for line in &examples {
            check(&format!("{line}\n"));
        }
        let types: Vec<Value> =
            examples.iter().map(|line| parsed(&format!("{line}\n"))["type"].clone()).collect();
        assert_eq!(types, wanted);
    }
}

#[test]
fn a_wrong_line_does_not_pass() {
    let line = lines(Kind::Nagle, &stories()[2]).remove(0);
    let right = parsed(&line);
    assert!(passes(&right));
    let wrong = |pointer: &str, value: Value| {
        let mut line = right.clone();
        *line.pointer_mut(pointer).expect(pointer) = value;
        assert!(!passes(&line), "{pointer} passes: {line}");
    };
    wrong("/type", json!("holds"));
    wrong("/release", json!("luck"));
    wrong("/held_ns", json!("1 ms"));
    wrong("/held_ns", json!(-1));
    wrong("/socket/netns", Value::Null);
    wrong("/causes/0/cause", json!("bad weather"));
    wrong("/evidence/0/event", json!("held_up"));
    wrong("/process/pid", json!(1.5));
    for pointer in ["", "/socket", "/process", "/causes/0", "/writes/0", "/evidence/0"] {
        let mut line = right.clone();
        line.pointer_mut(pointer).unwrap()["held_ms"] = json!(5);
        assert!(!passes(&line), "a field that is not in the schema passes in {pointer}");
    }
    for missing in ["type", "held_ns", "release", "evidence", "text"] {
        let mut line = right.clone();
        line.as_object_mut().unwrap().remove(missing);
        assert!(!passes(&line), "passes without {missing}");
    }
}

/// Whole numbers whose names say all: counts, kernel fields without a unit, numbers of things.
const WITHOUT_UNIT: [&str; 43] = [
    "ack_seq",
    "below_limit",
    "bytes",
    "closes",
    "cookie",
    "end_seq",
    "events",
    "events_lost",
    "evidence_left_out",
    "family",
    "flags",
    "format",
    "holds",
    "holds_ended",
    "hz",
    "icsk_pending",
    "id",
    "line",
    "n",
    "netns",
    "nonagle",
    "open_in_processes",
    "optname",
    "packets_out",
    "pid",
    "pingpong",
    "port",
    "probe_misses",
    "probe_runs",
    "runs",
    "repeated_segments",
    // Bytes, or a negative error number: what a system call returns has no unit.
    "returned",
    "segments",
    "seq",
    "skc_state",
    "small_end_seq",
    "snd_cwnd",
    "snd_wnd",
    "sockets_found",
    "sockets_seen",
    "sockets_seen_midlife",
    "stretches",
    "tid",
];
const COUNTS: [&str; 29] = [
    "accept_queue_full",
    "acks_dropped",
    "attempts",
    "backlog",
    "calls",
    "connections",
    "data_came",
    "deferred",
    "dropped",
    "held",
    "max_qlen",
    "not_deferred",
    "other_periods",
    "paid",
    "period",
    "periods",
    "periods_over",
    "promoted_empty",
    "qlen",
    "queued",
    "requests",
    "resent",
    "resets_ignored",
    "retries",
    "syn_acks_repeated",
    "syns_again",
    "timeouts",
    "times",
    "writes",
];
/// More counts, numbers of errors and settings.
const OTHERS: [&str; 16] = [
    // Of an option, whose unit stands beside them.
    "asked",
    "asked_s",
    "errno",
    "error",
    "existing",
    "findings",
    "from",
    "kernel",
    // Of an option; and what its call returned.
    "level",
    "new",
    "old",
    "result",
    "seconds",
    "sysctl_tcp_fastopen",
    "to",
    "writes_left_out",
];

#[test]
fn units_are_in_the_names() {
    let whole = schema();
    let mut numbers = BTreeSet::new();
    for kind in whole["$defs"].as_object().unwrap().values() {
        fields(kind, "", &mut |name, schema| {
            assert_ne!(schema["type"], json!("number"), "{name}: only whole numbers are exact");
            if schema["type"] == json!("integer") {
                numbers.insert(name.to_owned());
            }
        });
    }
    let with_unit =
        |name: &str| ["_ns", "_us", "_bytes", "_ticks"].iter().any(|unit| name.ends_with(unit));
    let bare: BTreeSet<&str> =
        numbers.iter().map(String::as_str).filter(|name| !with_unit(name)).collect();
    let reviewed: BTreeSet<&str> = WITHOUT_UNIT.into_iter().chain(COUNTS).chain(OTHERS).collect();
    assert_eq!(bare, reviewed, "numbers without a unit in the name, and those reviewed");
}

/// Every field says what it is.
fn described(place: &Value) {
    for (name, field) in place.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let has = ["description", "const"].iter().any(|keyword| field.get(keyword).is_some());
        assert!(has, "{name} has no description");
    }
    match place {
        Value::Object(object) => object.values().for_each(described),
        Value::Array(array) => array.iter().for_each(described),
        _ => {}
    }
}

#[test]
fn every_field_is_described_and_nothing_is_null() {
    let whole = schema();
    assert_eq!(whole["$schema"], json!("https://json-schema.org/draft/2020-12/schema"));
    assert_eq!(
        jsonschema::draft202012::meta::validate(&whole).map_err(|error| error.to_string()),
        Ok(())
    );
    described(&whole);
    for kind in whole["$defs"].as_object().unwrap().values() {
        fields(kind, "", &mut |name, schema| {
            let types = schema["type"].as_array().into_iter().flatten();
            assert!(types.chain([&schema["type"]]).all(|kind| *kind != json!("null")), "{name}");
        });
    }
}

#[test]
fn the_lines_of_a_question_are_those_of_the_table() {
    let whole = schema();
    let kinds: BTreeSet<&str> =
        whole["$defs"].as_object().unwrap().keys().map(String::as_str).collect();
    let questions = &whole["$defs"]["start"]["properties"]["question"]["enum"];
    for words in Kind::ALL.iter().map(|kind| words(*kind)) {
        let summary = format!("summary_{}", words.question.replace('-', "_"));
        for kind in ["start", "gap", words.one, &summary] {
            assert!(kinds.contains(kind), "{kind}");
        }
        assert!(questions.as_array().unwrap().contains(&json!(words.question)));
    }
    assert_eq!(whole["oneOf"].as_array().unwrap().len(), kinds.len());
}

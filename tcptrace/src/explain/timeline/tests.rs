//! Every line of `timeline`: a fact without one does not pass.

use std::collections::BTreeMap;

use super::words::{error, flags, headline, state};
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        nagle::{Held, Part, Release, Timer},
        timeline::{Fact, Stretch},
    },
    event::{Facts, SocketId},
    explain::{Context, Explanation, Mark, Totals},
    finding::{Certainty, Evidence, Finding, Task},
};

const OWNER: Task = Task { pid: 2211, tid: 2211 };
const OTHER: Task = Task { pid: 7, tid: 7 };
const MS: u64 = 1_000_000;

fn told(stretch: Stretch, facts: Vec<Fact>, certainty: Certainty) -> Explanation {
    let evidence =
        facts.into_iter().map(|fact| Evidence { n: 1, at_ns: 0, fact: AnyFact::Timeline(fact) });
    let finding = Finding {
        socket: SocketId(1),
        from_ns: 0,
        until_ns: 40 * MS,
        cause: Cause::Timeline(stretch),
        evidence: evidence.collect(),
        certainty,
        not_seen: Vec::new(),
    };
    let facts = Facts { hz: Some(250), ..Facts::default() };
    let comms = [(2211, "server")].into();
    let context = Context {
        facts: &facts,
        comms: &comms,
        stacks: &BTreeMap::new(),
        all_tasks: true,
        meets_all: true,
    };
    crate::explain::explain(&finding, &context)
}

fn stretch() -> Stretch {
    Stretch { owner: Some(OWNER), ..Stretch::default() }
}

fn line(fact: Fact) -> String {
    let line = told(stretch(), vec![fact], Certainty::Seen).lines.remove(0);
    let mark = match line.mark {
        Mark::None => ' ',
        Mark::Out => '>',
        Mark::In => '<',
        Mark::Begin => '┌',
        Mark::Within => '│',
        Mark::End => '└',
        Mark::Under => '^',
    };
    format!("{mark} {} | {}{}", line.label, line.detail, if line.minor { " | minor" } else { "" })
}

fn write(bytes: Option<u32>, given_bytes: Option<u32>, returned: Option<i32>) -> Fact {
    Fact::Write {
        bytes,
        flags: Some(0),
        given_bytes,
        returned,
        waiting_bytes: Some(0),
        task: OWNER,
    }
}

fn segment(acked_bytes: u32, acks_fin: bool, data_bytes: u32) -> Fact {
    let (syn, fin, released) = (false, false, false);
    Fact::SegmentIn { acked_bytes, ack_seq: None, acks_fin, data_bytes, syn, fin, released }
}

fn ended(causes: Vec<Part>, release: Release, certainty: Certainty) -> Fact {
    let (bytes, written_bytes, held_ns) = (5, Some(105), 226_900_000);
    Fact::HoldEnded { bytes, written_bytes, held_ns, causes, release, certainty }
}

#[test]
fn every_write_says_what_it_added_and_how_it_ended() {
    let flagged = Fact::Write {
        bytes: Some(8),
        flags: Some(0x8040),
        given_bytes: None,
        returned: None,
        waiting_bytes: Some(16),
        task: OTHER,
    };
    let shown = [
        write(Some(8), Some(8), Some(8)),
        write(Some(8), Some(100), Some(8)),
        write(Some(600), Some(1400), Some(1400)),
        write(None, None, None),
        flagged,
        Fact::WriteReturned { given_bytes: 8, returned: 8, task: OWNER },
        Fact::WriteReturned { given_bytes: 8, returned: -32, task: OWNER },
    ]
    .map(line);
    assert_eq!(
        shown,
        [
            "> write 8 B | ",
            "> write 8 B | 100 B were given",
            "> write 600 B | end of a call that wrote 1400 B",
            "> write | size not seen",
            "> write 8 B | pid 7; MSG_MORE | MSG_DONTWAIT; 16 B unsent",
            "> write call took 8 B | 8 B were given",
            "> write 8 B failed | EPIPE",
        ]
    );
}

#[test]
fn acks_that_are_put_off_and_what_closes_have_their_lines() {
    let put_off =
        |pingpong, ato_ticks, due_ticks| line(Fact::AckPutOff { pingpong, ato_ticks, due_ticks });
    let shown = [
        put_off(Some(1), Some(10), Some(10)),
        put_off(Some(0), Some(0), Some(0)),
        put_off(None, None, None),
        line(Fact::AckTimerFired),
        line(Fact::CloseCalled { unread_bytes: Some(312), task: OTHER }),
        line(Fact::CloseCalled { unread_bytes: Some(0), task: OWNER }),
        line(Fact::AckOut),
        line(Fact::ResetOut),
        line(Fact::Reset),
        line(Fact::Minisock { skc_state: Some(6) }),
    ];
    assert_eq!(
        shown,
        [
            "< ACK put off | pingpong, ato 40 ms, due in 40 ms",
            "< ACK put off | not in pingpong, ato 0 ms, due in 0 ms",
            "< ACK put off | ",
            "  delayed-ACK timer fired | it sends the ACK",
            "> close() | pid 7; 312 B unread",
            "> close() | ",
            "> ACK | nothing else",
            "> RST | ",
            "  reset | one came in, or data that nobody will read",
            "  minisock | in TIME-WAIT",
        ]
    );
}

#[test]
fn every_segment_says_what_it_brought() {
    let with = |fact: Fact, and: fn(&mut Fact)| {
        let mut fact = fact;
        and(&mut fact);
        line(fact)
    };
    let shown = [
        line(segment(8, false, 0)),
        line(segment(8, true, 0)),
        line(segment(0, true, 0)),
        line(segment(8, false, 78)),
        line(segment(0, false, 0)),
        with(segment(0, false, 0), |fact| {
            if let Fact::SegmentIn { fin, .. } = fact {
                *fin = true;
            }
        }),
        with(segment(0, false, 0), |fact| {
            if let Fact::SegmentIn { syn, released, .. } = fact {
                (*syn, *released) = (true, true);
            }
        }),
        with(segment(8, false, 0), |fact| {
            if let Fact::SegmentIn { ack_seq, released, .. } = fact {
                (*ack_seq, *released) = (Some(16), true);
            }
        }),
    ];
    assert_eq!(
        shown,
        [
            "< ACK 8 B | ",
            "< ACK 8 B and the FIN | ",
            "< ACK of the FIN | ",
            "< ACK 8 B, 78 B of data | ",
            "< segment | nothing new acknowledged | minor",
            "< segment with the FIN | nothing new acknowledged | minor",
            "< SYN | what follows left because of it",
            "< ACK 8 B | up to seq 16; what follows left because of it",
        ]
    );
}

#[test]
fn every_other_fact_has_its_line() {
    let some = Some(2);
    let armed = |matters| Fact::TimerArmed {
        timer: Timer::Probe,
        due_ticks: 56,
        rto_ticks: Some(56),
        srtt_us: Some(20_000),
        packets_out: Some(0),
        matters,
    };
    let option = |option, optname, value| Fact::OptionSet { option, optname, value, task: OWNER };
    let shown = [
        Fact::Push { nonagle: some, waiting_bytes: Some(8), packets_out: some },
        Fact::Attempt { waiting_bytes: None, packets_out: some, snd_cwnd: some, snd_wnd: some },
        Fact::Left { bytes: 8, seq: 0, end_seq: 8, fin: false },
        Fact::Left { bytes: 8, seq: 0, end_seq: 8, fin: true },
        Fact::Left { bytes: 0, seq: 8, end_seq: 8, fin: true },
        Fact::FinIn { skc_state: Some(1) },
        Fact::FinIn { skc_state: None },
        armed(true),
        armed(false),
        Fact::TimerFired { timer: Timer::Retransmit },
        option(Some("TCP_CORK"), 3, Some(false)),
        option(Some("TCP_NODELAY"), 1, Some(true)),
        option(None, 77, None),
        Fact::Tsq,
        Fact::FinQueued { task: OWNER },
        Fact::Over { skc_state: Some(9) },
        Fact::Gone { after_over: true },
        Fact::Gone { after_over: false },
        Fact::Reused,
        Fact::Lost,
    ]
    .map(line);
    assert_eq!(
        shown,
        [
            "> push | 8 B unsent; nonagle=2 packets_out=2 | minor",
            "> attempt to send | packets_out=2 snd_cwnd=2 snd_wnd=2 | minor",
            "> 8 B left | seq 0..8",
            "> 8 B left | seq 0..8, with the FIN",
            "> FIN left | ",
            "< FIN | in ESTABLISHED",
            "< FIN | ",
            "  probe timer armed | 224 ms = RTO (srtt 20.0 ms)",
            "  probe timer armed | 224 ms = RTO (srtt 20.0 ms) | minor",
            "  RTO timer fired | icsk_pending=RETRANS",
            "  TCP_CORK cleared | ",
            "  TCP_NODELAY set | ",
            "  TCP option 77 changed | new value not seen",
            "  TSQ or pacing | the socket may send again | minor",
            "> FIN queued | ",
            "  connection over | was LAST-ACK",
            "  socket gone |  | minor",
            "  socket gone | ",
            "  socket used again | the end of its connection was not seen",
            "  events were lost | more may have happened here",
        ]
    );
}

#[test]
fn a_hold_is_a_span() {
    let part = |held, ms: u64| Part::of(held, ms * MS);
    let one = || vec![part(Held::Cork, 226)];
    let shown = [
        Fact::HoldBegan { cause: Held::Cork, bytes: 8, held_ns: 0 },
        Fact::HoldBegan { cause: Held::Undetermined, bytes: 8, held_ns: 4 * MS },
        Fact::HeldBy { cause: Held::MsgMore, bytes: 8 },
        Fact::StillHeld { cause: Held::Nagle, bytes: 8, held_ns: 1_000 * MS },
        ended(one(), Release::ProbeTimer, Certainty::Seen),
        ended(one(), Release::Discarded, Certainty::May),
        ended(one(), Release::Undetermined, Certainty::Seen),
        ended(vec![part(Held::Cork, 36), part(Held::Nagle, 45)], Release::Ack, Certainty::Seen),
    ]
    .map(line);
    assert_eq!(
        shown,
        [
            "┌ held by cork | 8 B",
            "┌ held, cause not determined | 8 B; written 4.0 ms before",
            "│ then held by MSG_MORE | 8 B",
            "│ still held by Nagle, 1.00 s | 8 B",
            "└ left: probe timer, 226.9 ms | 5 of 105 B",
            "└ discarded: never left, 226.9 ms | 5 of 105 B; may be otherwise",
            "└ left: release not determined, 226.9 ms | 5 of 105 B",
            "└ left: ACK, 226.9 ms | 5 of 105 B; 36.0 ms cork, then 45.0 ms Nagle",
        ]
    );
}

#[test]
fn lines_within_a_span_say_so_also_where_it_began_before() {
    let held = |begins_held, facts| {
        let stretch = Stretch { begins_held, ..stretch() };
        let lines = told(stretch, facts, Certainty::Seen).lines;
        lines.iter().map(|line| line.held).collect::<Vec<_>>()
    };
    let began = Fact::HoldBegan { cause: Held::Cork, bytes: 8, held_ns: 0 };
    let end = ended(Vec::new(), Release::Ack, Certainty::Seen);
    let facts = vec![Fact::Tsq, began, Fact::Tsq, end.clone(), Fact::Tsq];
    assert_eq!(held(false, facts), [false, false, true, true, false]);
    assert_eq!(held(true, vec![Fact::Tsq, end, Fact::Tsq]), [true, true, false]);
}

#[test]
fn a_stretch_is_summed_up_in_a_sentence() {
    let all = Stretch {
        writes: 2,
        written_bytes: 113,
        left_bytes: 108,
        received_bytes: 78,
        holds_ended: 1,
        ..stretch()
    };
    let verdict = |stretch, certainty| told(stretch, Vec::new(), certainty).verdict;
    assert_eq!(
        verdict(all, Certainty::Seen),
        "2 writes of 113 B, 108 B left, 78 B came in, 1 hold ended, in 40.0 ms."
    );
    assert_eq!(verdict(stretch(), Certainty::May), "no data, in 40.0 ms; events may be missing.");
}

#[test]
fn a_connection_is_called_older_only_where_its_state_shows_it() {
    let aside = |met_in| told(Stretch { met_in, ..stretch() }, Vec::new(), Certainty::Seen).aside;
    for open in [1, 4, 5, 8, 9, 11] {
        assert_eq!(aside(Some(open)).as_deref(), Some("open before the start"), "{open}");
    }
    for other in [None, Some(2), Some(3), Some(7), Some(10), Some(12), Some(99)] {
        assert_eq!(aside(other), None, "{other:?}");
    }
}

#[test]
fn kernel_numbers_have_their_names() {
    let states: Vec<_> = (1..=11).filter_map(state).collect();
    assert_eq!(
        states,
        [
            "ESTABLISHED",
            "SYN-SENT",
            "SYN-RECEIVED",
            "FIN-WAIT-1",
            "FIN-WAIT-2",
            "TIME-WAIT",
            "CLOSED",
            "CLOSE-WAIT",
            "LAST-ACK",
            "LISTEN",
            "CLOSING"
        ]
    );
    assert_eq!((state(0), state(12)), (None, None));
    assert_eq!((flags(0x8000), flags(0x4000)), ("MSG_MORE".to_owned(), "MSG_NOSIGNAL".to_owned()));
    assert_eq!(flags(0x0400_0041), "MSG_DONTWAIT | MSG_OOB | MSG_ZEROCOPY");
    assert_eq!(flags(0x2000_0040), "MSG_DONTWAIT | 0x20000000");
    assert_eq!((error(11), error(71)), ("EAGAIN".to_owned(), "error 71".to_owned()));
}

#[test]
fn the_headline_counts_lines() {
    let totals = Totals { lines: 214, holds: 2, sockets_found: 3, ..Totals::default() };
    assert_eq!(headline(&totals), "214 lines on 3 sockets, 2 holds");
    let minor = Totals { minor_lines: 1_020, lines: 1_234, holds: 1, ..totals };
    assert_eq!(headline(&minor), "1,234 lines (1,020 of them only with -v) on 3 sockets, 1 hold");
    assert_eq!(headline(&Totals::default()), "nothing happened.");
    let lost = Totals { lost: true, ..Totals::default() };
    assert_eq!(headline(&lost), "nothing was seen, but events were lost: that proves nothing.");
}

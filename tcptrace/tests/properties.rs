//! What must hold for any sequence of events: missing, repeated, out of order, of sockets that reuse each other's name.
#![allow(missing_docs, reason = "a test")]

use proptest::prelude::*;
use tcptrace::{
    analysis::{
        Cause, Kind,
        nagle::Release,
        timeline::{MAX_LINES, SPAN_NS},
    },
    correlate::Correlator,
    event::{Event, Facts, SocketId},
    explain::words,
    filter::Filter,
    render::{Clock, Detail, Format as _, Json, Run, Text},
    timeline::Entry,
};
use tcptrace_common::{field::Field, hook::Hook};

/// Any event of one of `sockets` sockets: small numbers, so that they meet.
fn event(sockets: u32) -> impl Strategy<Value = Event> {
    // One that is left is no longer told of, whatever the question.
    let hooks: Vec<Hook> =
        Hook::ALL.iter().copied().filter(|hook| *hook != Hook::socket_left).collect();
    let hook = prop::sample::select(hooks);
    let numbers = prop::collection::vec(0u32..300, 40);
    (hook, 1..=sockets, 0u64..2_000_000, 0u32..3, numbers, any::<u32>()).prop_map(
        |(hook, socket, step, pid, numbers, read)| {
            // `at_ns` is a step here; `in_order` adds the steps up.
            let mut event = Event::new(hook, step);
            (event.socket, event.pid, event.tid) = (SocketId(socket), pid, pid);
            let mut numbers = numbers.into_iter().cycle();
            for (name, _) in hook.args() {
                event.set_arg(name, numbers.next().unwrap_or(0));
            }
            for (i, field) in hook.fields().iter().enumerate() {
                if read & (1 << (i % 32)) != 0 || i % 5 != 0 {
                    let value = numbers.next().unwrap_or(0);
                    let flag = matches!(
                        field,
                        Field::repair | Field::sk_tsq_flags | Field::sk_pacing_status
                    );
                    event.set_field(*field, &[if flag { value % 4 / 3 } else { value }]);
                }
            }
            event
        },
    )
}

fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    let mut now = 1_000;
    for (n, event) in events.iter_mut().enumerate() {
        now += event.at_ns;
        (event.n, event.at_ns) = (n as u64 + 1, now);
    }
    events
}

fn findings(events: &[Event]) -> Vec<Entry> {
    of_kind(Kind::Nagle, events, |_| false)
}

/// The findings, with a tick before the events of which `tick` says so, by their number.
fn of_kind(kind: Kind, events: &[Event], tick: impl Fn(u64) -> bool) -> Vec<Entry> {
    let (mut correlator, mut out) = (Correlator::new(kind), Vec::new());
    for event in events {
        if tick(event.n) {
            correlator.tick(event.at_ns);
            correlator.settle(&mut out);
        }
        correlator.push(event);
    }
    correlator.finish(events.last().map_or(0, |e| e.at_ns), true, &mut out);
    out
}

#[test]
fn arbitrary_events_do_make_findings() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let traces = prop::collection::vec(event(2), 100);
    let made: usize = (0..20)
        .map(|_| findings(&in_order(traces.new_tree(&mut runner).unwrap().current())).len())
        .sum();
    assert!(made > 10, "{made} findings in 20 traces");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_finding_stands_on_events_of_its_own_socket(events in prop::collection::vec(event(2), 1..120)) {
        let events = in_order(events);
        for entry in findings(&events) {
            let finding = &entry.finding;
            prop_assert!(!finding.evidence.is_empty());
            for line in &finding.evidence {
                let event = &events[usize::try_from(line.n).unwrap() - 1];
                prop_assert_eq!(event.socket, finding.socket);
            }
            prop_assert!(finding.from_ns <= finding.until_ns);
            let Cause::Nagle(hold) = &finding.cause else { panic!("{finding:?}") };
            let sum: u64 = hold.parts.iter().map(|p| p.held_ns).sum();
            prop_assert_eq!(sum, finding.until_ns - finding.from_ns, "the causes add up to the hold");
            // What a writer that sleeps has still to give is not known.
            prop_assert!(hold.bytes > 0 || hold.writes.is_empty());
        }
    }

    #[test]
    fn another_socket_changes_nothing(events in prop::collection::vec(event(2), 1..120)) {
        let events = in_order(events);
        let mut together: Vec<Entry> = findings(&events);
        together.retain(|e| e.socket.id == SocketId(1) && e.finding.until_ns < events.last().unwrap().at_ns);
        let alone: Vec<Event> = events.iter().filter(|e| e.socket == SocketId(1)).cloned().collect();
        let mut alone = findings(&alone);
        alone.retain(|e| e.finding.until_ns < events.last().unwrap().at_ns);
        let ended = |entries: Vec<Entry>| -> Vec<Entry> {
            let open = |e: &Entry| {
                matches!(&e.finding.cause, Cause::Nagle(hold) if hold.release == Release::StillHeld)
            };
            entries.into_iter().filter(|e| !open(e)).collect()
        };
        prop_assert_eq!(ended(together), ended(alone));
    }

    #[test]
    fn the_same_trace_gives_the_same_findings(events in prop::collection::vec(event(3), 1..80)) {
        let events = in_order(events);
        prop_assert_eq!(findings(&events), findings(&events));
    }

    #[test]
    fn every_stretch_is_bounded_and_stands_on_events_of_its_own_socket(
        events in prop::collection::vec(event(3), 1..400),
        stretched in 1u64..4_000,
    ) {
        let mut events = in_order(events);
        for event in &mut events {
            event.at_ns *= stretched;
        }
        let found = of_kind(Kind::Timeline, &events, |_| false);
        for entry in &found {
            let finding = &entry.finding;
            prop_assert!(!finding.evidence.is_empty() && finding.evidence.len() <= MAX_LINES);
            prop_assert!(finding.from_ns <= finding.until_ns);
            let last = events.last().unwrap().at_ns;
            prop_assert!(finding.until_ns - finding.from_ns <= SPAN_NS && finding.until_ns <= last);
            let mut at_ns = finding.from_ns;
            for line in &finding.evidence {
                prop_assert_eq!(events[usize::try_from(line.n).unwrap() - 1].socket, finding.socket);
                prop_assert!(at_ns <= line.at_ns && line.at_ns <= finding.until_ns);
                at_ns = line.at_ns;
            }
        }
        // Ticks change nothing, wherever they stand.
        prop_assert_eq!(&of_kind(Kind::Timeline, &events, |_| true), &found);
        prop_assert_eq!(&of_kind(Kind::Timeline, &events, |n| n % 7 == 3), &found);
    }

    #[test]
    fn the_timeline_ends_as_many_holds_as_nagle_finds(events in prop::collection::vec(event(2), 1..200)) {
        let events = in_order(events);
        let found = findings(&events);
        let open = |e: &&Entry| {
            matches!(&e.finding.cause, Cause::Nagle(hold) if hold.release == Release::StillHeld)
        };
        let ended = found.len() - found.iter().filter(open).count();
        let told: u64 = of_kind(Kind::Timeline, &events, |_| false)
            .iter()
            .map(|entry| entry.finding.cause.holds())
            .sum();
        prop_assert_eq!(told, ended as u64);
    }

    #[test]
    fn any_stretch_can_be_printed(events in prop::collection::vec(event(2), 1..120), width in 40usize..130) {
        let events = in_order(events);
        let facts = Facts { hz: Some(250), ..Facts::default() };
        let filter = Filter::default();
        let run =
            Run { words: words(Kind::Timeline), facts: &facts, filter: &filter, everything: true, only: (&[], &[]) };
        for detail in [Detail::Verdicts, Detail::Evidence, Detail::Everything] {
            let mut text = Text::new(width, false, Clock::Relative, detail);
            for entry in of_kind(Kind::Timeline, &events, |_| false) {
                for line in text.finding(&run, &entry).lines() {
                    let words = line.trim_start_matches(|c: char| !c.is_alphanumeric());
                    prop_assert!(line.chars().count() <= width || !words.contains(' '), "{}: {}", width, line);
                }
                prop_assert_eq!(Json.finding(&run, &entry).lines().count(), 1);
            }
        }
    }
}

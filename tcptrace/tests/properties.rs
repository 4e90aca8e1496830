//! What must hold for any sequence of events: missing, repeated, out of order, of sockets that reuse each other's name.
#![allow(missing_docs, reason = "a test")]

use proptest::prelude::*;
use tcptrace::{
    analysis::{Cause, Kind, nagle::Release},
    correlate::Correlator,
    event::{Event, SocketId},
    timeline::Entry,
};
use tcptrace_common::{field::Field, hook::Hook};

/// Any event of one of `sockets` sockets: small numbers, so that they meet.
fn event(sockets: u32) -> impl Strategy<Value = Event> {
    let hook = prop::sample::select(Hook::ALL);
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
    let (mut correlator, mut out) = (Correlator::new(Kind::Nagle), Vec::new());
    for event in events {
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
            prop_assert!(hold.bytes > 0);
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
}

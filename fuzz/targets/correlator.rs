//! Any sequence of events, for each question: what is concluded stands on its own socket's events and can be printed.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tcptrace::{
    analysis::{
        Cause, Kind, close, defer_accept, fastopen, nagle::MAX_WRITES, timeline::MAX_LINES,
    },
    correlate::Correlator,
    event::{Facts, SocketId},
    explain::words,
    filter::Filter,
    render::{Clock, Detail, Format as _, Json, Run, Text},
    timeline::Entry,
    trace::Item,
};
use tcptrace_fuzz::{Bytes, Step};

/// Steps of one input.
const STEPS: usize = 2_000;
/// Lines of evidence, causes and names of what was not seen that one finding may have.
const MOST: usize = 320;

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    let flags = bytes.byte();
    let steps = bytes.steps(STEPS, flags & 1 != 0);
    let mut sockets = BTreeMap::new();
    let mut last_ns = 0;
    for step in &steps {
        match step {
            Step::Item(Item::Event(event)) => {
                sockets.insert(event.n, event.socket);
                last_ns = event.at_ns;
            }
            Step::Item(Item::Tick { now_ns }) => last_ns = *now_ns,
            _ => {}
        }
    }
    for kind in Kind::ALL {
        let found = run(*kind, &steps, last_ns, flags & 2 != 0);
        assert_eq!(found, run(*kind, &steps, last_ns, flags & 2 != 0), "the same twice");
        check(&found, &sockets);
        print(*kind, &found);
    }
});

fn run(kind: Kind, steps: &[Step], last_ns: u64, counted: bool) -> Vec<Entry> {
    let (mut correlator, mut out) = (Correlator::new(kind), Vec::new());
    for step in steps {
        match step {
            Step::Item(Item::Event(event)) => correlator.push(event),
            Step::Item(Item::Tick { now_ns }) => correlator.tick(*now_ns),
            Step::Item(Item::Loss { at_ns, .. }) => correlator.loss(*at_ns),
            Step::Item(Item::Comm { tid, comm }) => correlator.comm(*tid, comm.clone()),
            Step::Item(Item::About(about)) => correlator.about(about.clone()),
            Step::Settle => correlator.settle(&mut out),
        }
    }
    correlator.finish(last_ns, counted, &mut out);
    out
}

fn check(found: &[Entry], sockets: &BTreeMap<u64, SocketId>) {
    for Entry { socket, finding, .. } in found {
        assert!(!finding.evidence.is_empty(), "no evidence: {finding:?}");
        assert!(finding.evidence.len() <= MOST, "{} lines", finding.evidence.len());
        assert!(finding.not_seen.len() <= MOST, "{} names", finding.not_seen.len());
        assert!(finding.from_ns <= finding.until_ns, "it ends before it begins: {finding:?}");
        assert_eq!(socket.id, finding.socket);
        for line in &finding.evidence {
            assert_eq!(sockets.get(&line.n), Some(&finding.socket), "another's event: {finding:?}");
        }
        match &finding.cause {
            Cause::Nagle(hold) => {
                let sum = hold.parts.iter().fold(0, |sum: u64, part| sum + part.held_ns);
                assert_eq!(sum, finding.until_ns - finding.from_ns, "parts: {finding:?}");
                assert!(hold.parts.len() <= MOST, "{} causes", hold.parts.len());
                assert!(hold.writes.len() <= MAX_WRITES);
            }
            Cause::Timeline(_) => assert!(finding.evidence.len() <= MAX_LINES),
            Cause::Fastopen(_) => assert!(finding.evidence.len() <= fastopen::MAX_LINES + 1),
            Cause::DeferAccept(_) => {
                assert!(finding.evidence.len() <= defer_accept::MAX_LINES + 1);
            }
            Cause::Sockopt(_) => assert!(finding.evidence.len() <= 2),
            Cause::Close(_) => assert!(finding.evidence.len() <= close::MAX_LINES),
        }
    }
}

fn print(kind: Kind, found: &[Entry]) {
    let facts = Facts { hz: Some(250), ..Facts::default() };
    let filter = Filter::default();
    let run = Run {
        words: words(kind),
        facts: &facts,
        filter: &filter,
        everything: kind.everything(),
        only: (&[], &[]),
    };
    // Printing takes longer than concluding.
    for entry in found.iter().take(16) {
        for detail in [Detail::Verdicts, Detail::Evidence, Detail::Everything] {
            let text = Text::new(80, false, Clock::Relative, detail).finding(&run, entry);
            assert!(text.ends_with('\n') || text.is_empty());
        }
        let line = Json.finding(&run, entry);
        assert_eq!(line.lines().count(), 1);
        serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
    }
}

//! Every outcome, sentence and line of `defer-accept`, from written traces.
#![allow(missing_docs, reason = "a test")]

mod written;

use std::collections::BTreeMap;

use tcptrace::{
    analysis::{
        Cause, Fact as AnyFact,
        defer_accept::{Deferral, Fact, Machine},
    },
    finding::{Certainty, Finding},
};

/// Written traces, each below its name.
const STORIES: &str = include_str!("stories/defer_accept.txt");

fn stories() -> BTreeMap<&'static str, &'static str> {
    written::stories(STORIES)
}

fn run(name: &str) -> Vec<Finding<Deferral, Fact>> {
    written::run::<Machine>(stories().get(name).expect("a story of this name"))
}

/// Outcome, times in milliseconds and counters of each finding.
fn brief(name: &str) -> String {
    let one = |finding: &Finding<Deferral, Fact>| {
        let it = &finding.cause;
        let held = it.held_ns.map_or_else(|| "-".to_owned(), |ns| (ns / 1_000_000).to_string());
        let may = if finding.certainty == Certainty::May { " may" } else { "" };
        let counters: Vec<String> =
            it.counters().iter().map(|(name, times)| format!("{name}={times}")).collect();
        format!("{:?} {held} [{}]{may}", it.outcome, counters.join(" "))
    };
    run(name).iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What each story must be told from its neighbours by.
const WANTED: [(&str, &str); 48] = [
    ("data", "Data 312 [TCPDeferAcceptDrop=1]"),
    ("data_not_accepted", "Data 312 [TCPDeferAcceptDrop=1]"),
    ("data_after_two_acks", "Data 180 [TCPDeferAcceptDrop=2]"),
    ("data_with_fin", "Data 180 [TCPDeferAcceptDrop=1]"),
    ("fin", "Fin 80 [TCPDeferAcceptDrop=1]"),
    ("deadline", "Deadline 7000 [TCPDeferAcceptDrop=1 TCPTimeouts=3]"),
    ("deadline_and_closed", "Deadline 1000 [TCPDeferAcceptDrop=1 TCPTimeouts=1]"),
    ("lowered", "Deadline 1000 [TCPDeferAcceptDrop=1 TCPTimeouts=1]"),
    ("raised", "Deadline 3000 [TCPDeferAcceptDrop=1 TCPTimeouts=2]"),
    ("switched_off", "SwitchedOff 1000 [TCPDeferAcceptDrop=1 TCPTimeouts=1]"),
    ("client_reset", "ClientReset 80 [TCPDeferAcceptDrop=1 EmbryonicRsts=1]"),
    ("client_reset_at_once", "ClientReset - [EmbryonicRsts=1]"),
    ("reset_not_taken", "Data 180 [TCPDeferAcceptDrop=1]"),
    ("not_taken", "Data 180 [TCPDeferAcceptDrop=1]"),
    ("unanswered", "Unanswered 6980 [TCPDeferAcceptDrop=1 TCPTimeouts=3]"),
    ("unanswered_5_10", "Unanswered 2980 [TCPDeferAcceptDrop=1 TCPTimeouts=2]"),
    ("never_acknowledged", "Unanswered - [TCPTimeouts=2]"),
    ("syn_again", "Data 280 [TCPDeferAcceptDrop=1]"),
    ("listener_closed", "ListenerClosed 980 [TCPDeferAcceptDrop=1]"),
    ("listener_closed_5_10", "ListenerClosed 380 [TCPDeferAcceptDrop=1]"),
    ("icmp", "Icmp 80 [TCPDeferAcceptDrop=1]"),
    ("icmp_not_taken", "Data 180 [TCPDeferAcceptDrop=1]"),
    ("ended_by_a_tool", "Undetermined 480 [TCPDeferAcceptDrop=1]"),
    ("queue_full", "Data 280 [TCPDeferAcceptDrop=1 ListenOverflows=1]"),
    ("queue_full_aborted", "QueueFull 80 [TCPDeferAcceptDrop=1 ListenOverflows=1 EmbryonicRsts=1]"),
    ("dropped_on_a_segment", "Undetermined 80 [TCPDeferAcceptDrop=1]"),
    ("migrated", "Deadline 1000 [TCPDeferAcceptDrop=1 TCPTimeouts=1]"),
    ("migrated_at_once", "Data 80 [TCPDeferAcceptDrop=1]"),
    ("syn_cookie", "SynCookie - [SyncookiesRecv=1]"),
    ("fastopen", "Fastopen - []"),
    ("never_held", "NeverHeld - []"),
    ("never_held_late", "NeverHeld - [TCPTimeouts=1]"),
    ("held", "Held 980 [TCPDeferAcceptDrop=1 TCPTimeouts=1]"),
    ("under_way", "UnderWay - [TCPTimeouts=1]"),
    ("midway", "Data 200 [TCPDeferAcceptDrop=1] may"),
    ("gone", "Data 180 [TCPDeferAcceptDrop=1]"),
    ("lost_events", "Data 180 [TCPDeferAcceptDrop=1] may"),
    ("ends_unknown", "Undetermined 1980 [TCPDeferAcceptDrop=1], Data 180 [TCPDeferAcceptDrop=1]"),
    ("withheld", "Withheld 200 []"),
    ("withheld_until_data", "Withheld 50 []"),
    ("option_set", "Set - []"),
    ("option_set_before", "Set - []"),
    ("option_set_unseen", "Set - []"),
    ("option_changed", "Set - [], Set - [], Set - []"),
    ("option_not_read", "Set - []"),
    ("option_refused", ""),
    ("option_found", "Found - []"),
    ("option_found_rto_max", "Found - []"),
];

#[test]
fn each_is_told_from_its_neighbours() {
    for (name, wanted) in WANTED {
        assert_eq!(brief(name), wanted, "{name}");
    }
    assert_eq!(stories().len(), WANTED.len());
}

#[test]
fn every_line_names_an_event() {
    written::every_line_names_an_event::<Machine>(STORIES);
}

#[test]
fn what_is_said() {
    let mut text = String::new();
    for (name, _) in WANTED {
        for finding in run(name) {
            let it = written::explained(&finding.map(Cause::DeferAccept, AnyFact::DeferAccept));
            text.extend(["## ", name, "\n", &it.verdict, "\n"]);
            for line in &it.lines {
                let at_us = line.at_ns.saturating_sub(it.zero_ns) / 1000;
                let line = format!("  {at_us} {}: {}", line.label, line.detail);
                text.push_str(line.trim_end().trim_end_matches(':'));
                text.push('\n');
            }
            if let Some(change) = it.change {
                text.extend(["  change: ", &change, "\n"]);
            }
        }
    }
    insta::with_settings!({ snapshot_path => "stories" }, {
        insta::assert_snapshot!(text);
    });
}

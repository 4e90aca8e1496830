//! Every outcome, reason, sentence and line of `fastopen`, from written traces.
#![allow(missing_docs, reason = "a test")]

mod written;

use std::collections::BTreeMap;

use tcptrace::{
    analysis::{
        Cause, Fact as AnyFact, Kind,
        fastopen::{Attempt, Fact, Machine},
    },
    correlate::Correlator,
    explain::Explanation,
    finding::{Certainty, Finding},
    joined::Ends,
    timeline::Entry,
    trace::parse,
};

/// Written traces, each below its name.
const STORIES: &str = include_str!("stories/fastopen.txt");

fn stories() -> BTreeMap<&'static str, &'static str> {
    written::stories(STORIES)
}

fn run(name: &str) -> Vec<Finding<Attempt, Fact>> {
    written::run::<Machine>(stories().get(name).expect("a story of this name"))
}

/// Side, outcome, reason and counters of each finding.
fn brief(name: &str) -> String {
    let one = |finding: &Finding<Attempt, Fact>| {
        let it = &finding.cause;
        let reason = it.reason.map_or_else(|| "-".to_owned(), |reason| format!("{reason:?}"));
        let may = if finding.certainty == Certainty::May { " may" } else { "" };
        let counters: Vec<_> =
            it.counters().iter().map(|name| name.trim_start_matches("TCPFastOpen")).collect();
        format!("{:?} {:?} {reason} [{}]{may}", it.side, it.outcome, counters.join(" "))
    };
    run(name).iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What each story must be told from its neighbours by.
const WANTED: [(&str, &str); 60] = [
    ("worked", "Client Worked - [Active]"),
    ("worked_in_part_of_the_write", "Client Worked - [Active]"),
    ("worked_without_cookie", "Client Worked Cookieless [Active]"),
    ("worked_deferred", "Client Worked - [Active]"),
    ("partial", "Client Partial PartlyAcked [ActiveFail]"),
    ("cookie_granted", "Client CookieGranted NoCookie []"),
    ("cookie_granted_not_waiting", "Client CookieGranted NoCookie []"),
    ("cookie_granted_by_connect", "Client CookieGranted NoCookie []"),
    ("cookie_requested", "Client CookieRequested NoCookie []"),
    ("client_bit_off", "Client NotTried ClientBitOff []"),
    ("client_bit_off_by_option", "Client NotTried ClientBitOff []"),
    ("family", "Client NotTried Family []"),
    ("in_progress", "Client NotTried InProgress []"),
    ("no_address", "Client NotTried NoAddress []"),
    ("connected", "Client NotTried Connected []"),
    ("paused", "Client NotTried Paused []"),
    ("no_room_for_a_request", "Client NotTried OptionSpace []"),
    ("no_room_for_the_cookie", "Client NotTried OptionSpace [ActiveFail]"),
    ("no_data", "Client NotTried NoData []"),
    ("copy_fault", "Client NotTried CopyFault []"),
    ("transmit_failed", "Client NotTried TransmitFailed []"),
    ("reset", "Client Refused Reset []"),
    ("syn_lost", "Client Lost SynLost [ActiveFail]"),
    ("syn_turned_away", "Client Lost SynTurnedAway [ActiveFail]"),
    ("request_lost", "Client Lost NoCookie []"),
    ("stale_cookie", "Client Refused StaleCookie [ActiveFail]"),
    ("data_not_acked", "Client Refused DataNotAcked [ActiveFail]"),
    ("no_answer", "Client Blackhole Timeouts [ActiveFail], Client Lost NoAnswer []"),
    ("unreachable", "Client Lost Unreachable []"),
    ("closed", "Client Lost Closed []"),
    ("never_written", "Client DeferredUnsent NeverWritten []"),
    ("not_written_yet", "Client UnderWay - []"),
    ("not_answered_yet", "Client UnderWay - []"),
    ("midway_worked", "Client Worked - [Active] may"),
    ("midway_undetermined", "Client Undetermined Undetermined [] may"),
    ("lost_events", "Client Worked - [Active] may"),
    ("black_hole", "Client Blackhole Timeouts [ActiveFail Blackhole]"),
    ("black_hole_without_pause", "Client Blackhole Timeouts [ActiveFail]"),
    ("out_of_order", "Client Blackhole OutOfOrder [Blackhole]"),
    ("server_worked", "Server Worked - [Passive]"),
    ("server_worked_by_254", "Server Worked - [Passive]"),
    ("server_not_accepted", "Server Worked - [Passive]"),
    ("server_no_data", "Server Worked NoData [Passive]"),
    ("server_old_key", "Server Worked OldKey [Passive PassiveAltKey]"),
    ("server_cookieless", "Server Worked Cookieless [Passive]"),
    ("server_cookieless_request", "Server Worked Cookieless [CookieReqd Passive]"),
    ("server_child_reset", "Server Worked ChildReset [Passive]"),
    ("server_child_timed_out", "Server Worked ChildTimedOut [Passive]"),
    ("server_cookie_granted", "Server CookieGranted - [CookieReqd]"),
    ("server_bit_off", "Server Refused ServerBitOff [CookieReqd]"),
    ("server_bit_off_with_data", "Server Refused ServerBitOff []"),
    ("server_not_enabled", "Server Refused NotEnabled []"),
    ("server_queue_full", "Server Refused QueueFull [ListenOverflow]"),
    ("server_no_option", "Server Refused NoOption []"),
    ("server_syn_cookie", "Server NotTried SynCookie []"),
    ("server_syn_cookie_without_fastopen", ""),
    ("server_no_key", "Server Refused NoKey [CookieReqd]"),
    ("server_child_failed", "Server Refused ChildFailed [PassiveFail]"),
    ("server_bad_cookie", "Server Refused BadCookie [PassiveFail]"),
    ("server_undetermined", "Server Refused Undetermined []"),
];

/// What is told of a listener before anybody connects.
const LISTENERS: [&str; 2] = ["listener_not_usable", "listener_found"];

#[test]
fn each_is_told_from_its_neighbours() {
    for (name, wanted) in WANTED {
        assert_eq!(brief(name), wanted, "{name}");
    }
    for name in LISTENERS {
        assert_eq!(brief(name), "Server NotUsable ServerBitOff []", "{name}");
    }
    assert_eq!(stories().len(), WANTED.len() + LISTENERS.len());
}

#[test]
fn every_line_names_an_event() {
    written::every_line_names_an_event::<Machine>(STORIES);
}

/// The verdicts of a story.
fn verdicts(name: &str) -> Vec<Explanation> {
    run(name)
        .into_iter()
        .map(|finding| written::explained(&finding.map(Cause::Fastopen, AnyFact::Fastopen)))
        .collect()
}

#[test]
fn what_is_said() {
    let mut text = String::new();
    for name in WANTED.iter().map(|(name, _)| *name).chain(LISTENERS) {
        for it in verdicts(name) {
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

/// Both ends of one connection: s2 listens in a namespace where the server bit is off.
fn both_ends(isn: u32) -> Vec<String> {
    let ends = |s, sport: u16, dport: u16| {
        format!(
            "0.9 s{s} pid=7 socket | skc_family=2 skc_rcv_saddr=16777343 skc_daddr=16777343 inet_sport={} skc_dport={}",
            sport.to_be(),
            dport.to_be()
        )
    };
    let story = stories();
    let refused = story.get("server_bit_off").expect("a story").replace("s1", "s2");
    let refused = refused.replace("isn=1000", &format!("isn={isn}"));
    let asked = story.get("cookie_requested").expect("a story");
    let text = [ends(1, 40000, 8080), ends(2, 8080, 40000), refused, (*asked).to_owned()];
    let (mut correlator, mut ends) = (Correlator::new(Kind::Fastopen), Ends::default());
    for line in text.iter().flat_map(|text| text.lines()) {
        correlator.push(&parse(line).expect(line));
    }
    let mut entries = Vec::new();
    correlator.settle(&mut entries);
    let verdict = |mut entry: Entry| {
        ends.join(&mut entry);
        let it = written::explained(&entry.finding);
        format!("{} {}", it.verdict, it.change.unwrap_or_default())
    };
    entries.into_iter().map(verdict).collect()
}

#[test]
fn the_end_that_is_told_last_tells_of_the_other() {
    let told = both_ends(1000);
    assert_eq!(told.len(), 2);
    assert!(
        told[1].contains("Fast Open is off for servers there (net.ipv4.tcp_fastopen=0x1)")
            && told[1].contains("sysctl -w net.ipv4.tcp_fastopen=0x3 in the server's"),
        "{told:?}"
    );
}

#[test]
fn ends_without_a_number_in_common_are_not_joined() {
    assert!(!both_ends(2000)[1].contains("on this host"));
}

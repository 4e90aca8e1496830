//! Every effect, reason, way and sentence of `sockopt`, from written traces.

mod written;

use std::collections::BTreeMap;

use tcptrace::{
    analysis::{
        Cause, Fact as AnyFact,
        sockopt::{Fact, Machine, Told},
    },
    finding::{Certainty, Finding},
};

/// Written traces, each below its name.
const STORIES: &str = include_str!("stories/sockopt.txt");

fn stories() -> BTreeMap<&'static str, &'static str> {
    written::stories(STORIES)
}

fn run(name: &str) -> Vec<Finding<Told, Fact>> {
    written::run::<Machine>(stories().get(name).expect("a story of this name"))
}

/// Way, phase, effect, reason and bytes that left, of each finding.
fn brief(name: &str) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let one = |finding: &Finding<Told, Fact>| {
        let may = if finding.certainty == Certainty::May { " may" } else { "" };
        match &finding.cause {
            Told::Change(it) => format!(
                "{:?} {} {:?} {} {}{may}",
                it.via,
                or_none(it.phase.map(|phase| format!("{phase:?}"))),
                it.effect,
                or_none(it.reason.map(|reason| format!("{reason:?}"))),
                or_none(it.released_bytes.map(|bytes| bytes.to_string())),
            ),
            Told::Existing(it) => {
                let phase = or_none(it.phase.map(|phase| format!("{phase:?}")));
                format!("existing {phase} {}", it.values.len())
            }
        }
    };
    run(name).iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What each story must be told from its neighbours by.
const WANTED: [(&str, &str); 55] = [
    ("took_effect", "Setsockopt NotConnected TookEffect - 0"),
    ("unchanged", "Setsockopt NotConnected NoEffect Unchanged 0"),
    ("left_at_once", "Setsockopt Connected TookEffect - 5"),
    ("left_although_unchanged", "Setsockopt Connected TookEffect - 5"),
    ("others_wrote_meanwhile", "Setsockopt Connected TookEffect - -"),
    ("inherited", "Setsockopt Listener InheritedByChildren - 0"),
    ("listener_fastopen", "Setsockopt Listener TookEffect - 0"),
    ("too_late", "Setsockopt Connected NoEffect Connected 0"),
    ("too_late_while_closing", "Setsockopt Closing NoEffect Connected 0"),
    ("while_connecting", "Setsockopt Connecting TookEffect - 0"),
    ("kept_otherwise", "Setsockopt NotConnected TookEffect - 0"),
    ("buffer_doubled", "Setsockopt NotConnected TookEffect - 0"),
    ("keepalive_is_off", "Setsockopt NotConnected TookEffect - 0"),
    ("keepalive_is_on", "Setsockopt NotConnected TookEffect - 0"),
    ("linger", "Setsockopt NotConnected TookEffect - 0"),
    ("linger_off", "Setsockopt NotConnected TookEffect - 0"),
    ("linger2_negative", "Setsockopt NotConnected TookEffect - 0"),
    ("no_limit", "Setsockopt NotConnected TookEffect - 0"),
    ("pacing", "Setsockopt NotConnected TookEffect - 0"),
    ("busy_poll", "Setsockopt NotConnected TookEffect - 0"),
    ("rto_max", "Setsockopt NotConnected TookEffect - 0"),
    ("tx_delay", "Setsockopt NotConnected TookEffect - 0"),
    ("user_timeout", "Setsockopt NotConnected TookEffect - 0"),
    ("congestion", "Setsockopt NotConnected TookEffect - 0"),
    ("no_such_congestion", "Setsockopt NotConnected Refused NoSuchName 0"),
    ("quickack", "Setsockopt Connected TookEffect - 0"),
    ("quickack_unchanged", "Setsockopt Connected Undetermined - 0"),
    ("ignored", "Setsockopt NotConnected NoEffect Ignored 0"),
    ("value_not_read", "Setsockopt NotConnected Undetermined - 0"),
    ("no_table_has_it", "Setsockopt NotConnected Refused NotKnown 0"),
    ("out_of_range", "Setsockopt NotConnected Refused BadValue 0"),
    ("refused_otherwise", "Setsockopt NotConnected Refused - 0"),
    ("refused_too_late", "Setsockopt Connected Refused Connected 0"),
    ("clamp_too_late", "Setsockopt Connected Refused Connected 0"),
    ("connect_too_late", "Setsockopt Connected Refused Connected 0"),
    ("switched_off", "Setsockopt NotConnected Refused SwitchedOff 0"),
    ("not_permitted", "Setsockopt NotConnected Refused NotPermitted 0"),
    ("needs_a_connection", "Setsockopt NotConnected Refused NotConnected 0"),
    ("bad_address", "Setsockopt NotConnected Refused BadAddress 0"),
    ("debug_for_nodelay", "Setsockopt NotConnected NoEffect WrongLevel 0"),
    ("debug_refused", "Setsockopt NotConnected Refused WrongLevel 0"),
    ("type_for_cork", "Setsockopt NotConnected Refused WrongLevel 0"),
    ("tos_for_nodelay", "Setsockopt NotConnected TookEffect WrongLevel 0"),
    ("a_type_of_service", ""),
    ("io_uring", "IoUring NotConnected TookEffect - 0"),
    ("bpf_and_what_it_calls", "Bpf Connected TookEffect - 0"),
    ("bpf_in_softirq", "Bpf Connecting TookEffect - 0"),
    ("kernel", "Kernel NotConnected TookEffect - 0"),
    ("mptcp", "Mptcp Connected TookEffect - 0"),
    ("begun_before", "Setsockopt - Undetermined - -"),
    ("kernel_not_read", "Setsockopt NotConnected Undetermined - -"),
    ("lost_meanwhile", "Setsockopt NotConnected TookEffect - 0 may"),
    (
        "two_threads",
        "Setsockopt NotConnected TookEffect - 0, Setsockopt NotConnected TookEffect - 0",
    ),
    ("existing", "existing Connected 20"),
    ("existing_listener", "existing Listener 20"),
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
    for name in WANTED.iter().map(|(name, _)| *name) {
        for finding in run(name) {
            let it = written::explained(&finding.map(Cause::Sockopt, AnyFact::Sockopt));
            let aside = it.aside.map(|aside| format!(" ({aside})")).unwrap_or_default();
            text.extend(["## ", name, &aside, "\n", &it.verdict, "\n"]);
        }
    }
    insta::with_settings!({ snapshot_path => "stories" }, {
        insta::assert_snapshot!(text);
    });
}

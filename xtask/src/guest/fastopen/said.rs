//! What tcptrace says of a case, against what was provoked, the wire and the counters.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    super::{
        said::{Counter, Socket},
        tool::findings,
    },
    cases::Case,
    place::Place,
};
use crate::oracle::Segment;

/// A finding of its JSON.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    socket: Socket,
    monotonic_ns: u64,
    side: String,
    outcome: String,
    reason: Option<String>,
    syn_data_bytes: Option<u32>,
    acked_bytes: Option<u32>,
    syn_option: Option<String>,
    #[serde(default)]
    experimental: bool,
    cookie_given: Option<bool>,
    certainty: String,
    counters: Vec<String>,
    other_end: Option<serde_json::Value>,
    text: String,
}

impl Found {
    pub(super) const fn netns(&self) -> Option<u64> {
        self.socket.netns
    }

    fn brief(&self) -> String {
        format!("{} {} {}", self.side, self.outcome, self.reason.as_deref().unwrap_or("-"))
    }

    /// Whether it tells of data that was taken from a SYN that nobody saw leave.
    pub(super) fn is_midway(&self) -> bool {
        (self.outcome.as_str(), self.certainty.as_str(), self.syn_data_bytes)
            == ("worked", "may", None)
    }

    /// The client's port.
    fn port(&self) -> Option<u16> {
        let end = if self.side == "client" { self.socket.local } else { self.socket.remote };
        end.map(|end| end.port()).filter(|port| *port > 0)
    }
}

/// What was there before tcptrace, and what it says of the namespace that outlives it.
pub(super) fn judged_whole(netns: u64, found: &[Found], counters: &[Counter]) -> Vec<String> {
    let mut wrong = Vec::new();
    let told = found.iter().filter(|one| one.socket.netns == Some(netns));
    if !{ told }.any(|one| one.outcome == "not_usable" && one.text.contains("(queue 7)")) {
        wrong.push("the listener that was there is not told".to_owned());
    }
    let own: Vec<_> = counters.iter().filter(|one| one.netns == netns).collect();
    let names: Vec<&str> = own.iter().map(|one| one.name.as_str()).collect();
    let wanted = ["TCPFastOpenActive", "TCPFastOpenCookieReqd", "TCPFastOpenPassive"];
    if names != wanted || own.iter().any(|one| one.kernel != one.findings || one.kernel != 1) {
        wrong.push(format!("wanted one of each of {wanted:?}, found {own:?}"));
    }
    wrong
}

/// Reads its JSON: the findings, and the counters of the summary.
pub(super) fn read(text: &str) -> anyhow::Result<(Vec<Found>, Vec<Counter>)> {
    findings(text, "fastopen")
}

/// One line for each difference.
pub(super) fn judged(case: &Case, wanted: &[&str], place: &Place, found: &[&Found]) -> Vec<String> {
    let mut wrong = Vec::new();
    for side in ["client", "server"] {
        let mut own: Vec<&&Found> = found.iter().filter(|one| one.side == side).collect();
        own.sort_by_key(|one| one.monotonic_ns);
        let own: Vec<String> = own.iter().map(|one| one.brief()).collect();
        let wanted: Vec<&str> =
            wanted.iter().copied().filter(|one| one.starts_with(side)).collect();
        if own != wanted {
            wrong.push(format!("wanted {wanted:?}, found {own:?}"));
        }
    }
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for name in found.iter().flat_map(|one| &one.counters) {
        *counted.entry(name.clone()).or_default() += 1;
    }
    if counted != place.counters {
        wrong.push(format!("the kernel counted {:?}, the findings {counted:?}", place.counters));
    }
    for one in found {
        println!("  {} {}: {}", case.name, one.brief(), one.text);
        if one.certainty != "seen" {
            wrong.push(format!("{} is not certain", one.brief()));
        }
        let said = witnessed(place, one);
        wrong.extend(said.into_iter().map(|what| format!("{}: {what}", one.brief())));
    }
    if case.joined && !found.iter().any(|one| one.other_end.is_some()) {
        wrong.push("the two ends were not joined".to_owned());
    }
    wrong
}

/// The SYN and its answer on the wire, against a finding that tells of them.
fn witnessed(place: &Place, one: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let (Some(port), Some(option)) = (one.port(), one.syn_option.as_deref()) else { return wrong };
    let is_syn = |it: &&Segment| it.syn && !it.acks && it.sport == port;
    // Connections to several addresses may share a port: the one at that time.
    let to_it = |it: &&Segment| it.at_ns.abs_diff(one.monotonic_ns);
    let Some(syn) = place.wire.iter().filter(is_syn).min_by_key(to_it) else {
        // What leaves by another device than loopback is not captured.
        return wrong;
    };
    let carried = match syn.fastopen {
        Some((0, experimental)) => ("request", experimental),
        Some((4 | 6 | 8 | 10 | 12 | 14 | 16, experimental)) => ("cookie", experimental),
        // A cookie of another length is none (RFC 7413, 4.1.1).
        _ => ("none", false),
    };
    if carried != (option, one.experimental) || one.syn_data_bytes != Some(syn.bytes) {
        wrong.push(format!("the wire has {carried:?} and {} B in the SYN, not {one:?}", syn.bytes));
    }
    let is_answer = |it: &&Segment| it.syn && it.acks && it.dport == port;
    let after = |it: &&Segment| it.at_ns >= syn.at_ns;
    if let Some(answer) = place.wire.iter().filter(after).find(is_answer) {
        let acked = answer.ack.wrapping_sub(syn.seq).wrapping_sub(1);
        let cookie = answer.fastopen.is_some_and(|(bytes, _)| bytes > 0);
        if one.acked_bytes.is_some_and(|said| said != acked) {
            wrong.push(format!("the SYN-ACK acknowledges {acked} B, not {:?}", one.acked_bytes));
        }
        if one.cookie_given.is_some_and(|said| said != cookie) {
            wrong.push(format!("a cookie in the SYN-ACK: {cookie}, not {:?}", one.cookie_given));
        }
    }
    wrong
}

//! What tcptrace says of a case, against what was provoked, the wire and the counters.

use std::{collections::BTreeMap, fs, net::SocketAddr};

use anyhow::Context as _;
use serde::Deserialize;

use super::{
    super::{
        fastopen::place::Place,
        said::{Counter, Socket},
        tool::findings,
    },
    cases::Case,
};
use crate::oracle::Segment;

/// A segment is told of after its stamp on the wire, by as much as an emulator with many cases at once needs.
const ALLOWED_NS: u64 = 60_000_000;

/// The kernel that runs.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Its release, as two numbers.
    pub(super) version: (u32, u32),
}

impl Kernel {
    pub(super) fn running() -> anyhow::Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse().ok());
        let version = numbers.next().zip(numbers.next()).context("a kernel release")?;
        Ok(Self { version })
    }
}

/// A finding of its JSON.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    socket: Socket,
    monotonic_ns: u64,
    certainty: String,
    side: String,
    outcome: String,
    #[serde(default)]
    listener: Option<SocketAddr>,
    #[serde(default)]
    asked_s: Option<u32>,
    periods: Option<u32>,
    connected_ns: Option<u64>,
    held_ns: Option<u64>,
    lasted_ns: Option<u64>,
    queued_ns: Option<u64>,
    syn_acks_repeated: Option<u32>,
    #[serde(default)]
    syns_again: u32,
    acks_dropped: Option<u32>,
    #[serde(default)]
    accept_queue_full: u32,
    #[serde(default)]
    resets_ignored: u32,
    #[serde(default)]
    migrated: bool,
    data_after_ns: Option<u64>,
    sent_by: Option<String>,
    bytes: Option<u32>,
    counters: Vec<Raised>,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Raised {
    name: String,
    times: u64,
}

impl Found {
    pub(super) const fn netns(&self) -> Option<u64> {
        self.socket.netns
    }

    /// What stands in the list of what is wanted.
    fn brief(&self) -> String {
        let mut brief = match self.side.as_str() {
            "server" => self.outcome.clone(),
            side => format!("{side} {}", self.outcome),
        };
        if let Some(by) = &self.sent_by {
            brief.push(' ');
            brief.push_str(by);
        }
        for (name, yes) in [
            ("full", self.accept_queue_full > 0),
            ("reset_ignored", self.resets_ignored > 0),
            ("later_data", self.data_after_ns.is_some()),
        ] {
            if yes {
                brief.push(' ');
                brief.push_str(name);
            }
        }
        brief
    }

    /// The client's port.
    fn port(&self) -> Option<u16> {
        match self.side.as_str() {
            "server" => self.socket.remote.map(|end| end.port()),
            "client" => self.socket.local.map(|end| end.port()),
            _ => None,
        }
    }
}

/// Reads its JSON: the findings, and the counters of the summary.
pub(super) fn read(text: &str) -> anyhow::Result<(Vec<Found>, Vec<Counter>)> {
    findings(text, "defer")
}

/// The listener that was there, and the connection that was held at the end.
pub(super) fn judged_whole(netns: u64, found: &[Found]) -> Vec<String> {
    let mut wrong = Vec::new();
    let own = || found.iter().filter(|one| one.socket.netns == Some(netns));
    if !own().any(|one| one.outcome == "found" && (one.asked_s, one.periods) == (Some(7), Some(3)))
    {
        wrong.push("the listener that was there is not told".to_owned());
    }
    if !own().any(|one| one.outcome == "held" && one.held_ns.is_some_and(|ns| ns > 1_000_000_000)) {
        wrong.push(format!(
            "the connection that was held is not told: {:?}",
            own().collect::<Vec<_>>()
        ));
    }
    wrong
}

/// One line for each difference.
pub(super) fn judged(
    case: &Case,
    kernel: &Kernel,
    place: &Place,
    found: &[&Found],
    counters: &[Counter],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut own: Vec<String> = found.iter().map(|one| one.brief()).collect();
    own.sort_unstable();
    let mut wanted: Vec<String> =
        (case.wanted)(kernel).iter().map(|one| (*one).to_owned()).collect();
    wanted.sort_unstable();
    if own != wanted {
        wrong.push(format!("wanted {wanted:?}, found {own:?}"));
    }
    for one in found {
        println!("  {} {}: {}", case.name, one.brief(), one.text);
        if one.certainty != "seen" && one.outcome != "syn_cookie" {
            wrong.push(format!("{} is not certain", one.brief()));
        }
        let said = match one.side.as_str() {
            "server" => witnessed(place, one),
            _ => Vec::new(),
        };
        wrong.extend(said.into_iter().map(|what| format!("{}: {what}", one.brief())));
        if let Some((least, most)) = case.held_ms
            && !matches!(one.side.as_str(), "listener")
            && !one.held_ns.is_some_and(|ns| (least..=most).contains(&(ns / 1_000_000)))
        {
            wrong.push(format!(
                "{}: held for {:?} ns, not {least} to {most} ms",
                one.brief(),
                one.held_ns
            ));
        }
    }
    let own = found.iter().filter(|one| one.side == "server" && one.outcome != "found");
    if case.migrates && !own.clone().all(|one| one.migrated) {
        wrong.push(format!(
            "{} of {} requests were taken over",
            own.clone().filter(|one| one.migrated).count(),
            own.count()
        ));
    }
    wrong.extend(counted(place, found));
    for one in counters.iter().filter(|one| one.netns == place.netns) {
        let known = place.others.get(&one.name).copied().unwrap_or(0);
        if one.kernel < known {
            wrong.push(format!("{} has risen by {known}, not {}", one.name, one.kernel));
        }
        if one.name == "TCPDeferAcceptDrop" && one.kernel != one.findings {
            wrong.push(format!("differs: {one:?}"));
        }
    }
    wrong
}

/// The kernel's counters of the case's namespace, against what the findings say that they have raised.
fn counted(place: &Place, found: &[&Found]) -> Vec<String> {
    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    for raised in found.iter().flat_map(|one| &one.counters) {
        *told.entry(&raised.name).or_default() += raised.times;
    }
    let mut wrong = Vec::new();
    // The others rise for other connections as well.
    for name in ["TCPDeferAcceptDrop", "EmbryonicRsts", "SyncookiesRecv"] {
        let kernel = place.others.get(name).copied().unwrap_or(0);
        let findings = told.get(name).copied().unwrap_or(0);
        if kernel != findings {
            wrong
                .push(format!("the kernel counted {name} {kernel} times, the findings {findings}"));
        }
    }
    for name in ["TCPTimeouts", "ListenOverflows"] {
        let kernel = place.others.get(name).copied().unwrap_or(0);
        let findings = told.get(name).copied().unwrap_or(0);
        if kernel < findings {
            wrong
                .push(format!("the kernel counted {name} {kernel} times, the findings {findings}"));
        }
    }
    wrong
}

/// What a finding of a connection lacks.
fn incomplete(one: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    if one.listener.is_none_or(|at| Some(at.port()) != one.socket.local.map(|end| end.port())) {
        wrong.push(format!("its listener is {:?}", one.listener));
    }
    let accepted = ["data", "fin", "deadline", "switched_off"].contains(&one.outcome.as_str());
    if accepted && one.queued_ns.is_none() {
        wrong.push("accept() is not told".to_owned());
    }
    wrong
}

/// Whether the client was reset at this moment.
fn is_reset_at(place: &Place, port: u16, at_ns: u64) -> bool {
    let resets =
        |it: &Segment| it.dport == port && it.rst && it.at_ns.abs_diff(at_ns) <= ALLOWED_NS;
    place.wire.iter().any(resets)
}

/// The connection on the wire, against a finding that tells of it.
fn witnessed(place: &Place, one: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(port) = one.port() else { return vec!["no port".to_owned()] };
    let of_client = |it: &&Segment| it.sport == port && it.dport != port;
    let Some(syn) = place.wire.iter().filter(of_client).find(|it| it.syn) else {
        return vec!["the wire has no SYN of it".to_owned()];
    };
    if one.outcome == "syn_cookie" {
        return wrong;
    }
    let near = |a: u64, b: u64| a.abs_diff(b) <= ALLOWED_NS;
    let Some(lasted_ns) = one.lasted_ns else { return vec!["no length".to_owned()] };
    let end_ns = syn.at_ns + lasted_ns;
    if !near(one.monotonic_ns, syn.at_ns) {
        wrong.push(format!("begins at {}, the SYN came at {}", one.monotonic_ns, syn.at_ns));
    }
    let answers: Vec<&Segment> =
        place.wire.iter().filter(|it| it.dport == port && it.syn && it.acks).collect();
    let repeated = answers.len().saturating_sub(1);
    let said = one.syn_acks_repeated.unwrap_or(0) + one.syns_again;
    if u32::try_from(repeated).ok() != Some(said) {
        wrong.push(format!("{repeated} SYN-ACKs were sent again, not {said}"));
    }
    let is_bare = |it: &&Segment| it.acks && !it.syn && !it.fin && !it.rst && it.bytes == 0;
    if let Some(connected_ns) = one.connected_ns {
        let first = place.wire.iter().filter(of_client).find(is_bare);
        if !first.is_some_and(|ack| near(ack.at_ns, syn.at_ns + connected_ns)) {
            wrong.push(format!("the first bare ACK: {first:?}"));
        }
    }
    // What ended it is on the wire, and the bare ACKs before it were dropped.
    let ends = |it: &&Segment| match one.outcome.as_str() {
        "data" => it.bytes > 0 && one.bytes == Some(it.bytes),
        "fin" => it.fin,
        "client_reset" => it.rst,
        _ => is_bare(it),
    };
    let by_segment = ["data", "fin", "client_reset", "deadline", "switched_off"];
    if by_segment.contains(&one.outcome.as_str()) {
        let own: Vec<&Segment> = place.wire.iter().filter(of_client).collect();
        let last = own.iter().position(|it| ends(it) && near(it.at_ns, end_ns));
        let dropped = own.iter().take(last.unwrap_or(0)).filter(|it| is_bare(it)).count();
        match last {
            None => {
                wrong.push(format!("nothing on the wire ended it {lasted_ns} ns after the SYN"));
            }
            // One that comes again and finds room has been there before.
            Some(_) if one.accept_queue_full > 0 => {}
            Some(_) if u32::try_from(dropped).ok() != one.acks_dropped => wrong.push(format!(
                "{dropped} bare ACKs came before its end, {:?} were dropped",
                one.acks_dropped
            )),
            Some(_) => {}
        }
    }
    if one.outcome == "queue_full" && !is_reset_at(place, port, end_ns) {
        wrong.push(format!("no reset was sent {lasted_ns} ns after the SYN"));
    }
    wrong.extend(incomplete(one));
    wrong
}

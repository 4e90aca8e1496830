//! JSON: one object per line, fields in a fixed order, no nulls. What is not known is left out and named in `not_seen`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Closing, Format, Gap, Run, clock::rfc3339, text::address};
use crate::{
    explain::{self, FactFields, Fields, explain},
    filter::{Family, Side},
    finding::{Certainty, Task},
    timeline::{Entry, Socket},
};

/// Version of the lines: raised when a field changes its meaning.
const FORMAT: u32 = 1;

/// The JSON format.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Format for Json {
    fn start(&self, run: &Run<'_>) -> String {
        line(&Start {
            r#type: "start",
            format: FORMAT,
            tcptrace: env!("CARGO_PKG_VERSION"),
            question: run.words.question,
            kernel: &run.facts.release,
            hz: run.facts.hz,
            filter: filter(run.filter),
            started: rfc3339(run.facts, run.facts.mono_ns),
            not_seen: [
                run.facts.not_seen.as_slice(),
                if run.facts.hz.is_none() { &["hz"] } else { &[] },
            ]
            .concat(),
        })
    }

    fn finding(&mut self, run: &Run<'_>, entry: &Entry) -> String {
        let words = explain(&entry.finding, &run.context(entry));
        let (fields, unknown) = explain::fields(&entry.finding);
        let comm = |task: Task| entry.comms.get(&task.tid).or_else(|| entry.comms.get(&task.pid));
        let process = words.subject.map(|(task, _)| Process {
            pid: task.pid,
            tid: task.tid,
            comm: comm(task).map(String::as_str),
        });
        let zero = entry.finding.from_ns;
        let evidence = entry.finding.evidence.iter().map(|e| Evidence {
            n: e.n,
            at_ns: e.at_ns.wrapping_sub(zero).cast_signed(),
            fact: explain::fact_fields(&e.fact),
        });
        let socket = &entry.socket;
        let mut not_seen = entry.finding.not_seen.clone();
        not_seen.extend(unknown);
        not_seen.extend(socket.netns.is_none().then_some("netns"));
        not_seen.extend(socket.local.is_none().then_some("local"));
        not_seen.extend(socket.remote.is_none().then_some("remote"));
        not_seen.extend(match &process {
            None => Some("process"),
            Some(process) => process.comm.is_none().then_some("comm"),
        });
        line(&Finding {
            r#type: run.words.one,
            time: rfc3339(run.facts, zero),
            monotonic_ns: zero,
            socket: socket_fields(socket),
            process,
            fields,
            certainty: entry.finding.certainty,
            evidence: evidence.collect(),
            text: words.verdict,
            not_seen,
        })
    }

    fn gap(&self, run: &Run<'_>, gap: &Gap) -> String {
        line(&GapLine {
            r#type: "gap",
            hook: gap.hook,
            events: gap.events,
            from: rfc3339(run.facts, gap.from_ns),
            to: rfc3339(run.facts, gap.until_ns),
        })
    }

    fn summary(&self, run: &Run<'_>, closing: &Closing<'_>) -> String {
        line(&Summary { run, closing })
    }
}

/// One object and its end of line.
fn line(object: &impl Serialize) -> String {
    // None of these types can fail: no map has keys that are not strings.
    let mut line = serde_json::to_string(object).unwrap_or_default();
    line.push('\n');
    line
}

#[derive(Serialize)]
struct Start<'a> {
    r#type: &'static str,
    format: u32,
    tcptrace: &'static str,
    question: &'static str,
    kernel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hz: Option<u32>,
    filter: Filter<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_seen: Vec<&'static str>,
}

#[derive(Serialize)]
struct Filter<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    port: Vec<Port>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    local: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remote: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    comm: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
}

fn filter(of: &crate::filter::Filter) -> Filter<'_> {
    let typed = |sides: &[Side]| sides.iter().map(Side::to_string).collect();
    Filter {
        port: of.ports.iter().map(|&range| Port(range)).collect(),
        local: typed(&of.local),
        remote: typed(&of.remote),
        family: of.family.map(Family::number),
        pid: of.pid,
        comm: &of.comms,
        command: of.command.as_ref().map(|command| command.program.as_str()),
    }
}

/// A number; a range is the text that was typed.
struct Port((u16, u16));

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (first, last) = self.0;
        if first == last {
            serializer.serialize_u16(first)
        } else {
            serializer.collect_str(&format_args!("{first}-{last}"))
        }
    }
}

#[derive(Serialize)]
struct Finding<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    monotonic_ns: u64,
    socket: SocketFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
    #[serde(flatten)]
    fields: Fields<'a>,
    certainty: Certainty,
    evidence: Vec<Evidence<'a>>,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_seen: Vec<&'static str>,
}

#[derive(Serialize)]
struct SocketFields {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
}

fn socket_fields(socket: &Socket) -> SocketFields {
    SocketFields {
        id: socket.id.0,
        cookie: socket.cookie,
        netns: socket.netns,
        local: socket.local.map(|local| address(Some(local))),
        remote: socket.remote.map(|remote| address(Some(remote))),
    }
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<&'a str>,
}

#[derive(Serialize)]
struct Evidence<'a> {
    n: u64,
    at_ns: i64,
    #[serde(flatten)]
    fact: FactFields<'a>,
}

#[derive(Serialize)]
struct GapLine {
    r#type: &'static str,
    hook: &'static str,
    events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

/// Its names are the question's own, so it is no struct.
struct Summary<'a> {
    run: &'a Run<'a>,
    closing: &'a Closing<'a>,
}

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (run, closing, totals) = (self.run, self.closing, &self.closing.totals);
        let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
        for each in closing.lost {
            *lost.entry(each.hook).or_default() += each.events;
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "summary")?;
        map.serialize_entry(run.words.many, &totals.findings)?;
        map.serialize_entry(run.words.total_ns, &totals.total_ns)?;
        map.serialize_entry("events_lost", &lost)?;
        let misses = closing.misses.filter(|misses| *misses > 0).map(|misses| ("all", misses));
        let misses: BTreeMap<&str, u64> = misses.into_iter().collect();
        if closing.misses.is_some() {
            map.serialize_entry("probe_misses", &misses)?;
        }
        known(&mut map, "sockets_seen_midlife", closing.midlife)?;
        known(&mut map, "sockets_seen", totals.sockets_seen)?;
        map.serialize_entry("sockets_found", &totals.sockets_found)?;
        map.serialize_entry("below_limit", &totals.below_limit)?;
        known(&mut map, "writes", totals.writes)?;
        map.serialize_entry("events", &closing.events)?;
        map.serialize_entry("watched_ns", &closing.ended_ns.saturating_sub(closing.started_ns))?;
        known(&mut map, "probes_ns", closing.cost.map(|(run_ns, _)| run_ns))?;
        known(&mut map, "probe_runs", closing.cost.map(|(_, runs)| runs))?;
        if let Some(ended) = rfc3339(run.facts, closing.ended_ns) {
            map.serialize_entry("ended", &ended)?;
        }
        let unknown = [
            (closing.misses.is_none(), "probe_misses"),
            (closing.midlife.is_none(), "sockets_seen_midlife"),
            (totals.sockets_seen.is_none(), "sockets_seen"),
            (totals.writes.is_none(), "writes"),
            (closing.cost.is_none(), "probes_ns"),
            (closing.cost.is_none(), "probe_runs"),
        ];
        let unknown: Vec<_> =
            unknown.into_iter().filter_map(|(missing, name)| missing.then_some(name)).collect();
        if !unknown.is_empty() {
            map.serialize_entry("not_seen", &unknown)?;
        }
        map.end()
    }
}

fn known<M: SerializeMap>(map: &mut M, name: &str, value: Option<u64>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

//! JSON: one object per line, fields in a fixed order, no nulls. What is not known is left out and named in `not_seen`.
//! The doc comments of the types are the descriptions in the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{Closing, Format, Gap, Run, clock::rfc3339, text::address};
use crate::{
    cost::{Cost, Spent},
    explain::{self, Compared, Listened, PatternFields, Told, Totals, Words, explain},
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
            only: (!run.only.0.is_empty() || !run.only.1.is_empty())
                .then_some(Only { cause: run.only.0, release: run.only.1 }),
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
        let (fields, unknown) = explain::fields(&entry.finding, &run.context(entry));
        let comm = |task: Task| entry.comms.of(task);
        let process = words.subject.map(|(task, _)| Process {
            pid: task.pid,
            tid: task.tid,
            comm: comm(task).map(|comm| &**comm),
            cgroup: entry.cgroup.as_deref(),
        });
        let zero = entry.finding.from_ns;
        let evidence = entry.finding.evidence.iter().map(|e| Evidence {
            n: e.n,
            at_ns: e.at_ns.wrapping_sub(zero).cast_signed(),
            fact: explain::fact_fields(&e.fact),
            frames: e
                .fact
                .stack()
                .and_then(|number| entry.stacks.get(&number))
                .map_or_else(Vec::new, |frames| frames.iter().map(frame).collect()),
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
        not_seen.extend(process.as_ref().and_then(|p| p.cgroup.is_none().then_some("cgroup")));
        let unnamed = |number| entry.stacks.get(&number).is_none_or(Vec::is_empty);
        let mut stacks = entry.finding.evidence.iter().filter_map(|e| e.fact.stack());
        not_seen.extend(stacks.any(unnamed).then_some("frames"));
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
        line(&summary(run, closing))
    }
}

/// One object and its end of line.
fn line(object: &impl Serialize) -> String {
    // None of these types can fail: no map has keys that are not strings.
    let mut line = serde_json::to_string(object).unwrap_or_default();
    line.push('\n');
    line
}

/// The first line: what is asked, and of which host.
#[derive(Serialize, JsonSchema)]
pub(super) struct Start<'a> {
    r#type: &'static str,
    /// Version of these lines; raised when a field changes its meaning, not when one is added.
    format: u32,
    /// Version of tcptrace.
    tcptrace: &'static str,
    /// The question, as it is typed.
    question: &'static str,
    /// Release of the traced kernel, as `uname -r` prints it.
    kernel: &'a str,
    /// Jiffies (ticks) per second of the traced kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    hz: Option<u32>,
    filter: Filter<'a>,
    /// The causes and releases that were asked for, where not all were: other findings are left out, and not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    only: Option<Only<'a>>,
    /// When the probes were attached, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    started: Option<String>,
    /// Names of what this host does not show: kernel functions that could not be probed, fields left out here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_seen: Vec<&'static str>,
}

/// What was asked for; all where nothing is given.
#[derive(Serialize, JsonSchema)]
struct Only<'a> {
    /// One of the causes: any of these.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cause: &'a [String],
    /// The release: any of these.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    release: &'a [String],
}

/// What was watched; all that are given must match, and everything is watched when none is.
#[derive(Serialize, JsonSchema)]
struct Filter<'a> {
    /// Local or remote port: any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    port: Vec<Port>,
    /// Own end: any of these addresses, prefixes and ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    local: Vec<String>,
    /// Other end: any of these addresses, prefixes and ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remote: Vec<String>,
    /// Address family: 4 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<u8>,
    /// Number (inode) of the socket's network namespace: any of these.
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    netns: &'a [u32],
    /// The process (thread group) that wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Name of the thread that wrote: any of these.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    comm: &'a [String],
    /// The cgroup of the process that wrote, as a path from the root, with those below it: any of these.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cgroup: &'a [String],
    /// The command whose processes wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
}

fn filter(of: &crate::filter::Filter) -> Filter<'_> {
    let typed = |sides: &[Side]| sides.iter().map(Side::to_string).collect();
    Filter {
        port: of.ports.iter().map(|&range| range.into()).collect(),
        local: typed(&of.local),
        remote: typed(&of.remote),
        family: of.family.map(Family::number),
        netns: &of.netns,
        pid: of.pid,
        comm: &of.comms,
        cgroup: &of.cgroups,
        command: of.command.as_ref().map(|command| command.program.as_str()),
    }
}

/// One port, or a range of them.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Port {
    /// One.
    One(u16),
    /// First and last, as they were typed: `8000-8010`.
    Range(#[schemars(regex(pattern = "^[0-9]+-[0-9]+$"))] String),
}

impl From<(u16, u16)> for Port {
    fn from((first, last): (u16, u16)) -> Self {
        if first == last { Self::One(first) } else { Self::Range(format!("{first}-{last}")) }
    }
}

/// One finding.
#[derive(Serialize, JsonSchema)]
pub(super) struct Finding<'a, F, E> {
    r#type: &'static str,
    /// When it began, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    time: Option<String>,
    /// The same moment, nanoseconds, `CLOCK_MONOTONIC`. Zero of every `at_ns` in this line.
    monotonic_ns: u64,
    socket: SocketFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
    #[serde(flatten)]
    fields: F,
    certainty: Certainty,
    /// What shows it, in time order.
    evidence: Vec<Evidence<'a, E>>,
    /// The verdict, the same sentence as in the text output.
    text: String,
    /// Names of the fields left out because they are not known, and of what was not seen and would have told more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_seen: Vec<&'static str>,
}

/// Whose life the finding is a stretch of.
#[derive(Serialize, JsonSchema)]
struct SocketFields {
    /// Number in this run, from 1; two sockets never share it.
    id: u32,
    /// The kernel's socket cookie, where it had given one. May pass 2^53.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<u64>,
    /// Number (inode) of the network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    /// Local address and port, `192.0.2.10:8080` or `[2001:db8::1]:443`.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<String>,
    /// The peer's address and port.
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

/// The task whose doing it is.
#[derive(Serialize, JsonSchema)]
struct Process<'a> {
    /// Process (thread group), as the host numbers it.
    pid: u32,
    /// Thread, as the host numbers it.
    tid: u32,
    /// The thread's name; where that is not known, the process's.
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<&'a str>,
    /// Its cgroup of version 2, as a path from the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a str>,
}

/// One thing that was seen.
#[derive(Serialize, JsonSchema)]
struct Evidence<'a, E> {
    /// Number of the event in the trace, from 1.
    n: u64,
    /// When, nanoseconds from the start of the finding; negative before it.
    at_ns: i64,
    #[serde(flatten)]
    fact: E,
    /// Of a user stack, the innermost function first; at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    frames: Vec<Frame<'a>>,
}

/// One frame of a user stack.
#[derive(Serialize, JsonSchema)]
struct Frame<'a> {
    /// The function; `?` where no symbol covers the address.
    function: &'a str,
    /// Source file, where the program carries debug information.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    /// Line in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

fn frame(of: &crate::event::Frame) -> Frame<'_> {
    Frame { function: &of.function, file: of.file.as_deref(), line: of.line }
}

/// Events were lost here: what was found across this stretch has the certainty `may`.
#[derive(Serialize, JsonSchema)]
pub(super) struct GapLine {
    r#type: &'static str,
    /// Kernel function whose events they were.
    hook: &'static str,
    /// How many.
    events: u64,
    /// Not before, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    from: Option<String>,
    /// Not after, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    to: Option<String>,
}

/// The last line: the whole run, counted.
#[derive(Serialize, JsonSchema)]
pub(super) struct Summary<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    #[schemars(skip)]
    own: Own,
    /// Events lost, by kernel function; empty when none was.
    events_lost: BTreeMap<&'a str, u64>,
    /// Runs of a probe that the kernel skipped; `all` where it counts them together. Empty when none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe_misses: Option<BTreeMap<&'static str, u64>>,
    /// Sockets that were open before the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets_seen_midlife: Option<u64>,
    /// Sockets watched, with findings or without.
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets_seen: Option<u64>,
    /// Sockets with findings.
    sockets_found: u64,
    /// Findings that were counted and not printed, because they were shorter than the limit.
    below_limit: u64,
    /// Write calls seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<u64>,
    /// What the writes of a process have in common, the dearest first; absent where nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<PatternLine<'a>>,
    /// The kernel's counters beside those of the findings, where there is no filter; absent where neither has counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    counters: Vec<Compared>,
    /// The connections to each listener with `TCP_DEFER_ACCEPT`; absent where there was none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listeners: Vec<Listened>,
    /// The answer that took longest from the last data that came in to the next write, of those whose local port is the
    /// lower one; absent where there was none, or it was not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    slowest_reply: Option<SlowestReply<'a>>,
    /// Events received.
    events: u64,
    /// How long was watched, nanoseconds.
    watched_ns: u64,
    /// The run's end is known: false where a recording was cut off, goes on in another file, or was not read to its end.
    complete: bool,
    /// Time spent inside the probes during `probes_over_ns`, nanoseconds of one CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    probes_ns: Option<u64>,
    /// How often the probes ran during `probes_over_ns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe_runs: Option<u64>,
    /// How long the kernel took the time of the probes, nanoseconds: `watched_ns`, or less where it was sampled (`-v`).
    #[serde(skip_serializing_if = "Option::is_none")]
    probes_over_ns: Option<u64>,
    /// Where it was not measured, the time inside the probes in all of `watched_ns`, nanoseconds of one CPU, estimated from
    /// typical figures, the writes and the events; what sockets cost that were not asked for is not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    probes_estimated_ns: Option<u64>,
    /// The measured time hook by hook; absent where it was not measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    probes: Vec<ProbeLine>,
    /// Hooks at whose function a tracer of another kind sat as well, which makes a run two to eight times as dear; absent where
    /// none is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shared_hooks: Vec<&'static str>,
    /// When the probes were detached, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    ended: Option<String>,
    /// Names of the fields left out because they are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_seen: Vec<&'static str>,
}

/// What the programs of one hook cost.
#[derive(Serialize, JsonSchema)]
struct ProbeLine {
    /// The hook: a kernel function.
    hook: &'static str,
    /// How often they ran during `probes_over_ns`.
    runs: u64,
    /// Time in them during `probes_over_ns`, nanoseconds of one CPU.
    run_ns: u64,
}

/// What the writes of a process have in common.
#[derive(Serialize, JsonSchema)]
struct PatternLine<'a> {
    process: Actor<'a>,
    /// The user stack of the call, the innermost function first; absent where it is not told.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    site: &'a [String],
    #[serde(flatten)]
    pattern: PatternFields,
    /// The same as a sentence.
    text: &'a str,
    /// What to change; absent where no program can change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'a str>,
}

/// The answer that took longest.
#[derive(Serialize, JsonSchema)]
struct SlowestReply<'a> {
    process: Actor<'a>,
    /// From the last data that came in to the write, nanoseconds.
    took_ns: u64,
    /// When the write was, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    time: Option<String>,
}

/// A task, and its name where that is known.
#[derive(Serialize, JsonSchema)]
struct Actor<'a> {
    /// Process (thread group), as the host numbers it.
    pid: u32,
    /// Thread, as the host numbers it.
    tid: u32,
    /// The thread's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<&'a str>,
}

/// The two fields that each question calls by its own names.
pub(super) struct Own {
    words: &'static Words,
    totals: Totals,
}

impl Own {
    /// Name, what it is, value.
    pub(super) fn fields(
        words: &'static Words,
        totals: &Totals,
    ) -> [(&'static str, String, u64); 2] {
        let (one, many) = (words.one, words.many);
        [
            (many, format!("Findings of the type `{one}`, printed or not."), totals.findings),
            (
                words.total_ns,
                format!("Sum of the durations of all {many}, nanoseconds."),
                totals.total_ns,
            ),
        ]
    }
}

impl Serialize for Own {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        for (name, _, value) in Self::fields(self.words, &self.totals) {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

const fn actor(task: Task, comm: Option<&str>) -> Actor<'_> {
    Actor { pid: task.pid, tid: task.tid, comm }
}

fn pattern(told: &Told) -> PatternLine<'_> {
    PatternLine {
        process: actor(told.task, told.comm.as_deref()),
        site: &told.site,
        pattern: told.pattern,
        text: &told.text,
        change: told.change.as_deref(),
    }
}

fn probes(cost: &Cost) -> Vec<ProbeLine> {
    let of = |Spent { hook, runs, run_ns }: &Spent| ProbeLine {
        hook: hook.name(),
        runs: *runs,
        run_ns: *run_ns,
    };
    cost.by_hook.iter().map(of).collect()
}

fn summary<'a>(run: &Run<'_>, closing: &Closing<'a>) -> Summary<'a> {
    let totals = &closing.totals;
    let watched_ns = closing.ended_ns.saturating_sub(closing.started_ns);
    let mut events_lost: BTreeMap<&str, u64> = BTreeMap::new();
    for each in closing.lost {
        *events_lost.entry(each.hook).or_default() += each.events;
    }
    let misses = |misses| if misses > 0 { [("all", misses)].into() } else { BTreeMap::new() };
    let unknown = [
        (closing.misses.is_none(), "probe_misses"),
        (closing.midlife.is_none(), "sockets_seen_midlife"),
        (totals.sockets_seen.is_none(), "sockets_seen"),
        (totals.writes.is_none(), "writes"),
        (closing.cost.is_none(), "probes_ns"),
        (closing.cost.is_none(), "probes_over_ns"),
        (closing.cost.is_none(), "probe_runs"),
    ];
    Summary {
        r#type: "summary",
        own: Own { words: run.words, totals: *totals },
        events_lost,
        probe_misses: closing.misses.map(misses),
        sockets_seen_midlife: closing.midlife,
        sockets_seen: totals.sockets_seen,
        sockets_found: totals.sockets_found,
        below_limit: totals.below_limit,
        writes: totals.writes,
        patterns: closing.patterns.iter().map(pattern).collect(),
        counters: closing.counters.to_vec(),
        listeners: closing.listeners.to_vec(),
        slowest_reply: closing.slowest.as_ref().map(|slowest| SlowestReply {
            process: actor(slowest.task, Some(slowest.comm)),
            took_ns: slowest.took_ns,
            time: rfc3339(run.facts, slowest.at_ns),
        }),
        events: closing.events,
        watched_ns,
        complete: closing.complete,
        probes_ns: closing.cost.map(|cost| cost.run_ns),
        probe_runs: closing.cost.map(|cost| cost.runs),
        probes_over_ns: closing.cost.map(|cost| cost.over_ns(watched_ns)),
        probes_estimated_ns: closing.estimated_ns,
        probes: closing.cost.map_or_else(Vec::new, probes),
        shared_hooks: closing.shared.clone(),
        ended: rfc3339(run.facts, closing.ended_ns),
        not_seen: unknown
            .into_iter()
            .filter_map(|(missing, name)| missing.then_some(name))
            .collect(),
    }
}

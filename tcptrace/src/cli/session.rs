//! A run: items in, findings and the summary out, for the running kernel and for recorded traces alike.

use std::{
    io::{self, Write as _},
    rc::Rc,
};

use tcptrace_common::{hook::Hook, loss::Loss};

use super::{
    command::{Failure, WRONG},
    narrow::Narrow,
    options::{Least, Options},
    status::Status,
    value::{MIB, MOST_BUFFER},
};
use crate::{
    analysis::Kind,
    correlate::Correlator,
    cost,
    event::{Event, SocketId},
    explain::{self, Slowest, Totals},
    filter::Filter,
    finding::Task,
    joined::{Counters, Ends, Listeners, Patterns},
    record::{RecordError, Recorder},
    render::{Closing, Format, Gap, Lost, Run},
    source::{self, Counted, Ending, Flow, Item, Reach},
    timeline::{Durations, Entry, RowKey, Tally},
};

/// Findings that may wait for a tick to tell that nothing was lost; then the trace's word for it is not waited for.
pub(super) const MOST_WAITING: usize = 65_536;
/// Room for so many findings is kept from one look to the next.
const KEPT_ROOM: usize = 4096;
/// No findings, but events were lost: that proves nothing.
const OPEN: u8 = 4;
/// There were findings.
const FOUND: u8 = 1;
/// Rows of the summary's table, unless --top says otherwise.
const TOP: usize = 10;

/// What is asked, and of what.
pub(super) struct Setting<'a> {
    pub(super) kind: Kind,
    pub(super) run: Run<'a>,
    /// What is printed singly.
    pub(super) least: Least,
    /// Findings of other causes and releases are left out.
    pub(super) narrow: &'a Narrow,
    pub(super) buffer_bytes: u32,
    /// What a recorded trace is narrowed to; the running kernel does that itself.
    pub(super) only: Option<&'a Filter>,
    /// Where reading a recorded trace stops, nanoseconds, `CLOCK_MONOTONIC`.
    pub(super) until_ns: Option<u64>,
    /// Only what suffices to count is told.
    pub(super) sparse: bool,
}

/// What a run has so far.
pub(super) struct Session<'a> {
    run: Run<'a>,
    least: Least,
    narrow: &'a Narrow,
    ends: Ends,
    patterns: Patterns,
    counters: Counters,
    listeners: Listeners,
    /// Sockets whose life has ended, and their turns: what was found on them is counted first.
    gone: Vec<(SocketId, u32)>,
    /// Most rows of the summary's table.
    top: usize,
    buffer_bytes: u32,
    only: Option<&'a Filter>,
    correlator: Correlator,
    format: Box<dyn Format>,
    status: Status,
    /// Stores what the run uses.
    pub(super) recorder: Option<Recorder>,
    tally: Tally,
    /// Empty between two looks at what was concluded.
    entries: Vec<Entry>,
    /// The last process that was named: number, name, and both as they are printed.
    named: Option<(u32, Option<Rc<str>>, Rc<str>)>,
    events: u64,
    printed: u64,
    /// Findings after which it stops.
    count: Option<u64>,
    /// Stops at this moment of a recorded trace, nanoseconds, `CLOCK_MONOTONIC`.
    until_ns: Option<u64>,
    exit_code: bool,
    done: bool,
    /// It was told that the disk takes no more.
    disk_told: bool,
    /// The last moment up to which nothing more was known to be lost.
    last_ns: u64,
    /// The last moment of all.
    latest_ns: u64,
    lost_span: Option<(u64, u64)>,
    /// What was lost, by hook.
    lost: Vec<(Hook, Loss, u64)>,
    output: io::Result<()>,
}

impl<'a> Session<'a> {
    pub(super) fn new(setting: &Setting<'a>, options: &Options, status: Status) -> Self {
        let Setting { kind, run, least, narrow, buffer_bytes, only, until_ns, sparse } = *setting;
        let correlator = Correlator::new(kind).with_sparse(sparse);
        #[cfg(feature = "mutate")]
        let correlator = correlator.with_mutation(options.mutate);
        let started_ns = run.facts.mono_ns;
        Self {
            run,
            least,
            narrow,
            ends: Ends::default(),
            patterns: Patterns::default(),
            counters: Counters::new(kind),
            listeners: Listeners::default(),
            gone: Vec::new(),
            top: options.top.unwrap_or(TOP),
            buffer_bytes,
            only,
            correlator,
            format: options.format(),
            status,
            recorder: None,
            tally: Tally::default(),
            entries: Vec::new(),
            named: None,
            events: 0,
            printed: 0,
            count: options.count,
            until_ns,
            exit_code: options.exit_code,
            done: false,
            disk_told: false,
            last_ns: started_ns,
            latest_ns: started_ns,
            lost_span: None,
            lost: Vec::new(),
            output: Ok(()),
        }
    }

    /// What stands before the first finding.
    pub(super) fn begin(&mut self) {
        let start = self.format.start(&self.run);
        self.write(&start);
    }

    pub(super) fn take(&mut self, item: Item) -> Flow {
        let at_ns = match &item {
            Item::Event(event) => event.at_ns,
            Item::Tick { now_ns: at_ns } | Item::Loss { at_ns, .. } => *at_ns,
            Item::Comm { .. } | Item::About(_) => self.latest_ns,
        };
        if self.done || self.until_ns.is_some_and(|until_ns| at_ns > until_ns) {
            return Flow::Stop;
        }
        self.latest_ns = at_ns.max(self.latest_ns);
        if let Some(recorder) = &mut self.recorder {
            recorder.item(&item);
        }
        match item {
            Item::Event(event) => {
                self.events += 1;
                self.notice(&event);
                self.correlator.push(&event);
                if self.correlator.waiting() >= MOST_WAITING {
                    self.settle();
                }
            }
            Item::Tick { now_ns } => {
                self.last_ns = now_ns;
                self.correlator.tick(now_ns);
                self.settle();
                self.tell_disk();
            }
            Item::Loss { hook, at_ns, events } => {
                match self.lost.iter_mut().find(|(known, ..)| *known == hook) {
                    Some((_, _, sum)) => *sum = sum.saturating_add(events),
                    None => self.lost.push((hook, Loss::Untold, events)),
                }
                if self.lost_span.is_none() {
                    self.status.clear();
                    let _ =
                        writeln!(io::stderr(), "warning: events are being lost at {}", hook.name());
                }
                let from_ns = self.last_ns.min(at_ns);
                self.lost_span = Some((self.lost_span.map_or(from_ns, |(from, _)| from), at_ns));
                self.correlator.loss(at_ns);
                let gap = Gap { hook: hook.name(), events, from_ns, until_ns: at_ns };
                let gap = self.format.gap(&self.run, &gap);
                self.write(&gap);
            }
            Item::Comm { tid, comm } => self.correlator.comm(tid, comm),
            Item::About(about) => self.correlator.about(about),
        }
        self.done |= self.output.is_err();
        if self.done { Flow::Stop } else { Flow::Continue }
    }

    /// What finished findings are joined with.
    fn notice(&mut self, event: &Event) {
        match event.hook {
            Hook::tcp_delack_timer_handler => {
                let socket = self.correlator.socket(event.socket);
                let comm = |tid| self.correlator.comm_of(tid).cloned();
                self.ends.event(event, socket.as_ref(), comm);
            }
            Hook::netstat => self.counters.event(event),
            Hook::tcp_v4_destroy_sock => {
                self.gone.push((event.socket, event.arg("turn").unwrap_or(0)));
            }
            _ => {}
        }
    }

    /// Warns once when what the run uses is no longer stored; the answers go on.
    fn tell_disk(&mut self) {
        let failure =
            self.recorder.as_ref().filter(|_| !self.disk_told).and_then(Recorder::failure);
        if let Some(failure) = failure {
            self.disk_told = true;
            self.status.clear();
            // Nobody reads it any more.
            let _ = writeln!(io::stderr(), "warning: {failure}");
        }
    }

    fn settle(&mut self) {
        self.correlator.settle(&mut self.entries);
        self.print();
    }

    /// Whether a finding is about what a recorded trace is narrowed to.
    fn passes(&self, entry: &Entry, task: Task) -> bool {
        let comm = entry.comms.of(task);
        self.only.is_none_or(|only| {
            only.socket_passes(entry.socket.local, entry.socket.remote)
                && only.netns_passes(entry.socket.netns)
                && only.task_passes(task.pid, comm.map(|comm| &**comm), entry.cgroup.as_deref())
        })
    }

    /// The end of a trace that could not be read on.
    pub(super) fn broken_off(&self) -> Ending {
        Ending {
            started_ns: self.run.facts.mono_ns,
            ended_ns: self.latest_ns,
            reach: Reach::Cut,
            lost: self.lost.clone(),
            ..Ending::default()
        }
    }

    fn print(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        for entry in &mut entries {
            let place = explain::place(&entry.finding);
            if self.done || !self.passes(entry, place.task) {
                continue;
            }
            self.ends.join(entry);
            self.patterns.add(entry);
            self.counters.add(entry);
            self.listeners.add(entry);
            if !self.narrow.passes(&entry.finding) {
                continue;
            }
            let key = RowKey {
                pid: place.task.pid,
                process: self.process(place.task, entry),
                remote: entry.socket.remote.map(|remote| remote.ip()),
                columns: place.columns,
            };
            let least_ns = if place.usual { self.least.usual_ns } else { self.least.any_ns };
            let printed = !self.run.words.asks
                || !self.least.singly
                || place.always
                || place.lasted_ns >= least_ns;
            self.tally.add(entry, key, (place.bytes, place.lasted_ns), printed);
            if printed {
                if self.least.singly {
                    let text = self.format.finding(&self.run, entry);
                    self.write(&text);
                }
                self.printed += 1;
                self.done |= self.count.is_some_and(|count| self.printed >= count);
            }
        }
        entries.clear();
        if entries.capacity() <= KEPT_ROOM {
            self.entries = entries;
        }
        for (socket, turn) in self.gone.drain(..) {
            self.patterns.over(socket, turn);
        }
    }

    /// A process as it is printed: nearly always the same one as before.
    fn process(&mut self, task: Task, entry: &Entry) -> Rc<str> {
        let comm = entry.comms.of(task);
        match &self.named {
            Some((pid, of, name)) if (*pid, of.as_ref()) == (task.pid, comm) => Rc::clone(name),
            _ => {
                let name: Rc<str> = explain::task(task, &entry.comms).into();
                self.named = Some((task.pid, comm.cloned(), Rc::clone(&name)));
                name
            }
        }
    }

    /// Whole, and at once.
    fn write(&mut self, text: &str) {
        if self.output.is_ok() && !text.is_empty() {
            self.status.clear();
            let mut stdout = io::stdout().lock();
            self.output = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        }
    }

    /// What was counted, where that is about everything that is asked for, from the start to the end.
    fn counted<'e>(&self, ending: &'e Ending) -> Option<&'e Counted> {
        ending.counted.as_ref().filter(|counted| {
            self.only.is_none()
                && self.until_ns.is_none()
                && ending.reach == Reach::Whole
                && counted.since_ns == self.run.facts.mono_ns
        })
    }

    /// What the probes have cost, where nobody has measured it.
    fn estimated_ns(&self, ending: &Ending, writes: Option<u64>) -> Option<u64> {
        let wanted = ending.cost.is_none() && ending.reach == Reach::Whole;
        let attached = &self.run.facts.attached;
        wanted.then(|| cost::estimated_ns(attached, writes.unwrap_or(0), self.events))
    }

    /// The summary, and the exit code.
    pub(super) fn end(mut self, ending: &Ending) -> Result<u8, Failure> {
        let ended_ns = self.until_ns.map_or(ending.ended_ns, |until| until.min(ending.ended_ns));
        let ending = &Ending { ended_ns, ..ending.clone() };
        if ending.reach == Reach::Cut {
            // What was lost up to the end is not known.
            self.correlator.loss(ending.ended_ns);
        }
        self.correlator.finish(ending.ended_ns, ending.misses.is_some(), &mut self.entries);
        self.print();
        let (lost, full, sockets_full) = lost_of(ending);
        let lost_some = !lost.is_empty() || ending.reach != Reach::Whole;
        let counted = self.counted(ending);
        let totals = Totals {
            narrowed: self.narrow.is_narrow(),
            ..totals(&self.tally, self.least, lost_some, counted)
        };
        let patterns: Vec<_> = self.patterns.rows().iter().map(explain::told).collect();
        // With a filter, or cut short, the findings are about less than the counters.
        let is_whole =
            self.only.is_none() && self.until_ns.is_none() && *self.run.filter == Filter::default();
        let counters = if is_whole { self.counters.compared() } else { Vec::new() };
        let closing = Closing {
            counters: &counters,
            listeners: &self.listeners.rows(),
            started_ns: ending.started_ns,
            ended_ns: ending.ended_ns,
            tally: &self.tally,
            patterns: &patterns,
            slowest: counted.and_then(|counted| counted.slowest.as_ref()).map(slowest),
            top: self.top,
            totals,
            midlife: None,
            events: self.events,
            lost: &lost,
            lost_span: self.lost_span,
            larger_buffer: full.then(|| larger(self.buffer_bytes)).flatten(),
            sockets_full,
            misses: ending.misses,
            complete: ending.reach == Reach::Whole,
            cost: ending.cost.as_ref(),
            estimated_ns: self.estimated_ns(ending, totals.writes),
            shared: ending.shared.iter().map(|hook| hook.name()).collect(),
        };
        let summary = self.format.summary(&self.run, &closing);
        self.write(&summary);
        // The disk may take its time; what there is to say has been said.
        let stored = self.recorder.take().map_or(Ok(()), |recorder| recorder.end(ending).map(drop));
        let open = totals.lost || ending.misses.unwrap_or(0) > 0;
        match self.output {
            Ok(()) => {}
            // The reader of the pipe has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                return Err(Failure {
                    message: format!("output could not be written: {error}"),
                    code: WRONG,
                });
            }
        }
        stored.map_err(|error: RecordError| Failure { message: error.to_string(), code: WRONG })?;
        Ok(match (self.exit_code, self.printed, open) {
            (true, 1.., _) => FOUND,
            (true, 0, true) => OPEN,
            _ => 0,
        })
    }
}

/// What was lost, and whether a larger buffer would have helped, or a larger table of sockets.
fn lost_of(ending: &Ending) -> (Vec<Lost>, bool, bool) {
    let lost = || ending.lost.iter().filter(|(_, _, events)| *events > 0);
    let full = |why: Loss| lost().any(|(_, reason, _)| *reason == why);
    let (full, sockets_full) = (full(Loss::BufferFull), full(Loss::TableFull));
    let told = |&(hook, reason, events): &(Hook, Loss, u64)| Lost {
        hook: hook.name(),
        reason: reason.name(),
        events,
    };
    (lost().map(told).collect(), full, sockets_full)
}

fn slowest(of: &source::Slowest) -> Slowest<'_> {
    let task = Task { pid: of.pid, tid: of.tid };
    Slowest { task, comm: &of.comm, took_ns: of.took_ns, at_ns: of.at_ns }
}

/// The numbers of the headline.
pub(super) fn totals(tally: &Tally, least: Least, lost: bool, counted: Option<&Counted>) -> Totals {
    let sum =
        |number: fn(&Durations) -> u64| tally.durations().map(number).fold(0, u64::saturating_add);
    Totals {
        findings: sum(Durations::count),
        below_limit: tally.below_limit(),
        limit_ns: least.any_ns,
        usual_limit_ns: least.usual_ns,
        total_ns: sum(Durations::total_ns),
        longest_ns: tally.durations().map(Durations::longest_ns).max().unwrap_or(0),
        sockets_found: tally.sockets() as u64,
        // No event tells of writes that leave at once, nor of sockets that never hold a byte.
        sockets_seen: counted.and_then(|counted| counted.sockets),
        writes: counted.map(|counted| counted.writes),
        narrowed: false,
        lines: tally.lines(),
        minor_lines: tally.minor(),
        holds: tally.holds(),
        lost,
    }
}

/// Four times the buffer, while that is a size we take.
fn larger(bytes: u32) -> Option<String> {
    let bytes = bytes.checked_mul(4).filter(|bytes| *bytes <= MOST_BUFFER)?;
    Some(if bytes < MIB { format!("{}KiB", bytes >> 10) } else { format!("{}MiB", bytes / MIB) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_buffer_is_one_that_is_taken() {
        assert_eq!(larger(4 << 20).as_deref(), Some("16MiB"));
        assert_eq!(larger(64 << 10).as_deref(), Some("256KiB"));
        assert_eq!((larger(1 << 29), larger(1 << 30)), (None, None));
    }
}

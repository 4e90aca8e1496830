//! One live run, from attaching to the summary.

use std::{
    env,
    io::{self, Write as _},
};

use tcptrace_common::loss::Loss;

use super::{
    child::Waiting,
    command::{CANNOT, Failure, WRONG},
    options::{Attach, Options, kernel_form},
    value::{MIB, MOST_BUFFER},
};
use crate::{
    analysis::Kind,
    correlate::Correlator,
    explain::{self, Totals, words},
    render::{Closing, Format, Gap, Lost, Run},
    source::{
        Ending, Flow, Item, Source as _,
        live::{Live, Request},
        plan::Form,
        refusal::AttachError,
    },
    timeline::{Durations, Entry, RowKey, Tally},
};

/// One live run, from attaching to the summary.
pub(super) fn watch(kind: Kind, options: &Options) -> Result<(), Failure> {
    let mut filter = options.filter();
    // What is wrong with the flags is told before anything is started.
    kernel_form(&filter)?;
    let limit_ns = options.limit_ns(words(kind))?;
    let command = Waiting::start(&options.command, options.account()?)?;
    filter.command = command.as_ref().map(|command| command.command().clone());
    let form = match options.attach {
        Attach::Auto => Form::Auto,
        Attach::Fentry => Form::Fentry,
        Attach::Kprobe => Form::Kprobe,
    };
    let request = Request {
        hooks: kind.hooks().to_vec(),
        required: kind.required(),
        filter: kernel_form(&filter)?,
        command: filter.command.as_ref().map(|command| command.pid),
        everything: kind.everything(),
        form,
        buffer_bytes: options.buffer,
        duration: options.duration,
    };
    let mut source = Live::attach(&request).map_err(|error| refused(&error))?;
    let facts = source.facts().clone();
    let run =
        Run { words: words(kind), facts: &facts, filter: &filter, everything: kind.everything() };
    if !options.quiet {
        banner(&run);
    }
    let correlator = Correlator::new(kind);
    #[cfg(feature = "mutate")]
    let correlator = correlator.with_mutation(options.mutate);
    let mut session = Session {
        run,
        limit_ns,
        buffer_bytes: options.buffer,
        correlator,
        format: options.format(),
        tally: Tally::default(),
        entries: Vec::new(),
        events: 0,
        last_ns: facts.mono_ns,
        lost_span: None,
        output: Ok(()),
    };
    session.write(&session.format.start(&run));
    let command = command.map(Waiting::go).transpose()?;
    let ending = source.run(&mut |item| session.take(item));
    if let Some(command) = command {
        let _ = writeln!(io::stderr(), "{}", command.end());
    }
    let ending = ending.map_err(|error| Failure { message: error.to_string(), code: CANNOT })?;
    session.end(&ending)
}

/// The host or the user cannot; what the message tells to paste is the command as it was typed.
fn refused(error: &AttachError) -> Failure {
    let typed = env::args().skip(1).collect::<Vec<_>>().join(" ");
    Failure {
        message: error.to_string().replace("sudo tcptrace ...", &format!("sudo tcptrace {typed}")),
        code: CANNOT,
    }
}

fn banner(run: &Run<'_>) {
    let probes = explain::units::counted(run.facts.probes as u64, "probe", "probes");
    let (filter, question, release) = (run.filter, run.words.question, &run.facts.release);
    let mut stderr = io::stderr();
    // A banner that cannot be written is no reason not to watch.
    let _ = writeln!(
        stderr,
        "watching {filter}: {question}, {probes}, Linux {release}. Ctrl-C for the summary"
    );
    if !run.facts.not_seen.is_empty() {
        let names = run.facts.not_seen.join(", ");
        let _ = writeln!(
            stderr,
            "warning: not in this kernel: {names}; what only they show is not determined"
        );
    }
}

/// What a run has so far.
struct Session<'a> {
    run: Run<'a>,
    /// Shorter findings are counted, not printed.
    limit_ns: u64,
    buffer_bytes: u32,
    correlator: Correlator,
    format: Box<dyn Format>,
    tally: Tally,
    entries: Vec<Entry>,
    events: u64,
    /// The last moment up to which nothing more was known to be lost.
    last_ns: u64,
    lost_span: Option<(u64, u64)>,
    output: io::Result<()>,
}

impl Session<'_> {
    fn take(&mut self, item: Item) -> Flow {
        match item {
            Item::Event(event) => {
                self.events += 1;
                self.correlator.push(&event);
            }
            Item::Tick { now_ns } => {
                self.last_ns = now_ns;
                self.correlator.tick(now_ns);
                self.correlator.settle(&mut self.entries);
                self.print();
            }
            Item::Loss { hook, at_ns, events } => {
                if self.lost_span.is_none() {
                    let _ =
                        writeln!(io::stderr(), "warning: events are being lost at {}", hook.name());
                }
                let from_ns = self.last_ns.min(at_ns);
                self.lost_span = Some((self.lost_span.map_or(from_ns, |(from, _)| from), at_ns));
                self.correlator.loss(at_ns);
                let gap = Gap { hook: hook.name(), events, from_ns, until_ns: at_ns };
                self.write(&self.format.gap(&self.run, &gap));
            }
            Item::Comm { tid, comm } => self.correlator.comm(tid, comm),
        }
        if self.output.is_ok() { Flow::Continue } else { Flow::Stop }
    }

    fn print(&mut self) {
        for entry in std::mem::take(&mut self.entries) {
            let place = explain::place(&entry.finding);
            let key = RowKey {
                pid: place.task.pid,
                process: explain::task(place.task, &entry.comms),
                remote: entry.socket.remote.map(|remote| remote.ip()),
                columns: place.columns,
            };
            let printed = !self.run.words.asks || place.lasted_ns >= self.limit_ns;
            self.tally.add(&entry, key, (place.bytes, place.lasted_ns), printed);
            if printed {
                let text = self.format.finding(&self.run, &entry);
                self.write(&text);
            }
        }
    }

    /// Whole, and at once.
    fn write(&mut self, text: &str) {
        if self.output.is_ok() && !text.is_empty() {
            let mut stdout = io::stdout().lock();
            self.output = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        }
    }

    fn end(mut self, ending: &Ending) -> Result<(), Failure> {
        self.correlator.finish(ending.ended_ns, ending.misses.is_some(), &mut self.entries);
        self.print();
        let lost: Vec<_> = ending.lost.iter().filter(|(_, _, events)| *events > 0).collect();
        let full = lost.iter().any(|(_, reason, _)| *reason == Loss::BufferFull);
        let lost: Vec<_> = lost
            .into_iter()
            .map(|&(hook, reason, events)| Lost {
                hook: hook.name(),
                reason: reason.name(),
                events,
            })
            .collect();
        let sum = |number: fn(&Durations) -> u64| {
            self.tally.durations().map(number).fold(0, u64::saturating_add)
        };
        let totals = Totals {
            findings: sum(Durations::count),
            below_limit: self.tally.below_limit(),
            limit_ns: self.limit_ns,
            total_ns: sum(Durations::total_ns),
            longest_ns: self.tally.durations().map(Durations::longest_ns).max().unwrap_or(0),
            sockets_found: self.tally.sockets() as u64,
            // The programs are silent about writes that leave at once, and about sockets that never hold a byte.
            sockets_seen: None,
            writes: None,
            lines: self.tally.lines(),
            minor_lines: self.tally.minor(),
            holds: self.tally.holds(),
            lost: !lost.is_empty(),
        };
        let closing = Closing {
            started_ns: ending.started_ns,
            ended_ns: ending.ended_ns,
            tally: &self.tally,
            totals,
            midlife: None,
            events: self.events,
            lost: &lost,
            lost_span: self.lost_span,
            larger_buffer: full.then(|| larger(self.buffer_bytes)).flatten(),
            misses: ending.misses,
            cost: ending.cost.as_ref().map(|cost| (cost.run_ns, cost.runs)),
        };
        let summary = self.format.summary(&self.run, &closing);
        self.write(&summary);
        match self.output {
            Ok(()) => Ok(()),
            // The reader of the pipe has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure {
                message: format!("output could not be written: {error}"),
                code: WRONG,
            }),
        }
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

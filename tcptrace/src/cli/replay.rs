//! `replay`, which asks a recorded trace every question, and `cat`, which prints it as text.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use super::{
    command::{Failure, WRONG, print, unwritten},
    input,
    options::{Least, Time},
    session::{MOST_WAITING, totals},
    status::Status,
};
use crate::{
    analysis::Kind,
    correlate::Correlator,
    explain::{
        self, printable,
        units::{bytes, count, counted, duration},
        words,
    },
    source::{Counted, Ending, Flow, Item, Reach, Source as _},
    timeline::{Entry, RowKey, Tally},
    trace::text::Writer,
};

/// Every finding counts.
const ALL: Least = Least { any_ns: 0, usual_ns: 0, singly: true };

/// The flags of `replay`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// What record or --write has stored; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Clock of the printed start: local, utc
    #[arg(
        long,
        value_enum,
        value_name = "CLOCK",
        default_value = "local",
        hide_possible_values = true
    )]
    time: Time,
}

/// What one question has found so far.
struct Asked {
    kind: Kind,
    correlator: Correlator,
    tally: Tally,
    worst: Option<(u64, String)>,
}

impl Asked {
    fn new(kind: Kind, sparse: bool) -> Self {
        Self {
            kind,
            correlator: Correlator::new(kind).with_sparse(sparse),
            tally: Tally::default(),
            worst: None,
        }
    }

    fn count(&mut self, entries: &mut Vec<Entry>) {
        for entry in entries.drain(..) {
            let place = explain::place(&entry.finding);
            let process = explain::task(place.task, &entry.comms).into();
            if self.worst.as_ref().is_none_or(|(worst_ns, _)| place.lasted_ns > *worst_ns) {
                let lasted = duration(place.lasted_ns);
                let what = place.columns.first().map_or("", |column| column);
                let text = if words(self.kind).sized {
                    format!("worst: {} for {lasted} by {what}, {process}", bytes(place.bytes))
                } else {
                    format!("longest: {lasted}, {what}, {process}")
                };
                self.worst = Some((place.lasted_ns, text));
            }
            let key = RowKey { pid: place.task.pid, process, remote: None, columns: place.columns };
            self.tally.add(&entry, key, (place.bytes, place.lasted_ns), true);
        }
    }

    fn row(&self, lost: bool, counted: Option<&Counted>) -> String {
        let headline = (words(self.kind).headline)(&totals(&self.tally, ALL, lost, counted));
        let worst = self.worst.as_ref().map(|(_, text)| format!("; {text}")).unwrap_or_default();
        format!("{}{worst}", headline.trim_end_matches('.'))
    }
}

/// Everything that is asked of one trace.
struct Replay {
    asked: Vec<Asked>,
    entries: Vec<Entry>,
    events: u64,
    last_ns: u64,
    counted: Option<Counted>,
    started_ns: u64,
}

impl Replay {
    fn take(&mut self, item: &Item) {
        match item {
            Item::Event(event) => {
                self.events += 1;
                self.last_ns = event.at_ns.max(self.last_ns);
            }
            Item::Tick { now_ns } => self.last_ns = (*now_ns).max(self.last_ns),
            Item::Loss { .. } | Item::Comm { .. } | Item::About(_) => {}
        }
        for each in &mut self.asked {
            match item {
                Item::Event(event) => {
                    each.correlator.push(event);
                    if each.correlator.waiting() >= MOST_WAITING {
                        each.correlator.settle(&mut self.entries);
                        each.count(&mut self.entries);
                    }
                }
                Item::Tick { now_ns } => {
                    each.correlator.tick(*now_ns);
                    each.correlator.settle(&mut self.entries);
                    each.count(&mut self.entries);
                }
                Item::Loss { at_ns, .. } => each.correlator.loss(*at_ns),
                Item::Comm { tid, comm } => each.correlator.comm(*tid, comm.clone()),
                Item::About(about) => each.correlator.about(about.clone()),
            }
        }
    }

    fn end(&mut self, ending: &Ending) {
        self.counted = ending.counted.clone().filter(|counted| counted.since_ns == self.started_ns);
        for each in &mut self.asked {
            each.correlator.finish(ending.ended_ns, ending.misses.is_some(), &mut self.entries);
            each.count(&mut self.entries);
        }
    }

    /// A row for each question.
    fn rows(&self, out: &mut String, lost: bool) {
        let questions = Kind::ALL.iter().map(|kind| (*kind, words(*kind))).filter(|(_, w)| w.asks);
        for (kind, words) in questions {
            let row = match self.asked.iter().find(|each| each.kind == kind) {
                Some(each) => each.row(lost, self.counted.as_ref()),
                None => "not recorded".to_owned(),
            };
            out.extend([&format!("  {:<12}  ", words.question), row.as_str(), "\n"]);
        }
    }

    /// `seen: all 14,902 events, 0 lost.  ask one: tcptrace nagle -r stall.tcptrace`.
    fn seen(&self, name: &str, ending: &Ending) -> String {
        let lost: u64 = ending.lost.iter().map(|(_, _, events)| events).sum();
        let all = match (lost, ending.reach) {
            (0, Reach::Whole) => format!("all {}, 0 lost", counted(self.events, "event", "events")),
            (0, _) => format!(
                "{}, 0 lost, not to the end of the recording",
                counted(self.events, "event", "events")
            ),
            (lost, _) => format!(
                "NOT ALL. {} of {} lost",
                count(lost),
                counted(self.events.saturating_add(lost), "event", "events")
            ),
        };
        let ask = self.asked.first().map_or_else(String::new, |each| {
            format!("  ask one: tcptrace {} -r {name}", words(each.kind).question)
        });
        format!("seen: {all}.{ask}\n")
    }
}

/// Reads the trace once and tells what each question makes of it.
pub(super) fn replay(options: &Options) -> Result<u8, Failure> {
    let status = Status::new();
    let mut source = input::open(&options.file, &status)?;
    let header = source.header().clone();
    let name = options.file.display().to_string();
    let filter = input::filter_of(&header, &name)?;
    let kinds = input::kinds_of(&header).into_iter().filter(|kind| words(*kind).asks);
    let started_ns = header.facts.mono_ns;
    let asked = kinds.map(|kind| Asked::new(kind, header.summary_only)).collect();
    let mut replay = Replay {
        asked,
        entries: Vec::new(),
        events: 0,
        last_ns: started_ns,
        counted: None,
        started_ns,
    };
    let read = source.run(&mut |item| {
        replay.take(&item);
        Flow::Continue
    });
    status.clear();
    let (ending, broken) = match read {
        Ok(ending) => (ending, None),
        Err(error) => {
            let ended_ns = replay.last_ns;
            (Ending { started_ns, ended_ns, reach: Reach::Cut, ..Ending::default() }, Some(error))
        }
    };
    input::warn_of_missing(&source, &ending);
    replay.end(&ending);
    let host = match header.facts.host.as_str() {
        "" => String::new(),
        host => format!("{}, ", printable(host)),
    };
    let release = printable(&header.facts.release);
    let date = options.time.clock().date(&header.facts, ending.started_ns);
    let span = duration(ending.ended_ns.saturating_sub(ending.started_ns));
    let mut out = format!("{name}: {host}Linux {release}, {date}, {span}, {filter}\n");
    let lost = ending.lost.iter().any(|(_, _, events)| *events > 0);
    replay.rows(&mut out, lost || ending.reach != Reach::Whole);
    out += &replay.seen(&name, &ending);
    print(out.as_bytes())?;
    broken.map_or(Ok(0), |error| Err(input::wrong(&error)))
}

/// Prints recorded traces as one text: the files of one recording, in their order.
pub(super) fn cat(files: &[PathBuf]) -> Result<u8, Failure> {
    let mut stdout = io::BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut failure = None;
    for file in files {
        match one(file, &mut stdout) {
            Ok(()) => {}
            Err(End::Pipe) => return Ok(0),
            Err(End::Wrong(wrong)) => {
                failure = Some(wrong);
                break;
            }
        }
    }
    match stdout.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(unwritten(&error)),
        _ => {}
    }
    failure.map_or(Ok(0), Err)
}

/// Why `cat` ends early.
enum End {
    Pipe,
    Wrong(Failure),
}

fn one(file: &Path, out: &mut impl Write) -> Result<(), End> {
    // A terminal shows the lines themselves.
    let status = if io::stdout().is_terminal() { Status::none() } else { Status::new() };
    let mut source = input::open(file, &status).map_err(End::Wrong)?;
    let mut written = write!(out, "{}", source.header());
    let (mut writer, mut text) = (Writer::default(), String::new());
    let read = source.run(&mut |item| {
        text.clear();
        writer.item(&mut text, &item);
        if written.is_ok() {
            written = out.write_all(text.as_bytes());
        }
        if written.is_ok() { Flow::Continue } else { Flow::Stop }
    });
    status.clear();
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(End::Pipe),
        Err(error) => return Err(End::Wrong(unwritten(&error))),
    }
    let ending = read.map_err(|error| End::Wrong(input::wrong(&error)))?;
    input::warn_of_missing(&source, &ending);
    text.clear();
    writer.end(&mut text, &ending);
    out.write_all(text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => End::Pipe,
        _ => End::Wrong(Failure {
            message: format!("output could not be written: {error}"),
            code: WRONG,
        }),
    })
}

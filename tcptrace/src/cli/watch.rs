//! A question asked of the running kernel, or of a recorded trace.

use std::{
    io::{self, Write as _},
    path::Path,
};

use super::{
    attach::attach,
    command::{Failure, WRONG, print},
    input, narrow,
    options::Options,
    session::{Session, Setting},
    status::Status,
};
use crate::{
    analysis::Kind,
    explain::{units::counted, words},
    filter::Filter,
    record::{Recorder, Rotation, Target},
    render::Run,
    source::{Source as _, live::Want},
    trace::Header,
};

/// Runs a question from its first item to its summary; the exit code.
pub(super) fn watch(kind: Kind, options: &Options) -> Result<u8, Failure> {
    if let Some(names) = narrow::help(words(kind), &options.cause, &options.release) {
        return print(names.as_bytes()).map(|()| 0);
    }
    match &options.read {
        Some(path) => recorded(kind, options, path),
        None => live(kind, options),
    }
}

fn live(kind: Kind, options: &Options) -> Result<u8, Failure> {
    let least = options.least(words(kind))?;
    let narrow = options.narrow(words(kind))?;
    if options.write.as_deref() == Some(Path::new("-")) {
        return Err(Failure {
            message: format!(
                "--write -: the findings go to standard output\n  try: tcptrace record -o - | tcptrace {} -r -",
                words(kind).question
            ),
            code: WRONG,
        });
    }
    existing_is_told(kind, options)?;
    let wanted: Vec<Want> = [
        (Want::SummaryOnly, options.summary_only),
        (Want::Existing, options.existing),
        (Want::Cost, options.verbose),
    ]
    .into_iter()
    .filter_map(|(want, is_wanted)| is_wanted.then_some(want))
    .collect();
    let mut attached = attach(&[kind], &options.watched, &options.limits, &wanted)?;
    let (filter, header) = (attached.filter.clone(), attached.header.clone());
    let recorder = match &options.write {
        Some(path) => {
            let target = Target::File { path: path.clone(), force: options.force };
            let recorder = Recorder::start(&target, header.clone(), Rotation::default());
            Some(recorder.map_err(|error| Failure { message: error.to_string(), code: WRONG })?)
        }
        None => None,
    };
    let facts = &header.facts;
    let run = Run {
        words: words(kind),
        facts,
        filter: &filter,
        everything: kind.everything(),
        only: narrow.names(),
    };
    if !options.quiet {
        banner(&run);
    }
    let setting = Setting {
        kind,
        run,
        least,
        narrow: &narrow,
        buffer_bytes: header.buffer_bytes,
        only: None,
        until_ns: None,
        sparse: header.summary_only,
    };
    let mut session = Session::new(&setting, options, Status::new());
    session.recorder = recorder;
    session.begin();
    let ending = attached.run(&mut |item| session.take(item))?;
    session.end(&ending)
}

/// What was there before is asked for of a question that tells it.
fn existing_is_told(kind: Kind, options: &Options) -> Result<(), Failure> {
    if !options.existing || kind.existing() {
        return Ok(());
    }
    let told = Kind::ALL.iter().filter(|kind| kind.existing()).map(|kind| words(*kind).question);
    let told = told.collect::<Vec<_>>().join(", ");
    let message = format!(
        "--existing: tcptrace {} does not tell what was there before; tcptrace {told} does\n  try: tcptrace {told} --existing",
        words(kind).question
    );
    Err(Failure { message, code: WRONG })
}

fn recorded(kind: Kind, options: &Options, path: &Path) -> Result<u8, Failure> {
    let least = options.least(words(kind))?;
    let narrow = options.narrow(words(kind))?;
    let status = Status::new();
    let mut source = input::open(path, &status)?;
    let name = path.display().to_string();
    let header = source.header().clone();
    let (recorded, only) = (input::filter_of(&header, &name)?, options.watched.filter(false)?);
    let kinds = answered(kind, options, &header, &name)?;
    if !only.is_within(&recorded) {
        return Err(outside(&name, &recorded, &only));
    }
    let both = only.and(&recorded);
    let run = Run {
        words: words(kind),
        facts: &header.facts,
        filter: &both,
        everything: kinds.iter().any(|kind| kind.everything()),
        only: narrow.names(),
    };
    let asked = !only.words().is_empty() && only != recorded;
    let setting = Setting {
        kind,
        run,
        least,
        narrow: &narrow,
        buffer_bytes: header.buffer_bytes,
        only: asked.then_some(&only),
        until_ns: until_ns(options, &header),
        sparse: header.summary_only,
    };
    let mut session = Session::new(&setting, options, status.clone());
    session.begin();
    let read = source.run(&mut |item| session.take(item));
    status.clear();
    match read {
        Ok(ending) => {
            input::warn_of_missing(&source, &ending);
            session.end(&ending)
        }
        Err(error) => {
            let ending = session.broken_off();
            session.end(&ending)?;
            Err(input::wrong(&error))
        }
    }
}

fn outside(name: &str, recorded: &Filter, only: &Filter) -> Failure {
    let message = format!(
        "{name} was recorded for {recorded}: it cannot tell about {only}\n  try: a filter within that, or none"
    );
    Failure { message, code: WRONG }
}

/// The questions that the trace answers, `kind` and what is asked with it among them.
fn answered(
    kind: Kind,
    options: &Options,
    header: &Header,
    name: &str,
) -> Result<Vec<Kind>, Failure> {
    if options.watched.stack && !header.stacks {
        return Err(without_stacks(name));
    }
    if header.summary_only && !options.summary_only {
        return Err(only_counted(name, words(kind).question));
    }
    let kinds = input::kinds_of(header);
    if !kinds.contains(&kind) {
        let (question, has) = (words(kind).question, header.questions.join(", "));
        return Err(Failure {
            message: format!(
                "{name} does not hold what {question} asks for: it was recorded for {has}\n  try: tcptrace record --question {question} -o FILE"
            ),
            code: WRONG,
        });
    }
    Ok(kinds)
}

fn only_counted(name: &str, question: &str) -> Failure {
    let message = format!(
        "{name} was recorded with --summary-only: it does not hold what single findings are told from\n  try: tcptrace {question} --summary-only -r {name}"
    );
    Failure { message, code: WRONG }
}

fn without_stacks(name: &str) -> Failure {
    let message = format!(
        "--stack: {name} was recorded without stacks\n  try: tcptrace record --stack -o FILE"
    );
    Failure { message, code: WRONG }
}

/// Where `--duration` ends the reading; a recording that was to be no longer is read to its end, as it was taken.
fn until_ns(options: &Options, header: &Header) -> Option<u64> {
    let wanted_ns = u64::try_from(options.limits.duration?.as_nanos()).unwrap_or(u64::MAX);
    let whole = header.planned_ns.is_some_and(|planned_ns| planned_ns <= wanted_ns);
    (!whole).then(|| header.facts.mono_ns.saturating_add(wanted_ns))
}

fn banner(run: &Run<'_>) {
    let probes = counted(run.facts.probes as u64, "probe", "probes");
    let (filter, question, release) = (run.filter, run.words.question, &run.facts.release);
    let mut stderr = io::stderr();
    // A banner that cannot be written is no reason not to watch.
    let _ = writeln!(
        stderr,
        "watching {filter}: {question}, {probes}, Linux {release}. Ctrl-C for the summary"
    );
    not_in_this_kernel(&run.facts.not_seen);
}

/// Warns of functions that could not be probed.
pub(super) fn not_in_this_kernel(names: &[&'static str]) {
    if !names.is_empty() {
        let names = names.join(", ");
        let _ = writeln!(
            io::stderr(),
            "warning: not in this kernel: {names}; what only they show is not determined"
        );
    }
}

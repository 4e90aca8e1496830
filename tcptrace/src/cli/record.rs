//! `record`: a trace into a file, to be explained later and elsewhere.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    attach::attach,
    command::{Failure, WRONG},
    options::{Limits, Watched},
    status::Status,
    value::{duration, question, size},
    watch::not_in_this_kernel,
};
use crate::{
    analysis::Kind,
    explain::units::{self, bytes, count, counted},
    record::{Recorder, Rotation, Target, Written},
    source::{Flow, Item},
};

/// The flags of `record`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    watched: Watched,
    /// The file; - is stdout
    ///
    /// The file to write; - writes to standard output. With --rotate-size or --rotate-every several files with numbers
    /// before the extension: stall-000001.tcptrace.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,
    /// Overwrite FILE
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Only what this question needs; all by default
    ///
    /// Attach only what these questions need: nagle, close, timeline. Default: all, with an event for nearly everything that a
    /// socket does.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = question, help_heading = "Output")]
    question: Vec<Kind>,
    /// Begin another file at this size: 64MiB
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Output")]
    rotate_size: Option<u64>,
    /// Begin another file after this time: 1h
    #[arg(long, value_name = "DUR", value_parser = duration, help_heading = "Output")]
    rotate_every: Option<Duration>,
    /// Keep so many files, remove the oldest
    #[arg(long, value_name = "N", value_parser = super::value::files, help_heading = "Output")]
    keep: Option<usize>,
    #[command(flatten)]
    limits: Limits,
}

/// Records until its time is up, somebody stops it or the disk refuses.
pub(super) fn record(options: &Options) -> Result<u8, Failure> {
    let wrong = |message: String| Failure { message, code: WRONG };
    let rotation = Rotation {
        bytes: options.rotate_size,
        every_ns: options
            .rotate_every
            .map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        keep: options.keep,
    };
    let stdout = options.output == Path::new("-");
    let rotates = options.rotate_size.is_some() || options.rotate_every.is_some();
    if options.keep.is_some() && !rotates {
        return Err(wrong("--keep: there is one file only without --rotate-size or --rotate-every\n  try: tcptrace record --rotate-size 64MiB --keep 16 -o FILE".to_owned()));
    }
    if stdout && rotates {
        return Err(wrong("-o -: standard output cannot be rotated\n  try: tcptrace record --rotate-size 64MiB -o FILE".to_owned()));
    }
    let target = if stdout {
        Target::Stdout
    } else {
        Target::File { path: options.output.clone(), force: options.force }
    };
    let kinds = if options.question.is_empty() { Kind::ALL } else { options.question.as_slice() };
    let mut attached = attach(kinds, &options.watched, &options.limits, &[])?;
    let recorder = Recorder::start(&target, attached.header.clone(), rotation);
    let mut recorder = recorder.map_err(|error| wrong(error.to_string()))?;
    banner(options, &attached.filter.to_string(), &attached.header);
    let status = Status::new();
    let started_ns = attached.header.facts.mono_ns;
    let mut lost = 0;
    let ending = attached.run(&mut |item| {
        recorder.item(&item);
        match item {
            Item::Tick { now_ns } => {
                status.show(|| progress(&recorder, now_ns.saturating_sub(started_ns), lost));
                removed(&recorder.removed(), &status);
            }
            Item::Loss { events, .. } => lost += events,
            Item::Event(_) | Item::Comm { .. } | Item::About(_) => {}
        }
        if recorder.has_failed() { Flow::Stop } else { Flow::Continue }
    })?;
    status.clear();
    match recorder.end(&ending) {
        Ok(written) => {
            removed(&written.removed, &status);
            let lost: u64 = ending.lost.iter().map(|(_, _, events)| events).sum();
            told(options, &written, lost);
            Ok(0)
        }
        Err(error) if error.is_broken_pipe() => Ok(0),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn banner(options: &Options, filter: &str, header: &crate::trace::Header) {
    let what = if options.question.is_empty() {
        "all questions".to_owned()
    } else {
        header.questions.join(", ")
    };
    let probes = counted(header.facts.probes as u64, "probe", "probes");
    // A banner that cannot be written is no reason not to record.
    let _ = writeln!(io::stderr(), "recording {filter}: {what}, {probes}. Ctrl-C stops");
    not_in_this_kernel(&header.facts.not_seen);
}

/// `30.0 s  14,902 events  1.1 MB  0 lost`.
fn progress(recorder: &Recorder, time_ns: u64, lost: u64) -> String {
    let (events, size) = recorder.so_far();
    let time = units::duration(time_ns);
    format!("{time}  {}  {}  {} lost", counted(events, "event", "events"), bytes(size), count(lost))
}

fn removed(paths: &[PathBuf], status: &Status) {
    for path in paths {
        status.clear();
        let _ = writeln!(io::stderr(), "removed {}", path.display());
    }
}

fn told(options: &Options, written: &Written, lost: u64) {
    let name = options.output.display();
    let files = match written.parts {
        1 => format!("{name}"),
        parts => format!("{} files of {name}", count(parts.into())),
    };
    let slow = match written.left_out {
        0 => String::new(),
        left_out => format!(", {} not written because the disk was too slow", count(left_out)),
    };
    let explain = if options.output == Path::new("-") || written.parts > 1 {
        String::new()
    } else {
        format!(" Explain it anywhere: tcptrace replay {name}")
    };
    let _ = writeln!(
        io::stderr(),
        "wrote {files}: {}, {} lost{slow}.{explain}",
        counted(written.events, "event", "events"),
        count(lost)
    );
}

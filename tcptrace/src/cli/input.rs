//! A recorded trace as a command opens it.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::Path,
};

use super::{
    command::{Failure, WRONG},
    interrupt,
    status::{Progress, Status},
};
use crate::{
    analysis::Kind,
    explain::words,
    filter::Filter,
    source::{Ending, SourceError, recorded::Recorded},
    trace::Header,
};

/// A file, or a pipe.
pub(super) type Input = Recorded<Progress<Box<dyn Read>>>;

/// Opens `path`, `-` being standard input, and reads the header.
pub(super) fn open(path: &Path, status: &Status) -> Result<Input, Failure> {
    let (name, input, all): (_, Box<dyn Read>, _) = if path == Path::new("-") {
        ("standard input".to_owned(), Box::new(io::stdin()), None)
    } else {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| {
            wrong(&SourceError(format!("cannot read {name}: {error}\n  try: ls -l {name}")))
        })?;
        let about = file
            .metadata()
            .map_err(|error| wrong(&SourceError(format!("cannot read {name}: {error}"))))?;
        if about.is_dir() {
            return Err(wrong(&SourceError(format!(
                "{name} is a folder, not a trace\n  try: tcptrace nagle -r FILE"
            ))));
        }
        (name, Box::new(file), about.is_file().then_some(about.len()))
    };
    interrupt::only_ask();
    let input = Progress::new(input, name.clone(), all, status.clone());
    Recorded::open(&name, input).map_err(|error| wrong(&error))
}

/// Warns where the trace was cut off; where somebody stopped the reading, it was not.
pub(super) fn warn_of_missing(source: &Input, ending: &Ending) {
    if let Some(missing) = source.missing(ending).filter(|_| !interrupt::is_asked()) {
        // Nobody reads it any more.
        let _ = writeln!(io::stderr(), "warning: {missing}");
    }
}

/// A trace that cannot be read, or not to its end.
pub(super) fn wrong(error: &SourceError) -> Failure {
    Failure { message: error.to_string(), code: WRONG }
}

/// What the trace was recorded with, in this version's words.
pub(super) fn filter_of(header: &Header, name: &str) -> Result<Filter, Failure> {
    header.filter.parse().map_err(|_unknown| {
        let filter = &header.filter;
        wrong(&SourceError(format!(
            "{name} was recorded with a filter that this tcptrace does not know ({filter})\n  try: a newer tcptrace"
        )))
    })
}

/// The questions whose events are in the trace.
pub(super) fn kinds_of(header: &Header) -> Vec<Kind> {
    let recorded = |kind: &&Kind| {
        header.questions.is_empty() || header.questions.iter().any(|q| q == words(**kind).question)
    };
    Kind::ALL.iter().filter(recorded).copied().collect()
}

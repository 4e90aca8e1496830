//! A recorded trace as a source.

use std::io::Read;

use crate::{
    event::Facts,
    source::{Ending, Flow, Item, Source, SourceError},
    trace::{
        Header, ReadError, Reader,
        read::{Cut, End, Inside},
        text::Seconds,
    },
};

/// A trace out of a file or a pipe.
#[derive(Debug)]
pub struct Recorded<R> {
    name: String,
    reader: Reader<R>,
    cut: Option<Cut>,
}

impl<R: Read> Recorded<R> {
    /// Reads the header; `name` is what messages call the trace.
    ///
    /// # Errors
    /// [`SourceError`]: it is no trace, or one that this version does not read.
    pub fn open(name: &str, input: R) -> Result<Self, SourceError> {
        let reader = Reader::new(input).map_err(|error| told(name, &error))?;
        Ok(Self { name: name.to_owned(), reader, cut: None })
    }

    /// What stands before the first item.
    pub const fn header(&self) -> &Header {
        self.reader.header()
    }

    /// Where and when the trace was cut off, in words, once it has been read; nothing when it is whole.
    pub fn missing(&self, ending: &Ending) -> Option<String> {
        let Cut { offset, inside } = self.cut?;
        let facts = &self.reader.header().facts;
        let told_ns = ending.ended_ns.saturating_sub(facts.mono_ns);
        let missing = match self.reader.header().planned_ns.and_then(|all| all.checked_sub(told_ns))
        {
            Some(missing_ns) => {
                format!("{} of {} s missing", tenths(missing_ns), tenths(told_ns + missing_ns))
            }
            None => {
                format!("what came {} s after its start, and later, is missing", Seconds(told_ns))
            }
        };
        let name = &self.name;
        let inside = match inside {
            Inside::Frame(frame) => format!("ends inside frame {frame} at byte {offset}"),
            Inside::Line(line) => format!("ends inside line {line} at byte {offset}"),
            Inside::Nothing => format!("ends without its last line at byte {offset}"),
        };
        Some(format!("{name} {inside} ({missing}); the whole frames before it are explained"))
    }
}

/// Seconds with one decimal.
fn tenths(ns: u64) -> String {
    format!("{}.{}", ns / 1_000_000_000, ns % 1_000_000_000 / 100_000_000)
}

fn told(name: &str, error: &ReadError) -> SourceError {
    let hint = match error {
        ReadError::Foreign(_) => "\n  try: tcptrace record -o FILE, which writes one",
        ReadError::Damaged { .. } => "\n  what stands before it was read",
        ReadError::TooLong { .. } => {
            "\n  try: zstdcat FILE | tcptrace cat -, if it is a compressed text"
        }
        _ => "",
    };
    SourceError(format!("{name} {error}{hint}"))
}

impl<R: Read> Source for Recorded<R> {
    fn run(&mut self, on: &mut dyn FnMut(Item) -> Flow) -> Result<Ending, SourceError> {
        let End { ending, cut } = self
            .reader
            .run(&mut |item| on(item) == Flow::Continue)
            .map_err(|error| told(&self.name, &error))?;
        self.cut = cut;
        Ok(ending)
    }

    fn facts(&self) -> &Facts {
        &self.reader.header().facts
    }
}

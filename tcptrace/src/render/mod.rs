//! The formats: bytes out of findings. Each is for all questions, knows none by name, and adds no facts.

mod clock;
mod json;
mod layout;
mod schema;
mod summary;
mod text;
mod timeline;

pub use clock::Clock;
pub use json::Json;
pub use schema::schema;
pub use text::{Detail, Text};

use crate::{
    cost::Cost,
    event::Facts,
    explain::{Compared, Context, Listened, Slowest, Told, Totals, Words},
    filter::Filter,
    timeline::{Entry, Tally},
};

/// TABLE 4. One output format. Every call gives whole lines, to be written at once.
pub trait Format {
    /// Before the first finding.
    fn start(&self, run: &Run<'_>) -> String;
    /// One finding.
    fn finding(&mut self, run: &Run<'_>, entry: &Entry) -> String;
    /// Events that were not seen.
    fn gap(&self, run: &Run<'_>, gap: &Gap) -> String;
    /// After the last.
    fn summary(&self, run: &Run<'_>, closing: &Closing<'_>) -> String;
}

/// What is asked, and of which host.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The question's words.
    pub words: &'static Words,
    /// The traced host.
    pub facts: &'a Facts,
    /// What is watched.
    pub filter: &'a Filter,
    /// The programs tell of sockets that hold nothing, too.
    pub everything: bool,
    /// The causes and the releases that were asked for, by their names in JSON; none where all were.
    pub only: (&'a [String], &'a [String]),
}

impl Run<'_> {
    /// What is known beside the finding of `entry` itself.
    fn context<'a>(&'a self, entry: &'a Entry) -> Context<'a> {
        Context {
            facts: self.facts,
            comms: &entry.comms,
            stacks: &entry.stacks,
            all_tasks: !self.filter.is_about_tasks(),
            // A socket is met late when it holds nothing for long, or when somebody else uses it first.
            meets_all: self.everything && !self.filter.is_about_tasks(),
        }
    }
}

/// A stretch in which events were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Kernel function whose events they were.
    pub hook: &'static str,
    /// How many.
    pub events: u64,
    /// Not before, nanoseconds, `CLOCK_MONOTONIC`.
    pub from_ns: u64,
    /// Not after, nanoseconds, `CLOCK_MONOTONIC`.
    pub until_ns: u64,
}

/// Events that one hook lost for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Kernel function.
    pub hook: &'static str,
    /// Why, for a person.
    pub reason: &'static str,
    /// How many.
    pub events: u64,
}

/// What is known at the end.
#[derive(Clone, Debug)]
pub struct Closing<'a> {
    /// When the probes were attached, nanoseconds, `CLOCK_MONOTONIC`.
    pub started_ns: u64,
    /// When they were detached, nanoseconds, `CLOCK_MONOTONIC`.
    pub ended_ns: u64,
    /// All findings.
    pub tally: &'a Tally,
    /// Most rows of the table.
    pub top: usize,
    /// The numbers of the headline.
    pub totals: Totals,
    /// What the findings have in common.
    pub patterns: &'a [Told],
    /// The kernel's counters beside those of the findings; empty where that says nothing.
    pub counters: &'a [Compared],
    /// The connections to each listener, where the question counts by these.
    pub listeners: &'a [Listened],
    /// The answer that took longest, where that was counted.
    pub slowest: Option<Slowest<'a>>,
    /// Sockets that were open before the start; `None` when that cannot be told.
    pub midlife: Option<u64>,
    /// Events received.
    pub events: u64,
    /// What was lost.
    pub lost: &'a [Lost],
    /// From when to when events were lost, as far as that is known, nanoseconds, `CLOCK_MONOTONIC`.
    pub lost_span: Option<(u64, u64)>,
    /// A size of the ring buffer that would have lost less, where that was the reason.
    pub larger_buffer: Option<String>,
    /// There were more sockets than are followed at once.
    pub sockets_full: bool,
    /// The end of the run is known: not so where a recording was cut off, goes on in another file, or was not read to its
    /// end.
    pub complete: bool,
    /// Probes that did not run when they should; `None` where nobody counts them.
    pub misses: Option<u64>,
    /// Time spent inside the probes; `None` where it was not measured.
    pub cost: Option<&'a Cost>,
    /// The same by what is known to have happened, nanoseconds; `None` where it was measured, or that is not known.
    pub estimated_ns: Option<u64>,
    /// Hooks at whose function a tracer of another kind sat as well.
    pub shared: Vec<&'static str>,
}

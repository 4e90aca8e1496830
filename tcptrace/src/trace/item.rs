//! What a trace consists of.

use tcptrace_common::{hook::Hook, loss::Loss};

pub use crate::cost::{Cost, Spent};
use crate::event::{About, Event};

/// What a source delivers, in the order of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Event),
    /// Nothing more has happened up to this moment, nanoseconds, `CLOCK_MONOTONIC`, and nothing more was lost.
    Tick {
        /// The moment.
        now_ns: u64,
    },
    /// Events were lost, found out at this moment.
    Loss {
        /// Whose events.
        hook: Hook,
        /// Nanoseconds, `CLOCK_MONOTONIC`.
        at_ns: u64,
        /// How many.
        events: u64,
    },
    /// A thread's name.
    Comm {
        /// Thread.
        tid: u32,
        /// Its name.
        comm: String,
    },
    /// What a number in events stands for.
    About(About),
}

/// How far a source got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// To the end of the run: the losses are all that there were.
    #[default]
    Whole,
    /// To the end of one part of a recording in several files.
    Part,
    /// To where the file was cut off, or is damaged.
    Cut,
    /// To where whoever reads it has had enough.
    Stopped,
}

/// What a source says at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// When every probe was attached, nanoseconds, `CLOCK_MONOTONIC`.
    pub started_ns: u64,
    /// When the probes were taken off, nanoseconds, `CLOCK_MONOTONIC`.
    pub ended_ns: u64,
    /// Lost events, by hook and reason; none with 0.
    pub lost: Vec<(Hook, Loss, u64)>,
    /// Runs that the kernel skipped because the program was running already; `None` where this kernel does not count,
    /// and where the end was not recorded.
    pub misses: Option<u64>,
    /// Time spent in the programs; `None` where it was not taken, and where the end was not recorded.
    pub cost: Option<Cost>,
    /// Hooks at whose function a tracer of another kind sat as well, at the end.
    pub shared: Vec<Hook>,
    /// What the programs counted of writes that left at once, too; `None` where that was not recorded, and where it is not
    /// about all that is asked for.
    pub counted: Option<Counted>,
    /// How far the source got.
    pub reach: Reach,
}

/// What was counted in the kernel, and no event tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// From when on, nanoseconds, `CLOCK_MONOTONIC`: of a recording in several files, the start of the first.
    pub since_ns: u64,
    /// Writes, whether their bytes waited or not.
    pub writes: u64,
    /// Sockets that were written on; `None` where two of them could not be told apart.
    pub sockets: Option<u64>,
    /// The answer that took longest.
    pub slowest: Option<Slowest>,
}

/// The longest time that a program took from the last data that came in to its next write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slowest {
    /// How long, nanoseconds.
    pub took_ns: u64,
    /// When the write was, nanoseconds, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
}

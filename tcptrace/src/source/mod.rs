//! Where events come from.

pub mod refusal;
pub mod plan;
mod names;
pub mod live;

use tcptrace_common::{hook::Hook, loss::Loss};

use crate::event::{Event, Facts};

/// What a source delivers, in the order of the trace.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every item is an event")]
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
}

/// Whether the taker wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More.
    Continue,
    /// No more.
    Stop,
}

/// What a source says at its end.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// When every probe was attached, nanoseconds, `CLOCK_MONOTONIC`.
    pub started_ns: u64,
    /// When the probes were taken off, nanoseconds, `CLOCK_MONOTONIC`.
    pub ended_ns: u64,
    /// Lost events, by hook and reason; none with 0.
    pub lost: Vec<(Hook, Loss, u64)>,
    /// Runs that the kernel skipped because the program was running already; `None` where this kernel does not count.
    pub misses: Option<u64>,
    /// Time spent in the programs; `None` when BPF statistics are off.
    pub cost: Option<Cost>,
}

/// What the programs cost, by the kernel's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Time in the programs, nanoseconds, all CPUs together.
    pub run_ns: u64,
    /// How often they ran.
    pub runs: u64,
}

/// Why a source broke off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// A live or recorded trace.
pub trait Source {
    /// Hands over every item in order, until the trace ends or `on` wants no more.
    ///
    /// # Errors
    /// [`SourceError`]: the trace cannot be read on; what was handed over before stays valid.
    fn run(&mut self, on: &mut dyn FnMut(Item) -> Flow) -> Result<Ending, SourceError>;
    /// What is known of the traced host.
    fn facts(&self) -> &Facts;
}

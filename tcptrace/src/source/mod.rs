//! Where events come from.

pub mod refusal;
pub mod plan;
mod names;
mod stacks;
pub mod live;
pub mod recorded;

use crate::event::Facts;
pub use crate::trace::{Cost, Counted, Ending, Item, Reach, Slowest, Spent};

/// Whether the taker wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More.
    Continue,
    /// No more.
    Stop,
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

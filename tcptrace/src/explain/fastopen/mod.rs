//! The words of `fastopen`.

mod fields;
mod line;
mod story;
mod words;

pub use fields::Fields;
pub(super) use fields::{fields, names};
pub(super) use line::line;
pub(super) use story::explain;
pub(super) use words::{WORDS, counters, place};

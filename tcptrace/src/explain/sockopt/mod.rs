//! The words of `sockopt`.

mod fields;
mod shown;
mod story;
mod words;

pub use fields::Fields;
pub(super) use fields::{fields, names};
pub(super) use story::{explain, verdict};
pub(super) use words::{WORDS, place};

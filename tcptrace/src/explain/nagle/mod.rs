//! The words of `nagle`.

mod fields;
mod line;
mod story;
mod words;

#[cfg(test)]
mod tests;

pub use fields::Fields;
pub(super) use fields::{fields, names};
pub(super) use line::{armed, failure, pending};
pub(super) use story::{Written, explain, remedy};
pub(super) use words::{WORDS, merged, named, pattern, place, released_by, short, timer_name};

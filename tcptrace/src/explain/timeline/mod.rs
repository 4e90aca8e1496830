//! The words of `timeline`.

mod fields;
mod line;
mod story;
mod words;

#[cfg(test)]
mod tests;

pub use fields::Fields;
pub(super) use fields::fields;
pub(super) use line::put_off;
pub(super) use story::explain;
pub(super) use words::{WORDS, names, place, state};

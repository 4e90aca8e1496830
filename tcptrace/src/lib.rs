//! kernel function - probe -> wire event -> [`source`] -> [`event`] -> [`correlate`] -> [`analysis`] -> [`finding`] ->
//! [`timeline`] -> [`joined`] -> [`explain`] -> [`render`] -> [`cli`]
//!
//! From [`event`] to [`explain`] everything is a function of its input: the same trace in, the same bytes out.

pub mod kernel;
pub mod event;
pub mod cost;
pub mod filter;
pub mod trace;
pub mod source;
pub mod record;
pub mod finding;
pub mod analysis;
pub mod timeline;
pub mod correlate;
pub mod joined;
pub mod explain;
pub mod render;
pub mod cli;

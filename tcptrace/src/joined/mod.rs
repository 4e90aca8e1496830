//! What finished findings say together: the two ends of one connection, and the writes of one process. No analysis sees a
//! second socket; this step does, between them and the words.

mod counters;
mod ends;
mod listeners;
mod openings;
mod patterns;

pub use counters::{Compared, Counters};
pub use ends::Ends;
pub use listeners::{Listened, Listeners};
pub use patterns::{Patterns, Row};

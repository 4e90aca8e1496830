//! The oracle: which holds there were, computed from the log of calls and the wire alone, never from tcptrace's types.

mod bytes;
mod compare;
mod holds;
mod model;
mod wire;

pub(crate) use bytes::against_bytes;
pub(crate) use compare::{
    Reported, against_certain, against_latecomer, against_story, against_tool,
};
pub(crate) use holds::holds;
pub(crate) use model::{Call, CallRecord, Conversation, Hold, SEND_BUFFER, Segment};
pub(crate) use wire::segment;

#[cfg(test)]
mod tests;

//! The oracle: which holds and which teardowns there were, computed from the log of calls and the wire alone, never from tcptrace's types.

mod bytes;
mod closes;
mod compare;
mod holds;
mod model;
mod trips;
mod way;
mod wire;

pub(crate) use bytes::against_bytes;
pub(crate) use closes::{
    ReportedClose, close, close_against_capture, close_against_story, close_against_tool,
    close_joined, fin_against_story,
};
pub(crate) use compare::{
    Reported, Writer, against_certain, against_latecomer, against_story, against_tool,
};
pub(crate) use holds::holds;
pub(crate) use model::{
    Call, CallRecord, Close, Conversation, Hold, NOT_ESTABLISHED, NOTSENT_LOWAT, SEND_BUFFER,
    Segment,
};
pub(crate) use way::Way;
pub(crate) use wire::segment;

#[cfg(test)]
mod tests;

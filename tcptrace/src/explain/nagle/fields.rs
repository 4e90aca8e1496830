//! A hold's own fields, as `--json` has them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        nagle::{Held, Hold, Known, Pattern, PeerAck, Release, Way, Write},
    },
    explain::{Context, name_of},
    finding::Finding,
};

/// The fields of a `hold`, in the order of the JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fields<'a> {
    /// Bytes that waited, of all writes of the hold together; not known while the writer sleeps in its call.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u32>,
    /// Size of the write that started it, where its call was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u32>,
    /// How the write that started it was given to TCP, where that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    way: Option<Way>,
    /// How long the first of them waited, nanoseconds.
    held_ns: u64,
    /// What held them, in time order; the durations add up to the hold's.
    causes: Vec<CauseFields>,
    release: &'a Release,
    /// How the peer sent the ACK that released them, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ack: Option<PeerAck>,
    /// How that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ack_certainty: Option<Known>,
    /// What this hold and others before it have in common, of the same process and call site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<Pattern>,
    /// The bytes are what was left after whole segments of the same write; absent when not.
    #[serde(skip_serializing_if = "is_false")]
    tail: bool,
    /// The writes in it, the one that started it first; at most 64.
    writes: Vec<WriteFields>,
    /// Writes beyond those; absent when there are none.
    #[serde(skip_serializing_if = "is_zero")]
    writes_left_out: u32,
}

/// One cause.
#[derive(Debug, Serialize, JsonSchema)]
struct CauseFields {
    cause: Held,
    /// The peer's window was closed, not only too small; absent when not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    zero: bool,
    /// For how long, nanoseconds.
    held_ns: u64,
}

/// One write.
#[derive(Debug, Serialize, JsonSchema)]
struct WriteFields {
    /// Bytes of it that waited.
    bytes: u32,
    /// When it began to wait, nanoseconds from the start of the hold.
    at_ns: i64,
    /// How long its bytes waited, nanoseconds.
    held_ns: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The names of what held the bytes, and of what let them go.
pub(in crate::explain) fn names(hold: &Hold) -> (Vec<String>, Vec<String>) {
    let causes = hold.parts.iter().map(|part| name_of(&part.held)).collect();
    (causes, vec![name_of(&hold.release)])
}

pub(in crate::explain) fn fields<'a>(
    finding: &Finding<Cause, AnyFact>,
    hold: &'a Hold,
    _context: &Context<'_>,
) -> (Fields<'a>, Vec<&'static str>) {
    let causes = hold
        .parts
        .iter()
        .map(|part| CauseFields { cause: part.held, zero: part.zero, held_ns: part.held_ns })
        .collect();
    let write = |write: &Write| WriteFields {
        bytes: write.bytes,
        at_ns: write.at_ns.wrapping_sub(finding.from_ns).cast_signed(),
        held_ns: write.held_ns,
    };
    let is_known = !hold.writes.is_empty();
    let fields = Fields {
        bytes: is_known.then_some(hold.bytes),
        written_bytes: hold.written_bytes,
        way: hold.way,
        held_ns: finding.until_ns.saturating_sub(finding.from_ns),
        causes,
        release: &hold.release,
        peer_ack: hold.peer_ack.map(|(ack, _)| ack),
        peer_ack_certainty: hold.peer_ack.map(|(_, known)| known),
        pattern: hold.pattern,
        tail: hold.tail,
        writes: hold.writes.iter().map(write).collect(),
        writes_left_out: hold.writes_left_out,
    };
    let unknown = [(is_known, "bytes"), (hold.written_bytes.is_some(), "written_bytes")];
    (fields, unknown.into_iter().filter(|(known, _)| !known).map(|(_, name)| name).collect())
}

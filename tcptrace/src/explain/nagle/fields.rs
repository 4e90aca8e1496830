//! A hold's own fields, as `--json` has them.

use serde::Serialize;

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        nagle::{Held, Hold, Release, Write},
    },
    finding::Finding,
};

/// The fields of a `hold`, in the order of the JSON.
#[derive(Debug, Serialize)]
pub struct Fields<'a> {
    bytes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u32>,
    held_ns: u64,
    causes: Vec<CauseFields>,
    release: &'a Release,
    #[serde(skip_serializing_if = "is_false")]
    tail: bool,
    writes: Vec<WriteFields>,
    #[serde(skip_serializing_if = "is_zero")]
    writes_left_out: u32,
}

#[derive(Debug, Serialize)]
struct CauseFields {
    cause: Held,
    held_ns: u64,
}

#[derive(Debug, Serialize)]
struct WriteFields {
    bytes: u32,
    /// From the start of the hold.
    at_ns: i64,
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

pub(in crate::explain) fn fields<'a>(
    finding: &Finding<Cause, AnyFact>,
    hold: &'a Hold,
) -> (Fields<'a>, Vec<&'static str>) {
    let causes = hold
        .parts
        .iter()
        .map(|part| CauseFields { cause: part.held, held_ns: part.held_ns })
        .collect();
    let write = |write: &Write| WriteFields {
        bytes: write.bytes,
        at_ns: write.at_ns.wrapping_sub(finding.from_ns).cast_signed(),
        held_ns: write.held_ns,
    };
    let fields = Fields {
        bytes: hold.bytes,
        written_bytes: hold.written_bytes,
        held_ns: finding.until_ns.saturating_sub(finding.from_ns),
        causes,
        release: &hold.release,
        tail: hold.tail,
        writes: hold.writes.iter().map(write).collect(),
        writes_left_out: hold.writes_left_out,
    };
    (fields, if hold.written_bytes.is_none() { vec!["written_bytes"] } else { Vec::new() })
}

//! A stretch's own fields, as `--json` has them.

use schemars::JsonSchema;
use serde::Serialize;

use super::words::state;
use crate::{
    analysis::{Cause, Fact as AnyFact, timeline::Stretch},
    explain::Context,
    finding::Finding,
};

/// The fields of a `stretch`, in the order of the JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fields<'a> {
    /// From its first line to its last.
    lasted_ns: u64,
    /// Write calls in it.
    writes: u32,
    /// Bytes that they wrote.
    written_bytes: u64,
    /// Bytes of new data that left.
    left_bytes: u64,
    /// Bytes of data that came in.
    received_bytes: u64,
    /// Holds that ended in it.
    holds_ended: u32,
    /// Bytes were waiting already when it began.
    begins_held: bool,
    /// State of the socket when the trace met it; only in its first stretch.
    #[serde(skip_serializing_if = "Option::is_none")]
    met_in: Option<&'a str>,
}

pub(in crate::explain) fn fields<'a>(
    finding: &Finding<Cause, AnyFact>,
    stretch: &'a Stretch,
    _context: &Context<'_>,
) -> (Fields<'a>, Vec<&'static str>) {
    let fields = Fields {
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
        writes: stretch.writes,
        written_bytes: stretch.written_bytes,
        left_bytes: stretch.left_bytes,
        received_bytes: stretch.received_bytes,
        holds_ended: stretch.holds_ended,
        begins_held: stretch.begins_held,
        met_in: stretch.met_in.and_then(state),
    };
    (fields, Vec::new())
}

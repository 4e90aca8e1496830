//! A stretch's own fields, as `--json` has them.

use serde::Serialize;

use super::words::state;
use crate::{
    analysis::{Cause, Fact as AnyFact, timeline::Stretch},
    finding::Finding,
};

/// The fields of a `stretch`, in the order of the JSON.
#[derive(Debug, Serialize)]
pub struct Fields<'a> {
    lasted_ns: u64,
    writes: u32,
    written_bytes: u64,
    left_bytes: u64,
    received_bytes: u64,
    holds_ended: u32,
    begins_held: bool,
    /// State of the socket when the trace met it; only in its first stretch.
    #[serde(skip_serializing_if = "Option::is_none")]
    met_in: Option<&'a str>,
}

pub(in crate::explain) fn fields<'a>(
    finding: &Finding<Cause, AnyFact>,
    stretch: &'a Stretch,
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

//! A teardown's own fields, as `--json` has them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        close::{Closed, Mark, PutOff, Reason, Shape, Side, Teardown},
        nagle::{Held, Release},
    },
    explain::{Context, name_of, timeline::state, units::ticks_ns},
    finding::Finding,
};

/// The fields of a `close`, in the order of the JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fields<'a> {
    side: &'a Side,
    shape: &'a Shape,
    reason: &'a Reason,
    /// What else there is to say of it.
    marks: &'a [Mark],
    /// Segments that it took: FINs, resets, and ACKs of FINs that carried nothing else; none twice.
    segments: u32,
    /// Segments of it that were sent again.
    repeated_segments: u32,
    /// How this end was closed first; absent when it was not, or not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Closed")]
    closed_by: Option<Closed>,
    /// How many processes had the socket open at the end of the run and had not closed it, where that was looked up; `process`
    /// is the one with the lowest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_in_processes: Option<u32>,
    /// From its first event to its last, or to the end of the run, nanoseconds.
    lasted_ns: u64,
    /// From the peer's FIN to the call that closed this end, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    fin_to_close_ns: Option<u64>,
    /// From the peer's FIN to the segment that acknowledged it, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    fin_to_ack_ns: Option<u64>,
    /// From the peer's FIN to the time of the delayed-ACK timer, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_due_ns: Option<u64>,
    /// From the segment that acknowledged the peer's FIN to the time of the delayed-ACK timer, nanoseconds; negative when
    /// the timer was earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    margin_ns: Option<i64>,
    /// Bytes that had come in and were not read when this end was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    unread_bytes: Option<u32>,
    /// Bytes that had not left when this end was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsent_bytes: Option<u32>,
    /// Bytes that had left and were not acknowledged when this end was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_bytes: Option<u32>,
    /// Data that followed the first FIN, in the other direction, bytes.
    data_after_fin_bytes: u32,
    /// What held this end's FIN when it was queued; absent when it left at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Held")]
    fin_held_by: Option<Held>,
    /// What let it go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Release")]
    fin_release: Option<Release>,
    /// How long it waited, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    fin_held_ns: Option<u64>,
    /// What the other end of the connection saw of it, where that is a socket of this host that was watched and was over
    /// first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OtherFields")]
    other_end: Option<OtherFields>,
    /// The closing states that the socket was in, in time order.
    states: Vec<StateFields>,
    /// Lines of evidence beyond the first 64; absent when there are none.
    #[serde(skip_serializing_if = "is_zero")]
    evidence_left_out: u32,
}

/// The other end.
#[derive(Debug, Serialize, JsonSchema)]
struct OtherFields {
    shape: Shape,
    reason: Reason,
    /// From the FIN of the end that the finding is about to the call that closed the other, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    fin_to_close_ns: Option<u64>,
    /// The process that closed it; absent when nobody has, or it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// The thread that closed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    /// Name of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<String>,
}

/// One state.
#[derive(Debug, Serialize, JsonSchema)]
struct StateFields {
    /// Its name in RFC 9293.
    state: &'static str,
    /// How long the socket was in it, nanoseconds.
    lasted_ns: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The name of why; nothing lets a teardown go.
pub(in crate::explain) fn names(teardown: &Teardown) -> (Vec<String>, Vec<String>) {
    (vec![name_of(&teardown.shape), name_of(&teardown.reason)], Vec::new())
}

/// From the peer's FIN to the time of the delayed-ACK timer.
pub(super) fn ack_due_ns(teardown: &Teardown, hz: Option<u32>) -> Option<u64> {
    let PutOff { at_ns, due_ticks, .. } = teardown.put_off?;
    let after_fin = at_ns.checked_sub(teardown.peer_fin_ns?)?;
    after_fin.checked_add(ticks_ns(due_ticks, hz)?)
}

/// From the segment that acknowledged the peer's FIN to the time of the delayed-ACK timer.
pub(super) fn margin_ns(teardown: &Teardown, hz: Option<u32>) -> Option<i64> {
    let due = i64::try_from(ack_due_ns(teardown, hz)?).ok()?;
    due.checked_sub(i64::try_from(teardown.fin_to_ack_ns?).ok()?)
}

pub(in crate::explain) fn fields<'a>(
    finding: &Finding<Cause, AnyFact>,
    teardown: &'a Teardown,
    context: &Context<'_>,
) -> (Fields<'a>, Vec<&'static str>) {
    let other = teardown.other.as_ref().map(|other| OtherFields {
        shape: other.shape,
        reason: other.reason,
        fin_to_close_ns: other.fin_to_close_ns,
        pid: other.closer.map(|closer| closer.pid),
        tid: other.closer.map(|closer| closer.tid),
        comm: other
            .closer
            .and_then(|closer| context.comms.get(closer.tid))
            .map(ToString::to_string),
    });
    let hz = context.facts.hz;
    let held = teardown.fin_held;
    let spell = |spell: &crate::analysis::close::Spell| {
        Some(StateFields { state: state(spell.skc_state)?, lasted_ns: spell.lasted_ns })
    };
    let fields = Fields {
        side: &teardown.side,
        shape: &teardown.shape,
        reason: &teardown.reason,
        marks: &teardown.marks,
        segments: teardown.segments,
        repeated_segments: teardown.repeated,
        closed_by: teardown.closed,
        open_in_processes: teardown.holder.map(|holder| holder.processes),
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
        fin_to_close_ns: teardown.fin_to_close_ns,
        fin_to_ack_ns: teardown.fin_to_ack_ns,
        ack_due_ns: ack_due_ns(teardown, hz),
        margin_ns: margin_ns(teardown, hz),
        unread_bytes: teardown.unread_bytes,
        unsent_bytes: teardown.unsent_bytes,
        in_flight_bytes: teardown.in_flight_bytes,
        data_after_fin_bytes: teardown.data_after_fin_bytes,
        fin_held_by: held.map(|held| held.by),
        fin_release: held.map(|held| held.release),
        fin_held_ns: held.map(|held| held.held_ns),
        other_end: other,
        states: teardown.spells.iter().filter_map(spell).collect(),
        evidence_left_out: teardown.lines_left_out,
    };
    (fields, Vec::new())
}

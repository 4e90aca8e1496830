//! One stretch told: the sentence that sums it up, and its lines.

use super::{
    line::line,
    words::{is_open, state},
};
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        timeline::{Fact, Stretch},
    },
    explain::{
        Context, Explanation, stack, task,
        units::{bytes, counted, duration},
    },
    finding::{Certainty, Evidence, Finding},
};

pub(in crate::explain) fn explain(
    finding: &Finding<Cause, AnyFact>,
    stretch: &Stretch,
    evidence: &[Evidence<&Fact>],
    context: &Context<'_>,
) -> Explanation {
    let mut held = stretch.begins_held;
    let mut lines = Vec::with_capacity(evidence.len());
    for fact in evidence {
        match fact.fact {
            Fact::Stack { number } => lines.extend(stack(*number, fact.at_ns, held, context)),
            _ => lines.push(line(fact, stretch, held, context)),
        }
        held = match fact.fact {
            Fact::HoldBegan { .. } => true,
            Fact::HoldEnded { causes, .. } if matches!(causes.as_slice(), [only] if only.held.is_sleep()) => {
                held
            }
            Fact::HoldEnded { .. } => false,
            _ => held,
        };
    }
    Explanation {
        subject: stretch.owner.map(|owner| (owner, task(owner, context.comms))),
        aside: stretch.met_in.and_then(|met_in| aside(met_in, context)),
        verdict: verdict(finding, stretch),
        zero_ns: finding.from_ns,
        lines,
        pattern: None,
        change: None,
    }
}

/// A connection that the trace met after its handshake; where sockets are met at their first event, it is older.
fn aside(met_in: u32, context: &Context<'_>) -> Option<String> {
    if !is_open(met_in) {
        return None;
    }
    if context.meets_all {
        return Some("open before the start".to_owned());
    }
    Some(format!("first seen in {}", state(met_in)?))
}

/// `2 writes of 113 B, 113 B left, 20 B came in, 1 hold ended, in 226.9 ms.`
fn verdict(finding: &Finding<Cause, AnyFact>, stretch: &Stretch) -> String {
    let mut parts = Vec::new();
    if stretch.writes > 0 {
        let written = bytes(stretch.written_bytes);
        parts.push(format!("{} of {written}", counted(stretch.writes.into(), "write", "writes")));
    }
    if stretch.left_bytes > 0 {
        parts.push(format!("{} left", bytes(stretch.left_bytes)));
    }
    if stretch.received_bytes > 0 {
        parts.push(format!("{} came in", bytes(stretch.received_bytes)));
    }
    if stretch.holds_ended > 0 {
        parts.push(format!("{} ended", counted(stretch.holds_ended.into(), "hold", "holds")));
    }
    if parts.is_empty() {
        parts.push("no data".to_owned());
    }
    let lasted = duration(finding.until_ns.saturating_sub(finding.from_ns));
    let lost = if finding.certainty == Certainty::May { "; events may be missing" } else { "" };
    format!("{}, in {lasted}{lost}.", parts.join(", "))
}

//! What can be said of a socket that several threads use at once: no witness knows in which order their calls got the
//! lock, but the bytes must add up.

use crate::report::Outcome;

use super::{Conversation, Reported};

/// No times are asserted: between two looks at one event the host may stop the guest's processor for as long as this.
const STOPPED_NS: u64 = 20_000_000;

/// Counts holds that tcptrace must have missed or invented: bytes that surely waited for long and are in no hold, and
/// holds of more bytes than can have waited.
pub(crate) fn against_bytes(outcome: &mut Outcome, seen: &Conversation, reported: &[Reported]) {
    let waits = waits(seen);
    outcome.oracle += u32::try_from(waits.len()).unwrap_or(u32::MAX);
    outcome.tool += u32::try_from(reported.len()).unwrap_or(u32::MAX);
    for (from_ns, until_ns) in waits {
        if let Some(at_ns) = uncovered(from_ns, until_ns, reported) {
            outcome.missed += 1;
            outcome.notes.push(format!(
                "bytes waited from {from_ns} to {until_ns}, and no hold is reported at {at_ns}"
            ));
        }
    }
    for tool in reported {
        let (from_ns, until_ns) =
            (tool.start_ns.saturating_sub(STOPPED_NS), tool.start_ns + tool.held_ns + STOPPED_NS);
        let most = begun(seen, until_ns).saturating_sub(sent(seen, from_ns));
        if tool.bytes > most {
            outcome.false_holds += 1;
            outcome.notes.push(format!("at most {most} B can have waited: {tool:?}"));
        }
        if !tool.certain {
            outcome.wrong_figures += 1;
            outcome.notes.push(format!("nothing was lost: {tool:?}"));
        }
    }
    let (all, held) = (begun(seen, u64::MAX), reported.iter().map(|tool| tool.bytes).sum::<u64>());
    if held > all {
        outcome.false_holds += 1;
        outcome.notes.push(format!("{held} B held of {all} B written"));
    }
}

/// When bytes surely waited, without a pause: the calls that wrote them had returned, and they had not left.
fn waits(seen: &Conversation) -> Vec<(u64, u64)> {
    let returns = seen.calls.iter().map(|record| record.ret_ns);
    let mut moments: Vec<u64> = returns.chain(seen.wire.iter().map(|it| it.at_ns)).collect();
    moments.sort_unstable();
    let mut waits: Vec<(u64, u64)> = Vec::new();
    for pair in moments.windows(2) {
        let &[from_ns, until_ns] = pair else { continue };
        if ended(seen, from_ns) <= sent(seen, from_ns) {
            continue;
        }
        match waits.last_mut().filter(|last| last.1 == from_ns) {
            Some(last) => last.1 = until_ns,
            None => waits.push((from_ns, until_ns)),
        }
    }
    waits
}

/// A moment of the wait that is far from every hold.
fn uncovered(from_ns: u64, until_ns: u64, reported: &[Reported]) -> Option<u64> {
    let mut at_ns = from_ns;
    let mut holds: Vec<&Reported> = reported.iter().collect();
    holds.sort_by_key(|tool| tool.start_ns);
    for tool in holds {
        if tool.start_ns > at_ns.saturating_add(STOPPED_NS) {
            break;
        }
        at_ns = at_ns.max(tool.start_ns + tool.held_ns);
    }
    (at_ns.saturating_add(STOPPED_NS) < until_ns).then_some(at_ns)
}

/// Bytes of the writes that had begun.
fn begun(seen: &Conversation, at_ns: u64) -> u64 {
    written(seen, |begun_ns, _| begun_ns <= at_ns)
}

/// Bytes of the writes that had returned.
fn ended(seen: &Conversation, at_ns: u64) -> u64 {
    written(seen, |_, ended_ns| ended_ns <= at_ns)
}

fn written(seen: &Conversation, counts: impl Fn(u64, u64) -> bool) -> u64 {
    let writes = seen.calls.iter().filter(|record| record.call.writes());
    let counted = writes.filter(|record| counts(record.at_ns, record.ret_ns));
    counted.map(super::CallRecord::given).sum()
}

/// End of the bytes that had left.
fn sent(seen: &Conversation, at_ns: u64) -> u64 {
    let isn = seen.wire.iter().find(|it| it.syn && it.outgoing).map_or(0, |it| it.seq);
    let data = seen.wire.iter().filter(|it| it.outgoing && it.bytes > 0 && it.at_ns <= at_ns);
    let end =
        |seq: u32, bytes: u32| u64::from(seq.wrapping_sub(isn).wrapping_sub(1).wrapping_add(bytes));
    data.map(|it| end(it.seq, it.bytes)).max().unwrap_or(0)
}

//! Compares holds: the oracle's with what a story says must happen, and tcptrace's with the oracle's.

use crate::{report::Outcome, scenario::Expected};

use super::{Call, Conversation, Hold};

/// How far apart two times of one event may be.
const ALLOWANCE_NS: u64 = 1_000_000;
/// Two holds that start within this are the same hold, with a wrong figure.
const SAME_HOLD_NS: u64 = 20_000_000;

/// A hold as tcptrace's JSON states it.
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    /// `monotonic_ns`.
    pub(crate) start_ns: u64,
    /// `held_ns`.
    pub(crate) held_ns: u64,
    /// `bytes`.
    pub(crate) bytes: u64,
    /// `causes[].cause`.
    pub(crate) causes: Vec<String>,
    /// `release`.
    pub(crate) release: String,
    /// `tail`.
    pub(crate) tail: bool,
}

/// What the oracle saw that the story does not state, or the other way round; empty when the kernel did as written.
pub(crate) fn against_story(holds: &[Hold], expected: &[Expected]) -> Vec<String> {
    let mut differences = Vec::new();
    if holds.len() != expected.len() {
        differences.push(format!(
            "the story states {} holds, the oracle saw {}",
            expected.len(),
            holds.len()
        ));
        differences.extend(holds.iter().map(|hold| format!("seen: {}", line(hold))));
        return differences;
    }
    for (hold, wanted) in holds.iter().zip(expected) {
        let about_ns = wanted.about_us * 1000;
        let near = hold.held_ns.abs_diff(about_ns) <= wanted.slack_us * 1000;
        if hold.bytes != wanted.bytes
            || hold.causes != wanted.causes
            || hold.release != wanted.release
            || !near
        {
            differences.push(format!("the story states {wanted:?}, the oracle saw {}", line(hold)));
        }
    }
    differences
}

/// Counts into `outcome` where tcptrace and the oracle differ on one connection.
pub(crate) fn against_tool(
    outcome: &mut Outcome,
    seen: &Conversation,
    holds: &[Hold],
    reported: &[Reported],
) {
    let mut left: Vec<&Reported> = reported.iter().collect();
    outcome.oracle += count(holds.len());
    outcome.tool += count(reported.len());
    for hold in holds {
        let nearest = left
            .iter()
            .enumerate()
            .map(|(at, tool)| (tool.start_ns.abs_diff(hold.start_ns), at))
            .min()
            .filter(|(apart_ns, _)| *apart_ns < SAME_HOLD_NS);
        if let Some((_, at)) = nearest {
            one(outcome, hold, left.remove(at));
        } else {
            outcome.missed += 1;
            outcome.notes.push(format!("missed: {}", line(hold)));
        }
    }
    for tool in left {
        if within_one_write(seen, tool) {
            outcome.notes.push(format!("inside one write call, no witness could see it: {tool:?}"));
        } else {
            outcome.false_holds += 1;
            outcome.notes.push(format!("false: {tool:?}"));
        }
    }
}

fn one(outcome: &mut Outcome, hold: &Hold, tool: &Reported) {
    let causes = hold.causes.iter().eq(tool.causes.iter());
    let release = hold.release == tool.release;
    let figures = hold.bytes == tool.bytes
        && hold.tail == tool.tail
        && hold.start_ns.abs_diff(tool.start_ns) <= ALLOWANCE_NS
        && hold.held_ns.abs_diff(tool.held_ns) <= ALLOWANCE_NS;
    outcome.wrong_causes += u32::from(!causes);
    outcome.wrong_releases += u32::from(!release);
    outcome.wrong_figures += u32::from(!figures);
    if !(causes && release && figures) {
        outcome.notes.push(format!("oracle {}; tcptrace {tool:?}", line(hold)));
    }
}

/// A hold that began and ended inside one write call (an acknowledgement arrived while the socket was owned).
fn within_one_write(seen: &Conversation, tool: &Reported) -> bool {
    seen.calls.iter().any(|record| {
        let writes = matches!(record.call, Call::Write(_) | Call::Writev(_) | Call::SendMore(_));
        writes && record.at_ns <= tool.start_ns && tool.start_ns + tool.held_ns <= record.ret_ns
    })
}

fn line(hold: &Hold) -> String {
    let held_us = hold.held_ns / 1000;
    let Hold { start_ns, bytes, causes, release, tail, .. } = hold;
    format!(
        "{bytes} B held {held_us} us from {start_ns} by {causes:?} until {release}, tail {tail}"
    )
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

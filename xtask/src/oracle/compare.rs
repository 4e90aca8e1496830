//! Compares holds: the oracle's with what a story says must happen, and tcptrace's with the oracle's.

use crate::{report::Outcome, scenario::Expected};

use super::{Conversation, Hold, SEND_BUFFER};

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
    /// `way`.
    pub(crate) way: Option<String>,
    /// `process`.
    pub(crate) writer: Writer,
    /// `peer_ack`, and its certainty.
    pub(crate) peer_ack: Option<(String, String)>,
    /// `certainty` is `seen`: nothing that matters was lost.
    pub(crate) certain: bool,
}

/// Who is said to have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The program under test.
    Program,
    /// Nobody: that was not seen.
    Nobody,
    /// Somebody else.
    Other,
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
    let mut rest = holds;
    while let Some((first, after)) = rest.split_first() {
        let (ref hold, more) = joined(first, after, &left);
        rest = after.get(more..).unwrap_or_default();
        let all = left.iter().map(|tool| (tool.start_ns, tool.held_ns, tool.bytes));
        if let Some(at) = nearest((hold.start_ns, hold.held_ns, hold.bytes), all) {
            one(outcome, hold, left.remove(at));
        } else {
            outcome.missed += 1;
            outcome.notes.push(format!("missed: {}", line(hold)));
        }
    }
    for tool in left {
        unmatched(outcome, seen, tool);
    }
}

/// As [`against_tool`] where tcptrace could not see everything: a hold may be missed, and one that it calls uncertain
/// may differ in anything. What it is certain of must agree in everything.
pub(crate) fn against_certain(
    outcome: &mut Outcome,
    seen: &Conversation,
    holds: &[Hold],
    reported: &[Reported],
) {
    let mut left: Vec<&Hold> = holds.iter().collect();
    outcome.oracle += count(holds.len());
    outcome.tool += count(reported.len());
    for tool in reported.iter().filter(|tool| tool.certain) {
        let all = left.iter().map(|hold| (hold.start_ns, hold.held_ns, hold.bytes));
        if let Some(at) = nearest((tool.start_ns, tool.held_ns, tool.bytes), all) {
            one(outcome, left.remove(at), tool);
        } else {
            unmatched(outcome, seen, tool);
        }
    }
}

/// As [`against_tool`] where tcptrace came at `from_ns` and bytes waited then: of these it may say what it likes as long
/// as it calls it uncertain, or nothing.
pub(crate) fn against_latecomer(
    outcome: &mut Outcome,
    seen: &Conversation,
    holds: &[Hold],
    reported: &[Reported],
    from_ns: u64,
) {
    let (before, after): (Vec<Hold>, Vec<Hold>) =
        holds.iter().cloned().partition(|hold| hold.start_ns < from_ns);
    let until_ns = before.iter().map(|hold| hold.start_ns + hold.held_ns).max();
    let guessed = |tool: &Reported| !tool.certain && Some(tool.start_ns) <= until_ns;
    let rest: Vec<Reported> = reported.iter().filter(|tool| !guessed(tool)).cloned().collect();
    if until_ns.is_none_or(|until_ns| until_ns <= from_ns) {
        outcome.broken.push("no bytes waited when tcptrace came".to_owned());
    }
    against_tool(outcome, seen, &after, &rest);
}

/// A hold, with those behind it that left with it where tcptrace tells of all of them as one, and how many these are: segments
/// that the wire shows apart may have left TCP in one buffer.
fn joined(first: &Hold, after: &[Hold], reported: &[&Reported]) -> (Hold, usize) {
    let mut whole = first.clone();
    let end_ns = |hold: &Hold| hold.start_ns + hold.held_ns;
    let told = |hold: &Hold| {
        reported.iter().any(|tool| {
            tool.bytes == hold.bytes && tool.start_ns.abs_diff(hold.start_ns) <= ALLOWANCE_NS
        })
    };
    if told(first) {
        return (whole, 0);
    }
    for (many, next) in after.iter().enumerate() {
        if end_ns(next).abs_diff(end_ns(first)) > ALLOWANCE_NS || next.release != first.release {
            break;
        }
        whole.bytes += next.bytes;
        if told(&whole) {
            return (whole, many + 1);
        }
    }
    (first.clone(), 0)
}

/// When a hold began, how long it lasted, and its bytes.
type Marks = (u64, u64, u64);

/// Index of the marks that are the same hold's. Two writes can follow each other within the time that a call takes to return:
/// those of as many bytes, and that lasted as long, belong together.
fn nearest((start_ns, held_ns, bytes): Marks, all: impl Iterator<Item = Marks>) -> Option<usize> {
    let apart = all.enumerate().filter_map(|(at, (other_ns, lasted_ns, others))| {
        let apart_ns = other_ns.abs_diff(start_ns);
        let key = (others != bytes, apart_ns + lasted_ns.abs_diff(held_ns), at);
        (apart_ns < SAME_HOLD_NS).then_some(key)
    });
    apart.min().map(|(.., at)| at)
}

fn unmatched(outcome: &mut Outcome, seen: &Conversation, tool: &Reported) {
    if within_one_write(seen, tool) {
        outcome.notes.push(format!("inside one write call, no witness could see it: {tool:?}"));
    } else {
        outcome.false_holds += 1;
        outcome.notes.push(format!("false: {tool:?}"));
    }
}

fn one(outcome: &mut Outcome, hold: &Hold, tool: &Reported) {
    let causes = hold.causes.iter().eq(tool.causes.iter())
        || hold.after_loss && undetermined_in_part(&hold.causes, &tool.causes);
    let release = hold.release == tool.release || hold.or == Some(tool.release.as_str());
    let asleep = hold.causes == [SEND_BUFFER];
    // MPTCP may give the bytes later, in softirq: then nobody is named.
    let writer = match tool.writer {
        Writer::Program => true,
        Writer::Nobody => hold.way == "mptcp",
        Writer::Other => false,
    };
    let figures = writer
        && tool.way.as_deref() == Some(hold.way)
        && (hold.bytes == tool.bytes || asleep && tool.bytes > 0)
        && (hold.tail == tool.tail || asleep)
        // Where nothing is lost there is no "may".
        && tool.certain
        && hold.peer_ack.is_none_or(|ack| ack == tool.peer_ack.as_ref().map_or("", |(ack, _)| ack))
        && hold.start_ns.abs_diff(tool.start_ns) <= ALLOWANCE_NS
        && hold.held_ns.abs_diff(tool.held_ns) <= ALLOWANCE_NS;
    outcome.wrong_causes += u32::from(!causes);
    outcome.wrong_releases += u32::from(!release);
    outcome.wrong_figures += u32::from(!figures);
    if !(causes && release && figures) {
        outcome.notes.push(format!("oracle {}; tcptrace {tool:?}", line(hold)));
    }
}

/// Nothing is reported but causes that held, in their order, and that some were not determined or the congestion window,
/// which a loss makes smaller than any wire shows.
fn undetermined_in_part(causes: &[&str], reported: &[String]) -> bool {
    let mut left = causes.iter();
    let unseen = |cause: &&String| *cause == "undetermined" || *cause == "cwnd";
    let mut named = reported.iter().filter(|cause| !unseen(cause));
    reported.iter().any(|cause| unseen(&cause)) && named.all(|cause| left.any(|held| held == cause))
}

/// A hold that began and ended inside one write call (an acknowledgement arrived while the socket was owned).
fn within_one_write(seen: &Conversation, tool: &Reported) -> bool {
    seen.calls.iter().any(|record| {
        record.call.writes()
            && record.at_ns <= tool.start_ns
            && tool.start_ns + tool.held_ns <= record.ret_ns
    })
}

fn line(hold: &Hold) -> String {
    let held_us = hold.held_ns / 1000;
    let Hold { start_ns, bytes, causes, tail, peer_ack, .. } = hold;
    let release: Vec<&str> = [hold.release].into_iter().chain(hold.or).collect();
    let release = release.join(" or ");
    format!(
        "{bytes} B held {held_us} us from {start_ns} by {causes:?} until {release}, tail {tail}, ACK {peer_ack:?}"
    )
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

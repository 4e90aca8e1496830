//! Teardowns: what the wire and the calls make of one, and how that compares with the story and with tcptrace.

use serde::Deserialize;

use super::{Call, Close, Conversation, Segment};
use crate::{report::Outcome, scenario::ExpectedClose};

/// How far apart two times of one event may be.
const ALLOWANCE_NS: u64 = 1_000_000;
/// What follows within this follows at once: a call, a softirq, the emulator.
const AT_ONCE_NS: u64 = 2_000_000;
/// The earliest and the latest that a delayed ACK of 40 ms can be, by the timer's ticks.
const DELAYED_NS: std::ops::Range<u64> = 30_000_000..60_000_000;
/// The latest that an ACK without a delay can be: the next tick, and the wheel's step.
const NEXT_TICK_NS: u64 = 12_000_000;

/// A teardown as tcptrace's JSON states it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReportedClose {
    side: String,
    shape: String,
    reason: String,
    segments: u32,
    marks: Vec<String>,
    certainty: String,
    fin_to_ack_ns: Option<u64>,
    fin_to_close_ns: Option<u64>,
    fin_held_ns: Option<u64>,
    fin_held_by: Option<String>,
    fin_release: Option<String>,
    margin_ns: Option<i64>,
    process: Option<ReportedProcess>,
    other_end: Option<ReportedEnd>,
    /// The kernel has not counted what the probes missed: of the summary.
    #[serde(skip)]
    pub(crate) uncounted: bool,
}

/// What the other end saw.
#[derive(Clone, Debug, Deserialize)]
struct ReportedEnd {
    shape: String,
    reason: String,
}

/// Of whom it is.
#[derive(Clone, Debug, Deserialize)]
struct ReportedProcess {
    comm: Option<String>,
}

/// One end's view of the wire.
struct View<'a> {
    seen: &'a Conversation,
    own_fin: Option<&'a Segment>,
    peer_fin: Option<&'a Segment>,
}

/// The teardown of one connection; nothing where neither end began one.
pub(crate) fn close(seen: &Conversation) -> Option<Close> {
    let fin = |outgoing| seen.wire.iter().find(move |it| it.fin && it.outgoing == outgoing);
    let view = View { seen, own_fin: fin(true), peer_fin: fin(false) };
    let reset = seen.wire.iter().find(|it| it.rst);
    let side = view.side();
    let (shape, reason) = match reset {
        _ if view.unestablished() => ("never_established", view.why_never(reset)),
        Some(reset) => view.reset(reset),
        None => view.by_fins()?,
    };
    let gave_up = matches!(shape, "timed_out") || reason == "orphan_limit";
    let acked = view.peer_fin.and_then(|fin| view.ack_of(fin));
    let since = |at_ns: u64| view.peer_fin.map(|fin| at_ns.saturating_sub(fin.at_ns));
    let closed_ns = view.closing_call().map(|call| call.at_ns);
    Some(Close {
        side,
        shape,
        reason,
        segments: view.segments(),
        fin_again: [true, false].iter().any(|way| view.fins(*way) > 1),
        reused: view.reused(),
        orphaned: gave_up && view.close_call().is_some(),
        vanished: reason == "no_answer",
        held_data: view.held_data(),
        fin_held_ns: view
            .own_fin
            .zip(closed_ns)
            .map(|(fin, closed)| fin.at_ns.saturating_sub(closed))
            .filter(|held| *held > AT_ONCE_NS),
        fin_to_ack_ns: acked.and_then(|it| since(it.at_ns)),
        fin_to_close_ns: closed_ns
            .filter(|at| view.peer_fin.is_some_and(|fin| fin.at_ns < *at))
            // What a reset has ended nobody closes.
            .filter(|at| reset.is_none_or(|reset| reset.outgoing || reset.at_ns > *at))
            .and_then(since),
    })
}

impl View<'_> {
    fn fins(&self, outgoing: bool) -> usize {
        self.seen.wire.iter().filter(|it| it.fin && it.outgoing == outgoing).count()
    }

    /// The first segment of the other end that covers `fin`; a reset covers nothing.
    fn ack_of(&self, fin: &Segment) -> Option<&Segment> {
        let end = fin.seq.wrapping_add(fin.bytes).wrapping_add(1);
        self.seen.wire.iter().find(|it| {
            it.outgoing != fin.outgoing
                && it.at_ns >= fin.at_ns
                && it.acks
                && !it.rst
                && it.ack.wrapping_sub(end) < u32::MAX / 2
        })
    }

    /// The first call that closed this end.
    fn closing_call(&self) -> Option<&super::CallRecord> {
        let closes = |call: &Call| matches!(call, Call::Close | Call::ShutdownWrite);
        self.seen.calls.iter().find(|record| closes(&record.call))
    }

    /// The call that took the program's hands off this end.
    fn close_call(&self) -> Option<&super::CallRecord> {
        self.seen.calls.iter().find(|record| record.call == Call::Close)
    }

    fn called(&self, call: &Call) -> bool {
        self.seen.calls.iter().any(|it| it.call == *call)
    }

    /// This end asked for the connection, and the other never agreed.
    fn unestablished(&self) -> bool {
        let asked = |it: &Segment| it.syn && it.outgoing && !it.acks;
        let agreed = |it: &Segment| it.syn && !it.outgoing;
        self.seen.wire.iter().any(asked) && !self.seen.wire.iter().any(agreed)
    }

    fn why_never(&self, reset: Option<&Segment>) -> &'static str {
        match reset {
            Some(_) => "peer",
            None if self.close_call().is_some() => "aborted",
            None => "no_answer",
        }
    }

    /// The other end asks again when nothing of this connection is open.
    fn reused(&self) -> bool {
        let last = self.seen.wire.iter().filter(|it| it.fin).map(|it| it.at_ns).max();
        let again = |it: &Segment| it.syn && !it.acks && last.is_some_and(|last| it.at_ns > last);
        self.own_fin.is_some() && self.peer_fin.is_some() && self.seen.wire.iter().any(again)
    }

    fn side(&self) -> &'static str {
        match (self.own_fin, self.peer_fin) {
            (Some(own), Some(peer)) => {
                let (first, second) =
                    if own.at_ns <= peer.at_ns { (own, peer) } else { (peer, own) };
                let covered = self.ack_of(first).is_some_and(|ack| ack.at_ns <= second.at_ns);
                match (covered, first.outgoing) {
                    (false, _) => "both",
                    (true, true) => "active",
                    (true, false) => "passive",
                }
            }
            (Some(_), None) => "active",
            (None, Some(_)) => "passive",
            (None, None) => {
                if self.seen.wire.iter().any(|it| it.rst && !it.outgoing) {
                    "passive"
                } else {
                    "active"
                }
            }
        }
    }

    /// The bytes that came in until a moment.
    fn came_before(&self, at_ns: u64) -> u32 {
        let came = self.seen.wire.iter().filter(|it| !it.outgoing && !it.syn && it.at_ns <= at_ns);
        came.map(|it| it.bytes).sum()
    }

    fn reset(&self, reset: &Segment) -> (&'static str, &'static str) {
        if !reset.outgoing {
            return ("reset_received", "peer");
        }
        if self.called(&Call::Abort) {
            return ("reset_sent", "aborted");
        }
        if self.called(&Call::Disconnect) {
            return ("reset_sent", "disconnected");
        }
        let Some(closed_ns) = self.close_call().map(|call| call.at_ns) else {
            return ("reset_sent", "undetermined");
        };
        let after = |it: &&Segment| !it.outgoing && it.bytes > 0 && it.at_ns > closed_ns;
        let reason = if self.seen.wire.iter().any(|it| after(&it)) {
            "data_after_close"
        } else if self.came_before(closed_ns) > self.read() {
            "unread_data"
        } else if self.called(&Call::LingerZero) {
            "linger_zero"
        } else if self.own_fin.is_some() && self.called(&Call::OrphansAllowed(false)) {
            "orphan_limit"
        } else if self.own_fin.is_some() && self.called(&Call::Linger2(-1)) {
            "linger2"
        } else {
            "undetermined"
        };
        ("reset_sent", reason)
    }

    /// The bytes that the program read.
    fn read(&self) -> u32 {
        let reads = self.seen.calls.iter().filter(|it| matches!(it.call, Call::Read(_)));
        reads.map(|it| u32::try_from(it.result).unwrap_or(0)).sum()
    }

    fn by_fins(&self) -> Option<(&'static str, &'static str)> {
        let side = self.side();
        match (self.own_fin, self.peer_fin) {
            (None, Some(_)) => return Some(("open", "not_closed")),
            (Some(own), None) => return Some(self.alone(own)),
            (None, None) => return self.unanswered(),
            (Some(_), Some(_)) => {}
        }
        let first = match side {
            "both" => return Some(("simultaneous", "fin_wait")),
            "active" => self.own_fin?,
            _ => self.peer_fin?,
        };
        let second = match side {
            "active" => self.peer_fin?,
            _ => self.own_fin?,
        };
        let ack = self.ack_of(first)?;
        if ack.fin {
            return Some(("merged", "ack_pending"));
        }
        if ack.bytes > 0 {
            return Some(("ack_on_data", "data_after_fin"));
        }
        let data = self.seen.wire.iter().any(|it| {
            it.outgoing == second.outgoing && it.bytes > 0 && !it.fin && it.at_ns > first.at_ns
        });
        let shape = if data { "half_close" } else { "separate" };
        let reason = if side == "active" { "peer" } else { self.why_separate(first, ack) };
        Some((shape, reason))
    }

    /// The own FIN, and none of the other end.
    fn alone(&self, own: &Segment) -> (&'static str, &'static str) {
        let waits = self
            .seen
            .calls
            .iter()
            .any(|it| matches!(it.call, Call::Linger2(seconds) if seconds > 0));
        let orphan = self.close_call().is_some();
        match self.ack_of(own) {
            None if orphan && self.called(&Call::OrphanRetries(1)) && self.fins(true) > 1 => {
                ("timed_out", "no_answer")
            }
            Some(_) if orphan && waits => ("timed_out", "fin_timeout"),
            _ => ("open", "under_way"),
        }
    }

    /// No FIN at all: the kernel gives up where data is sent again, in vain, for longer than the program allows.
    fn unanswered(&self) -> Option<(&'static str, &'static str)> {
        let limited = self.seen.calls.iter().any(|it| matches!(it.call, Call::UserTimeout(_)));
        let sent: Vec<&Segment> =
            self.seen.wire.iter().filter(|it| it.outgoing && it.bytes > 0).collect();
        let again = sent.windows(2).any(|pair| matches!(pair, [one, two] if one.seq == two.seq));
        (limited && again).then_some(("timed_out", "no_answer"))
    }

    /// Why the ACK of the peer's FIN went by itself: by when it did, and by what was called then.
    fn why_separate(&self, fin: &Segment, ack: &Segment) -> &'static str {
        let after_ns = ack.at_ns.saturating_sub(fin.at_ns);
        let within = |wanted: fn(&Call) -> bool| {
            let calls = self.seen.calls.iter().filter(|it| wanted(&it.call));
            calls.into_iter().any(|it| it.at_ns <= ack.at_ns && ack.at_ns <= it.ret_ns)
        };
        if within(|call| *call == Call::Quickack(true)) {
            "quick_ack"
        } else if self.called(&Call::RouteQuickack) && after_ns < AT_ONCE_NS {
            "route_quickack"
        } else if fin.bytes > 0
            && (after_ns < AT_ONCE_NS || within(|call| matches!(call, Call::Read(_))))
        {
            "window_update"
        } else if self.came_before(fin.at_ns) == 0 && after_ns < NEXT_TICK_NS {
            "no_data_received"
        } else if DELAYED_NS.contains(&after_ns) {
            "ack_timer"
        } else {
            "undetermined"
        }
    }

    /// FINs, ACKs of FINs that carried nothing else, and a reset; none twice.
    fn segments(&self) -> u32 {
        let bare = |fin: Option<&Segment>| {
            let ack = fin.and_then(|fin| self.ack_of(fin));
            ack.is_some_and(|it| !it.fin && !it.rst && it.bytes == 0)
        };
        [
            self.own_fin.is_some(),
            self.peer_fin.is_some(),
            bare(self.own_fin),
            bare(self.peer_fin),
            self.seen.wire.iter().any(|it| it.rst),
        ]
        .into_iter()
        .map(u32::from)
        .sum()
    }

    /// Bytes were written before the call that closed this end, and left with or after it.
    fn held_data(&self) -> bool {
        let Some(closing) = self.closing_call() else { return false };
        let before =
            self.seen.calls.iter().filter(|it| it.call.writes() && it.at_ns < closing.at_ns);
        let written: i64 = before.map(|it| it.result).sum();
        let left = self.seen.wire.iter().filter(|it| it.outgoing && it.at_ns < closing.at_ns);
        let syn = self.seen.wire.iter().find(|it| it.outgoing && it.syn).map_or(0, |it| it.seq);
        let to = left.map(|it| it.seq.wrapping_sub(syn).wrapping_sub(1).wrapping_add(it.bytes));
        let sent = to.filter(|to| *to < u32::MAX / 2).max().unwrap_or(0);
        self.own_fin.is_some() && written > i64::from(sent)
    }
}

/// Where the oracle saw another teardown than the story states.
pub(crate) fn close_against_story(seen: Option<&Close>, wanted: &ExpectedClose) -> Vec<String> {
    let Some(seen) = seen else { return vec![format!("no teardown was seen; wanted {wanted:?}")] };
    let own = (seen.side, seen.shape, seen.reason, seen.segments);
    if wanted.any_of.contains(&own) {
        return Vec::new();
    }
    vec![format!("the story states {:?}, the oracle saw {seen:?}", wanted.any_of)]
}

/// Where tcptrace tells another reason for a FIN that waited than the story states: the story makes it wait, and its peer lets it
/// go.
pub(crate) fn fin_against_story(reported: &[ReportedClose], wanted: &ExpectedClose) -> Vec<String> {
    let Some((cause, release)) = wanted.fin else { return Vec::new() };
    let told =
        reported.first().map(|tool| (tool.fin_held_by.as_deref(), tool.fin_release.as_deref()));
    if told == Some((Some(cause), Some(release))) {
        return Vec::new();
    }
    vec![format!("the FIN is held by {cause} and goes by {release}; tcptrace tells {told:?}")]
}

/// Counts into `outcome` where tcptrace and the oracle differ on one connection.
pub(crate) fn close_against_tool(
    outcome: &mut Outcome,
    seen: Option<&Close>,
    reported: &[ReportedClose],
) {
    outcome.oracle += u32::from(seen.is_some());
    outcome.tool += u32::try_from(reported.len()).unwrap_or(u32::MAX);
    let Some(seen) = seen else {
        outcome.false_holds += u32::try_from(reported.len()).unwrap_or(u32::MAX);
        outcome.notes.extend(reported.iter().map(|tool| format!("false: {tool:?}")));
        return;
    };
    let Some((tool, others)) = reported.split_first() else {
        outcome.missed += 1;
        outcome.notes.push(format!("missed: {seen:?}"));
        return;
    };
    outcome.false_holds += u32::try_from(others.len()).unwrap_or(u32::MAX);
    let mark = |name: &str| tool.marks.iter().any(|mark| mark == name);
    let shape = seen.side == tool.side
        && seen.shape == tool.shape
        && seen.fin_again == mark("fin_retransmitted")
        && seen.reused == mark("time_wait_reused")
        && seen.orphaned == mark("orphaned")
        && seen.vanished == mark("peer_vanished")
        && seen.held_data == mark("fin_with_held_data");
    let figures = seen.segments == tool.segments
        && tool.is_as_certain_as(seen)
        && near(seen.fin_to_ack_ns, tool.fin_to_ack_ns)
        && near(seen.fin_to_close_ns, tool.fin_to_close_ns)
        && near(seen.fin_held_ns, tool.fin_held_ns.filter(|held| *held > AT_ONCE_NS))
        && margin(seen, tool);
    let reason = seen.reason == tool.reason;
    outcome.wrong_causes += u32::from(!shape);
    outcome.wrong_releases += u32::from(!reason);
    outcome.wrong_figures += u32::from(!figures);
    if !(shape && reason && figures) {
        outcome.notes.push(format!("oracle {seen:?}; tcptrace {tool:?}"));
    }
}

/// Both ends of a connection are watched: the one that is told last must tell what the oracle saw of the other.
pub(crate) fn close_joined(ends: &[(Option<Close>, Vec<ReportedClose>)]) -> Vec<String> {
    let [(Some(one), one_told), (Some(other), other_told)] = ends else { return Vec::new() };
    let (Some(one_told), Some(other_told)) = (one_told.first(), other_told.first()) else {
        return Vec::new();
    };
    let tells = |told: &ReportedClose, of: &Close| {
        told.other_end.as_ref().map(|end| end.shape == of.shape && end.reason == of.reason)
    };
    match (tells(one_told, other), tells(other_told, one)) {
        (Some(true), None) | (None, Some(true)) => Vec::new(),
        told => vec![format!("the ends tell of each other {told:?}: {one_told:?}, {other_told:?}")],
    }
}

/// Where tcptrace and a capture alone differ on one end of a connection: nobody tells what its program called.
pub(crate) fn close_against_capture(seen: &Close, tool: &ReportedClose) -> Option<String> {
    let shape = seen.side == tool.side
        && seen.shape == tool.shape
        && seen.segments == tool.segments
        && seen.fin_again == tool.marks.iter().any(|mark| mark == "fin_retransmitted");
    let reason = seen.reason == "undetermined" || seen.reason == tool.reason;
    let same = shape
        && reason
        && tool.is_as_certain_as(seen)
        && near(seen.fin_to_ack_ns, tool.fin_to_ack_ns);
    (!same).then(|| format!("the capture has {seen:?}; tcptrace {tool:?}"))
}

impl ReportedClose {
    /// What is not over may be, where nobody has counted what was missed; everything else is certain.
    fn is_as_certain_as(&self, seen: &Close) -> bool {
        self.certainty == if self.uncounted && seen.shape == "open" { "may" } else { "seen" }
    }

    /// The thread that closed, or that has the socket; shape and reason.
    pub(crate) fn brief(&self) -> (&str, &str, &str) {
        let comm = self.process.as_ref().and_then(|process| process.comm.as_deref());
        (comm.unwrap_or_default(), &self.shape, &self.reason)
    }
}

fn near(one: Option<u64>, other: Option<u64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) <= ALLOWANCE_NS,
        (one, other) => one.is_none() == other.is_none(),
    }
}

/// The time that was left when the ACK went: it ends where the timer would have fired.
fn margin(seen: &Close, tool: &ReportedClose) -> bool {
    match (seen.shape, seen.reason, tool.margin_ns) {
        ("merged", _, Some(margin)) if seen.side == "passive" => {
            let due = seen.fin_to_ack_ns.unwrap_or(0).checked_add_signed(margin);
            // Without data before, the ACK is due at the next tick.
            due.is_some_and(|due| DELAYED_NS.contains(&due) || due < NEXT_TICK_NS)
        }
        (_, "ack_timer", Some(margin)) => margin.unsigned_abs() < NEXT_TICK_NS,
        (_, "ack_timer", None) => false,
        _ => true,
    }
}

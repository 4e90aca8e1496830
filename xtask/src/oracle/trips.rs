//! When segments left and when the other end acknowledged them: how long round trips take, and how it sent an ACK.

use super::Segment;

/// An ACK that comes so much later than the shortest round trip, or later, was delayed; Linux delays by 40 ms, in ticks.
const DELAYED_NS: u64 = 30_000_000;
/// From the segment on, where that is nearly two round trips.
const DELAYED_IN_ALL_NS: u64 = 38_000_000;
/// Later than this it is something else (RFC 9293 3.8.6.3).
const LONGEST_NS: u64 = 550_000_000;
/// Within so much it was not.
const QUICK_NS: u64 = 1_000_000;
/// So near to a limit, two clocks may disagree.
const UNSURE_NS: u64 = 1_500_000;

/// The round trips of one sender, by offsets in its stream.
#[derive(Debug)]
pub(super) struct Trips {
    /// When segments left, by their ends.
    left: Vec<(u64, u64)>,
    /// What was sent up to here may have been sent twice.
    twice: u64,
    /// Up to here an ACK may be late because of a loss.
    doubted: u64,
    /// The shortest so far.
    shortest_ns: Option<u64>,
}

impl Trips {
    /// Of a connection whose handshake is on the wire.
    pub(super) fn new(wire: &[Segment]) -> Self {
        Self { left: Vec::new(), twice: 0, doubted: 0, shortest_ns: handshake_ns(wire) }
    }

    /// A segment that ends there has left.
    pub(super) fn left(&mut self, end: u64, at_ns: u64) {
        self.left.push((end, at_ns));
    }

    /// Something up to there was sent again.
    pub(super) fn sent_again(&mut self, to: u64) {
        self.twice = to;
    }

    /// Up to there an ACK may be late because of a loss.
    pub(super) fn doubt(&mut self, to: u64) {
        self.doubted = to;
    }

    /// When the last segment left; 0 before one has.
    pub(super) fn last_ns(&self) -> u64 {
        self.left.last().map_or(0, |(_, at_ns)| *at_ns)
    }

    /// The shortest round trip; 0 where none was seen.
    pub(super) fn shortest_ns(&self) -> u64 {
        self.shortest_ns.unwrap_or(0)
    }

    /// How the other end sent this ACK of all up to `acked`, with so many segments in flight before it, by the time since the
    /// segment left that it answers: beyond the shortest round trip by a delayed-ACK time, or by next to nothing.
    pub(super) fn acknowledged(
        &mut self,
        segment: &Segment,
        acked: u64,
        in_flight: usize,
    ) -> Option<&'static str> {
        let departure = self.left.iter().find(|(end, _)| *end == acked).map(|(_, at_ns)| *at_ns);
        let since_ns = departure.map(|at_ns| segment.at_ns.saturating_sub(at_ns));
        let trip_ns = self.shortest_ns;
        let once = acked > self.twice;
        if let Some(since_ns) = since_ns.filter(|_| once) {
            self.shortest_ns = Some(trip_ns.map_or(since_ns, |trip_ns| trip_ns.min(since_ns)));
        }
        if segment.bytes > 0 {
            return Some("on_data");
        }
        // Which of several it answers, or which of two that are the same, only the other end knows.
        if in_flight != 1 || !once || acked <= self.doubted {
            return None;
        }
        let (since_ns, trip_ns) = since_ns.zip(trip_ns)?;
        let beyond_ns = since_ns.saturating_sub(trip_ns);
        let quick_ns = (trip_ns / 4).clamp(QUICK_NS, 10 * QUICK_NS);
        let twice_ns = DELAYED_IN_ALL_NS.max(trip_ns * 19 / 10);
        let delayed_ns = DELAYED_NS.max(trip_ns / 4).min(twice_ns.saturating_sub(trip_ns));
        if beyond_ns.abs_diff(quick_ns) < UNSURE_NS && beyond_ns > QUICK_NS / 2
            || beyond_ns.abs_diff(delayed_ns) < UNSURE_NS
        {
            return None;
        }
        Some(match beyond_ns {
            _ if beyond_ns <= quick_ns => "quick",
            _ if (delayed_ns..LONGEST_NS).contains(&beyond_ns) => "delayed",
            _ => "",
        })
    }
}

/// From our SYN, or our answer to one, to what acknowledges it.
fn handshake_ns(wire: &[Segment]) -> Option<u64> {
    let ours = wire.iter().find(|segment| segment.syn && segment.outgoing)?;
    let theirs = wire.iter().find(|it| {
        !it.outgoing && it.acks && it.at_ns >= ours.at_ns && it.ack == ours.seq.wrapping_add(1)
    })?;
    Some(theirs.at_ns - ours.at_ns)
}

//! Replays the calls and the wire of one connection in time order and finds its holds.

use super::{Call, CallRecord, Conversation, Hold, Segment};

/// An incoming segment lets bytes go in softirq, at once; a timer is later than this.
const ACK_TO_DEPARTURE_NS: u64 = 500_000;

/// The holds of one connection, in the order of their start.
pub(crate) fn holds(conversation: &Conversation) -> Vec<Hold> {
    let Some(mut replay) = Replay::new(conversation) else { return Vec::new() };
    let wire: Vec<&Segment> = conversation.wire.iter().filter(|segment| !segment.syn).collect();
    let mut rest = wire.as_slice();
    for record in &conversation.calls {
        rest = replay.segments(rest, record.at_ns, None);
        replay.enter(record);
        rest = replay.segments(rest, record.ret_ns, Some(record));
        replay.leave(record);
    }
    replay.segments(rest, u64::MAX, None);
    replay.found
}

/// The part of one write that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    start_ns: u64,
    from: u64,
    to: u64,
    tail: bool,
}

/// The model of one sender: stream offsets count from the first byte written.
#[derive(Debug)]
struct Replay {
    mss: u64,
    isn: u32,
    cork: bool,
    nodelay: bool,
    written: u64,
    sent: u64,
    acked: u64,
    /// End of the last short segment that `tcp_write_xmit` sent (`snd_sml`); the probe timer's segments do not count.
    small_end: u64,
    last_ack_ns: Option<u64>,
    waiting: Vec<Waiting>,
    causes: Vec<&'static str>,
    found: Vec<Hold>,
}

impl Replay {
    fn new(conversation: &Conversation) -> Option<Self> {
        let mut syns = conversation.wire.iter().filter(|segment| segment.syn);
        let ours = syns.clone().find(|segment| segment.outgoing)?;
        let theirs = syns.find(|segment| !segment.outgoing)?;
        let options = if ours.timestamps && theirs.timestamps { 12 } else { 0 };
        // RFC 9293 3.7.1: the peer's MSS option counts no options; our own device's limit is what we announced.
        let mss = theirs.mss_bytes.unwrap_or(536).min(ours.mss_bytes.unwrap_or(536));
        Some(Self {
            mss: u64::from(mss).saturating_sub(options),
            isn: ours.seq,
            cork: false,
            nodelay: false,
            written: 0,
            sent: 0,
            acked: 0,
            small_end: 0,
            last_ack_ns: None,
            waiting: Vec::new(),
            causes: Vec::new(),
            found: Vec::new(),
        })
    }

    /// A call begins: the option holds from here on, the bytes count as written.
    fn enter(&mut self, record: &CallRecord) {
        match record.call {
            Call::Cork(on) => self.cork = on,
            Call::Nodelay(on) => self.nodelay = on,
            _ => {}
        }
        if record.call.writes() {
            self.written += u64::try_from(record.result).unwrap_or(0);
        }
    }

    /// A call returned: bytes of a write that did not leave wait from here; other calls may have changed the cause.
    fn leave(&mut self, record: &CallRecord) {
        if record.call.writes() {
            let bytes = u64::try_from(record.result).unwrap_or(0);
            let start = self.written.saturating_sub(bytes);
            let from = start.max(self.sent);
            if from < self.written {
                let tail = from > start;
                self.waiting.push(Waiting {
                    start_ns: record.ret_ns,
                    from,
                    to: self.written,
                    tail,
                });
                self.judge(matches!(record.call, Call::SendMore(_)));
            }
        } else if matches!(record.call, Call::Cork(false) | Call::Nodelay(true)) {
            self.judge(false);
        }
    }

    /// Takes the segments up to a time and gives back the rest.
    fn segments<'wire>(
        &mut self,
        mut wire: &'wire [&'wire Segment],
        until_ns: u64,
        during: Option<&CallRecord>,
    ) -> &'wire [&'wire Segment] {
        while let Some((segment, rest)) = wire.split_first()
            && segment.at_ns <= until_ns
        {
            if segment.outgoing {
                self.departure(segment, during);
            } else if segment.acks {
                self.arrival(segment, rest);
            }
            wire = rest;
        }
        wire
    }

    fn arrival(&mut self, segment: &Segment, rest: &[&Segment]) {
        // The FIN takes a sequence number of its own.
        let acked = self.offset(segment.ack).min(self.sent);
        let advanced = acked > self.acked;
        self.acked = self.acked.max(acked);
        if !advanced && segment.bytes > 0 {
            // The fast path for data looks at the write queue only when the acknowledgement is news.
            return;
        }
        self.last_ack_ns = Some(segment.at_ns);
        let lets_go = rest
            .iter()
            .take_while(|later| later.at_ns < segment.at_ns + ACK_TO_DEPARTURE_NS)
            // What leaves after the next acknowledgment was let go by that one.
            .take_while(|later| later.outgoing || !later.acks)
            .any(|later| later.outgoing && later.bytes > 0 && self.offset(later.seq) >= self.sent);
        if !lets_go {
            self.judge(false);
        }
    }

    /// Position in the stream of a sequence number.
    fn offset(&self, seq: u32) -> u64 {
        u64::from(seq.wrapping_sub(self.isn).wrapping_sub(1))
    }

    fn departure(&mut self, segment: &Segment, during: Option<&CallRecord>) {
        let end = self.offset(segment.seq) + u64::from(segment.bytes);
        if segment.bytes == 0 || end <= self.sent {
            return;
        }
        let release = self.release(segment, during);
        self.sent = end;
        if u64::from(segment.bytes) < self.mss && release != "probe_timer" {
            self.small_end = end;
        }
        self.end_holds(segment, release);
    }

    fn end_holds(&mut self, segment: &Segment, release: &'static str) {
        while let Some(first) = self.waiting.first().copied() {
            if first.to > self.sent {
                return;
            }
            let left = self.waiting.iter().take_while(|waiting| waiting.to <= self.sent).count();
            let gone: Vec<Waiting> = self.waiting.drain(..left).collect();
            self.found.push(Hold {
                start_ns: first.start_ns,
                held_ns: segment.at_ns.saturating_sub(first.start_ns),
                bytes: gone.iter().map(|waiting| waiting.to - waiting.from).sum(),
                causes: std::mem::take(&mut self.causes),
                release,
                tail: first.tail,
            });
        }
    }

    /// What let a segment go, by what happened just before it.
    fn release(&self, segment: &Segment, during: Option<&CallRecord>) -> &'static str {
        let by_ack = self
            .last_ack_ns
            .is_some_and(|at_ns| segment.at_ns.saturating_sub(at_ns) < ACK_TO_DEPARTURE_NS);
        match during.map(|record| &record.call) {
            Some(Call::Cork(false)) => "uncork",
            Some(Call::Nodelay(true)) => "nodelay",
            Some(Call::Close | Call::ShutdownWrite) => "fin",
            Some(call) if call.writes() => {
                if u64::from(segment.bytes) >= self.mss {
                    "more_data"
                } else {
                    "push"
                }
            }
            _ if by_ack => "ack",
            // B.1: the loss probe needs something in flight, the probe timer nothing.
            _ if self.acked < self.sent => "loss_probe",
            _ => "probe_timer",
        }
    }

    /// `tcp_nagle_check()`: why the bytes that wait were not sent by an attempt just made.
    fn judge(&mut self, more: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let small_in_flight = self.small_end > self.acked && self.sent > self.acked;
        let cause = if self.cork {
            "cork"
        } else if more {
            "msg_more"
        } else if !self.nodelay && small_in_flight {
            "nagle"
        } else {
            "undetermined"
        };
        if self.causes.last() != Some(&cause) {
            self.causes.push(cause);
        }
    }
}

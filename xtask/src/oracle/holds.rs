//! Replays the calls and the wire of one connection in time order and finds its holds.

use super::{Call, CallRecord, Conversation, Hold, SEND_BUFFER, Segment};

/// An incoming segment lets bytes go in softirq, at once; a timer is later than this.
const ACK_TO_DEPARTURE_NS: u64 = 500_000;
/// A write call that takes longer has slept for room in the send buffer.
const SLEPT_NS: u64 = 5_000_000;
/// B.3: the probe timer fires no sooner than this after it was armed.
const PROBE_TIMER_NS: u64 = 200_000_000;
/// RFC 6928: the congestion window at first, in segments. It grows by no more than each segment acknowledged.
const INITIAL_WINDOW: usize = 10;

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
#[expect(clippy::struct_excessive_bools, reason = "options and flags of a socket are independent")]
struct Replay {
    mss: u64,
    isn: u32,
    cork: bool,
    nodelay: bool,
    paced: bool,
    drops: bool,
    /// The shift of the peer's window, and how many bytes beyond `acked` it lets pass.
    window_shift: u8,
    window: u64,
    written: u64,
    sent: u64,
    acked: u64,
    /// Ends of the segments that left.
    ends: Vec<u64>,
    /// End of the last short segment that `tcp_write_xmit` sent (`snd_sml`); the probe timer's segments do not count.
    small_end: u64,
    last_ack_ns: Option<u64>,
    /// The last segment acknowledged nothing new and widened the window.
    update: bool,
    waiting: Vec<Waiting>,
    causes: Vec<&'static str>,
    /// The FIN is queued behind what waits.
    fin: bool,
    /// Something was sent again, and not all has been acknowledged since.
    recovers: bool,
    after_loss: bool,
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
            paced: false,
            drops: false,
            // RFC 7323 2.2: both ends must offer it.
            window_shift: ours.window_shift.and(theirs.window_shift).unwrap_or(0),
            window: u64::MAX,
            written: 0,
            sent: 0,
            acked: 0,
            ends: Vec::new(),
            small_end: 0,
            last_ack_ns: None,
            update: false,
            waiting: Vec::new(),
            causes: Vec::new(),
            fin: false,
            recovers: false,
            after_loss: false,
            found: Vec::new(),
        })
    }

    /// A call begins: the option holds from here on, the bytes count as written.
    fn enter(&mut self, record: &CallRecord) {
        match record.call {
            Call::Cork(on) => self.cork = on,
            Call::Nodelay(on) => self.nodelay = on,
            Call::PacingRate(_) => self.paced = true,
            Call::DeviceDrops(on) => self.drops = on,
            Call::Close | Call::ShutdownWrite => self.fin = true,
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
            let slept_ns = record.ret_ns.saturating_sub(record.at_ns);
            if slept_ns > SLEPT_NS {
                // How much of it found room at first, no witness tells.
                self.found.push(Hold {
                    start_ns: record.at_ns,
                    held_ns: slept_ns,
                    bytes: 0,
                    causes: vec![SEND_BUFFER],
                    release: "ack",
                    tail: true,
                    after_loss: false,
                });
            }
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
        } else if matches!(
            record.call,
            Call::Cork(false) | Call::Nodelay(true) | Call::Close | Call::ShutdownWrite
        ) {
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
            if segment.rst {
                self.discard(segment.at_ns);
            } else if segment.outgoing {
                self.departure(segment, during);
            } else if segment.acks {
                self.arrival(segment, rest, until_ns);
            }
            wire = rest;
        }
        wire
    }

    fn arrival(&mut self, segment: &Segment, rest: &[&Segment], until_ns: u64) {
        // The FIN takes a sequence number of its own.
        let acked = self.offset(segment.ack).min(self.sent);
        let advanced = acked > self.acked;
        self.acked = self.acked.max(acked);
        self.recovers &= self.acked < self.sent;
        let window = u64::from(segment.window) << self.window_shift;
        let widened = window > std::mem::replace(&mut self.window, window);
        if !advanced && segment.bytes > 0 {
            // The fast path for data looks at the write queue only when the acknowledgement is news.
            return;
        }
        self.last_ack_ns = Some(segment.at_ns);
        self.update = !advanced && widened;
        let lets_go = rest
            .iter()
            .take_while(|later| later.at_ns < segment.at_ns + ACK_TO_DEPARTURE_NS)
            // What leaves in a later call was let go by that.
            .take_while(|later| later.at_ns <= until_ns)
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
        if segment.bytes == 0 {
            return;
        }
        if end <= self.sent {
            self.recovers = true;
            return;
        }
        let release = self.release(segment, during);
        self.sent = end;
        self.ends.push(end);
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
            self.conclude(left, segment.at_ns, release);
        }
    }

    /// A reset, whoever sent it: what waits never leaves.
    fn discard(&mut self, at_ns: u64) {
        self.conclude(self.waiting.len(), at_ns, "discarded");
    }

    /// The oldest writes wait no more: one hold.
    fn conclude(&mut self, many: usize, at_ns: u64, release: &'static str) {
        let gone: Vec<Waiting> = self.waiting.drain(..many).collect();
        let Some(first) = gone.first() else { return };
        self.found.push(Hold {
            start_ns: first.start_ns,
            held_ns: at_ns.saturating_sub(first.start_ns),
            bytes: gone.iter().map(|waiting| waiting.to - waiting.from).sum(),
            causes: std::mem::take(&mut self.causes),
            release,
            tail: first.tail,
            after_loss: std::mem::take(&mut self.after_loss),
        });
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
            _ if by_ack && self.update => "window_update",
            _ if by_ack => "ack",
            // Too early for any write timer: the pacing timer.
            _ if self.paced && segment.at_ns < self.quiet_since_ns() + PROBE_TIMER_NS => {
                "pacing_timer"
            }
            // B.1: the loss probe needs something in flight, the probe timer nothing.
            _ if self.acked < self.sent => "loss_probe",
            _ => "probe_timer",
        }
    }

    /// No write timer was armed before this.
    fn quiet_since_ns(&self) -> u64 {
        let written_ns = self.waiting.last().map_or(0, |waiting| waiting.start_ns);
        written_ns.max(self.last_ack_ns.unwrap_or(0))
    }

    /// `tcp_nagle_check()`: why the bytes that wait were not sent by an attempt just made.
    fn judge(&mut self, more: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let small_in_flight = self.small_end > self.acked && self.sent > self.acked;
        self.after_loss |= self.recovers;
        let next = (self.written - self.sent).min(self.mss);
        // tcp_cwnd_test() comes first, then tcp_snd_wnd_test().
        let closed = self.sent + next > self.acked.saturating_add(self.window);
        let acked = self.ends.iter().filter(|end| **end <= self.acked).count();
        let full = self.ends.len() - acked >= INITIAL_WINDOW + acked;
        // tcp_nagle_test(): a FIN lets all go that is in front of it.
        let cause = if self.drops {
            "transmit_failed"
        } else if full {
            "cwnd"
        } else if closed {
            "peer_window"
        } else if self.fin {
            "undetermined"
        } else if self.cork {
            "cork"
        } else if more {
            "msg_more"
        } else if !self.nodelay && small_in_flight {
            "nagle"
        } else if self.paced {
            "pacing"
        } else {
            "undetermined"
        };
        if self.causes.last() != Some(&cause) {
            self.causes.push(cause);
        }
    }
}

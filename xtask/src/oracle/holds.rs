//! Replays the calls and the wire of one connection in time order and finds its holds.

use super::{
    Call, CallRecord, Conversation, Hold, NOT_ESTABLISHED, NOTSENT_LOWAT, SEND_BUFFER, Segment,
    trips::Trips,
};

/// An incoming segment lets bytes go in softirq, at once; a timer is later than this.
const ACK_TO_DEPARTURE_NS: u64 = 500_000;
/// So late it may be where nothing holds the bytes any more: a guest whose processor is busy runs its softirqs late.
const LATE_DEPARTURE_NS: u64 = 20_000_000;
/// What a device has sent lets bytes go in a softirq of its own, which may have to wait for the task at work.
const DEVICE_TO_DEPARTURE_NS: u64 = 2_000_000;
/// A write call that takes longer has slept for room in the send buffer.
const SLEPT_NS: u64 = 5_000_000;
/// B.3: the probe timer fires no sooner than this after it was armed.
const PROBE_TIMER_NS: u64 = 200_000_000;
/// RFC 5246 6.2.3.3, RFC 5288 3: header, explicit nonce and tag of a record; no story writes more than one holds.
const TLS_RECORD_BYTES: u64 = 5 + 8 + 16;
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
    way: &'static str,
}

/// The model of one sender: stream offsets count from the first byte written.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "options and flags of a socket are independent")]
struct Replay {
    mss: u64,
    isn: u32,
    /// When the peer's SYN came.
    established_ns: u64,
    /// Bytes that left with our SYN.
    in_syn: u64,
    cork: bool,
    nodelay: bool,
    /// End of the last urgent data written.
    urgent_end: u64,
    mptcp: bool,
    /// `TCP_NOTSENT_LOWAT`, and how much waited when the call at work began.
    lowat: Option<u64>,
    waited: u64,
    paced: bool,
    /// What is added to each write.
    record_bytes: u64,
    drops: bool,
    /// The shift of the peer's window, and how many bytes beyond `acked` it lets pass.
    window_shift: u8,
    window: u64,
    /// Sequence number of the segment that told the window last (`snd_wl1`).
    window_by: Option<u32>,
    written: u64,
    sent: u64,
    acked: u64,
    /// Ends of the segments that left.
    ends: Vec<u64>,
    /// End of the last short segment that `tcp_write_xmit` sent (`snd_sml`); the probe timer's segments do not count.
    small_end: u64,
    last_ack_ns: Option<u64>,
    /// What leaves before this was let go by that ACK.
    lets_go_until_ns: u64,
    /// The last segment acknowledged nothing new and widened the window.
    update: bool,
    waiting: Vec<Waiting>,
    /// What holds them, and since when.
    causes: Vec<(u64, &'static str)>,
    /// When bytes left last that an arrival let go, and others may have stayed.
    stopped_ns: Option<u64>,
    /// The FIN is queued behind what waits.
    fin: bool,
    /// Something was sent again, and not all has been acknowledged since.
    recovers: bool,
    after_loss: bool,
    found: Vec<Hold>,
    /// What the device sends: when, and up to which offset; and how many of these have been.
    device: Vec<(u64, u64)>,
    device_sent: usize,
    trips: Trips,
    /// What is said of the last ACK.
    peer_ack: Option<&'static str>,
}

impl Replay {
    fn new(conversation: &Conversation) -> Option<Self> {
        let mut syns = conversation.wire.iter().filter(|segment| segment.syn);
        let ours = syns.clone().find(|segment| segment.outgoing)?;
        let theirs = syns.find(|segment| !segment.outgoing)?;
        let options = if ours.timestamps && theirs.timestamps { 12 } else { 0 };
        // RFC 9293 3.7.1: the peer's MSS option counts no options; our own device's limit is what we announced.
        let mss = theirs.mss_bytes.unwrap_or(536).min(ours.mss_bytes.unwrap_or(536));
        let in_syn = u64::from(ours.bytes);
        Some(Self {
            mss: u64::from(mss).saturating_sub(options),
            isn: ours.seq,
            established_ns: theirs.at_ns,
            in_syn,
            cork: false,
            nodelay: false,
            urgent_end: 0,
            mptcp: conversation.mptcp,
            lowat: None,
            waited: 0,
            paced: false,
            record_bytes: 0,
            drops: false,
            // RFC 7323 2.2: both ends must offer it.
            window_shift: ours.window_shift.and(theirs.window_shift).unwrap_or(0),
            window: u64::MAX,
            window_by: None,
            written: 0,
            sent: in_syn,
            acked: 0,
            ends: if in_syn > 0 { vec![in_syn] } else { Vec::new() },
            small_end: 0,
            last_ack_ns: None,
            lets_go_until_ns: 0,
            update: false,
            waiting: Vec::new(),
            causes: Vec::new(),
            stopped_ns: None,
            fin: false,
            recovers: false,
            after_loss: false,
            found: Vec::new(),
            device: conversation
                .device
                .iter()
                .map(|(at_ns, end)| (*at_ns, u64::from(end.wrapping_sub(ours.seq).wrapping_sub(1))))
                .collect(),
            device_sent: 0,
            trips: Trips::new(&conversation.wire),
            peer_ack: None,
        })
    }

    /// A call begins: the option holds from here on, the bytes count as written.
    fn enter(&mut self, record: &CallRecord) {
        match record.call {
            Call::Cork(on) => self.cork = on,
            Call::Nodelay(on) => self.nodelay = on,
            Call::PacingRate(_) => self.paced = true,
            Call::DeviceDrops(on) => self.drops = on,
            Call::NotsentLowat(bytes) => self.lowat = Some(bytes.into()),
            Call::Encrypt => self.record_bytes = TLS_RECORD_BYTES,
            Call::Close | Call::ShutdownWrite => self.fin = true,
            _ => {}
        }
        self.waited = self.written - self.sent.min(self.written);
        self.written += self.bytes(record);
        if record.call.is_urgent() && record.given() > 0 {
            self.urgent_end = self.written;
        }
    }

    /// How a call gave its bytes to TCP.
    const fn way(&self, call: &Call) -> &'static str {
        match (self.mptcp, self.record_bytes) {
            (true, _) => "mptcp",
            (false, 0) => call.way(),
            (false, _) => "tls",
        }
    }

    /// A call returned: bytes of a write that did not leave wait from here; other calls may have changed the cause.
    fn leave(&mut self, record: &CallRecord) {
        if record.call.writes() {
            let bytes = self.bytes(record);
            let slept_ns = record.ret_ns.saturating_sub(record.at_ns);
            if slept_ns > SLEPT_NS {
                self.found.extend(self.sleep(record));
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
                    way: self.way(&record.call),
                });
                self.judge(record.ret_ns, record.call.says_more());
            }
        } else if matches!(
            record.call,
            Call::Cork(false) | Call::Nodelay(true) | Call::Close | Call::ShutdownWrite
        ) {
            self.judge(record.ret_ns, false);
        }
    }

    /// Bytes of the stream that a call wrote.
    fn bytes(&self, record: &CallRecord) -> u64 {
        match record.given() {
            0 => 0,
            given => given + self.record_bytes,
        }
    }

    /// What a write that slept in its call slept for.
    fn sleep(&self, record: &CallRecord) -> Option<Hold> {
        let opens = record.at_ns < self.established_ns;
        // Of a write that opens the connection, the SYN carries the first bytes: they do not wait.
        let rest = record.given().saturating_sub(self.in_syn);
        let (cause, bytes, tail) = match opens {
            true if rest == 0 => return None,
            true => (NOT_ESTABLISHED, rest, rest < record.given()),
            false if self.lowat.is_some_and(|lowat| self.waited >= lowat) => {
                (NOTSENT_LOWAT, rest, false)
            }
            // How much of it found room at first, no witness tells.
            false => (SEND_BUFFER, 0, true),
        };
        Some(Hold {
            start_ns: record.at_ns,
            held_ns: record.ret_ns.saturating_sub(record.at_ns),
            bytes,
            causes: vec![cause],
            release: "ack",
            or: None,
            peer_ack: None,
            tail,
            way: self.way(&record.call),
            after_loss: false,
        })
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
            let goes_on =
                segment.outgoing && segment.bytes > 0 && segment.at_ns < self.lets_go_until_ns;
            if !goes_on {
                self.judge_what_stayed();
            }
            self.device_until(segment.at_ns, wire);
            if segment.rst {
                self.discard(segment.at_ns);
            } else if segment.outgoing {
                self.departure(segment, during);
            } else if segment.acks {
                self.arrival(segment, rest, until_ns);
            }
            wire = rest;
        }
        self.judge_what_stayed();
        self.device_until(until_ns, wire);
        wire
    }

    /// What an arrival has not let go, of bytes of which it has let others go.
    fn judge_what_stayed(&mut self) {
        if let Some(at_ns) = self.stopped_ns.take() {
            self.judge(at_ns, false);
        }
    }

    /// What the device sent up to a time: where nothing leaves after it, an attempt came up against something else.
    fn device_until(&mut self, until_ns: u64, rest: &[&Segment]) {
        while let Some((at_ns, _)) =
            self.device.get(self.device_sent).copied().filter(|(at_ns, _)| *at_ns <= until_ns)
        {
            self.device_sent += 1;
            let lets_go = rest
                .iter()
                .take_while(|later| later.at_ns < at_ns + DEVICE_TO_DEPARTURE_NS)
                .any(|later| later.outgoing && self.offset(later.seq) >= self.sent);
            if !lets_go {
                self.judge(at_ns, false);
            }
        }
    }

    fn arrival(&mut self, segment: &Segment, rest: &[&Segment], until_ns: u64) {
        // The FIN takes a sequence number of its own.
        let acked = self.offset(segment.ack).min(self.sent);
        let advanced = acked > self.acked;
        if advanced {
            let in_flight = self.ends.iter().filter(|end| **end > self.acked).count();
            self.peer_ack = self.trips.acknowledged(segment, acked, in_flight);
        }
        self.acked = self.acked.max(acked);
        self.recovers &= self.acked < self.sent;
        let window = u64::from(segment.window) << self.window_shift;
        // tcp_may_update_window()
        let is_newer = self.window_by.is_none_or(|by| by.wrapping_sub(segment.seq) >= 1 << 31);
        let is_last = self.window_by == Some(segment.seq);
        let widened = window > self.window;
        let takes = advanced || is_newer || is_last && widened;
        // An ACK that says what the one before did may tell of a loss: the next ones answer for that.
        let has_news = advanced || takes && self.window != window;
        if !has_news && segment.bytes == 0 && self.acked < self.sent {
            self.trips.doubt(self.sent);
        }
        if takes {
            (self.window, self.window_by) = (window, Some(segment.seq));
        }
        // The fast path for data looks at the write queue only when the acknowledgement is news; the wire does not tell which
        // path it was, but for what leaves at once.
        if !advanced
            && segment.bytes > 0
            && !self.departs(rest, until_ns, segment.at_ns + ACK_TO_DEPARTURE_NS)
        {
            return;
        }
        if !advanced {
            // Of what it answers the wire tells nothing.
            self.peer_ack = None;
        }
        self.last_ack_ns = Some(segment.at_ns);
        self.update = !advanced && widened;
        let in_flight = self.acked < self.sent;
        // What a device tells needs no such guess.
        let is_free = !in_flight
            && self.device.is_empty()
            && self.cause(segment.at_ns, false) == "undetermined";
        let late_ns = if is_free { LATE_DEPARTURE_NS } else { ACK_TO_DEPARTURE_NS };
        self.lets_go_until_ns = segment.at_ns + late_ns;
        if !self.departs(rest, until_ns, self.lets_go_until_ns) {
            self.judge(segment.at_ns, false);
        }
    }

    /// Whether the segments behind an arrival begin with a departure that it let go, up to `late_ns`.
    fn departs(&self, rest: &[&Segment], until_ns: u64, late_ns: u64) -> bool {
        rest.iter()
            .take_while(|later| later.at_ns < late_ns)
            // What leaves in a later call was let go by that.
            .take_while(|later| later.at_ns <= until_ns)
            // What leaves after the next acknowledgment was let go by that one.
            .take_while(|later| later.outgoing || !later.acks)
            .any(|later| later.outgoing && later.bytes > 0 && self.offset(later.seq) >= self.sent)
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
            self.trips.sent_again(self.sent);
            // What waits was not sent by that attempt.
            self.after_loss |= !self.waiting.is_empty();
            return;
        }
        let alone = self.release(segment, None);
        let meanwhile = during.filter(|record| self.may_meet(alone, segment, record));
        let (release, or) = match (self.release(segment, during), meanwhile) {
            // Nothing of the call is in it, and TCP sends it short: the timer interrupted the call.
            ("more_data", Some(record))
                if alone == "probe_timer" && end + self.bytes(record) <= self.written =>
            {
                (alone, Some("more_data"))
            }
            (release, meanwhile) => (release, meanwhile.map(|_| alone)),
        };
        // One buffer of several segments counts as they do.
        let mut full = self.sent + self.mss;
        while full < end {
            self.ends.push(full);
            full += self.mss;
        }
        self.sent = end;
        self.trips.left(end, segment.at_ns);
        self.ends.push(end);
        if u64::from(segment.bytes) < self.mss && release != "probe_timer" {
            self.small_end = end;
        }
        self.end_holds(segment, release, or);
        if matches!(release, "ack" | "window_update") {
            self.stopped_ns = Some(segment.at_ns);
        }
    }

    /// Whether what would have let a segment go without the call can have come within the call: an ACK that arrived in it, or a
    /// timer that was due by then.
    fn may_meet(&self, alone: &str, segment: &Segment, record: &CallRecord) -> bool {
        let departed_ns = self.trips.last_ns();
        let since_ns = |at_ns: u64| segment.at_ns.saturating_sub(at_ns);
        match alone {
            "ack" | "window_update" => self.last_ack_ns.is_some_and(|at_ns| at_ns >= record.at_ns),
            "probe_timer" => since_ns(self.quiet_since_ns()) >= PROBE_TIMER_NS,
            "loss_probe" => {
                // tcp_schedule_loss_probe(): two round trips, and the least RTO on top where one segment is in flight.
                let alone = self.ends.iter().filter(|end| **end > self.acked).count() == 1;
                let least_ns = if alone { PROBE_TIMER_NS } else { 0 };
                since_ns(departed_ns) >= 2 * self.trips.shortest_ns() + least_ns
            }
            _ => false,
        }
    }

    fn end_holds(&mut self, segment: &Segment, release: &'static str, or: Option<&'static str>) {
        while let Some(first) = self.waiting.first().copied() {
            if first.to > self.sent {
                return;
            }
            let left = self.waiting.iter().take_while(|waiting| waiting.to <= self.sent).count();
            self.conclude(left, segment.at_ns, release, or);
        }
    }

    /// A reset, whoever sent it: what waits never leaves.
    fn discard(&mut self, at_ns: u64) {
        self.conclude(self.waiting.len(), at_ns, "discarded", None);
    }

    /// The oldest writes wait no more: one hold.
    fn conclude(
        &mut self,
        many: usize,
        at_ns: u64,
        release: &'static str,
        or: Option<&'static str>,
    ) {
        let gone: Vec<Waiting> = self.waiting.drain(..many).collect();
        let Some(first) = gone.first() else { return };
        self.found.push(Hold {
            start_ns: first.start_ns,
            held_ns: at_ns.saturating_sub(first.start_ns),
            bytes: gone.iter().map(|waiting| waiting.to - waiting.from).sum(),
            causes: self.causes.iter().map(|(_, cause)| *cause).collect(),
            release,
            or,
            peer_ack: match (release, or) {
                ("ack", None) => self.peer_ack,
                ("ack", _) | (_, Some("ack")) => None,
                _ => Some(""),
            },
            tail: first.tail,
            way: first.way,
            after_loss: self.after_loss,
        });
        let since_ns = self.waiting.first().map(|first| first.start_ns);
        let over = since_ns.map_or(self.causes.len(), |since_ns| {
            self.causes.iter().filter(|(at_ns, _)| *at_ns <= since_ns).count().saturating_sub(1)
        });
        self.causes.drain(..over);
        self.after_loss &= since_ns.is_some();
    }

    /// What let a segment go, by what happened just before it.
    fn release(&self, segment: &Segment, during: Option<&CallRecord>) -> &'static str {
        let by_ack = segment.at_ns < self.lets_go_until_ns;
        // A write that sleeps lets nothing go.
        let sleeps = |record: &&CallRecord| {
            record.call.writes() && segment.at_ns.saturating_sub(record.at_ns) > SLEPT_NS
        };
        match during.filter(|record| !(by_ack && sleeps(record))).map(|record| &record.call) {
            Some(Call::Cork(false)) => "uncork",
            Some(Call::Nodelay(true)) => "nodelay",
            Some(Call::Close | Call::ShutdownWrite) => "fin",
            Some(call) if call.writes() => {
                // A short one that is not the last was the end of a record.
                let end = self.offset(segment.seq) + u64::from(segment.bytes);
                if u64::from(segment.bytes) >= self.mss || end < self.written {
                    "more_data"
                } else if segment.urgent {
                    "urgent_data"
                } else {
                    "push"
                }
            }
            _ if by_ack && self.update => "window_update",
            _ if by_ack => "ack",
            _ if self.device_just_sent(segment.at_ns) => "tsq",
            // Too early for any write timer: the pacing timer.
            _ if self.paced && segment.at_ns < self.quiet_since_ns() + PROBE_TIMER_NS => {
                "pacing_timer"
            }
            // B.1: the loss probe needs something in flight, the probe timer nothing.
            _ if self.acked < self.sent => "loss_probe",
            _ => "probe_timer",
        }
    }

    /// The device sent something just before this.
    fn device_just_sent(&self, at_ns: u64) -> bool {
        self.device.iter().any(|(sent_ns, _)| {
            *sent_ns <= at_ns && at_ns.saturating_sub(*sent_ns) < DEVICE_TO_DEPARTURE_NS
        })
    }

    /// The device has yet to send some of what it was given by then.
    fn is_behind(&self, at_ns: u64) -> bool {
        let sent = self.device.iter().filter(|(sent_ns, _)| *sent_ns <= at_ns);
        !self.device.is_empty() && sent.map(|(_, end)| *end).max().unwrap_or(0) < self.sent
    }

    /// No write timer was armed before this.
    fn quiet_since_ns(&self) -> u64 {
        let written_ns = self.waiting.last().map_or(0, |waiting| waiting.start_ns);
        written_ns.max(self.last_ack_ns.unwrap_or(0))
    }

    /// Why the bytes that wait were not sent by an attempt just made.
    fn judge(&mut self, at_ns: u64, more: bool) {
        if self.waiting.is_empty() {
            return;
        }
        self.after_loss |= self.recovers;
        let cause = self.cause(at_ns, more);
        if self.causes.last().is_none_or(|(_, last)| *last != cause) {
            self.causes.push((at_ns, cause));
        }
    }

    /// `tcp_nagle_check()`: what an attempt to send finds.
    fn cause(&self, at_ns: u64, more: bool) -> &'static str {
        let small_in_flight = self.small_end > self.acked && self.sent > self.acked;
        let next = (self.written - self.sent).min(self.mss);
        // tcp_cwnd_test() comes first, then tcp_snd_wnd_test().
        let closed = self.sent + next > self.acked.saturating_add(self.window);
        let acked = self.ends.iter().filter(|end| **end <= self.acked).count();
        let full = self.ends.len() - acked >= INITIAL_WINDOW + acked;
        // tcp_nagle_test(): a FIN lets all go that is in front of it, and so does urgent data until it is acknowledged.
        let urgent = self.urgent_end > self.acked;
        if self.drops {
            "transmit_failed"
        } else if self.is_behind(at_ns) && self.written - self.sent < self.mss {
            // tcp_should_autocork(): the push makes no attempt.
            "autocork"
        } else if full {
            "cwnd"
        } else if closed {
            "peer_window"
        } else if self.fin {
            "undetermined"
        } else if self.cork && !urgent {
            "cork"
        } else if more && !urgent {
            "msg_more"
        } else if !self.nodelay && small_in_flight && !urgent {
            "nagle"
        } else if self.paced {
            "pacing"
        } else if self.is_behind(at_ns) {
            "tsq"
        } else if self.written - self.sent > self.mss && self.sent > self.acked {
            "tso_defer"
        } else {
            "undetermined"
        }
    }
}

//! Writes that sleep in their call: their bytes are still the program's, because the send buffer is full or because there
//! is no connection yet.

use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    analysis::nagle::{Fact, Held, Hold, Part, Release, Write},
    event::{Event, Seq, SocketId},
    finding::{Certainty, Evidence, Finding, Task},
};

/// Most writes that sleep on one socket at once and are followed.
const MAX_SLEEPERS: usize = 16;
/// `EPIPE`, `ENETUNREACH`, `ECONNRESET`, `ETIMEDOUT`, `ECONNREFUSED`, `EHOSTUNREACH`: the connection is over, or there will
/// be none (`include/uapi/asm-generic/errno.h`).
const OVER: [i32; 6] = [-32, -101, -104, -110, -111, -113];

/// The sleeping writes of one socket.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    sleepers: Vec<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    task: Task,
    held: Held,
    /// When it began to sleep for the first time, nanoseconds, and the event that told.
    since: (u64, u64),
    /// `write_seq` when it began to sleep for the first time, and for the last time.
    first_seq: Option<Seq>,
    last_seq: Option<Seq>,
    /// The first event after the last sleep at which bytes had been added: it had woken up by then.
    woken_ns: Option<u64>,
    /// The last segment that acknowledged something during the last sleep.
    ack: Option<Evidence<Fact>>,
    certainty: Certainty,
}

impl Blocked {
    /// Whether no write sleeps.
    pub(super) const fn is_empty(&self) -> bool {
        self.sleepers.is_empty()
    }

    /// A write is about to sleep.
    pub(super) fn sleeps(&mut self, e: &Event, held: Held) {
        let seq = e.seq(Field::write_seq);
        if let Some(sleeper) = self.sleepers.iter_mut().find(|s| s.task.tid == e.tid) {
            (sleeper.last_seq, sleeper.woken_ns, sleeper.ack) = (seq, None, None);
            return;
        }
        if self.sleepers.len() < MAX_SLEEPERS {
            self.sleepers.push(Sleeper {
                task: Task { pid: e.pid, tid: e.tid },
                held,
                since: (e.at_ns, e.n),
                first_seq: seq,
                last_seq: seq,
                woken_ns: None,
                ack: None,
                certainty: Certainty::Seen,
            });
        }
    }

    /// Looks at every event for what woke a write, and for the time by which it had woken.
    pub(super) fn notice(&mut self, e: &Event) {
        if self.sleepers.is_empty() {
            return;
        }
        let acked = match e.hook {
            Hook::tcp_rcv_established | Hook::tcp_rcv_state_process => e.acked(),
            _ => 0,
        };
        let now = e.seq(Field::write_seq);
        for sleeper in self.sleepers.iter_mut().filter(|s| s.woken_ns.is_none()) {
            if sleeper.last_seq.zip(now).is_some_and(|(then, now)| then.before(now)) {
                sleeper.woken_ns = Some(e.at_ns);
            } else if acked > 0 {
                let srtt_us = e.u32(Field::srtt_us).map(|s| s >> 3);
                let fact = Fact::Ack {
                    acked_bytes: acked,
                    data_bytes: 0,
                    srtt_us,
                    rtt_min_us: None,
                    since_segment_ns: None,
                    ack_seq: e.u32(Field::ack_seq).unwrap_or(0),
                };
                sleeper.ack = Some(Evidence { n: e.n, at_ns: e.at_ns, fact });
            }
        }
    }

    /// Events were lost.
    pub(super) fn on_loss(&mut self) {
        for sleeper in &mut self.sleepers {
            sleeper.certainty = Certainty::May;
        }
    }

    /// The call has returned: what it slept for, when it gave TCP something after that, or the connection ended.
    pub(super) fn returned(
        &mut self,
        e: &Event,
        nodelay_seen: bool,
    ) -> Option<Finding<Hold, Fact>> {
        let at = self.sleepers.iter().position(|s| s.task.tid == e.tid)?;
        let sleeper = self.sleepers.swap_remove(at);
        let (size, ret) = (e.arg("size")?, e.arg("ret")?.cast_signed());
        let (from_ns, _) = sleeper.since;
        let taken = u32::try_from(ret).unwrap_or(0);
        let grew =
            sleeper.first_seq.zip(e.seq(Field::write_seq)).map(|(first, now)| now.since(first));
        // Other threads may have written meanwhile: never more than this call took.
        let after = grew.map_or(0, |grew| grew.min(taken));
        let (bytes, release) = if OVER.contains(&ret) {
            (size, Release::Discarded)
        } else if after > 0 {
            let release = if sleeper.ack.is_some() { Release::Ack } else { Release::Undetermined };
            (size.saturating_sub(taken - after), release)
        } else {
            // It gave up, or was never meant to sleep.
            return None;
        };
        if bytes == 0 {
            return None;
        }
        let until_ns = sleeper.woken_ns.unwrap_or(e.at_ns).max(from_ns);
        let hold = Hold {
            bytes,
            written_bytes: Some(size),
            tail: bytes < size,
            release,
            writes: vec![Write { bytes, at_ns: from_ns, held_ns: until_ns - from_ns }],
            nodelay_seen,
            ..sleeper.hold(until_ns)
        };
        Some(sleeper.finding(e.socket, until_ns, hold))
    }

    /// The trace is over: who still sleeps. How much they have still to give is told when their calls return.
    pub(super) fn still(
        &mut self,
        socket: SocketId,
        at_ns: u64,
        nodelay_seen: bool,
    ) -> Vec<Finding<Hold, Fact>> {
        let asleep = self.sleepers.drain(..).filter(|sleeper| sleeper.woken_ns.is_none());
        let told = |sleeper: Sleeper| {
            let until_ns = at_ns.max(sleeper.since.0);
            let hold = Hold { nodelay_seen, ..sleeper.hold(until_ns) };
            sleeper.finding(socket, until_ns, hold)
        };
        asleep.map(told).collect()
    }
}

impl Sleeper {
    /// What is known before the call has returned.
    fn hold(&self, until_ns: u64) -> Hold {
        Hold {
            writer: self.task,
            bytes: 0,
            written_bytes: None,
            tail: false,
            packets_out: None,
            parts: vec![Part::of(self.held, until_ns - self.since.0)],
            release: Release::StillHeld,
            writes: Vec::new(),
            writes_left_out: 0,
            nodelay_seen: false,
            turn: 0,
            part: 0,
            from_start: false,
            peer_ack: None,
            pattern: None,
        }
    }

    fn finding(self, socket: SocketId, until_ns: u64, hold: Hold) -> Finding<Hold, Fact> {
        let (at_ns, n) = self.since;
        let write = Fact::Write { bytes: hold.written_bytes, msg_more: false, task: self.task };
        let mut evidence: Vec<_> =
            [write, held(self.held, hold.bytes)].map(|fact| Evidence { n, at_ns, fact }).into();
        evidence.extend(self.ack);
        Finding {
            socket,
            from_ns: at_ns,
            until_ns,
            cause: hold,
            evidence,
            certainty: self.certainty,
            not_seen: Vec::new(),
        }
    }
}

fn held(cause: Held, bytes: u32) -> Fact {
    Fact::Held {
        cause,
        bytes,
        nonagle: None,
        packets_out: None,
        small_end_seq: None,
        unacked_bytes: None,
        mss_bytes: None,
        icsk_pending: None,
        limit: None,
    }
}

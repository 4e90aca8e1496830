//! Writes that sleep in their call: their bytes are still the program's, because the send buffer is full or because there
//! is no connection yet.

use smallvec::{SmallVec, smallvec};
use tcptrace_common::{field::Field, hook::Hook, tcp::MSG_DONTWAIT};
use thin_vec::ThinVec;

use crate::{
    analysis::nagle::{Fact, Held, Hold, Number, Release, Way, Write, machine::parts},
    event::{Event, Seq, SocketId},
    finding::{Certainty, Evidence, Finding, Task},
};

/// Most writes that sleep on one socket at once and are followed.
const MAX_SLEEPERS: usize = 16;
/// Most reasons of one write that are told, each other than the one before.
const MAX_CAUSES: usize = 64;
/// `EPIPE`, `ENETUNREACH`, `ECONNRESET`, `ETIMEDOUT`, `ECONNREFUSED`, `EHOSTUNREACH`: the connection is over, or there will
/// be none (`include/uapi/asm-generic/errno.h`).
const OVER: [i32; 6] = [-32, -101, -104, -110, -111, -113];

/// What a write is about to sleep for: what `sk_stream_memory_free()` is asked. Older traces tell of nothing but the buffer.
pub(in crate::analysis) fn no_room(e: &Event) -> Held {
    let of = |field| e.u32(field);
    let lowat = of(Field::notsent_lowat)
        .filter(|own| *own != 0)
        .or_else(|| of(Field::sysctl_tcp_notsent_lowat));
    let (Some(queued), Some(limit), Some(lowat), Some(waiting)) =
        (of(Field::sk_wmem_queued), of(Field::sk_sndbuf), lowat, e.waiting())
    else {
        return Held::SendBuffer;
    };
    if queued.cast_signed() >= limit.cast_signed() {
        Held::SendBuffer
    } else if waiting >= lowat {
        Held::NotsentLowat
    } else {
        // It sleeps for a random time, as where memory is short, and its own push may have made the room.
        Held::Undetermined
    }
}

/// Whether the call that returns was to wait for room until it had given everything; older traces do not tell.
fn would_wait(e: &Event) -> bool {
    let flags = e.u32(Field::msg_flags).or_else(|| e.arg("flags"));
    flags.is_some_and(|flags| flags & MSG_DONTWAIT == 0)
}

/// The sleeping writes of one socket.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    sleepers: ThinVec<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    task: Task,
    /// Why it sleeps, since when, nanoseconds, and the event that told; a call may find several reasons, one after the other.
    causes: Vec<(u64, u64, Held)>,
    /// When it began to sleep for the first time, nanoseconds, and the event that told.
    since: (u64, u64),
    /// `write_seq` when it began to sleep for the first time, and for the last time.
    first_seq: Option<Seq>,
    last_seq: Option<Seq>,
    /// The first event after the last sleep at which bytes had been added: it had woken up by then.
    woken_ns: Option<u64>,
    /// The last segment that acknowledged something during the last sleep.
    ack: Option<Evidence<Fact>>,
    /// The connection has ended meanwhile.
    over: bool,
    certainty: Certainty,
}

impl Blocked {
    /// Whether no write sleeps.
    pub(super) fn is_empty(&self) -> bool {
        self.sleepers.is_empty()
    }

    /// Whether a write of this thread sleeps, or has slept and not returned.
    pub(super) fn sleeps_in(&self, tid: u32) -> bool {
        self.sleepers.iter().any(|sleeper| sleeper.task.tid == tid)
    }

    /// A write is about to sleep.
    pub(super) fn sleeps(&mut self, e: &Event, held: Held) {
        let seq = e.seq(Field::write_seq);
        if let Some(sleeper) = self.sleepers.iter_mut().find(|s| s.task.tid == e.tid) {
            (sleeper.last_seq, sleeper.woken_ns, sleeper.ack) = (seq, None, None);
            let changed = sleeper.causes.last().is_none_or(|(.., last)| *last != held);
            if changed && sleeper.causes.len() < MAX_CAUSES {
                sleeper.causes.push((e.at_ns, e.n, held));
            }
            return;
        }
        if self.sleepers.len() < MAX_SLEEPERS {
            self.sleepers.push(Sleeper {
                task: Task::at_work(e),
                causes: vec![(e.at_ns, e.n, held)],
                since: (e.at_ns, e.n),
                first_seq: seq,
                last_seq: seq,
                woken_ns: None,
                ack: None,
                over: false,
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
        // A FIN is another thread's doing: shutdown(), after which nothing more is taken.
        if matches!(e.hook, Hook::tcp_done | Hook::tcp_v4_destroy_sock | Hook::tcp_send_fin) {
            for sleeper in &mut self.sleepers {
                sleeper.over = true;
            }
        }
        let now = e.seq(Field::write_seq);
        for sleeper in self.sleepers.iter_mut().filter(|s| s.woken_ns.is_none()) {
            if sleeper.last_seq.zip(now).is_some_and(|(then, now)| then.before(now)) {
                sleeper.woken_ns = Some(e.at_ns);
            } else if acked > 0 {
                let srtt_us = e.u32(Field::srtt_us).and_then(|s| Number::new(s >> 3));
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
        way: Way,
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
        // What waited in the call: what it gave after it had slept, and what it never gave.
        let waited = size.saturating_sub(taken - after);
        let (bytes, release) = if OVER.contains(&ret) {
            (size, Release::Discarded)
        } else if taken < size && sleeper.over {
            (waited, Release::Discarded)
        } else if taken < size && would_wait(e) {
            (waited, Release::GivenUp)
        } else if after > 0 {
            // Where nothing is lacking the kernel looks again after a time, whatever comes.
            let by_time =
                sleeper.causes.last().is_some_and(|(.., held)| *held == Held::Undetermined);
            let by_ack = sleeper.ack.is_some() && !by_time;
            let release = if by_ack { Release::Ack } else { Release::Undetermined };
            (waited, release)
        } else {
            // It was never meant to sleep, or nobody knows.
            return None;
        };
        if bytes == 0 {
            return None;
        }
        let ended = matches!(release, Release::Discarded | Release::GivenUp);
        let woken_ns = sleeper.woken_ns.filter(|_| !ended);
        let until_ns = woken_ns.unwrap_or(e.at_ns).max(from_ns);
        let hold = Hold {
            bytes,
            written_bytes: Some(size),
            way: Some(way),
            tail: bytes < size,
            release,
            writes: smallvec![Write { bytes, at_ns: from_ns, held_ns: until_ns - from_ns }],
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
        let causes: Vec<(u64, Held)> =
            self.causes.iter().map(|(at_ns, _, held)| (*at_ns, *held)).collect();
        Hold {
            writer: self.task,
            bytes: 0,
            written_bytes: None,
            way: None,
            tail: false,
            packets_out: None,
            parts: parts(&causes, self.since.0, until_ns),
            release: Release::StillHeld,
            writes: SmallVec::new(),
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
        let write = Fact::Write {
            bytes: hold.written_bytes,
            call_goes_on: false,
            msg_more: false,
            task: self.task,
        };
        let mut evidence = vec![Evidence { n, at_ns, fact: write }];
        evidence.extend(self.causes.iter().map(|(at_ns, n, cause)| {
            let fact = held(*cause, hold.bytes);
            Evidence { n: *n, at_ns: *at_ns, fact }
        }));
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

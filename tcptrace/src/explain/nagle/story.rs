//! One hold told: the verdict and what to change.

use tcptrace_common::hook::Hook;

use super::{
    line::lines,
    words::{long, merged, pattern, state, timer_name},
};
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        nagle::{
            Fact, Held, Hold, Known, Limit, Number, Part, PeerAck, Release, Shape, Timer, Way,
        },
    },
    explain::{
        Context, Explanation, task,
        units::{bytes, count, counted, duration, ticks_ns},
    },
    finding::{Certainty, Evidence, Finding},
};

const MILLI: u64 = 1_000_000;

pub(in crate::explain) fn explain(
    finding: &Finding<Cause, AnyFact>,
    hold: &Hold,
    evidence: &[Evidence<&Fact>],
    context: &Context<'_>,
) -> Explanation {
    let write = evidence.iter().find(|line| matches!(line.fact, Fact::Write { .. }));
    let zero_ns = write.map_or(finding.from_ns, |line| line.at_ns.min(finding.from_ns));
    let story =
        Story { hold, evidence, certainty: finding.certainty, until_ns: finding.until_ns, context };
    let held_ns = finding.until_ns.saturating_sub(finding.from_ns);
    Explanation {
        subject: hold.task().map(|writer| (writer, story.parties())),
        aside: None,
        verdict: story.verdict(held_ns),
        zero_ns,
        lines: evidence.iter().flat_map(|e| lines(e, &story)).collect(),
        pattern: hold.pattern.as_ref().map(pattern),
        change: story.change(held_ns),
    }
}

pub(super) struct Story<'a> {
    hold: &'a Hold,
    evidence: &'a [Evidence<&'a Fact>],
    certainty: Certainty,
    until_ns: u64,
    pub(super) context: &'a Context<'a>,
}

/// Most causes, one after the other, that the verdict lists; a longer change of the same few is summed up.
const MOST_PARTS: usize = 6;

/// `by turns 27.0 ms peer window too small and 46.3 ms peer window closed (31 spells)`.
fn by_turns(parts: &[Part]) -> String {
    let mut sums: Vec<Part> = Vec::new();
    for part in parts {
        match sums.iter_mut().find(|sum| sum.held == part.held) {
            Some(sum) => sum.held_ns = sum.held_ns.saturating_add(part.held_ns),
            None => sums.push(*part),
        }
    }
    let sums = sums.iter().map(|part| format!("{} {}", duration(part.held_ns), long(part.held)));
    let sums: Vec<_> = sums.collect();
    format!("by turns {} ({} spells)", sums.join(" and "), parts.len())
}

impl Story<'_> {
    fn verdict(&self, held_ns: u64) -> String {
        let (time, still) = (duration(held_ns), self.hold.release == Release::StillHeld);
        let has = if self.plural() { "have" } else { "has" };
        let waited = match (self.certainty, still) {
            (Certainty::Seen, false) => format!("waited {time}"),
            (Certainty::May, false) => format!("may have waited {time}"),
            (Certainty::Seen, true) => {
                format!("{has} waited {time} and still {}", self.verb("wait"))
            }
            (Certainty::May, true) => format!("may have waited {time} and still wait"),
        };
        format!("{} {waited}: {}{}.", self.subject(), self.cause(), self.release())
    }

    /// `client[881]`, and ` to server[412]` where both ends were seen.
    fn parties(&self) -> String {
        let writer = task(self.hold.writer, self.context.comms);
        let receiver = self.facts().find_map(|fact| match fact {
            Fact::AckTimerFired { receiver } => *receiver,
            _ => None,
        });
        match receiver {
            Some(receiver) => format!("{writer} to {}", task(receiver, self.context.comms)),
            None => writer,
        }
    }

    /// What the other end did is among the evidence.
    pub(super) fn both_ends(&self) -> bool {
        matches!(self.hold.peer_ack, Some((_, Known::Seen)))
    }

    fn several_writes(&self) -> bool {
        self.hold.writes.len() > 1 || self.hold.writes_left_out > 0
    }

    fn plural(&self) -> bool {
        self.several_writes()
            || self.waiting_bytes() != 1 && !self.hold.tail && !self.hold.writes.is_empty()
    }

    fn verb(&self, verb: &str) -> String {
        if self.plural() { verb.to_owned() } else { format!("{verb}s") }
    }

    fn them(&self) -> &'static str {
        if self.plural() { "them" } else { "it" }
    }

    /// Bytes of the first write that waited.
    fn waiting_bytes(&self) -> u32 {
        match self.hold.writes.as_slice() {
            [only] if self.hold.writes_left_out == 0 => only.bytes,
            _ => self.hold.bytes,
        }
    }

    fn subject(&self) -> String {
        if self.hold.writes.is_empty() {
            return "a write".to_owned();
        }
        let waiting = u64::from(self.waiting_bytes());
        if self.several_writes() {
            let writes = self.hold.writes.len() as u64 + u64::from(self.hold.writes_left_out);
            return format!("{} of {} writes", bytes(waiting), count(writes));
        }
        match self.hold.written_bytes.map(u64::from) {
            Some(written) if self.hold.tail && written < 10_000 => {
                format!("{waiting} of {}", bytes(written))
            }
            Some(written) if self.hold.tail => format!("{} of {}", bytes(waiting), bytes(written)),
            _ => bytes(waiting),
        }
    }

    /// `held by TCP_CORK with nothing in flight`, with the tail before it.
    fn cause(&self) -> String {
        let parts = merged(&self.hold.parts);
        let tail = self.tail();
        let cause = if let [only] = parts.as_slice() {
            self.single(only.held, tail.is_some())
        } else if parts.len() > MOST_PARTS {
            by_turns(&parts)
        } else {
            let parts =
                parts.iter().map(|part| format!("{} {}", duration(part.held_ns), long(part.held)));
            parts.collect::<Vec<_>>().join(", then ")
        };
        match tail {
            Some(tail) => format!("{tail}, {cause}"),
            None => cause,
        }
    }

    fn single(&self, held: Held, tail: bool) -> String {
        let idle = if self.hold.packets_out == Some(0) { " with nothing in flight" } else { "" };
        match held {
            Held::Cork if self.is_set_out_of_sight() => format!(
                "held by {}, set out of sight (earlier, on the listener, or by the kernel),{idle}",
                long(held)
            )
            .trim_end_matches(',')
            .to_owned(),
            Held::Cork | Held::MsgMore => format!("held by {}{idle}", long(held)),
            Held::Nagle => {
                let unacked = self.facts().find_map(|fact| match fact {
                    Fact::Held { cause: Held::Nagle, unacked_bytes, .. } => {
                        unacked_bytes.map(Number::get)
                    }
                    _ => None,
                });
                let behind = match unacked {
                    Some(1) => " behind 1 unacknowledged byte".to_owned(),
                    Some(unacked) => {
                        format!(" behind {} unacknowledged bytes", count(u64::from(unacked)))
                    }
                    None => String::new(),
                };
                if tail {
                    format!("held by Nagle{behind}")
                } else {
                    format!("Nagle held {}{behind}", self.them())
                }
            }
            Held::Undetermined => {
                let seen = self.facts().find_map(|fact| match fact {
                    Fact::Held {
                        cause: Held::Undetermined,
                        nonagle,
                        packets_out,
                        icsk_pending,
                        ..
                    } => Some(state(*nonagle, *packets_out, *icsk_pending)),
                    _ => None,
                });
                match seen.filter(|seen| !seen.is_empty()) {
                    Some(seen) => format!("cause not determined ({seen})"),
                    None => "cause not determined".to_owned(),
                }
            }
            _ => self.limited(held),
        }
    }

    /// `TCP_CORK` holds, and no call was seen that set it, although every one would have been.
    fn is_set_out_of_sight(&self) -> bool {
        let at = |is: fn(&Fact) -> bool| self.facts().position(is);
        let held = at(|fact| matches!(fact, Fact::Held { cause: Held::Cork, .. }));
        let set = at(|fact| matches!(fact, Fact::OptionSet { option: "TCP_CORK", .. }));
        let watched = !self.context.facts.not_seen.contains(&Hook::do_tcp_setsockopt.name());
        held.is_some_and(|held| set.is_none_or(|set| set > held))
            && watched
            && self.context.all_tasks
            && self.certainty == Certainty::Seen
    }

    /// What else than the rules about small segments held them.
    fn limited(&self, held: Held) -> String {
        match held {
            Held::Autocork => format!(
                "autocorking held {} until the device has sent what it was given before",
                self.them()
            ),
            Held::Cwnd => match self.limit() {
                Some(Limit::Cwnd { snd_cwnd }) => format!(
                    "the congestion window was full ({} in flight)",
                    counted(u64::from(snd_cwnd), "segment", "segments")
                ),
                _ => "the congestion window was full".to_owned(),
            },
            Held::PeerWindow => match self.limit() {
                Some(Limit::PeerWindow { window_bytes }) => format!(
                    "the peer's window of {} had no room for the next segment",
                    bytes(window_bytes.into())
                ),
                _ => "the peer's window had no room for the next segment".to_owned(),
            },
            Held::ZeroWindow => "the peer's window was closed".to_owned(),
            Held::Pacing => format!("pacing held {}", self.them()),
            Held::Tsq => format!(
                "TCP small queues held {} until the device has sent what it was given before",
                self.them()
            ),
            Held::TsoDefer => {
                format!("TSO deferral held {} for a larger segment", self.them())
            }
            Held::TransmitFailed => {
                "the layers below did not take the segment (queueing discipline, firewall or memory)".to_owned()
            }
            Held::NotEstablished => "the connection was not established yet".to_owned(),
            Held::SendBuffer => "the send buffer was full, and the writer slept".to_owned(),
            Held::NotsentLowat => {
                "as much waited as TCP_NOTSENT_LOWAT allows, and the writer slept".to_owned()
            }
            _ => "cause not determined".to_owned(),
        }
    }

    fn tail(&self) -> Option<String> {
        if !self.hold.tail {
            return None;
        }
        let mss = self.mss().filter(|mss| *mss > 0);
        let first = self.hold.writes.first().map_or(self.hold.bytes, |write| write.bytes);
        let sent = self.hold.written_bytes.and_then(|written| written.checked_sub(first));
        let segments = match (sent, mss) {
            (Some(sent), Some(mss)) if sent > 0 && sent % mss == 0 => Some(sent / mss),
            _ => None,
        };
        let tail = match segments {
            Some(1) => "the tail after one full segment".to_owned(),
            Some(segments) => format!("the tail after {} full segments", spelled(segments)),
            None => "the tail of the write".to_owned(),
        };
        Some(if self.several_writes() { format!("first {tail}") } else { tail })
    }

    fn release(&self) -> String {
        let them = self.them();
        match self.hold.release {
            Release::Ack if self.sleeps() => "; an ACK made room".to_owned(),
            Release::Ack => self.by_ack(),
            Release::WindowUpdate => format!("; a window update released {them}"),
            Release::MoreData => "; released by more data".to_owned(),
            Release::Push => format!("; a write without MSG_MORE sent {them}"),
            Release::UrgentData => format!("; urgent data (MSG_OOB) behind {them} sent {them}"),
            Release::Nodelay => format!("; setting TCP_NODELAY sent {them}"),
            Release::Uncork => format!("; clearing TCP_CORK sent {them}"),
            Release::ProbeTimer => format!("; the probe timer sent {them}"),
            Release::LossProbe => format!("; the loss probe sent {them}"),
            Release::Fin => format!("; the FIN took {them} along"),
            Release::Tsq => {
                format!("; {them_} left when the device had room again (TSQ)", them_ = self.they())
            }
            Release::PacingTimer => format!("; the pacing timer sent {them}"),
            Release::Discarded => format!("; the connection ended and {} never left", self.they()),
            Release::GivenUp => {
                "; its call ended before it had given all of them (a signal, or SO_SNDTIMEO)"
                    .to_owned()
            }
            Release::StillHeld => match self.due() {
                Some(due) => format!("; {due}"),
                None => String::new(),
            },
            Release::Undetermined => format!("; what released {them} is not determined"),
        }
    }

    /// An ACK released them, and what is known of the end that sent it.
    fn by_ack(&self) -> String {
        let last = self.facts().filter_map(|fact| match fact {
            Fact::Ack { acked_bytes, data_bytes, .. } => Some((*acked_bytes, *data_bytes)),
            _ => None,
        });
        let what = match last.last() {
            Some((0, 0)) => "an ACK that acknowledged nothing new",
            Some((0, _)) => "a segment with data that acknowledged nothing new",
            _ => "an ACK",
        };
        let released = format!("; {what} released {}", self.them());
        match self.hold.peer_ack {
            Some((PeerAck::Delayed, Known::Seen)) => {
                ", and the receiver delayed its ACK".to_owned()
            }
            Some((PeerAck::Delayed, Known::Inferred)) => {
                format!("{released}; inferred: the peer delayed its ACK{}", self.ack_numbers())
            }
            _ => released,
        }
    }

    /// ` (pure ACK 42.1 ms after the segment, srtt 1.1 ms)`.
    fn ack_numbers(&self) -> String {
        let last = self.evidence.iter().rev().find_map(|line| match line.fact {
            Fact::Ack {
                acked_bytes: 1..,
                since_segment_ns: Some(since_ns),
                srtt_us,
                rtt_min_us,
                ..
            } => Some((*since_ns, srtt_us.map(Number::get), rtt_min_us.map(Number::get))),
            _ => None,
        });
        let Some((since_ns, srtt_us, rtt_min_us)) = last else { return String::new() };
        let of = |name: &str, us: u32| format!(", {name} {}", duration(u64::from(us) * 1_000));
        let srtt = srtt_us.map_or_else(String::new, |us| of("srtt", us));
        // Delayed ACKs are part of the smoothed one: then the shortest shows what a round trip takes.
        let shortest = rtt_min_us
            .filter(|shortest| srtt_us.is_none_or(|srtt| srtt / 2 > *shortest))
            .map_or_else(String::new, |us| of("shortest round trip", us));
        format!(" (pure ACK {} after the segment{srtt}{shortest})", duration(since_ns))
    }

    /// The writer slept in its call.
    fn sleeps(&self) -> bool {
        let room = |held| matches!(held, Held::SendBuffer | Held::NotsentLowat);
        self.hold.parts.iter().all(|part| room(part.held))
    }

    /// What the first attempt came up against.
    fn limit(&self) -> Option<Limit> {
        self.facts().find_map(|fact| match fact {
            Fact::Held { limit, .. } => *limit,
            _ => None,
        })
    }

    fn they(&self) -> &'static str {
        if self.plural() { "they" } else { "it" }
    }

    /// The timer that will send what still waits.
    fn due(&self) -> Option<String> {
        let last = self
            .evidence
            .iter()
            .rev()
            .find(|e| matches!(e.fact, Fact::TimerArmed { .. } | Fact::TimerFired { .. }))?;
        let Fact::TimerArmed { timer, due_ticks, .. } = last.fact else { return None };
        let due_ns = last.at_ns.checked_add(ticks_ns(*due_ticks, self.context.facts.hz)?)?;
        let left_ns = due_ns.checked_sub(self.until_ns).filter(|left_ns| *left_ns > 0)?;
        (*timer != Timer::Retransmit)
            .then(|| format!("the {} is due in {}", timer_name(*timer), duration(left_ns)))
    }

    fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.evidence.iter().map(|e| e.fact)
    }

    pub(super) fn mss(&self) -> Option<u32> {
        self.facts().find_map(|fact| match fact {
            Fact::Held { mss_bytes, .. } => mss_bytes.map(Number::get),
            _ => None,
        })
    }

    /// Advice only where the evidence carries it: what happened is certain and took a millisecond, one cause is most of
    /// it, and what ended it was not the program's own next step.
    fn change(&self, held_ns: u64) -> Option<String> {
        if self.certainty == Certainty::May || held_ns < MILLI {
            return None;
        }
        let parts = merged(&self.hold.parts);
        let main = parts.iter().max_by_key(|part| part.held_ns)?;
        if main.held_ns.saturating_mul(2) < held_ns {
            return None;
        }
        let alone = !self.several_writes();
        let not_by_plan = match (self.hold.release, main.held) {
            // An ACK lets MSG_MORE go, whether or not the program was about to write on.
            (Release::Ack, Held::MsgMore) => false,
            // It may end well: the trace was over, not the wait.
            (Release::StillHeld, _) => held_ns >= 200 * MILLI,
            // The last one: two parts, written apart, that had to be one segment in the end.
            (Release::Ack | Release::ProbeTimer | Release::LossProbe, _)
            | (Release::MoreData, Held::Nagle) => true,
            // Nothing was added in the meantime: what ended the wait could have come at once.
            (Release::Uncork | Release::Fin, Held::Cork)
            | (Release::Fin, Held::MsgMore | Held::Nagle) => alone,
            _ => false,
        };
        not_by_plan.then(|| self.advice(main.held))?
    }

    fn advice(&self, held: Held) -> Option<String> {
        match held {
            Held::Cork | Held::MsgMore | Held::Nagle => {
                let never = self.hold.from_start
                    && self.context.all_tasks
                    && !self.hold.nodelay_seen
                    && self.certainty == Certainty::Seen;
                let never = if never { " (never set on this socket since connect)" } else { "" };
                let shape = self.hold.pattern.map(|pattern| pattern.name);
                // What the first write since the other end spoke waits behind is no part of the same message.
                let (way, alone) = (self.hold.way, self.hold.part == 1);
                let advice = remedy(held, Written { shape, way, alone }, never)?;
                let only =
                    self.hold.release == Release::ProbeTimer && self.hold.packets_out == Some(0);
                Some(match advice.strip_suffix('.') {
                    Some(advice) if held == Held::Cork && only => {
                        format!("{advice}; nothing else came to send these bytes.")
                    }
                    _ => advice,
                })
            }
            Held::TransmitFailed => Some(
                "look at what drops: tc -s qdisc, the counters of the firewall's OUTPUT chain."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// How the bytes were written that wait.
#[derive(Clone, Copy, Debug)]
pub(in crate::explain) struct Written {
    /// The pattern that they are part of.
    pub(in crate::explain) shape: Option<Shape>,
    /// How they were given to TCP.
    pub(in crate::explain) way: Option<Way>,
    /// No other write is known to belong to the same message.
    pub(in crate::explain) alone: bool,
}

/// What to change where `held` makes such writes wait, in words of the calls that gave them; `never` says what is known of
/// `TCP_NODELAY`. Nothing where no program can change anything: the socket is the kernel's.
pub(in crate::explain) fn remedy(held: Held, written: Written, never: &str) -> Option<String> {
    let Written { shape, way, alone } = written;
    let nodelay = format!("set TCP_NODELAY{never}");
    let small = shape.is_none() && !alone || shape == Some(Shape::WriteWriteRead);
    Some(match (held, way) {
        (_, Some(Way::Kernel)) => return None,
        (Held::Cork, _) => "clear TCP_CORK when the reply is complete.".to_owned(),
        (Held::MsgMore, Some(Way::Pages)) => {
            "let the last part not say that more follows: splice() without SPLICE_F_MORE, sendfile() of no more bytes than there are."
                .to_owned()
        }
        (Held::MsgMore, _) => "send the last part without MSG_MORE.".to_owned(),
        // The option would have to be set on the subflow.
        (_, Some(Way::Mptcp)) if small || shape == Some(Shape::HeaderBody) => {
            "send both parts with one writev().".to_owned()
        }
        (_, Some(Way::Mptcp)) => return None,
        (_, Some(Way::Pages)) => {
            format!("{nodelay}, or TCP_CORK from the first part to the end of the last.")
        }
        (_, Some(Way::Call)) if shape == Some(Shape::HeaderBody) => format!(
            "send header and body with one writev(), or the header with MSG_MORE, or {nodelay}."
        ),
        (_, Some(Way::Call)) if small => {
            format!("send both parts with one writev(), or {nodelay}.")
        }
        // Of kernel TLS two records may be one write, which nothing could join; of a call that was not seen, likewise.
        _ => format!("{nodelay}."),
    })
}

fn spelled(number: u32) -> String {
    let words =
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let word = usize::try_from(number).ok().and_then(|number| words.get(number));
    word.map_or_else(|| count(number.into()), |word| (*word).to_owned())
}

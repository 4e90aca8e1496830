//! Both ends of a connection on this host: a hold that an ACK ended, and the delayed-ACK timer that sent it; a teardown, and
//! what the other end made of it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
};

use tcptrace_common::{field::Field, hook::Hook};

use super::openings::Openings;
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        close::{Numbers, OtherEnd},
        delack,
        nagle::{Fact, Known, PeerAck, Release},
    },
    event::{Event, Seq},
    finding::{Certainty, Evidence, Task},
    timeline::{Entry, Socket},
};

/// Most sockets whose timers are remembered; a further one takes the place of the first.
const MAX_SOCKETS: usize = 4096;
/// Most firings that are remembered of one socket.
const MAX_FIRED: usize = 16;
/// An ACK is not under way between two sockets of one host for longer, nanoseconds.
const LONGEST_WAY_NS: u64 = 1_000_000_000;

/// Most teardowns that are remembered; a further one takes the place of the first that ended.
const MAX_CLOSED: usize = 4096;

/// The delayed-ACK timers that fired, and the teardowns that were told, by the socket's two ends.
#[derive(Debug, Default)]
pub struct Ends {
    fired: BTreeMap<(SocketAddr, SocketAddr), VecDeque<Fired>>,
    closed: VecDeque<((SocketAddr, SocketAddr), Closed)>,
    openings: Openings,
}

/// A teardown that was told.
#[derive(Debug)]
struct Closed {
    numbers: Numbers,
    told: OtherEnd,
    comm: Option<Rc<str>>,
}

/// A delayed-ACK timer that sent an ACK.
#[derive(Debug)]
struct Fired {
    n: u64,
    at_ns: u64,
    /// What it acknowledged.
    rcv_nxt: Seq,
    /// When the last data had come in, nanoseconds, where that was seen.
    arrived_ns: Option<u64>,
    pingpong: Option<u32>,
    ato_ticks: Option<u32>,
    receiver: Option<(Task, Option<Rc<str>>)>,
}

impl Ends {
    /// Takes the next event of the trace, and of whom it is; names are asked for by thread.
    pub fn event(
        &mut self,
        e: &Event,
        socket: Option<&Socket>,
        comm: impl Fn(u32) -> Option<Rc<str>>,
    ) {
        if e.hook != Hook::tcp_delack_timer_handler || !delack::fires(e) {
            return;
        }
        let ends = socket.and_then(|socket| socket.local.zip(socket.remote));
        let (Some(ends), Some(rcv_nxt)) = (ends, e.seq(Field::rcv_nxt)) else { return };
        if self.fired.len() >= MAX_SOCKETS && !self.fired.contains_key(&ends) {
            self.fired.pop_first();
        }
        let fired = self.fired.entry(ends).or_default();
        if fired.len() >= MAX_FIRED {
            fired.pop_front();
        }
        let arg = |name| e.arg(name).filter(|value| *value > 0);
        let receiver = arg("pid").zip(arg("tid")).map(|(pid, tid)| (Task { pid, tid }, comm(tid)));
        fired.push_back(Fired {
            n: e.n,
            at_ns: e.at_ns,
            rcv_nxt,
            arrived_ns: arg("arrived_us").and_then(|us| e.at_ns.checked_sub(u64::from(us) * 1_000)),
            pingpong: e.u32(Field::icsk_ack_pingpong),
            ato_ticks: e.u32(Field::icsk_ack_ato),
            receiver,
        });
    }

    /// Adds to a finding what the other end has done, where that was seen.
    pub fn join(&mut self, entry: &mut Entry) {
        match &entry.finding.cause {
            Cause::Nagle(_) => self.join_hold(entry),
            Cause::Close(_) => self.join_teardown(entry),
            Cause::Fastopen(_) => self.openings.join(entry),
            Cause::DeferAccept(_) | Cause::Sockopt(_) | Cause::Timeline(_) => {}
        }
    }

    /// The end that is over last tells of the one before it.
    fn join_teardown(&mut self, entry: &mut Entry) {
        let Cause::Close(teardown) = &mut entry.finding.cause else { return };
        let Some(ends) = entry.socket.local.zip(entry.socket.remote) else { return };
        let (local, remote) = ends;
        let found = self.closed.iter().rposition(|(of, closed)| {
            *of == (remote, local) && closed.numbers.meet(teardown.numbers)
        });
        if let Some((_, closed)) = found.and_then(|at| self.closed.remove(at)) {
            teardown.other = Some(closed.told);
            if let (Some(task), Some(comm)) = (closed.told.closer, closed.comm) {
                entry.comms.add(task.tid, &comm);
            }
            return;
        }
        if self.closed.len() >= MAX_CLOSED {
            self.closed.pop_front();
        }
        let name = |task: Task| entry.comms.of(task);
        let closed = Closed {
            numbers: teardown.numbers,
            told: OtherEnd {
                closer: teardown.closer,
                shape: teardown.shape,
                reason: teardown.reason,
                fin_to_close_ns: teardown.fin_to_close_ns,
            },
            comm: teardown.closer.and_then(name).cloned(),
        };
        // What is not certain is not passed on.
        if entry.finding.certainty == Certainty::Seen {
            self.closed.push_back((ends, closed));
        }
    }

    fn join_hold(&self, entry: &mut Entry) {
        let Cause::Nagle(hold) = &mut entry.finding.cause else { return };
        if hold.release != Release::Ack {
            return;
        }
        let released = entry.finding.evidence.iter().rev().find_map(|line| match line.fact {
            AnyFact::Nagle(Fact::Ack { acked_bytes, data_bytes, ack_seq, .. }) => {
                Some((acked_bytes > 0 && data_bytes == 0, Seq(ack_seq), line.at_ns))
            }
            _ => None,
        });
        let Some((true, ack, at_ns)) = released else { return };
        let other = entry.socket.remote.zip(entry.socket.local);
        // A number that both ends know says that it is the same segment, whatever namespace an address belongs to.
        let fired = other.and_then(|ends| self.fired.get(&ends)).and_then(|fired| {
            fired.iter().rev().find(|fired| {
                fired.rcv_nxt == ack
                    && at_ns.checked_sub(fired.at_ns).is_some_and(|way| way < LONGEST_WAY_NS)
            })
        });
        let Some(fired) = fired else { return };
        hold.peer_ack = Some((PeerAck::Delayed, Known::Seen));
        let receiver = fired.receiver.as_ref().map(|(task, _)| *task);
        if let Some((task, Some(comm))) = &fired.receiver {
            entry.comms.add(task.tid, comm);
        }
        let (pingpong, ato_ticks) = (fired.pingpong, fired.ato_ticks);
        let put_off = fired
            .arrived_ns
            .map(|at_ns| (at_ns, Fact::AckPutOff { pingpong, ato_ticks, receiver }));
        let sent = (fired.at_ns, Fact::AckTimerFired { receiver });
        for (at_ns, fact) in put_off.into_iter().chain([sent]) {
            let evidence = &mut entry.finding.evidence;
            let at = evidence.iter().position(|line| line.at_ns > at_ns).unwrap_or(evidence.len());
            evidence.insert(at, Evidence { n: fired.n, at_ns, fact: AnyFact::Nagle(fact) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Kind, correlate::Correlator, trace};

    /// A hold behind 100 B on s1, which the peer's ACK releases after 42 ms; s2 is the other end.
    fn joined(timer: &str) -> Entry {
        let ends = |s, sport: u16, dport: u16| {
            format!(
                "1.0 s{s} pid=7 socket | skc_family=2 skc_rcv_saddr=16777343 skc_daddr=16777343 inet_sport={} skc_dport={}",
                sport.to_be(),
                dport.to_be()
            )
        };
        let text = [
            ends(1, 40000, 8080),
            "1.0 s1 pid=7 tcp_push mss_now=1400 nonagle=0 turn=4 part=2 | nonagle=0 packets_out=1 snd_sml=200 snd_una=100 snd_nxt=200 write_seq=250".to_owned(),
            ends(2, 8080, 40000),
            timer.to_owned(),
            "1.0421 s1 pid=0 tcp_rcv_established | ack_seq=200 snd_una=100 snd_nxt=200 seq=1 end_seq=1".to_owned(),
            "1.0422 s1 pid=0 tcp_event_new_data_sent | seq=200 end_seq=250 snd_nxt=200 write_seq=250".to_owned(),
        ];
        let (mut correlator, mut both, mut out) =
            (Correlator::new(Kind::Nagle), Ends::default(), Vec::new());
        for line in text {
            let event = trace::parse(&line).unwrap();
            both.event(&event, correlator.socket(event.socket).as_ref(), |_| Some("server".into()));
            correlator.push(&event);
        }
        correlator.settle(&mut out);
        both.join(&mut out[0]);
        out.remove(0)
    }

    fn timer(rcv_nxt: u32, pending: u32) -> String {
        format!(
            "1.042 s2 pid=0 tcp_delack_timer_handler arrived_us=41900 pid=412 tid=413 jiffies=110 | icsk_ack_pending={pending} icsk_ack_pingpong=1 icsk_ack_ato=10 icsk_ack_timeout=110 rcv_nxt={rcv_nxt}"
        )
    }

    fn peer_ack(entry: &Entry) -> Option<(PeerAck, Known)> {
        let Cause::Nagle(hold) = &entry.finding.cause else { return None };
        hold.peer_ack
    }

    #[test]
    fn the_timer_that_sent_the_releasing_ack_is_told_in_its_place() {
        let entry = joined(&timer(200, 3));
        assert_eq!(peer_ack(&entry), Some((PeerAck::Delayed, Known::Seen)));
        let facts: Vec<(u64, &str)> = entry
            .finding
            .evidence
            .iter()
            .map(|line| {
                let name = match &line.fact {
                    AnyFact::Nagle(Fact::AckPutOff { .. }) => "put off",
                    AnyFact::Nagle(Fact::AckTimerFired { .. }) => "timer",
                    AnyFact::Nagle(Fact::Ack { .. }) => "ack",
                    _ => "other",
                };
                (line.at_ns / 100_000, name)
            })
            .collect();
        assert_eq!(
            facts[facts.len() - 4..],
            [(10_001, "put off"), (10_420, "timer"), (10_421, "ack"), (10_422, "other"),]
        );
        assert_eq!(entry.comms.get(413).map(|comm| &**comm), Some("server"));
    }

    #[test]
    fn a_timer_that_acknowledged_something_else_or_sent_nothing_is_not_joined() {
        assert_eq!(peer_ack(&joined(&timer(150, 3))), None);
        assert_eq!(peer_ack(&joined(&timer(200, 0))), None);
    }
}

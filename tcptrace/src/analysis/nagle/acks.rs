//! When the segments left that ACKs acknowledge, and what an ACK says of the end that sent it, where only this end is seen.

use tcptrace_common::field::Field;
use thin_vec::ThinVec;

use crate::{
    analysis::nagle::{Fact, Known, Number, PeerAck},
    event::{Event, Seq},
};

/// Most departures that are remembered of one socket; the oldest is forgotten first.
const MAX_DEPARTURES: usize = 32;
/// Shortest time beyond a round trip that is taken for a delayed ACK, nanoseconds. Linux puts an ACK off for 40 ms, in
/// whole ticks: no less than three ticks of 10 ms.
const DELAYED_NS: u64 = 30_000_000;
/// From the segment on, nanoseconds, where that is next to two round trips: the shortest one that was seen may itself have
/// been a slow one, as a handshake often is.
const DELAYED_IN_ALL_NS: u64 = 38_000_000;
/// RFC 9293 3.8.6.3: an ACK is put off for less than half a second. A round trip may take longer than the shortest one.
const LONGEST_NS: u64 = 550_000_000;
/// An ACK within so much of a round trip was not put off, nanoseconds; on a longer path a quarter of it, up to ten times this.
const QUICK_NS: u64 = 1_000_000;

/// The departures of one socket's segments.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Ends of segments, and when they left.
    departures: ThinVec<(Seq, u64)>,
    /// What was sent up to here may have been sent again: which of the two an ACK answers, nobody knows.
    again_to: Option<Seq>,
}

impl Acks {
    /// `tcp_event_new_data_sent()`, where the event shows the segment.
    pub(super) fn departed(&mut self, e: &Event) {
        if let (Some(_), Some(end_seq)) = (e.seq(Field::seq), e.seq(Field::end_seq)) {
            self.left(end_seq, e.at_ns);
        }
    }

    /// A segment has left.
    pub(super) fn left(&mut self, end_seq: Seq, at_ns: u64) {
        if self.departures.len() >= MAX_DEPARTURES {
            self.departures.remove(0);
        }
        self.departures.push((end_seq, at_ns));
    }

    /// Looks at the last of them.
    pub(super) fn glance(&self) -> u64 {
        self.departures.last().map_or(0, |(_, at_ns)| *at_ns)
    }

    /// A timer sends something again.
    pub(super) fn sent_again(&mut self, e: &Event) {
        self.again_to = e.seq(Field::snd_nxt);
    }

    /// An attempt to send tells that a segment is missing at the other end, or was sent again: of what is in flight then, an ACK
    /// may be late because of that.
    pub(super) fn disordered(&mut self, e: &Event) {
        let any = [Field::sacked_out, Field::lost_out, Field::retrans_out];
        if any.into_iter().any(|field| e.u32(field).is_some_and(|many| many > 0)) {
            self.again_to = e.seq(Field::snd_nxt).or(self.again_to);
        }
    }

    /// The line of evidence for a segment that came in.
    pub(super) fn came(&mut self, e: &Event, acked_bytes: u32, data_bytes: u32) -> Fact {
        let ack = e.seq(Field::ack_seq);
        let since_segment_ns = ack.filter(|_| acked_bytes > 0).and_then(|ack| self.since(e, ack));
        self.acknowledged(ack);
        Fact::Ack {
            acked_bytes,
            data_bytes,
            srtt_us: e.u32(Field::srtt_us).and_then(|s| Number::new(s >> 3)),
            // The kernel has the largest number until it has measured one.
            rtt_min_us: e.u32(Field::rtt_min).and_then(Number::new),
            since_segment_ns,
            ack_seq: ack.map_or(0, |ack| ack.0),
        }
    }

    /// Of what is acknowledged no ACK tells anything more.
    pub(super) fn acknowledged(&mut self, ack: Option<Seq>) {
        if let Some(ack) = ack {
            self.departures.retain(|(end, _)| end.after(ack));
        }
    }

    /// How long ago the segment left whose end is acknowledged: by the kernel's own stamp, or as it was seen.
    fn since(&self, e: &Event, ack: Seq) -> Option<u64> {
        if self.again_to.is_some_and(|again| !ack.after(again)) {
            return None;
        }
        let stamped = e
            .field(Field::rtx_mstamp_ns)
            .filter(|at| *at > 0 && e.seq(Field::rtx_end_seq) == Some(ack));
        let seen = || self.departures.iter().rev().find(|(end, _)| *end == ack).map(|(_, at)| *at);
        e.at_ns.checked_sub(stamped.or_else(seen)?)
    }
}

/// How the peer sent the ACK that `fact` tells of. Between a delayed ACK and one that came at once lies what may be
/// either: of that nothing is said, nor of an ACK for a segment that was not seen leaving.
pub(super) fn inferred(fact: &Fact) -> Option<(PeerAck, Known)> {
    let Fact::Ack { data_bytes, srtt_us, rtt_min_us, since_segment_ns, .. } = fact else {
        return None;
    };
    if *data_bytes > 0 {
        return Some((PeerAck::OnData, Known::Inferred));
    }
    // The smoothed one contains the delayed ACKs that came before.
    let trip_us = rtt_min_us.or(*srtt_us).map(Number::get).filter(|us| *us > 0)?;
    let trip_ns = u64::from(trip_us) * 1_000;
    let beyond_ns = since_segment_ns.as_ref()?.saturating_sub(trip_ns);
    // A path varies the more the longer it is.
    let late_ns = DELAYED_NS.max(trip_ns / 4);
    let in_all_ns = DELAYED_IN_ALL_NS.max(trip_ns / 10 * 19);
    let delayed_ns = late_ns.min(in_all_ns - trip_ns.min(in_all_ns));
    let ack = if (delayed_ns..LONGEST_NS).contains(&beyond_ns) {
        PeerAck::Delayed
    } else if beyond_ns <= (trip_ns / 4).clamp(QUICK_NS, 10 * QUICK_NS) {
        PeerAck::Quick
    } else {
        return None;
    };
    Some((ack, Known::Inferred))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace;

    fn event(line: &str) -> Event {
        trace::parse(line).unwrap()
    }

    fn ack(at: &str, fields: &str) -> Event {
        event(&format!(
            "{at} s1 pid=0 tcp_rcv_established | seq=1 end_seq=1 ack_seq=200 snd_una=100 snd_nxt=200 {fields}"
        ))
    }

    /// What is said of an ACK that comes so many microseconds after its segment, over a path of so many.
    fn after(since_us: u64, rtt_us: u64) -> Option<PeerAck> {
        let mut acks = Acks::default();
        acks.left(Seq(200), 1_000_000_000);
        let e = ack(
            &format!("1.{since_us:06}"),
            &format!("srtt_us=320000 rtt_min={rtt_us} rtx_mstamp_ns=0"),
        );
        let fact = acks.came(&e, 100, 0);
        inferred(&fact).map(|(ack, _)| ack)
    }

    #[test]
    fn an_ack_is_delayed_or_quick_or_nothing_is_said() {
        assert_eq!(after(42_100, 1_100), Some(PeerAck::Delayed));
        assert_eq!(after(30_100, 30_000), Some(PeerAck::Quick));
        assert_eq!(after(80, 60), Some(PeerAck::Quick));
        assert_eq!(after(230_000, 30_000), Some(PeerAck::Delayed));
        // Nothing quicker was seen than a slow handshake.
        assert_eq!(after(41_000, 20_000), Some(PeerAck::Delayed));
        // On a long path, which may have varied by so much.
        assert_eq!(after(240_000, 200_000), None);
        // Longer than a round trip, and shorter than any delayed ACK.
        assert_eq!(after(30_000, 20_000), None);
        assert_eq!(after(900_000, 20_000), None);
    }

    #[test]
    fn the_kernels_own_stamp_is_taken_where_the_segment_is_the_one_acknowledged() {
        let since = |fields: &str, seen: bool| {
            let mut acks = Acks::default();
            if seen {
                acks.left(Seq(200), 1_000_000_000);
            }
            match acks.came(&ack("1.05", fields), 100, 0) {
                Fact::Ack { since_segment_ns, .. } => since_segment_ns.map(|ns| ns / 1_000_000),
                _ => None,
            }
        };
        assert_eq!(since("rtx_end_seq=200 rtx_mstamp_ns=1010000000", false), Some(40));
        // Another segment's stamp, and none.
        assert_eq!(since("rtx_end_seq=150 rtx_mstamp_ns=1010000000", false), None);
        assert_eq!(since("rtx_end_seq=150 rtx_mstamp_ns=1010000000", true), Some(50));
        assert_eq!(since("", false), None);
    }

    #[test]
    fn of_what_was_sent_again_nothing_is_said() {
        let mut acks = Acks::default();
        acks.left(Seq(200), 1_000_000_000);
        acks.sent_again(&event(
            "1.01 s1 pid=0 tcp_write_timer_handler | icsk_pending=1 snd_nxt=200",
        ));
        let fact = acks.came(&ack("1.05", "rtt_min=100 srtt_us=800"), 100, 0);
        assert_eq!(inferred(&fact), None);
    }

    #[test]
    fn of_what_was_in_flight_with_a_lost_segment_nothing_is_said() {
        let after = |fields: &str| {
            let mut acks = Acks::default();
            acks.left(Seq(200), 1_000_000_000);
            acks.disordered(&event(&format!(
                "1.02 s1 pid=0 tcp_write_xmit | snd_nxt=200 {fields}"
            )));
            let fact = acks.came(&ack("1.05", "rtt_min=100 srtt_us=800"), 100, 0);
            inferred(&fact).map(|(ack, _)| ack)
        };
        assert_eq!(after("sacked_out=3 lost_out=0 retrans_out=0"), None);
        assert_eq!(after("sacked_out=0 lost_out=1 retrans_out=0"), None);
        assert_eq!(after("sacked_out=0 lost_out=0 retrans_out=1"), None);
        assert_eq!(after("sacked_out=0 lost_out=0 retrans_out=0"), Some(PeerAck::Delayed));
    }

    #[test]
    fn data_that_carries_the_ack_tells_for_itself() {
        let fact = Acks::default().came(&ack("1.05", ""), 100, 10);
        assert_eq!(inferred(&fact), Some((PeerAck::OnData, Known::Inferred)));
    }
}

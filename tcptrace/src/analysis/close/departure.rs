//! What has left, from events that are not its own: no program stands on the path of data.
//!
//! A FIN leaves in `tcp_send_fin()` or later; data after the peer's FIN may leave at any time. The socket's next event tells
//! that it has (`snd_nxt`), the segment itself when (`skb_mstamp_ns`).

use tcptrace_common::{
    field::Field,
    tcp::{ICSK_ACK_SCHED, TCP_NAGLE_OFF},
};

use super::{
    Acked, Fact, PutOff, Reason,
    state::{Context, OwnFin, State},
};
use crate::{
    analysis::{
        delack,
        nagle::{
            Release,
            attempt::{self, Attempt},
        },
    },
    event::{Event, Seq},
};

/// The last segment in flight.
struct Last {
    seq: Seq,
    end: Seq,
    left_ns: u64,
}

impl Last {
    fn of(e: &Event) -> Option<Self> {
        let (low, high) = (e.arg("mstamp_low")?, e.arg("mstamp_high")?);
        let left_ns = u64::from(low) | u64::from(high) << 32;
        let (seq, end) = (Seq(e.arg("seq")?), Seq(e.arg("end_seq")?));
        Some(Self { seq, end, left_ns }).filter(|last| last.left_ns != 0)
    }
}

/// What has let the socket send while its FIN waited, the last time, and when, nanoseconds; older traces do not tell.
fn let_send(e: &Event) -> Option<(Release, u64)> {
    let (low, high) = (e.arg("ready_low")?, e.arg("ready_high")?);
    let at_ns = u64::from(low) | u64::from(high) << 32;
    let by = if at_ns & 1 == 1 { Release::PacingTimer } else { Release::Tsq };
    (at_ns != 0).then_some((by, at_ns))
}

impl State {
    /// Something has left since the event before: data after the peer's FIN, a FIN that was held, or both.
    pub(super) fn on_departure(&mut self, e: &Event) {
        let last = Last::of(e);
        self.data_left(e, last.as_ref());
        self.fin_left_before(e, last.as_ref());
    }

    /// `tcp_send_fin()` has ended.
    pub(super) fn on_fin_tried(&mut self, e: &Event) {
        if e.waiting() == Some(0) {
            self.on_departure(e);
            return;
        }
        self.fin_stays(e, Some(TCP_NAGLE_OFF), e.u32(Field::mss_cache));
    }

    /// An attempt to send has left the FIN behind: why, of the first.
    pub(super) fn fin_stays(&mut self, e: &Event, nonagle: Option<u32>, mss: Option<u32>) {
        let is_new = |fin: &&mut OwnFin| fin.sent_ns.is_none() && fin.held_by.is_none();
        let Some(fin) = self.own.as_mut().filter(is_new) else { return };
        let failed = attempt::failed(e);
        let attempt = Attempt { e, nonagle, mss, failed, unattempted: Some(false), fin: true };
        let cause = attempt.held();
        fin.held_by = Some(cause);
        self.note(e, Fact::FinHeld { cause });
    }

    /// The first data after the peer's FIN, which carries the ACK of it where that is owed.
    fn data_left(&mut self, e: &Event, last: Option<&Last>) {
        let Some((edge, fin_ns)) = self.edge() else { return };
        let Some(end) = self.data_end(e, last).filter(|end| end.after(edge)) else { return };
        if self.data_departed {
            return;
        }
        (self.data_departed, self.own_data_bytes) = (true, end.since(edge));
        let alone = last.filter(|last| last.seq == edge).map(|last| last.left_ns);
        // Nothing had been in flight; microseconds, of which those of the FIN may be before it.
        let first = e.field(Field::first_tx_mstamp).filter(|us| *us >= fin_ns / 1_000);
        let first_ns = first.map(|us| us.saturating_mul(1_000).max(fin_ns));
        let left_ns = alone.or(first_ns).filter(|at_ns| (fin_ns..=e.at_ns).contains(at_ns));
        let carries_ack = self.acknowledges(left_ns, Acked::OnData);
        let bytes = self.own_data_bytes;
        self.note_at(e, left_ns.unwrap_or(e.at_ns), Fact::DataOut { bytes, carries_ack });
    }

    /// More data may have left since.
    pub(super) fn count_data(&mut self, e: &Event) {
        if let Some((edge, _)) = self.edge().filter(|_| self.data_departed)
            && let Some(end) = self.data_end(e, None)
        {
            self.own_data_bytes = self.own_data_bytes.max(end.since(edge));
        }
    }

    /// Where what was sent before the peer's FIN ends, and when that came.
    fn edge(&self) -> Option<(Seq, u64)> {
        self.peer.and_then(|fin| Some((fin.edge?, fin.at_ns)))
    }

    /// Where the data ends that has left; what left with our FIN is the FIN's.
    fn data_end(&self, e: &Event, last: Option<&Last>) -> Option<Seq> {
        let next = e.seq(Field::snd_nxt)?;
        match self.own {
            Some(fin) if !fin.end.after(next) => {
                last.filter(|last| last.end == fin.end).map(|last| last.seq)
            }
            _ => Some(next),
        }
    }

    /// Our FIN has left, in this call or since the event before.
    fn fin_left_before(&mut self, e: &Event, last: Option<&Last>) {
        let Some(fin) = self.own.filter(|fin| fin.sent_ns.is_none()) else { return };
        if e.seq(Field::snd_nxt).is_none_or(|next| fin.end.after(next)) {
            return;
        }
        let last = last.filter(|last| last.end == fin.end);
        // tcp_send_fin(), short of memory, appends it to a segment that has left: it goes with the next copy of that.
        if last.is_some_and(|last| last.left_ns < fin.queued_ns) {
            return;
        }
        let left_ns = last.map_or(e.at_ns, |last| last.left_ns.min(e.at_ns));
        let bytes = last.map_or(0, |last| last.end.since(last.seq).saturating_sub(1));
        let carries_ack = self.acknowledges(Some(left_ns), Acked::OnFin);
        self.let_send = let_send(e);
        self.fin_left(e, left_ns, (bytes, carries_ack, false));
    }

    /// What an event tells of the ACK that the peer's FIN asks for.
    pub(super) fn learn_ack(&mut self, e: &Event) {
        let Some(pending) = e.u32(Field::icsk_ack_pending).filter(|_| self.owes_ack()) else {
            return;
        };
        if pending & ICSK_ACK_SCHED == 0 {
            // tcp_send_delayed_ack() found the time up, or the release of the lock sent what a task had put off: at once.
            let why = self.why_at_once().unwrap_or(Reason::Undetermined);
            let left_ns = self.came_ns.unwrap_or(e.at_ns);
            self.ack_left(e, left_ns, why);
            return;
        }
        self.on_put_off(e);
    }

    /// The delayed-ACK timer fires: its time is what the ACK was put off to.
    pub(super) fn learn_put_off(&mut self, e: &Event) {
        if self.put_off.is_none() {
            let ato_ticks = e.u32(Field::icsk_ack_ato);
            self.put_off = delack::due_ticks(e).map(|due_ticks| PutOff {
                at_ns: e.at_ns,
                due_ticks,
                ato_ticks,
            });
        }
    }

    /// A segment that asks for an answer left: where it carried nothing, it acknowledges what an ACK would have.
    pub(super) fn on_probe(&mut self, e: &Event) {
        let bare = e.seq(Field::snd_nxt).is_some_and(|next| self.next == Some(next));
        if e.arg("ret") == Some(0) && bare {
            self.on_ack_sent(e);
        }
        self.context = Context::None;
    }
}

//! Why an attempt to send left bytes behind.

use tcptrace_common::{
    field::Field,
    tcp::{SK_PACING_NEEDED, TCP_NAGLE_CORK, TCP_NAGLE_PUSH, TSQF_THROTTLED},
};

use crate::{
    analysis::nagle::Held,
    event::{Event, Seq},
};

/// The state of the socket at the end of an attempt to send, from which the reason follows: the conditions are those
/// of `tcp_write_xmit()`, evaluated again, because the kernel's own tests are inlined.
pub(super) struct Attempt<'a> {
    e: &'a Event,
    /// The `nonagle` that decided.
    nonagle: Option<u32>,
    mss: Option<u32>,
}

impl<'a> Attempt<'a> {
    pub(super) const fn of(e: &'a Event, nonagle: Option<u32>, mss: Option<u32>) -> Self {
        Self { e, nonagle, mss }
    }

    pub(super) fn held(&self) -> Held {
        self.by_small_segment().unwrap_or(Held::Undetermined)
    }

    /// `None` where something else held the bytes, or a field that would exclude it is missing.
    fn by_small_segment(&self) -> Option<Held> {
        let (nonagle, mss, waiting) = (self.nonagle?, self.mss?, self.e.waiting()?);
        if self.is_paced()
            || self.is_throttled()?
            || self.is_cwnd_full()?
            || self.is_window_full(waiting)?
        {
            return None;
        }
        // tcp_nagle_test(): only the last buffer, and only when it fills no segment.
        if waiting >= mss || self.e.u32(Field::tail_len).is_some_and(|tail| tail != waiting) {
            return None;
        }
        // tcp_nagle_check(): a push overrides everything, then cork, then Nagle.
        if nonagle & TCP_NAGLE_PUSH != 0 {
            return None;
        }
        if nonagle & TCP_NAGLE_CORK != 0 {
            let corked = self.e.u32(Field::nonagle)? & TCP_NAGLE_CORK != 0;
            return Some(if corked { Held::Cork } else { Held::MsgMore });
        }
        (nonagle == 0 && self.e.u32(Field::packets_out)? > 0 && self.is_small_unacked()?)
            .then_some(Held::Nagle)
    }

    /// `tcp_minshall_check()`: a small segment is in flight.
    fn is_small_unacked(&self) -> Option<bool> {
        let (sml, una, nxt) =
            (self.e.seq(Field::snd_sml)?, self.e.seq(Field::snd_una)?, self.e.seq(Field::snd_nxt)?);
        Some(sml.after(una) && !sml.after(nxt))
    }

    /// `tcp_pacing_check()`.
    pub(super) fn is_paced(&self) -> bool {
        self.e.u32(Field::sk_pacing_status) == Some(SK_PACING_NEEDED)
            && self.e.field(Field::tcp_wstamp_ns) > self.e.field(Field::tcp_clock_cache)
    }

    /// The device is behind, or `tcp_should_autocork()` kept the attempt from being made.
    fn is_throttled(&self) -> Option<bool> {
        Some(self.e.u32(Field::sk_tsq_flags)? & TSQF_THROTTLED != 0)
    }

    /// `tcp_cwnd_test()`.
    fn is_cwnd_full(&self) -> Option<bool> {
        let of = |field| self.e.u32(field);
        let gone = of(Field::sacked_out)?.saturating_add(of(Field::lost_out)?);
        let in_flight =
            of(Field::packets_out)?.saturating_sub(gone).saturating_add(of(Field::retrans_out)?);
        Some(in_flight >= of(Field::snd_cwnd)?)
    }

    /// `tcp_snd_wnd_test()`: the next segment, or all that waits, does not fit.
    fn is_window_full(&self, waiting: u32) -> Option<bool> {
        let (una, nxt) = (self.e.seq(Field::snd_una)?, self.e.seq(Field::snd_nxt)?);
        let end = Seq(nxt.0.wrapping_add(waiting.min(self.mss?)));
        Some(end.after(Seq(una.0.wrapping_add(self.e.u32(Field::snd_wnd)?))))
    }
}

//! Why an attempt to send left bytes behind.

use tcptrace_common::{
    field::Field,
    tcp::{SK_PACING_NEEDED, TCP_NAGLE_CORK, TCP_NAGLE_PUSH, TSQF_THROTTLED},
};

use crate::{
    analysis::nagle::{Held, Limit},
    event::{Event, Seq},
};

/// The state of the socket at the end of an attempt to send, from which the reason follows: the conditions are those
/// of `tcp_write_xmit()`, evaluated again in its order, because the kernel's own tests are inlined.
pub(in crate::analysis) struct Attempt<'a> {
    pub(in crate::analysis) e: &'a Event,
    /// The `nonagle` that decided.
    pub(in crate::analysis) nonagle: Option<u32>,
    pub(in crate::analysis) mss: Option<u32>,
    /// A segment of this attempt was not taken by the layers below.
    pub(in crate::analysis) failed: bool,
    /// Whether `tcp_push()` ended without an attempt; `None` where attempts are not told.
    pub(in crate::analysis) unattempted: Option<bool>,
    /// A FIN stands behind the bytes: no rule about small segments holds it.
    pub(in crate::analysis) fin: bool,
}

/// Whether the attempt to send that has just ended gave the first buffer that waits to the layers below, and they did not
/// take it: `__tcp_transmit_skb()` stamps what it is given. An attempt before has left an older stamp.
pub(in crate::analysis) fn failed(e: &Event) -> bool {
    let (tried, began) = (e.field(Field::head_mstamp_ns), e.field(Field::tcp_clock_cache));
    let tried_now = tried.zip(began).is_some_and(|(tried, began)| tried != 0 && tried >= began);
    tried_now && e.waiting().is_some_and(|waiting| waiting > 0) && !is_paced(e)
}

/// `tcp_pacing_check()`.
fn is_paced(e: &Event) -> bool {
    e.u32(Field::sk_pacing_status) == Some(SK_PACING_NEEDED)
        && e.field(Field::tcp_wstamp_ns) > e.field(Field::tcp_clock_cache)
}

/// `tcp_urg_mode()`: urgent data is on its way. Older traces do not tell.
pub(in crate::analysis) fn is_urgent(e: &Event) -> bool {
    e.seq(Field::snd_up).zip(e.seq(Field::snd_una)).is_some_and(|(up, una)| up != una)
}

impl Attempt<'_> {
    pub(in crate::analysis) fn held(&self) -> Held {
        self.known().unwrap_or(Held::Undetermined)
    }

    /// `None` where a field is missing that would exclude something, or nothing explains it.
    fn known(&self) -> Option<Held> {
        let (mss, waiting, throttled) = (self.mss?, self.e.waiting()?, self.is_throttled()?);
        if self.failed {
            return Some(Held::TransmitFailed);
        }
        match self.unattempted.filter(|_| throttled) {
            Some(true) => return self.is_autocork().then_some(Held::Autocork),
            None if throttled => return None,
            _ => {}
        }
        if self.is_paced() {
            return Some(Held::Pacing);
        }
        if self.is_cwnd_full()? {
            return Some(Held::Cwnd);
        }
        // Of the first buffer only a part that fills a segment must fit. Before it was recorded, a lone buffer stood
        // for it.
        let tail = self.e.u32(Field::tail_len);
        let head = self.e.u32(Field::head_len).or_else(|| tail.filter(|tail| *tail == waiting));
        let next = head.unwrap_or(waiting).min(mss);
        if self.is_window_full(next)? {
            let closed = self.e.u32(Field::snd_wnd)? == 0;
            return Some(if closed { Held::ZeroWindow } else { Held::PeerWindow });
        }
        let head = head?;
        if head <= mss {
            return self
                .by_small_segment(waiting == head && waiting < mss)
                .or_else(|| throttled.then_some(Held::Tsq));
        }
        if throttled {
            return Some(Held::Tsq);
        }
        // It waits for an ACK, so that one must be under way.
        (self.e.u32(Field::packets_out)? > 0).then_some(Held::TsoDefer)
    }

    /// `tcp_nagle_check()`: a push overrides everything, then cork, then Nagle. It is asked of the last buffer only, and not
    /// while urgent data is on its way (`tcp_nagle_test()`).
    fn by_small_segment(&self, small_and_last: bool) -> Option<Held> {
        let nonagle = self.nonagle?;
        let asked = small_and_last && !self.fin && !is_urgent(self.e);
        if !asked || nonagle & TCP_NAGLE_PUSH != 0 {
            return None;
        }
        if nonagle & TCP_NAGLE_CORK != 0 {
            let corked = self.e.u32(Field::nonagle)? & TCP_NAGLE_CORK != 0;
            return Some(if corked { Held::Cork } else { Held::MsgMore });
        }
        (nonagle == 0 && self.e.u32(Field::packets_out)? > 0 && self.is_small_unacked()?)
            .then_some(Held::Nagle)
    }

    /// What the cause is about, for the evidence.
    pub(in crate::analysis) fn limit(&self, held: Held) -> Option<Limit> {
        match held {
            Held::Cwnd => Some(Limit::Cwnd { snd_cwnd: self.e.u32(Field::snd_cwnd)? }),
            Held::PeerWindow | Held::ZeroWindow => {
                Some(Limit::PeerWindow { window_bytes: self.e.u32(Field::snd_wnd)? })
            }
            Held::Pacing => {
                let (until, now) =
                    (self.e.field(Field::tcp_wstamp_ns)?, self.e.field(Field::tcp_clock_cache)?);
                Some(Limit::Pacing { pacing_wait_ns: until.saturating_sub(now).into() })
            }
            _ => None,
        }
    }

    /// `tcp_minshall_check()`: a small segment is in flight.
    fn is_small_unacked(&self) -> Option<bool> {
        let (sml, una, nxt) =
            (self.e.seq(Field::snd_sml)?, self.e.seq(Field::snd_una)?, self.e.seq(Field::snd_nxt)?);
        Some(sml.after(una) && !sml.after(nxt))
    }

    /// `tcp_pacing_check()`.
    pub(in crate::analysis) fn is_paced(&self) -> bool {
        is_paced(self.e)
    }

    /// `tcp_should_autocork()`: a buffer that may still grow, behind something in flight.
    fn is_autocork(&self) -> bool {
        let grows = self
            .e
            .u32(Field::tail_len)
            .zip(self.e.arg("size_goal"))
            .is_none_or(|(tail, goal)| tail < goal);
        grows && self.e.u32(Field::packets_out).is_some_and(|out| out > 0)
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

    /// `tcp_snd_wnd_test()`: the next segment does not fit.
    fn is_window_full(&self, next: u32) -> Option<bool> {
        let (una, nxt) = (self.e.seq(Field::snd_una)?, self.e.seq(Field::snd_nxt)?);
        let end = Seq(nxt.0.wrapping_add(next));
        Some(end.after(Seq(una.0.wrapping_add(self.e.u32(Field::snd_wnd)?))))
    }
}

//! The write timer, as the kernel's own rules read it: one timer for retransmission, probe and loss probe.

use tcptrace_common::{
    field::Field,
    tcp::{ICSK_TIME_LOSS_PROBE, ICSK_TIME_PROBE0, ICSK_TIME_RETRANS},
};

use crate::{analysis::nagle::Timer, event::Event};

/// An armed timer.
#[derive(Clone, Copy, Debug)]
pub(in crate::analysis) struct Armed {
    pub(in crate::analysis) timer: Timer,
    /// Deadline, jiffies.
    pub(in crate::analysis) expires: u64,
    /// Ticks from the event to the deadline; 0 when it has just passed.
    pub(in crate::analysis) due_ticks: u32,
}

/// The timer that is armed at this event; `None` when there is none or the event does not show it.
pub(in crate::analysis) fn armed(e: &Event) -> Option<Armed> {
    let timer = named(e.u32(Field::icsk_pending)?)?;
    let expires = e.field(Field::write_timer_expires)?;
    let due_ticks = ((expires & 0xffff_ffff) as u32).wrapping_sub(e.jiffies);
    Some(Armed { timer, expires, due_ticks: if due_ticks > u32::MAX / 2 { 0 } else { due_ticks } })
}

/// What a run of `tcp_write_timer_handler()` is about: `ICSK_TIME_*`, and the timer by name where it has one. `None`
/// when nothing was due: a stale timer, or a deadline that has moved, whose timer is only set again.
pub(in crate::analysis) fn fired(e: &Event) -> Option<(u32, Option<Timer>)> {
    let pending = e.u32(Field::icsk_pending).filter(|pending| *pending != 0)?;
    let moved = e.field(Field::write_timer_expires).is_some_and(|at| {
        ((at & 0xffff_ffff) as u32).wrapping_sub(e.jiffies).wrapping_sub(1) < u32::MAX / 2
    });
    (!moved).then(|| (pending, named(pending)))
}

const fn named(pending: u32) -> Option<Timer> {
    match pending {
        ICSK_TIME_PROBE0 => Some(Timer::Probe),
        ICSK_TIME_LOSS_PROBE => Some(Timer::LossProbe),
        ICSK_TIME_RETRANS => Some(Timer::Retransmit),
        _ => None,
    }
}

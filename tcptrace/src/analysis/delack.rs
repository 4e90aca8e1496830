//! What the delayed-ACK fields of an event mean; for every question that looks at them.

use tcptrace_common::{
    field::Field,
    tcp::{ICSK_ACK_SCHED, ICSK_ACK_TIMER},
};

use crate::event::Event;

/// Whether an ACK is owed and the timer will send it.
pub(in crate::analysis) fn is_armed(e: &Event) -> bool {
    let both = ICSK_ACK_SCHED | ICSK_ACK_TIMER;
    e.u32(Field::icsk_ack_pending).is_some_and(|pending| pending & both == both)
}

/// Ticks (jiffies) from the event to the delayed-ACK timer; 0 when its time has come.
pub(in crate::analysis) fn due_ticks(e: &Event) -> Option<u32> {
    let left = e.u32(Field::icsk_ack_timeout)?.wrapping_sub(e.jiffies);
    Some(if left > u32::MAX / 2 { 0 } else { left })
}

/// Whether the timer that ran sends an ACK: `tcp_delack_timer_handler()` returns when none is armed, and sets itself
/// anew when the time has moved.
pub(crate) fn fires(e: &Event) -> bool {
    is_armed(e) && due_ticks(e).is_none_or(|left| left == 0)
}

//! `tw_timer_handler(timer)`, at its entry.
//!
//! **When**: a minisock's time is over.
//! **Context**: softirq.
//! **Arguments**: the timer, which lies in the minisock. Nothing is read from either: the minisock's address is the timer's
//! less a constant.
//! **Since**: static on all kernels from 5.10.
//! **Kernel**: net/ipv4/inet_timewait_sock.c, `tw_timer_handler()`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit,
    maps::MINISOCKS,
    read::{Reader, Unread},
};

#[inline(always)]
fn body(timer: u64) {
    let Some(reader) = Unread::around(timer, Field::tw_timer) else { return };
    // SAFETY: the value is not looked at.
    if unsafe { MINISOCKS.get(&reader.sk()) }.is_none() {
        return;
    }
    let _ = MINISOCKS.remove(&reader.sk());
    emit::emit::<Unread, { Hook::tw_timer_handler.slots() }>(
        Hook::tw_timer_handler,
        &reader,
        [0; 7],
    );
}

#[fentry]
pub fn tw_timer_handler(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, tw_timer_handler);
    body(ctx.arg(0));
    0
}

#[kprobe]
pub fn tw_timer_handler_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, tw_timer_handler_kprobe);
    body(ctx.arg(0).unwrap_or(0));
    0
}

//! `tcp_pace_kick(timer)`, at its entry.
//!
//! **When**: the timer of TCP's own pacing fired. The socket is asked to send next, or its owner when it lets go.
//! **Context**: softirq, before the socket lock is taken.
//! **Arguments**: the timer, which lies in the socket. Nothing is read from either: the socket's address is the timer's
//! less a constant, and only a socket that holds bytes is told of, or one whose FIN waits.
//! **Since**: static on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_pace_kick()`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    closing::{self, Ready},
    emit,
    read::Unread,
    socket,
};

#[inline(always)]
fn body(timer: u64) {
    let Some(reader) = Unread::around(timer, Field::pacing_timer) else { return };
    closing::may_send_again(&reader, Ready::PacingTimer);
    if socket::met(&reader).is_some_and(socket::is_holding) {
        emit::emit::<Unread, { Hook::tcp_pace_kick.slots() }>(Hook::tcp_pace_kick, &reader, [0; 7]);
    }
}

#[fentry]
pub fn tcp_pace_kick(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, tcp_pace_kick);
    body(ctx.arg(0));
    0
}

#[kprobe]
pub fn tcp_pace_kick_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, tcp_pace_kick_kprobe);
    body(ctx.arg(0).unwrap_or(0));
    0
}

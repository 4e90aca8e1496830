//! `inet_twsk_alloc(sk, dr, state)`, at its return.
//!
//! **When**: a minisock was made for a socket; `tcp_time_wait()` fills it in.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: the result is the minisock, or nothing where there is no memory.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/inet_timewait_sock.c, `inet_twsk_alloc()`.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::hook::Hook;

use crate::{
    emit, frame,
    maps::MINISOCKS,
    read::{Helper, Reader, Typed},
    socket,
};

#[inline(always)]
fn body<R: Reader>(reader: &R, tw: u64) {
    if tw == 0 || !socket::closings() || socket::met(reader).is_none() {
        return;
    }
    // What finds no place is a minisock that is not followed: its oldest makes room, so that there is one.
    let _ = MINISOCKS.insert(&tw, &socket::ports(reader), 0);
    let values = [tw as u32, (tw >> 32) as u32, 0, 0, 0, 0, 0];
    emit::emit::<R, { Hook::inet_twsk_alloc.slots() }>(Hook::inet_twsk_alloc, reader, values);
}

#[fexit]
pub fn inet_twsk_alloc(ctx: FExitContext) -> i32 {
    log_run!(&ctx, inet_twsk_alloc);
    if let Some(reader) = Typed::new(ctx.arg(0), core::ptr::null()) {
        body(&reader, ctx.arg(3));
    }
    0
}

#[kprobe]
pub fn inet_twsk_alloc_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::inet_twsk_alloc)
}

#[kretprobe]
pub fn inet_twsk_alloc_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, inet_twsk_alloc_kretprobe);
    if let Some((arguments, tw)) = frame::leave(&ctx, Hook::inet_twsk_alloc)
        && let Some(reader) = Helper::new(arguments[0], 0)
    {
        body(&reader, tw);
    }
    0
}

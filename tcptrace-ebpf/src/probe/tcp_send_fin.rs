//! `tcp_send_fin(sk)`, at its entry and at its return.
//!
//! **When**: `close()` or `shutdown()` queues a FIN, glued to the last unsent segment where there is one, and tries to send it.
//! **Context**: process, socket lock held.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_send_fin()`. **RFC** 9293 3.10.4.

use aya_ebpf::{
    EbpfContext as _,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::hook::Hook;

use crate::{
    closing, emit, frame,
    read::{Glance, Helper, Reader, Typed},
    socket,
};

#[inline(always)]
fn before<R: Reader>(reader: &R) {
    let Some(state) = socket::claimed(Hook::tcp_send_fin, reader) else { return };
    if socket::closings() {
        closing::tell_departure(state, reader);
        closing::fin_comes(state);
    }
    emit::emit::<R, { Hook::tcp_send_fin.slots() }>(Hook::tcp_send_fin, reader, [0; 7]);
}

#[inline(always)]
fn after<R: Reader>(reader: &R) {
    if socket::closings()
        && let Some(state) = socket::met(reader)
        && closing::is_fin_coming(state)
    {
        closing::tell_fin(state, reader);
    }
}

#[fentry]
pub fn tcp_send_fin_entry(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, tcp_send_fin);
    if !socket::end_may_matter(Glance::new(ctx.arg(0), core::ptr::null()), ()) {
        return 0;
    }
    traced_entry(ctx.as_ptr())
}

#[inline(never)]
fn traced_entry(ctx: *mut core::ffi::c_void) -> i32 {
    let ctx = FEntryContext::new(ctx);
    if let Some(reader) = Typed::new(ctx.arg(0), core::ptr::null()) {
        before(&reader);
    }
    0
}

#[fexit]
pub fn tcp_send_fin(ctx: FExitContext) -> i32 {
    log_run!(&ctx, tcp_send_fin);
    if let Some(reader) = Typed::new(ctx.arg(0), core::ptr::null()) {
        after(&reader);
    }
    0
}

#[kprobe]
pub fn tcp_send_fin_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, tcp_send_fin_kprobe);
    if let Some(reader) = Helper::new(ctx.arg(0).unwrap_or(0), 0) {
        before(&reader);
    }
    frame::enter(&ctx, Hook::tcp_send_fin)
}

#[kretprobe]
pub fn tcp_send_fin_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, tcp_send_fin_kretprobe);
    if let Some((arguments, _)) = frame::leave(&ctx, Hook::tcp_send_fin)
        && let Some(reader) = Helper::new(arguments[0], 0)
    {
        after(&reader);
    }
    0
}

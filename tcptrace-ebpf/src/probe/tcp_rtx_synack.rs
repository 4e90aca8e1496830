//! `tcp_rtx_synack(sk, req)`, at its return.
//!
//! **When**: the SYN-ACK of a request was sent again, by its timer or because the SYN came again. Told of requests that are
//! followed.
//! **Context**: softirq.
//! **Arguments**: the socket that listens, and the request; the result is 0 when the SYN-ACK has left.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_rtx_synack()`.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::hook::Hook;

use crate::{
    emit, frame,
    read::{Helper, Reader, Typed},
    request,
};

/// `listener` reads that and, in the segment's place, the request.
#[inline(always)]
fn body<R: Reader>(listener: &R, req: u64, ret: u32) {
    if request::known(req).is_some() {
        emit::emit_for::<R, { Hook::tcp_rtx_synack.slots() }>(
            Hook::tcp_rtx_synack,
            listener,
            req,
            [ret, 0, 0, 0, 0, 0, 0],
        );
    }
}

#[fexit]
pub fn tcp_rtx_synack(ctx: FExitContext) -> i32 {
    log_run!(&ctx, tcp_rtx_synack);
    let Some(listener) = Typed::new(ctx.arg(0), core::ptr::null()) else { return 0 };
    if let Some(request) = Typed::whole_request(ctx.arg(1)) {
        body(&listener.with(request.in_segments_place()), request.sk(), ctx.arg::<u64>(2) as u32);
    }
    0
}

#[kprobe]
pub fn tcp_rtx_synack_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::tcp_rtx_synack)
}

#[kretprobe]
pub fn tcp_rtx_synack_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, tcp_rtx_synack_kretprobe);
    if let Some(([sk, req, ..], ret)) = frame::leave(&ctx, Hook::tcp_rtx_synack)
        && let Some(listener) = Helper::new(sk, req)
    {
        body(&listener, req, ret as u32);
    }
    0
}

//! `inet_csk_complete_hashdance(sk, child, req, own_req)`, at its return.
//!
//! **When**: a request has become a socket, which waits in the accept queue. Told of requests that are followed; the socket is
//! met, so that its `accept()` is told too.
//! **Context**: softirq.
//! **Arguments**: the socket that listens, the one that was made, and the request. The result is the socket that was made, or
//! nothing where another processor was first or the listener was closed.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/inet_connection_sock.c, `inet_csk_complete_hashdance()`, called by `tcp_check_req()`.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::hook::Hook;

use crate::{
    emit, frame,
    read::{Helper, Reader, Typed},
    request, socket,
};

#[inline(always)]
fn body<R: Reader>(child: &R, req: u64, made: u64) {
    if made == 0 {
        return;
    }
    let Some(pending) = request::known(req) else { return };
    // SAFETY: the map's value lives as long as the program runs.
    unsafe { (*pending).end |= request::IS_SOCKET };
    let at = child.sk();
    let values = [at as u32, (at >> 32) as u32, 0, 0, 0, 0, 0];
    emit::emit_for::<R, { Hook::inet_csk_complete_hashdance.slots() }>(
        Hook::inet_csk_complete_hashdance,
        child,
        req,
        values,
    );
    if let Some(state) = socket::meet(Hook::inet_csk_complete_hashdance, child) {
        socket::expects_data(state, true);
    }
}

#[fexit]
pub fn inet_csk_complete_hashdance(ctx: FExitContext) -> i32 {
    log_run!(&ctx, inet_csk_complete_hashdance);
    if let Some(child) = Typed::new(ctx.arg(1), core::ptr::null()) {
        body(&child, ctx.arg(2), ctx.arg(4));
    }
    0
}

#[kprobe]
pub fn inet_csk_complete_hashdance_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::inet_csk_complete_hashdance)
}

#[kretprobe]
pub fn inet_csk_complete_hashdance_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, inet_csk_complete_hashdance_kretprobe);
    if let Some(([_, child, req, _, _], made)) =
        frame::leave(&ctx, Hook::inet_csk_complete_hashdance)
        && let Some(child) = Helper::new(child, 0)
    {
        body(&child, req, made);
    }
    0
}

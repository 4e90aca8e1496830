//! `__tcp_retransmit_skb(sk, skb, segs)`, at the tracepoint `tcp_retransmit_skb` that it passes.
//!
//! **When**: a segment was sent again, by the retransmission timer, the loss probe or what an ACK told.
//! **Context**: softirq, or the release of the socket lock by a task.
//! **Arguments**: the segment; from 6.16 on an error, where the layers below did not take it.
//! **Since**: the tracepoint on all kernels from 5.10. The function itself is split by the compiler of 6.1, so that only the
//! tracepoint sees all of it; where tracing programs are refused, a program on the raw tracepoint does.
//! **Kernel**: net/ipv4/tcp_output.c, `__tcp_retransmit_skb()`; include/trace/events/tcp.h.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tcptrace_common::hook::Hook;

use crate::{
    emit,
    maps::RETRANSMIT_TELLS_ERR,
    read::{Glance, Helper, Reader, Typed},
    socket,
};

#[inline(always)]
fn body<R: Reader>(reader: &R, err: u32) {
    if socket::closing(Hook::__tcp_retransmit_skb, reader).is_some() {
        emit::emit::<R, { Hook::__tcp_retransmit_skb.slots() }>(
            Hook::__tcp_retransmit_skb,
            reader,
            [err, 0, 0, 0, 0, 0, 0],
        );
    }
}

/// Whether the tracepoint has the error as its third argument: constant to the verifier, which refuses to read what is not there.
#[inline(always)]
fn tells_err() -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    unsafe { ptr::read_volatile(&raw const RETRANSMIT_TELLS_ERR) != 0 }
}

#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn __tcp_retransmit_skb_tracepoint(ctx: BtfTracePointContext) -> i32 {
    log_run!(&ctx, __tcp_retransmit_skb_tracepoint);
    if socket::is_closing(&Glance::new(ctx.arg(0), ctx.arg(1))) {
        return traced(ctx.as_ptr());
    }
    0
}

#[inline(never)]
fn traced(ctx: *mut core::ffi::c_void) -> i32 {
    let ctx = BtfTracePointContext::new(ctx);
    let err = if tells_err() { ctx.arg::<u64>(2) as u32 } else { 0 };
    if let Some(reader) = Typed::new(ctx.arg(0), ctx.arg(1)) {
        body(&reader, err);
    }
    0
}

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn __tcp_retransmit_skb_raw(ctx: RawTracePointContext) -> i32 {
    log_run!(&ctx, __tcp_retransmit_skb_raw);
    let err = if tells_err() { ctx.arg::<u64>(2) as u32 } else { 0 };
    if let Some(reader) = Helper::new(ctx.arg(0), ctx.arg(1)) {
        body(&reader, err);
    }
    0
}

//! `tcp_rcv_established(sk, skb)`, at its entry.
//!
//! **When**: a segment arrived for an established connection; its ACK may let waiting bytes go.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the segment.
//! **Since**: global on all kernels from 5.10. Its first statement is the tracepoint `tcp_probe(sk, skb)`, at which a
//! program costs half as much as at the entry.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_rcv_established()`.

use aya_ebpf::{EbpfContext as _, macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{
    exchange::{self, Glanced},
    read::{Glance, Typed},
    socket,
};

emit_when_wanted!(tcp_rcv_established, Anybody);
on_entry!(
    tcp_rcv_established,
    tcp_rcv_established_kprobe,
    segment = 1,
    gate = socket::may_matter,
    count = (exchange::came_again, exchange::came)
);

/// The same at the function's first statement.
#[btf_tracepoint(function = "tcp_probe")]
pub fn tcp_rcv_established_tracepoint(ctx: BtfTracePointContext) -> i32 {
    log_run!(&ctx, tcp_rcv_established_tracepoint);
    let sk = Glance::new(ctx.arg(0), ctx.arg(1));
    match exchange::came_again(sk, ()) {
        Glanced::Foreign => return 0,
        Glanced::Look => {
            came_at_tracepoint(ctx.as_ptr());
        }
        Glanced::Done => {}
    }
    if socket::may_matter(sk, ()) {
        return at_tracepoint(ctx.as_ptr());
    }
    0
}

#[inline(never)]
fn came_at_tracepoint(ctx: *mut core::ffi::c_void) -> i32 {
    let ctx = BtfTracePointContext::new(ctx);
    if let Some(reader) = Typed::new(ctx.arg(0), ctx.arg(1)) {
        exchange::came(&reader, ());
    }
    0
}

#[inline(never)]
fn at_tracepoint(ctx: *mut core::ffi::c_void) -> i32 {
    let ctx = BtfTracePointContext::new(ctx);
    if let Some(reader) = Typed::new(ctx.arg(0), ctx.arg(1)) {
        body(&reader, |_| 0);
    }
    0
}

//! `inet_csk_reqsk_queue_drop_and_put(sk, req)`, at its entry.
//!
//! **When**: a segment came for a request whose listener was closed. Told once: from 6.1 on what it calls finds nothing left
//! to tell.
//! **Context**: softirq.
//! **Arguments**: the socket that has listened, and the request.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/inet_connection_sock.c, `inet_csk_reqsk_queue_drop_and_put()`, called by `tcp_v4_rcv()`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcptrace_common::hook::Hook;

use crate::{
    read::{Helper, Reader as _, Typed},
    request,
};

#[fentry]
pub fn inet_csk_reqsk_queue_drop_and_put(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, inet_csk_reqsk_queue_drop_and_put);
    let Some(listener) = Typed::new(ctx.arg(0), core::ptr::null()) else { return 0 };
    if let Some(request) = Typed::whole_request(ctx.arg(1)) {
        request::dropped::<_, { Hook::inet_csk_reqsk_queue_drop_and_put.slots() }>(
            Hook::inet_csk_reqsk_queue_drop_and_put,
            &listener.with(request.in_segments_place()),
            request.sk(),
        );
    }
    0
}

#[kprobe]
pub fn inet_csk_reqsk_queue_drop_and_put_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, inet_csk_reqsk_queue_drop_and_put_kprobe);
    let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
    if let Some(listener) = Helper::new(of(0), of(1)) {
        request::dropped::<_, { Hook::inet_csk_reqsk_queue_drop_and_put.slots() }>(
            Hook::inet_csk_reqsk_queue_drop_and_put,
            &listener,
            of(1),
        );
    }
    0
}

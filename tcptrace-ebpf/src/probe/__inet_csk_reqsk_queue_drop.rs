//! `__inet_csk_reqsk_queue_drop(sk, req, from_timer)`, at its entry.
//!
//! **When**: a request is dropped: its time is over, its listener was closed, a reset came, ICMP told that nobody is there,
//! or a tool ends it; and when it becomes a socket, which `tcp_check_req()` tells.
//! **Context**: softirq, or a task that ends connections.
//! **Arguments**: the socket that listens or has listened, and the request.
//! **Since**: static from 6.1 on. On 5.10 `inet_csk_reqsk_queue_drop()` stands in, which its own file calls by another name:
//! there [`super::reqsk_timer_handler`] and [`super::inet_csk_reqsk_queue_drop_and_put`] tell the rest.
//! **Kernel**: net/ipv4/inet_connection_sock.c, `__inet_csk_reqsk_queue_drop()`.

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
pub fn __inet_csk_reqsk_queue_drop(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, __inet_csk_reqsk_queue_drop);
    let Some(listener) = Typed::new(ctx.arg(0), core::ptr::null()) else { return 0 };
    if let Some(request) = Typed::whole_request(ctx.arg(1)) {
        request::dropped::<_, { Hook::__inet_csk_reqsk_queue_drop.slots() }>(
            Hook::__inet_csk_reqsk_queue_drop,
            &listener.with(request.in_segments_place()),
            request.sk(),
        );
    }
    0
}

#[kprobe]
pub fn __inet_csk_reqsk_queue_drop_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, __inet_csk_reqsk_queue_drop_kprobe);
    let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
    if let Some(listener) = Helper::new(of(0), of(1)) {
        request::dropped::<_, { Hook::__inet_csk_reqsk_queue_drop.slots() }>(
            Hook::__inet_csk_reqsk_queue_drop,
            &listener,
            of(1),
        );
    }
    0
}

//! `inet_csk_reqsk_queue_hash_add(sk, req, ...)`, at its entry.
//!
//! **When**: a SYN came, neither answered by a SYN cookie nor accepted by Fast Open, and a request stands for it from now on:
//! the SYN-ACK leaves next. Told of listeners with `TCP_DEFER_ACCEPT`.
//! **Context**: softirq.
//! **Arguments**: the socket that listens, and the request; a time follows on kernels before 7.x.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/inet_connection_sock.c, `inet_csk_reqsk_queue_hash_add()`, called by `tcp_conn_request()`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};

use crate::{
    read::{Helper, Typed},
    request,
};

#[fentry]
pub fn inet_csk_reqsk_queue_hash_add(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, inet_csk_reqsk_queue_hash_add);
    let Some(listener) = Typed::new(ctx.arg(0), core::ptr::null()) else { return 0 };
    if request::defers(&listener)
        && let Some(request) = Typed::whole_request(ctx.arg(1))
    {
        request::meet(&listener.with(request.in_segments_place()), &request, false);
    }
    0
}

#[kprobe]
pub fn inet_csk_reqsk_queue_hash_add_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, inet_csk_reqsk_queue_hash_add_kprobe);
    let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
    if let (Some(listener), Some(request)) = (Helper::new(of(0), of(1)), Helper::new(of(1), of(1)))
        && request::defers(&listener)
    {
        request::meet(&listener, &request, false);
    }
    0
}

//! `tcp_req_err(sk, seq, abort)`, at its entry.
//!
//! **When**: ICMP quotes a segment of a connection that a request stands for. Where it quotes the SYN-ACK and says that nobody
//! can be reached, the request is dropped next. Told of requests that are followed.
//! **Context**: softirq.
//! **Arguments**: the request, `seq`, the number that is quoted, and `abort`.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_ipv4.c, `tcp_req_err()`, called by `tcp_v4_err()` and `tcp_v6_err()`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit,
    read::{Helper, Reader, Typed},
    request,
};

#[inline(always)]
fn body<R: Reader>(request: &R, seq: u32, abort: u32) {
    if request::known(request.sk()).is_some() {
        let fits = u32::from(request.value(Field::req_snt_isn) as u32 == seq);
        emit::emit::<R, { Hook::tcp_req_err.slots() }>(
            Hook::tcp_req_err,
            request,
            [abort & 0xff, fits, 0, 0, 0, 0, 0],
        );
    }
}

#[fentry]
pub fn tcp_req_err(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, tcp_req_err);
    if let Some(request) = Typed::whole_request(ctx.arg(0)) {
        body(&request, ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32);
    }
    0
}

#[kprobe]
pub fn tcp_req_err_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, tcp_req_err_kprobe);
    let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
    if let Some(request) = Helper::new(of(0), of(0)) {
        body(&request, of(1) as u32, of(2) as u32);
    }
    0
}

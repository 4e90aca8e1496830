//! `tcp_syn_ack_timeout(req)`, at its entry.
//!
//! **When**: the timer of a request ran, in a state in which its listener still listens (or another one has taken over).
//! `reqsk_timer_handler()` has decided whether it sends the SYN-ACK again and whether it drops the request, and does it next.
//! **Context**: softirq.
//! **Arguments**: the request.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_timer.c, `tcp_syn_ack_timeout()`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcptrace_common::hook::Hook;

use crate::{
    emit,
    read::{Helper, Reader, Typed},
    request,
};

#[inline(always)]
fn body<R: Reader>(request: &R) {
    if request::known(request.sk()).is_some() {
        emit::emit::<R, { Hook::tcp_syn_ack_timeout.slots() }>(
            Hook::tcp_syn_ack_timeout,
            request,
            [0; 7],
        );
    }
}

#[fentry]
pub fn tcp_syn_ack_timeout(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, tcp_syn_ack_timeout);
    if let Some(request) = Typed::whole_request(ctx.arg(0)) {
        body(&request);
    }
    0
}

#[kprobe]
pub fn tcp_syn_ack_timeout_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, tcp_syn_ack_timeout_kprobe);
    let req = ctx.arg(0).unwrap_or(0);
    if let Some(request) = Helper::new(req, req) {
        body(&request);
    }
    0
}

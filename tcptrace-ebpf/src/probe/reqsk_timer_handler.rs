//! `reqsk_timer_handler(timer)`, at its return.
//!
//! **When**: the timer of a request ran. Told when the request was dropped and nothing else has told of it: before 6.1, and
//! where another listener had just taken it over.
//! **Context**: softirq.
//! **Arguments**: the timer, which lies in the request. The request may be free by now; its memory stays that of a request,
//! and is read by the helper.
//! **Since**: static on all kernels from 5.10.
//! **Kernel**: net/ipv4/inet_connection_sock.c, `reqsk_timer_handler()`.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    frame,
    read::{Helper, Reader as _, Unread},
    request,
};

#[inline(always)]
fn body(timer: u64) {
    let Some(around) = Unread::around(timer, Field::req_timer) else { return };
    let mut req = around.sk();
    let Some(pending) = request::known(req) else { return };
    // SAFETY: the map's value lives as long as the program runs.
    let moved_to = unsafe { (*pending).moved_to };
    if moved_to != 0 {
        request::forget(req);
        req = moved_to;
    }
    let Some(request) = Helper::new(req, req) else { return };
    if request.is_set(Field::req_hashed) == 1 {
        return;
    }
    if let Some(listener) = Helper::new(request.value(Field::req_listener), req) {
        request::dropped::<_, { Hook::reqsk_timer_handler.slots() }>(
            Hook::reqsk_timer_handler,
            &listener,
            req,
        );
    }
}

#[fexit]
pub fn reqsk_timer_handler(ctx: FExitContext) -> i32 {
    log_run!(&ctx, reqsk_timer_handler);
    body(ctx.arg(0));
    0
}

#[kprobe]
pub fn reqsk_timer_handler_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::reqsk_timer_handler)
}

#[kretprobe]
pub fn reqsk_timer_handler_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, reqsk_timer_handler_kretprobe);
    if let Some(([timer, ..], _)) = frame::leave(&ctx, Hook::reqsk_timer_handler) {
        body(timer);
    }
    0
}

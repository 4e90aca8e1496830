//! `inet_reqsk_clone(req, sk)`, at its return.
//!
//! **When**: the listener of a request was closed, and another of its `SO_REUSEPORT` group takes it over
//! (`net.ipv4.tcp_migrate_req`): a new request takes the place of the old one. Told of requests that are followed.
//! **Context**: softirq.
//! **Arguments**: the request, and the socket that listens from now on. The result is the new request, or nothing.
//! **Since**: static from 6.1 on; 5.10 has nothing like it.
//! **Kernel**: net/ipv4/inet_connection_sock.c, `inet_reqsk_clone()`.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{hook::Hook, loss::Loss};

use crate::{emit, frame, maps::REQUESTS, read::Unread, request};

#[inline(always)]
fn body(req: u64, clone: u64) {
    let Some(pending) = request::known(req) else { return };
    if clone == 0 {
        return;
    }
    // SAFETY: the map's value is copied at once.
    let was = unsafe { *pending };
    let reader = Unread::at(req);
    let emit_of = |at: u64| {
        let values = [at as u32, (at >> 32) as u32, 0, 0, 0, 0, 0];
        emit::emit::<Unread, { Hook::inet_reqsk_clone.slots() }>(
            Hook::inet_reqsk_clone,
            &reader,
            values,
        );
    };
    if was.in_check == 1 {
        // The request is a socket at once, and the clone stands for it in the accept queue alone.
        // SAFETY: the map's value lives as long as the program runs.
        unsafe { (*pending).end |= request::MIGRATED };
        emit_of(0);
        return;
    }
    if REQUESTS.insert(&clone, &was, 0).is_err() {
        emit::lost(Hook::inet_reqsk_clone, Loss::TableFull);
        return;
    }
    // The old one is forgotten when its timer has ended: it may yet be that both are dropped.
    // SAFETY: the map's value lives as long as the program runs.
    unsafe { (*pending).moved_to = clone };
    emit_of(clone);
}

#[fexit]
pub fn inet_reqsk_clone(ctx: FExitContext) -> i32 {
    log_run!(&ctx, inet_reqsk_clone);
    body(ctx.arg(0), ctx.arg(2));
    0
}

#[kprobe]
pub fn inet_reqsk_clone_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::inet_reqsk_clone)
}

#[kretprobe]
pub fn inet_reqsk_clone_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, inet_reqsk_clone_kretprobe);
    if let Some(([req, ..], clone)) = frame::leave(&ctx, Hook::inet_reqsk_clone) {
        body(req, clone);
    }
    0
}

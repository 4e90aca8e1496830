//! `inet_csk_reqsk_queue_add(sk, req, child)`, at its return.
//!
//! **When**: a socket waits to be accepted. Told of listeners with `TCP_DEFER_ACCEPT` and of sockets that were not deferred:
//! the SYN was answered by a SYN cookie, or Fast Open has accepted it; and of listeners with `TCP_FASTOPEN` and a SYN cookie.
//! **Context**: softirq.
//! **Arguments**: the socket that listens, the request, and the socket that was made; the result is that, or nothing when the
//! listener was closed.
//! **Since**: global on all kernels from 5.10; there every connection passes here, later only those two kinds.
//! **Kernel**: net/ipv4/inet_connection_sock.c, `inet_csk_reqsk_queue_add()`, called by `tcp_get_cookie_sock()` and
//! `tcp_conn_request()`.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit, frame,
    read::{Helper, Reader, Typed},
    request, socket,
};

#[inline(always)]
fn body<L: Reader, R: Reader, C: Reader>(listener: &L, request: &R, child: &C, made: u64) {
    // No other connection of a listener that defers comes here without a request that is followed.
    let not_deferred =
        request::deferring() && request::defers(listener) && request::known(request.sk()).is_none();
    let by_fastopen = child.is_set(Field::fastopen_rsk);
    let not_opened = socket::opens()
        && listener.value(Field::fastopenq_max_qlen) != 0
        && by_fastopen == 0
        && request.field(Field::req_snt_synack) == (0, 1);
    if made == 0 || !(not_deferred || not_opened) || !socket::admits_request(listener, child) {
        return;
    }
    let syn_cookie = by_fastopen ^ 1;
    if socket::meet(Hook::inet_csk_reqsk_queue_add, child).is_some() {
        emit::emit_for::<L, { Hook::inet_csk_reqsk_queue_add.slots() }>(
            Hook::inet_csk_reqsk_queue_add,
            listener,
            child.sk(),
            [syn_cookie, request.value(Field::req_rcv_isn) as u32, 0, 0, 0, 0, 0],
        );
    }
}

#[fexit]
pub fn inet_csk_reqsk_queue_add(ctx: FExitContext) -> i32 {
    log_run!(&ctx, inet_csk_reqsk_queue_add);
    let Some(listener) = Typed::new(ctx.arg(0), core::ptr::null()) else { return 0 };
    let Some(child) = Typed::new(ctx.arg(2), core::ptr::null()) else { return 0 };
    if let Some(request) = Typed::whole_request(ctx.arg(1)) {
        body(&listener, &request, &child, ctx.arg(3));
    }
    0
}

#[kprobe]
pub fn inet_csk_reqsk_queue_add_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::inet_csk_reqsk_queue_add)
}

#[kretprobe]
pub fn inet_csk_reqsk_queue_add_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, inet_csk_reqsk_queue_add_kretprobe);
    let Some(([sk, req, child, _, _], made)) = frame::leave(&ctx, Hook::inet_csk_reqsk_queue_add)
    else {
        return 0;
    };
    if let (Some(listener), Some(child)) = (Helper::new(sk, 0), Helper::new(child, 0))
        && let Some(request) = Helper::new(req, req)
    {
        body(&listener, &request, &child, made);
    }
    0
}

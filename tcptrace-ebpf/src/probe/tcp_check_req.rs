//! `tcp_check_req(sk, skb, req, fastopen, ...)`, at its entry and at its return.
//!
//! **When**: a segment came for a request. Told of requests of listeners with `TCP_DEFER_ACCEPT`: a bare ACK is dropped while
//! the deferral lasts, data or a FIN makes the request a socket, a reset drops it.
//! **Context**: softirq.
//! **Arguments**: the socket that listens, the segment, and the request. What the segment changes is kept at the entry; the
//! result stands in another place from 6.18 on and is not needed: `inet_csk_complete_hashdance()` tells of the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_minisocks.c, `tcp_check_req()`.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit, frame,
    read::{Helper, Reader, Typed},
    request,
};

/// Bits of `before`.
const ACKED: u32 = 1;
const QUEUE_FULL: u32 = 2;
const IN_ORDER: u32 = 4;
const ACKS_SYN_ACK: u32 = 8;

/// `segment` reads the listener and the segment, `listener` that and the request, `request` the request alone.
#[inline(always)]
fn before<S: Reader, L: Reader, R: Reader>(segment: &S, listener: &L, request: &R) {
    let found = request::known(request.sk());
    let pending = match found {
        Some(pending) => pending,
        None if request::defers(listener) => match request::meet(listener, request, true) {
            Some(pending) => pending,
            None => return,
        },
        None => return,
    };
    let isn = |field| request.value(field) as u32;
    let waiting = segment.value(Field::sk_ack_backlog) as u32;
    let mut before = u32::from(request.value(Field::req_acked) != 0) * ACKED;
    before |= u32::from(waiting > segment.value(Field::sk_max_ack_backlog) as u32) * QUEUE_FULL;
    let in_order = segment.word(Field::seq) == isn(Field::req_rcv_isn).wrapping_add(1);
    before |= u32::from(in_order) * IN_ORDER;
    let acks = segment.value(Field::ack_seq) as u32 == isn(Field::req_snt_isn).wrapping_add(1);
    before |= u32::from(acks) * ACKS_SYN_ACK;
    // SAFETY: the map's value lives as long as the program runs.
    unsafe {
        (*pending).before = before;
        (*pending).num_timeout = request.value(Field::req_num_timeout) as u32;
        (*pending).end = 0;
        (*pending).in_check = 1;
    }
}

#[inline(always)]
fn after<S: Reader, L: Reader, R: Reader>(segment: &S, listener: &L, request: &R) {
    let req = request.sk();
    let Some(pending) = request::known(req) else { return };
    // SAFETY: the map's value lives as long as the program runs.
    let (before, num_timeout, end) = unsafe {
        (*pending).in_check = 0;
        ((*pending).before, (*pending).num_timeout, (*pending).end)
    };
    let isn = request.value(Field::req_rcv_isn) as u32;
    let payload = segment.word(Field::end_seq).wrapping_sub(isn).wrapping_sub(1);
    // Only the lowest eight are in the header of a segment that comes.
    let flags = segment.value(Field::tcp_flags) as u32 & 0xff;
    if end & (request::IS_SOCKET | request::DROPPED) != 0 {
        request::forget(req);
    }
    emit::emit_for::<L, { Hook::tcp_check_req.slots() }>(
        Hook::tcp_check_req,
        listener,
        req,
        [payload, flags, num_timeout, before, end, 0, 0],
    );
}

#[fentry]
pub fn tcp_check_req_entry(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, tcp_check_req_entry);
    let Some(segment) = Typed::new(ctx.arg(0), ctx.arg(1)) else { return 0 };
    if let Some(request) = Typed::whole_request(ctx.arg(2)) {
        before(&segment, &segment.with(request.in_segments_place()), &request);
    }
    0
}

#[fexit]
pub fn tcp_check_req(ctx: FExitContext) -> i32 {
    log_run!(&ctx, tcp_check_req);
    let Some(segment) = Typed::new(ctx.arg(0), ctx.arg(1)) else { return 0 };
    if let Some(request) = Typed::whole_request(ctx.arg(2)) {
        after(&segment, &segment.with(request.in_segments_place()), &request);
    }
    0
}

#[kprobe]
pub fn tcp_check_req_kprobe(ctx: ProbeContext) -> u32 {
    let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
    let (segment, listener) = (Helper::new(of(0), of(1)), Helper::new(of(0), of(2)));
    if let (Some(segment), Some(listener)) = (segment, listener)
        && let Some(request) = Helper::new(of(2), of(2))
    {
        before(&segment, &listener, &request);
    }
    frame::enter(&ctx, Hook::tcp_check_req)
}

#[kretprobe]
pub fn tcp_check_req_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, tcp_check_req_kretprobe);
    let Some(([sk, skb, req, _, _], _)) = frame::leave(&ctx, Hook::tcp_check_req) else {
        return 0;
    };
    let (segment, listener) = (Helper::new(sk, skb), Helper::new(sk, req));
    if let (Some(segment), Some(listener)) = (segment, listener)
        && let Some(request) = Helper::new(req, req)
    {
        after(&segment, &listener, &request);
    }
    0
}

//! `tcp_try_fastopen(sk, skb, req, foc, dst)`, at its entry and at its return.
//!
//! **When**: a SYN came for a socket that listens, and SYN cookies are not in use. It is told when it asks for Fast Open: by
//! the option, or by data.
//! **Context**: softirq.
//! **Arguments**: the socket that listens, the segment, the request that is to be, and the cookie that came, which the
//! function overwrites with the one that is sent: what came is kept at the entry. The result is the socket that was
//! made, or nothing.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_fastopen.c, `tcp_try_fastopen()`. **RFC** 7413, 4.1.2 and 4.2.2.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit, frame,
    maps::TRIES,
    read::{Helper, Reader, Request, Typed},
    socket,
};

/// What stood before the call in what it overwrites.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Try {
    /// The cookie that came.
    cookie: [u64; 2],
    /// Its length.
    foc_len: u32,
    /// Connections whose handshake is not complete, and slots that resets hold.
    qlen: u32,
    /// 1 when resets hold slots.
    resets: u32,
    /// Keeps the size a multiple of the alignment.
    pad: u32,
}

/// `segment` reads the socket that listens and the segment, `foc` that socket and the cookie.
#[inline(always)]
fn before<R: Reader>(segment: &R, foc: &R, req: u64) {
    let foc_len = length(foc);
    // Nothing of Fast Open is in it: every other connection.
    if foc_len < 0 && syn_bytes(segment) == 0 {
        return;
    }
    let it = Try {
        cookie: foc.wide_value(Field::foc_val),
        foc_len: foc_len as u32,
        qlen: segment.value(Field::fastopenq_qlen) as u32,
        resets: segment.is_set(Field::rskq_rst_head),
        pad: 0,
    };
    // The oldest makes room, so that there is one.
    let _ = TRIES.insert(&req, &it, 0);
}

#[inline(always)]
fn length<R: Reader>(foc: &R) -> i32 {
    i32::from(foc.value(Field::foc_len) as i8)
}

/// Data in the SYN, which counts as one itself.
#[inline(always)]
fn syn_bytes<R: Reader>(segment: &R) -> u32 {
    segment.word(Field::end_seq).wrapping_sub(segment.word(Field::seq)).wrapping_sub(1)
}

/// `from` reads the two ends: the socket that was made, where there is one, or the request.
#[inline(always)]
fn after<R: Reader, F: Reader>(segment: &R, foc: &R, from: &F, req: u64, is_made: bool) {
    // SAFETY: the value is copied at once.
    let Some(came) = (unsafe { TRIES.get(&req) }).copied() else { return };
    let _ = TRIES.remove(&req);
    if !socket::admits_request(segment, from) {
        return;
    }
    let announced = if is_made {
        socket::meet(Hook::tcp_try_fastopen, from).is_some()
    } else {
        socket::announce(from)
    };
    if !announced {
        return;
    }
    let foc_out = length(foc);
    let [low, high] = foc.wide_value(Field::foc_val);
    let same = foc_out > 0 && low | high != 0 && low == came.cookie[0] && high == came.cookie[1];
    let child = u32::from(is_made)
        | u32::from(same) << 1
        | u32::from(foc.value(Field::foc_exp) as u32 & 0xff != 0) << 2;
    let values = [
        came.foc_len,
        foc_out as u32,
        syn_bytes(segment),
        segment.word(Field::seq),
        child,
        came.qlen,
        came.resets,
    ];
    emit::emit_for::<R, { Hook::tcp_try_fastopen.slots() }>(
        Hook::tcp_try_fastopen,
        segment,
        from.sk(),
        values,
    );
}

#[fentry]
pub fn tcp_try_fastopen_entry(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, tcp_try_fastopen_entry);
    if let Some(reader) = Typed::new(ctx.arg(0), ctx.arg(1)) {
        before(&reader, &reader.with(ctx.arg(3)), ctx.arg(2));
    }
    0
}

#[fexit]
pub fn tcp_try_fastopen(ctx: FExitContext) -> i32 {
    log_run!(&ctx, tcp_try_fastopen);
    let Some(reader) = Typed::new(ctx.arg(0), ctx.arg(1)) else { return 0 };
    let (foc, req) = (reader.with(ctx.arg(3)), ctx.arg::<u64>(2));
    match Typed::new(ctx.arg(5), core::ptr::null()) {
        Some(child) => after(&reader, &foc, &child, req, true),
        None => after(&reader, &foc, &Request(Typed::request(ctx.arg(2))), req, false),
    }
    0
}

#[kprobe]
pub fn tcp_try_fastopen_kprobe(ctx: ProbeContext) -> u32 {
    let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
    let (segment, foc) = (Helper::new(of(0), of(1)), Helper::new(of(0), of(3)));
    if let (Some(segment), Some(foc)) = (segment, foc) {
        before(&segment, &foc, of(2));
    }
    frame::enter(&ctx, Hook::tcp_try_fastopen)
}

#[kretprobe]
pub fn tcp_try_fastopen_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, tcp_try_fastopen_kretprobe);
    let Some(([sk, skb, req, foc, _], child)) = frame::leave(&ctx, Hook::tcp_try_fastopen) else {
        return 0;
    };
    let (Some(segment), Some(foc)) = (Helper::new(sk, skb), Helper::new(sk, foc)) else {
        return 0;
    };
    match Helper::new(child, 0) {
        Some(child) => after(&segment, &foc, &child, req, true),
        None => {
            if let Some(request) = Helper::new(req, 0) {
                after(&segment, &foc, &Request(request), req, false);
            }
        }
    }
    0
}

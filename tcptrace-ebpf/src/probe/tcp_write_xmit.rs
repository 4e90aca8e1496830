//! `tcp_write_xmit(sk, mss_now, nonagle, push_one, gfp)`, at its return.
//!
//! **When**: an attempt to send what is queued has ended, from whatever caused it.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: `mss_now`, `nonagle` (the value that decides, not the socket's own), `push_one`; result: nothing is in
//! flight and nothing could be sent.
//! **Since**: static on all kernels from 5.10, never inlined.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_write_xmit()`.

use tcptrace_common::{
    field::Field,
    hook::{Hook, ret_of},
    tcp::TSQF_THROTTLED,
};

use crate::{
    emit,
    read::{Glance, Reader, Words as _},
    socket::{self, AtWork},
};

/// What holds the bytes of a write is told at the end of its push, when the socket is known to hold some. Only whether
/// there was an attempt at all cannot be told there: with small queues at work, a push may have made none.
#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    let left = socket::waiting(reader) != 0;
    if !left && !socket::everything() {
        return;
    }
    let wanted = socket::wanted(Hook::tcp_write_xmit, reader, AtWork::Anybody).is_some()
        || (left
            && reader.value(Field::sk_tsq_flags) as u32 & TSQF_THROTTLED != 0
            && socket::admits(reader, AtWork::User)
            && socket::meet(Hook::tcp_write_xmit, reader).is_some());
    if wanted {
        let values = [arg(1), arg(2), arg(3), arg(ret_of(5)), 0, 0, 0];
        emit::emit::<R, { Hook::tcp_write_xmit.slots() }>(Hook::tcp_write_xmit, reader, values);
    }
}

/// Whether the socket may hold bytes, or its device is behind.
#[inline(always)]
fn may_matter<A>(sk: Glance, arg: A) -> bool {
    sk.word(Field::sk_tsq_flags) & TSQF_THROTTLED != 0 || socket::may_matter(sk, arg)
}

on_exit!(tcp_write_xmit, tcp_write_xmit_kprobe, tcp_write_xmit_kretprobe, gate = may_matter);

//! `__tcp_transmit_skb(sk, skb, clone_it, gfp_mask, rcv_nxt)`, at its return.
//!
//! **When**: a segment was given to the layers below, and they did not take it.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: `clone_it`: 1 for what stays in the queues until it is acknowledged, that is for data and FIN; the result
//! is not 0 when the segment went nowhere.
//! **Since**: static on all kernels from 5.10, never inlined.
//! **Kernel**: net/ipv4/tcp_output.c, `__tcp_transmit_skb()`.

use tcptrace_common::hook::{Hook, ret_of};

use crate::{
    emit,
    read::{Glance, Reader},
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    let (clone_it, ret) = (arg(2), arg(ret_of(5)));
    if ret == 0 || clone_it == 0 || !socket::admits(reader, AtWork::Anybody) {
        return;
    }
    if socket::meet(Hook::__tcp_transmit_skb, reader).is_some() {
        emit::emit::<R, { Hook::__tcp_transmit_skb.slots() }>(
            Hook::__tcp_transmit_skb,
            reader,
            [clone_it, ret, 0, 0, 0, 0, 0],
        );
    }
}

/// Whether the segment went nowhere. The result stands behind the arguments.
#[inline(always)]
fn may_matter(_sk: Glance, arg: impl Fn(usize) -> u32) -> bool {
    arg(2) != 0 && arg(5) != 0
}

on_exit!(
    __tcp_transmit_skb,
    __tcp_transmit_skb_kprobe,
    __tcp_transmit_skb_kretprobe,
    segment = 1,
    gate = may_matter
);

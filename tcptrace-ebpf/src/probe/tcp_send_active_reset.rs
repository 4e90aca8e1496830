//! `tcp_send_active_reset(sk, priority, reason)`, at its entry.
//!
//! **When**: this host ends a connection with a reset: unread data at the close, `SO_LINGER` with no time, an abort, no
//! memory, a keepalive that nobody answered, `connect(AF_UNSPEC)`.
//! **Context**: process or softirq, socket lock held. The state may be CLOSE already.
//! **Arguments**: none is read; a reason is told from 6.12 on, at another place in 7.3, and follows from the calls before.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_send_active_reset()`. **RFC** 2525 2.17.

use tcptrace_common::hook::Hook;

use crate::{emit, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    if socket::resetting(Hook::tcp_send_active_reset, reader).is_some() {
        emit::emit::<R, { Hook::tcp_send_active_reset.slots() }>(
            Hook::tcp_send_active_reset,
            reader,
            [0; 7],
        );
    }
}

on_entry!(tcp_send_active_reset, tcp_send_active_reset_kprobe);

//! `tcp_send_fin(sk)`, at its entry.
//!
//! **When**: `close()` or `shutdown()` queues a FIN, glued to the last unsent segment where there is one.
//! **Context**: process, socket lock held.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_send_fin()`. **RFC** 9293 3.10.4.

use tcptrace_common::hook::Hook;

use crate::{emit, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    if socket::claimed(Hook::tcp_send_fin, reader).is_some() {
        emit::emit::<R, { Hook::tcp_send_fin.slots() }>(Hook::tcp_send_fin, reader, [0; 7]);
    }
}

on_entry!(tcp_send_fin, tcp_send_fin_kprobe, gate = socket::end_may_matter);

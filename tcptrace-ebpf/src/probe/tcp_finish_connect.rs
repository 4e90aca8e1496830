//! `tcp_finish_connect(sk, skb)`, at its entry.
//!
//! **When**: the SYN-ACK came, and the connection is established from this end: before what it says of Fast Open is looked
//! at, and the only sign of a SYN that had neither its option nor data. A socket that has set `TCP_DEFER_ACCEPT` puts off the
//! ACK of its handshake next (`tcp_rcv_synsent_state_process()`).
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the segment, which is not read.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_finish_connect()`. **RFC** 9293 3.10.7.3.

use tcptrace_common::hook::Hook;

use crate::{
    emit,
    read::Reader,
    request,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    if request::deferring() && request::defers(reader) {
        if !socket::admits(reader, AtWork::Anybody) {
            return;
        }
        let Some(state) = socket::meet(Hook::tcp_finish_connect, reader) else { return };
        socket::withholds(state);
    } else if socket::met(reader).is_none() {
        return;
    }
    emit::emit::<R, { Hook::tcp_finish_connect.slots() }>(Hook::tcp_finish_connect, reader, [0; 7]);
}

on_entry!(tcp_finish_connect, tcp_finish_connect_kprobe);

//! `tcp_fin(sk)`, at its entry.
//!
//! **When**: the peer's FIN arrived in order.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_fin()`. **RFC** 9293 3.10.7.4.

use tcptrace_common::hook::Hook;

use crate::{
    closing, emit, filter,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    let wanted = if socket::everything() {
        socket::wanted(Hook::tcp_fin, reader, AtWork::Anybody)
    } else if filter::passes(reader) {
        // Of a socket that has held nothing yet, too: what it holds later, it holds after the peer's FIN.
        socket::meet(Hook::tcp_fin, reader)
    } else {
        None
    };
    if let Some(state) = wanted {
        closing::fin_came(state, reader);
        emit::emit::<R, { Hook::tcp_fin.slots() }>(Hook::tcp_fin, reader, [0; 7]);
    }
}

on_entry!(tcp_fin, tcp_fin_kprobe);

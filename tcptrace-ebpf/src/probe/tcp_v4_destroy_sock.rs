//! `tcp_v4_destroy_sock(sk)`, at its entry; IPv6 sockets pass here too.
//!
//! **When**: the socket's life ends; its address can belong to another one within a millisecond.
//! **Context**: process or softirq.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_ipv4.c, `tcp_v4_destroy_sock()`.

use tcptrace_common::hook::Hook;

use crate::{emit, exchange, maps::SOCKETS, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    let turn = exchange::over(reader);
    let Some(state) = socket::met(reader) else { return };
    socket::forget(state);
    let _ = SOCKETS.remove(&reader.sk());
    emit::emit::<R, { Hook::tcp_v4_destroy_sock.slots() }>(
        Hook::tcp_v4_destroy_sock,
        reader,
        [turn, 0, 0, 0, 0, 0, 0],
    );
}

on_entry!(tcp_v4_destroy_sock, tcp_v4_destroy_sock_kprobe);

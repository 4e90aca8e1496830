//! `tcp_fastopen_active_disable(sk)`, at its entry.
//!
//! **When**: a reset or a FIN came out of order on a connection that has used Fast Open, as from something between the ends;
//! the third timeout in a row has the function inlined.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_fastopen.c, `tcp_fastopen_active_disable()`. **RFC** 7413, 4.1.3.1.

use tcptrace_common::hook::Hook;

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    if !socket::admits(reader, AtWork::Anybody) {
        return;
    }
    if socket::meet(Hook::tcp_fastopen_active_disable, reader).is_some() {
        emit::emit::<R, { Hook::tcp_fastopen_active_disable.slots() }>(
            Hook::tcp_fastopen_active_disable,
            reader,
            [0; 7],
        );
    }
}

on_entry!(tcp_fastopen_active_disable, tcp_fastopen_active_disable_kprobe);

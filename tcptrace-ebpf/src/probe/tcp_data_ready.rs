//! `tcp_data_ready(sk)`, at its entry.
//!
//! **When**: data, or a FIN, is there that a program can read. Told of a connection that was deferred, once.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_data_ready()`.

use tcptrace_common::hook::Hook;

use crate::{emit, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    let Some(state) = socket::expecting_data(reader) else { return };
    socket::expects_data(state, false);
    emit::emit::<R, { Hook::tcp_data_ready.slots() }>(Hook::tcp_data_ready, reader, [0; 7]);
}

on_entry!(tcp_data_ready, tcp_data_ready_kprobe);

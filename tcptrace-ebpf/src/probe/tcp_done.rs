//! `tcp_done(sk)`, at its entry.
//!
//! **When**: the connection is over: reset, aborted, timed out, or handed to a TIME-WAIT minisock. Bytes that still wait
//! never leave.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_done()`.

use tcptrace_common::hook::Hook;

use crate::{emit, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    let Some(state) = socket::ending(Hook::tcp_done, reader) else { return };
    emit::emit::<R, { Hook::tcp_done.slots() }>(Hook::tcp_done, reader, [0; 7]);
    socket::let_go(state);
}

on_entry!(tcp_done, tcp_done_kprobe, gate = socket::end_may_matter);

//! `tcp_write_wakeup(sk, mib)`, at its return.
//!
//! **When**: the peer's window is closed, or the connection is idle, and the peer is asked for an answer: by the next bytes
//! where the window lets some go, otherwise by a segment that carries nothing. Either carries the ACK that is owed.
//! **Context**: softirq, or the release of the socket lock by a task.
//! **Arguments**: the socket; the result is 0 when it left.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_write_wakeup()`. **RFC** 9293 3.8.6.1.

use tcptrace_common::hook::{Hook, ret_of};

use crate::{
    closing, emit,
    read::{Glance, Reader},
    socket,
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if let Some(state) = socket::closing(Hook::tcp_write_wakeup, reader) {
        closing::tell_departure(state, reader);
        let values = [arg(ret_of(2)), 0, 0, 0, 0, 0, 0];
        emit::emit::<R, { Hook::tcp_write_wakeup.slots() }>(Hook::tcp_write_wakeup, reader, values);
    }
}

#[inline(always)]
fn may_matter<A>(sk: Glance, _arg: A) -> bool {
    socket::is_closing(&sk)
}

on_exit!(tcp_write_wakeup, tcp_write_wakeup_kprobe, tcp_write_wakeup_kretprobe, gate = may_matter);

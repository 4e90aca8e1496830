//! `tcp_send_ack(sk)`, at its return.
//!
//! **When**: an ACK leaves by itself: at once, by the delayed-ACK timer, or because a program has read. Not where
//! `tcp_send_delayed_ack()` finds the time up already, and not where the release of the lock sends what a task has put off
//! (from 6.12): the next event of the socket tells that no ACK is owed any more.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_send_ack()`. **RFC** 9293 3.8.6.3.

use tcptrace_common::{hook::Hook, tcp::TCP_CLOSE};

use crate::{
    closing, emit,
    read::{Glance, Reader, Words as _},
    socket,
};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    // In this state it sends nothing.
    if reader.state() == TCP_CLOSE {
        return;
    }
    if let Some(state) = socket::closing(Hook::tcp_send_ack, reader) {
        closing::tell_departure(state, reader);
        emit::emit::<R, { Hook::tcp_send_ack.slots() }>(Hook::tcp_send_ack, reader, [0; 7]);
    }
}

#[inline(always)]
fn may_matter<A>(sk: Glance, _arg: A) -> bool {
    sk.state() != TCP_CLOSE && socket::is_closing(&sk)
}

on_exit!(tcp_send_ack, tcp_send_ack_kprobe, tcp_send_ack_kretprobe, gate = may_matter);

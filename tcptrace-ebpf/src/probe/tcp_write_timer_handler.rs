//! `tcp_write_timer_handler(sk)`, at its entry, while `icsk_pending` still tells which timer it is.
//!
//! **When**: the retransmission, probe, loss-probe or reordering timer ran. A value of 0 is a stale timer (to 6.12).
//! **Context**: softirq, or the release of the socket lock by a task.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_timer.c, `tcp_write_timer_handler()`.

use tcptrace_common::hook::Hook;

use crate::{
    closing, emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    if let Some(state) = socket::wanted(Hook::tcp_write_timer_handler, reader, AtWork::Anybody) {
        closing::tell_departure(state, reader);
        emit::emit::<R, { Hook::tcp_write_timer_handler.slots() }>(
            Hook::tcp_write_timer_handler,
            reader,
            [0; 7],
        );
    }
}

on_entry!(
    tcp_write_timer_handler,
    tcp_write_timer_handler_kprobe,
    gate = crate::socket::may_matter
);

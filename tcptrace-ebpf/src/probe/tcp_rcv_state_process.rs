//! `tcp_rcv_state_process(sk, skb)`, at its entry.
//!
//! **When**: a segment arrived in a state other than established, for instance after our FIN.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the segment.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_rcv_state_process()`.

use tcptrace_common::{hook::Hook, tcp::TCP_LISTEN};

use crate::{
    closing, emit, exchange,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    // A listening socket only passes the segment on to a request.
    if socket::everything() && reader.state() == TCP_LISTEN {
        return;
    }
    if let Some(state) = socket::wanted(Hook::tcp_rcv_state_process, reader, AtWork::Anybody) {
        closing::tell_departure(state, reader);
        emit::emit::<R, { Hook::tcp_rcv_state_process.slots() }>(
            Hook::tcp_rcv_state_process,
            reader,
            [0; 7],
        );
    }
}

on_entry!(
    tcp_rcv_state_process,
    tcp_rcv_state_process_kprobe,
    segment = 1,
    gate = socket::may_matter,
    count = (exchange::may_be_born, exchange::born)
);

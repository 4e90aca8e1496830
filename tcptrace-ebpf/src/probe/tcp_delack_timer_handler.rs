//! `tcp_delack_timer_handler(sk)`, at its entry, while `icsk_ack.pending` still tells what was owed.
//!
//! **When**: the delayed-ACK timer ran. It may be stale: nothing is owed any more, or the time has moved.
//! **Context**: softirq, or the release of the socket lock by a task.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10; from 6.18 on it is not called when nothing is owed.
//! **Kernel**: net/ipv4/tcp_timer.c, `tcp_delack_timer_handler()`.

use tcptrace_common::{field::Field, hook::Hook, tcp::ICSK_ACK_TIMER};

use crate::{
    closing, emit, exchange,
    read::Reader,
    request,
    socket::{self, AtWork},
};

/// The ACK may be what another socket on this host waits for, or that of the peer's FIN.
#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    let matters = socket::everything()
        || socket::some_hold()
        || socket::is_closing(reader)
        || (request::deferring() && socket::withholding(reader).is_some());
    if !matters || !socket::admits(reader, AtWork::Anybody) {
        return;
    }
    let Some(state) = socket::meet(Hook::tcp_delack_timer_handler, reader) else { return };
    if request::deferring() && reader.value(Field::icsk_ack_pending) as u32 & ICSK_ACK_TIMER != 0 {
        socket::opens_by_write(state, false);
    }
    closing::tell_departure(state, reader);
    let (arrived_us, pid, tid) = exchange::receiver(reader);
    emit::emit::<R, { Hook::tcp_delack_timer_handler.slots() }>(
        Hook::tcp_delack_timer_handler,
        reader,
        [arrived_us, pid, tid, 0, 0, 0, 0],
    );
}

on_entry!(tcp_delack_timer_handler, tcp_delack_timer_handler_kprobe);

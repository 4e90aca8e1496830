//! `tcp_write_timer_handler(sk)`, at its entry, while `icsk_pending` still tells which timer it is.
//!
//! **When**: the retransmission, probe, loss-probe or reordering timer ran. A value of 0 is a stale timer (to 6.12).
//! **Context**: softirq, or the release of the socket lock by a task.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_timer.c, `tcp_write_timer_handler()`.

emit_when_wanted!(tcp_write_timer_handler, Anybody);
on_entry!(
    tcp_write_timer_handler,
    tcp_write_timer_handler_kprobe,
    gate = crate::socket::may_matter
);

//! `tcp_send_delayed_ack(sk)`, at its return, when the timer is set.
//!
//! **When**: a segment came in that must be acknowledged, and need not be at once.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_send_delayed_ack()`. **RFC** 9293 3.8.6.3.

emit_when_wanted!(tcp_send_delayed_ack, Anybody);
on_exit!(tcp_send_delayed_ack, tcp_send_delayed_ack_kprobe, tcp_send_delayed_ack_kretprobe);

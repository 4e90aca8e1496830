//! `tcp_reset(sk, skb)`, at its entry.
//!
//! **When**: a reset came in; or data came for a socket that nobody will read, and this host resets it.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the socket; 5.10 has no segment here, and the event of the segment stands before.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_reset()`. **RFC** 9293 3.10.7.4.

emit_when_ending!(tcp_reset, []);
on_entry!(tcp_reset, tcp_reset_kprobe);

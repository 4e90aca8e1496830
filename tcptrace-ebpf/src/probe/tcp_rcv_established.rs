//! `tcp_rcv_established(sk, skb)`, at its entry.
//!
//! **When**: a segment arrived for an established connection; its ACK may let waiting bytes go.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the segment.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_rcv_established()`.

emit_when_wanted!(tcp_rcv_established, Anybody);
on_entry!(tcp_rcv_established, tcp_rcv_established_kprobe, segment = 1);

//! `tcp_finish_connect(sk, skb)`, at its entry.
//!
//! **When**: the SYN-ACK came, and the connection is established from this end: before what it says of Fast Open is looked
//! at, and the only sign of a SYN that had neither its option nor data.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the segment, which is not read.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_finish_connect()`. **RFC** 9293 3.10.7.3.

emit_when_met!(tcp_finish_connect, []);
on_entry!(tcp_finish_connect, tcp_finish_connect_kprobe);

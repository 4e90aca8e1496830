//! `tcp_time_wait(sk, state, timeo)`, at its entry.
//!
//! **When**: a minisock takes the socket's place.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: `state`, FIN-WAIT-2 or TIME-WAIT; `timeo`, how long the minisock may live, jiffies.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_minisocks.c, `tcp_time_wait()`. **RFC** 9293 3.3.2.

emit_when_ending!(tcp_time_wait, [1, 2]);
on_entry!(tcp_time_wait, tcp_time_wait_kprobe);

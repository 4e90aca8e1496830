//! `tcp_send_fin(sk)`, at its entry.
//!
//! **When**: `close()` or `shutdown()` queues a FIN, glued to the last unsent segment where there is one.
//! **Context**: process, socket lock held.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_send_fin()`. **RFC** 9293 3.10.4.

emit_when_wanted!(tcp_send_fin, User);
on_entry!(tcp_send_fin, tcp_send_fin_kprobe);

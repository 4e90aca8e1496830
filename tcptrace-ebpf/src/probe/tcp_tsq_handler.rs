//! `tcp_tsq_handler(sk)`, or `tcp_tsq_write(sk)` where the compiler inlined it, at its entry.
//!
//! **When**: the device has sent enough (TCP small queues), or the pacing timer fired: the socket may send again.
//! **Context**: softirq or workqueue; from 6.18 also the release of the socket lock by a task.
//! **Arguments**: the socket.
//! **Since**: static; `tcp_tsq_handler` to 6.12, `tcp_tsq_write` from 6.18.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_tsq_handler()`, `tcp_tsq_write()`.

emit_while_held!(tcp_tsq_handler);
on_entry!(tcp_tsq_handler, tcp_tsq_handler_kprobe);

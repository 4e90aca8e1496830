//! `tcp_tsq_write(sk)`, at its entry.
//!
//! **When**: the device has sent enough (TCP small queues), or the pacing timer fired: the socket sends again.
//! **Context**: softirq or workqueue, or the release of the socket lock by a task; socket lock held.
//! **Arguments**: the socket.
//! **Since**: static; to 6.12 the compiler splits it, and only the part can be probed, by a kprobe.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_tsq_write()`.

emit_when_let_send!(tcp_tsq_write);
on_entry!(tcp_tsq_write, tcp_tsq_write_kprobe, gate = crate::socket::may_matter);

//! `tcp_sock_set_nodelay(sk)`, at its entry and at its return.
//!
//! **When**: a module that speaks TCP for itself (RDS, sunrpc, nvme-tcp, ceph) connects. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sock_set_nodelay()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_NODELAY};

sets_option!(
    tcp_sock_set_nodelay,
    tcp_sock_set_nodelay_entry,
    tcp_sock_set_nodelay_kprobe,
    tcp_sock_set_nodelay_kretprobe,
    SOL_TCP,
    TCP_NODELAY,
    constant = 1
);

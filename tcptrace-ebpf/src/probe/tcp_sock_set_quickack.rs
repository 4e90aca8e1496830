//! `tcp_sock_set_quickack(sk, val)`, at its entry and at its return.
//!
//! **When**: a module that speaks TCP for itself asks for ACKs at once. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `val` is the value.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sock_set_quickack()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_QUICKACK};

sets_option!(
    tcp_sock_set_quickack,
    tcp_sock_set_quickack_entry,
    tcp_sock_set_quickack_kprobe,
    tcp_sock_set_quickack_kretprobe,
    SOL_TCP,
    TCP_QUICKACK,
    argument = 1
);

//! `tcp_sock_set_cork(sk, on)`, at its entry and at its return.
//!
//! **When**: a module that speaks TCP for itself gathers or lets go. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `on` is the value.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sock_set_cork()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_CORK};

sets_option!(
    tcp_sock_set_cork,
    tcp_sock_set_cork_entry,
    tcp_sock_set_cork_kprobe,
    tcp_sock_set_cork_kretprobe,
    SOL_TCP,
    TCP_CORK,
    argument = 1
);

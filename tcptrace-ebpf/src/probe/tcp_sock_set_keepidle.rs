//! `tcp_sock_set_keepidle(sk, val)`, at its entry and at its return.
//!
//! **When**: a module that speaks TCP for itself connects. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `val` is the value. The result is 0 or an error.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sock_set_keepidle()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_KEEPIDLE};

sets_option!(
    tcp_sock_set_keepidle,
    tcp_sock_set_keepidle_entry,
    tcp_sock_set_keepidle_kprobe,
    tcp_sock_set_keepidle_kretprobe,
    SOL_TCP,
    TCP_KEEPIDLE,
    argument = 1,
    ret = 2
);

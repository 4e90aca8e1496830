//! `tcp_sock_set_keepintvl(sk, val)`, at its entry and at its return.
//!
//! **When**: a module that speaks TCP for itself connects. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `val` is the value. The result is 0 or an error.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sock_set_keepintvl()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_KEEPINTVL};

sets_option!(
    tcp_sock_set_keepintvl,
    tcp_sock_set_keepintvl_entry,
    tcp_sock_set_keepintvl_kprobe,
    tcp_sock_set_keepintvl_kretprobe,
    SOL_TCP,
    TCP_KEEPINTVL,
    argument = 1,
    ret = 2
);

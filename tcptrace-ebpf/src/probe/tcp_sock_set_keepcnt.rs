//! `tcp_sock_set_keepcnt(sk, val)`, at its entry and at its return.
//!
//! **When**: a module that speaks TCP for itself connects. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `val` is the value. The result is 0 or an error.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sock_set_keepcnt()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_KEEPCNT};

sets_option!(
    tcp_sock_set_keepcnt,
    tcp_sock_set_keepcnt_entry,
    tcp_sock_set_keepcnt_kprobe,
    tcp_sock_set_keepcnt_kretprobe,
    SOL_TCP,
    TCP_KEEPCNT,
    argument = 1,
    ret = 2
);

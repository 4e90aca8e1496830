//! `tcp_sock_set_syncnt(sk, val)`, at its entry and at its return.
//!
//! **When**: a module that speaks TCP for itself connects. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `val` is the value. The result is 0 or an error.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sock_set_syncnt()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_SYNCNT};

sets_option!(
    tcp_sock_set_syncnt,
    tcp_sock_set_syncnt_entry,
    tcp_sock_set_syncnt_kprobe,
    tcp_sock_set_syncnt_kretprobe,
    SOL_TCP,
    TCP_SYNCNT,
    argument = 1,
    ret = 2
);

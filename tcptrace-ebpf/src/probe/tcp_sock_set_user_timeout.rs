//! `tcp_sock_set_user_timeout(sk, val)`, at its entry and at its return.
//!
//! **When**: a module that speaks TCP for itself connects. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `val` is the value.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sock_set_user_timeout()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_USER_TIMEOUT};

sets_option!(
    tcp_sock_set_user_timeout,
    tcp_sock_set_user_timeout_entry,
    tcp_sock_set_user_timeout_kprobe,
    tcp_sock_set_user_timeout_kretprobe,
    SOL_TCP,
    TCP_USER_TIMEOUT,
    argument = 1
);

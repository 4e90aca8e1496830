//! `__tcp_sock_set_nodelay(sk, on)`, at its entry and at its return.
//!
//! **When**: Multipath TCP hands an option on to a subflow; it is the body of `tcp_sock_set_nodelay()` too. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `on` is the value.
//! **Since**: global from 6.1; on 5.10 no more than a part of it is a function.
//! **Kernel**: net/ipv4/tcp.c, `__tcp_sock_set_nodelay()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_NODELAY};

sets_option!(
    __tcp_sock_set_nodelay,
    __tcp_sock_set_nodelay_entry,
    __tcp_sock_set_nodelay_kprobe,
    __tcp_sock_set_nodelay_kretprobe,
    SOL_TCP,
    TCP_NODELAY,
    argument = 1
);

//! `sock_set_keepalive(sk)`, at its entry and at its return.
//!
//! **When**: a module that has a socket for itself connects; sockets of other protocols pass here too. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/core/sock.c, `sock_set_keepalive()`.

use tcptrace_common::sockopt::{SO_KEEPALIVE, SOL_SOCKET};

sets_option!(
    sock_set_keepalive,
    sock_set_keepalive_entry,
    sock_set_keepalive_kprobe,
    sock_set_keepalive_kretprobe,
    SOL_SOCKET,
    SO_KEEPALIVE,
    constant = 1
);

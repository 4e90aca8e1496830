//! `sock_no_linger(sk)`, at its entry and at its return.
//!
//! **When**: a module that has a socket for itself connects; sockets of other protocols pass here too. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/core/sock.c, `sock_no_linger()`.

use tcptrace_common::sockopt::{SO_LINGER, SOL_SOCKET};

sets_option!(
    sock_no_linger,
    sock_no_linger_entry,
    sock_no_linger_kprobe,
    sock_no_linger_kretprobe,
    SOL_SOCKET,
    SO_LINGER,
    constant = 1
);

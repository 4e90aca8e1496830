//! `tcp_set_congestion_control(sk, name, load, cap_net_admin)`, at its entry and at its return.
//!
//! **When**: Multipath TCP hands an option on to a subflow; the other ways to set it pass here too. Not told while the same task sets an option of the same socket by a system call.
//! **Context**: process or work queue.
//! **Arguments**: the socket; `name` is not read. The result is 0 or an error.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_cong.c, `tcp_set_congestion_control()`.

use tcptrace_common::tcp::{SOL_TCP, TCP_CONGESTION};

sets_option!(
    tcp_set_congestion_control,
    tcp_set_congestion_control_entry,
    tcp_set_congestion_control_kprobe,
    tcp_set_congestion_control_kretprobe,
    SOL_TCP,
    TCP_CONGESTION,
    name,
    ret = 4
);

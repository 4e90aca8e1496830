//! `tcp_fastopen_cache_set(sk, mss, cookie, syn_lost, try_exp)`, at its entry.
//!
//! **When**: the SYN-ACK for a SYN with the option of Fast Open, or with data, is processed. `snd_una` counts already what it
//! acknowledges, and what it did not is not yet on its way again.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: `cookie` of the SYN-ACK; `syn_lost`, the SYN with data was lost; `try_exp`, which option to use next time.
//! **Since**: global on all kernels from 5.10. `tcp_rcv_fastopen_synack()`, which calls it, is inlined on all.
//! **Kernel**: net/ipv4/tcp_metrics.c, `tcp_fastopen_cache_set()`. **RFC** 7413, 4.1.3.

use tcptrace_common::hook::Hook;

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

/// One that was not met has sent its SYN before the probes were there.
#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if !socket::admits(reader, AtWork::Anybody) {
        return;
    }
    if socket::meet(Hook::tcp_fastopen_cache_set, reader).is_some() {
        emit::emit::<R, { Hook::tcp_fastopen_cache_set.slots() }>(
            Hook::tcp_fastopen_cache_set,
            reader,
            [arg(3) & 0xff, arg(4) & 0xffff, 0, 0, 0, 0, 0],
        );
    }
}

on_entry!(tcp_fastopen_cache_set, tcp_fastopen_cache_set_kprobe, segment = 2);

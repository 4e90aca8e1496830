//! `tcp_fastopen_active_detect_blackhole(sk, expired)`, at its entry.
//!
//! **When**: a retransmission timer ran, of any socket; the third in a row of one that has used Fast Open pauses it for all
//! clients of the network namespace, where the sysctl says for how long.
//! **Context**: softirq, socket lock held.
//! **Arguments**: `expired`, the kernel gives the connection up.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_fastopen.c, `tcp_fastopen_active_detect_blackhole()`. **RFC** 7413, 4.1.3.1.

use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    let used = reader.value(Field::syn_data)
        | reader.value(Field::syn_fastopen)
        | reader.value(Field::syn_data_acked);
    if used == 0 || !socket::admits(reader, AtWork::Anybody) {
        return;
    }
    if socket::meet(Hook::tcp_fastopen_active_detect_blackhole, reader).is_some() {
        emit::emit::<R, { Hook::tcp_fastopen_active_detect_blackhole.slots() }>(
            Hook::tcp_fastopen_active_detect_blackhole,
            reader,
            [arg(1) & 0xff, 0, 0, 0, 0, 0, 0],
        );
    }
}

on_entry!(tcp_fastopen_active_detect_blackhole, tcp_fastopen_active_detect_blackhole_kprobe);

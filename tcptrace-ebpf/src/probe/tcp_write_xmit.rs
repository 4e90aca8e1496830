//! `tcp_write_xmit(sk, mss_now, nonagle, push_one, gfp)`, at its return.
//!
//! **When**: an attempt to send what is queued has ended, from whatever caused it.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: `mss_now`, `nonagle` (the value that decides, not the socket's own), `push_one`; result: nothing is in
//! flight and nothing could be sent.
//! **Since**: static on all kernels from 5.10, never inlined.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_write_xmit()`.

use tcptrace_common::hook::{Hook, ret_of};

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if socket::wanted(Hook::tcp_write_xmit, reader, AtWork::Anybody).is_some()
        && (socket::everything() || socket::waiting(reader) != 0)
    {
        let values = [arg(1), arg(2), arg(3), arg(ret_of(5))];
        emit::emit::<R, { Hook::tcp_write_xmit.slots() }>(Hook::tcp_write_xmit, reader, values);
    }
}

on_exit!(tcp_write_xmit, tcp_write_xmit_kprobe, tcp_write_xmit_kretprobe);

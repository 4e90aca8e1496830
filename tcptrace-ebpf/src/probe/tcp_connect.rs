//! `tcp_connect(sk)`, at its return.
//!
//! **When**: the SYN has left. Told only when a write opens the connection itself (Fast Open), which sleeps next, unless
//! it would not wait.
//! **Context**: process, socket lock held; the write lets go of the lock while it sleeps.
//! **Arguments**: none but the socket; the result is not 0 when there was no memory for the SYN.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_connect()`; the sleep is in `__inet_stream_connect()`.
//! **RFC**: 7413, 4.2.

use tcptrace_common::{
    field::Field,
    hook::{Hook, ret_of},
};

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    let ret = arg(ret_of(1));
    if socket::opens() {
        fastopen(reader, ret);
    }
    // `connect()` asks for a cookie by the same request, with nothing to give.
    if ret != 0
        || reader.followed_value(Field::fastopen_size) == 0
        || !socket::admits(reader, AtWork::User)
    {
        return;
    }
    let Some(state) = socket::meet(Hook::tcp_connect, reader) else { return };
    socket::fall_asleep(state, reader);
    emit::emit::<R, { Hook::tcp_connect.slots() }>(
        Hook::tcp_connect,
        reader,
        [ret, 0, 0, 0, 0, 0, 0],
    );
}

/// Of a SYN that `tcp_fastopen_cookie_check()` was asked about: the socket was met there.
#[inline(always)]
fn fastopen<R: Reader>(reader: &R, ret: u32) {
    if !socket::is_asking(reader) {
        return;
    }
    let Some(state) = socket::met(reader) else { return };
    socket::opens_by_write(state, true);
    emit::emit::<R, { Hook::fastopen_syn.slots() }>(
        Hook::fastopen_syn,
        reader,
        [ret, 0, 0, 0, 0, 0, 0],
    );
}

on_exit!(tcp_connect, tcp_connect_kprobe, tcp_connect_kretprobe);

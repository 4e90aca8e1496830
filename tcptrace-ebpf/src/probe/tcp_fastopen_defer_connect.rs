//! `tcp_fastopen_defer_connect(sk, err)`, at its return.
//!
//! **When**: `connect()` of any socket. With `TCP_FASTOPEN_CONNECT` and a cookie, or where none is needed, it returns at
//! once, and the first write sends the SYN.
//! **Context**: process, socket lock held.
//! **Arguments**: none but the socket; result: 1 when the SYN is put off.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_fastopen.c, `tcp_fastopen_defer_connect()`. **RFC** 7413, 4.2.

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
    if reader.value(Field::fastopen_connect) == 0 || !socket::admits(reader, AtWork::User) {
        return;
    }
    if socket::meet(Hook::tcp_fastopen_defer_connect, reader).is_some() {
        emit::emit::<R, { Hook::tcp_fastopen_defer_connect.slots() }>(
            Hook::tcp_fastopen_defer_connect,
            reader,
            [arg(ret_of(2)), 0, 0, 0, 0, 0, 0],
        );
    }
}

on_exit!(
    tcp_fastopen_defer_connect,
    tcp_fastopen_defer_connect_kprobe,
    tcp_fastopen_defer_connect_kretprobe
);

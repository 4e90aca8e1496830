//! `tcp_fastopen_cookie_check(sk, mss, cookie)`, at its return.
//!
//! **When**: a connection is to be opened with Fast Open; with `TCP_FASTOPEN_CONNECT` a second time when the SYN leaves.
//! **Context**: process, socket lock held.
//! **Arguments**: `cookie`, filled in; result: 1 when data may go in the SYN.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_fastopen.c, `tcp_fastopen_cookie_check()`. **RFC** 7413, 4.1.3.

use tcptrace_common::hook::{Hook, ret_of};

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if !socket::admits(reader, AtWork::User) {
        return;
    }
    let Some(state) = socket::meet(Hook::tcp_fastopen_cookie_check, reader) else { return };
    socket::asks(state);
    emit::emit::<R, { Hook::tcp_fastopen_cookie_check.slots() }>(
        Hook::tcp_fastopen_cookie_check,
        reader,
        [arg(ret_of(3)), 0, 0, 0, 0, 0, 0],
    );
}

on_exit!(
    tcp_fastopen_cookie_check,
    tcp_fastopen_cookie_check_kprobe,
    tcp_fastopen_cookie_check_kretprobe,
    segment = 2
);

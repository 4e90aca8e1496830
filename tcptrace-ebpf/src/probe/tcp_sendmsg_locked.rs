//! `tcp_sendmsg_locked(sk, msg, size)`, at its return.
//!
//! **When**: a write call ends: write, writev, send, sendmsg, and from 6.5 sendfile and splice.
//! **Context**: process, socket lock held at its ends; it can sleep in between.
//! **Arguments**: `size`, bytes given; result: bytes taken, or a negative error.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sendmsg_locked()`.

use tcptrace_common::hook::{Hook, ret_of};

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if let Some(state) = socket::wanted(Hook::tcp_sendmsg_locked, reader, AtWork::User) {
        let values = [arg(2), arg(ret_of(3)), 0, 0];
        emit::emit::<R, { Hook::tcp_sendmsg_locked.slots() }>(
            Hook::tcp_sendmsg_locked,
            reader,
            values,
        );
        socket::let_go_if_idle(state, reader);
    }
}

on_exit!(tcp_sendmsg_locked, tcp_sendmsg_locked_kprobe, tcp_sendmsg_locked_kretprobe);

//! `do_tcp_sendpages(sk, page, offset, size, flags)`, at its return.
//!
//! **When**: sendfile, splice or an in-kernel sender has given TCP a page.
//! **Context**: process, socket lock held at its ends; it can sleep in between.
//! **Arguments**: `size`, bytes given; `flags` (MSG_MORE, MSG_SENDPAGE_NOTLAST); result: bytes taken, or a negative error.
//! **Since**: global on 5.10 to 6.4; from 6.5 on `tcp_sendmsg_locked()` takes pages too.
//! **Kernel**: net/ipv4/tcp.c, `do_tcp_sendpages()`.

use tcptrace_common::hook::{Hook, ret_of};

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if let Some(state) = socket::wanted(Hook::do_tcp_sendpages, reader, AtWork::User) {
        let values = [arg(3), arg(4), arg(ret_of(5)), 0];
        emit::emit::<R, { Hook::do_tcp_sendpages.slots() }>(Hook::do_tcp_sendpages, reader, values);
        socket::let_go_if_idle(state, reader);
    }
}

on_exit!(do_tcp_sendpages, do_tcp_sendpages_kprobe, do_tcp_sendpages_kretprobe);

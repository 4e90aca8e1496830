//! `tcp_sendmsg_locked(sk, msg, size)`, at its return.
//!
//! **When**: a write call ends: write, writev, send, sendmsg, and from 6.5 sendfile and splice.
//! **Context**: process, socket lock held at its ends; it can sleep in between.
//! **Arguments**: the message, of which flags and the length of the address are read; `size`, bytes given; result: bytes taken, or a negative error.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_sendmsg_locked()`.

use tcptrace_common::{
    field::Field,
    hook::{Hook, ret_of},
    tcp::{EINPROGRESS, MSG_FASTOPEN},
};

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if socket::opens() {
        fastopen(reader, arg(2), arg(ret_of(3)));
    }
    if let Some(state) = socket::wanted(Hook::tcp_sendmsg_locked, reader, AtWork::User) {
        let values = [arg(2), arg(ret_of(3)), 0, 0, 0, 0, 0];
        emit::emit::<R, { Hook::tcp_sendmsg_locked.slots() }>(
            Hook::tcp_sendmsg_locked,
            reader,
            values,
        );
        socket::let_go_if_idle(state, reader);
    }
}

/// A write that asks for Fast Open, and one that follows its SYN, up to the first that does more than begin to connect.
#[inline(always)]
fn fastopen<R: Reader>(reader: &R, size: u32, ret: u32) {
    let flags = reader.value(Field::msg_flags) as u32;
    let opening = socket::is_opening(reader);
    if (!opening && flags & MSG_FASTOPEN == 0) || !socket::admits(reader, AtWork::User) {
        return;
    }
    let Some(state) = socket::meet(Hook::fastopen_write, reader) else { return };
    if opening && ret != EINPROGRESS.wrapping_neg() {
        socket::opens_by_write(state, false);
    }
    let namelen = reader.value(Field::msg_namelen) as u32;
    emit::emit::<R, { Hook::fastopen_write.slots() }>(
        Hook::fastopen_write,
        reader,
        [size, ret, flags, namelen, 0, 0, 0],
    );
}

on_exit!(
    tcp_sendmsg_locked,
    tcp_sendmsg_locked_kprobe,
    tcp_sendmsg_locked_kretprobe,
    segment = 1,
    gate = socket::write_may_matter
);

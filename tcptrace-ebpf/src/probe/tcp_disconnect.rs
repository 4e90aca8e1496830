//! `tcp_disconnect(sk, flags)`, at its entry.
//!
//! **When**: a connection ends without a FIN: `connect(AF_UNSPEC)`, `close()` under `SO_LINGER` with no time, or the end of a
//! listener with this connection in its accept queue (`inet_csk_listen_stop()`, `inet_child_forget()`).
//! **Context**: process, socket lock held.
//! **Arguments**: none is read.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_disconnect()`. **RFC** 9293 3.10.5.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{TCP_CLOSE, TCP_LISTEN},
};

use crate::{closing, emit, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    if matches!(reader.state(), TCP_LISTEN | TCP_CLOSE) {
        return;
    }
    if let Some(state) = socket::claimed(Hook::tcp_disconnect, reader) {
        closing::tell_departure(state, reader);
        // accept() gives a connection its `struct socket`.
        let accepted = reader.is_set(Field::sk_socket);
        let values = [accepted, 0, 0, 0, 0, 0, 0];
        emit::emit::<R, { Hook::tcp_disconnect.slots() }>(Hook::tcp_disconnect, reader, values);
    }
}

on_entry!(tcp_disconnect, tcp_disconnect_kprobe);

//! `__tcp_close(sk, timeout)`, at its entry.
//!
//! **When**: a program closes the last descriptor of its socket, or ends.
//! **Context**: process, socket lock held.
//! **Arguments**: how long a lingering close may sleep, which is not read.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `__tcp_close()`. **RFC** 9293 3.10.4.

use tcptrace_common::{
    hook::Hook,
    tcp::{TCP_CLOSE, TCP_LISTEN},
};

use crate::{closing, emit, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    let state = reader.state();
    // One that listens has no connection, and neither has one that never had or whose end was told.
    if state == TCP_LISTEN || (state == TCP_CLOSE && socket::met(reader).is_none()) {
        return;
    }
    if let Some(state) = socket::claimed(Hook::__tcp_close, reader) {
        closing::tell_departure(state, reader);
        emit::emit::<R, { Hook::__tcp_close.slots() }>(Hook::__tcp_close, reader, [0; 7]);
    }
}

on_entry!(__tcp_close, __tcp_close_kprobe);

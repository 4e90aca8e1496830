//! `do_tcp_setsockopt(sk, level, optname, optval, optlen)`, at its entry.
//!
//! **When**: an application, or BPF, sets an option of level `SOL_TCP`; `optval` is a struct passed by value.
//! **Context**: process, before the socket lock is taken: other events of the socket can come between.
//! **Arguments**: `level`, `optname`. The value is read from the socket afterwards.
//! **Since**: global from 6.1. Inlined into `tcp_setsockopt()` on 5.10, where the kprobe sits on that, and the tracing
//! form on `security_socket_setsockopt()`, because tracing programs are refused on a struct by value there.
//! **Kernel**: net/ipv4/tcp.c, `do_tcp_setsockopt()`.

use tcptrace_common::{
    hook::Hook,
    tcp::{SOL_TCP, TCP_CORK, TCP_NODELAY},
};

use crate::{emit, read::Reader, socket};

/// Emits an event for the options that say when bytes may leave; for every option when everything is wanted.
#[inline(always)]
pub(super) fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    let (level, optname) = (arg(1), arg(2));
    let says_when = optname == TCP_NODELAY || optname == TCP_CORK;
    if level != SOL_TCP || !(says_when || socket::everything()) {
        return;
    }
    if !socket::passes(reader) || (!socket::task_passes() && socket::met(reader).is_none()) {
        return;
    }
    if socket::meet(Hook::do_tcp_setsockopt, reader).is_some() {
        let values = [level, optname, 0, 0];
        emit::emit::<R, { Hook::do_tcp_setsockopt.slots() }>(
            Hook::do_tcp_setsockopt,
            reader,
            values,
        );
    }
}

on_entry!(do_tcp_setsockopt, do_tcp_setsockopt_kprobe);

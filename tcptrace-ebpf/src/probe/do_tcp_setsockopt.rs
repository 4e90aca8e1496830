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
    tcp::{
        SOL_TCP, TCP_CORK, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE, TCP_NODELAY,
    },
};

use crate::{
    emit, filter,
    read::{Glance, Reader},
    socket::{self, AtWork},
};

/// Emits an event for the options that say when bytes may leave; for every option when everything is wanted.
#[inline(always)]
pub(super) fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    let (level, optname) = (arg(1), arg(2));
    if fastopen_matters(level, optname) {
        fastopen(reader, optname);
    }
    if !matters(level, optname) {
        return;
    }
    if !filter::passes(reader) || (!filter::task_passes() && socket::met(reader).is_none()) {
        return;
    }
    if socket::meet(Hook::do_tcp_setsockopt, reader).is_some() {
        let values = [level, optname, 0, 0, 0, 0, 0];
        emit::emit::<R, { Hook::do_tcp_setsockopt.slots() }>(
            Hook::do_tcp_setsockopt,
            reader,
            values,
        );
    }
}

#[inline(always)]
fn matters(level: u32, optname: u32) -> bool {
    let says_when = optname == TCP_NODELAY || optname == TCP_CORK;
    level == SOL_TCP && (says_when || socket::everything())
}

/// The options of Fast Open.
#[inline(always)]
fn fastopen_matters(level: u32, optname: u32) -> bool {
    let asks = optname == TCP_FASTOPEN
        || optname == TCP_FASTOPEN_CONNECT
        || optname == TCP_FASTOPEN_NO_COOKIE;
    socket::opens() && level == SOL_TCP && asks
}

#[inline(always)]
fn fastopen<R: Reader>(reader: &R, optname: u32) {
    if !socket::admits(reader, AtWork::User) {
        return;
    }
    if socket::meet(Hook::fastopen_option, reader).is_some() {
        emit::emit::<R, { Hook::fastopen_option.slots() }>(
            Hook::fastopen_option,
            reader,
            [optname, 0, 0, 0, 0, 0, 0],
        );
    }
}

#[inline(always)]
fn option_matters(_sk: Glance, arg: impl Fn(usize) -> u32) -> bool {
    let (level, optname) = (arg(1), arg(2));
    matters(level, optname) || fastopen_matters(level, optname)
}

on_entry!(do_tcp_setsockopt, do_tcp_setsockopt_kprobe, gate = option_matters);

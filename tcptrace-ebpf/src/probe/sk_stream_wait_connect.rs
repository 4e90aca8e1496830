//! `sk_stream_wait_connect(sk, timeo_p)`, at its entry.
//!
//! **When**: a write came before the connection was established and is about to sleep, or to say `EAGAIN`.
//! **Context**: process, socket lock held; it lets go of the lock while it sleeps.
//! **Arguments**: how long it may sleep, which is not read.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/core/stream.c, `sk_stream_wait_connect()`.

use tcptrace_common::hook::Hook;

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
};

/// The socket counts as one that holds bytes from here on: those that the call has still to give.
#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    if !socket::admits(reader, AtWork::User) {
        return;
    }
    let Some(state) = socket::meet(Hook::sk_stream_wait_connect, reader) else { return };
    socket::fall_asleep(state, reader);
    emit::emit::<R, { Hook::sk_stream_wait_connect.slots() }>(
        Hook::sk_stream_wait_connect,
        reader,
        [0; 4],
    );
}

on_entry!(sk_stream_wait_connect, sk_stream_wait_connect_kprobe);

//! `sk_stream_wait_memory(sk, timeo_p)`, at its entry.
//!
//! **When**: a write has filled the send buffer and is about to sleep, or to say `EAGAIN`.
//! **Context**: process, socket lock held; it lets go of the lock while it sleeps.
//! **Arguments**: how long it may sleep, which is not read.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/core/stream.c, `sk_stream_wait_memory()`.

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
    let Some(state) = socket::meet(Hook::sk_stream_wait_memory, reader) else { return };
    socket::fall_asleep(state, reader);
    emit::emit::<R, { Hook::sk_stream_wait_memory.slots() }>(
        Hook::sk_stream_wait_memory,
        reader,
        [0; 4],
    );
}

on_entry!(sk_stream_wait_memory, sk_stream_wait_memory_kprobe);

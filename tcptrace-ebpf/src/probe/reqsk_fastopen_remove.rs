//! `reqsk_fastopen_remove(sk, req, reset)`, at its entry.
//!
//! **When**: a socket that Fast Open has made is no request any more, and its place in the queue is free: its handshake is
//! complete, it was reset, it timed out or it was closed.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: the socket that was made; `req`, of which is read whether a program has accepted it; `reset`, a reset came.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/core/request_sock.c, `reqsk_fastopen_remove()`. **RFC** 7413, 5.1.

use tcptrace_common::{field::Field, hook::Hook};

use crate::{emit, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if socket::met(reader).is_none() {
        return;
    }
    let accepted = reader.is_set(Field::req_sk) ^ 1;
    emit::emit::<R, { Hook::reqsk_fastopen_remove.slots() }>(
        Hook::reqsk_fastopen_remove,
        reader,
        [arg(2) & 0xff, accepted, 0, 0, 0, 0, 0],
    );
}

on_entry!(reqsk_fastopen_remove, reqsk_fastopen_remove_kprobe, segment = 1);

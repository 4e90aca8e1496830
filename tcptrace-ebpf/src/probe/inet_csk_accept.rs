//! `inet_csk_accept(sk, ...)`, at its entry.
//!
//! **When**: a program asks a socket that listens for a connection. Told once of each such socket, and only where some tasks
//! are asked for: the SYNs that come for it are those tasks' from then on.
//! **Context**: process.
//! **Arguments**: none but the socket; the others differ between kernels.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/inet_connection_sock.c, `inet_csk_accept()`.

use tcptrace_common::hook::Hook;

use crate::{emit, filter, read::Reader, socket};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    let is_new = filter::tasks_matter() && socket::met(reader).is_none();
    if !is_new || !filter::listener_passes(reader) || !filter::task_passes() {
        return;
    }
    if socket::meet(Hook::inet_csk_accept, reader).is_some() {
        emit::emit::<R, { Hook::inet_csk_accept.slots() }>(Hook::inet_csk_accept, reader, [0; 7]);
    }
}

on_entry!(inet_csk_accept, inet_csk_accept_kprobe);

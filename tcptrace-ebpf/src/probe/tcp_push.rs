//! `tcp_push(sk, flags, mss_now, nonagle, size_goal)`, at its return.
//!
//! **When**: a write call has queued its bytes, or is about to sleep for buffer space.
//! **Context**: process, socket lock held; MPTCP also calls it from its worker.
//! **Arguments**: `flags` (MSG_MORE), `mss_now`, `nonagle` (what the caller wants; MSG_MORE overrides it), `size_goal`.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_push()`.

use tcptrace_common::{hook::Hook, tcp::TCP_CLOSE};

use crate::{
    emit,
    read::Reader,
    socket::{self, AtWork},
    stack,
};

const SLOTS: usize = Hook::tcp_push.slots();

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    if !socket::passes(reader) {
        return;
    }
    let values = || [arg(1), arg(2), arg(3), arg(4)];
    // A writer that slept through a reset still ends with a push: the queue is empty then, whatever the numbers say.
    if socket::waiting(reader) == 0 || socket::state(reader) == TCP_CLOSE {
        if let Some(state) = socket::wanted(Hook::tcp_push, reader, AtWork::User) {
            emit::emit::<R, SLOTS>(Hook::tcp_push, reader, values());
            socket::let_go(state);
        }
        return;
    }
    if !socket::task_passes() {
        let known = if socket::everything() { socket::met(reader) } else { socket::held(reader) };
        if known.is_none() {
            return;
        }
    }
    let Some(state) = socket::meet(Hook::tcp_push, reader) else { return };
    socket::hold(state, reader);
    if emit::emit::<R, SLOTS>(Hook::tcp_push, reader, values()) && stack::wanted() {
        let values = [arg(stack::OF_CALLER), 0, 0, 0];
        emit::emit::<R, { Hook::user_stack.slots() }>(Hook::user_stack, reader, values);
    }
}

on_exit!(tcp_push, tcp_push_kprobe, tcp_push_kretprobe);

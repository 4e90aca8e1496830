//! `tcp_push(sk, flags, mss_now, nonagle, size_goal)`, at its return.
//!
//! **When**: a write call has queued its bytes, or is about to sleep for buffer space.
//! **Context**: process, socket lock held; MPTCP also calls it from its worker.
//! **Arguments**: `flags` (MSG_MORE), `mss_now`, `nonagle` (what the caller wants; MSG_MORE overrides it), `size_goal`.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp.c, `tcp_push()`.

use tcptrace_common::{hook::Hook, tcp::TCP_CLOSE};

use crate::{
    emit, exchange, filter,
    read::{Glance, Reader},
    socket::{self, AtWork, State},
    stack,
};

const SLOTS: usize = Hook::tcp_push.slots();

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    // A writer that slept through a reset still ends with a push: the queue is empty then, whatever the numbers say.
    let left = socket::waiting(reader) != 0 && reader.state() != TCP_CLOSE;
    let known = if left { behind(reader) } else { done(reader) };
    let Some(state) = known else { return };
    if left {
        socket::hold(state, reader);
    }
    let [turn, part, from_start] = exchange::at_hand(reader);
    let values = [arg(1), arg(2), arg(3), arg(4), turn, part, from_start];
    let told = emit::emit::<R, SLOTS>(Hook::tcp_push, reader, values);
    if !left {
        socket::let_go(state);
    } else if told && stack::wanted() {
        let values = [arg(stack::OF_CALLER), 0, 0, 0, 0, 0, 0];
        emit::emit::<R, { Hook::user_stack.slots() }>(Hook::user_stack, reader, values);
    }
}

/// The state of a socket on which a write has left bytes.
#[inline(always)]
fn behind<R: Reader>(reader: &R) -> Option<*mut State> {
    if !filter::passes(reader) {
        return None;
    }
    if !filter::task_passes() {
        if socket::everything() { socket::met(reader) } else { socket::held(reader) }?;
    }
    socket::meet(Hook::tcp_push, reader)
}

/// The state of a socket on which all has left.
#[inline(always)]
fn done<R: Reader>(reader: &R) -> Option<*mut State> {
    let state = socket::wanted(Hook::tcp_push, reader, AtWork::User)?;
    if filter::passes(reader) { Some(state) } else { None }
}

/// Whether the ports may be asked for, and the write has left bytes or the socket may hold some.
#[inline(always)]
fn may_matter<A>(sk: Glance, arg: A) -> bool {
    (exchange::tells_foreign() || filter::ports_may_pass(sk))
        && (sk.waits() || socket::may_matter(sk, arg))
}

on_exit!(
    tcp_push,
    tcp_push_kprobe,
    tcp_push_kretprobe,
    gate = may_matter,
    count = (exchange::wrote_again, exchange::wrote)
);

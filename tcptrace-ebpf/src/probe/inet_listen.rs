//! `inet_listen(sock, backlog)`, at its return.
//!
//! **When**: a socket listens from now on, or has another backlog. Told where it has `TCP_DEFER_ACCEPT`.
//! **Context**: process, no lock held.
//! **Arguments**: the socket by its `struct socket`, and `backlog`.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/af_inet.c, `inet_listen()`.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit, frame,
    read::{self, Helper, Reader, Typed},
    request,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, backlog: u32, ret: u32) {
    if !request::defers(reader) || !socket::admits(reader, AtWork::User) {
        return;
    }
    if socket::meet(Hook::inet_listen, reader).is_some() {
        emit::emit::<R, { Hook::inet_listen.slots() }>(
            Hook::inet_listen,
            reader,
            [backlog, ret, 0, 0, 0, 0, 0],
        );
    }
}

#[fexit]
pub fn inet_listen(ctx: FExitContext) -> i32 {
    log_run!(&ctx, inet_listen);
    let Some(sk) = read::follow(ctx.arg(0), Field::socket_sk) else { return 0 };
    if let Some(reader) = Typed::new(sk, core::ptr::null()) {
        body(&reader, ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32);
    }
    0
}

#[kprobe]
pub fn inet_listen_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::inet_listen)
}

#[kretprobe]
pub fn inet_listen_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, inet_listen_kretprobe);
    let Some(([sock, backlog, ..], ret)) = frame::leave(&ctx, Hook::inet_listen) else { return 0 };
    let socket = Helper::new(sock, sock);
    if let Some(reader) = socket.and_then(|it| Helper::new(it.value(Field::socket_sk), 0)) {
        body(&reader, backlog as u32, ret as u32);
    }
    0
}

//! `sock_common_setsockopt(sock, level, optname, optval, optlen)`, at its return.
//!
//! **When**: an application has set an option of a level below that of sockets. Told of `TCP_DEFER_ACCEPT`.
//! **Context**: process, no lock held.
//! **Arguments**: the socket by its `struct socket`, `level`, `optname`, and where the value lies: a struct passed by value,
//! which takes two places and which tracing programs are refused on before 6.1. The value is read after the kernel has read it.
//! There `__sys_setsockopt(fd, level, optname, optval, optlen)` stands in, whose socket a program at the entry of
//! `security_socket_setsockopt()` keeps by thread.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/core/sock.c, `sock_common_setsockopt()`.

use aya_ebpf::{
    helpers::generated::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{SOL_TCP, TCP_DEFER_ACCEPT},
};

use crate::{
    emit, frame,
    maps::SETTING,
    read::{self, Helper, Reader, Typed},
    socket::{self, AtWork},
};

#[inline(always)]
fn matters(level: u32, optname: u32) -> bool {
    level == SOL_TCP && optname == TCP_DEFER_ACCEPT
}

#[inline(always)]
fn body<R: Reader>(reader: &R, optval: u64, is_kernel: bool, ret: u32) {
    if !socket::admits(reader, AtWork::User) {
        return;
    }
    let asked = if is_kernel { None } else { read::given_number(optval) };
    let (asked_s, is_read) = match asked {
        Some(asked_s) => (asked_s, 1),
        None => (0, 0),
    };
    if socket::meet(Hook::sock_common_setsockopt, reader).is_some() {
        emit::emit::<R, { Hook::sock_common_setsockopt.slots() }>(
            Hook::sock_common_setsockopt,
            reader,
            [SOL_TCP, TCP_DEFER_ACCEPT, ret, asked_s, is_read, 0, 0],
        );
    }
}

#[fexit]
pub fn sock_common_setsockopt(ctx: FExitContext) -> i32 {
    log_run!(&ctx, sock_common_setsockopt);
    if !matters(ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32) {
        return 0;
    }
    let Some(sk) = read::follow(ctx.arg(0), Field::socket_sk) else { return 0 };
    if let Some(reader) = Typed::new(sk, core::ptr::null()) {
        body(&reader, ctx.arg(3), ctx.arg::<u64>(4) & 1 == 1, ctx.arg::<u64>(6) as u32);
    }
    0
}

/// The thread at work.
#[inline(always)]
fn thread() -> u32 {
    // SAFETY: the helper has no argument.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

#[fentry]
pub fn setsockopt_entry(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, setsockopt_entry);
    if !matters(ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32) {
        return 0;
    }
    let Some(sk) = read::follow(ctx.arg(0), Field::socket_sk) else { return 0 };
    if let Some(reader) = Typed::new(sk, core::ptr::null()) {
        // The oldest makes room, so that there is one.
        let _ = SETTING.insert(&thread(), &reader.sk(), 0);
    }
    0
}

#[fexit]
pub fn __sys_setsockopt(ctx: FExitContext) -> i32 {
    log_run!(&ctx, __sys_setsockopt);
    if !matters(ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32) {
        return 0;
    }
    // SAFETY: the value is copied at once.
    let Some(sk) = (unsafe { SETTING.get(&thread()) }).copied() else { return 0 };
    let _ = SETTING.remove(&thread());
    // The descriptor keeps the socket alive as a rule; another thread may have closed it meanwhile, and then the helper reads
    // what is no socket any more.
    if let Some(reader) = Helper::new(sk, 0) {
        body(&reader, ctx.arg(3), false, ctx.arg::<u64>(5) as u32);
    }
    0
}

#[kprobe]
pub fn sock_common_setsockopt_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::sock_common_setsockopt)
}

#[kretprobe]
pub fn sock_common_setsockopt_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, sock_common_setsockopt_kretprobe);
    let Some(([sock, level, optname, optval, kernel], ret)) =
        frame::leave(&ctx, Hook::sock_common_setsockopt)
    else {
        return 0;
    };
    if !matters(level as u32, optname as u32) {
        return 0;
    }
    let socket = Helper::new(sock, sock);
    if let Some(reader) = socket.and_then(|it| Helper::new(it.value(Field::socket_sk), 0)) {
        body(&reader, optval, kernel & 1 == 1, ret as u32);
    }
    0
}

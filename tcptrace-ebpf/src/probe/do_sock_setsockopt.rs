//! `do_sock_setsockopt(sock, compat, level, optname, optval, optlen)`, at its return.
//!
//! **When**: an option was set, or refused, by the system call or by `io_uring`.
//! **Context**: process or a worker of `io_uring`, without the socket lock.
//! **Arguments**: the file's `struct socket`, `level`, `optname`; `optval` is a struct passed by value, whose first half is an
//! address and whose second half says whose memory that is in. The result is 0 or an error.
//! **Since**: global from 6.7. Before, the system call alone does it: `__sys_setsockopt()`.
//! **Kernel**: net/socket.c, `do_sock_setsockopt()`.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook, sockopt::VIA_IO_URING};

use crate::{
    frame,
    maps::CALLS,
    read::{self, Helper, Reader, Typed},
    sockopt::{self, Call, Told},
};

/// What was asked for.
struct Value {
    at: u64,
    is_kernel: bool,
    optlen: u32,
}

#[inline(always)]
fn body<R: Reader>(reader: &R, optname: u32, value: &Value, ret: u32) {
    let thread = sockopt::thread();
    // SAFETY: the value is copied at once.
    let Some(call) = (unsafe { CALLS.get(&thread) }).copied() else { return };
    if call.sk != reader.sk() {
        return;
    }
    if call.how >> 16 == VIA_IO_URING {
        let _ = CALLS.remove(&thread);
    } else {
        let _ = CALLS.insert(&thread, &Call { sk: 0, how: 0, optlen: 0 }, 0);
    }
    let optlen = if value.optlen == 0 { call.optlen } else { value.optlen };
    let asked = sockopt::asked(value.at, optlen, value.is_kernel);
    let option = sockopt::option(optname, optlen);
    sockopt::ends(reader, &Told { how: call.how, option, ret, asked });
}

#[fexit]
pub fn do_sock_setsockopt(ctx: FExitContext) -> i32 {
    log_run!(&ctx, do_sock_setsockopt);
    let Some(sk) = read::follow(ctx.arg(0), Field::socket_sk) else { return 0 };
    let Some(reader) = Typed::new(sk, core::ptr::null()) else { return 0 };
    let of = |n: usize| ctx.arg::<u64>(n);
    let value = Value { at: of(4), is_kernel: of(5) & 1 == 1, optlen: of(6) as u32 };
    let Ok(ret) = ctx.ret::<u64>() else { return 0 };
    body(&reader, of(3) as u32, &value, ret as u32);
    0
}

#[kprobe]
pub fn do_sock_setsockopt_kprobe(ctx: ProbeContext) -> u32 {
    frame::enter(&ctx, Hook::do_sock_setsockopt)
}

#[kretprobe]
pub fn do_sock_setsockopt_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, do_sock_setsockopt_kretprobe);
    let Some(([sock, _, _, optname, optval], ret)) = frame::leave(&ctx, Hook::do_sock_setsockopt)
    else {
        return 0;
    };
    let Some(reader) = Helper::socket(sock) else { return 0 };
    // The length stands behind the arguments that are kept; that of a system call is known from its entry.
    let value = Value { at: optval, is_kernel: false, optlen: 0 };
    body(&reader, optname as u32, &value, ret as u32);
    0
}

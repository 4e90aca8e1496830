//! `__sys_setsockopt(fd, level, optname, optval, optlen)`, at its entry and at its return.
//!
//! **When**: a program sets an option by the system call, of 64 or of 32 bits. At the entry the thread is noted, so that
//! `security_socket_setsockopt()` knows the way; at the return the result is told, to 6.6: from 6.7 on `do_sock_setsockopt()`
//! has told it.
//! **Context**: process, without the socket lock.
//! **Arguments**: `level`, `optname`; `optval`, the program's own memory, which the kernel has read. The result is 0 or an error.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/socket.c, `__sys_setsockopt()`.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::hook::Hook;

use crate::{
    frame,
    maps::CALLS,
    read::{Helper, Unread},
    sockopt::{self, Call, Told},
};

#[inline(always)]
fn before(optlen: u32) {
    let _ = CALLS.insert(&sockopt::thread(), &Call { sk: 0, how: 0, optlen }, 0);
}

#[inline(always)]
fn after(optname: u32, optval: u64, optlen: u32, ret: u32) {
    let thread = sockopt::thread();
    // SAFETY: the value is copied at once.
    let Some(call) = (unsafe { CALLS.get(&thread) }).copied() else { return };
    let _ = CALLS.remove(&thread);
    if call.sk == 0 {
        return;
    }
    let told = Told {
        how: call.how,
        option: sockopt::option(optname, optlen),
        ret,
        asked: sockopt::asked(optval, optlen, false),
    };
    // The socket is known by its address alone here.
    if sockopt::reads_kernel() {
        if let Some(reader) = Helper::new(call.sk, 0) {
            sockopt::ends(&reader, &told);
        }
    } else {
        sockopt::ends(&Unread::at(call.sk), &told);
    }
}

#[fentry]
pub fn __sys_setsockopt_entry(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, __sys_setsockopt_entry);
    before(ctx.arg::<u64>(4) as u32);
    0
}

#[fexit]
pub fn __sys_setsockopt(ctx: FExitContext) -> i32 {
    log_run!(&ctx, __sys_setsockopt);
    let of = |n: usize| ctx.arg::<u64>(n);
    after(of(2) as u32, of(3), of(4) as u32, of(5) as u32);
    0
}

#[kprobe]
pub fn __sys_setsockopt_kprobe(ctx: ProbeContext) -> u32 {
    before(ctx.arg::<u64>(4).unwrap_or(0) as u32);
    frame::enter(&ctx, Hook::__sys_setsockopt)
}

#[kretprobe]
pub fn __sys_setsockopt_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, __sys_setsockopt_kretprobe);
    let Some(([_, _, optname, optval, optlen], ret)) = frame::leave(&ctx, Hook::__sys_setsockopt)
    else {
        return 0;
    };
    after(optname as u32, optval, optlen as u32, ret as u32);
    0
}

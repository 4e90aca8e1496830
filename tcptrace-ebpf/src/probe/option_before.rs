//! `security_socket_setsockopt(sock, level, optname)`, at its entry: an option is about to be set.
//!
//! **When**: a program sets an option of any level, by the system call or by `io_uring`; BPF and callers inside the kernel do
//! not pass here. What refuses it later (a security module, BPF of a cgroup, the option itself) has not been asked yet.
//! **Context**: process or a worker of `io_uring`, before the socket lock is taken.
//! **Arguments**: the file's `struct socket`, `level`, `optname`.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: security/security.c, `security_socket_setsockopt()`; called by `__sys_setsockopt()`, from 6.7 by
//! `do_sock_setsockopt()`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcptrace_common::{
    field::Field,
    sockopt::{VIA_IO_URING, VIA_SETSOCKOPT, is_told},
};

use crate::{
    maps::CALLS,
    read::{self, Helper, Reader, Typed},
    sockopt::{self, Call, Told},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, level: u32, optname: u32) {
    let thread = sockopt::thread();
    // The system call has noted itself.
    // SAFETY: the value is copied at once.
    let call = unsafe { CALLS.get(&thread) }.copied();
    let (via, optlen) = call.map_or((VIA_IO_URING, 0), |call| (VIA_SETSOCKOPT, call.optlen));
    let how = sockopt::how(via, level);
    let told = Told { how, option: sockopt::option(optname, 0), ret: 0, asked: [0; 4] };
    if sockopt::begins(reader, &told) {
        let _ = CALLS.insert(&thread, &Call { sk: reader.sk(), how, optlen }, 0);
    }
}

#[fentry]
pub fn option_before_security_socket_setsockopt(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, option_before);
    let (level, optname) = (ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32);
    if !is_told(level, optname) {
        return 0;
    }
    let Some(sk) = read::follow(ctx.arg(0), Field::socket_sk) else { return 0 };
    if let Some(reader) = Typed::new(sk, core::ptr::null()) {
        body(&reader, level, optname);
    }
    0
}

#[kprobe]
pub fn option_before_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, option_before_kprobe);
    let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
    let (level, optname) = (of(1) as u32, of(2) as u32);
    if !is_told(level, optname) {
        return 0;
    }
    if let Some(reader) = Helper::socket(of(0)) {
        body(&reader, level, optname);
    }
    0
}

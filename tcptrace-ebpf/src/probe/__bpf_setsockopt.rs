//! `__bpf_setsockopt(sk, level, optname, optval, optlen)`, at its entry and at its return; on 5.10 `_bpf_setsockopt()`, which
//! has a sixth argument and is met by a kprobe.
//!
//! **When**: a BPF program sets an option: of a cgroup, at an address or at an event of a connection, or a congestion control.
//! **Context**: process or softirq, socket lock held.
//! **Arguments**: the socket, `level`, `optname`; `optval`, in the kernel's memory. The result is 0 or an error.
//! **Since**: on all kernels from 5.10, under two names.
//! **Kernel**: net/core/filter.c, `__bpf_setsockopt()`.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tcptrace_common::{hook::Hook, sockopt::VIA_BPF};

use crate::{
    frame,
    read::{Helper, Reader, Typed},
    socket,
    sockopt::{self, Told},
};

/// Level, number, address and length of the value.
type Given = [u64; 4];

#[inline(always)]
fn before<R: Reader>(reader: &R, [level, optname, optval, optlen]: Given) {
    let how = sockopt::how(VIA_BPF, level as u32);
    let asked = sockopt::asked(optval, optlen as u32, true);
    let option = sockopt::option(optname as u32, optlen as u32);
    sockopt::begins(reader, &Told { how, option, ret: 0, asked });
}

#[inline(always)]
fn after<R: Reader>(reader: &R, [level, optname, optval, optlen]: Given, ret: u64) {
    let (level, optname, optlen) = (level as u32, optname as u32, optlen as u32);
    if socket::met(reader).is_none() || !tcptrace_common::sockopt::is_told(level, optname) {
        return;
    }
    let asked = sockopt::asked(optval, optlen, true);
    let option = sockopt::option(optname, optlen);
    let how = sockopt::how(VIA_BPF, level);
    sockopt::ends(reader, &Told { how, option, ret: ret as u32, asked });
}

#[fentry]
pub fn __bpf_setsockopt_entry(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, __bpf_setsockopt_entry);
    if let Some(reader) = Typed::new(ctx.arg(0), core::ptr::null()) {
        before(&reader, [ctx.arg(1), ctx.arg(2), ctx.arg(3), ctx.arg(4)]);
    }
    0
}

#[fexit]
pub fn __bpf_setsockopt(ctx: FExitContext) -> i32 {
    log_run!(&ctx, __bpf_setsockopt);
    if let Some(reader) = Typed::new(ctx.arg(0), core::ptr::null()) {
        after(&reader, [ctx.arg(1), ctx.arg(2), ctx.arg(3), ctx.arg(4)], ctx.arg(5));
    }
    0
}

#[kprobe]
pub fn __bpf_setsockopt_kprobe(ctx: ProbeContext) -> u32 {
    let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
    if let Some(reader) = Helper::new(of(0), 0) {
        before(&reader, [of(1), of(2), of(3), of(4)]);
    }
    frame::enter(&ctx, Hook::__bpf_setsockopt)
}

#[kretprobe]
pub fn __bpf_setsockopt_kretprobe(ctx: RetProbeContext) -> u32 {
    log_run!(&ctx, __bpf_setsockopt_kretprobe);
    let Some(([sk, level, optname, optval, optlen], ret)) =
        frame::leave(&ctx, Hook::__bpf_setsockopt)
    else {
        return 0;
    };
    if let Some(reader) = Helper::new(sk, 0) {
        after(&reader, [level, optname, optval, optlen], ret);
    }
    0
}

//! `tcp_timewait_state_process(tw, skb, th, ...)`, at its entry.
//!
//! **When**: a segment arrived for a minisock: the peer's FIN, a repeated one, a reset, data that nobody will read, or the
//! SYN of another connection.
//! **Context**: softirq.
//! **Arguments**: the minisock and the segment. What the kernel does with it follows from their fields.
//! **Since**: global on all kernels from 5.10; later ones have more arguments.
//! **Kernel**: net/ipv4/tcp_minisocks.c, `tcp_timewait_state_process()`. **RFC** 9293 3.10.7.4, RFC 6191.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit,
    maps::MINISOCKS,
    read::{Helper, Reader, Typed},
};

#[inline(always)]
fn body<R: Reader>(reader: &R) {
    // SAFETY: the value is copied at once.
    let Some(known) = (unsafe { MINISOCKS.get(&reader.sk()) }).copied() else { return };
    let ports =
        (reader.value(Field::tw_sport) as u32) << 16 | reader.value(Field::skc_dport) as u32;
    if ports == known {
        emit::emit::<R, { Hook::tcp_timewait_state_process.slots() }>(
            Hook::tcp_timewait_state_process,
            reader,
            [0; 7],
        );
    }
}

#[fentry]
pub fn tcp_timewait_state_process(ctx: FEntryContext) -> i32 {
    log_run!(&ctx, tcp_timewait_state_process);
    if let Some(reader) = Typed::minisock(ctx.arg(0), ctx.arg(1)) {
        body(&reader);
    }
    0
}

#[kprobe]
pub fn tcp_timewait_state_process_kprobe(ctx: ProbeContext) -> u32 {
    log_run!(&ctx, tcp_timewait_state_process_kprobe);
    let reader = Helper::new(ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0));
    if let Some(reader) = reader {
        body(&reader);
    }
    0
}

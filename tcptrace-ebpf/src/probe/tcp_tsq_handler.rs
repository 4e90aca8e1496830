//! `tcp_tsq_handler(sk)`, at its entry: stands in for [`super::tcp_tsq_write`].
//!
//! **When**: the device has sent enough (TCP small queues), or the pacing timer fired.
//! **Context**: softirq, before the socket lock is taken: with the socket owned by a task it only leaves a note, and the
//! task sends when it lets go.
//! **Arguments**: the socket.
//! **Since**: static to 6.12; inlined from 6.18.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_tsq_handler()`.

use aya_ebpf::{macros::fentry, programs::FEntryContext};

use crate::read::Typed;

emit_when_let_send!(tcp_tsq_handler);

#[fentry]
pub fn tcp_tsq_handler(ctx: FEntryContext) -> i32 {
    if let Some(reader) = Typed::new(ctx.arg(0), core::ptr::null()) {
        body(&reader, |_| 0);
    }
    0
}

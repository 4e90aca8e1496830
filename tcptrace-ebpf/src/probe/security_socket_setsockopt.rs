//! `security_socket_setsockopt(sock, level, optname)`, at its entry: stands in for [`super::do_tcp_setsockopt`].
//!
//! **When**: an application sets an option of any level; BPF and callers inside the kernel do not pass here.
//! **Context**: process, before the socket lock is taken.
//! **Arguments**: `level`, `optname`.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: security/security.c, `security_socket_setsockopt()`.

use aya_ebpf::{macros::fentry, programs::FEntryContext};
use tcptrace_common::field::Field;

use crate::read::{self, Typed};

#[fentry]
pub fn security_socket_setsockopt(ctx: FEntryContext) -> i32 {
    let Some(sk) = read::follow(ctx.arg(0), Field::socket_sk) else { return 0 };
    if let Some(reader) = Typed::new(sk, core::ptr::null()) {
        super::do_tcp_setsockopt::body(&reader, |n| ctx.arg::<u64>(n) as u32);
    }
    0
}

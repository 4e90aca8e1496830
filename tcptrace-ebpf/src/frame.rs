//! Arguments of a function, kept from its entry to its return: what a kretprobe cannot see by itself.
//!
//! The key is the stack pointer at entry, which belongs to one call of one task or interrupt at a time, so nested calls
//! (loopback delivers to the peer inside our transmit) and tasks that sleep or move to another CPU cannot be confused.

use aya_ebpf::{
    bindings::pt_regs,
    programs::{ProbeContext, RetProbeContext},
};
use tcptrace_common::{hook::Hook, loss::Loss};

use crate::{emit, maps::FRAMES};

/// Which call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Key {
    sp: u64,
    hook: u64,
}

/// The first five arguments.
pub type Arguments = [u64; 5];

/// Keeps the arguments at the function's entry.
#[inline(always)]
pub fn enter(ctx: &ProbeContext, hook: Hook) -> u32 {
    let arguments: Arguments = [
        ctx.arg(0).unwrap_or(0),
        ctx.arg(1).unwrap_or(0),
        ctx.arg(2).unwrap_or(0),
        ctx.arg(3).unwrap_or(0),
        ctx.arg(4).unwrap_or(0),
    ];
    let key = Key { sp: stack_pointer(ctx.regs), hook: hook as u64 };
    if FRAMES.insert(&key, &arguments, 0).is_err() {
        emit::lost(hook, Loss::TableFull);
    }
    0
}

/// Takes back what [`enter`] kept, and the function's result.
#[inline(always)]
pub fn leave(ctx: &RetProbeContext, hook: Hook) -> Option<(Arguments, u64)> {
    // The call instruction's return address has been popped since.
    let key = Key { sp: stack_pointer(ctx.regs).wrapping_sub(8), hook: hook as u64 };
    // SAFETY: no other program changes this call's entry.
    let Some(arguments) = (unsafe { FRAMES.get(&key) }).copied() else {
        emit::lost(hook, Loss::NoEntry);
        return None;
    };
    let _ = FRAMES.remove(&key);
    Some((arguments, ctx.ret::<u64>()))
}

#[inline(always)]
fn stack_pointer(regs: *mut pt_regs) -> u64 {
    // SAFETY: the context of a kprobe program is the kernel's `pt_regs`.
    unsafe { (*regs).rsp }
}

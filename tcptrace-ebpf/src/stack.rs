//! The user stack of the call at work: kept in a map by the kernel, so that a record carries only its number.

use core::{cell::UnsafeCell, ptr};

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_USER_STACK, bpf_map_def, bpf_map_type::BPF_MAP_TYPE_STACK_TRACE},
    helpers::generated::bpf_get_stackid,
};

use crate::maps::{STACKS, USER_STACKS};

/// The position of a pseudo-argument, [`of_caller`]; no function has so many.
pub const OF_CALLER: usize = usize::MAX;
/// Frames of a stack that are kept, the innermost first.
const DEPTH: u32 = 16;

/// A map of stacks. The library's own is as deep as `kernel.perf_event_max_stack` is by default, and the kernel refuses
/// it where that was lowered.
#[repr(transparent)]
pub struct Stacks(UnsafeCell<bpf_map_def>);

// SAFETY: only the kernel looks at it.
unsafe impl Sync for Stacks {}

impl Stacks {
    pub const fn new(max_entries: u32) -> Self {
        Self(UnsafeCell::new(bpf_map_def {
            type_: BPF_MAP_TYPE_STACK_TRACE,
            key_size: 4,
            value_size: DEPTH * 8,
            max_entries,
            map_flags: 0,
            id: 0,
            pinning: 0,
        }))
    }
}

/// Whether user stacks are wanted.
#[inline(always)]
pub fn wanted() -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    unsafe { ptr::read_volatile(&raw const USER_STACKS) != 0 }
}

/// The number of the stack from which the task at work entered the kernel; a negative error where there is none.
#[inline(always)]
pub fn of_caller<C: EbpfContext>(ctx: &C) -> u32 {
    let map = STACKS.0.get().cast();
    // SAFETY: the program's own context, and a map of stacks.
    unsafe { bpf_get_stackid(ctx.as_ptr(), map, u64::from(BPF_F_USER_STACK)) as u32 }
}

//! No probe: the loader runs this program twice to learn how many jiffies the kernel counts in a second.

use aya_ebpf::{
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};

use crate::maps::CLOCK;

#[raw_tracepoint]
pub fn jiffies(_ctx: RawTracePointContext) -> i32 {
    if let Some(clock) = CLOCK.get_ptr_mut(0) {
        // SAFETY: the map's value; only the loader's own run writes it. The helpers have no arguments.
        unsafe { *clock = [bpf_jiffies64(), bpf_ktime_get_ns()] };
    }
    0
}

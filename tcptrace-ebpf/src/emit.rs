//! The only file that writes the ring buffer, and that counts what did not get in.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_ns,
    },
};
use tcptrace_common::{
    event::{Header, Record},
    hook::Hook,
    loss::{COUNTERS, Loss},
};

use crate::{
    maps::{EVENTS, LOST, WAKE_BYTES},
    read::Reader,
};

/// The arguments of a record, in the order of the hook's row; the rest is 0.
pub type Values = [u32; 4];

/// Emits one event for `hook`, whose row has `N` slots; `false` when it is lost.
#[inline(always)]
pub fn emit<R: Reader, const N: usize>(hook: Hook, reader: &R, values: Values) -> bool {
    let Some(mut slot) = EVENTS.reserve::<Record<N>>(0) else {
        lost(hook, Loss::BufferFull);
        return false;
    };
    let record: *mut Record<N> = slot.as_mut_ptr();
    // SAFETY: the ring buffer has reserved a whole record; each slot is written before it is submitted.
    unsafe {
        let slots = (&raw mut (*record).slots).cast::<u32>();
        let valid = fill(hook, reader, values, slots);
        (&raw mut (*record).header).write(Header {
            at_ns: bpf_ktime_get_ns(),
            sk: reader.sk(),
            pid_tgid: bpf_get_current_pid_tgid(),
            jiffies: bpf_jiffies64() as u32,
            valid,
            hook: hook as u16,
            cpu: bpf_get_smp_processor_id() as u16,
            pad: 0,
        });
    }
    slot.submit(wake());
    true
}

/// Writes the slots of `hook`'s row and returns the bits of the fields that could be read.
///
/// # Safety
/// `slots` points to as many slots as the row has.
#[inline(always)]
unsafe fn fill<R: Reader>(hook: Hook, reader: &R, values: Values, slots: *mut u32) -> u32 {
    let (args, fields) = (hook.args().len(), hook.fields());
    let (mut at, mut i) = (0, 0);
    while i < args && i < values.len() {
        // SAFETY: the caller's promise.
        unsafe { slots.add(at).write(values[i]) };
        at += 1;
        i += 1;
    }
    let (mut valid, mut f) = (0, 0);
    while f < fields.len() {
        let mut words = [0u32; 4];
        if fields[f].slots() == 4 {
            if let Some([low, high]) = reader.wide(fields[f]) {
                words = [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32];
                valid |= 1 << f;
            }
        } else if let Some(v) = reader.field(fields[f]) {
            words = [v as u32, (v >> 32) as u32, 0, 0];
            valid |= 1 << f;
        }
        let mut w = 0;
        while w < fields[f].slots() {
            // SAFETY: the caller's promise.
            unsafe { slots.add(at).write(words[w]) };
            at += 1;
            w += 1;
        }
        f += 1;
    }
    valid
}

/// User space polls; it is woken only when much is unread, because a wake-up costs fifty times an event.
#[inline(always)]
fn wake() -> u64 {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    let threshold = unsafe { core::ptr::read_volatile(&raw const WAKE_BYTES) };
    u64::from(if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= threshold {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    })
}

/// Counts an event that is lost.
#[inline(always)]
pub fn lost(hook: Hook, reason: Loss) {
    if let Some(all) = LOST.get_ptr_mut(0)
        && reason.index(hook) < COUNTERS
    {
        // SAFETY: a per-CPU value of so many counters; a race with an interrupt can lose one count at most.
        unsafe { *all.cast::<u64>().add(reason.index(hook) as usize) += 1 };
    }
}

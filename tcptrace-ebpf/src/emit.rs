//! The only file that writes the ring buffer, and that counts what did not get in.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, seq_file},
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_ns,
        bpf_seq_write,
    },
};
use tcptrace_common::{
    event::{Header, Record},
    field::Field,
    hook::{Hook, TakeField},
    loss::{COUNTERS, Loss},
};

use crate::{
    maps::{EVENTS, LOST, WAKE_BYTES},
    read::Reader,
};

/// The arguments of a record, in the order of the hook's row; the rest is 0.
pub type Values = [u32; 7];

/// Emits one event for `hook`, whose row has `N` slots; `false` when it is lost.
#[inline(always)]
pub fn emit<R: Reader, const N: usize>(hook: Hook, reader: &R, values: Values) -> bool {
    emit_for::<R, N>(hook, reader, reader.sk(), values)
}

/// As [`emit`], of another socket than the one that is read.
#[inline(always)]
pub fn emit_for<R: Reader, const N: usize>(
    hook: Hook,
    reader: &R,
    sk: u64,
    values: Values,
) -> bool {
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
            sk,
            pid_tgid: bpf_get_current_pid_tgid(),
            jiffies: bpf_jiffies64() as u32,
            valid,
            hook: hook as u16,
            cpu: bpf_get_smp_processor_id() as u16,
            pad: 0,
        });
    }
    slot.submit(wake(size_of::<Record<N>>() as u64));
    true
}

/// Hands one event to whoever reads an iterator.
#[inline(always)]
pub fn hand<R: Reader, const N: usize>(seq: *mut seq_file, hook: Hook, reader: &R, values: Values) {
    let mut record = MaybeUninit::<Record<N>>::uninit();
    let at = record.as_mut_ptr();
    // SAFETY: each slot and the header are written before the record is read.
    unsafe {
        if N % 2 == 1 {
            // Behind an odd number of slots there is room up to the alignment.
            at.cast::<u32>().add(size_of::<Record<N>>() / 4 - 1).write(0);
        }
        let valid = fill(hook, reader, values, (&raw mut (*at).slots).cast::<u32>());
        (&raw mut (*at).header).write(Header {
            at_ns: bpf_ktime_get_ns(),
            sk: 0,
            pid_tgid: 0,
            jiffies: bpf_jiffies64() as u32,
            valid,
            hook: hook as u16,
            cpu: bpf_get_smp_processor_id() as u16,
            pad: 0,
        });
        bpf_seq_write(seq, at.cast(), size_of::<Record<N>>() as u32);
    }
}

/// Writes the slots of `hook`'s row and returns the bits of the fields that could be read.
///
/// # Safety
/// `slots` points to as many slots as the row has.
#[inline(always)]
unsafe fn fill<R: Reader>(hook: Hook, reader: &R, values: Values, slots: *mut u32) -> u32 {
    let args = hook.args().len();
    let mut i = 0;
    while i < args && i < values.len() {
        // SAFETY: the caller's promise.
        unsafe { slots.add(i).write(values[i]) };
        i += 1;
    }
    let mut fill = Fill { reader, slots, at: args, number: 0, valid: 0 };
    hook.each_field(&mut fill);
    fill.valid
}

/// Writes field after field; where a read cannot fail, those that are plain numbers are only read.
struct Fill<'a, R> {
    reader: &'a R,
    slots: *mut u32,
    /// The next slot.
    at: usize,
    /// The next field of the row.
    number: u32,
    valid: u32,
}

impl<R: Reader> TakeField for Fill<'_, R> {
    #[inline(always)]
    fn field(&mut self, field: Field) {
        let mut words = [0u32; 4];
        if R::IS_SAFE && field.is_plain() {
            words[0] = self.reader.word(field);
            self.valid |= 1 << self.number;
        } else if field.slots() == 4 {
            let ([low, high], read) = self.reader.wide(field);
            words = [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32];
            self.valid |= read << self.number;
        } else {
            let (v, read) = self.reader.field(field);
            words = [v as u32, (v >> 32) as u32, 0, 0];
            self.valid |= read << self.number;
        }
        let mut w = 0;
        while w < field.slots() {
            // SAFETY: whoever made this has promised that there are as many slots as the row has.
            unsafe { self.slots.add(self.at).write(words[w]) };
            self.at += 1;
            w += 1;
        }
        self.number += 1;
    }
}

/// User space polls; it is woken only when much is unread, because a wake-up costs fifty times an event, and only by the
/// event of `bytes` that makes it so much, or as much again: until user space runs, others come.
#[inline(always)]
fn wake(bytes: u64) -> u64 {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    let threshold = unsafe { core::ptr::read_volatile(&raw const WAKE_BYTES) };
    let unread = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    // A power of two. The ring buffer puts a word before each record.
    let beyond = unread & threshold.wrapping_sub(1);
    u64::from(if unread >= threshold && beyond < bytes.next_multiple_of(8) + 8 {
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

//! The records of the ring buffer: a fixed header, then 32-bit slots for the arguments and fields that the hook's row
//! names, in the row's order. A field wider than 32 bits takes several slots, low word first.

use crate::hook::{Hook, MAX_SLOTS};

/// The start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// `bpf_ktime_get_ns()`: nanoseconds, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Address of the `struct sock`: an identity while the socket lives, never shown.
    pub sk: u64,
    /// Task at work: thread group in the high half, thread in the low one. In softirq, whoever was interrupted.
    pub pid_tgid: u64,
    /// Low word of the kernel's jiffies.
    pub jiffies: u32,
    /// Bit *i* is set when the *i*-th field of the hook's row could be read.
    pub valid: u32,
    /// [`Hook`] number.
    pub hook: u16,
    /// CPU.
    pub cpu: u16,
    /// Keeps the size a multiple of the alignment.
    pub pad: u32,
}

/// Header and `N` slots, as they stand in the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Record<const N: usize> {
    /// What every record has.
    pub header: Header,
    /// Arguments, then fields.
    pub slots: [u32; N],
}

/// Bytes of a [`Header`].
pub const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 40, "no implicit padding");

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time: a wrong index does not compile"
)]
const _: () = {
    let mut i = 0;
    while i < Hook::ALL.len() {
        assert!(Hook::ALL[i].slots() <= MAX_SLOTS, "a row's record is too large");
        assert!(Hook::ALL[i].fields().len() <= 32, "`valid` has 32 bits");
        i += 1;
    }
};

//! The only file that reads kernel memory, in two ways behind one trait.
//!
//! A tracing program (fentry, fexit) gets typed pointers and reads by plain loads at offsets that the verifier knows,
//! which is cheap and allowed under lockdown=confidentiality. A kprobe program gets numbers and reads by the helper.

use core::ptr;

use aya_ebpf::{
    bindings::tcp_sock,
    helpers::generated::{bpf_probe_read_kernel, bpf_skc_to_tcp_sock},
};
use tcptrace_common::{
    field::Field,
    layout::{NO_DEREF, Place},
};

use crate::maps::LAYOUT;

/// The kernel's `struct sock`; only its address is used.
pub type Sock = core::ffi::c_void;

/// Reads fields of one socket and, where the hook has one, of one segment.
pub trait Reader: Copy {
    /// Address of the socket: its identity while it lives.
    fn sk(&self) -> u64;
    /// Start of the struct that `field` is read from; null when the hook has none.
    fn base(&self, field: Field) -> *const u8;
    /// Up to 8 bytes at `at`; `None` when the read failed.
    fn load(&self, at: *const u8, size: u8) -> Option<u64>;
    /// Up to 8 bytes at `at`; 0 when the read failed.
    fn bytes(&self, at: *const u8, size: u8) -> u64;
    /// The pointer at `at`.
    fn pointer(&self, at: *const u8) -> Option<*const u8>;

    /// The field's value; `None` when this kernel lacks it or the read failed. Not for 16-byte fields.
    #[inline(always)]
    fn field(&self, field: Field) -> Option<u64> {
        let place = place(field);
        let at = self.place(field, &place)?;
        let v = self.load(at, place.size)? >> (place.shift & 63);
        Some(if place.width == 0 { v } else { v & ((1 << (place.width & 63)) - 1) })
    }

    /// The field's value, 0 when it cannot be told: for comparisons in the programs themselves. Made without `Option`,
    /// because the compiler leaves the value of a `None` undefined and may compute with it before it asks, which the
    /// verifier refuses.
    #[inline(always)]
    fn value(&self, field: Field) -> u64 {
        let place = place(field);
        if place.size == 0 || place.deref != NO_DEREF {
            return 0;
        }
        let at = self.base(field).wrapping_add(place.offset as usize);
        let v = self.bytes(at, place.size) >> (place.shift & 63);
        if place.width == 0 { v } else { v & ((1 << (place.width & 63)) - 1) }
    }

    /// As [`Self::value`], of a 4-byte field behind a pointer.
    #[inline(always)]
    fn followed_value(&self, field: Field) -> u32 {
        let place = place(field);
        if place.size != 4 || place.deref == NO_DEREF {
            return 0;
        }
        let at = self.base(field).wrapping_add(place.offset as usize);
        let to = self.bytes(at, 8) as *const u8;
        self.bytes(to.wrapping_add(place.deref as usize), 4) as u32
    }

    /// As [`Self::value`], both halves of a 16-byte field.
    #[inline(always)]
    fn wide_value(&self, field: Field) -> [u64; 2] {
        let place = place(field);
        if place.size != 16 || place.deref != NO_DEREF {
            return [0; 2];
        }
        let at = self.base(field).wrapping_add(place.offset as usize);
        [self.bytes(at, 8), self.bytes(at.wrapping_add(8), 8)]
    }

    /// Both halves of a 16-byte field.
    #[inline(always)]
    fn wide(&self, field: Field) -> Option<[u64; 2]> {
        let place = place(field);
        if place.size != 16 {
            return None;
        }
        let at = self.place(field, &place)?;
        Some([self.load(at, 8)?, self.load(at.wrapping_add(8), 8)?])
    }

    /// Address of the field.
    #[inline(always)]
    fn place(&self, field: Field, place: &Place) -> Option<*const u8> {
        if place.size == 0 {
            return None;
        }
        let at = self.base(field).wrapping_add(place.offset as usize);
        if place.deref == NO_DEREF {
            return Some(at);
        }
        Some(self.pointer(at)?.wrapping_add(place.deref as usize))
    }
}

/// The loader has filled the table in; volatile reads keep the compiler from using the values it sees.
#[inline(always)]
fn place(field: Field) -> Place {
    let row = (&raw const LAYOUT.place).cast::<Place>().wrapping_add(field as usize);
    // SAFETY: `field as usize` is below `Field::COUNT`, the length of the table.
    unsafe {
        Place {
            offset: ptr::read_volatile(&raw const (*row).offset),
            deref: ptr::read_volatile(&raw const (*row).deref),
            size: ptr::read_volatile(&raw const (*row).size),
            shift: ptr::read_volatile(&raw const (*row).shift),
            width: ptr::read_volatile(&raw const (*row).width),
            pad: 0,
        }
    }
}

/// The socket that the typed struct at `base` points to; for tracing programs.
#[inline(always)]
pub fn follow(base: *const u8, field: Field) -> Option<*const Sock> {
    let place = place(field);
    if place.size != 8 {
        return None;
    }
    // SAFETY: the verifier checks the place against the kernel's own types.
    Some(unsafe {
        ptr::read_volatile(base.wrapping_add(place.offset as usize).cast::<*const Sock>())
    })
}

/// A number of the kernel's `struct task_struct`; for tracing programs. 0 when this kernel lacks it.
#[inline(always)]
pub fn of_task(task: *const u8, field: Field) -> u32 {
    let place = place(field);
    if place.size != 4 || place.deref != NO_DEREF {
        return 0;
    }
    // SAFETY: the verifier checks the place against the kernel's own types.
    unsafe { ptr::read_volatile(task.wrapping_add(place.offset as usize).cast::<u32>()) }
}

/// A socket of which only the address is known, from that of a part of it.
#[derive(Clone, Copy)]
pub struct Unread {
    sk: u64,
}

impl Unread {
    /// The socket whose `part` lies at `at`; `None` when this kernel lacks that part.
    #[inline(always)]
    pub fn around(at: u64, part: Field) -> Option<Self> {
        let place = place(part);
        if place.size == 0 {
            return None;
        }
        Some(Self { sk: at.wrapping_sub(place.offset as u64) })
    }
}

impl Reader for Unread {
    #[inline(always)]
    fn sk(&self) -> u64 {
        self.sk
    }
    #[inline(always)]
    fn base(&self, _field: Field) -> *const u8 {
        ptr::null()
    }
    #[inline(always)]
    fn load(&self, _at: *const u8, _size: u8) -> Option<u64> {
        None
    }
    #[inline(always)]
    fn bytes(&self, _at: *const u8, _size: u8) -> u64 {
        0
    }
    #[inline(always)]
    fn pointer(&self, _at: *const u8) -> Option<*const u8> {
        None
    }
}

/// Plain loads: for tracing programs.
#[derive(Clone, Copy)]
pub struct Typed {
    sk: *const Sock,
    tp: *const u8,
    skb: *const u8,
}

impl Typed {
    /// From the probed function's typed arguments; `None` for what is no full TCP socket.
    #[inline(always)]
    pub fn new(sk: *const Sock, skb: *const u8) -> Option<Self> {
        // SAFETY: the verifier has checked that `sk` is a socket.
        let tp: *const tcp_sock = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) };
        if tp.is_null() { None } else { Some(Self { sk, tp: tp.cast(), skb }) }
    }
}

impl Reader for Typed {
    #[inline(always)]
    fn sk(&self) -> u64 {
        self.sk as u64
    }
    #[inline(always)]
    fn base(&self, field: Field) -> *const u8 {
        if field.of_segment() { self.skb } else { self.tp }
    }
    #[inline(always)]
    fn load(&self, at: *const u8, size: u8) -> Option<u64> {
        Some(self.bytes(at, size))
    }
    #[inline(always)]
    fn bytes(&self, at: *const u8, size: u8) -> u64 {
        // SAFETY: the verifier checks the place against the kernel's own types; a bad address reads as 0.
        unsafe {
            match size {
                1 => u64::from(ptr::read_volatile(at)),
                2 => u64::from(ptr::read_volatile(at.cast::<u16>())),
                4 => u64::from(ptr::read_volatile(at.cast::<u32>())),
                8 => ptr::read_volatile(at.cast::<u64>()),
                _ => 0,
            }
        }
    }
    #[inline(always)]
    fn pointer(&self, at: *const u8) -> Option<*const u8> {
        // SAFETY: as in `load`; the verifier gives the result the type that the kernel declares.
        Some(unsafe { ptr::read_volatile(at.cast::<*const u8>()) })
    }
}

/// Reads by helper: for kprobe programs.
#[derive(Clone, Copy)]
pub struct Helper {
    sk: *const u8,
    skb: *const u8,
}

impl Helper {
    /// From the probed function's arguments, which are only numbers here.
    #[inline(always)]
    pub fn new(sk: u64, skb: u64) -> Option<Self> {
        if sk == 0 { None } else { Some(Self { sk: sk as *const u8, skb: skb as *const u8 }) }
    }
}

impl Reader for Helper {
    #[inline(always)]
    fn sk(&self) -> u64 {
        self.sk as u64
    }
    #[inline(always)]
    fn base(&self, field: Field) -> *const u8 {
        if field.of_segment() { self.skb } else { self.sk }
    }
    #[inline(always)]
    fn load(&self, at: *const u8, size: u8) -> Option<u64> {
        let mut out = 0u64;
        let size = match size {
            1 | 2 | 4 | 8 => u32::from(size),
            _ => return None,
        };
        // SAFETY: `out` has room for 8 bytes; the helper fails on a bad address.
        let failed = unsafe { bpf_probe_read_kernel((&raw mut out).cast(), size, at.cast()) };
        if failed == 0 { Some(out) } else { None }
    }
    #[inline(always)]
    fn bytes(&self, at: *const u8, size: u8) -> u64 {
        let mut out = 0u64;
        let size = match size {
            1 | 2 | 4 | 8 => u32::from(size),
            _ => 0,
        };
        // SAFETY: as in `load`; what a failed read leaves is 0.
        unsafe { bpf_probe_read_kernel((&raw mut out).cast(), size, at.cast()) };
        out
    }
    #[inline(always)]
    fn pointer(&self, at: *const u8) -> Option<*const u8> {
        self.load(at, 8).map(|p| p as *const u8)
    }
}

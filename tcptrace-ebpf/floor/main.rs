//! The floor: the two hooks that no answer can do without, by hand and with nothing else. A yardstick for what tcptrace's
//! own programs cost (`cargo xtask bench cost`); no release carries it, and nobody may trust its answers: it follows one
//! fixed port, one mark stands for all sockets of a bucket, and the first departure ends a hold.
//!
//! Offsets of fields are written into the loads themselves, by the loader ([`offset`]), as they are where a compiler knows
//! the kernel.
#![no_std]
#![no_main]

use core::{cell::UnsafeCell, ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{
        BPF_F_NO_PREALLOC, BPF_RB_NO_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_def,
        bpf_map_type::BPF_MAP_TYPE_SK_STORAGE,
    },
    helpers::generated::{bpf_ktime_get_ns, bpf_sk_storage_get, bpf_skc_to_tcp_sock},
    macros::{fentry, fexit, map},
    maps::{HashMap, RingBuf},
    programs::{FEntryContext, FExitContext},
};

/// The port that is followed; it stands in the instructions, as the offsets do.
const PORT: u16 = 8080;

/// A hold, as it lies in the socket's storage.
#[repr(C)]
#[derive(Clone, Copy)]
struct Hold {
    at_ns: u64,
    nonagle: u32,
    end: u32,
}

/// What is told of a hold: once when it begins, once when it ends.
#[repr(C)]
struct Told {
    at_ns: u64,
    sk: u64,
    lasted_ns: u64,
    nonagle: u32,
    bytes: u32,
}

/// Whether a socket of this bucket holds bytes.
#[unsafe(no_mangle)]
static mut MARKS: [u8; 1 << 16] = [0; 1 << 16];

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// What tracing programs may not have before 5.11: there the hash stands in.
#[repr(transparent)]
struct Storage(UnsafeCell<bpf_map_def>);

// SAFETY: only the kernel looks at it.
unsafe impl Sync for Storage {}

#[map]
static STORAGE: Storage = Storage(UnsafeCell::new(bpf_map_def {
    type_: BPF_MAP_TYPE_SK_STORAGE,
    key_size: 4,
    value_size: size_of::<Hold>() as u32,
    max_entries: 0,
    map_flags: BPF_F_NO_PREALLOC,
    id: 0,
    pinning: 0,
}));

#[map]
static HOLDS: HashMap<u64, Hold> = HashMap::with_max_entries(65_536, 0);

/// Stands in a load for the offset of the field with this number, in the order of [`FIELDS`] of the loader.
const fn offset(field: usize) -> usize {
    0x7000 + 8 * field
}

const PORTS: usize = offset(0);
const HASH: usize = offset(1);
const WRITE_SEQ: usize = offset(2);
const SND_NXT: usize = offset(3);
const END_SEQ: usize = offset(4);

/// # Safety
/// `at` and the field belong to one type that the verifier knows.
#[inline(always)]
unsafe fn load(at: *const u8, field: usize) -> u32 {
    // SAFETY: the verifier checks the place against the kernel's own types.
    unsafe { ptr::read_volatile(at.wrapping_add(field).cast::<u32>()) }
}

#[inline(always)]
fn mark(sk: *const u8) -> *mut u8 {
    // SAFETY: a field of a socket.
    let bucket = unsafe { load(sk, HASH) } & 0xffff;
    (&raw mut MARKS).cast::<u8>().wrapping_add(bucket as usize)
}

/// `tcp_push(sk, flags, mss_now, nonagle, size_goal)`: a hold begins where bytes are left.
#[inline(always)]
fn push(ctx: &FExitContext, kept: impl Fn(*const u8) -> *mut Hold) {
    let sk: *const u8 = ctx.arg(0);
    // SAFETY: a field of a socket: its peer's port in network order, and its own.
    let ports = unsafe { load(sk, PORTS) };
    if ports as u16 != PORT.to_be() && ports >> 16 != u32::from(PORT) {
        return;
    }
    // SAFETY: the verifier has checked that it is a socket.
    let tp: *const u8 = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }.cast();
    if tp.is_null() {
        return;
    }
    // SAFETY: fields of a TCP socket.
    let (end, next) = unsafe { (load(tp, WRITE_SEQ), load(tp, SND_NXT)) };
    if end == next {
        return;
    }
    let hold = kept(sk);
    if hold.is_null() {
        return;
    }
    // SAFETY: the helper has no argument.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    let nonagle = ctx.arg::<u64>(3) as u32;
    // SAFETY: a value of the map, and a byte of the marks.
    unsafe {
        *hold = Hold { at_ns, nonagle, end };
        *mark(sk) = 1;
    }
    tell(Told { at_ns, sk: sk as u64, lasted_ns: 0, nonagle, bytes: end.wrapping_sub(next) });
}

/// `tcp_event_new_data_sent(sk, skb)`: a hold ends.
#[inline(always)]
fn sent(ctx: &FEntryContext, kept: impl Fn(*const u8) -> *mut Hold) {
    let sk: *const u8 = ctx.arg(0);
    let mark = mark(sk);
    // SAFETY: a byte of the marks.
    if unsafe { ptr::read_volatile(mark) } == 0 {
        return;
    }
    let hold = kept(sk);
    if hold.is_null() {
        return;
    }
    let skb: *const u8 = ctx.arg(1);
    // SAFETY: a value of the map, a byte of the marks, a field of a segment; the helper has no argument.
    let (was, at_ns, end_seq) = unsafe {
        *mark = 0;
        (*hold, bpf_ktime_get_ns(), load(skb, END_SEQ))
    };
    tell(Told {
        at_ns,
        sk: sk as u64,
        lasted_ns: at_ns.wrapping_sub(was.at_ns),
        nonagle: was.nonagle,
        bytes: was.end.wrapping_sub(end_seq),
    });
}

#[inline(always)]
fn tell(told: Told) {
    if let Some(mut slot) = EVENTS.reserve::<Told>(0) {
        slot.write(told);
        slot.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
}

#[inline(always)]
fn in_storage(sk: *const u8, flags: u32) -> *mut Hold {
    let map: *mut c_void = STORAGE.0.get().cast();
    // SAFETY: a map of the kind that the helper wants, and a socket that the verifier has checked.
    unsafe {
        bpf_sk_storage_get(map, sk.cast_mut().cast(), ptr::null_mut(), u64::from(flags)).cast()
    }
}

#[inline(always)]
fn in_hash(sk: *const u8, create: bool) -> *mut Hold {
    let key = sk as u64;
    if let Some(hold) = HOLDS.get_ptr_mut(&key) {
        return hold;
    }
    if create {
        let _ = HOLDS.insert(&key, &Hold { at_ns: 0, nonagle: 0, end: 0 }, 0);
    }
    HOLDS.get_ptr_mut(&key).unwrap_or(ptr::null_mut())
}

#[fexit]
pub fn push_storage(ctx: FExitContext) -> i32 {
    push(&ctx, |sk| in_storage(sk, BPF_SK_STORAGE_GET_F_CREATE));
    0
}

#[fentry]
pub fn sent_storage(ctx: FEntryContext) -> i32 {
    sent(&ctx, |sk| in_storage(sk, 0));
    0
}

#[fexit]
pub fn push_hash(ctx: FExitContext) -> i32 {
    push(&ctx, |sk| in_hash(sk, true));
    0
}

#[fentry]
pub fn sent_hash(ctx: FEntryContext) -> i32 {
    sent(&ctx, |sk| in_hash(sk, false));
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

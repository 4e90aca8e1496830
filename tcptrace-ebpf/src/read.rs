//! The only file that reads kernel memory, in two ways behind one trait.
//!
//! A tracing program (fentry, fexit) gets typed pointers and reads by plain loads at offsets that the verifier knows,
//! which is cheap and allowed under lockdown=confidentiality. A kprobe program gets numbers and reads by the helper.

use core::{arch::asm, ptr};

use aya_ebpf::{
    bindings::{tcp_request_sock, tcp_sock, tcp_timewait_sock},
    helpers::generated::{
        bpf_probe_read_kernel, bpf_probe_read_user, bpf_skc_to_tcp_request_sock,
        bpf_skc_to_tcp_sock, bpf_skc_to_tcp_timewait_sock,
    },
};
use tcptrace_common::{
    field::Field,
    layout::{NO_DEREF, Place},
};

use crate::maps::LAYOUT;

/// The kernel's `struct sock`; only its address is used.
pub type Sock = core::ffi::c_void;

/// Reads what every kernel has ([`Field::is_vital`], [`Field::is_plain`]), so that nothing is asked here.
pub trait Words: Copy {
    /// The first 4 bytes of the field.
    fn word(&self, field: Field) -> u32;
    /// `TCP_ESTABLISHED` and the like.
    fn state(&self) -> u32;
}

/// Reads fields of one socket and, where the hook has one, of one segment.
pub trait Reader: Words {
    /// A read cannot fail.
    const IS_SAFE: bool;
    /// Address of the socket: its identity while it lives.
    fn sk(&self) -> u64;
    /// Start of the struct that `field` is read from; null when the hook has none.
    fn base(&self, field: Field) -> *const u8;
    /// Up to 8 bytes at `at`, and 1 when they could be read, 0 otherwise: a number, because a branch for each field would
    /// double what the verifier has to look at.
    fn load(&self, at: *const u8, size: u8) -> (u64, u32);
    /// Up to 8 bytes at `at`; 0 when the read failed.
    fn bytes(&self, at: *const u8, size: u8) -> u64;
    /// The pointer at `at`; `None` when the read failed or it is null. A plain load through a null pointer is not only a
    /// failed read: 5.10 does not find its way back from a fault in a program that calls functions of its own, and the
    /// task at work is killed.
    fn pointer(&self, at: *const u8) -> Option<*const u8>;

    /// The field's value, and 1 when this kernel has it and it could be read. Not for 16-byte fields.
    #[inline(always)]
    fn field(&self, field: Field) -> (u64, u32) {
        let place = place(field);
        let Some(at) = self.place(field, &place) else { return (0, 0) };
        let (v, read) = self.load(at, place.size);
        let v = v >> (place.shift & 63);
        (if place.width == 0 { v } else { v & ((1 << (place.width & 63)) - 1) }, read)
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

    /// 1 when the field, a pointer, is not null. A tracing program may not compute with one.
    #[inline(always)]
    fn is_set(&self, field: Field) -> u32 {
        let place = place(field);
        if place.size != 8 || place.deref != NO_DEREF {
            return 0;
        }
        let at = self.base(field).wrapping_add(place.offset as usize);
        u32::from(self.pointer(at).is_some())
    }

    /// As [`Self::value`], the low 4 bytes of a field behind a pointer.
    #[inline(always)]
    fn followed_value(&self, field: Field) -> u32 {
        let place = place(field);
        if !matches!(place.size, 4 | 8) || place.deref == NO_DEREF {
            return 0;
        }
        let at = self.base(field).wrapping_add(place.offset as usize);
        let to = self.bytes(at, 8) as *const u8;
        if to.is_null() {
            return 0;
        }
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

    /// Both halves of a 16-byte field, and 1 when this kernel has it and it could be read.
    #[inline(always)]
    fn wide(&self, field: Field) -> ([u64; 2], u32) {
        let place = place(field);
        if place.size != 16 {
            return ([0; 2], 0);
        }
        let Some(at) = self.place(field, &place) else { return ([0; 2], 0) };
        let ((low, first), (high, second)) = (self.load(at, 8), self.load(at.wrapping_add(8), 8));
        ([low, high], first & second)
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
        // A tracing program may read by a null pointer, and gets 0; but kernels before 6.4 look for what tells them so in
        // the wrong table when the program has subprograms, and stop.
        let to = self.pointer(at)?;
        if to.is_null() { None } else { Some(to.wrapping_add(place.deref as usize)) }
    }
}

impl<R: Reader> Words for R {
    #[inline(always)]
    fn word(&self, field: Field) -> u32 {
        self.bytes(self.base(field).wrapping_add(offset(field)), 4) as u32
    }
    #[inline(always)]
    fn state(&self) -> u32 {
        self.value(Field::skc_state) as u32
    }
}

/// The loader has filled the table in; a volatile read keeps the compiler from using the values it sees.
#[inline(always)]
fn place(field: Field) -> Place {
    let row = (&raw const LAYOUT.place).cast::<u64>().wrapping_add(field as usize);
    // SAFETY: `field as usize` is below `Field::COUNT`, the length of the table, whose rows are as large and as aligned.
    Place::from_bits(unsafe { ptr::read_volatile(row) })
}

/// Where a field lies that every kernel has.
#[inline(always)]
fn offset(field: Field) -> usize {
    // SAFETY: a number of the table, as above.
    usize::from(unsafe { ptr::read_volatile(&raw const LAYOUT.place[field as usize].offset) })
}

/// Most steps from the root of the tree of unacknowledged segments to its end: enough for 2^12 of them.
const DEEPEST: u32 = 24;

/// Sequence numbers of the last segment in flight, and when it left, nanoseconds; `None` when nothing is in flight.
#[inline(always)]
pub fn last_in_flight<R: Reader>(reader: &R) -> Option<(u32, u32, u64)> {
    let (right, stamp) = (place(Field::rtx_right), place(Field::skb_mstamp_ns));
    let root = place(Field::rtx_root);
    if right.size != 8 || stamp.size != 8 || root.size != 8 {
        return None;
    }
    let at = reader.base(Field::rtx_root).wrapping_add(root.offset as usize);
    let mut skb = reader.pointer(at)?;
    for _ in 0..DEEPEST {
        let Some(next) = reader.pointer(skb.wrapping_add(right.offset as usize)) else { break };
        skb = next;
    }
    let word = |field: Field| reader.bytes(skb.wrapping_add(offset(field)), 4) as u32;
    let left_ns = reader.bytes(skb.wrapping_add(stamp.offset as usize), 8);
    Some((word(Field::seq), word(Field::end_seq), left_ns))
}

/// The arguments of a tracing program before the socket is known to be a full one: only what every `struct sock` has can
/// be read, for the look that turns most events away.
#[derive(Clone, Copy)]
pub struct Glance {
    sk: *const Sock,
    skb: *const u8,
    ports: u32,
    hash: u32,
}

impl Glance {
    /// The probed function's first argument, and its segment or null.
    #[inline(always)]
    pub fn new(sk: *const Sock, skb: *const u8) -> Self {
        // Not volatile: what a program does not ask for is not read, and what it asks for twice is read once.
        let of = |field: Field| {
            // SAFETY: the verifier checks the place against the kernel's own types.
            unsafe { ptr::read(sk.cast::<u8>().wrapping_add(offset(field)).cast::<u32>()) }
        };
        Self { sk, skb, ports: of(Field::skc_portpair), hash: of(Field::skc_hash) }
    }

    /// Whether bytes may have been written and not sent yet.
    #[inline(always)]
    pub fn waits(self) -> bool {
        self.word(Field::sk_write_queue_len) != 0
    }
}

impl Words for Glance {
    #[inline(always)]
    fn word(&self, field: Field) -> u32 {
        match field {
            Field::skc_portpair => return self.ports,
            Field::skc_hash => return self.hash,
            _ => {}
        }
        let base = if field.of_segment() { self.skb } else { self.sk.cast() };
        // SAFETY: the verifier checks the place against the kernel's own types.
        unsafe { ptr::read_volatile(base.wrapping_add(offset(field)).cast::<u32>()) }
    }
    #[inline(always)]
    fn state(&self) -> u32 {
        let at = self.sk.cast::<u8>().wrapping_add(offset(Field::skc_state));
        // SAFETY: as above; one byte on every kernel so far, which the loader checks.
        u32::from(unsafe { ptr::read_volatile(at) })
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

/// Number of the inode of the file that a process has the socket open by; 0 where none has.
#[inline(always)]
pub fn inode(reader: &Typed) -> u64 {
    let next = |from: *const u8, field: Field| {
        let place = place(field);
        if place.size != 8 {
            return None;
        }
        reader.pointer(from.wrapping_add(place.offset as usize))
    };
    let found = next(reader.base(Field::sk_socket), Field::sk_socket)
        .and_then(|socket| next(socket, Field::socket_file))
        .and_then(|file| next(file, Field::file_inode));
    let Some(inode) = found else { return 0 };
    let place = place(Field::inode_ino);
    if place.size == 8 { reader.bytes(inode.wrapping_add(place.offset as usize), 8) } else { 0 }
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

    /// The socket, or the request, at this address.
    #[inline(always)]
    pub fn at(sk: u64) -> Self {
        Self { sk }
    }
}

impl Reader for Unread {
    const IS_SAFE: bool = false;
    #[inline(always)]
    fn sk(&self) -> u64 {
        self.sk
    }
    #[inline(always)]
    fn base(&self, _field: Field) -> *const u8 {
        ptr::null()
    }
    #[inline(always)]
    fn load(&self, _at: *const u8, _size: u8) -> (u64, u32) {
        (0, 0)
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

    /// As [`Self::new`], of the same socket with something else in the segment's place.
    #[inline(always)]
    pub fn with(self, skb: *const u8) -> Self {
        Self { skb, ..self }
    }

    /// A request, of which only what every `struct sock` begins with may be read.
    #[inline(always)]
    pub fn request(req: *const Sock) -> Self {
        Self { sk: req, tp: req.cast(), skb: ptr::null() }
    }

    /// As [`Self::with`], of a request with all that TCP keeps in it, and nothing but it to read from.
    #[inline(always)]
    pub fn whole_request(req: *const Sock) -> Option<Self> {
        // SAFETY: the verifier has checked that `req` begins as a socket does.
        let typed: *const tcp_request_sock =
            unsafe { bpf_skc_to_tcp_request_sock(req.cast_mut().cast()) };
        if typed.is_null() {
            None
        } else {
            Some(Self { sk: req, tp: typed.cast(), skb: typed.cast() })
        }
    }

    /// What stands in the segment's place.
    #[inline(always)]
    pub fn in_segments_place(self) -> *const u8 {
        self.skb
    }

    /// Of a minisock, and the segment that came for it.
    #[inline(always)]
    pub fn minisock(tw: *const Sock, skb: *const u8) -> Option<Self> {
        // SAFETY: the verifier has checked that `tw` begins as a socket does.
        let typed: *const tcp_timewait_sock =
            unsafe { bpf_skc_to_tcp_timewait_sock(tw.cast_mut().cast()) };
        if typed.is_null() { None } else { Some(Self { sk: tw, tp: typed.cast(), skb }) }
    }
}

impl Reader for Typed {
    const IS_SAFE: bool = true;
    #[inline(always)]
    fn sk(&self) -> u64 {
        self.sk as u64
    }
    #[inline(always)]
    fn base(&self, field: Field) -> *const u8 {
        if field.of_segment() { self.skb } else { self.tp }
    }
    #[inline(always)]
    fn load(&self, at: *const u8, size: u8) -> (u64, u32) {
        (self.bytes(at, size), 1)
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
        let to = unsafe { ptr::read_volatile(at.cast::<*const u8>()) };
        if to.is_null() { None } else { Some(to) }
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

    /// The socket of a file's `struct socket`.
    #[inline(always)]
    pub fn socket(sock: u64) -> Option<Self> {
        let from = Self::new(sock, 0)?;
        Self::new(from.value(Field::socket_sk), 0)
    }
}

impl Reader for Helper {
    const IS_SAFE: bool = false;
    #[inline(always)]
    fn sk(&self) -> u64 {
        self.sk as u64
    }
    #[inline(always)]
    fn base(&self, field: Field) -> *const u8 {
        if field.of_segment() { self.skb } else { self.sk }
    }
    #[inline(always)]
    fn load(&self, at: *const u8, size: u8) -> (u64, u32) {
        let mut out = 0u64;
        let size = match size {
            1 | 2 | 4 | 8 => u32::from(size),
            _ => return (0, 0),
        };
        // SAFETY: `out` has room for 8 bytes; the helper fails on a bad address, and leaves 0.
        let failed = unsafe { bpf_probe_read_kernel((&raw mut out).cast(), size, at.cast()) };
        // The sign of the result; in assembly, because the compiler would ask for it by a branch.
        let mut sign = failed as u64;
        // SAFETY: shifts a register.
        unsafe { asm!("{sign} >>= 63", sign = inout(reg) sign) };
        (out, sign as u32 ^ 1)
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
        let to = self.bytes(at, 8) as *const u8;
        if to.is_null() { None } else { Some(to) }
    }
}

/// A request that is no socket yet: it begins as one, with the two ends, and has nothing else in common.
#[derive(Clone, Copy)]
pub struct Request<R>(pub R);

impl<R: Reader> Request<R> {
    /// Local port, network byte order, which a socket has elsewhere.
    #[inline(always)]
    fn sport(&self) -> u64 {
        u64::from(((self.0.value(Field::skc_portpair) >> 16) as u16).to_be())
    }
}

impl<R: Reader> Reader for Request<R> {
    const IS_SAFE: bool = true;
    #[inline(always)]
    fn sk(&self) -> u64 {
        self.0.sk()
    }
    #[inline(always)]
    fn base(&self, field: Field) -> *const u8 {
        self.0.base(field)
    }
    #[inline(always)]
    fn load(&self, at: *const u8, size: u8) -> (u64, u32) {
        self.0.load(at, size)
    }
    #[inline(always)]
    fn bytes(&self, at: *const u8, size: u8) -> u64 {
        self.0.bytes(at, size)
    }
    #[inline(always)]
    fn pointer(&self, at: *const u8) -> Option<*const u8> {
        self.0.pointer(at)
    }
    #[inline(always)]
    fn field(&self, field: Field) -> (u64, u32) {
        match field {
            Field::inet_sport => (self.sport(), 1),
            Field::skc_family
            | Field::skc_state
            | Field::skc_dport
            | Field::skc_rcv_saddr
            | Field::skc_daddr
            | Field::netns => self.0.field(field),
            _ => (0, 0),
        }
    }
    #[inline(always)]
    fn value(&self, field: Field) -> u64 {
        if field == Field::inet_sport { self.sport() } else { self.0.value(field) }
    }
}

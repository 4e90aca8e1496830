//! What is told of a call that sets an option: the socket before it and after it.

use core::ptr;

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_probe_read_kernel, bpf_probe_read_user,
};
use tcptrace_common::{
    field::Field,
    hook::Hook,
    sockopt::{MAX_VALUE, VIA_KERNEL, VIA_MPTCP, is_told},
    tcp::{AF_INET, AF_INET6, SOL_TCP},
};

use crate::{
    emit,
    maps::{CALLS, KERNEL_READS},
    read::Reader,
    socket::{self, AtWork},
};

/// A system call that sets an option, or `io_uring` doing the same, by thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// Address of the socket whose option is being set; 0 while none is that is told.
    pub sk: u64,
    /// `VIA_*`, and the level.
    pub how: u32,
    /// Length of the value; 0 where it is not known.
    pub optlen: u32,
}

/// The value that was asked for, as far as it is told.
pub type Asked = [u32; MAX_VALUE / 4];

/// The thread at work.
#[inline(always)]
pub fn thread() -> u32 {
    // SAFETY: the helper has no argument.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// Way and level, as the records have them.
#[inline(always)]
pub fn how(via: u32, level: u32) -> u32 {
    via << 16 | level & 0xffff
}

/// Length of the value and number of the option, as the records have them. What is not read has no length.
#[inline(always)]
pub fn option(optname: u32, optlen: u32) -> u32 {
    let optlen = if reads_kernel() { optlen } else { 0 };
    let optlen = if optlen > 0xffff { 0xffff } else { optlen };
    optlen << 16 | optname & 0xffff
}

/// Whether the option of this socket is told. What has a socket as its first argument in the kprobe form may be one of
/// another protocol.
#[inline(always)]
fn is_tcp<R: Reader>(reader: &R) -> bool {
    let family = reader.value(Field::skc_family) as u32;
    reader.value(Field::sk_protocol) as u32 == SOL_TCP && (family == AF_INET || family == AF_INET6)
}

/// What is told of a call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Told {
    /// `VIA_*`, and the level.
    pub how: u32,
    /// Length of the value, and number of the option.
    pub option: u32,
    /// The result.
    pub ret: u32,
    /// What was asked for.
    pub asked: Asked,
}

impl Told {
    #[inline(always)]
    fn values(&self) -> emit::Values {
        let [first, second, third, fourth] = self.asked;
        [self.how, self.option, self.ret, first, second, third, fourth]
    }
}

/// An option is about to be set; whether that was told. A function of its own, as [`ends`] is: every program would have a
/// copy of it.
#[inline(never)]
pub fn begins<R: Reader>(reader: &R, told: &Told) -> bool {
    if !is_told(told.how & 0xffff, told.option & 0xffff)
        || !is_tcp(reader)
        || !socket::admits(reader, AtWork::User)
    {
        return false;
    }
    if socket::meet(Hook::option_before, reader).is_none() {
        return false;
    }
    emit::emit::<R, { Hook::option_before.slots() }>(Hook::option_before, reader, told.values())
}

/// It has been set, or refused.
#[inline(never)]
pub fn ends<R: Reader>(reader: &R, told: &Told) -> bool {
    emit::emit::<R, { Hook::option_after.slots() }>(Hook::option_after, reader, told.values())
}

/// The way of a call that the kernel makes itself; `None` where it is a part of the task's own call on that socket.
#[inline(always)]
fn own_way<R: Reader>(reader: &R) -> Option<u32> {
    // SAFETY: the value is copied at once.
    let call = unsafe { CALLS.get(&thread()) }.copied();
    if call.is_some_and(|call| call.sk == reader.sk()) {
        return None;
    }
    Some(if reader.value(Field::is_mptcp) == 1 { VIA_MPTCP } else { VIA_KERNEL })
}

/// The kernel is about to set an option itself.
#[inline(always)]
pub fn kernel_begins<R: Reader>(reader: &R, (level, optname): (u32, u32), asked: Asked) {
    if let Some(via) = own_way(reader) {
        let (how, option) = (how(via, level), option(optname, 4));
        begins(reader, &Told { how, option, ret: 0, asked });
    }
}

/// The kernel has set an option itself.
#[inline(always)]
pub fn kernel_ends<R: Reader>(reader: &R, (level, optname): (u32, u32), ret: u32, asked: Asked) {
    if socket::met(reader).is_none() {
        return;
    }
    if let Some(via) = own_way(reader) {
        let (how, option) = (how(via, level), option(optname, 4));
        ends(reader, &Told { how, option, ret, asked });
    }
}

/// Whether a program may read the kernel's memory by an address: not where the kernel is locked down.
#[inline(always)]
pub fn reads_kernel() -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    unsafe { ptr::read_volatile(&raw const KERNEL_READS) != 0 }
}

/// The first bytes of a value; zeros where it cannot be read.
#[inline(always)]
pub fn asked(at: u64, optlen: u32, is_kernel: bool) -> Asked {
    let mut value: Asked = [0; MAX_VALUE / 4];
    let to = (&raw mut value).cast();
    let size = if optlen >= MAX_VALUE as u32 { MAX_VALUE as u32 } else { optlen & 15 };
    // Where the kernel is locked down aya takes both helpers for missing, and puts one in their place that is refused.
    if !reads_kernel() {
        return value;
    }
    // SAFETY: the value has room for 16 bytes; a read that fails leaves zeros.
    unsafe {
        if is_kernel {
            bpf_probe_read_kernel(to, size, at as *const _);
        } else {
            bpf_probe_read_user(to, size, at as *const _);
        }
    }
    value
}

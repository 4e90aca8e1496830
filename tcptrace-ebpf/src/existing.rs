//! The iterator over the sockets of a network namespace: stands on no function, touches nothing, and is run once, by its
//! reader. What it finds goes to that reader and not into the ring buffer.

use core::ffi::c_void;

use aya_ebpf::bindings::seq_file;
use tcptrace_common::hook::Hook;

use crate::{
    emit, filter,
    read::{self, Sock, Typed},
    socket,
};

/// `struct bpf_iter__tcp`: what the kernel gives for each socket, and nothing at the end.
#[repr(C)]
struct Context {
    meta: *const *mut seq_file,
    sk: *const Sock,
}

/// One socket. Requests and minisocks are passed over.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub fn existing(ctx: *mut c_void) -> i32 {
    let ctx = ctx.cast::<Context>();
    // SAFETY: the context of such a program; the verifier knows both.
    let (meta, sk) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*ctx).meta),
            core::ptr::read_volatile(&raw const (*ctx).sk),
        )
    };
    if sk.is_null() {
        return 0;
    }
    let Some(reader) = Typed::new(sk, core::ptr::null()) else { return 0 };
    if !filter::passes(&reader) {
        return 0;
    }
    // SAFETY: the first member of what `meta` points to.
    let seq = unsafe { core::ptr::read_volatile(meta) };
    let inode = read::inode(&reader);
    emit::hand::<_, { Hook::socket.slots() }>(seq, Hook::socket, &reader, [0; 7]);
    let values = [inode as u32, (inode >> 32) as u32, 0, 0, 0, 0, 0];
    emit::hand::<_, { Hook::existing.slots() }>(seq, Hook::existing, &reader, values);
    0
}

//! What the programs remember of a request, which stands for a deferred connection until it is a socket.

use aya_ebpf::bindings::BPF_NOEXIST;
use tcptrace_common::{field::Field, hook::Hook, loss::Loss};

use crate::{
    emit,
    maps::{DEFERRING, REQUESTS},
    read::{Reader, Request},
    socket,
};

/// Bits of the `end` of [`Hook::tcp_check_req`]: the request is a socket now.
pub const IS_SOCKET: u32 = 1;
/// It was dropped; it is, too, when it becomes a socket.
pub const DROPPED: u32 = 2;
/// Another socket listens for it.
pub const MIGRATED: u32 = 4;

/// One request of a listener with `TCP_DEFER_ACCEPT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pending {
    /// 1 while `tcp_check_req()` deals with a segment that came for it.
    pub in_check: u32,
    /// What the segment has made of it: bits of the `end` of [`Hook::tcp_check_req`].
    pub end: u32,
    /// `num_timeout` before the segment.
    pub num_timeout: u32,
    /// What stood before the segment: bits of the `before` of [`Hook::tcp_check_req`].
    pub before: u32,
    /// The request that has taken its place, while its timer still runs; 0 without one.
    pub moved_to: u64,
}

/// Whether what happens to deferred connections is wanted.
#[inline(always)]
pub fn deferring() -> bool {
    // SAFETY: the loader may have written it; volatile keeps the compiler from using the value it sees.
    unsafe { core::ptr::read_volatile(&raw const DEFERRING) != 0 }
}

/// What is known of the request at this address.
#[inline(always)]
pub fn known(req: u64) -> Option<*mut Pending> {
    REQUESTS.get_ptr_mut(&req)
}

/// Nothing more will be told of the request at this address.
#[inline(always)]
pub fn forget(req: u64) {
    let _ = REQUESTS.remove(&req);
}

/// Whether the listener that is read defers.
#[inline(always)]
pub fn defers<R: Reader>(listener: &R) -> bool {
    listener.value(Field::rskq_defer_accept) != 0
}

/// Meets a request of a listener that defers, where the filter lets it through. `listener` reads that and, in the segment's
/// place, the request; `request` the request alone.
#[inline(always)]
pub fn meet<L: Reader, R: Reader>(listener: &L, request: &R, midway: bool) -> Option<*mut Pending> {
    let hook = Hook::inet_csk_reqsk_queue_hash_add;
    let ends = Request(*request);
    if !socket::admits_request(listener, &ends) {
        return None;
    }
    let req = request.sk();
    let fresh = Pending { in_check: 0, end: 0, num_timeout: 0, before: 0, moved_to: 0 };
    // What is there already is of a request that ended unseen.
    let flags = if midway { u64::from(BPF_NOEXIST) } else { 0 };
    if !socket::is_enabled() {
        return None;
    }
    if REQUESTS.insert(&req, &fresh, flags).is_err() {
        emit::lost(hook, Loss::TableFull);
        return None;
    }
    let told = socket::announce(&ends)
        && emit::emit_for::<L, { Hook::inet_csk_reqsk_queue_hash_add.slots() }>(
            hook,
            listener,
            req,
            [u32::from(midway), 0, 0, 0, 0, 0, 0],
        );
    if !told {
        forget(req);
        return None;
    }
    known(req)
}

/// A request is dropped, in whatever way: told once.
#[inline(always)]
pub fn dropped<L: Reader, const N: usize>(hook: Hook, listener: &L, req: u64) {
    let Some(pending) = known(req) else { return };
    // SAFETY: the map's value lives as long as the program runs.
    unsafe {
        if (*pending).moved_to != 0 {
            return;
        }
        if (*pending).in_check == 1 {
            (*pending).end |= DROPPED;
            return;
        }
    }
    forget(req);
    emit::emit_for::<L, N>(hook, listener, req, [0; 7]);
}

//! Ctrl-C while a recorded trace is read: a file is read no further, and its summary is printed; a pipe is read on, because
//! whoever writes it is stopped too and writes its end. The second Ctrl-C ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether somebody has asked to stop.
pub(super) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// From here on the first SIGINT or SIGTERM only asks.
pub(super) fn only_ask() {
    extern "C" fn ask(_signal: libc::c_int) {
        ASKED.store(true, Ordering::Relaxed);
    }
    let ask: extern "C" fn(libc::c_int) = ask;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: all zeroes are an action without flags and with an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = ask as libc::sighandler_t;
        // No SA_RESTART: a read that waits ends, so that the question is heard.
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

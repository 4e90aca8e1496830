//! The signals by which a person, or whoever started it, ends a run.

/// Puts SIGINT and SIGTERM off for this thread, or takes them again: one that came meanwhile comes then. Between the moment
/// at which a run says that it goes on and the one at which it listens for them they would end it without its summary.
pub fn put_off(yes: bool) {
    let how = if yes { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: all zeroes are a set of signals, and an empty one.
    let mut ends: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: a set of ours, and the number of a signal.
        unsafe { libc::sigaddset(&raw mut ends, signal) };
    }
    // SAFETY: the old set is not asked for.
    unsafe { libc::pthread_sigmask(how, &raw const ends, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    static CAME: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_signal_that_was_put_off_comes_later() {
        extern "C" fn note(_signal: libc::c_int) {
            CAME.store(true, Ordering::SeqCst);
        }
        let note: extern "C" fn(libc::c_int) = note;
        // SAFETY: the handler only stores to an atomic; the signal is for this thread.
        unsafe { libc::signal(libc::SIGTERM, note as libc::sighandler_t) };
        put_off(true);
        // SAFETY: as above.
        unsafe { libc::raise(libc::SIGTERM) };
        assert!(!CAME.load(Ordering::SeqCst));
        put_off(false);
        assert!(CAME.load(Ordering::SeqCst));
    }
}

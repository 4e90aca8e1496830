//! A timer of the kernel that beats: a beat is one wake-up. Tokio's own timers wake twice for most times beyond 64 ms, to
//! put them from a coarse wheel on a fine one.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use tokio::io::unix::AsyncFd;

/// The timer.
pub(super) struct Pulse(AsyncFd<OwnedFd>);

impl Pulse {
    /// Beats from now on, each time this has passed.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(every: Duration) -> io::Result<Self> {
        // SAFETY: a plain system call with two numbers.
        let fd = unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just opened it, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let every = libc::timespec {
            tv_sec: i64::try_from(every.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(every.subsec_nanos()),
        };
        let times = libc::itimerspec { it_interval: every, it_value: every };
        // SAFETY: the times live through the call, which does not write to the null pointer.
        let set = unsafe {
            libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const times, std::ptr::null_mut())
        };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is ours alone and stays open while it is registered.
        Ok(Self(unsafe { AsyncFd::register(fd) }?))
    }

    /// Waits for the next beat; those that nobody has waited for are one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) async fn beat(&self) -> io::Result<()> {
        let mut guard = self.0.readable().await?;
        let mut beats = 0_u64;
        let fd = guard.get_inner().as_raw_fd();
        // SAFETY: the kernel writes eight bytes to a number that is ours.
        let read = unsafe { libc::read(fd, (&raw mut beats).cast(), size_of::<u64>()) };
        guard.clear_ready();
        let error = io::Error::last_os_error();
        if read < 0 && error.kind() != io::ErrorKind::WouldBlock { Err(error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_beats_each_time_and_what_was_not_waited_for_is_one_beat() {
        let every = Duration::from_millis(20);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            #[expect(clippy::disallowed_methods, reason = "a timer is what is tested")]
            let begun = Instant::now();
            let pulse = Pulse::new(every).unwrap();
            for beat in 1..=3 {
                pulse.beat().await.unwrap();
                assert!(begun.elapsed() >= every * beat);
            }
            std::thread::sleep(every * 3);
            pulse.beat().await.unwrap();
            let waited = begun.elapsed();
            pulse.beat().await.unwrap();
            assert!(begun.elapsed() > waited);
        });
    }
}

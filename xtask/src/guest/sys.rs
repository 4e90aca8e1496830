//! Clocks, sleeping and checked system calls.

use std::{io, mem::MaybeUninit, os::fd::RawFd};

/// The result of a system call, with its errno as the error.
pub(crate) fn checked(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`checked`], for calls that return a descriptor or nothing.
pub(crate) fn checked_fd(result: libc::c_int) -> io::Result<RawFd> {
    checked(i64::from(result)).map(|_| result)
}

/// Time on `CLOCK_MONOTONIC`.
pub(crate) fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`: nothing sets a guest's clock.
pub(crate) fn realtime_offset_ns() -> u64 {
    let before = now_ns();
    let wall = clock_ns(libc::CLOCK_REALTIME);
    let after = now_ns();
    wall.saturating_sub(u64::midpoint(before, after))
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the kernel fills the timespec, which is valid for writes.
    unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    // SAFETY: all-zero is a timespec, whether the call filled it or not.
    let time = unsafe { time.assume_init() };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Sleeps until a time on `CLOCK_MONOTONIC`.
pub(crate) fn sleep_until(at_ns: u64) {
    let time = timespec(at_ns);
    // SAFETY: the timespec outlives the call; no remainder is asked for with an absolute time.
    while unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &raw const time,
            std::ptr::null_mut(),
        )
    } == libc::EINTR
    {}
}

/// Nanoseconds as a timespec.
pub(crate) fn timespec(at_ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(at_ns / 1_000_000_000).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::try_from(at_ns % 1_000_000_000).unwrap_or(0),
    }
}

/// Sleeps and timeouts of this thread and of those it starts end on time, not 50 us later.
pub(crate) fn exact_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one number.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// This thread and those it starts run before tcptrace does, or its work would shift the times of the story.
pub(crate) fn first_in_line() {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) };
}

/// The name of this thread, which is the `comm` that tcptrace sees.
pub(crate) fn name_thread(name: &std::ffi::CStr) {
    // SAFETY: PR_SET_NAME reads a string that ends in zero.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Sets a socket option, mostly an integer.
pub(crate) fn set_option<T>(fd: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(4);
    // SAFETY: the pointer and the size describe the value, which outlives the call.
    let result =
        unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), size) };
    checked(i64::from(result)).map(drop)
}

/// Lets this process, and those that it starts, have as many files open as it may.
pub(crate) fn allow_files() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call.
    checked(i64::from(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }))?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    checked(i64::from(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })).map(drop)
}

/// The bytes of a C structure, as the kernel takes them.
pub(crate) fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: the pointer and the size describe one live value; only C structures without padding are given.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

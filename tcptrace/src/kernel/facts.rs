//! What is known of the running host: its release, and how many jiffies it counts in a second.

use std::fs;

/// Jiffies per second that kernels are built with.
const POSSIBLE_HZ: [u64; 4] = [100, 250, 300, 1000];

/// Kernel release, as `uname -r` prints it.
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
}

/// What a kernel is called that nobody has named (`UTS_NODENAME`).
const NAMELESS: &str = "(none)";

/// The host's name, as `uname -n` prints it; empty when it has none.
pub fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim()).filter(|name| *name != NAMELESS).unwrap_or_default().to_owned()
}

/// Jiffies per second, from two samples of (jiffies, nanoseconds). BTF lacks it, and `USER_HZ` is another number.
///
/// `None` when the samples lie too close together, or fit no kernel.
pub fn hz(first: [u64; 2], second: [u64; 2]) -> Option<u32> {
    let (ticks, ns) = (second[0].checked_sub(first[0])?, second[1].checked_sub(first[1])?);
    // One tick may be missing at either end.
    let fits = |hz: u64| {
        let exact = u128::from(ns) * u128::from(hz) / 1_000_000_000;
        u128::from(ticks).abs_diff(exact) <= 1
    };
    let mut fitting = POSSIBLE_HZ.iter().filter(|hz| fits(**hz));
    let found = fitting.next()?;
    if fitting.next().is_some() { None } else { u32::try_from(*found).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hz_is_found_within_a_tick() {
        assert_eq!(hz([1000, 0], [1025, 100_000_000]), Some(250));
        assert_eq!(hz([1000, 0], [1024, 100_000_000]), Some(250));
        assert_eq!(hz([1000, 0], [1100, 100_500_000]), Some(1000));
    }

    #[test]
    fn samples_too_close_tell_nothing() {
        assert_eq!(hz([1000, 0], [1001, 4_000_000]), None);
    }

    #[test]
    fn a_rate_that_no_kernel_has_is_unknown() {
        assert_eq!(hz([0, 0], [64, 100_000_000]), None);
    }
}

//! What this process may do: capabilities and lockdown, read from `/proc` and securityfs.

use std::fs;

/// `CAP_SYS_ADMIN` (include/uapi/linux/capability.h).
const CAP_SYS_ADMIN: u32 = 21;
/// `CAP_PERFMON` (include/uapi/linux/capability.h).
const CAP_PERFMON: u32 = 38;
/// `CAP_BPF` (include/uapi/linux/capability.h).
const CAP_BPF: u32 = 39;

/// The capabilities that loading needs and this process lacks, by name; empty when it may.
pub fn missing_capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    missing(effective(&status).unwrap_or(0))
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |cap: u32| effective & (1 << cap) != 0;
    if has(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(cap, _)| !has(*cap))
        .map(|(_, n)| n)
        .collect()
}

/// Whether the kernel is locked down to "confidentiality": no kprobe and no read helper then.
pub fn locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|s| s.contains("[confidentiality]"))
}

/// `kernel.perf_event_paranoid`, when readable. From 3 on (Debian) kprobes are left to `CAP_SYS_ADMIN`.
pub fn perf_event_paranoid() -> Option<i32> {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_capabilities_are_needed_unless_admin() {
        assert_eq!(missing(0), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(1 << CAP_BPF), ["CAP_PERFMON"]);
        assert!(missing(1 << CAP_BPF | 1 << CAP_PERFMON).is_empty());
        assert!(missing(1 << CAP_SYS_ADMIN).is_empty());
    }

    #[test]
    fn effective_set_is_read_in_hex() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
    }
}

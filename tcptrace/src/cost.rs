//! What the probes cost: as the kernel has counted it, or as it is estimated where nobody has taken their time.
//!
//! The figures of the estimate are typical ones: what an empty program of each kind takes on a server (published for `ebpf_exporter`: 15 ns at a
//! tracepoint, 24 at an fentry, 137 at a kprobe; the others by the instructions that they take beside these, docs/performance.md),
//! and what an event adds to it.

use tcptrace_common::hook::Hook;

use crate::event::Attached;

/// What the programs cost, by the kernel's own count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time in the programs, nanoseconds, all CPUs together.
    pub run_ns: u64,
    /// How often they ran.
    pub runs: u64,
    /// Over which time that was counted, nanoseconds, where it was not all the time.
    pub sampled_ns: Option<u64>,
    /// The same hook by hook; empty in older traces.
    pub by_hook: Vec<Spent>,
}

impl Cost {
    /// Over which time it was counted, nanoseconds, in a run of `watched_ns`.
    pub fn over_ns(&self, watched_ns: u64) -> u64 {
        self.sampled_ns.unwrap_or(watched_ns)
    }
}

/// What the programs of one hook cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The hook.
    pub hook: Hook,
    /// How often they ran.
    pub runs: u64,
    /// Time in them, nanoseconds, all CPUs together.
    pub run_ns: u64,
}

/// Hooks that every write passes, whose bytes leave at once and arrive.
const OF_A_WRITE: [Hook; 5] = [
    Hook::tcp_sendmsg_locked,
    Hook::tcp_push,
    Hook::tcp_write_xmit,
    Hook::tcp_event_new_data_sent,
    Hook::tcp_rcv_established,
];

/// Time that an empty program takes, nanoseconds, by the kind of its probe.
fn empty_ns(kind: &str) -> u64 {
    match kind {
        "tp_btf" | "raw_tp" => 15,
        "fentry" => 24,
        "fexit" => 34,
        "kprobe" => 137,
        _ => 330,
    }
}

/// Time that an event takes besides, nanoseconds: with loads, and with reads by a helper.
const EVENT_NS: u64 = 300;
const HELPED_EVENT_NS: u64 = 900;

/// An estimate of the time in the probes, nanoseconds, from what is known to have happened.
pub fn estimated_ns(attached: &[Attached], writes: u64, events: u64) -> u64 {
    let is_helped = |at: &Attached| matches!(at.kind, "kprobe" | "kretprobe");
    let of_a_write: u64 = attached
        .iter()
        .filter(|at| OF_A_WRITE.contains(&at.hook))
        .map(|at| empty_ns(at.kind))
        .sum();
    let event = if attached.iter().any(is_helped) { HELPED_EVENT_NS } else { EVENT_NS };
    writes.saturating_mul(of_a_write).saturating_add(events.saturating_mul(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kprobe_is_dearer_than_an_fentry() {
        let at = |hook: Hook, kind| Attached { hook, function: hook.name().to_owned(), kind };
        let tracing = [at(Hook::tcp_push, "fexit"), at(Hook::tcp_fin, "fentry")];
        let kprobes = [at(Hook::tcp_push, "kretprobe"), at(Hook::tcp_fin, "kprobe")];
        // What no write passes costs a write nothing.
        assert_eq!(estimated_ns(&tracing, 1000, 0), 34_000);
        assert_eq!(estimated_ns(&tracing, 0, 10), 3_000);
        assert_eq!(estimated_ns(&kprobes, 1000, 10), 339_000);
        assert_eq!(estimated_ns(&[], 1000, 0), 0);
    }
}

//! What a scenario reports, and the trace of a story: written by the guest on its console, read by the host, added up or stored.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Starts each console line that carries an [`Outcome`] in JSON.
pub(crate) const MARK: &str = "@@outcome ";

/// The comparison of one run of one scenario with what the oracle saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Name of the scenario, or `random`.
    pub(crate) scenario: String,
    /// `IPv4` or `IPv6`.
    pub(crate) family: String,
    /// How the probes were attached: `fentry` or `kprobe`.
    pub(crate) form: String,
    /// Holds the oracle computed from call log and wire.
    pub(crate) oracle: u32,
    /// Holds tcptrace reported.
    pub(crate) tool: u32,
    /// Matched holds whose cause (any of the sequence of causes) differs.
    pub(crate) wrong_causes: u32,
    /// Matched holds whose release differs.
    pub(crate) wrong_releases: u32,
    /// Matched holds whose bytes, start or duration differ by more than the allowance.
    pub(crate) wrong_figures: u32,
    /// Holds the oracle saw and tcptrace did not.
    pub(crate) missed: u32,
    /// Holds tcptrace reported and the oracle did not see.
    pub(crate) false_holds: u32,
    /// The scenario did not run as it was written (set-up failed, the kernel did something else), one line each.
    pub(crate) broken: Vec<String>,
    /// One line for each difference, for a person.
    pub(crate) notes: Vec<String>,
    /// It failed once, and passed each time it was run again.
    #[serde(skip)]
    pub(crate) unsteady: bool,
}

impl Outcome {
    /// Whether everything agreed and the scenario ran as written, if not at the first time.
    pub(crate) fn passed(&self) -> bool {
        self.unsteady || self.agreed()
    }

    /// The seed of a random schedule, which it notes.
    pub(crate) fn seed(&self) -> Option<u64> {
        let after = self.notes.iter().find_map(|note| note.split_once(" --seed "));
        after.and_then(|(_, seed)| seed.trim().parse().ok())
    }

    fn agreed(&self) -> bool {
        self.broken.is_empty()
            && self.wrong_causes
                + self.wrong_releases
                + self.wrong_figures
                + self.missed
                + self.false_holds
                == 0
    }
}

/// Starts each console line that carries a [`Recording`] in JSON.
pub(crate) const RECORDING: &str = "@@recording ";

/// The trace of one story, and what the oracle saw of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recording {
    /// Name of the story.
    pub(crate) scenario: String,
    /// The bytes of the trace in hexadecimal digits.
    pub(crate) trace: String,
    /// Its connections; nothing when bytes waited before tcptrace came, which the oracle cannot judge.
    pub(crate) connections: Option<Vec<Witnessed>>,
}

/// The holds of one connection, from call log and wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Witnessed {
    /// Own end.
    pub(crate) local: SocketAddr,
    /// Other end.
    pub(crate) remote: SocketAddr,
    /// The holds, in the order of their start.
    pub(crate) holds: Vec<WitnessedHold>,
    /// The teardown, of a story about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) close: Option<WitnessedClose>,
}

/// One teardown as the oracle saw it, by the names of `--json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WitnessedClose {
    /// Who closed first.
    pub(crate) side: String,
    /// Its shape.
    pub(crate) shape: String,
    /// Why.
    pub(crate) reason: String,
    /// FINs, resets, and ACKs of FINs that carried nothing else; none twice.
    pub(crate) segments: u32,
    /// From the peer's FIN to the segment that acknowledged it.
    pub(crate) fin_to_ack_ns: Option<u64>,
    /// From the peer's FIN to the call that closed this end.
    pub(crate) fin_to_close_ns: Option<u64>,
}

/// One hold as the oracle saw it, by the names of `--json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WitnessedHold {
    /// Return of the write that left bytes waiting, `CLOCK_MONOTONIC`.
    pub(crate) monotonic_ns: u64,
    /// From there to the departure of that write's last byte.
    pub(crate) held_ns: u64,
    /// Waiting bytes.
    pub(crate) bytes: u64,
    /// Causes in order.
    pub(crate) causes: Vec<String>,
    /// What let the bytes go.
    pub(crate) release: String,
    /// Whether whole segments of the same write left before.
    pub(crate) tail: bool,
}

/// Starts each console line that carries a figure of a benchmark in JSON.
pub(crate) const FIGURE: &str = "@@figure ";

/// How a command came and went, of several starts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Attached {
    /// The command, as it is typed.
    pub(crate) words: String,
    /// BPF programs that the kernel had then and not before.
    pub(crate) programs: usize,
    /// From its start to its banner, nanoseconds of the guest.
    pub(crate) attach_ns: Vec<u64>,
    /// From SIGINT to the last of what it printed, and to its end.
    pub(crate) told_ns: Vec<u64>,
    pub(crate) exit_ns: Vec<u64>,
    /// Resident memory once it had attached, and the most until then, KiB.
    pub(crate) rss_kib: u64,
    pub(crate) peak_kib: u64,
    /// BPF programs that were left after it had ended by itself, and after SIGKILL.
    pub(crate) left: usize,
    pub(crate) left_killed: usize,
}

/// One workload without and with a tool beside it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Name of the tool.
    pub(crate) tool: String,
    /// Name of the workload.
    pub(crate) mode: String,
    /// The listener's port.
    pub(crate) port: u16,
    /// Guest instructions of one operation without the tool, everything that ran counted: by run, then by connection.
    pub(crate) base: Vec<Vec<f64>>,
    /// As charged to the workload's thread.
    pub(crate) base_own: Vec<Vec<f64>>,
    /// With the tool.
    pub(crate) traced: Vec<Vec<f64>>,
    /// As charged to the workload's thread.
    pub(crate) traced_own: Vec<Vec<f64>>,
    /// Where the tool told something else than what was done.
    pub(crate) wrong: Vec<String>,
    /// Why there are no figures: it does not run on this kernel.
    #[serde(default)]
    pub(crate) refused: Option<String>,
}

/// A command beside held sockets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The command, as it is typed.
    pub(crate) words: String,
    /// Sockets that held bytes at one time.
    pub(crate) sockets: u32,
    /// Resident memory once it had attached, while the sockets held, once they were closed, and the most of all, KiB.
    pub(crate) attached_kib: u64,
    pub(crate) held_kib: u64,
    pub(crate) closed_kib: u64,
    pub(crate) peak_kib: u64,
    /// Resident memory once as many more had held bytes and were closed, KiB.
    pub(crate) again_kib: u64,
    /// Of what was resident while the sockets held, the pages of maps, which the kernel's account has as well, KiB.
    pub(crate) mapped_kib: u64,
    /// What the kernel had for it, by the account of its cgroup: maps, the ring buffer, programs, once it had attached, while the
    /// sockets held and once they were closed, KiB.
    pub(crate) kernel_attached_kib: u64,
    pub(crate) kernel_kib: u64,
    pub(crate) kernel_closed_kib: u64,
    /// Holds that it told of both times, and events that it told to be lost.
    pub(crate) told: u64,
    pub(crate) lost: u64,
    /// What it told that was not so.
    pub(crate) wrong: Vec<String>,
}

/// A command while all processors are busy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Flooded {
    /// The command, as it is typed.
    pub(crate) words: String,
    pub(crate) cpus: u32,
    /// How long the processors were busy.
    pub(crate) busy_ns: u64,
    /// By kernel function: what happened, what was reported, what was told to be lost.
    pub(crate) hooks: Vec<FloodedHook>,
    /// Events that the command received, and those of all functions that it told to be lost.
    pub(crate) received: u64,
    pub(crate) lost: u64,
    /// Writes that were made outside of all gaps that were told.
    pub(crate) outside_gaps: u64,
    /// The most resident memory it has had, KiB.
    pub(crate) peak_kib: u64,
    /// What it told that was not so.
    pub(crate) wrong: Vec<String>,
}

/// One kernel function in a flood.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FloodedHook {
    pub(crate) hook: String,
    /// Calls, as the workload or the kernel's own counters have them.
    pub(crate) happened: u64,
    /// Those in the command's output.
    pub(crate) reported: u64,
    /// Those it told to be lost.
    pub(crate) lost: u64,
}

/// What a command takes of its own to follow a workload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Followed {
    /// The command, as it is typed.
    pub(crate) words: String,
    /// Its CPU time beyond that of idling, nanoseconds of the guest, which are instructions.
    pub(crate) cpu_ns: u64,
    /// How long the workload took.
    pub(crate) busy_ns: u64,
    /// How often it woke meanwhile.
    pub(crate) wakes: u64,
    /// Events that it took, findings that it made, and those it printed singly.
    pub(crate) events: u64,
    pub(crate) findings: u64,
    pub(crate) printed: u64,
    /// What it told that was not so.
    pub(crate) wrong: Vec<String>,
}

/// A command with nothing to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Idled {
    /// The command, as it is typed.
    pub(crate) words: String,
    /// How long, how often it woke meanwhile, and its CPU time.
    pub(crate) for_ns: u64,
    pub(crate) wakes: u64,
    pub(crate) cpu_ns: u64,
    /// Work that it has nothing to do with.
    pub(crate) unrelated: Vec<Figure>,
    /// What it told that was not so.
    pub(crate) wrong: Vec<String>,
}

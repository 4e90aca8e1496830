//! What a scenario reports: written by the guest on its console, read by the host, added up into the table.

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
}

impl Outcome {
    /// Whether everything agreed and the scenario ran as written.
    pub(crate) fn passed(&self) -> bool {
        self.broken.is_empty()
            && self.wrong_causes
                + self.wrong_releases
                + self.wrong_figures
                + self.missed
                + self.false_holds
                == 0
    }
}

//! Traces that are stored: they explain what a live run explains, whatever happens to the program, the disk or the file.

mod again;
mod recorded;

use std::{fs, path::Path};

use anyhow::Context as _;

pub(crate) use again::{difference, through_cat};
pub(crate) use recorded::explained;

use crate::report::Outcome;

/// The row of the comparisons of a live run with what it stored.
pub(crate) const REPLAY: &str = "replay";
/// The rows of the table.
pub(crate) const NAMES: [&str; 1] = [REPLAY];

/// Whether the row has a run of its own.
pub(crate) fn is_alone(name: &str) -> bool {
    name != REPLAY && NAMES.contains(&name)
}

/// Where the trace of one form is stored.
pub(crate) fn file(form: &str) -> String {
    format!("/tmp/{form}.tcptrace")
}

/// Whether the kernel counts what BPF programs cost.
pub(crate) fn count_cost(on: bool) -> anyhow::Result<()> {
    fs::write("/proc/sys/kernel/bpf_stats_enabled", if on { "1" } else { "0" })
        .context("switch BPF statistics")
}

/// An outcome that is about no hold.
pub(crate) fn outcome(name: &str, form: &str, broken: Vec<String>) -> Outcome {
    Outcome {
        scenario: name.to_owned(),
        family: "both".to_owned(),
        form: form.to_owned(),
        broken,
        ..Outcome::default()
    }
}

/// The outcomes of the rows that are wanted and have a run of their own.
pub(crate) fn outcomes(_tcptrace: &Path, _only: Option<&str>, _offset_ns: u64) -> Vec<Outcome> {
    Vec::new()
}

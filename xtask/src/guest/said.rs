//! What the JSON of every question has: whose finding it is, and what the end says of the kernel's counters.

use std::net::SocketAddr;

use serde::Deserialize;

use super::stage::Family;
use crate::report::Outcome;

/// The socket of a finding.
#[derive(Debug, Deserialize)]
pub(super) struct Socket {
    pub(super) netns: Option<u64>,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
}

/// The process of a finding.
#[derive(Debug, Deserialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) comm: Option<String>,
}

/// What a summary says of one counter.
#[derive(Debug, Deserialize)]
pub(super) struct Counter {
    pub(super) netns: u64,
    pub(super) name: String,
    pub(super) kernel: u64,
    pub(super) findings: u64,
}

/// What speaks against a summary: no counter at all, or one of which the kernel says something else.
pub(super) fn disagreeing(counters: &[Counter]) -> Vec<String> {
    if counters.is_empty() {
        return vec!["no counter was compared".to_owned()];
    }
    counters
        .iter()
        .filter(|it| it.kernel != it.findings)
        .map(|Counter { name, kernel, findings, .. }| {
            format!("the kernel counted {name} {kernel} times, the findings {findings}")
        })
        .collect()
}

/// The forms that are asked for: each is played on its own.
pub(super) fn forms(form: Option<&str>) -> impl Iterator<Item = &'static str> {
    ["fentry", "kprobe"].into_iter().filter(move |it| form.is_none_or(|form| form == *it))
}

/// Of a row that is played in one form over both families at once, with nothing found yet.
pub(super) fn of_both_families(row: &str, form: &str) -> [Outcome; 2] {
    [Family::V4, Family::V6].map(|family| Outcome {
        scenario: row.to_owned(),
        family: family.name().to_owned(),
        form: form.to_owned(),
        ..Outcome::default()
    })
}

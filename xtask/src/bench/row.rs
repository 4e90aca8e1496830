//! One workload with one tool beside it: what the tool adds, out of the runs with and without it.

use serde::{Deserialize, Serialize};

use crate::report::Figure;

/// One workload with one tool beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) tool: String,
    pub(super) mode: String,
    pub(super) port: u16,
    /// Guest instructions of one operation without the tool.
    pub(super) base: f64,
    /// Those added, all that ran counted.
    pub(super) added: f64,
    /// Those added to the workload's own thread: the probes, and what runs in its context. `None` where the base moved
    /// too often.
    pub(super) own: Option<f64>,
    /// Runs that say nothing, because the base moved meanwhile.
    pub(super) dropped: usize,
    /// Where the tool told something else than what was done.
    pub(super) wrong: Vec<String>,
}

impl Row {
    pub(super) fn of(figure: &Figure) -> Option<Self> {
        let middle = |runs: &[Vec<f64>], run: usize| median(runs.get(run)?.iter().copied());
        let added = |base: &[Vec<f64>], traced: &[Vec<f64>], run: usize| {
            let (before, after) = (middle(base, run)?, middle(base, run + 1)?);
            Some(Added {
                more: middle(traced, run)? - f64::midpoint(before, after),
                moved: (after - before).abs() / before.min(after),
            })
        };
        let own: Vec<Added> = (0..figure.traced_own.len())
            .filter_map(|run| added(&figure.base_own, &figure.traced_own, run))
            .collect();
        let whole = (0..figure.traced.len())
            .filter_map(|run| added(&figure.base, &figure.traced, run))
            .map(|added| added.more);
        // A base that has moved from before a run to after it says nothing about that run.
        let limit = steady(&figure.mode);
        let kept = || own.iter().filter(|added| added.moved <= limit).map(|added| added.more);
        let dropped = own.len() - kept().count();
        Some(Self {
            tool: figure.tool.clone(),
            mode: figure.mode.clone(),
            port: figure.port,
            base: median(figure.base_own.iter().flatten().copied())?,
            added: median(whole)?,
            own: median(kept()).filter(|_| dropped * 2 < own.len()),
            dropped,
            wrong: figure.wrong.clone(),
        })
    }

    pub(super) fn is(&self, tool: &str, mode: &str, port: u16) -> bool {
        self.tool == tool && self.mode == mode && self.port == port
    }

    /// What is added to the thread, where it can be said and the answers were right.
    pub(super) fn good(&self) -> Option<f64> {
        self.own.filter(|_| self.wrong.is_empty())
    }
}

/// What one run adds, and how far the base moved from before it to after it, as a share.
#[derive(Clone, Copy, Debug)]
struct Added {
    more: f64,
    moved: f64,
}

/// How far the base of a workload may move, as a share.
fn steady(mode: &str) -> f64 {
    if matches!(mode, "stream" | "cc") { 0.01 } else { 0.002 }
}

/// The middle one.
pub(super) fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (low, high) =
        (figures.get(figures.len().checked_sub(1)? / 2)?, figures.get(figures.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

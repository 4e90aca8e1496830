//! What an analysis concludes: data with its evidence. Generic over the question, so that this module knows none.

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::SocketId;

/// Whether the evidence is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Every event of the span was seen.
    Seen,
    /// Events were lost, or the socket was already at it when the trace began: the finding says "may".
    May,
}

/// A task, as it was when it acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// Process (thread group).
    pub pid: u32,
    /// Thread.
    pub tid: u32,
}

/// One thing that was seen, and where in the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence<F> {
    /// Number of the event in the trace, from 1.
    pub n: u64,
    /// When, nanoseconds, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// What.
    pub fact: F,
}

/// A stretch of one socket's life, what happened in it and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<C, F> {
    /// Whose life.
    pub socket: SocketId,
    /// Start of the span, nanoseconds, `CLOCK_MONOTONIC`.
    pub from_ns: u64,
    /// End of the span, nanoseconds, `CLOCK_MONOTONIC`.
    pub until_ns: u64,
    /// What was concluded.
    pub cause: C,
    /// What shows it, in time order.
    pub evidence: Vec<Evidence<F>>,
    /// How far the evidence goes.
    pub certainty: Certainty,
    /// Names of kernel functions and fields that would have told more and are not there.
    pub not_seen: Vec<&'static str>,
}

impl<C, F> Finding<C, F> {
    /// The same finding in the types of all questions.
    pub fn map<D, G>(self, cause: impl FnOnce(C) -> D, fact: impl Fn(F) -> G) -> Finding<D, G> {
        let evidence = self
            .evidence
            .into_iter()
            .map(|e| Evidence { n: e.n, at_ns: e.at_ns, fact: fact(e.fact) })
            .collect();
        Finding {
            socket: self.socket,
            from_ns: self.from_ns,
            until_ns: self.until_ns,
            cause: cause(self.cause),
            evidence,
            certainty: self.certainty,
            not_seen: self.not_seen,
        }
    }
}

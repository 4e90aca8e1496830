//! What an analysis concludes: data with its evidence. Generic over the question, so that this module knows none.

use std::rc::Rc;

use schemars::JsonSchema;
use serde::Serialize;
use smallvec::SmallVec;

use crate::event::{Event, SocketId};

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

impl Task {
    /// The task at work when the event happened; in softirq, whichever was interrupted.
    pub const fn at_work(e: &Event) -> Self {
        Self { pid: e.pid, tid: e.tid }
    }
}

/// Names of the threads that a finding mentions, by thread number. They are few, and a name is the same piece of memory for
/// all findings that mention its thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comms(SmallVec<[(u32, Rc<str>); 2]>);

impl Comms {
    /// The thread's name.
    pub fn get(&self, tid: u32) -> Option<&Rc<str>> {
        self.0.iter().find(|(known, _)| *known == tid).map(|(_, comm)| comm)
    }

    /// The task's name: its thread's, or its process's where that is not known.
    pub fn of(&self, task: Task) -> Option<&Rc<str>> {
        self.get(task.tid).or_else(|| self.get(task.pid))
    }

    /// Adds a name, unless the thread has one.
    pub fn add(&mut self, tid: u32, comm: &Rc<str>) {
        if self.get(tid).is_none() {
            self.0.push((tid, Rc::clone(comm)));
        }
    }
}

impl<const N: usize> From<[(u32, &str); N]> for Comms {
    fn from(named: [(u32, &str); N]) -> Self {
        Self(named.into_iter().map(|(tid, comm)| (tid, comm.into())).collect())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_called_as_its_thread_or_else_as_its_process() {
        let mut comms: Comms = [(7, "server")].into();
        comms.add(8, &"worker".into());
        comms.add(7, &"renamed".into());
        let of = |pid, tid| comms.of(Task { pid, tid }).map(|comm| &**comm);
        assert_eq!(
            [of(7, 8), of(7, 7), of(7, 9), of(9, 9)],
            [Some("worker"), Some("server"), Some("server"), None]
        );
    }
}

//! How much went well, and the names of what did not.

use std::process::ExitCode;

use anyhow::Result;

/// At most so many names are told at the end.
const NAMED: usize = 40;
/// A name longer than this is cut there, in characters.
const WIDEST: usize = 240;

/// How much of something went well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    /// What failed, one line each.
    failures: Vec<String>,
}

impl Totals {
    /// How many failed.
    pub(crate) fn failed(&self) -> usize {
        self.failures.len()
    }

    /// One more; `name` says what it is, should it have failed.
    pub(crate) fn count(&mut self, passed: bool, name: impl FnOnce() -> String) {
        if passed {
            self.passed += 1;
        } else {
            self.failures.push(name());
        }
    }

    /// Of one step: what went wrong is said at once, and named again at the end.
    pub(crate) fn of<T>(step: &str, done: &Result<T>) -> Self {
        let mut totals = Self::default();
        if let Err(error) = done {
            println!("FAIL {step}: {error:#}");
        }
        totals.count(done.is_ok(), || step.to_owned());
        totals
    }

    /// So many passed.
    pub(crate) fn pass(&mut self, passed: usize) {
        self.passed += passed;
    }

    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
    }

    /// Names what failed, so that the end of a long output tells it, and says the totals in the form that programs read,
    /// as the last line.
    pub(crate) fn end(self) -> ExitCode {
        for failure in self.failures.iter().take(NAMED) {
            println!("failed: {}", failure.chars().take(WIDEST).collect::<String>());
        }
        if let Some(more @ 1..) = self.failures.len().checked_sub(NAMED) {
            println!("failed: and {more} more");
        }
        println!("{} passed, {} failed", self.passed, self.failures.len());
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

//! What happens on one socket until a question tells of it in one finding: the lines, and how sure they are.

use crate::finding::{Certainty, Evidence};

/// What is going on on one socket, if anything is.
#[derive(Debug)]
pub(super) struct Episode<F> {
    began_ns: Option<u64>,
    lines: Vec<Evidence<F>>,
    left_out: u32,
    uncertain: bool,
}

/// An [`Episode`] that is over.
#[derive(Debug)]
pub(super) struct Told<F> {
    /// As [`Episode::began_ns`].
    pub(super) began_ns: Option<u64>,
    /// In time order.
    pub(super) lines: Vec<Evidence<F>>,
    /// Lines that it had no room for.
    pub(super) left_out: u32,
    /// As [`Episode::certainty`].
    pub(super) certainty: Certainty,
}

// By hand: a fact need have no default.
impl<F> Default for Episode<F> {
    fn default() -> Self {
        Self { began_ns: None, lines: Vec::new(), left_out: 0, uncertain: false }
    }
}

impl<F: PartialEq> Episode<F> {
    /// Adds what event `n` tells of the moment `at_ns`, which may lie before it; of more than `most` lines the last are only
    /// counted.
    pub(super) fn note(&mut self, n: u64, at_ns: u64, fact: F, most: usize) {
        self.began_ns.get_or_insert(at_ns);
        self.line(Evidence { n, at_ns, fact }, most);
    }

    /// At its place in time.
    fn line(&mut self, line: Evidence<F>, most: usize) {
        if self.lines.len() >= most {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let before = self.lines.iter().rposition(|it| it.at_ns <= line.at_ns);
        self.lines.insert(before.map_or(0, |at| at + 1), line);
    }

    /// Events were lost at `at_ns`, nanoseconds: `fact` says so behind the last line, and is no event of its own.
    pub(super) fn note_loss(&mut self, at_ns: u64, fact: F, most: usize) {
        self.uncertain = true;
        if let Some(last) = self.lines.last().filter(|last| last.fact != fact) {
            // The gap may have begun before what has come by now.
            let (n, at_ns) = (last.n, at_ns.max(last.at_ns));
            self.line(Evidence { n, at_ns, fact }, most);
        }
    }

    /// What is told may be wrong: it had begun before it was met, or part of it was not seen.
    pub(super) const fn doubt(&mut self) {
        self.uncertain = true;
    }

    /// When its first line was noted, nanoseconds, `CLOCK_MONOTONIC`; `None` before that.
    pub(super) const fn began_ns(&self) -> Option<u64> {
        self.began_ns
    }

    /// How far its evidence goes.
    pub(super) const fn certainty(&self) -> Certainty {
        if self.uncertain { Certainty::May } else { Certainty::Seen }
    }

    /// The lines up to now.
    pub(super) fn lines(&self) -> &[Evidence<F>] {
        &self.lines
    }

    /// Takes the last line back.
    pub(super) fn take_last(&mut self) -> Option<Evidence<F>> {
        self.lines.pop()
    }

    /// It is over; the next one begins.
    pub(super) fn end(&mut self) -> Told<F> {
        let certainty = self.certainty();
        let Self { began_ns, lines, left_out, .. } = std::mem::take(self);
        Told { began_ns, lines, left_out, certainty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_in_time_order_and_the_rest_is_counted() {
        let mut it = Episode::default();
        it.note(1, 10, "b", 3);
        it.note(2, 5, "a", 3);
        it.note(3, 10, "c", 3);
        it.note(4, 30, "d", 3);
        let told = it.end();
        let facts: Vec<_> = told.lines.iter().map(|line| (line.n, line.fact)).collect();
        assert_eq!(facts, [(2, "a"), (1, "b"), (3, "c")]);
        assert_eq!((told.began_ns, told.left_out), (Some(10), 1));
        assert_eq!(told.certainty, Certainty::Seen);
        assert_eq!(it.began_ns(), None);
    }

    #[test]
    fn a_loss_stands_behind_what_has_come_once_and_casts_doubt() {
        let mut it = Episode::default();
        it.note_loss(5, "lost", 9);
        assert!(it.lines().is_empty());
        it.note(1, 10, "a", 9);
        it.note_loss(7, "lost", 9);
        it.note_loss(20, "lost", 9);
        let told = it.end();
        let lines: Vec<_> = told.lines.iter().map(|line| (line.at_ns, line.fact)).collect();
        assert_eq!(lines, [(10, "a"), (10, "lost")]);
        assert_eq!(told.certainty, Certainty::May);
        it.note(2, 30, "b", 9);
        assert_eq!(it.end().certainty, Certainty::Seen);
    }
}

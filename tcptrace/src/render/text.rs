//! Text for a person: the verdict, its evidence, what to change.

use std::net::SocketAddr;

use unicode_width::UnicodeWidthStr as _;

use super::{
    Clock, Closing, Format, Gap, Run,
    layout::{Layout, Tone},
    summary,
};
use crate::{
    explain::{Context, explain, units},
    timeline::{Entry, Socket},
};

/// Column of the evidence's labels.
const LABEL: usize = 16;
/// Column of their details.
const DETAIL: usize = 38;
/// Most lines of evidence, unless all are wanted.
const MAX_LINES: usize = 14;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Verdicts only.
    Verdicts,
    /// What shows them, long stories cut short.
    Evidence,
    /// Every event.
    Everything,
}

/// The text format.
#[derive(Debug)]
pub struct Text {
    layout: Layout,
    clock: Clock,
    detail: Detail,
}

impl Text {
    /// For `width` columns.
    pub const fn new(width: usize, color: bool, clock: Clock, detail: Detail) -> Self {
        Self { layout: Layout { width, color }, clock, detail }
    }

    fn evidence(&self, out: &mut String, zero_ns: u64, lines: &[crate::explain::Line]) {
        let cut = if self.detail == Detail::Everything || lines.len() <= MAX_LINES {
            None
        } else {
            Some(MAX_LINES / 2)
        };
        let shown = |from: usize, to: usize| lines.get(from..to).unwrap_or_default();
        let (before, after) = match cut {
            Some(half) => (shown(0, half), shown(lines.len() - half, lines.len())),
            None => (lines, shown(0, 0)),
        };
        for line in before {
            self.line(out, zero_ns, line);
        }
        if cut.is_some() {
            let left_out = lines.len() - before.len() - after.len();
            let text = format!("... {} more (-v shows them)", units::count(left_out as u64));
            self.layout.wrap(out, ("", LABEL), &text, Tone::Plain);
        }
        for line in after {
            self.line(out, zero_ns, line);
        }
    }

    fn line(&self, out: &mut String, zero_ns: u64, line: &crate::explain::Line) {
        let (number, unit) = units::offset(line.at_ns.abs_diff(zero_ns));
        let number = if line.at_ns < zero_ns { format!("-{number}") } else { number };
        let mut head = format!("{number:>11} {unit:<2}  {}", line.label);
        if !line.detail.is_empty() {
            let gap = DETAIL.saturating_sub(head.width()).max(2);
            head.extend(std::iter::repeat_n(' ', gap));
        }
        self.layout.wrap(out, (&head, DETAIL), &line.detail, Tone::Plain);
    }
}

impl Format for Text {
    fn start(&self, _run: &Run<'_>) -> String {
        String::new()
    }

    fn finding(&self, run: &Run<'_>, entry: &Entry) -> String {
        let watched_from_birth = entry.socket.watched_from_birth;
        let context = Context { facts: run.facts, comms: &entry.comms, watched_from_birth };
        let words = explain(&entry.finding, &context);
        let mut out = String::new();
        let time = self.clock.millis(run.facts, entry.finding.from_ns);
        out.extend([&time, "  ", &ends(&entry.socket), "   ", &words.subject.1, "\n"]);
        self.layout.wrap(&mut out, ("", 2), &words.verdict, Tone::Verdict);
        if self.detail != Detail::Verdicts {
            self.evidence(&mut out, words.zero_ns, &words.lines);
            if !entry.finding.not_seen.is_empty() {
                let names = format!("{}.", entry.finding.not_seen.join(", "));
                self.layout.wrap(&mut out, ("  not seen:", 12), &names, Tone::Plain);
            }
            if let Some(change) = &words.change {
                self.layout.wrap(&mut out, ("  change:", 10), change, Tone::Plain);
            }
            out.push('\n');
        }
        out
    }

    fn gap(&self, _run: &Run<'_>, _gap: &Gap) -> String {
        // The summary says it, with all of them together.
        String::new()
    }

    fn summary(&self, run: &Run<'_>, closing: &Closing<'_>) -> String {
        summary::summary(self.layout, &self.clock, self.detail, run, closing)
    }
}

/// `192.0.2.10:8080 > 192.0.2.77:40112`.
fn ends(socket: &Socket) -> String {
    format!("{} > {}", address(socket.local), address(socket.remote))
}

/// `?` when it is not known; an IPv4-mapped one is IPv4.
pub(super) fn address(address: Option<SocketAddr>) -> String {
    address.map_or_else(
        || "?".to_owned(),
        |a| SocketAddr::new(a.ip().to_canonical(), a.port()).to_string(),
    )
}

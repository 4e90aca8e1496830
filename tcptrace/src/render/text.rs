//! Text for a person: the verdict, its evidence, what to change.

use std::net::SocketAddr;

use unicode_width::UnicodeWidthStr as _;

use super::{
    Clock, Closing, Format, Gap, Run,
    layout::{Layout, Tone},
    summary, timeline,
};
use crate::{
    event::SocketId,
    explain::{Explanation, Mark, Shape, explain, printable, units},
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
    /// In a timeline: the socket of the last lines, and who used it.
    last: Option<(SocketId, Option<String>)>,
}

impl Text {
    /// For `width` columns.
    pub const fn new(width: usize, color: bool, clock: Clock, detail: Detail) -> Self {
        Self { layout: Layout { width, color }, clock, detail, last: None }
    }

    fn story(&self, run: &Run<'_>, entry: &Entry, words: &Explanation) -> String {
        let mut out = String::new();
        let time = self.clock.millis(run.facts, entry.finding.from_ns);
        let ends = ends(&entry.socket);
        // Two long addresses are wider than most terminals.
        let (own, other) = ends.split_once(" > ").map_or((&*ends, None), |(a, b)| (a, Some(b)));
        let arrow = if other.is_some() { " >" } else { "" };
        let mut parts = vec![("", format!("{time}  {own}{arrow}"))];
        parts.extend(other.map(|other| (" ", other.to_owned())));
        // Where there is something else to say, nobody stands in the place of a subject.
        let nobody = if words.aside.is_none() { Some("?") } else { None };
        let subject = words.subject.as_ref().map(|(_, name)| name.as_str()).or(nobody);
        let rest = subject.into_iter().chain(words.aside.as_deref());
        parts.extend(rest.map(|part| ("   ", part.to_owned())));
        self.layout.parts(&mut out, &parts);
        self.layout.wrap(&mut out, ("", 2), &words.verdict, Tone::Verdict);
        if self.detail != Detail::Verdicts {
            self.evidence(&mut out, words.zero_ns, &words.lines);
            for (head, what) in self.whereabouts(run, entry) {
                self.layout.wrap(
                    &mut out,
                    (&format!("  {head}:"), head.len() + 4),
                    &what,
                    Tone::Plain,
                );
            }
            if !entry.finding.not_seen.is_empty() {
                let names = format!("{}.", entry.finding.not_seen.join(", "));
                self.layout.wrap(&mut out, ("  not seen:", 12), &names, Tone::Plain);
            }
            if let Some(pattern) = &words.pattern {
                self.layout.wrap(&mut out, ("  pattern:", 11), pattern, Tone::Plain);
            }
            if let Some(change) = &words.change {
                self.layout.wrap(&mut out, ("  change:", 10), change, Tone::Plain);
            }
            out.push('\n');
        }
        out
    }

    /// The cgroup and the network namespace, where they tell something: it is not the host's own, or all is wanted.
    fn whereabouts(&self, run: &Run<'_>, entry: &Entry) -> Vec<(&'static str, String)> {
        let netns = entry.socket.netns;
        let apart = run.facts.netns.is_some() && netns.is_some() && netns != run.facts.netns;
        if !apart && self.detail != Detail::Everything {
            return Vec::new();
        }
        let cgroup = entry.cgroup.as_deref().map(|path| ("cgroup", printable(path)));
        cgroup.into_iter().chain(netns.map(|netns| ("netns", netns.to_string()))).collect()
    }

    /// The lines of one stretch, below a header where the lines before were another socket's, or somebody else's.
    fn stretch(&mut self, run: &Run<'_>, entry: &Entry, words: &Explanation) -> String {
        let mut lines = String::new();
        let time = self.clock.millis(run.facts, words.zero_ns);
        if self.detail == Detail::Verdicts {
            self.layout.wrap(&mut lines, (&format!("  {time}"), 16), &words.verdict, Tone::Plain);
        } else {
            let all = self.detail == Detail::Everything;
            timeline::lines(self.layout, &mut lines, &time, words, all);
        }
        let subject = words.subject.as_ref().map(|(_, name)| name.clone());
        let whose = Some((entry.socket.id, subject));
        if lines.is_empty() || self.last == whose {
            return lines;
        }
        self.last = whose;
        let mut out = String::new();
        let mut parts = vec![ends(&entry.socket)];
        parts.extend(words.subject.as_ref().map(|(_, name)| name.clone()));
        parts.extend(words.aside.clone());
        let whereabouts = self.whereabouts(run, entry);
        parts.extend(whereabouts.into_iter().map(|(head, what)| format!("{head} {what}")));
        timeline::header(self.layout, &mut out, &parts);
        out.push_str(&lines);
        out
    }

    fn evidence(&self, out: &mut String, zero_ns: u64, lines: &[crate::explain::Line]) {
        // What belongs to the line above is shown, and left out, with it.
        let starts: Vec<usize> = (0..)
            .zip(lines)
            .filter(|(_, line)| line.mark != Mark::Under)
            .map(|(at, _)| at)
            .collect();
        let cut = if self.detail == Detail::Everything || starts.len() <= MAX_LINES {
            None
        } else {
            Some(MAX_LINES / 2)
        };
        let shown = |from: usize, to: usize| lines.get(from..to).unwrap_or_default();
        let start = |at: usize| starts.get(at).copied().unwrap_or(lines.len());
        let (before, after) = match cut {
            Some(half) => (shown(0, start(half)), shown(start(starts.len() - half), lines.len())),
            None => (lines, shown(0, 0)),
        };
        for line in before {
            self.line(out, zero_ns, line);
        }
        if let Some(half) = cut {
            let left_out = starts.len() - 2 * half;
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
        let mut head = if line.mark == Mark::Under {
            format!("{:LABEL$}  {}", "", line.label)
        } else {
            format!("{number:>11} {unit:<2}  {}", line.label)
        };
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

    fn finding(&mut self, run: &Run<'_>, entry: &Entry) -> String {
        let words = explain(&entry.finding, &run.context(entry));
        match run.words.shape {
            Shape::Story => self.story(run, entry, &words),
            Shape::Timeline => self.stretch(run, entry, &words),
        }
    }

    fn gap(&self, run: &Run<'_>, gap: &Gap) -> String {
        let mut out = String::new();
        // Elsewhere the summary says it, with all of them together.
        if run.words.shape == Shape::Timeline {
            let events = units::counted(gap.events, "event", "events");
            let from = self.clock.millis(run.facts, gap.from_ns);
            let until = self.clock.millis(run.facts, gap.until_ns);
            let text = format!("{from} to {until}: {events} lost at {}", gap.hook);
            self.layout.wrap(&mut out, ("gap:", 5), &text, Tone::Warning);
        }
        out
    }

    fn summary(&self, run: &Run<'_>, closing: &Closing<'_>) -> String {
        summary::summary(self.layout, &self.clock, self.detail, run, closing)
    }
}

/// `192.0.2.10:8080 > 192.0.2.77:40112`.
fn ends(socket: &Socket) -> String {
    // A socket that listens has no other end.
    if socket.remote.is_some_and(|remote| remote.port() == 0) {
        return address(socket.local);
    }
    format!("{} > {}", address(socket.local), address(socket.remote))
}

/// `?` when it is not known; an IPv4-mapped one is IPv4.
pub(super) fn address(address: Option<SocketAddr>) -> String {
    address.map_or_else(
        || "?".to_owned(),
        |a| SocketAddr::new(a.ip().to_canonical(), a.port()).to_string(),
    )
}

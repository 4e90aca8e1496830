//! The layout of a timeline: whose lines they are, then one line per event, with relative and absolute times.

use unicode_width::UnicodeWidthStr as _;

use super::layout::{Layout, Tone};
use crate::explain::{Explanation, Line, Mark, units};

/// Column after the time of day.
const TIME: usize = 14;
/// Columns of an offset with its unit: `+226.97 ms`.
const OFFSET: usize = 11;
/// Column of the labels.
const LABEL: usize = TIME + OFFSET + 4;
/// Columns of a label, where the details have a column of their own.
const DETAIL: usize = 30;
/// Narrower than this, the time of day has a line of its own and details follow their label.
const NARROW: usize = 80;

/// Whose lines follow: `192.0.2.10:8080 > 192.0.2.77:40112   server[2211]   open before the start`.
pub(super) fn header(layout: Layout, out: &mut String, parts: &[String]) {
    let line = parts.join("   ");
    if line.width() <= layout.width {
        layout.columns(out, "", (&line, Tone::Verdict), ("", 0));
    } else {
        layout.wrap(out, ("", 0), &line, Tone::Verdict);
    }
}

/// The lines of one stretch; all of them, or those that matter. Nothing when none does.
pub(super) fn lines(layout: Layout, out: &mut String, time: &str, words: &Explanation, all: bool) {
    let narrow = layout.width < NARROW;
    let mut shown = words.lines.iter().filter(|line| all || !line.minor).peekable();
    if narrow && shown.peek().is_some() {
        out.extend(["  ", time, "\n"]);
    }
    let mut time = if narrow { "" } else { time };
    for each in shown {
        let mut head = String::new();
        if !narrow {
            head.extend(["  ", time]);
            time = "";
            pad(&mut head, TIME);
        }
        let start = head.width();
        let (number, unit) = units::offset(each.at_ns.abs_diff(words.zero_ns));
        let sign = if each.at_ns < words.zero_ns { '-' } else { '+' };
        let number = format!("{sign}{number}");
        let digits = OFFSET - 3;
        let offset = format!("{number:>digits$} {unit:<2}  ");
        if each.mark == Mark::Under {
            pad(&mut head, start + offset.width() + 2);
        } else {
            head.push_str(&offset);
        }
        if narrow {
            // Nothing stands before the offset that has to be kept free.
            head = format!("  {}", head.get(start..).unwrap_or(""));
        }
        line(layout, out, head, each, narrow);
    }
}

fn line(layout: Layout, out: &mut String, mut head: String, line: &Line, narrow: bool) {
    let (mark, tone) = match line.mark {
        Mark::Out => ("> ", Tone::Plain),
        Mark::In => ("< ", Tone::Plain),
        Mark::Begin => ("┌ ", Tone::Held),
        Mark::Within => ("│ ", Tone::Held),
        Mark::End => ("└ ", Tone::Held),
        Mark::None | Mark::Under => ("  ", Tone::Plain),
    };
    if line.held && tone == Tone::Plain {
        head.push_str("│ ");
    }
    head.push_str(mark);
    let indent = head.width();
    if line.detail.is_empty() {
        layout.wrap(out, (&head, indent), &line.label, tone);
    } else if narrow || line.label.width() + 2 > DETAIL {
        let text = format!("{} ({})", line.label, line.detail);
        layout.wrap(out, (&head, indent), &text, tone);
    } else {
        // The details stand in one column, also behind a label that is further to the right.
        let column = LABEL + DETAIL;
        layout.columns(out, &head, (&line.label, tone), (&line.detail, column));
    }
}

fn pad(out: &mut String, column: usize) {
    let missing = column.saturating_sub(out.width());
    out.extend(std::iter::repeat_n(' ', missing));
}

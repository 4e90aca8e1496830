//! Lines: width, wrapping at words, and colour. Plain text is the same text without the colours.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

const VERDICT: Style = Style::new().bold();
const HELD: Style = AnsiColor::Yellow.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// How lines are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Columns.
    pub(super) width: usize,
    /// Colours are wanted.
    pub(super) color: bool,
}

/// What a line is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Verdict,
    Warning,
    /// Bytes that wait.
    Held,
}

impl Layout {
    const fn style(self, tone: Tone) -> Style {
        match tone {
            _ if !self.color => Style::new(),
            Tone::Plain => Style::new(),
            Tone::Verdict => VERDICT,
            Tone::Warning => WARNING,
            Tone::Held => HELD,
        }
    }

    /// Appends a line of `head`, a label, and plain text from `column` on, wrapped there.
    pub(super) fn columns(
        self,
        out: &mut String,
        head: &str,
        (label, tone): (&str, Tone),
        (text, column): (&str, usize),
    ) {
        let style = self.style(tone);
        let plain = format!("{head}{label}");
        let mut wrapped = String::new();
        self.wrap(&mut wrapped, (&plain, column), text, Tone::Plain);
        let rest = wrapped.get(plain.len()..).unwrap_or("\n");
        out.push_str(head);
        out.extend([&style.render().to_string(), label, &style.render_reset().to_string(), rest]);
    }

    /// Parts that stay whole, each behind what separates it from the one before; one that does not fit begins a line.
    pub(super) fn parts(self, out: &mut String, parts: &[(&str, String)]) {
        let mut column = 0;
        for (between, part) in parts {
            let width = between.width() + part.width();
            if column > 0 && column + width > self.width {
                out.extend(["\n    ", part]);
                column = 4 + part.width();
            } else {
                out.extend([between, part.as_str()]);
                column += width;
            }
        }
        out.push('\n');
    }

    /// Appends `text` after `head`, from column `indent` on; what does not fit goes on there. Words are never cut.
    pub(super) fn wrap(
        self,
        out: &mut String,
        (head, indent): (&str, usize),
        text: &str,
        tone: Tone,
    ) {
        let style = self.style(tone);
        out.push_str(head);
        let mut column = head.width();
        if column < indent {
            out.extend(std::iter::repeat_n(' ', indent - column));
            column = indent;
        }
        out.push_str(&style.render().to_string());
        let mut first = true;
        for word in words(text) {
            let width = word.width();
            if !first && column + 1 + width > self.width {
                out.push_str(&style.render_reset().to_string());
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                out.push_str(&style.render().to_string());
                column = indent;
            } else if !first {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += width;
            first = false;
        }
        out.push_str(&style.render_reset().to_string());
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
}

/// Words, where a number and its unit are one.
fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = 0;
        loop {
            let more = rest.get(end..).unwrap_or("");
            end += more.find(' ').unwrap_or(more.len());
            let (word, next) = (rest.get(..end).unwrap_or(""), rest.get(end + 1..).unwrap_or(""));
            let number = word
                .rsplit(' ')
                .next()
                .is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            let unit = next.split([' ', ',', ';', '.', ':']).next().unwrap_or("");
            if number && ["B", "kB", "MB", "GB", "ns", "µs", "ms", "s", "%"].contains(&unit) {
                end += 1;
            } else {
                break;
            }
        }
        out.push(rest.get(..end).unwrap_or(""));
        rest = rest.get(end..).unwrap_or("").trim_start_matches(' ');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(width: usize, text: &str) -> String {
        let mut out = String::new();
        Layout { width, color: false }.wrap(&mut out, ("head", 6), text, Tone::Verdict);
        out
    }

    #[test]
    fn text_wraps_at_words_under_its_own_column() {
        assert_eq!(
            wrapped(16, "eight words to be put on a line"),
            "head  eight\n      words to\n      be put on\n      a line\n"
        );
    }

    #[test]
    fn a_number_keeps_its_unit_and_a_long_word_stays_whole() {
        assert_eq!(wrapped(14, "waited 226.9 ms: x"), "head  waited\n      226.9 ms:\n      x\n");
        assert_eq!(wrapped(8, "[2001:db8::1]:443 x"), "head  [2001:db8::1]:443\n      x\n");
    }

    #[test]
    fn parts_stay_whole_and_begin_a_line_where_they_do_not_fit() {
        let parts =
            [("", "[2001:db8::10]:8080 >"), (" ", "[2001:db8::77]:40112"), ("   ", "server[7]")];
        let parts = parts.map(|(between, part)| (between, part.to_owned()));
        let on = |width| {
            let mut out = String::new();
            Layout { width, color: false }.parts(&mut out, &parts);
            out
        };
        assert_eq!(on(54), "[2001:db8::10]:8080 > [2001:db8::77]:40112   server[7]\n");
        assert_eq!(on(53), "[2001:db8::10]:8080 > [2001:db8::77]:40112\n    server[7]\n");
        assert_eq!(on(40), "[2001:db8::10]:8080 >\n    [2001:db8::77]:40112   server[7]\n");
        assert_eq!(on(3), "[2001:db8::10]:8080 >\n    [2001:db8::77]:40112\n    server[7]\n");
    }

    #[test]
    fn width_is_what_a_terminal_shows() {
        assert_eq!(wrapped(10, "日本 日本"), "head  日本\n      日本\n");
    }

    #[test]
    fn colours_are_closed_on_each_line() {
        let mut out = String::new();
        Layout { width: 10, color: true }.wrap(&mut out, ("", 2), "some words", Tone::Verdict);
        assert_eq!(out, "  \u{1b}[1msome\u{1b}[0m\n  \u{1b}[1mwords\u{1b}[0m\n");
    }
}

//! `bench live`: what each question takes of its own to follow holds while they happen.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;

use super::guests::{self, Boot, Page, Programs, Table, Where, verdict, wrong};
use crate::{kernels, report::Followed};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    /// Operations, each with one hold
    #[arg(long, value_name = "N", default_value_t = 5000)]
    ops: u32,
}

/// The last prints every finding.
const COMMANDS: [&str; 3] =
    ["nagle --port 8080", "nagle --summary-only --port 8080", "nagle --min-hold 0 --port 8080"];
/// Target 8 of the performance page, instructions per event where findings are not printed singly.
const LINE: f64 = 500.0;
/// As many wake-ups are in order: one in 100 ms, or one for each 64 KiB, which are so many events of 100 B.
const WAKE_NS: u64 = 100_000_000;
const WAKE_EVENTS: u64 = 655;

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let text = format!(
        "What a command takes of its own while a thread makes {} holds as fast as it can (`held` of the suite `cost`): the \
         CPU time of its process, in user space and in the kernel on its behalf, without what it takes when idle, in \
         instructions of a guest whose clock counts them. With `--json`; holds shorter than a millisecond are counted \
         and not printed, but in the last row. In order is a wake-up in 100 ms, or for each {WAKE_EVENTS} events (64 KiB). A \
         row says WRONG where the command told another number of holds than were made.",
        args.ops
    );
    let page = Page { suite: "live", heading: "Live", text };
    guests::suite(&args.place, &page, &|programs, series| in_guest(programs, series, args.ops))
}

fn in_guest(programs: &Programs, series: &'static kernels::Series, ops: u32) -> Result<Table> {
    let mut boot = Boot::new(&["live"]).with("--ops", &ops);
    for command in COMMANDS {
        boot = boot.with("--words", command);
    }
    let (release, figures) = programs.figures::<Followed>(series, &boot, COMMANDS.len())?;
    let is_right = figures.iter().all(|figure| figure.wrong.is_empty());
    Ok(Table { release, text: table(&figures), is_right })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn table(figures: &[Followed]) -> String {
    let mut text = "| command | events | findings | printed | instructions/event | instructions/finding | wake-ups | in order | target 8 | |\n\
                    |---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
        .to_owned();
    for figure in figures {
        let each = |many: u64| figure.cpu_ns as f64 / many.max(1) as f64;
        let in_order = 1 + figure.busy_ns / WAKE_NS + figure.events / WAKE_EVENTS;
        let (line, word) = if figure.printed < figure.findings {
            (format!("{LINE:.0}"), verdict(each(figure.events), LINE))
        } else {
            (String::new(), "")
        };
        let word = if figure.wrong.is_empty() { word } else { "WRONG" };
        let _ = writeln!(
            text,
            "| `tcptrace {}` | {} | {} | {} | {:.0} | {:.0} | {} | {in_order} | {line} | {word} |",
            figure.words,
            figure.events,
            figure.findings,
            figure.printed,
            each(figure.events),
            each(figure.findings),
            figure.wakes,
        );
    }
    text + &wrong(figures.iter().map(|it| (format!("`tcptrace {}`", it.words), it.wrong.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_about_findings_that_are_not_printed() {
        let figure = Followed {
            words: "nagle".to_owned(),
            cpu_ns: 400_000,
            busy_ns: 200_000_000,
            wakes: 3,
            events: 1000,
            findings: 100,
            ..Followed::default()
        };
        let more = Followed { cpu_ns: 600_000, wakes: 90, ..figure.clone() };
        let printed = Followed { printed: 100, ..more.clone() };
        let wrong = Followed { wrong: vec!["99 of 100".to_owned()], ..figure.clone() };
        let text = table(&[figure, more, printed, wrong]);
        assert!(text.contains("| 400 | 4000 | 3 | 4 | 500 | ok |"), "{text}");
        assert!(text.contains("| 600 | 6000 | 90 | 4 | 500 | over |"), "{text}");
        assert!(text.contains("| 100 | 600 | 6000 | 90 | 4 |  |  |"), "{text}");
        assert!(text.contains("| WRONG |") && text.contains("99 of 100."), "{text}");
    }
}

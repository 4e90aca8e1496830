//! `bench attach`: how long each question takes to attach and to end, in guests whose clock counts instructions.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;

use super::{
    guests::{self, Boot, Page, Programs, Table, Where, mib},
    row::median,
};
use crate::{kernels, report::Attached};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    /// Starts of each command
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
}

/// What is started.
const COMMANDS: [&str; 8] = [
    "nagle --port 8080",
    "nagle --summary-only --port 8080",
    "close --port 8080",
    "fastopen --port 8080",
    "defer-accept --port 8080",
    "sockopt --port 8080",
    "timeline --port 8080",
    "record --port 8080 --force -o /tmp/attach.tcptrace",
];
/// Target 12 of the performance page is about the first of them: milliseconds to attach, and to end.
const LINES_MS: [f64; 2] = [800.0, 1500.0];

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let page = Page { suite: "attach", heading: "Attaching and ending", text: text(args.rounds) };
    guests::suite(&args.place, &page, &|programs, series| in_guest(programs, series, args.rounds))
}

fn in_guest(programs: &Programs, series: &'static kernels::Series, rounds: u32) -> Result<Table> {
    let mut boot = Boot::new(&["attach"]).with("--rounds", &rounds);
    for command in COMMANDS {
        boot = boot.with("--words", command);
    }
    let (release, figures) = programs.figures::<Attached>(series, &boot, COMMANDS.len())?;
    let is_right = figures.iter().all(|figure| figure.left + figure.left_killed == 0);
    Ok(Table { release, text: table(&figures), is_right })
}

fn table(figures: &[Attached]) -> String {
    let mut text = "| command | programs | attach, ms | answers, ms | end, ms | memory, MiB | most until then, MiB | left |\n\
                    |---|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for figure in figures {
        let _ = writeln!(
            text,
            "| `tcptrace {}` | {} | {:.0} | {} | {:.0} | {:.1} | {:.1} | {} |",
            figure.words,
            figure.programs,
            middle_ms(&figure.attach_ns),
            told(&figure.told_ns),
            middle_ms(&figure.exit_ns),
            mib(figure.rss_kib),
            mib(figure.peak_kib),
            figure.left + figure.left_killed,
        );
    }
    if let Some(first) = figures.first() {
        let said = [&first.attach_ns, &first.exit_ns].map(|all| middle_ms(all));
        let _ = writeln!(text, "\n| target 12 | value, ms | line, ms | |\n|---|--:|--:|---|");
        for ((what, value), line) in ["attach", "end"].into_iter().zip(said).zip(LINES_MS) {
            let verdict = guests::verdict(value, line);
            let _ = writeln!(text, "| {what} | {value:.0} | {line:.0} | {verdict} |");
        }
    }
    text
}

/// When all was told that there was to tell, where it was told on stdout.
fn told(all: &[u64]) -> String {
    if all.is_empty() { String::new() } else { format!("{:.0}", middle_ms(all)) }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn middle_ms(all: &[u64]) -> f64 {
    median(all.iter().map(|ns| *ns as f64 / 1e6)).unwrap_or(0.0)
}

fn text(rounds: u32) -> String {
    format!(
        "From the start of a command to its banner, and from SIGINT to the last of its answers and to its end, in milliseconds of a guest whose clock \
         counts instructions, waiting included: the middle of {rounds} starts, after one that is not counted. Most of \
         ending is the kernel's: it waits, for each program that is taken off, until no task can be in it. Memory is \
         `VmRSS` when the banner was there, and `VmHWM`. \"Left\" are BPF programs that the kernel still had \
         five seconds after the end, or after SIGKILL."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_about_the_first_command_and_what_is_left_is_told() {
        let first = Attached {
            words: "nagle".to_owned(),
            programs: 19,
            attach_ns: vec![900_000_000, 700_000_000, 800_000_000],
            told_ns: vec![30_000_000],
            exit_ns: vec![1_600_000_000],
            rss_kib: 2048,
            peak_kib: 4096,
            left: 0,
            left_killed: 2,
        };
        let text = table(&[first.clone(), Attached { attach_ns: vec![1], ..first }]);
        assert!(
            text.contains("| `tcptrace nagle` | 19 | 800 | 30 | 1600 | 2.0 | 4.0 | 2 |"),
            "{text}"
        );
        assert!(
            text.contains("| attach | 800 | 800 | ok |\n| end | 1600 | 1500 | over |"),
            "{text}"
        );
    }
}

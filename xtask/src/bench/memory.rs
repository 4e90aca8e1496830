//! `bench memory`: what each question has in memory while very many sockets hold bytes.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;

use super::guests::{self, Boot, Page, Programs, Table, Where, mib, verdict, wrong};
use crate::{kernels, report::Remembered};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    /// Only with so many held sockets
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = SIZES.map(|(n, ..)| n))]
    sockets: Vec<u32>,
}

/// Sockets that hold at one time, the line of target 11 of the performance page for them, MB, what is measured with so many,
/// and the guest's memory, MiB: the kernel's share of a connection in which bytes wait is 8 KiB and more.
const SIZES: [(u32, f64, &[&str], u32); 2] = [
    (10_000, 24.0, &["nagle --port 8080", "nagle --summary-only --port 8080"], 2048),
    (100_000, 96.0, &["nagle --port 8080"], 6144),
];

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let text = "What a command has in memory while very many sockets hold bytes, all at one time: each of them wrote more \
                than pacing lets go, at one byte a second. `VmRSS` when the command had attached, while the sockets held, and \
                after they were closed; `VmHWM` is the most until then, in which reading the kernel's types is. \"Again\" is \
                `VmRSS` once as many sockets had held bytes and were closed for a second time: what the allocator keeps after \
                the first time serves the second. The \
                kernel's part is what the memory account of the command's cgroup says (`kernel` in `memory.stat`): maps, the \
                ring buffer, programs, page tables, when it had attached, while the sockets held, and after they were closed.\n\n\
                Target 11 is about the \
                process and the kernel's part while they hold. The pages of maps that the process has mapped are in both: the \
                ring buffer, whose data the kernel maps twice in a row, so that its 4 MiB are 8 MiB of `VmRSS`, and the table of \
                exchanges. They are the kernel's, and counted there, once: \"maps in both\" (`smaps`) is taken off. The pages of \
                the program's file that are mapped are in `VmRSS`, and counted.\n\n\
                A row says WRONG where \
                the command did not tell every hold of both times, where the kernel's part did not come back to where it was, or \
                where \"again\" is more than \"after\"; and how many holds it told where it said itself that it had no room for \
                more."
        .to_owned();
    let page = Page { suite: "memory", heading: "Memory", text };
    guests::suite(&args.place, &page, &|programs, series| {
        in_guests(programs, series, &args.sockets)
    })
}

fn in_guests(
    programs: &Programs,
    series: &'static kernels::Series,
    asked: &[u32],
) -> Result<Table> {
    let (mut kernel, mut all) = (String::new(), Vec::new());
    let sizes = SIZES.into_iter().filter(|(sockets, ..)| asked.contains(sockets));
    for (sockets, _, commands, mib) in sizes {
        let mut boot = Boot::new(&["memory"]).with("--sockets", &sockets);
        boot.memory = mib;
        for command in commands {
            boot = boot.with("--words", command);
        }
        let (release, mut figures) =
            programs.figures::<Remembered>(series, &boot, commands.len())?;
        kernel = release;
        all.append(&mut figures);
    }
    let is_right = all.iter().all(|figure| figure.wrong.is_empty());
    Ok(Table { release: kernel, text: table(&all), is_right })
}

fn table(figures: &[Remembered]) -> String {
    let mut text = "| held sockets | command | attached, MiB | while they hold, MiB | after, MiB | again, MiB | most, MiB | maps in both, MiB | kernel, attached, MiB | kernel, while they hold, MiB | kernel, after, MiB | target 11, MB | line, MB | |\n\
                    |--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
        .to_owned();
    for figure in figures {
        let line = SIZES.iter().find(|(sockets, ..)| *sockets == figure.sockets);
        let line = line.map_or(0.0, |(_, line, ..)| *line);
        let value = mb(figure.held_kib.saturating_sub(figure.mapped_kib) + figure.kernel_kib);
        let verdict = match (figure.wrong.as_slice(), figure.lost) {
            ([], 0) => verdict(value, line).to_owned(),
            ([], _) => format!("{}, of {} holds", verdict(value, line), figure.told),
            _ => "WRONG".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | `tcptrace {}` | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {value:.1} | {line:.0} | {verdict} |",
            figure.sockets,
            figure.words,
            mib(figure.attached_kib),
            mib(figure.held_kib),
            mib(figure.closed_kib),
            mib(figure.again_kib),
            mib(figure.peak_kib),
            mib(figure.mapped_kib),
            mib(figure.kernel_attached_kib),
            mib(figure.kernel_kib),
            mib(figure.kernel_closed_kib),
        );
    }
    let row = |it: &Remembered| {
        (format!("`tcptrace {}` at {} sockets", it.words, it.sockets), it.wrong.clone())
    };
    text + &wrong(figures.iter().map(row))
}

/// KiB as megabytes.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn mb(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_and_the_kernel_together_are_compared_with_the_line() {
        let figure = Remembered {
            words: "nagle".to_owned(),
            sockets: 10_000,
            attached_kib: 8192,
            held_kib: 16_384,
            closed_kib: 9216,
            again_kib: 9728,
            peak_kib: 32_768,
            mapped_kib: 1024,
            kernel_attached_kib: 2048,
            kernel_kib: 4096,
            kernel_closed_kib: 3072,
            told: 10_000,
            lost: 0,
            wrong: Vec::new(),
        };
        let more = Remembered { kernel_kib: 8192, ..figure.clone() };
        let wrong = Remembered { wrong: vec!["9 of 10".to_owned()], ..figure.clone() };
        let some = Remembered { told: 9_000, lost: 1_000, ..figure.clone() };
        let text = table(&[figure, more, some, wrong]);
        assert!(text.contains("| ok, of 9000 holds |"), "{text}");
        assert!(
            text.contains(
                "| 8.0 | 16.0 | 9.0 | 9.5 | 32.0 | 1.0 | 2.0 | 4.0 | 3.0 | 19.9 | 24 | ok |"
            ),
            "{text}"
        );
        assert!(text.contains("| 2.0 | 8.0 | 3.0 | 24.1 | 24 | over |"), "{text}");
        assert!(text.contains("| WRONG |") && text.contains("9 of 10."), "{text}");
    }
}

//! `bench flood`: whether nothing is lost in silence while every processor of a guest is busy.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;

use super::guests::{self, Boot, Page, Programs, Table, Where, mib, verdict, wrong};
use crate::{kernels, report::Flooded};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    /// Exchanges of each processor
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    ops: u32,
}

/// With the buffer that one gets, and with one that overflows.
const COMMANDS: [&str; 2] = ["timeline --port 8080", "timeline --port 8080 --buffer 512KiB"];
const CPUS: [u32; 2] = [2, 4];
/// The most that the process may have had, MB: as much as target 11 gives 100,000 sockets.
const LINE_MB: f64 = 96.0;
const GUEST_MIB: u32 = 4096;

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let text = format!(
        "Every virtual CPU exchanges bytes over a connection of its own, {} times 1 B each way without Nagle, under the full \
         timeline, which wants an event of nearly everything. Calls are counted by the workload (each write is one call of \
         each function of the sending side) and segments by the kernel (`InSegs`): what was reported and what was told \
         to be lost must be that, function by function, and each write outside of the gaps that were told must have its push \
         at its time; else the row says WRONG and the suite fails. The second command has a ring buffer that is too small. \
         Guest time runs with the host's here, so that rates and losses are not repeatable. The most that the process may have is {LINE_MB:.0} MB (`VmHWM`).",
        args.ops
    );
    let page = Page { suite: "flood", heading: "Flood", text };
    guests::suite(&args.place, &page, &|programs, series| in_guests(programs, series, args.ops))
}

fn in_guests(programs: &Programs, series: &'static kernels::Series, ops: u32) -> Result<Table> {
    let (mut kernel, mut all) = (String::new(), Vec::new());
    for cpus in CPUS {
        let mut boot = Boot::new(&["flood"]).with("--threads", &cpus).with("--ops", &ops);
        (boot.smp, boot.memory) = (cpus, GUEST_MIB);
        for command in COMMANDS {
            boot = boot.with("--words", command);
        }
        let (release, mut figures) = programs.figures::<Flooded>(series, &boot, COMMANDS.len())?;
        kernel = release;
        all.append(&mut figures);
    }
    let is_right = all.iter().all(|figure| figure.wrong.is_empty());
    Ok(Table { release: kernel, text: table(&all), is_right })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn table(figures: &[Flooded]) -> String {
    let mut text = "| CPUs | command | function | happened | reported | lost | |\n\
                    |--:|---|---|--:|--:|--:|---|\n"
        .to_owned();
    for figure in figures {
        for hook in &figure.hooks {
            let adds_up = hook.reported + hook.lost == hook.happened;
            let _ = writeln!(
                text,
                "| {} | `tcptrace {}` | `{}` | {} | {} | {} | {} |",
                figure.cpus,
                figure.words,
                hook.hook,
                hook.happened,
                hook.reported,
                hook.lost,
                if adds_up { "ok" } else { "WRONG" }
            );
        }
    }
    text += "\n| CPUs | command | events received | lost | million/s | writes outside of gaps | most, MiB | line, MB | |\n\
             |--:|---|--:|--:|--:|--:|--:|--:|---|\n";
    for figure in figures {
        let rate = (figure.received + figure.lost) as f64 * 1e3 / figure.busy_ns.max(1) as f64;
        let verdict = match figure.wrong.as_slice() {
            [] => verdict(figure.peak_kib as f64 * 1024.0 / 1e6, LINE_MB),
            _ => "WRONG",
        };
        let _ = writeln!(
            text,
            "| {} | `tcptrace {}` | {} | {} | {rate:.2} | {} | {:.1} | {LINE_MB:.0} | {verdict} |",
            figure.cpus,
            figure.words,
            figure.received,
            figure.lost,
            figure.outside_gaps,
            mib(figure.peak_kib),
        );
    }
    let row =
        |it: &Flooded| (format!("`tcptrace {}` on {} CPUs", it.words, it.cpus), it.wrong.clone());
    text + &wrong(figures.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::FloodedHook;

    #[test]
    fn what_does_not_add_up_is_wrong() {
        let hook =
            |lost| FloodedHook { hook: "tcp_push".to_owned(), happened: 10, reported: 8, lost };
        let figure = Flooded {
            words: "timeline".to_owned(),
            cpus: 2,
            busy_ns: 1000,
            hooks: vec![hook(2), hook(1)],
            received: 8,
            lost: 2,
            outside_gaps: 1,
            peak_kib: 1024,
            wrong: vec!["1 is missing".to_owned()],
        };
        let text = table(&[figure]);
        assert!(text.contains("| 10 | 8 | 2 | ok |") && text.contains("| 10 | 8 | 1 | WRONG |"));
        assert!(text.contains("| 8 | 2 | 10.00 | 1 | 1.0 | 96 | WRONG |"), "{text}");
        assert!(text.contains("on 2 CPUs: 1 is missing."), "{text}");
    }
}

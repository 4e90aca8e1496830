//! `bench idle`: what each question takes with nothing to do, and what it costs work that it has nothing to do with.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;

use super::{
    guests::{self, Boot, Page, Programs, Table, Where, verdict, wrong},
    row::Row,
};
use crate::{kernels, report::Idled};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
}

const COMMANDS: [&str; 4] = [
    "nagle --port 8080",
    "nagle --summary-only --port 8080",
    "close --port 8080",
    "timeline --port 8080",
];
/// Target 8 of the performance page, wake-ups in a second.
const LINE: f64 = 10.0;
/// As much may be added to work without TCP: as much as the base moves by itself, percent.
const NOTHING: f64 = 0.2;

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let text = "What a command takes in a guest without traffic: how often it wakes, and the CPU time of its process, in \
                instructions of a guest whose clock counts them; then, what it adds to one exchange of 1 B each way by UDP \
                and between two Unix sockets, in percent of what that takes without it: nothing is what must come out. A row \
                says WRONG where the command did not see what was done after the idle minute."
        .to_owned();
    let page = Page { suite: "idle", heading: "Idle", text };
    guests::suite(&args.place, &page, &in_guest)
}

fn in_guest(programs: &Programs, series: &'static kernels::Series) -> Result<Table> {
    let mut boot = Boot::new(&["idle"]);
    for command in COMMANDS {
        boot = boot.with("--words", command);
    }
    let (release, figures) = programs.figures::<Idled>(series, &boot, COMMANDS.len())?;
    let is_right = figures.iter().all(|figure| figure.wrong.is_empty());
    Ok(Table { release, text: table(&figures), is_right })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn table(figures: &[Idled]) -> String {
    let mut text = "| command | wake-ups/s | line | | million instructions/min | added to UDP, % | added to Unix sockets, % | |\n\
                    |---|--:|--:|---|--:|--:|--:|---|\n"
        .to_owned();
    for figure in figures {
        let seconds = figure.for_ns as f64 / 1e9;
        let rate = figure.wakes as f64 / seconds;
        let awake = if figure.wrong.is_empty() { verdict(rate, LINE) } else { "WRONG" };
        let added = |mode: &str| {
            let rows = figure.unrelated.iter().filter_map(Row::of);
            let row = rows.into_iter().find(|row| row.mode == mode)?;
            Some(100.0 * row.good()? / row.base)
        };
        let added = [added("udp"), added("unix")];
        let shown = added.map(|share| share.map_or("unstable".to_owned(), |s| format!("{s:.2}")));
        let is_nothing = added.iter().flatten().all(|share| share.abs() <= NOTHING);
        let _ = writeln!(
            text,
            "| `tcptrace {}` | {rate:.1} | {LINE:.0} | {awake} | {:.1} | {} | {} |",
            figure.words,
            figure.cpu_ns as f64 / 1e6 * 60.0 / seconds,
            shown.join(" | "),
            if is_nothing { "nothing" } else { "not nothing" },
        );
    }
    text + &wrong(figures.iter().map(|it| (format!("`tcptrace {}`", it.words), it.wrong.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figure;

    #[test]
    fn wake_ups_are_told_by_the_second_and_unrelated_work_by_its_share() {
        let work = |mode: &str, traced: f64| Figure {
            mode: mode.to_owned(),
            base: vec![vec![1000.0]; 2],
            base_own: vec![vec![1000.0]; 2],
            traced: vec![vec![traced]],
            traced_own: vec![vec![traced]],
            ..Figure::default()
        };
        let figure = Idled {
            words: "nagle".to_owned(),
            for_ns: 30_000_000_000,
            wakes: 600,
            cpu_ns: 2_000_000,
            unrelated: vec![work("udp", 1001.0), work("unix", 1000.0)],
            wrong: Vec::new(),
        };
        let more = Idled { unrelated: vec![work("udp", 1010.0)], wakes: 300, ..figure.clone() };
        let text = table(&[figure, more]);
        assert!(text.contains("| 20.0 | 10 | over | 4.0 | 0.10 | 0.00 | nothing |"), "{text}");
        assert!(
            text.contains("| 10.0 | 10 | ok | 4.0 | 1.00 | unstable | not nothing |"),
            "{text}"
        );
    }
}

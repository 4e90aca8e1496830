//! `bench bulk`: what each question adds to bulk data, in guests whose clock counts instructions.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;

use super::{
    guests::{self, Boot, Page, Programs, Table, Where, verdict},
    row::Row,
};
use crate::{guest, kernels, report::Figure};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    /// Starts of each command
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Writes of each connection
    #[arg(long, value_name = "N", default_value_t = 1000)]
    ops: u32,
}

const COMMANDS: [&str; 4] = [
    "nagle --port 8080",
    "nagle --summary-only --port 8080",
    "close --port 8080",
    "timeline --port 8080",
];
/// What the rows are called.
const PATHS: [(&str, &str); 2] = [("stream", "loopback"), ("veth", "veth, MSS 1448")];
/// Target 7 of the performance page, percent of the base.
const LINE: f64 = 2.0;

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let text = format!(
        "What a command adds to bulk data: {} writes of 64 KiB and their reads on each of {} fresh connections, both ends \
         in one thread, over loopback and from one network namespace to another behind a veth pair. Instructions of the \
         workload's own thread for each megabyte; \"all that ran\" has the command's own process too, where it ran \
         meanwhile. A row says WRONG where the command told another number than was made: `nagle` of holds \
         (of which as many operations of `held` follow, in the same run) and of writes, `close` of closed ends, `timeline` of bytes written, left and received.",
        args.ops,
        args.rounds * 2
    );
    let page = Page { suite: "bulk", heading: "Bulk data", text };
    guests::suite(&args.place, &page, &|programs, series| in_guest(programs, series, args))
}

fn in_guest(programs: &Programs, series: &'static kernels::Series, args: &Args) -> Result<Table> {
    let mut boot = Boot::new(&["bulk"]).with("--rounds", &args.rounds).with("--ops", &args.ops);
    for command in COMMANDS {
        boot = boot.with("--words", command);
    }
    // One more than is shown, for the answers.
    let wanted = COMMANDS.len() * (PATHS.len() + 1);
    let (release, figures) = programs.figures::<Figure>(series, &boot, wanted)?;
    let rows: Vec<Row> = figures.iter().filter_map(Row::of).collect();
    for wrong in rows.iter().flat_map(|row| &row.wrong) {
        eprintln!("WRONG {wrong}");
    }
    let is_right = rows.iter().all(|row| row.wrong.is_empty());
    Ok(Table { release, text: table(&rows), is_right })
}

fn table(rows: &[Row]) -> String {
    let mut text = "| path | base, per MB | beside it | added, in its thread, per MB | % of base | all that ran, per MB | line, % | |\n\
                    |---|--:|---|--:|--:|--:|--:|---|\n"
        .to_owned();
    for (mode, path) in PATHS {
        for row in rows.iter().filter(|row| row.mode == mode) {
            let base = per_mb(row.base);
            let _ = write!(text, "| {path} | {base:.0} | `tcptrace {}` | ", row.tool);
            let _ = match row.good() {
                Some(own) => {
                    let share = 100.0 * own / row.base;
                    let (own, all) = (per_mb(own), per_mb(row.added));
                    let verdict = verdict(share, LINE);
                    writeln!(text, "{own:.0} | {share:.1} | {all:.0} | {LINE:.0} | {verdict} |")
                }
                None if row.wrong.is_empty() => writeln!(text, "unstable | | | {LINE:.0} | |"),
                None => writeln!(text, "WRONG | | | {LINE:.0} | |"),
            };
        }
    }
    text
}

/// Of one operation, which is one write.
fn per_mb(instructions: f64) -> f64 {
    instructions * 1e6 / f64::from(guest::BULK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_told_by_the_megabyte_and_beside_the_line() {
        let row = Row {
            tool: "nagle".to_owned(),
            mode: "stream".to_owned(),
            port: 8080,
            base: 65_536.0,
            added: 6_553.6,
            own: Some(655.36),
            dropped: 0,
            wrong: Vec::new(),
        };
        let over = Row { own: Some(1400.0), ..row.clone() };
        let wrong = Row { wrong: vec!["no".to_owned()], ..row.clone() };
        let text = table(&[row, over, wrong]);
        assert!(text.contains("`tcptrace nagle` | 10000 | 1.0 | 100000 | 2 | ok |"), "{text}");
        assert!(text.contains("| 2.1 | 100000 | 2 | over |"), "{text}");
        assert!(text.contains("| WRONG |"), "{text}");
    }
}

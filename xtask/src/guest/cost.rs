//! `guest cost`: workloads without and with a tool beside them, in turns, and what the tool said of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::{
    ops::{Done, Mode},
    peers,
    tool::{Found, Tool, parse},
    turns::{self, Row, Turns, WATCHED, ops},
};
use crate::{oracle::ReportedClose, report::Figure};

/// What is measured, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// What the workload is, and at which port: pp:8080
    #[arg(long, value_name = "MODE:PORT", value_delimiter = ',', value_parser = row)]
    rows: Vec<Row>,
    /// What runs beside it, by name
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    tools: Vec<String>,
    /// How often each tool is started
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Fresh connections of each start
    #[arg(long, default_value_t = 2)]
    connections: u32,
    /// Operations of each connection
    #[arg(long, default_value_t = 500)]
    ops: u32,
}

fn row(text: &str) -> Result<Row, String> {
    let (mode, port) = text.split_once(':').ok_or("MODE:PORT is wanted")?;
    let mode = <Mode as clap::ValueEnum>::from_str(mode, false)?;
    Ok(Row { mode, port: port.parse().map_err(|error| format!("{port}: {error}"))?, ops: None })
}

/// Runs it and prints one line for each tool and row.
pub(crate) fn task(args: &Args) -> Result<()> {
    // Without a place for its minisock a connection ends otherwise: thousands are in TIME-WAIT at a time here.
    let buckets = "/proc/sys/net/ipv4/tcp_max_tw_buckets";
    std::fs::write(buckets, "262144").with_context(|| format!("cannot write {buckets}"))?;
    let turns = Turns {
        rows: &args.rows,
        rounds: args.rounds,
        connections: args.connections,
        ops: args.ops,
    };
    for name in &args.tools {
        if let Some(why) = refused(name) {
            let none = Figure { tool: name.clone(), refused: Some(why), ..Figure::default() };
            turns::print(&vec![none; args.rows.len()])?;
            continue;
        }
        let judge = |text: &str, complaints: &[String], all: &[(Row, Done)]| {
            if peers::is_peer(name) {
                let wrong = peers::wrong(name, text, complaints, all);
                return Ok(all.iter().map(|_| wrong.clone()).collect());
            }
            let told = told(name, text, complaints)?;
            Ok(all.iter().map(|(row, done)| told.as_ref()?.wrong(*row, done, all)).collect())
        };
        let mut figures = turns.measure(name, &|| started(args, name), &judge)?;
        match name.as_str() {
            "nagle" => one_by_one(args, &mut figures)?,
            "close" => each_close(args, &mut figures)?,
            _ => {}
        }
        turns::print(&figures)?;
    }
    Ok(())
}

/// Why a peer does not run here, where it does not.
fn refused(name: &str) -> Option<String> {
    let tried = peers::is_peer(name).then(|| peers::start(name))?;
    tried.and_then(Tool::kill).err().map(|error| format!("{error:#}"))
}

/// The tool of this name, ready.
fn started(args: &Args, name: &str) -> Result<Tool> {
    if peers::is_peer(name) {
        return peers::start(name);
    }
    let port = WATCHED.to_string();
    let (program, words): (PathBuf, &[&str]) = match name {
        "floor" => ("/floor".into(), &["/floor.o"]),
        "nagle" => (args.tcptrace.clone(), &["nagle", "--port", &port]),
        "summary" => (args.tcptrace.clone(), &["nagle", "--summary-only", "--port", &port]),
        "close" => (args.tcptrace.clone(), &["close", "--port", &port]),
        _ => bail!("no tool has the name {name}"),
    };
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    Tool::start(&program, &words, false)
}

/// What it has said; `None` of a tool that tells no holds.
fn told(name: &str, text: &str, complaints: &[String]) -> Result<Option<Told>> {
    match name {
        "floor" => {
            let mut counts = text.split_whitespace().map(str::parse);
            let (Some(Ok(begun)), Some(Ok(ended))) = (counts.next(), counts.next()) else {
                bail!("the floor says {text}");
            };
            Ok(Some(Told::Counts { begun, ended }))
        }
        "nagle" | "summary" => Ok(Some(Told::Table { lines: table(text)?, lost: lost(text) })),
        "close" => {
            let closes = closes(text).with_context(|| format!("close says {text}"))?;
            eprintln!("{complaints:?}");
            Ok(Some(Told::Closes { closes, lost: lost(text) }))
        }
        _ => Ok(None),
    }
}

/// What a tool has told.
#[derive(Debug)]
enum Told {
    /// How many began, and how many ended.
    Counts { begun: u64, ended: u64 },
    /// How many closes; what was lost.
    Closes { closes: u64, lost: Option<String> },
    /// The rows of the summary; what was lost.
    Table { lines: Vec<Line>, lost: Option<String> },
}

/// A row of the summary's table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    cause: String,
    release: String,
    holds: u64,
    /// Bytes between which the printed number lies.
    bytes: (u64, u64),
}

impl Told {
    /// What is wrong about a row of the benchmark; no answer is expected of the port that is not watched.
    fn wrong(&self, row: Row, done: &Done, all: &[(Row, Done)]) -> Option<String> {
        let watched = || all.iter().filter(|(row, _)| row.port == WATCHED).map(|(_, done)| done);
        let wanted: u64 = watched().map(|done| done.holds).sum();
        match self {
            Self::Counts { begun, ended } => (*begun != wanted || *ended != wanted)
                .then(|| format!("{begun} holds began and {ended} ended, of {wanted}")),
            Self::Table { lost: Some(lost), .. } => Some(format!("events were lost{lost}")),
            Self::Closes { closes, lost } => {
                let wanted: u64 = watched().map(|done| done.closes).sum();
                let lost = lost.as_deref().unwrap_or_default();
                // An interrupt in a program that runs the same one counts as a miss, and spoils no answer by itself.
                (*closes != wanted).then(|| format!("{closes} closes were told, of {wanted}{lost}"))
            }
            Self::Table { lines, .. } => {
                let told: u64 = lines.iter().map(|line| line.holds).sum();
                let own: Vec<&Line> = lines.iter().filter(|line| line.is_of(row.mode)).collect();
                let holds: u64 = own.iter().map(|line| line.holds).sum();
                let least: u64 = own.iter().map(|line| line.bytes.0).sum();
                let most: u64 = own.iter().map(|line| line.bytes.1).sum();
                let right = told == wanted
                    && (row.port != WATCHED || done.holds == 0 || holds == done.holds)
                    && (done.holds == 0 || (least..=most).contains(&done.held_bytes));
                (!right).then(|| {
                    format!(
                        "{} holds of {} B were made and {wanted} in all; told were {lines:?}",
                        done.holds, done.held_bytes
                    )
                })
            }
        }
    }
}

impl Line {
    /// Whether it tells what the holds of this workload are.
    fn is_of(&self, mode: Mode) -> bool {
        let wanted = match mode {
            Mode::Held => ("Nagle", "ACK"),
            Mode::Cork => ("cork", "uncork"),
            _ => return false,
        };
        (self.cause.as_str(), self.release.as_str()) == wanted
    }
}

/// How many closes the summary tells: `1.3 s, port 8080: 2,262 closes on 2,262 sockets`.
fn closes(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(" closes on "))?;
    let (before, _) = line.split_once(" closes on ")?;
    before.rsplit(' ').next()?.replace(',', "").parse().ok()
}

/// What the summary says of lost events, where it does.
fn lost(text: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.split_once("NOT ALL")?.1.to_owned()))
}

/// The table of the summary, by the columns of its heading.
fn table(text: &str) -> Result<Vec<Line>> {
    let mut lines = text.lines().skip_while(|line| !line.trim_start().starts_with("process "));
    let Some(heads) = lines.next() else { return Ok(Vec::new()) };
    let at = |name: &str| heads.find(name).with_context(|| format!("no column {name} in {heads}"));
    let (cause, release) = (at("cause")?, at("released by")?);
    let mut rows = Vec::new();
    for line in lines.take_while(|line| !line.trim_start().starts_with("how long")) {
        let read = || {
            let (what, rest) = line.get(release..)?.split_once("  ")?;
            let mut numbers = rest.split_whitespace();
            let holds = numbers.next()?.replace(',', "").parse().ok()?;
            Some(Line {
                cause: line.get(cause..release)?.trim().to_owned(),
                release: what.trim().to_owned(),
                holds,
                bytes: bytes(numbers.next()?, numbers.next()?)?,
            })
        };
        rows.push(read().with_context(|| format!("the summary says {line}"))?);
    }
    Ok(rows)
}

/// Bytes between which a printed number lies: `1,131 B`, `14.2 kB`.
fn bytes(number: &str, unit: &str) -> Option<(u64, u64)> {
    let number = number.replace(',', "");
    let unit: u64 = match unit {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    let digits = u32::try_from(part.len()).ok()?;
    let step = unit / 10_u64.checked_pow(digits)?;
    let shown = format!("{whole}{part}").parse::<u64>().ok()? * step;
    Some((shown.saturating_sub(step / 2), shown + step / 2))
}

/// Once more and not timed, with every hold printed: each must be of one byte, and held and let go as the workload was.
fn one_by_one(args: &Args, figures: &mut [Figure]) -> Result<()> {
    let words = ["nagle", "--json", "--min-hold", "0", "--port", "8080"].map(str::to_owned);
    for (row, figure) in args.rows.iter().zip(figures) {
        let tool = Tool::start(&args.tcptrace, &words, false)?;
        let done = ops(*row, 1, 50)?;
        let (text, _) = tool.stop()?;
        let said = parse(&text);
        let wanted = if row.port == WATCHED { done.holds } else { 0 };
        let (cause, release) = match row.mode {
            Mode::Held => ("nagle", "ack"),
            _ => ("cork", "uncork"),
        };
        let right = said.complaints.is_empty()
            && said.found.len() as u64 == wanted
            && said.found.iter().all(|found| {
                let hold = &found.what;
                hold.bytes == 1 && hold.causes == [cause] && hold.release == release
            });
        if !right {
            let first = said.found.iter().find(|found| found.what.release != release);
            figure.wrong.push(format!(
                "of {wanted} holds, told one by one, {} came; {:?} {first:?}",
                said.found.len(),
                said.complaints
            ));
        }
    }
    Ok(())
}

/// As [`one_by_one`], of the closes: each is of three segments, but where a tick comes between the two `close()`: of a
/// connection without data the ACK waits no longer than that.
fn each_close(args: &Args, figures: &mut [Figure]) -> Result<()> {
    let words = ["close", "--json", "--min-duration", "0", "--port", "8080"].map(str::to_owned);
    for (row, figure) in args.rows.iter().zip(figures) {
        let tool = Tool::start(&args.tcptrace, &words, false)?;
        let done = ops(*row, 1, 50)?;
        let (text, _) = tool.stop()?;
        let said = parse(&text);
        let wanted = if row.port == WATCHED { done.closes } else { 0 };
        let right = |found: &&Found<ReportedClose>| {
            let (_, shape, reason) = found.what.brief();
            matches!((shape, reason), ("merged", _) | ("separate", "no_data_received" | "peer"))
        };
        let odd = said.closes.iter().find(|found| !right(found)).map(|found| &found.what);
        let right = said.closes.iter().filter(right).count();
        if !said.complaints.is_empty()
            || [right, said.closes.len()].iter().any(|n| *n as u64 != wanted)
        {
            figure.wrong.push(format!(
                "of {wanted} closes, told one by one, {} came, {right} of them as they were made; {odd:?} {:?}",
                said.closes.len(),
                said.complaints
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "1.3 s, port 8080: 2,262 holds on 8 sockets, 3.1 ms of waiting in all\n  \
        process     remote     cause  released by  holds    bytes     p50     p99     max\n  \
        xtask[212]  127.0.0.1  cork   uncork       1,131  1.13 kB   12 µs   14 µs   20 µs\n  \
        xtask[211]  127.0.0.1  Nagle  ACK          1,131  1,131 B   12 µs   14 µs   20 µs\n  \
        how long          0.1 ms    1 ms\n  cork              █\n\
        seen: all events; 0 lost, 0 probe misses.\n";

    fn rows() -> Vec<(Row, Done)> {
        let of = |mode, holds| {
            let done = Done { holds, held_bytes: holds, ..Done::default() };
            (Row { mode, port: WATCHED, ops: None }, done)
        };
        vec![of(Mode::Pp, 0), of(Mode::Held, 1131), of(Mode::Cork, 1131)]
    }

    fn wrong(text: &str) -> Vec<bool> {
        let told = Told::Table { lines: table(text).unwrap(), lost: lost(text) };
        let all = rows();
        all.iter().map(|(row, done)| told.wrong(*row, done, &all).is_some()).collect()
    }

    #[test]
    fn a_summary_that_tells_what_was_done_is_right() {
        assert_eq!(wrong(SUMMARY), [false; 3]);
    }

    #[test]
    fn a_hold_less_another_release_other_bytes_or_a_loss_is_wrong() {
        assert_eq!(wrong(&SUMMARY.replace("uncork       1,131", "uncork       1,130")), [true; 3]);
        assert_eq!(wrong(&SUMMARY.replace("uncork     ", "loss probe ")), [false, false, true]);
        assert_eq!(wrong(&SUMMARY.replace("1,131 B", "1,132 B")), [false, true, false]);
        assert_eq!(wrong(&SUMMARY.replace("seen: all", "seen: NOT ALL")), [true; 3]);
        assert_eq!(wrong("1.3 s, port 8080: no hold\n"), [true; 3]);
    }

    #[test]
    fn closes_are_counted_by_the_headline() {
        let text = "1.3 s, port 8080: 2,262 closes on 2,262 sockets; 2,262 not printed\n";
        assert_eq!((closes(text), closes("no connection was closed.")), (Some(2262), None));
        let row = Row { mode: Mode::Cc, port: WATCHED, ops: None };
        let all = [(row, Done { closes: 2262, ..Done::default() })];
        let wrong = |closes, lost: bool| {
            let told = Told::Closes { closes, lost: lost.then(String::new) };
            told.wrong(row, &all[0].1, &all).is_some()
        };
        assert_eq!(
            (wrong(2262, false), wrong(2261, false), wrong(2261, true)),
            (false, true, true)
        );
    }

    #[test]
    fn counts_must_be_those_of_all_watched_rows() {
        let all = rows();
        let told = |begun, ended| {
            let told = Told::Counts { begun, ended };
            all.iter().any(|(row, done)| told.wrong(*row, done, &all).is_some())
        };
        assert!(!told(2262, 2262) && told(2261, 2262) && told(2262, 2261));
    }
}

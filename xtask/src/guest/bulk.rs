//! `guest bulk`: much data without and with a command beside it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{
    ops::{Done, Mode},
    tool::{Tool, findings, summary},
    turns::{self, Row, Turns, WATCHED},
};

/// What is measured, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// A command with its flags; can be given more than once
    #[arg(long)]
    words: Vec<String>,
    /// How often each is started
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Fresh connections of each start
    #[arg(long, default_value_t = 2)]
    connections: u32,
    /// Operations of each connection
    #[arg(long, default_value_t = 1000)]
    ops: u32,
}

/// The last is there for the command's answers: one that sees no hold could be blind.
const ROWS: [Row; 3] = [
    Row { mode: Mode::Stream, port: WATCHED, ops: None },
    Row { mode: Mode::Veth, port: WATCHED, ops: None },
    Row { mode: Mode::Held, port: WATCHED, ops: Some(100) },
];

/// Runs it and prints one line for each command and row.
pub(crate) fn task(args: &Args) -> Result<()> {
    let turns =
        Turns { rows: &ROWS, rounds: args.rounds, connections: args.connections, ops: args.ops };
    for words in &args.words {
        // What it has told is read from its JSON, which costs the workload no more than its text.
        let mut all: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        all.push("--json".to_owned());
        let judge = |text: &str, _: &[String], all: &[(Row, Done)]| {
            let wrong = wrong(words, text, all)?;
            Ok(all.iter().map(|_| wrong.clone()).collect())
        };
        let start = || Tool::start(&args.tcptrace, &all, false);
        turns::print(&turns.measure(words, &start, &judge)?)?;
    }
    Ok(())
}

/// What a stretch of the timeline says of bytes.
#[derive(Debug, Default, Deserialize)]
struct Stretch {
    #[serde(rename = "written_bytes")]
    written: u64,
    #[serde(rename = "left_bytes")]
    left: u64,
    #[serde(rename = "received_bytes")]
    received: u64,
}

/// Where the command has told another number than the workload made: of writes, of bytes, of closes.
fn wrong(words: &str, text: &str, all: &[(Row, Done)]) -> Result<Option<String>> {
    let sum = |of: fn(&Done) -> u64| all.iter().map(|(_, done)| of(done)).sum::<u64>();
    let said = summary(text)?;
    if said.lost() > 0 {
        return Ok(Some(format!("{} events were lost: {:?}", said.lost(), said.events_lost)));
    }
    let (holds, closes) = (sum(|done| done.holds), sum(|done| done.closes));
    // The first 64 KiB of a connection may be more than its first window: what is beyond leaves before the call returns.
    let bulk = all.iter().filter(|(row, _)| row.mode != Mode::Held);
    let first: u64 = bulk.map(|(_, done)| done.closes / 2).sum();
    let holds = match said.holds {
        Some(told) if (holds..=holds + first).contains(&told) => told,
        _ => holds,
    };
    let (what, told, wanted) = match words.split_whitespace().next() {
        Some("nagle") if words.contains("--summary-only") => {
            ("holds", vec![said.holds], vec![holds])
        }
        Some("nagle") => {
            let sends = sum(|done| done.sends);
            ("holds and writes", vec![said.holds, said.writes], vec![holds, sends])
        }
        Some("close") => ("closes", vec![said.closes], vec![closes]),
        Some("timeline") => {
            let (stretches, _) = findings::<Stretch, serde_json::Value>(text, "stretch")
                .context("the timeline's JSON")?;
            let of = |bytes: fn(&Stretch) -> u64| Some(stretches.iter().map(bytes).sum::<u64>());
            let sent = sum(|done| done.sent_bytes);
            // What comes again, where there was no room for it, counts each time.
            let received = of(|s| s.received).map(|bytes| bytes.min(sent));
            let told = vec![of(|s| s.written), of(|s| s.left), received];
            ("bytes written, left and received", told, vec![sent; 3])
        }
        _ => bail!("no way to check {words}"),
    };
    let right = told.iter().zip(&wanted).all(|(told, wanted)| *told == Some(*wanted));
    Ok((!right).then(|| format!("{what}: told {told:?} of {wanted:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &str, text: &str) -> Option<String> {
        let done = Done { sends: 4, holds: 1, sent_bytes: 30, closes: 2, ..Done::default() };
        wrong(words, text, &[(ROWS[0], done)]).unwrap()
    }

    #[test]
    fn other_numbers_than_the_workloads_are_wrong() {
        let nagle = r#"{"type":"summary","holds":1,"writes":4,"events_lost":{}}"#;
        assert_eq!(told("nagle --port 8080", nagle), None);
        assert_eq!(told("nagle --summary-only", &nagle.replace(":4", ":9")), None);
        assert_eq!(told("nagle --summary-only", &nagle.replace(":1", ":2")), None);
        assert!(told("nagle --summary-only", &nagle.replace(":1", ":3")).is_some());
        assert!(told("nagle --summary-only", &nagle.replace(":1", ":0")).is_some());
        assert!(told("nagle --port 8080", &nagle.replace(":4", ":3")).is_some());
        let lost = nagle.replace("{}", r#"{"tcp_push":1}"#);
        assert!(told("nagle --port 8080", &lost).is_some());
        let close = r#"{"type":"summary","closes":2,"events_lost":{}}"#;
        assert_eq!(told("close", close), None);
        assert!(told("close", &close.replace(":2", ":3")).is_some());
    }

    #[test]
    fn every_byte_is_looked_for_in_the_stretches() {
        let line = |left: u64| {
            format!(
                r#"{{"type":"stretch","written_bytes":15,"left_bytes":{left},"received_bytes":15}}"#
            )
        };
        let text = |left| {
            let summary = r#"{"type":"summary","events_lost":{}}"#;
            format!("{}\n{}\n{summary}", line(15), line(left))
        };
        assert_eq!(told("timeline", &text(15)), None);
        assert!(told("timeline", &text(14)).is_some());
    }
}

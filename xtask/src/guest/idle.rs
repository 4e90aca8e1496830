//! `guest idle`: what a command takes with nothing to do, and what it costs work that it has nothing to do with.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    ops::{Done, Mode},
    process::{cpu_ns, wakes},
    sys::{now_ns, sleep_until},
    tool::{Tool, summary},
    turns::{Row, Turns, WATCHED, ops},
};
use crate::report::{FIGURE, Idled};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// A command with its flags; can be given more than once
    #[arg(long)]
    words: Vec<String>,
    /// How long it is watched, seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Starts of each beside work that it has nothing to do with
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

const UNRELATED: [Row; 2] = [
    Row { mode: Mode::Udp, port: WATCHED, ops: None },
    Row { mode: Mode::Unix, port: WATCHED, ops: None },
];
/// For what there is to do after a start.
const SETTLE_NS: u64 = 1_000_000_000;
/// Operations that show that it still sees: each is a hold, and each connection is closed.
const SEEN: u32 = 20;

/// Runs each and prints one line for it.
pub(crate) fn task(args: &Args) -> Result<()> {
    for words in &args.words {
        let mut figure = idle(args, words)?;
        let turns = Turns { rows: &UNRELATED, rounds: args.rounds, connections: 2, ops: 1000 };
        // Their TCP connection only stands there.
        let judge = |_: &str, _: &[String], all: &[(Row, Done)]| Ok(vec![None; all.len()]);
        figure.unrelated = turns.measure(words, &|| started(args, words), &judge)?;
        println!("{FIGURE}{}", serde_json::to_string(&figure)?);
    }
    Ok(())
}

fn started(args: &Args, words: &str) -> Result<Tool> {
    let words = words.split_whitespace().chain(["--json"]).map(str::to_owned);
    Tool::start(&args.tcptrace, &words.collect::<Vec<_>>(), false)
}

fn idle(args: &Args, words: &str) -> Result<Idled> {
    let tool = started(args, words)?;
    sleep_until(now_ns() + SETTLE_NS);
    let (from_ns, cpu, woken) = (now_ns(), cpu_ns(tool.pid())?, wakes(tool.pid())?);
    sleep_until(from_ns + args.seconds * 1_000_000_000);
    let mut figure = Idled {
        words: words.to_owned(),
        for_ns: now_ns() - from_ns,
        wakes: wakes(tool.pid())? - woken,
        cpu_ns: cpu_ns(tool.pid())? - cpu,
        ..Idled::default()
    };
    // One that has gone blind is cheap.
    let done = ops(Row { mode: Mode::Held, port: WATCHED, ops: None }, 1, SEEN)?;
    let (text, complaints) = tool.stop()?;
    let said = summary(&text)?;
    let sees = match (said.holds, said.closes) {
        (Some(holds), _) => holds == done.holds,
        (_, Some(closes)) => closes == done.closes,
        _ => said.events > 0,
    };
    if !sees || said.lost() > 0 {
        figure.wrong.push(format!("after it, {done:?} were made; {said:?} {complaints:?}"));
    }
    Ok(figure)
}

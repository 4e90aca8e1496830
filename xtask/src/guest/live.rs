//! `guest live`: what a command takes of its own to follow holds while they happen.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    ops::Mode,
    process::{cpu_ns, wakes},
    sys::{now_ns, sleep_until},
    tool::{Tool, parse, summary},
    turns::{Row, WATCHED, ops},
};
use crate::report::{FIGURE, Followed};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// A command with its flags; can be given more than once
    #[arg(long)]
    words: Vec<String>,
    /// Operations, each with one hold
    #[arg(long, default_value_t = 5000)]
    ops: u32,
}

/// For what there is to do after a start.
const SETTLE_NS: u64 = 500_000_000;
/// So long it idles, for comparison.
const IDLE_NS: u64 = 2_000_000_000;

/// Runs each and prints one line for it.
pub(crate) fn task(args: &Args) -> Result<()> {
    for words in &args.words {
        println!("{FIGURE}{}", serde_json::to_string(&measured(args, words)?)?);
    }
    Ok(())
}

fn measured(args: &Args, words: &str) -> Result<Followed> {
    let all: Vec<String> = words.split_whitespace().chain(["--json"]).map(str::to_owned).collect();
    let tool = Tool::start(&args.tcptrace, &all, false)?;
    sleep_until(now_ns() + SETTLE_NS);
    let idle = cpu_ns(tool.pid())?;
    sleep_until(now_ns() + IDLE_NS);
    let (from_ns, cpu, woken) = (now_ns(), cpu_ns(tool.pid())?, wakes(tool.pid())?);
    let idle = cpu - idle;
    let done = ops(Row { mode: Mode::Held, port: WATCHED, ops: None }, 1, args.ops)?;
    let busy_ns = now_ns() - from_ns;
    let woken = wakes(tool.pid())? - woken;
    // The rest is taken at the next look into the ring buffer.
    sleep_until(now_ns() + SETTLE_NS);
    let idle = idle * (now_ns() - from_ns) / IDLE_NS;
    let cpu_ns = (cpu_ns(tool.pid())? - cpu).saturating_sub(idle);
    let (text, complaints) = tool.stop()?;
    let (said, printed) = (summary(&text)?, parse(&text).found.len() as u64);
    let findings = said.holds.unwrap_or(0);
    let mut wrong = Vec::new();
    if findings != done.holds {
        wrong.push(format!("{findings} holds were told, of {}: {complaints:?}", done.holds));
    }
    if said.lost() > 0 {
        wrong.push(format!("events were lost: {:?}", said.events_lost));
    }
    // Some last longer than the limit, where this process takes the only processor meanwhile.
    let is_each = words.contains("--min-hold 0");
    let is_none = words.contains("--summary-only");
    if is_each && printed != done.holds
        || is_none && printed != 0
        || !is_none && printed + said.below_limit != findings
    {
        wrong.push(format!("{printed} holds were printed, {} were not", said.below_limit));
    }
    Ok(Followed {
        words: words.to_owned(),
        cpu_ns,
        busy_ns,
        wakes: woken,
        events: said.events,
        findings,
        printed,
        wrong,
    })
}

//! `guest attach`: how long tcptrace takes to attach and to end, its memory then, and whether the kernel keeps anything of it.

use std::{io, path::PathBuf};

use anyhow::{Result, ensure};

use super::{
    bpf::bpf,
    process::memory,
    sys::{now_ns, sleep_until},
    tool::Tool,
};
use crate::report::{Attached, FIGURE};

/// `BPF_PROG_GET_NEXT_ID` (`linux/bpf.h`).
const NEXT_PROGRAM: i32 = 11;
/// The kernel takes programs apart by and by: so often it is looked for them, and so long apart, nanoseconds.
const LOOKS: u32 = 100;
const APART_NS: u64 = 50_000_000;

/// What is started, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// A command with its flags; can be given more than once
    #[arg(long)]
    words: Vec<String>,
    /// Starts of each
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// Starts and stops each, and prints one line for it.
pub(crate) fn task(args: &Args) -> Result<()> {
    // What the first start finds is not in memory yet.
    if let Some(words) = args.words.first() {
        started(args, words)?.stop()?;
    }
    for words in &args.words {
        let mut figure = Attached { words: words.clone(), ..Attached::default() };
        let before = programs();
        for _ in 0..args.rounds {
            let from_ns = now_ns();
            let tool = started(args, words)?;
            figure.attach_ns.push(now_ns() - from_ns);
            figure.programs = programs().saturating_sub(before);
            (figure.rss_kib, figure.peak_kib) = memory(tool.pid())?;
            let asked_ns = now_ns();
            let (told_at_ns, complaints) = tool.stop_and_time()?;
            figure.told_ns.extend(told_at_ns.map(|at_ns| at_ns.saturating_sub(asked_ns)));
            figure.exit_ns.push(now_ns() - asked_ns);
            let killed = complaints.iter().any(|line| line.starts_with("tcptrace ended with"));
            ensure!(!killed, "{words}: {complaints:?}");
            figure.left = figure.left.max(left(before));
        }
        started(args, words)?.kill()?;
        figure.left_killed = left(before);
        println!("{FIGURE}{}", serde_json::to_string(&figure)?);
    }
    Ok(())
}

fn started(args: &Args, words: &str) -> Result<Tool> {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    Tool::start(&args.tcptrace, &words, false)
}

/// How many BPF programs the kernel has.
fn programs() -> usize {
    let next = |after: &u32| {
        // `start_id`, and behind it `next_id`, which the kernel writes.
        let mut attributes = [0_u64; 16];
        attributes[0] = u64::from(*after);
        let told: io::Result<i32> = bpf(NEXT_PROGRAM, &mut attributes);
        told.ok().map(|_| (attributes[0] >> 32) as u32)
    };
    std::iter::successors(next(&0), next).count()
}

/// How many more than before it keeps.
fn left(before: usize) -> usize {
    for _ in 0..LOOKS {
        if programs() <= before {
            return 0;
        }
        sleep_until(now_ns() + APART_NS);
    }
    programs().saturating_sub(before)
}

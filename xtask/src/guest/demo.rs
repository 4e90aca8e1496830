//! `guest demo`: a small write under `TCP_CORK`, and what tcptrace says of it.

use std::path::PathBuf;

use super::{
    capture::Capture,
    netns,
    stage::{Family, PORT, Stage, play},
    sys::{now_ns, realtime_offset_ns, sleep_until},
    tool::Tool,
};
use crate::scenario;

/// The story of the demonstration.
const STORY: &str = "cork_probe_timer_then_tail";

/// With which tcptrace.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program to demonstrate
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// Handed to tcptrace
    #[arg(long, default_value = "auto")]
    color: String,
}

/// Plays the story in front of tcptrace, whose text goes to the console.
pub(crate) fn task(args: &Args) -> anyhow::Result<()> {
    let offset_ns = realtime_offset_ns();
    netns::up("lo")?;
    let _stamps = Capture::start("lo", offset_ns)?;
    let story = scenario::all().into_iter().find(|story| story.name == STORY);
    let story = story.ok_or_else(|| anyhow::anyhow!("the story {STORY} is gone"))?;
    let port = PORT.to_string();
    let arguments = ["nagle", "--port", &port, "--color", &args.color].map(str::to_owned);
    let tool = Tool::start(&args.tcptrace, &arguments, true)?;
    play(Stage { story, family: Family::V4, first_port: 40_112, offset_ns })?;
    // The last lines must be on the console before the interrupt's summary.
    sleep_until(now_ns() + 1_000_000_000);
    let (_, said) = tool.stop()?;
    match said.into_iter().find(|line| line.starts_with("tcptrace ended")) {
        Some(line) => anyhow::bail!(line),
        None => Ok(()),
    }
}

//! `guest traces`: each story in front of a `tcptrace record` of its own; traces and oracle go to the console.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, ensure};

use super::{
    capture::Capture,
    netns,
    run::{closes_against_story, warm_up},
    stage::{Family, PORT, Playing, Seen, Stage, start},
    sys::realtime_offset_ns,
    tool::Tool,
};
use crate::{
    oracle::{Hold, against_story, close, holds},
    report::{RECORDING, Recording, Witnessed, WitnessedClose, WitnessedHold},
    scenario::{Expect, Step, Story},
    traces::recorded,
};

/// Where a trace lies until it is printed.
const FILE: &str = "/story.tcptrace";
/// The peer's port in every trace.
const PEER_PORT: u16 = 40_112;

/// Which stories, and with which tcptrace.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// These stories
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// The program that records
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
}

/// Prints one [`RECORDING`] line for each story.
pub(crate) fn task(args: &Args) -> anyhow::Result<()> {
    let offset_ns = realtime_offset_ns();
    let _stamps = Capture::start("lo", offset_ns)?;
    netns::up("lo")?;
    warm_up(offset_ns);
    let wanted = |story: &Story| args.scenario.contains(&story.name);
    for story in recorded().into_iter().filter(wanted) {
        let name = story.name.clone();
        let recording = record(args, story, offset_ns).with_context(|| format!("story {name}"))?;
        println!("{RECORDING}{}", serde_json::to_string(&recording)?);
    }
    Ok(())
}

fn record(args: &Args, story: Story, offset_ns: u64) -> anyhow::Result<Recording> {
    let scenario = story.name.clone();
    let expect = story.expect.clone();
    let late = story.steps.iter().any(|then| matches!(then.step, Step::Attach));
    let play = || start(Stage { story, family: Family::V4, first_port: PEER_PORT, offset_ns });
    let port = PORT.to_string();
    let arguments = ["record", "--force", "--port", &port, "-o", FILE].map(str::to_owned);
    let attach = || Tool::start(&args.tcptrace, &arguments, false);
    let (tool, playing): (Tool, Playing) = if late {
        let playing = play();
        playing.wait_for_attach()?;
        (attach()?, playing)
    } else {
        (attach()?, play())
    };
    let seen = playing.end();
    let (_, said) = tool.stop()?;
    let seen = seen?;
    ensure!(said.iter().any(|line| line.contains(", 0 lost")), "tcptrace: {}", said.join(" / "));
    let is_close = matches!(expect, Expect::Closes(_));
    let connections: Vec<Witnessed> = seen.iter().map(|one| witnessed(one, is_close)).collect();
    let held: Vec<Hold> = seen.iter().flat_map(|one| holds(&one.conversation)).collect();
    let differences = match &expect {
        Expect::Holds(Some(expect)) => against_story(&held, expect),
        Expect::Holds(None) => Vec::new(),
        Expect::Closes(expect) => closes_against_story(&seen, expect),
    };
    ensure!(differences.is_empty(), "the kernel did otherwise: {}", differences.join(" / "));
    let bytes = fs::read(FILE)?;
    let mut trace = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(trace, "{byte:02x}")?;
    }
    Ok(Recording { scenario, trace, connections: (!late).then_some(connections) })
}

fn witnessed(seen: &Seen, is_close: bool) -> Witnessed {
    let close = is_close.then(|| close(&seen.conversation)).flatten().map(|close| WitnessedClose {
        side: close.side.to_owned(),
        shape: close.shape.to_owned(),
        reason: close.reason.to_owned(),
        segments: close.segments,
        fin_to_ack_ns: close.fin_to_ack_ns,
        fin_to_close_ns: close.fin_to_close_ns,
    });
    let holds = holds(&seen.conversation).into_iter().map(|hold| WitnessedHold {
        monotonic_ns: hold.start_ns,
        held_ns: hold.held_ns,
        bytes: hold.bytes,
        causes: hold.causes.into_iter().map(str::to_owned).collect(),
        release: hold.release.to_owned(),
        tail: hold.tail,
    });
    Witnessed { local: seen.local, remote: seen.remote, holds: holds.collect(), close }
}

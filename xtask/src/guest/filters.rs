//! What each filter lets through: several tcptraces with different ones watch the same story at the same time.

use std::{path::Path, process};

use super::{
    stage::{Family, PORT, Stage, play},
    tool::{Tool, parse},
};
use crate::{report::Outcome, scenario};

/// The row of the table.
pub(crate) const NAME: &str = "filters";
/// The story: two holds of one process, of about 227 and 44 ms.
const STORY: &str = "cork_probe_timer_then_tail";
/// The peer's port.
const PEER_PORT: u16 = 40_112;

/// A filter, how many of the story's holds it prints, and how many its summary counts.
struct Case {
    flags: Vec<String>,
    printed: usize,
    counted: usize,
}

fn cases() -> Vec<Case> {
    let case = |flags: &[&str], printed, counted| Case {
        flags: flags.iter().copied().map(str::to_owned).collect(),
        printed,
        counted,
    };
    let (port, peer, own) = (PORT.to_string(), PEER_PORT.to_string(), process::id().to_string());
    vec![
        case(&[], 2, 2),
        case(&["--port", &port], 2, 2),
        case(&["--port", &peer], 2, 2),
        case(&["--port", "1-79,8081", "--port", &format!("{PORT}-{PORT}")], 2, 2),
        case(&["--port", &format!("1-{},{}-{}", PORT - 1, PORT + 1, PEER_PORT - 1)], 0, 0),
        case(&["--pid", &own], 2, 2),
        case(&["--pid", "1"], 0, 0),
        case(&["--pid", &own, "--port", "9"], 0, 0),
        case(&["--min-hold", "100ms"], 1, 2),
        case(&["--min-hold", "10s"], 0, 2),
    ]
}

/// Starts them all, plays the story once, and counts.
pub(crate) fn outcome(tcptrace: &Path, offset_ns: u64) -> Outcome {
    let mut outcome = Outcome {
        scenario: NAME.to_owned(),
        family: Family::V4.name().to_owned(),
        form: "any".to_owned(),
        ..Outcome::default()
    };
    match tried(tcptrace, offset_ns) {
        Ok(wrong) => outcome.broken = wrong,
        Err(error) => outcome.broken.push(format!("{error:#}")),
    }
    outcome
}

fn tried(tcptrace: &Path, offset_ns: u64) -> anyhow::Result<Vec<String>> {
    let story = scenario::all().into_iter().find(|story| story.name == STORY);
    let story = story.ok_or_else(|| anyhow::anyhow!("the story {STORY} is gone"))?;
    let mut watching = Vec::new();
    for case in cases() {
        let mut arguments: Vec<String> = ["nagle", "--json"].map(str::to_owned).into();
        arguments.extend(case.flags.iter().cloned());
        watching.push((Tool::start(tcptrace, &arguments, false)?, case));
    }
    play(Stage { story, family: Family::V4, first_port: PEER_PORT, offset_ns })?;
    let mut wrong = Vec::new();
    for (tool, case) in watching {
        let (text, _) = tool.stop()?;
        let said = parse(&text);
        let counted = text.contains(&format!("\"type\":\"summary\",\"holds\":{}", case.counted));
        if said.found.len() != case.printed || !counted {
            wrong.push(format!(
                "{}: {} holds instead of {}, or not {} in the summary: {text}",
                case.flags.join(" "),
                said.found.len(),
                case.printed,
                case.counted
            ));
        }
    }
    Ok(wrong)
}

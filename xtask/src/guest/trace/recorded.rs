//! A recording of everything explains as a live run does, and every way to look at it counts the same holds.

use std::{path::Path, process::Stdio};

use serde_json::Value;

use super::again::{Ran, run};
use crate::scenario::Question;

/// What `nagle` says of a recording, and what is wrong with how it ends or with what the other commands say of it.
/// `said` is what the recorder said.
pub(crate) fn explained(
    tcptrace: &Path,
    file: &str,
    said: &[String],
    question: Question,
) -> anyhow::Result<(String, Vec<String>)> {
    let mut wrong = Vec::new();
    if !said.iter().any(|line| line.starts_with("wrote ") && line.contains(", 0 lost.")) {
        wrong.push(format!("record said {said:?}"));
    }
    let mut ask = |words: &[&str]| -> anyhow::Result<String> {
        let Ran { code, out, said } = run(tcptrace, words, Stdio::null())?;
        if code != Some(0) || !said.is_empty() {
            wrong.push(format!("{}: it ended with {code:?} and said {said:?}", words.join(" ")));
        }
        Ok(out)
    };
    if question == Question::Close {
        let close = ask(&["close", "--json", "--min-duration", "0", "-r", file])?;
        return Ok((close, wrong));
    }
    let nagle = ask(&["nagle", "--json", "--min-hold", "0", "-r", file])?;
    let timeline = ask(&["timeline", "--json", "-r", file])?;
    let replay = ask(&["replay", "--time", "utc", file])?;
    let holds = of_type(&nagle, "hold");
    let open = holds.iter().filter(|hold| hold.get("release") == Some(&"still_held".into()));
    let ended = (holds.len() - open.count()) as u64;
    let stretches = of_type(&timeline, "stretch");
    let in_stretches: u64 =
        stretches.iter().filter_map(|stretch| stretch.get("holds_ended")?.as_u64()).sum();
    if in_stretches != ended {
        wrong.push(format!("nagle ends {ended} holds, timeline {in_stretches}"));
    }
    let unread = timeline.lines().filter(|line| serde_json::from_str::<Value>(line).is_err());
    wrong.extend(unread.map(|line| format!("no JSON: {line}")));
    let row = replay.lines().find(|line| line.trim_start().starts_with("nagle "));
    if row.is_none_or(|row| !row.contains(&format!(" {} hold", holds.len()))) {
        wrong.push(format!("replay counts {} holds as {row:?}", holds.len()));
    }
    Ok((nagle, wrong))
}

/// The lines of this type.
fn of_type(text: &str, kind: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get("type") == Some(&kind.into())).collect()
}

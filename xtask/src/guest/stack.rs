//! User stacks: the function that wrote must be named, with its line, in both forms and after a replay; one of a process
//! that has gone is called not seen.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{
    held::{CALLER, Held, WRITER, corked},
    tool::Tool,
};
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "stack";

/// Runs tcptrace with `--stack` in each form; under lockdown kprobes are refused.
pub(crate) fn outcome(tcptrace: &Path, lockdown: bool) -> Outcome {
    let mut outcome = Outcome {
        scenario: NAME.to_owned(),
        family: "4".to_owned(),
        form: "any".to_owned(),
        ..Outcome::default()
    };
    let forms: &[&str] = if lockdown { &["fentry"] } else { &["fentry", "kprobe"] };
    for form in forms {
        match named(tcptrace, form) {
            Ok(wrong) => outcome.broken.extend(wrong),
            Err(error) => outcome.broken.push(format!("{form}: {error:#}")),
        }
    }
    if let Err(error) = gone(tcptrace) {
        outcome.broken.push(format!("{error:#}"));
    }
    outcome
}

fn named(tcptrace: &Path, form: &str) -> anyhow::Result<Vec<String>> {
    let file = format!("/tmp/stack-{form}.tcptrace");
    let arguments = ["nagle", "--json", "--stack", "--attach", form, "-w", &file, "--force"];
    let tool = Tool::start(tcptrace, &arguments.map(str::to_owned), false)?;
    std::thread::spawn(|| corked("127.0.0.1:0".parse()?))
        .join()
        .map_err(|_panic| anyhow::anyhow!("the connection panicked"))??;
    // Long enough for it to be looked up.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let (text, _) = tool.stop()?;
    let live = frames(&text);
    let mut wrong = Vec::new();
    let named = |at: usize, name: &str| {
        let frame = live.first().and_then(|stack| stack.get(at));
        frame.is_some_and(|(function, file, line)| {
            function.ends_with(name) && file.ends_with("held.rs") && line.is_some()
        })
    };
    if !named(0, WRITER) || !named(1, CALLER) {
        wrong.push(format!("{form}: {live:?}: {text}"));
    }
    if live.len() != 1 {
        wrong.push(format!("{form}: {} stacks: {text}", live.len()));
    }
    let again =
        Command::new(tcptrace).args(["nagle", "--json", "--stack", "-r", &file]).output()?;
    let again = frames(&String::from_utf8_lossy(&again.stdout));
    if again != live {
        wrong.push(format!("{form}: replayed {again:?}, live {live:?}"));
    }
    let shown = Command::new(tcptrace).args(["nagle", "-r", &file]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    if !shown.lines().any(|line| line.contains(" at ") && line.contains(WRITER)) {
        wrong.push(format!("{form}: no line names {WRITER}: {shown}"));
    }
    fs::remove_file(&file)?;
    // What is not asked for is not told.
    let tool =
        Tool::start(tcptrace, &["nagle", "--json", "--attach", form].map(str::to_owned), false)?;
    corked("127.0.0.1:0".parse()?)?;
    let (text, _) = tool.stop()?;
    if text.contains("\"event\":\"stack\"") || !text.contains("\"type\":\"hold\"") {
        wrong.push(format!("{form}, without --stack: {text}"));
    }
    Ok(wrong)
}

/// A function, its file and its line.
type Frame = (String, String, Option<u64>);

/// The stacks in the evidence of all holds.
fn frames(text: &str) -> Vec<Vec<Frame>> {
    let text_of =
        |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let frame = |of: &Value| {
        let line = of.get("line").and_then(Value::as_u64);
        (text_of(of, "function"), text_of(of, "file"), line)
    };
    let list =
        |of: &Value, key: &str| of.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let facts = lines.flat_map(|line| list(&line, "evidence"));
    let stacks = facts.filter(|fact| text_of(fact, "event") == "stack");
    stacks.map(|fact| list(&fact, "frames").iter().map(frame).collect()).collect()
}

/// A process that has ended before anybody could look: its stack is named or called not seen, and nothing breaks.
fn gone(tcptrace: &Path) -> anyhow::Result<()> {
    let arguments = ["nagle", "--json", "--stack"].map(str::to_owned);
    let tool = Tool::start(tcptrace, &arguments, false)?;
    let words =
        Held { below: 0, code: 0, linger: std::time::Duration::ZERO }.words("/proc/self/exe");
    let (program, arguments) = words.split_first().ok_or_else(|| anyhow::anyhow!("no words"))?;
    Command::new(program).args(arguments).status()?;
    let (text, said) = tool.stop()?;
    let told =
        frames(&text).iter().all(|stack| stack.iter().any(|frame| frame.0.ends_with(WRITER)))
            || text.contains("\"frames\"]");
    anyhow::ensure!(told && text.contains("\"event\":\"stack\""), "gone: {said:?}, {text}");
    Ok(())
}

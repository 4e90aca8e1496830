//! Traces that are stored: they explain what a live run explains, whatever happens to the program, the disk or the file.

mod again;
mod disk;
mod ends;
mod killed;
mod load;
mod recorded;
mod rotated;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context as _;

pub(crate) use again::{difference, text_of, through_cat};
pub(crate) use recorded::explained;

use super::{
    sys::{now_ns, sleep_until},
    tool::Tool,
};
use crate::report::Outcome;

/// The row of the comparisons of a live run with what it stored.
pub(crate) const REPLAY: &str = "replay";
/// The rows of the table.
pub(crate) const NAMES: [&str; 6] = [REPLAY, KILLED, FULL, SLOW, ROTATED, ENDS];
const KILLED: &str = "record_killed";
const FULL: &str = "record_full_disk";
const SLOW: &str = "record_slow_disk";
const ROTATED: &str = "record_rotated";
const ENDS: &str = "stored_ends";

/// Whether the row has a run of its own.
pub(crate) fn is_alone(name: &str) -> bool {
    name != REPLAY && NAMES.contains(&name)
}

/// Where the trace of one form is stored.
pub(crate) fn file(form: &str) -> String {
    format!("/tmp/{form}.tcptrace")
}

/// Whether the kernel counts what BPF programs cost.
pub(crate) fn count_cost(on: bool) -> anyhow::Result<()> {
    fs::write("/proc/sys/kernel/bpf_stats_enabled", if on { "1" } else { "0" })
        .context("switch BPF statistics")
}

/// An outcome that is about no hold.
pub(crate) fn outcome(name: &str, form: &str, broken: Vec<String>) -> Outcome {
    Outcome {
        scenario: name.to_owned(),
        family: "both".to_owned(),
        form: form.to_owned(),
        broken,
        ..Outcome::default()
    }
}

/// What is wrong with what a tcptrace has done.
type Try = fn(&Path, u64) -> anyhow::Result<Vec<String>>;

/// The outcomes of the rows that are wanted and have a run of their own; `seed` chooses moments.
pub(crate) fn outcomes(
    tcptrace: &Path,
    wanted: Option<&str>,
    seed: u64,
) -> impl Iterator<Item = Outcome> {
    let all: [(&str, Try); 5] = [
        (KILLED, killed::tried),
        (FULL, disk::full),
        (SLOW, disk::slow),
        (ROTATED, rotated::tried),
        (ENDS, ends::tried),
    ];
    let wanted = move |name: &str| wanted.is_none_or(|only| only == name);
    all.into_iter().filter(move |(name, _)| wanted(name)).map(move |(name, tried)| {
        let broken = tried(tcptrace, seed).unwrap_or_else(|error| vec![format!("{error:#}")]);
        outcome(name, "auto", broken)
    })
}

/// An empty folder.
fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(format!("/tmp/{name}"));
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| format!("empty {}", path.display()))?;
    }
    fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}

/// Starts tcptrace with these words.
fn start(tcptrace: &Path, words: &[&str]) -> anyhow::Result<Tool> {
    let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
    Tool::start(tcptrace, &words, false)
}

/// Starts several at the same time, because attaching is mostly waiting.
fn start_all(tcptrace: &Path, all: &[&[&str]]) -> anyhow::Result<Vec<Tool>> {
    thread::scope(|scope| {
        let starting: Vec<_> =
            all.iter().map(|words| scope.spawn(|| start(tcptrace, words))).collect();
        let panicked = |_| Err(anyhow::anyhow!("a thread panicked"));
        starting.into_iter().map(|one| one.join().unwrap_or_else(panicked)).collect()
    })
}

/// Sleeps.
fn wait_ms(time: u64) {
    sleep_until(now_ns() + time * 1_000_000);
}

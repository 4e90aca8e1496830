//! `cargo xtask traces`: records the stories in guests, for the golden tests of tcptrace.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    binaries::Program,
    command,
    kernels::{self, Series},
    report::{RECORDING, Recording, Witnessed},
    scenario::{self, Question, Story},
    setup,
    test::Programs,
    vm,
};

/// `cargo xtask traces`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these kernels
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<String>,
    /// Only these stories, beside what is there; without it the folder of a kernel is made anew
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
}

/// The stories recorded on every kernel; the others are recorded on [`kernels::USUAL`] alone. One of each kind.
const EVERYWHERE: [&str; 16] = [
    "nagle_ack",
    "nagle_filled",
    "nagle_loss_probe",
    "nagle_nodelay",
    "uncork_leaves_nagle",
    "write_write_read_veth",
    "cork_probe_timer_then_tail",
    "cork_close",
    "more_next_write",
    "discarded_by_the_peers_reset",
    "zero_window_then_cork",
    "innocent_slow_reader",
    "close_merged",
    "close_after_the_delayed_ack",
    "close_linger_zero",
    "close_fin_behind_a_closed_window",
];

/// The stories of closes that are recorded: one of each shape, and of the reasons that differ most.
const CLOSES: [&str; 16] = [
    "close_merged",
    "close_active_merged",
    "close_after_the_delayed_ack",
    "close_at_once_without_data",
    "close_quickack_after_the_fin",
    "close_ack_on_data",
    "close_simultaneous",
    "close_half_active",
    "close_linger_zero",
    "close_unread_data",
    "close_data_in_the_minisock",
    "close_reset_by_the_peer",
    "close_own_fin_again_active",
    "close_fin_behind_a_closed_window",
    "close_forgotten",
    "close_syn_refused",
];

/// What the oracle saw, beside the traces of one kernel.
const EXPECTED: &str = "expected.json";

/// Records, one guest after the other.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let wanted = kernels::chosen(&args.kernel)?;
    for name in &args.scenario {
        let known = recorded().iter().any(|story| story.name == *name);
        ensure!(known, "no story '{name}' is recorded; cargo xtask test --scenario x lists all");
    }
    setup::ensure(&wanted)?;
    let programs = Programs::build(Program::Tcptrace, false)?;
    let mut bytes = 0;
    for series in wanted {
        let stories = stories(series, &args.scenario);
        if stories.is_empty() {
            continue;
        }
        let recordings = in_guest(series, &programs, &stories)?;
        let folder = folder().join(series.name);
        if args.scenario.is_empty() && folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        bytes += store(&folder, recordings)?;
    }
    println!("{bytes} bytes of traces in {}", folder().display());
    Ok(ExitCode::SUCCESS)
}

/// A released version of tcptrace has a folder that stays: its traces must be read for ever.
fn folder() -> PathBuf {
    command::repository().join("tcptrace/tests/traces").join(env!("CARGO_PKG_VERSION"))
}

/// The names of what is recorded of this kernel.
fn stories(series: &Series, only: &[String]) -> Vec<String> {
    let here = |name: &String| {
        (series.name == kernels::USUAL || EVERYWHERE.contains(&name.as_str()))
            && (only.is_empty() || only.contains(name))
    };
    recorded().into_iter().map(|story| story.name).filter(here).collect()
}

/// All stories of which there are traces: of those that differ in the way to write alone, one; of the closes some; none in which no witness
/// sees all that tcptrace does, or tcptrace is not certain.
pub(crate) fn recorded() -> Vec<Story> {
    let told = |story: &Story| {
        let name = story.name.as_str();
        (!name.starts_with("by_") || name == "by_sendfile")
            && (story.question() != Question::Close || CLOSES.contains(&name))
            && !scenario::MAY.iter().any(|(uncertain, _)| *uncertain == name)
    };
    scenario::all().into_iter().chain([scenario::attached_mid_hold()]).filter(told).collect()
}

fn in_guest(series: &Series, programs: &Programs, stories: &[String]) -> Result<Vec<Recording>> {
    let words = ["/xtask", "guest", "traces", "--scenario", &stories.join(",")].map(str::to_owned);
    let mut guest = vm::Guest::new(series.ready()?, words.to_vec());
    guest.limit = Duration::from_mins(15);
    programs.add_to(&mut guest)?;
    let mut recordings = Vec::new();
    let mut unreadable = Ok(());
    let run = guest.run(&mut |line| match line.strip_prefix(RECORDING) {
        None => eprintln!("{} | {line}", series.name),
        Some(text) => match serde_json::from_str::<Recording>(text) {
            Ok(recording) => {
                eprintln!("{} | {}", series.name, recording.scenario);
                recordings.push(recording);
            }
            Err(error) => unreadable = Err(error),
        },
    })?;
    unreadable.context("the guest printed an unreadable recording")?;
    ensure!(run.exit == 0, "kernel {}: recording ended with {}", series.name, run.exit);
    ensure!(
        recordings.len() == stories.len(),
        "kernel {}: {} of {} stories were recorded",
        series.name,
        recordings.len(),
        stories.len()
    );
    eprintln!(
        "xtask: {}: {} stories, {:.0} s",
        run.release,
        recordings.len(),
        run.took.as_secs_f64()
    );
    Ok(recordings)
}

/// Beside what is there, or in its place; the bytes of the traces.
fn store(folder: &Path, recordings: Vec<Recording>) -> Result<usize> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(EXPECTED);
    let mut expected: BTreeMap<String, Option<Vec<Witnessed>>> = match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| file.display().to_string())?,
        Err(_nothing_yet) => BTreeMap::new(),
    };
    let mut bytes = 0;
    for Recording { scenario, trace, connections } in recordings {
        let trace = from_hex(&trace).with_context(|| format!("the trace of {scenario}"))?;
        bytes += trace.len();
        fs::write(folder.join(format!("{scenario}.tcptrace")), trace)?;
        expected.insert(scenario, connections);
    }
    fs::write(file, serde_json::to_string_pretty(&expected)? + "\n")?;
    Ok(bytes)
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        ensure!(pair.len() == 2, "half a byte");
        Ok(u8::from_str_radix(pair, 16)?)
    });
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::{CLOSES, EVERYWHERE, from_hex, recorded};

    #[test]
    fn what_is_recorded_everywhere_exists() {
        let names: Vec<String> = recorded().into_iter().map(|story| story.name).collect();
        for wanted in EVERYWHERE.into_iter().chain(CLOSES) {
            assert!(names.iter().any(|name| name == wanted), "{wanted}");
        }
    }

    #[test]
    fn hexadecimal_digits_become_bytes() {
        assert_eq!(from_hex("00ff1a").unwrap(), [0, 255, 26]);
        assert!(from_hex("0").is_err() && from_hex("zz").is_err());
    }
}

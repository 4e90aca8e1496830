//! `bench replay`: what it takes to read a recorded trace, on the host.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{command, ebpf, setup, toolchain};

/// The flags of `bench replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events of each trace
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    events: u64,
    /// Sockets at a time
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1000,10000,100000,1000000"
    )]
    sockets: Vec<u64>,
    /// Runs of each figure, of which the middle one is told
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Writes docs/performance.md
    #[arg(long)]
    write: bool,
}

/// What is read, in which form, and how the table calls it.
const WAYS: [(&str, &str, &str); 6] = [
    ("decode", "trace", "read"),
    ("nagle", "trace", "read, correlate (`nagle`)"),
    ("text", "trace", "read, correlate, findings as text"),
    ("json", "trace", "read, correlate, findings as JSON"),
    ("timeline", "trace", "read, correlate (`timeline`)"),
    ("text", "txt", "text form in, findings as text"),
];

/// The text form is ten times as large; a part of the events tells as much.
const TEXT_PART: u64 = 10;

/// What one run took.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
struct Took {
    events: u64,
    findings: u64,
    ns: u64,
    allocations: u64,
    peak_kib: u64,
}

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    setup::ensure(&[])?;
    let table = replay(args)?;
    print!("{table}");
    if args.write {
        super::write_section("replay", &section_of(&table, args)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A run that is too short to tell anything, of the program that the tests have built, so that the benchmark itself
/// stays right: each way sees all events, and the findings do not depend on it.
pub(crate) fn smoke() -> Result<()> {
    let folder = command::target().join("bench-smoke");
    let program = build(false)?;
    fs::create_dir_all(&folder)?;
    let mut found = Vec::new();
    for (way, form, what) in WAYS {
        let file = folder.join(format!("replay.{form}"));
        make(&program, &file, 2_000, 10)?;
        let took = middle(&program, way, &file, 1)?;
        ensure!(took.events == 2_000, "{what}: {} events", took.events);
        if matches!(way, "nagle" | "text" | "json") {
            found.push(took.findings);
        }
    }
    ensure!(found.iter().all(|many| *many > 0 && Some(many) == found.first()), "{found:?}");
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn replay(args: &Args) -> Result<String> {
    let program = build(true)?;
    let folder = command::target().join("bench");
    fs::create_dir_all(&folder)?;
    let mut table = "| sockets | what | M events/s | ns/event | allocations/event | findings/event | peak, MiB |\n\
                     |--:|---|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for sockets in &args.sockets {
        for form in ["trace", "txt"] {
            let file = folder.join(format!("replay.{form}"));
            let events = if form == "txt" { args.events / TEXT_PART } else { args.events };
            make(&program, &file, events, *sockets)?;
            for (way, _, what) in WAYS.iter().filter(|(_, of, _)| *of == form) {
                let took = middle(&program, way, &file, args.rounds)?;
                row(&mut table, *sockets, what, took)?;
            }
            fs::remove_file(&file)?;
        }
    }
    Ok(table)
}

fn build(release: bool) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo
        .args(["build", "--quiet", "--locked", "--package", "tcptrace"])
        .args(["--example", "bench_replay", "--target-dir"])
        .arg(command::target())
        .args(release.then_some("--release"));
    if release {
        cargo.env(toolchain::OBJECT_VARIABLE, ebpf::object()?);
    }
    command::say_and_run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(command::target().join(profile).join("examples/bench_replay"))
}

fn make(program: &Path, file: &Path, events: u64, sockets: u64) -> Result<()> {
    let mut make = Command::new(program);
    make.arg("make").arg(file).args([events.to_string(), sockets.to_string()]);
    command::say_and_run(&mut make)
}

/// The run in the middle by its time.
fn middle(program: &Path, way: &str, file: &Path, rounds: usize) -> Result<Took> {
    let mut runs = Vec::new();
    for _ in 0..rounds.max(1) {
        let said = command::text(Command::new(program).args(["read", way]).arg(file))?;
        let took: Took =
            serde_json::from_str(said.trim()).with_context(|| format!("it says {said}"))?;
        runs.push(took);
    }
    runs.sort_by_key(|took| took.ns);
    let Some(took) = runs.get(runs.len() / 2) else { bail!("no run") };
    Ok(*took)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn row(table: &mut String, sockets: u64, what: &str, took: Took) -> Result<()> {
    let events = took.events.max(1) as f64;
    writeln!(
        table,
        "| {sockets} | {what} | {:.2} | {:.0} | {:.2} | {:.3} | {:.0} |",
        events * 1e3 / took.ns.max(1) as f64,
        took.ns as f64 / events,
        took.allocations as f64 / events,
        took.findings as f64 / events,
        took.peak_kib as f64 / 1024.0,
    )?;
    Ok(())
}

/// The section, with the machine that the figures are of.
fn section_of(table: &str, args: &Args) -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let many = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = super::today()?;
    Ok(format!(
        "## Replay\n\n\
         Written by `cargo xtask bench replay --write`.\n\n\
         What it takes to read a recorded trace, in the release build, on one core: CPU time of the process, the middle \
         of {} runs. A trace has {} events (a tenth of them in the text form); of these about 70 % are of sends that \
         nothing holds, 20 % of holds, 8 % tell state and 2 % are ends of sockets. A finding is printed in full with its \
         evidence in JSON and as its verdict in text, so that what printing costs grows with the findings; the peak is \
         `VmHWM`.\n\n\
         Machine: {model}, {many} CPUs, load {load} when the table was done, Linux {}, {}. On a machine that does other \
         things as well, these figures vary by a factor of two; compare only tables made one after the other. With a \
         million sockets a large part of the events are first records of sockets.\n\n\
         {table}",
        args.rounds,
        args.events,
        kernel.trim(),
        date,
    ))
}

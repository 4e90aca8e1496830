//! `cargo xtask fuzz`: builds the targets of `fuzz/` with the compiler of the workspace and runs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};

use crate::{binaries::TRIPLE, command, ebpf, setup, toolchain};

/// The targets; each is a file of `fuzz/targets`.
const TARGETS: [&str; 4] = ["trace_reader", "event_decoder", "correlator", "round_trip"];

/// What cargo-fuzz would pass, without a sanitizer: the code is safe, so that the mistakes are panics and memory.
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Targets; all without
    #[arg(value_name = "TARGET", value_parser = TARGETS)]
    target: Vec<String>,
    /// Time for each target
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u32,
    /// Start of the engine's random numbers; 0 is another one each time
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
}

impl Args {
    /// A bounded run of all targets that is the same each time, as far as the machine's speed allows.
    pub(crate) const fn bounded() -> Self {
        Self { target: Vec::new(), seconds: 10, seed: 1 }
    }

    /// As they are typed behind the name of this program.
    pub(crate) fn words(&self) -> Vec<String> {
        let Self { target, seconds, seed } = self;
        let flags = ["fuzz".to_owned(), format!("--seconds={seconds}"), format!("--seed={seed}")];
        flags.into_iter().chain(target.iter().cloned()).collect()
    }
}

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    Ok(if run(args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the targets, also after one that failed; says whether none did.
pub(crate) fn run(args: &Args) -> Result<bool> {
    setup::ensure(&[])?;
    let programs = build()?;
    let wanted = |name: &&&str| args.target.is_empty() || args.target.iter().any(|t| t == **name);
    let mut passed = true;
    for name in TARGETS.iter().filter(wanted) {
        let done = fuzz(&programs, name, args);
        if let Err(error) = &done {
            println!("FAIL fuzz {name}: {error:#}");
        }
        passed &= done.is_ok();
    }
    Ok(passed)
}

/// Builds all targets and says in which folder they are.
fn build() -> Result<PathBuf> {
    let target = folder();
    let mut cargo = command::cargo();
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--bins", "--manifest-path"])
        .args(["fuzz/Cargo.toml", "--target", TRIPLE, "--target-dir"])
        .arg(&target)
        // With a target named, these flags leave build scripts and procedural macros alone.
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
        .env(toolchain::OBJECT_VARIABLE, ebpf::object()?);
    command::say_and_run(&mut cargo)?;
    Ok(target.join(TRIPLE).join("release"))
}

fn folder() -> PathBuf {
    command::target().join("fuzz")
}

/// Runs one: what it learns stays below the target folder, on top of the inputs that the repository holds.
fn fuzz(programs: &Path, name: &str, args: &Args) -> Result<()> {
    let learned = folder().join("corpus").join(name);
    let failures = folder().join("artifacts").join(name);
    for made in [&learned, &failures] {
        fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    let seeds = command::repository().join("fuzz/corpus").join(name);
    ensure!(seeds.is_dir(), "no {}", seeds.display());
    let mut engine = Command::new(programs.join(name));
    engine
        .args([learned, seeds])
        .args([format!("-max_total_time={}", args.seconds), format!("-seed={}", args.seed)])
        // Long inputs from the start: a socket's life is no matter of 20 bytes.
        .args(["-len_control=0", "-max_len=4096", "-rss_limit_mb=1024", "-timeout=20"])
        .args(["-verbosity=0", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", failures.display()));
    command::say_and_run(&mut engine)
        .with_context(|| format!("its input is in {}", failures.display()))
}

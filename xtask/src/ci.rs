//! `cargo xtask ci`: on a laptop exactly what decides about a change.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::{
    command, dist, fuzz, pages, setup,
    test::{self, Args},
    tidy,
    totals::Totals,
    vm,
};

/// What cargo itself checks; the fuzz targets are a workspace of their own.
const CHECKS: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["fmt", "--manifest-path", "tcptrace-ebpf/Cargo.toml", "--check"],
    &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"],
    &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
];

/// All steps, also after one that failed; each of them counts, and the end tells how long each took.
pub(crate) fn task() -> Result<ExitCode> {
    // Lints look at the program too, which wants the BPF object.
    setup::ensure(&[])?;
    let mut steps = Steps::default();
    for words in CHECKS {
        let checked = || command::say_and_run(command::cargo().args(*words));
        steps.one(&format!("cargo {}", words.join(" ")), checked);
    }
    let passed = |passed: bool| passed.then_some(()).context("see above");
    steps.one("tidy", || tidy::run().and_then(passed));
    steps.one("pages", || pages::run(true).and_then(passed));
    steps.one("fuzz", || fuzz::run(&fuzz::Args::bounded()).and_then(passed));
    steps.one("dist", dist::run);
    // The larger one last: what it has to say about a failure is long, and the end is what is read first.
    for words in [&["test", "--mutate"] as &[&str], &["test"]] {
        let run =
            || Args::try_parse_from(words).map_err(Into::into).and_then(|args| test::run(&args));
        let name = words.join(" ");
        steps.counted(&name, || {
            run().unwrap_or_else(|error| Totals::of(&name, &Err::<(), _>(error)))
        });
    }
    Ok(steps.end())
}

/// What has been done, and how long it took.
#[derive(Default)]
struct Steps {
    totals: Totals,
    took: Vec<String>,
}

impl Steps {
    /// One that passes or fails as a whole.
    fn one(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        self.counted(name, || Totals::of(name, &step()));
    }

    /// One that counts by itself.
    fn counted(&mut self, name: &str, step: impl FnOnce() -> Totals) {
        let began = vm::now();
        self.totals.add(step());
        self.took.push(format!("{name} {:.0} s", began.elapsed().as_secs_f64()));
    }

    fn end(self) -> ExitCode {
        println!("took: {}", self.took.join(", "));
        self.totals.end()
    }
}

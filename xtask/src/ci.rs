//! `cargo xtask ci`: on a laptop exactly what decides about a change.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::{
    command, dist, fuzz, pages, setup,
    test::{self, Args},
    tidy,
    totals::Totals,
};

/// What cargo itself checks; the fuzz targets are a workspace of their own.
const CHECKS: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["fmt", "--manifest-path", "tcptrace-ebpf/Cargo.toml", "--check"],
    &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"],
    &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
];

/// All steps, also after one that failed; each of them counts.
pub(crate) fn task() -> Result<ExitCode> {
    // Lints look at the program too, which wants the BPF object.
    setup::ensure(&[])?;
    let mut totals = Totals::default();
    for words in CHECKS {
        let step = format!("cargo {}", words.join(" "));
        totals.add(Totals::of(&step, &command::say_and_run(command::cargo().args(*words))));
    }
    let mut step = |name: &str, done: Result<bool>| {
        totals.add(Totals::of(
            name,
            &done.and_then(|passed| passed.then_some(()).context("see above")),
        ));
    };
    step("tidy", tidy::run());
    step("pages", pages::run(true));
    step("fuzz", fuzz::run(&fuzz::Args::bounded()));
    step("dist", dist::run().map(|()| true));
    // The larger one last: what it has to say about a failure is long, and the end is what is read first.
    for words in [&["test", "--mutate"] as &[&str], &["test"]] {
        let done =
            Args::try_parse_from(words).map_err(Into::into).and_then(|args| test::run(&args));
        totals.add(
            done.or_else(|error| anyhow::Ok(Totals::of(&words.join(" "), &Err::<(), _>(error))))?,
        );
    }
    Ok(totals.end())
}

//! `cargo xtask ci`: on a laptop exactly what decides about a change.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Parser as _;

use crate::{
    command, dist, fuzz, pages, setup,
    test::{self, Args, Totals},
    tidy,
};

/// All steps, also after one that failed; each of them counts.
pub(crate) fn task() -> Result<ExitCode> {
    // Lints look at the program too, which wants the BPF object.
    setup::ensure(&[])?;
    let mut totals = Totals::default();
    let mut step = |passed: bool| totals.count(passed);
    step(passes(command::cargo().args(["fmt", "--all", "--check"])));
    step(passes(command::cargo().args([
        "fmt",
        "--manifest-path",
        "tcptrace-ebpf/Cargo.toml",
        "--check",
    ])));
    step(passes(command::cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])));
    step(passes(command::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])));
    step(tidy::run()?);
    step(pages::run(true)?);
    let packed = dist::run();
    if let Err(error) = &packed {
        println!("FAIL {error:#}");
    }
    step(packed.is_ok());
    step(said(fuzz::run(&fuzz::Args::bounded())));
    for words in [&["test"] as &[&str], &["test", "--mutate"]] {
        match Args::try_parse_from(words).map_err(Into::into).and_then(|args| test::run(&args)) {
            Ok(tests) => totals.add(tests),
            Err(error) => {
                eprintln!("xtask: {error:#}");
                totals.count(false);
            }
        }
    }
    Ok(totals.end())
}

fn passes(command: &mut Command) -> bool {
    let done = command::say_and_run(command);
    if let Err(error) = &done {
        println!("FAIL {error:#}");
    }
    done.is_ok()
}

/// Whether it passed; an error is said.
fn said(done: Result<bool>) -> bool {
    done.unwrap_or_else(|error| {
        println!("FAIL {error:#}");
        false
    })
}

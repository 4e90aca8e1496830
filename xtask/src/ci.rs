//! `cargo xtask ci`: on a laptop exactly what decides about a change.

use std::{
    env,
    process::{Command, ExitCode, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;

use crate::{
    command, fuzz, pages, setup,
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

/// Tasks beside the checks, one after the other: each compiles for itself what the checks do not, most of it on one processor.
fn beside() -> [Vec<String>; 2] {
    [fuzz::Args::bounded().words(), vec!["dist".to_owned()]]
}

/// All steps, also after one that failed; each of them counts, and the end tells how long each took.
pub(crate) fn task() -> Result<ExitCode> {
    // Lints look at the program too, which wants the BPF object.
    setup::ensure(&[])?;
    let mut steps = Steps::default();
    let done = thread::scope(|scope| {
        let others = scope.spawn(|| beside().map(|words| Beside::run(&words)));
        for words in CHECKS {
            let checked = || command::say_and_run(command::cargo().args(*words));
            steps.one(&format!("cargo {}", words.join(" ")), checked);
        }
        let passed = |passed: bool| passed.then_some(()).context("see above");
        steps.one("tidy", || tidy::run().and_then(passed));
        steps.one("pages", || pages::run(true).and_then(passed));
        others.join()
    });
    match done {
        Ok(done) => done.into_iter().for_each(|one| steps.beside(one)),
        Err(_panic) => steps.one("the tasks beside the checks", || anyhow::bail!("it panicked")),
    }
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

/// A task that ran beside others: what it said waits until they are done.
struct Beside {
    name: String,
    said: String,
    done: Result<()>,
    seconds: f64,
}

impl Beside {
    fn run(words: &[String]) -> Self {
        let began = vm::now();
        let mut said = String::new();
        let done = Self::output(words, &mut said);
        Self { name: words.join(" "), said, done, seconds: began.elapsed().as_secs_f64() }
    }

    fn output(words: &[String], said: &mut String) -> Result<()> {
        let mut task = Command::new(env::current_exe().context("where is this program?")?);
        let output = task.args(words).stdin(Stdio::null()).output()?;
        for text in [output.stderr, output.stdout] {
            said.push_str(&String::from_utf8_lossy(&text));
        }
        ensure!(output.status.success(), "it ended with {}", output.status);
        Ok(())
    }
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

    /// One that has run beside others.
    fn beside(&mut self, Beside { name, said, done, seconds }: Beside) {
        print!("{said}");
        self.totals.add(Totals::of(&name, &done));
        self.took.push(format!("{name} {seconds:.0} s beside them"));
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

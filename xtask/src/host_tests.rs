//! `cargo test` on the host: shown as it runs, and counted.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result};

use crate::{command, test::Totals};

/// Runs them all.
pub(crate) fn run() -> Result<Totals> {
    let mut cargo = command::cargo();
    // A page that is missing or differs is a failure, and nothing is written.
    cargo.args(["test", "--workspace", "--locked"]).env("INSTA_UPDATE", "no");
    eprintln!("+ {}", command::shown(&cargo));
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let mut totals = Totals::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            if let Some(counts) = counts(&line) {
                totals.add(counts);
            }
        }
    }
    let status = child.wait()?;
    if !status.success() && totals.failed == 0 {
        println!("cargo test did not run to its end ({status})");
        totals.count(false);
    }
    Ok(totals)
}

/// `test result: ok. 3 passed; 0 failed; ...`
fn counts(line: &str) -> Option<Totals> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = rest.split(';').find(|part| part.trim().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some(Totals { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_result_line_is_read() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        let totals = super::counts(line).unwrap();
        assert_eq!((totals.passed, totals.failed), (12, 3));
        assert!(super::counts("running 3 tests").is_none());
    }
}

//! `cargo test` on the host: shown as it runs, and counted.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result};

use crate::{command, totals::Totals};

/// Runs them all.
pub(crate) fn run() -> Result<Totals> {
    let mut cargo = command::cargo();
    // A page that is missing or differs is a failure, and nothing is written.
    cargo.args(["test", "--workspace", "--locked"]).env("INSTA_UPDATE", "no");
    eprintln!("+ {}", command::shown(&cargo));
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let (mut totals, mut named) = (Totals::default(), Vec::new());
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            if let Some(name) = line.strip_suffix(" ... FAILED") {
                named.push(name.to_owned());
            } else if let Some((passed, failed)) = counts(&line) {
                totals.pass(passed);
                let names = named.drain(..).chain(std::iter::repeat("a test".to_owned()));
                names
                    .take(failed)
                    .for_each(|name| totals.count(false, || format!("cargo: {name}")));
            }
        }
    }
    let status = child.wait()?;
    if !status.success() && totals.failed() == 0 {
        println!("cargo test did not run to its end ({status})");
        totals.count(false, || "cargo test did not run to its end".to_owned());
    }
    Ok(totals)
}

/// How many passed and failed: `test result: ok. 3 passed; 0 failed; ...`
fn counts(line: &str) -> Option<(usize, usize)> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = rest.split(';').find(|part| part.trim().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_result_line_is_read() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(super::counts(line), Some((12, 3)));
        assert!(super::counts("running 3 tests").is_none());
    }
}

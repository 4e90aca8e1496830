//! `--cause` and `--release`: which findings are printed and counted.

use std::fmt::Write as _;

use super::command::{Failure, WRONG};
use crate::{
    explain::{self, Name, Words},
    timeline::AnyFinding,
};

/// In place of a name: prints the names.
const HELP: &str = "help";

/// The causes and releases asked for; all where none is.
#[derive(Clone, Debug, Default)]
pub(super) struct Narrow {
    causes: Vec<String>,
    releases: Vec<String>,
}

impl Narrow {
    /// From what was typed.
    pub(super) fn new(
        words: &Words,
        causes: &[String],
        releases: &[String],
    ) -> Result<Self, Failure> {
        for (flag, typed, known) in
            [("--cause", causes, words.causes), ("--release", releases, words.releases)]
        {
            let known = if typed.is_empty() { Vec::new() } else { known() };
            for name in typed {
                if !known.iter().any(|(own, _)| own == name) {
                    return Err(unknown(words, flag, name, &known));
                }
            }
        }
        Ok(Self { causes: causes.to_vec(), releases: releases.to_vec() })
    }

    /// Whether some findings are left out.
    pub(super) const fn is_narrow(&self) -> bool {
        !self.causes.is_empty() || !self.releases.is_empty()
    }

    /// The names asked for: of causes, of releases.
    pub(super) fn names(&self) -> (&[String], &[String]) {
        (&self.causes, &self.releases)
    }

    /// Whether a finding is one of them: one of its causes, and its release, are asked for.
    pub(super) fn passes(&self, finding: &AnyFinding) -> bool {
        if !self.is_narrow() {
            return true;
        }
        let (causes, releases) = explain::names(finding);
        let any = |own: &[String], wanted: &[String]| {
            wanted.is_empty() || own.iter().any(|name| wanted.contains(name))
        };
        any(&causes, &self.causes) && any(&releases, &self.releases)
    }
}

/// The lists of names, where one is asked for.
pub(super) fn help(words: &Words, causes: &[String], releases: &[String]) -> Option<String> {
    let mut text = String::new();
    for (typed, names, what) in
        [(causes, words.causes, "--cause"), (releases, words.releases, "--release")]
    {
        let names = if typed.iter().any(|name| name == HELP) { names() } else { Vec::new() };
        let width = names.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, meaning) in &names {
            // A String takes everything.
            let _ = writeln!(text, "{what} {name:width$}  {meaning}");
        }
    }
    (!text.is_empty()).then_some(text)
}

fn unknown(words: &Words, flag: &str, name: &str, known: &[Name]) -> Failure {
    let question = words.question;
    let message = if known.is_empty() && words.asks {
        format!(
            "{flag}: nothing lets a {} go; tcptrace nagle takes it\n  try: tcptrace {question} --cause help",
            words.one
        )
    } else if known.is_empty() {
        format!(
            "{flag}: tcptrace {question} shows every event; tcptrace nagle takes it\n  try: tcptrace nagle {flag} {name}"
        )
    } else {
        let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        format!(
            "{flag}: no '{name}' in tcptrace {question}: there are {}\n  try: tcptrace {question} {flag} help",
            names.join(", ")
        )
    };
    Failure { message, code: WRONG }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Kind, explain::words};

    #[test]
    fn every_cause_and_release_has_a_name_and_a_meaning() {
        let words = words(Kind::Nagle);
        for names in [(words.causes)(), (words.releases)()] {
            assert!(names.iter().any(|(name, _)| name == "undetermined"));
            for (name, meaning) in names {
                assert!(!name.is_empty() && meaning.len() > 5, "{name}: {meaning}");
            }
        }
        let both = ["cork", "nagle"].map(str::to_owned);
        assert!(Narrow::new(words, &both, &["ack".to_owned()]).is_ok());
    }
}

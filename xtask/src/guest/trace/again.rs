//! A trace that is explained again must say what the run that stored it said, byte for byte.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;

/// How a tcptrace that ends by itself has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) said: String,
}

/// Runs tcptrace to its end; `input` becomes its standard input.
pub(crate) fn run(tcptrace: &Path, words: &[&str], input: Stdio) -> anyhow::Result<Ran> {
    let output = Command::new(tcptrace)
        .args(words)
        .stdin(input)
        .output()
        .with_context(|| format!("run tcptrace {}", words.join(" ")))?;
    Ok(Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The text that `file` is explained with.
pub(crate) fn text_of(tcptrace: &Path, file: &str) -> anyhow::Result<String> {
    Ok(run(tcptrace, &["nagle", "-r", file], Stdio::null())?.out)
}

/// Explains `file` with the flags of the run that said `live`; the first difference.
pub(crate) fn difference(
    tcptrace: &Path,
    file: &str,
    flags: &[&str],
    live: &str,
) -> anyhow::Result<Option<String>> {
    let words = [flags, &["-r", file]].concat();
    let ran = run(tcptrace, &words, Stdio::null())?;
    Ok(differs(&words.join(" "), &ran, live))
}

/// As [`difference`], by way of the text of `cat` and a pipe.
pub(crate) fn through_cat(
    tcptrace: &Path,
    file: &str,
    flags: &[&str],
    live: &str,
) -> anyhow::Result<Option<String>> {
    let (words, ran) = piped(tcptrace, &[file], flags)?;
    Ok(differs(&words, &ran, live))
}

/// `tcptrace cat FILE... | tcptrace FLAGS -r -`, in words and how it ended.
pub(crate) fn piped(
    tcptrace: &Path,
    files: &[&str],
    flags: &[&str],
) -> anyhow::Result<(String, Ran)> {
    let words = [flags, &["-r", "-"]].concat();
    let mut cat = Command::new(tcptrace)
        .arg("cat")
        .args(files)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start tcptrace cat")?;
    let text = cat.stdout.take().context("no stdout")?;
    let ran = run(tcptrace, &words, text.into())?;
    let status = cat.wait()?;
    anyhow::ensure!(status.success(), "tcptrace cat ended with {status}");
    Ok((format!("cat {} | {}", files.join(" "), words.join(" ")), ran))
}

fn differs(words: &str, ran: &Ran, live: &str) -> Option<String> {
    let Ran { code, out, said } = ran;
    // The live run has warned of that too.
    let lost = |line: &str| line.starts_with("warning: events are being lost at ");
    if *code != Some(0) || !said.lines().all(lost) {
        return Some(format!("{words}: it ended with {code:?} and said {said:?}"));
    }
    if out == live {
        return None;
    }
    let (mut was, mut is) = (live.lines(), out.lines());
    for line in 1.. {
        match (was.next(), is.next()) {
            (None, None) => break,
            (was, is) if was == is => {}
            (was, is) => {
                return Some(format!("{words}: line {line} was {was:?} and is {is:?}"));
            }
        }
    }
    Some(format!("{words}: another end of a line"))
}

//! How runs end that store, and how their traces end: after so many findings, with an exit code, with a command.

use std::{path::Path, process::Stdio};

use super::{
    super::{held::Held, tool::parse},
    again::{Ran, difference, run},
    folder,
    load::{Load, Work},
};

/// A run, its exit code, and the holds it prints when that is certain.
struct Run<'a> {
    flags: &'a [&'a str],
    code: i32,
    holds: Option<usize>,
}

/// Runs each of them live and from its trace.
pub(super) fn tried(tcptrace: &Path, _seed: u64) -> anyhow::Result<Vec<String>> {
    let folder = folder("ends")?;
    let load = Load::start(&[Work::Hold(40), Work::Flood(20_000)]);
    let all = ["--json", "--min-hold", "0"];
    let runs = [
        Run { flags: &["--json", "-c", "2"], code: 0, holds: Some(2) },
        Run { flags: &["--time", "utc", "-d", "700ms"], code: 0, holds: None },
        Run { flags: &["--json", "--exit-code", "-d", "500ms"], code: 1, holds: None },
        Run { flags: &["--json", "--exit-code", "-c", "1"], code: 1, holds: Some(1) },
        Run {
            flags: &["--json", "--exit-code", "-d", "200ms", "--port", "9"],
            code: 0,
            holds: Some(0),
        },
        Run {
            flags: &["--json", "--exit-code", "-d", "1s", "--min-hold", "1h", "--buffer", "4KiB"],
            code: 4,
            holds: Some(0),
        },
        Run {
            flags: &["--json", "--exit-code", "-d", "1s", "--min-hold", "1h", "--max-sockets", "1"],
            code: 4,
            holds: Some(0),
        },
    ];
    let mut wrong = Vec::new();
    for (at, each) in (0..).zip(&runs) {
        let file = folder.join(format!("{at}.tcptrace")).display().to_string();
        wrong.extend(both(tcptrace, &file, each)?);
    }
    load.stop()?;
    let own = std::env::current_exe()?.display().to_string();
    let command = Held { below: 1, code: 3, linger: std::time::Duration::ZERO }.words(&own);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let file = folder.join("command.tcptrace").display().to_string();
    let words = [&["nagle"], &all[..], &["-w", &file, "--"], &command].concat();
    let ran = run(tcptrace, &words, Stdio::null())?;
    let flags = [&["nagle"], &all[..]].concat();
    wrong.extend(difference(tcptrace, &file, &flags, &ran.out)?);
    let holds = parse(&ran.out).found.len();
    if ran.code != Some(0) || holds != 1 || !ran.said.contains("command ended with exit code 3") {
        wrong.push(format!("{}: {:?}, {holds} holds, {:?}", words.join(" "), ran.code, ran.said));
    }
    Ok(wrong)
}

fn both(tcptrace: &Path, file: &str, each: &Run<'_>) -> anyhow::Result<Vec<String>> {
    let words = [&["nagle"], each.flags, &["-w", file]].concat();
    let live = run(tcptrace, &words, Stdio::null())?;
    // What belongs to a live run alone is not repeated.
    let alone = ["-d", "--buffer", "--max-sockets"];
    let mut flags = Vec::new();
    let mut rest = each.flags.iter();
    while let Some(flag) = rest.next() {
        if alone.contains(flag) {
            rest.next();
        } else {
            flags.push(*flag);
        }
    }
    let words = [&["nagle"], &flags[..], &["-r", file]].concat();
    let again = run(tcptrace, &words, Stdio::null())?;
    let mut wrong = Vec::new();
    for (what, ran) in [("live", &live), ("from its trace", &again)] {
        let holds = parse(&ran.out).found.len();
        if ran.code != Some(each.code) || each.holds.is_some_and(|wanted| wanted != holds) {
            let (code, said) = (ran.code, &ran.said);
            wrong.push(format!("{} {what}: {code:?}, {holds} holds, {said:?}", words.join(" ")));
        }
    }
    // Of a trace that is left early the end is not read, nor what it tells of the probes.
    let left_early = each.flags.contains(&"-c");
    let lines = |ran: &Ran| {
        let lines = ran.out.lines().filter(|line| !left_early || !line.contains("\"summary\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    if lines(&live) != lines(&again) || again.out.contains("\"watched_ns\":0,") {
        let differs = live.out.lines().zip(again.out.lines()).find(|(was, is)| was != is);
        wrong.push(format!("{}: {differs:?}", words.join(" ")));
    }
    Ok(wrong)
}

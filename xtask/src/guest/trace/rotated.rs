//! A recording in several files: each can be read alone, and all together are one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{
    super::{
        sys::now_ns,
        tool::{Found, Tool, parse},
    },
    again::{piped, run},
    folder,
    killed::same,
    load::{Load, Work},
    start, start_all, wait_ms,
};

/// How often the files are counted while the load runs, every 20 ms: at least, and at most, until some were removed.
const LOOKS: (u32, u32) = (150, 600);
const KEPT: usize = 3;

/// One tcptrace keeps all files, one few, one changes them by the clock; another explains at once.
pub(super) fn tried(tcptrace: &Path, _seed: u64) -> anyhow::Result<Vec<String>> {
    let [all, few, timed] = [folder("all")?, folder("few")?, folder("timed")?];
    let timed_file = file(&timed);
    let every = [
        "record",
        "--buffer",
        "32MiB",
        "--question",
        "nagle",
        "--rotate-every",
        "1s",
        "-o",
        &timed_file,
    ];
    let tools = attached(tcptrace, [&file(&all), &file(&few)], &every)?;
    let Ok([live, whole, kept, clock]) = <[Tool; 4]>::try_from(tools) else {
        anyhow::bail!("not four tcptraces");
    };
    let load = Load::start(&[Work::Hold(30), Work::Hold(150), Work::Flood(20_000)]);
    let from_ns = now_ns();
    let mut most = 0;
    for look in 0..LOOKS.1 {
        most = most.max(parts(&few)?.len());
        if look >= LOOKS.0 && numbers(&few)?.last().is_some_and(|last| *last > KEPT + 1) {
            break;
        }
        wait_ms(20);
    }
    let until_ns = now_ns();
    let (_, said_kept) = kept.stop()?;
    let (_, said_whole) = whole.stop()?;
    let (_, said_clock) = clock.stop()?;
    let before = parts(&timed)?.len();
    let (text, _) = live.stop()?;
    let again = start(tcptrace, &every)?;
    wait_ms(300);
    let (_, said_again) = again.stop()?;
    load.stop()?;
    let mut wrong = Vec::new();
    for said in [said_kept.as_slice(), &said_whole, &said_clock, &said_again] {
        wrong.extend(said.iter().filter(|line| line.starts_with("tcptrace ended")).cloned());
    }
    if most != KEPT || parts(&few)?.len() != KEPT {
        wrong.push(format!("{most} files at a time, {:?} at the end", parts(&few)?));
    }
    wrong.extend(removed(&few, &said_kept)?);
    let after = parts(&timed)?.len();
    if before < 3 || after <= before || numbers(&timed)? != (1..=after).collect::<Vec<_>>() {
        wrong.push(format!("by the clock {before} files, then {:?}", parts(&timed)?));
    }
    for part in [parts(&all)?, parts(&few)?, parts(&timed)?].concat() {
        wrong.extend(alone(tcptrace, &part)?);
    }
    let seen = parse(&text);
    wrong.extend(seen.complaints);
    wrong.extend(together(tcptrace, &parts(&all)?, from_ns..until_ns, &seen.found)?);
    Ok(wrong)
}

/// The four tcptraces, with room for what one processor makes while the others attach.
fn attached(tcptrace: &Path, [all, few]: [&str; 2], every: &[&str]) -> anyhow::Result<Vec<Tool>> {
    let by_size = ["record", "--buffer", "32MiB", "--rotate-size", "64KiB"];
    let words: [&[&str]; 4] = [
        &["nagle", "--json", "--min-hold", "0", "--buffer", "32MiB"],
        &[&by_size[..], &["-o", all]].concat(),
        &[&by_size[..], &["--keep", "3", "-o", few]].concat(),
        every,
    ];
    start_all(tcptrace, &words)
}

fn file(folder: &Path) -> String {
    folder.join("stall.tcptrace").display().to_string()
}

/// The files of a recording, in their order.
fn parts(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn numbers(folder: &Path) -> anyhow::Result<Vec<usize>> {
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("stall-")?.strip_suffix(".tcptrace")?.parse().ok()
    };
    Ok(parts(folder)?.iter().filter_map(number).collect())
}

/// Every file that is gone was named, and no other.
fn removed(folder: &Path, said: &[String]) -> anyhow::Result<Vec<String>> {
    let left = numbers(folder)?;
    let gone = 1..left.first().copied().unwrap_or(0);
    let line = |part| format!("removed {}/stall-{part:06}.tcptrace", folder.display());
    let due: Vec<String> = gone.map(line).collect();
    let told: Vec<&String> = said.iter().filter(|line| line.starts_with("removed ")).collect();
    let fine = !due.is_empty() && told.iter().copied().eq(due.iter());
    Ok((!fine).then(|| format!("{left:?} are left, and it said {said:?}")).into_iter().collect())
}

/// One file alone knows the addresses of its connections.
fn alone(tcptrace: &Path, part: &Path) -> anyhow::Result<Vec<String>> {
    let name = part.display().to_string();
    let words = ["timeline", "--json", "-r", &name];
    let ran = run(tcptrace, &words, Stdio::null())?;
    let nameless = ran.out.lines().find(|line| {
        line.contains("\"type\":\"stretch\"") && !line.contains("\"remote\":\"127.0.0.1:")
    });
    let timeline = nameless.map(|line| format!("{name}: no address: {line}"));
    // One of another question says so.
    let asked = ran.code == Some(0) && ran.said.is_empty();
    let other = ran.code == Some(2) && ran.said.contains("was recorded for nagle");
    let ended = (!asked && !other).then(|| format!("{name}: {:?}, {:?}", ran.code, ran.said));
    let ran = run(tcptrace, &["nagle", "--json", "--min-hold", "0", "-r", &name], Stdio::null())?;
    let said = parse(&ran.out);
    let known = said.found.iter().all(|one| one.local.is_some() && one.remote.is_some());
    let fine = ran.code == Some(0) && ran.said.is_empty() && said.complaints.is_empty() && known;
    let nagle = (!fine).then(|| format!("{name}: {:?}, {:?}, {said:?}", ran.code, ran.said));
    Ok([timeline, ended, nagle].into_iter().flatten().collect())
}

/// All files are one trace: holds that began in one and ended in the next are explained like the others.
fn together(
    tcptrace: &Path,
    parts: &[PathBuf],
    within_ns: std::ops::Range<u64>,
    seen: &[Found],
) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = parts.iter().map(|part| part.display().to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (words, ran) = piped(tcptrace, &names, &["nagle", "--json", "--min-hold", "0"])?;
    let stored = parse(&ran.out);
    let mut wrong = stored.complaints;
    if parts.len() < 3 || ran.code != Some(0) || !ran.said.is_empty() {
        wrong.push(format!("{words}: {:?}, said {:?}", ran.code, ran.said));
    }
    let ended_ns = |one: &Found| one.what.start_ns + one.what.held_ns;
    let due = seen.iter().filter(|one| {
        one.what.certain
            && within_ns.contains(&one.what.start_ns)
            && within_ns.contains(&ended_ns(one))
    });
    let missing = due.filter(|one| !stored.found.iter().any(|other| same(one, other)));
    wrong.extend(missing.map(|one| format!("not in the files together: {one:?}")));
    Ok(wrong)
}

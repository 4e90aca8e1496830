//! A tcptrace that is killed leaves a file that tells nearly everything up to then.

use std::{path::Path, process::Stdio};

use super::{
    super::{
        sockopt::is_from,
        sys::{now_ns, sleep_until},
        tool::{Found, parse},
    },
    again::run,
    folder,
    load::{Load, Work},
    start, start_all, wait_ms,
};

/// What must be there ended so long before.
const LATE_NS: u64 = 1_000_000_000;
/// Of so many holds one may be told otherwise where the kernel skips runs of kprobes and does not say so.
const MAY_MISS: usize = 20;
/// Times of two tcptraces for one thing.
const ALLOWANCE_NS: u64 = 2_000_000;
/// How they store: `record`, or a question with `-w`.
const VICTIMS: [&[&str]; 5] = [
    &["record", "-o"],
    &["nagle", "--json", "-w"],
    &["record", "--question", "nagle", "-o"],
    &["record", "--attach", "kprobe", "-o"],
    &["nagle", "--json", "--min-hold", "1h", "-w"],
];

/// Kills some at moments that the seed chooses, while another one that sees the same lives on.
pub(super) fn tried(tcptrace: &Path, seed: u64) -> anyhow::Result<Vec<String>> {
    let folder = folder("killed")?.display().to_string();
    let reference = start(tcptrace, &["nagle", "--json", "--min-hold", "0"])?;
    let file = |at: usize| format!("{folder}/{at}.tcptrace");
    let files: Vec<String> = (0..VICTIMS.len()).map(file).collect();
    let words: Vec<Vec<&str>> =
        VICTIMS.iter().zip(&files).map(|(words, file)| [*words, &[&**file]].concat()).collect();
    let words: Vec<&[&str]> = words.iter().map(Vec::as_slice).collect();
    let victims = start_all(tcptrace, &words)?;
    // Attaching takes long enough without it.
    let load = Load::start(&[Work::Hold(30), Work::Hold(90), Work::Hold(150), Work::Flood(20_000)]);
    let from_ns = now_ns();
    let mut draw = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut killed = Vec::new();
    let last_ns = now_ns() + LATE_NS;
    let mut at_ns = last_ns;
    for (tool, file) in victims.into_iter().zip(files) {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        at_ns += (draw >> 33) % 500_000_000;
        sleep_until(at_ns);
        let until_ns = now_ns();
        tool.kill()?;
        killed.push((file, until_ns));
    }
    wait_ms(200);
    load.stop()?;
    let (text, _) = reference.stop()?;
    let seen = parse(&text);
    let mut wrong = seen.complaints;
    for ((file, until_ns), words) in killed.into_iter().zip(VICTIMS) {
        // What it skips of kprobes no older kernel counts.
        let may_miss = words.contains(&"kprobe") && !is_from((6, 7));
        let within_ns = from_ns..until_ns - LATE_NS;
        wrong.extend(of_one(tcptrace, &file, within_ns, &seen.found, may_miss)?);
    }
    Ok(wrong)
}

fn of_one(
    tcptrace: &Path,
    file: &str,
    within_ns: std::ops::Range<u64>,
    seen: &[Found],
    may_miss: bool,
) -> anyhow::Result<Vec<String>> {
    let ran = run(tcptrace, &["nagle", "--json", "--min-hold", "0", "-r", file], Stdio::null())?;
    let mut wrong = Vec::new();
    let warned =
        ran.said.starts_with(&format!("warning: {file} ends ")) && ran.said.lines().count() == 1;
    if ran.code != Some(0) || !warned {
        wrong.push(format!("{file}: it ended with {:?} and said {:?}", ran.code, ran.said));
    }
    let stored = parse(&ran.out);
    wrong.extend(stored.complaints);
    let mut due: Vec<&Found> = seen.iter().filter(|one| is_within(one, &within_ns)).collect();
    if due.is_empty() {
        wrong.push(format!("{file}: no hold is due"));
    }
    let some = if may_miss { due.len() / MAY_MISS + 1 } else { 0 };
    due.retain(|one| !stored.found.iter().any(|other| same(one, other)));
    if due.len() <= some {
        return Ok(wrong);
    }
    wrong.extend(due.into_iter().map(|one| format!("{file}: not there: {one:?}")));
    Ok(wrong)
}

fn is_within(one: &Found, within_ns: &std::ops::Range<u64>) -> bool {
    let ended_ns = one.what.start_ns + one.what.held_ns;
    one.what.certain && within_ns.contains(&one.what.start_ns) && within_ns.contains(&ended_ns)
}

/// Whether two tcptraces mean the same hold and say the same of it.
pub(super) fn same(one: &Found, other: &Found) -> bool {
    let (a, b) = (&one.what, &other.what);
    one.local == other.local
        && one.remote == other.remote
        && a.start_ns.abs_diff(b.start_ns) < ALLOWANCE_NS
        && a.held_ns.abs_diff(b.held_ns) < ALLOWANCE_NS
        && (a.bytes, &a.causes, &a.release, a.certain)
            == (b.bytes, &b.causes, &b.release, b.certain)
}

//! Disks that are full, and disks that are slow.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    thread,
};

use anyhow::Context as _;

use super::{
    super::{sys::checked, tool::parse},
    again::run,
    folder,
    load::{Load, Work},
    start, wait_ms,
};

/// Steps of 50 ms that a full disk may take to be noticed.
const STEPS: u32 = 400;

/// The recording ends by itself, and what fitted can be explained.
pub(super) fn full(tcptrace: &Path, _seed: u64) -> anyhow::Result<Vec<String>> {
    let folder = folder("full")?;
    mount(&folder)?;
    let file = folder.join("all.tcptrace").display().to_string();
    let mut wrong = recording(tcptrace, &file)?;
    fs::remove_file(&file)?;
    wrong.extend(question(tcptrace, &file)?);
    unmount(&folder)?;
    Ok(wrong)
}

/// `record` has nothing to do any more.
fn recording(tcptrace: &Path, file: &str) -> anyhow::Result<Vec<String>> {
    let mut tool = start(tcptrace, &["record", "-o", file])?;
    let load = Load::start(&[Work::Hold(30), Work::Flood(5_000)]);
    let mut steps = 0;
    while steps < STEPS && !tool.has_ended()? {
        wait_ms(50);
        steps += 1;
    }
    load.stop()?;
    let (_, said) = if steps < STEPS { tool.ended()? } else { tool.stop()? };
    let mut wrong = Vec::new();
    if steps == STEPS || !is_told(&said, "error: ", file) {
        wrong.push(format!("record: a full disk in {steps} steps: {said:?}"));
    }
    wrong.extend(whole_frames(tcptrace, file)?);
    Ok(wrong)
}

/// A question goes on answering, warns at once, and says it with its exit code.
fn question(tcptrace: &Path, file: &str) -> anyhow::Result<Vec<String>> {
    let tool = start(tcptrace, &["nagle", "--json", "--min-hold", "1h", "-w", file])?;
    let load = Load::start(&[Work::Hold(30), Work::Flood(5_000)]);
    wait_ms(3_000);
    load.stop()?;
    let (_, said) = tool.stop()?;
    let mut wrong = Vec::new();
    if !is_told(&said, "warning: ", file) {
        wrong.push(format!("nagle -w: a full disk: {said:?}"));
    }
    wrong.extend(whole_frames(tcptrace, file)?);
    Ok(wrong)
}

fn is_told(said: &[String], how: &str, file: &str) -> bool {
    let line = format!("{how}cannot write {file}: No space left on device");
    said.iter().any(|said| said.starts_with(&line))
        && said.iter().filter(|said| said.starts_with("error: ")).count() == 1
        && said.iter().any(|line| line == "tcptrace ended with exit status: 2")
}

fn whole_frames(tcptrace: &Path, file: &str) -> anyhow::Result<Vec<String>> {
    let ran = run(tcptrace, &["nagle", "--json", "--min-hold", "0", "-r", file], Stdio::null())?;
    let said = parse(&ran.out);
    let mut wrong = said.complaints;
    let cut = format!("warning: {file} ends without its last line at byte ");
    if ran.code != Some(0) || !ran.said.starts_with(&cut) || said.found.is_empty() {
        let holds = said.found.len();
        wrong.push(format!("{file}: {:?}, {holds} holds, said {:?}", ran.code, ran.said));
    }
    Ok(wrong)
}

fn mount(folder: &Path) -> anyhow::Result<()> {
    let target = CString::new(folder.display().to_string())?;
    let (tmpfs, size) = (c"tmpfs".as_ptr(), c"size=100k");
    // SAFETY: a plain system call with valid strings.
    let result = unsafe { libc::mount(tmpfs, target.as_ptr(), tmpfs, 0, size.as_ptr().cast()) };
    checked(i64::from(result)).context("mount a small tmpfs").map(drop)
}

fn unmount(folder: &Path) -> anyhow::Result<()> {
    let target = CString::new(folder.display().to_string())?;
    // SAFETY: a plain system call with a valid string.
    let result = unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    checked(i64::from(result)).context("unmount the small tmpfs").map(drop)
}

/// A pipe whose reader stalls: nobody waits for it but the thread that writes.
pub(super) fn slow(tcptrace: &Path, _seed: u64) -> anyhow::Result<Vec<String>> {
    let folder = folder("slow")?;
    let fifo = folder.join("fifo.tcptrace").display().to_string();
    let file = folder.join("all.tcptrace").display().to_string();
    let path = CString::new(fifo.as_str())?;
    // SAFETY: a plain system call with a valid string.
    checked(i64::from(unsafe { libc::mkfifo(path.as_ptr(), 0o600) })).context("make a pipe")?;
    let (go_on, stalled) = channel();
    let reader = thread::spawn({
        let (fifo, file) = (fifo.clone(), file.clone());
        move || stalling(&fifo, &file, &stalled)
    });
    let tool = start(tcptrace, &["record", "--force", "--buffer", "64MiB", "-o", &fifo])?;
    let load = Load::start(&[Work::Hold(30), Work::Flood(2_000)]);
    wait_ms(4_000);
    let written = load.stop()?;
    go_on.send(()).context("the reader has ended")?;
    let (_, said) = tool.stop()?;
    reader.join().map_err(|_panic| anyhow::anyhow!("the reader panicked"))??;
    let mut wrong = Vec::new();
    let told = said.iter().any(|line| {
        line.starts_with("wrote ") && line.contains(" not written because the disk was too slow")
    });
    if !told || said.iter().any(|line| line.starts_with("tcptrace ended")) {
        wrong.push(format!("{written:?}: {said:?}"));
    }
    if written.longest_ns > 500_000_000 {
        wrong.push(format!("a writer waited: {written:?}"));
    }
    let ran = run(tcptrace, &["nagle", "--time", "utc", "-r", &file], Stdio::null())?;
    let lost = ran.out.lines().any(|line| line.contains("(disk too slow)"));
    if ran.code != Some(0) || !lost || ran.out.contains("(buffer full)") {
        let end: Vec<&str> = ran.out.lines().rev().take(6).collect();
        wrong.push(format!("{:?}, {end:?}, said {:?}", ran.code, ran.said));
    }
    Ok(wrong)
}

/// Reads a little, waits for a sign, and reads the rest.
fn stalling(fifo: &str, file: &str, go_on: &Receiver<()>) -> anyhow::Result<()> {
    let mut from = File::open(fifo).context("open the pipe")?;
    let mut into = File::create(file)?;
    let mut first = [0; 4096];
    let bytes = from.read(&mut first)?;
    into.write_all(first.get(..bytes).unwrap_or_default())?;
    // Whoever is gone will not stall it.
    let _gone = go_on.recv();
    std::io::copy(&mut from, &mut into)?;
    Ok(())
}

//! What tcptrace says that its own probes cost: by the kernel's count over the whole run, by samples, estimated; and when
//! another tracer sits on the same functions.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
};

use anyhow::Context as _;
use serde::Deserialize;

use super::{
    sys::{checked, now_ns},
    tool::Tool,
};
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "spending";

/// Whether the kernel takes the time of all BPF programs.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Where the kernel shows who sits on its functions.
const TRACEFS: &str = "/sys/kernel/tracing";
/// Between the estimate, for a server, and what the emulator's clock counts, an instruction for a nanosecond.
const FACTOR: u64 = 20;
/// A sample of 100 ms is taken at the start of a run, and at first one each second.
const AT_WORK_NS: u64 = 400_000_000;

/// What the summary says of it.
#[derive(Debug, Deserialize)]
struct Told {
    watched_ns: u64,
    #[serde(default)]
    writes: u64,
    probes_ns: Option<u64>,
    probe_runs: Option<u64>,
    probes_over_ns: Option<u64>,
    probes_estimated_ns: Option<u64>,
    #[serde(default)]
    probes: Vec<Probe>,
    #[serde(default)]
    shared_hooks: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Probe {
    hook: String,
    runs: u64,
    run_ns: u64,
}

/// Plays everything one after another.
pub(crate) fn outcome(tcptrace: &Path) -> Outcome {
    let mut broken = Vec::new();
    for (what, play) in [
        ("whole", whole as fn(&Path) -> anyhow::Result<Vec<String>>),
        ("sampled", sampled),
        ("estimated", estimated),
        ("shared", shared),
    ] {
        let wrong = play(tcptrace).unwrap_or_else(|error| vec![format!("{error:#}")]);
        broken.extend(wrong.into_iter().map(|wrong| format!("{what}: {wrong}")));
    }
    Outcome {
        scenario: NAME.to_owned(),
        family: "4".to_owned(),
        form: "auto".to_owned(),
        broken,
        ..Outcome::default()
    }
}

/// Writes as often as it can for a while, byte by byte, under a tcptrace with these flags; how often, and what was told.
fn told(tcptrace: &Path, flags: &[&str]) -> anyhow::Result<(u64, Told)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.set_nodelay(true)?;
    let (mut server, _) = listener.accept()?;
    let port = listener.local_addr()?.port().to_string();
    let mut words = vec!["nagle".to_owned(), "--json".to_owned(), "--port".to_owned(), port];
    words.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let tool = Tool::start(tcptrace, &words, false)?;
    let until_ns = now_ns() + AT_WORK_NS;
    let mut writes = 0;
    while now_ns() < until_ns {
        client.write_all(b"x")?;
        server.read_exact(&mut [0])?;
        writes += 1;
    }
    let (text, _) = tool.stop()?;
    let last = text.lines().next_back().unwrap_or_default();
    Ok((writes, serde_json::from_str(last).with_context(|| format!("no summary: {last}"))?))
}

/// The kernel takes the time anyway: the runs at `tcp_push` are the writes, and the parts come to the whole.
fn whole(tcptrace: &Path) -> anyhow::Result<Vec<String>> {
    fs::write(STATISTICS, "1")?;
    let told = told(tcptrace, &[]);
    fs::write(STATISTICS, "0")?;
    let (writes, told) = told?;
    let mut wrong = parts(&told);
    if told.probes_over_ns != Some(told.watched_ns) {
        wrong.push(format!("not all the time was counted: {told:?}"));
    }
    // Others may write meanwhile.
    let runs = runs(&told, "tcp_push");
    if runs < writes || told.writes != writes {
        wrong.push(format!("{runs} runs at tcp_push and {} writes, of {writes}", told.writes));
    }
    Ok(wrong)
}

/// Nobody else takes it: a sample is taken, and the kernel stops again.
fn sampled(tcptrace: &Path) -> anyhow::Result<Vec<String>> {
    let (writes, told) = told(tcptrace, &["-v"])?;
    let mut wrong = parts(&told);
    let over_ns = told.probes_over_ns.unwrap_or(0);
    let most = 300_000_000 * (1 + told.watched_ns / 1_000_000_000);
    if !(100_000_000..most).contains(&over_ns) {
        wrong.push(format!("a sample of 100 ms a second took {over_ns} of {} ns", told.watched_ns));
    }
    // As many runs as there were writes in that time, more or less: they are not evenly spread.
    let share = writes * over_ns / told.watched_ns.max(1);
    let runs = runs(&told, "tcp_push");
    if runs * 4 < share || runs > writes + writes / 4 {
        wrong
            .push(format!("{runs} runs at tcp_push in {over_ns} ns, of {writes} writes: {told:?}"));
    }
    if fs::read_to_string(STATISTICS)?.trim() != "0" {
        wrong.push("the kernel still takes the time".to_owned());
    }
    Ok(wrong)
}

/// By default nobody takes it; the estimate is of the right size.
fn estimated(tcptrace: &Path) -> anyhow::Result<Vec<String>> {
    let (_, sample) = told(tcptrace, &["-v"])?;
    let (writes, told) = told(tcptrace, &[])?;
    if told.probes_ns.is_some() || told.probe_runs.is_some() || !told.probes.is_empty() {
        return Ok(vec![format!("something was measured: {told:?}")]);
    }
    let estimated = told.probes_estimated_ns.unwrap_or(0) / writes.max(1);
    let measured = sample.probes_ns.unwrap_or(0) / runs(&sample, "tcp_push").max(1);
    let right = estimated > 0 && estimated < measured * FACTOR && estimated * FACTOR > measured;
    Ok(if right {
        Vec::new()
    } else {
        vec![format!("{estimated} ns for a write are estimated, {measured} were measured")]
    })
}

/// A second tcptrace, by kprobes, is another tracer; the first has none.
fn shared(tcptrace: &Path) -> anyhow::Result<Vec<String>> {
    mount()?;
    let mut wrong = Vec::new();
    let (_, alone) = told(tcptrace, &[])?;
    if !alone.shared_hooks.is_empty() {
        wrong.push(format!("nobody else was there: {:?}", alone.shared_hooks));
    }
    let words = ["nagle", "--attach", "kprobe", "--port", "1"].map(str::to_owned);
    let other = Tool::start(tcptrace, &words, false)?;
    let beside = told(tcptrace, &[]);
    other.stop()?;
    let (_, beside) = beside?;
    if !beside.shared_hooks.iter().any(|hook| hook == "tcp_push") {
        wrong.push(format!("kprobes were there: {:?}", beside.shared_hooks));
    }
    Ok(wrong)
}

/// Shows who sits on the kernel's functions; where it is shown already, nothing changes.
fn mount() -> anyhow::Result<()> {
    if fs::exists(format!("{TRACEFS}/enabled_functions"))? {
        return Ok(());
    }
    let (kind, at) = (CString::new("tracefs")?, CString::new(TRACEFS)?);
    // SAFETY: the strings outlive the call.
    let result =
        unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    checked(i64::from(result)).context("tracefs")?;
    Ok(())
}

/// The hooks' runs and times come to those of all probes.
fn parts(told: &Told) -> Vec<String> {
    let mut by_hook: BTreeMap<&str, u64> = BTreeMap::new();
    for probe in &told.probes {
        *by_hook.entry(&probe.hook).or_default() += 1;
    }
    let runs: u64 = told.probes.iter().map(|probe| probe.runs).sum();
    let run_ns: u64 = told.probes.iter().map(|probe| probe.run_ns).sum();
    let right = (Some(runs), Some(run_ns)) == (told.probe_runs, told.probes_ns)
        && run_ns > 0
        && by_hook.values().all(|times| *times == 1)
        && told.probes_estimated_ns.is_none();
    if right { Vec::new() } else { vec![format!("the parts are not the whole: {told:?}")] }
}

fn runs(told: &Told, hook: &str) -> u64 {
    told.probes.iter().filter(|probe| probe.hook == hook).map(|probe| probe.runs).sum()
}

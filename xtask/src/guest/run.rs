//! `guest run`: all stories in front of one tcptrace for each form of attaching, and the verdicts.

use std::{path::PathBuf, time::Duration};

use super::{
    apart,
    capture::Capture,
    filters, refusals, stack,
    stage::{Family, Seen, Stage, play},
    sys::realtime_offset_ns,
    tool::{Found, Said, Tool, parse},
    trace,
};
use crate::{
    oracle::{CallRecord, Conversation, Reported, against_story, against_tool, holds},
    report::{MARK, Outcome},
    scenario::{self, Story},
};

/// The ports of the stories; tcptrace is told nothing else.
pub(crate) const PORTS: &str = "8080-8099";
/// The peer's first port of the first run.
pub(crate) const FIRST_PORT: u16 = 20_000;
/// Ports for the connections of one run.
pub(crate) const PORTS_A_RUN: u16 = 4;
/// So many runs have ports of their own.
const MOST_RUNS: u16 = 11_000;
/// The form of attaching of a recording that is explained afterwards.
const RECORDED: &str = "recorded";
/// What a guest in lockdown runs: one story of each of two causes.
const LOCKDOWN: [&str; 2] = ["nagle_ack", "cork_probe_timer_then_tail"];

/// Which stories, and how.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Args {
    /// Only this story
    #[arg(long)]
    pub(crate) scenario: Option<String>,
    /// So many random schedules besides
    #[arg(long, default_value_t = 0)]
    random: u64,
    /// Seed of the first random schedule; the next ones count up
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The rows of killed, full, slow and rotated recordings too
    #[arg(long)]
    storing: bool,
    /// Two stories, as a guest in lockdown allows no kprobe
    #[arg(long)]
    lockdown: bool,
    /// An error to make tcptrace commit, which the table must show
    #[arg(long)]
    mutate: Option<String>,
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    pub(crate) tcptrace: PathBuf,
    /// Without tcptrace: only what the oracle sees, against what the stories state
    #[arg(long)]
    dry: bool,
    /// Prints the log of calls and the wire of each connection too
    #[arg(long)]
    pub(crate) witnesses: bool,
    /// One form of attaching only: `fentry` or `kprobe`
    #[arg(long)]
    form: Option<String>,
    /// Only this address family: `4` or `6`
    #[arg(long)]
    family: Option<u8>,
}

/// One story in one family, and its seed when it is a random one.
#[derive(Debug)]
pub(crate) struct Run {
    /// The story.
    pub(crate) story: Story,
    /// In which family.
    pub(crate) family: Family,
    /// What made it.
    pub(crate) seed: Option<u64>,
}

/// Runs what was asked for and prints the outcomes.
pub(crate) fn task(args: &Args) -> anyhow::Result<()> {
    let offset_ns = realtime_offset_ns();
    // The kernel stamps packets a moment after the first socket asks for it: this one asks, and stays.
    let _stamps = Capture::start("lo", offset_ns)?;
    super::netns::up("lo")?;
    warm_up(offset_ns);
    if args.dry {
        for (at, run) in (0..).zip(plan(args, "fentry")) {
            dry(args, at, &run, offset_ns);
        }
        return Ok(());
    }
    let only = args.scenario.as_deref();
    if args.mutate.is_none() && only.is_none_or(|only| only == refusals::NAME) {
        print(&refusals::outcome(&args.tcptrace, args.lockdown));
    }
    if args.mutate.is_none() && only.is_none_or(|only| only == stack::NAME) {
        print(&stack::outcome(&args.tcptrace, args.lockdown));
    }
    if args.mutate.is_none() && !args.lockdown && only.is_none_or(|only| only == filters::NAME) {
        print(&filters::outcome(&args.tcptrace, offset_ns));
    }
    if args.mutate.is_none() && !args.lockdown && (args.storing || only.is_some()) {
        for outcome in trace::outcomes(&args.tcptrace, only, args.seed) {
            print(&outcome);
        }
    }
    if only.is_some_and(|only| {
        [refusals::NAME, filters::NAME, stack::NAME].contains(&only) || trace::is_alone(only)
    }) {
        return Ok(());
    }
    for form in ["fentry", "kprobe"] {
        let wanted = args.form.as_ref().is_none_or(|only| only == form);
        if wanted && !(args.lockdown && form == "kprobe") {
            attached(args, form, offset_ns)?;
            if !args.lockdown && args.mutate.is_none() {
                for outcome in apart::outcomes(args, form, offset_ns) {
                    print(&outcome);
                }
            }
        }
    }
    Ok(())
}

/// The first namespace, device and connection after the boot take the kernel milliseconds that no story has to answer for.
pub(crate) fn warm_up(offset_ns: u64) {
    for family in [Family::V4, Family::V6] {
        let first_port = FIRST_PORT - PORTS_A_RUN;
        if let Err(error) =
            play(Stage { story: scenario::random(0), family, first_port, offset_ns })
        {
            eprintln!("warm-up: {error:#}");
        }
    }
}

/// The second form of attaching is about the probes, so that one family is enough.
pub(crate) fn families(args: &Args, form: &str) -> &'static [Family] {
    match (args.family, form) {
        (Some(6), _) => &[Family::V6],
        (Some(_), _) | (None, "kprobe") => &[Family::V4],
        _ => &[Family::V4, Family::V6],
    }
}

/// What tcptrace is started with.
pub(crate) fn arguments(args: &Args, form: &str) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["nagle", "--json", "--min-hold", "0", "--attach", form, "--port", PORTS]
            .map(str::to_owned)
            .into();
    if let Some(name) = &args.mutate {
        arguments.extend(["--mutate".to_owned(), name.clone()]);
    }
    arguments
}

fn plan(args: &Args, form: &str) -> Vec<Run> {
    let families = families(args, form);
    let mut runs = Vec::new();
    for story in scenario::all() {
        let wanted =
            args.scenario.as_ref().is_none_or(|only| *only == story.name || only == trace::REPLAY)
                && (!args.lockdown || LOCKDOWN.contains(&story.name.as_str()));
        if wanted {
            runs.extend(families.iter().map(|&family| Run {
                story: story.clone(),
                family,
                seed: None,
            }));
        }
    }
    let asked = args.scenario.as_deref() == Some("random");
    let many = if asked { args.random.max(1) } else { args.random };
    if asked || form == "fentry" && args.scenario.is_none() && !args.lockdown {
        for seed in args.seed..args.seed + many {
            let family = if seed % 2 == 0 { Family::V6 } else { Family::V4 };
            runs.push(Run { story: scenario::random(seed), family, seed: Some(seed) });
        }
    }
    runs
}

fn dry(args: &Args, at: u16, run: &Run, offset_ns: u64) {
    let (mut outcome, seen) = started(run, "none", at, offset_ns);
    for one in &seen {
        let held = holds(&one.conversation);
        outcome.oracle += u32::try_from(held.len()).unwrap_or(u32::MAX);
        for hold in &held {
            println!("{} {} {}: {hold:?}", outcome.scenario, outcome.family, one.remote);
        }
        if args.witnesses {
            testify(one);
        }
    }
    outcome.tool = outcome.oracle;
    print(&outcome);
}

/// Prints what the witnesses saw, in the order of time, in milliseconds since the SYN.
pub(crate) fn testify(seen: &Seen) {
    let Conversation { calls, wire } = &seen.conversation;
    let start_ns = wire.first().map_or(0, |segment| segment.at_ns);
    let isn = wire
        .iter()
        .find(|segment| segment.syn && segment.outgoing)
        .map_or(0, |segment| segment.seq);
    let offset = |seq: u32| seq.wrapping_sub(isn).wrapping_sub(1);
    let ms =
        |at_ns: u64| Duration::from_nanos(at_ns.saturating_sub(start_ns)).as_secs_f64() * 1000.0;
    let mut lines = Vec::new();
    for record in calls {
        let CallRecord { call, at_ns, ret_ns, result } = record;
        lines.push((
            *at_ns,
            format!("{:10.3} to {:10.3} {call:?} = {result}", ms(*at_ns), ms(*ret_ns)),
        ));
    }
    for segment in wire {
        let what = if segment.outgoing {
            format!("> {}({})", offset(segment.seq), segment.bytes)
        } else {
            format!("< ack {} ({})", offset(segment.ack), segment.bytes)
        };
        lines.push((segment.at_ns, format!("{:10.3} {what}", ms(segment.at_ns))));
    }
    lines.sort();
    println!("{} to {}, net namespace {}", seen.local, seen.remote, seen.netns);
    for (_, line) in lines {
        println!("  {line}");
    }
}

/// All runs in front of one tcptrace, which stores what it uses and must say the same of it afterwards. With kprobes
/// another one records everything meanwhile by tracing programs, to be judged as if it had explained it at once.
fn attached(args: &Args, form: &str, offset_ns: u64) -> anyhow::Result<()> {
    let runs = plan(args, form);
    if runs.is_empty() {
        return Ok(());
    }
    let program = &args.tcptrace;
    let (stored, everything) = (trace::file(form), trace::file(RECORDED));
    let mut live = arguments(args, form);
    live.extend(["--force", "-w", &stored].map(str::to_owned));
    let record = ["record", "--force", "--port", PORTS, "-o", &everything].map(str::to_owned);
    let records = form == "kprobe" && args.mutate.is_none();
    // Of one of the two runs the kernel tells what it cost.
    trace::count_cost(form == "kprobe")?;
    let tool = Tool::start(program, &live, false);
    let recorder = records.then(|| Tool::start(program, &record, false));
    let played: Vec<(Outcome, Vec<Seen>)> =
        (0..).zip(&runs).map(|(at, run)| started(run, form, at, offset_ns)).collect();
    let recorded = recorder.map(|tool| tool.and_then(Tool::stop));
    let stopped = tool.and_then(Tool::stop);
    let mut differences = Vec::new();
    match stopped {
        Err(error) => {
            for run in &runs {
                let broken = vec![format!("{error:#}")];
                print(&Outcome { broken, ..unplayed(run, form) });
            }
        }
        Ok((text, said)) => {
            judge(args, form, &played, &text, said);
            if args.mutate.is_some() {
                return Ok(());
            }
            let flags = ["nagle", "--json", "--min-hold", "0", "--port", PORTS];
            differences.extend(trace::difference(program, &stored, &flags, &text)?);
            differences.extend(trace::through_cat(program, &stored, &flags, &text)?);
            if form == "kprobe" && !text.contains("\"probe_runs\":") {
                differences.push("the summary does not tell what the programs cost".to_owned());
            }
        }
    }
    print(&trace::outcome(trace::REPLAY, form, differences));
    if let Some(recorded) = recorded {
        let explained =
            recorded.and_then(|(_, said)| trace::explained(program, &everything, &said));
        let (text, complaints) =
            explained.unwrap_or_else(|error| (String::new(), vec![format!("{error:#}")]));
        judge(args, RECORDED, &played, &text, Vec::new());
        print(&trace::outcome(trace::REPLAY, RECORDED, complaints));
    }
    Ok(())
}

/// Compares what tcptrace said with what the witnesses of each run saw.
fn judge(args: &Args, form: &str, played: &[(Outcome, Vec<Seen>)], text: &str, said: Vec<String>) {
    let Said { mut found, gaps, events_lost, mut complaints } = parse(text);
    if gaps > 0 || events_lost > 0 {
        complaints.push(format!("{events_lost} events lost in {gaps} gaps"));
    }
    for line in said {
        eprintln!("tcptrace: {line}");
        if line.starts_with("tcptrace ended") {
            complaints.push(line);
        }
    }
    for (outcome, seen) in played {
        let mut outcome = Outcome { form: form.to_owned(), ..outcome.clone() };
        for one in seen {
            if args.witnesses {
                testify(one);
            }
            let own = take(&mut found, one);
            against_tool(&mut outcome, &one.conversation, &holds(&one.conversation), &own);
        }
        print(&outcome);
    }
    print(&strays(form, &found, complaints));
}

/// Plays one run and compares the oracle with the story.
fn started(run: &Run, form: &str, at: u16, offset_ns: u64) -> (Outcome, Vec<Seen>) {
    let mut outcome = unplayed(run, form);
    let first_port = FIRST_PORT + at % MOST_RUNS * PORTS_A_RUN;
    let (story, family) = (run.story.clone(), run.family);
    let seen = play(Stage { story, family, first_port, offset_ns }).unwrap_or_else(|error| {
        outcome.broken.push(format!("{error:#}"));
        Vec::new()
    });
    if let Some(expected) = &run.story.expect
        && !seen.is_empty()
    {
        let held: Vec<_> = seen.iter().flat_map(|one| holds(&one.conversation)).collect();
        outcome.broken.extend(against_story(&held, expected));
    }
    (outcome, seen)
}

/// The outcome of a run, before it is played.
pub(crate) fn unplayed(run: &Run, form: &str) -> Outcome {
    Outcome {
        scenario: run.story.name.clone(),
        family: run.family.name().to_owned(),
        form: form.to_owned(),
        notes: run
            .seed
            .map(|seed| format!("replay: --scenario {} --seed {seed}", run.story.name))
            .into_iter()
            .collect(),
        ..Outcome::default()
    }
}

/// The holds of one connection, in the order of their start.
pub(crate) fn take(found: &mut Vec<Found>, seen: &Seen) -> Vec<Reported> {
    let own = |it: &mut Found| {
        it.netns == Some(seen.netns)
            && it.local == Some(seen.local)
            && it.remote == Some(seen.remote)
    };
    let mut holds: Vec<Reported> = found.extract_if(.., own).map(|it| it.hold).collect();
    holds.sort_by_key(|hold| hold.start_ns);
    holds
}

/// What tcptrace said of connections that no story had, or not in the documented form.
fn strays(form: &str, found: &[Found], broken: Vec<String>) -> Outcome {
    let many = u32::try_from(found.len()).unwrap_or(u32::MAX);
    Outcome {
        scenario: "strays".to_owned(),
        family: "both".to_owned(),
        form: form.to_owned(),
        tool: many,
        false_holds: many,
        broken,
        notes: found.iter().map(|it| format!("{it:?}")).collect(),
        ..Outcome::default()
    }
}

fn print(outcome: &Outcome) {
    match serde_json::to_string(outcome) {
        Ok(line) => println!("{MARK}{line}"),
        Err(error) => eprintln!("an outcome is no JSON: {error}"),
    }
}

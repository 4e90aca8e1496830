//! `guest run`: all stories in front of one tcptrace for each form of attaching, and the verdicts.

use std::{fs, ops::Range, path::PathBuf, time::Duration};

use super::{
    apart,
    capture::Capture,
    rows,
    stage::{Family, Seen, Stage, play},
    sys::{now_ns, realtime_offset_ns, sleep_until},
    tool::{Found, Said, Tool, parse},
    trace,
};
use crate::{
    oracle::{
        CallRecord, Conversation, Reported, against_story, against_tool, close,
        close_against_story, close_against_tool, close_joined, fin_against_story, holds,
    },
    report::{MARK, Outcome},
    scenario::{self, Expect, ExpectedClose, Question, Story},
    test::Part,
};

/// The ports of the stories; tcptrace is told nothing else.
pub(crate) const PORTS: &str = "8080-8099";
/// The peer's first port of the first run.
pub(crate) const FIRST_PORT: u16 = 20_000;
/// Ports for the connections of one run.
pub(crate) const PORTS_A_RUN: u16 = 10;
/// So many runs of a question have ports of their own, below those that the kernel gives away.
const MOST_RUNS: u16 = 620;
/// The form of attaching of a recording that is explained afterwards.
const RECORDED: &str = "recorded";
/// What a guest in lockdown runs: one story of each of two causes.
const LOCKDOWN: [&str; 2] = ["nagle_ack", "cork_probe_timer_then_tail"];

/// Which stories, and how.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Args {
    /// Only this story, or these, with commas between them; those that begin so with a star at the end
    #[arg(long)]
    pub(crate) scenario: Option<String>,
    /// Only the stories, or only what is none
    #[arg(long, value_enum, default_value_t)]
    pub(crate) part: Part,
    /// So many random schedules besides
    #[arg(long, default_value_t = 0)]
    pub(crate) random: u64,
    /// Seed of the first random schedule; the next ones count up
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The rows of killed, full, slow and rotated recordings too
    #[arg(long)]
    pub(crate) storing: bool,
    /// The row of filters too
    #[arg(long)]
    pub(crate) filtering: bool,
    /// Two stories, as a guest in lockdown allows no kprobe
    #[arg(long)]
    pub(crate) lockdown: bool,
    /// An error to make tcptrace commit, which the table must show
    #[arg(long)]
    pub(crate) mutate: Option<String>,
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    pub(crate) tcptrace: PathBuf,
    /// Without tcptrace: only what the oracle sees, against what the stories state
    #[arg(long)]
    pub(crate) dry: bool,
    /// Prints the log of calls and the wire of each connection too
    #[arg(long)]
    pub(crate) witnesses: bool,
    /// One form of attaching only: `fentry` or `kprobe`
    #[arg(long)]
    pub(crate) form: Option<String>,
    /// Only this address family: `4` or `6`
    #[arg(long)]
    pub(crate) family: Option<u8>,
}

impl Args {
    /// Whether what is about the program more than about the kernel is left out: neither named nor with the filters.
    pub(crate) const fn is_short(&self) -> bool {
        self.scenario.is_none() && !self.filtering
    }
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
        let runs = Question::ALL.into_iter().flat_map(|question| plan(args, "fentry", question));
        for (at, run) in (0..).zip(runs) {
            dry(args, at, &run, offset_ns);
        }
        return Ok(());
    }
    let only = args.scenario.as_deref();
    if args.part.has_rows() {
        rows::play(args, offset_ns);
    }
    if only.is_some_and(rows::is_alone) || !args.part.has_stories() {
        return Ok(());
    }
    for form in ["fentry", "kprobe"] {
        let wanted = args.form.as_ref().is_none_or(|only| only == form);
        if wanted && !(args.lockdown && form == "kprobe") {
            for question in Question::ALL {
                attached(args, form, question, offset_ns, 1)?;
            }
            if !args.lockdown && args.mutate.is_none() {
                rows::undisturbed("apart", || apart::outcomes(args, form, offset_ns))
                    .iter()
                    .for_each(print);
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
pub(crate) fn arguments(args: &Args, form: &str, question: Question) -> Vec<String> {
    let [command, least] = question.words();
    let mut arguments: Vec<String> =
        [command, "--json", least, "0", "--attach", form, "--port", PORTS]
            .map(str::to_owned)
            .into();
    if let Some(name) = &args.mutate {
        arguments.extend(["--mutate".to_owned(), name.clone()]);
    }
    arguments
}

/// Schedules that a seed makes: their name, what makes them, and which part of the number that was asked for they are.
type Drawn = (&'static str, fn(u64) -> Story, u64);

fn plan(args: &Args, form: &str, question: Question) -> Vec<Run> {
    let families = families(args, form);
    let mut runs = Vec::new();
    for story in scenario::all().into_iter().filter(|story| story.question() == question) {
        let wanted = args.scenario.as_ref().is_none_or(|only| {
            only.split(',').any(|one| names(one, &story.name)) || only == trace::REPLAY
        }) && (!args.lockdown || LOCKDOWN.contains(&story.name.as_str()));
        if wanted {
            runs.extend(families.iter().map(|&family| Run {
                story: story.clone(),
                family,
                seed: None,
            }));
        }
    }
    let random: &[Drawn] = match question {
        Question::Nagle => {
            &[("random", scenario::random, 1), (scenario::RANDOM_WAYS, scenario::random_ways, 4)]
        }
        Question::Close => &[("random_close", scenario::random_close, 4)],
    };
    for (name, random, share) in random {
        let asked = args.scenario.as_deref() == Some(name);
        let many = if asked { args.random.max(1) } else { args.random.div_ceil(*share) };
        if asked || form == "fentry" && args.scenario.is_none() && !args.lockdown {
            for seed in args.seed..args.seed + many {
                let family = if seed % 2 == 0 { Family::V6 } else { Family::V4 };
                runs.push(Run { story: random(seed), family, seed: Some(seed) });
            }
        }
    }
    if question == Question::Close && many_closes(args, form) {
        let family = if args.seed.is_multiple_of(2) { Family::V6 } else { Family::V4 };
        let story = scenario::many_closes(args.seed);
        runs.push(Run { story, family, seed: Some(args.seed) });
    }
    runs
}

/// Whether the 200 closes are asked for: beside the random schedules, or alone.
fn many_closes(args: &Args, form: &str) -> bool {
    match args.scenario.as_deref() {
        Some(only) => only == scenario::MANY_CLOSES,
        None => form == "fentry" && args.random > 0 && !args.lockdown,
    }
}

/// Whether a story is asked for: by its name, or by the beginning of it and a star.
fn names(asked: &str, story: &str) -> bool {
    asked.strip_suffix('*').map_or(asked == story, |start| story.starts_with(start))
}

fn dry(args: &Args, at: u16, run: &Run, offset_ns: u64) {
    let (mut outcome, seen) = started(run, "none", at, offset_ns);
    for one in &seen {
        let held = holds(&one.conversation);
        outcome.oracle += u32::try_from(held.len()).unwrap_or(u32::MAX);
        for hold in &held {
            println!("{} {} {}: {hold:?}", outcome.scenario, outcome.family, one.remote);
        }
        if run.story.question() == Question::Close {
            println!(
                "{} {} {}: {:?}",
                outcome.scenario,
                outcome.family,
                one.remote,
                close(&one.conversation)
            );
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
    let Conversation { calls, wire, device, .. } = &seen.conversation;
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
        let flags = [(segment.syn, "S"), (segment.fin, "F"), (segment.rst, "R")];
        let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag).collect();
        let what = if segment.outgoing {
            format!("> {flags}{}({})", offset(segment.seq), segment.bytes)
        } else {
            format!("< {flags}ack {} ({})", offset(segment.ack), segment.bytes)
        };
        lines.push((segment.at_ns, format!("{:10.3} {what}", ms(segment.at_ns))));
    }
    for (at_ns, end) in device {
        lines.push((
            *at_ns,
            format!("{:10.3} the device has sent up to {}", ms(*at_ns), offset(*end)),
        ));
    }
    lines.sort();
    println!("{} to {}, net namespace {}", seen.local, seen.remote, seen.netns);
    for (_, line) in lines {
        println!("  {line}");
    }
}

/// All runs in front of one tcptrace, which stores what it uses and must say the same of it afterwards. With kprobes
/// another one records everything meanwhile by tracing programs, to be judged as if it had explained it at once. Of a
/// kprobe that interrupts another one the kernel runs no program, and not every kernel counts that, nor of a tracing program
/// that was preempted: what differs then is looked at again, up to `tries` times.
fn attached(
    args: &Args,
    form: &str,
    question: Question,
    offset_ns: u64,
    tries: u32,
) -> anyhow::Result<()> {
    let runs = plan(args, form, question);
    if runs.is_empty() {
        return Ok(());
    }
    let program = &args.tcptrace;
    let (stored, everything) = (trace::file(form), trace::file(RECORDED));
    let mut live = arguments(args, form, question);
    live.extend(["--force", "-w", &stored].map(str::to_owned));
    let record = ["record", "--force", "--port", PORTS, "-o", &everything].map(str::to_owned);
    let records = form == "kprobe" && args.mutate.is_none();
    // Of one of the two runs the kernel tells what it cost.
    trace::count_cost(form == "kprobe")?;
    let tool = Tool::start(program, &live, false);
    let recorder = records.then(|| Tool::start(program, &record, false));
    let played: Vec<(Outcome, Vec<Seen>)> =
        (0..).zip(&runs).map(|(at, run)| started(run, form, at, offset_ns)).collect();
    if question == Question::Close {
        // A teardown that ends in TIME-WAIT is told a second later.
        sleep_until(now_ns() + 1_500_000_000);
    }
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
            let judged = judge(args, form, &played, &text, said);
            let may_be_skipped = args.mutate.is_none()
                && parse(&text).misses.map_or(form == "kprobe", |skipped| skipped > 0);
            if tries > 0 && may_be_skipped && !judged.iter().all(Outcome::passed) {
                println!("once more, runs may have been skipped: {judged:?}");
                return attached(args, form, question, offset_ns, tries - 1);
            }
            judged.iter().for_each(print);
            if args.mutate.is_some() {
                return Ok(());
            }
            let [command, least] = question.words();
            let flags = [command, "--json", least, "0", "--port", PORTS];
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
            recorded.and_then(|(_, said)| trace::explained(program, &everything, &said, question));
        let (text, complaints) =
            explained.unwrap_or_else(|error| (String::new(), vec![format!("{error:#}")]));
        judge(args, RECORDED, &played, &text, Vec::new()).iter().for_each(print);
        print(&trace::outcome(trace::REPLAY, RECORDED, complaints));
    }
    Ok(())
}

/// Compares what tcptrace said with what the witnesses of each run saw.
fn judge(
    args: &Args,
    form: &str,
    played: &[(Outcome, Vec<Seen>)],
    text: &str,
    said: Vec<String>,
) -> Vec<Outcome> {
    let mut judged = Vec::new();
    let Said { mut found, mut closes, gaps, events_lost, misses, mut complaints } = parse(text);
    if gaps > 0 || events_lost > 0 || misses.is_some_and(|misses| misses > 0) {
        complaints
            .push(format!("{events_lost} events lost and {misses:?} runs skipped in {gaps} gaps"));
    }
    for line in said {
        eprintln!("tcptrace: {line}");
        if line.starts_with("tcptrace ended") {
            complaints.push(line);
        }
    }
    let stories = scenario::all();
    for (outcome, seen) in played {
        let mut outcome = Outcome { form: form.to_owned(), ..outcome.clone() };
        let mut ends = Vec::new();
        let stated = stories.iter().find(|story| story.name == outcome.scenario);
        for (at, one) in seen.iter().enumerate() {
            if args.witnesses {
                testify(one);
            }
            if one.question == Question::Close {
                let own = take_in_order(&mut closes, one, |_| 0);
                let close = close(&one.conversation);
                close_against_tool(&mut outcome, close.as_ref(), &own);
                if let Some(wanted) =
                    stated.filter(|_| args.mutate.is_none()).and_then(|story| story.close_of(at))
                {
                    outcome.broken.extend(fin_against_story(&own, wanted));
                }
                if one.real_peer {
                    ends.push((close, own));
                }
            } else {
                let mut own = take(&mut found, one);
                excuse(&mut outcome, &mut own);
                against_tool(&mut outcome, &one.conversation, &holds(&one.conversation), &own);
                outcome.broken.extend(own.iter().filter_map(|hold| wrong_witness(one, hold)));
            }
        }
        if args.mutate.is_none() {
            outcome.broken.extend(close_joined(&ends));
        }
        judged.push(outcome);
    }
    // A connection of the stories of holds ends long after them: nobody is there any more.
    let left_behind = ports_of(Question::Nagle);
    closes.retain(|it| !it.remote.is_some_and(|end| left_behind.contains(&end.port())));
    let notes = found.iter().map(|it| format!("{it:?}"));
    let notes: Vec<String> = notes.chain(closes.iter().map(|it| format!("{it:?}"))).collect();
    judged.push(strays(form, notes, complaints));
    judged
}

/// Where the closed list says so a hold may be uncertain; one must be, or the list is not true.
fn excuse(outcome: &mut Outcome, own: &mut [Reported]) {
    let listed = scenario::MAY.iter().any(|(story, _)| *story == outcome.scenario);
    if !listed || own.is_empty() {
        return;
    }
    if own.iter().all(|hold| hold.certain) {
        outcome
            .broken
            .push("every hold is certain, though the list says they may be not".to_owned());
    }
    for hold in own {
        hold.certain = true;
    }
}

/// What is said of a peer that delayed its ACK must be seen where the peer's socket is on this host, and cannot be where
/// the peer is a program behind a device.
fn wrong_witness(seen: &Seen, hold: &Reported) -> Option<String> {
    let (ack, certainty) = hold.peer_ack.as_ref()?;
    let wanted = if ack == "delayed" && seen.real_peer { "seen" } else { "inferred" };
    (certainty != wanted).then(|| format!("{ack} is {certainty}, not {wanted}: {hold:?}"))
}

/// The peer's ports of the runs of a question: what one has left behind ends while the other is asked.
fn ports_of(question: Question) -> Range<u16> {
    let all = MOST_RUNS * PORTS_A_RUN;
    let first = match question {
        Question::Nagle => FIRST_PORT,
        Question::Close => FIRST_PORT + all,
    };
    first..first + all
}

/// Plays one run and compares the oracle with the story.
fn started(run: &Run, form: &str, at: u16, offset_ns: u64) -> (Outcome, Vec<Seen>) {
    let mut outcome = unplayed(run, form);
    let first_port = ports_of(run.story.question()).start + at % MOST_RUNS * PORTS_A_RUN;
    let (story, family) = (run.story.clone(), run.family);
    let played = play(Stage { story, family, first_port, offset_ns });
    let seen = match (played, cannot(&run.story.name)) {
        (Ok(seen), None) => seen,
        (Err(error), None) => {
            outcome.broken.push(format!("{error:#}"));
            Vec::new()
        }
        (Err(error), Some(reason)) => {
            outcome.notes.push(format!("this kernel cannot: {reason}: {error:#}"));
            Vec::new()
        }
        (Ok(_), Some(reason)) => {
            outcome.broken.push(format!("this kernel can, though it is listed as {reason}"));
            Vec::new()
        }
    };
    if seen.is_empty() {
        return (outcome, seen);
    }
    match &run.story.expect {
        Expect::Holds(Some(expected)) => {
            let held: Vec<_> = seen.iter().flat_map(|one| holds(&one.conversation)).collect();
            outcome.broken.extend(against_story(&held, expected));
        }
        Expect::Holds(None) => {}
        Expect::Closes(expected) => outcome.broken.extend(closes_against_story(&seen, expected)),
    }
    (outcome, seen)
}

/// Why the kernel that runs cannot do what a story does, by the closed list.
pub(crate) fn cannot(story: &str) -> Option<&'static str> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let listed = |(kernel, name, _): &&(&str, &str, &str)| {
        *name == story && release.starts_with(&format!("{kernel}."))
    };
    scenario::CANNOT.iter().find(listed).map(|(.., reason)| *reason)
}

/// Where the oracle saw other teardowns than the story states, connection by connection; without a statement nowhere.
pub(crate) fn closes_against_story(seen: &[Seen], expected: &[ExpectedClose]) -> Vec<String> {
    if expected.is_empty() {
        return Vec::new();
    }
    if seen.len() != expected.len() {
        return vec![format!("{} connections, {} expected", seen.len(), expected.len())];
    }
    let both = seen.iter().zip(expected);
    both.flat_map(|(one, wanted)| close_against_story(close(&one.conversation).as_ref(), wanted))
        .collect()
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
    take_in_order(found, seen, |hold| hold.start_ns)
}

/// The findings of one connection, in an order.
fn take_in_order<T>(found: &mut Vec<Found<T>>, seen: &Seen, order: impl Fn(&T) -> u64) -> Vec<T> {
    let own = |it: &mut Found<T>| {
        it.netns == Some(seen.netns)
            && it.local == Some(seen.local)
            && it.remote == Some(seen.remote)
    };
    let mut taken: Vec<T> = found.extract_if(.., own).map(|it| it.what).collect();
    taken.sort_by_key(order);
    taken
}

/// What tcptrace said of connections that no story had, or not in the documented form.
fn strays(form: &str, notes: Vec<String>, broken: Vec<String>) -> Outcome {
    let many = u32::try_from(notes.len()).unwrap_or(u32::MAX);
    Outcome {
        scenario: "strays".to_owned(),
        family: "both".to_owned(),
        form: form.to_owned(),
        tool: many,
        false_holds: many,
        broken,
        notes,
        ..Outcome::default()
    }
}

pub(crate) fn print(outcome: &Outcome) {
    match serde_json::to_string(outcome) {
        Ok(line) => println!("{MARK}{line}"),
        Err(error) => eprintln!("an outcome is no JSON: {error}"),
    }
}

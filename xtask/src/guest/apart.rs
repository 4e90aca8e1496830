//! The stories that need a tcptrace of their own, because they are about what it cannot have seen.

use std::cell::RefCell;

use anyhow::Context as _;

use super::{
    run::{
        Args, FIRST_PORT, PORTS, PORTS_A_RUN, Run, arguments, families, take, testify, unplayed,
    },
    stage::{Playing, Seen, Stage, play, start},
    sys::now_ns,
    tool::{Found, Said, Tool, parse},
    trace,
};
use crate::{
    oracle::{Hold, Reported, against_certain, against_latecomer, holds},
    report::Outcome,
    scenario::{self, Question, Story},
};

/// The smallest buffer tcptrace takes.
const SMALL_BUFFER: [&str; 2] = ["--buffer", "4KiB"];
/// The file in which they are stored, one after the other.
const APART: &str = "apart";
/// So many random schedules are played with it.
const RANDOM_LOSSES: u64 = 10;

/// So many random schedules are under way when tcptrace comes.
const UNDER_LOAD: u64 = 6;

/// The outcomes of those that are wanted.
pub(crate) fn outcomes(args: &Args, form: &str, offset_ns: u64) -> Vec<Outcome> {
    let families = families(args, form);
    let in_each = |story: Story| -> Vec<Run> {
        let run = |&family| Run { story: story.clone(), family, seed: None };
        families.iter().map(run).collect()
    };
    let random = (args.seed..args.seed + RANDOM_LOSSES).zip(families.iter().cycle()).map(
        |(seed, &family)| Run { story: scenario::losses_random(seed), family, seed: Some(seed) },
    );
    let under_load = (args.seed..args.seed + UNDER_LOAD)
        .zip(families.iter().cycle())
        .map(|(seed, &family)| Run { story: scenario::under_load(seed), family, seed: Some(seed) });
    let all = [
        (attached_mid_hold as Play, in_each(scenario::attached_mid_hold())),
        (losses as Play, in_each(scenario::losses_forced())),
        (losses as Play, random.collect()),
        (attached_under_load as Play, under_load.collect()),
    ];
    // With kprobes, kernels to 6.1 skip runs and count them nowhere, which tcptrace says at its end: of a flood it cannot
    // be certain there.
    let all = all.into_iter().take(if form == "kprobe" { 1 } else { usize::MAX });
    let cast = Cast { args, form, offset_ns, differences: RefCell::default() };
    let mut outcomes = Vec::new();
    for (play, mut runs) in all {
        let only = args.scenario.as_ref();
        runs.retain(|run| only.is_none_or(|only| *only == run.story.name || only == trace::REPLAY));
        if runs.is_empty() {
            continue;
        }
        let mut own: Vec<Outcome> = runs.iter().map(|run| unplayed(run, form)).collect();
        if let Err(error) = play(&cast, runs, &mut own) {
            for outcome in &mut own {
                outcome.broken.push(format!("{error:#}"));
            }
        }
        outcomes.extend(own);
    }
    if !outcomes.is_empty() {
        outcomes.push(trace::outcome(trace::REPLAY, form, cast.differences.into_inner()));
    }
    outcomes
}

/// Plays stories in front of one tcptrace, and fills in an outcome for each.
type Play = fn(&Cast<'_>, Vec<Run>, &mut [Outcome]) -> anyhow::Result<()>;

/// What all these stories are played with.
#[derive(Debug)]
struct Cast<'a> {
    args: &'a Args,
    form: &'a str,
    offset_ns: u64,
    /// Where what was stored said something else than the run that stored it.
    differences: RefCell<Vec<String>>,
}

impl Cast<'_> {
    fn stages(&self, runs: Vec<Run>) -> impl Iterator<Item = Stage> {
        (FIRST_PORT..).step_by(PORTS_A_RUN.into()).zip(runs).map(
            |(first_port, Run { story, family, .. })| Stage {
                story,
                family,
                first_port,
                offset_ns: self.offset_ns,
            },
        )
    }

    fn tool(&self, more: &[&str]) -> anyhow::Result<Tool> {
        let mut arguments = arguments(self.args, self.form, Question::Nagle);
        arguments.extend(more.iter().copied().map(str::to_owned));
        arguments.extend(["--force", "-w", &trace::file(APART)].map(str::to_owned));
        Tool::start(&self.args.tcptrace, &arguments, false)
    }

    fn said(&self, tool: Tool) -> anyhow::Result<Said> {
        let (text, stderr) = tool.stop().context("stop tcptrace")?;
        let flags = ["nagle", "--json", "--min-hold", "0", "--port", PORTS];
        let stored = trace::file(APART);
        let difference = trace::difference(&self.args.tcptrace, &stored, &flags, &text)?;
        self.differences.borrow_mut().extend(difference);
        let mut said = parse(&text);
        said.complaints
            .extend(stderr.into_iter().filter(|line| line.starts_with("tcptrace ended")));
        if self.args.witnesses {
            println!("{text}");
        }
        Ok(said)
    }
}

/// All families wait with corked bytes; then tcptrace comes, and they go on.
fn attached_mid_hold(
    cast: &Cast<'_>,
    runs: Vec<Run>,
    outcomes: &mut [Outcome],
) -> anyhow::Result<()> {
    let playing: Vec<_> = cast.stages(runs).map(start).collect();
    for one in &playing {
        one.wait_for_attach()?;
    }
    let tool = cast.tool(&[])?;
    let from_ns = now_ns();
    let played: Vec<Vec<Seen>> =
        playing.into_iter().map(Playing::end).collect::<anyhow::Result<_>>()?;
    let said = cast.said(tool)?;
    judge(cast, said, &played, outcomes, |outcome, one, held, reported| {
        against_latecomer(outcome, &one.conversation, held, reported, from_ns);
    });
    Ok(())
}

/// Random schedules are under way while tcptrace attaches one probe after the other: of what only some probes could see
/// it must not be certain.
fn attached_under_load(
    cast: &Cast<'_>,
    runs: Vec<Run>,
    outcomes: &mut [Outcome],
) -> anyhow::Result<()> {
    let playing: Vec<_> = cast.stages(runs).map(start).collect();
    let tool = cast.tool(&[])?;
    let played: Vec<Vec<Seen>> =
        playing.into_iter().map(Playing::end).collect::<anyhow::Result<_>>()?;
    let said = cast.said(tool)?;
    judge(cast, said, &played, outcomes, |outcome, one, held, reported| {
        against_certain(outcome, &one.conversation, held, reported);
    });
    Ok(())
}

/// More events than the buffer takes: each hold that tcptrace got wrong must be one that it is not certain of.
fn losses(cast: &Cast<'_>, runs: Vec<Run>, outcomes: &mut [Outcome]) -> anyhow::Result<()> {
    let tool = cast.tool(&SMALL_BUFFER)?;
    let played: Vec<Vec<Seen>> = cast.stages(runs).map(play).collect::<anyhow::Result<_>>()?;
    let mut said = cast.said(tool)?;
    if said.events_lost == 0 {
        said.complaints.push("the summary has no lost events".to_owned());
    }
    if said.gaps == 0 {
        said.complaints.push("no gap was printed".to_owned());
    }
    judge(cast, said, &played, outcomes, |outcome, one, held, reported| {
        against_certain(outcome, &one.conversation, held, reported);
    });
    for outcome in outcomes {
        // The first hold of that story was over before anything was lost.
        let early = outcome.scenario == scenario::losses_forced().name;
        if early && !outcome.notes.iter().any(|note| note == CERTAIN) {
            outcome.broken.push("tcptrace is certain of no hold at all".to_owned());
        }
    }
    Ok(())
}

/// Notes that tcptrace was certain of something.
const CERTAIN: &str = "some holds were seen for certain";

fn judge(
    cast: &Cast<'_>,
    said: Said,
    played: &[Vec<Seen>],
    outcomes: &mut [Outcome],
    compare: impl Fn(&mut Outcome, &Seen, &[Hold], &[Reported]),
) {
    let mut found = said.found;
    for one in found.iter_mut().filter(|one| one.local.is_none()) {
        name(one, played);
    }
    for (outcome, seen) in outcomes.iter_mut().zip(played) {
        outcome.broken.extend(said.complaints.iter().cloned());
        for one in seen {
            if cast.args.witnesses {
                testify(one);
            }
            let held = holds(&one.conversation);
            let reported = take(&mut found, one);
            if reported.iter().any(|tool| tool.certain) {
                outcome.notes.push(CERTAIN.to_owned());
            }
            compare(outcome, one, &held, &reported);
        }
    }
    if let Some(outcome) = outcomes.first_mut() {
        for stray in found.iter().filter(|stray| stray.what.certain) {
            outcome.false_holds += 1;
            outcome.notes.push(format!("a stray: {stray:?}"));
        }
    }
}

/// Gives a hold the connection that tcptrace could not name, by its start.
fn name(found: &mut Found, played: &[Vec<Seen>]) {
    let apart = |seen: &Seen| {
        let starts = holds(&seen.conversation).into_iter().map(|hold| hold.start_ns);
        starts.map(|start_ns| start_ns.abs_diff(found.what.start_ns)).min()
    };
    let nearest =
        played.iter().flatten().filter_map(|seen| Some((apart(seen)?, seen))).min_by_key(|it| it.0);
    if let Some((_, seen)) = nearest {
        found.netns = Some(seen.netns);
        found.local = Some(seen.local);
        found.remote = Some(seen.remote);
    }
}

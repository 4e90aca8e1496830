//! The test of the tests: mistakes built into tcptrace on purpose, each of which must turn the table red.

use anyhow::Result;

use crate::{
    binaries::Program,
    kernels,
    report::Outcome,
    scenario::{self, Question, Story},
    setup, table,
    test::{self, Args, Job, Part, Programs},
    totals::Totals,
};

/// A mistake by name, and the figure of an outcome that must show it.
type Mutation = (&'static str, fn(&Outcome) -> u32);

const MUTATIONS: [Mutation; 3] = [
    ("causes", |outcome| outcome.wrong_causes),
    ("releases", |outcome| outcome.wrong_releases),
    ("times", |outcome| outcome.wrong_figures),
];

/// The question that a row is about.
fn asks(scenario: &str) -> Question {
    let closes = |story: &Story| story.name == scenario && story.question() == Question::Close;
    if scenario::all().iter().any(closes) { Question::Close } else { Question::Nagle }
}

/// Runs all scenarios of one kernel with each mistake; a mistake that is not found, in the stories of either question, is a
/// failure.
pub(crate) fn run(args: &Args) -> Result<Totals> {
    let names =
        if args.kernel.is_empty() { vec![kernels::USUAL.to_owned()] } else { args.kernel.clone() };
    let wanted = kernels::chosen(&names)?;
    setup::ensure(&wanted)?;
    let programs = Programs::build(Program::Mutant, false)?;
    let mut jobs = Vec::new();
    for series in wanted {
        for (name, _) in MUTATIONS {
            jobs.push(Job {
                series,
                part: Part::Whole,
                lockdown: false,
                scenario: None,
                random: None,
                mutation: Some(name),
                again: 0,
            });
        }
    }
    let results = test::in_guests(&jobs, &programs, args.jobs);
    table::print_figures(&results);
    let mut totals = Totals::default();
    for done in &results {
        let Some((name, shows)) =
            MUTATIONS.iter().find(|(name, _)| done.job.mutation == Some(name))
        else {
            continue;
        };
        for question in Question::ALL {
            let asked = |outcome: &&Outcome| asks(&outcome.scenario) == question;
            let all = done.outcomes.iter().filter(asked).count();
            let broken =
                done.outcomes.iter().filter(asked).filter(|outcome| shows(outcome) > 0).count();
            let verdict = if broken > 0 { "found" } else { "NOT FOUND" };
            let [command, _] = question.words();
            println!(
                "mutation {name} of {command}, kernel {}: {verdict}; it broke {broken} of {all} outcomes",
                done.job.series.name
            );
            totals.count(broken > 0, || format!("mutation {name} of {command} was not found"));
        }
    }
    Ok(totals)
}

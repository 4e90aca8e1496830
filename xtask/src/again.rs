//! What failed in a whole run, run again: a race that one run in thousands loses is told from what fails each time.

use crate::{
    hooks,
    report::Outcome,
    test::{self, Done, Job, Part, Programs},
};

/// So often a row must pass, each time in a guest of its own, to count as unsteady and not as failed.
const TIMES: u8 = 2;
/// More rows than this do not fail by accident, nor more guests than one.
const MOST_ROWS: usize = 5;

/// Runs again what failed. A row that then passes each time is marked as unsteady, which the table tells and the totals count as
/// passed; a guest that did not come to its end is replaced by its second run.
pub(crate) fn run(results: &mut [Done], programs: &Programs, side_by_side: usize) {
    guests(results, programs);
    let rows = rows(results);
    if rows.is_empty() || rows.len() > MOST_ROWS {
        return;
    }
    let jobs: Vec<Job> =
        rows.iter().flat_map(|job| (1..=TIMES).map(|again| Job { again, ..job.clone() })).collect();
    let again = test::in_guests(&jobs, programs, side_by_side);
    mark(results, &again);
}

/// The whole guest, where it was one.
fn guests(results: &mut [Done], programs: &Programs) {
    let mut broken: Vec<&mut Done> =
        results.iter_mut().filter(|done| !done.failures.is_empty()).collect();
    let [first] = broken.as_mut_slice() else { return };
    let job = Job { again: 1, ..first.job.clone() };
    let Some(mut second) = test::in_guests(&[job], programs, 1).pop() else { return };
    if second.failures.is_empty() {
        second.remarks.extend(first.failures.iter().map(|why| format!("its first run: {why}")));
        **first = second;
    }
}

/// One job for each row that failed and can be asked for by itself.
fn rows(results: &[Done]) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for done in results {
        for outcome in done.outcomes.iter().filter(|outcome| !outcome.passed()) {
            let job = alone(&done.job, outcome);
            if !jobs.iter().any(|other| is_same(other, &job)) {
                jobs.push(job);
            }
        }
    }
    // It has no name to ask for it by.
    jobs.retain(|job| job.scenario.as_deref() != Some(hooks::SCENARIO));
    jobs
}

fn alone(job: &Job, outcome: &Outcome) -> Job {
    Job {
        part: Part::Whole,
        scenario: Some(outcome.scenario.clone()),
        random: outcome.seed().map(|seed| (1, seed)),
        ..job.clone()
    }
}

fn is_same(one: &Job, other: &Job) -> bool {
    one.series.name == other.series.name
        && one.lockdown == other.lockdown
        && one.scenario == other.scenario
        && one.random == other.random
}

/// Marks what passed each time it ran again.
fn mark(results: &mut [Done], again: &[Done]) {
    for done in results {
        for outcome in done.outcomes.iter_mut().filter(|outcome| !outcome.passed()) {
            let job = alone(&done.job, outcome);
            let runs: Vec<&Done> = again.iter().filter(|run| is_same(&run.job, &job)).collect();
            outcome.unsteady = runs.len() == usize::from(TIMES)
                && runs.iter().all(|run| run.failures.is_empty() && run.has_passed(outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kernels;

    fn done(again: u8, scenario: &str, seed: u64, wrong_releases: u32) -> Done {
        let series = kernels::MATRIX.first().unwrap();
        let job = Job {
            series,
            part: Part::Stories,
            lockdown: false,
            scenario: None,
            random: Some((40, 1)),
            mutation: None,
            again,
        };
        let outcome = Outcome {
            scenario: scenario.to_owned(),
            family: "IPv4".to_owned(),
            form: "fentry".to_owned(),
            wrong_releases,
            notes: vec![format!("replay: --scenario random --seed {seed}")],
            ..Outcome::default()
        };
        let job = if again == 0 { job } else { Job { again, ..alone(&job, &outcome) } };
        Done {
            job,
            release: String::new(),
            took: Duration::ZERO,
            outcomes: vec![outcome],
            failures: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Whether what failed counts as passed after these runs of it.
    fn counts(again: &[Done]) -> bool {
        let mut results = [done(0, "random", 7, 1)];
        mark(&mut results, again);
        results[0].outcomes[0].passed()
    }

    #[test]
    fn only_what_passes_each_time_it_runs_again_is_unsteady() {
        assert!(counts(&[done(1, "random", 7, 0), done(2, "random", 7, 0)]));
        assert!(!counts(&[done(1, "random", 7, 0), done(2, "random", 7, 1)]));
        assert!(!counts(&[done(1, "random", 7, 0)]));
        assert!(!counts(&[]));
    }

    #[test]
    fn another_seed_row_or_guest_proves_nothing() {
        assert!(!counts(&[done(1, "random", 8, 0), done(2, "random", 8, 0)]));
        assert!(!counts(&[done(1, "nagle", 7, 0), done(2, "nagle", 7, 0)]));
        let mut ended = done(2, "random", 7, 0);
        ended.failures.push("the guest's run ended with 1".to_owned());
        assert!(!counts(&[done(1, "random", 7, 0), ended]));
    }

    #[test]
    fn a_row_is_asked_for_by_its_seed_and_once() {
        let results = [done(0, "random", 7, 1), done(0, "random", 7, 1), done(0, "random", 9, 0)];
        let rows = rows(&results);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].random, Some((1, 7)));
    }
}

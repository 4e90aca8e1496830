//! What the guests reported, as tables for a person.

use std::collections::BTreeMap;

use crate::{
    hooks,
    report::Outcome,
    scenario,
    test::{Done, console_file},
    totals::Totals,
};

/// At most so many failures are told in full; the consoles have them all.
const TOLD: usize = 60;

/// Prints scenario by kernel, the figures of each kernel, and the failures; counts them.
pub(crate) fn print(results: &[Done]) -> Totals {
    let kernels: Vec<&str> = unique(results.iter().map(|done| done.job.series.name));
    let cells = cells(results);
    println!();
    print_cells(&cells, &kernels);
    print_figures(results);
    print_failures(results, &cells, &kernels);
    totals(results, &cells, &kernels)
}

/// A row's name and its cells by kernel: whether all outcomes of the cell passed.
type Cells<'a> = Vec<(String, bool, BTreeMap<&'a str, bool>)>;

/// In the order in which the outcomes came.
fn cells(results: &[Done]) -> Cells<'_> {
    let mut cells: Cells<'_> = Vec::new();
    for done in results {
        for outcome in &done.outcomes {
            let name = row(outcome, done.job.lockdown);
            let at = cells.iter().position(|(row, ..)| *row == name).unwrap_or_else(|| {
                cells.push((name, done.job.lockdown, BTreeMap::new()));
                cells.len() - 1
            });
            if let Some((.., row)) = cells.get_mut(at) {
                *row.entry(done.job.series.name).or_insert(true) &= outcome.passed();
            }
        }
    }
    cells
}

fn row(outcome: &Outcome, lockdown: bool) -> String {
    let parts = [
        outcome.scenario.as_str(),
        &outcome.family,
        &outcome.form,
        if lockdown { "lockdown" } else { "" },
    ];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn print_cells(cells: &Cells<'_>, kernels: &[&str]) {
    let width = cells.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max("scenario".len());
    print!("{:width$}", "scenario");
    for kernel in kernels {
        print!("  {kernel:>5}");
    }
    println!();
    for (name, _, row) in cells {
        print!("{name:width$}");
        for kernel in kernels {
            let cell = match row.get(kernel) {
                Some(true) => "ok",
                Some(false) => "FAIL",
                None => "-",
            };
            print!("  {cell:>5}");
        }
        println!();
    }
}

/// Prints one line of figures for each guest.
pub(crate) fn print_figures(results: &[Done]) {
    println!();
    println!("holds of all runs: by the oracle, by tcptrace, and where they differ");
    println!(
        "{:16} {:>7} {:>8} {:>7} {:>9} {:>8} {:>7} {:>7} {:>7} {:>6}  kernel that ran",
        "kernel",
        "oracle",
        "tcptrace",
        "causes",
        "releases",
        "figures",
        "missed",
        "false",
        "broken",
        "took"
    );
    for done in results {
        let (apart, all): (Vec<&Outcome>, Vec<&Outcome>) = done
            .outcomes
            .iter()
            .partition(|outcome| scenario::APART.contains(&outcome.scenario.as_str()));
        let sum =
            |figure: fn(&Outcome) -> u32| all.iter().map(|outcome| figure(outcome)).sum::<u32>();
        println!(
            "{:16} {:>7} {:>8} {:>7} {:>9} {:>8} {:>7} {:>7} {:>7} {:>4.0} s  {}",
            done.job.name(),
            sum(|outcome| outcome.oracle),
            sum(|outcome| outcome.tool),
            sum(|outcome| outcome.wrong_causes),
            sum(|outcome| outcome.wrong_releases),
            sum(|outcome| outcome.wrong_figures),
            sum(|outcome| outcome.missed),
            sum(|outcome| outcome.false_holds),
            done.outcomes.iter().filter(|outcome| !outcome.broken.is_empty()).count(),
            done.took.as_secs_f64(),
            if done.release.is_empty() { "did not run to its end" } else { &done.release },
        );
        if !apart.is_empty() {
            let sum = |figure: fn(&Outcome) -> u32| {
                apart.iter().map(|outcome| figure(outcome)).sum::<u32>()
            };
            println!(
                "{:16} {:>7} {:>8}   where events are lost, or older than tcptrace, on purpose; \
                 wrongly certain: {}",
                "",
                sum(|outcome| outcome.oracle),
                sum(|outcome| outcome.tool),
                sum(|o| o.wrong_causes + o.wrong_releases + o.wrong_figures + o.false_holds),
            );
        }
        for remark in &done.remarks {
            println!("    {remark}");
        }
    }
    println!();
}

fn print_failures(results: &[Done], cells: &Cells<'_>, kernels: &[&str]) {
    let mut told = 0;
    for done in results {
        for failure in &done.failures {
            println!("FAIL kernel {}: {failure}", done.job.name());
            println!("    reproduce: {}", done.job.reproduce(hooks::SCENARIO));
        }
        for outcome in done.outcomes.iter().filter(|outcome| !outcome.passed() || outcome.unsteady)
        {
            told += 1;
            if told > TOLD {
                continue;
            }
            let (word, again) = if outcome.unsteady {
                ("UNSTEADY", ": failed once, and passed each time it was run again")
            } else {
                ("FAIL", "")
            };
            let row = row(outcome, done.job.lockdown);
            println!("{word} kernel {}: {row}{again}", done.job.series.name);
            for line in outcome.broken.iter().chain(&outcome.notes) {
                println!("    {line}");
            }
            let seed = outcome.seed().map(|seed| format!(" --seed {seed}")).unwrap_or_default();
            println!("    reproduce: {}{seed}", done.job.reproduce(&outcome.scenario));
        }
        let telling = |outcome: &Outcome| !outcome.passed() || outcome.unsteady;
        if done.outcomes.iter().any(telling) || !done.failures.is_empty() {
            println!(
                "    console of kernel {}: {}",
                done.job.name(),
                console_file(&done.job).display()
            );
        }
    }
    if told > TOLD {
        println!("and {} failures more", told - TOLD);
    }
    for (name, kernel) in missing(results, cells, kernels) {
        println!("FAIL kernel {kernel}: {name} reported nothing");
    }
}

/// Rows that another kernel reported and this one did not, though it ran that kind of guest.
fn missing<'a>(
    results: &[Done],
    cells: &'a Cells<'_>,
    kernels: &[&'a str],
) -> Vec<(&'a str, &'a str)> {
    let ran = |(name, form): (&str, &str), kernel: &str, lockdown: bool| {
        results.iter().map(|done| &done.job).any(|job| {
            let is_asked = job.is_asked(name) && job.has_form(name, form);
            job.series.name == kernel && job.lockdown == lockdown && is_asked
        })
    };
    let mut missing = Vec::new();
    for (name, lockdown, row) in cells {
        // A row is named by its scenario, the family and the form.
        let mut words = name.split(' ');
        let scenario = words.next().unwrap_or_default();
        let form = words.nth(1).unwrap_or_default();
        let absent = kernels.iter().filter(|kernel| {
            !row.contains_key(**kernel) && ran((scenario, form), kernel, *lockdown)
        });
        missing.extend(absent.map(|kernel| (name.as_str(), *kernel)));
    }
    missing
}

fn totals(results: &[Done], cells: &Cells<'_>, kernels: &[&str]) -> Totals {
    let mut totals = Totals::default();
    for done in results {
        let kernel = done.job.name();
        for outcome in &done.outcomes {
            totals.count(outcome.passed(), || {
                let first = outcome.broken.iter().chain(&outcome.notes).next();
                let first = first.map(String::as_str).unwrap_or_default();
                format!("kernel {kernel}: {}: {first}", row(outcome, false))
            });
        }
        for failure in &done.failures {
            totals.count(false, || format!("kernel {kernel}: {failure}"));
        }
    }
    for (name, kernel) in missing(results, cells, kernels) {
        totals.count(false, || format!("kernel {kernel}: {name} reported nothing"));
    }
    totals
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

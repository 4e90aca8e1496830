//! The rows of the table that are no stories: each starts what it needs, plays it and judges it by itself.

use std::thread;

use super::{
    closers, defer_accept, deferrers, fastopen, filters,
    netns::Netns,
    openers, refusals,
    run::{Args, print},
    servers, setters, sockopt, spending, stack,
    tool::runs_skipped,
    trace, verdicts,
};
use crate::report::Outcome;

/// So often is a row played again when the kernel has skipped runs of probes meanwhile.
const AGAIN: u32 = 2;

/// Plays a row.
type Play = fn(&Args, u64) -> Vec<Outcome>;

/// A row, or several with one name.
struct Row {
    name: &'static str,
    when: When,
    play: Play,
}

/// When a row is played without being named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// About the program more than about the kernel: in lockdown, and with `--filtering`.
    Program,
    /// Not where a guest in lockdown allows no kprobe.
    Unlocked,
    /// With `--filtering`.
    Filtering,
}

const ROWS: [Row; 13] = [
    Row {
        name: refusals::NAME,
        when: When::Program,
        play: |args, _| vec![refusals::outcome(&args.tcptrace, args.lockdown)],
    },
    Row {
        name: stack::NAME,
        when: When::Program,
        play: |args, _| vec![stack::outcome(&args.tcptrace, args.lockdown)],
    },
    Row {
        name: filters::NAME,
        when: When::Filtering,
        play: |args, offset_ns| vec![filters::outcome(&args.tcptrace, offset_ns)],
    },
    Row {
        name: servers::NAME,
        when: When::Unlocked,
        play: |args, offset_ns| vec![servers::outcome(&args.tcptrace, offset_ns)],
    },
    Row {
        name: closers::NAME,
        when: When::Unlocked,
        play: |args, offset_ns| vec![closers::outcome(&args.tcptrace, offset_ns)],
    },
    Row {
        name: openers::NAME,
        when: When::Unlocked,
        play: |args, _| apart(openers::NAME, || vec![openers::outcome(&args.tcptrace)]),
    },
    Row {
        name: fastopen::NAME,
        when: When::Unlocked,
        play: |args, offset_ns| {
            apart(fastopen::NAME, || {
                fastopen::outcomes(&args.tcptrace, offset_ns, args.form.as_deref())
            })
        },
    },
    Row {
        name: deferrers::NAME,
        when: When::Unlocked,
        play: |args, _| apart(deferrers::NAME, || vec![deferrers::outcome(&args.tcptrace)]),
    },
    Row {
        name: defer_accept::NAME,
        when: When::Unlocked,
        play: |args, offset_ns| {
            apart(defer_accept::NAME, || {
                let form = args.form.as_deref();
                defer_accept::outcomes(&args.tcptrace, offset_ns, form, !args.is_short())
            })
        },
    },
    Row {
        name: sockopt::NAME,
        when: When::Unlocked,
        play: |args, _| {
            // Attaching thirty kprobes takes an emulator a minute: on the kernel of the long rows, or where it is named.
            let form = args.form.as_deref().or(args.is_short().then_some("fentry"));
            sockopt::outcomes(&args.tcptrace, form, args.seed, !args.is_short())
        },
    },
    Row {
        name: setters::NAME,
        when: When::Unlocked,
        play: |args, _| vec![setters::outcome(&args.tcptrace)],
    },
    Row {
        name: spending::NAME,
        when: When::Unlocked,
        play: |args, _| vec![spending::outcome(&args.tcptrace)],
    },
    Row {
        name: verdicts::NAME,
        when: When::Unlocked,
        play: |args, offset_ns| vec![verdicts::outcome(&args.tcptrace, offset_ns)],
    },
];

/// Whether `name` is that of such a row, so that nothing else is asked for.
pub(crate) fn is_alone(name: &str) -> bool {
    ROWS.iter().any(|row| row.name == name) || trace::is_alone(name)
}

/// Plays those that are asked for and prints what came of them.
pub(crate) fn play(args: &Args, offset_ns: u64) {
    let only = args.scenario.as_deref();
    for row in &ROWS {
        let unnamed = match row.when {
            When::Program => args.lockdown || args.filtering,
            When::Unlocked => !args.lockdown,
            When::Filtering => !args.lockdown && args.filtering,
        };
        let named = row.when == When::Program || !args.lockdown;
        if args.mutate.is_none() && only.map_or(unnamed, |only| named && only == row.name) {
            undisturbed(row.name, || (row.play)(args, offset_ns)).iter().for_each(print);
        }
    }
    if args.mutate.is_none() && !args.lockdown && (args.storing || only.is_some()) {
        undisturbed("trace", || trace::outcomes(&args.tcptrace, only, args.seed).collect())
            .iter()
            .for_each(print);
    }
}

/// In a network namespace of its own, so that what the kernel keeps of a destination is gone at each try.
fn apart(name: &str, play: impl Fn() -> Vec<Outcome> + Sync) -> Vec<Outcome> {
    let played = thread::scope(|scope| {
        let player = scope.spawn(|| Netns::create().map(|_netns| play()));
        player.join().unwrap_or_else(|_panicked| Err(anyhow::anyhow!("it panicked")))
    });
    played.unwrap_or_else(|error| vec![trace::outcome(name, "-", vec![format!("{error:#}")])])
}

/// What `play` gives, played again when it differs from what was wanted and a tcptrace told meanwhile of runs that the
/// kernel skipped: where a task can be preempted in a probe (7.3), and another one runs into the same probe, the kernel
/// leaves that run out and counts it. Of a kprobe that interrupts another one it runs no program either, and counts that
/// from 6.7 on only. What then was not seen no comparison can ask for.
pub(crate) fn undisturbed(name: &str, play: impl Fn() -> Vec<Outcome>) -> Vec<Outcome> {
    again_when(runs_skipped, sockopt::is_from((6, 7)), name, play)
}

fn again_when(
    skipped: impl Fn() -> u64,
    counts_kprobes: bool,
    name: &str,
    play: impl Fn() -> Vec<Outcome>,
) -> Vec<Outcome> {
    skipped();
    let mut outcomes = play();
    for _ in 0..AGAIN {
        let runs = skipped();
        let by_kprobes = |outcome: &Outcome| outcome.passed() || outcome.form == "kprobe";
        let may_be_skipped = runs > 0 || !counts_kprobes && outcomes.iter().all(by_kprobes);
        if !may_be_skipped || outcomes.iter().all(Outcome::passed) {
            break;
        }
        println!("once more, the kernel has skipped {runs} runs: {name}: {outcomes:?}");
        outcomes = play();
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{AGAIN, again_when};
    use crate::{guest::trace::outcome, report::Outcome};

    /// How often a row is played, and whether it passes, when each of its first `bad` plays differs.
    fn played(bad: u32, skipped: u64, form: &str, counts_kprobes: bool) -> (u32, bool) {
        let plays = Cell::new(0);
        let outcomes = again_when(
            || skipped,
            counts_kprobes,
            "row",
            || {
                plays.set(plays.get() + 1);
                let broken = (plays.get() <= bad).then(|| "it differs".to_owned());
                vec![outcome("row", form, broken.into_iter().collect())]
            },
        );
        (plays.get(), outcomes.iter().all(Outcome::passed))
    }

    #[test]
    fn a_row_is_played_again_only_when_runs_were_skipped() {
        assert_eq!(played(0, 3, "auto", true), (1, true));
        assert_eq!(played(1, 0, "auto", true), (1, false));
        assert_eq!(played(1, 3, "auto", true), (2, true));
        assert_eq!(played(9, 3, "auto", true), (1 + AGAIN, false));
        assert_eq!(played(1, 0, "kprobe", true), (1, false));
        assert_eq!(played(1, 0, "kprobe", false), (2, true));
        assert_eq!(played(1, 0, "fentry", false), (1, false));
    }
}

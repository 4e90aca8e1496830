//! `TCP_DEFER_ACCEPT` on a listener: what tcptrace says of each connection must agree with what was provoked, with the segments on
//! the wire and with the kernel's counters. Most cases wait for seconds, so that all are played side by side.

mod cases;
mod said;

use std::{path::Path, sync::mpsc::Sender, thread};

use anyhow::Context as _;

use self::{
    cases::{CASES, Case, listener, stay},
    said::{Found, Kernel, judged, judged_whole, read},
};
use super::{
    fastopen::place::{PORT, Place},
    netns::Netns,
    said::{forms, of_both_families},
    stage::Family,
    sys::{now_ns, sleep_until},
    tool::Tool,
};
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "defer_accept";

/// A connection whose data does not come is told so long after its promotion.
const SETTLED_NS: u64 = 1_500_000_000;

/// Plays every case in front of one tcptrace, in each form and family; where `filters` says so, one in front of filters, which
/// are the same on every kernel.
pub(crate) fn outcomes(
    tcptrace: &Path,
    offset_ns: u64,
    form: Option<&str>,
    filters: bool,
) -> Vec<Outcome> {
    forms(form)
        .flat_map(|form| {
            let mut outcomes = of_both_families(NAME, form);
            let wrong = played(tcptrace, offset_ns, form, &mut outcomes).and_then(|()| {
                if filters && form == "fentry" {
                    filtered(tcptrace, offset_ns)
                } else {
                    Ok(Vec::new())
                }
            });
            let wrong = wrong.unwrap_or_else(|error| vec![format!("{error:#}")]);
            outcomes[0].broken.extend(wrong);
            outcomes
        })
        .collect()
}

/// One case that was played: where, and what the witnesses saw.
struct Seen {
    case: &'static Case,
    family: usize,
    place: Place,
    _stays: Sender<()>,
}

fn played(
    tcptrace: &Path,
    offset_ns: u64,
    form: &str,
    outcomes: &mut [Outcome; 2],
) -> anyhow::Result<()> {
    let kernel = Kernel::running()?;
    // One that listens before tcptrace comes, in this namespace, and a connection that is held when it ends.
    let place = Place::new(Netns::current()?.number()?, Family::V4, offset_ns)?;
    let (there, at) = listener(&place, 7)?;
    let words = ["defer-accept", "--json", "--min-duration", "0", "--attach", form];
    let file = ["-w", "/tmp/defer.tcptrace", "--force"];
    let words: Vec<String> = words.iter().chain(&file).map(|word| (*word).to_owned()).collect();
    let tool = Tool::start(tcptrace, &words, false)?;
    let players: Vec<_> = CASES
        .iter()
        .filter(|case| (case.exists)(&kernel))
        .flat_map(|case| [(case, 0), (case, 1)])
        .map(|(case, family)| {
            (case, family, thread::spawn(move || provoked(case, family, offset_ns)))
        })
        .collect();
    let mut all = Vec::new();
    for (case, family, player) in players {
        let played = player.join().map_err(|_panicked| anyhow::anyhow!("the case panicked"));
        match played.and_then(|played| played) {
            Ok((place, stays)) => all.push(Seen { case, family, place, _stays: stays }),
            Err(error) => {
                if let Some(outcome) = outcomes.get_mut(family) {
                    outcome.broken.push(format!("{}: {error:#}", case.name));
                }
            }
        }
    }
    let held = std::net::TcpStream::connect(at)?;
    sleep_until(now_ns() + SETTLED_NS);
    let (text, _) = tool.stop()?;
    drop((held, there));
    let (said, counters) = read(&text)?;
    let [first, _] = outcomes;
    first.broken.extend(judged_whole(place.netns, &said));
    for Seen { case, family, place, .. } in &all {
        let outcome = outcomes.get_mut(*family).context("a family")?;
        let netns = place.netns;
        let found: Vec<&Found> = said.iter().filter(|one| one.netns() == Some(netns)).collect();
        outcome.tool += u32::try_from(found.len())?;
        outcome.oracle += u32::try_from((case.wanted)(&kernel).len())?;
        let wrong = judged(case, &kernel, place, &found, &counters);
        outcome.broken.extend(wrong.iter().map(|w| format!("{}: {w}", case.name)));
    }
    Ok(())
}

/// A filter lets the whole life of a request through, or nothing of it.
fn filtered(tcptrace: &Path, offset_ns: u64) -> anyhow::Result<Vec<String>> {
    let case = CASES.first().context("no case")?;
    let port = PORT.to_string();
    let filters: [(&[&str], bool); 4] =
        [(&["--port", &port], true), (&["--port", "1"], false), (&["-4"], true), (&["-6"], false)];
    let base = ["defer-accept", "--json", "--min-duration", "0"];
    let words = |more: &[&str]| base.iter().chain(more).map(ToString::to_string).collect();
    let all: Vec<Vec<String>> = filters.iter().map(|(more, _)| words(more)).collect();
    let tools = Tool::start_all(tcptrace, &all)?;
    // A namespace belongs to a thread.
    let player = thread::spawn(move || provoked(case, 0, offset_ns));
    let (place, _stays) =
        player.join().map_err(|_panicked| anyhow::anyhow!("the case panicked"))??;
    sleep_until(now_ns() + SETTLED_NS);
    let mut wrong = Vec::new();
    for ((text, _), (filter, passes)) in Tool::stop_all(tools)?.iter().zip(filters) {
        let (found, counters) = read(text)?;
        let here = found.iter().filter(|one| one.netns() == Some(place.netns)).count();
        let many = if passes { (case.wanted)(&Kernel::running()?).len() } else { 0 };
        if here != many || (!passes && !found.is_empty()) || !counters.is_empty() {
            wrong.push(format!("{filter:?} gives {here}, not {many}: {found:?}, {counters:?}"));
        }
    }
    Ok(wrong)
}

/// Plays a case in a namespace of its own.
fn provoked(
    case: &'static Case,
    family: usize,
    offset_ns: u64,
) -> anyhow::Result<(Place, Sender<()>)> {
    let of = if family == 0 { Family::V4 } else { Family::V6 };
    let netns = Netns::create()?.number()?;
    let mut place = Place::new(netns, of, offset_ns)?;
    (case.play)(&mut place)?;
    place.end()?;
    // A namespace lives as long as somebody is in it, and its counters are compared at the end. A guest has no memory for
    // those of several plays.
    Ok((place, stay()?))
}

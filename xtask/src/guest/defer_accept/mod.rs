//! `TCP_DEFER_ACCEPT` on a listener: what tcptrace says of each connection must agree with what was provoked, with the segments on
//! the wire and with the kernel's counters. Most cases wait for seconds, so that all are played side by side.

mod cases;
mod said;

use std::{path::Path, thread};

use anyhow::Context as _;

use self::{
    cases::{CASES, Case, forever, listener},
    said::{Found, Kernel, judged, judged_whole, read},
};
use super::{
    fastopen::place::Place,
    netns::Netns,
    stage::Family,
    sys::{now_ns, sleep_until},
    tool::Tool,
};
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "defer_accept";

/// A connection whose data does not come is told so long after its promotion.
const SETTLED_NS: u64 = 1_500_000_000;

/// Plays every case in front of one tcptrace, in each form and family.
pub(crate) fn outcomes(tcptrace: &Path, offset_ns: u64, form: Option<&str>) -> Vec<Outcome> {
    let forms = ["fentry", "kprobe"].into_iter().filter(|it| form.is_none_or(|form| form == *it));
    forms
        .flat_map(|form| {
            let mut outcomes = [Family::V4, Family::V6].map(|family| Outcome {
                scenario: NAME.to_owned(),
                family: family.name().to_owned(),
                form: form.to_owned(),
                ..Outcome::default()
            });
            if let Err(error) = played(tcptrace, offset_ns, form, &mut outcomes) {
                outcomes[0].broken.push(format!("{error:#}"));
            }
            outcomes
        })
        .collect()
}

/// One case that was played: where, and what the witnesses saw.
struct Seen {
    case: &'static Case,
    family: usize,
    place: Place,
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
            Ok(place) => all.push(Seen { case, family, place }),
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
    for Seen { case, family, place } in &all {
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

/// Plays a case in a namespace of its own.
fn provoked(case: &'static Case, family: usize, offset_ns: u64) -> anyhow::Result<Place> {
    let of = if family == 0 { Family::V4 } else { Family::V6 };
    let netns = Netns::create()?.number()?;
    let mut place = Place::new(netns, of, offset_ns)?;
    (case.play)(&mut place)?;
    place.end()?;
    // A namespace lives as long as somebody is in it, and its counters are compared at the end.
    forever()?;
    Ok(place)
}

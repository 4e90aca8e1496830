//! Fast Open between two ordinary sockets: what tcptrace says of both ends must agree with what was provoked, with the SYNs
//! on the wire and with the kernel's counters.

mod alone;
mod cases;
mod elsewhere;
pub(in crate::guest) mod place;
pub(in crate::guest) mod raw;
mod said;

use std::{fs, net::SocketAddr, path::Path, thread};

use anyhow::Context as _;

use self::{
    cases::{CANNOT, CASES, Case, OTHERWISE, int},
    place::{PORT, Place, TCP_FASTOPEN, serve_at, setting},
    said::{Found, judged, judged_whole, read},
};
use super::{
    netns::Netns,
    said::{forms, of_both_families},
    stage::Family,
    sys::{now_ns, sleep_until},
    tool::Tool,
};
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "fastopen";

/// An attempt whose write does not return is told so long after its answer.
const SETTLED_NS: u64 = 1_500_000_000;

/// Plays every case in front of one tcptrace, in each form and family.
pub(crate) fn outcomes(tcptrace: &Path, offset_ns: u64, form: Option<&str>) -> Vec<Outcome> {
    forms(form)
        .flat_map(|form| {
            let mut outcomes = of_both_families(NAME, form);
            let wrong = played(tcptrace, offset_ns, form, &mut outcomes)
                .and_then(|()| filtered(tcptrace, offset_ns, form))
                .and_then(|wrong| {
                    let more = midway(tcptrace, offset_ns, form)?;
                    Ok(wrong.into_iter().chain(more).collect())
                })
                .unwrap_or_else(|error| vec![format!("{error:#}")]);
            outcomes[0].broken.extend(wrong);
            outcomes
        })
        .collect()
}

/// A case that is being played.
type Player = thread::JoinHandle<anyhow::Result<Place>>;

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
    let words = ["fastopen", "--json", "--attach", form, "-w", "/tmp/fastopen.tcptrace", "--force"];
    let (there, at) = before(form, offset_ns)?;
    let tool = Tool::start(tcptrace, &words.map(str::to_owned), false)?;
    let mut all = Vec::new();
    // Those that wait long do so beside the others.
    let begin = |long: bool| {
        let both = (0..2).flat_map(|family| CASES.iter().map(move |case| (case, family)));
        both.filter(move |(case, _)| case.long == long)
            .map(|(case, family)| (case, family, begun(case, family, offset_ns)))
    };
    let long: Vec<_> = begin(true).collect();
    for (case, family, player) in begin(false).chain(long) {
        let Some(outcome) = outcomes.get_mut(family) else { continue };
        let cannot = CANNOT.iter().find(|it| it.1 == case.name && runs(it.0));
        match (ended(player), cannot) {
            (Ok(place), None) => all.push(Seen { case, family, place }),
            (Err(error), None) => outcome.broken.push(format!("{}: {error:#}", case.name)),
            (Err(error), Some((.., why))) => {
                outcome.notes.push(format!("this kernel cannot: {}: {why}: {error:#}", case.name));
            }
            (Ok(_), Some((.., why))) => {
                outcome.broken.push(format!("{}: this kernel can, though {why}", case.name));
            }
        }
    }
    setting(3)?;
    there.talk(at, 100)?;
    there.talk(at, 100)?;
    sleep_until(now_ns() + SETTLED_NS);
    let (text, _) = tool.stop()?;
    let (said, counters) = read(&text)?;
    if let Some(outcome) = outcomes.first_mut() {
        outcome.broken.extend(judged_whole(there.netns, &said, &counters));
    }
    for seen in &mut all {
        let Some(outcome) = outcomes.get_mut(seen.family) else { continue };
        let own = |one: &&Found| one.netns().is_some_and(|netns| seen.place.has(netns));
        let found: Vec<&Found> = said.iter().filter(own).collect();
        outcome.tool += u32::try_from(found.len())?;
        let otherwise = OTHERWISE.iter().find(|it| it.1 == seen.case.name && runs(it.0));
        let wanted = otherwise.map_or(seen.case.wanted, |it| it.2);
        outcome.oracle += u32::try_from(wanted.len())?;
        let wrong = judged(seen.case, wanted, &seen.place, &found);
        outcome.broken.extend(wrong.iter().map(|w| format!("{}: {w}", seen.case.name)));
    }
    Ok(())
}

/// A filter by process lets both ends of that process through, and none of another's.
fn filtered(tcptrace: &Path, offset_ns: u64, form: &str) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let case = CASES.first().context("no case")?;
    for (pid, many) in [(std::process::id(), case.wanted.len()), (1, 0)] {
        let pid = pid.to_string();
        let words = ["fastopen", "--json", "--attach", form, "--pid", &pid];
        let tool = Tool::start(tcptrace, &words.map(str::to_owned), false)?;
        ended(begun(case, 0, offset_ns))?;
        sleep_until(now_ns() + SETTLED_NS);
        let (found, counters) = read(&tool.stop()?.0)?;
        if found.len() != many || !counters.is_empty() {
            wrong.push(format!("--pid {pid}: {found:?}, {counters:?}"));
        }
    }
    Ok(wrong)
}

/// A SYN with data that leaves before tcptrace comes, and is answered behind it: what became of it is told, and that more
/// may have happened.
fn midway(tcptrace: &Path, offset_ns: u64, form: &str) -> anyhow::Result<Vec<String>> {
    let words = ["fastopen", "--json", "--attach", form].map(str::to_owned);
    let tcptrace = tcptrace.to_owned();
    // A namespace belongs to a thread.
    let player = thread::spawn(move || -> anyhow::Result<String> {
        let mut place = Place::new(Netns::create()?.number()?, Family::V4, offset_ns)?;
        let mut tool = None;
        alone::answered_later(&mut place, || {
            tool = Some(Tool::start(&tcptrace, &words, false)?);
            Ok(())
        })?;
        sleep_until(now_ns() + SETTLED_NS);
        Ok(tool.context("no tcptrace")?.stop()?.0)
    });
    let text = player.join().map_err(|_panicked| anyhow::anyhow!("the case panicked"))??;
    let (found, _) = read(&text)?;
    Ok(match found.as_slice() {
        [one] if one.is_midway() => Vec::new(),
        found => vec![format!("midway: {found:?}")],
    })
}

/// A listener that no client can use, in the namespace of this thread. A client there keeps its cookie for an address, so
/// that each form has one of its own.
fn before(form: &str, offset_ns: u64) -> anyhow::Result<(Place, SocketAddr)> {
    setting(1)?;
    let place = Place::new(Netns::current()?.number()?, Family::V4, offset_ns)?;
    let host = if form == "fentry" { [127, 0, 0, 2] } else { [127, 0, 0, 3] };
    let at = SocketAddr::from((host, PORT));
    serve_at(at, &[(TCP_FASTOPEN, int(7))])?;
    Ok((place, at))
}

/// Whether this kernel is of a series.
fn runs(series: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.starts_with(&format!("{series}."))
}

/// Begins to play a case, in a namespace of its own.
fn begun(case: &'static Case, family: usize, offset_ns: u64) -> Player {
    let of = if family == 0 { Family::V4 } else { Family::V6 };
    // A namespace belongs to a thread.
    thread::spawn(move || -> anyhow::Result<Place> {
        let netns = Netns::create()?.number()?;
        let mut place = Place::new(netns, of, offset_ns)?;
        (case.play)(&mut place)?;
        place.end()?;
        Ok(place)
    })
}

/// What its witnesses saw, when it is over.
fn ended(player: Player) -> anyhow::Result<Place> {
    player.join().map_err(|_panicked| anyhow::anyhow!("the case panicked"))?
}

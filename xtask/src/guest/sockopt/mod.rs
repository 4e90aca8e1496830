//! Options that are set in every way there is: what tcptrace says of each call must agree with what the call returned, with
//! what the socket itself said before and after, and with what the peer got meanwhile.

mod bpf;
mod cases;
mod functions;
mod kernel;
mod player;
mod rpc;
mod said;
mod setter;
mod wire;

use std::{net::TcpStream, os::fd::AsRawFd as _, path::Path, thread};

use anyhow::Context as _;

pub(crate) use self::kernel::MODULES;
pub(super) use self::player::is_from;
use self::{
    cases::CASES,
    player::{Call, Player},
    said::{Found, compared, existing, read},
    setter::answer,
};
use super::{
    netns::Netns,
    said::{forms, of_both_families},
    stage::Family,
    sys::{now_ns, set_option, sleep_until},
    tool::Tool,
};
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "sockopt";

/// Where the recording of the run is kept, which must tell the same.
const RECORDING: &str = "/tmp/sockopt.tcptrace";

/// Plays every case in front of one tcptrace, in each form and family; where `filters` says so, filters too, which are the
/// same on every kernel.
pub(crate) fn outcomes(
    tcptrace: &Path,
    form: Option<&str>,
    seed: u64,
    filters: bool,
) -> Vec<Outcome> {
    forms(form)
        .flat_map(|form| {
            let mut outcomes = of_both_families(NAME, form);
            let wrong = played(tcptrace, form, (seed, filters), &mut outcomes)
                .and_then(|()| replayed(tcptrace, &outcomes))
                .and_then(|mut wrong| {
                    // Filters and the iterator are the same in both forms.
                    if form == "fentry" {
                        if filters {
                            wrong.extend(filtered(tcptrace, form)?);
                        }
                        wrong.extend(found_there(tcptrace, form, filters)?);
                    }
                    Ok(wrong)
                })
                .unwrap_or_else(|error| vec![format!("{error:#}")]);
            if let Some(first) = outcomes.first_mut() {
                first.broken.extend(wrong);
            }
            outcomes
        })
        .collect()
}

/// What was done in one namespace.
struct Played {
    /// Held, so that its number is not given to another one.
    netns: Netns,
    calls: Vec<Call>,
    wrong: Vec<String>,
}

fn played(
    tcptrace: &Path,
    form: &str,
    (seed, filters): (u64, bool),
    outcomes: &mut [Outcome; 2],
) -> anyhow::Result<()> {
    let words = ["sockopt", "--json", "--attach", form, "-w", RECORDING, "--force"];
    let tool = Tool::start(tcptrace, &words.map(str::to_owned), false)?;
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        // On 5.10 the function that BPF calls can be met by a kprobe only.
        let is_without_bpf = form == "fentry" && !is_from((5, 11));
        all.push(in_own_namespace(
            move |player| {
                player.is_without_bpf = is_without_bpf;
                for case in &CASES {
                    player.begin(case.name);
                    (case.play)(player)?;
                }
                player.begin("random");
                cases::random(player, seed)
            },
            family,
        )?);
    }
    // What is there already is the same in both forms and families, and how it is read on every kernel.
    let existing = (filters && form == "fentry").then_some((tcptrace, form));
    let by_kernel = [(Family::V4, existing), (Family::V6, None)]
        .map(|(family, existing)| kernel::played(family, existing));
    sleep_until(now_ns() + 200_000_000);
    let found = read(&tool.stop()?.0)?;
    for (played, outcome) in by_kernel.into_iter().zip(&mut *outcomes) {
        let played = played.context("options that the kernel sets")?;
        let here: Vec<&Found> =
            found.iter().filter(|one| one.netns() == played.netns.number().ok()).collect();
        outcome.tool += u32::try_from(here.len())?;
        outcome.oracle += played.calls();
        outcome.broken.extend(played.wrong.iter().cloned());
        outcome.broken.extend(kernel::compared(&played, &here));
        outcome.broken.extend(kernel::compared_existing(&played)?);
    }
    for (played, outcome) in all.iter().zip(outcomes) {
        let here: Vec<&Found> =
            found.iter().filter(|one| one.netns() == played.netns.number().ok()).collect();
        outcome.tool += u32::try_from(here.len())?;
        outcome.oracle += u32::try_from(played.calls.len())?;
        outcome.broken.extend(played.wrong.iter().cloned());
        outcome.broken.extend(compared(&played.calls, &here, form));
    }
    Ok(())
}

/// Plays something in a namespace of its own, which belongs to a thread.
fn in_own_namespace(
    play: impl FnOnce(&mut Player) -> anyhow::Result<()> + Send + 'static,
    family: Family,
) -> anyhow::Result<Played> {
    let thread = thread::spawn(move || -> anyhow::Result<Played> {
        let netns = Netns::create()?;
        let mut player = Player::new(family);
        play(&mut player)?;
        let Player { calls, wrong, .. } = player;
        Ok(Played { netns, calls, wrong })
    });
    thread.join().map_err(|_panicked| anyhow::anyhow!("the case panicked"))?
}

/// The recording of the run tells as many calls.
fn replayed(tcptrace: &Path, outcomes: &[Outcome; 2]) -> anyhow::Result<Vec<String>> {
    let words = ["sockopt", "--json", "-r", RECORDING];
    let out = std::process::Command::new(tcptrace).args(words).output().context("replay")?;
    let found = read(&String::from_utf8_lossy(&out.stdout))?.len();
    let live: u32 = outcomes.iter().map(|outcome| outcome.tool).sum();
    let is_less = u32::try_from(found)? < live;
    Ok(is_less
        .then(|| format!("the recording tells {found} calls, {live} were told"))
        .into_iter()
        .collect())
}

/// A filter by process lets that process's calls through, and none of another's.
fn filtered(tcptrace: &Path, form: &str) -> anyhow::Result<Vec<String>> {
    let wanted = [(std::process::id().to_string(), 2), ("1".to_owned(), 0)];
    let words =
        |pid: &str| ["sockopt", "--json", "--attach", form, "--pid", pid].map(str::to_owned);
    let all: Vec<Vec<String>> = wanted.iter().map(|(pid, _)| words(pid).into()).collect();
    let tools = Tool::start_all(tcptrace, &all)?;
    let played = in_own_namespace(cases::two_calls, Family::V4)?;
    thread::sleep(std::time::Duration::from_millis(500));
    let mut wrong = Vec::new();
    for ((text, _), (pid, many)) in Tool::stop_all(tools)?.iter().zip(&wanted) {
        let found = read(text)?;
        let netns = played.netns.number()?;
        let here = found.iter().filter(|one| one.netns() == Some(netns)).count();
        if here != *many || found.len() != *many {
            wrong.push(format!("--pid {pid}: {found:?}"));
        }
    }
    Ok(wrong)
}

/// Sockets that were there before, read without being touched: their options are those that they say themselves.
fn found_there(tcptrace: &Path, form: &str, filters: bool) -> anyhow::Result<Vec<String>> {
    // A namespace that only a thread is in is not looked at.
    let netns = Netns::current()?.number()?;
    let mut wrong = Vec::new();
    for family in [Family::V4, Family::V6] {
        let host = if family == Family::V4 { "127.0.0.1" } else { "::1" };
        let listener = std::net::TcpListener::bind((host, 8071))?;
        set_option(listener.as_raw_fd(), 6, 9, &5_i32)?;
        set_option(listener.as_raw_fd(), 6, 23, &4_i32)?;
        let client = TcpStream::connect((host, 8071))?;
        // A listener that defers hands over nothing before data came.
        std::io::Write::write_all(&mut &client, b"x")?;
        let (server, _) = listener.accept()?;
        for (optname, value) in
            [(1, 1_i32), (4, 33), (5, 6), (6, 3), (18, 7_000), (25, 20_000), (8, 9)]
        {
            set_option(client.as_raw_fd(), 6, optname, &value)?;
        }
        set_option(client.as_raw_fd(), 6, 13, b"reno")?;
        set_option(server.as_raw_fd(), 6, 3, &1_i32)?;
        set_option(server.as_raw_fd(), 1, 9, &1_i32)?;
        let pid = std::process::id().to_string();
        let mut wanted: Vec<(&[&str], usize)> = vec![(&["--port", "8071"], 3)];
        let own = ["--pid", &pid, "--port", "8071"];
        if filters {
            wanted.push((&["--port", "8072"], 0));
            wanted.push((&own, 3));
            wanted.push((&["--pid", "1", "--port", "8071"], 0));
        }
        let base = ["sockopt", "--json", "--existing", "-d", "1ms", "--attach", form];
        let words = |more: &[&str]| base.iter().chain(more).map(ToString::to_string).collect();
        let all: Vec<Vec<String>> = wanted.iter().map(|(more, _)| words(more)).collect();
        let tools = Tool::start_all(tcptrace, &all)?;
        for (tool, (words, many)) in tools.into_iter().zip(wanted) {
            let (text, said) = tool.ended()?;
            let found = existing(&text)?;
            let here: Vec<_> = found.iter().filter(|one| one.netns() == Some(netns)).collect();
            if here.len() != many || found.len() != many {
                wrong.push(format!("--existing {words:?}: not {many}: {said:?} {text}"));
            }
            for one in here {
                let fds = [
                    (client.local_addr()?, Some(client.peer_addr()?), client.as_raw_fd()),
                    (server.local_addr()?, Some(server.peer_addr()?), server.as_raw_fd()),
                    (listener.local_addr()?, None, listener.as_raw_fd()),
                ];
                let own = fds.iter().find(|(local, remote, _)| {
                    one.is_of(*local, *remote) && one.is_by(std::process::id())
                });
                match own {
                    Some((_, _, fd)) => {
                        wrong.extend(one.differs(|level, optname| answer(*fd, level, optname)));
                    }
                    None => wrong.push(format!("--existing: whose is {one:?}")),
                }
            }
        }
    }
    Ok(wrong)
}

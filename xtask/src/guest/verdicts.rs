//! What is said of a whole run: the pattern of a program's writes, and the program that was slow where TCP held nothing.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;

use super::{
    stage::{Family, Seen, Stage, play},
    sys::{now_ns, sleep_until},
    tool::{self, Tool},
    trace,
};
use crate::{
    oracle::{Call, holds},
    report::Outcome,
    scenario,
};

/// The row of the table.
pub(crate) const NAME: &str = "verdicts";

/// The peer's port, where it is a program behind a device.
const PEER_PORT: u16 = 19_000;
/// Two clocks of one moment, nanoseconds.
const ALLOWANCE_NS: u64 = 1_000_000;
/// What a request has to wait to have paid, nanoseconds.
const PAID_NS: u64 = 1_000_000;

/// Says what is wrong with the summary and the text, where something is.
type Judge = fn(&[Seen], &Value, &str) -> anyhow::Result<()>;

/// The stories, and who judges what is said of them.
const STORIES: [(&str, Judge); 4] = [
    ("innocent_server_thinks_40_ms", innocent),
    ("innocent_server_thinks_200_ms", innocent),
    (scenario::TWENTY_ROUNDS, write_write_read),
    (scenario::HEADER_AND_BODY, header_and_body),
];

/// Who watches: one family each, by one form of probes each.
const WATCHERS: [(Family, &str); 2] = [(Family::V4, "fentry"), (Family::V6, "kprobe")];

/// Plays each story in both families in front of two tcptraces.
pub(crate) fn outcome(tcptrace: &Path, offset_ns: u64) -> Outcome {
    let mut outcome = Outcome {
        scenario: NAME.to_owned(),
        family: "both".to_owned(),
        form: "any".to_owned(),
        ..Outcome::default()
    };
    for (name, judge) in STORIES {
        match told(tcptrace, offset_ns, name, judge) {
            Ok(wrong) => outcome.broken.extend(wrong),
            Err(error) => outcome.broken.push(format!("{name}: {error:#}")),
        }
    }
    for form in ["fentry", "kprobe"] {
        if let Err(error) = still_asleep(tcptrace, form) {
            outcome.broken.push(format!("a writer that sleeps to the end, {form}: {error:#}"));
        }
        if let Err(error) = gives_up(tcptrace, form) {
            outcome.broken.push(format!("writers that give up, {form}: {error:#}"));
        }
        if let Err(error) = pushed_in_parts(tcptrace, form) {
            outcome.broken.push(format!("writes that are pushed in parts, {form}: {error:#}"));
        }
    }
    outcome
}

/// A writer sleeps for room in its send buffer when tcptrace is stopped.
fn still_asleep(tcptrace: &Path, form: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut writer = TcpStream::connect(listener.local_addr()?)?;
    let (mut reader, _) = listener.accept()?;
    let flags = ["nagle", "--json", "--attach", form, "--cause", "send_buffer"];
    let tool = Tool::start(tcptrace, &flags.map(str::to_owned), false)?;
    let began_ns = now_ns();
    let writing = thread::spawn(move || writer.write_all(&vec![0; 16 << 20]));
    sleep_until(now_ns() + 400_000_000);
    let (text, _) = tool.stop()?;
    let took_ns = now_ns() - began_ns;
    std::io::copy(&mut reader, &mut std::io::sink())?;
    writing.join().map_err(|_panic| anyhow::anyhow!("the writer panicked"))??;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let asleep = lines.clone().find(|line| {
        line.get("release").and_then(Value::as_str) == Some("still_held")
            && line.pointer("/causes/0/cause").and_then(Value::as_str) == Some("send_buffer")
    });
    let asleep = asleep.with_context(|| format!("no such hold: {text}"))?;
    let held_ns = asleep.get("held_ns").and_then(Value::as_u64).unwrap_or(0);
    anyhow::ensure!(
        (200_000_000..took_ns).contains(&held_ns) && asleep.get("bytes").is_none(),
        "it is {asleep}"
    );
    let only = lines.clone().find_map(|line| line.pointer("/only/cause/0").cloned());
    anyhow::ensure!(
        only == Some("send_buffer".into()),
        "the start does not say what was asked for"
    );
    Ok(())
}

/// Two writes do not find room for all of their bytes within the time that the program allows.
fn gives_up(tcptrace: &Path, form: &str) -> anyhow::Result<()> {
    const ALLOWED: u64 = 200_000_000;
    // The kernel counts what is left of the time in ticks, anew after each sleep.
    const SHORTEST: u64 = ALLOWED - 12_000_000;
    const LONGEST: u64 = 260_000_000;
    const BYTES: usize = 16 << 20;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut writer = TcpStream::connect(address)?;
    let (reader, _) = listener.accept()?;
    writer.set_write_timeout(Some(Duration::from_nanos(ALLOWED)))?;
    let port = address.port().to_string();
    let flags = ["nagle", "--json", "--attach", form, "--port", &port, "--release", "given_up"];
    let tool = Tool::start(tcptrace, &flags.map(str::to_owned), false)?;
    let bytes = vec![0; BYTES];
    // What has been acknowledged since makes a little room for the second.
    let mut taken = [0; 2];
    for taken in &mut taken {
        *taken = match writer.write(&bytes) {
            Ok(some) => some,
            Err(none) if none.kind() == ErrorKind::WouldBlock => 0,
            Err(other) => return Err(other.into()),
        };
    }
    let (text, _) = tool.stop()?;
    drop(reader);
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told: Vec<_> = lines
        .filter(|line| line.get("release").and_then(Value::as_str) == Some("given_up"))
        .map(|line| {
            let number = |name| line.get(name).and_then(Value::as_u64).unwrap_or(0);
            (number("bytes"), number("written_bytes"), number("held_ns"))
        })
        .collect();
    anyhow::ensure!(told.len() == taken.len(), "{told:?}: {text}");
    let asked = u64::try_from(BYTES)?;
    for ((bytes, written, held_ns), taken) in told.into_iter().zip(taken) {
        // What came in after the first sleep has waited as well.
        let left = u64::try_from(BYTES - taken)?;
        anyhow::ensure!(
            (left..=asked).contains(&bytes)
                && written == asked
                && (SHORTEST..LONGEST).contains(&held_ns),
            "{bytes} of {written} B for {held_ns} ns, and {taken} of {asked} B were taken: {text}"
        );
    }
    Ok(())
}

/// Writes that sleep for room in the send buffer, and push before they do, are as many as the program has made calls. The
/// connection is a new one, so that no byte can have waited on it before: what is told of its first write is certain, although
/// ACKs of it have come in before its first push.
fn pushed_in_parts(tcptrace: &Path, form: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let port = address.port().to_string();
    let flags = ["nagle", "--json", "--min-hold", "0", "--attach", form, "--port", &port];
    let tool = Tool::start(tcptrace, &flags.map(str::to_owned), false)?;
    let mut writer = TcpStream::connect(address)?;
    let (mut reader, _) = listener.accept()?;
    let writing = thread::spawn(move || -> std::io::Result<u64> {
        let (large, small, mut calls) = (vec![0; 8 << 20], [0; 100], 0);
        for some in [&large, &small[..], &large, &small] {
            let mut left = some;
            while !left.is_empty() {
                let taken = writer.write(left)?;
                left = left.get(taken..).unwrap_or_default();
                calls += 1;
            }
        }
        Ok(calls)
    });
    // By then the first sleeps.
    sleep_until(now_ns() + 200_000_000);
    std::io::copy(&mut reader, &mut std::io::sink())?;
    let calls = writing.join().map_err(|_panic| anyhow::anyhow!("the writer panicked"))??;
    let (text, _) = tool.stop()?;
    anyhow::ensure!(text.contains(r#""cause":"send_buffer""#), "no write slept: {text}");
    let unsure = text.lines().find(|line| line.contains(r#""certainty":"may""#));
    anyhow::ensure!(
        unsure.is_none(),
        "of a connection that was watched from its SYN on: {unsure:?}"
    );
    let told = tool::summary(&text)?.writes;
    anyhow::ensure!(told == Some(calls), "there were {calls} writes, not {told:?}");
    Ok(())
}

/// What is wrong with what they say of a story, live and of their own recordings.
fn told(tcptrace: &Path, offset_ns: u64, name: &str, judge: Judge) -> anyhow::Result<Vec<String>> {
    let story = scenario::all().into_iter().find(|story| story.name == name);
    let story = story.context("the story is gone")?;
    let flags = |family: Family| {
        ["nagle", "--json", "--port", "8080", if family == Family::V4 { "-4" } else { "-6" }]
    };
    let file = |(family, form): (Family, &str)| format!("/tmp/verdicts-{}-{form}", family.name());
    let words = WATCHERS.map(|watcher| {
        let file = file(watcher);
        let stored = ["--attach", watcher.1, "--force", "-w", &file];
        flags(watcher.0).iter().chain(&stored).map(|&word| word.to_owned()).collect::<Vec<_>>()
    });
    let watching = Tool::start_all(tcptrace, &words)?;
    let mut played = Vec::new();
    for family in [Family::V4, Family::V6] {
        let stage = Stage { story: story.clone(), family, first_port: PEER_PORT, offset_ns };
        played.push((family, play(stage)?));
    }
    let mut wrong = Vec::new();
    for (watcher, (json, _)) in WATCHERS.into_iter().zip(Tool::stop_all(watching)?) {
        let (family, form) = watcher;
        let seen = played.iter().find(|(of, _)| *of == family).map_or(&[][..], |(_, seen)| seen);
        let tried = judged(tcptrace, seen, (&flags(family), &file(watcher), &json), judge);
        let tried = tried.unwrap_or_else(|error| Some(format!("{error:#}")));
        wrong.extend(tried.map(|what| format!("{name}, {}, {form}: {what}", family.name())));
    }
    Ok(wrong)
}

/// What is wrong with what one of them says.
fn judged(
    tcptrace: &Path,
    seen: &[Seen],
    (flags, file, json): (&[&str], &str, &str),
    judge: Judge,
) -> anyhow::Result<Option<String>> {
    let text = trace::text_of(tcptrace, file)?;
    let summary = json
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line.get("type").and_then(Value::as_str) == Some("summary"))
        .context("no summary")?;
    judge(seen, &summary, &text).with_context(|| format!("{json}{text}"))?;
    let difference = trace::difference(tcptrace, file, flags, json)?;
    fs::remove_file(file)?;
    Ok(difference)
}

/// The slowest answer is that of the log of calls, and every write is counted.
fn innocent(seen: &[Seen], summary: &Value, text: &str) -> anyhow::Result<()> {
    let calls = &seen.first().context("nothing was played")?.conversation.calls;
    let writes = calls.iter().filter(|record| record.call.writes()).count();
    let answers = calls.windows(3).filter_map(|records| match records {
        // The story waits between the two.
        [read, write, ..] if matches!(read.call, Call::Read(_)) && write.call.writes() => {
            Some(write.at_ns - read.ret_ns)
        }
        _ => None,
    });
    let longest_ns = answers.max().context("nothing was answered")?;
    let number = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64);
    let told_ns = number("/slowest_reply/took_ns").context("no slowest reply")?;
    anyhow::ensure!(
        told_ns.abs_diff(longest_ns) <= ALLOWANCE_NS,
        "the slowest answer took {longest_ns} ns, not {told_ns}"
    );
    let pid = u64::from(std::process::id());
    anyhow::ensure!(number("/slowest_reply/process/pid") == Some(pid), "it is process {pid}");
    let comm = summary.pointer("/slowest_reply/process/comm").and_then(Value::as_str);
    anyhow::ensure!(comm == Some("server"), "it is called server, not {comm:?}");
    anyhow::ensure!(number("/writes") == Some(writes as u64), "there were {writes} writes");
    anyhow::ensure!(number("/sockets_seen") == Some(1), "there was 1 socket");
    anyhow::ensure!(number("/holds") == Some(0), "no byte waited");
    let verdict = format!("no byte waited: {writes} writes on 1 socket left at once.");
    anyhow::ensure!(text.contains(&verdict), "the text does not say: {verdict}");
    let reply = format!("slowest reply: server[{pid}] wrote it ");
    anyhow::ensure!(text.contains(&reply), "the text does not say: {reply}");
    Ok(())
}

fn write_write_read(seen: &[Seen], summary: &Value, text: &str) -> anyhow::Result<()> {
    pattern(seen, summary, text, ("write_write_read", "write, write, read", 20))?;
    let flat = flat(text);
    let change = "change: send both parts with one writev(), or set TCP_NODELAY (never set on this socket since connect).";
    anyhow::ensure!(flat.contains(change), "the text does not say: {change}");
    anyhow::ensure!(flat.contains("and the receiver delayed its ACK."), "no delayed ACK was seen");
    Ok(())
}

fn header_and_body(seen: &[Seen], summary: &Value, text: &str) -> anyhow::Result<()> {
    // Three answers in one write come before.
    pattern(seen, summary, text, ("header_body", "header, then body, read", 9))?;
    let change =
        "send header and body with one writev(), or the header with MSG_MORE, or set TCP_NODELAY";
    anyhow::ensure!(flat(text).contains(change), "the text does not say: {change}");
    Ok(())
}

/// The text without the breaks of its lines.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As many requests paid as the oracle saw holds of a millisecond, of all that were made, with their median.
fn pattern(
    seen: &[Seen],
    summary: &Value,
    text: &str,
    (known, words, requests): (&str, &str, u64),
) -> anyhow::Result<()> {
    let mut paid: Vec<u64> = seen
        .iter()
        .flat_map(|one| holds(&one.conversation))
        .map(|hold| hold.held_ns)
        .filter(|held_ns| *held_ns >= PAID_NS)
        .collect();
    paid.sort_unstable();
    let median_ns = *paid.get((paid.len().max(1) - 1) / 2).context("no request paid")?;
    let patterns = summary.get("patterns").and_then(Value::as_array).context("no pattern")?;
    let [one] = patterns.as_slice() else { anyhow::bail!("{} patterns", patterns.len()) };
    let number = |key: &str| one.get(key).and_then(Value::as_u64).unwrap_or(0);
    let name = one.get("name").and_then(Value::as_str);
    anyhow::ensure!(name == Some(known), "it is called {name:?}");
    anyhow::ensure!(
        (number("paid"), number("requests")) == (paid.len() as u64, requests),
        "{} of {requests} requests paid",
        paid.len()
    );
    anyhow::ensure!(
        number("median_ns").abs_diff(median_ns) <= ALLOWANCE_NS,
        "the median was {median_ns}"
    );
    let sentence = format!("{words}: {} of {requests} requests paid, ", paid.len());
    anyhow::ensure!(flat(text).contains(&sentence), "the text does not say: {sentence}");
    Ok(())
}

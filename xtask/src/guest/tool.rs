//! The tcptrace under test: started as a child, stopped by SIGINT, its JSON read.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, de::DeserializeOwned};

use super::sys::{checked, now_ns};
use crate::oracle::{Reported, ReportedClose, Writer};

/// The words its banner on stderr begins with once all probes are attached.
const READY: [&str; 2] = ["watching", "recording"];
/// Attaching takes a second or two in an emulator, and so does the end.
const PATIENCE: Duration = Duration::from_mins(4);

/// So many start side by side; each reads the kernel's types into memory.
const AT_A_TIME: usize = 6;

/// What [`runs_skipped`] gives next.
static SKIPPED: AtomicU64 = AtomicU64::new(0);

/// Runs of probes that the kernel skipped, by the summaries of every tcptrace that ended since this was last asked.
pub(crate) fn runs_skipped() -> u64 {
    SKIPPED.swap(0, Ordering::Relaxed)
}

/// A running tcptrace.
#[derive(Debug)]
pub(crate) struct Tool {
    child: Child,
    /// What it printed, and when the last of it came.
    stdout: Option<JoinHandle<(String, u64)>>,
    stderr: Receiver<String>,
}

/// A finding and the connection it is about, as far as tcptrace knows that.
#[derive(Debug)]
pub(crate) struct Found<T = Reported> {
    /// Number of the network namespace.
    pub(crate) netns: Option<u64>,
    /// Own end.
    pub(crate) local: Option<SocketAddr>,
    /// Other end.
    pub(crate) remote: Option<SocketAddr>,
    /// The finding.
    pub(crate) what: T,
}

impl Tool {
    /// Starts one with each of these arguments, some at a time, and waits for their banners: most of what attaching takes is
    /// the kernel's waiting, which they share.
    pub(crate) fn start_all(
        program: &Path,
        arguments: &[Vec<String>],
    ) -> anyhow::Result<Vec<Self>> {
        let mut tools = Vec::new();
        for some in arguments.chunks(AT_A_TIME) {
            let mut started = some
                .iter()
                .map(|words| Self::spawn(program, words, false))
                .collect::<anyhow::Result<Vec<_>>>()?;
            started.iter_mut().try_for_each(Self::wait_ready)?;
            tools.append(&mut started);
        }
        Ok(tools)
    }

    /// Starts it and waits for its banner. With `echo` its text goes to the console instead of being kept.
    pub(crate) fn start(program: &Path, arguments: &[String], echo: bool) -> anyhow::Result<Self> {
        let mut tool = Self::spawn(program, arguments, echo)?;
        tool.wait_ready()?;
        Ok(tool)
    }

    fn spawn(program: &Path, arguments: &[String], echo: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn_any(command, echo)
    }

    /// Starts any program that ends by SIGINT, and does not wait for anything.
    pub(crate) fn spawn_any(mut command: Command, echo: bool) -> anyhow::Result<Self> {
        let stdout = if echo { Stdio::inherit() } else { Stdio::piped() };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let stdout = child.stdout.take().map(|mut pipe| {
            thread::spawn(move || {
                let (mut text, mut last_ns, mut few) = (Vec::new(), 0, [0; 4096]);
                // What was read before an error is kept and judged.
                while let Ok(many @ 1..) = pipe.read(&mut few) {
                    text.extend_from_slice(few.get(..many).unwrap_or_default());
                    last_ns = now_ns();
                }
                (String::from_utf8_lossy(&text).into_owned(), last_ns)
            })
        });
        let pipe = child.stderr.take().context("no stderr")?;
        let (lines, stderr) = channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if echo {
                    eprintln!("{line}");
                }
                if lines.send(line).is_err() && !echo {
                    return;
                }
            }
        });
        Ok(Self { child, stdout, stderr })
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let mut said = Vec::new();
        loop {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) if READY.iter().any(|ready| line.starts_with(ready)) => return Ok(()),
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    self.child.kill().context("kill a tcptrace that does not get ready")?;
                    anyhow::bail!("tcptrace did not get ready: {}", said.join(" / "));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    anyhow::bail!("tcptrace ended with {status}: {}", said.join(" / "));
                }
            }
        }
    }

    /// Waits until it ends by itself; gives back what [`Self::stop`] does.
    pub(crate) fn ended(self) -> anyhow::Result<(String, Vec<String>)> {
        self.all().map(|(text, _, said)| (text, said))
    }

    /// Stops it; gives back when the last of what it printed on stdout came, which may have been nothing, and what it said on
    /// stderr since its banner.
    pub(crate) fn stop_and_time(self) -> anyhow::Result<(Option<u64>, Vec<String>)> {
        self.interrupt()?;
        self.all().map(|(text, last_ns, said)| ((!text.is_empty()).then_some(last_ns), said))
    }

    fn all(mut self) -> anyhow::Result<(String, u64, Vec<String>)> {
        let status = self.child.wait().context("wait for tcptrace")?;
        let (text, last_ns) =
            self.stdout.take().map(|reader| reader.join().unwrap_or_default()).unwrap_or_default();
        SKIPPED.fetch_add(skipped(&text), Ordering::Relaxed);
        let mut said: Vec<String> = self.stderr.iter().collect();
        if !status.success() {
            said.push(format!("tcptrace ended with {status}"));
        }
        Ok((text, last_ns, said))
    }

    /// Stops it and gives back what it printed on stdout, and what it said on stderr since its banner.
    pub(crate) fn stop(self) -> anyhow::Result<(String, Vec<String>)> {
        self.interrupt()?;
        self.ended()
    }

    /// As [`Self::stop`], of several at once.
    pub(crate) fn stop_all(tools: Vec<Self>) -> anyhow::Result<Vec<(String, Vec<String>)>> {
        tools.iter().try_for_each(Self::interrupt)?;
        tools.into_iter().map(Self::ended).collect()
    }

    fn interrupt(&self) -> anyhow::Result<()> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: kill() takes two numbers, and the child is not reaped yet.
        checked(i64::from(unsafe { libc::kill(pid, libc::SIGINT) }))
            .context("interrupt tcptrace")
            .map(drop)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without letting it say anything more.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("kill tcptrace")?;
        self.ended().map(drop)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait().context("look for the end of tcptrace")?.is_some())
    }
}

#[derive(Debug, Deserialize)]
struct HoldLine {
    monotonic_ns: u64,
    socket: SocketLine,
    bytes: u64,
    held_ns: u64,
    causes: Vec<CauseLine>,
    release: String,
    #[serde(default)]
    tail: bool,
    way: Option<String>,
    process: Option<ProcessLine>,
    peer_ack: Option<String>,
    peer_ack_certainty: Option<String>,
    certainty: String,
}

#[derive(Debug, Deserialize)]
struct ProcessLine {
    pid: u32,
}

#[derive(Debug, Deserialize)]
struct CloseLine {
    socket: SocketLine,
    #[serde(flatten)]
    close: ReportedClose,
}

#[derive(Debug, Deserialize)]
struct SocketLine {
    netns: Option<u64>,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

#[derive(Debug, Deserialize)]
struct CauseLine {
    cause: String,
}

/// The last line of its JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct SummaryLine {
    /// By kernel function.
    pub(crate) events_lost: BTreeMap<String, u64>,
    /// Absent where the kernel does not count them.
    probe_misses: Option<BTreeMap<String, u64>>,
    /// Events received.
    #[serde(default)]
    pub(crate) events: u64,
    /// Findings that were counted and not printed.
    #[serde(default)]
    pub(crate) below_limit: u64,
    /// Write calls, where it has counted them.
    pub(crate) writes: Option<u64>,
    /// All holds, of `nagle`.
    pub(crate) holds: Option<u64>,
    /// All closes, of `close`.
    pub(crate) closes: Option<u64>,
}

impl SummaryLine {
    /// Of all functions.
    pub(crate) fn lost(&self) -> u64 {
        self.events_lost.values().sum()
    }

    /// Runs of probes that the kernel skipped.
    pub(crate) fn missed(&self) -> u64 {
        self.probe_misses.iter().flat_map(BTreeMap::values).sum()
    }
}

/// The summary, which is the last line of its JSON.
pub(crate) fn summary(text: &str) -> anyhow::Result<SummaryLine> {
    let last = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("no summary: {last}"))
}

/// What its JSON says.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The holds.
    pub(crate) found: Vec<Found>,
    /// The teardowns.
    pub(crate) closes: Vec<Found<ReportedClose>>,
    /// How many gaps it noted.
    pub(crate) gaps: u32,
    /// Lost events, of the summary.
    pub(crate) events_lost: u64,
    /// Runs of probes that the kernel skipped, of the summary; `None` where it does not count them.
    pub(crate) misses: Option<u64>,
    /// One for each line that is not as documented.
    pub(crate) complaints: Vec<String>,
}

/// Runs that the kernel skipped, by the last line of its JSON; of text none are known.
fn skipped(text: &str) -> u64 {
    summary(text).map_or(0, |it| it.missed())
}

/// The findings of a type in its JSON, and the counters that its summary compares; fails where events were lost.
pub(crate) fn findings<F: DeserializeOwned, C: DeserializeOwned>(
    text: &str,
    kind: &str,
) -> anyhow::Result<(Vec<F>, Vec<C>)> {
    let (mut found, mut counters) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        match value.get("type").and_then(serde_json::Value::as_str) {
            Some(own) if own == kind => {
                found.push(serde_json::from_value(value).context("a finding")?);
            }
            Some("gap") => anyhow::bail!("events were lost: {line}"),
            Some("summary") => {
                if let Some(told) = value.get("counters") {
                    counters = serde_json::from_value(told.clone()).context("counters")?;
                }
            }
            _ => {}
        }
    }
    Ok((found, counters))
}

/// Reads its JSON.
pub(crate) fn parse(text: &str) -> Said {
    let mut said = Said::default();
    let mut summaries = 0;
    for line in text.lines() {
        let kind = serde_json::from_str::<serde_json::Value>(line)
            .ok()
            .and_then(|value| value.get("type").and_then(|kind| kind.as_str().map(str::to_owned)));
        match kind.as_deref() {
            Some("hold") => match serde_json::from_str::<HoldLine>(line) {
                Ok(hold) => said.found.push(hold.into()),
                Err(error) => said.complaints.push(format!("{error} in {line}")),
            },
            Some("close") => match serde_json::from_str::<CloseLine>(line) {
                Ok(CloseLine { socket, close }) => {
                    let SocketLine { netns, local, remote } = socket;
                    said.closes.push(Found { netns, local, remote, what: close });
                }
                Err(error) => said.complaints.push(format!("{error} in {line}")),
            },
            Some("gap") => said.gaps += 1,
            Some("summary") => match serde_json::from_str::<SummaryLine>(line) {
                Ok(summary) => {
                    summaries += 1;
                    for close in &mut said.closes {
                        close.what.uncounted = summary.probe_misses.is_none();
                    }
                    said.events_lost += summary.events_lost.values().sum::<u64>();
                    said.misses = summary.probe_misses.map(|all| all.values().sum());
                }
                Err(error) => said.complaints.push(format!("{error} in {line}")),
            },
            Some(_) => {}
            None => said.complaints.push(format!("no JSON object with a type: {line}")),
        }
    }
    if summaries != 1 {
        said.complaints.push(format!("{summaries} summary lines"));
    }
    said
}

impl From<HoldLine> for Found {
    fn from(line: HoldLine) -> Self {
        let hold = Reported {
            start_ns: line.monotonic_ns,
            held_ns: line.held_ns,
            bytes: line.bytes,
            causes: line.causes.into_iter().map(|cause| cause.cause).collect(),
            release: line.release,
            tail: line.tail,
            way: line.way,
            writer: match line.process.map(|process| process.pid) {
                None => Writer::Nobody,
                // The stories are played by threads of this process.
                Some(pid) if pid == std::process::id() => Writer::Program,
                Some(_) => Writer::Other,
            },
            peer_ack: line.peer_ack.zip(line.peer_ack_certainty),
            certain: line.certainty == "seen",
        };
        Self {
            netns: line.socket.netns,
            local: line.socket.local,
            remote: line.socket.remote,
            what: hold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, skipped};

    const HOLD: &str = r#"{"type":"hold","time":"2026-11-22T14:03:07.412031000Z","monotonic_ns":77,"socket":{"id":1,"netns":4026531840,"local":"[2001:db8::10]:8080","remote":"[2001:db8::77]:40112"},"process":{"pid":2211,"tid":2211,"comm":"server"},"bytes":8,"written_bytes":8,"held_ns":226930000,"causes":[{"cause":"cork","held_ns":226930000}],"release":"probe_timer","certainty":"seen","evidence":[],"text":"..."}"#;
    const GAP: &str = r#"{"type":"gap","hook":"tcp_push","events":7}"#;
    const SUMMARY: &str = r#"{"type":"summary","holds":1,"events_lost":{"tcp_push":7}}"#;

    #[test]
    fn what_the_kernel_skipped_is_read() {
        let summary =
            r#"{"type":"summary","events_lost":{},"probe_misses":{"tcp_push":2,"tcp_fin":1}}"#;
        assert_eq!(skipped(&format!("{HOLD}\n{summary}\n")), 3);
        assert_eq!(skipped(SUMMARY), 0);
        assert_eq!(skipped("a person's text"), 0);
    }

    #[test]
    fn holds_are_read() {
        let said = parse(&format!("{{\"type\":\"start\"}}\n{HOLD}\n{GAP}\n{SUMMARY}\n"));
        assert_eq!(said.complaints, Vec::<String>::new());
        assert_eq!((said.gaps, said.events_lost), (1, 7));
        let hold = &said.found.first().unwrap().what;
        assert_eq!(
            (hold.start_ns, hold.bytes, hold.causes.as_slice(), hold.tail, hold.certain),
            (77, 8, &["cork".to_owned()][..], false, true)
        );
    }

    #[test]
    fn what_is_not_as_documented_is_named() {
        let said = parse("oops\n{\"type\":\"hold\"}\n{\"type\":\"summary\"}\n");
        assert_eq!((said.found.len(), said.complaints.len()), (0, 4));
    }
}

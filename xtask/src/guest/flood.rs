//! `guest flood`: every processor busy with small writes under the full timeline. What happened is counted here and by the
//! kernel; the command must have reported it or told it to be lost, and in the right place.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Barrier,
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Deserialize;

use super::{
    process::memory,
    sys::{now_ns, sleep_until},
    tool::{SummaryLine, Tool, summary},
    turns::WATCHED,
};
use crate::report::{FIGURE, Flooded, FloodedHook};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// A command with its flags; can be given more than once
    #[arg(long)]
    words: Vec<String>,
    /// Threads, each with a connection of its own
    #[arg(long)]
    threads: u32,
    /// Exchanges of each
    #[arg(long, default_value_t = 10_000)]
    ops: u32,
}

/// The command takes what lies in the ring buffer meanwhile, and the last ACKs come.
const SETTLE_NS: u64 = 3_000_000_000;

const DAY_NS: i64 = 86_400_000_000_000;

/// Runs each and prints one line for it.
pub(crate) fn task(args: &Args) -> Result<()> {
    for words in &args.words {
        println!("{FIGURE}{}", serde_json::to_string(&measured(args, words)?)?);
    }
    Ok(())
}

/// An end of a connection: whether it is the listener's, and the client's port.
type End = (bool, u16);
/// Start and end of each write, nanoseconds.
type Writes = Vec<(u64, u64)>;

fn measured(args: &Args, words: &str) -> Result<Flooded> {
    let pairs = (0..args.threads).map(|_| Pair::new()).collect::<Result<Vec<_>>>()?;
    let all: Vec<String> = words.split_whitespace().chain(["--json"]).map(str::to_owned).collect();
    let tool = Tool::start(&args.tcptrace, &all, false)?;
    let segments = segments_in()?;
    let from_ns = now_ns();
    let made = busy(pairs, args.ops)?;
    let busy_ns = now_ns() - from_ns;
    sleep_until(now_ns() + SETTLE_NS);
    let segments = segments_in()? - segments;
    let peak_kib = memory(tool.pid())?.1;
    let (text, _) = tool.stop()?;
    let made: BTreeMap<End, Writes> =
        made.into_iter().map(|(end, writes, _)| (end, writes)).collect();
    let writes = made.values().map(|writes| writes.len() as u64).sum();
    let told = Told::of(&text)?;
    let mut figure = Flooded {
        words: words.to_owned(),
        cpus: args.threads,
        busy_ns,
        hooks: told.hooks(writes, segments),
        received: told.summary.events,
        lost: told.summary.lost() + told.summary.missed(),
        peak_kib,
        ..Flooded::default()
    };
    for hook in figure.hooks.iter().filter(|it| it.reported + it.lost != it.happened) {
        figure.wrong.push(format!(
            "{}: {} reported and {} lost of {}",
            hook.hook, hook.reported, hook.lost, hook.happened
        ));
    }
    let in_gaps: u64 = told.lost.values().sum();
    if in_gaps != figure.lost {
        figure.wrong.push(format!("{in_gaps} are lost in the gaps, {} in all", figure.lost));
    }
    let (outside, missing) = told.outside_gaps(&made);
    figure.outside_gaps = outside;
    if missing > 0 {
        figure.wrong.push(format!("{missing} writes outside of all gaps are not reported"));
    }
    Ok(figure)
}

/// Both ends of a connection without Nagle.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, WATCHED)).context("listen")?;
        let client = TcpStream::connect(listener.local_addr()?).context("connect")?;
        let (server, _) = listener.accept().context("accept")?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok(Self { client, server })
    }

    /// 1 B each way, again and again.
    fn exchange(&self, ops: u32) -> Result<(Writes, Writes)> {
        let (mut client, mut server) = (Writes::new(), Writes::new());
        for _ in 0..ops {
            let both = [
                (&self.client, &self.server, &mut client),
                (&self.server, &self.client, &mut server),
            ];
            for (mut from, mut to, writes) in both {
                let start_ns = now_ns();
                from.write_all(&[0])?;
                writes.push((start_ns, now_ns()));
                to.read_exact(&mut [0])?;
            }
        }
        Ok((client, server))
    }
}

/// Every pair in a thread of its own, all at once. The sockets come back too: their ends would be events.
fn busy(pairs: Vec<Pair>, ops: u32) -> Result<Vec<(End, Writes, TcpStream)>> {
    let barrier = Barrier::new(pairs.len());
    let ended: Vec<Result<_>> = thread::scope(|scope| {
        let run = |pair: Pair| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                let (client, server) = pair.exchange(ops)?;
                let port = pair.client.local_addr()?.port();
                Ok([((false, port), client, pair.client), ((true, port), server, pair.server)])
            })
        };
        let threads: Vec<_> = pairs.into_iter().map(run).collect();
        let join = |one: thread::ScopedJoinHandle<'_, Result<_>>| {
            one.join().unwrap_or_else(|_panic| Err(anyhow!("a thread panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    Ok(ended.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Segments that this namespace has received, by the kernel's own counter.
fn segments_in() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both.find(|(name, _)| *name == "InSegs").context("no InSegs")?;
    Ok(value.parse()?)
}

#[derive(Debug, Deserialize)]
struct StretchLine {
    time: String,
    monotonic_ns: u64,
    socket: Ends,
    evidence: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
}

#[derive(Debug, Deserialize)]
struct Line {
    /// From the start of the stretch; a loss may be told after that of which it was the cause.
    at_ns: i64,
    event: String,
    /// Of a write whose return was seen.
    returned: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct GapLine {
    hook: String,
    events: u64,
    from: String,
    to: String,
}

/// What the command has told.
struct Told {
    /// Lines by what they tell of.
    lines: BTreeMap<&'static str, u64>,
    /// When the pushes of each end were.
    pushes: BTreeMap<End, Vec<u64>>,
    /// What is lost in the gaps, by function.
    lost: BTreeMap<String, u64>,
    /// The gaps in which pushes are lost: from, to, nanoseconds on `CLOCK_MONOTONIC`.
    gaps: Vec<(u64, u64)>,
    summary: SummaryLine,
}

/// The functions whose calls are counted, by the lines that stand for them.
const HOOKS: [(&str, &str); 5] = [
    ("tcp_sendmsg_locked", "write_returned"),
    ("tcp_push", "push"),
    ("tcp_write_xmit", "attempt"),
    ("tcp_event_new_data_sent", "left"),
    ("tcp_rcv_established", "segment_in"),
];

impl Told {
    fn of(text: &str) -> Result<Self> {
        let mut told = Self {
            lines: BTreeMap::new(),
            pushes: BTreeMap::new(),
            lost: BTreeMap::new(),
            gaps: Vec::new(),
            summary: summary(text)?,
        };
        let mut gaps: Vec<GapLine> = Vec::new();
        // Wall clock minus monotonic clock; a guest's clock is set by nobody.
        let mut offset_ns = None;
        for line in text.lines() {
            if line.starts_with(r#"{"type":"stretch""#) {
                let stretch: StretchLine = serde_json::from_str(line).context("a stretch")?;
                let wall_ns = wall_ns(&stretch.time)?.cast_signed();
                offset_ns = offset_ns.or(Some(wall_ns - stretch.monotonic_ns.cast_signed()));
                told.stretch(&stretch);
            } else if line.starts_with(r#"{"type":"gap""#) {
                gaps.push(serde_json::from_str(line).context("a gap")?);
            }
        }
        let offset_ns = offset_ns.context("no stretch was told")?;
        for gap in gaps {
            let at = |time: &str| {
                let since = wall_ns(time)?.cast_signed() - offset_ns;
                Ok::<_, anyhow::Error>(since.rem_euclid(DAY_NS).cast_unsigned())
            };
            if gap.hook == "tcp_push" {
                told.gaps.push((at(&gap.from)?, at(&gap.to)?));
            }
            *told.lost.entry(gap.hook).or_default() += gap.events;
        }
        told.pushes.values_mut().for_each(|times| times.sort_unstable());
        Ok(told)
    }

    fn stretch(&mut self, stretch: &StretchLine) {
        let Ends { local, remote } = stretch.socket;
        let end =
            if local.port() == WATCHED { (true, remote.port()) } else { (false, local.port()) };
        for line in &stretch.evidence {
            let is_return = line.event == "write" && line.returned.is_some();
            let event = if is_return { "write_returned" } else { line.event.as_str() };
            if let Some((_, event)) = HOOKS.iter().find(|(_, of)| *of == event) {
                *self.lines.entry(event).or_default() += 1;
            }
            if event == "push" {
                let at_ns = stretch.monotonic_ns.saturating_add_signed(line.at_ns);
                self.pushes.entry(end).or_default().push(at_ns);
            }
        }
    }

    /// Each write is one call of each function of the sending side.
    fn hooks(&self, writes: u64, segments: u64) -> Vec<FloodedHook> {
        let of = |(hook, event): &(&str, &str)| FloodedHook {
            hook: (*hook).to_owned(),
            happened: if *event == "segment_in" { segments } else { writes },
            reported: self.lines.get(event).copied().unwrap_or(0),
            lost: self.lost.get(*hook).copied().unwrap_or(0),
        };
        HOOKS.iter().map(of).collect()
    }

    /// Writes outside of all gaps, and those of them without a push at their time.
    fn outside_gaps(&self, made: &BTreeMap<End, Writes>) -> (u64, u64) {
        let (mut outside, mut missing) = (0, 0);
        for (end, writes) in made {
            let pushes = self.pushes.get(end).map_or(&[][..], Vec::as_slice);
            for (start, stop) in writes {
                if self.gaps.iter().any(|(from, to)| start <= to && from <= stop) {
                    continue;
                }
                outside += 1;
                let next = pushes.partition_point(|at| at < start);
                missing += u64::from(pushes.get(next).is_none_or(|at| at > stop));
            }
        }
        (outside, missing)
    }
}

/// Nanoseconds since midnight of an RFC 3339 time: no guest lives for a day.
fn wall_ns(time: &str) -> Result<u64> {
    let read = || {
        let (_, clock) = time.trim_end_matches('Z').split_once('T')?;
        let mut parts = clock.split(':');
        let mut next = || parts.next();
        let (hours, minutes, seconds) = (next()?, next()?, next()?);
        let (seconds, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let of = |text: &str| text.parse::<u64>().ok();
        let seconds = (of(hours)? * 60 + of(minutes)?) * 60 + of(seconds)?;
        Some(seconds * 1_000_000_000 + of(&format!("{part:0<9}"))?)
    };
    let ns = read().with_context(|| format!("no time: {time}"))?;
    ensure!(ns > 0, "no time of a guest: {time}");
    Ok(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(lines: &str) -> String {
        format!(
            r#"{{"type":"stretch","time":"2026-01-01T00:00:10.000000500Z","monotonic_ns":500,"socket":{{"local":"127.0.0.1:8080","remote":"127.0.0.1:40000"}},"evidence":[{lines}]}}"#
        )
    }

    const GAP: &str = r#"{"type":"gap","hook":"tcp_push","events":1,"from":"2026-01-01T00:00:10.000002Z","to":"2026-01-01T00:00:10.000003Z"}"#;
    const SUMMARY: &str = r#"{"type":"summary","events":3,"events_lost":{"tcp_push":1}}"#;

    fn told(lines: &str) -> Told {
        Told::of(&format!("{}\n{GAP}\n{SUMMARY}\n", stretch(lines))).unwrap()
    }

    #[test]
    fn what_is_reported_and_lost_is_compared_with_what_happened() {
        let lines = r#"{"at_ns":0,"event":"write","returned":1},{"at_ns":1,"event":"push"},{"at_ns":2,"event":"write"}"#;
        let hooks = told(lines).hooks(2, 0);
        let of = |name: &str| hooks.iter().find(|it| it.hook == name).unwrap().clone();
        let push = of("tcp_push");
        assert_eq!((push.happened, push.reported, push.lost), (2, 1, 1));
        let call = of("tcp_sendmsg_locked");
        assert_eq!((call.happened, call.reported, call.lost), (2, 1, 0));
    }

    #[test]
    fn a_write_that_is_missing_counts_only_outside_of_the_gaps() {
        let told = told(r#"{"at_ns":100,"event":"push"}"#);
        let made = |writes: &[(u64, u64)]| BTreeMap::from([((true, 40_000), writes.to_vec())]);
        assert_eq!(told.outside_gaps(&made(&[(590, 610), (2_500, 2_600)])), (1, 0));
        assert_eq!(told.outside_gaps(&made(&[(590, 610), (700, 800)])), (2, 1));
    }

    #[test]
    fn times_are_read() {
        assert_eq!(wall_ns("2026-01-01T01:01:01.5Z").unwrap(), 3_661_500_000_000);
        assert!(wall_ns("yesterday").is_err());
    }
}

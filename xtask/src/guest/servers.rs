//! Real servers as people run them, with real clients: what tcptrace says of each must agree with the wire.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    capture::Capture,
    sys::{now_ns, sleep_until},
    tool::{Found, Tool, parse},
    tree::{PATIENCE_NS, PYTHON, Servers, within},
};
use crate::{debian::ROOT, oracle::Segment, report::Outcome};

/// The row of the table.
pub(crate) const NAME: &str = "servers";
/// Times of one thing by two witnesses.
const ALLOWANCE_NS: u64 = 1_000_000;
/// What a person feels, and no kernel needs for a write.
const SLOW_NS: u64 = 5_000_000;

/// A file of the tree.
const FILES: [(&str, &str); 6] = [
    ("server.py", include_str!("programs/server.py")),
    ("split.py", include_str!("programs/split.py")),
    ("whole.py", include_str!("programs/whole.py")),
    ("get.py", include_str!("programs/get.py")),
    ("pipeline.py", include_str!("programs/pipeline.py")),
    ("nginx.conf", include_str!("programs/nginx.conf")),
];
/// Sizes of the files that nginx has, which are their names.
const PAGES: [usize; 3] = [1, 1000, 100_000];

const HTTP: u16 = 8080;
const NGINX: u16 = 8081;
const REDIS: u16 = 6379;

/// A client, the port of its server, and what must be true of what was found.
struct Case {
    name: &'static str,
    port: u16,
    client: &'static [&'static str],
    judge: fn(&Wire, &[Found]) -> Vec<String>,
}

const CASES: [Case; 5] = [
    Case { name: "split", port: HTTP, client: &[PYTHON, "/root/split.py"], judge: split },
    Case { name: "whole", port: HTTP, client: &[PYTHON, "/root/whole.py"], judge: innocent },
    Case { name: "nginx", port: NGINX, client: &[PYTHON, "/root/get.py"], judge: nopush },
    Case { name: "pipeline", port: REDIS, client: &[PYTHON, "/root/pipeline.py"], judge: pipeline },
    Case {
        name: "benchmark",
        port: REDIS,
        client: &[
            "/usr/bin/redis-benchmark",
            "-P",
            "16",
            "-n",
            "500",
            "-c",
            "1",
            "-t",
            "set",
            "-q",
        ],
        judge: innocent,
    },
];

/// Starts the servers and plays every case in front of a tcptrace of its own.
pub(crate) fn outcome(tcptrace: &Path, offset_ns: u64) -> Outcome {
    let mut outcome = Outcome {
        scenario: NAME.to_owned(),
        family: "4".to_owned(),
        form: "auto".to_owned(),
        ..Outcome::default()
    };
    match started() {
        Err(error) => outcome.broken.push(format!("{error:#}")),
        Ok(_servers) => {
            for case in &CASES {
                match played(case, tcptrace, offset_ns) {
                    Err(error) => outcome.broken.push(format!("{}: {error:#}", case.name)),
                    Ok(wrong) => {
                        outcome.broken.extend(wrong.iter().map(|w| format!("{}: {w}", case.name)));
                    }
                }
            }
        }
    }
    outcome
}

/// The servers, and the pages of one of them.
fn started() -> anyhow::Result<Servers> {
    let servers: [&[&str]; 3] = [
        &[PYTHON, "/root/server.py"],
        &["/usr/sbin/nginx", "-c", "/root/nginx.conf"],
        &["/usr/bin/redis-server", "--save", ""],
    ];
    let started = Servers::start(&FILES, &servers, &[HTTP, NGINX, REDIS])?;
    for bytes in PAGES {
        fs::write(Path::new(ROOT).join("root/www").join(bytes.to_string()), vec![b'x'; bytes])?;
    }
    Ok(started)
}

fn played(case: &Case, tcptrace: &Path, offset_ns: u64) -> anyhow::Result<Vec<String>> {
    let capture = Capture::start("lo", offset_ns)?;
    let (port, file) = (case.port.to_string(), format!("/tmp/{}.tcptrace", case.name));
    let words = ["nagle", "--json", "--min-hold", "0", "--port", &port, "-w", &file, "--force"];
    let tool = Tool::start(tcptrace, &words.map(str::to_owned), false)?;
    let mut client = within(case.client).stdout(Stdio::null()).spawn()?;
    let until_ns = now_ns() + PATIENCE_NS;
    let status = loop {
        if let Some(status) = client.try_wait()? {
            break status;
        }
        if now_ns() > until_ns {
            client.kill()?;
            break client.wait()?;
        }
        thread::sleep(Duration::from_millis(20));
    };
    sleep_until(now_ns() + 100_000_000);
    let (text, _) = tool.stop()?;
    // What a person sees is shown on the console, for the worked examples.
    let shown = Command::new(tcptrace).args(["nagle", "-r", &file]).output()?;
    println!("--- {}: {:?}\n{}", case.name, case.client, String::from_utf8_lossy(&shown.stdout));
    let mut said = parse(&text);
    let mut wrong = std::mem::take(&mut said.complaints);
    if !status.success() {
        wrong.push(format!("the client ended with {status}"));
    }
    if said.gaps > 0 {
        wrong.push("events were lost".to_owned());
    }
    let wire = Wire::of(capture.drain()?, case.port);
    wrong.extend(each_left(&wire, &said.found));
    wrong.extend((case.judge)(&wire, &said.found));
    Ok(wrong)
}

/// The segments with data of both directions, each once, in the order of the wire.
struct Wire {
    requests: Vec<Segment>,
    answers: Vec<Segment>,
    /// What the server sent without data.
    pure: Vec<Segment>,
}

impl Wire {
    fn of(segments: Vec<Segment>, port: u16) -> Self {
        // A loopback device shows each segment as it goes and as it comes.
        let (mut requests, mut answers, mut pure) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments.into_iter().filter(|segment| segment.outgoing) {
            match (segment.dport == port, segment.sport == port, segment.bytes > 0) {
                (true, _, true) => requests.push(segment),
                (_, true, true) => answers.push(segment),
                (_, true, false) if segment.acks && !segment.syn => pure.push(segment),
                _ => {}
            }
        }
        Self { requests, answers, pure }
    }

    fn data(&self) -> impl Iterator<Item = &Segment> {
        self.requests.iter().chain(&self.answers)
    }
}

fn ended_ns(found: &Found) -> u64 {
    found.what.start_ns + found.what.held_ns
}

/// Whether the hold's bytes are what this segment carried, or a part of it, and left with it.
fn left_with(found: &Found, segment: &Segment) -> bool {
    let from = found.local.is_some_and(|local| local.port() == segment.sport);
    from && ended_ns(found).abs_diff(segment.at_ns) <= ALLOWANCE_NS
}

/// Every hold ends with a segment of its socket on the wire.
fn each_left(wire: &Wire, found: &[Found]) -> Vec<String> {
    let without = found.iter().filter(|one| !wire.data().any(|segment| left_with(one, segment)));
    without.map(|one| format!("no segment left when {one:?} ended")).collect()
}

/// Whoever sets `TCP_NODELAY`, or writes a message with one call, pays nothing.
fn innocent(wire: &Wire, found: &[Found]) -> Vec<String> {
    let mut wrong: Vec<String> =
        found.iter().map(|one| format!("a hold of an innocent program: {one:?}")).collect();
    if wire.requests.len() < 20 {
        wrong.push(format!("{} segments with data", wire.requests.len()));
    }
    wrong
}

/// Header and body in two writes: each body waits for the ACK of its header, as long as the receiver delays it.
fn split(wire: &Wire, found: &[Found]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut paid = 0;
    for pair in wire.requests.windows(2) {
        let [header, body] = pair else { continue };
        let gap_ns = body.at_ns.saturating_sub(header.at_ns);
        if body.bytes != 300 || gap_ns < SLOW_NS {
            continue;
        }
        paid += 1;
        let end = header.seq.wrapping_add(header.bytes);
        let acked = wire
            .pure
            .iter()
            .any(|ack| ack.ack == end && body.at_ns.saturating_sub(ack.at_ns) <= ALLOWANCE_NS);
        let told = found.iter().any(|one| {
            let hold = &one.what;
            left_with(one, body)
                && hold.bytes == 300
                && hold.causes == ["nagle"]
                && hold.release == "ack"
                && hold.certain
                && (gap_ns.saturating_sub(SLOW_NS)..gap_ns + ALLOWANCE_NS).contains(&hold.held_ns)
        });
        if !acked || !told {
            wrong.push(format!("body after {gap_ns} ns: ACK of its header {acked}, told {told}"));
        }
    }
    let slow = found.iter().filter(|one| one.what.held_ns >= SLOW_NS).count();
    if paid < 10 || slow != paid {
        wrong.push(format!("{paid} bodies waited on the wire, {slow} were told"));
    }
    wrong
}

/// nginx with `tcp_nopush` and `sendfile`: the header waits under cork for the file, and nothing waits for the peer.
fn nopush(wire: &Wire, found: &[Found]) -> Vec<String> {
    let mut wrong = Vec::new();
    for one in found {
        let cause = one.what.causes.iter().all(|cause| cause == "cork" || cause == "peer_window");
        if !cause || one.what.held_ns >= SLOW_NS {
            wrong.push(format!("not of a cork that is let go at once: {one:?}"));
        }
    }
    let many = wire.requests.len();
    let corked = found.iter().filter(|one| one.what.causes.contains(&"cork".to_owned())).count();
    if many != 15 || corked < many {
        wrong.push(format!("{many} requests, {corked} holds under cork"));
    }
    wrong
}

/// Commands written one by one: those that found an answer outstanding left together with it, and no other waited.
fn pipeline(wire: &Wire, found: &[Found]) -> Vec<String> {
    let mut wrong = Vec::new();
    let command = wire.requests.iter().map(|segment| segment.bytes).min().unwrap_or(0);
    let gathered = wire.requests.iter().filter(|segment| segment.bytes > command).count();
    for one in found {
        let gathers = |segment: &Segment| segment.bytes > command && left_with(one, segment);
        let after_an_ack = one.what.causes == ["nagle"] && one.what.release == "ack";
        if !after_an_ack || !wire.requests.iter().any(gathers) && one.what.bytes > command.into() {
            wrong.push(format!("not of commands that wait for an answer: {one:?}"));
        }
    }
    let sent: u32 = wire.requests.iter().map(|segment| segment.bytes).sum();
    if sent != command * 100 || found.len() < gathered {
        wrong.push(format!(
            "{sent} B in commands of {command} B, {gathered} gathered, {} told",
            found.len()
        ));
    }
    wrong
}

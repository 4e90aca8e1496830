//! Real servers that defer, as people run them, with a client that speaks, one that never does, and a health check: what tcptrace
//! says must agree with the kernel's counters and with when the client did what.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
    thread::sleep,
    time::Duration,
};

use serde::Deserialize;

use super::{
    said::{Counter, Process, disagreeing},
    sys::{now_ns, sleep_until},
    tool::{Tool, findings},
    tree::{Servers, within},
};
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "deferrers";

/// Files of the tree.
const FILES: [(&str, &str); 3] = [
    ("deferrers.conf", include_str!("programs/deferrers.conf")),
    ("deferrers.cfg", include_str!("programs/deferrers.cfg")),
    ("www/page", "a page\n"),
];

const NGINX: u16 = 8096;
const HAPROXY: u16 = 8097;
/// A connection whose data does not come is told so long after its promotion.
const SETTLED_NS: u64 = 1_500_000_000;

/// What the client does.
#[derive(Clone, Copy)]
enum Client {
    /// Asks for a page.
    Curl(&'static str),
    /// Connects, says nothing and closes after so many milliseconds.
    Idle(&'static str, u64),
}

/// What is run, and what must be said.
struct Case {
    name: &'static str,
    client: Client,
    /// Thread and outcome of each connection.
    wanted: &'static [&'static str],
    /// How long each is held, milliseconds, at least and at most.
    held_ms: (u64, u64),
    /// The sentence that a person reads.
    told: &'static str,
}

const CASES: [Case; 6] = [
    Case {
        name: "curl, nginx",
        client: Client::Curl("http://127.0.0.1:8096/page"),
        wanted: &["nginx data"],
        held_ms: (0, 500),
        told: "was spared one wake-up",
    },
    Case {
        name: "curl, nginx, IPv6",
        client: Client::Curl("http://[::1]:8096/page"),
        wanted: &["nginx data"],
        held_ms: (0, 500),
        told: "was spared one wake-up",
    },
    // The story from the field: a check that connects and never speaks.
    Case {
        name: "a client that never speaks, nginx",
        client: Client::Idle("127.0.0.1:8096", 1800),
        wanted: &["nginx deadline"],
        held_ms: (960, 1500),
        told: "for a client that said nothing; then nginx[",
    },
    Case {
        name: "a client that never speaks, haproxy",
        client: Client::Idle("127.0.0.1:8097", 1800),
        wanted: &["haproxy deadline"],
        held_ms: (960, 1500),
        told: "for a client that said nothing; then haproxy[",
    },
    Case {
        name: "a health check that connects and closes, haproxy",
        client: Client::Idle("127.0.0.1:8097", 100),
        wanted: &["haproxy fin"],
        held_ms: (60, 500),
        told: "for a client that closed without a word",
    },
    Case {
        name: "curl, haproxy, nginx",
        client: Client::Curl("http://127.0.0.1:8097/page"),
        wanted: &["haproxy data", "nginx data"],
        held_ms: (0, 500),
        told: "was spared one wake-up",
    },
];

/// A finding of its JSON.
#[derive(Debug, Deserialize)]
struct Found {
    process: Option<Process>,
    side: String,
    outcome: String,
    asked_s: Option<u32>,
    held_ns: Option<u64>,
    text: String,
}

impl Found {
    fn brief(&self) -> String {
        let comm = self.process.as_ref().and_then(|process| process.comm.as_deref());
        format!("{} {}", comm.unwrap_or("-"), self.outcome)
    }
}

/// Starts the servers and plays every case in front of a tcptrace of its own.
pub(crate) fn outcome(tcptrace: &Path) -> Outcome {
    let mut outcome = Outcome {
        scenario: NAME.to_owned(),
        family: "4".to_owned(),
        form: "auto".to_owned(),
        ..Outcome::default()
    };
    match started(tcptrace) {
        Err(error) => outcome.broken.push(format!("{error:#}")),
        Ok((_servers, wrong)) => {
            outcome.broken.extend(wrong);
            for case in &CASES {
                let wrong = played(case, tcptrace, &mut outcome)
                    .unwrap_or_else(|error| vec![format!("{error:#}")]);
                outcome.broken.extend(wrong.iter().map(|w| format!("{}: {w}", case.name)));
            }
        }
    }
    outcome
}

/// Starts the servers in front of a tcptrace, which must tell how they set the option.
fn started(tcptrace: &Path) -> anyhow::Result<(Servers, Vec<String>)> {
    let words = ["defer-accept", "--json", "--min-duration", "0"];
    let tool = Tool::start(tcptrace, &words.map(str::to_owned), false)?;
    let servers: [&[&str]; 2] = [
        &["/usr/sbin/nginx", "-c", "/root/deferrers.conf"],
        &["/usr/sbin/haproxy", "-db", "-f", "/root/deferrers.cfg"],
    ];
    let servers = Servers::start(&FILES, &servers, &[NGINX, HAPROXY])?;
    sleep_until(now_ns() + SETTLED_NS);
    let (found, _) = findings::<Found, Counter>(&tool.stop()?.0, "defer")?;
    let mut set: Vec<String> = found
        .iter()
        .filter(|one| one.side == "listener")
        .map(|one| format!("{} {:?}", one.brief(), one.asked_s))
        .collect();
    set.sort_unstable();
    set.dedup();
    let mut wrong = Vec::new();
    if set != ["haproxy set Some(1)", "nginx set Some(1)"] {
        wrong.push(format!("the servers' options: {set:?}"));
    }
    Ok((servers, wrong))
}

fn played(case: &Case, tcptrace: &Path, outcome: &mut Outcome) -> anyhow::Result<Vec<String>> {
    let words = ["defer-accept", "--json", "--min-duration", "0"];
    let file = ["-w", "/tmp/deferrers.tcptrace", "--force"];
    let words: Vec<String> = words.iter().chain(&file).map(|word| (*word).to_owned()).collect();
    let tool = Tool::start(tcptrace, &words, false)?;
    match case.client {
        Client::Curl(page) => {
            let curl = ["/usr/bin/curl", "-s", page];
            let status = within(&curl).stdout(Stdio::null()).status()?;
            anyhow::ensure!(status.success(), "the client ended with {status}");
        }
        Client::Idle(at, for_ms) => {
            let at: SocketAddr = at.parse()?;
            let _client = TcpStream::connect(at)?;
            sleep(Duration::from_millis(for_ms));
        }
    }
    sleep_until(now_ns() + SETTLED_NS);
    let (text, _) = tool.stop()?;
    // What a person sees is shown on the console, for the worked examples.
    let shown = std::process::Command::new(tcptrace)
        .args(["defer-accept", "-r", "/tmp/deferrers.tcptrace"])
        .output()?;
    println!("--- {}\n{}", case.name, String::from_utf8_lossy(&shown.stdout));
    let (found, counters) = findings::<Found, Counter>(&text, "defer")?;
    outcome.tool += u32::try_from(found.len())?;
    outcome.oracle += u32::try_from(case.wanted.len() + 3)?;
    let mut wrong = Vec::new();
    let of = |server: bool| {
        let own = found.iter().filter(move |one| (one.side == "server") == server);
        let mut own: Vec<String> = own.map(Found::brief).collect();
        own.sort_unstable();
        own
    };
    if of(true) != case.wanted {
        wrong.push(format!("wanted {:?}, found {found:?}", case.wanted));
    }
    if of(false) != ["haproxy found", "nginx found", "nginx found"] {
        wrong.push(format!("the listeners are not told: {:?}", of(false)));
    }
    let (least, most) = case.held_ms;
    for one in found.iter().filter(|one| one.side == "server") {
        if !one.held_ns.is_some_and(|ns| (least..=most).contains(&(ns / 1_000_000))) {
            wrong.push(format!("not held for {least} to {most} ms: {one:?}"));
        }
    }
    if !found.iter().any(|one| one.text.contains(case.told)) {
        wrong.push(format!("the text does not say: {}", case.told));
    }
    wrong.extend(disagreeing(&counters));
    Ok(wrong)
}

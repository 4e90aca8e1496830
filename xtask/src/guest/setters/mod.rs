//! Real programs that set options, as people run them, each under strace: every call in strace's log of the very same run must
//! be told by tcptrace as the log has it, and nothing else may be told.

mod log;

use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

use anyhow::Context as _;
use serde::Deserialize;

use self::log::{Asked, Logged};
use super::{
    sys::{now_ns, sleep_until},
    tool::{Tool, findings},
    tree::{PATIENCE_NS, PYTHON, Servers, within},
};
use crate::{debian::ROOT, report::Outcome};

/// The row of the table.
pub(crate) const NAME: &str = "setters";

/// Files of the tree.
const FILES: [(&str, &str); 4] = [
    ("setters.conf", include_str!("../programs/setters.conf")),
    ("setters.cfg", include_str!("../programs/setters.cfg")),
    ("setters.py", include_str!("../programs/setters.py")),
    ("www/page", "a page\n"),
];

/// nginx, haproxy and redis.
const PORTS: [u16; 3] = [8061, 8062, 8063];

/// How strace is run: of each thread, the calls that succeed and those that fail, with the protocol of each socket and with
/// numbers for names. The programs run on at full speed between the calls.
const STRACE: [&str; 11] = [
    "/usr/bin/strace",
    "--follow-forks",
    "--seccomp-bpf",
    "--kill-on-exit",
    "--quiet=all",
    "-yy",
    "-X",
    "raw",
    "-e",
    "trace=setsockopt",
    "-o",
];

/// A program, and the `comm` of whoever sets options in it.
const SERVERS: [(&str, &[&str]); 3] = [
    ("nginx", &["/usr/sbin/nginx", "-g", "daemon off;", "-c", "/root/setters.conf"]),
    ("haproxy", &["/usr/sbin/haproxy", "-db", "-f", "/root/setters.cfg"]),
    ("redis", &["/usr/bin/redis-server", "--port", "8063", "--save", "", "--tcp-keepalive", "9"]),
];
const CLIENTS: [(&str, &[&str]); 3] = [
    ("curl", &["/usr/bin/curl", "-s", "--keepalive-time", "21", "http://127.0.0.1:8062/page"]),
    ("curl6", &["/usr/bin/curl", "-s", "--no-tcp-nodelay", "http://[::1]:8061/page"]),
    ("python", &[PYTHON, "/root/setters.py"]),
];

/// A call in its JSON.
#[derive(Debug, Deserialize)]
struct Found {
    process: Option<Process>,
    level: Option<u32>,
    optname: Option<u32>,
    asked: Option<Asked>,
    result: Option<i32>,
    via: Option<String>,
    certainty: String,
}

#[derive(Debug, Deserialize)]
struct Process {
    tid: u32,
}

/// Runs them all in front of one tcptrace.
pub(crate) fn outcome(tcptrace: &Path) -> Outcome {
    let mut outcome = Outcome {
        scenario: NAME.to_owned(),
        family: "both".to_owned(),
        form: "auto".to_owned(),
        ..Outcome::default()
    };
    let wrong = played(tcptrace, &mut outcome).unwrap_or_else(|error| vec![format!("{error:#}")]);
    outcome.broken.extend(wrong);
    outcome
}

fn played(tcptrace: &Path, outcome: &mut Outcome) -> anyhow::Result<Vec<String>> {
    let logs: Vec<String> =
        SERVERS.iter().chain(&CLIENTS).map(|(name, _)| format!("/root/{name}.strace")).collect();
    for log in &logs {
        // The row may have been played before.
        let _gone = fs::remove_file(format!("{ROOT}{log}"));
    }
    let under_strace: Vec<Vec<&str>> = SERVERS
        .iter()
        .chain(&CLIENTS)
        .zip(&logs)
        .map(|((_, words), log)| {
            STRACE.iter().chain([&log.as_str()]).chain(*words).copied().collect()
        })
        .collect();
    let (servers, clients) = under_strace.split_at(SERVERS.len());
    let servers: Vec<&[&str]> = servers.iter().map(Vec::as_slice).collect();
    let words = ["sockopt", "--json", "-w", "/tmp/setters.tcptrace", "--force"];
    let tool = Tool::start(tcptrace, &words.map(str::to_owned), false)?;
    let servers = Servers::start(&FILES, &servers, &PORTS)?;
    for client in clients {
        let status = within(client).stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "{client:?} ended with {status}");
    }
    let logged = settled(&logs)?;
    let (text, _) = tool.stop()?;
    drop(servers);
    // What a person sees is shown on the console, for the worked examples.
    let shown = std::process::Command::new(tcptrace)
        .args(["sockopt", "-r", "/tmp/setters.tcptrace"])
        .output()?;
    println!("--- {}", String::from_utf8_lossy(&shown.stdout));
    let (found, _) = findings::<Found, serde_json::Value>(&text, "sockopt")?;
    outcome.tool += u32::try_from(found.len())?;
    outcome.oracle += u32::try_from(logged.len())?;
    let mut wrong = few(&logged);
    wrong.extend(compared(&logged, &found));
    Ok(wrong)
}

/// The calls of all logs, once none has come for a while.
fn settled(logs: &[String]) -> anyhow::Result<Vec<Logged>> {
    let until_ns = now_ns() + PATIENCE_NS;
    let mut before = None;
    loop {
        let mut all = Vec::new();
        for log in logs {
            let text = fs::read_to_string(format!("{ROOT}{log}"))
                .with_context(|| format!("strace's log {log}"))?;
            all.extend(log::read(&text).with_context(|| format!("strace's log {log}"))?);
        }
        if before == Some(all.len()) {
            return Ok(all);
        }
        anyhow::ensure!(now_ns() < until_ns, "the programs do not come to rest");
        before = Some(all.len());
        sleep_until(now_ns() + 500_000_000);
    }
}

/// A log that has no call of a program shows nothing.
fn few(logged: &[Logged]) -> Vec<String> {
    let threads: std::collections::BTreeSet<u32> = logged.iter().map(|call| call.tid).collect();
    let refused = logged.iter().filter(|call| call.result < 0).count();
    let mut wrong = Vec::new();
    // Each program, and a thread and a child of the script.
    if threads.len() < SERVERS.len() + CLIENTS.len() + 2 {
        wrong.push(format!("the logs have calls of {} threads only", threads.len()));
    }
    if refused < 4 {
        wrong.push(format!("the logs have {refused} refused calls only"));
    }
    wrong
}

/// The calls of each thread, in their order.
fn compared(logged: &[Logged], found: &[Found]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut told: BTreeMap<u32, Vec<&Found>> = BTreeMap::new();
    for one in found {
        told.entry(one.process.as_ref().map_or(0, |process| process.tid)).or_default().push(one);
    }
    let mut made: BTreeMap<u32, Vec<&Logged>> = BTreeMap::new();
    for call in logged {
        made.entry(call.tid).or_default().push(call);
    }
    for (tid, made) in &made {
        let told = told.remove(tid).unwrap_or_default();
        if made.len() != told.len() {
            wrong.push(format!("{tid}: made {made:?}, told {told:?}"));
            continue;
        }
        let differing = made.iter().zip(&told).filter(|(call, found)| !is_told(call, found));
        wrong.extend(differing.map(|(call, found)| format!("{call:?} is told as {found:?}")));
    }
    wrong.extend(told.iter().map(|(tid, told)| format!("{tid}: not in a log: {told:?}")));
    wrong
}

fn is_told(call: &Logged, found: &Found) -> bool {
    found.level.zip(found.optname) == Some(call.key)
        && found.result == Some(call.result)
        && found.asked == call.asked
        && found.via.as_deref() == Some("setsockopt")
        && found.certainty == "seen"
}

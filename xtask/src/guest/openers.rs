//! Real programs that open connections with Fast Open, as people run them: what tcptrace says of both ends must agree with the
//! kernel's counters.

use std::{path::Path, process::Stdio};

use serde::Deserialize;

use super::{
    netns::set,
    said::{Counter, Process, disagreeing},
    sys::{now_ns, sleep_until},
    tool::{Tool, findings},
    tree::{Servers, within},
};
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "openers";

/// Files of the tree.
const FILES: [(&str, &str); 3] = [
    ("openers.conf", include_str!("programs/openers.conf")),
    ("openers.cfg", include_str!("programs/openers.cfg")),
    ("www/page", "a page\n"),
];

const NGINX: u16 = 8094;
const HAPROXY: [u16; 2] = [8095, 8096];
/// An attempt whose connection is not accepted is told so long after its handshake.
const SETTLED_NS: u64 = 1_500_000_000;

/// What is run, and what must be said.
struct Case {
    name: &'static str,
    /// `net.ipv4.tcp_fastopen`, for both ends.
    setting: &'static str,
    /// How often, and what.
    client: (usize, &'static [&'static str]),
    /// Thread, side, outcome and reason of each finding; a request that became no socket has no thread.
    wanted: &'static [&'static str],
    /// The sentence that a person reads.
    told: &'static str,
}

const CURL: &[&str] = &["/usr/bin/curl", "-s", "--tcp-fastopen", "http://127.0.0.1:8094/page"];
const HTTPING: &[&str] =
    &["/usr/bin/httping", "-F", "-c", "2", "-i", "0.2", "-G", "-g", "http://127.0.0.1:8094/page"];

const CASES: [Case; 6] = [
    // The founding story: everybody asks, and no data is in any SYN.
    Case {
        name: "curl, server bit off",
        setting: "1",
        client: (2, CURL),
        wanted: &[
            "curl client cookie_requested no_cookie",
            "curl client cookie_requested no_cookie",
            "nginx server not_usable server_bit_off",
            "haproxy server not_usable server_bit_off",
            "haproxy server not_usable server_bit_off",
            "- server refused server_bit_off",
            "- server refused server_bit_off",
        ],
        told: "Fast Open is off for servers there (net.ipv4.tcp_fastopen=0x1)",
    },
    Case {
        name: "httping, server bit off",
        setting: "1",
        client: (1, HTTPING),
        wanted: &[
            "httping client cookie_requested no_cookie",
            "httping client cookie_requested no_cookie",
            "nginx server not_usable server_bit_off",
            "haproxy server not_usable server_bit_off",
            "haproxy server not_usable server_bit_off",
            "- server refused server_bit_off",
            "- server refused server_bit_off",
        ],
        told: "asked for (MSG_FASTOPEN), but no cookie of this address was known",
    },
    Case {
        name: "curl",
        setting: "3",
        client: (2, CURL),
        wanted: &[
            "curl client cookie_granted no_cookie",
            "curl client worked -",
            "- server cookie_granted -",
            "nginx server worked -",
        ],
        told: "went in the SYN and were taken",
    },
    Case {
        name: "httping",
        setting: "3",
        client: (1, HTTPING),
        wanted: &[
            "httping client worked -",
            "httping client worked -",
            "nginx server worked -",
            "nginx server worked -",
        ],
        told: "went in the SYN and were taken",
    },
    // The proxy listens with Fast Open; its own connection to the server is an ordinary one.
    Case {
        name: "haproxy",
        setting: "3",
        client: (1, &["/usr/bin/curl", "-s", "--tcp-fastopen", "http://127.0.0.1:8095/page"]),
        wanted: &["curl client worked -", "haproxy server worked -"],
        told: "connect() put the SYN off to the first write",
    },
    // As a client, haproxy 3.0 uses it in its last try only, and when an answer to its own client waits to be sent, as an
    // early hint does (`do_connect_server()`).
    Case {
        name: "haproxy as a client",
        setting: "3",
        client: (1, &["/usr/bin/curl", "-s", "--tcp-fastopen", "http://127.0.0.1:8096/page"]),
        wanted: &[
            "curl client worked -",
            "haproxy server worked -",
            "haproxy client worked -",
            "nginx server worked -",
        ],
        told: "connect() put the SYN off to the first write",
    },
];

/// A finding of its JSON.
#[derive(Debug, Deserialize)]
struct Found {
    process: Option<Process>,
    side: String,
    outcome: String,
    reason: Option<String>,
    text: String,
}

/// Starts the servers and plays every case in front of a tcptrace of its own.
pub(crate) fn outcome(tcptrace: &Path) -> Outcome {
    let mut outcome = Outcome {
        scenario: NAME.to_owned(),
        family: "4".to_owned(),
        form: "auto".to_owned(),
        ..Outcome::default()
    };
    let servers: [&[&str]; 2] = [
        &["/usr/sbin/nginx", "-c", "/root/openers.conf"],
        &["/usr/sbin/haproxy", "-db", "-f", "/root/openers.cfg"],
    ];
    match Servers::start(&FILES, &servers, &[NGINX, HAPROXY[0], HAPROXY[1]]) {
        Err(error) => outcome.broken.push(format!("{error:#}")),
        Ok(_servers) => {
            for case in &CASES {
                let wrong = played(case, tcptrace, &mut outcome)
                    .unwrap_or_else(|error| vec![format!("{error:#}")]);
                outcome.broken.extend(wrong.iter().map(|w| format!("{}: {w}", case.name)));
            }
        }
    }
    outcome
}

fn played(case: &Case, tcptrace: &Path, outcome: &mut Outcome) -> anyhow::Result<Vec<String>> {
    set("ipv4/tcp_fastopen", case.setting)?;
    let words = ["fastopen", "--json", "-w", "/tmp/openers.tcptrace", "--force"];
    let tool = Tool::start(tcptrace, &words.map(str::to_owned), false)?;
    for _ in 0..case.client.0 {
        let status = within(case.client.1).stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "the client ended with {status}");
    }
    sleep_until(now_ns() + SETTLED_NS);
    let (text, _) = tool.stop()?;
    // What a person sees is shown on the console, for the worked examples.
    let shown = std::process::Command::new(tcptrace)
        .args(["fastopen", "-r", "/tmp/openers.tcptrace"])
        .output()?;
    println!("--- {}: {:?}\n{}", case.name, case.client.1, String::from_utf8_lossy(&shown.stdout));
    let (found, counters) = findings::<Found, Counter>(&text, "fastopen")?;
    outcome.tool += u32::try_from(found.len())?;
    outcome.oracle += u32::try_from(case.wanted.len())?;
    let mut wrong = Vec::new();
    let brief = |one: &Found| {
        let comm = one.process.as_ref().and_then(|process| process.comm.as_deref());
        let reason = one.reason.as_deref().unwrap_or("-");
        format!("{} {} {} {reason}", comm.unwrap_or("-"), one.side, one.outcome)
    };
    let mut said: Vec<String> = found.iter().map(brief).collect();
    said.sort_unstable();
    let mut wanted = case.wanted.to_vec();
    wanted.sort_unstable();
    if said != wanted {
        wrong.push(format!("wanted {wanted:?}, found {found:?}"));
    }
    if !found.iter().any(|one| one.text.contains(case.told)) {
        wrong.push(format!("the text does not say: {}", case.told));
    }
    wrong.extend(disagreeing(&counters));
    Ok(wrong)
}

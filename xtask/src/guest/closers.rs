//! Real programs that close, as people run them: what tcptrace says of both ends must agree with a capture.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

use super::{
    capture::Capture,
    sys::{now_ns, sleep_until},
    tool::{Found, Tool, parse},
    tree::{PYTHON, Servers, within},
};
use crate::{
    oracle::{Conversation, ReportedClose, Segment, close, close_against_capture},
    report::Outcome,
};

/// The row of the table.
pub(crate) const NAME: &str = "closers";

/// The teardown is over this long after the client has said so: nginx and haproxy wait a second at most, a minisock one
/// more.
const SETTLED_NS: u64 = 2_500_000_000;

/// Files of the tree.
const FILES: [(&str, &str); 6] = [
    ("keepalive.conf", include_str!("programs/keepalive.conf")),
    ("haproxy.cfg", include_str!("programs/haproxy.cfg")),
    ("idle.py", include_str!("programs/idle.py")),
    ("forker.py", include_str!("programs/forker.py")),
    ("unaccepted.py", include_str!("programs/unaccepted.py")),
    ("www/page", "a page\n"),
];

const NGINX: u16 = 8082;
const HAPROXY: u16 = 8083;
const FORKER: u16 = 8084;
const UNACCEPTED: u16 = 8085;

/// A client, the port of its server, and what tcptrace must say of both ends.
struct Case {
    name: &'static str,
    port: u16,
    client: &'static [&'static str],
    /// Thread, shape and reason, of each end; an end that nobody has closed has no thread.
    wanted: [(&'static str, &'static str, &'static str); 2],
    /// The sentence that a person reads.
    told: &'static str,
}

const CASES: [Case; 7] = [
    // nginx ends the idle connection after a second, and the client closes at once.
    Case {
        name: "keepalive",
        port: NGINX,
        client: &[PYTHON, "/root/idle.py", "8082", "0"],
        wanted: [("nginx", "merged", "ack_pending"), ("python3", "merged", "ack_pending")],
        told: "FIN and ACK were merged: python3",
    },
    // As before, and the client takes a tenth of a second.
    Case {
        name: "keepalive, slow client",
        port: NGINX,
        client: &[PYTHON, "/root/idle.py", "8082", "0.1"],
        wanted: [("nginx", "separate", "peer"), ("python3", "separate", "ack_timer")],
        told: "four segments: the delayed-ACK timer sent the ACK",
    },
    Case {
        name: "curl",
        port: NGINX,
        client: &["/usr/bin/curl", "-s", "http://127.0.0.1:8082/page"],
        wanted: [("curl", "merged", "ack_pending"), ("nginx", "merged", "ack_pending")],
        told: "FIN and ACK were merged: nginx",
    },
    // A server with a process for each connection, which ends as soon as the client has closed: nobody can ask for its name
    // then, and at the client's FIN it was not at work yet.
    Case {
        name: "a process for each connection",
        port: FORKER,
        client: &["/usr/bin/curl", "-s", "http://127.0.0.1:8084/page"],
        wanted: [("curl", "merged", "ack_pending"), ("worker", "merged", "ack_pending")],
        told: "FIN and ACK were merged: worker",
    },
    // A server that is stopped with a connection in its queue.
    Case {
        name: "a listener that is closed",
        port: UNACCEPTED,
        client: &[PYTHON, "/root/unaccepted.py"],
        wanted: [("python3", "reset_sent", "not_accepted"), ("", "reset_received", "peer")],
        told: "closed its listener before the connection was accepted",
    },
    // The client never closes, and lives on.
    Case {
        name: "forgets",
        port: NGINX,
        client: &[PYTHON, "/root/idle.py", "8082", "forever"],
        wanted: [("nginx", "open", "under_way"), ("python3", "open", "not_closed")],
        told: "and counting: the peer has closed, and python3[",
    },
    // A proxy that ends idle connections with a FIN, and at once with a reset; the client leaves it the time for both.
    Case {
        name: "proxy",
        port: HAPROXY,
        client: &[PYTHON, "/root/idle.py", "8083", "0.1"],
        wanted: [("haproxy", "reset_sent", "linger_zero"), ("", "reset_received", "peer")],
        told: "RST after our FIN: close() under SO_LINGER with no time",
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
    let servers: [&[&str]; 3] = [
        &["/usr/sbin/nginx", "-c", "/root/keepalive.conf"],
        &["/usr/sbin/haproxy", "-db", "-f", "/root/haproxy.cfg"],
        &[PYTHON, "/root/forker.py"],
    ];
    match Servers::start(&FILES, &servers, &[NGINX, HAPROXY, FORKER]) {
        Err(error) => outcome.broken.push(format!("{error:#}")),
        Ok(_servers) => {
            for case in &CASES {
                let wrong = played(case, tcptrace, offset_ns, &mut outcome)
                    .unwrap_or_else(|error| vec![format!("{error:#}")]);
                outcome.broken.extend(wrong.iter().map(|w| format!("{}: {w}", case.name)));
            }
        }
    }
    outcome
}

fn played(
    case: &Case,
    tcptrace: &Path,
    offset_ns: u64,
    outcome: &mut Outcome,
) -> anyhow::Result<Vec<String>> {
    let capture = Capture::start("lo", offset_ns)?;
    let (port, file) = (case.port.to_string(), "/tmp/closers.tcptrace");
    let words = ["close", "--json", "--min-duration", "0", "--port", &port, "-w", file, "--force"];
    let tool = Tool::start(tcptrace, &words.map(str::to_owned), false)?;
    let mut client = within(case.client).stdout(Stdio::piped()).spawn()?;
    let talked = answered(&mut client);
    sleep_until(now_ns() + SETTLED_NS);
    let (text, _) = tool.stop()?;
    let wire = capture.drain()?;
    // One that forgets is still there; of the others this is the end.
    client.kill()?;
    client.wait()?;
    talked?;
    // What a person sees is shown on the console, for the worked examples.
    let shown =
        Command::new(tcptrace).args(["close", "--min-duration", "0", "-r", file]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout);
    println!("--- {}: {:?}\n{shown}", case.name, case.client);
    let mut said = parse(&text);
    let mut wrong = std::mem::take(&mut said.complaints);
    if said.gaps > 0 {
        wrong.push("events were lost".to_owned());
    }
    outcome.tool += u32::try_from(said.closes.len())?;
    for one in &said.closes {
        match witnessed(&wire, one) {
            Some(seen) => {
                outcome.oracle += 1;
                wrong.extend(close_against_capture(&seen, &one.what));
            }
            None => wrong.push(format!("no such teardown on the wire: {one:?}")),
        }
    }
    let mut found: Vec<_> = said.closes.iter().map(|one| one.what.brief()).collect();
    found.sort_unstable();
    let mut wanted = case.wanted;
    wanted.sort_unstable();
    if found != wanted {
        wrong.push(format!("wanted {wanted:?}, found {:?}", said.closes));
    }
    let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    if !flat.contains(case.told) {
        wrong.push(format!("the text does not say: {}", case.told));
    }
    Ok(wrong)
}

/// Waits for the first line of the client's output: it has its answer.
fn answered(client: &mut Child) -> anyhow::Result<()> {
    let pipe = client.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(pipe).read_line(&mut line)?;
    anyhow::ensure!(line.contains("page"), "the client got {line:?}");
    Ok(())
}

/// The teardown as the wire has it, from the end that a finding is about.
fn witnessed(wire: &[Segment], found: &Found<ReportedClose>) -> Option<crate::oracle::Close> {
    let (local, remote) = found.local.zip(found.remote)?;
    let (local, remote) = (local.port(), remote.port());
    let of = |it: &&Segment| {
        // A loopback device shows each segment as it goes and as it comes.
        it.outgoing && [(local, remote), (remote, local)].contains(&(it.sport, it.dport))
    };
    let own = wire.iter().filter(of).cloned();
    let wire = own.map(|it| Segment { outgoing: it.sport == local, ..it }).collect();
    close(&Conversation { wire, ..Conversation::default() })
}

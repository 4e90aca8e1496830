//! `guest contended`: three writers, two threads that set options, and two readers on one connection. To be run with two
//! processors, and no instruction clock.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, RawFd},
    path::PathBuf,
    sync::Arc,
    thread,
};

use anyhow::Context as _;

use super::{
    calls::made,
    capture::Capture,
    netns::{Netns, address, up},
    peer::Peer,
    run::take,
    stage::{Family, PATIENCE, PORT, SETTLE_NS, Seen},
    sys::{name_thread, now_ns, realtime_offset_ns, sleep_until},
    tool::{Tool, parse},
    tun::Tun,
};
use crate::{
    oracle::{Call, CallRecord, Conversation, against_bytes},
    report::{MARK, Outcome},
    scenario::{Question, Syn},
};

/// With which tcptrace, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// Calls of each thread
    #[arg(long, default_value_t = 400)]
    calls: u64,
}

/// Plays it once for each family and prints the outcomes.
pub(crate) fn task(args: &Args) -> anyhow::Result<()> {
    let offset_ns = realtime_offset_ns();
    let _stamps = Capture::start("lo", offset_ns)?;
    let port = PORT.to_string();
    let arguments = ["nagle", "--json", "--min-hold", "0", "--port", &port].map(str::to_owned);
    let tool = Tool::start(&args.tcptrace, &arguments, false)?;
    let mut played = Vec::new();
    for family in [Family::V4, Family::V6] {
        let calls = args.calls;
        let one = thread::spawn(move || play(family, calls, offset_ns));
        let seen = one.join().map_err(|_panic| anyhow::anyhow!("the story's thread panicked"))?;
        played.push((family, seen));
    }
    let (text, _) = tool.stop()?;
    let mut said = parse(&text);
    for (family, seen) in played {
        let mut outcome = Outcome {
            scenario: "contended".to_owned(),
            family: family.name().to_owned(),
            form: "auto".to_owned(),
            broken: said.complaints.clone(),
            ..Outcome::default()
        };
        if said.events_lost > 0 {
            outcome.broken.push(format!("{} events lost", said.events_lost));
        }
        match seen {
            Ok(seen) => {
                let reported = take(&mut said.found, &seen);
                against_bytes(&mut outcome, &seen.conversation, &reported);
            }
            Err(error) => outcome.broken.push(format!("{error:#}")),
        }
        println!("{MARK}{}", serde_json::to_string(&outcome)?);
    }
    Ok(())
}

fn play(family: Family, calls: u64, offset_ns: u64) -> anyhow::Result<Seen> {
    let netns = Netns::create()?;
    let tun = Tun::create("tun0")?;
    let (here, there) = family.addresses();
    up("tun0")?;
    address("tun0", here)?;
    sleep_until(now_ns() + SETTLE_NS);
    let capture = Capture::start("tun0", offset_ns)?;
    let (local, remote) = (SocketAddr::new(here, PORT), SocketAddr::new(there, 20_000));
    let listener = TcpListener::bind(local).context("listen")?;
    let peer = Peer::new(tun, local);
    let serving = thread::spawn({
        let peer = Arc::clone(&peer);
        move || peer.serve()
    });
    peer.connect(
        remote,
        &Syn { mss_bytes: 1000, sack: true, timestamps: false, window: 257 },
        false,
    )?;
    let (stream, _) = listener.accept().context("accept")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    peer.ack_after(0, 60_000);
    let called = crowd(&stream, &peer, calls);
    drop(stream);
    let finished = peer.finished(0);
    peer.stop();
    serving.join().map_err(|_panic| anyhow::anyhow!("the peer's thread panicked"))?;
    finished?;
    let conversation =
        Conversation { calls: called?, wire: capture.drain()?, ..Conversation::default() };
    Ok(Seen {
        _forgotten: None,
        netns: netns.number()?,
        local,
        remote,
        real_peer: false,
        question: Question::Nagle,
        conversation,
    })
}

/// All threads at once; their calls in the order of their beginning.
fn crowd(stream: &TcpStream, peer: &Peer, calls: u64) -> anyhow::Result<Vec<CallRecord>> {
    let fd = stream.as_raw_fd();
    let logs: Vec<anyhow::Result<Vec<CallRecord>>> = thread::scope(|scope| {
        let writer = |step: u64| {
            scope.spawn(move || {
                repeat(fd, calls, step, |at| {
                    Call::Write(usize::try_from(1 + at * step % 211).unwrap_or(1))
                })
            })
        };
        let mut threads: Vec<_> = [7, 11, 13].into_iter().map(writer).collect();
        threads
            .push(scope.spawn(move || repeat(fd, calls / 4, 53, |at| Call::Nodelay(at % 3 == 0))));
        threads.push(scope.spawn(move || repeat(fd, calls / 4, 59, |at| Call::Cork(at % 2 == 0))));
        for _ in 0..2 {
            threads.push(scope.spawn(move || repeat(fd, calls / 2, 2, |_| Call::Read(10))));
        }
        for at in 0..calls {
            // A failure shows as readers that wait too long.
            let _unsent = peer.send(0, 10);
            if at % 16 == 0 {
                sleep_until(now_ns() + 100_000_000);
            }
        }
        let ended = threads.into_iter().map(|one| {
            one.join().unwrap_or_else(|_panic| Err(anyhow::anyhow!("a thread panicked")))
        });
        ended.collect()
    });
    let mut all: Vec<CallRecord> =
        logs.into_iter().collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect();
    all.sort_by_key(|record| record.at_ns);
    Ok(all)
}

/// Makes a call again and again, with pauses that differ from thread to thread.
fn repeat(
    fd: RawFd,
    calls: u64,
    step: u64,
    call: impl Fn(u64) -> Call,
) -> anyhow::Result<Vec<CallRecord>> {
    name_thread(c"crowd");
    (0..calls)
        .map(|at| {
            sleep_until(now_ns() + at * step % (2 * step + 3) * 1_000_000);
            made(fd, &call(at))
        })
        .collect()
}

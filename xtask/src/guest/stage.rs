//! Plays one story in network namespaces of its own and gathers what the witnesses saw.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;

use super::{
    calls::{Program, made},
    capture::Capture,
    netns::{Netns, address, up},
    pair,
    peer::Peer,
    sys::{exact_timers, first_in_line, name_thread, now_ns, sleep_until},
    tun::Tun,
};
use crate::{
    oracle::{CallRecord, Conversation, Segment},
    scenario::{Link, Step, Story, Syn, Then},
};

/// The device of the program under test, before a peer in user space.
pub(crate) const TUN: &str = "tun0";

/// The port every story's server listens on.
pub(crate) const PORT: u16 = 8080;
/// A read that gets nothing for so long ends the story.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// A device and its address are ready this long after they were made.
pub(crate) const SETTLE_NS: u64 = 100_000_000;

/// The address family of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Addresses for documentation: the server's and the peer's.
    pub(crate) fn addresses(self) -> (IpAddr, IpAddr) {
        match self {
            Self::V4 => ([192, 0, 2, 10].into(), [192, 0, 2, 77].into()),
            Self::V6 => (
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10].into(),
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77].into(),
            ),
        }
    }
}

/// One connection of a story that was played.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Number of its network namespace.
    pub(crate) netns: u64,
    /// The server's end.
    pub(crate) local: SocketAddr,
    /// The peer's end.
    pub(crate) remote: SocketAddr,
    /// What the witnesses saw.
    pub(crate) conversation: Conversation,
}

/// What a story is played with.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The story.
    pub(crate) story: Story,
    /// In which address family.
    pub(crate) family: Family,
    /// The TUN peer's first port, which tells the runs apart.
    pub(crate) first_port: u16,
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`.
    pub(crate) offset_ns: u64,
}

/// A story that is being played.
#[derive(Debug)]
pub(crate) struct Playing {
    thread: JoinHandle<anyhow::Result<Vec<Seen>>>,
    reached: Receiver<()>,
    go_on: Sender<()>,
}

/// The story's side of [`Step::Attach`].
#[derive(Debug)]
struct Cue {
    reached: Sender<()>,
    go_on: Receiver<()>,
}

/// Plays a story that needs no [`Step::Attach`].
pub(crate) fn play(stage: Stage) -> anyhow::Result<Vec<Seen>> {
    start(stage).end()
}

/// Starts to play a story.
pub(crate) fn start(stage: Stage) -> Playing {
    let (reached, reached_here) = channel();
    let (go_on, go_on_there) = channel();
    let cue = Cue { reached, go_on: go_on_there };
    // A thread of its own: a namespace belongs to a thread, and ends with it.
    let thread = thread::spawn(move || {
        exact_timers();
        first_in_line();
        name_thread(c"server");
        match stage.story.link.clone() {
            Link::Tun(syns) => behind_tun(&stage, &syns, &cue),
            Link::Veth(delay_us) => pair::behind_veth(&stage, delay_us),
            Link::Loopback => pair::over_loopback(&stage),
        }
    });
    Playing { thread, reached: reached_here, go_on }
}

impl Playing {
    /// Waits until the story is where tcptrace must come.
    pub(crate) fn wait_for_attach(&self) -> anyhow::Result<()> {
        self.reached.recv().context("the story ended before tcptrace could come")
    }

    /// Lets the story go on, and waits for its end.
    pub(crate) fn end(self) -> anyhow::Result<Vec<Seen>> {
        let Self { thread, go_on, .. } = self;
        // A story without that step, or one that is over, waits for nothing.
        let _over = go_on.send(());
        thread.join().map_err(|_panic| anyhow::anyhow!("the story's thread panicked"))?
    }
}

impl Cue {
    fn wait(&self) -> anyhow::Result<()> {
        self.reached.send(()).context("nobody starts tcptrace")?;
        self.go_on.recv().context("tcptrace did not start")
    }
}

fn behind_tun(stage: &Stage, syns: &[Syn], cue: &Cue) -> anyhow::Result<Vec<Seen>> {
    let netns = Netns::create()?;
    let tun = Tun::create(TUN)?;
    let (here, there) = stage.family.addresses();
    up(TUN)?;
    address(TUN, here)?;
    // IPv6 makes an address usable in a work queue.
    sleep_until(now_ns() + SETTLE_NS);
    let capture = Capture::start(TUN, stage.offset_ns)?;
    let local = SocketAddr::new(here, PORT);
    let (listener, inherited) = listen(local, &stage.story)?;
    let peer = Peer::new(tun, local);
    let serving = thread::spawn({
        let peer = Arc::clone(&peer);
        move || {
            name_thread(c"peer");
            peer.serve();
        }
    });
    let opened: anyhow::Result<Vec<(SocketAddr, Program)>> = (stage.first_port..)
        .zip(syns)
        .map(|(port, syn)| {
            let remote = SocketAddr::new(there, port);
            peer.connect(remote, syn)?;
            Ok((remote, accept(&listener, &inherited)?))
        })
        .collect();
    let played = opened.and_then(|connections| with_peer(stage, &peer, connections, cue));
    peer.stop();
    serving.join().map_err(|_panic| anyhow::anyhow!("the peer's thread panicked"))?;
    let wire = capture.drain()?;
    let number = netns.number()?;
    let seen = |(remote, program): (SocketAddr, Program)| Seen {
        netns: number,
        local,
        remote,
        conversation: conversation(program, &wire, remote.port()),
    };
    Ok(played?.into_iter().map(seen).collect())
}

/// Plays the steps, and waits until both sides are done.
fn with_peer(
    stage: &Stage,
    peer: &Peer,
    mut connections: Vec<(SocketAddr, Program)>,
    cue: &Cue,
) -> anyhow::Result<Vec<(SocketAddr, Program)>> {
    for Then { connection, step } in &stage.story.steps {
        let at = *connection;
        let (_, program) = connections.get_mut(at).context("no such connection")?;
        match step {
            Step::After(wait_us) => sleep_until(now_ns() + wait_us * 1000),
            Step::Do(call) => program.call(call)?,
            Step::Elsewhere(call) => program.call_elsewhere(call)?,
            Step::DoIfRoom(call) if program.has_room(call) => program.call(call)?,
            Step::DoIfRoom(_) => {}
            Step::Client(_) => anyhow::bail!("the TUN peer is no program"),
            Step::Attach => cue.wait()?,
            Step::Arrived(bytes) => peer.arrived(at, *bytes)?,
            Step::Repeated => peer.repeated(at)?,
            Step::Ack(up_to) => peer.ack(at, *up_to)?,
            Step::Window(window) => peer.window(at, *window)?,
            Step::Reset => peer.reset(at)?,
            Step::PeerSends(bytes) => peer.send(at, *bytes)?,
            Step::AckAfter(delay_us) => peer.ack_after(at, *delay_us),
        }
    }
    for at in 0..connections.len() {
        peer.finished(at)?;
    }
    sleep_until(now_ns() + 20_000_000);
    Ok(connections)
}

/// Listens, and makes the calls of the story on the listening socket.
pub(crate) fn listen(
    local: SocketAddr,
    story: &Story,
) -> anyhow::Result<(TcpListener, Vec<CallRecord>)> {
    let listener = TcpListener::bind(local).context("listen")?;
    let calls = story.listener.iter().map(|call| made(listener.as_raw_fd(), call));
    let inherited = calls.collect::<anyhow::Result<_>>()?;
    Ok((listener, inherited))
}

/// Accepts a connection, which inherits what was called on the listener.
pub(crate) fn accept(listener: &TcpListener, inherited: &[CallRecord]) -> anyhow::Result<Program> {
    let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd outlives the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 5_000) };
    anyhow::ensure!(ready == 1, "the handshake did not end");
    let (stream, _) = listener.accept().context("accept")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Program::accepted(stream, inherited))
}

/// What the witnesses saw of the connection whose other end has this port.
pub(crate) fn conversation(program: Program, wire: &[Segment], port: u16) -> Conversation {
    let wire = wire
        .iter()
        .filter(|segment| segment.sport == port || segment.dport == port)
        .cloned()
        .collect();
    Conversation { calls: program.into_log(), wire }
}

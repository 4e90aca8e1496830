//! Plays one story in network namespaces of its own and gathers what the witnesses saw.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
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
    calls::{Program, made, opened},
    capture::Capture,
    netns::{Netns, address, dummy, up},
    pair,
    peer::Peer,
    qdisc::mirror,
    sys::{exact_timers, first_in_line, name_thread, now_ns, sleep_until},
    tun::Tun,
};
use crate::{
    oracle::{CallRecord, Conversation, Segment},
    scenario::{Link, Question, Step, Story, Syn, Then},
};

/// The device of the program under test, before a peer in user space.
pub(crate) const TUN: &str = "tun0";
/// Where a copy of what that device is given goes, when it has a queue.
const COPY: &str = "copy0";

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
    /// The other end is a socket of this host.
    pub(crate) real_peer: bool,
    /// What tcptrace is asked of it.
    pub(crate) question: Question,
    /// What the witnesses saw.
    pub(crate) conversation: Conversation,
    /// The socket that the program has forgotten: it stays open as long as this.
    pub(crate) _forgotten: Option<TcpStream>,
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

/// The connections, and the socket that listens, where one does.
type Opened = (Vec<(SocketAddr, Program)>, Option<TcpListener>);

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
            Link::Tun(syns) => behind_tun(&stage, &cue, |peer, local, there| {
                accept_all(&stage, &syns, peer, local, there)
            }),
            Link::Active(active) => behind_tun(&stage, &cue, |peer, local, there| {
                let remote = SocketAddr::new(there, stage.first_port);
                peer.listen(remote, &active, by_hand(&stage));
                Ok((vec![(remote, opened(local, remote, active.by)?)], None))
            }),
            Link::Veth(delay_us) => pair::behind_veth(&stage, delay_us),
            Link::Loopback => pair::over_loopback(&stage, false),
            Link::Mptcp => pair::over_loopback(&stage, true),
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

fn behind_tun(
    stage: &Stage,
    cue: &Cue,
    open: impl FnOnce(&Peer, SocketAddr, IpAddr) -> anyhow::Result<Opened>,
) -> anyhow::Result<Vec<Seen>> {
    let netns = Netns::create()?;
    let tun = Tun::create(TUN)?;
    let (here, there) = stage.family.addresses();
    up(TUN)?;
    address(TUN, here)?;
    // IPv6 makes an address usable in a work queue.
    sleep_until(now_ns() + SETTLE_NS);
    let capture = Capture::start(TUN, stage.offset_ns)?;
    let before = stage.story.queues().then(|| before_the_queue(stage.offset_ns)).transpose()?;
    let local = SocketAddr::new(here, PORT);
    let peer = Peer::new(tun, local);
    let serving = thread::spawn({
        let peer = Arc::clone(&peer);
        move || {
            name_thread(c"peer");
            peer.serve();
        }
    });
    let played = open(&peer, local, there).and_then(|(connections, listener)| {
        let played = with_peer(stage, &peer, connections, cue);
        drop(listener);
        played
    });
    peer.stop();
    serving.join().map_err(|_panic| anyhow::anyhow!("the peer's thread panicked"))?;
    let (wire, device) = seen_apart(capture.drain()?, before)?;
    moved(&stage.story)?;
    let number = netns.number()?;
    let seen = |(remote, mut program): (SocketAddr, Program)| Seen {
        _forgotten: program.forgotten(),
        netns: number,
        local,
        remote,
        real_peer: false,
        question: stage.story.question(),
        conversation: conversation(program, &wire, &device, remote.port()),
    };
    Ok(played?.into_iter().map(seen).collect())
}

/// A capture of what the device is given, where it has a queue.
fn before_the_queue(offset_ns: u64) -> anyhow::Result<Capture> {
    dummy(COPY)?;
    mirror(TUN, COPY)?;
    Capture::start(COPY, offset_ns)
}

/// The wire: what leaves TCP, as it was seen before the device's queue, and what comes in. And what the device sent.
fn seen_apart(
    wire: Vec<Segment>,
    before: Option<Capture>,
) -> anyhow::Result<(Vec<Segment>, Vec<Segment>)> {
    let Some(before) = before else { return Ok((wire, Vec::new())) };
    let (device, mut seen): (Vec<Segment>, Vec<Segment>) =
        wire.into_iter().partition(|segment| segment.outgoing);
    seen.extend(before.drain()?.into_iter().filter(|segment| segment.outgoing));
    seen.sort_by_key(|segment| segment.at_ns);
    Ok((seen, device))
}

/// The peer opens the connections, one after the other.
fn accept_all(
    stage: &Stage,
    syns: &[Syn],
    peer: &Peer,
    local: SocketAddr,
    there: IpAddr,
) -> anyhow::Result<Opened> {
    let (listener, inherited) = listen(local, &stage.story)?;
    let by_hand = by_hand(stage);
    let connections: anyhow::Result<_> = (stage.first_port..)
        .zip(syns)
        .map(|(port, syn)| {
            let remote = SocketAddr::new(there, port);
            peer.connect(remote, syn, by_hand)?;
            Ok((remote, accept(&listener, &inherited)?))
        })
        .collect();
    // Where nobody listens any more, nothing takes the place of a minisock.
    Ok((connections?, Some(listener)))
}

/// Whether the peer closes, and acknowledges a FIN, only when told to.
fn by_hand(stage: &Stage) -> bool {
    stage.story.question() == Question::Close
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
            Step::PeerCloses(bytes) => peer.closes(at, *bytes)?,
            Step::PeerClosesAgain => peer.closes_again(at)?,
            Step::AckFin => peer.ack_fin(at)?,
            Step::AckFinWith(bytes) => {
                peer.await_fin(at)?;
                peer.send(at, *bytes)?;
            }
            Step::PeerOpensAgain => peer.opens_again(at)?,
            Step::AckFinAndClose => {
                peer.await_fin(at)?;
                peer.closes(at, 0)?;
            }
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

/// Whether the kernel counted what the story says it does, in this thread's namespace.
pub(crate) fn moved(story: &Story) -> anyhow::Result<()> {
    let Some(name) = story.counter else { return Ok(()) };
    let text = fs::read_to_string("/proc/thread-self/net/netstat").context("read the counters")?;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let counted = lines.chunks(2).find_map(|pair| match pair {
        [names, values] => values.get(names.iter().position(|known| *known == name)?),
        _ => None,
    });
    anyhow::ensure!(counted.is_some_and(|count| *count != "0"), "{name} is {counted:?}");
    Ok(())
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
pub(crate) fn conversation(
    program: Program,
    wire: &[Segment],
    device: &[Segment],
    port: u16,
) -> Conversation {
    let device = device
        .iter()
        .filter(|sent| sent.dport == port && sent.bytes > 0)
        .map(|sent| (sent.at_ns, sent.seq.wrapping_add(sent.bytes)))
        .collect();
    let wire = wire
        .iter()
        .filter(|segment| segment.sport == port || segment.dport == port)
        .cloned()
        .collect();
    Conversation { calls: program.into_log(), wire, device, mptcp: false }
}

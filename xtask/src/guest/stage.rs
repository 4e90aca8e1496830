//! Plays one story in network namespaces of its own and gathers what the witnesses saw.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    calls::Program,
    capture::Capture,
    netns::{Netns, address, delay, up},
    peer::Peer,
    sys::{exact_timers, first_in_line, name_thread, now_ns, sleep_until},
    tun::Tun,
};
use crate::{
    oracle::{Conversation, Segment},
    scenario::{Link, Step, Story, Syn},
};

/// The port every story's server listens on.
pub(crate) const PORT: u16 = 8080;
/// A read that gets nothing for so long ends the story.
const PATIENCE: Duration = Duration::from_secs(5);
/// A device and its address are ready this long after they were made.
const SETTLE_NS: u64 = 100_000_000;

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
    fn addresses(self) -> (IpAddr, IpAddr) {
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

/// Plays a story; the peer's connections come from `first_port` on, which tells the runs apart.
pub(crate) fn play(
    story: &Story,
    family: Family,
    first_port: u16,
    offset_ns: u64,
) -> anyhow::Result<Vec<Seen>> {
    let story = story.clone();
    // A thread of its own: a namespace belongs to a thread, and ends with it.
    let played = thread::spawn(move || {
        exact_timers();
        first_in_line();
        name_thread(c"server");
        match &story.link {
            Link::Tun(syns) => behind_tun(&story, syns, family, first_port, offset_ns),
            Link::Veth(delay_us) => behind_veth(&story, *delay_us, family, offset_ns),
        }
    });
    played.join().map_err(|_panic| anyhow::anyhow!("the story's thread panicked"))?
}

fn behind_tun(
    story: &Story,
    syns: &[Syn],
    family: Family,
    first_port: u16,
    offset_ns: u64,
) -> anyhow::Result<Vec<Seen>> {
    let netns = Netns::create()?;
    let tun = Tun::create("tun0")?;
    let (here, there) = family.addresses();
    up("tun0")?;
    address("tun0", here)?;
    // IPv6 makes an address usable in a work queue.
    sleep_until(now_ns() + SETTLE_NS);
    let capture = Capture::start("tun0", offset_ns)?;
    let local = SocketAddr::new(here, PORT);
    let listener = TcpListener::bind(local).context("listen")?;
    let peer = Peer::new(tun, local);
    let serving = thread::spawn({
        let peer = Arc::clone(&peer);
        move || {
            name_thread(c"peer");
            peer.serve();
        }
    });
    let played =
        with_peer(story, &peer, &listener, |at| SocketAddr::new(there, first_port + at), syns);
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

fn with_peer(
    story: &Story,
    peer: &Peer,
    listener: &TcpListener,
    remote: impl Fn(u16) -> SocketAddr,
    syns: &[Syn],
) -> anyhow::Result<Vec<(SocketAddr, Program)>> {
    let mut connections = Vec::new();
    for (at, syn) in (0..).zip(syns) {
        peer.connect(remote(at), syn)?;
        connections.push((remote(at), accept(listener)?));
    }
    for then in &story.steps {
        let at = then.connection;
        let program =
            connections.get_mut(at).map(|(_, program)| program).context("no such connection")?;
        match &then.step {
            Step::After(wait_us) => sleep_until(now_ns() + wait_us * 1000),
            Step::Do(call) => program.call(call)?,
            Step::DoIfRoom(call) if program.has_room(call) => program.call(call)?,
            Step::DoIfRoom(_) => {}
            Step::Client(_) => anyhow::bail!("the TUN peer is no program"),
            Step::Arrived(bytes) => peer.arrived(at, *bytes)?,
            Step::Repeated => peer.repeated(at)?,
            Step::Ack(up_to) => peer.ack(at, *up_to)?,
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

fn behind_veth(
    story: &Story,
    delay_us: u64,
    family: Family,
    offset_ns: u64,
) -> anyhow::Result<Vec<Seen>> {
    let client_side = Netns::create()?;
    let server_side = Netns::create()?;
    let (here, there) = family.addresses();
    Netns::veth("veth0", "veth1", &client_side)?;
    up("veth0")?;
    address("veth0", here)?;
    client_side.enter()?;
    up("veth1")?;
    address("veth1", there)?;
    if delay_us > 0 {
        delay("veth1", delay_us)?;
    }
    server_side.enter()?;
    // The kernel notices a carrier a moment later, and drops what is sent before.
    sleep_until(now_ns() + SETTLE_NS);
    let capture = Capture::start("veth0", offset_ns)?;
    let local = SocketAddr::new(here, PORT);
    let listener = TcpListener::bind(local).context("listen")?;
    client_side.enter()?;
    let stream = TcpStream::connect(local).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    server_side.enter()?;
    let remote = stream.local_addr()?;
    let mut client = Program::new(stream);
    let mut server = accept(&listener)?;
    for then in &story.steps {
        match &then.step {
            Step::After(wait_us) => sleep_until(now_ns() + wait_us * 1000),
            Step::Do(call) => server.call(call)?,
            Step::Client(call) => client.call(call)?,
            step => anyhow::bail!("{step:?} needs the TUN peer"),
        }
    }
    drop(client);
    sleep_until(now_ns() + 100_000_000);
    let wire = capture.drain()?;
    let conversation = conversation(server, &wire, remote.port());
    Ok(vec![Seen { netns: server_side.number()?, local, remote, conversation }])
}

fn accept(listener: &TcpListener) -> anyhow::Result<Program> {
    let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd outlives the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 5_000) };
    anyhow::ensure!(ready == 1, "the handshake did not end");
    let (stream, _) = listener.accept().context("accept")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Program::new(stream))
}

fn conversation(program: Program, wire: &[Segment], port: u16) -> Conversation {
    let wire = wire
        .iter()
        .filter(|segment| segment.sport == port || segment.dport == port)
        .cloned()
        .collect();
    Conversation { calls: program.into_log(), wire }
}

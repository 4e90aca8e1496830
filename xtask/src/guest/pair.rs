//! Stories between two ordinary sockets: behind a veth pair, or over loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use anyhow::Context as _;

use super::{
    calls::{Program, connected_mptcp, listening_mptcp},
    capture::Capture,
    netns::{Netns, address, set, up},
    qdisc::delay,
    stage::{Family, PATIENCE, PORT, SETTLE_NS, Seen, Stage, accept, conversation, listen, moved},
    sys::{now_ns, sleep_until},
};
use crate::{
    oracle::{Call, Conversation, Segment},
    scenario::{Step, Story},
};

/// The two ends are in two namespaces; what the client sends is late.
pub(crate) fn behind_veth(stage: &Stage, delay_us: u64) -> anyhow::Result<Vec<Seen>> {
    let client_side = Netns::create()?;
    let server_side = Netns::create()?;
    for side in [&client_side, &server_side] {
        side.enter()?;
        // A first write may still lie in the other end's backlog when the second one comes: then autocorking holds that
        // one first, which the wire does not show and this release of tcptrace does not name.
        set("ipv4/tcp_autocorking", "0")?;
    }
    let (here, there) = stage.family.addresses();
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
    let capture = Capture::start("veth0", stage.offset_ns)?;
    let local = SocketAddr::new(here, PORT);
    let (listener, inherited) = listen(local, &stage.story)?;
    client_side.enter()?;
    let (mut client, remote) = connect(local)?;
    server_side.enter()?;
    let mut server = accept(&listener, &inherited)?;
    converse(&stage.story, &mut server, &mut client)?;
    drop(client);
    sleep_until(now_ns() + SETTLE_NS);
    let wire = capture.drain()?;
    let conversation = conversation(server, &wire, &[], remote.port());
    let question = stage.story.question();
    Ok(vec![Seen {
        _forgotten: None,
        netns: server_side.number()?,
        local,
        remote,
        real_peer: true,
        question,
        conversation,
    }])
}

/// Both ends are in one namespace, and both are watched.
pub(crate) fn over_loopback(stage: &Stage, mptcp: bool) -> anyhow::Result<Vec<Seen>> {
    let netns = Netns::create()?;
    let capture = Capture::start("lo", stage.offset_ns)?;
    let here: IpAddr = match stage.family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let local = SocketAddr::new(here, PORT);
    let (listener, inherited) =
        if mptcp { (listening_mptcp(local)?, Vec::new()) } else { listen(local, &stage.story)? };
    let (mut client, remote) =
        if mptcp { known(connected_mptcp(local)?)? } else { connect(local)? };
    let mut server = accept(&listener, &inherited)?;
    converse(&stage.story, &mut server, &mut client)?;
    client.call(&Call::Close)?;
    sleep_until(now_ns() + SETTLE_NS);
    // Loopback shows each packet twice, when it is sent and when it is received.
    let sent: Vec<Segment> = capture.drain()?.into_iter().filter(|it| it.outgoing).collect();
    moved(&stage.story)?;
    let netns = netns.number()?;
    let seen = |program, local: SocketAddr, remote: SocketAddr| {
        let mut conversation =
            Conversation { mptcp, ..conversation(program, &sent, &[], local.port()) };
        for segment in &mut conversation.wire {
            segment.outgoing = segment.sport == local.port();
        }
        Seen {
            _forgotten: None,
            netns,
            local,
            remote,
            real_peer: true,
            question: stage.story.question(),
            conversation,
        }
    };
    Ok(vec![seen(server, local, remote), seen(client, remote, local)])
}

fn connect(server: SocketAddr) -> anyhow::Result<(Program, SocketAddr)> {
    known(TcpStream::connect(server).context("connect")?)
}

fn known(stream: TcpStream) -> anyhow::Result<(Program, SocketAddr)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let own = stream.local_addr()?;
    Ok((Program::new(stream), own))
}

fn converse(story: &Story, server: &mut Program, client: &mut Program) -> anyhow::Result<()> {
    for then in &story.steps {
        match &then.step {
            Step::After(wait_us) => sleep_until(now_ns() + wait_us * 1000),
            Step::Do(call) => server.call(call)?,
            Step::Elsewhere(call) => server.call_elsewhere(call)?,
            Step::Client(call) => client.call(call)?,
            step => anyhow::bail!("{step:?} needs the TUN peer"),
        }
    }
    Ok(())
}

//! Options whose values the wire shows: a SYN says what may be sent, and a peer that falls silent is probed as they say.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
};

use anyhow::ensure;

use super::{
    super::{
        capture::Capture,
        netns::{address, up},
        packet::{self, Sent},
        stage::{Family, SETTLE_NS},
        sys::{checked, now_ns, realtime_offset_ns, sleep_until},
        tun::Tun,
    },
    cases::{KEEPALIVE, KEEPCNT, KEEPIDLE, KEEPINTVL, MAXSEG, TOOK, sockaddr},
    player::Player,
    setter::Answer,
};
use crate::oracle::{Segment, segment};

const DEVICE: &str = "wire0";
/// The peer's port.
const PORT: u16 = 4400;
/// What the options are set to: bytes, seconds, seconds, probes.
const MSS: i32 = 700;
const IDLE_S: i32 = 3;
const INTERVAL_S: i32 = 1;
const PROBES: i32 = 3;
/// How long nothing comes with the defaults, seconds; less than the probes would take to come.
const SILENT_S: u64 = 2;
/// A timer of 3 s ends on a tick of the wheel (`kernel/time/timer.c`), which is no more than 64 jiffies late.
const LATE_NS: u64 = 300_000_000;
/// What lies between is counted in whole jiffies, two of which may be wrong.
const EARLY_NS: u64 = 8_000_000;
const S: u64 = 1_000_000_000;

/// Own address and the peer's, in one network of `DEVICE`.
pub(super) const fn ends(family: Family) -> (IpAddr, IpAddr) {
    match family {
        Family::V4 => {
            (IpAddr::V4(Ipv4Addr::new(10, 77, 1, 1)), IpAddr::V4(Ipv4Addr::new(10, 77, 1, 2)))
        }
        Family::V6 => (
            IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1)),
            IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2)),
        ),
    }
}

/// A peer answers the SYN and nothing after it.
pub(super) fn silent_peer(p: &mut Player) -> anyhow::Result<()> {
    let tun = Tun::create(DEVICE)?;
    up(DEVICE)?;
    let (own, peer) = ends(p.family);
    address(DEVICE, own)?;
    sleep_until(now_ns() + SETTLE_NS);
    let capture = Capture::start(DEVICE, realtime_offset_ns())?;
    let s = p.socket(0)?;
    p.set(&s, MAXSEG, MSS, TOOK);
    let fd = s.as_raw_fd();
    // SAFETY: fcntl() takes numbers.
    checked(i64::from(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) }))?;
    let to = SocketAddr::new(peer, PORT);
    let (length, name) = sockaddr(to);
    // SAFETY: the address is as long as is said.
    let result = unsafe { libc::connect(fd, name.as_ptr().cast(), length) };
    let error = io::Error::last_os_error();
    ensure!(result < 0 && error.raw_os_error() == Some(libc::EINPROGRESS), "connect: {error}");
    let (came, from) = taken(&tun, own)?;
    let answered_ns = now_ns();
    let answer = Sent {
        seq: 1_000,
        ack: Some(came.seq.wrapping_add(1)),
        window: 500,
        syn: Some((1_400, false)),
        ..Sent::default()
    };
    tun.give(&packet::build(to, from, &answer)?)?;
    p.set(&s, KEEPALIVE, 1, TOOK);
    p.set(&s, KEEPINTVL, INTERVAL_S, TOOK);
    p.set(&s, KEEPCNT, PROBES, TOOK);
    sleep_until(answered_ns + SILENT_S * S);
    let before = capture.drain()?;
    p.set(&s, KEEPIDLE, IDLE_S, TOOK);
    let over_s = u64::from((IDLE_S + INTERVAL_S * PROBES).unsigned_abs()) + 2;
    sleep_until(answered_ns + over_s * S);
    let after = capture.drain()?;
    let values = [KEEPIDLE, KEEPINTVL, KEEPCNT].map(|key| {
        let call = p.calls.iter().rev().find(|call| call.key == key);
        match call.and_then(|call| call.after.as_ref()) {
            Some(Answer::Number(value)) => value.unsigned_abs(),
            _ => 0,
        }
    });
    for wrong in differs(&before, &after, answered_ns, values) {
        p.complain(&wrong);
    }
    Ok(())
}

/// What the wire shows, against what the socket says: seconds until the first probe, between two, and how many.
fn differs(
    before: &[Segment],
    after: &[Segment],
    answered_ns: u64,
    [idle_s, interval_s, probes]: [u64; 3],
) -> Vec<String> {
    let sent: Vec<&Segment> = before.iter().filter(|segment| segment.outgoing).collect();
    let mut wrong = Vec::new();
    let mss = sent.first().and_then(|syn| syn.mss_bytes);
    if mss.map(i32::from) != Some(MSS) {
        wrong.push(format!("the SYN has the MSS {mss:?}, TCP_MAXSEG is {MSS}"));
    }
    // The SYN and the ACK of its answer: with the default of two hours nothing else comes.
    if sent.len() != 2 {
        wrong.push(format!("before TCP_KEEPIDLE was set: {sent:?}"));
    }
    let sent: Vec<&Segment> = after.iter().filter(|segment| segment.outgoing).collect();
    let begun = sent.iter().map(|segment| (segment.at_ns, segment.rst));
    let wanted = (0..=probes).map(|n| (answered_ns + (idle_s + n * interval_s) * S, n == probes));
    let fits = begun.zip(wanted.clone()).all(|((at_ns, is_reset), (due_ns, is_last))| {
        let late_ns = (at_ns + EARLY_NS).checked_sub(due_ns);
        is_reset == is_last && late_ns.is_some_and(|late_ns| late_ns < LATE_NS * (probes + 1))
    });
    let gaps = sent.windows(2).all(|two| match two {
        [first, second] => {
            let gap_ns = second.at_ns.saturating_sub(first.at_ns);
            (interval_s * S..interval_s * S + LATE_NS).contains(&(gap_ns + EARLY_NS))
        }
        _ => false,
    });
    if !fits || !gaps || sent.len() != wanted.count() {
        wrong.push(format!(
            "a peer silent since {answered_ns} ns is probed after {idle_s} s, every {interval_s} s, {probes} times, and \
             then reset; sent were {sent:?}"
        ));
    }
    wrong
}

/// The SYN that the host sends, and where from.
fn taken(tun: &Tun, own: IpAddr) -> anyhow::Result<(Segment, SocketAddr)> {
    let mut packet = vec![0; 4_096];
    for _ in 0..16 {
        let mut ready = libc::pollfd { fd: tun.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor is given, and outlives the call.
        let polled = unsafe { libc::poll(&raw mut ready, 1, 1_000) };
        ensure!(polled == 1, "no SYN came");
        let size = tun.take(&mut packet)?;
        let came = segment(packet.get(..size).unwrap_or_default(), now_ns(), true);
        if let Some(came) = came.filter(|came| came.syn && came.dport == PORT) {
            let from = SocketAddr::new(own, came.sport);
            return Ok((came, from));
        }
    }
    anyhow::bail!("no SYN came")
}

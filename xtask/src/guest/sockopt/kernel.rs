//! Options that the kernel itself sets: a module that has sockets of its own, RDS over TCP.

use std::{
    fs, io,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};

use super::{
    super::{
        netns::{Netns, address, up},
        sys::{checked, checked_fd, now_ns, sleep_until},
    },
    said::Found,
};

/// The modules, in the order of loading; they lie in the guest and are not loaded at its start, because each namespace
/// gets a listener by them.
pub(crate) const MODULES: [&str; 2] = ["rds", "rds_tcp"];

/// What `rds_tcp_keepalive()` and `rds_tcp_tune()` (net/rds/tcp.c) do with a connection that came, and with the listener of
/// a namespace before: level and number, before and after, result, way.
pub(super) const SET: [&str; 6] = [
    "6/1 0 to 1 0 kernel",
    "1/9 0 to 1 0 kernel",
    "6/6 default to 5 0 kernel",
    "6/4 default to 5 0 kernel",
    "6/5 default to 5 0 kernel",
    // Inherited from the listener.
    "6/1 1 to 1 0 kernel",
];

/// Where RDS listens (`RDS_TCP_PORT`), as `/proc/net/tcp` has it.
const LISTENS_AT: &str = ":4001";
/// The state ESTABLISHED and the keepalive timer, as `/proc/net/tcp` has them.
const ESTABLISHED: &str = "01";
const KEEPALIVE_TIMER: &str = "02";
/// How long a connection is waited for, nanoseconds.
const PATIENCE_NS: u64 = 5_000_000_000;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// What was done, and what the kernel says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Played {
    /// The namespace to which the connection came.
    pub(super) netns: u64,
    /// What its keepalive timer had left, hundredths of a second; the probes come after 5 s.
    due: u64,
}

/// Has RDS connect two namespaces.
pub(super) fn played() -> anyhow::Result<Played> {
    for module in MODULES {
        run("insmod", &format!("/lib/modules/{module}.ko"))?;
    }
    let player = thread::spawn(connected);
    let played =
        player.join().map_err(|_panicked| anyhow::anyhow!("the player panicked")).and_then(|it| it);
    for module in MODULES.iter().rev() {
        // The namespaces are taken apart by and by.
        let is_gone = (0..50).any(|_| {
            sleep_until(now_ns() + 100_000_000);
            run("rmmod", module).is_ok()
        });
        ensure!(is_gone, "{module} cannot be unloaded");
    }
    played
}

fn run(program: &str, argument: &str) -> anyhow::Result<()> {
    let done = Command::new(program).arg(argument).output().context(program.to_owned())?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program} {argument}: {}", said.trim());
    Ok(())
}

fn connected() -> anyhow::Result<Played> {
    let there = thread::spawn(Netns::create);
    let there = there.join().map_err(|_panicked| anyhow::anyhow!("it panicked"))??;
    let here = Netns::create()?;
    Netns::veth("rds0", "rds1", &there)?;
    up("rds0")?;
    address("rds0", CLIENT.into())?;
    let client = bound(CLIENT)?;
    there.enter()?;
    up("rds1")?;
    address("rds1", SERVER.into())?;
    let server = bound(SERVER)?;
    send(&client, SERVER)?;
    let until = now_ns() + PATIENCE_NS;
    let mut due = None;
    while due.is_none() && now_ns() < until {
        sleep_until(now_ns() + 20_000_000);
        due = keepalive_due(&fs::read_to_string("/proc/thread-self/net/tcp")?);
    }
    let netns = there.number()?;
    drop((client, server, here));
    let due = due.context("no connection came, or it has no keepalive timer")?;
    // Let its last messages go before the namespaces do.
    thread::sleep(Duration::from_millis(50));
    Ok(Played { netns, due })
}

/// A socket of RDS with this address.
fn bound(at: Ipv4Addr) -> anyhow::Result<OwnedFd> {
    // SAFETY: socket() takes three numbers.
    let fd = checked_fd(unsafe { libc::socket(libc::AF_RDS, libc::SOCK_SEQPACKET, 0) })?;
    // SAFETY: the call has returned a descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let (to, length) = name(at)?;
    // SAFETY: the address is as long as is said.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const to).cast(), length) };
    checked(i64::from(bound)).with_context(|| format!("bind RDS to {at}"))?;
    Ok(socket)
}

fn name(at: Ipv4Addr) -> io::Result<(libc::sockaddr_in, u32)> {
    // SAFETY: all-zero is an address.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    name.sin_family = u16::try_from(libc::AF_INET).map_err(io::Error::other)?;
    name.sin_port = 4000_u16.to_be();
    name.sin_addr.s_addr = u32::from(at).to_be();
    Ok((name, u32::try_from(size_of::<libc::sockaddr_in>()).map_err(io::Error::other)?))
}

/// Sends a byte, which makes the kernel connect.
fn send(from: &OwnedFd, to: Ipv4Addr) -> anyhow::Result<()> {
    let (to, length) = name(to)?;
    // SAFETY: the byte and the address are as long as is said.
    let sent = unsafe {
        libc::sendto(from.as_raw_fd(), b"x".as_ptr().cast(), 1, 0, (&raw const to).cast(), length)
    };
    checked(sent as i64).context("send by RDS")?;
    Ok(())
}

/// What the keepalive timer of the connection at RDS's port has left, of the lines of `/proc/net/tcp`.
fn keepalive_due(table: &str) -> Option<u64> {
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (timer, left) = words.get(5)?.split_once(':')?;
        let is_it = words.get(1)?.ends_with(LISTENS_AT) && *words.get(3)? == ESTABLISHED;
        (is_it && timer == KEEPALIVE_TIMER).then(|| u64::from_str_radix(left, 16).ok()).flatten()
    })
}

/// What is wrong with what is told.
pub(super) fn compared(found: &[&Found], played: Played) -> Vec<String> {
    let lines: Vec<String> = found.iter().map(|found| found.line()).collect();
    let mut wrong = Vec::new();
    if lines != SET {
        wrong.push(format!("RDS has set {SET:?}, told are {lines:?}"));
    }
    // The probes come 5 s after the last segment, which is no more than the patience ago.
    if played.due > 500 {
        wrong.push(format!("RDS: the keepalive timer has {} cs left", played.due));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::keepalive_due;

    #[test]
    fn the_timer_is_that_of_the_connection() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             0: 00000000:4001 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
             1: 02004D0A:4001 01004D0A:8A5C 01 00000000:00000000 02:000001E3 00000000\n";
        assert_eq!(keepalive_due(table), Some(483));
        assert_eq!(keepalive_due(&table.replace("02:0", "00:0")), None);
    }
}

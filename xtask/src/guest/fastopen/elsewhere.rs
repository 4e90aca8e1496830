//! What is decided elsewhere: in another namespace, on a route, on the way, by another connection or an earlier one.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread::{self, sleep},
    time::Duration,
};

use super::{
    super::{
        netns::{Metric, Netns, address, route, set, up},
        sys::{checked_fd, set_option},
    },
    cases::int,
    place::{
        MSG_FASTOPEN, PORT, Place, TCP_FASTOPEN, TCP_FASTOPEN_NO_COOKIE, end, send, serve_at,
        set_bytes, setting,
    },
    raw::{Raw, option34},
};

/// The client's device, and the server's.
const DEVICES: [&str; 2] = ["veth0", "veth1"];

/// A server in a namespace of its own, whose settings are what a new one has unless `settings` is given.
fn beyond(
    place: &mut Place,
    settings: Option<u32>,
    options: &[(i32, Vec<u8>)],
) -> anyhow::Result<SocketAddr> {
    let (own, other) = place.family.addresses();
    let at = SocketAddr::new(other, PORT);
    let [here, there] = DEVICES;
    // A namespace belongs to a thread.
    let made = thread::spawn(Netns::create).join();
    let netns = made.map_err(|_panicked| anyhow::anyhow!("no second namespace"))??;
    Netns::veth(here, there, &netns)?;
    up(here)?;
    address(here, own)?;
    let served = thread::scope(|scope| {
        let server = scope.spawn(|| -> anyhow::Result<()> {
            netns.enter()?;
            up(there)?;
            address(there, other)?;
            settings.map_or(Ok(()), setting)?;
            serve_at(at, options).map(drop)
        });
        server.join()
    });
    served.map_err(|_panicked| anyhow::anyhow!("the server panicked"))??;
    sleep(Duration::from_millis(100));
    place.watch(here, None)?;
    place.elsewhere(netns);
    Ok(at)
}

/// What the host allows says nothing of another namespace, which begins with the client's bit only.
pub(super) fn another_namespace(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let at = beyond(place, None, &[(TCP_FASTOPEN, int(5))])?;
    place.talk(at, 100)?;
    Ok(())
}

pub(super) fn route_without_cookies(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let options = [(TCP_FASTOPEN, int(5)), (TCP_FASTOPEN_NO_COOKIE, int(1))];
    let at = beyond(place, Some(3), &options)?;
    route(DEVICES[0], at.ip(), Metric::FastopenNoCookie)?;
    place.talk(at, 100)?;
    Ok(())
}

pub(super) fn options_without_cookies(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5)), (TCP_FASTOPEN_NO_COOKIE, int(1))])?;
    let socket = place.socket(0)?;
    set_bytes(socket.as_raw_fd(), TCP_FASTOPEN_NO_COOKIE, &int(1))?;
    send(&socket, &[b'x'; 100], MSG_FASTOPEN, Some(place.at(PORT)))?;
    end(&socket);
    Ok(())
}

/// The setting that opens every listener is read by `listen()`.
pub(super) fn every_listener_too_late(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    place.serve(PORT, &[])?;
    setting(0x403)?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

/// A queue of no length is none.
pub(super) fn switched_off(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let server = place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    set_bytes(server, TCP_FASTOPEN, &int(0))?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

/// The slot of a connection that was reset is free after a minute.
pub(super) fn slot_after_a_minute(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let raw = Raw::open(place)?;
    serve_at(raw.host(), &[(TCP_FASTOPEN, int(1))])?;
    let cookie = raw.syn(2000, &option34(&[]), &[])?.cookie;
    raw.reset(2000, 0)?;
    raw.syn(2001, &option34(&cookie), b"0123456789")?;
    sleep(Duration::from_millis(100));
    raw.reset(2001, 10)?;
    sleep(Duration::from_secs(58));
    raw.syn(2002, &option34(&cookie), b"0123456789")?;
    raw.reset(2002, 0)?;
    sleep(Duration::from_secs(3));
    let third = raw.syn(2003, &option34(&cookie), b"0123456789")?;
    raw.acknowledge(2003, 10, &third)?;
    sleep(Duration::from_millis(50));
    raw.reset(2003, 10)
}

/// A client whose SYN with data is answered by an ICMP message that it is too big.
pub(super) fn too_big(place: &mut Place) -> anyhow::Result<()> {
    setting(7)?;
    let raw = Raw::open(place)?;
    let socket = place.socket(libc::SOCK_NONBLOCK)?;
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &at_once)?;
    send(&socket, &[b'x'; 100], MSG_FASTOPEN, Some(raw.own()))?;
    let syn = raw.awaited()?;
    anyhow::ensure!(syn.bytes == 100, "{syn:?}");
    raw.too_big(&syn, 1_300)?;
    let again = raw.awaited()?;
    anyhow::ensure!(again.bytes == 0, "{again:?}");
    raw.answer(&again, 0, &[])?;
    sleep(Duration::from_millis(50));
    Ok(())
}

/// A server whose answer to a Fast Open connection is never acknowledged loses Fast Open for its own clients. It answers
/// when the handshake is complete: before that it is the SYN-ACK that is sent again.
pub(super) fn servers_answer_lost(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    set("ipv4/tcp_fastopen_blackhole_timeout_sec", "20")?;
    let raw = Raw::open(place)?;
    let listener = TcpListener::bind(raw.host())?;
    set_bytes(listener.as_raw_fd(), TCP_FASTOPEN, &int(5))?;
    let cookie = raw.syn(2000, &option34(&[]), &[])?.cookie;
    raw.reset(2000, 0)?;
    let first = raw.syn(2001, &option34(&cookie), b"0123456789")?;
    raw.acknowledge(2001, 10, &first)?;
    let (mut accepted, _) = listener.accept()?;
    sleep(Duration::from_millis(20));
    accepted.write_all(b"ok")?;
    sleep(Duration::from_secs(3));
    place.serve(PORT + 1, &[])?;
    place.talk(place.at(PORT + 1), 50)?;
    raw.reset(2001, 10)
}

/// A connection that nobody has accepted when its listener is closed.
pub(super) fn listener_closed(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let raw = Raw::open(place)?;
    let listener = TcpListener::bind(raw.host())?;
    set_bytes(listener.as_raw_fd(), TCP_FASTOPEN, &int(5))?;
    let cookie = raw.syn(2000, &option34(&[]), &[])?.cookie;
    raw.reset(2000, 0)?;
    let first = raw.syn(2001, &option34(&cookie), b"0123456789")?;
    raw.acknowledge(2001, 10, &first)?;
    sleep(Duration::from_millis(50));
    drop(listener);
    sleep(Duration::from_millis(50));
    Ok(())
}

/// A SYN with data that comes twice makes one connection.
pub(super) fn syn_twice(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let raw = Raw::open(place)?;
    serve_at(raw.host(), &[(TCP_FASTOPEN, int(5))])?;
    let cookie = raw.syn(2000, &option34(&[]), &[])?.cookie;
    raw.reset(2000, 0)?;
    raw.syn(2001, &option34(&cookie), b"0123456789")?;
    let again = raw.syn(2001, &option34(&cookie), b"0123456789")?;
    raw.acknowledge(2001, 10, &again)?;
    sleep(Duration::from_millis(50));
    raw.reset(2001, 10)
}

/// `MSG_FASTOPEN` on a socket of MPTCP, whose SYN has an option of its own.
pub(super) fn multipath(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    for _ in 0..2 {
        let family = if place.host().is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: socket() takes three numbers.
        let fd =
            checked_fd(unsafe { libc::socket(family, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) })?;
        // SAFETY: the call has returned a descriptor that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        send(&socket, &[b'x'; 100], MSG_FASTOPEN, Some(place.at(PORT)))?;
        end(&socket);
    }
    Ok(())
}

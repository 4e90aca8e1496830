//! What is provoked by a peer that the test makes: only one end is a socket of this host.

use std::{net::TcpListener, os::fd::AsRawFd as _, thread::sleep, time::Duration};

use super::{
    super::{netns::set, sys::set_option},
    cases::{fails, int},
    place::{MSG_FASTOPEN, Place, TCP_FASTOPEN, send, serve_at, set_bytes, setting},
    raw::{Came, Raw, option34, option254},
};

/// A server on the device, and the cookie that it gives to the peer.
fn serving(place: &mut Place, queue: i32) -> anyhow::Result<(Raw, Vec<u8>)> {
    setting(3)?;
    let raw = Raw::open(place)?;
    serve_at(raw.host(), &[(TCP_FASTOPEN, int(queue))])?;
    let cookie = asked(&raw)?;
    Ok((raw, cookie))
}

/// Asks for a cookie.
fn asked(raw: &Raw) -> anyhow::Result<Vec<u8>> {
    let answer = raw.syn(2000, &option34(&[]), &[])?;
    raw.reset(2000, 0)?;
    anyhow::ensure!(answer.cookie.len() == 8, "a cookie of {} B", answer.cookie.len());
    Ok(answer.cookie)
}

/// Ends a connection that had 10 B in its SYN, or its host would send its answer again and again.
fn finish(raw: &Raw, from: u16) -> anyhow::Result<()> {
    sleep(Duration::from_millis(50));
    raw.reset(from, 10)
}

pub(super) fn queue_full(place: &mut Place) -> anyhow::Result<()> {
    let (raw, cookie) = serving(place, 1)?;
    let first = raw.syn(2001, &option34(&cookie), b"0123456789")?;
    raw.syn(2002, &option34(&cookie), b"0123456789")?;
    raw.reset(2002, 0)?;
    raw.acknowledge(2001, 10, &first)?;
    finish(&raw, 2001)
}

pub(super) fn slot_of_a_reset(place: &mut Place) -> anyhow::Result<()> {
    let (raw, cookie) = serving(place, 1)?;
    raw.syn(2001, &option34(&cookie), b"0123456789")?;
    // The server accepts it meanwhile.
    sleep(Duration::from_millis(100));
    raw.reset(2001, 10)?;
    raw.syn(2002, &option34(&cookie), b"0123456789")?;
    raw.reset(2002, 0)?;
    Ok(())
}

pub(super) fn reset_before_accept(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let raw = Raw::open(place)?;
    let listener = TcpListener::bind(raw.host())?;
    set_bytes(listener.as_raw_fd(), TCP_FASTOPEN, &int(1))?;
    let cookie = asked(&raw)?;
    raw.syn(2001, &option34(&cookie), b"0123456789")?;
    raw.reset(2001, 10)?;
    let second = raw.syn(2002, &option34(&cookie), b"0123456789")?;
    raw.acknowledge(2002, 10, &second)?;
    finish(&raw, 2002)
}

pub(super) fn wrong_options(place: &mut Place) -> anyhow::Result<()> {
    let (raw, _) = serving(place, 5)?;
    raw.syn(2001, &option34(&[1; 5]), b"0123456789")?;
    raw.reset(2001, 0)?;
    raw.syn(2002, &option34(&[1; 4]), b"0123456789")?;
    raw.reset(2002, 0)?;
    raw.syn(2003, &[], b"0123456789")?;
    raw.reset(2003, 0)
}

pub(super) fn experimental(place: &mut Place) -> anyhow::Result<()> {
    let (raw, _) = serving(place, 5)?;
    let answer = raw.syn(2001, &option254(&[]), &[])?;
    raw.reset(2001, 0)?;
    let second = raw.syn(2002, &option254(&answer.cookie), b"0123456789")?;
    raw.acknowledge(2002, 10, &second)?;
    finish(&raw, 2002)
}

/// The answer is sent again once, and given up two seconds later.
pub(super) fn handshake_never_complete(place: &mut Place) -> anyhow::Result<()> {
    set("ipv4/tcp_synack_retries", "0")?;
    let (raw, cookie) = serving(place, 5)?;
    raw.syn(2001, &option34(&cookie), &[])?;
    sleep(Duration::from_secs(4));
    Ok(())
}

/// A client that sends without waiting, and its SYN.
fn opened(place: &Place, raw: &Raw, bytes: usize) -> anyhow::Result<(std::os::fd::OwnedFd, Came)> {
    let socket = place.socket(libc::SOCK_NONBLOCK)?;
    // It ends with its descriptor, or the host would send again and again.
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &at_once)?;
    let sent = send(&socket, &vec![b'x'; bytes], MSG_FASTOPEN, Some(raw.own()));
    let syn = raw.awaited()?;
    if syn.bytes == 0 {
        fails(sent, libc::EINPROGRESS)?;
    } else {
        sent?;
    }
    Ok((socket, syn))
}

/// A peer behind the device that has given the host a cookie.
fn known(place: &mut Place) -> anyhow::Result<Raw> {
    setting(3)?;
    let raw = Raw::open(place)?;
    let (_socket, syn) = opened(place, &raw, 100)?;
    raw.answer(&syn, 0, &option34(&[9; 8]))?;
    Ok(raw)
}

/// The second connection, whose SYN has a cookie and data.
fn second(place: &mut Place, acked: u32, option: &[u8]) -> anyhow::Result<()> {
    let raw = known(place)?;
    let (_socket, syn) = opened(place, &raw, 100)?;
    anyhow::ensure!(syn.bytes == 100 && syn.cookie == [9; 8], "{syn:?}");
    raw.answer(&syn, acked, option)?;
    sleep(Duration::from_millis(20));
    Ok(())
}

pub(super) fn all_acked(place: &mut Place) -> anyhow::Result<()> {
    second(place, 100, &[])
}

pub(super) fn partly_acked(place: &mut Place) -> anyhow::Result<()> {
    second(place, 40, &[])
}

pub(super) fn stripped(place: &mut Place) -> anyhow::Result<()> {
    second(place, 0, &[])
}

pub(super) fn another_cookie(place: &mut Place) -> anyhow::Result<()> {
    second(place, 0, &option34(&[8; 8]))
}

pub(super) fn syn_lost(place: &mut Place) -> anyhow::Result<()> {
    let raw = known(place)?;
    let (_socket, _lost) = opened(place, &raw, 100)?;
    let again = raw.awaited()?;
    anyhow::ensure!(again.bytes == 0 && again.cookie.is_empty(), "{again:?}");
    raw.answer(&again, 0, &[])?;
    sleep(Duration::from_millis(20));
    Ok(())
}

pub(super) fn request_lost(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let raw = Raw::open(place)?;
    let (_socket, _lost) = opened(place, &raw, 100)?;
    let again = raw.awaited()?;
    raw.answer(&again, 0, &[])?;
    sleep(Duration::from_millis(20));
    Ok(())
}

/// The second SYN asks by the experimental option.
pub(super) fn never_given(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let raw = Raw::open(place)?;
    for _ in 0..2 {
        let (_socket, syn) = opened(place, &raw, 100)?;
        raw.answer(&syn, 0, &[])?;
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// One SYN more, and the kernel gives up.
pub(super) fn no_answer(place: &mut Place) -> anyhow::Result<()> {
    setting(7)?;
    set("ipv4/tcp_syn_retries", "1")?;
    let to = place.nowhere()?;
    let socket = place.socket(0)?;
    fails(send(&socket, &[b'x'; 100], MSG_FASTOPEN, Some(to)), libc::ETIMEDOUT)?;
    Ok(())
}

/// As from something between the ends that cuts connections: what is out of order on a connection that used Fast Open
/// pauses it.
pub(super) fn reset_out_of_order(place: &mut Place) -> anyhow::Result<()> {
    set("ipv4/tcp_fastopen_blackhole_timeout_sec", "20")?;
    let raw = known(place)?;
    let (_socket, syn) = opened(place, &raw, 100)?;
    raw.answer(&syn, 100, &[])?;
    sleep(Duration::from_millis(20));
    raw.reset_ahead(&syn, 10)?;
    sleep(Duration::from_millis(20));
    Ok(())
}

/// The SYN with data is answered after `meanwhile`.
pub(super) fn answered_later(
    place: &mut Place,
    meanwhile: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let raw = known(place)?;
    let (_socket, syn) = opened(place, &raw, 100)?;
    meanwhile()?;
    raw.answer(&syn, 100, &[])?;
    sleep(Duration::from_millis(20));
    Ok(())
}

//! What is provoked, and what must be said of it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    thread::sleep,
    time::Duration,
};

use super::{
    super::{
        netns::{address, set},
        qdisc::drops,
        stage::Family,
    },
    alone, elsewhere,
    place::{
        MSG_FASTOPEN, PORT, Place, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_KEY,
        TCP_MD5SIG, connect, end, named, option, send, send_from, send_unspecified, serve_at,
        set_bytes, setting,
    },
};

/// A case.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) play: fn(&mut Place) -> anyhow::Result<()>,
    /// Side, outcome and reason of each finding, in the order of time by side.
    pub(super) wanted: &'static [&'static str],
    /// One of the ends must tell of the other.
    pub(super) joined: bool,
    /// It waits for a minute.
    pub(super) long: bool,
}

macro_rules! case {
    ($name:literal, $play:path, [$($wanted:literal),*]) => {
        Case { name: $name, play: $play, wanted: &[$($wanted),*], joined: false, long: false }
    };
    ($name:literal, $play:path, [$($wanted:literal),*], joined) => {
        Case { joined: true, ..case!($name, $play, [$($wanted),*]) }
    };
    ($name:literal, $play:path, [$($wanted:literal),*], long) => {
        Case { long: true, ..case!($name, $play, [$($wanted),*]) }
    };
}

/// All of them.
pub(super) const CASES: [Case; 55] = [
    case!(
        "works",
        works,
        [
            "client cookie_granted no_cookie",
            "client worked -",
            "server cookie_granted -",
            "server worked -"
        ],
        joined
    ),
    case!(
        "server bit off",
        server_bit_off,
        [
            "client cookie_requested no_cookie",
            "client cookie_requested no_cookie",
            "server not_usable server_bit_off",
            "server refused server_bit_off",
            "server refused server_bit_off"
        ],
        joined
    ),
    case!("client bit off", client_bit_off, ["client not_tried client_bit_off"]),
    case!("client bit off, option", option_refused, ["client not_tried client_bit_off"]),
    case!("AF_UNSPEC", unspecified, ["client not_tried family"]),
    case!("already connected", connected, ["client not_tried connected"]),
    case!("no address", no_address, ["client not_tried no_address"]),
    case!("in progress", in_progress, ["client lost closed", "client not_tried in_progress"]),
    case!(
        "does not wait",
        does_not_wait,
        ["client cookie_granted no_cookie", "server cookie_granted -"]
    ),
    case!(
        "more than fits",
        more_than_fits,
        [
            "client cookie_granted no_cookie",
            "client worked -",
            "server cookie_granted -",
            "server worked -"
        ]
    ),
    case!(
        "nothing to send",
        nothing_to_send,
        [
            "client cookie_granted no_cookie",
            "client not_tried no_data",
            "server cookie_granted -",
            "server worked no_data"
        ]
    ),
    case!(
        "bad pointer",
        bad_pointer,
        [
            "client cookie_granted no_cookie",
            "client not_tried copy_fault",
            "server cookie_granted -",
            "server cookie_granted -"
        ]
    ),
    case!(
        "port without it",
        port_without,
        [
            "client cookie_granted no_cookie",
            "client refused data_not_acked",
            "server cookie_granted -",
            "server refused not_enabled"
        ],
        joined
    ),
    case!(
        "another key",
        another_key,
        [
            "client cookie_granted no_cookie",
            "client refused stale_cookie",
            "server cookie_granted -",
            "server refused bad_cookie"
        ],
        joined
    ),
    case!(
        "backup key",
        backup_key,
        [
            "client cookie_granted no_cookie",
            "client worked -",
            "server cookie_granted -",
            "server worked old_key"
        ]
    ),
    case!(
        "deferred",
        deferred,
        [
            "client cookie_granted no_cookie",
            "client worked -",
            "server cookie_granted -",
            "server worked -"
        ]
    ),
    case!(
        "option without cookie",
        option_without_cookie,
        ["client cookie_granted no_cookie", "server cookie_granted -"]
    ),
    case!(
        "never written",
        never_written,
        [
            "client cookie_granted no_cookie",
            "client deferred_unsent never_written",
            "server cookie_granted -"
        ]
    ),
    case!(
        "closed port",
        closed_port,
        ["client cookie_granted no_cookie", "client refused reset", "server cookie_granted -"]
    ),
    case!(
        "no cookie on both ends",
        cookieless,
        ["client worked cookieless", "server worked cookieless"]
    ),
    case!(
        "no cookie, strict server",
        strict_server,
        ["client refused data_not_acked", "server refused no_option"],
        joined
    ),
    case!(
        "asked a server without cookies",
        asked_cookieless,
        ["client cookie_requested no_cookie", "server worked cookieless"]
    ),
    case!(
        "every listener",
        every_listener,
        [
            "client cookie_granted no_cookie",
            "client worked -",
            "server cookie_granted -",
            "server worked -"
        ]
    ),
    case!(
        "SYN cookies",
        syn_cookies,
        [
            "client cookie_granted no_cookie",
            "client refused data_not_acked",
            "server cookie_granted -",
            "server not_tried syn_cookie"
        ],
        joined
    ),
    case!(
        "no room for the cookie",
        no_room,
        [
            "client cookie_granted no_cookie",
            "client not_tried option_space",
            "server cookie_granted -",
            "server refused no_option"
        ]
    ),
    case!(
        "not transmitted",
        not_transmitted,
        [
            "client cookie_granted no_cookie",
            "client not_tried transmit_failed",
            "server cookie_granted -"
        ]
    ),
    case!(
        "queue full",
        alone::queue_full,
        ["server cookie_granted -", "server worked -", "server refused queue_full"]
    ),
    case!(
        "slot of a reset",
        alone::slot_of_a_reset,
        ["server cookie_granted -", "server worked child_reset", "server refused queue_full"]
    ),
    case!(
        "reset before accept",
        alone::reset_before_accept,
        ["server cookie_granted -", "server worked child_reset", "server worked -"]
    ),
    case!(
        "wrong options",
        alone::wrong_options,
        [
            "server cookie_granted -",
            "server refused no_option",
            "server refused bad_cookie",
            "server refused no_option"
        ]
    ),
    case!(
        "experimental option",
        alone::experimental,
        ["server cookie_granted -", "server cookie_granted -", "server worked -"]
    ),
    case!(
        "handshake never complete",
        alone::handshake_never_complete,
        ["server cookie_granted -", "server worked child_timed_out"]
    ),
    case!(
        "all acknowledged",
        alone::all_acked,
        ["client cookie_granted no_cookie", "client worked -"]
    ),
    case!(
        "partly acknowledged",
        alone::partly_acked,
        ["client cookie_granted no_cookie", "client partial partly_acked"]
    ),
    case!(
        "stripped on the way",
        alone::stripped,
        ["client cookie_granted no_cookie", "client refused data_not_acked"]
    ),
    case!(
        "another cookie",
        alone::another_cookie,
        ["client cookie_granted no_cookie", "client refused stale_cookie"]
    ),
    case!("SYN lost", alone::syn_lost, ["client cookie_granted no_cookie", "client lost syn_lost"]),
    case!("request lost", alone::request_lost, ["client lost no_cookie"]),
    case!(
        "never given",
        alone::never_given,
        ["client cookie_requested no_cookie", "client cookie_requested no_cookie"]
    ),
    case!("no answer", alone::no_answer, ["client lost no_answer", "client blackhole timeouts"]),
    case!(
        "several addresses",
        several_addresses,
        [
            "client cookie_granted no_cookie",
            "client cookie_granted no_cookie",
            "client worked -",
            "client worked -",
            "server cookie_granted -",
            "server cookie_granted -",
            "server worked -",
            "server worked -"
        ]
    ),
    case!(
        "reset out of order",
        alone::reset_out_of_order,
        ["client cookie_granted no_cookie", "client worked -", "client blackhole out_of_order"]
    ),
    case!("nobody asks", nobody_asks, []),
    case!(
        "black hole",
        black_hole,
        ["client lost closed", "client blackhole timeouts", "client not_tried paused"]
    ),
    case!(
        "another namespace",
        elsewhere::another_namespace,
        [
            "client cookie_requested no_cookie",
            "server not_usable server_bit_off",
            "server refused server_bit_off"
        ],
        joined
    ),
    case!(
        "route without cookies",
        elsewhere::route_without_cookies,
        ["client worked cookieless", "server worked cookieless"],
        joined
    ),
    case!(
        "options without cookies",
        elsewhere::options_without_cookies,
        ["client worked cookieless", "server worked cookieless"],
        joined
    ),
    case!(
        "every listener, too late",
        elsewhere::every_listener_too_late,
        ["client cookie_requested no_cookie", "server refused not_enabled"],
        joined
    ),
    case!(
        "switched off",
        elsewhere::switched_off,
        ["client cookie_requested no_cookie", "server refused not_enabled"],
        joined
    ),
    case!(
        "slot after a minute",
        elsewhere::slot_after_a_minute,
        [
            "server cookie_granted -",
            "server worked child_reset",
            "server refused queue_full",
            "server worked -"
        ],
        long
    ),
    case!("too big", elsewhere::too_big, ["client lost syn_turned_away"]),
    case!(
        "server's answer lost",
        elsewhere::servers_answer_lost,
        [
            "client not_tried paused",
            "server cookie_granted -",
            "server worked -",
            "server blackhole timeouts"
        ]
    ),
    case!(
        "listener closed",
        elsewhere::listener_closed,
        ["server cookie_granted -", "server worked -"]
    ),
    case!("SYN twice", elsewhere::syn_twice, ["server cookie_granted -", "server worked -"]),
    case!(
        "multipath",
        elsewhere::multipath,
        [
            "client cookie_granted no_cookie",
            "client worked -",
            "server cookie_granted -",
            "server worked -"
        ],
        joined
    ),
];

/// What a kernel cannot do, and why: the case fails there.
pub(super) const CANNOT: [(&str, &str, &str); 2] = [
    ("5.10", "multipath", "built without `CONFIG_MPTCP`"),
    ("6.1", "multipath", "`mptcp_sendmsg()` refuses `MSG_FASTOPEN`"),
];

/// What a kernel does in another way.
pub(super) const OTHERWISE: [(&str, &str, &[&str]); 1] =
    // The message only shortens what the timer sends a second later.
    [("5.10", "too big", &["client lost syn_lost"])];

pub(super) fn int(value: i32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// A server that has set `TCP_FASTOPEN`, and a client that has its cookie.
fn known(place: &Place) -> anyhow::Result<i32> {
    setting(3)?;
    let server = place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    place.talk(place.at(PORT), 100)?;
    Ok(server)
}

fn works(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

fn server_bit_off(place: &mut Place) -> anyhow::Result<()> {
    setting(1)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    place.talk(place.at(PORT), 78)?;
    place.talk(place.at(PORT), 78)?;
    Ok(())
}

/// Whether the call failed with this error.
pub(super) fn fails<T>(result: io::Result<T>, error: i32) -> anyhow::Result<()> {
    let failed = result.err().and_then(|failed| failed.raw_os_error());
    anyhow::ensure!(failed == Some(error), "wanted error {error}, got {failed:?}");
    Ok(())
}

fn client_bit_off(place: &mut Place) -> anyhow::Result<()> {
    setting(2)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    let socket = place.socket(0)?;
    fails(send(&socket, b"x", MSG_FASTOPEN, Some(place.at(PORT))), libc::EOPNOTSUPP)
}

fn option_refused(place: &mut Place) -> anyhow::Result<()> {
    setting(2)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    let socket = place.socket(0)?;
    fails(option(&socket, TCP_FASTOPEN_CONNECT), libc::EOPNOTSUPP)?;
    connect(&socket, place.at(PORT))?;
    send(&socket, b"x", 0, None)?;
    end(&socket);
    Ok(())
}

fn unspecified(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let socket = place.socket(0)?;
    fails(send_unspecified(&socket), libc::EOPNOTSUPP)
}

fn connected(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    let socket = place.socket(0)?;
    connect(&socket, place.at(PORT))?;
    fails(send(&socket, b"x", MSG_FASTOPEN, Some(place.at(PORT))), libc::EISCONN)
}

fn no_address(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let socket = place.socket(0)?;
    fails(send(&socket, b"x", MSG_FASTOPEN, None), libc::EINVAL)
}

fn in_progress(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let to = place.nowhere()?;
    let socket = place.socket(libc::SOCK_NONBLOCK)?;
    fails(send(&socket, b"x", MSG_FASTOPEN, Some(to)), libc::EINPROGRESS)?;
    fails(send(&socket, b"x", MSG_FASTOPEN, Some(to)), libc::EALREADY)
}

fn does_not_wait(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    let socket = place.socket(libc::SOCK_NONBLOCK)?;
    fails(send(&socket, &[b'x'; 78], MSG_FASTOPEN, Some(place.at(PORT))), libc::EINPROGRESS)?;
    sleep(Duration::from_millis(20));
    send(&socket, &[b'x'; 78], 0, None)?;
    sleep(Duration::from_millis(20));
    Ok(())
}

fn more_than_fits(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    let socket = place.socket(libc::SOCK_NONBLOCK)?;
    let sent = send(&socket, &vec![b'x'; 70_000], MSG_FASTOPEN, Some(place.at(PORT)))?;
    anyhow::ensure!(sent > 0 && sent < 70_000, "{sent} B were taken");
    sleep(Duration::from_millis(20));
    Ok(())
}

fn nothing_to_send(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    place.talk(place.at(PORT), 0)?;
    Ok(())
}

fn bad_pointer(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    let socket = place.socket(0)?;
    let nowhere = std::ptr::without_provenance(0x1000);
    fails(send_from(&socket, nowhere, 100, MSG_FASTOPEN, Some(place.at(PORT))), libc::EFAULT)
}

fn port_without(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    place.serve(PORT + 1, &[])?;
    place.talk(place.at(PORT + 1), 100)?;
    Ok(())
}

fn another_key(place: &mut Place) -> anyhow::Result<()> {
    let server = known(place)?;
    set_bytes(server, TCP_FASTOPEN_KEY, &[7; 16])?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

fn backup_key(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let options = [(TCP_FASTOPEN, int(5)), (TCP_FASTOPEN_KEY, vec![2; 16])];
    let server = place.serve(PORT, &options)?;
    place.talk(place.at(PORT), 100)?;
    let both: Vec<u8> = [[3; 16], [2; 16]].concat();
    set_bytes(server, TCP_FASTOPEN_KEY, &both)?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

fn deferred(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    let socket = place.socket(0)?;
    option(&socket, TCP_FASTOPEN_CONNECT)?;
    connect(&socket, place.at(PORT))?;
    sleep(Duration::from_millis(50));
    send(&socket, &[b'x'; 100], 0, None)?;
    end(&socket);
    Ok(())
}

fn option_without_cookie(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    let socket = place.socket(0)?;
    option(&socket, TCP_FASTOPEN_CONNECT)?;
    connect(&socket, place.at(PORT))?;
    send(&socket, &[b'x'; 100], 0, None)?;
    end(&socket);
    Ok(())
}

fn never_written(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    let socket = place.socket(0)?;
    option(&socket, TCP_FASTOPEN_CONNECT)?;
    connect(&socket, place.at(PORT))?;
    sleep(Duration::from_millis(50));
    Ok(())
}

fn closed_port(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    let socket = place.socket(0)?;
    fails(send(&socket, b"x", MSG_FASTOPEN, Some(place.at(PORT + 1))), libc::ECONNREFUSED)
}

fn cookieless(place: &mut Place) -> anyhow::Result<()> {
    setting(0x207)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

fn strict_server(place: &mut Place) -> anyhow::Result<()> {
    setting(7)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

fn asked_cookieless(place: &mut Place) -> anyhow::Result<()> {
    setting(0x203)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

fn every_listener(place: &mut Place) -> anyhow::Result<()> {
    setting(0x403)?;
    place.serve(PORT, &[])?;
    place.talk(place.at(PORT), 100)?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

fn syn_cookies(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    set("ipv4/tcp_syncookies", "2")?;
    place.talk(place.at(PORT), 100)?;
    Ok(())
}

/// Signatures by MD5 take the room of the cookie.
fn no_room(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    let server = place.serve(PORT + 1, &[(TCP_FASTOPEN, int(5))])?;
    let key = md5_key(place.at(0));
    set_bytes(server, TCP_MD5SIG, &key)?;
    let socket = place.socket(0)?;
    set_bytes(socket.as_raw_fd(), TCP_MD5SIG, &key)?;
    send(&socket, &[b'x'; 100], MSG_FASTOPEN, Some(place.at(PORT + 1)))?;
    end(&socket);
    Ok(())
}

/// A `struct tcp_md5sig` for the address.
fn md5_key(of: SocketAddr) -> Vec<u8> {
    let (name, _) = named(of);
    // tcpm_addr; tcpm_flags and tcpm_prefixlen; tcpm_keylen; tcpm_ifindex; tcpm_key.
    let mut key = name.to_vec();
    key.resize(130, 0);
    key.extend(4_u16.to_ne_bytes());
    key.extend([0; 4]);
    key.extend(b"key!");
    key.resize(216, 0);
    key
}

/// The device drops both SYNs; the one that is sent again a second later arrives.
fn not_transmitted(place: &mut Place) -> anyhow::Result<()> {
    known(place)?;
    drops("lo", true)?;
    let socket = place.socket(libc::SOCK_NONBLOCK)?;
    let sent = send(&socket, &[b'x'; 100], MSG_FASTOPEN, Some(place.at(PORT)));
    drops("lo", false)?;
    sleep(Duration::from_millis(1_500));
    sent?;
    end(&socket);
    Ok(())
}

/// A cookie belongs to an address.
fn several_addresses(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let hosts: [IpAddr; 2] = match place.family {
        Family::V4 => [[127, 0, 0, 2].into(), [127, 0, 0, 3].into()],
        Family::V6 => {
            let (one, other) = Family::V6.addresses();
            address("lo", one)?;
            address("lo", other)?;
            sleep(Duration::from_millis(100));
            [one, other]
        }
    };
    for host in hosts {
        serve_at(SocketAddr::new(host, PORT), &[(TCP_FASTOPEN, int(5))])?;
    }
    for _ in 0..2 {
        for host in hosts {
            place.talk(SocketAddr::new(host, PORT), 100)?;
        }
    }
    Ok(())
}

/// An ordinary connection to a listener that would take Fast Open.
fn nobody_asks(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    place.serve(PORT, &[(TCP_FASTOPEN, int(5))])?;
    let socket = place.socket(0)?;
    connect(&socket, place.at(PORT))?;
    send(&socket, b"x", 0, None)?;
    end(&socket);
    Ok(())
}

/// The third timeout comes after 3 s or 7 s.
fn black_hole(place: &mut Place) -> anyhow::Result<()> {
    setting(7)?;
    set("ipv4/tcp_fastopen_blackhole_timeout_sec", "20")?;
    let to = place.nowhere()?;
    let first = place.socket(libc::SOCK_NONBLOCK)?;
    send(&first, &[b'x'; 100], MSG_FASTOPEN, Some(to))?;
    sleep(Duration::from_secs(8));
    place.serve(PORT, &[])?;
    place.talk(place.at(PORT), 50)?;
    let _kept = first.as_raw_fd();
    Ok(())
}

//! What is provoked, and what must be said of it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::mpsc::{Sender, channel},
    thread::{self, sleep},
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::{
    super::{
        fastopen::{
            place::{PORT, Place, TCP_FASTOPEN, named, set_bytes, setting},
            raw::Raw,
        },
        netns::set,
        sys::{checked, set_option},
    },
    said::Kernel,
};

/// `linux/tcp.h`.
const TCP_DEFER_ACCEPT: i32 = 9;

/// A case.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) play: fn(&mut Place) -> anyhow::Result<()>,
    /// What must be said of each connection of the case, and of the listener.
    pub(super) wanted: fn(&Kernel) -> Vec<&'static str>,
    /// How long each connection is held, milliseconds, at least and at most.
    pub(super) held_ms: Option<(u64, u64)>,
    /// The kernels that can do it.
    pub(super) exists: fn(&Kernel) -> bool,
    /// Each request is taken over by another listener, where the kernel does that.
    pub(super) migrates: bool,
}

const fn case(
    name: &'static str,
    play: fn(&mut Place) -> anyhow::Result<()>,
    wanted: fn(&Kernel) -> Vec<&'static str>,
    held_ms: Option<(u64, u64)>,
) -> Case {
    Case { name, play, wanted, held_ms, exists: |_| true, migrates: false }
}

/// The listener is told as its option is set, and these.
fn and(own: &[&'static str]) -> Vec<&'static str> {
    ["listener set"].into_iter().chain(own.iter().copied()).collect()
}

/// Longest tolerance of the timer wheel and of an emulator with many cases at once, milliseconds.
macro_rules! held {
    ($ms:literal) => {
        Some(($ms - 40, $ms + 700))
    };
}

/// All of them.
pub(super) const CASES: [Case; 32] = [
    case("data at once", |p| speaks(p, 5, 0), |_| and(&["data"]), Some((0, 300))),
    case("data after 200 ms", |p| speaks(p, 5, 200), |_| and(&["data"]), held!(200)),
    case("data after 1.5 s", |p| speaks(p, 5, 1500), |_| and(&["data"]), held!(1500)),
    case("data after 3.5 s", |p| speaks(p, 5, 3500), |_| and(&["data"]), held!(3500)),
    case("silent, 1 s", |p| silent(p, 1), |_| and(&["deadline"]), held!(1000)),
    case("silent, 3 s", |p| silent(p, 3), |_| and(&["deadline"]), held!(3000)),
    case("silent, 10 s", |p| silent(p, 10), |_| and(&["deadline"]), held!(15000)),
    case("silent, 30 s", |p| silent(p, 30), |_| and(&["deadline"]), Some((30_960, 32_500))),
    case("speaks later", speaks_later, |_| and(&["deadline later_data"]), held!(1000)),
    case("server speaks first", banner, |_| and(&["deadline"]), held!(1000)),
    case("fin", fin, |_| and(&["fin"]), held!(100)),
    case("reset", reset, |_| and(&["client_reset"]), held!(100)),
    case("listener closed, then data", closed_then_data, |_| and(&["listener_closed"]), held!(400)),
    case("listener closed, then the timer", closed, |_| and(&["listener_closed"]), held!(1000)),
    case("mute", mute, |_| and(&["unanswered"]), Some((62_000, 66_500))),
    case("never acknowledged", never_acknowledged, |_| and(&["unanswered"]), None),
    case("acknowledged late", acknowledged_late, |_| and(&["never_held"]), None),
    case("SYN again", syn_again, |_| and(&["data"]), held!(400)),
    case("SYN cookies", syn_cookies, |_| and(&["syn_cookie"]), None),
    case("SYN queue full", syn_queue_full, syn_queue_full_wanted, None),
    case("accept queue full", accept_queue_full, accept_queue_full_wanted, None),
    case("accept queue full, reset", overflow, overflow_wanted, None),
    case("Fast Open", fastopen, |_| and(&["never_held", "fastopen"]), None),
    case("lowered", lowered, lowered_wanted, held!(1000)),
    case("switched off", switched_off, switched_off_wanted, held!(1000)),
    Case {
        migrates: true,
        exists: |kernel| kernel.version >= (6, 1),
        ..case("migrated", migrated, migrated_wanted, held!(3000))
    },
    case("client's own option", client_own, |_| vec!["client withheld timer"], Some((150, 400))),
    case(
        "client's own option, data",
        client_data,
        |_| vec!["client withheld data"],
        Some((45, 180)),
    ),
    case("ICMP", icmp, |_| and(&["icmp"]), held!(100)),
    case("inexact reset", inexact_reset, inexact_reset_wanted, None),
    Case {
        exists: |kernel| kernel.version >= (7, 0),
        ..case("rto_max", rto_max, |_| and(&["deadline"]), held!(5000))
    },
    Case {
        exists: |kernel| kernel.version == (6, 18),
        ..case("rto_max, to no effect", rto_max, |_| and(&["deadline"]), Some((30_960, 32_500)))
    },
];

/// Stays in this thread's namespace, so that it lives, until the sender is gone.
pub(super) fn stay() -> anyhow::Result<Sender<()>> {
    let here = std::fs::File::open("/proc/thread-self/ns/net")?;
    let (stays, is_over) = channel();
    thread::Builder::new().spawn(move || {
        let _here = here;
        // Nothing is ever sent.
        let _gone = is_over.recv();
    })?;
    Ok(stays)
}

fn ms(ms: u64) {
    sleep(Duration::from_millis(ms));
}

/// A listener that defers.
pub(super) fn listener(place: &Place, seconds: i32) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(place.at(PORT)).context("listen")?;
    defer(&listener, seconds)?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

fn defer(listener: &TcpListener, seconds: i32) -> anyhow::Result<()> {
    set_bytes(listener.as_raw_fd(), TCP_DEFER_ACCEPT, &seconds.to_ne_bytes())
        .context("TCP_DEFER_ACCEPT")
}

/// Answers each connection once something came, or at once.
fn serve(listener: &TcpListener, first: bool) -> anyhow::Result<()> {
    let listener = listener.try_clone()?;
    thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            thread::spawn(move || {
                if first {
                    let _said = client.write_all(b"hello");
                }
                let _patience = client.set_read_timeout(Some(Duration::from_secs(3)));
                let _got = client.read(&mut [0; 4096]);
                let _sent = client.write_all(b"ok");
            });
        }
    });
    Ok(())
}

fn served(place: &Place, seconds: i32) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let (listener, at) = listener(place, seconds)?;
    serve(&listener, false)?;
    Ok((listener, at))
}

fn speaks(place: &Place, seconds: i32, after_ms: u64) -> anyhow::Result<()> {
    let (_listener, at) = served(place, seconds)?;
    let mut client = TcpStream::connect(at)?;
    ms(after_ms);
    client.write_all(b"hello")?;
    let mut answer = [0; 2];
    client.read_exact(&mut answer)?;
    Ok(())
}

fn silent(place: &Place, seconds: i32) -> anyhow::Result<()> {
    let (_listener, at) = served(place, seconds)?;
    let mut client = TcpStream::connect(at)?;
    // The server has it at the end, and gives up waiting.
    let mut answer = [0; 2];
    client.read_exact(&mut answer)?;
    Ok(())
}

fn speaks_later(place: &mut Place) -> anyhow::Result<()> {
    let (_listener, at) = served(place, 1)?;
    let mut client = TcpStream::connect(at)?;
    ms(1500);
    client.write_all(b"hello")?;
    client.read_exact(&mut [0; 2])?;
    Ok(())
}

/// Five periods, none of which may be longer than a second.
fn rto_max(place: &mut Place) -> anyhow::Result<()> {
    set("ipv4/tcp_rto_max_ms", "1000")?;
    silent(place, 30)
}

fn banner(place: &mut Place) -> anyhow::Result<()> {
    let (listener, at) = listener(place, 1)?;
    serve(&listener, true)?;
    let mut client = TcpStream::connect(at)?;
    client.read_exact(&mut [0; 5])?;
    Ok(())
}

fn fin(place: &mut Place) -> anyhow::Result<()> {
    let (_listener, at) = served(place, 5)?;
    let mut client = TcpStream::connect(at)?;
    ms(100);
    client.shutdown(std::net::Shutdown::Write)?;
    client.read_exact(&mut [0; 2])?;
    Ok(())
}

fn reset(place: &mut Place) -> anyhow::Result<()> {
    let (_listener, at) = served(place, 5)?;
    let client = TcpStream::connect(at)?;
    ms(100);
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &at_once)?;
    drop(client);
    ms(100);
    Ok(())
}

fn closed_then_data(place: &mut Place) -> anyhow::Result<()> {
    let (listener, at) = listener(place, 5)?;
    let mut client = TcpStream::connect(at)?;
    ms(200);
    drop(listener);
    ms(200);
    client.write_all(b"hello")?;
    ms(100);
    Ok(())
}

fn closed(place: &mut Place) -> anyhow::Result<()> {
    let (listener, at) = listener(place, 5)?;
    let _client = TcpStream::connect(at)?;
    ms(200);
    drop(listener);
    ms(1500);
    Ok(())
}

/// A peer behind a device, which answers only what it is told to.
fn apart(place: &mut Place, seconds: i32) -> anyhow::Result<(Raw, TcpListener)> {
    let raw = Raw::open(place)?;
    let listener = TcpListener::bind(raw.host())?;
    defer(&listener, seconds)?;
    serve(&listener, false)?;
    Ok((raw, listener))
}

fn mute(place: &mut Place) -> anyhow::Result<()> {
    let (raw, _listener) = apart(place, 1)?;
    let answer = raw.syn(2001, &[], &[])?;
    raw.acknowledge(2001, 0, &answer)?;
    ms(66_000);
    Ok(())
}

fn never_acknowledged(place: &mut Place) -> anyhow::Result<()> {
    set("ipv4/tcp_synack_retries", "2")?;
    let (raw, _listener) = apart(place, 1)?;
    raw.syn(2001, &[], &[])?;
    ms(8_500);
    Ok(())
}

fn acknowledged_late(place: &mut Place) -> anyhow::Result<()> {
    let (raw, _listener) = apart(place, 1)?;
    let answer = raw.syn(2001, &[], &[])?;
    ms(1500);
    raw.acknowledge(2001, 0, &answer)?;
    ms(200);
    raw.reset(2001, 0)?;
    ms(100);
    Ok(())
}

fn syn_again(place: &mut Place) -> anyhow::Result<()> {
    let (raw, _listener) = apart(place, 5)?;
    let answer = raw.syn(2001, &[], &[])?;
    raw.acknowledge(2001, 0, &answer)?;
    ms(200);
    raw.syn_again(2001)?;
    ms(200);
    raw.data(2001, 0, &answer, b"hello")?;
    ms(100);
    raw.reset(2001, 5)?;
    ms(100);
    Ok(())
}

fn syn_cookies(place: &mut Place) -> anyhow::Result<()> {
    set("ipv4/tcp_syncookies", "2")?;
    speaks(place, 5, 100)
}

/// The backlog of a listener.
fn backlog(listener: &TcpListener, backlog: i32) -> anyhow::Result<()> {
    // SAFETY: listen() takes two numbers.
    checked(i64::from(unsafe { libc::listen(listener.as_raw_fd(), backlog) }))?;
    Ok(())
}

/// Held connections fill the queue, and the next ones are not deferred.
fn syn_queue_full(place: &mut Place) -> anyhow::Result<()> {
    let (listener, at) = listener(place, 5)?;
    backlog(&listener, 1)?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(TcpStream::connect(at)?);
        ms(50);
    }
    serve(&listener, false)?;
    ms(200);
    for client in &mut clients {
        client.write_all(b"hello")?;
        client.read_exact(&mut [0; 2])?;
    }
    Ok(())
}

fn syn_queue_full_wanted(_kernel: &Kernel) -> Vec<&'static str> {
    and(&["data", "data", "syn_cookie", "syn_cookie"])
}

/// Room for five in the accept queue, and six whose data comes: the last one finds none.
fn six_for_five(place: &Place) -> anyhow::Result<(TcpListener, [Vec<TcpStream>; 2])> {
    let (listener, at) = listener(place, 5)?;
    backlog(&listener, 4)?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(at)?;
        client.write_all(b"hello")?;
        clients.push(client);
        ms(50);
    }
    let mut later = Vec::new();
    for _ in 0..3 {
        later.push(TcpStream::connect(at)?);
    }
    ms(50);
    for client in &mut later {
        client.write_all(b"hello")?;
        ms(50);
    }
    ms(200);
    Ok((listener, [clients, later]))
}

fn accept_queue_full(place: &mut Place) -> anyhow::Result<()> {
    let (listener, clients) = six_for_five(place)?;
    serve(&listener, false)?;
    for mut client in clients.into_iter().flatten() {
        client.read_exact(&mut [0; 2])?;
    }
    Ok(())
}

fn accept_queue_full_wanted(_kernel: &Kernel) -> Vec<&'static str> {
    and(&["data", "data", "data", "data", "data", "data full"])
}

/// The kernel resets what finds no room.
fn overflow(place: &mut Place) -> anyhow::Result<()> {
    set("ipv4/tcp_abort_on_overflow", "1")?;
    let (listener, [clients, mut later]) = six_for_five(place)?;
    let mut last = later.pop().context("a client")?;
    serve(&listener, false)?;
    for mut client in clients.into_iter().chain(later) {
        client.read_exact(&mut [0; 2])?;
    }
    match last.read(&mut [0; 2]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => bail!("the last client was not reset: {other:?}"),
    }
}

fn overflow_wanted(_kernel: &Kernel) -> Vec<&'static str> {
    and(&["data", "data", "data", "data", "data", "queue_full full"])
}

/// Asks for a cookie first: its data comes with the handshake's ACK. Then data comes in the SYN.
fn fastopen(place: &mut Place) -> anyhow::Result<()> {
    setting(3)?;
    let (listener, at) = served(place, 5)?;
    set_bytes(listener.as_raw_fd(), TCP_FASTOPEN, &5_i32.to_ne_bytes())?;
    place.talk(at, 100)?;
    place.talk(at, 100)?;
    Ok(())
}

fn lowered(place: &mut Place) -> anyhow::Result<()> {
    changed(place, 1)
}

fn lowered_wanted(_kernel: &Kernel) -> Vec<&'static str> {
    and(&["deadline", "listener set"])
}

fn switched_off(place: &mut Place) -> anyhow::Result<()> {
    changed(place, 0)
}

fn switched_off_wanted(_kernel: &Kernel) -> Vec<&'static str> {
    and(&["switched_off", "listener set"])
}

fn changed(place: &Place, to: i32) -> anyhow::Result<()> {
    let (listener, at) = served(place, 30)?;
    let mut client = TcpStream::connect(at)?;
    ms(300);
    defer(&listener, to)?;
    client.read_exact(&mut [0; 2])?;
    Ok(())
}

/// A listener of a group that shares its port.
fn sharing(place: &Place) -> anyhow::Result<TcpListener> {
    let socket = place.socket(0)?;
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, &1)?;
    let (name, size) = named(place.at(PORT));
    // SAFETY: the address is as long as is said.
    checked(i64::from(unsafe { libc::bind(socket.as_raw_fd(), name.as_ptr().cast(), size) }))?;
    let listener = TcpListener::from(socket);
    backlog(&listener, 128)?;
    defer(&listener, 3)?;
    Ok(listener)
}

const MIGRATED: usize = 8;

/// Has the second listener of its group chosen for every SYN, instead of one by a hash.
fn choose_second(listener: &TcpListener) -> anyhow::Result<()> {
    let mut chosen =
        libc::sock_filter { code: u16::try_from(libc::BPF_RET | libc::BPF_K)?, jt: 0, jf: 0, k: 1 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut chosen };
    set_option(listener.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)?;
    Ok(())
}

fn migrated(place: &mut Place) -> anyhow::Result<()> {
    set("ipv4/tcp_migrate_req", "1")?;
    let (first, second) = (sharing(place)?, sharing(place)?);
    choose_second(&first)?;
    serve(&first, false)?;
    let mut clients = Vec::new();
    for _ in 0..MIGRATED {
        clients.push(TcpStream::connect(place.at(PORT))?);
    }
    ms(200);
    drop(second);
    for client in &mut clients {
        client.read_exact(&mut [0; 2])?;
    }
    Ok(())
}

fn migrated_wanted(_kernel: &Kernel) -> Vec<&'static str> {
    let mut wanted = and(&["listener set"]);
    wanted.extend([const { "deadline" }; MIGRATED]);
    wanted
}

/// A client that has set the option itself.
fn deferring_client(place: &Place, after_ms: u64) -> anyhow::Result<()> {
    let listener = TcpListener::bind(place.at(PORT))?;
    serve(&listener, false)?;
    let socket = place.socket(0)?;
    set_bytes(socket.as_raw_fd(), TCP_DEFER_ACCEPT, &1_i32.to_ne_bytes())?;
    let (name, size) = named(place.at(PORT));
    // SAFETY: the address is as long as is said.
    checked(i64::from(unsafe { libc::connect(socket.as_raw_fd(), name.as_ptr().cast(), size) }))?;
    ms(after_ms);
    let mut client = TcpStream::from(socket);
    client.write_all(b"hello")?;
    client.read_exact(&mut [0; 2])?;
    Ok(())
}

fn client_own(place: &mut Place) -> anyhow::Result<()> {
    deferring_client(place, 600)
}

fn client_data(place: &mut Place) -> anyhow::Result<()> {
    deferring_client(place, 50)
}

fn icmp(place: &mut Place) -> anyhow::Result<()> {
    let (raw, _listener) = apart(place, 5)?;
    let answer = raw.syn(2001, &[], &[])?;
    raw.acknowledge(2001, 0, &answer)?;
    ms(100);
    raw.unreachable(2001, &answer)?;
    ms(200);
    Ok(())
}

/// A reset whose number is within the window and not the one expected, then data.
fn inexact_reset(place: &mut Place) -> anyhow::Result<()> {
    let (raw, _listener) = apart(place, 5)?;
    let answer = raw.syn(2001, &[], &[])?;
    raw.acknowledge(2001, 0, &answer)?;
    ms(100);
    raw.reset(2001, 10)?;
    ms(100);
    raw.data(2001, 0, &answer, b"hello")?;
    ms(100);
    raw.reset(2001, 5)?;
    ms(100);
    Ok(())
}

fn inexact_reset_wanted(kernel: &Kernel) -> Vec<&'static str> {
    let own: &[&str] = match kernel.version {
        (5, 10) | (6, 18) => &["client_reset"],
        _ => &["data reset_ignored"],
    };
    and(own)
}

//! What is set, on which socket, in which way, and what must be told of it.

use std::{
    io,
    net::TcpStream,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
};

use anyhow::Context as _;

use super::{
    super::sys::checked,
    bpf::{self, Attached},
    player::{Pair, Player, has_ring_options},
    setter::{Answer, Way, answer, set},
    wire,
};

/// Level and number of an option (`linux/tcp.h`, `asm-generic/socket.h`).
pub(super) type Key = (u32, u32);

const NODELAY: Key = (6, 1);
pub(super) const MAXSEG: Key = (6, 2);
const CORK: Key = (6, 3);
pub(super) const KEEPIDLE: Key = (6, 4);
pub(super) const KEEPINTVL: Key = (6, 5);
pub(super) const KEEPCNT: Key = (6, 6);
const SYNCNT: Key = (6, 7);
const LINGER2: Key = (6, 8);
const DEFER_ACCEPT: Key = (6, 9);
const WINDOW_CLAMP: Key = (6, 10);
const QUICKACK: Key = (6, 12);
const CONGESTION: Key = (6, 13);
const THIN_DUPACK: Key = (6, 17);
const USER_TIMEOUT: Key = (6, 18);
const FASTOPEN: Key = (6, 23);
const NOTSENT_LOWAT: Key = (6, 25);
const FASTOPEN_CONNECT: Key = (6, 30);
const NO_COOKIE: Key = (6, 34);
const UNKNOWN: Key = (6, 99);
const DEBUG: Key = (1, 1);
const TYPE: Key = (1, 3);
const SNDBUF: Key = (1, 7);
const RCVBUF: Key = (1, 8);
pub(super) const KEEPALIVE: Key = (1, 9);
const LINGER: Key = (1, 13);
const BUSY_POLL: Key = (1, 46);
const PACING: Key = (1, 47);
const TOS: Key = (0, 1);

/// `IPPROTO_MPTCP` (`linux/in.h`).
const MPTCP: i32 = 262;

pub(super) type Wanted = (&'static str, Option<&'static str>);
pub(super) const TOOK: Wanted = ("took_effect", None);
const SAME: Wanted = ("no_effect", Some("unchanged"));
const LATE: Wanted = ("no_effect", Some("connected"));
const INHERITED: Wanted = ("inherited_by_children", None);
const OUT_OF_RANGE: Wanted = ("refused", Some("bad_value"));
const TOO_LATE: Wanted = ("refused", Some("connected"));

/// One case.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) play: fn(&mut Player) -> anyhow::Result<()>,
}

pub(super) const CASES: [Case; 13] = [
    Case { name: "before connect", play: before_connect },
    Case { name: "refused", play: refused },
    Case { name: "wrong level", play: wrong_level },
    Case { name: "listener", play: listener },
    Case { name: "connected", play: connected },
    Case { name: "let go", play: let_go },
    Case { name: "quickack", play: quickack },
    Case { name: "32 bits", play: of_32_bits },
    Case { name: "io_uring", play: by_ring },
    Case { name: "another process", play: another_process },
    Case { name: "BPF", play: by_bpf },
    Case { name: "Multipath TCP", play: mptcp },
    Case { name: "a peer falls silent", play: wire::silent_peer },
];

fn before_connect(p: &mut Player) -> anyhow::Result<()> {
    let s = p.socket(0)?;
    for (key, value) in [
        (NODELAY, 1),
        (KEEPIDLE, 10),
        (KEEPINTVL, 5),
        (KEEPCNT, 4),
        (SYNCNT, 3),
        (LINGER2, 7),
        (DEFER_ACCEPT, 5),
        (WINDOW_CLAMP, 4_096),
        (USER_TIMEOUT, 5_000),
        (NOTSENT_LOWAT, 16_384),
        (FASTOPEN_CONNECT, 1),
        (NO_COOKIE, 1),
        (MAXSEG, 500),
        (SNDBUF, 30_000),
        (RCVBUF, 30_000),
        (KEEPALIVE, 1),
        (PACING, 1_000_000),
        (BUSY_POLL, 50),
    ] {
        p.set(&s, key, value, TOOK);
        p.set(&s, key, value, SAME);
    }
    p.set(&s, LINGER2, -1, TOOK);
    p.set(&s, NOTSENT_LOWAT, -1, TOOK);
    p.set(&s, NODELAY, 0, TOOK);
    p.set(&s, THIN_DUPACK, 1, ("no_effect", Some("ignored")));
    p.by(Way::Call, s.as_raw_fd(), CONGESTION, b"reno", Some(TOOK));
    p.by(Way::Call, s.as_raw_fd(), CONGESTION, b"reno\0", Some(SAME));
    p.by(Way::Call, s.as_raw_fd(), LINGER, &linger(1, 5), Some(TOOK));
    p.by(Way::Call, s.as_raw_fd(), LINGER, &linger(0, 0), Some(TOOK));
    Ok(())
}

/// A `struct linger`.
fn linger(on: i32, seconds: i32) -> [u8; 8] {
    let mut value = [0; 8];
    let bytes = on.to_ne_bytes().into_iter().chain(seconds.to_ne_bytes());
    for (to, from) in value.iter_mut().zip(bytes) {
        *to = from;
    }
    value
}

fn refused(p: &mut Player) -> anyhow::Result<()> {
    let s = p.socket(0)?;
    for (key, value) in [
        (MAXSEG, 20),
        (KEEPIDLE, 0),
        (KEEPINTVL, 40_000),
        (KEEPCNT, 200),
        (SYNCNT, 0),
        (USER_TIMEOUT, -1),
        (FASTOPEN_CONNECT, 2),
    ] {
        p.set(&s, key, value, OUT_OF_RANGE);
    }
    p.set(&s, UNKNOWN, 1, ("refused", Some("not_known")));
    let fd = s.as_raw_fd();
    p.by(Way::Call, fd, CONGESTION, b"nosuch", Some(("refused", Some("no_such_name"))));
    // Shorter than a number.
    p.by(Way::Call, fd, NODELAY, &[1, 0], Some(("refused", None)));
    Ok(())
}

fn wrong_level(p: &mut Player) -> anyhow::Result<()> {
    let s = p.socket(0)?;
    p.set(&s, DEBUG, 1, ("no_effect", Some("wrong_level")));
    p.set(&s, TYPE, 1, ("refused", Some("wrong_level")));
    // The level of IPv4: an IPv6 socket has it too.
    p.set(&s, TOS, 1, ("took_effect", Some("wrong_level")));
    // A type of service, of which nothing is told.
    set(Way::Call, s.as_raw_fd(), TOS, &16_i32.to_ne_bytes());
    Ok(())
}

fn listener(p: &mut Player) -> anyhow::Result<()> {
    let listener = p.listener()?;
    for (key, value) in [
        (NODELAY, 1),
        (CORK, 1),
        (KEEPIDLE, 11),
        (KEEPINTVL, 12),
        (KEEPCNT, 3),
        (LINGER2, 8),
        (USER_TIMEOUT, 6_000),
        (NOTSENT_LOWAT, 17_000),
        (MAXSEG, 600),
        (KEEPALIVE, 1),
        (SNDBUF, 40_000),
        (RCVBUF, 50_000),
        (PACING, 2_000_000),
        (BUSY_POLL, 40),
    ] {
        p.set(&listener, key, value, INHERITED);
    }
    let fd = listener.as_raw_fd();
    p.by(Way::Call, fd, CONGESTION, b"reno", Some(INHERITED));
    p.by(Way::Call, fd, LINGER, &linger(1, 6), Some(INHERITED));
    p.set(&listener, NODELAY, 1, SAME);
    p.set(&listener, FASTOPEN, 5, TOOK);
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (child, _) = listener.accept()?;
    // What is told of the listener is so of its child; the child's MSS is that of the connection.
    for call in p.calls.clone().iter().filter(|call| call.wanted == Some(INHERITED)) {
        let (level, optname) = call.key;
        let own = answer(child.as_raw_fd(), level, optname);
        if call.key != MAXSEG && own != call.after {
            p.complain(&format!("the child has {own:?} of {:?}, not {:?}", call.key, call.after));
        }
    }
    if !matches!(answer(client.as_raw_fd(), 6, 2), Some(Answer::Number(mss)) if mss <= 600) {
        p.complain("TCP_MAXSEG of the listener is not what its client may send");
    }
    p.set(&listener, DEFER_ACCEPT, 3, TOOK);
    p.set(&listener, DEFER_ACCEPT, 0, TOOK);
    Ok(())
}

fn connected(p: &mut Player) -> anyhow::Result<()> {
    let Pair { client, server } = p.pair()?;
    for (key, value) in [(DEFER_ACCEPT, 3), (SYNCNT, 4), (MAXSEG, 700)] {
        p.set(&client, key, value, LATE);
    }
    for (key, value) in [(FASTOPEN, 5), (FASTOPEN_CONNECT, 1), (NO_COOKIE, 1), (WINDOW_CLAMP, 0)] {
        p.set(&client, key, value, TOO_LATE);
    }
    for (key, value) in [(NODELAY, 1), (KEEPIDLE, 20), (USER_TIMEOUT, 7_000), (SNDBUF, 60_000)] {
        p.set(&server, key, value, TOOK);
    }
    client.shutdown(std::net::Shutdown::Write)?;
    p.set(&client, SYNCNT, 5, LATE);
    p.set(&client, LINGER2, 9, TOOK);
    Ok(())
}

/// Bytes that a call lets go are with the peer when it returns.
fn let_go(p: &mut Player) -> anyhow::Result<()> {
    let Pair { client, server } = p.pair()?;
    p.set(&client, CORK, 1, TOOK);
    Player::write(&client, 5)?;
    p.got(&server, 0)?;
    p.set(&client, NODELAY, 1, TOOK);
    p.let_go(5);
    p.got(&server, 5)?;
    // TCP_CORK stays on.
    Player::write(&client, 7)?;
    p.got(&server, 0)?;
    // The same value once more lets go all the same.
    p.set(&client, NODELAY, 1, TOOK);
    p.let_go(7);
    p.got(&server, 7)?;
    Player::write(&client, 9)?;
    p.set(&client, CORK, 0, TOOK);
    p.let_go(9);
    p.got(&server, 9)?;
    Ok(())
}

fn quickack(p: &mut Player) -> anyhow::Result<()> {
    let Pair { client, server: _server } = p.pair()?;
    let fd = client.as_raw_fd();
    p.by(Way::Call, fd, QUICKACK, &0_i32.to_ne_bytes(), None);
    p.set(&client, QUICKACK, 1, TOOK);
    p.set(&client, QUICKACK, 1, ("undetermined", None));
    p.set(&client, QUICKACK, 0, TOOK);
    Ok(())
}

fn of_32_bits(p: &mut Player) -> anyhow::Result<()> {
    let s = p.socket(0)?;
    let fd = s.as_raw_fd();
    let set = p.by(Way::Compat, fd, NODELAY, &1_i32.to_ne_bytes(), Some(TOOK));
    p.by(Way::Compat, fd, MAXSEG, &20_i32.to_ne_bytes(), Some(OUT_OF_RANGE));
    if set != 0 {
        p.complain(&format!("the call of 32 bits returned {set}"));
    }
    Ok(())
}

fn by_ring(p: &mut Player) -> anyhow::Result<()> {
    if !has_ring_options() {
        return Ok(());
    }
    let s = p.socket(0)?;
    let fd = s.as_raw_fd();
    let set = p.by(Way::Ring, fd, KEEPIDLE, &21_i32.to_ne_bytes(), Some(TOOK));
    p.by(Way::Ring, fd, KEEPIDLE, &0_i32.to_ne_bytes(), Some(OUT_OF_RANGE));
    p.by(Way::Ring, fd, SNDBUF, &20_000_i32.to_ne_bytes(), Some(TOOK));
    if set != 0 {
        p.complain(&format!("io_uring returned {set}"));
    }
    Ok(())
}

/// A socket is set up by a child that has inherited it, and by one that was sent it.
fn another_process(p: &mut Player) -> anyhow::Result<()> {
    let s = p.socket(0)?;
    let fd = s.as_raw_fd();
    by_child(p, fd, (NODELAY, 1), (0, TOOK), || fd)?;
    by_child(p, fd, (KEEPIDLE, 0), (libc::EINVAL, OUT_OF_RANGE), || fd)?;
    for call in [((KEEPCNT, 6), (0, TOOK)), ((KEEPCNT, 200), (libc::EINVAL, OUT_OF_RANGE))] {
        let (ours, theirs) = unix_pair()?;
        send_socket(ours.as_raw_fd(), fd)?;
        let theirs_fd = theirs.as_raw_fd();
        by_child(p, fd, call.0, call.1, move || received(theirs_fd))?;
    }
    Ok(())
}

/// A child process sets an option of the socket that it has by the number that `of` gives it; the error, or 0, and what must
/// be told of it.
fn by_child(
    p: &mut Player,
    fd: RawFd,
    (key, value): (Key, i32),
    (error, wanted): (i32, Wanted),
    of: impl FnOnce() -> RawFd,
) -> anyhow::Result<()> {
    let before = answer(fd, key.0, key.1);
    // SAFETY: the child makes system calls only, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own = of();
        let (level, optname) = (key.0.cast_signed(), key.1.cast_signed());
        // SAFETY: the pointer and the length describe the value.
        let result = unsafe { libc::setsockopt(own, level, optname, (&raw const value).cast(), 4) };
        let failed = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        // SAFETY: the child ends at once.
        unsafe { libc::_exit(if result == 0 { 0 } else { failed }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child of this process.
    checked(i64::from(unsafe { libc::waitpid(child, &raw mut status, 0) })).context("fork")?;
    // One that a signal has ended has no exit code, and must not pass for one that ended with 0.
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != error {
        p.complain(&format!("the child ended with {status}"));
    }
    p.note(key, "setsockopt", -error, (before, answer(fd, key.0, key.1)), Some(wanted));
    p.was_by(child.cast_unsigned());
    Ok(())
}

fn unix_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair()?;
    Ok((ours.into(), theirs.into()))
}

/// Room for one descriptor in a control message.
const CONTROL: usize = 24;

/// Hands a descriptor to whoever has the other end (`SCM_RIGHTS`).
fn send_socket(over: RawFd, fd: RawFd) -> io::Result<()> {
    let mut byte = [1_u8];
    let mut control = [0_u64; CONTROL / 8];
    let mut piece = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: all-zero is a message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL;
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one message is filled in")]
    // SAFETY: the control message has room for one descriptor; everything outlives the call.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = 20;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        checked(libc::sendmsg(over, &raw const message, 0) as i64).map(drop)
    }
}

/// The descriptor that was sent, in the child; -1 without one.
fn received(over: RawFd) -> RawFd {
    let mut byte = [0_u8];
    let mut control = [0_u64; CONTROL / 8];
    let mut piece = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one message is read")]
    // SAFETY: as in `send_socket`.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = CONTROL;
        if libc::recvmsg(over, &raw mut message, 0) < 0 {
            return -1;
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() { -1 } else { libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned() }
    }
}

fn by_bpf(p: &mut Player) -> anyhow::Result<()> {
    if p.is_without_bpf {
        return Ok(());
    }
    super::super::filters::mount_cgroups()?;
    let _attached = Attached::new()?;
    let Pair { client, .. } = p.pair()?;
    let after = answer(client.as_raw_fd(), KEEPIDLE.0, KEEPIDLE.1);
    if after != Some(Answer::Number(i64::from(bpf::SECONDS[0]))) {
        p.complain(&format!("BPF has set {after:?}"));
    }
    let before = Some(Answer::Number(7_200));
    p.note(KEEPIDLE, "bpf", 0, (before, after.clone()), Some(TOOK));
    p.note(KEEPIDLE, "bpf", -libc::EINVAL, (after.clone(), after), Some(OUT_OF_RANGE));
    Ok(())
}

/// The options of a Multipath TCP socket are handed on to its subflows.
fn mptcp(p: &mut Player) -> anyhow::Result<()> {
    let (Ok(socket), Ok(listener)) = (p.socket(MPTCP), p.socket(MPTCP)) else { return Ok(()) };
    // Towards a socket of plain TCP it would fall back to that, and hand its calls on whole.
    let (length, address) = sockaddr(p.next_address());
    // SAFETY: the address is as long as is said.
    let bound = unsafe { libc::bind(listener.as_raw_fd(), address.as_ptr().cast(), length) };
    checked(i64::from(bound)).context("bind")?;
    // SAFETY: listen() takes two numbers.
    checked(i64::from(unsafe { libc::listen(listener.as_raw_fd(), 1) })).context("listen")?;
    // SAFETY: the address is as long as is said.
    checked(i64::from(unsafe {
        libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length)
    }))
    .context("connect")?;
    let fd = socket.as_raw_fd();
    for (key, value) in [(NODELAY, 1_i32), (CORK, 1)] {
        let before = answer(fd, key.0, key.1);
        let result = set(Way::Call, fd, key, &value.to_ne_bytes());
        if result == 0 {
            p.note(key, "mptcp", 0, (before, answer(fd, key.0, key.1)), Some(TOOK));
        }
    }
    for (name, wanted) in
        [(&b"reno"[..], TOOK), (&b"nosuch"[..], ("refused", Some("no_such_name")))]
    {
        let before = answer(fd, CONGESTION.0, CONGESTION.1);
        let result = set(Way::Call, fd, CONGESTION, name);
        if (result < 0) != (wanted.0 == "refused") {
            p.complain(&format!("TCP_CONGESTION returned {result}"));
        }
        let after = answer(fd, CONGESTION.0, CONGESTION.1);
        p.note(CONGESTION, "mptcp", result, (before, after), Some(wanted));
    }
    Ok(())
}

/// An address as the system calls take it, and its length.
pub(super) fn sockaddr(at: std::net::SocketAddr) -> (u32, Vec<u8>) {
    let port = at.port().to_be_bytes();
    let mut bytes = match at {
        std::net::SocketAddr::V4(_) => libc::AF_INET.to_ne_bytes()[..2].to_vec(),
        std::net::SocketAddr::V6(_) => libc::AF_INET6.to_ne_bytes()[..2].to_vec(),
    };
    bytes.extend(port);
    match at {
        std::net::SocketAddr::V4(at) => {
            bytes.extend(at.ip().octets());
            bytes.extend([0; 8]);
        }
        std::net::SocketAddr::V6(at) => {
            bytes.extend([0; 4]);
            bytes.extend(at.ip().octets());
            bytes.extend([0; 4]);
        }
    }
    (u32::try_from(bytes.len()).unwrap_or(0), bytes)
}

/// Two calls, for whoever counts.
pub(super) fn two_calls(p: &mut Player) -> anyhow::Result<()> {
    let s = p.socket(0)?;
    p.set(&s, NODELAY, 1, TOOK);
    p.set(&s, NODELAY, 0, TOOK);
    Ok(())
}

/// How many calls are made at random.
const RANDOM: u32 = 150;

/// Options and values at random, on sockets in several states.
pub(super) fn random(p: &mut Player, seed: u64) -> anyhow::Result<()> {
    let unconnected = p.socket(0)?;
    let listener = p.listener()?;
    let Pair { client, server } = p.pair()?;
    let fds =
        [unconnected.as_raw_fd(), listener.as_raw_fd(), client.as_raw_fd(), server.as_raw_fd()];
    let keys = [
        NODELAY,
        MAXSEG,
        CORK,
        KEEPIDLE,
        KEEPINTVL,
        KEEPCNT,
        SYNCNT,
        LINGER2,
        DEFER_ACCEPT,
        WINDOW_CLAMP,
        QUICKACK,
        USER_TIMEOUT,
        FASTOPEN,
        NOTSENT_LOWAT,
        FASTOPEN_CONNECT,
        NO_COOKIE,
        UNKNOWN,
        DEBUG,
        SNDBUF,
        RCVBUF,
        KEEPALIVE,
        BUSY_POLL,
        PACING,
    ];
    let values = [0, 1, 1, 2, 3, 10, 100, 600, 5_000, 30_000, 70_000, -1];
    let mut state = seed | 1;
    let mut next = |below: usize| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0) % below
    };
    for _ in 0..RANDOM {
        let (fd, key, value) = (next(fds.len()), next(keys.len()), next(values.len()));
        let drawn = fds.get(fd).zip(keys.get(key)).zip(values.get(value));
        if let Some(((fd, key), value)) = drawn {
            p.by(Way::Call, *fd, *key, &i32::to_ne_bytes(*value), None);
        }
    }
    Ok(())
}

//! The program under test: makes its calls and notes when each began and ended.

use std::{
    io,
    mem::{ManuallyDrop, MaybeUninit},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    thread,
};

use anyhow::Context as _;

use super::sys::{checked, checked_fd, name_thread, now_ns, set_option};
use super::{
    netlink::Request,
    netns,
    qdisc::{drops, pace, shape},
    stage::{Family, TUN},
    ways,
};
use crate::{
    oracle::{Call, CallRecord, Way},
    scenario::Opener,
};

/// `SOCK_DESTROY` of `linux/sock_diag.h`.
const SOCK_DESTROY: u16 = 21;

/// One connection of the program, with the log of its calls.
#[derive(Debug)]
pub(crate) struct Program {
    stream: Option<TcpStream>,
    kept: Option<TcpStream>,
    /// Where the first write will connect to.
    remote: Option<SocketAddr>,
    log: Vec<CallRecord>,
}

impl Program {
    /// A connection without calls so far.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream: Some(stream), kept: None, remote: None, log: Vec::new() }
    }

    /// A connection just accepted, which inherits what was called on the listener.
    pub(crate) fn accepted(stream: TcpStream, inherited: &[CallRecord]) -> Self {
        Self { log: inherited.to_vec(), ..Self::new(stream) }
    }

    /// Makes one call and notes it.
    pub(crate) fn call(&mut self, call: &Call) -> anyhow::Result<()> {
        let fd = match &self.stream {
            Some(stream) => stream.as_raw_fd(),
            None if matches!(call, Call::OrphansAllowed(_)) => -1,
            None => return Ok(()),
        };
        let record = match call {
            Call::Forget => timed(call, || {
                // When it is dropped at last nobody answers any more: no socket shall wait for that.
                linger_zero(fd)?;
                self.kept = self.stream.take();
                Ok(0)
            }),
            Call::Close => timed(call, || {
                self.stream = None;
                Ok(0)
            }),
            Call::By(way, bytes) if way.opens() => {
                let remote = self.remote.context("no write is to open this connection")?;
                let payload = vec![b'r'; *bytes];
                timed(call, || opening(fd, remote, *way, &payload))
            }
            _ => made(fd, call),
        }?;
        self.log.extend(messages(record));
        Ok(())
    }

    /// Makes one call in another thread of this program.
    pub(crate) fn call_elsewhere(&mut self, call: &Call) -> anyhow::Result<()> {
        let made = thread::scope(|scope| {
            let another = scope.spawn(|| {
                name_thread(c"another");
                self.call(call)
            });
            another.join()
        });
        made.map_err(|_panic| anyhow::anyhow!("the other thread panicked"))?
    }

    /// Whether the congestion window surely does not hold so many further bytes, nor makes TCP wait for a fuller burst.
    pub(crate) fn has_room(&self, call: &Call) -> bool {
        let Some(info) = self.stream.as_ref().and_then(|stream| tcp_info(stream.as_raw_fd()))
        else {
            return false;
        };
        let mss = usize::try_from(info.tcpi_snd_mss.max(1)).unwrap_or(1);
        // One more for what waits, one for a short end.
        let segments = u32::try_from(call.size() / mss).unwrap_or(u32::MAX).saturating_add(2);
        // tcp_tso_should_defer() lets bursts go while a third of the window is free.
        let free = (info.tcpi_unacked + segments) * 3 <= info.tcpi_snd_cwnd * 2;
        info.tcpi_ca_state == 0
            && (free || info.tcpi_unacked == 0 && segments <= info.tcpi_snd_cwnd)
    }

    /// The socket that it has forgotten, which closes with what is returned.
    pub(crate) const fn forgotten(&mut self) -> Option<TcpStream> {
        self.kept.take()
    }

    /// The calls made.
    pub(crate) fn into_log(self) -> Vec<CallRecord> {
        self.log
    }
}

/// Makes one call on a socket, and says when it began and ended. It does not close.
pub(crate) fn made(fd: RawFd, call: &Call) -> anyhow::Result<CallRecord> {
    let payload = vec![b'r'; call.size()];
    let mut pieces = call.pieces(&payload);
    timed(call, || match call {
        Call::Nodelay(on) => option(fd, libc::SOL_TCP, libc::TCP_NODELAY, i32::from(*on)),
        Call::Cork(on) => option(fd, libc::SOL_TCP, libc::TCP_CORK, i32::from(*on)),
        Call::PacingRate(rate) => {
            option(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, rate.cast_signed())
        }
        Call::SendBuffer(bytes) => {
            option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes.cast_signed())
        }
        Call::NotsentLowat(bytes) => {
            option(fd, libc::SOL_TCP, libc::TCP_NOTSENT_LOWAT, bytes.cast_signed())
        }
        Call::DeviceDrops(on) => drops(TUN, *on).map(|()| 0).map_err(io::Error::other),
        Call::DeviceRate(rate) => shape(TUN, *rate).map(|()| 0).map_err(io::Error::other),
        Call::Encrypt => ways::encrypt(fd),
        Call::DevicePaces => pace(TUN).map(|()| 0).map_err(io::Error::other),
        Call::LingerZero => linger_zero(fd),
        Call::Linger2(jiffies) => option(fd, libc::SOL_TCP, libc::TCP_LINGER2, *jiffies),
        Call::Quickack(on) => option(fd, libc::SOL_TCP, libc::TCP_QUICKACK, i32::from(*on)),
        Call::UserTimeout(ms) => {
            option(fd, libc::SOL_TCP, libc::TCP_USER_TIMEOUT, ms.cast_signed())
        }
        Call::OrphanRetries(many) => netns::set("ipv4/tcp_orphan_retries", &many.to_string())
            .map(|()| 0)
            .map_err(io::Error::other),
        Call::OrphansAllowed(on) => orphans_allowed(*on).map(|()| 0).map_err(io::Error::other),
        Call::RouteQuickack => {
            for family in [Family::V4, Family::V6] {
                netns::route(TUN, family.addresses().1, netns::Metric::Quickack)
                    .map_err(io::Error::other)?;
            }
            Ok(0)
        }
        Call::Abort => abort(fd),
        Call::Disconnect => disconnect(fd),
        Call::Write(_) => send(fd, &payload, 0),
        Call::WriteRefused(_) => match send(fd, &payload, 0) {
            Ok(taken) => Err(io::Error::other(format!("{taken} bytes were taken"))),
            Err(_) => Ok(0),
        },
        Call::SendMore(_) => send(fd, &payload, libc::MSG_MORE),
        Call::Writev(_) => writev(fd, &mut pieces),
        Call::By(way, _) => ways::give(fd, *way, &payload),
        Call::Read(bytes) => read(fd, *bytes),
        // SAFETY: shutdown() takes two numbers.
        Call::ShutdownWrite => checked(i64::from(unsafe { libc::shutdown(fd, libc::SHUT_WR) })),
        Call::Close | Call::Forget => Err(io::ErrorKind::Unsupported.into()),
    })
}

fn linger_zero(fd: RawFd) -> io::Result<i64> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger).map(|()| 0)
}

/// Has the kernel end the connection, as a person does from outside (`SOCK_DESTROY` of `linux/sock_diag.h`).
fn abort(fd: RawFd) -> io::Result<i64> {
    // SAFETY: the descriptor is open and stays so: what borrows it is not dropped.
    let stream = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(fd) });
    let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => [ip.octets().to_vec(), vec![0; 12]].concat(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    // struct inet_diag_req_v2: all states, any device, no cookie.
    let byte = |value: libc::c_int| u8::try_from(value).unwrap_or(0);
    let mut request = vec![byte(family), byte(libc::IPPROTO_TCP), 0, 0];
    request.extend(u32::MAX.to_ne_bytes());
    request.extend(local.port().to_be_bytes());
    request.extend(remote.port().to_be_bytes());
    request.extend(address(local.ip()));
    request.extend(address(remote.ip()));
    request.extend([0; 4]);
    request.extend([0xff; 8]);
    Request::new(SOCK_DESTROY, 0, &request).send_by(libc::NETLINK_SOCK_DIAG).map(|()| 0)
}

/// Ends the connection of a socket, which stays.
fn disconnect(fd: RawFd) -> io::Result<i64> {
    let nobody =
        libc::sockaddr { sa_family: u16::try_from(libc::AF_UNSPEC).unwrap_or(0), sa_data: [0; 14] };
    let size = libc::socklen_t::try_from(size_of_val(&nobody)).unwrap_or(0);
    // SAFETY: the pointer and the size describe the address.
    checked(i64::from(unsafe { libc::connect(fd, &raw const nobody, size) }))
}

/// Sets `tcp_max_orphans`, which only the first network namespace shows: to what a kernel of this size has, or to less than
/// none, which the kernel's rough count of them always exceeds.
fn orphans_allowed(on: bool) -> anyhow::Result<()> {
    let first = thread::spawn(move || {
        netns::enter_first()?;
        netns::set("ipv4/tcp_max_orphans", if on { "4096" } else { "-1" })
    });
    first.join().map_err(|_panic| anyhow::anyhow!("the thread panicked"))?
}

/// A connection that is being opened, or that the first write will open. Writes do wait.
pub(crate) fn opened(local: SocketAddr, remote: SocketAddr, by: Opener) -> anyhow::Result<Program> {
    let domain = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket() takes three numbers.
    let fd = checked_fd(unsafe { libc::socket(domain, kind, 0) }).context("socket")?;
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    named(local, |address, size| {
        // SAFETY: the pointer and the size describe the address.
        checked(i64::from(unsafe { libc::bind(fd, address, size) }))
    })
    .context("bind")?;
    let options: &[libc::c_int] = match by {
        Opener::FirstWrite => &[libc::TCP_FASTOPEN_CONNECT, libc::TCP_FASTOPEN_NO_COOKIE],
        Opener::SendtoWithoutCookie => &[libc::TCP_FASTOPEN_NO_COOKIE],
        Opener::Connect | Opener::Sendto => &[],
    };
    for option in options {
        set_option(fd, libc::SOL_TCP, *option, &1_i32).context("defer the connect")?;
    }
    if matches!(by, Opener::Sendto | Opener::SendtoWithoutCookie) {
        stream.set_nonblocking(false)?;
        return Ok(Program { remote: Some(remote), ..Program::new(stream) });
    }
    let connected = named(remote, |address, size| {
        // SAFETY: the pointer and the size describe the address.
        checked(i64::from(unsafe { libc::connect(fd, address, size) }))
    });
    match connected {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
            return Err(error).context("connect");
        }
        _ => stream.set_nonblocking(false)?,
    }
    Ok(Program::new(stream))
}

/// A write that opens the connection; says how many bytes were taken.
fn opening(fd: RawFd, remote: SocketAddr, way: Way, payload: &[u8]) -> io::Result<i64> {
    let flags = libc::MSG_FASTOPEN
        | libc::MSG_NOSIGNAL
        | match way {
            Way::FastopenMore => libc::MSG_MORE,
            Way::FastopenDontWait => libc::MSG_DONTWAIT,
            _ => 0,
        };
    let sent = named(remote, |address, size| {
        let (from, bytes) = (payload.as_ptr().cast(), payload.len());
        // SAFETY: the pointers and the sizes describe the payload and the address.
        let sent = unsafe { libc::sendto(fd, from, bytes, flags, address, size) };
        checked(i64::try_from(sent).unwrap_or(-1))
    });
    match sent {
        Err(error)
            if way == Way::FastopenDontWait && error.raw_os_error() == Some(libc::EINPROGRESS) =>
        {
            Ok(0)
        }
        sent => sent,
    }
}

/// A listening MPTCP socket.
pub(crate) fn listening_mptcp(local: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = mptcp(local)?;
    let fd = socket.as_raw_fd();
    named(local, |address, size| {
        // SAFETY: the pointer and the size describe the address.
        checked(i64::from(unsafe { libc::bind(fd, address, size) }))
    })
    .context("bind")?;
    // SAFETY: listen() takes two numbers.
    checked(i64::from(unsafe { libc::listen(fd, 1) })).context("listen")?;
    Ok(socket.into())
}

/// An MPTCP connection.
pub(crate) fn connected_mptcp(remote: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = mptcp(remote)?;
    named(remote, |address, size| {
        // SAFETY: the pointer and the size describe the address.
        checked(i64::from(unsafe { libc::connect(socket.as_raw_fd(), address, size) }))
    })
    .context("connect")?;
    Ok(socket.into())
}

fn mptcp(like: SocketAddr) -> anyhow::Result<OwnedFd> {
    let domain = if like.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: socket() takes three numbers.
    let fd = checked_fd(unsafe { libc::socket(domain, kind, libc::IPPROTO_MPTCP) });
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd.context("an MPTCP socket")?) })
}

/// Hands a socket address to a call, in the kernel's form.
fn named(
    address: SocketAddr,
    call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> io::Result<i64>,
) -> io::Result<i64> {
    let size = |bytes: usize| libc::socklen_t::try_from(bytes).unwrap_or(0);
    let port = address.port().to_be();
    match address.ip() {
        IpAddr::V4(ip) => {
            let name = libc::sockaddr_in {
                sin_family: u16::try_from(libc::AF_INET).unwrap_or(0),
                sin_port: port,
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                sin_zero: [0; 8],
            };
            call((&raw const name).cast(), size(size_of_val(&name)))
        }
        IpAddr::V6(ip) => {
            let name = libc::sockaddr_in6 {
                sin6_family: u16::try_from(libc::AF_INET6).unwrap_or(0),
                sin6_port: port,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
                sin6_scope_id: 0,
            };
            call((&raw const name).cast(), size(size_of_val(&name)))
        }
    }
}

/// A call that gives several messages is as many writes.
fn messages(record: CallRecord) -> Vec<CallRecord> {
    let Call::By(Way::Sendmmsg, bytes) = record.call else { return vec![record] };
    let part = |bytes: usize| CallRecord {
        call: Call::By(Way::Sendmmsg, bytes),
        result: i64::try_from(bytes).unwrap_or(0),
        ..record.clone()
    };
    let (first, second) = ways::halves(bytes);
    vec![part(first), part(second)]
}

fn timed(call: &Call, make: impl FnOnce() -> io::Result<i64>) -> anyhow::Result<CallRecord> {
    let at_ns = now_ns();
    let result = make();
    let ret_ns = now_ns();
    let result = result.with_context(|| format!("{call:?}"))?;
    Ok(CallRecord { call: call.clone(), at_ns, ret_ns, result })
}

fn option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<i64> {
    set_option(fd, level, name, &value).map(|()| 0)
}

impl Call {
    fn size(&self) -> usize {
        match self {
            Self::Write(bytes)
            | Self::WriteRefused(bytes)
            | Self::SendMore(bytes)
            | Self::By(_, bytes) => *bytes,
            Self::Writev(pieces) => pieces.iter().sum(),
            _ => 0,
        }
    }

    fn pieces(&self, payload: &[u8]) -> Vec<libc::iovec> {
        let Self::Writev(sizes) = self else { return Vec::new() };
        sizes
            .iter()
            .map(|size| libc::iovec {
                iov_base: payload.as_ptr().cast_mut().cast(),
                iov_len: *size,
            })
            .collect()
    }
}

fn send(fd: RawFd, payload: &[u8], flags: i32) -> io::Result<i64> {
    // SAFETY: the pointer and the length describe the payload.
    let sent = unsafe {
        libc::send(fd, payload.as_ptr().cast(), payload.len(), flags | libc::MSG_NOSIGNAL)
    };
    checked(i64::try_from(sent).unwrap_or(-1))
}

fn writev(fd: RawFd, pieces: &mut [libc::iovec]) -> io::Result<i64> {
    let count = libc::c_int::try_from(pieces.len()).unwrap_or(0);
    // SAFETY: each piece lies within the payload, which outlives the call.
    let sent = unsafe { libc::writev(fd, pieces.as_ptr(), count) };
    checked(i64::try_from(sent).unwrap_or(-1))
}

fn read(fd: RawFd, bytes: usize) -> io::Result<i64> {
    let mut buffer = vec![0_u8; bytes];
    let mut got = 0;
    while got < bytes {
        let rest = buffer.get_mut(got..).unwrap_or_default();
        // SAFETY: the pointer and the length describe the rest of the buffer.
        let more = checked(
            i64::try_from(unsafe { libc::read(fd, rest.as_mut_ptr().cast(), rest.len()) })
                .unwrap_or(-1),
        )?;
        if more == 0 {
            break;
        }
        got += usize::try_from(more).unwrap_or(0);
    }
    Ok(i64::try_from(got).unwrap_or(0))
}

fn tcp_info(fd: RawFd) -> Option<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the pointer and the size describe the structure; a kernel that knows less of it leaves the rest zero.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size)
    };
    // SAFETY: all-zero is a tcp_info.
    (result == 0).then(|| unsafe { info.assume_init() })
}

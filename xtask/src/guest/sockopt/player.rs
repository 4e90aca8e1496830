//! Makes the calls of the cases, and keeps what each returned and what the socket said before and after.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::Context as _;

use super::{
    super::{stage::Family, sys::checked_fd},
    setter::{Answer, Way, answer, set},
};

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) case: &'static str,
    pub(super) pid: u32,
    /// Level and number.
    pub(super) key: (u32, u32),
    pub(super) via: &'static str,
    pub(super) result: i32,
    pub(super) before: Option<Answer>,
    pub(super) after: Option<Answer>,
    /// Effect and reason that must be told; `None` where the case does not say.
    pub(super) wanted: Option<(&'static str, Option<&'static str>)>,
    /// Bytes that the peer got by it.
    pub(super) left: u32,
}

/// Who plays, in a namespace of its own.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) family: Family,
    pub(super) calls: Vec<Call>,
    /// What went wrong without tcptrace.
    pub(super) wrong: Vec<String>,
    /// What BPF does is not seen in this form on this kernel.
    pub(super) is_without_bpf: bool,
    case: &'static str,
    port: u16,
}

/// Two ends of a connection, and who listened.
pub(super) struct Pair {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
}

impl Player {
    pub(super) const fn new(family: Family) -> Self {
        Self {
            family,
            calls: Vec::new(),
            wrong: Vec::new(),
            is_without_bpf: false,
            case: "",
            port: 8100,
        }
    }

    pub(super) const fn begin(&mut self, case: &'static str) {
        self.case = case;
    }

    const fn host(&self) -> SocketAddr {
        match self.family {
            Family::V4 => SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.port),
            Family::V6 => SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), self.port),
        }
    }

    /// An unconnected socket.
    pub(super) fn socket(&self, protocol: i32) -> io::Result<OwnedFd> {
        let family = if self.family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: socket() takes three numbers.
        let fd = checked_fd(unsafe { libc::socket(family, libc::SOCK_STREAM, protocol) })?;
        // SAFETY: the call has returned a descriptor that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// A listener on a port of its own.
    pub(super) fn listener(&mut self) -> anyhow::Result<TcpListener> {
        self.port += 1;
        TcpListener::bind(self.host()).context("listen")
    }

    /// An address on a port of its own.
    pub(super) const fn next_address(&mut self) -> SocketAddr {
        self.port += 1;
        self.host()
    }

    /// A connection.
    pub(super) fn pair(&mut self) -> anyhow::Result<Pair> {
        let listener = self.listener()?;
        let client = TcpStream::connect(self.host()).context("connect")?;
        let (server, _) = listener.accept().context("accept")?;
        Ok(Pair { client, server })
    }

    /// Sets an option by the system call, and expects that effect.
    pub(super) fn set(
        &mut self,
        socket: &impl AsRawFd,
        key: (u32, u32),
        value: i32,
        wanted: (&'static str, Option<&'static str>),
    ) {
        self.by(Way::Call, socket.as_raw_fd(), key, &value.to_ne_bytes(), Some(wanted));
    }

    /// As [`Self::set`], of any value in any way; the result.
    #[expect(clippy::too_many_arguments, reason = "a call, how it is made, and what it comes to")]
    pub(super) fn by(
        &mut self,
        way: Way,
        fd: RawFd,
        key: (u32, u32),
        value: &[u8],
        wanted: Option<(&'static str, Option<&'static str>)>,
    ) -> i32 {
        let before = answer(fd, key.0, key.1);
        let result = set(way, fd, key, value);
        let via = if way == Way::Ring { "io_uring" } else { "setsockopt" };
        // What a kernel does not have it does not do, and nothing is told.
        let is_absent = way == Way::Ring
            && matches!(-result, libc::EOPNOTSUPP | libc::EINVAL)
            && !has_ring_options();
        if !is_absent {
            let after = answer(fd, key.0, key.1);
            self.note(key, via, result, (before, after), wanted);
        }
        result
    }

    /// Notes a call that was made by somebody else.
    #[expect(clippy::too_many_arguments, reason = "a call, how it was made, and what it came to")]
    pub(super) fn note(
        &mut self,
        key: (u32, u32),
        via: &'static str,
        result: i32,
        (before, after): (Option<Answer>, Option<Answer>),
        wanted: Option<(&'static str, Option<&'static str>)>,
    ) {
        self.calls.push(Call {
            case: self.case,
            pid: std::process::id(),
            key,
            via,
            result,
            before,
            after,
            wanted,
            left: 0,
        });
    }

    /// The last call was another process's.
    pub(super) fn was_by(&mut self, pid: u32) {
        if let Some(call) = self.calls.last_mut() {
            call.pid = pid;
        }
    }

    /// The last call has let so many bytes go: the peer has them now, and had nothing before.
    pub(super) fn let_go(&mut self, left: u32) {
        if let Some(call) = self.calls.last_mut() {
            call.left = left;
        }
    }

    /// What the peer has got, without waiting for more.
    pub(super) fn got(&mut self, peer: &TcpStream, wanted: usize) -> anyhow::Result<()> {
        peer.set_nonblocking(true)?;
        let mut bytes = [0; 4096];
        let got = match (&*peer).read(&mut bytes) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        if got != wanted {
            self.wrong.push(format!("{}: the peer got {got} B, not {wanted}", self.case));
        }
        Ok(())
    }

    /// Writes so many bytes.
    pub(super) fn write(from: &TcpStream, bytes: usize) -> anyhow::Result<()> {
        (&*from).write_all(&vec![b'x'; bytes]).context("write")
    }

    /// What is wrong is told with the case.
    pub(super) fn complain(&mut self, what: &str) {
        self.wrong.push(format!("{}: {what}", self.case));
    }
}

/// Whether this kernel sets options by `io_uring`: from 6.7 on.
pub(super) fn has_ring_options() -> bool {
    is_from((6, 7))
}

/// Whether the running kernel is as new as that.
pub(in crate::guest) fn is_from(version: (u32, u32)) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= version
}

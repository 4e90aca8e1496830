//! Where a case is played: one network namespace, a server in it, and its witnesses.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context as _;

use super::super::{
    capture::Capture,
    netns::{Netns, address, dummy, set},
    stage::Family,
    sys::{checked, checked_fd, now_ns, set_option, sleep_until},
    tun::Tun,
};
use crate::oracle::Segment;

/// `MSG_FASTOPEN` (`linux/socket.h`).
pub(in crate::guest) const MSG_FASTOPEN: i32 = 0x2000_0000;
/// `TCP_FASTOPEN` and its kin (`linux/tcp.h`).
pub(in crate::guest) const TCP_FASTOPEN: i32 = 23;
pub(in crate::guest) const TCP_FASTOPEN_CONNECT: i32 = 30;
pub(in crate::guest) const TCP_FASTOPEN_KEY: i32 = 33;
pub(in crate::guest) const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
pub(in crate::guest) const TCP_MD5SIG: i32 = 14;
/// The port of the first listener.
pub(in crate::guest) const PORT: u16 = 8090;

/// Where a case is played.
#[derive(Debug)]
pub(in crate::guest) struct Place {
    pub(in crate::guest) netns: u64,
    pub(in crate::guest) family: Family,
    /// What the wire carried; filled at the end.
    pub(in crate::guest) wire: Vec<Segment>,
    /// By how much each counter of Fast Open has risen; filled at the end.
    pub(in crate::guest) counters: BTreeMap<String, u64>,
    /// The same of all others.
    pub(in crate::guest) others: BTreeMap<String, u64>,
    capture: Capture,
    /// Of another device than loopback.
    other: Option<(Capture, Option<Arc<Tun>>)>,
    /// Where the other end is, when that is another namespace.
    elsewhere: Option<Netns>,
    offset_ns: u64,
    before: BTreeMap<String, u64>,
}

impl Place {
    /// In this thread's namespace, whose loopback device is up.
    pub(in crate::guest) fn new(
        netns: u64,
        family: Family,
        offset_ns: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            netns,
            family,
            wire: Vec::new(),
            counters: BTreeMap::new(),
            others: BTreeMap::new(),
            capture: Capture::start("lo", offset_ns)?,
            other: None,
            elsewhere: None,
            offset_ns,
            before: counters()?,
        })
    }

    /// Captures on a device too, which stays for as long.
    pub(in crate::guest) fn watch(
        &mut self,
        device: &str,
        tun: Option<Arc<Tun>>,
    ) -> anyhow::Result<()> {
        self.other = Some((Capture::start(device, self.offset_ns)?, tun));
        Ok(())
    }

    /// What is said of that namespace belongs to the case too.
    pub(super) fn elsewhere(&mut self, netns: Netns) {
        self.elsewhere = Some(netns);
    }

    /// Whether the case has to do with this namespace.
    pub(super) fn has(&self, netns: u64) -> bool {
        self.netns == netns
            || self.elsewhere.as_ref().is_some_and(|it| it.number().ok() == Some(netns))
    }

    /// Takes down what the witnesses saw.
    pub(in crate::guest) fn end(&mut self) -> anyhow::Result<()> {
        sleep_until(now_ns() + 50_000_000);
        // A loopback device shows each segment as it goes and as it comes.
        self.wire = self.capture.drain()?.into_iter().filter(|it| it.outgoing).collect();
        if let Some((other, _device)) = self.other.take() {
            self.wire.extend(other.drain()?);
        }
        let mut after = counters()?;
        if let Some(netns) = &self.elsewhere {
            // A namespace belongs to a thread.
            let there = thread::scope(|scope| {
                scope.spawn(|| netns.enter().and_then(|()| counters())).join()
            });
            for (name, value) in there.map_err(|_panicked| anyhow::anyhow!("no counters"))?? {
                *after.entry(name).or_default() += value;
            }
        }
        (self.counters, self.others) = after
            .into_iter()
            .map(|(name, value)| {
                let before = self.before.get(&name).copied().unwrap_or(0);
                (name, value.saturating_sub(before))
            })
            .filter(|(_, rise)| *rise > 0)
            .partition(|(name, _)| name.starts_with("TCPFastOpen"));
        Ok(())
    }

    /// The loopback address of the family.
    pub(in crate::guest) fn host(&self) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The address of a port here.
    pub(in crate::guest) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host(), port)
    }

    /// An address from which nothing answers, behind a device of its own.
    pub(in crate::guest) fn nowhere(&self) -> anyhow::Result<SocketAddr> {
        let (own, other) = self.family.addresses();
        dummy("nowhere")?;
        address("nowhere", own)?;
        Ok(SocketAddr::new(other, PORT))
    }

    /// A server that answers each connection; it ends with its listener's descriptor, at the end of the process.
    pub(in crate::guest) fn serve(
        &self,
        port: u16,
        options: &[(i32, Vec<u8>)],
    ) -> anyhow::Result<RawFd> {
        serve_at(self.at(port), options)
    }

    /// A socket of a client.
    pub(in crate::guest) fn socket(&self, flags: i32) -> anyhow::Result<OwnedFd> {
        let family = match self.family {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        };
        // SAFETY: socket() takes three numbers.
        let fd = checked_fd(unsafe { libc::socket(family, libc::SOCK_STREAM | flags, 0) })?;
        // SAFETY: the call has returned a descriptor that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Sends by `MSG_FASTOPEN`, reads what comes back and closes.
    pub(in crate::guest) fn talk(&self, to: SocketAddr, bytes: usize) -> anyhow::Result<i64> {
        let socket = self.socket(0)?;
        let sent = send(&socket, &vec![b'x'; bytes], MSG_FASTOPEN, Some(to))?;
        end(&socket);
        Ok(sent)
    }
}

/// `net.ipv4.tcp_fastopen` of this thread's namespace, which serves IPv6 too.
pub(in crate::guest) fn setting(value: u32) -> anyhow::Result<()> {
    set("ipv4/tcp_fastopen", &value.to_string())
}

/// A server that answers each connection; it ends with its listener's descriptor, at the end of the process.
pub(in crate::guest) fn serve_at(
    at: SocketAddr,
    options: &[(i32, Vec<u8>)],
) -> anyhow::Result<RawFd> {
    let listener = TcpListener::bind(at).context("listen")?;
    let fd = listener.as_raw_fd();
    for (name, value) in options {
        set_bytes(fd, *name, value)?;
    }
    thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut request = [0_u8; 4096];
            // One that says nothing is answered when it closes.
            let _said = client.set_read_timeout(Some(Duration::from_secs(1)));
            let _got = client.read(&mut request);
            let _sent = client.write_all(b"ok");
        }
    });
    Ok(fd)
}

/// Says that nothing more comes, and waits for the other end to close.
pub(in crate::guest) fn end(socket: &OwnedFd) {
    // SAFETY: shutdown() takes two numbers.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
    let mut answer = [0_u8; 64];
    // SAFETY: the buffer is as long as is said.
    while unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) } > 0
    {
    }
}

/// `sendto()`.
pub(in crate::guest) fn send(
    socket: &OwnedFd,
    data: &[u8],
    flags: i32,
    to: Option<SocketAddr>,
) -> io::Result<i64> {
    send_from(socket, data.as_ptr(), data.len(), flags, to)
}

/// `sendto()` of bytes that need not be there.
pub(in crate::guest) fn send_from(
    socket: &OwnedFd,
    data: *const u8,
    length: usize,
    flags: i32,
    to: Option<SocketAddr>,
) -> io::Result<i64> {
    let (name, size) = to.map_or(([0; 28], 0), named);
    let address = if size == 0 { std::ptr::null() } else { name.as_ptr() };
    // SAFETY: the address is as long as is said; a wrong pointer to the data is the kernel's to find out.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            data.cast(),
            length,
            flags | libc::MSG_NOSIGNAL,
            address.cast(),
            size,
        )
    };
    checked(sent as i64)
}

/// `connect()`.
pub(in crate::guest) fn connect(socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    let (name, size) = named(to);
    // SAFETY: the address is as long as is said.
    let result = unsafe { libc::connect(socket.as_raw_fd(), name.as_ptr().cast(), size) };
    checked(i64::from(result)).map(drop)
}

/// `sendto()` to an address of no family.
pub(in crate::guest) fn send_unspecified(socket: &OwnedFd) -> io::Result<i64> {
    let name = [0_u8; 28];
    // SAFETY: the address and the data are as long as is said.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            name.as_ptr().cast(),
            4,
            MSG_FASTOPEN | libc::MSG_NOSIGNAL,
            name.as_ptr().cast(),
            16,
        )
    };
    checked(sent as i64)
}

/// A `sockaddr` and its length.
pub(in crate::guest) fn named(to: SocketAddr) -> ([u8; 28], libc::socklen_t) {
    let mut name = [0_u8; 28];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in name.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(2, &to.port().to_be_bytes());
    match to.ip() {
        IpAddr::V4(ip) => {
            put(0, &libc::AF_INET.to_ne_bytes()[..2]);
            put(4, &ip.octets());
            (name, 16)
        }
        IpAddr::V6(ip) => {
            put(0, &libc::AF_INET6.to_ne_bytes()[..2]);
            put(8, &ip.octets());
            (name, 28)
        }
    }
}

/// An option of a socket, as bytes.
pub(in crate::guest) fn set_bytes(fd: RawFd, name: i32, value: &[u8]) -> io::Result<()> {
    let size = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    // SAFETY: the value is as long as is said.
    let result =
        unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, name, value.as_ptr().cast(), size) };
    checked(i64::from(result)).map(drop)
}

/// An option of a client, which may be refused.
pub(in crate::guest) fn option(socket: &OwnedFd, name: i32) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::IPPROTO_TCP, name, &1_i32)
}

/// The counters of TCP in this thread's namespace.
fn counters() -> anyhow::Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").context("read the counters")?;
    let mut rows = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = rows.next().zip(rows.next()).context("no counters")?;
    Ok(names
        .split_whitespace()
        .zip(values.split_whitespace())
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

//! `guest ops`: the workloads whose cost is measured. One thread owns both ends of a connection, so that no change of
//! context hides or adds anything; what it measures with is the count of the guest's own instructions.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    netns::{Netns, address, up},
    stage::{Family, SETTLE_NS},
    sys::{self, set_option},
};

/// What one operation is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// 1 B each way, without Nagle: two sends that leave at once
    Pp,
    /// 1 B and 1 B with Nagle, the peer's ACK put off until it is asked for: two sends, one of them held
    Held,
    /// 1 B under `TCP_CORK`, which then ends: one send, held
    Cork,
    /// 64 KiB and their reads: one send
    Stream,
    /// The same from one network namespace to another, behind a veth pair, so that segments are of 1448 B
    Veth,
    /// A connection from connect to the end of both sides: no send
    Cc,
    /// 1 B each way by UDP: no TCP at all
    Udp,
    /// 1 B each way between two Unix sockets
    Unix,
}

/// What is done, where, and how often.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// What one operation is
    mode: Mode,
    /// The listener's port
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Fresh connections, each a figure of its own
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Operations of each that are measured
    #[arg(long, default_value_t = 1000)]
    ops: u32,
}

/// Operations before those that are measured.
const WARM_UP: u32 = 64;
/// Bytes of one write of [`Mode::Stream`].
const STREAM_BYTES: usize = super::BULK_BYTES as usize;
/// Room for several of these.
const SEND_BUFFER: i32 = 1 << 20;

/// What was done, and what it took.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Done {
    /// Guest instructions of one operation, everything that ran counted; one figure for each connection.
    pub(crate) whole: Vec<f64>,
    /// Those that the kernel charges to this thread, by its clock, which counts the same.
    pub(crate) own: Vec<f64>,
    /// Write calls, those before the measurement counted too.
    pub(crate) sends: u64,
    /// Writes whose bytes did not leave at once, as the kernel's own count of unsent bytes said.
    pub(crate) holds: u64,
    /// Bytes of these.
    pub(crate) held_bytes: u64,
    /// Bytes of all writes.
    #[serde(default)]
    pub(crate) sent_bytes: u64,
    /// Ends of connections that were closed.
    pub(crate) closes: u64,
}

/// Runs it and prints what it took, as JSON.
pub(crate) fn task(args: Args) -> Result<()> {
    let (loop_instructions, done) = (loop_of_1000(), run(args)?);
    ensure!(
        loop_instructions.abs_diff(1000) <= 1,
        "a loop of 1000 instructions takes {loop_instructions}: the clock counts no instructions"
    );
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

fn run(args: Args) -> Result<Done> {
    let listener = if args.mode == Mode::Veth {
        behind_veth(args.port)?
    } else {
        listen((Ipv4Addr::LOCALHOST, args.port).into())?
    };
    let mut done = Done::default();
    for _ in 0..args.connections {
        let mut ends = Ends::new(&listener, args.mode)?;
        for n in 0..WARM_UP {
            // What the kernel says of the bytes is asked for here, where the question costs nothing that is measured.
            ends.op(&listener, n % 16 == 0)?;
        }
        let (start, own_start) = (ticks(), thread_ns());
        for _ in 0..args.ops {
            ends.op(&listener, false)?;
        }
        let (end, own_end) = (ticks(), thread_ns());
        ends.op(&listener, true)?;
        done.whole.push(each(end - start, args.ops));
        done.own.push(each(own_end - own_start, args.ops));
        let ops = u64::from(WARM_UP + args.ops + 1);
        let (sends, holds) = args.mode.sends_and_holds();
        done.sends += ops * sends;
        done.holds += ops * holds;
        done.held_bytes += ops * holds;
        done.sent_bytes += ops * sends * args.mode.bytes();
        let connections = 1 + if args.mode == Mode::Cc { ops } else { 0 };
        done.closes += 2 * connections;
    }
    Ok(done)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn each(all: u64, ops: u32) -> f64 {
    all as f64 / f64::from(ops)
}

impl Mode {
    /// Of one operation; every hold is of one byte.
    const fn sends_and_holds(self) -> (u64, u64) {
        match self {
            Self::Pp => (2, 0),
            Self::Held => (2, 1),
            Self::Cork => (1, 1),
            Self::Stream | Self::Veth => (1, 0),
            Self::Cc | Self::Udp | Self::Unix => (0, 0),
        }
    }

    /// Of one send.
    const fn bytes(self) -> u64 {
        if matches!(self, Self::Stream | Self::Veth) { STREAM_BYTES as u64 } else { 1 }
    }

    /// As the command line and the tables name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pp => "pp",
            Self::Held => "held",
            Self::Cork => "cork",
            Self::Stream => "stream",
            Self::Veth => "veth",
            Self::Cc => "cc",
            Self::Udp => "udp",
            Self::Unix => "unix",
        }
    }
}

/// Both ends of one connection.
struct Ends {
    mode: Mode,
    client: TcpStream,
    server: TcpStream,
    udp: [UdpSocket; 2],
    unix: (UnixStream, UnixStream),
    buffer: Vec<u8>,
}

impl Ends {
    fn new(listener: &TcpListener, mode: Mode) -> Result<Self> {
        let (client, server) = connection(listener)?;
        match mode {
            Mode::Pp => {
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
            }
            Mode::Held => put_ack_off(&client)?,
            // A write for which there is no room at once would be pushed in parts, each of which looks like a write.
            Mode::Stream | Mode::Veth => {
                let fd = server.as_raw_fd();
                set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER)?;
            }
            _ => {}
        }
        let udp = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let udp = [udp()?, udp()?];
        udp[0].connect(udp[1].local_addr()?)?;
        udp[1].connect(udp[0].local_addr()?)?;
        let unix = UnixStream::pair()?;
        Ok(Self { mode, client, server, udp, unix, buffer: vec![0; STREAM_BYTES] })
    }

    /// One operation; with `checked` it asks the kernel whether the bytes are held that should be.
    fn op(&mut self, listener: &TcpListener, checked: bool) -> Result<()> {
        let one = &mut [0_u8];
        match self.mode {
            Mode::Pp => {
                self.client.write_all(one)?;
                expect_unsent(&self.client, checked, 0)?;
                self.server.read_exact(one)?;
                self.server.write_all(one)?;
                expect_unsent(&self.server, checked, 0)?;
                self.client.read_exact(one)?;
            }
            Mode::Held => {
                self.server.write_all(one)?;
                expect_unsent(&self.server, checked, 0)?;
                self.server.write_all(one)?;
                expect_unsent(&self.server, checked, 1)?;
                self.client.read_exact(one)?;
                quick_ack(&self.client, 1)?;
                expect_unsent(&self.server, checked, 0)?;
                self.client.read_exact(one)?;
                put_ack_off(&self.client)?;
            }
            Mode::Cork => {
                cork(&self.server, 1)?;
                self.server.write_all(one)?;
                expect_unsent(&self.server, checked, 1)?;
                cork(&self.server, 0)?;
                expect_unsent(&self.server, checked, 0)?;
                self.client.read_exact(one)?;
            }
            Mode::Stream | Mode::Veth => {
                self.server.write_all(&self.buffer)?;
                expect_unsent(&self.server, checked, 0)?;
                self.client.read_exact(&mut self.buffer)?;
            }
            Mode::Cc => drop(connection(listener)?),
            Mode::Udp => {
                let [here, there] = &self.udp;
                here.send(one)?;
                there.recv(one)?;
                there.send(one)?;
                here.recv(one)?;
            }
            Mode::Unix => {
                let (here, there) = &mut self.unix;
                here.write_all(one)?;
                there.read_exact(one)?;
                there.write_all(one)?;
                here.read_exact(one)?;
            }
        }
        Ok(())
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("listen on {address}"))
}

/// Listens in a network namespace of its own; this thread is in another one, from which a veth pair leads there.
fn behind_veth(port: u16) -> Result<TcpListener> {
    let (here, there) = Family::V4.addresses();
    let far = Netns::create()?;
    let near = Netns::create()?;
    Netns::veth("veth0", "veth1", &far)?;
    up("veth0")?;
    address("veth0", here)?;
    far.enter()?;
    up("veth1")?;
    address("veth1", there)?;
    // The kernel notices a carrier a moment later, and drops what is sent before.
    sys::sleep_until(sys::now_ns() + SETTLE_NS);
    let listener = listen((there, port).into())?;
    near.enter()?;
    Ok(listener)
}

fn connection(listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(listener.local_addr()?).context("connect")?;
    let (server, _) = listener.accept().context("accept")?;
    Ok((client, server))
}

fn quick_ack(stream: &TcpStream, on: i32) -> std::io::Result<()> {
    set_option(stream.as_raw_fd(), libc::SOL_TCP, libc::TCP_QUICKACK, &on)
}

fn put_ack_off(stream: &TcpStream) -> std::io::Result<()> {
    quick_ack(stream, 0)
}

fn cork(stream: &TcpStream, on: i32) -> std::io::Result<()> {
    set_option(stream.as_raw_fd(), libc::SOL_TCP, libc::TCP_CORK, &on)
}

/// `SIOCOUTQNSD` (`include/uapi/linux/sockios.h`).
const SIOCOUTQNSD: libc::c_ulong = 0x894b;

/// The kernel's own count of bytes that have not left.
pub(super) fn unsent(stream: &TcpStream) -> Result<i32> {
    let mut bytes: i32 = -1;
    // SAFETY: the call writes one integer.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), SIOCOUTQNSD, &raw mut bytes) };
    sys::checked(i64::from(result)).context("SIOCOUTQNSD")?;
    Ok(bytes)
}

/// So many have not left, where that is asked.
fn expect_unsent(stream: &TcpStream, asked: bool, wanted: i32) -> Result<()> {
    if !asked {
        return Ok(());
    }
    let bytes = unsent(stream)?;
    ensure!(bytes == wanted, "{bytes} B have not left, {wanted} B were to be held");
    Ok(())
}

/// The processor's own clock, which counts instructions in a guest of that kind.
fn ticks() -> u64 {
    // SAFETY: the instruction has no conditions.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// What the kernel has charged to this thread, nanoseconds.
fn thread_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// What the clock says of a loop of 500 decrements and jumps, without what reading the clock takes.
fn loop_of_1000() -> u64 {
    let timed = |rounds: u64| {
        let start = ticks();
        // SAFETY: it counts a register down.
        unsafe { std::arch::asm!("2:", "dec {0}", "jnz 2b", inout(reg) rounds => _) };
        ticks() - start
    };
    // An interrupt lengthens one of them: the shortest of a few is free of that.
    let shortest = |rounds| (0..5).map(|_| timed(rounds)).min().unwrap_or(0);
    shortest(501).saturating_sub(shortest(1))
}

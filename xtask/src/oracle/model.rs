//! What the witnesses say (calls and segments) and what is concluded from it (holds).

use super::Way;

/// One call of the program under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `setsockopt(TCP_NODELAY)`.
    Nodelay(bool),
    /// `setsockopt(TCP_CORK)`.
    Cork(bool),
    /// `write` of so many bytes.
    Write(usize),
    /// `writev` of pieces of these sizes.
    Writev(Vec<usize>),
    /// `send` of so many bytes with `MSG_MORE`.
    SendMore(usize),
    /// So many bytes, given in another way.
    By(Way, usize),
    /// Blocking reads until so many bytes came.
    Read(usize),
    /// `setsockopt(SO_MAX_PACING_RATE)`, bytes a second.
    PacingRate(u32),
    /// `setsockopt(SO_SNDBUF)`, bytes.
    SendBuffer(u32),
    /// `setsockopt(TCP_NOTSENT_LOWAT)`, bytes.
    NotsentLowat(u32),
    /// From here on the queueing discipline of the program's device takes nothing, or everything again.
    DeviceDrops(bool),
    /// From here on the device of the program sends so many bytes a second, and not many at once.
    DeviceRate(u32),
    /// From here on the device's queueing discipline paces its flows (`fq`).
    DevicePaces,
    /// From here on the kernel makes TLS records of what is written (`TCP_ULP`).
    Encrypt,
    /// So many bytes that the kernel does not take, because the connection is over.
    WriteRefused(usize),
    /// `setsockopt(SO_LINGER)`: close at once, with a reset.
    LingerZero,
    /// `setsockopt(TCP_LINGER2)`: negative for no FIN-WAIT-2.
    Linger2(i32),
    /// `setsockopt(TCP_QUICKACK)`.
    Quickack(bool),
    /// `setsockopt(TCP_USER_TIMEOUT)`, milliseconds.
    UserTimeout(u32),
    /// From here on the kernel repeats a segment of a socket that no process has so often only (`tcp_orphan_retries`).
    OrphanRetries(u32),
    /// From here on the kernel has room for sockets that no process has, or for none (`tcp_max_orphans`).
    OrphansAllowed(bool),
    /// From here on the route to the peer asks for ACKs at once (`quickack`).
    RouteQuickack,
    /// `shutdown(SHUT_WR)`.
    ShutdownWrite,
    /// The socket is ended from outside, as `ss -K` does.
    Abort,
    /// `connect` to no family, which ends the connection and keeps the socket.
    Disconnect,
    /// None: the program keeps the socket open and does nothing more with it.
    Forget,
    /// `close`.
    Close,
}

impl Call {
    /// Whether the program's device gets a queue by it.
    pub(crate) const fn queues(&self) -> bool {
        matches!(self, Self::DeviceRate(_) | Self::DevicePaces)
    }

    /// Whether the call gives bytes to TCP.
    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Write(_) | Self::Writev(_) | Self::SendMore(_) | Self::By(..))
    }

    /// Whether its last byte is urgent.
    pub(crate) const fn is_urgent(&self) -> bool {
        matches!(self, Self::By(way, _) if way.is_urgent())
    }

    /// How a write gives bytes to TCP, by the JSON name.
    pub(crate) const fn way(&self) -> &'static str {
        match self {
            Self::By(way, _) if way.gives_pages() => "pages",
            _ => "call",
        }
    }

    /// Whether TCP is told that more will follow.
    pub(crate) const fn says_more(&self) -> bool {
        match self {
            Self::SendMore(_) => true,
            Self::By(way, _) => way.says_more(),
            _ => false,
        }
    }
}

/// A call with its times on `CLOCK_MONOTONIC` and its result.
#[derive(Clone, Debug)]
pub(crate) struct CallRecord {
    /// What was called.
    pub(crate) call: Call,
    /// Time just before the call.
    pub(crate) at_ns: u64,
    /// Time just after it.
    pub(crate) ret_ns: u64,
    /// What it returned.
    pub(crate) result: i64,
}

impl CallRecord {
    /// Bytes that a write call gave to TCP.
    pub(crate) fn given(&self) -> u64 {
        if self.call.writes() { u64::try_from(self.result).unwrap_or(0) } else { 0 }
    }
}

/// One TCP segment on the wire, as the packet socket stamped it, in `CLOCK_MONOTONIC`.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of a TCP header are bits")]
pub(crate) struct Segment {
    /// Time of the packet socket's stamp.
    pub(crate) at_ns: u64,
    /// Whether the host under test sent it.
    pub(crate) outgoing: bool,
    /// Source port, host order.
    pub(crate) sport: u16,
    /// Destination port, host order.
    pub(crate) dport: u16,
    /// Sequence number.
    pub(crate) seq: u32,
    /// Acknowledgement number; without meaning when `acks` is false.
    pub(crate) ack: u32,
    /// Payload in bytes.
    pub(crate) bytes: u32,
    /// The ACK flag.
    pub(crate) acks: bool,
    /// The SYN flag.
    pub(crate) syn: bool,
    /// The FIN flag.
    pub(crate) fin: bool,
    /// The RST flag.
    pub(crate) rst: bool,
    /// The URG flag.
    pub(crate) urgent: bool,
    /// The window as the header has it, before it is scaled.
    pub(crate) window: u16,
    /// The shift of the window scale option of a SYN.
    pub(crate) window_shift: Option<u8>,
    /// The MSS option of a SYN.
    pub(crate) mss_bytes: Option<u16>,
    /// Whether it carries the timestamps option.
    pub(crate) timestamps: bool,
    /// Bytes of the cookie in its option of Fast Open (34, or 254 with 0xF989), and whether that is the experimental one.
    pub(crate) fastopen: Option<(usize, bool)>,
}

/// All that was witnessed of one connection of the program under test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    /// Its calls in order, those on the listening socket before it first: a child inherits what they set.
    pub(crate) calls: Vec<CallRecord>,
    /// Its segments in order: when they left TCP, where the device has a queue.
    pub(crate) wire: Vec<Segment>,
    /// Where the device has a queue: when it sent data, and the end of it as a sequence number.
    pub(crate) device: Vec<(u64, u32)>,
    /// The program has an MPTCP socket, and this is a subflow of it.
    pub(crate) mptcp: bool,
}

/// The end of a connection, by the definition of the page of `close`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each was seen or was not, whatever the others")]
pub(crate) struct Close {
    /// Who closed first, by its JSON name.
    pub(crate) side: &'static str,
    /// The shape, by its JSON name.
    pub(crate) shape: &'static str,
    /// Why, by its JSON name.
    pub(crate) reason: &'static str,
    /// Segments that were nothing but the teardown.
    pub(crate) segments: u32,
    /// A FIN was sent again.
    pub(crate) fin_again: bool,
    /// A new connection of the same ends was asked for when both FINs were acknowledged.
    pub(crate) reused: bool,
    /// The kernel gave the connection up when no process had its socket any more.
    pub(crate) orphaned: bool,
    /// The other end answered nothing that was owed.
    pub(crate) vanished: bool,
    /// Bytes that had not left stood before the own FIN.
    pub(crate) held_data: bool,
    /// How long the own FIN waited, where that was longer than a call takes.
    pub(crate) fin_held_ns: Option<u64>,
    /// From the peer's FIN to the segment that acknowledged it.
    pub(crate) fin_to_ack_ns: Option<u64>,
    /// From the peer's FIN to the first call that closed this end.
    pub(crate) fin_to_close_ns: Option<u64>,
}

/// The cause whose bytes only the sleeping program knows.
pub(crate) const SEND_BUFFER: &str = "send_buffer";
/// The cause of a write that slept because as much waited as the program allows; it knows its bytes.
pub(crate) const NOTSENT_LOWAT: &str = "notsent_lowat";
/// The cause of a write that slept until the connection was there.
pub(crate) const NOT_ESTABLISHED: &str = "not_established";

/// One hold, by the definition of the JSON page of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Return of the write that left bytes waiting.
    pub(crate) start_ns: u64,
    /// From there to the departure of that write's last byte.
    pub(crate) held_ns: u64,
    /// Waiting bytes of all writes that belong to it.
    pub(crate) bytes: u64,
    /// The causes in the order in which they held, by their JSON names.
    pub(crate) causes: Vec<&'static str>,
    /// What let the bytes go, by its JSON name.
    pub(crate) release: &'static str,
    /// What else may have: a segment that left within a call that also met an ACK or a timer. The wire does not tell them apart.
    pub(crate) or: Option<&'static str>,
    /// Whether whole segments of the same write left before.
    pub(crate) tail: bool,
    /// How the write that started it was given to TCP, by its JSON name.
    pub(crate) way: &'static str,
    /// How the other end sent the ACK that released it, by its JSON name; `Some("")` where nothing may be said of it, and
    /// `None` where the wire does not tell.
    pub(crate) peer_ack: Option<&'static str>,
    /// An attempt to send came after a loss, when the congestion window, which no wire shows, may have been the reason.
    pub(crate) after_loss: bool,
}

//! What the witnesses say (calls and segments) and what is concluded from it (holds).

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
    /// Blocking reads until so many bytes came.
    Read(usize),
    /// `setsockopt(SO_MAX_PACING_RATE)`, bytes a second.
    PacingRate(u32),
    /// `setsockopt(SO_SNDBUF)`, bytes.
    SendBuffer(u32),
    /// From here on the queueing discipline of the program's device takes nothing, or everything again.
    DeviceDrops(bool),
    /// `setsockopt(SO_LINGER)`: close at once, with a reset.
    LingerZero,
    /// `shutdown(SHUT_WR)`.
    ShutdownWrite,
    /// `close`.
    Close,
}

impl Call {
    /// Whether the call gives bytes to TCP.
    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Write(_) | Self::Writev(_) | Self::SendMore(_))
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
    /// The RST flag.
    pub(crate) rst: bool,
    /// The window as the header has it, before it is scaled.
    pub(crate) window: u16,
    /// The shift of the window scale option of a SYN.
    pub(crate) window_shift: Option<u8>,
    /// The MSS option of a SYN.
    pub(crate) mss_bytes: Option<u16>,
    /// Whether it carries the timestamps option.
    pub(crate) timestamps: bool,
}

/// All that was witnessed of one connection of the program under test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    /// Its calls in order, those on the listening socket before it first: a child inherits what they set.
    pub(crate) calls: Vec<CallRecord>,
    /// Its segments in order.
    pub(crate) wire: Vec<Segment>,
}

/// The cause whose bytes only the sleeping program knows.
pub(crate) const SEND_BUFFER: &str = "send_buffer";

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
    /// Whether whole segments of the same write left before.
    pub(crate) tail: bool,
    /// An attempt to send came after a loss, when the congestion window, which no wire shows, may have been the reason.
    pub(crate) after_loss: bool,
}

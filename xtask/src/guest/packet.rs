//! Builds the peer's packets and reads the host's.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader, TcpOptionElement, TransportSlice,
};

/// Shift of the peer's window.
const WINDOW_SCALE: u8 = 7;

/// A segment of the peer.
#[derive(Debug, Default)]
pub(crate) struct Sent<'payload> {
    /// Sequence number.
    pub(crate) seq: u32,
    /// Acknowledgement number, when it acknowledges.
    pub(crate) ack: Option<u32>,
    /// The FIN flag.
    pub(crate) fin: bool,
    /// The RST flag.
    pub(crate) rst: bool,
    /// The window, to be scaled; a SYN has its own.
    pub(crate) window: u16,
    /// MSS and SACK permitted of a SYN.
    pub(crate) syn: Option<(u16, bool)>,
    /// The timestamps option: own clock and echo.
    pub(crate) timestamps: Option<(u32, u32)>,
    /// Payload.
    pub(crate) payload: &'payload [u8],
}

/// The IP packet of a segment.
pub(crate) fn build(from: SocketAddr, to: SocketAddr, sent: &Sent<'_>) -> anyhow::Result<Vec<u8>> {
    let builder = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => anyhow::bail!("addresses of two families"),
    };
    let window = if sent.syn.is_some() { 32792 } else { sent.window };
    let mut step: PacketBuilderStep<TcpHeader> =
        builder.tcp(from.port(), to.port(), sent.seq, window);
    let mut options = Vec::new();
    if let Some((mss, sack)) = sent.syn {
        step = step.syn();
        options.push(TcpOptionElement::MaximumSegmentSize(mss));
        options.push(TcpOptionElement::WindowScale(WINDOW_SCALE));
        if sack {
            options.push(TcpOptionElement::SelectiveAcknowledgementPermitted);
        }
    }
    if let Some((value, echo)) = sent.timestamps {
        options.push(TcpOptionElement::Timestamp(value, echo));
    }
    if let Some(ack) = sent.ack {
        step = step.ack(ack);
    }
    if sent.fin {
        step = step.fin();
    }
    if sent.rst {
        step = step.rst();
    }
    if !sent.payload.is_empty() {
        step = step.psh();
    }
    let step = step.options(&options)?;
    let mut packet = Vec::with_capacity(step.size(sent.payload.len()));
    step.write(&mut packet, sent.payload)?;
    Ok(packet)
}

/// What the peer needs to know of a segment of the host.
#[derive(Debug)]
pub(crate) struct Came {
    /// The peer's port.
    pub(crate) dport: u16,
    /// Sequence number.
    pub(crate) seq: u32,
    /// Payload in bytes.
    pub(crate) bytes: u32,
    /// The SYN flag.
    pub(crate) syn: bool,
    /// The FIN flag.
    pub(crate) fin: bool,
    /// The RST flag.
    pub(crate) rst: bool,
    /// The host's clock in the timestamps option.
    pub(crate) timestamp: Option<u32>,
}

/// Reads a packet of the host; nothing when it is no TCP.
pub(crate) fn read(packet: &[u8]) -> Option<Came> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    let timestamp = tcp.options_iterator().flatten().find_map(|option| match option {
        TcpOptionElement::Timestamp(value, _) => Some(value),
        _ => None,
    });
    Some(Came {
        dport: tcp.destination_port(),
        seq: tcp.sequence_number(),
        bytes: u32::try_from(tcp.payload().len()).ok()?,
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        timestamp,
    })
}

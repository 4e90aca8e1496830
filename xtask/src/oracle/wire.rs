//! Reads captured packets into segments.

use etherparse::{SlicedPacket, TcpOptionElement, TransportSlice};

use super::Segment;

/// The segment in an IP packet, or nothing when it carries no TCP.
pub(crate) fn segment(packet: &[u8], at_ns: u64, outgoing: bool) -> Option<Segment> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    let mut mss_bytes = None;
    let mut timestamps = false;
    let mut window_shift = None;
    for option in tcp.options_iterator().flatten() {
        match option {
            TcpOptionElement::MaximumSegmentSize(bytes) => mss_bytes = Some(bytes),
            TcpOptionElement::Timestamp(..) => timestamps = true,
            TcpOptionElement::WindowScale(shift) => window_shift = Some(shift),
            _ => {}
        }
    }
    Some(Segment {
        at_ns,
        outgoing,
        sport: tcp.source_port(),
        dport: tcp.destination_port(),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        bytes: u32::try_from(tcp.payload().len()).unwrap_or(u32::MAX),
        acks: tcp.ack(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        urgent: tcp.urg(),
        window: tcp.window_size(),
        window_shift,
        mss_bytes,
        timestamps,
        fastopen: fastopen(tcp.options()),
    })
}

/// The option of Fast Open, which the library does not know.
fn fastopen(mut options: &[u8]) -> Option<(usize, bool)> {
    loop {
        match options {
            [0, ..] | [] => return None,
            [1, rest @ ..] => options = rest,
            [34, length, ..] => return Some((usize::from(*length).checked_sub(2)?, false)),
            [254, length, 0xf9, 0x89, ..] => {
                return Some((usize::from(*length).checked_sub(4)?, true));
            }
            [_, length, ..] => options = options.get(usize::from((*length).max(2))..)?,
            [_] => return None,
        }
    }
}

//! The other end of a connection as the test makes it: segment by segment, behind a TUN device.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::Context as _;
use etherparse::{
    Icmpv4Type, Icmpv6Type, PacketBuilder, SlicedPacket, TransportSlice, icmpv4, icmpv6,
};

use super::{
    super::{
        netns::{address, up},
        sys::{now_ns, sleep_until},
        tun::Tun,
    },
    place::{PORT, Place},
};

/// The device.
pub(in crate::guest) const DEVICE: &str = "tun1";
/// Its own numbers begin here.
const SEQ: u32 = 1_000_000;
/// The option that every SYN has.
const MSS: [u8; 4] = [2, 4, 5, 0xb4];

/// The other end.
#[derive(Debug)]
pub(in crate::guest) struct Raw {
    tun: Arc<Tun>,
    host: IpAddr,
    own: IpAddr,
}

/// A segment of the host.
#[derive(Debug)]
pub(in crate::guest) struct Came {
    pub(in crate::guest) from: u16,
    pub(in crate::guest) to: u16,
    pub(in crate::guest) seq: u32,
    pub(in crate::guest) bytes: u32,
    /// The cookie in its option of Fast Open; empty without one.
    pub(in crate::guest) cookie: Vec<u8>,
    /// The whole of it, from the IP header on.
    packet: Vec<u8>,
}

/// The option with this cookie; with none it asks for one.
pub(in crate::guest) fn option34(cookie: &[u8]) -> Vec<u8> {
    let length = u8::try_from(cookie.len()).unwrap_or(0) + 2;
    [&[34, length], cookie].concat()
}

/// The same by the experimental option.
pub(in crate::guest) fn option254(cookie: &[u8]) -> Vec<u8> {
    let length = u8::try_from(cookie.len()).unwrap_or(0) + 4;
    [&[254, length, 0xf9, 0x89], cookie].concat()
}

impl Raw {
    /// A device in this thread's namespace, with the host at one end.
    pub(in crate::guest) fn open(place: &mut Place) -> anyhow::Result<Self> {
        let tun = Arc::new(Tun::create(DEVICE)?);
        let (host, own) = place.family.addresses();
        up(DEVICE)?;
        address(DEVICE, host)?;
        // IPv6 makes an address usable in a work queue.
        sleep_until(now_ns() + 100_000_000);
        place.watch(DEVICE, Some(Arc::clone(&tun)))?;
        Ok(Self { tun, host, own })
    }

    /// Where the host listens.
    pub(in crate::guest) const fn host(&self) -> SocketAddr {
        SocketAddr::new(self.host, PORT)
    }

    /// Where the host connects to.
    pub(in crate::guest) const fn own(&self) -> SocketAddr {
        SocketAddr::new(self.own, PORT)
    }

    /// Sends a SYN to the host's listener and waits for the answer.
    pub(in crate::guest) fn syn(
        &self,
        from: u16,
        option: &[u8],
        payload: &[u8],
    ) -> anyhow::Result<Came> {
        self.give((from, PORT), (Flags::Syn, SEQ, 0), option, payload)?;
        self.take(|it| it.to == from)
    }

    /// Acknowledges the answer to a SYN with so much data.
    pub(in crate::guest) fn acknowledge(
        &self,
        from: u16,
        bytes: u32,
        answer: &Came,
    ) -> anyhow::Result<()> {
        let numbers = (Flags::Ack, SEQ + 1 + bytes, answer.seq.wrapping_add(1));
        self.give((from, PORT), numbers, &[], &[])
    }

    /// Resets in place of that.
    pub(in crate::guest) fn reset(&self, from: u16, bytes: u32) -> anyhow::Result<()> {
        self.give((from, PORT), (Flags::Rst, SEQ + 1 + bytes, 0), &[], &[])
    }

    /// Sends this much of what comes after so many bytes.
    pub(in crate::guest) fn data(
        &self,
        from: u16,
        before: u32,
        answer: &Came,
        payload: &[u8],
    ) -> anyhow::Result<()> {
        let numbers = (Flags::Ack, SEQ + 1 + before, answer.seq.wrapping_add(1));
        self.give((from, PORT), numbers, &[], payload)
    }

    /// Sends the SYN once more.
    pub(in crate::guest) fn syn_again(&self, from: u16) -> anyhow::Result<()> {
        self.give((from, PORT), (Flags::Syn, SEQ, 0), &[], &[])
    }

    /// ICMP about the answer to a SYN, of the kind that ends a connection which is being opened: nobody is found there (IPv4),
    /// or it is forbidden (IPv6).
    pub(in crate::guest) fn unreachable(&self, from: u16, answer: &Came) -> anyhow::Result<()> {
        // The segment that it quotes: as much of it as every router does.
        let quoted = match (self.host, self.own) {
            (IpAddr::V4(host), IpAddr::V4(own)) => {
                PacketBuilder::ipv4(host.octets(), own.octets(), 64)
            }
            (IpAddr::V6(host), IpAddr::V6(own)) => {
                PacketBuilder::ipv6(host.octets(), own.octets(), 64)
            }
            _ => anyhow::bail!("addresses of two families"),
        };
        let quoted = quoted.tcp(PORT, from, answer.seq, 65_535).syn().ack(SEQ + 1);
        let mut inner = Vec::with_capacity(quoted.size(0));
        quoted.write(&mut inner, &[])?;
        let mut packet = Vec::new();
        match (self.own, self.host) {
            (IpAddr::V4(own), IpAddr::V4(host)) => {
                let unreachable =
                    Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
                PacketBuilder::ipv4(own.octets(), host.octets(), 64)
                    .icmpv4(unreachable)
                    .write(&mut packet, &inner)?;
            }
            (IpAddr::V6(own), IpAddr::V6(host)) => {
                let unreachable =
                    Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Prohibited);
                PacketBuilder::ipv6(own.octets(), host.octets(), 64)
                    .icmpv6(unreachable)
                    .write(&mut packet, &inner)?;
            }
            _ => anyhow::bail!("addresses of two families"),
        }
        self.tun.give(&packet).context("send ICMP")
    }

    /// Waits for a SYN of the host.
    pub(in crate::guest) fn awaited(&self) -> anyhow::Result<Came> {
        self.take(|it| it.to == PORT)
    }

    /// Answers a SYN of the host: so much of its data is acknowledged.
    pub(in crate::guest) fn answer(
        &self,
        syn: &Came,
        acked: u32,
        option: &[u8],
    ) -> anyhow::Result<()> {
        let numbers = (Flags::SynAck, SEQ, syn.seq.wrapping_add(1).wrapping_add(acked));
        self.give((PORT, syn.from), numbers, option, &[])
    }

    /// Resets a connection of the host's by a number that is so far ahead of the one expected.
    pub(in crate::guest) fn reset_ahead(&self, syn: &Came, ahead: u32) -> anyhow::Result<()> {
        self.give((PORT, syn.from), (Flags::Rst, SEQ + 1 + ahead, 0), &[], &[])
    }

    /// Says of a segment of the host that a device on the way takes packets of `mtu` bytes at most.
    pub(super) fn too_big(&self, came: &Came, mtu: u16) -> anyhow::Result<()> {
        // An error of ICMP quotes what it is about.
        let quoted = came.packet.get(..came.packet.len().min(100)).unwrap_or_default();
        let [high, low] = mtu.to_be_bytes();
        let mut packet = Vec::new();
        match (self.own, self.host) {
            (IpAddr::V4(own), IpAddr::V4(host)) => {
                PacketBuilder::ipv4(own.octets(), host.octets(), 64)
                    .icmpv4_raw(3, 4, [0, 0, high, low])
                    .write(&mut packet, quoted)?;
            }
            (IpAddr::V6(own), IpAddr::V6(host)) => {
                PacketBuilder::ipv6(own.octets(), host.octets(), 64)
                    .icmpv6_raw(2, 0, [0, 0, high, low])
                    .write(&mut packet, quoted)?;
            }
            _ => anyhow::bail!("addresses of two families"),
        }
        self.tun.give(&packet).context("send an ICMP message")
    }

    fn give(
        &self,
        (from, to): (u16, u16),
        (flags, seq, ack): (Flags, u32, u32),
        option: &[u8],
        payload: &[u8],
    ) -> anyhow::Result<()> {
        let builder = match (self.own, self.host) {
            (IpAddr::V4(own), IpAddr::V4(host)) => {
                PacketBuilder::ipv4(own.octets(), host.octets(), 64)
            }
            (IpAddr::V6(own), IpAddr::V6(host)) => {
                PacketBuilder::ipv6(own.octets(), host.octets(), 64)
            }
            _ => anyhow::bail!("addresses of two families"),
        };
        let step = builder.tcp(from, to, seq, 32_792);
        let step = match flags {
            Flags::Syn => step.syn(),
            Flags::SynAck => step.syn().ack(ack),
            Flags::Ack => step.ack(ack),
            Flags::Rst => step.rst(),
        };
        let mut options =
            if matches!(flags, Flags::Syn | Flags::SynAck) { MSS.to_vec() } else { Vec::new() };
        options.extend(option);
        options.resize(options.len().next_multiple_of(4), 1);
        let step = step.options_raw(&options)?;
        let mut packet = Vec::with_capacity(step.size(payload.len()));
        step.write(&mut packet, payload)?;
        self.tun.give(&packet).context("send a segment")
    }

    /// Waits for a SYN, or the answer to one.
    fn take(&self, wanted: impl Fn(&Came) -> bool) -> anyhow::Result<Came> {
        let until_ns = now_ns() + 5_000_000_000;
        loop {
            let mut poll = libc::pollfd { fd: self.tun.fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one structure, which outlives the call.
            let ready = unsafe { libc::poll(&raw mut poll, 1, 100) };
            anyhow::ensure!(now_ns() < until_ns, "no SYN of the host, and no answer");
            if ready < 1 {
                continue;
            }
            let mut packet = vec![0; 1 << 16];
            let bytes = self.tun.take(&mut packet)?;
            if let Some(came) = packet.get(..bytes).and_then(read).filter(&wanted) {
                return Ok(came);
            }
        }
    }
}

/// The flags of a segment.
#[derive(Clone, Copy, Debug)]
enum Flags {
    Syn,
    SynAck,
    Ack,
    Rst,
}

/// A SYN, or the answer to one.
fn read(packet: &[u8]) -> Option<Came> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    tcp.syn().then(|| Came {
        from: tcp.source_port(),
        to: tcp.destination_port(),
        seq: tcp.sequence_number(),
        bytes: u32::try_from(tcp.payload().len()).unwrap_or(0),
        cookie: cookie(tcp.options()).unwrap_or_default(),
        packet: packet.to_vec(),
    })
}

/// The cookie among the options.
fn cookie(mut options: &[u8]) -> Option<Vec<u8>> {
    loop {
        let length = usize::from(*options.get(1)?);
        match options {
            [0, ..] => return None,
            [1, rest @ ..] => options = rest,
            [34, ..] => return options.get(2..length).map(<[u8]>::to_vec),
            [254, _, 0xf9, 0x89, ..] => return options.get(4..length).map(<[u8]>::to_vec),
            _ => options = options.get(length.max(2)..)?,
        }
    }
}

//! The witness on the wire: a packet socket with the kernel's timestamps.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::Context as _;

use super::{
    netns,
    sys::{checked, checked_fd, set_option},
};
use crate::oracle::{Segment, segment};

/// Room for all packets of a story: they are read when it is over.
const BUFFER_BYTES: i32 = 16 << 20;

/// A packet socket bound to one device.
#[derive(Debug)]
pub(crate) struct Capture {
    socket: OwnedFd,
    realtime_offset_ns: u64,
}

impl Capture {
    /// Starts to capture on a device of this thread's namespace.
    pub(crate) fn start(device: &str, realtime_offset_ns: u64) -> anyhow::Result<Self> {
        let every_protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: socket() takes three numbers.
        let fd =
            checked_fd(unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(every_protocol)) })
                .context("open a packet socket")?;
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER_BYTES)
            .context("SO_RCVBUFFORCE")?;
        set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1).context("SO_TIMESTAMPNS")?;
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET)?,
            sll_protocol: every_protocol,
            sll_ifindex: netns::index(device)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
        // SAFETY: the pointer and the size describe the address.
        checked(i64::from(unsafe { libc::bind(fd, (&raw const address).cast(), size) }))
            .context("bind the packet socket")?;
        Ok(Self { socket, realtime_offset_ns })
    }

    /// All TCP segments captured so far, in the order of the wire.
    pub(crate) fn drain(&self) -> anyhow::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        while self.next(&mut segments)? {}
        // A packet is stamped before it is queued here: two processors, or a nested transmit, may change the order.
        segments.sort_by_key(|segment: &Segment| segment.at_ns);
        Ok(segments)
    }

    /// Takes the next packet, which counts if it is a segment; false when there is none.
    fn next(&self, segments: &mut Vec<Segment>) -> anyhow::Result<bool> {
        let mut packet = vec![0_u8; 1 << 16];
        let mut control = [0_u64; 16];
        let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
        let mut piece = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
        // SAFETY: all-zero is an empty msghdr.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_name = from.as_mut_ptr().cast();
        message.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message describes buffers that outlive the call.
        let got =
            unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let Ok(bytes) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock {
                Ok(false)
            } else {
                Err(error.into())
            };
        };
        let at_ns = stamp_ns(&message).context("a packet without a timestamp")?;
        // SAFETY: all-zero is a sockaddr_ll, whether the call filled it or not.
        let outgoing = unsafe { from.assume_init() }.sll_pkttype == libc::PACKET_OUTGOING;
        let packet = packet.get(..bytes).unwrap_or_default();
        segments.extend(segment(packet, at_ns.saturating_sub(self.realtime_offset_ns), outgoing));
        Ok(true)
    }
}

fn stamp_ns(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: recvmsg() filled the control buffer that the message describes.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: the header is null or lies in the control buffer, which is aligned for it.
    let header = unsafe { header.as_ref() }?;
    if header.cmsg_type != libc::SCM_TIMESTAMPNS {
        return None;
    }
    // SAFETY: the header was found in the buffer above.
    let value = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: SCM_TIMESTAMPNS carries a timespec, aligned or not.
    let time = unsafe { value.cast::<libc::timespec>().read_unaligned() };
    Some(u64::try_from(time.tv_sec).ok()? * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?)
}

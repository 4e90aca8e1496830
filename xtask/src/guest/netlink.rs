//! A netlink message and its answer: as much of it as addresses, routes, a veth pair and the end of a socket need.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use super::sys::{checked, checked_fd};

/// One request under construction.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of a type, with its fixed part.
    pub(crate) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or(0);
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        Self { bytes }
    }

    /// Appends an attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let size = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(size.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Appends an attribute whose value `inner` writes.
    pub(crate) fn nested(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) {
        let mut nest = Self { bytes: Vec::new() };
        inner(&mut nest);
        self.attribute(kind, &nest.bytes);
    }

    /// Appends bytes without a header of their own.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Sends the request in this thread's network namespace and waits for the answer.
    pub(crate) fn send(self) -> io::Result<()> {
        self.send_by(libc::NETLINK_ROUTE)
    }

    /// As [`Self::send`], by a protocol of netlink.
    pub(crate) fn send_by(mut self, protocol: libc::c_int) -> io::Result<()> {
        let size = u32::try_from(self.bytes.len()).unwrap_or(0).to_ne_bytes();
        self.bytes.splice(..4, size);
        // SAFETY: socket() takes three numbers.
        let fd = checked_fd(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol) })?;
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the pointer and the length describe the request.
        let sent = unsafe {
            libc::send(socket.as_raw_fd(), self.bytes.as_ptr().cast(), self.bytes.len(), 0)
        };
        checked(i64::try_from(sent).unwrap_or(-1))?;
        let mut answer = [0_u8; 4096];
        // SAFETY: the pointer and the length describe the buffer.
        let got =
            unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
        checked(i64::try_from(got).unwrap_or(-1))?;
        // The answer is an nlmsghdr (16 bytes) and the errno.
        match answer.get(16..20).and_then(|errno| errno.try_into().ok()).map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

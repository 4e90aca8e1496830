//! The program under test: makes its calls and notes when each began and ended.

use std::{
    io,
    mem::MaybeUninit,
    net::TcpStream,
    os::fd::{AsRawFd as _, RawFd},
};

use anyhow::Context as _;

use super::sys::{checked, now_ns, set_option};
use crate::oracle::{Call, CallRecord};

/// One connection of the program, with the log of its calls.
#[derive(Debug)]
pub(crate) struct Program {
    stream: Option<TcpStream>,
    log: Vec<CallRecord>,
}

impl Program {
    /// A connection without calls so far.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream: Some(stream), log: Vec::new() }
    }

    /// Makes one call and notes it.
    pub(crate) fn call(&mut self, call: &Call) -> anyhow::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let fd = stream.as_raw_fd();
        let payload = vec![b'r'; call.size()];
        let mut pieces = call.pieces(&payload);
        let at_ns = now_ns();
        let made = match call {
            Call::Nodelay(on) => {
                set_option(fd, libc::SOL_TCP, libc::TCP_NODELAY, i32::from(*on)).map(|()| 0)
            }
            Call::Cork(on) => {
                set_option(fd, libc::SOL_TCP, libc::TCP_CORK, i32::from(*on)).map(|()| 0)
            }
            Call::Write(_) => send(fd, &payload, 0),
            Call::SendMore(_) => send(fd, &payload, libc::MSG_MORE),
            Call::Writev(_) => writev(fd, &mut pieces),
            Call::Read(bytes) => read(fd, *bytes),
            // SAFETY: the descriptor is open.
            Call::ShutdownWrite => checked(i64::from(unsafe { libc::shutdown(fd, libc::SHUT_WR) })),
            Call::Close => {
                self.stream = None;
                Ok(0)
            }
        };
        let ret_ns = now_ns();
        let result = made.with_context(|| format!("{call:?}"))?;
        self.log.push(CallRecord { call: call.clone(), at_ns, ret_ns, result });
        Ok(())
    }

    /// Whether the congestion window surely does not hold so many further bytes, nor makes TCP wait for a fuller burst.
    pub(crate) fn has_room(&self, call: &Call) -> bool {
        let Some(info) = self.stream.as_ref().and_then(|stream| tcp_info(stream.as_raw_fd()))
        else {
            return false;
        };
        let mss = usize::try_from(info.tcpi_snd_mss.max(1)).unwrap_or(1);
        // One more for what waits, one for a short end.
        let segments = u32::try_from(call.size() / mss).unwrap_or(u32::MAX).saturating_add(2);
        // tcp_tso_should_defer() lets bursts go while a third of the window is free.
        let free = (info.tcpi_unacked + segments) * 3 <= info.tcpi_snd_cwnd * 2;
        info.tcpi_ca_state == 0
            && (free || info.tcpi_unacked == 0 && segments <= info.tcpi_snd_cwnd)
    }

    /// The calls made.
    pub(crate) fn into_log(self) -> Vec<CallRecord> {
        self.log
    }
}

impl Call {
    fn size(&self) -> usize {
        match self {
            Self::Write(bytes) | Self::SendMore(bytes) => *bytes,
            Self::Writev(pieces) => pieces.iter().sum(),
            _ => 0,
        }
    }

    fn pieces(&self, payload: &[u8]) -> Vec<libc::iovec> {
        let Self::Writev(sizes) = self else { return Vec::new() };
        sizes
            .iter()
            .map(|size| libc::iovec {
                iov_base: payload.as_ptr().cast_mut().cast(),
                iov_len: *size,
            })
            .collect()
    }
}

fn send(fd: RawFd, payload: &[u8], flags: i32) -> io::Result<i64> {
    // SAFETY: the pointer and the length describe the payload.
    let sent = unsafe {
        libc::send(fd, payload.as_ptr().cast(), payload.len(), flags | libc::MSG_NOSIGNAL)
    };
    checked(i64::try_from(sent).unwrap_or(-1))
}

fn writev(fd: RawFd, pieces: &mut [libc::iovec]) -> io::Result<i64> {
    let count = libc::c_int::try_from(pieces.len()).unwrap_or(0);
    // SAFETY: each piece lies within the payload, which outlives the call.
    let sent = unsafe { libc::writev(fd, pieces.as_ptr(), count) };
    checked(i64::try_from(sent).unwrap_or(-1))
}

fn read(fd: RawFd, bytes: usize) -> io::Result<i64> {
    let mut buffer = vec![0_u8; bytes];
    let mut got = 0;
    while got < bytes {
        let rest = buffer.get_mut(got..).unwrap_or_default();
        // SAFETY: the pointer and the length describe the rest of the buffer.
        let more = checked(
            i64::try_from(unsafe { libc::read(fd, rest.as_mut_ptr().cast(), rest.len()) })
                .unwrap_or(-1),
        )?;
        if more == 0 {
            break;
        }
        got += usize::try_from(more).unwrap_or(0);
    }
    Ok(i64::try_from(got).unwrap_or(0))
}

fn tcp_info(fd: RawFd) -> Option<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the pointer and the size describe the structure; a kernel that knows less of it leaves the rest zero.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size)
    };
    // SAFETY: all-zero is a tcp_info.
    (result == 0).then(|| unsafe { info.assume_init() })
}

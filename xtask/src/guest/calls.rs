//! The program under test: makes its calls and notes when each began and ended.

use std::{
    io,
    mem::MaybeUninit,
    net::TcpStream,
    os::fd::{AsRawFd, RawFd},
    thread,
};

use anyhow::Context as _;

use super::sys::{checked, name_thread, now_ns, set_option};
use super::{netns::drops, stage::TUN};
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

    /// A connection just accepted, which inherits what was called on the listener.
    pub(crate) fn accepted(stream: TcpStream, inherited: &[CallRecord]) -> Self {
        Self { stream: Some(stream), log: inherited.to_vec() }
    }

    /// Makes one call and notes it.
    pub(crate) fn call(&mut self, call: &Call) -> anyhow::Result<()> {
        let Some(fd) = self.stream.as_ref().map(AsRawFd::as_raw_fd) else { return Ok(()) };
        let record = match call {
            Call::Close => timed(call, || {
                self.stream = None;
                Ok(0)
            }),
            _ => made(fd, call),
        }?;
        self.log.push(record);
        Ok(())
    }

    /// Makes one call in another thread of this program.
    pub(crate) fn call_elsewhere(&mut self, call: &Call) -> anyhow::Result<()> {
        let made = thread::scope(|scope| {
            let another = scope.spawn(|| {
                name_thread(c"another");
                self.call(call)
            });
            another.join()
        });
        made.map_err(|_panic| anyhow::anyhow!("the other thread panicked"))?
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

/// Makes one call on a socket, and says when it began and ended. It does not close.
pub(crate) fn made(fd: RawFd, call: &Call) -> anyhow::Result<CallRecord> {
    let payload = vec![b'r'; call.size()];
    let mut pieces = call.pieces(&payload);
    timed(call, || match call {
        Call::Nodelay(on) => option(fd, libc::SOL_TCP, libc::TCP_NODELAY, i32::from(*on)),
        Call::Cork(on) => option(fd, libc::SOL_TCP, libc::TCP_CORK, i32::from(*on)),
        Call::PacingRate(rate) => {
            option(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, rate.cast_signed())
        }
        Call::SendBuffer(bytes) => {
            option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes.cast_signed())
        }
        Call::DeviceDrops(on) => drops(TUN, *on).map(|()| 0).map_err(io::Error::other),
        Call::LingerZero => {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger).map(|()| 0)
        }
        Call::Write(_) => send(fd, &payload, 0),
        Call::SendMore(_) => send(fd, &payload, libc::MSG_MORE),
        Call::Writev(_) => writev(fd, &mut pieces),
        Call::Read(bytes) => read(fd, *bytes),
        // SAFETY: shutdown() takes two numbers.
        Call::ShutdownWrite => checked(i64::from(unsafe { libc::shutdown(fd, libc::SHUT_WR) })),
        Call::Close => Err(io::ErrorKind::Unsupported.into()),
    })
}

fn timed(call: &Call, make: impl FnOnce() -> io::Result<i64>) -> anyhow::Result<CallRecord> {
    let at_ns = now_ns();
    let result = make();
    let ret_ns = now_ns();
    let result = result.with_context(|| format!("{call:?}"))?;
    Ok(CallRecord { call: call.clone(), at_ns, ret_ns, result })
}

fn option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<i64> {
    set_option(fd, level, name, &value).map(|()| 0)
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

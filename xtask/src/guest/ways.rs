//! Gives bytes to TCP by other system calls than `write` and `send`.

use std::{
    fs::File,
    io::{self, Write as _},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use io_uring::{IoUring, opcode, squeue, types};

use super::{
    kcm,
    sys::{checked, checked_fd, set_option},
};
use crate::oracle::Way;

/// How far beyond its end a file is asked for.
const BEYOND: usize = 4_096;

/// Gives the payload, which is no larger than a pipe; says how many bytes were taken.
pub(super) fn give(fd: RawFd, way: Way, payload: &[u8]) -> io::Result<i64> {
    match way {
        Way::Writev => writev(fd, payload),
        Way::Sendmsg => sendmsg(fd, payload),
        Way::Sendmmsg => sendmmsg(fd, payload),
        Way::Sendfile => sendfile(fd, payload, payload.len()),
        Way::SendfilePastEnd => sendfile(fd, payload, payload.len() + BEYOND),
        Way::Splice => splice(fd, payload, 0),
        Way::SpliceMore => splice(fd, payload, libc::SPLICE_F_MORE),
        Way::Zerocopy => {
            set_option(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY, &1_i32)?;
            send(fd, payload, libc::MSG_ZEROCOPY)
        }
        Way::EndOfRecord => send(fd, payload, libc::MSG_EOR),
        Way::Urgent => send(fd, payload, libc::MSG_OOB),
        Way::UrgentMore => send(fd, payload, libc::MSG_OOB | libc::MSG_MORE),
        Way::Fastopen | Way::FastopenMore | Way::FastopenDontWait => {
            Err(io::Error::other("it needs an address"))
        }
        Way::IoUring
        | Way::IoUringWorker
        | Way::IoUringSendmsg
        | Way::IoUringWrite
        | Way::IoUringZerocopy
        | Way::IoUringSendmsgZerocopy => by_ring(fd, way, payload),
        Way::Kcm => kcm::send(fd, payload),
        Way::DontWait => match send(fd, payload, libc::MSG_DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        },
    }
}

/// The sizes of the two parts in which some of the ways give so many bytes.
pub(super) const fn halves(bytes: usize) -> (usize, usize) {
    (bytes / 2, bytes - bytes / 2)
}

fn send(fd: RawFd, payload: &[u8], flags: i32) -> io::Result<i64> {
    // SAFETY: the pointer and the length describe the payload.
    length(unsafe {
        libc::send(fd, payload.as_ptr().cast(), payload.len(), flags | libc::MSG_NOSIGNAL)
    })
}

fn writev(fd: RawFd, payload: &[u8]) -> io::Result<i64> {
    // SAFETY: the pieces lie within the payload; the count is theirs.
    length(unsafe { libc::writev(fd, pieces(payload).as_ptr(), 2) })
}

fn sendmsg(fd: RawFd, payload: &[u8]) -> io::Result<i64> {
    let mut pieces = pieces(payload);
    let message = message(&mut pieces);
    // SAFETY: the message describes the pieces, and they the payload.
    length(unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })
}

fn sendmmsg(fd: RawFd, payload: &[u8]) -> io::Result<i64> {
    let [mut first, mut second] = pieces(payload).map(|piece| [piece]);
    let mut messages = [message(&mut first), message(&mut second)]
        .map(|msg_hdr| libc::mmsghdr { msg_hdr, msg_len: 0 });
    // SAFETY: the messages describe the pieces, and they the payload; the count is theirs.
    checked(i64::from(unsafe {
        libc::sendmmsg(fd, messages.as_mut_ptr(), 2, libc::MSG_NOSIGNAL)
    }))?;
    Ok(messages.iter().map(|message| i64::from(message.msg_len)).sum())
}

fn pieces(payload: &[u8]) -> [libc::iovec; 2] {
    let (first, second) = payload.split_at(halves(payload.len()).0);
    [first, second].map(|piece| libc::iovec {
        iov_base: piece.as_ptr().cast_mut().cast(),
        iov_len: piece.len(),
    })
}

fn message(pieces: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all-zero is an empty msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len();
    message
}

/// The payload as a file, of which so many bytes are asked for.
fn sendfile(fd: RawFd, payload: &[u8], count: usize) -> io::Result<i64> {
    // SAFETY: the name ends in zero.
    let memory = checked_fd(unsafe { libc::memfd_create(c"payload".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    let mut file = unsafe { File::from_raw_fd(memory) };
    file.write_all(payload)?;
    let mut from = 0;
    // SAFETY: the offset outlives the call.
    length(unsafe { libc::sendfile(fd, memory, &raw mut from, count) })
}

fn splice(fd: RawFd, payload: &[u8], flags: u32) -> io::Result<i64> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors.
    checked_fd(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the descriptors were just opened and belong to nobody else.
    let [reader, writer] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    File::from(writer).write_all(payload)?;
    let (none, size) = (ptr::null_mut(), payload.len());
    // SAFETY: no offset is given for either end.
    length(unsafe { libc::splice(reader.as_raw_fd(), none, fd, none, size, flags) })
}

fn by_ring(fd: RawFd, way: Way, payload: &[u8]) -> io::Result<i64> {
    let mut ring = IoUring::new(4)?;
    let size = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let (fd, from) = (types::Fd(fd), payload.as_ptr());
    let mut pieces = pieces(payload);
    let message = message(&mut pieces);
    let flags = libc::MSG_NOSIGNAL;
    let msg_flags = flags.cast_unsigned();
    let entry = match way {
        Way::IoUringSendmsg => {
            opcode::SendMsg::new(fd, &raw const message).flags(msg_flags).build()
        }
        Way::IoUringWrite => opcode::Write::new(fd, from, size).build(),
        Way::IoUringZerocopy => opcode::SendZc::new(fd, from, size).flags(flags).build(),
        Way::IoUringSendmsgZerocopy => {
            opcode::SendMsgZc::new(fd, &raw const message).flags(msg_flags).build()
        }
        _ => opcode::Send::new(fd, from, size).flags(flags).build(),
    };
    let by_worker =
        if way == Way::IoUringWorker { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
    // SAFETY: payload and message outlive the request, whose end is waited for. Without a copy the kernel keeps the pages
    // until they are acknowledged, whatever becomes of them here.
    unsafe { ring.submission().push(&entry.flags(by_worker)) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    match done.result() {
        sent if sent < 0 => Err(io::Error::from_raw_os_error(-sent)),
        sent => Ok(i64::from(sent)),
    }
}

/// Lets the kernel encrypt what is written from here on, as records of TLS 1.2 with AES-128-GCM.
pub(super) fn encrypt(fd: RawFd) -> io::Result<i64> {
    set_option(fd, libc::SOL_TCP, libc::TCP_ULP, b"tls")?;
    // struct tls12_crypto_info_aes_gcm_128: version, cipher, iv, key, salt, record number.
    let mut keys = [0_u8; 40];
    keys[..2].copy_from_slice(&libc::TLS_1_2_VERSION.to_ne_bytes());
    keys[2..4].copy_from_slice(&libc::TLS_CIPHER_AES_GCM_128.to_ne_bytes());
    set_option(fd, libc::SOL_TLS, libc::TLS_TX, &keys)?;
    Ok(0)
}

fn length(result: isize) -> io::Result<i64> {
    checked(i64::try_from(result).unwrap_or(-1))
}

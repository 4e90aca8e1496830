//! The ways to set an option, and what a socket says of one.

use std::{io, os::fd::RawFd, ptr};

use io_uring::{IoUring, opcode, types};

use super::super::sys::checked;

/// The number of `setsockopt` for programs of 32 bits.
const SETSOCKOPT_32: i64 = 366;

/// What a socket says of an option: a number, or a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Number(i64),
    Word(String),
}

/// A way to set an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The system call.
    Call,
    /// The system call of 32 bits.
    Compat,
    /// `io_uring`, from 6.7 on.
    Ring,
}

/// Sets an option; 0 or a negative error.
pub(super) fn set(way: Way, fd: RawFd, (level, optname): (u32, u32), value: &[u8]) -> i32 {
    match way {
        Way::Call => {
            // SAFETY: the pointer and the length describe the value.
            let result = unsafe {
                libc::setsockopt(
                    fd,
                    level.cast_signed(),
                    optname.cast_signed(),
                    value.as_ptr().cast(),
                    u32::try_from(value.len()).unwrap_or(0),
                )
            };
            error_of(checked(i64::from(result)))
        }
        Way::Compat => error_of(compat(fd, level, optname, value)),
        Way::Ring => error_of(by_ring(fd, level, optname, value)),
    }
}

fn error_of(result: io::Result<i64>) -> i32 {
    result.map_or_else(|error| -error.raw_os_error().unwrap_or(1), |_| 0)
}

/// As a program of 32 bits: the value lies where such a program can have it.
fn compat(fd: RawFd, level: u32, optname: u32, value: &[u8]) -> io::Result<i64> {
    // SAFETY: a fresh mapping below 4 GB.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let size = value.len().min(4096);
    // SAFETY: the page has room for it.
    unsafe { ptr::copy_nonoverlapping(value.as_ptr(), page.cast::<u8>(), size) };
    let mut result = SETSOCKOPT_32;
    // SAFETY: the system call reads `size` bytes at `page` and changes no memory; `rbx` is put back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {fd}",
            "int 0x80",
            "xchg rbx, {fd}",
            fd = inout(reg) i64::from(fd) => _,
            inout("rax") result,
            in("rcx") u64::from(level),
            in("rdx") u64::from(optname),
            in("rsi") page,
            in("rdi") size,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // SAFETY: nobody else has the page.
    unsafe { libc::munmap(page, 4096) };
    // The result has 32 bits.
    let [a, b, c, d, ..] = result.to_le_bytes();
    let result = i32::from_le_bytes([a, b, c, d]);
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(0) }
}

fn by_ring(fd: RawFd, level: u32, optname: u32, value: &[u8]) -> io::Result<i64> {
    let mut ring = IoUring::new(2)?;
    let size = u32::try_from(value.len()).map_err(io::Error::other)?;
    let request =
        opcode::SetSockOpt::new(types::Fd(fd), level, optname, value.as_ptr().cast(), size).build();
    // SAFETY: the value outlives the request, whose end is waited for.
    unsafe { ring.submission().push(&request) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    match done.result() {
        result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
        result => Ok(i64::from(result)),
    }
}

/// What the socket says of an option; `None` where it says nothing.
pub(super) fn answer(fd: RawFd, level: u32, optname: u32) -> Option<Answer> {
    let mut value = [0_u8; 16];
    let mut size = 16;
    // SAFETY: the value is as large as is said.
    let result = unsafe {
        libc::getsockopt(
            fd,
            level.cast_signed(),
            optname.cast_signed(),
            value.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return None;
    }
    let word = |at: usize| {
        value.get(at..at + 4).and_then(|word| word.try_into().ok()).map(i32::from_ne_bytes)
    };
    let first = word(0)?;
    Some(match (level, optname) {
        (6, 13) => {
            let name: Vec<u8> = value.into_iter().take_while(|byte| *byte != 0).collect();
            Answer::Word(String::from_utf8_lossy(&name).into_owned())
        }
        (1, 13) if first == 0 => Answer::Word("off".to_owned()),
        (1, 13) => Answer::Number(i64::from(word(4)?)),
        (1, 47) if size == 8 => {
            let whole = i64::from_ne_bytes(value.get(..8)?.try_into().ok()?);
            if whole == -1 { Answer::Word("unlimited".to_owned()) } else { Answer::Number(whole) }
        }
        (1, 47) | (6, 25) if first == -1 => Answer::Word("unlimited".to_owned()),
        // The kernel keeps it without a sign.
        (6, 10) => Answer::Number(i64::from(first.cast_unsigned())),
        _ => Answer::Number(i64::from(first)),
    })
}

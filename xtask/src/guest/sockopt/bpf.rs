//! A BPF program of a cgroup that sets an option when a connection of its own making is established: written in the
//! kernel's own instructions, because nothing else here needs a compiler.

use std::{
    fs::File,
    io,
    mem::size_of_val,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::Context as _;

use super::super::sys::{checked, checked_fd};

/// `BPF_PROG_LOAD`, `BPF_PROG_ATTACH` and `BPF_PROG_DETACH` (`linux/bpf.h`).
const LOAD: i32 = 5;
const ATTACH: i32 = 8;
const DETACH: i32 = 9;
/// `BPF_PROG_TYPE_SOCK_OPS`.
const SOCK_OPS: u32 = 13;
/// `BPF_CGROUP_SOCK_OPS`.
const CGROUP_SOCK_OPS: u32 = 3;
/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`.
const ACTIVE_ESTABLISHED: i32 = 4;
/// Number of `bpf_setsockopt()` among the helpers.
const SETSOCKOPT: i32 = 49;

/// One instruction: operation, registers, offset, number.
const fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    (code as u64)
        | ((to as u64 & 15) | (from as u64 & 15) << 4) << 8
        | (offset.cast_unsigned() as u64) << 16
        | (number.cast_unsigned() as u64) << 32
}

/// The instructions that set `TCP_KEEPIDLE` to a number.
const fn keepidle(seconds: i32) -> [u64; 8] {
    [
        // *(u32 *)(r10 - 4) = seconds
        instruction(0x62, 10, 0, -4, seconds),
        // r1 = r6, the context
        instruction(0xbf, 1, 6, 0, 0),
        // r2 = SOL_TCP, r3 = TCP_KEEPIDLE
        instruction(0xb7, 2, 0, 0, 6),
        instruction(0xb7, 3, 0, 0, 4),
        // r4 = r10 - 4
        instruction(0xbf, 4, 10, 0, 0),
        instruction(0x07, 4, 0, 0, -4),
        // r5 = 4
        instruction(0xb7, 5, 0, 0, 4),
        instruction(0x85, 0, 0, 0, SETSOCKOPT),
    ]
}

/// A program that is attached to the topmost cgroup while this lives.
#[derive(Debug)]
pub(super) struct Attached {
    program: OwnedFd,
    cgroup: File,
}

/// The seconds that it sets, and those that it tries to set next, which are refused.
pub(super) const SECONDS: [i32; 2] = [77, 0];

impl Attached {
    /// Loads it and attaches it.
    pub(super) fn new() -> anyhow::Result<Self> {
        // To 5.10 a program counts as locked memory.
        let unlimited =
            libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the limit outlives the call.
        let result = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
        checked(i64::from(result)).context("lift the limit of locked memory")?;
        let mut code = vec![
            // r6 = r1; r2 = the kind of event
            instruction(0xbf, 6, 1, 0, 0),
            instruction(0x61, 2, 1, 0, 0),
            // if it is another one, over both calls
            instruction(0x55, 2, 0, 16, ACTIVE_ESTABLISHED),
        ];
        code.extend(SECONDS.iter().flat_map(|seconds| keepidle(*seconds)));
        code.extend([instruction(0xb7, 0, 0, 0, 1), instruction(0x95, 0, 0, 0, 0)]);
        let mut license = *b"GPL\0";
        let mut attributes = [0_u64; 16];
        attributes[0] = u64::from(SOCK_OPS) | (code.len() as u64) << 32;
        attributes[1] = code.as_ptr() as u64;
        attributes[2] = license.as_mut_ptr() as u64;
        let program = bpf(LOAD, &attributes).context("load a program of a cgroup")?;
        // SAFETY: the call has returned a descriptor that nobody else has.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        let cgroup = File::open("/sys/fs/cgroup").context("open the topmost cgroup")?;
        let attached = Self { program, cgroup };
        bpf(ATTACH, &attached.attributes()).context("attach a program to a cgroup")?;
        Ok(attached)
    }

    fn attributes(&self) -> [u64; 16] {
        let mut attributes = [0_u64; 16];
        let of = |fd: i32| u64::from(fd.cast_unsigned());
        attributes[0] = of(self.cgroup.as_raw_fd()) | of(self.program.as_raw_fd()) << 32;
        attributes[1] = u64::from(CGROUP_SOCK_OPS);
        attributes
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // The process ends soon, and with it the program.
        let _gone = bpf(DETACH, &self.attributes());
    }
}

fn bpf(command: i32, attributes: &[u64; 16]) -> io::Result<i32> {
    // SAFETY: the attributes are as large as is said, and what they point to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes))
    };
    checked_fd(i32::try_from(checked(result)?).unwrap_or(-1))
}

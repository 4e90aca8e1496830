//! A BPF program of a cgroup that sets an option when a connection of its own making is established.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::Context as _;

use super::super::bpf::{bpf, instruction, load};

/// `BPF_PROG_ATTACH` and `BPF_PROG_DETACH` (`linux/bpf.h`).
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
        let mut code = vec![
            // r6 = r1; r2 = the kind of event
            instruction(0xbf, 6, 1, 0, 0),
            instruction(0x61, 2, 1, 0, 0),
            // if it is another one, over both calls
            instruction(0x55, 2, 0, 16, ACTIVE_ESTABLISHED),
        ];
        code.extend(SECONDS.iter().flat_map(|seconds| keepidle(*seconds)));
        code.extend([instruction(0xb7, 0, 0, 0, 1), instruction(0x95, 0, 0, 0, 0)]);
        let program = load(SOCK_OPS, &code).context("load a program of a cgroup")?;
        let cgroup = File::open("/sys/fs/cgroup").context("open the topmost cgroup")?;
        let attached = Self { program, cgroup };
        bpf(ATTACH, &mut attached.attributes()).context("attach a program to a cgroup")?;
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
        let _gone = bpf(DETACH, &mut self.attributes());
    }
}

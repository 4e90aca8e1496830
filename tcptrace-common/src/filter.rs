//! What the programs let through: written by the loader, constant to the verifier.

/// Most port ranges of one run.
pub const MAX_PORTS: usize = 16;

/// The filter of one run. Different criteria must all match; within one, any.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Process (thread group) that must be the one that writes; 0 lets every process through.
    pub pid: u32,
    /// How many of `ports` are in use; 0 lets every port through.
    pub ports_len: u32,
    /// Local or remote ports, first and last of each range, host byte order.
    pub ports: [(u16, u16); MAX_PORTS],
}

impl Filter {
    /// Lets everything through.
    pub const ALL: Self = Self { pid: 0, ports_len: 0, ports: [(0, 0); MAX_PORTS] };
}

const _: () = assert!(size_of::<Filter>() == 8 + 4 * MAX_PORTS, "no implicit padding");

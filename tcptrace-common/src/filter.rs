//! What the programs let through: written by the loader, constant to the verifier.

/// Most port ranges of one run.
pub const MAX_PORTS: usize = 16;
/// Most local, and most remote, sides of one run.
pub const MAX_SIDES: usize = 8;
/// Most thread names of one run.
pub const MAX_COMMS: usize = 8;
/// Most network namespaces of one run.
pub const MAX_NETNS: usize = 8;
/// Most cgroups of one run; the loader puts them into the map `CGROUPS`.
pub const MAX_CGROUPS: usize = 8;
/// Most processes of one command that are followed at a time; the sockets of any further one are not met, which is
/// counted as a loss.
pub const MAX_PROCESSES: u32 = 16_384;
/// Bytes of a thread's name in the kernel, its final zero included (`include/linux/sched.h`, `TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;

/// One end of a connection: an address, a port or both.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The address, high half first, in host byte order; IPv4 as the IPv6 address that stands for it (`::ffff:0:0/96`).
    pub net: [u64; 2],
    /// The bits of it that count; no bit lets every address through.
    pub mask: [u64; 2],
    /// Port, host byte order; 0 lets every port through.
    pub port: u16,
    /// 1 when an address that stands for an IPv4 one does not match, however few bits count.
    pub v6: u16,
    /// Keeps the size a multiple of the alignment.
    pub pad: u32,
}

impl Side {
    /// Lets everything through.
    pub const ANY: Self = Self { net: [0; 2], mask: [0; 2], port: 0, v6: 0, pad: 0 };
}

/// The filter of one run. Different criteria must all match; within one, any.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Process (thread group) that must be the one that writes; 0 lets every process through.
    pub pid: u32,
    /// 1 when the process must be one of the map `PROCESSES`: a command and those that descend from it.
    pub tree: u32,
    /// Address family, `AF_INET` or `AF_INET6`; 0 lets both through. An IPv4-mapped IPv6 socket is `AF_INET`.
    pub family: u32,
    /// How many of `comms` are in use; 0 lets every thread through.
    pub comms_len: u32,
    /// How many of `local` are in use; 0 lets every local end through.
    pub local_len: u32,
    /// How many of `remote` are in use; 0 lets every remote end through.
    pub remote_len: u32,
    /// How many of `ports` are in use; 0 lets every port through.
    pub ports_len: u32,
    /// How many of `netns` are in use; 0 lets the sockets of every network namespace through.
    pub netns_len: u32,
    /// How many of the map `CGROUPS` are in use; 0 lets the tasks of every cgroup through.
    pub cgroups_len: u32,
    /// Keeps the size a multiple of the alignment.
    pub pad: u32,
    /// Numbers (inodes) of network namespaces.
    pub netns: [u32; MAX_NETNS],
    /// Local or remote ports, first and last of each range, host byte order.
    pub ports: [(u16, u16); MAX_PORTS],
    /// Names of the thread that writes, padded with zeros, as they lie in memory.
    pub comms: [[u64; 2]; MAX_COMMS],
    /// Own ends.
    pub local: [Side; MAX_SIDES],
    /// Other ends.
    pub remote: [Side; MAX_SIDES],
}

impl Filter {
    /// Lets everything through.
    pub const ALL: Self = Self {
        pid: 0,
        tree: 0,
        family: 0,
        comms_len: 0,
        local_len: 0,
        remote_len: 0,
        ports_len: 0,
        netns_len: 0,
        cgroups_len: 0,
        pad: 0,
        netns: [0; MAX_NETNS],
        ports: [(0, 0); MAX_PORTS],
        comms: [[0; 2]; MAX_COMMS],
        local: [Side::ANY; MAX_SIDES],
        remote: [Side::ANY; MAX_SIDES],
    };
}

const _: () = assert!(size_of::<Side>() == 40, "no implicit padding");
const _: () = assert!(
    size_of::<Filter>()
        == 40 + 4 * MAX_NETNS + 4 * MAX_PORTS + COMM_BYTES * MAX_COMMS + 2 * 40 * MAX_SIDES,
    "no implicit padding"
);

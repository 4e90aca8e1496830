//! What crosses the boundary about options: the way one was set by, and which are told.

/// The system call `setsockopt()`.
pub const VIA_SETSOCKOPT: u32 = 0;
/// `IORING_OP_URING_CMD` with `SOCKET_URING_OP_SETSOCKOPT`.
pub const VIA_IO_URING: u32 = 1;
/// A BPF program, by `bpf_setsockopt()`.
pub const VIA_BPF: u32 = 2;
/// The kernel itself.
pub const VIA_KERNEL: u32 = 3;
/// Multipath TCP, on one of its subflows.
pub const VIA_MPTCP: u32 = 4;

/// Length of a name, and most bytes of a value that are told.
pub const MAX_VALUE: usize = 16;

/// `SOL_IP` (`include/linux/socket.h`).
pub const SOL_IP: u32 = 0;
/// `SOL_SOCKET` (`include/uapi/asm-generic/socket.h`).
pub const SOL_SOCKET: u32 = 1;
/// `IP_TOS`, which has the number of `TCP_NODELAY` (`include/uapi/linux/in.h`).
pub const IP_TOS: u32 = 1;

/// `SO_DEBUG`, which has the number of `TCP_NODELAY` (`include/uapi/asm-generic/socket.h`).
pub const SO_DEBUG: u32 = 1;
/// `SO_TYPE`, which has the number of `TCP_CORK` (`include/uapi/asm-generic/socket.h`).
pub const SO_TYPE: u32 = 3;
/// `SO_SNDBUF` (`include/uapi/asm-generic/socket.h`).
pub const SO_SNDBUF: u32 = 7;
/// `SO_RCVBUF` (`include/uapi/asm-generic/socket.h`).
pub const SO_RCVBUF: u32 = 8;
/// `SO_KEEPALIVE` (`include/uapi/asm-generic/socket.h`).
pub const SO_KEEPALIVE: u32 = 9;
/// `SO_LINGER` (`include/uapi/asm-generic/socket.h`).
pub const SO_LINGER: u32 = 13;
/// `SO_SNDBUFFORCE` (`include/uapi/asm-generic/socket.h`).
pub const SO_SNDBUFFORCE: u32 = 32;
/// `SO_RCVBUFFORCE` (`include/uapi/asm-generic/socket.h`).
pub const SO_RCVBUFFORCE: u32 = 33;
/// `SO_BUSY_POLL` (`include/uapi/asm-generic/socket.h`).
pub const SO_BUSY_POLL: u32 = 46;
/// `SO_MAX_PACING_RATE` (`include/uapi/asm-generic/socket.h`).
pub const SO_MAX_PACING_RATE: u32 = 47;

/// Options of level [`SOL_SOCKET`] that are told, with their names.
const OF_SOCKETS: [(u32, &str); 10] = [
    (SO_DEBUG, "SO_DEBUG"),
    (SO_TYPE, "SO_TYPE"),
    (SO_SNDBUF, "SO_SNDBUF"),
    (SO_RCVBUF, "SO_RCVBUF"),
    (SO_KEEPALIVE, "SO_KEEPALIVE"),
    (SO_LINGER, "SO_LINGER"),
    (SO_SNDBUFFORCE, "SO_SNDBUFFORCE"),
    (SO_RCVBUFFORCE, "SO_RCVBUFFORCE"),
    (SO_BUSY_POLL, "SO_BUSY_POLL"),
    (SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE"),
];

/// Whether an option is told: every one of TCP, those of sockets on which TCP's waiting depends, and those that have the
/// number of one of TCP at another level.
pub fn is_told(level: u32, optname: u32) -> bool {
    match level {
        crate::tcp::SOL_TCP => true,
        SOL_SOCKET => matches!(
            optname,
            SO_DEBUG
                | SO_TYPE
                | SO_SNDBUF
                | SO_RCVBUF
                | SO_KEEPALIVE
                | SO_LINGER
                | SO_SNDBUFFORCE
                | SO_RCVBUFFORCE
                | SO_BUSY_POLL
                | SO_MAX_PACING_RATE
        ),
        SOL_IP => optname == IP_TOS,
        _ => false,
    }
}

/// The option's name; `None` where it is newer than the tables.
pub fn name(level: u32, optname: u32) -> Option<&'static str> {
    match level {
        crate::tcp::SOL_TCP => crate::tcp::option_name(optname),
        SOL_SOCKET => {
            OF_SOCKETS.iter().find(|(number, _)| *number == optname).map(|(_, name)| *name)
        }
        SOL_IP if optname == IP_TOS => Some("IP_TOS"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_has_a_name() {
        for (number, told) in OF_SOCKETS {
            assert!(is_told(SOL_SOCKET, number), "{told}");
            assert_eq!(name(SOL_SOCKET, number), Some(told));
        }
        assert!(!is_told(SOL_SOCKET, 2) && !is_told(41, 1) && is_told(6, 999));
        assert_eq!((name(6, 999), name(6, 1)), (None, Some("TCP_NODELAY")));
    }
}

//! Kernel constants that BTF does not carry, each with the header that defines it. No such number stands anywhere else.

/// `SOL_TCP` (`include/linux/socket.h`).
pub const SOL_TCP: u32 = 6;
/// `TCP_NODELAY`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_NODELAY: u32 = 1;
/// `TCP_CORK`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_CORK: u32 = 3;

/// Bit of `nonagle`: Nagle is off (`include/net/tcp.h`, `TCP_NAGLE_OFF`).
pub const TCP_NAGLE_OFF: u32 = 1;
/// Bit of `nonagle`: the socket is corked, or the call said `MSG_MORE` (`include/net/tcp.h`, `TCP_NAGLE_CORK`).
pub const TCP_NAGLE_CORK: u32 = 2;
/// Bit of `nonagle`: send once, whatever the other bits say (`include/net/tcp.h`, `TCP_NAGLE_PUSH`).
pub const TCP_NAGLE_PUSH: u32 = 4;

/// `MSG_MORE` (`include/linux/socket.h`).
pub const MSG_MORE: u32 = 0x8000;

/// `ICSK_TIME_RETRANS`: the retransmission timer (`include/net/inet_connection_sock.h`).
pub const ICSK_TIME_RETRANS: u32 = 1;
/// `ICSK_TIME_PROBE0`: the probe timer (`include/net/inet_connection_sock.h`).
pub const ICSK_TIME_PROBE0: u32 = 3;
/// `ICSK_TIME_LOSS_PROBE`: the loss probe (`include/net/inet_connection_sock.h`).
pub const ICSK_TIME_LOSS_PROBE: u32 = 5;
/// `ICSK_TIME_REO_TIMEOUT`: the reordering timer (`include/net/inet_connection_sock.h`).
pub const ICSK_TIME_REO_TIMEOUT: u32 = 6;

/// `SK_PACING_NEEDED`: TCP paces by a timer of its own (`include/net/sock.h`, `enum sk_pacing`).
pub const SK_PACING_NEEDED: u32 = 1;
/// Bit of `sk_tsq_flags`: a sender waits for the device (`include/linux/tcp.h`, `TSQF_THROTTLED`).
pub const TSQF_THROTTLED: u32 = 1;

/// `TCP_CLOSE`: the connection is over (`include/net/tcp_states.h`).
pub const TCP_CLOSE: u32 = 7;
/// `TCP_LISTEN`: the socket waits for connections (`include/net/tcp_states.h`).
pub const TCP_LISTEN: u32 = 10;

/// `AF_INET` (`include/linux/socket.h`).
pub const AF_INET: u32 = 2;
/// `AF_INET6` (`include/linux/socket.h`).
pub const AF_INET6: u32 = 10;

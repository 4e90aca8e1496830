//! Kernel constants that BTF does not carry, each with the header that defines it. No such number stands anywhere else.

/// `SOL_TCP` (`include/linux/socket.h`).
pub const SOL_TCP: u32 = 6;
/// `TCP_NODELAY`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_NODELAY: u32 = 1;
/// `TCP_CORK`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_CORK: u32 = 3;
/// `TCP_MAXSEG`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_MAXSEG: u32 = 2;
/// `TCP_KEEPIDLE`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_KEEPIDLE: u32 = 4;
/// `TCP_KEEPINTVL`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_KEEPINTVL: u32 = 5;
/// `TCP_KEEPCNT`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_KEEPCNT: u32 = 6;
/// `TCP_SYNCNT`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_SYNCNT: u32 = 7;
/// `TCP_LINGER2`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_LINGER2: u32 = 8;
/// `TCP_DEFER_ACCEPT`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_DEFER_ACCEPT: u32 = 9;
/// `TCP_WINDOW_CLAMP`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_WINDOW_CLAMP: u32 = 10;
/// `TCP_QUICKACK`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_QUICKACK: u32 = 12;
/// `TCP_CONGESTION`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_CONGESTION: u32 = 13;
/// `TCP_THIN_DUPACK`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_THIN_DUPACK: u32 = 17;
/// `TCP_USER_TIMEOUT`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_USER_TIMEOUT: u32 = 18;
/// `TCP_REPAIR`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_REPAIR: u32 = 19;
/// `TCP_NOTSENT_LOWAT`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_NOTSENT_LOWAT: u32 = 25;
/// `TCP_ULP`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_ULP: u32 = 31;
/// `TCP_TX_DELAY`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_TX_DELAY: u32 = 37;
/// `TCP_RTO_MAX_MS`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_RTO_MAX_MS: u32 = 44;
/// `TCP_RTO_MIN_US`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_RTO_MIN_US: u32 = 45;
/// `TCP_DELACK_MAX_US`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_DELACK_MAX_US: u32 = 46;

/// `TCP_FASTOPEN`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_FASTOPEN: u32 = 23;
/// `TCP_FASTOPEN_CONNECT`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_FASTOPEN_CONNECT: u32 = 30;
/// `TCP_FASTOPEN_NO_COOKIE`, the option (`include/uapi/linux/tcp.h`).
pub const TCP_FASTOPEN_NO_COOKIE: u32 = 34;
/// Longest period of a request, seconds (`TCP_RTO_MAX`, `include/net/tcp.h`).
pub const TCP_RTO_MAX_S: u64 = 120;
/// `MSG_FASTOPEN` (`include/linux/socket.h`).
pub const MSG_FASTOPEN: u32 = 0x2000_0000;
/// Bit of `net.ipv4.tcp_fastopen`: for clients (`include/net/tcp.h`, `TFO_CLIENT_ENABLE`).
pub const TFO_CLIENT_ENABLE: u32 = 1;
/// Bit of `net.ipv4.tcp_fastopen`: for servers (`include/net/tcp.h`, `TFO_SERVER_ENABLE`).
pub const TFO_SERVER_ENABLE: u32 = 2;
/// Bit of `net.ipv4.tcp_fastopen`: clients send data without a cookie (`include/net/tcp.h`, `TFO_CLIENT_NO_COOKIE`).
pub const TFO_CLIENT_NO_COOKIE: u32 = 4;
/// Bit of `net.ipv4.tcp_fastopen`: servers take data without a cookie (`include/net/tcp.h`, `TFO_SERVER_COOKIE_NOT_REQD`).
pub const TFO_SERVER_COOKIE_NOT_REQD: u32 = 0x200;
/// Bit of `net.ipv4.tcp_fastopen`: `listen()` does what `TCP_FASTOPEN` does (`include/net/tcp.h`, `TFO_SERVER_WO_SOCKOPT1`).
pub const TFO_SERVER_WO_SOCKOPT1: u32 = 0x400;

/// Options of level [`SOL_TCP`], by number, from [`TCP_NODELAY`] = 1 on (`include/uapi/linux/tcp.h`).
const OPTIONS: [&str; 46] = [
    "TCP_NODELAY",
    "TCP_MAXSEG",
    "TCP_CORK",
    "TCP_KEEPIDLE",
    "TCP_KEEPINTVL",
    "TCP_KEEPCNT",
    "TCP_SYNCNT",
    "TCP_LINGER2",
    "TCP_DEFER_ACCEPT",
    "TCP_WINDOW_CLAMP",
    "TCP_INFO",
    "TCP_QUICKACK",
    "TCP_CONGESTION",
    "TCP_MD5SIG",
    "TCP_COOKIE_TRANSACTIONS",
    "TCP_THIN_LINEAR_TIMEOUTS",
    "TCP_THIN_DUPACK",
    "TCP_USER_TIMEOUT",
    "TCP_REPAIR",
    "TCP_REPAIR_QUEUE",
    "TCP_QUEUE_SEQ",
    "TCP_REPAIR_OPTIONS",
    "TCP_FASTOPEN",
    "TCP_TIMESTAMP",
    "TCP_NOTSENT_LOWAT",
    "TCP_CC_INFO",
    "TCP_SAVE_SYN",
    "TCP_SAVED_SYN",
    "TCP_REPAIR_WINDOW",
    "TCP_FASTOPEN_CONNECT",
    "TCP_ULP",
    "TCP_MD5SIG_EXT",
    "TCP_FASTOPEN_KEY",
    "TCP_FASTOPEN_NO_COOKIE",
    "TCP_ZEROCOPY_RECEIVE",
    "TCP_INQ",
    "TCP_TX_DELAY",
    "TCP_AO_ADD_KEY",
    "TCP_AO_DEL_KEY",
    "TCP_AO_INFO",
    "TCP_AO_GET_KEYS",
    "TCP_AO_REPAIR",
    "TCP_IS_MPTCP",
    "TCP_RTO_MAX_MS",
    "TCP_RTO_MIN_US",
    "TCP_DELACK_MAX_US",
];

/// Name of the option of level [`SOL_TCP`] with this number; `None` when it is newer than this table.
pub fn option_name(optname: u32) -> Option<&'static str> {
    let index = usize::try_from(optname).ok()?.checked_sub(1)?;
    OPTIONS.get(index).copied()
}

/// Bit of `nonagle`: Nagle is off (`include/net/tcp.h`, `TCP_NAGLE_OFF`).
pub const TCP_NAGLE_OFF: u32 = 1;
/// Bit of `nonagle`: the socket is corked, or the call said `MSG_MORE` (`include/net/tcp.h`, `TCP_NAGLE_CORK`).
pub const TCP_NAGLE_CORK: u32 = 2;
/// Bit of `nonagle`: send once, whatever the other bits say (`include/net/tcp.h`, `TCP_NAGLE_PUSH`).
pub const TCP_NAGLE_PUSH: u32 = 4;

/// `MSG_OOB`, urgent data (`include/linux/socket.h`).
pub const MSG_OOB: u32 = 1;
/// `MSG_DONTWAIT` (`include/linux/socket.h`).
pub const MSG_DONTWAIT: u32 = 0x40;
/// `MSG_NOSIGNAL` (`include/linux/socket.h`).
pub const MSG_NOSIGNAL: u32 = 0x4000;
/// `MSG_ZEROCOPY` (`include/linux/socket.h`).
pub const MSG_ZEROCOPY: u32 = 0x0400_0000;
/// `MSG_MORE` (`include/linux/socket.h`).
pub const MSG_MORE: u32 = 0x8000;
/// `MSG_SPLICE_PAGES`, which only the kernel sets: the call gives pages, as `sendfile` and `splice` do (`include/linux/socket.h`,
/// from 6.5).
pub const MSG_SPLICE_PAGES: u32 = 0x0800_0000;
/// `MSG_SENDPAGE_NOTLAST`: another page of the same call follows (`include/linux/socket.h`, to 6.4).
pub const MSG_SENDPAGE_NOTLAST: u32 = 0x20000;

/// `ICSK_TIME_RETRANS`: the retransmission timer (`include/net/inet_connection_sock.h`).
pub const ICSK_TIME_RETRANS: u32 = 1;
/// `ICSK_TIME_PROBE0`: the probe timer (`include/net/inet_connection_sock.h`).
pub const ICSK_TIME_PROBE0: u32 = 3;
/// `ICSK_TIME_LOSS_PROBE`: the loss probe (`include/net/inet_connection_sock.h`).
pub const ICSK_TIME_LOSS_PROBE: u32 = 5;
/// `ICSK_TIME_REO_TIMEOUT`: the reordering timer (`include/net/inet_connection_sock.h`).
pub const ICSK_TIME_REO_TIMEOUT: u32 = 6;

/// `ICSK_ACK_SCHED` of `icsk_ack.pending`: an ACK is owed (`include/net/inet_connection_sock.h`).
pub const ICSK_ACK_SCHED: u32 = 1;
/// `ICSK_ACK_TIMER` of `icsk_ack.pending`: the delayed-ACK timer is armed (`include/net/inet_connection_sock.h`).
pub const ICSK_ACK_TIMER: u32 = 2;

/// FIN in a TCP header (RFC 9293 3.1).
pub const TCPHDR_FIN: u32 = 1;
/// SYN in a TCP header (RFC 9293 3.1).
pub const TCPHDR_SYN: u32 = 2;
/// RST in a TCP header (RFC 9293 3.1).
pub const TCPHDR_RST: u32 = 4;
/// ACK in a TCP header (RFC 9293 3.1).
pub const TCPHDR_ACK: u32 = 0x10;

/// `SOCK_DEAD` as a bit of `skc_flags`: no process has the socket any more (`include/net/sock.h`).
pub const SOCK_DEAD: u64 = 1;
/// `SOCK_KEEPOPEN` as a bit of `skc_flags`: `SO_KEEPALIVE` is on (`include/net/sock.h`).
pub const SOCK_KEEPOPEN: u64 = 1 << 3;
/// `SOCK_DBG` as a bit of `skc_flags`: `SO_DEBUG` is on (`include/net/sock.h`).
pub const SOCK_DBG: u64 = 1 << 10;
/// `SOCK_LINGER` as a bit of `skc_flags`: `SO_LINGER` is on (`include/net/sock.h`).
pub const SOCK_LINGER: u64 = 1 << 4;

/// `EPERM` (`include/uapi/asm-generic/errno-base.h`).
pub const EPERM: u32 = 1;
/// `ENOENT` (`include/uapi/asm-generic/errno-base.h`).
pub const ENOENT: u32 = 2;
/// `EACCES` (`include/uapi/asm-generic/errno-base.h`).
pub const EACCES: u32 = 13;
/// `EBUSY` (`include/uapi/asm-generic/errno-base.h`).
pub const EBUSY: u32 = 16;
/// `EEXIST` (`include/uapi/asm-generic/errno-base.h`).
pub const EEXIST: u32 = 17;
/// `ENOPROTOOPT` (`include/uapi/asm-generic/errno.h`).
pub const ENOPROTOOPT: u32 = 92;
/// `ENOTCONN` (`include/uapi/asm-generic/errno.h`).
pub const ENOTCONN: u32 = 107;
/// `EFAULT` (`include/uapi/asm-generic/errno-base.h`).
pub const EFAULT: u32 = 14;
/// `EINVAL` (`include/uapi/asm-generic/errno-base.h`).
pub const EINVAL: u32 = 22;
/// `EOPNOTSUPP` (`include/uapi/asm-generic/errno.h`).
pub const EOPNOTSUPP: u32 = 95;
/// `ECONNREFUSED` (`include/uapi/asm-generic/errno.h`).
pub const ECONNREFUSED: u32 = 111;
/// `ENETUNREACH` (`include/uapi/asm-generic/errno.h`).
pub const ENETUNREACH: u32 = 101;
/// `EHOSTUNREACH` (`include/uapi/asm-generic/errno.h`).
pub const EHOSTUNREACH: u32 = 113;
/// `EISCONN` (`include/uapi/asm-generic/errno.h`).
pub const EISCONN: u32 = 106;
/// `EALREADY` (`include/uapi/asm-generic/errno.h`).
pub const EALREADY: u32 = 114;
/// `EINPROGRESS` (`include/uapi/asm-generic/errno.h`).
pub const EINPROGRESS: u32 = 115;
/// `ECONNABORTED` (`include/uapi/asm-generic/errno.h`).
pub const ECONNABORTED: u32 = 103;
/// `ETIMEDOUT` (`include/uapi/asm-generic/errno.h`).
pub const ETIMEDOUT: u32 = 110;

/// `SK_PACING_NEEDED`: TCP paces by a timer of its own (`include/net/sock.h`, `enum sk_pacing`).
pub const SK_PACING_NEEDED: u32 = 1;
/// Bit of `sk_tsq_flags`: a sender waits for the device (`include/linux/tcp.h`, `TSQF_THROTTLED`).
pub const TSQF_THROTTLED: u32 = 1;
/// `TCPF_TSQ_DEFERRED` of `sk_tsq_flags`: the owner of the socket sends when it lets go (`include/linux/tcp.h`).
pub const TSQF_DEFERRED: u32 = 1 << 2;

/// `TCP_ESTABLISHED` (`include/net/tcp_states.h`).
pub const TCP_ESTABLISHED: u32 = 1;
/// `TCP_SYN_SENT` (`include/net/tcp_states.h`).
pub const TCP_SYN_SENT: u32 = 2;
/// `TCP_SYN_RECV` (`include/net/tcp_states.h`).
pub const TCP_SYN_RECV: u32 = 3;
/// `TCP_FIN_WAIT1` (`include/net/tcp_states.h`).
pub const TCP_FIN_WAIT1: u32 = 4;
/// `TCP_FIN_WAIT2` (`include/net/tcp_states.h`).
pub const TCP_FIN_WAIT2: u32 = 5;
/// `TCP_TIME_WAIT` (`include/net/tcp_states.h`).
pub const TCP_TIME_WAIT: u32 = 6;
/// `TCP_CLOSE`: the connection is over (`include/net/tcp_states.h`).
pub const TCP_CLOSE: u32 = 7;
/// `TCP_CLOSE_WAIT` (`include/net/tcp_states.h`).
pub const TCP_CLOSE_WAIT: u32 = 8;
/// `TCP_LAST_ACK` (`include/net/tcp_states.h`).
pub const TCP_LAST_ACK: u32 = 9;
/// `TCP_LISTEN` (`include/net/tcp_states.h`).
pub const TCP_LISTEN: u32 = 10;
/// `TCP_CLOSING` (`include/net/tcp_states.h`).
pub const TCP_CLOSING: u32 = 11;

/// `TCP_NEW_SYN_RECV`: a request that is no socket yet (`include/net/tcp_states.h`).
pub const TCP_NEW_SYN_RECV: u32 = 12;

/// `AF_INET` (`include/linux/socket.h`).
pub const AF_INET: u32 = 2;
/// `AF_INET6` (`include/linux/socket.h`).
pub const AF_INET6: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_at_their_numbers() {
        let named =
            [(TCP_NODELAY, "TCP_NODELAY"), (TCP_CORK, "TCP_CORK"), (15, "TCP_COOKIE_TRANSACTIONS")];
        assert!(named.iter().all(|(number, name)| option_name(*number) == Some(name)));
        let named = [
            (23, "TCP_FASTOPEN"),
            (37, "TCP_TX_DELAY"),
            (43, "TCP_IS_MPTCP"),
            (46, "TCP_DELACK_MAX_US"),
        ];
        assert!(named.iter().all(|(number, name)| option_name(*number) == Some(name)));
        assert_eq!((option_name(0), option_name(47), option_name(u32::MAX)), (None, None, None));
    }
}

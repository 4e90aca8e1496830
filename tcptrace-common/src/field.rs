//! TABLE 2: the kernel struct fields that are read. One row adds a field to the BTF look-up, the layout, the trace and
//! the documentation; the hooks that send it name it.
//!
//! A path is the kernel's own. `.` walks members (anonymous structs and unions are transparent), one `->` follows a
//! pointer, and `|` looks at the bytes of a member as another struct (`TCP_SKB_CB()`). Where a field moved between
//! kernels, the places are tried in the order of the row.

macro_rules! kernel_fields {
    ($( $(#[doc = $doc:literal])* $name:ident: $bytes:literal = $strukt:literal, $path:literal $(or $strukt2:literal, $path2:literal)*; )*) => {
        /// A field of a kernel struct, under its kernel name.
        #[expect(non_camel_case_types, reason = "kernel things carry kernel names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Field { $( $(#[doc = $doc])* $name ),* }

        impl Field {
            /// Every row, in the order of the table.
            pub const ALL: &'static [Self] = &[ $( Self::$name ),* ];
            /// Number of rows.
            pub const COUNT: usize = Self::ALL.len();

            /// The field's name in traces and documentation.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($name) ),* }
            }
            /// Where to look for it, in order: the struct, then the path inside it.
            pub const fn places(self) -> &'static [(&'static str, &'static str)] {
                match self { $( Self::$name => &[($strukt, $path) $(, ($strukt2, $path2))*] ),* }
            }
            /// Bytes of the value on the wire: 4, 8 or 16. A smaller kernel field is widened.
            pub const fn bytes(self) -> usize {
                match self { $( Self::$name => $bytes ),* }
            }
            /// What the field means.
            pub const fn doc(self) -> &'static str {
                match self { $( Self::$name => concat!($($doc),*) ),* }
            }
        }
    };
}

kernel_fields! {
    /// Address family: `AF_INET` or `AF_INET6`.
    skc_family: 4 = "sock", "__sk_common.skc_family";
    /// Connection state, `TCP_ESTABLISHED` = 1 (`include/net/tcp_states.h`).
    skc_state: 4 = "sock", "__sk_common.skc_state";
    /// Peer's port, network byte order, and above it the local one, host byte order, which is 0 in the state CLOSE.
    skc_portpair: 4 = "sock", "__sk_common.skc_portpair";
    /// Peer's port, network byte order.
    skc_dport: 4 = "sock", "__sk_common.skc_dport";
    /// Local port, network byte order; outlives the state CLOSE.
    inet_sport: 4 = "inet_sock", "inet_sport";
    /// Local IPv4 address, network byte order.
    skc_rcv_saddr: 4 = "sock", "__sk_common.skc_rcv_saddr";
    /// Peer's IPv4 address, network byte order.
    skc_daddr: 4 = "sock", "__sk_common.skc_daddr";
    /// Local IPv6 address.
    skc_v6_rcv_saddr: 16 = "sock", "__sk_common.skc_v6_rcv_saddr";
    /// Peer's IPv6 address.
    skc_v6_daddr: 16 = "sock", "__sk_common.skc_v6_daddr";
    /// Hash of the four-tuple; picks the bucket of the mark.
    skc_hash: 4 = "sock", "__sk_common.skc_hash";
    /// Socket cookie; 0 when nobody has asked for it yet.
    skc_cookie: 8 = "sock", "__sk_common.skc_cookie.counter";
    /// Number of the network namespace.
    netns: 4 = "sock", "__sk_common.skc_net.net->ns.inum";
    /// Whether a task holds the socket lock.
    sk_lock_owned: 4 = "sock", "sk_lock.owned";
    /// The socket of a file's `struct socket`.
    socket_sk: 8 = "socket", "sk";
    /// Buffers in the write queue: what was written and has not been sent.
    sk_write_queue_len: 4 = "sock", "sk_write_queue.qlen";
    /// Bytes of the last buffer in the write queue.
    tail_len: 4 = "sock", "sk_write_queue.prev->len";
    /// Bytes of the first buffer in the write queue: the one that the next attempt would send.
    head_len: 4 = "sock", "sk_write_queue.next->len";
    /// When the first buffer in the write queue was tried to be sent last, nanoseconds, `CLOCK_MONOTONIC`; 0 when it never was.
    head_mstamp_ns: 8 = "sock", "sk_write_queue.next->skb_mstamp_ns";
    /// Who paces: `SK_PACING_NEEDED` when TCP does itself.
    sk_pacing_status: 4 = "sock", "sk_pacing_status";
    /// TCP small queues, bits of `enum tsq_enum`.
    sk_tsq_flags: 8 = "sock", "sk_tsq_flags";

    /// `TCP_NAGLE_*` bits of the socket.
    nonagle: 4 = "tcp_sock", "nonagle";
    /// Whether the socket is under checkpoint and restore: what it "sends" never reaches the wire.
    repair: 4 = "tcp_sock", "repair";
    /// Bytes of data that came in, in order.
    bytes_received: 8 = "tcp_sock", "bytes_received";
    /// Bytes that were acknowledged; where this end opened the connection, its SYN counts as one.
    bytes_acked: 8 = "tcp_sock", "bytes_acked";
    /// Segments in flight.
    packets_out: 4 = "tcp_sock", "packets_out";
    /// End of the last small segment sent (Minshall's rule).
    snd_sml: 4 = "tcp_sock", "snd_sml";
    /// End of the last urgent data written; equal to `snd_una` when none is on its way.
    snd_up: 4 = "tcp_sock", "snd_up";
    /// Oldest unacknowledged sequence number.
    snd_una: 4 = "tcp_sock", "snd_una";
    /// Next sequence number to be sent.
    snd_nxt: 4 = "tcp_sock", "snd_nxt";
    /// End of the bytes written, plus one when a FIN is queued.
    write_seq: 4 = "tcp_sock", "write_seq";
    /// Peer's receive window, bytes.
    snd_wnd: 4 = "tcp_sock", "snd_wnd";
    /// Congestion window, segments.
    snd_cwnd: 4 = "tcp_sock", "snd_cwnd";
    /// Segments in flight that were selectively acknowledged.
    sacked_out: 4 = "tcp_sock", "sacked_out";
    /// Segments in flight that are taken for lost.
    lost_out: 4 = "tcp_sock", "lost_out";
    /// Segments retransmitted and not acknowledged yet.
    retrans_out: 4 = "tcp_sock", "retrans_out";
    /// Maximum segment size, options taken off, bytes.
    mss_cache: 4 = "tcp_sock", "mss_cache";
    /// Smoothed round-trip time, microseconds times 8.
    srtt_us: 4 = "tcp_sock", "srtt_us";
    /// Earliest departure that pacing allows, nanoseconds, `CLOCK_MONOTONIC`.
    tcp_wstamp_ns: 8 = "tcp_sock", "tcp_wstamp_ns";
    /// The socket's clock at its last attempt to send, nanoseconds, `CLOCK_MONOTONIC`.
    tcp_clock_cache: 8 = "tcp_sock", "tcp_clock_cache";
    /// Bytes of the write that opens the connection (Fast Open), of which the SYN may carry the first.
    fastopen_size: 4 = "tcp_sock", "fastopen_req->size";
    /// Of them, those that the SYN carries (`tcp_fastopen_request.copied`).
    fastopen_copied: 4 = "tcp_sock", "fastopen_req->copied";
    /// The request of a socket that Fast Open has made, until its handshake is complete.
    fastopen_rsk: 8 = "tcp_sock", "fastopen_rsk";
    /// The SYN carried data.
    syn_data: 4 = "tcp_sock", "syn_data";
    /// The SYN carried the option of Fast Open, with a cookie or to ask for one.
    syn_fastopen: 4 = "tcp_sock", "syn_fastopen";
    /// That was the experimental option (254).
    syn_fastopen_exp: 4 = "tcp_sock", "syn_fastopen_exp";
    /// The data in the SYN was acknowledged; of a socket that Fast Open has made, it came in the SYN.
    syn_data_acked: 4 = "tcp_sock", "syn_data_acked";
    /// `TCP_FASTOPEN_CONNECT` is set.
    fastopen_connect: 4 = "tcp_sock", "fastopen_connect";
    /// `TCP_FASTOPEN_NO_COOKIE` is set.
    fastopen_no_cookie: 4 = "tcp_sock", "fastopen_no_cookie";
    /// Segments that were sent again since the socket was opened.
    total_retrans: 4 = "tcp_sock", "total_retrans";
    /// Timeouts in a row.
    icsk_retransmits: 4 = "inet_connection_sock", "icsk_retransmits";
    /// `net.ipv4.tcp_fastopen` of the socket's network namespace: bits `TFO_*`.
    sysctl_tcp_fastopen: 4 = "sock", "__sk_common.skc_net.net->ipv4.sysctl_tcp_fastopen";
    /// `net.ipv4.tcp_fastopen_blackhole_timeout_sec` there: the first pause, seconds; 0 when there is none.
    sysctl_tcp_fastopen_blackhole_timeout: 4 = "sock", "__sk_common.skc_net.net->ipv4.sysctl_tcp_fastopen_blackhole_timeout";
    /// How many pauses in a row there were.
    tfo_active_disable_times: 4 = "sock", "__sk_common.skc_net.net->ipv4.tfo_active_disable_times.counter";
    /// When the last one began, jiffies.
    tfo_active_disable_stamp: 8 = "sock", "__sk_common.skc_net.net->ipv4.tfo_active_disable_stamp";
    /// What `TCP_FASTOPEN` set on a socket that listens: how many connections may wait for the end of their handshake.
    fastopenq_max_qlen: 4 = "inet_connection_sock", "icsk_accept_queue.fastopenq.max_qlen";
    /// How many do, and slots that resets hold.
    fastopenq_qlen: 4 = "inet_connection_sock", "icsk_accept_queue.fastopenq.qlen";
    /// The first of the slots that connections hold which were reset after a program had accepted them.
    rskq_rst_head: 8 = "inet_connection_sock", "icsk_accept_queue.fastopenq.rskq_rst_head";
    /// Connections that wait to be accepted.
    sk_ack_backlog: 4 = "sock", "sk_ack_backlog";
    /// How many may.
    sk_max_ack_backlog: 4 = "sock", "sk_max_ack_backlog";
    /// What `TCP_DEFER_ACCEPT` is kept as: timer periods, not seconds.
    rskq_defer_accept: 4 = "inet_connection_sock", "icsk_accept_queue.rskq_defer_accept";
    /// What `TCP_SYNCNT` set; 0 without it.
    icsk_syn_retries: 4 = "inet_connection_sock", "icsk_syn_retries";
    /// `net.ipv4.tcp_synack_retries` of the socket's network namespace.
    sysctl_tcp_synack_retries: 4 = "sock", "__sk_common.skc_net.net->ipv4.sysctl_tcp_synack_retries";
    /// Longest time between two retransmissions, jiffies; a request's periods keep to it from 7.x on.
    icsk_rto_max: 4 = "inet_connection_sock", "icsk_rto_max";
    /// The timer of TCP's own pacing; only its place in the socket matters.
    pacing_timer: 8 = "tcp_sock", "pacing_timer";

    /// Write timer armed for this socket, `ICSK_TIME_*`.
    icsk_pending: 4 = "inet_connection_sock", "icsk_pending";
    /// Retransmission timeout, jiffies.
    icsk_rto: 4 = "inet_connection_sock", "icsk_rto";
    /// When the write timer fires, jiffies.
    write_timer_expires: 8 = "inet_connection_sock", "icsk_timeout"
        or "inet_connection_sock", "icsk_retransmit_timer.expires"
        or "sock", "tcp_retransmit_timer.expires";

    /// What the ACK that is owed waits for, bits `ICSK_ACK_*`; 0 when none is owed.
    icsk_ack_pending: 4 = "inet_connection_sock", "icsk_ack.pending";
    /// ACKs that are still to be sent at once.
    icsk_ack_quick: 4 = "inet_connection_sock", "icsk_ack.quick";
    /// Interactive mode, in which ACKs are put off: 1, or from 6.12 on the threshold that `tcp_pingpong_thresh` sets.
    icsk_ack_pingpong: 4 = "inet_connection_sock", "icsk_ack.pingpong";
    /// How long an ACK is put off, jiffies; 0 before the first data came.
    icsk_ack_ato: 4 = "inet_connection_sock", "icsk_ack.ato";
    /// When the ACK that was put off is sent by the timer, jiffies.
    icsk_ack_timeout: 8 = "inet_connection_sock", "icsk_ack.timeout"
        or "inet_connection_sock", "icsk_delack_timer.expires";
    /// Largest segment that the peer is taken to send, bytes: more than that unacknowledged asks for an ACK at once.
    icsk_ack_rcv_mss: 4 = "inet_connection_sock", "icsk_ack.rcv_mss";
    /// The route asks for ACKs at once; before 6.12 only the route itself tells.
    icsk_ack_dst_quick_ack: 4 = "inet_connection_sock", "icsk_ack.dst_quick_ack";
    /// Next sequence number that the program has not read; its FIN counts once it was read as the end.
    copied_seq: 4 = "tcp_sock", "copied_seq";
    /// What `TCP_LINGER2` set: how long the state FIN-WAIT-2 may last, jiffies; negative: not at all; 0: as the sysctl says.
    linger2: 4 = "tcp_sock", "linger2";
    /// Bits of `enum sock_flags`.
    skc_flags: 8 = "sock", "__sk_common.skc_flags";
    /// What `SO_LINGER` set, jiffies; counts only with the flag `SOCK_LINGER`.
    sk_lingertime: 8 = "sock", "sk_lingertime";
    /// Error that the next call reports, as a positive number; 0 without one.
    sk_err: 4 = "sock", "sk_err";
    /// Next sequence number expected from the peer.
    rcv_nxt: 4 = "tcp_sock", "rcv_nxt";
    /// What had come in when the last ACK left: behind `rcv_nxt`, an ACK is owed.
    rcv_wup: 4 = "tcp_sock", "rcv_wup";

    /// Sequence number after the segment at the root of the tree of unacknowledged ones, which is the only one when one is
    /// in flight (`tcp_rtx_queue`, which shares its place with `sk_send_head`).
    rtx_end_seq: 4 = "sock", "sk_send_head->cb|tcp_skb_cb.end_seq";
    /// When that segment left, nanoseconds, `CLOCK_MONOTONIC`; 0 where nothing is in flight.
    rtx_mstamp_ns: 8 = "sock", "sk_send_head->skb_mstamp_ns";
    /// Root of the tree of unacknowledged segments, which shares its place with `sk_send_head`; where to begin a walk.
    rtx_root: 8 = "sock", "sk_send_head";
    /// Sent after everything that is to the left in the tree: `rb_node.rb_right`, which shares its place with `prev`.
    rtx_right: 8 = "sk_buff", "prev";
    /// When a segment left, nanoseconds, `CLOCK_MONOTONIC`.
    skb_mstamp_ns: 8 = "sk_buff", "skb_mstamp_ns";
    /// When the first of the segments left that have been in flight without a pause, microseconds, `CLOCK_MONOTONIC`; with
    /// each ACK it moves to what that acknowledged (`tcp_rate_skb_sent()`).
    first_tx_mstamp: 8 = "tcp_sock", "first_tx_mstamp";
    /// Shortest round trip of the last minutes, microseconds; all ones before the first (`rtt_min.s[0]`).
    rtt_min: 4 = "tcp_sock", "rtt_min|minmax_sample.v";

    /// What `TCP_MAXSEG` set, bytes; 0 without it.
    user_mss: 4 = "tcp_sock", "rx_opt.user_mss";
    /// What `TCP_KEEPIDLE` set, jiffies; 0: as the sysctl says.
    keepalive_time: 4 = "tcp_sock", "keepalive_time";
    /// What `TCP_KEEPINTVL` set, jiffies; 0: as the sysctl says.
    keepalive_intvl: 4 = "tcp_sock", "keepalive_intvl";
    /// What `TCP_KEEPCNT` set; 0: as the sysctl says.
    keepalive_probes: 4 = "tcp_sock", "keepalive_probes";
    /// Largest receive window that is offered, bytes: what `TCP_WINDOW_CLAMP` sets, among others.
    window_clamp: 4 = "tcp_sock", "window_clamp";
    /// Name of the congestion control.
    icsk_ca_name: 16 = "inet_connection_sock", "icsk_ca_ops->name";
    /// Name of what stands between the program and TCP (`TCP_ULP`): `tls` is kernel TLS; absent without one.
    icsk_ulp_name: 16 = "inet_connection_sock", "icsk_ulp_ops->name";
    /// What `TCP_USER_TIMEOUT` set, milliseconds; 0 without it.
    icsk_user_timeout: 4 = "inet_connection_sock", "icsk_user_timeout";
    /// What `TCP_NOTSENT_LOWAT` set, bytes; 0: as the sysctl says.
    notsent_lowat: 4 = "tcp_sock", "notsent_lowat";
    /// `net.ipv4.tcp_notsent_lowat` of the socket's network namespace, bytes.
    sysctl_tcp_notsent_lowat: 4 = "sock", "__sk_common.skc_net.net->ipv4.sysctl_tcp_notsent_lowat";
    /// What `TCP_TX_DELAY` set, microseconds.
    tcp_tx_delay: 4 = "tcp_sock", "tcp_tx_delay";
    /// Limit of the send buffer, bytes of memory: twice what `SO_SNDBUF` asked for.
    sk_sndbuf: 4 = "sock", "sk_sndbuf";
    /// What is in the send buffer, bytes of memory: what waits, and what is not acknowledged.
    sk_wmem_queued: 4 = "sock", "sk_wmem_queued";
    /// Limit of the receive buffer, bytes of memory: twice what `SO_RCVBUF` asked for.
    sk_rcvbuf: 4 = "sock", "sk_rcvbuf";
    /// What `SO_MAX_PACING_RATE` set, bytes per second; all ones without it.
    sk_max_pacing_rate: 8 = "sock", "sk_max_pacing_rate";
    /// What `SO_BUSY_POLL` set, microseconds.
    sk_ll_usec: 4 = "sock", "sk_ll_usec";
    /// What `TCP_RTO_MIN_US` set, jiffies.
    icsk_rto_min: 4 = "inet_connection_sock", "icsk_rto_min";
    /// What `TCP_DELACK_MAX_US` set, jiffies.
    icsk_delack_max: 4 = "inet_connection_sock", "icsk_delack_max";
    /// `IPPROTO_TCP` of a socket that is one of TCP.
    sk_protocol: 4 = "sock", "sk_protocol";
    /// The kernel has made the socket for itself: no program has a descriptor of it.
    sk_kern_sock: 4 = "sock", "sk_kern_sock";
    /// The socket is a subflow of Multipath TCP.
    is_mptcp: 4 = "tcp_sock", "is_mptcp";
    /// The socket's `struct socket`, which a process has.
    sk_socket: 8 = "sock", "sk_socket";
    /// The file of that.
    socket_file: 8 = "socket", "file";
    /// The inode of that.
    file_inode: 8 = "file", "f_inode";
    /// The number of that, by which `/proc/PID/fd` names it.
    inode_ino: 8 = "inode", "i_ino";

    /// First sequence number of the segment.
    seq: 4 = "sk_buff", "cb|tcp_skb_cb.seq";
    /// Sequence number after the segment; SYN and FIN count.
    end_seq: 4 = "sk_buff", "cb|tcp_skb_cb.end_seq";
    /// The segment's acknowledgment number.
    ack_seq: 4 = "sk_buff", "cb|tcp_skb_cb.ack_seq";
    /// The segment's flags, as they stand in the TCP header.
    tcp_flags: 4 = "sk_buff", "cb|tcp_skb_cb.tcp_flags";

    /// Length of a Fast Open cookie, bytes; -1, in 8 bits, when there is none, 0 when one is asked for.
    foc_len: 4 = "tcp_fastopen_cookie", "len";
    /// It belongs to the experimental option (254).
    foc_exp: 4 = "tcp_fastopen_cookie", "exp";
    /// The cookie itself, which only the programs look at.
    foc_val: 16 = "tcp_fastopen_cookie", "val";
    /// `MSG_*` of a write.
    msg_flags: 4 = "msghdr", "msg_flags";
    /// Length of the address that a write was given, bytes; 0 without one.
    msg_namelen: 4 = "msghdr", "msg_namelen";
    /// The socket that Fast Open has made for a request and no program has accepted; 0 when one has.
    req_sk: 8 = "request_sock", "sk";

    /// Periods of a request that are over (`request_sock.num_timeout`).
    req_num_timeout: 4 = "request_sock", "num_timeout";
    /// SYN-ACKs of a request that were sent again.
    req_num_retrans: 4 = "request_sock", "num_retrans";
    /// A segment with ACK has come for the request.
    req_acked: 4 = "inet_request_sock", "acked";
    /// Sequence number of the SYN that came.
    req_rcv_isn: 4 = "tcp_request_sock", "rcv_isn";
    /// Sequence number of the SYN-ACK.
    req_snt_isn: 4 = "tcp_request_sock", "snt_isn";
    /// When the SYN-ACK was sent, microseconds; 0 when nothing was kept of it: the request was made from a SYN cookie.
    req_snt_synack: 8 = "tcp_request_sock", "snt_synack";
    /// Where the table of connections points to the request; null once it is in none.
    req_hashed: 8 = "request_sock", "__req_common.skc_nulls_node.pprev";
    /// The request's listener.
    req_listener: 8 = "request_sock", "__req_common.skc_listener";
    /// The request's timer; only its place in it matters.
    req_timer: 8 = "request_sock", "rsk_timer";

    /// State in which the full socket was when the minisock took its place: FIN-WAIT-2 or TIME-WAIT.
    tw_substate: 4 = "tcp_timewait_sock", "tw_sk.tw_substate";
    /// Next sequence number that the minisock expects from the peer.
    tw_rcv_nxt: 4 = "tcp_timewait_sock", "tw_rcv_nxt"
        or "tcp_timewait_sock", "tw_sk.__tw_common.skc_tw_rcv_nxt";
    /// Local port of the minisock, network byte order.
    tw_sport: 4 = "tcp_timewait_sock", "tw_sk.tw_sport";
    /// The timer that ends the minisock; only its place in it matters.
    tw_timer: 8 = "tcp_timewait_sock", "tw_sk.tw_timer";

    /// Number of a thread, as the host counts them.
    pid: 4 = "task_struct", "pid";
    /// Number of its process, which is that of the process's first thread.
    tgid: 4 = "task_struct", "tgid";
}

impl Field {
    /// Whether the field is read from the segment a hook was called with, or from what stands in its place there, instead
    /// of from its socket.
    pub const fn of_segment(self) -> bool {
        matches!(
            self,
            Self::seq
                | Self::end_seq
                | Self::ack_seq
                | Self::tcp_flags
                | Self::rtx_right
                | Self::skb_mstamp_ns
                | Self::foc_len
                | Self::foc_exp
                | Self::foc_val
                | Self::msg_flags
                | Self::msg_namelen
                | Self::req_sk
                | Self::req_num_timeout
                | Self::req_num_retrans
                | Self::req_acked
                | Self::req_rcv_isn
                | Self::req_snt_isn
                | Self::req_snt_synack
                | Self::req_hashed
                | Self::req_listener
        )
    }
    /// Whether the programs read it without asking whether this kernel has it: every one does, and one that did not
    /// would be refused.
    pub const fn is_vital(self) -> bool {
        matches!(
            self,
            Self::skc_portpair
                | Self::skc_hash
                | Self::sk_write_queue_len
                | Self::write_seq
                | Self::snd_nxt
                | Self::sk_tsq_flags
                | Self::skc_state
                | Self::seq
                | Self::end_seq
        )
    }
    /// Whether it is a number of 32 bits in the struct itself on every kernel so far, which saves the programs the
    /// questions; where that does not hold, only kprobes can be used, which ask.
    pub const fn is_plain(self) -> bool {
        matches!(
            self,
            Self::packets_out
                | Self::snd_sml
                | Self::snd_up
                | Self::snd_una
                | Self::snd_nxt
                | Self::write_seq
                | Self::snd_wnd
                | Self::snd_cwnd
                | Self::sacked_out
                | Self::lost_out
                | Self::retrans_out
                | Self::seq
                | Self::end_seq
                | Self::ack_seq
        )
    }
    /// 32-bit slots of the value in a record.
    pub const fn slots(self) -> usize {
        self.bytes() / 4
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_given_once_and_values_fill_whole_slots() {
        let names: BTreeSet<&str> = Field::ALL.iter().map(|f| f.name()).collect();
        assert_eq!(names.len(), Field::COUNT);
        assert!(
            Field::ALL
                .iter()
                .all(|f| matches!(f.bytes(), 4 | 8 | 16) && f.slots() * 4 == f.bytes())
        );
    }

    #[test]
    fn every_row_has_its_meaning_and_a_place() {
        assert!(Field::ALL.iter().all(|f| f.doc().trim().ends_with('.') && !f.places().is_empty()));
    }
}

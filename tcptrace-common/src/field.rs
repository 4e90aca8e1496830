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
    /// Bytes of the last buffer in the write queue.
    tail_len: 4 = "sock", "sk_write_queue.prev->len";
    /// Bytes of the first buffer in the write queue: the one that the next attempt would send.
    head_len: 4 = "sock", "sk_write_queue.next->len";
    /// Who paces: `SK_PACING_NEEDED` when TCP does itself.
    sk_pacing_status: 4 = "sock", "sk_pacing_status";
    /// TCP small queues, bits of `enum tsq_enum`.
    sk_tsq_flags: 8 = "sock", "sk_tsq_flags";

    /// `TCP_NAGLE_*` bits of the socket.
    nonagle: 4 = "tcp_sock", "nonagle";
    /// Whether the socket is under checkpoint and restore: what it "sends" never reaches the wire.
    repair: 4 = "tcp_sock", "repair";
    /// Segments in flight.
    packets_out: 4 = "tcp_sock", "packets_out";
    /// End of the last small segment sent (Minshall's rule).
    snd_sml: 4 = "tcp_sock", "snd_sml";
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

    /// First sequence number of the segment.
    seq: 4 = "sk_buff", "cb|tcp_skb_cb.seq";
    /// Sequence number after the segment; SYN and FIN count.
    end_seq: 4 = "sk_buff", "cb|tcp_skb_cb.end_seq";
    /// The segment's acknowledgment number.
    ack_seq: 4 = "sk_buff", "cb|tcp_skb_cb.ack_seq";

    /// Number of a thread, as the host counts them.
    pid: 4 = "task_struct", "pid";
    /// Number of its process, which is that of the process's first thread.
    tgid: 4 = "task_struct", "tgid";
}

impl Field {
    /// Whether the field is read from the segment a hook was called with, instead of from its socket.
    pub const fn of_segment(self) -> bool {
        matches!(self, Self::seq | Self::end_seq | Self::ack_seq)
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

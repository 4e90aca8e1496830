//! TABLE 1: the kernel functions that are probed, under their kernel names.
//!
//! A row gives a hook its wire number (never used again for another), when it runs (`entry`, or `exit` where the result
//! or the state after the call matters), the arguments its record carries (kernel parameter name = position, checked
//! against BTF at load; `ret` is the result), the fields read from the socket or the segment, and the functions that
//! can stand in where this kernel lacks the first one.

use crate::field::Field;

/// Positions from here on are no arguments: see [`ret_of`].
pub const RET: usize = 100;
/// The position of pseudo-arguments that no function has: what the program at the hook has counted itself.
pub const OWN: usize = 50;
/// Most 32-bit slots of one record.
pub const MAX_SLOTS: usize = 48;

/// Position of the pseudo-argument `ret`, the result of a function of `arity` arguments: tracing programs find it behind
/// the last argument, so the count is checked against BTF at load.
pub const fn ret_of(arity: usize) -> usize {
    RET + arity
}

/// Takes the fields of a hook one by one.
pub trait TakeField {
    /// Takes one.
    fn field(&mut self, field: Field);
}

/// When a probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before the function.
    Entry,
    /// After it: arguments, result and the state it left.
    Exit,
    /// Not a probe: a record that another hook's program writes.
    Record,
}

macro_rules! hooks {
    ($( $(#[doc = $doc:literal])* $name:ident = $id:literal $at:ident [$($arg:ident = $pos:expr),*] {$($field:ident)*} $(or $alt:ident)*; )*) => {
        /// A probed kernel function.
        #[expect(non_camel_case_types, reason = "kernel things carry kernel names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Hook { $( $(#[doc = $doc])* $name = $id ),* }

        impl Hook {
            /// Every row, in the order of the table.
            pub const ALL: &'static [Self] = &[ $( Self::$name ),* ];

            /// The kernel function's name; also the name of the tracing program.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($name) ),* }
            }
            /// What the hook sees.
            pub const fn doc(self) -> &'static str {
                match self { $( Self::$name => concat!($($doc),*) ),* }
            }
            /// When the probe runs.
            pub const fn at(self) -> At {
                match self { $( Self::$name => At::$at ),* }
            }
            /// The function and its stand-ins, in order.
            pub const fn symbols(self) -> &'static [&'static str] {
                match self { $( Self::$name => &[stringify!($name) $(, stringify!($alt))*] ),* }
            }
            /// Arguments in the record: kernel parameter name, position.
            pub const fn args(self) -> &'static [(&'static str, usize)] {
                match self { $( Self::$name => const { &[ $( (stringify!($arg), $pos) ),* ] } ),* }
            }
            /// Fields in the record.
            pub const fn fields(self) -> &'static [Field] {
                match self { $( Self::$name => &[ $( Field::$field ),* ] ),* }
            }
            /// Hands over each of [`Self::fields`], in order. For the programs, in which a loop over the table would be one:
            /// of a hook that is a constant, this is straight code.
            #[inline(always)]
            pub fn each_field(self, to: &mut impl TakeField) {
                match self { $( Self::$name => { $( to.field(Field::$field); )* let _ = to; } ),* }
            }
            /// The hook with this wire number.
            pub const fn from_wire(id: u16) -> Option<Self> {
                match id { $( $id => Some(Self::$name), )* _ => None }
            }
            /// Highest wire number.
            #[expect(clippy::indexing_slicing, reason = "evaluated at compile time: a wrong index does not compile")]
            pub const MAX: u16 = {
                let (mut max, mut i) = (0, 0);
                while i < Self::ALL.len() {
                    if Self::ALL[i] as u16 > max {
                        max = Self::ALL[i] as u16;
                    }
                    i += 1;
                }
                max
            };
        }
    };
}

hooks! {
    /// A socket is met for the first time: who it is, and the name of the task at work.
    socket = 0 Record [comm0 = 0, comm1 = 1, comm2 = 2, comm3 = 3] {
        skc_family skc_state inet_sport skc_dport skc_rcv_saddr skc_daddr skc_v6_rcv_saddr skc_v6_daddr netns skc_cookie nonagle
        sk_kern_sock is_mptcp
    };
    /// A write call returns: how many bytes it was given and how many it took. Seen only while bytes wait.
    tcp_sendmsg_locked = 1 Exit [size = 2, ret = ret_of(3)] { write_seq snd_nxt msg_flags icsk_ulp_name };
    /// The end of a write: what may go has gone; what is left waits. `turn` counts how often data came in before a write on
    /// this socket, `part` the writes since then; `from_start` is 1 when no byte had
    /// been exchanged on the socket before it was watched, 2 when it was met in its handshake, before it wrote. 0 where they are
    /// not counted.
    tcp_push = 2 Exit [flags = 1, mss_now = 2, nonagle = 3, size_goal = 4, turn = OWN, part = OWN, from_start = OWN] {
        nonagle packets_out snd_sml snd_una snd_nxt write_seq snd_wnd snd_cwnd sacked_out lost_out retrans_out mss_cache
        srtt_us tcp_wstamp_ns tcp_clock_cache sk_pacing_status sk_tsq_flags tail_len repair icsk_pending icsk_rto
        write_timer_expires sk_lock_owned head_len head_mstamp_ns snd_up
    };
    /// The retransmission, probe or loss-probe timer ran.
    tcp_write_timer_handler = 3 Entry [] {
        icsk_pending icsk_rto packets_out snd_una snd_nxt write_seq srtt_us sk_lock_owned write_timer_expires
    };
    /// The peer's FIN arrived in order.
    tcp_fin = 4 Entry [] {
        skc_state write_seq snd_nxt icsk_ack_pending icsk_ack_quick icsk_ack_pingpong icsk_ack_ato rcv_nxt rcv_wup
        icsk_ack_rcv_mss icsk_ack_dst_quick_ack
    };
    /// An application sets a TCP option; runs before the socket lock is taken.
    do_tcp_setsockopt = 5 Entry [level = 1, optname = 2] { nonagle packets_out write_seq snd_nxt } or tcp_setsockopt or security_socket_setsockopt;
    /// New data has left TCP; `snd_nxt` does not count it yet.
    tcp_event_new_data_sent = 6 Entry [] {
        seq end_seq nonagle packets_out snd_una snd_nxt write_seq mss_cache repair sk_lock_owned snd_wnd sk_tsq_flags snd_up
    };
    /// `close()` or `shutdown()` queues a FIN. Told before that, by the program at the entry; the one at the return tells of a
    /// closing socket whether the FIN has left (`fin_queued`).
    tcp_send_fin = 7 Exit [] {
        write_seq snd_nxt sk_lock_owned skc_state icsk_ack_pending icsk_ack_pingpong rcv_nxt rcv_wup snd_una icsk_ack_ato
        icsk_ack_timeout
    };
    /// A segment arrived for an established connection.
    tcp_rcv_established = 8 Entry [] {
        seq end_seq ack_seq snd_una snd_nxt write_seq srtt_us sk_lock_owned snd_wnd rtx_end_seq rtx_mstamp_ns rtt_min
    };
    /// A segment arrived in another state than established.
    tcp_rcv_state_process = 9 Entry [] {
        seq end_seq ack_seq snd_una snd_nxt write_seq srtt_us sk_lock_owned snd_wnd rtx_end_seq rtx_mstamp_ns rtt_min
        tcp_flags skc_state rcv_nxt
    };
    /// An attempt to send ended and left bytes waiting.
    tcp_write_xmit = 10 Exit [mss_now = 1, nonagle = 2, push_one = 3, ret = ret_of(5)] {
        nonagle packets_out snd_sml snd_una snd_nxt write_seq snd_wnd snd_cwnd sacked_out lost_out retrans_out mss_cache
        srtt_us tcp_wstamp_ns tcp_clock_cache sk_pacing_status sk_tsq_flags tail_len repair icsk_pending icsk_rto
        write_timer_expires sk_lock_owned head_len head_mstamp_ns snd_up
    };
    /// The device, or the pacing timer, was ready for the socket; it sends now if nobody owns it. Written by the program
    /// that stands in for `tcp_tsq_write` where that was split.
    tcp_tsq_handler = 11 Record [] { write_seq snd_nxt sk_tsq_flags sk_lock_owned };
    /// The connection is over: reset, aborted, timed out or handed to TIME-WAIT.
    tcp_done = 12 Entry [] { skc_state write_seq snd_nxt snd_una sk_err linger2 skc_flags };
    /// The socket's life ends; its address may be used again at once. `turn` as in `tcp_push`.
    tcp_v4_destroy_sock = 13 Entry [turn = OWN] { write_seq snd_nxt };
    /// The device, or the pacing timer, lets the socket send again.
    tcp_tsq_write = 14 Entry [] { write_seq snd_nxt sk_tsq_flags sk_lock_owned } or tcp_tsq_handler;
    /// The socket has become another connection: the end of the one before was not seen, or was `connect(AF_UNSPEC)`.
    socket_reused = 15 Record [] { write_seq snd_nxt };
    /// A segment with data was not taken by the layers below: a queueing discipline or a firewall dropped it, or memory
    /// was short. Seen only then. That bytes wait for it `tcp_push` and `tcp_write_xmit` tell without it (`head_mstamp_ns`).
    __tcp_transmit_skb = 16 Exit [clone_it = 2, ret = ret_of(5)] { seq end_seq snd_nxt write_seq sk_lock_owned };
    /// The pacing timer fired: what it does for the socket follows at once, or when the socket's owner lets go.
    tcp_pace_kick = 17 Entry [] {};
    /// A write is about to sleep until there is room in the send buffer, or less than `TCP_NOTSENT_LOWAT` waits; where both are so
    /// already, for a time of the kernel's choice, as memory is short.
    sk_stream_wait_memory = 18 Entry [] {
        write_seq snd_nxt sk_wmem_queued sk_sndbuf notsent_lowat sysctl_tcp_notsent_lowat
    };
    /// A write is about to sleep until the connection is established.
    sk_stream_wait_connect = 19 Entry [] { write_seq snd_nxt skc_state };
    /// sendfile, splice or an in-kernel sender has given pages, to 6.4; later kernels do it by `tcp_sendmsg_locked`.
    do_tcp_sendpages = 20 Exit [size = 3, flags = 4, ret = ret_of(5)] { write_seq snd_nxt icsk_ulp_name };
    /// A write opens the connection itself (Fast Open): the SYN has left, with the first bytes or without, and what it did
    /// not carry waits until the connection is established.
    tcp_connect = 25 Exit [ret = ret_of(1)] { write_seq snd_nxt fastopen_size };
    /// An ACK is owed and put off: by when the timer sends it, and why it may wait. Where the kernel found the time up
    /// already, it has sent the ACK and none is owed any more.
    tcp_send_delayed_ack = 21 Exit [] {
        icsk_ack_pending icsk_ack_quick icsk_ack_pingpong icsk_ack_ato icsk_ack_timeout rcv_nxt rcv_wup skc_state sk_lock_owned
    };
    /// The delayed-ACK timer ran; with nothing owed, or before the time, it sends nothing. `arrived_us` is how long ago data
    /// came in last, microseconds, `pid` the process that has written on this socket first, `tid` its thread; 0 where that
    /// was not seen.
    tcp_delack_timer_handler = 22 Entry [arrived_us = OWN, pid = OWN, tid = OWN] {
        icsk_ack_pending icsk_ack_quick icsk_ack_pingpong icsk_ack_ato icsk_ack_timeout rcv_nxt rcv_wup skc_state sk_lock_owned
    };
    /// The program closes its socket, by `close()` or by ending: what it has not read, and whether it lingers.
    __tcp_close = 40 Entry [] {
        skc_state copied_seq rcv_nxt write_seq snd_nxt snd_una skc_flags sk_lingertime linger2 sk_err
    };
    /// This host resets a connection of its own accord.
    tcp_send_active_reset = 41 Entry [] { skc_state write_seq snd_nxt snd_una rcv_nxt sk_err };
    /// A connection is ended as a reset asks for: one came in, or data came that nobody will read.
    tcp_reset = 42 Entry [] { skc_state write_seq snd_nxt snd_una };
    /// A minisock takes the socket's place: in the state TIME-WAIT, or in FIN-WAIT-2 where no process has the socket any more.
    tcp_time_wait = 43 Entry [state = 1, timeo = 2] { skc_state write_seq snd_nxt snd_una rcv_nxt };
    /// The minisock has been made. Its address gives events of its own the socket's name, and goes no further.
    inet_twsk_alloc = 44 Exit [tw_low = ret_of(3), tw_high = ret_of(3)] { skc_state };
    /// A segment arrived for a minisock.
    tcp_timewait_state_process = 45 Entry [] { seq end_seq tcp_flags tw_substate tw_rcv_nxt };
    /// A minisock's time is over.
    tw_timer_handler = 46 Entry [] {};
    /// A closing socket has sent a segment that is kept until it is acknowledged: data, a FIN or both. Of older traces:
    /// `departure` and `fin_queued` tell it without a program on the path of data.
    segment_sent = 47 Record [] { seq end_seq tcp_flags skc_state snd_nxt write_seq rcv_nxt sk_lock_owned };
    /// A closing socket has sent a segment that is not kept: an ACK, a window probe or a reset. Of older traces:
    /// `tcp_send_ack` and `tcp_write_wakeup` tell it without a program on the path of data.
    ack_sent = 48 Record [] { skc_state snd_nxt write_seq rcv_nxt icsk_ack_pingpong sk_lock_owned };
    /// A socket that was met before its task was known is another task's: what was told of it does not count.
    socket_left = 49 Record [] {};
    /// A write that asks for Fast Open (`MSG_FASTOPEN`), or that follows a SYN of Fast Open, returns. Written by the program of
    /// `tcp_sendmsg_locked`.
    fastopen_write = 50 Record [size = OWN, ret = OWN, msg_flags = OWN, msg_namelen = OWN] {
        skc_state write_seq snd_nxt fastopen_connect sysctl_tcp_fastopen
    };
    /// A SYN of a connection for which Fast Open was asked has left. Written by the program of `tcp_connect`.
    fastopen_syn = 51 Record [ret = OWN] {
        snd_una snd_nxt write_seq fastopen_size fastopen_copied syn_data syn_fastopen syn_fastopen_exp fastopen_connect
        fastopen_no_cookie sysctl_tcp_fastopen
    };
    /// An application sets an option of Fast Open; runs before the socket lock is taken. Written by the program of
    /// `do_tcp_setsockopt`.
    fastopen_option = 52 Record [optname = OWN] { skc_state sysctl_tcp_fastopen fastopenq_max_qlen fastopen_connect };
    /// `connect()` of a socket with `TCP_FASTOPEN_CONNECT`: 1 when it returns at once and the first write is to send the SYN.
    tcp_fastopen_defer_connect = 53 Exit [ret = ret_of(2)] { fastopen_connect };
    /// The kernel has looked whether a SYN may carry data: by a cookie that it knows, without one, or not at all.
    tcp_fastopen_cookie_check = 54 Exit [ret = ret_of(3)] {
        foc_len foc_exp fastopen_connect fastopen_no_cookie sysctl_tcp_fastopen sysctl_tcp_fastopen_blackhole_timeout
        tfo_active_disable_times tfo_active_disable_stamp
    };
    /// The SYN-ACK that answers a SYN of Fast Open is processed; `snd_una` counts what it acknowledges.
    tcp_fastopen_cache_set = 55 Entry [syn_lost = 3, try_exp = 4] {
        foc_len foc_exp snd_una snd_nxt write_seq syn_data syn_fastopen syn_fastopen_exp total_retrans
    };
    /// The connection is established from this end. Told of sockets that asked for Fast Open,
    /// or have set `TCP_DEFER_ACCEPT`, so that their handshake's ACK is put off (`tcp_rcv_synsent_state_process()`).
    tcp_finish_connect = 56 Entry [] { snd_una snd_nxt write_seq total_retrans rskq_defer_accept };
    /// A retransmission timer ran on a connection that has used Fast Open; `expired` is 1 when it gives up.
    tcp_fastopen_active_detect_blackhole = 57 Entry [expired = 1] {
        skc_state icsk_retransmits syn_data syn_fastopen syn_data_acked sysctl_tcp_fastopen_blackhole_timeout
        tfo_active_disable_times
    };
    /// A reset or a FIN came out of order on a connection that has used Fast Open: the kernel pauses it for all.
    tcp_fastopen_active_disable = 58 Entry [] {
        skc_state sysctl_tcp_fastopen_blackhole_timeout tfo_active_disable_times
    };
    /// A SYN with data or with the option of Fast Open was dealt with by a socket that listens, whose fields these are.
    /// `foc_in` is the length of the cookie that came, -1 without the option, `foc_out` of the one that is sent; `syn_bytes` the
    /// data in the SYN, `isn` its sequence number, `child` has bits: 1 a socket was made, 2 the cookie that is sent is the
    /// one that came, 4 the experimental option was used; `qlen` of the queue before. The socket of the event is the
    /// one that was made, or the request.
    tcp_try_fastopen = 59 Exit [foc_in = OWN, foc_out = OWN, syn_bytes = OWN, isn = OWN, child = OWN, qlen = OWN, resets = OWN] {
        fastopenq_max_qlen fastopen_no_cookie sk_ack_backlog sk_max_ack_backlog sysctl_tcp_fastopen
    };
    /// A socket that Fast Open has made is no request any more: its handshake is complete, it was reset, or it is closed.
    /// `accepted` is 1 when a program has accepted it already.
    reqsk_fastopen_remove = 60 Entry [reset = 2, accepted = OWN] { skc_state sk_err total_retrans };
    /// A program accepts a socket. Told of those that Fast Open has made.
    security_sock_graft = 61 Entry [] { skc_state };
    /// A program asks a socket that listens for a connection. Told once of each, and only where some tasks are asked for.
    inet_csk_accept = 62 Entry [] { skc_state };
    /// A socket that listened at the start has set `TCP_FASTOPEN` (its queue, and the setting of its network namespace) or
    /// `TCP_DEFER_ACCEPT` (the seconds that `getsockopt()` tells, and `TCP_SYNCNT`, or what the kernel takes without it);
    /// `rto_max_ms` is `TCP_RTO_MAX_MS`, 0 where the kernel has none. Written by the loader, which has asked the socket; its
    /// process is that of the event.
    listener = 63 Record [
        max_qlen = OWN, sysctl_tcp_fastopen = OWN, defer_accept_s = OWN, syncnt = OWN, rto_max_ms = OWN
    ] {};
    /// By how much the kernel's counters of Fast Open and of what concerns deferred connections have risen in a network
    /// namespace from the start to the end. Written by the loader, from `/proc/PID/net/netstat`.
    netstat = 64 Record [
        netns = OWN, TCPFastOpenActive = OWN, TCPFastOpenActiveFail = OWN, TCPFastOpenPassive = OWN,
        TCPFastOpenPassiveFail = OWN, TCPFastOpenPassiveAltKey = OWN, TCPFastOpenListenOverflow = OWN,
        TCPFastOpenCookieReqd = OWN, TCPFastOpenBlackhole = OWN, TCPDeferAcceptDrop = OWN, EmbryonicRsts = OWN,
        ListenOverflows = OWN, SyncookiesRecv = OWN, TCPTimeouts = OWN
    ] {};
    /// A SYN came for a socket that listens with `TCP_DEFER_ACCEPT`, and a request stands for the connection from now on. The
    /// fields are the listener's and the request's; the socket of the event is the request. `midway` is 1 when
    /// the request had begun before it was seen, and something else tells of it first.
    inet_csk_reqsk_queue_hash_add = 66 Entry [midway = OWN] {
        skc_family inet_sport skc_rcv_saddr skc_v6_rcv_saddr rskq_defer_accept icsk_syn_retries sysctl_tcp_synack_retries
        icsk_rto_max sk_ack_backlog sk_max_ack_backlog req_num_timeout req_acked
    };
    /// A segment came for a request and was dealt with: `payload` is its data and FIN as one number, `flags` are those of its
    /// header, `num_timeout` the request's periods before, `before` has bits: 1 a segment with ACK had come already, 2 the
    /// accept queue was full, 4 the segment begins where one is expected, 8 it acknowledges the SYN-ACK; `end` has bits: 1 the
    /// request is a socket now, 2 it was dropped, 4 the listener is another one. The fields are the listener's and the request's.
    tcp_check_req = 67 Exit [payload = OWN, flags = OWN, num_timeout = OWN, before = OWN, end = OWN] {
        rskq_defer_accept sk_ack_backlog sk_max_ack_backlog req_num_timeout req_acked
    };
    /// A request has become a socket, which waits in the accept queue. Its address gives the socket's events the request's
    /// name, and goes no further.
    inet_csk_complete_hashdance = 68 Exit [child_low = OWN, child_high = OWN] {};
    /// The timer of a request ran: a period is over. What it leads to follows.
    tcp_syn_ack_timeout = 69 Entry [] { req_num_timeout req_num_retrans req_acked };
    /// The SYN-ACK of a request was sent again, by its timer or because the SYN came again; `ret` is 0 when it was. The fields
    /// are the listener's and the request's.
    tcp_rtx_synack = 70 Exit [ret = ret_of(2)] {
        rskq_defer_accept icsk_syn_retries sysctl_tcp_synack_retries icsk_rto_max req_num_timeout req_num_retrans req_acked
    };
    /// A request is dropped; `skc_state` is that of its listener.
    __inet_csk_reqsk_queue_drop = 71 Entry [] { skc_state req_num_timeout req_acked } or inet_csk_reqsk_queue_drop;
    /// A request is dropped for a segment that found its listener closed; `skc_state` is that of its listener. Later kernels
    /// do this by `__inet_csk_reqsk_queue_drop`.
    inet_csk_reqsk_queue_drop_and_put = 72 Entry [] { skc_state req_num_timeout req_acked };
    /// The timer of a request has dropped it; `skc_state` is that of its listener. Later kernels do this by
    /// `__inet_csk_reqsk_queue_drop`.
    reqsk_timer_handler = 73 Exit [] { skc_state req_num_timeout req_acked };
    /// ICMP says that the other end of a request cannot be reached; `fits` is 1 when it quotes the SYN-ACK.
    tcp_req_err = 74 Entry [abort = 2, fits = OWN] { req_num_timeout };
    /// The listener of a request was closed, and another of its `SO_REUSEPORT` group takes it over: as a request of another
    /// address, which gives its events the request's name and goes no further; 0 where the request is a socket at once.
    inet_reqsk_clone = 75 Exit [clone_low = OWN, clone_high = OWN] {};
    /// A connection waits to be accepted to which its listener's `TCP_DEFER_ACCEPT` or `TCP_FASTOPEN` was not applied:
    /// `syn_cookie` is 1 when its SYN was answered by a SYN cookie, 0 when Fast Open has made it; `isn` is the SYN's sequence
    /// number. The fields are the listener's; the socket of the event is the one that was made.
    inet_csk_reqsk_queue_add = 76 Exit [syn_cookie = OWN, isn = OWN] {
        skc_family inet_sport skc_rcv_saddr skc_v6_rcv_saddr rskq_defer_accept sk_ack_backlog sk_max_ack_backlog
        fastopenq_max_qlen
    };
    /// Data, or a FIN, is there that a program can read, for the first time on a connection that was deferred.
    tcp_data_ready = 77 Entry [] { skc_state bytes_received };
    /// A socket with `TCP_DEFER_ACCEPT` listens from now on.
    inet_listen = 78 Exit [backlog = 1, ret = ret_of(2)] {
        rskq_defer_accept icsk_syn_retries sysctl_tcp_synack_retries icsk_rto_max
    };
    /// An option is about to be set: what stands in the socket before. `how` is the way it is set by (`VIA_*`) in the high
    /// half and the level in the low one, `option` the length of the value and the option's number likewise. The value is
    /// told after the call where it comes from a program's memory.
    option_before = 80 Entry [how = OWN, option = OWN, ret = OWN, value0 = OWN, value1 = OWN, value2 = OWN, value3 = OWN] {
        skc_state nonagle user_mss keepalive_time keepalive_intvl keepalive_probes icsk_syn_retries linger2 rskq_defer_accept
        window_clamp icsk_ack_pingpong icsk_ack_quick icsk_ca_name icsk_user_timeout fastopenq_max_qlen notsent_lowat
        fastopen_connect fastopen_no_cookie tcp_tx_delay skc_flags sk_lingertime sk_sndbuf sk_rcvbuf sk_max_pacing_rate
        sk_ll_usec write_seq snd_nxt repair icsk_rto_max icsk_rto_min icsk_delack_max sk_lock_owned
    } or security_socket_setsockopt;
    /// The call that sets an option returns: what stands in the socket now, the result, and the first 16 bytes of the value
    /// that was asked for. Written by the programs at the returns below.
    option_after = 81 Record [how = OWN, option = OWN, ret = OWN, value0 = OWN, value1 = OWN, value2 = OWN, value3 = OWN] {
        skc_state nonagle user_mss keepalive_time keepalive_intvl keepalive_probes icsk_syn_retries linger2 rskq_defer_accept
        window_clamp icsk_ack_pingpong icsk_ack_quick icsk_ca_name icsk_user_timeout fastopenq_max_qlen notsent_lowat
        fastopen_connect fastopen_no_cookie tcp_tx_delay skc_flags sk_lingertime sk_sndbuf sk_rcvbuf sk_max_pacing_rate
        sk_ll_usec write_seq snd_nxt repair icsk_rto_max icsk_rto_min icsk_delack_max sk_lock_owned
    };
    /// A socket that was there at the start, as it is. Written by the iterator; the process of the event is the one that has
    /// it open. `inode` is the number of its file, 0 once it was looked up.
    existing = 82 Record [inode_low = OWN, inode_high = OWN] {
        skc_state nonagle user_mss keepalive_time keepalive_intvl keepalive_probes icsk_syn_retries linger2 rskq_defer_accept
        window_clamp icsk_ack_pingpong icsk_ack_quick icsk_ca_name icsk_user_timeout fastopenq_max_qlen notsent_lowat
        fastopen_connect fastopen_no_cookie tcp_tx_delay skc_flags sk_lingertime sk_sndbuf sk_rcvbuf sk_max_pacing_rate
        sk_ll_usec write_seq snd_nxt repair icsk_rto_max icsk_rto_min icsk_delack_max sk_lock_owned
    };
    /// The system call `setsockopt()`, of 64 and of 32 bits.
    __sys_setsockopt = 83 Exit [level = 1, optname = 2, ret = ret_of(5)] {};
    /// What the system call does, and `IORING_OP_URING_CMD`; from 6.7.
    do_sock_setsockopt = 84 Exit [level = 2, optname = 3] {};
    /// A BPF program sets an option. On 5.10 the function has a sixth argument: only a kprobe sits there.
    __bpf_setsockopt = 85 Exit [level = 1, optname = 2, ret = ret_of(5)] {} or _bpf_setsockopt;
    /// The kernel itself sets `TCP_NODELAY`.
    tcp_sock_set_nodelay = 86 Exit [] {};
    /// The kernel itself sets `TCP_CORK`.
    tcp_sock_set_cork = 87 Exit [on = 1] {};
    /// The kernel itself sets `TCP_QUICKACK`.
    tcp_sock_set_quickack = 88 Exit [val = 1] {};
    /// The kernel itself sets `TCP_SYNCNT`.
    tcp_sock_set_syncnt = 89 Exit [val = 1, ret = ret_of(2)] {};
    /// The kernel itself sets `TCP_USER_TIMEOUT`.
    tcp_sock_set_user_timeout = 90 Exit [val = 1] {};
    /// The kernel itself sets `TCP_KEEPIDLE`.
    tcp_sock_set_keepidle = 91 Exit [val = 1, ret = ret_of(2)] {};
    /// The kernel itself sets `TCP_KEEPINTVL`.
    tcp_sock_set_keepintvl = 92 Exit [val = 1, ret = ret_of(2)] {};
    /// The kernel itself sets `TCP_KEEPCNT`.
    tcp_sock_set_keepcnt = 93 Exit [val = 1, ret = ret_of(2)] {};
    /// The kernel itself sets `SO_KEEPALIVE`.
    sock_set_keepalive = 94 Exit [] {};
    /// The kernel itself sets `SO_LINGER`.
    sock_no_linger = 95 Exit [] {};
    /// The kernel itself sets `TCP_NODELAY` of a subflow of MPTCP, or the body of `tcp_sock_set_nodelay()`.
    __tcp_sock_set_nodelay = 96 Exit [on = 1] {};
    /// The kernel itself sets `TCP_CORK` of a subflow of MPTCP, or the body of `tcp_sock_set_cork()`.
    __tcp_sock_set_cork = 97 Exit [on = 1] {};
    /// The kernel itself sets `TCP_CONGESTION` of a subflow of MPTCP, or the body of another call.
    tcp_set_congestion_control = 98 Exit [name = 1, ret = ret_of(4)] {};
    /// A closing socket has sent a segment that carries nothing else than an ACK. An ACK for which no memory was there stays
    /// owed, which `rcv_wup` tells.
    tcp_send_ack = 99 Exit [] { skc_state snd_nxt write_seq rcv_nxt rcv_wup icsk_ack_pingpong sk_lock_owned };
    /// A closing socket has sent a segment again; `err` is not 0 where the layers below did not take it, which kernels before
    /// 6.16 do not tell at all.
    __tcp_retransmit_skb = 100 Entry [err = OWN] { seq end_seq tcp_flags skc_state snd_nxt write_seq rcv_nxt };
    /// A closing socket has asked its peer for an answer: by the next bytes, where the window lets some go, or by a segment
    /// that carries nothing.
    tcp_write_wakeup = 101 Exit [ret = ret_of(2)] {
        skc_state snd_nxt write_seq rcv_nxt rcv_wup icsk_ack_pingpong sk_lock_owned
    };
    /// The first data after the peer's FIN, or a FIN that had been held, has left since the event before. The arguments are of
    /// the last segment in flight: its sequence numbers, all 0 without one, and when it left, nanoseconds, `CLOCK_MONOTONIC`;
    /// and when the device, or the pacing timer where that number is odd, let the socket send last while its FIN waited, 0 when
    /// neither did. Written by the programs of a closing socket's other events, before these.
    departure = 102 Record [
        seq = OWN, end_seq = OWN, mstamp_low = OWN, mstamp_high = OWN, ready_low = OWN, ready_high = OWN
    ] {
        snd_nxt write_seq first_tx_mstamp packets_out
    };
    /// `tcp_send_fin()` has queued a FIN and tried to send it: where `snd_nxt` does not reach `write_seq`, it waits, and the state
    /// of the socket tells why. The arguments are the first of `departure`. Written by the program at the return.
    fin_queued = 103 Record [seq = OWN, end_seq = OWN, mstamp_low = OWN, mstamp_high = OWN] {
        nonagle packets_out snd_sml snd_una snd_nxt write_seq snd_wnd snd_cwnd sacked_out lost_out retrans_out mss_cache
        tcp_wstamp_ns tcp_clock_cache sk_pacing_status sk_tsq_flags tail_len sk_lock_owned head_len head_mstamp_ns skc_state
        first_tx_mstamp
    };
    /// The name of the task at work, where the socket's first record has told another one: by the time anybody asks for it, the
    /// task may have ended. Written by the programs at `__tcp_close`, `tcp_send_fin` and `tcp_disconnect`.
    task = 104 Record [comm0 = 0, comm1 = 1, comm2 = 2, comm3 = 3] {};
    /// A connection is ended without a FIN: by `connect()` to no address, or because its listener was closed before a program had
    /// accepted it, for which `accepted` is 0. `close()` under `SO_LINGER` with no time comes here too.
    tcp_disconnect = 105 Entry [accepted = OWN] { skc_state write_seq snd_nxt snd_una };
    /// The call that left bytes waiting, by the number of its user stack; follows its `tcp_push`. In the ring buffer the
    /// number is the kernel's, or an error's; in a trace it is that of a `stack` line.
    user_stack = 30 Record [stack = 0] {};
}

impl Hook {
    /// The hook that sees in other kernels what this one is there for: where its function does not exist nothing is
    /// missed.
    pub const fn replaced_by(self) -> Option<Self> {
        match self {
            Self::do_tcp_sendpages => Some(Self::tcp_sendmsg_locked),
            // Before 6.1 no request is taken over by another listener.
            Self::inet_reqsk_clone => Some(Self::tcp_check_req),
            Self::do_sock_setsockopt => Some(Self::__sys_setsockopt),
            Self::__tcp_sock_set_nodelay => Some(Self::tcp_sock_set_nodelay),
            Self::__tcp_sock_set_cork => Some(Self::tcp_sock_set_cork),
            _ => None,
        }
    }

    /// The tracepoint that the hook's function passes, with the same arguments: cheaper than its entry where it is the first
    /// statement, and there where compilers have split the function.
    pub const fn tracepoint(self) -> Option<&'static str> {
        match self {
            Self::tcp_rcv_established => Some("tcp_probe"),
            Self::__tcp_retransmit_skb => Some("tcp_retransmit_skb"),
            _ => None,
        }
    }

    /// The program at the entry of the function that keeps, or tells, what its return does not show, under this name.
    pub const fn at_entry(self) -> Option<&'static str> {
        match self {
            Self::tcp_send_fin => Some("tcp_send_fin_entry"),
            Self::tcp_try_fastopen => Some("tcp_try_fastopen_entry"),
            Self::tcp_check_req => Some("tcp_check_req_entry"),
            Self::__sys_setsockopt => Some("__sys_setsockopt_entry"),
            Self::__bpf_setsockopt => Some("__bpf_setsockopt_entry"),
            Self::tcp_sock_set_nodelay => Some("tcp_sock_set_nodelay_entry"),
            Self::tcp_sock_set_cork => Some("tcp_sock_set_cork_entry"),
            Self::tcp_sock_set_quickack => Some("tcp_sock_set_quickack_entry"),
            Self::tcp_sock_set_syncnt => Some("tcp_sock_set_syncnt_entry"),
            Self::tcp_sock_set_user_timeout => Some("tcp_sock_set_user_timeout_entry"),
            Self::tcp_sock_set_keepidle => Some("tcp_sock_set_keepidle_entry"),
            Self::tcp_sock_set_keepintvl => Some("tcp_sock_set_keepintvl_entry"),
            Self::tcp_sock_set_keepcnt => Some("tcp_sock_set_keepcnt_entry"),
            Self::sock_set_keepalive => Some("sock_set_keepalive_entry"),
            Self::sock_no_linger => Some("sock_no_linger_entry"),
            Self::__tcp_sock_set_nodelay => Some("__tcp_sock_set_nodelay_entry"),
            Self::__tcp_sock_set_cork => Some("__tcp_sock_set_cork_entry"),
            Self::tcp_set_congestion_control => Some("tcp_set_congestion_control_entry"),
            _ => None,
        }
    }

    /// 32-bit slots of this hook's record: arguments, then fields.
    #[expect(clippy::indexing_slicing, reason = "the loop ends at the length")]
    pub const fn slots(self) -> usize {
        let fields = self.fields();
        let (mut n, mut i) = (self.args().len(), 0);
        while i < fields.len() {
            n += fields[i].slots();
            i += 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn wire_numbers_and_names_are_given_once() {
        let numbers: BTreeSet<u16> = Hook::ALL.iter().map(|h| *h as u16).collect();
        let names: BTreeSet<&str> = Hook::ALL.iter().map(|h| h.name()).collect();
        assert_eq!((numbers.len(), names.len()), (Hook::ALL.len(), Hook::ALL.len()));
        assert!(Hook::ALL.iter().all(|h| Hook::from_wire(*h as u16) == Some(*h)));
        assert_eq!(Hook::from_wire(Hook::MAX + 1), None);
    }

    #[test]
    fn fields_are_handed_over_in_the_order_of_the_row() {
        struct All(std::vec::Vec<Field>);
        impl TakeField for All {
            fn field(&mut self, field: Field) {
                self.0.push(field);
            }
        }
        for hook in Hook::ALL {
            let mut all = All(std::vec::Vec::new());
            hook.each_field(&mut all);
            assert_eq!(all.0, hook.fields(), "{}", hook.name());
        }
    }

    #[test]
    fn every_row_says_what_it_sees() {
        assert!(Hook::ALL.iter().all(|h| h.doc().trim().ends_with('.')));
    }

    #[test]
    fn only_hooks_at_the_return_carry_a_result() {
        for hook in Hook::ALL {
            let has_result = hook.args().iter().any(|(_, at)| *at >= RET);
            assert!(!has_result || hook.at() == At::Exit, "{}", hook.name());
        }
    }

    #[test]
    fn every_field_is_sent_by_a_hook_or_looked_at_by_the_programs() {
        let own = [
            Field::skc_portpair,
            Field::skc_hash,
            Field::sk_write_queue_len,
            Field::socket_sk,
            Field::pid,
            Field::tgid,
            Field::pacing_timer,
            Field::bytes_received,
            Field::bytes_acked,
            Field::tw_sport,
            Field::tw_timer,
            Field::foc_val,
            Field::req_sk,
            Field::fastopenq_qlen,
            Field::rskq_rst_head,
            Field::msg_flags,
            Field::msg_namelen,
            Field::fastopen_rsk,
            Field::req_rcv_isn,
            Field::req_snt_isn,
            Field::req_snt_synack,
            Field::req_hashed,
            Field::req_listener,
            Field::req_timer,
            Field::sk_protocol,
            Field::is_mptcp,
            Field::sk_socket,
            Field::socket_file,
            Field::file_inode,
            Field::inode_ino,
            Field::rtx_root,
            Field::rtx_right,
            Field::skb_mstamp_ns,
        ];
        for field in Field::ALL {
            let sent = Hook::ALL.iter().any(|h| h.fields().contains(field));
            assert!(sent || own.contains(field), "{}", field.name());
        }
    }
}

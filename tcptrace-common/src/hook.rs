//! TABLE 1: the kernel functions that are probed, under their kernel names.
//!
//! A row gives a hook its wire number (never used again for another), when it runs (`entry`, or `exit` where the result
//! or the state after the call matters), the arguments its record carries (kernel parameter name = position, checked
//! against BTF at load; `ret` is the result), the fields read from the socket or the segment, and the functions that
//! can stand in where this kernel lacks the first one.

use crate::field::Field;

/// Positions from here on are no arguments: see [`ret_of`].
pub const RET: usize = 100;
/// Most 32-bit slots of one record.
pub const MAX_SLOTS: usize = 48;

/// Position of the pseudo-argument `ret`, the result of a function of `arity` arguments: tracing programs find it behind
/// the last argument, so the count is checked against BTF at load.
pub const fn ret_of(arity: usize) -> usize {
    RET + arity
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
    };
    /// A write call returns: how many bytes it was given and how many it took. Seen only while bytes wait.
    tcp_sendmsg_locked = 1 Exit [size = 2, ret = ret_of(3)] { write_seq snd_nxt };
    /// The end of a write: what may go has gone; what is left waits.
    tcp_push = 2 Exit [flags = 1, mss_now = 2, nonagle = 3, size_goal = 4] {
        nonagle packets_out snd_sml snd_una snd_nxt write_seq snd_wnd snd_cwnd sacked_out lost_out retrans_out mss_cache
        srtt_us tcp_wstamp_ns tcp_clock_cache sk_pacing_status sk_tsq_flags tail_len repair icsk_pending icsk_rto
        write_timer_expires sk_lock_owned head_len
    };
    /// The retransmission, probe or loss-probe timer ran.
    tcp_write_timer_handler = 3 Entry [] {
        icsk_pending icsk_rto packets_out snd_una snd_nxt write_seq srtt_us sk_lock_owned write_timer_expires
    };
    /// The peer's FIN arrived in order.
    tcp_fin = 4 Entry [] { skc_state write_seq snd_nxt };
    /// An application sets a TCP option; runs before the socket lock is taken.
    do_tcp_setsockopt = 5 Entry [level = 1, optname = 2] { nonagle packets_out write_seq snd_nxt } or tcp_setsockopt or security_socket_setsockopt;
    /// New data has left TCP; `snd_nxt` does not count it yet.
    tcp_event_new_data_sent = 6 Entry [] {
        seq end_seq nonagle packets_out snd_una snd_nxt write_seq mss_cache repair sk_lock_owned snd_wnd sk_tsq_flags
    };
    /// `close()` or `shutdown()` queues a FIN.
    tcp_send_fin = 7 Entry [] { write_seq snd_nxt sk_lock_owned };
    /// A segment arrived for an established connection.
    tcp_rcv_established = 8 Entry [] { seq end_seq ack_seq snd_una snd_nxt write_seq srtt_us sk_lock_owned snd_wnd };
    /// A segment arrived in another state than established.
    tcp_rcv_state_process = 9 Entry [] { seq end_seq ack_seq snd_una snd_nxt write_seq srtt_us sk_lock_owned snd_wnd };
    /// An attempt to send ended and left bytes waiting.
    tcp_write_xmit = 10 Exit [mss_now = 1, nonagle = 2, push_one = 3, ret = ret_of(5)] {
        nonagle packets_out snd_sml snd_una snd_nxt write_seq snd_wnd snd_cwnd sacked_out lost_out retrans_out mss_cache
        srtt_us tcp_wstamp_ns tcp_clock_cache sk_pacing_status sk_tsq_flags tail_len repair icsk_pending icsk_rto
        write_timer_expires sk_lock_owned head_len
    };
    /// The device, or the pacing timer, was ready for the socket; it sends now if nobody owns it. Written by the program
    /// that stands in for `tcp_tsq_write` where that was split.
    tcp_tsq_handler = 11 Record [] { write_seq snd_nxt sk_tsq_flags sk_lock_owned };
    /// The connection is over: reset, aborted, timed out or handed to TIME-WAIT.
    tcp_done = 12 Entry [] { skc_state write_seq snd_nxt };
    /// The socket's life ends; its address may be used again at once.
    tcp_v4_destroy_sock = 13 Entry [] { write_seq snd_nxt };
    /// The device, or the pacing timer, lets the socket send again.
    tcp_tsq_write = 14 Entry [] { write_seq snd_nxt sk_tsq_flags sk_lock_owned } or tcp_tsq_handler;
    /// The socket has become another connection: the end of the one before was not seen, or was `connect(AF_UNSPEC)`.
    socket_reused = 15 Record [] { write_seq snd_nxt };
    /// A segment with data was not taken by the layers below: a queueing discipline or a firewall dropped it, or memory
    /// was short. Seen only then.
    __tcp_transmit_skb = 16 Exit [clone_it = 2, ret = ret_of(5)] { seq end_seq snd_nxt write_seq sk_lock_owned };
    /// The pacing timer fired: what it does for the socket follows at once, or when the socket's owner lets go.
    tcp_pace_kick = 17 Entry [] {};
    /// A write is about to sleep until the peer has acknowledged enough to make room in the send buffer.
    sk_stream_wait_memory = 18 Entry [] { write_seq snd_nxt };
    /// A write is about to sleep until the connection is established.
    sk_stream_wait_connect = 19 Entry [] { write_seq snd_nxt skc_state };
    /// sendfile, splice or an in-kernel sender has given pages, to 6.4; later kernels do it by `tcp_sendmsg_locked`.
    do_tcp_sendpages = 20 Exit [size = 3, flags = 4, ret = ret_of(5)] { write_seq snd_nxt };
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
        let own = [Field::skc_hash, Field::socket_sk, Field::pid, Field::tgid, Field::pacing_timer];
        for field in Field::ALL {
            let sent = Hook::ALL.iter().any(|h| h.fields().contains(field));
            assert!(sent || own.contains(field), "{}", field.name());
        }
    }
}

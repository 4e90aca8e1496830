//! One file per probed kernel function. A body is written once, over any [`crate::read::Reader`]; the macros here make
//! its programs: a tracing program under the function's name, and the kprobe form beside it.

/// Logs the run of a program, in builds for whoever changes them.
macro_rules! log_run {
    ($ctx:expr, $name:ident) => {
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!($ctx, "{}", stringify!($name));
    };
}

/// What a gate or a count says: it is asked with the socket, and with the number of an argument at hand.
macro_rules! gated {
    ($gate:expr, $sk:ident, $ctx:ident) => {
        $gate($sk, |n: usize| $ctx.arg::<u64>(n) as u32)
    };
}

/// What both kinds of tracing programs have: the segment at hand, and the function that counts by the whole socket.
macro_rules! of_tracing {
    ($context:ident $(, segment = $skb:literal)? $(, once = $once:path)?) => {
        #[inline(always)]
        fn segment(ctx: &aya_ebpf::programs::$context) -> *const u8 {
            let _ = ctx;
            let skb: *const u8 = core::ptr::null();
            $( let skb: *const u8 = { let _ = skb; ctx.arg($skb) }; )?
            skb
        }

        $(
            #[inline(never)]
            fn once(ctx: *mut core::ffi::c_void) -> i32 {
                let ctx = aya_ebpf::programs::$context::new(ctx);
                if let Some(reader) = crate::read::Typed::new(ctx.arg(0), segment(&ctx)) {
                    $once(&reader, |n: usize| ctx.arg::<u64>(n) as u32);
                }
                0
            }
        )?
    };
}

/// Programs for a function that is looked at on entry: fentry, and a kprobe. `segment` is the position of the `sk_buff`;
/// `gate` turns most runs of the tracing program away before anything else is done, and decides nothing that the body
/// does not decide too. What comes behind it is a function of its own, so that only those who call it save registers.
/// `count` runs before it: a function that counts by a glance and says whether that sufficed ([`crate::exchange::Glanced`]),
/// and one that counts by the whole socket.
macro_rules! on_entry {
    ($name:ident, $kprobe:ident $(, segment = $skb:literal)? $(, gate = $gate:expr)? $(, count = ($again:path, $once:path))?) => {
        #[aya_ebpf::macros::fentry]
        pub fn $name(ctx: aya_ebpf::programs::FEntryContext) -> i32 {
            log_run!(&ctx, $name);
            let sk = crate::read::Glance::new(ctx.arg(0), segment(&ctx));
            let _ = &sk;
            $(
                match gated!($again, sk, ctx) {
                    crate::exchange::Glanced::Foreign => return 0,
                    crate::exchange::Glanced::Look => {
                        once(aya_ebpf::EbpfContext::as_ptr(&ctx));
                    }
                    crate::exchange::Glanced::Done => {}
                }
            )?
            $( if !gated!($gate, sk, ctx) { return 0; } )?
            traced(aya_ebpf::EbpfContext::as_ptr(&ctx))
        }

        of_tracing!(FEntryContext $(, segment = $skb)? $(, once = $once)?);

        #[inline(never)]
        fn traced(ctx: *mut core::ffi::c_void) -> i32 {
            let ctx = aya_ebpf::programs::FEntryContext::new(ctx);
            if let Some(reader) = crate::read::Typed::new(ctx.arg(0), segment(&ctx)) {
                body(&reader, |n| ctx.arg::<u64>(n) as u32);
            }
            0
        }

        #[aya_ebpf::macros::kprobe]
        pub fn $kprobe(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            log_run!(&ctx, $kprobe);
            let skb: u64 = 0;
            $( let skb: u64 = skb | ctx.arg::<u64>($skb).unwrap_or(0); )?
            if let Some(reader) = crate::read::Helper::new(ctx.arg(0).unwrap_or(0), skb) {
                $( $once(&reader, |n: usize| ctx.arg::<u64>(n).unwrap_or(0) as u32); )?
                body(&reader, |n| ctx.arg::<u64>(n).unwrap_or(0) as u32);
            }
            0
        }
    };
}

/// Programs for a function that is looked at on return: fexit, and a kprobe that keeps the arguments for a kretprobe.
/// `segment` is the position of the `sk_buff`, `gate` and `count` as in `on_entry`.
macro_rules! on_exit {
    ($name:ident, $kprobe:ident, $kretprobe:ident $(, segment = $skb:literal)? $(, gate = $gate:expr)? $(, count = ($again:path, $once:path))?) => {
        #[aya_ebpf::macros::fexit]
        pub fn $name(ctx: aya_ebpf::programs::FExitContext) -> i32 {
            log_run!(&ctx, $name);
            let sk = crate::read::Glance::new(ctx.arg(0), segment(&ctx));
            let _ = &sk;
            $(
                match gated!($again, sk, ctx) {
                    crate::exchange::Glanced::Foreign => return 0,
                    crate::exchange::Glanced::Look => {
                        once(aya_ebpf::EbpfContext::as_ptr(&ctx));
                    }
                    crate::exchange::Glanced::Done => {}
                }
            )?
            $( if !gated!($gate, sk, ctx) { return 0; } )?
            traced(aya_ebpf::EbpfContext::as_ptr(&ctx))
        }

        of_tracing!(FExitContext $(, segment = $skb)? $(, once = $once)?);

        #[inline(never)]
        fn traced(ctx: *mut core::ffi::c_void) -> i32 {
            let ctx = aya_ebpf::programs::FExitContext::new(ctx);
            if let Some(reader) = crate::read::Typed::new(ctx.arg(0), segment(&ctx)) {
                // The slot after the last argument holds the result; the helper for it is younger than 5.10.
                body(&reader, |n| {
                    use tcptrace_common::hook::RET;
                    if n == crate::stack::OF_CALLER {
                        return crate::stack::of_caller(&ctx);
                    }
                    ctx.arg::<u64>(if n >= RET { n - RET } else { n }) as u32
                });
            }
            0
        }

        #[aya_ebpf::macros::kprobe]
        pub fn $kprobe(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            crate::frame::enter(&ctx, tcptrace_common::hook::Hook::$name)
        }

        #[aya_ebpf::macros::kretprobe]
        pub fn $kretprobe(ctx: aya_ebpf::programs::RetProbeContext) -> u32 {
            log_run!(&ctx, $kretprobe);
            if let Some((arguments, ret)) =
                crate::frame::leave(&ctx, tcptrace_common::hook::Hook::$name)
                && let Some(reader) = crate::read::Helper::new(arguments[0], 0 $( | arguments[$skb] )?)
            {
                $( $once(&reader, |n: usize| arguments.get(n).copied().unwrap_or(0) as u32); )?
                body(&reader, |n| {
                    if n == crate::stack::OF_CALLER {
                        return crate::stack::of_caller(&ctx);
                    }
                    (if n >= tcptrace_common::hook::RET {
                        ret
                    } else {
                        arguments.get(n).copied().unwrap_or(0)
                    }) as u32
                });
            }
            0
        }
    };
}

/// A body that emits an event when it is wanted (as a rule, while bytes wait on the socket), and does nothing else.
macro_rules! emit_when_wanted {
    ($name:ident, $at_work:ident) => {
        #[inline(always)]
        fn body<R: crate::read::Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
            use tcptrace_common::hook::Hook;

            use crate::socket::{AtWork, wanted};
            if wanted(Hook::$name, reader, AtWork::$at_work).is_some() {
                crate::emit::emit::<R, { Hook::$name.slots() }>(Hook::$name, reader, [0; 7]);
            }
        }
    };
}

/// A body of a function by which the device, or the pacing timer, lets a socket send: emits an event while bytes wait, or where
/// everything is wanted. Of a closing socket the departure of its FIN tells.
macro_rules! emit_when_let_send {
    ($name:ident) => {
        #[inline(always)]
        fn body<R: crate::read::Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
            use tcptrace_common::hook::Hook;

            use crate::{
                closing::{self, Ready},
                socket::{self, AtWork},
            };
            closing::may_send_again(reader, Ready::Device);
            let state = if socket::everything() {
                socket::wanted(Hook::$name, reader, AtWork::Anybody)
            } else {
                socket::held(reader)
            };
            if state.is_some() {
                crate::emit::emit::<R, { Hook::$name.slots() }>(Hook::$name, reader, [0; 7]);
            }
        }
    };
}

/// A body that emits an event when a write is about to sleep in its call. The socket counts as one that holds bytes from
/// here on: those that the call has still to give.
macro_rules! emit_when_about_to_sleep {
    ($name:ident) => {
        #[inline(always)]
        fn body<R: crate::read::Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
            use tcptrace_common::hook::Hook;

            use crate::socket::{AtWork, admits, fall_asleep, meet};
            if !admits(reader, AtWork::User) {
                return;
            }
            let Some(state) = meet(Hook::$name, reader) else { return };
            fall_asleep(state, reader);
            crate::emit::emit::<R, { Hook::$name.slots() }>(Hook::$name, reader, [0; 7]);
        }
    };
}

/// A body that emits an event of a socket whose connection ends at once, in any state.
macro_rules! emit_when_ending {
    ($name:ident, [$($arg:literal),*]) => {
        #[inline(always)]
        fn body<R: crate::read::Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
            use tcptrace_common::hook::Hook;

            let _ = &arg;
            if crate::socket::ending(Hook::$name, reader).is_some() {
                let given = [$( arg($arg) ),*];
                let mut values = [0; 7];
                let mut i = 0;
                while i < given.len() {
                    values[i] = given[i];
                    i += 1;
                }
                crate::emit::emit::<R, { Hook::$name.slots() }>(Hook::$name, reader, values);
            }
        }
    };
}

/// A body that emits an event of a socket of which Fast Open has told before, and of no other.
macro_rules! emit_when_met {
    ($name:ident, [$($arg:literal),*]) => {
        #[inline(always)]
        fn body<R: crate::read::Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
            use tcptrace_common::hook::Hook;

            let _ = &arg;
            if crate::socket::met(reader).is_some() {
                let given = [$( arg($arg) ),*];
                let mut values = [0; 7];
                let mut i = 0;
                while i < given.len() {
                    values[i] = given[i];
                    i += 1;
                }
                crate::emit::emit::<R, { Hook::$name.slots() }>(Hook::$name, reader, values);
            }
        }
    };
}

mod __inet_csk_reqsk_queue_drop;
/// Programs for a function of the kernel that sets one option of the socket that is its first argument: `argument` is the
/// position of the value, `constant` the value of a function without one, `name` says that the value is a name, which is not
/// read. `ret` is how many arguments it has, where it has a result.
macro_rules! sets_option {
    (@asked $of:expr, argument = $n:literal) => { [$of($n), 0, 0, 0] };
    (@asked $of:expr, constant = $v:literal) => {{ let _ = $of; [$v, 0, 0, 0] }};
    (@asked $of:expr, name) => {{ let _ = $of; [0; 4] }};
    ($name:ident, $entry:ident, $kprobe:ident, $kretprobe:ident, $level:ident, $optname:ident, $kind:ident $(= $n:literal)? $(, ret = $arity:literal)?) => {
        #[aya_ebpf::macros::fentry]
        pub fn $entry(ctx: aya_ebpf::programs::FEntryContext) -> i32 {
            log_run!(&ctx, $entry);
            if let Some(reader) = crate::read::Typed::new(ctx.arg(0), core::ptr::null()) {
                let asked = sets_option!(@asked |n: usize| ctx.arg::<u64>(n) as u32, $kind $(= $n)?);
                crate::sockopt::kernel_begins(&reader, ($level, $optname), asked);
            }
            0
        }

        #[aya_ebpf::macros::fexit]
        pub fn $name(ctx: aya_ebpf::programs::FExitContext) -> i32 {
            log_run!(&ctx, $name);
            if let Some(reader) = crate::read::Typed::new(ctx.arg(0), core::ptr::null()) {
                let asked = sets_option!(@asked |n: usize| ctx.arg::<u64>(n) as u32, $kind $(= $n)?);
                let ret: u32 = 0;
                $( let ret: u32 = ret | ctx.arg::<u64>($arity) as u32; )?
                crate::sockopt::kernel_ends(&reader, ($level, $optname), ret, asked);
            }
            0
        }

        #[aya_ebpf::macros::kprobe]
        pub fn $kprobe(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            log_run!(&ctx, $kprobe);
            if let Some(reader) = crate::read::Helper::new(ctx.arg(0).unwrap_or(0), 0) {
                let of = |n: usize| ctx.arg::<u64>(n).unwrap_or(0) as u32;
                let asked = sets_option!(@asked of, $kind $(= $n)?);
                crate::sockopt::kernel_begins(&reader, ($level, $optname), asked);
            }
            crate::frame::enter(&ctx, tcptrace_common::hook::Hook::$name)
        }

        #[aya_ebpf::macros::kretprobe]
        pub fn $kretprobe(ctx: aya_ebpf::programs::RetProbeContext) -> u32 {
            log_run!(&ctx, $kretprobe);
            let kept = crate::frame::leave(&ctx, tcptrace_common::hook::Hook::$name);
            if let Some((arguments, result)) = kept
                && let Some(reader) = crate::read::Helper::new(arguments[0], 0)
            {
                let asked = sets_option!(@asked |n: usize| arguments[n] as u32, $kind $(= $n)?);
                let _ = result;
                let ret: u32 = 0;
                $( let ret: u32 = { let _ = $arity; ret | result as u32 }; )?
                crate::sockopt::kernel_ends(&reader, ($level, $optname), ret, asked);
            }
            0
        }
    };
}

mod __bpf_setsockopt;
mod __sys_setsockopt;
mod __tcp_close;
mod __tcp_sock_set_cork;
mod __tcp_sock_set_nodelay;
mod __tcp_retransmit_skb;
mod __tcp_transmit_skb;
mod do_sock_setsockopt;
mod do_tcp_sendpages;
mod do_tcp_setsockopt;
mod inet_csk_accept;
mod inet_csk_complete_hashdance;
mod inet_csk_reqsk_queue_add;
mod inet_csk_reqsk_queue_drop_and_put;
mod inet_csk_reqsk_queue_hash_add;
mod inet_listen;
mod inet_reqsk_clone;
mod inet_twsk_alloc;
mod jiffies;
mod reqsk_fastopen_remove;
mod reqsk_timer_handler;
mod security_sock_graft;
mod option_before;
mod security_socket_setsockopt;
mod sk_stream_wait_connect;
mod sk_stream_wait_memory;
mod tcp_check_req;
mod sock_no_linger;
mod sock_set_keepalive;
mod tcp_connect;
mod tcp_data_ready;
mod tcp_delack_timer_handler;
mod tcp_disconnect;
mod tcp_done;
mod tcp_event_new_data_sent;
mod tcp_fastopen_active_detect_blackhole;
mod tcp_fastopen_active_disable;
mod tcp_fastopen_cache_set;
mod tcp_fastopen_cookie_check;
mod tcp_fastopen_defer_connect;
mod tcp_fin;
mod tcp_finish_connect;
mod tcp_pace_kick;
mod tcp_push;
mod tcp_rcv_established;
mod tcp_rcv_state_process;
mod tcp_req_err;
mod tcp_reset;
mod tcp_rtx_synack;
mod tcp_send_ack;
mod tcp_send_active_reset;
mod tcp_send_delayed_ack;
mod tcp_send_fin;
mod tcp_sendmsg_locked;
mod tcp_syn_ack_timeout;
mod tcp_set_congestion_control;
mod tcp_sock_set_cork;
mod tcp_sock_set_keepcnt;
mod tcp_sock_set_keepidle;
mod tcp_sock_set_keepintvl;
mod tcp_sock_set_nodelay;
mod tcp_sock_set_quickack;
mod tcp_sock_set_syncnt;
mod tcp_sock_set_user_timeout;
mod tcp_time_wait;
mod tcp_timewait_state_process;
mod tcp_try_fastopen;
mod tcp_tsq_handler;
mod tcp_tsq_write;
mod tcp_v4_destroy_sock;
mod tcp_write_timer_handler;
mod tcp_write_wakeup;
mod tcp_write_xmit;
mod tw_timer_handler;

pub use do_tcp_sendpages::Pages;
pub use tcp_try_fastopen::Try;

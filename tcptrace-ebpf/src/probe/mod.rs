//! One file per probed kernel function. A body is written once, over any [`crate::read::Reader`]; the macros here make
//! its programs: a tracing program under the function's name, and the kprobe form beside it.

/// Logs the run of a program, in builds for whoever changes them.
macro_rules! log_run {
    ($ctx:expr, $name:ident) => {
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!($ctx, "{}", stringify!($name));
    };
}

/// Programs for a function that is looked at on entry: fentry, and a kprobe. `segment` is the position of the `sk_buff`.
macro_rules! on_entry {
    ($name:ident, $kprobe:ident $(, segment = $skb:literal)?) => {
        #[aya_ebpf::macros::fentry]
        pub fn $name(ctx: aya_ebpf::programs::FEntryContext) -> i32 {
            log_run!(&ctx, $name);
            let skb: *const u8 = core::ptr::null();
            $( let skb: *const u8 = { let _ = skb; ctx.arg($skb) }; )?
            if let Some(reader) = crate::read::Typed::new(ctx.arg(0), skb) {
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
                body(&reader, |n| ctx.arg::<u64>(n).unwrap_or(0) as u32);
            }
            0
        }
    };
}

/// Programs for a function that is looked at on return: fexit, and a kprobe that keeps the arguments for a kretprobe.
/// `segment` is the position of the `sk_buff`.
macro_rules! on_exit {
    ($name:ident, $kprobe:ident, $kretprobe:ident $(, segment = $skb:literal)?) => {
        #[aya_ebpf::macros::fexit]
        pub fn $name(ctx: aya_ebpf::programs::FExitContext) -> i32 {
            log_run!(&ctx, $name);
            let skb: *const u8 = core::ptr::null();
            $( let skb: *const u8 = { let _ = skb; ctx.arg($skb) }; )?
            if let Some(reader) = crate::read::Typed::new(ctx.arg(0), skb) {
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
                crate::emit::emit::<R, { Hook::$name.slots() }>(Hook::$name, reader, [0; 4]);
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
            crate::emit::emit::<R, { Hook::$name.slots() }>(Hook::$name, reader, [0; 4]);
        }
    };
}

mod __tcp_transmit_skb;
mod do_tcp_sendpages;
mod do_tcp_setsockopt;
mod jiffies;
mod security_socket_setsockopt;
mod sk_stream_wait_connect;
mod sk_stream_wait_memory;
mod tcp_done;
mod tcp_event_new_data_sent;
mod tcp_fin;
mod tcp_pace_kick;
mod tcp_push;
mod tcp_rcv_established;
mod tcp_rcv_state_process;
mod tcp_send_fin;
mod tcp_sendmsg_locked;
mod tcp_tsq_handler;
mod tcp_tsq_write;
mod tcp_v4_destroy_sock;
mod tcp_write_timer_handler;
mod tcp_write_xmit;

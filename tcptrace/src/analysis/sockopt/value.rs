//! What an option is set to, as the socket's own fields tell it.

use tcptrace_common::{
    field::Field,
    sockopt::{
        SO_BUSY_POLL, SO_DEBUG, SO_KEEPALIVE, SO_LINGER, SO_MAX_PACING_RATE, SO_RCVBUF,
        SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE, SOL_SOCKET,
    },
    tcp::{
        SOCK_DBG, SOCK_KEEPOPEN, SOCK_LINGER, SOL_TCP, TCP_CONGESTION, TCP_CORK, TCP_DEFER_ACCEPT,
        TCP_DELACK_MAX_US, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE, TCP_KEEPCNT,
        TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_LINGER2, TCP_MAXSEG, TCP_NAGLE_CORK, TCP_NAGLE_OFF,
        TCP_NODELAY, TCP_NOTSENT_LOWAT, TCP_QUICKACK, TCP_REPAIR, TCP_RTO_MAX_MS, TCP_RTO_MIN_US,
        TCP_SYNCNT, TCP_TX_DELAY, TCP_USER_TIMEOUT, TCP_WINDOW_CLAMP,
    },
};

use crate::event::Event;

/// What an option is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing was set: a sysctl, or the kernel, decides.
    Default,
    /// There is no limit.
    Unlimited,
    /// A number, in the unit that the kernel keeps it in: bytes, retransmissions, milliseconds; 0 and 1 of a switch.
    Number(i64),
    /// Ticks (jiffies).
    Ticks(u32),
    /// A name.
    Name(String),
    /// `SO_LINGER`: whether it is on, and ticks (jiffies).
    Linger {
        /// It is on.
        on: bool,
        /// For how long, ticks.
        ticks: u32,
    },
}

/// The value of an option in a record that carries the options' fields; `None` when no field tells it, or it was not read.
pub fn value(e: &Event, level: u32, optname: u32) -> Option<Value> {
    match level {
        SOL_TCP => of_tcp(e, optname),
        SOL_SOCKET => of_socket(e, optname),
        _ => None,
    }
}

fn of_tcp(e: &Event, optname: u32) -> Option<Value> {
    let switch = |field, bit: u32| e.u32(field).map(|bits| number(u32::from(bits & bit != 0)));
    let plain = |field| e.u32(field).map(number);
    let or_default = |field| e.u32(field).map(|v| if v == 0 { Value::Default } else { number(v) });
    let ticks = |field| e.u32(field).map(Value::Ticks);
    let ticks_or_default =
        |field| e.u32(field).map(|v| if v == 0 { Value::Default } else { Value::Ticks(v) });
    match optname {
        TCP_NODELAY => switch(Field::nonagle, TCP_NAGLE_OFF),
        TCP_CORK => switch(Field::nonagle, TCP_NAGLE_CORK),
        TCP_MAXSEG => or_default(Field::user_mss),
        TCP_KEEPIDLE => ticks_or_default(Field::keepalive_time),
        TCP_KEEPINTVL => ticks_or_default(Field::keepalive_intvl),
        TCP_KEEPCNT => or_default(Field::keepalive_probes),
        TCP_SYNCNT => or_default(Field::icsk_syn_retries),
        TCP_LINGER2 => e.u32(Field::linger2).map(|v| match v.cast_signed() {
            0 => Value::Default,
            ..0 => Value::Number(-1),
            _ => Value::Ticks(v),
        }),
        TCP_DEFER_ACCEPT => plain(Field::rskq_defer_accept),
        TCP_WINDOW_CLAMP => plain(Field::window_clamp),
        // Interactive mode is what the option leaves.
        TCP_QUICKACK => {
            e.u32(Field::icsk_ack_pingpong).map(|v| number(u32::from(v.to_le_bytes()[0] == 0)))
        }
        TCP_CONGESTION => e.wide(Field::icsk_ca_name).map(name),
        TCP_USER_TIMEOUT => plain(Field::icsk_user_timeout),
        TCP_REPAIR => plain(Field::repair),
        TCP_FASTOPEN => plain(Field::fastopenq_max_qlen),
        TCP_NOTSENT_LOWAT => e.u32(Field::notsent_lowat).map(|v| match v {
            0 => Value::Default,
            u32::MAX => Value::Unlimited,
            _ => number(v),
        }),
        TCP_FASTOPEN_CONNECT => plain(Field::fastopen_connect),
        TCP_FASTOPEN_NO_COOKIE => plain(Field::fastopen_no_cookie),
        TCP_TX_DELAY => plain(Field::tcp_tx_delay),
        TCP_RTO_MAX_MS => ticks(Field::icsk_rto_max),
        TCP_RTO_MIN_US => ticks(Field::icsk_rto_min),
        TCP_DELACK_MAX_US => ticks(Field::icsk_delack_max),
        _ => None,
    }
}

fn of_socket(e: &Event, optname: u32) -> Option<Value> {
    let flag = |bit| e.field(Field::skc_flags).map(|v| number(u32::from(v & bit != 0)));
    match optname {
        SO_DEBUG => flag(SOCK_DBG),
        SO_KEEPALIVE => flag(SOCK_KEEPOPEN),
        SO_SNDBUF | SO_SNDBUFFORCE => e.u32(Field::sk_sndbuf).map(number),
        SO_RCVBUF | SO_RCVBUFFORCE => e.u32(Field::sk_rcvbuf).map(number),
        SO_LINGER => {
            let on = e.field(Field::skc_flags)? & SOCK_LINGER != 0;
            let ticks = u32::try_from(e.field(Field::sk_lingertime)?).unwrap_or(u32::MAX);
            Some(Value::Linger { on, ticks: if on { ticks } else { 0 } })
        }
        SO_BUSY_POLL => e.u32(Field::sk_ll_usec).map(number),
        SO_MAX_PACING_RATE => e.field(Field::sk_max_pacing_rate).map(|v| match v {
            u64::MAX => Value::Unlimited,
            v => Value::Number(i64::try_from(v).unwrap_or(i64::MAX)),
        }),
        _ => None,
    }
}

fn number(v: u32) -> Value {
    Value::Number(v.into())
}

/// A name as it lies in the kernel's memory.
pub(super) fn name(bytes: [u8; 16]) -> Value {
    let bytes: Vec<u8> = bytes.into_iter().take_while(|byte| *byte != 0).collect();
    Value::Name(String::from_utf8_lossy(&bytes).into_owned())
}

//! Values in the option's own units: as a person reads them, and as numbers.

use tcptrace_common::{
    sockopt::{
        SO_BUSY_POLL, SO_DEBUG, SO_KEEPALIVE, SO_LINGER, SO_MAX_PACING_RATE, SO_RCVBUF,
        SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE, SOL_SOCKET, name,
    },
    tcp::{
        SOL_TCP, TCP_CORK, TCP_DEFER_ACCEPT, TCP_DELACK_MAX_US, TCP_KEEPIDLE, TCP_KEEPINTVL,
        TCP_LINGER2, TCP_MAXSEG, TCP_NODELAY, TCP_NOTSENT_LOWAT, TCP_QUICKACK, TCP_RTO_MAX_MS,
        TCP_RTO_MIN_US, TCP_TX_DELAY, TCP_USER_TIMEOUT, TCP_WINDOW_CLAMP,
    },
};

use crate::{
    analysis::sockopt::Value,
    explain::{printable, units::bytes},
};

/// Longest time between two SYN-ACKs, seconds (`include/net/tcp.h`, `TCP_RTO_MAX`); the first is one second.
const RTO_MAX_S: i64 = 120;

/// Level and number of an option.
pub(super) type Key = (u32, u32);

/// `TCP_NODELAY`; the numbers where the tables have no name.
pub(super) fn option(key: Key) -> String {
    match (name(key.0, key.1), key.0) {
        (Some(name), _) => name.to_owned(),
        (None, SOL_TCP) => format!("TCP option {}", key.1),
        (None, level) => format!("option {} of level {level}", key.1),
    }
}

/// The unit of an option's numbers, as `--json` names it; nothing for a switch, a count or a name.
pub(super) const fn unit(key: Key) -> Option<&'static str> {
    match key {
        (SOL_TCP, TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_LINGER2 | TCP_DEFER_ACCEPT)
        | (SOL_SOCKET, SO_LINGER) => Some("s"),
        (SOL_TCP, TCP_USER_TIMEOUT | TCP_RTO_MAX_MS) => Some("ms"),
        (SOL_TCP, TCP_TX_DELAY | TCP_RTO_MIN_US | TCP_DELACK_MAX_US)
        | (SOL_SOCKET, SO_BUSY_POLL) => Some("us"),
        (SOL_TCP, TCP_MAXSEG | TCP_WINDOW_CLAMP | TCP_NOTSENT_LOWAT)
        | (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF | SO_SNDBUFFORCE | SO_RCVBUFFORCE) => Some("bytes"),
        (SOL_SOCKET, SO_MAX_PACING_RATE) => Some("bytes_per_s"),
        _ => None,
    }
}

/// Whether the option is on or off, and nothing else.
pub(super) const fn is_switch(key: Key) -> bool {
    matches!(
        key,
        (SOL_TCP, TCP_NODELAY | TCP_CORK | TCP_QUICKACK) | (SOL_SOCKET, SO_KEEPALIVE | SO_DEBUG)
    )
}

/// The value as a number of the option's unit; `None` of what is none, or where the traced kernel's HZ is not known.
pub(super) fn number(key: Key, value: &Value, hz: Option<u32>) -> Option<i64> {
    match value {
        Value::Number(retransmissions) if key == (SOL_TCP, TCP_DEFER_ACCEPT) => {
            Some(seconds_of(*retransmissions))
        }
        Value::Number(number) => Some(*number),
        Value::Ticks(ticks) | Value::Linger { on: true, ticks } => in_unit(key, *ticks, hz),
        Value::Default | Value::Unlimited | Value::Name(_) | Value::Linger { .. } => None,
    }
}

/// How long a listener waits for data with so many retransmissions, seconds (`retrans_to_secs()`).
fn seconds_of(retransmissions: i64) -> i64 {
    let mut period = 1;
    let mut sum = 0;
    for _ in 0..retransmissions.clamp(0, 255) {
        sum += period;
        period = (period * 2).min(RTO_MAX_S);
    }
    sum
}

fn in_unit(key: Key, ticks: u32, hz: Option<u32>) -> Option<i64> {
    let per_s: u64 = match unit(key) {
        Some("ms") => 1_000,
        Some("us") => 1_000_000,
        _ => 1,
    };
    let value = (u64::from(ticks) * per_s).checked_div(u64::from(hz?))?;
    i64::try_from(value).ok()
}

/// `3 s`, `20 bytes`, `the default`.
pub(super) fn shown(key: Key, value: &Value, hz: Option<u32>) -> String {
    match value {
        Value::Default => "the default".to_owned(),
        Value::Unlimited => "no limit".to_owned(),
        Value::Name(name) => printable(name),
        Value::Linger { on: false, .. } => "off".to_owned(),
        Value::Ticks(ticks) | Value::Linger { ticks, .. } => match number(key, value, hz) {
            Some(number) => with_unit(key, number),
            None => format!("{ticks} ticks"),
        },
        Value::Number(_) => with_unit(key, number(key, value, hz).unwrap_or(0)),
    }
}

/// A number of the option's unit, with that.
pub(super) fn with_unit(key: Key, number: i64) -> String {
    if number == 0 && key != (SOL_SOCKET, SO_LINGER) || number < 0 {
        return number.to_string();
    }
    let plain = number.unsigned_abs();
    match unit(key) {
        Some("bytes") => bytes(plain),
        Some("bytes_per_s") => format!("{}/s", bytes(plain)),
        Some("us") => format!("{plain} µs"),
        Some(unit) => format!("{plain} {unit}"),
        None => plain.to_string(),
    }
}

/// What was asked for, as the kernel takes it: of a switch, whether it is not 0.
pub(super) fn wanted(key: Key, asked: i64, more: Option<u32>) -> Option<i64> {
    match key {
        (SOL_TCP, TCP_QUICKACK) => Some(i64::from(asked & 1 == 1)),
        (SOL_SOCKET, SO_LINGER) => {
            if asked == 0 {
                None
            } else {
                Some(i64::from(more.unwrap_or(0)))
            }
        }
        key if is_switch(key) => Some(i64::from(asked != 0)),
        _ => Some(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deferral_is_told_in_seconds() {
        let key = (SOL_TCP, TCP_DEFER_ACCEPT);
        let seconds: Vec<_> =
            [0, 1, 2, 3, 7, 8].map(|n| number(key, &Value::Number(n), None)).into();
        assert_eq!(seconds, [0, 1, 3, 7, 127, 247].map(Some));
    }

    #[test]
    fn ticks_are_told_in_the_options_own_unit() {
        let of = |key, ticks| shown(key, &Value::Ticks(ticks), Some(250));
        assert_eq!(of((SOL_TCP, TCP_KEEPIDLE), 2500), "10 s");
        assert_eq!(of((SOL_TCP, TCP_RTO_MAX_MS), 500), "2000 ms");
        assert_eq!(of((SOL_TCP, TCP_RTO_MIN_US), 50), "200000 µs");
        assert_eq!(shown((SOL_TCP, TCP_KEEPIDLE), &Value::Ticks(7), None), "7 ticks");
    }
}

//! Whether a call changed anything, and why not: the rules of `do_tcp_setsockopt()` and of where its values are used.

use tcptrace_common::{
    sockopt::{
        IP_TOS, SO_BUSY_POLL, SO_DEBUG, SO_KEEPALIVE, SO_LINGER, SO_MAX_PACING_RATE, SO_RCVBUF,
        SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE, SO_TYPE, SOL_IP, SOL_SOCKET,
    },
    tcp::{
        EACCES, EFAULT, EINVAL, ENOENT, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPERM, SOL_TCP,
        TCP_CONGESTION, TCP_CORK, TCP_DEFER_ACCEPT, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT,
        TCP_FASTOPEN_NO_COOKIE, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_LINGER2, TCP_MAXSEG,
        TCP_NODELAY, TCP_NOTSENT_LOWAT, TCP_QUICKACK, TCP_SYNCNT, TCP_THIN_DUPACK, TCP_ULP,
        TCP_USER_TIMEOUT, TCP_WINDOW_CLAMP,
    },
};

use super::{Change, Effect, Phase, Reason, Value};

/// Longest `TCP_KEEPIDLE` and `TCP_KEEPINTVL`, seconds (`include/net/tcp.h`, `MAX_TCP_KEEPIDLE`).
const MAX_KEEPALIVE_S: i64 = 32_767;
/// Most probes and SYNs (`include/net/tcp.h`, `MAX_TCP_KEEPCNT`, `MAX_TCP_SYNCNT`).
const MAX_COUNT: i64 = 127;
/// Smallest `TCP_MAXSEG` (`include/net/tcp.h`, `TCP_MIN_MSS`).
const MIN_MSS: i64 = 88;
/// Largest (`include/net/tcp.h`, `MAX_TCP_WINDOW`).
const MAX_MSS: i64 = 32_767;

impl Change {
    /// Fills in what it comes to; `false` where it is not worth telling.
    pub(super) fn judge(&mut self) -> bool {
        let (effect, reason) = self.judged();
        (self.effect, self.reason) = (effect, reason);
        // The type of service is none of TCP's matters, but for the value that a switch would have.
        self.level != SOL_IP || reason == Some(Reason::WrongLevel)
    }

    fn judged(&self) -> (Effect, Option<Reason>) {
        let wrong_level = self.is_at_wrong_level().then_some(Reason::WrongLevel);
        if self.result < 0 {
            return (Effect::Refused, wrong_level.or_else(|| self.refusal()));
        }
        if wrong_level.is_some() {
            let effect =
                if self.level == SOL_SOCKET { Effect::NoEffect } else { Effect::TookEffect };
            return (effect, wrong_level);
        }
        let key = (self.level, self.optname);
        if key == (SOL_TCP, TCP_THIN_DUPACK) {
            return (Effect::NoEffect, Some(Reason::Ignored));
        }
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            return (Effect::Undetermined, None);
        };
        let Some(phase) = self.phase else { return (Effect::Undetermined, None) };
        if is_of_handshake(key) && matches!(phase, Phase::Connected | Phase::Closing) {
            return (Effect::NoEffect, Some(Reason::Connected));
        }
        if self.released_bytes.is_some_and(|bytes| bytes > 0) {
            return (Effect::TookEffect, None);
        }
        // An ACK that is owed leaves by it, whatever the value was.
        if key == (SOL_TCP, TCP_QUICKACK) && (old == new || phase == Phase::Listener) {
            return (Effect::Undetermined, None);
        }
        if old == new {
            return (Effect::NoEffect, Some(Reason::Unchanged));
        }
        if phase == Phase::Listener && is_inherited(key) {
            return (Effect::InheritedByChildren, None);
        }
        (Effect::TookEffect, None)
    }

    /// Options 1 and 3 of sockets have the numbers of two of TCP, and option 1 of IP is taken for a switch nowhere else.
    fn is_at_wrong_level(&self) -> bool {
        match (self.level, self.optname) {
            (SOL_SOCKET, SO_DEBUG | SO_TYPE) => true,
            (SOL_IP, IP_TOS) => self.asked == Some(Value::Number(1)),
            _ => false,
        }
    }

    /// Why the kernel's code refuses it.
    fn refusal(&self) -> Option<Reason> {
        let is_early = matches!(self.phase, Some(Phase::NotConnected | Phase::Listener));
        let key = (self.level, self.optname);
        Some(match self.result.unsigned_abs() {
            EFAULT => Reason::BadAddress,
            ENOPROTOOPT => Reason::NotKnown,
            EPERM | EACCES => Reason::NotPermitted,
            ENOENT if is_named(key) => Reason::NoSuchName,
            EOPNOTSUPP if key == (SOL_TCP, TCP_FASTOPEN_CONNECT) => Reason::SwitchedOff,
            ENOTCONN => Reason::NotConnected,
            EINVAL if self.is_out_of_range() => Reason::BadValue,
            EINVAL if key.0 == SOL_TCP => match key.1 {
                TCP_FASTOPEN | TCP_FASTOPEN_NO_COOKIE if !is_early => Reason::Connected,
                TCP_FASTOPEN_CONNECT if self.phase != Some(Phase::NotConnected) => {
                    Reason::Connected
                }
                TCP_WINDOW_CLAMP if self.phase != Some(Phase::NotConnected) => Reason::Connected,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn is_out_of_range(&self) -> bool {
        let Some(Value::Number(asked)) = self.asked else { return false };
        if self.level != SOL_TCP {
            return false;
        }
        match self.optname {
            TCP_MAXSEG => asked != 0 && !(MIN_MSS..=MAX_MSS).contains(&asked),
            TCP_KEEPIDLE | TCP_KEEPINTVL => !(1..=MAX_KEEPALIVE_S).contains(&asked),
            TCP_KEEPCNT | TCP_SYNCNT => !(1..=MAX_COUNT).contains(&asked),
            TCP_USER_TIMEOUT | TCP_FASTOPEN => asked < 0,
            TCP_FASTOPEN_CONNECT | TCP_FASTOPEN_NO_COOKIE => !(0..=1).contains(&asked),
            _ => false,
        }
    }
}

/// What is looked at only while a connection is made.
const fn is_of_handshake(key: (u32, u32)) -> bool {
    matches!(
        key,
        (
            SOL_TCP,
            TCP_DEFER_ACCEPT
                | TCP_SYNCNT
                | TCP_MAXSEG
                | TCP_FASTOPEN
                | TCP_FASTOPEN_CONNECT
                | TCP_FASTOPEN_NO_COOKIE
        )
    )
}

/// What an accepted socket has from its listener.
const fn is_inherited(key: (u32, u32)) -> bool {
    match key {
        (SOL_TCP, optname) => matches!(
            optname,
            TCP_NODELAY
                | TCP_CORK
                | TCP_MAXSEG
                | TCP_KEEPIDLE
                | TCP_KEEPINTVL
                | TCP_KEEPCNT
                | TCP_LINGER2
                | TCP_USER_TIMEOUT
                | TCP_NOTSENT_LOWAT
                | TCP_CONGESTION
        ),
        (SOL_SOCKET, optname) => matches!(
            optname,
            SO_KEEPALIVE
                | SO_LINGER
                | SO_SNDBUF
                | SO_RCVBUF
                | SO_SNDBUFFORCE
                | SO_RCVBUFFORCE
                | SO_MAX_PACING_RATE
                | SO_BUSY_POLL
        ),
        _ => false,
    }
}

/// Whether the value is a name.
pub(super) const fn is_named(key: (u32, u32)) -> bool {
    matches!(key, (SOL_TCP, TCP_CONGESTION | TCP_ULP))
}

//! One call told: what it made of the option, and why.

use tcptrace_common::{
    sockopt::{IP_TOS, SO_DEBUG, SO_TYPE, SOL_IP, SOL_SOCKET},
    tcp::{
        SOL_TCP, TCP_CORK, TCP_DEFER_ACCEPT, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT,
        TCP_FASTOPEN_NO_COOKIE, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_MAXSEG, TCP_NODELAY,
        TCP_QUICKACK, TCP_SYNCNT, TCP_USER_TIMEOUT, TCP_WINDOW_CLAMP,
    },
};

use super::{
    shown::{Key, number, option, shown, wanted, with_unit},
    words::{by, phase},
};
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        sockopt::{Change, Effect, Existing, Fact, Phase, Reason, Told, Value},
    },
    explain::{
        Context, Explanation, errno, printable, task,
        units::{bytes, counted},
    },
    finding::{Certainty, Evidence, Finding},
};

pub(in crate::explain) fn explain(
    finding: &Finding<Cause, AnyFact>,
    told: &Told,
    _evidence: &[Evidence<&Fact>],
    context: &Context<'_>,
) -> Explanation {
    let hz = context.facts.hz;
    let (aside, verdict) = match told {
        Told::Change(change) => {
            let may = if finding.certainty == Certainty::May {
                " Events were lost meanwhile."
            } else {
                ""
            };
            let aside = change.phase.and_then(phase).map(str::to_owned);
            (aside, format!("{}{may}", verdict(change, context)))
        }
        Told::Existing(existing) => {
            let was = existing.phase.and_then(phase).map(|was| format!("{was}, "));
            let aside = format!("{}read from the socket, not watched", was.unwrap_or_default());
            (Some(aside), values(existing, hz))
        }
    };
    Explanation {
        subject: told.task().map(|who| (who, task(who, context.comms))),
        aside,
        verdict,
        zero_ns: finding.from_ns,
        lines: Vec::new(),
        change: None,
        pattern: None,
    }
}

/// What one call made of its option, as a sentence.
pub(in crate::explain) fn verdict(change: &Change, context: &Context<'_>) -> String {
    let key = (change.level, change.optname);
    Story { it: change, key, hz: context.facts.hz }.verdict()
}

/// `TCP_CORK 1, TCP_NODELAY 0, TCP_CONGESTION cubic.`
fn values(existing: &Existing, hz: Option<u32>) -> String {
    let one = |(level, optname, value): &(u32, u32, Value)| {
        let key = (*level, *optname);
        format!("{} {}", option(key), shown(key, value, hz))
    };
    let all: Vec<String> = existing.values.iter().map(one).collect();
    if all.is_empty() {
        "no option could be read.".to_owned()
    } else {
        format!("{}.", all.join(", "))
    }
}

struct Story<'a> {
    it: &'a Change,
    key: Key,
    hz: Option<u32>,
}

impl Story<'_> {
    fn verdict(&self) -> String {
        let what = match self.it.effect {
            Effect::Refused => self.refused(),
            Effect::NoEffect => self.no_effect(),
            Effect::InheritedByChildren => {
                format!("{}: every socket accepted from now on inherits it", self.old_to_new())
            }
            Effect::TookEffect => self.took_effect(),
            Effect::Undetermined => self.undetermined(),
        };
        format!("{what}{}.{}", by(self.it.via), self.note())
    }

    fn value(&self, value: &Value) -> String {
        shown(self.key, value, self.hz)
    }

    /// `TCP_NODELAY 0 to 1`.
    fn old_to_new(&self) -> String {
        let name = option(self.key);
        match (&self.it.old, &self.it.new) {
            (Some(old), Some(new)) => {
                format!("{name} {} to {}{}", self.value(old), self.value(new), self.kept())
            }
            _ => name,
        }
    }

    /// What was asked for, as the option's unit has it.
    fn asked(&self) -> Option<String> {
        if self.it.reason == Some(Reason::BadAddress) {
            return None;
        }
        match self.it.asked.as_ref()? {
            Value::Number(asked) => Some(match wanted(self.key, *asked, self.it.asked_more) {
                Some(number) => with_unit(self.key, number),
                None => "off".to_owned(),
            }),
            Value::Name(name) => Some(printable(name)),
            _ => None,
        }
    }

    /// `; 5 s were asked for`, where the socket has something else afterwards.
    fn kept(&self) -> String {
        let retransmissions = match (&self.it.new, self.key) {
            (Some(Value::Number(n @ 1..)), (SOL_TCP, TCP_DEFER_ACCEPT)) => {
                format!(" ({})", counted(n.unsigned_abs(), "retransmission", "retransmissions"))
            }
            _ => String::new(),
        };
        match self.asked() {
            Some(asked) if self.differs() => format!("{retransmissions}, asked for {asked}"),
            _ => retransmissions,
        }
    }

    /// Whether the socket has something else afterwards than what was asked for.
    fn differs(&self) -> bool {
        let (Some(new), Some(asked)) = (&self.it.new, &self.it.asked) else { return false };
        match (new, asked) {
            (Value::Name(new), Value::Name(asked)) => new != asked,
            (Value::Default, Value::Number(asked)) => *asked != 0,
            (Value::Unlimited, _) => false,
            (Value::Linger { on, .. }, Value::Number(asked)) if !*on => *asked != 0,
            (new, Value::Number(asked)) => {
                let wanted = wanted(self.key, *asked, self.it.asked_more);
                let has = number(self.key, new, self.hz);
                has.is_some() && has != wanted
            }
            _ => false,
        }
    }

    fn took_effect(&self) -> String {
        if self.it.reason == Some(Reason::WrongLevel) {
            return self.wrong_level("");
        }
        let left = match self.it.released_bytes {
            Some(sent @ 1..) => format!(": {} left at once", bytes(sent.into())),
            _ => String::new(),
        };
        match (&self.it.old, &self.it.new) {
            (Some(old), Some(new)) if old == new => {
                format!("{} was {} already{left}", option(self.key), self.value(new))
            }
            _ => format!("{}{left}", self.old_to_new()),
        }
    }

    fn no_effect(&self) -> String {
        match self.it.reason {
            Some(Reason::Unchanged) => {
                let now = self.it.new.as_ref().map(|new| self.value(new)).unwrap_or_default();
                format!(
                    "{} {now}{}: it was that before, nothing changed",
                    option(self.key),
                    self.kept()
                )
            }
            Some(Reason::Connected) => format!(
                "{}: accepted without effect, {}",
                self.old_to_new(),
                if self.it.phase == Some(Phase::Closing) {
                    "this connection is being closed"
                } else {
                    "this socket is already connected"
                }
            ),
            Some(Reason::Ignored) => {
                format!("{}: accepted, and the kernel does nothing with it", option(self.key))
            }
            _ => self.wrong_level("no effect on when bytes leave: "),
        }
    }

    fn wrong_level(&self, what: &str) -> String {
        let (meant, number, level) = match self.key {
            (SOL_SOCKET, SO_DEBUG) => ("TCP_NODELAY", TCP_NODELAY, "SOL_SOCKET"),
            (SOL_SOCKET, SO_TYPE) => ("TCP_CORK", TCP_CORK, "SOL_SOCKET"),
            (SOL_IP, IP_TOS) => ("TCP_NODELAY", TCP_NODELAY, "IPPROTO_IP"),
            _ => return option(self.key),
        };
        let name = option(self.key);
        format!(
            "{name}: {what}option {number} is {meant} only at level IPPROTO_TCP, and at level {level} it is {name}"
        )
    }

    fn undetermined(&self) -> String {
        if self.key == (SOL_TCP, TCP_QUICKACK) {
            let asked = self.asked().map(|asked| format!(" {asked}")).unwrap_or_default();
            return format!(
                "{}{asked}: an ACK that was owed has left by it, whether one was is not determined",
                option(self.key)
            );
        }
        let asked = self.asked().map(|asked| format!(" to {asked}")).unwrap_or_default();
        format!("{}{asked}: accepted, its value was not read", option(self.key))
    }

    fn refused(&self) -> String {
        let error = errno(self.it.result.unsigned_abs());
        let asked = self.asked().map(|asked| format!(" to {asked}")).unwrap_or_default();
        let why = match self.it.reason {
            Some(Reason::WrongLevel) => {
                return self.wrong_level(&format!("refused ({error}); "));
            }
            Some(Reason::BadValue) => match self.range() {
                Some(range) => format!(": the kernel takes {range}"),
                None => ": out of range".to_owned(),
            },
            Some(Reason::Connected) => match self.key {
                (SOL_TCP, TCP_WINDOW_CLAMP) => {
                    ": 0 is taken only before the socket is connected or listens".to_owned()
                }
                (SOL_TCP, TCP_FASTOPEN_CONNECT) => {
                    ": it is taken only before the socket is connected or listens".to_owned()
                }
                _ => ": it is taken only before the socket is connected".to_owned(),
            },
            Some(Reason::NotKnown) => ": this kernel has no such option to set".to_owned(),
            Some(Reason::NoSuchName) => ": this kernel has none of that name".to_owned(),
            Some(Reason::NotPermitted) => {
                ": the task lacks a capability, or a policy forbids it".to_owned()
            }
            Some(Reason::SwitchedOff) => {
                ": Fast Open is off for clients in this network namespace (net.ipv4.tcp_fastopen)"
                    .to_owned()
            }
            Some(Reason::NotConnected) => ": it needs a connection".to_owned(),
            Some(Reason::BadAddress) => {
                ": the value's address is not in the program's memory".to_owned()
            }
            _ => String::new(),
        };
        format!("{}{asked}: refused ({error}){why}", option(self.key))
    }

    /// What `do_tcp_setsockopt()` takes.
    const fn range(&self) -> Option<&'static str> {
        match self.key {
            (SOL_TCP, TCP_MAXSEG) => Some("88 to 32767 bytes, or 0"),
            (SOL_TCP, TCP_KEEPIDLE | TCP_KEEPINTVL) => Some("1 to 32767 s"),
            (SOL_TCP, TCP_KEEPCNT | TCP_SYNCNT) => Some("1 to 127"),
            (SOL_TCP, TCP_USER_TIMEOUT | TCP_FASTOPEN) => Some("no number below 0"),
            (SOL_TCP, TCP_FASTOPEN_CONNECT | TCP_FASTOPEN_NO_COOKIE) => Some("0 and 1"),
            _ => None,
        }
    }

    /// What else decides whether it matters.
    fn note(&self) -> &'static str {
        let is_set = matches!(
            self.it.effect,
            Effect::TookEffect | Effect::NoEffect | Effect::InheritedByChildren
        ) && self.it.reason != Some(Reason::WrongLevel);
        let is_on = self.it.new == Some(Value::Number(1));
        match self.key {
            (SOL_TCP, TCP_NODELAY) if is_set && is_on && self.it.corked == Some(true) => {
                " TCP_CORK stays on, so later small writes are held again."
            }
            (SOL_TCP, TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT)
                if is_set && self.it.keepalive == Some(false) =>
            {
                " It counts once SO_KEEPALIVE is on, which it is not."
            }
            _ => "",
        }
    }
}

//! One attempt told: its verdict, its lines, what to change.

use tcptrace_common::tcp::{
    TFO_CLIENT_ENABLE, TFO_CLIENT_NO_COOKIE, TFO_SERVER_COOKIE_NOT_REQD, TFO_SERVER_ENABLE,
    TFO_SERVER_WO_SOCKOPT1,
};

use super::{
    fields::{lasts_ns, left_ns},
    line::line,
    words::why,
};
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        fastopen::{Asked, Attempt, Fact, Outcome, Reason, Side, SynOption},
    },
    explain::{
        Context, Explanation, errno, task,
        units::{bytes, counted, duration},
    },
    finding::{Certainty, Evidence, Finding},
};

pub(in crate::explain) fn explain(
    finding: &Finding<Cause, AnyFact>,
    attempt: &Attempt,
    evidence: &[Evidence<&Fact>],
    context: &Context<'_>,
) -> Explanation {
    let story = Story {
        it: attempt,
        context,
        may: finding.certainty == Certainty::May,
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
    };
    Explanation {
        subject: attempt.task.map(|who| (who, task(who, context.comms))),
        aside: Some(match attempt.side {
            Side::Client => "Fast Open, client".to_owned(),
            Side::Server => "Fast Open, server".to_owned(),
        }),
        verdict: story.verdict(),
        zero_ns: finding.from_ns,
        lines: evidence.iter().map(|each| line(each, context)).collect(),
        change: story.change(),
        pattern: None,
    }
}

struct Story<'a> {
    it: &'a Attempt,
    context: &'a Context<'a>,
    may: bool,
    lasted_ns: u64,
}

impl Story<'_> {
    fn verdict(&self) -> String {
        let what = match (self.it.outcome, self.it.side) {
            (Outcome::Blackhole, _) => self.blackhole(),
            (_, Side::Client) => self.client(),
            (_, Side::Server) => self.server(),
        };
        let may = if self.may { "; events may be missing" } else { "" };
        format!("{what}{}{may}.", self.other())
    }

    fn client(&self) -> String {
        match self.it.outcome {
            Outcome::Worked => self.worked(),
            Outcome::Partial => self.partial(),
            Outcome::CookieGranted => {
                format!(
                    "{}, but no cookie of this address was known; the server gave one for the next connection",
                    self.asked()
                )
            }
            Outcome::CookieRequested => {
                format!(
                    "{}, but no cookie of this address was known, and the server gave none{}",
                    self.asked(),
                    self.by_254()
                )
            }
            Outcome::NotTried => self.not_tried(),
            Outcome::Refused => self.refused(),
            Outcome::Lost => self.lost(),
            Outcome::DeferredUnsent => format!(
                "no SYN was ever sent: connect() returned at once for the first write to send it (TCP_FASTOPEN_CONNECT), and \
                 nothing was written in {}",
                duration(self.lasted_ns)
            ),
            Outcome::UnderWay if self.it.option.is_none() => format!(
                "no SYN was sent for {} and counting: connect() returned at once for the first write to send it",
                duration(self.lasted_ns)
            ),
            Outcome::UnderWay => {
                format!("the SYN was not answered for {} and counting", duration(self.lasted_ns))
            }
            _ => "what became of Fast Open is not determined".to_owned(),
        }
    }

    /// `no data in the SYN: asked for (MSG_FASTOPEN)`.
    fn asked(&self) -> String {
        format!("no data in the SYN: asked for{}", self.how())
    }

    fn how(&self) -> &'static str {
        match self.it.asked {
            Some(Asked::MsgFastopen) => " (MSG_FASTOPEN)",
            Some(Asked::FastopenConnect) => " (TCP_FASTOPEN_CONNECT)",
            None => "",
        }
    }

    fn by_254(&self) -> &'static str {
        if self.it.experimental { ", asked by the experimental option 254" } else { "" }
    }

    /// `78 B`, or `1,200 of 4,000 B`.
    fn data(&self) -> String {
        let data = self.it.syn_data_bytes.unwrap_or(0);
        match self.it.given_bytes.filter(|given| *given != data) {
            Some(given) => format!("{} of {}", bytes(data.into()), bytes(given.into())),
            None => bytes(data.into()),
        }
    }

    fn worked(&self) -> String {
        let Some(data) = self.it.syn_data_bytes else {
            return "data went in the SYN, how much was not seen, and all of it was taken"
                .to_owned();
        };
        let deferred = self.it.deferred_ns.map_or_else(String::new, |ns| {
            format!("; connect() put the SYN off to the first write, {} later", duration(ns))
        });
        let saved =
            self.it.saved_ns().map_or_else(String::new, |ns| format!(": {} saved", duration(ns)));
        let without = match self.it.reason {
            Some(Reason::Cookieless) => " without a cookie",
            _ => "",
        };
        let rest = match self.it.given_bytes.and_then(|given| given.checked_sub(data)) {
            Some(rest) if rest > 0 => {
                format!("; the other {} found no room in it", bytes(rest.into()))
            }
            _ => String::new(),
        };
        format!("{} went in the SYN{without} and were taken{saved}{rest}{deferred}", self.data())
    }

    fn partial(&self) -> String {
        let acked = bytes(self.it.acked_bytes.unwrap_or(0).into());
        let sent = bytes(self.it.syn_data_bytes.unwrap_or(0).into());
        format!(
            "{sent} went in the SYN and only {acked} were acknowledged: the rest was sent again"
        )
    }

    fn not_tried(&self) -> String {
        let what = match self.it.reason {
            Some(Reason::ClientBitOff) => {
                let refused = match self.it.asked {
                    Some(Asked::FastopenConnect) => "the option was refused (EOPNOTSUPP)",
                    _ => "the write was refused (EOPNOTSUPP) and no SYN left",
                };
                return format!(
                    "no Fast Open: {refused}, because it is off for clients in this network namespace ({})",
                    self.setting()
                );
            }
            Some(Reason::Family) => {
                "the write was refused (EOPNOTSUPP): the family of its address is AF_UNSPEC"
            }
            Some(Reason::InProgress) => {
                "the write was refused (EALREADY): a connection was already being opened"
            }
            Some(Reason::NoAddress) => "the write was refused (EINVAL): it has no address",
            Some(Reason::Connected) => "the write was refused (EISCONN): the socket is connected",
            Some(Reason::Paused) => return self.paused(),
            Some(Reason::OptionSpace) => return self.option_space(),
            Some(Reason::NoData) => "the SYN carried a cookie and no data: the write was empty",
            Some(Reason::CopyFault) => {
                "no data in the SYN although a cookie was known: the data could not be copied from the program, or there was \
                 no memory, so that the SYN asked for a cookie instead"
            }
            Some(Reason::TransmitFailed) => {
                "no data in the SYN that arrived: the layers below did not take the SYN with data, and a plain one was sent"
            }
            _ => "no data in the SYN, and why is not determined",
        };
        what.to_owned()
    }

    fn option_space(&self) -> String {
        match self.it.syn_data_bytes {
            Some(0) | None => {
                "no data in the SYN: no cookie was known, and its other options left no room to ask for one".to_owned()
            }
            Some(data) => format!(
                "{} went in the SYN without the cookie, for which its other options left no room, and were not acknowledged",
                bytes(data.into())
            ),
        }
    }

    fn paused(&self) -> String {
        let Some(pause) = self.it.pause else {
            return "no data in the SYN: Fast Open is paused in this network namespace".to_owned();
        };
        let left = left_ns(pause, self.context.facts.hz)
            .map_or_else(String::new, |ns| format!(", {} left", duration(ns)));
        format!(
            "no data in the SYN: Fast Open is paused for every destination of this network namespace ({} pause of {}{left}), \
             after a connection that used it failed",
            nth(pause.times),
            duration(lasts_ns(pause))
        )
    }

    fn refused(&self) -> String {
        let data = bytes(self.it.syn_data_bytes.unwrap_or(0).into());
        let later = self
            .it
            .round_trip_ns
            .map_or_else(String::new, |ns| format!(", a round trip ({}) later", duration(ns)));
        match self.it.reason {
            Some(Reason::Reset) => {
                format!("the SYN with {} was answered by a reset (ECONNREFUSED)", self.carried())
            }
            Some(Reason::StaleCookie) => format!(
                "{data} went in the SYN and were not taken: the cookie was not valid there, and the server gave another; they were \
                 sent again{later}"
            ),
            _ if self.it.other.is_some() => {
                format!("{data} went in the SYN, were not taken and were sent again{later}")
            }
            _ => format!(
                "{data} went in the SYN, were not taken and were sent again{later}; no cookie came back: the server's setting, its \
                 listener, its queue or the path, and only the server's host tells which"
            ),
        }
    }

    /// What the SYN carried.
    fn carried(&self) -> String {
        let option = match self.it.option {
            Some(SynOption::Cookie) => "a cookie and ",
            Some(SynOption::Request) => "a cookie request and ",
            _ => "",
        };
        format!("{option}{}", bytes(self.it.syn_data_bytes.unwrap_or(0).into()))
    }

    fn lost(&self) -> String {
        let again = counted(self.it.resent.into(), "time", "times");
        match self.it.reason {
            Some(Reason::SynTurnedAway) => format!(
                "the SYN with {} was turned away on the path, as by an ICMP error (fragmentation needed): it was sent again \
                 without data ({again}) before its timer can have run, and that one was answered, {} after the first",
                self.carried(),
                duration(self.it.round_trip_ns.unwrap_or(0))
            ),
            Some(Reason::SynLost) => format!(
                "the SYN with {} was lost, or its answer was; it was sent again without data ({again}) and that one was answered, \
                 {} after the first",
                self.carried(),
                duration(self.it.round_trip_ns.unwrap_or(0))
            ),
            Some(Reason::NoCookie) => format!(
                "the SYN that asked for a cookie was lost, or its answer was; it was sent again without the option ({again}), so \
                 that no cookie came"
            ),
            Some(Reason::NoAnswer) => format!(
                "the SYN with {} was never answered: given up after {} (ETIMEDOUT)",
                self.carried(),
                duration(self.lasted_ns)
            ),
            Some(Reason::Closed) => format!(
                "the SYN with {} was not answered before the program closed, {} later",
                self.carried(),
                duration(self.lasted_ns)
            ),
            _ => format!(
                "the SYN with {} was not answered: {}",
                self.carried(),
                self.it.error.map_or_else(|| "not determined".to_owned(), errno)
            ),
        }
    }

    fn server(&self) -> String {
        match self.it.outcome {
            Outcome::Worked => self.taken(),
            Outcome::CookieGranted => "asked for a cookie and got one".to_owned(),
            Outcome::NotUsable => self.not_usable(),
            Outcome::NotTried => {
                "this connection was made from a SYN cookie: the kernel does not look at Fast Open in such a SYN, whatever the \
                 client asked for"
                    .to_owned()
            }
            _ => self.turned_away(),
        }
    }

    fn not_usable(&self) -> String {
        let queue =
            self.it.queue.map_or_else(String::new, |queue| format!(" (queue {})", queue.max_qlen));
        format!(
            "the listener asks for Fast Open{queue}, and no client can use it: it is off for servers in this network namespace \
             ({})",
            self.setting()
        )
    }

    fn taken(&self) -> String {
        let data = self.it.syn_data_bytes.unwrap_or(0);
        let data = if data == 0 { "no data".to_owned() } else { bytes(data.into()) };
        let accepted = self.it.accepted_ns.map_or_else(String::new, |ns| {
            format!("; accept() had it {} after the SYN", duration(ns))
        });
        let reason = match (self.it.reason, self.it.option) {
            (Some(Reason::OldKey), _) => {
                "; the cookie was made with the backup key, and a fresh one was given"
            }
            (Some(Reason::Cookieless), Some(SynOption::Request)) => {
                "; no cookie is needed here, so that none was given: the client, which asked for one, takes that for a refusal"
            }
            (Some(Reason::Cookieless), _) => "; no cookie is needed here",
            (Some(Reason::ChildReset), _) => "; a reset came before the handshake was complete",
            (Some(Reason::ChildTimedOut), _) => {
                "; the client never completed the handshake, and the kernel gave it up"
            }
            _ => "",
        };
        format!(
            "accepted at the SYN, with {data}, before the handshake was complete{accepted}{reason}"
        )
    }

    fn turned_away(&self) -> String {
        let came = match (self.it.option, self.it.syn_data_bytes.unwrap_or(0)) {
            (Some(SynOption::Request), 0) => "asked for a cookie and got none".to_owned(),
            (Some(SynOption::Request), data) => {
                format!(
                    "asked for a cookie, got none, and sent {} that were not taken",
                    bytes(data.into())
                )
            }
            (Some(SynOption::Cookie), data) => {
                format!("{} with a cookie were not taken from the SYN", bytes(data.into()))
            }
            (_, data) => format!("{} were not taken from the SYN", bytes(data.into())),
        };
        let queue = self.it.queue;
        let why = match self.it.reason {
            Some(Reason::ServerBitOff) => format!(
                "Fast Open is off for servers in this network namespace ({})",
                self.setting()
            ),
            Some(Reason::NotEnabled) => "the listener has not set TCP_FASTOPEN, or to 0".to_owned(),
            Some(Reason::QueueFull) => {
                let numbers = queue.map_or_else(String::new, |queue| {
                    let resets = if queue.resets { ", some held by connections that were reset, for a minute each" } else { "" };
                    format!(" ({} of {}{resets})", queue.qlen, queue.max_qlen)
                });
                format!("the queue of connections whose handshake is not complete is full{numbers}")
            }
            Some(Reason::NoOption) => "they came without a cookie, or with a malformed option".to_owned(),
            Some(Reason::NoKey) => "this network namespace has no key to make cookies with".to_owned(),
            Some(Reason::ChildFailed) => {
                "the socket could not be made: no memory, or the accept queue is full".to_owned()
            }
            Some(Reason::BadCookie) => {
                "the cookie is none of this server for this client (another key, another server, another address); a fresh one \
                 was given"
                    .to_owned()
            }
            other => other.map_or("not determined", why).to_owned(),
        };
        format!("{came}: {why}")
    }

    fn blackhole(&self) -> String {
        let happened = match self.it.reason {
            Some(Reason::OutOfOrder) => {
                "a reset or a FIN came out of order on this connection, which used Fast Open"
            }
            _ => {
                "three timeouts in a row, or the last one before the end, on this connection, which used Fast Open"
            }
        };
        match self.it.blackhole.and_then(|hole| hole.pause) {
            Some(pause) => format!(
                "{happened}: the kernel pauses Fast Open for every destination of this network namespace, for {} ({} time in a \
                 row)",
                duration(lasts_ns(pause)),
                nth(pause.times)
            ),
            None => format!(
                "{happened}: counted as a failure, and nothing is paused (net.ipv4.tcp_fastopen_blackhole_timeout_sec is 0)"
            ),
        }
    }

    /// `net.ipv4.tcp_fastopen=0x1: clients`.
    fn setting(&self) -> String {
        let Some(setting) = self.it.setting else { return "net.ipv4.tcp_fastopen".to_owned() };
        let named = [
            (TFO_CLIENT_ENABLE, "clients"),
            (TFO_SERVER_ENABLE, "servers"),
            (TFO_CLIENT_NO_COOKIE, "clients without cookie"),
            (TFO_SERVER_COOKIE_NOT_REQD, "servers without cookie"),
            (TFO_SERVER_WO_SOCKOPT1, "every listener"),
        ];
        let set: Vec<&str> =
            named.iter().filter(|(bit, _)| setting & bit != 0).map(|(_, name)| *name).collect();
        let set = if set.is_empty() { "nobody".to_owned() } else { set.join(", ") };
        format!("net.ipv4.tcp_fastopen={setting:#x}: {set}")
    }

    /// What the other end says, where that was watched too.
    fn other(&self) -> String {
        let Some(other) = self.it.other else { return String::new() };
        let who = other
            .task
            .map_or_else(String::new, |who| format!(" ({})", task(who, self.context.comms)));
        if self.it.side == Side::Server {
            return format!("; the client is on this host{who}");
        }
        let said = match (other.outcome, other.reason) {
            (_, Some(Reason::ServerBitOff)) => {
                format!(
                    "Fast Open is off for servers there (net.ipv4.tcp_fastopen={:#x})",
                    other.setting.unwrap_or(0)
                )
            }
            (Outcome::Worked, None) => "it took the data at the SYN".to_owned(),
            (_, Some(reason)) => why(reason).to_owned(),
            (Outcome::CookieGranted, None) => "it gave a cookie".to_owned(),
            (_, None) => return String::new(),
        };
        format!("; the other end is on this host{who}: {said}")
    }

    fn change(&self) -> Option<String> {
        let setting = self.it.setting.unwrap_or(0);
        let server = self.it.other.filter(|other| other.reason == Some(Reason::ServerBitOff));
        match (self.it.reason?, server) {
            (Reason::ServerBitOff, _) => Some(format!(
                "sysctl -w net.ipv4.tcp_fastopen={:#x} in that network namespace (bit 0x2 is for servers).",
                setting | TFO_SERVER_ENABLE
            )),
            (_, Some(server)) => Some(format!(
                "sysctl -w net.ipv4.tcp_fastopen={:#x} in the server's network namespace (bit 0x2 is for servers).",
                server.setting.unwrap_or(0) | TFO_SERVER_ENABLE
            )),
            (Reason::ClientBitOff, _) => Some(format!(
                "sysctl -w net.ipv4.tcp_fastopen={:#x} in that network namespace (bit 0x1 is for clients).",
                setting | TFO_CLIENT_ENABLE
            )),
            (Reason::NotEnabled, _) => {
                Some("set TCP_FASTOPEN on the listener (nginx: listen ... fastopen=N).".to_owned())
            }
            (Reason::SynCookie, _) => Some(
                "a larger backlog in listen() (and net.ipv4.tcp_max_syn_backlog, net.core.somaxconn), or \
                 net.ipv4.tcp_syncookies=1 where it is 2."
                    .to_owned(),
            ),
            (Reason::QueueFull, _) => Some("set a larger TCP_FASTOPEN on the listener.".to_owned()),
            (Reason::NeverWritten, _) => Some(
                "do not set TCP_FASTOPEN_CONNECT where the server speaks first: without a write no SYN leaves.".to_owned(),
            ),
            _ => None,
        }
    }
}

/// `2nd`.
fn nth(n: u32) -> String {
    let end = match (n % 10, n % 100) {
        (1, not) if not != 11 => "st",
        (2, not) if not != 12 => "nd",
        (3, not) if not != 13 => "rd",
        _ => "th",
    };
    format!("{n}{end}")
}

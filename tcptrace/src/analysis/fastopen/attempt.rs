//! What one attempt at Fast Open is: the data of a finding, and the lines of its evidence.

use schemars::JsonSchema;
use serde::Serialize;

#[cfg(feature = "mutate")]
use crate::analysis::nagle::Mutation;
use crate::{event::Seq, finding::Task};

/// Most lines of evidence of one attempt; what comes then is left out.
pub const MAX_LINES: usize = 32;

/// Which end of the connection is spoken of. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The end that sends the SYN.
    Client,
    /// The end that it comes to.
    Server,
}

/// What became of it. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All data in the SYN was taken; on a server, the connection was accepted at the SYN.
    Worked,
    /// The server has acknowledged a part of the SYN's data.
    Partial,
    /// A cookie was asked for, and none was given.
    CookieRequested,
    /// A cookie was asked for and given: it serves the next connection.
    CookieGranted,
    /// The program asked for Fast Open, and no SYN with data and cookie left.
    NotTried,
    /// Data was sent and not taken, or the SYN was answered by a reset.
    Refused,
    /// No answer came, or none before the SYN was sent again without data.
    Lost,
    /// `connect()` returned at once, nothing was written, and no SYN ever left.
    DeferredUnsent,
    /// A listener asks for Fast Open in a network namespace that does not allow it.
    NotUsable,
    /// What happened on this connection speaks against Fast Open on the path: the kernel counts it, and pauses Fast Open where
    /// it is told to.
    Blackhole,
    /// It was not over at the end of the run.
    UnderWay,
    /// The evidence does not tell.
    Undetermined,
}

/// Why. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Client: bit 0x1 of `net.ipv4.tcp_fastopen` is off in its network namespace.
    ClientBitOff,
    /// Client: the address that the write was given is of the family `AF_UNSPEC`.
    Family,
    /// Client: another connection was being opened on this socket.
    InProgress,
    /// Client: the write was given no address.
    NoAddress,
    /// Client: the socket was connected.
    Connected,
    /// Client: Fast Open was paused for the whole network namespace.
    Paused,
    /// Client: no cookie of the server's address was known.
    NoCookie,
    /// Client: the SYN had no room for the cookie beside its other options.
    OptionSpace,
    /// The write was empty: a SYN with a cookie and no data.
    NoData,
    /// Client: the data could not be copied from the program, or there was no memory.
    CopyFault,
    /// Client: the layers below did not take the SYN with data.
    TransmitFailed,
    /// Client: the SYN was answered by a reset (or ICMP said that the port is closed).
    Reset,
    /// Client: the SYN with data was lost, and the one without was answered.
    SynLost,
    /// Client: the SYN with data was sent again without data before its timer can have run, and that one was answered: an ICMP
    /// error said that it is too big (`tcp_v4_mtu_reduced()`, `tcp_simple_retransmit()`; 5.10 waits for the timer).
    SynTurnedAway,
    /// Client: the server did not take the cookie and gave another.
    StaleCookie,
    /// Client: the server acknowledged no data and gave no cookie: its setting, its listener, or something between.
    DataNotAcked,
    /// Client: the server acknowledged a part of the data.
    PartlyAcked,
    /// Client: nothing answered the SYN.
    NoAnswer,
    /// Client: an error from the network ended the attempt.
    Unreachable,
    /// Client: the program closed before the SYN was answered.
    Closed,
    /// Client: nothing was written before the socket was closed.
    NeverWritten,
    /// Server: bit 0x2 of `net.ipv4.tcp_fastopen` is off in its network namespace.
    ServerBitOff,
    /// Server: the listener has no `TCP_FASTOPEN`, or 0.
    NotEnabled,
    /// Server: as many connections as `TCP_FASTOPEN` allows wait for the end of their handshake.
    QueueFull,
    /// Server: data came without a cookie, which is needed.
    NoOption,
    /// Server: its network namespace has no key to make cookies with.
    NoKey,
    /// Server: the cookie was good, and the socket could not be made.
    ChildFailed,
    /// Server: the cookie that came is none of this server for this client.
    BadCookie,
    /// Server: the cookie was made with the backup key, and a fresh one was given.
    OldKey,
    /// Server: the SYN was answered by a SYN cookie, and then nobody looks at what it carries.
    SynCookie,
    /// No cookie was needed.
    Cookieless,
    /// Server: a reset came before the handshake was complete.
    ChildReset,
    /// Server: the client never completed the handshake.
    ChildTimedOut,
    /// Three timeouts in a row.
    Timeouts,
    /// A reset or a FIN came out of order.
    OutOfOrder,
    /// The evidence does not tell.
    Undetermined,
}

/// How the program asked. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// A write with `MSG_FASTOPEN` and an address.
    MsgFastopen,
    /// The option `TCP_FASTOPEN_CONNECT`.
    FastopenConnect,
}

/// The option of Fast Open in a SYN. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SynOption {
    /// None.
    None,
    /// It asks for a cookie.
    Request,
    /// It carries one.
    Cookie,
}

/// What the kernel found when it looked for a cookie. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Looked {
    /// A cookie of this address.
    Cookie,
    /// None.
    None,
    /// None is needed.
    NotNeeded,
    /// Fast Open is paused.
    Paused,
}

/// A pause of Fast Open for all clients of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Which in a row, from 1.
    pub times: u32,
    /// `net.ipv4.tcp_fastopen_blackhole_timeout_sec`: the first pause, seconds.
    pub first_s: u32,
    /// Since when, ticks (jiffies) before it was looked at.
    pub since_ticks: u32,
}

impl Pause {
    /// How long it lasts, seconds: twice the one before, six times at most (`tcp_fastopen_active_should_disable()`).
    pub const fn lasts_s(self) -> u64 {
        let doubled = if self.times > 7 { 6 } else { self.times.saturating_sub(1) };
        (self.first_s as u64) << doubled
    }
}

/// What speaks against Fast Open on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blackhole {
    /// The pause that begins; `None` where `net.ipv4.tcp_fastopen_blackhole_timeout_sec` is 0.
    pub pause: Option<Pause>,
}

/// The queue of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Connections whose handshake was not complete, and slots that resets hold, before this one.
    pub qlen: u32,
    /// How many `TCP_FASTOPEN` allows.
    pub max_qlen: u32,
    /// Resets hold slots: each for a minute.
    pub resets: bool,
}

/// What the other end of the connection has told, where it is watched too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherEnd {
    /// What became of it there.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<Reason>,
    /// Who is at work there.
    pub task: Option<Task>,
    /// `net.ipv4.tcp_fastopen` there.
    pub setting: Option<u32>,
}

/// One attempt at Fast Open, as one end saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which end.
    pub side: Side,
    /// What became of it.
    pub outcome: Outcome,
    /// Why; `None` where there is nothing to say.
    pub reason: Option<Reason>,
    /// How the program asked; `None` on a server, and where it was not seen.
    pub asked: Option<Asked>,
    /// Who asked, or accepted.
    pub task: Option<Task>,
    /// Bytes that the write gave for the SYN.
    pub given_bytes: Option<u32>,
    /// Bytes that the SYN carried.
    pub syn_data_bytes: Option<u32>,
    /// Of them, those that the SYN-ACK acknowledged.
    pub acked_bytes: Option<u32>,
    /// The option in the SYN.
    pub option: Option<SynOption>,
    /// It was the experimental one (254).
    pub experimental: bool,
    /// The SYN-ACK carried a cookie.
    pub cookie_given: Option<bool>,
    /// From the SYN to the SYN-ACK, nanoseconds.
    pub round_trip_ns: Option<u64>,
    /// SYNs that were sent again.
    pub resent: u32,
    /// `net.ipv4.tcp_fastopen` of this end's network namespace.
    pub setting: Option<u32>,
    /// The listener's queue.
    pub queue: Option<Queue>,
    /// The pause that kept Fast Open from being tried.
    pub pause: Option<Pause>,
    /// What speaks against Fast Open on the path.
    pub blackhole: Option<Blackhole>,
    /// What the write that asked returned: bytes, or a negative error.
    pub returned: Option<i32>,
    /// Error that ended it, as a positive number.
    pub error: Option<u32>,
    /// From `connect()` to the SYN, where the first write sent it, nanoseconds.
    pub deferred_ns: Option<u64>,
    /// From the SYN to `accept()`, nanoseconds.
    pub accepted_ns: Option<u64>,
    /// Sequence number of the SYN, which both ends know.
    pub isn: Option<Seq>,
    /// The other end, where it was watched.
    pub other: Option<OtherEnd>,
    /// Lines of evidence that were left out.
    pub lines_left_out: u32,
}

impl Attempt {
    /// Nothing is known of it yet.
    pub(super) const fn new(side: Side, outcome: Outcome, reason: Option<Reason>) -> Self {
        Self {
            side,
            outcome,
            reason,
            asked: None,
            task: None,
            given_bytes: None,
            syn_data_bytes: None,
            acked_bytes: None,
            option: None,
            experimental: false,
            cookie_given: None,
            round_trip_ns: None,
            resent: 0,
            setting: None,
            queue: None,
            pause: None,
            blackhole: None,
            returned: None,
            error: None,
            deferred_ns: None,
            accepted_ns: None,
            isn: None,
            other: None,
            lines_left_out: 0,
        }
    }

    /// The round trip that the data did not have to wait for, nanoseconds.
    pub fn saved_ns(&self) -> Option<u64> {
        let helped = self.side == Side::Client
            && matches!(self.outcome, Outcome::Worked | Outcome::Partial)
            && self.syn_data_bytes.is_some_and(|bytes| bytes > 0);
        self.round_trip_ns.filter(|_| helped)
    }

    /// The kernel's counters (`/proc/net/netstat`, `TcpExt`) that it has raised by one.
    pub fn counters(&self) -> Vec<&'static str> {
        match self.side {
            Side::Client => self.client_counters(),
            Side::Server => self.server_counters(),
        }
    }

    fn client_counters(&self) -> Vec<&'static str> {
        if let Some(blackhole) = self.blackhole {
            return failed(blackhole, self.reason);
        }
        // Of a SYN that left before the start it is known what became of it, not how much it was.
        let (Some(sent), acked) = (self.syn_data_bytes, self.acked_bytes) else {
            return match self.outcome {
                Outcome::Worked => vec!["TCPFastOpenActive"],
                Outcome::Refused | Outcome::Lost => vec!["TCPFastOpenActiveFail"],
                _ => Vec::new(),
            };
        };
        match acked {
            Some(acked) if sent > 0 && acked >= sent => vec!["TCPFastOpenActive"],
            Some(_) if sent > 0 => vec!["TCPFastOpenActiveFail"],
            _ => Vec::new(),
        }
    }

    fn server_counters(&self) -> Vec<&'static str> {
        if let Some(blackhole) = self.blackhole {
            return failed(blackhole, self.reason);
        }
        let mut counters = Vec::new();
        if self.option == Some(SynOption::Request) {
            counters.push("TCPFastOpenCookieReqd");
        }
        match (self.outcome, self.reason) {
            (Outcome::Worked | Outcome::UnderWay, reason) => {
                counters.push("TCPFastOpenPassive");
                counters
                    .extend((reason == Some(Reason::OldKey)).then_some("TCPFastOpenPassiveAltKey"));
            }
            (_, Some(Reason::QueueFull)) => counters.push("TCPFastOpenListenOverflow"),
            (_, Some(Reason::BadCookie | Reason::ChildFailed)) => {
                counters.push("TCPFastOpenPassiveFail");
            }
            (_, Some(Reason::NoKey)) if self.option == Some(SynOption::Cookie) => {
                counters.push("TCPFastOpenPassiveFail");
            }
            _ => {}
        }
        counters
    }

    /// Who asked, or accepted.
    pub const fn task(&self) -> Option<Task> {
        self.task
    }

    /// Falsifies the attempt in the way asked for: what became of it, why, or its times.
    #[cfg(feature = "mutate")]
    pub fn mutate(&mut self, mutation: Mutation) {
        match mutation {
            Mutation::Causes => {
                self.outcome = match self.outcome {
                    Outcome::Worked => Outcome::Refused,
                    Outcome::Refused => Outcome::Worked,
                    Outcome::CookieGranted => Outcome::CookieRequested,
                    Outcome::CookieRequested => Outcome::CookieGranted,
                    other => other,
                };
            }
            Mutation::Releases => {
                self.reason = match self.reason {
                    Some(Reason::ServerBitOff) => Some(Reason::NotEnabled),
                    Some(Reason::NotEnabled) => Some(Reason::ServerBitOff),
                    Some(Reason::StaleCookie) => Some(Reason::DataNotAcked),
                    Some(Reason::DataNotAcked) => Some(Reason::StaleCookie),
                    other => other,
                };
            }
            Mutation::Times => self.round_trip_ns = self.round_trip_ns.map(|ns| ns + 30_000_000),
        }
    }

    /// It is about no hold.
    pub const fn holds(&self) -> u64 {
        0
    }

    /// Whether it was still going on when the trace ended.
    pub const fn goes_on(&self) -> bool {
        matches!(self.outcome, Outcome::UnderWay)
    }

    /// All of its lines matter.
    pub const fn minor(&self) -> u64 {
        0
    }
}

/// What is out of order is not counted as a failure (`tcp_fastopen_active_disable()`), three timeouts are
/// (`tcp_fastopen_active_detect_blackhole()`).
fn failed(blackhole: Blackhole, reason: Option<Reason>) -> Vec<&'static str> {
    let failed = (reason == Some(Reason::Timeouts)).then_some("TCPFastOpenActiveFail");
    let paused = blackhole.pause.map(|_| "TCPFastOpenBlackhole");
    failed.into_iter().chain(paused).collect()
}

/// One line of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// An option of Fast Open is set.
    OptionSet {
        /// Its number (`include/uapi/linux/tcp.h`).
        optname: u32,
        /// Who set it.
        #[serde(skip)]
        task: Task,
    },
    /// A socket that listened at the start has set `TCP_FASTOPEN`.
    Listens {
        /// To how many connections that wait for the end of their handshake.
        max_qlen: u32,
        /// Whose it is.
        #[serde(skip)]
        task: Task,
    },
    /// `connect()` returned at once: the first write is to send the SYN.
    ConnectDeferred {
        /// Who connected.
        #[serde(skip)]
        task: Task,
    },
    /// The kernel looked for a cookie.
    CookieLooked {
        /// What it found.
        found: Looked,
    },
    /// A SYN left.
    SynOut {
        /// Bytes of data in it.
        bytes: u32,
        /// Bytes that the write gave.
        #[serde(skip_serializing_if = "Option::is_none")]
        given_bytes: Option<u32>,
        /// Its option of Fast Open.
        option: SynOption,
        /// The experimental one (254).
        experimental: bool,
        /// Who sent it.
        #[serde(skip)]
        task: Task,
    },
    /// The retransmission timer ran.
    TimedOut {
        /// How often in a row, this time included.
        #[serde(skip_serializing_if = "Option::is_none")]
        timeouts: Option<u32>,
        /// The kernel gives the connection up.
        gives_up: bool,
    },
    /// The SYN-ACK came.
    SynAckIn {
        /// Bytes of the SYN's data that it acknowledges.
        #[serde(skip_serializing_if = "Option::is_none")]
        acked_bytes: Option<u32>,
        /// It carries a cookie.
        #[serde(skip_serializing_if = "Option::is_none")]
        cookie: Option<bool>,
    },
    /// The write returned.
    Written {
        /// Bytes that it was given.
        bytes: u32,
        /// What it returned: bytes, or a negative error.
        returned: i32,
        /// `MSG_*` flags.
        flags: u32,
        /// Who wrote.
        #[serde(skip)]
        task: Task,
    },
    /// A SYN came.
    SynIn {
        /// Bytes of data in it.
        bytes: u32,
        /// Its option of Fast Open.
        option: SynOption,
        /// The experimental one (254).
        experimental: bool,
    },
    /// The server decided.
    Decided {
        /// A socket was made, and the data is in it.
        accepted: bool,
        /// The SYN-ACK carries a cookie.
        cookie: bool,
    },
    /// The handshake is complete.
    HandshakeComplete,
    /// A reset came before the handshake was complete.
    ResetIn {
        /// A program had accepted the connection: its slot stays taken for a minute.
        accepted: bool,
    },
    /// `accept()` returned the connection.
    Accepted {
        /// To whom.
        #[serde(skip)]
        task: Task,
    },
    /// A socket was made from a SYN cookie.
    SynCookie,
    /// Fast Open is paused, or would be.
    Blackhole,
    /// The connection is over.
    Over {
        /// Why, as a positive error number; 0 without an error.
        error: u32,
    },
    /// Events were lost somewhere: what is not here may have happened all the same.
    Lost,
}

impl Fact {
    /// It tells no user stack.
    pub const fn stack(&self) -> Option<u32> {
        None
    }

    /// The task that acted.
    pub const fn task(&self) -> Option<Task> {
        match self {
            Self::OptionSet { task, .. }
            | Self::Listens { task, .. }
            | Self::ConnectDeferred { task }
            | Self::SynOut { task, .. }
            | Self::Written { task, .. }
            | Self::Accepted { task } => Some(*task),
            _ => None,
        }
    }
}

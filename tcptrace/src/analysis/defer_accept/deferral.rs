//! What one deferral is: the data of a finding, and the lines of its evidence.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;
use tcptrace_common::tcp::TCP_RTO_MAX_S;

#[cfg(feature = "mutate")]
use crate::analysis::nagle::Mutation;
use crate::finding::Task;

/// Most lines of evidence of one connection; what comes then is left out.
pub const MAX_LINES: usize = 64;

/// What is spoken of. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// A socket that listens.
    Listener,
    /// A connection to it.
    Server,
    /// A connection from a socket that has set the option itself.
    Client,
}

/// What became of it. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A listener has set the option, or changed it.
    Set,
    /// A listener was found with the option at the start.
    Found,
    /// Data came, which made the connection ready for `accept()`.
    Data,
    /// The client's FIN came without data, which did so.
    Fin,
    /// The periods were over, and the client's answer to the repeated SYN-ACK did so: without data.
    Deadline,
    /// The option was switched off meanwhile, and the client's next ACK did so: without data.
    SwitchedOff,
    /// The client's reset ended it; no program was told.
    ClientReset,
    /// Nobody answered the SYN-ACK, and the kernel dropped the request.
    Unanswered,
    /// Its listener was closed, and the request dropped.
    ListenerClosed,
    /// ICMP told that the client cannot be reached, and the kernel dropped the request.
    Icmp,
    /// The accept queue was full, and the kernel reset the connection (`net.ipv4.tcp_abort_on_overflow`).
    QueueFull,
    /// Not deferred: its SYN was answered by a SYN cookie.
    SynCookie,
    /// Not deferred: Fast Open accepted it at the SYN.
    Fastopen,
    /// Nothing was held: data came with the first ACK, or the first ACK came when the periods were over.
    NeverHeld,
    /// It was held at the end of the run.
    Held,
    /// No ACK had come for it at the end of the run.
    UnderWay,
    /// A client's own option has put off the ACK of its handshake.
    Withheld,
    /// The evidence does not tell.
    Undetermined,
}

/// What made the kernel do something. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A timer.
    Timer,
    /// A segment that came.
    Segment,
    /// Data that the program wrote.
    Data,
}

/// What a listener's option amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Timer periods; 0 when it is off.
    pub periods: u32,
    /// `TCP_SYNCNT`; 0 without it.
    pub syncnt: Option<u32>,
    /// `net.ipv4.tcp_synack_retries` of its network namespace.
    pub synack_retries: Option<u32>,
    /// Longest time between two retransmissions, jiffies.
    pub rto_max_ticks: Option<u32>,
    /// The same, milliseconds, of a socket that was asked.
    pub rto_max_ms: Option<u32>,
}

impl Setting {
    /// How often the SYN-ACK is repeated for a client that does not answer.
    pub fn retries(&self) -> Option<u32> {
        self.syncnt.filter(|own| *own > 0).or(self.synack_retries)
    }
}

/// How long so many periods last, nanoseconds: 1 s, 2 s, 4 s and so on, none longer than `longest_ns` (`secs_to_retrans()`,
/// `reqsk_timeout()`).
pub fn lasts_ns(periods: u32, longest_ns: u64) -> u64 {
    let one = |n: u32| (SECOND_NS << n.min(30)).min(longest_ns);
    (0..periods.min(256)).map(one).sum()
}

/// As many periods as the kernel makes of so many seconds.
pub(super) fn periods_of(seconds: u32) -> u32 {
    let asked_ns = u64::from(seconds) * SECOND_NS;
    let lasts = |periods: &u32| lasts_ns(*periods, TCP_RTO_MAX_S * SECOND_NS) >= asked_ns;
    (0..=255).find(lasts).unwrap_or(255)
}

const SECOND_NS: u64 = 1_000_000_000;

/// A listener's option, or what became of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// What is spoken of.
    pub side: Side,
    /// What became of it.
    pub outcome: Outcome,
    /// Who set the option, or accepted the connection.
    pub task: Option<Task>,
    /// Where the listener listens, which may be on any address.
    pub listener: Option<SocketAddr>,
    /// The listener's option: when it was set, or when the connection came.
    pub setting: Setting,
    /// Seconds that were asked for; for a listener that was found, those that `getsockopt()` tells.
    pub seconds: Option<u32>,
    /// The option's periods before it was set anew, where that was seen, and when the connection ended, where that differs.
    pub other_periods: Option<u32>,
    /// Timer periods that were over.
    pub periods_over: u32,
    /// Of them, those that were seen to end.
    pub timer_runs: u32,
    /// SYN-ACKs that were sent again by the timer.
    pub syn_acks_repeated: u32,
    /// SYNs that came again.
    pub syns_again: u32,
    /// Bare ACKs that were dropped.
    pub acks_dropped: u32,
    /// Segments that found the accept queue full.
    pub queue_full: u32,
    /// From the SYN to the first bare ACK that was dropped: from then on the client takes itself for connected,
    /// nanoseconds.
    pub connected_ns: Option<u64>,
    /// From that to the end of the deferral, nanoseconds.
    pub held_ns: Option<u64>,
    /// From the SYN to the end, nanoseconds.
    pub lasted_ns: Option<u64>,
    /// From the end of the deferral to the return of `accept()`, nanoseconds.
    pub queued_ns: Option<u64>,
    /// Bytes of data in the segment that ended it.
    pub bytes: Option<u32>,
    /// From the end of the deferral to the first data, where it ended without, nanoseconds.
    pub data_after_ns: Option<u64>,
    /// Connections in the accept queue, with this one, and how many may be.
    pub accept_queue: Option<(u32, u32)>,
    /// What sent the ACK that was put off.
    pub sent_by: Option<Trigger>,
    /// Another listener of its group took it over.
    pub migrated: bool,
    /// A reset came that did not fit, which the kernel did not take.
    pub resets_ignored: u32,
    /// Lines of evidence that were left out.
    pub lines_left_out: u32,
}

impl Deferral {
    /// Nothing is known of it yet.
    pub(super) const fn new(side: Side, outcome: Outcome) -> Self {
        Self {
            side,
            outcome,
            task: None,
            listener: None,
            setting: Setting {
                periods: 0,
                syncnt: None,
                synack_retries: None,
                rto_max_ticks: None,
                rto_max_ms: None,
            },
            seconds: None,
            other_periods: None,
            periods_over: 0,
            timer_runs: 0,
            syn_acks_repeated: 0,
            syns_again: 0,
            acks_dropped: 0,
            queue_full: 0,
            connected_ns: None,
            held_ns: None,
            lasted_ns: None,
            queued_ns: None,
            bytes: None,
            data_after_ns: None,
            accept_queue: None,
            sent_by: None,
            migrated: false,
            resets_ignored: 0,
            lines_left_out: 0,
        }
    }

    /// How long the program was spared a connection without data, nanoseconds.
    pub fn spared_ns(&self) -> Option<u64> {
        self.held_ns.filter(|_| matches!(self.outcome, Outcome::Data | Outcome::Fin))
    }

    /// The kernel's counters (`/proc/net/netstat`, `TcpExt`) that it has raised, and by how much.
    pub fn counters(&self) -> Vec<(&'static str, u32)> {
        let by_one = |name: &'static str, yes: bool| (name, u32::from(yes));
        let all = [
            ("TCPDeferAcceptDrop", self.acks_dropped),
            ("TCPTimeouts", self.timer_runs),
            ("ListenOverflows", self.queue_full),
            // Of either end: a reset that came, or the one that is sent.
            by_one(
                "EmbryonicRsts",
                matches!(self.outcome, Outcome::ClientReset | Outcome::QueueFull),
            ),
            by_one("SyncookiesRecv", self.outcome == Outcome::SynCookie),
        ];
        all.into_iter().filter(|(_, times)| *times > 0).collect()
    }

    /// Who set the option, or accepted the connection.
    pub const fn task(&self) -> Option<Task> {
        self.task
    }

    /// It is about no hold.
    pub const fn holds(&self) -> u64 {
        0
    }

    /// Whether it was still going on when the trace ended.
    pub const fn goes_on(&self) -> bool {
        matches!(self.outcome, Outcome::Held | Outcome::UnderWay)
    }

    /// All of its lines matter.
    pub const fn minor(&self) -> u64 {
        0
    }

    /// Falsifies it in the way asked for: what became of it, what it is told to have cost, or its times.
    #[cfg(feature = "mutate")]
    pub fn mutate(&mut self, mutation: Mutation) {
        match mutation {
            Mutation::Causes => {
                self.outcome = match self.outcome {
                    Outcome::Data => Outcome::Deadline,
                    Outcome::Deadline => Outcome::Data,
                    Outcome::ClientReset => Outcome::Unanswered,
                    Outcome::Unanswered => Outcome::ClientReset,
                    other => other,
                };
            }
            Mutation::Releases => self.syn_acks_repeated += 1,
            Mutation::Times => self.held_ns = self.held_ns.map(|ns| ns + 60_000_000),
        }
    }
}

/// One line of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// The option was set.
    OptionSet {
        /// Seconds that were asked for; absent where they could not be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<u32>,
        /// Timer periods that the kernel has made of them.
        periods: u32,
        /// Who set it.
        #[serde(skip)]
        task: Task,
    },
    /// The socket listens from now on.
    Listens {
        /// Connections that may wait to be accepted.
        #[serde(skip_serializing_if = "Option::is_none")]
        backlog: Option<u32>,
        /// Whose it is.
        #[serde(skip)]
        task: Task,
    },
    /// A SYN came, and a request stands for the connection: the SYN-ACK leaves at once.
    SynIn,
    /// The connection was met when its request had begun before the start.
    MetMidway {
        /// Timer periods that were over.
        periods_over: u32,
    },
    /// A bare ACK came and was dropped: the client is connected, the server is not.
    AckDropped {
        /// It is the first that was seen.
        first: bool,
    },
    /// The request's timer ran, and sent nothing.
    Timer {
        /// Which period is over, from 1.
        period: u32,
        /// A segment with ACK had come: silence is the deferral.
        acked: bool,
    },
    /// The SYN-ACK was sent again.
    SynAckAgain {
        /// By the timer, or because the SYN came again.
        by: Trigger,
        /// Which period is over, from 1; absent where a segment did it.
        #[serde(skip_serializing_if = "Option::is_none")]
        period: Option<u32>,
        /// An ACK had come: it is the deferral, and no loss.
        deferred: bool,
        /// One was sent again before this one.
        repeated: bool,
    },
    /// The listener's option has changed since the connection came.
    Changed {
        /// Timer periods before.
        from: u32,
        /// Timer periods from now on.
        to: u32,
    },
    /// A segment came that made the request a socket.
    Promoted {
        /// Bytes of data in it.
        bytes: u32,
        /// It had a FIN.
        fin: bool,
        /// Connections in the accept queue, with this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        queued: Option<u32>,
        /// How many may be.
        #[serde(skip_serializing_if = "Option::is_none")]
        backlog: Option<u32>,
    },
    /// A connection waits to be accepted that was not deferred.
    NotDeferred {
        /// Its SYN was answered by a SYN cookie; otherwise Fast Open accepted it.
        syn_cookie: bool,
    },
    /// A segment came that would have made the request a socket, but the accept queue was full.
    AcceptQueueFull {
        /// Bytes of data in it, which are thrown away.
        bytes: u32,
    },
    /// A reset came.
    ResetIn {
        /// The kernel has taken it.
        taken: bool,
    },
    /// ICMP told that the client cannot be reached.
    IcmpIn {
        /// It quotes the SYN-ACK, so that the kernel believes it.
        fits: bool,
    },
    /// A segment came that changed nothing.
    Ignored {
        /// Flags of its header.
        flags: u32,
    },
    /// Another listener of the `SO_REUSEPORT` group took the request over.
    Migrated,
    /// The request was dropped.
    Dropped {
        /// Its listener was closed.
        listener_closed: bool,
    },
    /// `accept()` returned the connection.
    Accepted {
        /// To whom.
        #[serde(skip)]
        task: Task,
    },
    /// The first data came, on a connection that had become a socket without any.
    DataIn,
    /// The SYN-ACK came, and the ACK that answers it was put off.
    AckPutOff,
    /// That ACK left.
    AckSent {
        /// With data, or by the delayed-ACK timer.
        by: Trigger,
    },
    /// The socket is gone.
    Gone,
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
            Self::OptionSet { task, .. } | Self::Listens { task, .. } | Self::Accepted { task } => {
                Some(*task)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_the_periods_that_the_kernel_was_measured_to_make() {
        for (seconds, periods, lasts) in [
            (0, 0, 0),
            (1, 1, 1),
            (2, 2, 3),
            (3, 2, 3),
            (5, 3, 7),
            (10, 4, 15),
            (30, 5, 31),
            (60, 6, 63),
            (127, 7, 127),
            (128, 8, 247),
            (248, 9, 367),
            (30_000, 255, 29_887),
        ] {
            let lasts_ns = lasts_ns(periods, 120 * SECOND_NS);
            assert_eq!((periods_of(seconds), lasts_ns), (periods, lasts * SECOND_NS), "{seconds}");
        }
        assert_eq!(lasts_ns(5, SECOND_NS), 5 * SECOND_NS);
        assert_eq!(lasts_ns(5, 2 * SECOND_NS), 9 * SECOND_NS);
    }
}

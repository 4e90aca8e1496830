//! One teardown told: its verdict, its lines, what to change.

use tcptrace_common::tcp::TCP_CLOSE_WAIT;

use super::{
    fields::margin_ns,
    line::line,
    words::{segments, side, why},
};
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        close::{Closed, Fact, Mark, Reason, Shape, Side, Teardown},
        nagle::Held,
    },
    event::Holder,
    explain::{
        Context, Explanation,
        nagle::{released_by, short},
        task,
        timeline::state,
        units::{bytes, counted, duration},
    },
    finding::{Certainty, Evidence, Finding},
};

pub(in crate::explain) fn explain(
    finding: &Finding<Cause, AnyFact>,
    teardown: &Teardown,
    evidence: &[Evidence<&Fact>],
    context: &Context<'_>,
) -> Explanation {
    let story = Story {
        it: teardown,
        context,
        may: finding.certainty == Certainty::May,
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
    };
    Explanation {
        subject: teardown.task().map(|closer| (closer, task(closer, context.comms))),
        aside: Some(story.head()),
        verdict: story.verdict(),
        zero_ns: finding.from_ns,
        lines: evidence.iter().map(|each| line(each, context)).collect(),
        change: story.change(),
        pattern: None,
    }
}

struct Story<'a> {
    it: &'a Teardown,
    context: &'a Context<'a>,
    may: bool,
    lasted_ns: u64,
}

impl Story<'_> {
    /// `passive close, 3 segments`.
    fn head(&self) -> String {
        match self.it.shape {
            Shape::ResetSent => "reset by us".to_owned(),
            Shape::ResetReceived => "reset by the peer".to_owned(),
            Shape::TimedOut => "given up".to_owned(),
            Shape::NeverEstablished => "never established".to_owned(),
            Shape::Open => "not closed yet".to_owned(),
            Shape::Undetermined => "shape not determined".to_owned(),
            _ => format!("{}, {}", side(self.it.side), segments(self.it.segments)),
        }
    }

    fn verdict(&self) -> String {
        let what = match self.it.shape {
            Shape::Merged => self.merged(),
            Shape::Separate => self.separate("four segments"),
            Shape::HalfClose => {
                let data = bytes(self.it.data_after_fin_bytes.into());
                let way = if self.it.side == Side::Active { "came in" } else { "left" };
                format!("half-closed: {data} {way} after the first FIN; {}", self.separate("its ACK was by itself"))
            }
            Shape::AckOnData => self.on_data(),
            Shape::Simultaneous => {
                "both ends sent their FINs before they had the other's: each was acknowledged by itself".to_owned()
            }
            Shape::ResetSent => self.reset_sent(),
            Shape::ResetReceived if self.it.other.is_some() => "the peer reset the connection".to_owned(),
            Shape::ResetReceived => "the peer reset the connection: why, only its own host tells".to_owned(),
            Shape::TimedOut => self.timed_out(),
            Shape::NeverEstablished => format!("there was no connection yet: {}", self.never_established()),
            Shape::Open => self.open(),
            Shape::Undetermined => self.undetermined(),
        };
        let may = if self.may { "; events may be missing" } else { "" };
        format!("{what}{}{}{}{may}.", self.held(), self.again(), self.other())
    }

    /// What the other end says, where that was watched too.
    fn other(&self) -> String {
        let Some(other) = self.it.other else { return String::new() };
        let who = other
            .closer
            .map_or_else(|| "its program".to_owned(), |closer| task(closer, self.context.comms));
        let after = match other.fin_to_close_ns {
            Some(after) => format!("{who} closed {} after our FIN came", duration(after)),
            None if other.closer.is_some() => format!("{who} closed"),
            None => "nobody closed".to_owned(),
        };
        let reason = match other.reason {
            Reason::UnderWay | Reason::NotClosed => String::new(),
            reason => format!(" ({})", why(reason)),
        };
        format!("; the other end is on this host: {after}{reason}")
    }

    /// Who ended the attempt to connect.
    fn never_established(&self) -> String {
        match self.it.reason {
            Reason::Peer => "the peer answered with a reset".to_owned(),
            Reason::NoAnswer => "the peer did not answer".to_owned(),
            Reason::Aborted if self.it.closed.is_some() => {
                format!("{} gave it up", self.closer())
            }
            Reason::Aborted => {
                "an error from the network, or this host itself, ended it".to_owned()
            }
            reason => why(reason).to_owned(),
        }
    }

    fn closer(&self) -> String {
        self.it
            .closer
            .map_or_else(|| "the program".to_owned(), |closer| task(closer, self.context.comms))
    }

    /// `app[412] has not`.
    fn holder(&self) -> String {
        let Some(Holder { processes, .. }) = self.it.holder else {
            return "the program has not".to_owned();
        };
        let who = self.it.task().map_or_else(String::new, |of| task(of, self.context.comms));
        match processes.saturating_sub(1) {
            0 => format!("{who} has not"),
            others => format!(
                "{who} has not, nor {} that {} the same socket",
                counted(others.into(), "other process", "other processes"),
                if others == 1 { "has" } else { "have" },
            ),
        }
    }

    /// `app[412] closed 10.1 ms after the peer's FIN`.
    fn closed_after(&self) -> String {
        let closed = match self.it.closed {
            Some(Closed::Shutdown) => "shut down",
            _ => "closed",
        };
        match self.it.fin_to_close_ns {
            Some(after) => {
                format!("{} {closed} {} after the peer's FIN", self.closer(), duration(after))
            }
            None => format!("{} {closed}", self.closer()),
        }
    }

    fn merged(&self) -> String {
        if self.it.side == Side::Active {
            return "three segments: the peer's FIN carried the ACK of ours".to_owned();
        }
        let margin = margin_ns(self.it, self.context.facts.hz);
        let before = match margin.and_then(|margin| u64::try_from(margin).ok()) {
            Some(margin) => format!(", {} before its delayed ACK was due", duration(margin)),
            None => ", before an ACK of it had left".to_owned(),
        };
        format!("FIN and ACK were merged: {}{before}", self.closed_after())
    }

    /// Why the ACK of the first FIN went by itself.
    fn separate(&self, how: &str) -> String {
        if self.it.side == Side::Active {
            return format!("{how}: the peer acknowledged our FIN before it closed itself");
        }
        let after =
            self.it.fin_to_ack_ns.map(|after| format!(" {} after the peer's FIN", duration(after)));
        let after = after.unwrap_or_default();
        let sent = match self.it.reason {
            Reason::AckTimer => format!("the delayed-ACK timer sent the ACK{after}"),
            Reason::NoDataReceived => format!(
                "no data had ever come in, so that the ACK waited for the next tick only and left{after}"
            ),
            Reason::QuickAck => format!("TCP_QUICKACK sent the ACK{after}"),
            Reason::RouteQuickack => {
                format!("the route asks for ACKs at once (quickack): it left{after}")
            }
            Reason::WindowUpdate => format!(
                "more than a full segment was unacknowledged, so that the ACK did not wait for the timer and left{after}"
            ),
            Reason::FinWait => {
                "this end had sent its FIN: the peer's was acknowledged at once".to_owned()
            }
            _ => format!("the ACK left{after}; why then is not determined"),
        };
        format!("{how}: {sent}, and {}", self.closed_after())
    }

    fn on_data(&self) -> String {
        if self.it.side == Side::Active {
            return "the peer acknowledged our FIN by a segment with data, and sent its own FIN later".to_owned();
        }
        let after = self
            .it
            .fin_to_ack_ns
            .map_or_else(String::new, |after| format!(" {} after it came", duration(after)));
        format!("data carried the ACK of the peer's FIN{after}, and {}", self.closed_after())
    }

    fn reset_sent(&self) -> String {
        let words = [
            (self.it.unsent_bytes, "had not left"),
            (self.it.in_flight_bytes, "were not acknowledged"),
        ];
        let lost: String = words
            .iter()
            .filter_map(|(size, what)| {
                let size = size.filter(|size| *size > 0)?;
                Some(format!("; {} of ours {what}", bytes(size.into())))
            })
            .collect();
        let rst = if self.it.by_shutdown() { "RST after our FIN" } else { "RST instead of FIN" };
        match self.it.reason {
            Reason::UnreadData => format!(
                "{rst}: close() with {} unread in the receive queue{lost}",
                bytes(self.it.unread_bytes.unwrap_or(0).into())
            ),
            Reason::LingerZero => format!("{rst}: close() under SO_LINGER with no time{lost}"),
            Reason::Linger2 => "RST after our FIN was acknowledged: TCP_LINGER2 is negative, so that nobody waits for the peer's FIN".to_owned(),
            Reason::DataAfterClose => "RST because data came in after close(): nobody would have read it".to_owned(),
            Reason::Disconnected => {
                format!("{rst}: {} called connect() with no address (AF_UNSPEC){lost}", self.closer())
            }
            Reason::NotAccepted => format!(
                "{rst}: {} closed its listener before the connection was accepted{lost}",
                self.closer()
            ),
            Reason::Aborted => "the connection was aborted from this host".to_owned(),
            Reason::OrphanLimit => "RST because no process has the socket any more, and the kernel gave it up".to_owned(),
            Reason::FinTimeout => "RST because the peer's FIN did not come in time".to_owned(),
            _ => "this host reset the connection; why is not determined".to_owned(),
        }
    }

    fn timed_out(&self) -> String {
        match self.it.reason {
            Reason::FinTimeout => format!(
                "half-open to the end: the peer acknowledged our FIN and sent none of its own in {}",
                duration(self.lasted_ns)
            ),
            Reason::OrphanLimit => "no process has the socket any more, the peer did not answer, and the kernel gave it up".to_owned(),
            _ => format!("the peer did not answer, and this host gave the connection up after {}", duration(self.lasted_ns)),
        }
    }

    fn open(&self) -> String {
        let last = self.it.spells.last();
        match (self.it.reason, last) {
            (Reason::NotClosed, _) => {
                let spell = self.it.spells.iter().find(|spell| spell.skc_state == TCP_CLOSE_WAIT);
                let lasted = spell.map_or(self.lasted_ns, |spell| spell.lasted_ns);
                format!(
                    "CLOSE-WAIT for {} and counting: the peer has closed, and {}",
                    duration(lasted),
                    self.holder()
                )
            }
            (_, Some(spell)) => format!(
                "{} for {} and counting",
                state(spell.skc_state).unwrap_or("closing"),
                duration(spell.lasted_ns)
            ),
            (_, None) => "closing, and not over at the end".to_owned(),
        }
    }

    fn undetermined(&self) -> String {
        let states: Vec<&str> =
            self.it.spells.iter().filter_map(|spell| state(spell.skc_state)).collect();
        if states.is_empty() {
            return "it ended; how is not determined".to_owned();
        }
        format!("it ended by way of {}; how it began was not seen", states.join(", "))
    }

    /// What held the FIN.
    fn held(&self) -> String {
        let behind = match self.it.unsent_bytes {
            Some(unsent @ 1..) if self.it.marks.contains(&Mark::FinWithHeldData) => {
                format!(" behind {} that had not left", bytes(unsent.into()))
            }
            _ => String::new(),
        };
        match self.it.fin_held {
            Some(held) => {
                let by = if held.by == Held::Undetermined {
                    "something not determined"
                } else {
                    short(held.by)
                };
                format!(
                    "; the FIN waited {}{behind}: held by {by}, released by {}",
                    duration(held.held_ns),
                    released_by(held.release)
                )
            }
            None if behind.is_empty() => String::new(),
            None => format!("; the FIN was queued{behind}"),
        }
    }

    fn again(&self) -> String {
        let mut words = String::new();
        if self.it.marks.contains(&Mark::FinRetransmitted) {
            words.push_str("; a FIN was sent again");
        }
        if self.it.marks.contains(&Mark::TimeWaitReused) {
            words.push_str("; a new connection took its TIME-WAIT");
        }
        words
    }

    /// Advice only where the evidence carries it.
    fn change(&self) -> Option<String> {
        if self.may {
            return None;
        }
        match (self.it.shape, self.it.reason) {
            (Shape::ResetSent, Reason::UnreadData) => {
                Some("read to the end before close(), or shutdown() first and read on.".to_owned())
            }
            (Shape::ResetSent, Reason::NotAccepted) => {
                Some("accept what is in the queue before the listener is closed.".to_owned())
            }
            (Shape::Open, Reason::NotClosed) if self.lasted_ns >= 1_000_000_000 => {
                Some("close the socket when a read returns 0: nothing else ends it.".to_owned())
            }
            _ => None,
        }
    }
}

//! Who is at work when a segment leaves, where only the ends of holds are told (`--summary-only`): neither the segments
//! that arrive nor the attempts to send.
//!
//! Everything else that can send is told: a write by `write_seq`, an option, a timer, a FIN, the device. What remains is a
//! segment that arrived, and it leaves a trace of its own: `snd_una` or the end of the peer's window has moved since the
//! socket was seen last. Where two of these fit, nobody is named.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{TCP_CORK, TCP_NODELAY},
};

use crate::{
    analysis::nagle::{
        Held,
        attribution::{Context, edge_of, is_owned},
    },
    event::{Event, Seq},
};

/// What a timer, a FIN or the device does, it does within this time; a task that owns the socket is not kept from it.
const AT_ONCE_NS: u64 = 1_000_000;
/// Most threads setting options on one socket at once.
const MAX_OPTIONS: usize = 16;

/// What is known of who is at work on one socket.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// The last that was told to enter: when, in which thread, and whether a task owned the socket.
    entered: Option<(u64, u32, bool)>,
    /// Options that threads have set, and the segments in flight then.
    options: Vec<(u32, u32)>,
    /// `snd_una` and the end of the peer's window, when last seen.
    seen: Option<(Seq, Option<Seq>)>,
}

/// Who is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtWork {
    /// Whoever was told to be.
    Told,
    /// A segment that was not told.
    Untold(Context),
    /// It cannot be said.
    Unknown,
}

impl Sparse {
    /// Takes an event, after everybody else has.
    pub(super) fn notice(&mut self, e: &Event) {
        match e.hook {
            Hook::tcp_write_timer_handler
            | Hook::tcp_send_fin
            | Hook::tcp_tsq_write
            | Hook::tcp_tsq_handler => self.entered = Some((e.at_ns, e.tid, is_owned(e))),
            Hook::do_tcp_setsockopt if matches!(e.arg("optname"), Some(TCP_CORK | TCP_NODELAY)) => {
                self.options.retain(|(tid, _)| *tid != e.tid);
                if self.options.len() >= MAX_OPTIONS {
                    self.options.remove(0);
                }
                self.options.extend(e.u32(Field::packets_out).map(|out| (e.tid, out)));
            }
            Hook::tcp_push => {
                self.entered = None;
                self.options.retain(|(tid, _)| *tid != e.tid);
            }
            _ => {}
        }
        if let Some(una) = e.seq(Field::snd_una) {
            self.seen = Some((una, edge_of(e)));
        }
    }

    /// Who is at work as bytes leave that `held` held; `grown` says that a write is.
    pub(super) fn at_work(&mut self, e: &Event, held: Held, grown: bool) -> AtWork {
        let owned = is_owned(e);
        let small = matches!(held, Held::Nagle | Held::Cork | Held::MsgMore);
        let at_once = self.entered.is_some_and(|(at_ns, tid, was_owned)| {
            (tid, was_owned) == (e.tid, owned) && e.at_ns.saturating_sub(at_ns) < AT_ONCE_NS
        });
        let segment = self.segment(e);
        if owned {
            let sets = |(tid, out): &(u32, u32)| {
                *tid == e.tid && e.u32(Field::packets_out).is_some_and(|now| now >= *out)
            };
            if grown || (small && self.options.iter().any(sets)) {
                return AtWork::Told;
            }
        } else if at_once && !segment.is_some_and(|(acked, _)| acked) {
            return AtWork::Told;
        }
        if at_once && owned {
            // What else a task does for the socket then fits as well, unless a FIN overrides the rule that held.
            return if small || segment.is_none() { AtWork::Told } else { AtWork::Unknown };
        }
        // The end of a splice sends what MSG_MORE held, and so does an ACK.
        let splice = owned && held == Held::MsgMore;
        match segment {
            Some((acked, edge)) if !splice => {
                self.entered = Some((e.at_ns, e.tid, owned));
                AtWork::Untold(Context::Segment { acked, edge })
            }
            None if splice => AtWork::Told,
            _ => AtWork::Unknown,
        }
    }

    /// Whether a segment has arrived since the socket was seen last: whether it acknowledged something, and the end of the
    /// window before it.
    fn segment(&self, e: &Event) -> Option<(bool, Option<Seq>)> {
        let (una, edge) = self.seen?;
        let acked = e.seq(Field::snd_una).is_some_and(|now| now.after(una));
        let moved = edge.zip(edge_of(e)).is_some_and(|(before, now)| now.after(before));
        (acked || moved).then_some((acked, edge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace;

    fn event(text: &str) -> Event {
        trace::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    const SEEN: &str = "1.0 s1 pid=7 tcp_push | snd_una=100 snd_wnd=1000 packets_out=1";

    fn at_work(before: &[&str], held: Held, now: &str) -> AtWork {
        let mut sparse = Sparse::default();
        for text in before {
            sparse.notice(&event(text));
        }
        sparse.at_work(&event(now), held, false)
    }

    fn left(pid: u32, rest: &str) -> String {
        format!(
            "1.1 s1 pid={pid} tcp_event_new_data_sent | sk_lock_owned={} {rest}",
            u32::from(pid > 0)
        )
    }

    #[test]
    fn an_ack_that_was_not_told_has_moved_what_is_acknowledged() {
        let ack = left(0, "snd_una=200 snd_wnd=1000 packets_out=0");
        let told = AtWork::Untold(Context::Segment { acked: true, edge: Some(Seq(1100)) });
        assert_eq!(at_work(&[SEEN], Held::Nagle, &ack), told);
        assert_eq!(at_work(&[], Held::Nagle, &ack), AtWork::Unknown);
        let nothing = left(0, "snd_una=100 snd_wnd=1000 packets_out=1");
        assert_eq!(at_work(&[SEEN], Held::Nagle, &nothing), AtWork::Unknown);
    }

    #[test]
    fn a_timer_is_at_work_at_once_and_not_once_an_ack_has_come() {
        let timer = "1.0995 s1 pid=0 tcp_write_timer_handler | snd_una=100 sk_lock_owned=0";
        let early = "1.05 s1 pid=0 tcp_write_timer_handler | snd_una=100 sk_lock_owned=0";
        let left_as = |rest| left(0, rest);
        let same = left_as("snd_una=100 packets_out=0");
        assert_eq!(at_work(&[SEEN, timer], Held::Cork, &same), AtWork::Told);
        assert_eq!(at_work(&[SEEN, early], Held::Cork, &same), AtWork::Unknown);
        let acked = left_as("snd_una=200 packets_out=0");
        assert!(matches!(at_work(&[SEEN, timer], Held::Cork, &acked), AtWork::Untold(_)));
    }

    #[test]
    fn an_option_is_at_work_while_nothing_was_acknowledged() {
        let set = "1.05 s1 pid=7 do_tcp_setsockopt level=6 optname=3 | packets_out=1";
        let same = left(7, "snd_una=100 snd_wnd=1000 packets_out=1");
        assert_eq!(at_work(&[SEEN, set], Held::Cork, &same), AtWork::Told);
        let other = left(8, "snd_una=100 snd_wnd=1000 packets_out=1");
        assert_eq!(at_work(&[SEEN, set], Held::Cork, &other), AtWork::Unknown);
        let acked = left(7, "snd_una=200 snd_wnd=1000 packets_out=0");
        assert!(matches!(at_work(&[SEEN, set], Held::Cork, &acked), AtWork::Untold(_)));
    }

    #[test]
    fn an_ack_and_the_end_of_a_splice_are_not_told_apart() {
        let acked = left(7, "snd_una=200 snd_wnd=1000 packets_out=0");
        assert_eq!(at_work(&[SEEN], Held::MsgMore, &acked), AtWork::Unknown);
        let same = left(7, "snd_una=100 snd_wnd=1000 packets_out=1");
        assert_eq!(at_work(&[SEEN], Held::MsgMore, &same), AtWork::Told);
    }
}

//! What made a segment leave: who was at work on the socket when it left.
//!
//! The socket lock serialises everything that can send, so that the last one to enter is at work, as long as it is the
//! same task or interrupt that sends. A task that sets an option is told apart by its thread, because that event comes
//! before the lock is taken.

use tcptrace_common::{
    field::Field,
    tcp::{
        ICSK_TIME_LOSS_PROBE, ICSK_TIME_PROBE0, TCP_CORK, TCP_NAGLE_CORK, TCP_NAGLE_OFF,
        TCP_NAGLE_PUSH, TSQF_DEFERRED,
    },
};
use thin_vec::ThinVec;

use crate::{
    analysis::nagle::{Held, Release, attempt::is_urgent},
    event::{Event, Seq},
};

/// Most tasks setting options on one socket at once.
const MAX_OPTIONS: usize = 16;

/// What entered the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// A segment arrived.
    Segment {
        /// It acknowledged something new, or it is not known whether it did.
        acked: bool,
        /// End of the peer's window before it.
        edge: Option<Seq>,
    },
    /// A write timer ran, `ICSK_TIME_*`.
    Timer(u32),
    /// A FIN was queued.
    Fin,
    /// The device, or the pacing timer, lets the socket send again.
    Tsq(Ready),
}

/// What lets a socket send again, by way of `tcp_tsq_write()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Device,
    PacingTimer,
}

/// Who is at work on one socket.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    /// What entered last, in which thread, and whether a task owned the socket.
    entered: Option<(Context, u32, bool)>,
    lasting: Lasting,
}

/// What is remembered while nothing waits: whoever is at work then, the write that leaves bytes waiting comes after it.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    /// Options that threads are setting: thread, option.
    options: ThinVec<(u32, u32)>,
    /// End of the bytes written, as of the last write that ended.
    written_to: Option<Seq>,
    /// A FIN stands behind the bytes.
    fin: bool,
    /// The pacing timer has fired, and what it leads to has not been seen yet.
    kicked: bool,
    /// The device or the pacing timer was ready while a task owned the socket: that task sends when it lets go.
    deferred: Option<Ready>,
}

impl From<Lasting> for Attribution {
    fn from(lasting: Lasting) -> Self {
        Self { entered: None, lasting }
    }
}

impl Attribution {
    /// What is to be kept while nothing waits.
    pub(super) fn lasting(self) -> Lasting {
        self.lasting
    }

    /// Something entered the socket under its lock; a task that owns it is no longer setting an option then.
    pub(super) fn enter(&mut self, context: Context, e: &Event) {
        self.entered = Some((context, e.tid, is_owned(e)));
        self.lasting.entered(e);
    }

    /// `tcp_pace_kick()`: `tcp_tsq_handler()` or `tcp_tsq_write()` follows.
    pub(super) const fn pacing_timer(&mut self) {
        self.lasting.kicked = true;
    }

    /// `tcp_tsq_write()`: the socket sends again.
    pub(super) fn sends_again(&mut self, e: &Event) -> Ready {
        let ready = self.ready();
        self.enter(Context::Tsq(ready), e);
        ready
    }

    /// `tcp_tsq_handler()` runs before the lock is taken: with the socket owned it only leaves a note.
    pub(super) fn may_send_again(&mut self, e: &Event) -> Ready {
        let ready = self.ready();
        if is_owned(e) {
            self.lasting.deferred = Some(ready);
        } else {
            self.enter(Context::Tsq(ready), e);
        }
        ready
    }

    fn ready(&mut self) -> Ready {
        if std::mem::take(&mut self.lasting.kicked) { Ready::PacingTimer } else { Ready::Device }
    }

    /// An attempt to send is over: what the owner of the socket had put off is done with.
    pub(super) fn attempted(&mut self, e: &Event) {
        self.lasting.attempted(e);
    }

    /// A thread is about to set an option.
    pub(super) fn sets(&mut self, tid: u32, option: u32) {
        self.lasting.ends_setting(tid);
        if self.lasting.options.len() >= MAX_OPTIONS {
            self.lasting.options.remove(0);
        }
        self.lasting.options.push((tid, option));
    }

    /// A write, or a part of it, is done: nobody is at work until something enters.
    pub(super) fn write_done(&mut self, e: &Event) {
        self.entered = None;
        self.lasting.write_done(e);
    }

    /// A FIN is being queued behind the bytes.
    pub(super) fn fin_queued(&mut self, e: &Event) {
        self.enter(Context::Fin, e);
        self.lasting.ends_setting(e.tid);
        self.lasting.fin = true;
        self.lasting.written_to = e.seq(Field::write_seq).map(|end| Seq(end.0.wrapping_add(1)));
    }

    /// Whether a segment that ends the queue carries a FIN.
    pub(super) const fn is_fin(&self) -> bool {
        self.lasting.fin
    }

    /// Events were lost: whoever was thought to be at work may not be.
    pub(super) fn forget(&mut self) {
        self.entered = None;
        self.lasting.options.clear();
        self.lasting.kicked = false;
    }

    /// Nothing waits any more: what the pacing timer leads to from here on is not told.
    pub(super) const fn idle(&mut self) {
        self.lasting.kicked = false;
    }

    /// Whether bytes were added since the last write ended: a write is at work.
    pub(super) fn is_grown(&self, e: &Event) -> bool {
        let written = self.lasting.written_to.zip(e.seq(Field::write_seq));
        written.is_some_and(|(known, now)| known.before(now))
    }

    /// What made a segment leave, full or not, of bytes last held by `held`.
    pub(super) fn release(&self, e: &Event, full: bool, held: Held, paced: bool) -> Release {
        let owned = is_owned(e);
        if owned && self.is_grown(e) {
            return by_write(full, held, is_urgent(e));
        }
        if owned
            && let Some((_, option)) = self.lasting.options.iter().find(|(tid, _)| *tid == e.tid)
        {
            return if *option == TCP_CORK { Release::Uncork } else { Release::Nodelay };
        }
        let at_work =
            self.entered.filter(|(_, tid, was_owned)| *tid == e.tid && *was_owned == owned);
        // `tcp_release_cb()` clears the note before it acts on it; the segments that came meanwhile are dealt with before.
        let put_off = match (self.lasting.deferred.filter(|_| owned), is_deferred(e)) {
            (Some(_), None) => return Release::Undetermined,
            (Some(ready), Some(false)) => Some(Context::Tsq(ready)),
            _ => None,
        };
        match put_off.or_else(|| at_work.map(|(context, ..)| context)) {
            Some(Context::Segment { acked: false, edge }) if has_moved(edge, e) => {
                Release::WindowUpdate
            }
            Some(Context::Segment { .. }) => Release::Ack,
            Some(Context::Timer(ICSK_TIME_PROBE0)) => Release::ProbeTimer,
            Some(Context::Timer(ICSK_TIME_LOSS_PROBE)) => Release::LossProbe,
            Some(Context::Fin) => Release::Fin,
            Some(Context::Tsq(Ready::PacingTimer)) => Release::PacingTimer,
            // Where the pacing timer cannot be probed it comes this way too.
            Some(Context::Tsq(Ready::Device)) if !paced => Release::Tsq,
            None if owned => by_task(e, held),
            _ => Release::Undetermined,
        }
    }
}

impl Lasting {
    /// As [`Attribution::enter`].
    pub(super) fn entered(&mut self, e: &Event) {
        if is_owned(e) {
            self.ends_setting(e.tid);
        } else {
            self.deferred = None;
        }
    }

    /// As [`Attribution::write_done`].
    pub(super) fn write_done(&mut self, e: &Event) {
        if let Some(write_seq) = e.seq(Field::write_seq) {
            self.written_to = Some(write_seq);
        }
        self.ends_setting(e.tid);
        self.attempted(e);
    }

    fn attempted(&mut self, e: &Event) {
        if is_deferred(e) == Some(false) {
            self.deferred = None;
        }
    }

    fn ends_setting(&mut self, tid: u32) {
        if !self.options.is_empty() {
            self.options.retain(|(setter, _)| *setter != tid);
        }
    }
}

/// A write sends what waits because a segment is full, because it is urgent, because it does not say `MSG_MORE` itself, or
/// because its attempt meets no limit any more. Anything else (a push for want of buffer space) is not told apart.
const fn by_write(full: bool, held: Held, urgent: bool) -> Release {
    match held {
        Held::MsgMore | Held::Nagle | Held::Cork if !full && urgent => Release::UrgentData,
        Held::MsgMore if !full => Release::Push,
        Held::Nagle | Held::Cork | Held::Undetermined if !full => Release::Undetermined,
        _ => Release::MoreData,
    }
}

/// A task that neither writes nor calls `setsockopt()` on this socket sends what waits: the end of a splice what its last
/// page said more would follow; the kernel, which sets options of sockets of its own and of subflows of MPTCP without that
/// call, what the socket's bits tell. `TCP_NAGLE_PUSH` lasts until the next buffer is queued.
fn by_task(e: &Event, held: Held) -> Release {
    let nonagle = e.u32(Field::nonagle);
    let has = |bit: u32| nonagle.is_some_and(|nonagle| nonagle & bit != 0);
    match held {
        Held::MsgMore => Release::Push,
        Held::Cork if nonagle.is_some() && !has(TCP_NAGLE_CORK) => Release::Uncork,
        Held::Cork if has(TCP_NAGLE_PUSH) => Release::Nodelay,
        Held::Nagle if has(TCP_NAGLE_OFF) => Release::Nodelay,
        _ => Release::Undetermined,
    }
}

/// Whether the peer's window reaches further than before.
fn has_moved(edge: Option<Seq>, e: &Event) -> bool {
    edge.zip(edge_of(e)).is_some_and(|(before, now)| now.after(before))
}

/// End of the peer's window.
pub(super) fn edge_of(e: &Event) -> Option<Seq> {
    Some(Seq(e.seq(Field::snd_una)?.0.wrapping_add(e.u32(Field::snd_wnd)?)))
}

/// Whether the owner of the socket is still to send for the device or the pacing timer.
fn is_deferred(e: &Event) -> Option<bool> {
    Some(e.u32(Field::sk_tsq_flags)? & TSQF_DEFERRED != 0)
}

pub(super) fn is_owned(e: &Event) -> bool {
    e.u32(Field::sk_lock_owned).unwrap_or(0) != 0
}

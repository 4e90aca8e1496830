//! The end that the SYN comes to: what `tcp_try_fastopen()` decides, in its order, and what becomes of the socket it makes.

use tcptrace_common::{
    field::Field,
    tcp::{ETIMEDOUT, TCP_CLOSE, TFO_SERVER_COOKIE_NOT_REQD, TFO_SERVER_ENABLE},
};

use super::{Attempt, Fact, Outcome, Queue, Reason, Side, SynOption, machine::State};
use crate::{
    event::{Event, Seq},
    finding::Task,
};

/// A SYN that was dealt with.
#[derive(Clone, Debug)]
pub(super) struct Server {
    syn: Syn,
    outcome: Outcome,
    reason: Option<Reason>,
    at_ns: u64,
    accepted: Option<(u64, Task)>,
    /// The socket is no request any more.
    removed: bool,
    gone: bool,
}

/// What came, and what the listener was like.
#[expect(clippy::struct_excessive_bools, reason = "each was so or not, whatever the others")]
#[derive(Clone, Copy, Debug)]
struct Syn {
    option: SynOption,
    experimental: bool,
    bytes: u32,
    isn: Option<Seq>,
    is_made: bool,
    /// The cookie that is sent is the one that came.
    same: bool,
    /// Length of the cookie that is sent; 0 or less without one.
    foc_out: i32,
    setting: Option<u32>,
    no_cookie: bool,
    queue: Option<Queue>,
}

impl Server {
    /// Nothing more can belong to it.
    pub(super) const fn is_settled(&self) -> bool {
        !self.syn.is_made || self.gone || (self.removed && self.accepted.is_some())
    }

    /// The connection is over.
    pub(super) const fn over(&mut self, error: u32) {
        if !self.removed && error == ETIMEDOUT {
            self.reason = Some(Reason::ChildTimedOut);
        }
    }

    /// The socket is gone.
    pub(super) const fn gone(&mut self) {
        self.gone = true;
    }

    pub(super) fn attempt(self) -> Attempt {
        let Syn { option, experimental, bytes, isn, foc_out, setting, queue, is_made, .. } =
            self.syn;
        Attempt {
            task: self.accepted.map(|(_, task)| task),
            syn_data_bytes: Some(bytes),
            acked_bytes: Some(if is_made { bytes } else { 0 }),
            option: Some(option),
            experimental,
            cookie_given: Some(foc_out > 0),
            setting,
            queue,
            accepted_ns: self.accepted.map(|(at_ns, _)| at_ns.saturating_sub(self.at_ns)),
            isn,
            ..Attempt::new(Side::Server, self.outcome, self.reason)
        }
    }
}

impl State {
    /// A SYN with data or with the option was dealt with.
    pub(super) fn on_try(&mut self, e: &Event) {
        let Some(syn) = syn(e) else { return };
        let (outcome, reason) = decided(syn);
        let server = Server {
            syn,
            outcome,
            reason,
            at_ns: e.at_ns,
            accepted: None,
            removed: false,
            gone: false,
        };
        self.server = Some(server);
        self.is_made = syn.is_made;
        let Syn { bytes, option, experimental, .. } = syn;
        self.note(e, Fact::SynIn { bytes, option, experimental });
        self.note(e, Fact::Decided { accepted: syn.is_made, cookie: syn.foc_out > 0 });
    }

    /// The socket that was made is no request any more.
    pub(super) fn on_removed(&mut self, e: &Event) {
        let Some(server) = self.server.as_mut() else { return };
        server.removed = true;
        let accepted = e.arg("accepted") == Some(1);
        let reset = e.arg("reset").is_some_and(|reset| reset & 0xff != 0);
        let fact = if reset {
            server.reason = Some(Reason::ChildReset);
            Fact::ResetIn { accepted }
        } else if e.u32(Field::skc_state) == Some(TCP_CLOSE) {
            let error = e.u32(Field::sk_err).unwrap_or(0);
            if error == ETIMEDOUT {
                server.reason = Some(Reason::ChildTimedOut);
            }
            Fact::Over { error }
        } else {
            Fact::HandshakeComplete
        };
        self.note(e, fact);
        self.waits(e);
    }

    /// A program has accepted the connection.
    pub(super) fn on_accepted(&mut self, e: &Event) {
        let Some(server) = self.server.as_mut() else { return };
        server.accepted = Some((e.at_ns, Task::at_work(e)));
        self.note(e, Fact::Accepted { task: Task::at_work(e) });
    }
}

fn syn(e: &Event) -> Option<Syn> {
    let child = e.arg("child")?;
    let signed = |name| e.arg(name).map(u32::cast_signed);
    let option = match signed("foc_in")? {
        0 => SynOption::Request,
        1.. => SynOption::Cookie,
        _ => SynOption::None,
    };
    let setting = e.u32(Field::sysctl_tcp_fastopen);
    let no_cookie = e.u32(Field::fastopen_no_cookie) == Some(1)
        || setting.is_some_and(|setting| setting & TFO_SERVER_COOKIE_NOT_REQD != 0);
    let queue = e.arg("qlen").zip(e.u32(Field::fastopenq_max_qlen)).map(|(qlen, max_qlen)| Queue {
        qlen,
        max_qlen,
        resets: e.arg("resets") == Some(1),
    });
    Some(Syn {
        option,
        experimental: child & 4 != 0 && option != SynOption::None,
        bytes: e.arg("syn_bytes")?,
        isn: e.arg("isn").map(Seq),
        is_made: child & 1 != 0,
        same: child & 2 != 0,
        foc_out: signed("foc_out")?,
        setting,
        no_cookie,
        queue,
    })
}

/// The tests of `tcp_try_fastopen()`, in its order.
fn decided(syn: Syn) -> (Outcome, Option<Reason>) {
    if syn.is_made {
        let reason = match syn.option {
            _ if syn.foc_out > 0 => Some(Reason::OldKey),
            SynOption::Request | SynOption::None => Some(Reason::Cookieless),
            SynOption::Cookie if syn.bytes == 0 => Some(Reason::NoData),
            SynOption::Cookie => None,
        };
        return (Outcome::Worked, reason);
    }
    let (Some(setting), Some(queue)) = (syn.setting, syn.queue) else {
        return (Outcome::Refused, Some(Reason::Undetermined));
    };
    let is_full = queue.qlen >= queue.max_qlen && syn.foc_out <= 0;
    let reason = match syn.option {
        _ if setting & TFO_SERVER_ENABLE == 0 => Reason::ServerBitOff,
        _ if queue.max_qlen == 0 => Reason::NotEnabled,
        // A slot whose minute is over is given away: the next tests may have refused as well.
        SynOption::None if is_full && queue.resets => Reason::Undetermined,
        _ if is_full => Reason::QueueFull,
        _ if syn.no_cookie => Reason::ChildFailed,
        SynOption::None => Reason::NoOption,
        SynOption::Request if syn.foc_out > 0 => return (Outcome::CookieGranted, None),
        SynOption::Request => Reason::NoKey,
        SynOption::Cookie if syn.foc_out <= 0 => Reason::NoKey,
        SynOption::Cookie if syn.same => Reason::ChildFailed,
        SynOption::Cookie => Reason::BadCookie,
    };
    (Outcome::Refused, Some(reason))
}

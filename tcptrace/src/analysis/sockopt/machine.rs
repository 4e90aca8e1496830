//! The calls that are under way on one socket.

use tcptrace_common::{
    field::Field,
    hook::Hook,
    sockopt::{
        MAX_VALUE, SO_BUSY_POLL, SO_KEEPALIVE, SO_LINGER, SO_MAX_PACING_RATE, SO_RCVBUF, SO_SNDBUF,
        SOL_SOCKET, VIA_BPF, VIA_IO_URING, VIA_MPTCP, VIA_SETSOCKOPT,
    },
    tcp::{
        SOCK_KEEPOPEN, SOL_TCP, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CONGESTION, TCP_CORK,
        TCP_DEFER_ACCEPT, TCP_ESTABLISHED, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_KEEPCNT,
        TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_LINGER2, TCP_LISTEN, TCP_MAXSEG, TCP_NAGLE_CORK,
        TCP_NODELAY, TCP_NOTSENT_LOWAT, TCP_QUICKACK, TCP_SYN_RECV, TCP_SYN_SENT, TCP_USER_TIMEOUT,
    },
};

use super::{
    Change, Effect, Existing, Fact, Phase, Told, Value, Via,
    judge::is_named,
    value::{name, value},
};
use crate::{
    analysis::Analysis,
    event::{Event, SocketId},
    finding::{Certainty, Evidence, Finding, Task},
};

/// Most calls that are under way on one socket at once; then the first is forgotten.
const MOST: usize = 64;

/// The options that are told of a socket that was there at the start.
const THAT_MATTER: [(u32, u32); 20] = [
    (SOL_TCP, TCP_NODELAY),
    (SOL_TCP, TCP_CORK),
    (SOL_TCP, TCP_QUICKACK),
    (SOL_TCP, TCP_DEFER_ACCEPT),
    (SOL_TCP, TCP_FASTOPEN),
    (SOL_TCP, TCP_USER_TIMEOUT),
    (SOL_TCP, TCP_NOTSENT_LOWAT),
    (SOL_SOCKET, SO_KEEPALIVE),
    (SOL_TCP, TCP_KEEPIDLE),
    (SOL_TCP, TCP_KEEPINTVL),
    (SOL_TCP, TCP_KEEPCNT),
    (SOL_TCP, TCP_CONGESTION),
    (SOL_TCP, TCP_LINGER2),
    (SOL_TCP, TCP_MAXSEG),
    (SOL_SOCKET, SO_LINGER),
    (SOL_SOCKET, SO_SNDBUF),
    (SOL_SOCKET, SO_RCVBUF),
    (SOL_SOCKET, SO_MAX_PACING_RATE),
    (SOL_SOCKET, SO_BUSY_POLL),
    (SOL_TCP, TCP_FASTOPEN_CONNECT),
];

type AnyTold = Finding<Told, Fact>;

/// The state of one socket.
#[derive(Debug, Default)]
pub struct Machine {
    /// The calls that have begun and not returned, in that order.
    calls: Vec<Event>,
    /// Up to when events were lost.
    lost_ns: Option<u64>,
}

impl Analysis for Machine {
    type Cause = Told;
    type Fact = Fact;
    const HOOKS: &'static [Hook] = &[
        Hook::option_before,
        Hook::__sys_setsockopt,
        Hook::tcp_v4_destroy_sock,
        Hook::do_sock_setsockopt,
        Hook::__bpf_setsockopt,
        Hook::tcp_sock_set_nodelay,
        Hook::tcp_sock_set_cork,
        Hook::tcp_sock_set_quickack,
        Hook::tcp_sock_set_syncnt,
        Hook::tcp_sock_set_user_timeout,
        Hook::tcp_sock_set_keepidle,
        Hook::tcp_sock_set_keepintvl,
        Hook::tcp_sock_set_keepcnt,
        Hook::sock_set_keepalive,
        Hook::sock_no_linger,
        Hook::__tcp_sock_set_nodelay,
        Hook::__tcp_sock_set_cork,
        Hook::tcp_set_congestion_control,
    ];
    const REQUIRED: usize = 3;
    const EXISTING: bool = true;

    fn on_event(&mut self, e: &Event, out: &mut Vec<AnyTold>) {
        match e.hook {
            Hook::option_before => {
                if self.calls.len() >= MOST {
                    self.calls.remove(0);
                }
                self.calls.push(e.clone());
            }
            Hook::option_after => self.returned(e, out),
            Hook::existing => out.push(existing(e)),
            Hook::socket_reused => self.calls.clear(),
            _ => {}
        }
    }

    fn on_end(&mut self, _socket: SocketId, _at_ns: u64, _out: &mut Vec<AnyTold>) {}

    fn on_loss(&mut self, at_ns: u64) {
        self.lost_ns = Some(at_ns);
    }
}

impl Machine {
    /// A call has returned. One that is a part of another call for the same option by the same thread is not told.
    fn returned(&mut self, e: &Event, out: &mut Vec<AnyTold>) {
        let key = key(e);
        let is_own = |call: &&Event| call.tid == e.tid && self::key(call) == key;
        let own = |call: &Event| is_own(&call);
        let found = self.calls.iter().rposition(|call| own(call) && via(call) == via(e));
        let before = found.map(|at| self.calls.remove(at));
        if self.calls.iter().any(own) {
            return;
        }
        let mut change = changed(before.as_ref(), e);
        if !change.judge() {
            return;
        }
        let began_ns = before.as_ref().map_or(e.at_ns, |before| before.at_ns);
        let uncertain = self.lost_ns.is_some_and(|lost_ns| lost_ns >= began_ns);
        let called = before.map(|before| Evidence {
            n: before.n,
            at_ns: before.at_ns,
            fact: Fact::Called {
                waiting_bytes: before.waiting(),
                task: Task { pid: before.pid, tid: before.tid },
            },
        });
        let returned = Evidence {
            n: e.n,
            at_ns: e.at_ns,
            fact: Fact::Returned { result: change.result, waiting_bytes: e.waiting() },
        };
        out.push(Finding {
            socket: e.socket,
            from_ns: began_ns,
            until_ns: e.at_ns,
            cause: Told::Change(change),
            evidence: called.into_iter().chain([returned]).collect(),
            certainty: if uncertain { Certainty::May } else { Certainty::Seen },
            not_seen: Vec::new(),
        });
    }
}

/// Level and number of the option.
fn key(e: &Event) -> (u32, u32) {
    let half = |name| e.arg(name).unwrap_or(0) & 0xffff;
    (half("how"), half("option"))
}

fn via(e: &Event) -> Via {
    match e.arg("how").unwrap_or(0) >> 16 {
        VIA_SETSOCKOPT => Via::Setsockopt,
        VIA_IO_URING => Via::IoUring,
        VIA_BPF => Via::Bpf,
        VIA_MPTCP => Via::Mptcp,
        _ => Via::Kernel,
    }
}

fn changed(before: Option<&Event>, e: &Event) -> Change {
    let (level, optname) = key(e);
    let via = via(e);
    // What BPF does in softirq is no task's doing; whoever owns the socket then is at work on it.
    let is_owned = before.unwrap_or(e).u32(Field::sk_lock_owned) == Some(1);
    let task = (via != Via::Bpf || is_owned).then_some(Task::at_work(e));
    let (asked, asked_more) = asked(e);
    let bytes = before.and_then(|before| released(before, e));
    Change {
        level,
        optname,
        via,
        task,
        phase: before.and_then(phase),
        old: before.and_then(|before| value(before, level, optname)),
        new: value(e, level, optname),
        asked,
        asked_more,
        result: e.arg("ret").unwrap_or(0).cast_signed(),
        effect: Effect::Undetermined,
        reason: None,
        released_bytes: bytes,
        waiting_bytes: before.and_then(Event::waiting),
        corked: e.u32(Field::nonagle).map(|bits| bits & TCP_NAGLE_CORK != 0),
        keepalive: e.field(Field::skc_flags).map(|bits| bits & SOCK_KEEPOPEN != 0),
    }
}

/// What the program asked for; nothing where that is no number and no name that is read.
fn asked(e: &Event) -> (Option<Value>, Option<u32>) {
    let key = key(e);
    let optlen = e.arg("option").unwrap_or(0) >> 16;
    let words = ["value0", "value1", "value2", "value3"].map(|name| e.arg(name).unwrap_or(0));
    let [first, second, ..] = words;
    if optlen < 4 {
        return (None, None);
    }
    if is_named(key) {
        let mut bytes = [0; MAX_VALUE];
        for (to, from) in bytes.iter_mut().zip(words.map(u32::to_ne_bytes).as_flattened()) {
            *to = *from;
        }
        // Zeros: it could not be read. A name is cut off at 16 bytes by the kernel too.
        return ((first != 0).then(|| name(bytes)), None);
    }
    let signed = i64::from(first.cast_signed());
    match key {
        (SOL_SOCKET, SO_LINGER) if optlen >= 8 => (Some(Value::Number(signed)), Some(second)),
        (SOL_SOCKET, SO_MAX_PACING_RATE) if optlen >= 8 => {
            let wide = u64::from(second) << 32 | u64::from(first);
            (Some(Value::Number(i64::try_from(wide).unwrap_or(i64::MAX))), None)
        }
        (SOL_TCP, TCP_NOTSENT_LOWAT) | (SOL_SOCKET, SO_MAX_PACING_RATE) => {
            (Some(Value::Number(i64::from(first))), None)
        }
        _ => (Some(Value::Number(signed)), None),
    }
}

/// Bytes that waited at the start and have left; nothing where others were written meanwhile.
fn released(before: &Event, after: &Event) -> Option<u32> {
    let written = before.seq(Field::write_seq)? != after.seq(Field::write_seq)?;
    let sent = after.seq(Field::snd_nxt)?.since(before.seq(Field::snd_nxt)?);
    (!written).then(|| sent.min(before.waiting().unwrap_or(0)))
}

fn phase(e: &Event) -> Option<Phase> {
    Some(match e.u32(Field::skc_state)? {
        TCP_CLOSE => Phase::NotConnected,
        TCP_LISTEN => Phase::Listener,
        TCP_SYN_SENT | TCP_SYN_RECV => Phase::Connecting,
        // Where the peer alone has closed this end may still send.
        TCP_ESTABLISHED | TCP_CLOSE_WAIT => Phase::Connected,
        _ => Phase::Closing,
    })
}

fn existing(e: &Event) -> AnyTold {
    let of = |(level, optname): &(u32, u32)| Some((*level, *optname, value(e, *level, *optname)?));
    let task = (e.pid != 0).then_some(Task::at_work(e));
    let existing =
        Existing { task, phase: phase(e), values: THAT_MATTER.iter().filter_map(of).collect() };
    Finding {
        socket: e.socket,
        from_ns: e.at_ns,
        until_ns: e.at_ns,
        cause: Told::Existing(existing),
        evidence: vec![Evidence { n: e.n, at_ns: e.at_ns, fact: Fact::Read }],
        certainty: Certainty::Seen,
        not_seen: Vec::new(),
    }
}

//! The names of things, and the sentence about all calls.

use smallvec::smallvec;

use super::shown::option;
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        sockopt::{Effect, Phase, Reason, Told, Via},
    },
    explain::{Name, Place, Shape as Layout, Totals, Words, names_of_both, units::counted},
    finding::{Finding, Task},
};

pub(in crate::explain) const WORDS: Words = Words {
    question: "sockopt",
    about: "who set which TCP option, when, and whether it could still matter",
    manual: "\
Who set which TCP option, when, and whether it could still matter.

Each call that sets an option of TCP is one finding, and each that sets an option of sockets on which TCP's waiting depends \
(SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_LINGER, SO_BUSY_POLL, SO_MAX_PACING_RATE): the value before and after, both read from \
the socket, in the option's own unit; what was asked for, where the kernel keeps something else; the result; and whether it \
changed anything. It came by setsockopt() of 64 or 32 bits, by io_uring, from a BPF program, from the kernel itself, or from \
Multipath TCP. Options 1 and 3 of SOL_SOCKET, and option 1 of IPPROTO_IP set to 1, are told as well: they are what a program \
sets that means TCP_NODELAY or TCP_CORK and gives another level.

With --existing the options of all sockets that are there at the start come first, read from the sockets without touching \
them.

With --port, --local and --remote an option that is set before the socket has that address is not seen: ask without them, or \
with --pid. What is set on a listener is inherited by each socket that it accepts from then on, and no call is seen there.",
    one: "sockopt",
    many: "calls",
    total_ns: "calls_total_ns",
    columns: &["option", "effect"],
    headline,
    innocent: |_, _| None,
    shape: Layout::Story,
    causes,
    releases: Vec::new,
    least: "--min-duration",
    sized: false,
    asks: true,
};

/// Nobody, where nobody was seen.
const NOBODY: Task = Task { pid: 0, tid: 0 };

/// The effects, then the reasons, then what is no call.
fn causes() -> Vec<Name> {
    let mut names = names_of_both::<Effect, Reason>();
    let what = "A socket that was there at the start, and its options".to_owned();
    names.push(("existing".to_owned(), what));
    names
}

pub(in crate::explain) fn place(finding: &Finding<Cause, AnyFact>, told: &Told) -> Place {
    let columns = match told {
        Told::Change(change) => {
            let key = (change.level, change.optname);
            smallvec![option(key).into(), effect(change.effect).into()]
        }
        Told::Existing(_) => smallvec!["existing".into(), "read".into()],
    };
    Place {
        task: told.task().unwrap_or(NOBODY),
        columns,
        bytes: 0,
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
        usual: false,
        always: true,
    }
}

const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::TookEffect => "took effect",
        Effect::NoEffect => "no effect",
        Effect::InheritedByChildren => "inherited",
        Effect::Refused => "refused",
        Effect::Undetermined => "not determined",
    }
}

/// What stands beside the socket's name.
pub(super) const fn phase(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::NotConnected => Some("not connected"),
        Phase::Listener => Some("listener"),
        Phase::Connecting => Some("connecting"),
        Phase::Connected => None,
        Phase::Closing => Some("closing"),
    }
}

/// Whose doing it was, where it was no system call.
pub(super) const fn by(via: Via) -> &'static str {
    match via {
        Via::Setsockopt => "",
        Via::IoUring => ", by io_uring",
        Via::Bpf => ", by a BPF program",
        Via::Kernel => ", by the kernel itself",
        Via::Mptcp => ", by Multipath TCP on its subflow",
    }
}

fn headline(totals: &Totals) -> String {
    let sockets = counted(totals.sockets_found, "socket", "sockets");
    match totals {
        Totals { findings: 0, lost: true, .. } => {
            "no option was seen to be set, but events were lost: that proves nothing.".to_owned()
        }
        Totals { findings: 0, .. } => "nobody set an option.".to_owned(),
        Totals { findings, .. } => {
            format!("{} on {sockets}", counted(*findings, "option told", "options told"))
        }
    }
}

//! The names of things, and the sentence about all stretches.

use smallvec::SmallVec;
use tcptrace_common::tcp::{
    MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, MSG_OOB, MSG_ZEROCOPY, TCP_CLOSE, TCP_CLOSE_WAIT,
    TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_LISTEN,
    TCP_SYN_RECV, TCP_SYN_SENT, TCP_TIME_WAIT,
};

use crate::{
    analysis::{Cause, Fact as AnyFact, timeline::Stretch},
    explain::{
        Place, Shape, Totals, Words,
        units::{count, counted},
    },
    finding::{Finding, Task},
};

pub(in crate::explain) const WORDS: Words = Words {
    question: "timeline",
    about: "everything known about each socket, in order",
    manual: "\
Everything that is known about each socket, in order, as it happens.

A line above each group of lines says whose they are: local address, peer's address, and who uses the socket. A line \
stands for one event: > is what this host sends, < is what comes in. Bytes that wait are a span: it begins with ┌ and \
what holds them, and ends with └, what let them go, and how long they waited; what happens meanwhile stands behind │.

The lines of a socket are printed in stretches of one second at most. The first line of a stretch has the time of day, \
each line the time since that first line. What still waits at the end of a stretch is called still held; its end stands \
in a later one. With -v the lines that change nothing are shown too: every segment, every attempt to send, every timer \
that was set. Sequence numbers count from the first byte seen on the socket.

Where events were lost, a line says so at its place. No byte of what was written is read, shown or stored.",
    one: "stretch",
    many: "stretches",
    total_ns: "active_total_ns",
    columns: &[],
    headline,
    innocent: |_, _| None,
    shape: Shape::Timeline,
    causes: Vec::new,
    releases: Vec::new,
    least: "",
    sized: true,
    asks: false,
};

/// Nobody, where it is not known who used the socket.
const NOBODY: Task = Task { pid: 0, tid: 0 };

pub(in crate::explain) fn place(finding: &Finding<Cause, AnyFact>, stretch: &Stretch) -> Place {
    Place {
        task: stretch.owner.unwrap_or(NOBODY),
        columns: SmallVec::new(),
        bytes: stretch.written_bytes,
        lasted_ns: finding.until_ns.saturating_sub(finding.from_ns),
        usual: false,
        always: false,
    }
}

/// It has no causes.
pub(in crate::explain) const fn names(_stretch: &Stretch) -> (Vec<String>, Vec<String>) {
    (Vec::new(), Vec::new())
}

pub(super) fn headline(totals: &Totals) -> String {
    match totals {
        Totals { lines: 0, lost: true, .. } => {
            "nothing was seen, but events were lost: that proves nothing.".to_owned()
        }
        Totals { lines: 0, .. } => "nothing happened.".to_owned(),
        Totals { lines, minor_lines, sockets_found, holds, .. } => {
            let minor = match minor_lines {
                0 => String::new(),
                minor => format!(" ({} of them only with -v)", count(*minor)),
            };
            format!(
                "{}{minor} on {}, {}",
                counted(*lines, "line", "lines"),
                counted(*sockets_found, "socket", "sockets"),
                counted(*holds, "hold", "holds"),
            )
        }
    }
}

/// A state in the spelling of RFC 9293; the kernel's own where the RFC has none.
pub(in crate::explain) const fn state(skc_state: u32) -> Option<&'static str> {
    Some(match skc_state {
        TCP_ESTABLISHED => "ESTABLISHED",
        TCP_SYN_SENT => "SYN-SENT",
        TCP_SYN_RECV => "SYN-RECEIVED",
        TCP_FIN_WAIT1 => "FIN-WAIT-1",
        TCP_FIN_WAIT2 => "FIN-WAIT-2",
        TCP_TIME_WAIT => "TIME-WAIT",
        TCP_CLOSE => "CLOSED",
        TCP_CLOSE_WAIT => "CLOSE-WAIT",
        TCP_LAST_ACK => "LAST-ACK",
        TCP_LISTEN => "LISTEN",
        TCP_CLOSING => "CLOSING",
        _ => return None,
    })
}

/// Whether a connection in this state has been open before: its handshake is over.
pub(super) const fn is_open(skc_state: u32) -> bool {
    matches!(
        skc_state,
        TCP_ESTABLISHED
            | TCP_FIN_WAIT1
            | TCP_FIN_WAIT2
            | TCP_CLOSE_WAIT
            | TCP_LAST_ACK
            | TCP_CLOSING
    )
}

/// `MSG_MORE | MSG_DONTWAIT`, to be broken where the line ends; the rest as a number.
pub(super) fn flags(flags: u32) -> String {
    let named = [
        (MSG_MORE, "MSG_MORE"),
        (MSG_DONTWAIT, "MSG_DONTWAIT"),
        (MSG_OOB, "MSG_OOB"),
        (MSG_NOSIGNAL, "MSG_NOSIGNAL"),
        (MSG_ZEROCOPY, "MSG_ZEROCOPY"),
    ];
    let mut rest = flags;
    let mut words: Vec<String> = Vec::new();
    for (bit, name) in named {
        if flags & bit != 0 {
            rest &= !bit;
            words.push(name.to_owned());
        }
    }
    if rest != 0 {
        words.push(format!("{rest:#x}"));
    }
    words.join(" | ")
}

/// `EAGAIN`; a number where the name is not one that a write often ends with.
pub(super) fn error(number: i32) -> String {
    // include/uapi/asm-generic/errno-base.h and errno.h; the last one is include/linux/errno.h.
    let name = match number {
        4 => "EINTR",
        11 => "EAGAIN",
        12 => "ENOMEM",
        14 => "EFAULT",
        22 => "EINVAL",
        32 => "EPIPE",
        104 => "ECONNRESET",
        107 => "ENOTCONN",
        110 => "ETIMEDOUT",
        115 => "EINPROGRESS",
        512 => "ERESTARTSYS",
        _ => return format!("error {number}"),
    };
    name.to_owned()
}

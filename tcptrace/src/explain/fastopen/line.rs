//! The lines of an attempt's evidence.

use tcptrace_common::tcp::{MSG_DONTWAIT, MSG_FASTOPEN, MSG_MORE, MSG_NOSIGNAL, option_name};

use crate::{
    analysis::fastopen::{Fact, Looked, SynOption},
    explain::{Context, Line, Mark, errno, task, units::bytes},
    finding::Evidence,
};

pub(in crate::explain) fn line(evidence: &Evidence<&Fact>, context: &Context<'_>) -> Line {
    let (mark, label, detail) = match evidence.fact {
        Fact::SynAckIn { .. } | Fact::SynIn { .. } | Fact::ResetIn { .. } => {
            let (label, detail) = came(evidence.fact);
            (Mark::In, label, detail)
        }
        Fact::OptionSet { .. }
        | Fact::Listens { .. }
        | Fact::ConnectDeferred { .. }
        | Fact::CookieLooked { .. }
        | Fact::SynOut { .. }
        | Fact::Written { .. } => {
            let (label, detail) = asked(evidence.fact, context);
            (Mark::Out, label, detail)
        }
        fact => {
            let (label, detail) = happened(fact, context);
            (Mark::None, label, detail)
        }
    };
    Line { at_ns: evidence.at_ns, mark, held: false, minor: false, label, detail }
}

/// What the program asked for, and what left.
fn asked(fact: &Fact, context: &Context<'_>) -> (String, String) {
    match fact {
        Fact::OptionSet { optname, task: who } => {
            let name = option_name(*optname).unwrap_or("an option");
            (format!("sets {name}"), task(*who, context.comms))
        }
        Fact::Listens { max_qlen, task: who } => (
            "listens".to_owned(),
            format!("{}; TCP_FASTOPEN {max_qlen}", task(*who, context.comms)),
        ),
        Fact::ConnectDeferred { task: who } => (
            "connect()".to_owned(),
            format!(
                "{}; returned at once: the first write sends the SYN",
                task(*who, context.comms)
            ),
        ),
        Fact::CookieLooked { found } => {
            let found = match found {
                Looked::Cookie => "a cookie of this address",
                Looked::None => "no cookie of this address",
                Looked::NotNeeded => "none is needed",
                Looked::Paused => "Fast Open is paused",
            };
            ("looked for a cookie".to_owned(), found.to_owned())
        }
        Fact::Written { bytes: size, returned, flags, task: who } => {
            let returned = match u64::try_from(*returned) {
                Ok(taken) => bytes(taken),
                Err(_) => errno(returned.unsigned_abs()),
            };
            let flags = flags_of(*flags);
            (
                format!("write {}", bytes((*size).into())),
                format!("{}{flags}: {returned}", task(*who, context.comms)),
            )
        }
        Fact::SynOut { bytes: data, given_bytes, option, experimental, task: who } => {
            let of = given_bytes
                .filter(|given| given != data)
                .map_or_else(String::new, |given| format!(" of {}", bytes(given.into())));
            let data = format!("{}{of}", bytes((*data).into()));
            let detail = format!(
                "{}, {data}; {}",
                carried(*option, *experimental),
                task(*who, context.comms)
            );
            ("SYN out".to_owned(), detail)
        }
        _ => (String::new(), String::new()),
    }
}

fn came(fact: &Fact) -> (String, String) {
    match fact {
        Fact::SynAckIn { acked_bytes, cookie } => {
            let acked = acked_bytes.map(|acked| format!("acknowledges {}", bytes(acked.into())));
            let cookie =
                cookie.map(|cookie| if cookie { "a cookie" } else { "no cookie" }.to_owned());
            let detail = [acked, cookie].into_iter().flatten().collect::<Vec<_>>().join(", ");
            ("SYN-ACK in".to_owned(), detail)
        }
        Fact::SynIn { bytes: data, option, experimental } => (
            "SYN in".to_owned(),
            format!("{}, {}", carried(*option, *experimental), bytes((*data).into())),
        ),
        Fact::ResetIn { accepted } => {
            let detail = if *accepted {
                "after accept(): the slot stays taken for 60 s"
            } else {
                "before accept()"
            };
            ("RST in".to_owned(), detail.to_owned())
        }
        _ => (String::new(), String::new()),
    }
}

fn happened(fact: &Fact, context: &Context<'_>) -> (String, String) {
    let (label, detail) = match fact {
        Fact::TimedOut { timeouts, gives_up } => {
            let detail = match timeouts {
                _ if *gives_up => "the kernel gives up".to_owned(),
                Some(timeouts) => {
                    format!("{timeouts} in a row; sent again without Fast Open")
                }
                None => String::new(),
            };
            ("timeout", detail)
        }
        Fact::Decided { accepted, cookie } => {
            let cookie = if *cookie { "with a cookie" } else { "without a cookie" };
            let label = if *accepted { "accepted at the SYN" } else { "ordinary handshake" };
            return (label.to_owned(), format!("SYN-ACK {cookie}"));
        }
        Fact::HandshakeComplete => {
            ("handshake complete", "the slot of the queue is free".to_owned())
        }
        Fact::Accepted { task: who } => ("accept()", task(*who, context.comms)),
        Fact::SynCookie => ("made from a SYN cookie", "nothing was kept of the SYN".to_owned()),
        Fact::Blackhole => ("Fast Open failed here", String::new()),
        Fact::Over { error: 0 } => ("connection over", String::new()),
        Fact::Over { error } => ("connection over", errno(*error)),
        _ => ("events were lost", "more may have happened here".to_owned()),
    };
    (label.to_owned(), detail)
}

/// The option of a SYN.
fn carried(option: SynOption, experimental: bool) -> String {
    let by = if experimental { " by option 254" } else { "" };
    match option {
        SynOption::None => "no option of Fast Open".to_owned(),
        SynOption::Request => format!("cookie request{by}"),
        SynOption::Cookie => format!("cookie{by}"),
    }
}

/// `, flags 0x20000040 MSG_FASTOPEN|MSG_DONTWAIT`.
fn flags_of(flags: u32) -> String {
    let named = [
        (MSG_FASTOPEN, "MSG_FASTOPEN"),
        (MSG_DONTWAIT, "MSG_DONTWAIT"),
        (MSG_MORE, "MSG_MORE"),
        (MSG_NOSIGNAL, "MSG_NOSIGNAL"),
    ];
    if flags == 0 {
        return String::new();
    }
    let set: Vec<&str> =
        named.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    format!(", flags {flags:#x} {}", set.join("|")).trim_end().to_owned()
}

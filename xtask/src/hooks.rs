//! The proof that every hook fires: read from what `/fire_hooks` prints in a guest.

use crate::report::Outcome;

/// The row of the table.
pub(crate) const SCENARIO: &str = "hooks-fire";
/// Stands before the exit code of the program.
pub(crate) const END: &str = "@@hooks-end ";
/// `@@hook NAME FORM COUNT`.
const HOOK: &str = "@@hook ";

/// The hooks the tool was founded on, with the functions that stand in for one on some kernels.
const FOUNDING: [&[&str]; 5] = [
    &["tcp_sendmsg_locked", "tcp_sendmsg"],
    &["tcp_push"],
    &["tcp_write_timer_handler"],
    &["tcp_fin"],
    &["do_tcp_setsockopt", "tcp_setsockopt", "security_socket_setsockopt"],
];

/// `@@unheld NAME FORM MODE COUNT`: how often a hook was seen while no byte waited.
const UNHELD: &str = "@@unheld ";
/// What was asked for then, and whether events may come of it.
const MODES: [(&str, bool); 4] = [
    ("held-only", false),
    ("everything", true),
    ("everything-of-own", true),
    ("everything-of-another", false),
];
/// Told only of a segment that was not taken, which takes a queueing discipline: the story `transmit_failed` fails without it; or of
/// one that was sent again while its socket closes, as the stories of repeated FINs want it.
/// And what Fast Open and `TCP_DEFER_ACCEPT` do, which is not wanted there: the rows `fastopen` and `defer_accept` fail without
/// each. The ways to set an option are no hooks with events of their own: the row `sockopt` fails without them, but for
/// `tcp_sock_set_quickack`, which no module that it loads calls. All but the
/// first are attached only where no row attaches them.
const BY_A_STORY: [&str; 44] = [
    "__tcp_transmit_skb",
    "__tcp_retransmit_skb",
    "tcp_fastopen_defer_connect",
    "tcp_fastopen_cookie_check",
    "tcp_fastopen_cache_set",
    "tcp_fastopen_active_detect_blackhole",
    "tcp_fastopen_active_disable",
    "tcp_finish_connect",
    "tcp_try_fastopen",
    "reqsk_fastopen_remove",
    "security_sock_graft",
    "inet_csk_accept",
    "inet_csk_reqsk_queue_hash_add",
    "tcp_check_req",
    "inet_csk_complete_hashdance",
    "tcp_syn_ack_timeout",
    "tcp_rtx_synack",
    "__inet_csk_reqsk_queue_drop",
    "inet_csk_reqsk_queue_drop_and_put",
    "reqsk_timer_handler",
    "tcp_req_err",
    "inet_reqsk_clone",
    "inet_csk_reqsk_queue_add",
    "tcp_data_ready",
    "inet_listen",
    "option_before",
    "security_socket_setsockopt",
    "__sys_setsockopt",
    "do_sock_setsockopt",
    "__bpf_setsockopt",
    "_bpf_setsockopt",
    "tcp_sock_set_nodelay",
    "tcp_sock_set_cork",
    "tcp_sock_set_quickack",
    "tcp_sock_set_syncnt",
    "tcp_sock_set_user_timeout",
    "tcp_sock_set_keepidle",
    "tcp_sock_set_keepintvl",
    "tcp_sock_set_keepcnt",
    "sock_set_keepalive",
    "sock_no_linger",
    "__tcp_sock_set_nodelay",
    "__tcp_sock_set_cork",
    "tcp_set_congestion_control",
];
/// What a connection on which no byte waits passes for certain.
const PASSED: [&str; 9] = [
    "tcp_sendmsg_locked",
    "tcp_push",
    "tcp_event_new_data_sent",
    "tcp_rcv_established",
    "tcp_rcv_state_process",
    "tcp_write_xmit",
    "tcp_send_fin",
    "tcp_done",
    "do_tcp_setsockopt",
];

/// What a guest is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// No kprobe can be had, and there is no row that attaches what this leaves to rows.
    pub(crate) lockdown: bool,
    /// Also on a connection on which no byte waits.
    pub(crate) unheld: bool,
}

impl Asked {
    const fn forms(self) -> &'static [&'static str] {
        if self.lockdown { &["fentry"] } else { &["fentry", "kprobe"] }
    }

    /// The line of a shell that runs it.
    pub(crate) fn command(self) -> String {
        let without = format!(" without={}", BY_A_STORY[1..].join(","));
        let without = if self.lockdown { "" } else { &without };
        let unheld = if self.unheld { " unheld" } else { "" };
        let one = |form: &&str| format!("/fire_hooks {form}{without}{unheld}");
        let all: Vec<String> = self.forms().iter().map(one).collect();
        format!("{}; echo \"{END}$?\"", all.join(" && "))
    }
}

/// One outcome for each form; kprobes cannot be had under lockdown.
pub(crate) fn outcomes(console: &[String], asked: Asked) -> Vec<Outcome> {
    let ended = console.iter().filter_map(|line| line.strip_prefix(END)).next_back();
    asked.forms().iter().map(|form| outcome(console, form, ended, asked.unheld)).collect()
}

fn outcome(console: &[String], form: &str, ended: Option<&str>, with_unheld: bool) -> Outcome {
    let fired: Vec<(&str, u64)> = console.iter().filter_map(|line| hook(line, form)).collect();
    let mut broken: Vec<String> = Vec::new();
    if ended != Some("0") {
        broken
            .push(format!("/fire_hooks ended with {}", ended.unwrap_or("nothing: it did not end")));
    }
    let silent = fired.iter().filter(|(name, count)| *count == 0 && !BY_A_STORY.contains(name));
    broken.extend(silent.map(|(name, _)| format!("{name} ({form}) did not fire")));
    for names in FOUNDING {
        if !fired.iter().any(|(name, count)| names.contains(name) && *count > 0) {
            broken.push(format!("no {form} fired on {}", names.join(" or ")));
        }
    }
    if with_unheld {
        broken.extend(unheld(console, form));
    }
    Outcome { scenario: SCENARIO.to_owned(), form: form.to_owned(), broken, ..Outcome::default() }
}

/// What is wrong with what was seen while no byte waited, hook by hook and mode by mode.
fn unheld(console: &[String], form: &str) -> Vec<String> {
    let count = |name: &str, mode: &str| {
        let start = format!("{UNHELD}{name} {form} {mode} ");
        console.iter().find_map(|line| line.strip_prefix(&start)?.trim().parse::<u64>().ok())
    };
    let mut broken = Vec::new();
    for name in PASSED {
        for (mode, wanted) in MODES {
            match count(name, mode) {
                Some(count) if (count > 0) == wanted => {}
                count => broken.push(format!("{name} ({form}, no byte waits, {mode}): {count:?}")),
            }
        }
    }
    broken
}

/// Name and count of a line of this form.
fn hook<'a>(line: &'a str, form: &str) -> Option<(&'a str, u64)> {
    let mut words = line.strip_prefix(HOOK)?.split_whitespace();
    let name = words.next()?;
    if words.next()? != form {
        return None;
    }
    Some((name, words.next().and_then(|count| count.parse().ok()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_unheld_bytes_are_seen_only_when_everything_is_wanted() {
        let line =
            |name: &str, mode: &str, count: u64| format!("{UNHELD}{name} fentry {mode} {count}");
        let mut console: Vec<String> = PASSED
            .iter()
            .flat_map(|name| MODES.map(|(mode, wanted)| line(name, mode, u64::from(wanted))))
            .collect();
        assert_eq!(unheld(&console, "fentry"), Vec::<String>::new());
        console[0] = line(PASSED[0], "held-only", 1);
        console[5] = line(PASSED[1], "everything", 0);
        assert_eq!(unheld(&console, "fentry").len(), 2);
        assert_eq!(unheld(&console, "kprobe").len(), PASSED.len() * MODES.len());
    }

    #[test]
    fn a_silent_hook_and_an_absent_one_are_named() {
        let lines = ["@@hook tcp_push fentry 0", "@@hook tcp_fin fentry 3", "@@hooks-end 0"];
        let console: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let found = outcomes(&console, Asked { lockdown: true, unheld: false });
        let broken = &found[0].broken;
        assert!(broken.iter().any(|line| line == "tcp_push (fentry) did not fire"));
        assert!(broken.iter().any(|line| line.contains("tcp_write_timer_handler")));
        assert!(!broken.iter().any(|line| line.contains("tcp_fin")));
    }
}

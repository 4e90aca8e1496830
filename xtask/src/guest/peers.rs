//! Other programs that look at TCP, of Debian's tree, beside the same workloads: what tcptrace's cost is compared with.

use std::{path::Path, process::Command};

use anyhow::{Result, bail, ensure};

use super::{
    ops::Done,
    sys::{now_ns, sleep_until},
    tool::Tool,
    tree::within,
    turns::{Row, WATCHED},
};
use crate::debian::ROOT;

/// What they come in.
pub(crate) const PACKAGES: [&str; 3] = ["bpftrace", "tcpdump", "libbpf-tools"];
/// Those that are compared where bytes are sent.
pub(crate) const OF_HOLDS: [&str; 4] = ["bpftrace fentry", "bpftrace kprobe", "tcpdump", "tcprtt"];
/// Those that are compared where connections are closed.
pub(crate) const OF_CLOSES: [&str; 3] = ["tcpdump", "tcplife", "tcpstates"];

/// Whether a tool is one of them.
pub(crate) fn is_peer(name: &str) -> bool {
    OF_HOLDS.contains(&name) || OF_CLOSES.contains(&name)
}

/// None of them says when it is ready. They compile, read the kernel's types and attach, which takes a third of this.
const START_NS: u64 = 15_000_000_000;

/// Counts and sizes of writes, pushes and departures at one port: the cheapest that one writes by hand.
const FENTRY: &str = "
    fentry:tcp_sendmsg_locked /args.sk->__sk_common.skc_num == 8080 || args.sk->__sk_common.skc_dport == 36895/
        { @writes = count(); @bytes = hist(args.size); }
    fentry:tcp_push /args.sk->__sk_common.skc_num == 8080 || args.sk->__sk_common.skc_dport == 36895/
        { @pushes = count(); }
    fentry:tcp_event_new_data_sent /args.sk->__sk_common.skc_num == 8080 || args.sk->__sk_common.skc_dport == 36895/
        { @departures = count(); }";
/// The same by kprobes.
const KPROBE: &str = "
    kprobe:tcp_sendmsg_locked { $sk = ((struct sock *)arg0)->__sk_common;
        if ($sk.skc_num == 8080 || $sk.skc_dport == 36895) { @writes = count(); @bytes = hist(arg2); } }
    kprobe:tcp_push { $sk = ((struct sock *)arg0)->__sk_common;
        if ($sk.skc_num == 8080 || $sk.skc_dport == 36895) { @pushes = count(); } }
    kprobe:tcp_event_new_data_sent { $sk = ((struct sock *)arg0)->__sk_common;
        if ($sk.skc_num == 8080 || $sk.skc_dport == 36895) { @departures = count(); } }";

/// Starts the one of this name; an error says why it cannot run on this kernel.
pub(super) fn start(name: &str) -> Result<Tool> {
    ready()?;
    let words: Vec<&str> = match name {
        "bpftrace fentry" => vec!["bpftrace", "-e", FENTRY],
        "bpftrace kprobe" => vec!["bpftrace", "-e", KPROBE],
        // It would become a user that this tree has not.
        "tcpdump" => vec!["tcpdump", "-Z", "root", "-i", "lo", "-w", "/dev/null", "port", "8080"],
        "tcprtt" => vec!["/usr/sbin/tcprtt-libbpf", "-p", "8080"],
        "tcplife" => vec!["/usr/sbin/tcplife-libbpf"],
        "tcpstates" => vec!["/usr/sbin/tcpstates-libbpf"],
        _ => bail!("no peer has the name {name}"),
    };
    let mut tool = Tool::spawn_any(within(&words), false)?;
    sleep_until(now_ns() + START_NS);
    if tool.has_ended()? {
        let (said, complaints) = tool.ended()?;
        bail!("{} {}", said.trim(), complaints.join(" / "));
    }
    Ok(tool)
}

/// The tree sees what the kernel shows of itself.
fn ready() -> Result<()> {
    ensure!(Path::new(ROOT).is_dir(), "this guest has no {ROOT}");
    for (what, at) in [("/proc", "proc"), ("/dev", "dev"), ("/sys", "sys")] {
        let at = Path::new(ROOT).join(at);
        std::fs::create_dir_all(&at)?;
        if std::fs::read_dir(&at)?.next().is_none() {
            let done = Command::new("mount").args(["-o", "rbind", what]).arg(&at).status()?;
            ensure!(done.success(), "{what} cannot be shown in {ROOT}");
        }
    }
    Ok(())
}

/// What it said is not what was done; of one that only draws a histogram it is enough that it did.
pub(super) fn wrong(
    name: &str,
    text: &str,
    complaints: &[String],
    all: &[(Row, Done)],
) -> Option<String> {
    let sum = |of: fn(&Done) -> u64| {
        let watched = all.iter().filter(|(row, _)| row.port == WATCHED);
        watched.map(|(_, done)| of(done)).sum::<u64>()
    };
    let (what, told, wanted) = match name {
        "bpftrace fentry" | "bpftrace kprobe" => {
            ("writes", number(text, "@writes: "), sum(|done| done.sends))
        }
        "tcpdump" => {
            let dropped = complaints.iter().find(|line| line.contains("dropped by kernel"));
            let dropped = dropped.and_then(|line| line.split(' ').next()?.parse().ok());
            ("packets dropped", dropped, 0)
        }
        "tcprtt" => return text.is_empty().then(|| "it says nothing".to_owned()),
        // They tell connections at all ports.
        "tcplife" => {
            let told = text.lines().skip(1).filter(|line| !line.is_empty()).count();
            let wanted: u64 = all.iter().map(|(_, done)| done.closes).sum();
            ("connections", Some(told as u64), wanted)
        }
        _ => return text.is_empty().then(|| "it says nothing".to_owned()),
    };
    (told != Some(wanted)).then(|| format!("{what}: told {told:?} of {wanted}"))
}

/// The number behind a name.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::ops::Mode;

    #[test]
    fn what_they_say_is_compared_with_what_was_done() {
        let row = |port| Row { mode: Mode::Pp, port, ops: None };
        let done = Done { sends: 10, closes: 2, ..Done::default() };
        let all = [(row(WATCHED), done.clone()), (row(9090), done)];
        let says = |name: &str, text: &str| wrong(name, text, &[], &all).is_some();
        assert!(!says("bpftrace fentry", "@pushes: 10\n@writes: 10\n"));
        assert!(says("bpftrace fentry", "@writes: 9\n") && says("bpftrace kprobe", ""));
        assert!(!says("tcplife", "PID COMM\n1 a\n1 a\n1 b\n1 b\n") && says("tcplife", "PID\n"));
        let dropped = |line: &str| wrong("tcpdump", "", &[line.to_owned()], &all).is_some();
        assert!(!dropped("0 packets dropped by kernel") && dropped("3 packets dropped by kernel"));
    }
}

//! `cargo xtask pages`: the pages of `docs/` that are made from the tables in the code.

use std::{fmt::Write as _, fs, process::ExitCode};

use anyhow::{Context as _, Result};
use tcptrace_common::{
    field::Field,
    hook::{At, Hook, OWN, RET},
};

use crate::{
    command, kernels,
    scenario::{CANNOT, MAY, WAYS},
};

/// `cargo xtask pages`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say whether they are up to date
    #[arg(long)]
    check: bool,
}

/// Writes the pages, or compares them.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    Ok(if run(args.check)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the pages are as the tables say (afterwards, when they are written).
pub(crate) fn run(check: bool) -> Result<bool> {
    let mut current = true;
    for (name, text) in [("hooks.md", hooks()), ("fields.md", fields()), ("ways.md", ways())] {
        let path = command::repository().join("docs").join(name);
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if check {
            println!("FAIL docs/{name} is not what the tables say: cargo xtask pages");
            current = false;
        } else {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(current)
}

/// One line of a table's cell.
fn cell(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hooks() -> String {
    let mut out = "# Hooks\n\nThe kernel functions that tcptrace can probe. Made from \
                   `tcptrace-common/src/hook.rs` by `cargo xtask pages`.\n"
        .to_owned();
    for hook in Hook::ALL {
        let at = match hook.at() {
            At::Entry => "at its entry (fentry, or a kprobe)",
            At::Exit => "at its return (fexit, or a kprobe and a kretprobe)",
            At::Record => "no probe: written by the program that meets the socket",
        };
        let _ = write!(out, "\n## `{}`\n\n{}\n\n- {at}\n", hook.name(), cell(hook.doc()));
        let stand_ins: Vec<String> =
            hook.symbols().iter().skip(1).map(|name| format!("`{name}`")).collect();
        if !stand_ins.is_empty() {
            let _ = writeln!(out, "- where this kernel lacks it: {}", stand_ins.join(", then "));
        }
        if let Some(tracepoint) = hook.tracepoint() {
            let _ = writeln!(
                out,
                "- where it can be had: at the tracepoint `{tracepoint}` instead, its first statement"
            );
        }
        let args: Vec<String> = hook.args().iter().map(|arg| argument(*arg)).collect();
        if !args.is_empty() {
            let _ = writeln!(out, "- arguments: {}", args.join(", "));
        }
        let fields: Vec<String> = hook.fields().iter().map(|f| format!("`{}`", f.name())).collect();
        let _ = writeln!(out, "- fields: {}", fields.join(", "));
        let _ = writeln!(out, "- record: {} bytes", 40 + 4 * hook.slots());
    }
    out
}

fn ways() -> String {
    let mut out = "# Ways to write\n\nThe ways in which bytes are given to TCP, and what `tcptrace nagle` \
                   sees of them. *yes*: the story of `xtask/src/scenario` runs in every \
                   `cargo xtask test`, over IPv4 and IPv6, by both forms of probes and from a recording, and each \
                   hold of it is found with its bytes, causes, release and times. Anything else is said here, and only \
                   here. Made from `xtask/src/scenario/ways.rs` by `cargo xtask pages`.\n\n| way | story |"
        .to_owned();
    let kernels: Vec<&str> = kernels::MATRIX.iter().map(|series| series.name).collect();
    for kernel in &kernels {
        let _ = write!(out, " {kernel} |");
    }
    let _ = writeln!(out, "\n|---|---|{}", "---|".repeat(kernels.len()));
    for (way, story) in WAYS {
        let cells: Vec<&str> = kernels
            .iter()
            .map(|kernel| {
                let listed = CANNOT.iter().find(|row| row.0 == *kernel && row.1 == story);
                let may = MAY.iter().find(|row| row.0 == story).map(|row| row.1);
                listed.map(|row| row.2).or(may).unwrap_or("yes")
            })
            .collect();
        let _ = writeln!(out, "| {way} | `{story}` | {} |", cells.join(" | "));
    }
    out + NOT_SHOWN
}

/// What has no story.
const NOT_SHOWN: &str = "
Not shown by a story:

- Other senders inside the kernel (NFS, SMB, iSCSI, NVMe over TCP and the like) go by the functions that KCM goes by,
  `tcp_sendmsg_locked()` and, to 6.4, `do_tcp_sendpages()`; where a kernel thread sends, it is the writer that is named. Where the
  socket is the kernel's own, `way` says so, and nothing is advised.
- On 5.10 no sender inside the kernel is shown: of those that are built there, NFS and NVMe over TCP switch Nagle off before they
  send, so that only windows and the device hold their bytes.
- Before 5.12, and in 5.10 before 5.10.162, a worker of io_uring is a kernel thread: it is named, not the program it works for.
- A ring whose own thread polls for requests (`IORING_SETUP_SQPOLL`) has no story: that thread keeps a guest's processor busy. Since
  5.12 it belongs to the program, which is named.
- The size of a write to an MPTCP socket is not told, because MPTCP gives its subflows bytes by a function of its own; holds of the
  first write that is seen on such a subflow say *may*. Where MPTCP gives them later, in softirq, no writer is named.
- What kernel TLS, MPTCP or a sockmap have not given to TCP yet is not seen.
";

fn argument((name, at): (&str, usize)) -> String {
    match at {
        RET.. => format!("`{name}` (its result)"),
        OWN => format!("`{name}` (counted by the program)"),
        _ => format!("`{name}`"),
    }
}

fn fields() -> String {
    let mut out = "# Fields\n\nThe kernel struct fields that tcptrace reads, found by name in the \
                   running kernel's BTF. Made from `tcptrace-common/src/field.rs` by `cargo xtask \
                   pages`. Where a field moved between kernels, the places are tried in order.\n\n\
                   | field | where | what |\n|---|---|---|\n"
        .to_owned();
    for field in Field::ALL {
        let places: Vec<String> = field
            .places()
            .iter()
            .map(|(strukt, path)| format!("`{strukt}.{}`", path.replace('|', "\\|")))
            .collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            field.name(),
            places.join(" or "),
            cell(field.doc())
        );
    }
    out
}

//! What tcptrace says and how it ends when it cannot: rights, type information, probes or room for its output missing.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use super::tool::Tool;
use crate::report::Outcome;

/// The row of the table.
pub(crate) const NAME: &str = "refusals";
/// Whoever has no rights at all.
const NOBODY: u32 = 65_534;

/// One way to be refused, and what must be said of it.
struct Refusal {
    what: &'static str,
    run: fn(&mut Command),
    code: i32,
    says: &'static str,
}

/// `docs/exit-codes.md`.
const REFUSALS: [Refusal; 6] = [
    Refusal {
        what: "no rights",
        run: without_rights,
        code: 3,
        says: "CAP_BPF and CAP_PERFMON are missing",
    },
    Refusal {
        what: "no type information",
        run: without_btf,
        code: 3,
        says: "needs a kernel built with CONFIG_DEBUG_INFO_BTF",
    },
    Refusal { what: "full disk", run: to_full, code: 2, says: "could not be written" },
    Refusal { what: "a port that is none", run: to_port_0, code: 2, says: "--port" },
    Refusal { what: "no such command", run: no_command, code: 2, says: "cannot run '/none'" },
    Refusal { what: "a duration without unit", run: for_10, code: 2, says: "10 of what?" },
];

/// Under lockdown no kprobe can be had, and without a probe there is no answer.
const LOCKED_DOWN: [Refusal; 1] =
    [Refusal { what: "no kprobes", run: by_kprobe, code: 3, says: "locked down" }];

/// Tries them all.
pub(crate) fn outcome(tcptrace: &Path, lockdown: bool) -> Outcome {
    let all: &[Refusal] = if lockdown { &LOCKED_DOWN } else { &REFUSALS };
    let mut broken: Vec<String> =
        all.iter().filter_map(|refusal| wrong(tcptrace, refusal)).collect();
    if !lockdown {
        broken.extend(stopped_at_once(tcptrace).unwrap_or_else(|error| Some(format!("{error:#}"))));
    }
    Outcome {
        scenario: NAME.to_owned(),
        family: "no".to_owned(),
        form: "any".to_owned(),
        broken,
        ..Outcome::default()
    }
}

/// What is wrong with the way in which tcptrace is refused.
fn wrong(tcptrace: &Path, refusal: &Refusal) -> Option<String> {
    let mut command = Command::new(tcptrace);
    command.args(["nagle", "--duration", "200ms"]).stdin(Stdio::null());
    (refusal.run)(&mut command);
    let Output { status, stderr, .. } = match command.output() {
        Ok(output) => output,
        Err(error) => return Some(format!("{}: cannot be tried: {error}", refusal.what)),
    };
    let said = String::from_utf8_lossy(&stderr);
    let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
    if status.code() == Some(refusal.code) && said.contains(refusal.says) && errors == 1 {
        return None;
    }
    Some(format!("{}: it ended with {status} and said {said:?}", refusal.what))
}

/// Interrupted as soon as it says that it goes on, it ends with its summary, however often that is tried.
fn stopped_at_once(tcptrace: &Path) -> anyhow::Result<Option<String>> {
    for _ in 0..5 {
        let tool = Tool::start(tcptrace, &["nagle", "--json"].map(str::to_owned), false)?;
        let (text, complaints) = tool.stop()?;
        if !complaints.is_empty() || !text.contains("\"type\":\"summary\"") {
            return Ok(Some(format!("stopped at once: it said {text:?}, {complaints:?}")));
        }
    }
    Ok(None)
}

fn without_rights(command: &mut Command) {
    command.uid(NOBODY).gid(NOBODY);
}

fn without_btf(command: &mut Command) {
    let hide = || {
        // SAFETY: a plain system call in the child.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let (none, btf, tmpfs) = (c"none".as_ptr(), c"/sys/kernel/btf".as_ptr(), c"tmpfs".as_ptr());
        // SAFETY: a plain system call with valid strings, in a namespace of the child's own.
        if unsafe { libc::mount(none, btf, tmpfs, 0, std::ptr::null()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(hide) };
}

/// Without such a device the output goes to a pipe, and the row says that it should have failed.
fn to_full(command: &mut Command) {
    if let Ok(full) = File::options().write(true).open("/dev/full") {
        command.stdout(full);
    }
}

fn to_port_0(command: &mut Command) {
    command.args(["--port", "0"]);
}

fn no_command(command: &mut Command) {
    command.args(["--", "/none"]);
}

fn for_10(command: &mut Command) {
    command.args(["--min-hold", "10"]);
}

fn by_kprobe(command: &mut Command) {
    command.args(["--attach", "kprobe"]);
}

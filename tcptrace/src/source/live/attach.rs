//! Puts the programs on their hooks: the first form that the kernel takes, and why it took none.

use std::any::Any;

use aya::{
    Btf, Ebpf,
    maps::HashMap,
    programs::{Program, ProgramError, ProgramFd},
};
use tcptrace_common::hook::{At, Hook};

use super::Request;
use crate::{
    event::Attached,
    kernel::{privilege, symbols::Symbols},
    source::{
        plan::{Candidate, Form, kprobes},
        refusal::AttachError,
    },
};

/// The programs that keep the table of the command's processes, by their tracepoints.
const TREE_PROGRAMS: [&str; 2] = ["sched_process_fork", "sched_process_free"];

pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    plan: Vec<(Hook, Vec<Candidate>)>,
    btf: &Btf,
    request: &Request,
) -> Result<Attachment, AttachError> {
    let mut all = Attachment::default();
    if let Some(pid) = request.command {
        all.programs.extend(follow_command(ebpf, btf, pid)?);
    }
    let mut symbols = None;
    for (i, (hook, tracing)) in plan.into_iter().enumerate() {
        let tried = match attach_first(ebpf, btf, hook, tracing, Vec::new()) {
            // Where its function has gone, another hook sees what it was there for.
            Err(why)
                if why.is_empty() && request.form == Form::Auto && hook.replaced_by().is_some() =>
            {
                Err(why)
            }
            Err(why) if request.form != Form::Fentry => {
                let has = |name: &str| ebpf.program(name).is_some();
                let kprobes = kprobes(hook, known(&mut symbols)?, &has);
                attach_first(ebpf, btf, hook, kprobes, why)
            }
            tried => tried,
        };
        match tried.map_err(|why| unattached(hook, why)) {
            Ok((programs, at)) => {
                all.programs.extend(programs);
                all.attached.push(at);
            }
            Err(Unattached { why, .. }) if i < request.required => {
                return Err(AttachError::Hook { hook: hook.name(), why });
            }
            Err(Unattached { absent: true, .. }) if hook.replaced_by().is_some() => {}
            Err(_) => all.not_seen.push(hook.name()),
        }
    }
    Ok(all)
}

/// What was attached, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Attachment {
    pub(super) programs: Vec<On>,
    pub(super) attached: Vec<Attached>,
    pub(super) not_seen: Vec<&'static str>,
}

/// A program that is on its hook while this lives. The object that it was loaded from is needed no more.
#[derive(Debug)]
pub(super) struct On {
    pub(super) name: String,
    pub(super) program: ProgramFd,
    pub(super) is_kprobe: bool,
    /// Taken off when it is dropped.
    _link: Box<dyn Any>,
}

impl On {
    fn new<L: Any>(name: &str, program: &ProgramFd, link: L) -> Result<Self, ProgramError> {
        let program = program.try_clone().map_err(ProgramError::IOError)?;
        Ok(Self { name: name.to_owned(), program, is_kprobe: false, _link: Box::new(link) })
    }
}

/// Attaches the first candidate that the kernel takes; otherwise says why each failed, after what is known already.
fn attach_first(
    ebpf: &mut Ebpf,
    btf: &Btf,
    hook: Hook,
    candidates: Vec<Candidate>,
    mut why: Vec<String>,
) -> Result<(Vec<On>, Attached), Vec<String>> {
    for candidate in candidates {
        let (name, tried) = match &candidate {
            Candidate::Tracing { function, .. } => {
                let at_entry =
                    hook.at_entry().filter(|_| hook.symbols().contains(&function.as_str()));
                (function.clone(), attach_tracing(ebpf, btf, &candidate, at_entry))
            }
            Candidate::Tracepoint { program, tracepoint } => {
                let tried = attach_tracepoint(ebpf, btf, program, tracepoint);
                ((*tracepoint).to_owned(), tried.map(|on| vec![on]))
            }
            Candidate::RawTracepoint { program, tracepoint } => {
                let tried = attach_raw_tracepoint(ebpf, program, tracepoint);
                ((*tracepoint).to_owned(), tried.map(|on| vec![on]))
            }
            Candidate::Kprobe { symbol, .. } => (symbol.clone(), attach_kprobe(ebpf, &candidate)),
        };
        match tried {
            Ok(programs) => {
                let kind = kind(&candidate, hook);
                return Ok((programs, Attached { hook, function: name, kind }));
            }
            Err(e) => why.push(format!("{} on {name}: {}", kind(&candidate, hook), brief(&e))),
        }
    }
    Err(why)
}

/// The kernel's functions, read when a hook is first without a tracing program: a tenth of the time that attaching takes.
fn known(symbols: &mut Option<Symbols>) -> Result<&Symbols, AttachError> {
    if symbols.is_none() {
        *symbols = Some(Symbols::of_running_kernel().map_err(AttachError::Symbols)?);
    }
    symbols.as_ref().ok_or(AttachError::Object("list of symbols"))
}

/// Nothing was attached for `hook`.
fn unattached(hook: Hook, mut why: Vec<String>) -> Unattached {
    let absent = why.is_empty();
    if absent {
        why.push(format!("this kernel has none of: {}", hook.symbols().join(", ")));
    }
    if privilege::locked_down() {
        why.push("the kernel is locked down (confidentiality): kprobes are refused, tracing programs are not".to_owned());
    } else if privilege::perf_event_paranoid().is_some_and(|level| level >= 3) {
        why.push("kernel.perf_event_paranoid is 3 or more: kprobes need CAP_SYS_ADMIN".to_owned());
    }
    Unattached { why: why.join("\n  "), absent }
}

/// Why nothing was attached for a hook.
#[derive(Debug)]
struct Unattached {
    why: String,
    /// The kernel has no such function.
    absent: bool,
}

fn kind(candidate: &Candidate, hook: Hook) -> &'static str {
    match (candidate, hook.at()) {
        (Candidate::Tracing { .. }, At::Exit) => "fexit",
        (Candidate::Tracing { .. }, _) => "fentry",
        (Candidate::Tracepoint { .. }, _) => "tp_btf",
        (Candidate::RawTracepoint { .. }, _) => "raw_tp",
        (Candidate::Kprobe { at_return: Some(_), .. }, _) => "kretprobe",
        (Candidate::Kprobe { .. }, _) => "kprobe",
    }
}

/// The innermost reason, without the verifier's log.
pub(super) fn brief(error: &ProgramError) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let chatter = ["processed", "stack depth", "verification time", "mark_precise"];
            let tells = |line: &&str| {
                !line.trim().is_empty() && !chatter.iter().any(|start| line.starts_with(start))
            };
            let last = log.lines().rev().find(tells).unwrap_or("");
            format!("{io_error} ({last})")
        }
        _ => inner.to_string(),
    };
    text.trim_end_matches(" ()").to_owned()
}

fn attach_tracing(
    ebpf: &mut Ebpf,
    btf: &Btf,
    candidate: &Candidate,
    at_entry: Option<&str>,
) -> Result<Vec<On>, ProgramError> {
    let Candidate::Tracing { program: name, function } = candidate else { return Ok(Vec::new()) };
    let entry = at_entry.map(|entry| attach_one_tracing(ebpf, btf, entry, function)).transpose()?;
    let own = attach_one_tracing(ebpf, btf, name, function)?;
    Ok(entry.into_iter().chain([own]).collect())
}

fn attach_one_tracing(
    ebpf: &mut Ebpf,
    btf: &Btf,
    name: &str,
    function: &str,
) -> Result<On, ProgramError> {
    match ebpf.program_mut(name) {
        Some(Program::FEntry(p)) => {
            p.load(function, btf)?;
            let id = p.attach()?;
            let link = p.take_link(id)?;
            On::new(name, p.fd()?, link)
        }
        Some(Program::FExit(p)) => {
            p.load(function, btf)?;
            let id = p.attach()?;
            let link = p.take_link(id)?;
            On::new(name, p.fd()?, link)
        }
        _ => Err(ProgramError::NotLoaded),
    }
}

fn attach_tracepoint(
    ebpf: &mut Ebpf,
    btf: &Btf,
    program: &str,
    tracepoint: &str,
) -> Result<On, ProgramError> {
    let Some(Program::BtfTracePoint(p)) = ebpf.program_mut(program) else {
        return Err(ProgramError::NotLoaded);
    };
    p.load(tracepoint, btf)?;
    let id = p.attach()?;
    let link = p.take_link(id)?;
    On::new(program, p.fd()?, link)
}

fn attach_raw_tracepoint(
    ebpf: &mut Ebpf,
    program: &str,
    tracepoint: &str,
) -> Result<On, ProgramError> {
    let Some(Program::RawTracePoint(p)) = ebpf.program_mut(program) else {
        return Err(ProgramError::NotLoaded);
    };
    p.load()?;
    let id = p.attach(tracepoint)?;
    let link = p.take_link(id)?;
    On::new(program, p.fd()?, link)
}

fn attach_kprobe(ebpf: &mut Ebpf, candidate: &Candidate) -> Result<Vec<On>, ProgramError> {
    let Candidate::Kprobe { program, at_return, symbol } = candidate else { return Ok(Vec::new()) };
    // The return first: an entry without it would only fill its table.
    let at_return =
        at_return.as_ref().map(|name| attach_one_kprobe(ebpf, name, symbol)).transpose()?;
    let entry = attach_one_kprobe(ebpf, program, symbol)?;
    Ok(at_return.into_iter().chain([entry]).collect())
}

fn attach_one_kprobe(ebpf: &mut Ebpf, name: &str, symbol: &str) -> Result<On, ProgramError> {
    let Some(Program::KProbe(p)) = ebpf.program_mut(name) else {
        return Err(ProgramError::NotLoaded);
    };
    if p.fd().is_err() {
        p.load()?;
    }
    let id = p.attach(symbol, 0)?;
    let link = p.take_link(id)?;
    Ok(On { is_kprobe: true, ..On::new(name, p.fd()?, link)? })
}

/// Watches the process of a command and those that will descend from it.
fn follow_command(ebpf: &mut Ebpf, btf: &Btf, pid: u32) -> Result<Vec<On>, AttachError> {
    let broken = || AttachError::Object("map PROCESSES");
    let mut processes: HashMap<_, u32, u32> =
        ebpf.map_mut("PROCESSES").and_then(|map| map.try_into().ok()).ok_or_else(broken)?;
    processes.insert(pid, 1, 0).map_err(|_unwritable| broken())?;
    let attached = |name| {
        attach_tracepoint(ebpf, btf, name, name)
            .map_err(|e| AttachError::Hook { hook: name, why: brief(&e) })
    };
    TREE_PROGRAMS.into_iter().map(attached).collect()
}

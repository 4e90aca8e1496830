//! The sockets that are there before the first event, and their options: read by a BPF iterator, which touches nothing.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read as _,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    thread,
};

use aya::{
    Btf, Ebpf,
    programs::{Iter, ProgramError, iter::IterLink},
};
use tcptrace_common::{event::HEADER_BYTES, filter::Filter, hook::Hook};

use super::{
    attach::brief,
    listeners::{Owner, comm_words, namespaces, owners, task_passes},
};
use crate::{
    event::{Event, Raw},
    kernel::{cgroup, sockets},
    source::SourceError,
};

/// The program, and the kernel's name for what it iterates over.
const PROGRAM: &str = "existing";
const OVER: &str = "tcp";
/// Where the number of the hook stands in a record's header.
const HOOK_AT: usize = 32;
/// Numbers from here on are no addresses, and none that listeners have.
const FIRST: u64 = 1 << 32;

/// Loads the iterator, so that a kernel that does not take it is known before anything is watched.
pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), String> {
    let program = program(ebpf).ok_or("the object lacks the iterator")?;
    program.load(OVER, btf).map_err(|e| brief(&e))
}

fn program(ebpf: &mut Ebpf) -> Option<&mut Iter> {
    ebpf.program_mut(PROGRAM)?.try_into().ok()
}

/// Every socket that the filter lets through, as two events each: who it is, and its options.
pub(super) fn read(
    ebpf: &mut Ebpf,
    filter: &Filter,
    cgroups: &[PathBuf],
) -> Result<Vec<Raw>, SourceError> {
    // Nothing that is there already belongs to a command that has yet to begin.
    if filter.tree > 0 {
        return Ok(Vec::new());
    }
    let processes = sockets::processes();
    let mut found: Vec<(Event, Event)> = Vec::new();
    for (netns, pid) in namespaces(&processes) {
        if filter.netns_len > 0 && !filter.netns.contains(&netns) {
            continue;
        }
        let link = link(ebpf).map_err(|e| SourceError(format!("the iterator: {}", brief(&e))))?;
        // A namespace that has gone meanwhile has no sockets any more.
        if let Some(bytes) = iterated(link, pid) {
            found.extend(pairs(&bytes)?);
        }
    }
    let inodes: BTreeSet<u64> = found.iter().filter_map(|(_, existing)| inode(existing)).collect();
    let owners = owners(&processes, &inodes);
    let mut events = Vec::new();
    for (sk, (mut socket, mut existing)) in (FIRST..).zip(found) {
        let owner = inode(&existing).and_then(|inode| owners.get(&inode));
        if !is_wanted(filter, cgroups, owner) {
            continue;
        }
        existing.set_arg("inode_low", 0);
        existing.set_arg("inode_high", 0);
        if let Some(owner) = owner {
            let comm = comm_words(&owner.comm).map(u64::to_ne_bytes).concat();
            let names = ["comm0", "comm1", "comm2", "comm3"];
            for (name, word) in names.into_iter().zip(comm.chunks_exact(4)) {
                socket.set_arg(name, word.try_into().map_or(0, u32::from_ne_bytes));
            }
            for event in [&mut socket, &mut existing] {
                (event.pid, event.tid) = (owner.pid, owner.pid);
            }
        }
        events.extend([socket, existing].map(|event| Raw { sk, event }));
    }
    Ok(events)
}

/// Whether the filter lets it through, for who has it open. What the kernel can tell of the socket itself it has told.
fn is_wanted(filter: &Filter, cgroups: &[PathBuf], owner: Option<&Owner>) -> bool {
    let Some(owner) = owner else {
        return filter.pid == 0 && filter.comms_len == 0 && cgroups.is_empty();
    };
    let is_in = |path: &String| {
        let whole = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
        cgroups.iter().any(|folder| whole.starts_with(folder))
    };
    task_passes(filter, owner)
        && (cgroups.is_empty() || cgroup::of_process(owner.pid).as_ref().is_some_and(is_in))
}

fn link(ebpf: &mut Ebpf) -> Result<IterLink, ProgramError> {
    let program = program(ebpf).ok_or(ProgramError::NotLoaded)?;
    let id = program.attach()?;
    program.take_link(id)
}

/// What the iterator says of the network namespace of a process: it is that of the thread that opens it.
fn iterated(link: IterLink, pid: u32) -> Option<Vec<u8>> {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).ok()?;
    let read = move || {
        // SAFETY: an open descriptor and a number; the namespace of this thread alone changes, and it ends below.
        let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
        if entered != 0 {
            return None;
        }
        let mut bytes = Vec::new();
        link.into_file().ok()?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    thread::spawn(read).join().ok()?
}

/// The records, two of each socket.
fn pairs(mut bytes: &[u8]) -> Result<Vec<(Event, Event)>, SourceError> {
    let broken = || SourceError("the iterator gave no records".to_owned());
    let mut found = Vec::new();
    let mut socket = None;
    while !bytes.is_empty() {
        let id = bytes.get(HOOK_AT..HOOK_AT + 2).and_then(|id| id.try_into().ok());
        let hook = id.and_then(|id| Hook::from_wire(u16::from_ne_bytes(id))).ok_or_else(broken)?;
        let length = HEADER_BYTES + 4 * hook.slots().next_multiple_of(2);
        let (record, rest) = bytes.split_at_checked(length).ok_or_else(broken)?;
        let event = Raw::decode(record).map_err(|e| SourceError(e.to_string()))?.event;
        bytes = rest;
        match (hook, socket.take()) {
            (Hook::socket, _) => socket = Some(event),
            (Hook::existing, Some(of)) => found.push((of, event)),
            _ => return Err(broken()),
        }
    }
    Ok(found)
}

fn inode(existing: &Event) -> Option<u64> {
    let half = |name| existing.arg(name).map(u64::from);
    let inode = half("inode_high")? << 32 | half("inode_low")?;
    (inode != 0).then_some(inode)
}

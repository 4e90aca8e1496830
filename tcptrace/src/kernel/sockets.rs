//! Processes and their sockets, out of `/proc`: what a network namespace has, and who has it open. Processes come and go
//! meanwhile: one that cannot be read has ended, or must not be looked at.

use std::{
    os::fd::RawFd,
    path::{Path, PathBuf},
};

use procfs::{
    FromReadSI as _, current_system_info,
    net::{TcpNetEntries, TcpNetEntry},
    process::{FDTarget, Process, all_processes},
};

/// All processes, lowest number first. Numbers, because a [`Process`] holds a descriptor, and there may be more of them than
/// one may have.
pub fn processes() -> Vec<u32> {
    let number = |process: Process| u32::try_from(process.pid).ok();
    let mut all: Vec<u32> =
        all_processes().into_iter().flatten().flatten().filter_map(number).collect();
    all.sort_unstable();
    all
}

fn process(pid: u32) -> Option<Process> {
    Process::new(i32::try_from(pid).ok()?).ok()
}

/// The folder of a process below `/proc`.
pub fn folder(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// The folders of a process's threads below `/proc`.
pub fn threads(pid: u32) -> Vec<PathBuf> {
    let tasks = process(pid).and_then(|process| process.tasks().ok()).into_iter().flatten();
    tasks.flatten().map(|task| folder(pid).join(format!("task/{}", task.tid))).collect()
}

/// The TCP sockets of the network namespace of the process or thread with this folder.
pub fn listed(task: &Path) -> Vec<TcpNetEntry> {
    let read = |list: &str| TcpNetEntries::from_file(task.join(list), current_system_info()).ok();
    let lists = ["net/tcp", "net/tcp6"].into_iter().filter_map(read);
    lists.flat_map(|TcpNetEntries(entries)| entries).collect()
}

/// The sockets that a process has open: descriptor, and number of the inode.
pub fn open_in(pid: u32) -> Vec<(RawFd, u64)> {
    let fds = process(pid).and_then(|process| process.fd().ok()).into_iter().flatten();
    let socket = |fd: procfs::process::FDInfo| match fd.target {
        FDTarget::Socket(inode) => Some((fd.fd, inode)),
        _ => None,
    };
    fds.flatten().filter_map(socket).collect()
}

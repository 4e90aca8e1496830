//! What is there before the first event: the listeners that ask for Fast Open or defer, the setting of their network namespace,
//! and the kernel's counters, which are read again at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    thread,
};

use procfs::net::TcpState;
use tcptrace_common::{
    field::Field,
    filter::Filter,
    hook::Hook,
    tcp::{AF_INET, AF_INET6, TCP_DEFER_ACCEPT, TCP_FASTOPEN, TCP_RTO_MAX_MS, TCP_SYNCNT},
};

use super::{Request, Want};
use crate::{
    event::{Event, Raw},
    kernel::{netns, process, sockets},
};

/// Most namespaces, and most listeners, that are looked at.
const MOST: usize = 4096;

/// What was there before the first event.
#[derive(Debug)]
pub(super) struct Before {
    filter: Filter,
    /// What Fast Open does is wanted, and what `TCP_DEFER_ACCEPT` does.
    wanted: (bool, bool),
    /// The counters of each network namespace that a process was in, and that process.
    counters: BTreeMap<u32, (u32, BTreeMap<String, u64>)>,
    /// An event has told of what they count: that a counter has not risen then says something too.
    is_used: bool,
}

impl Before {
    /// The counters as they are now; nothing where nobody asks for what they count.
    pub(super) fn now(request: &Request) -> Option<Self> {
        let of = |(netns, pid): (u32, u32)| Some((netns, (pid, counters(pid)?)));
        let wants = |want: Want| request.wants.contains(&want);
        let wanted = (wants(Want::Opening), wants(Want::Deferring));
        (wanted.0 || wanted.1).then(|| Self {
            filter: request.filter,
            wanted,
            is_used: false,
            counters: namespaces(&sockets::processes()).into_iter().filter_map(of).collect(),
        })
    }

    /// The listeners with one of the options, as events.
    pub(super) fn listeners(&self, at_ns: u64) -> Vec<Raw> {
        listeners(&self.filter, self.wanted, at_ns)
    }

    /// Takes note of an event.
    pub(super) fn notice(&mut self, event: &Event) {
        let tells = [Hook::tcp_try_fastopen, Hook::tcp_fastopen_cookie_check, Hook::tcp_check_req];
        self.is_used |= tells.contains(&event.hook);
    }

    /// By how much they have risen, one event for each namespace, and whether any has. A namespace whose process has left it, or
    /// that is gone, has none.
    pub(super) fn risen(&self, at_ns: u64) -> Vec<(bool, Event)> {
        let of = |(netns, (pid, before)): (&u32, &(u32, BTreeMap<String, u64>))| {
            let after = counters(*pid)?;
            let mut event = Event::new(Hook::netstat, at_ns);
            if netns::of_process(*pid).ok() != Some(*netns) || !event.set_arg("netns", *netns) {
                return None;
            }
            let mut has_risen = false;
            for (name, value) in after {
                let rise = value.saturating_sub(before.get(&name).copied().unwrap_or(0));
                has_risen |= rise > 0;
                // A counter that the row does not have is of something else.
                event.set_arg(&name, u32::try_from(rise).unwrap_or(u32::MAX));
            }
            Some((has_risen, event))
        };
        self.counters.iter().filter_map(of).collect()
    }

    /// Those of [`Self::risen`] that say something, by all events.
    pub(super) fn telling(&self, risen: Vec<(bool, Event)>) -> Vec<Event> {
        let tells = |(has_risen, event)| (has_risen || self.is_used).then_some(event);
        risen.into_iter().filter_map(tells).collect()
    }
}

/// The listeners with one of the options, as events: who, and with which queue and setting, or for how many seconds. Their
/// addresses are numbers that no socket has.
fn listeners(filter: &Filter, (opening, deferring): (bool, bool), at_ns: u64) -> Vec<Raw> {
    // What a listener does not have, or what only the kernel can tell of its tasks.
    if filter.local_len + filter.remote_len + filter.cgroups_len + filter.tree + filter.family > 0 {
        return Vec::new();
    }
    let processes = sockets::processes();
    let mut found = Vec::new();
    for (netns, pid) in namespaces(&processes) {
        if filter.netns_len > 0 && !filter.netns.contains(&netns) {
            continue;
        }
        let here = listening(pid);
        if !here.is_empty() {
            found.push((netns, setting(pid), here));
        }
    }
    let inodes: BTreeSet<u64> =
        found.iter().flat_map(|(_, _, here)| here.keys()).copied().take(MOST).collect();
    let owners = owners(&processes, &inodes);
    let mut events = Vec::new();
    for (netns, setting, here) in found {
        for (inode, address) in here {
            let Some(owner) = owners.get(&inode).filter(|owner| passes(filter, owner, address))
            else {
                continue;
            };
            let Some(mut options) = asked(owner) else { continue };
            options.sysctl_tcp_fastopen = setting.unwrap_or(0);
            let asks = opening && options.max_qlen > 0 && setting.is_some();
            if asks || (deferring && options.defer_accept_s > 0) {
                let sk = events.len() as u64 + 1;
                events.extend(
                    told((owner, address, netns), options, at_ns).map(|event| Raw { sk, event }),
                );
            }
        }
    }
    events
}

/// Who has a socket open, and under which number.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) pid: u32,
    fd: RawFd,
    pub(super) comm: String,
}

fn passes(filter: &Filter, owner: &Owner, address: SocketAddr) -> bool {
    let ports = filter.ports.iter().take(filter.ports_len as usize);
    let port = address.port();
    (filter.ports_len == 0 || { ports }.any(|(first, last)| (*first..=*last).contains(&port)))
        && task_passes(filter, owner)
}

/// Whether the process is asked for, by its number and its name.
pub(super) fn task_passes(filter: &Filter, owner: &Owner) -> bool {
    let name = comm_words(&owner.comm);
    let comms = filter.comms.iter().take(filter.comms_len as usize);
    (filter.pid == 0 || filter.pid == owner.pid)
        && (filter.comms_len == 0 || { comms }.any(|wanted| *wanted == [name[0], name[1]]))
}

/// A thread's name as it lies in the kernel's memory.
pub(super) fn comm_words(comm: &str) -> [u64; 2] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(comm.bytes()) {
        *to = from;
    }
    let half = |at: usize| bytes.get(at..at + 8).and_then(|half| half.try_into().ok());
    [half(0), half(8)].map(|half| half.map_or(0, u64::from_ne_bytes))
}

/// The two events of one listener.
fn told(
    (owner, address, netns): (&Owner, SocketAddr, u32),
    options: Options,
    at_ns: u64,
) -> [Event; 2] {
    let mut socket = Event::new(Hook::socket, at_ns);
    let comm = comm_words(&owner.comm).map(u64::to_ne_bytes).concat();
    for (name, word) in ["comm0", "comm1", "comm2", "comm3"].into_iter().zip(comm.chunks_exact(4)) {
        socket.set_arg(name, word.try_into().map_or(0, u32::from_ne_bytes));
    }
    socket.set_field(Field::netns, &[netns]);
    socket.set_field(Field::inet_sport, &[u32::from(address.port().to_be())]);
    socket.set_field(Field::skc_dport, &[0]);
    match address.ip() {
        IpAddr::V4(ip) => {
            socket.set_field(Field::skc_family, &[AF_INET]);
            socket.set_field(Field::skc_rcv_saddr, &[u32::from_ne_bytes(ip.octets())]);
            socket.set_field(Field::skc_daddr, &[0]);
        }
        IpAddr::V6(ip) => {
            socket.set_field(Field::skc_family, &[AF_INET6]);
            let words: Vec<u32> = ip
                .octets()
                .chunks_exact(4)
                .map(|word| word.try_into().map_or(0, u32::from_ne_bytes))
                .collect();
            socket.set_field(Field::skc_v6_rcv_saddr, &words);
            socket.set_field(Field::skc_v6_daddr, &[0; 4]);
        }
    }
    let mut listener = Event::new(Hook::listener, at_ns);
    listener.set_arg("max_qlen", options.max_qlen);
    listener.set_arg("sysctl_tcp_fastopen", options.sysctl_tcp_fastopen);
    listener.set_arg("defer_accept_s", options.defer_accept_s);
    listener.set_arg("syncnt", options.syncnt);
    listener.set_arg("rto_max_ms", options.rto_max_ms);
    for event in [&mut socket, &mut listener] {
        (event.pid, event.tid) = (owner.pid, owner.pid);
    }
    [socket, listener]
}

/// The network namespaces that they are in, each with one that is.
pub(super) fn namespaces(processes: &[u32]) -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    for pid in processes {
        if let Ok(netns) = netns::of_process(*pid)
            && found.len() < MOST
        {
            found.entry(netns).or_insert(*pid);
        }
    }
    found
}

/// The counters in a process's network namespace that the row of [`Hook::netstat`] has.
fn counters(pid: u32) -> Option<BTreeMap<String, u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/netstat")).ok()?;
    let mut rows = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = rows.next().zip(rows.next())?;
    let pairs = names.split_whitespace().zip(values.split_whitespace());
    let known = |wanted: &str| Hook::netstat.args().iter().any(|(name, _)| *name == wanted);
    let own = pairs.filter(|(name, _)| known(name));
    Some(own.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
}

/// `net.ipv4.tcp_fastopen` of a process's network namespace: the file shows that of the thread that opens it.
fn setting(pid: u32) -> Option<u32> {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).ok()?;
    let read = move || {
        // SAFETY: an open descriptor and a number; the namespace of this thread alone changes, and it ends below.
        let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
        (entered == 0).then(|| fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").ok())?
    };
    thread::spawn(read).join().ok()??.trim().parse().ok()
}

/// What listens in a process's network namespace, by inode.
fn listening(pid: u32) -> BTreeMap<u64, SocketAddr> {
    let all = sockets::listed(&sockets::folder(pid)).into_iter();
    let listeners = all.filter(|entry| entry.state == TcpState::Listen).take(MOST);
    listeners.map(|entry| (entry.inode, entry.local_address)).collect()
}

/// Who has these sockets open; of several, the process with the lowest number.
pub(super) fn owners(processes: &[u32], inodes: &BTreeSet<u64>) -> BTreeMap<u64, Owner> {
    let mut found = BTreeMap::new();
    if inodes.is_empty() {
        return found;
    }
    for pid in processes {
        for (fd, inode) in sockets::open_in(*pid) {
            if inodes.contains(&inode) {
                found.entry(inode).or_insert_with(|| {
                    let comm = process::comm(*pid, *pid).unwrap_or_default();
                    Owner { pid: *pid, fd, comm }
                });
            }
        }
    }
    found
}

/// What a listener has set.
#[derive(Clone, Copy, Debug)]
struct Options {
    max_qlen: u32,
    sysctl_tcp_fastopen: u32,
    defer_accept_s: u32,
    syncnt: u32,
    rto_max_ms: u32,
}

/// The options of a socket of another process.
fn asked(owner: &Owner) -> Option<Options> {
    let process = process::opened(owner.pid).ok()?;
    // SAFETY: an open descriptor and two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), owner.fd, 0) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the call has returned a descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let value = |name| option(&socket, name).unwrap_or(0);
    Some(Options {
        max_qlen: value(TCP_FASTOPEN),
        sysctl_tcp_fastopen: 0,
        defer_accept_s: value(TCP_DEFER_ACCEPT),
        syncnt: value(TCP_SYNCNT),
        rto_max_ms: value(TCP_RTO_MAX_MS),
    })
}

/// An option of level TCP; `None` where this kernel has none of this number.
fn option(socket: &OwnedFd, name: u32) -> Option<u32> {
    let mut value = 0_i32;
    let mut size = libc::socklen_t::try_from(size_of::<i32>()).ok()?;
    let option = libc::c_int::try_from(name).ok()?;
    // SAFETY: the value is as large as is said.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw mut value).cast(),
            &raw mut size,
        )
    };
    if failed == 0 { u32::try_from(value).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::{io, net::TcpListener};

    use super::*;

    #[test]
    fn a_listener_of_our_own_is_found_with_its_owner() -> io::Result<()> {
        let own = std::process::id();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address)?;
            let wanted = listener.local_addr()?;
            let here = listening(own);
            let inode =
                here.iter().find(|(_, address)| **address == wanted).map(|(inode, _)| *inode);
            let inode = inode.expect("the listener is in the kernel's table");
            let owners = owners(&[own], &[inode].into());
            let owner = owners.get(&inode).expect("this process has it open");
            assert_eq!(owner.fd, listener.as_raw_fd());
        }
        Ok(())
    }
}

//! Who has a socket open: `/proc/PID/net/tcp` tells its number, `/proc/PID/fd` who holds that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use procfs::net::{TcpNetEntry, TcpState};

use super::{netns, sockets};
use crate::event::Holder;

/// One end of a connection, as the kernel's list of sockets has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Number of the network namespace; `None` when it was not read.
    pub netns: Option<u32>,
}

/// Who has each of these sockets open, all of them in CLOSE-WAIT. A socket that nobody is seen to hold is left out: it may
/// be closed by now, be under way to another process, or be held by one that must not be looked at.
pub fn of_close_wait(wanted: &BTreeSet<Ends>) -> BTreeMap<Ends, Holder> {
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let processes = sockets::processes();
    let inodes = inodes(wanted, &processes);
    let mut holders: BTreeMap<Ends, Holder> = BTreeMap::new();
    for pid in processes {
        let open = sockets::open_in(pid).into_iter();
        // A process with two descriptors of one socket is one holder.
        let open: BTreeSet<Ends> =
            open.filter_map(|(_, inode)| inodes.get(&inode).copied()).collect();
        for ends in open {
            let holder = holders.entry(ends).or_insert(Holder { pid, processes: 0 });
            (holder.pid, holder.processes) = (holder.pid.min(pid), holder.processes + 1);
        }
    }
    holders
}

/// The numbers of these sockets' inodes, from one thread in each network namespace that is meant: as a rule all threads of a
/// process are in one, so that the others are looked at only when it is not found otherwise.
fn inodes(wanted: &BTreeSet<Ends>, processes: &[u32]) -> BTreeMap<u64, Ends> {
    let mut known = Inodes { wanted, asked: BTreeSet::new(), found: BTreeMap::new() };
    for pid in processes {
        known.ask(&sockets::folder(*pid));
    }
    for pid in processes {
        if known.is_complete() {
            break;
        }
        for thread in sockets::threads(*pid) {
            known.ask(&thread);
        }
    }
    known.found
}

/// Which socket has which inode, as far as that was found.
struct Inodes<'a> {
    wanted: &'a BTreeSet<Ends>,
    /// The network namespaces whose lists were read.
    asked: BTreeSet<u32>,
    found: BTreeMap<u64, Ends>,
}

impl Inodes<'_> {
    /// Whether every namespace that is meant was found.
    fn is_complete(&self) -> bool {
        let found = |ends: &Ends| ends.netns.is_none_or(|netns| self.asked.contains(&netns));
        self.wanted.iter().all(found)
    }

    /// Reads the lists of the namespace of this task, once.
    fn ask(&mut self, task: &Path) {
        let Ok(of) = netns::of_task(task) else { return };
        let meant = |ends: &&Ends| ends.netns.is_none_or(|netns| netns == of);
        if !self.wanted.iter().any(|ends| meant(&ends)) || !self.asked.insert(of) {
            return;
        }
        for entry in sockets::listed(task) {
            let found = self.wanted.iter().filter(meant).find(|ends| is(&entry, ends));
            self.found.extend(found.map(|ends| (entry.inode, *ends)));
        }
    }
}

/// Whether this line of the list is about the socket.
fn is(entry: &TcpNetEntry, ends: &Ends) -> bool {
    let plain = |of: SocketAddr| SocketAddr::new(of.ip().to_canonical(), of.port());
    entry.state == TcpState::CloseWait
        && entry.inode != 0
        && plain(entry.local_address) == ends.local
        && plain(entry.remote_address) == ends.remote
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_that_the_peer_has_closed_is_found_with_its_process() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let (local, remote) = (server.local_addr().unwrap(), server.peer_addr().unwrap());
            let ends = Ends { local, remote, netns: netns::of_process(std::process::id()).ok() };
            let wanted = BTreeSet::from([ends]);
            assert_eq!(of_close_wait(&wanted), BTreeMap::new(), "the peer has not closed");
            drop(client);
            let own = Holder { pid: std::process::id(), processes: 1 };
            assert_eq!(of_close_wait(&wanted), BTreeMap::from([(ends, own)]));
            let elsewhere = Ends { netns: Some(1), ..ends };
            assert_eq!(of_close_wait(&BTreeSet::from([elsewhere])), BTreeMap::new());
            drop(server);
            assert_eq!(of_close_wait(&wanted), BTreeMap::new());
        }
    }

    #[test]
    fn a_thread_in_a_namespace_of_its_own_is_found() {
        let looked = || {
            // SAFETY: it concerns this thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                // That wants rights.
                return;
            }
            // SAFETY: it takes nothing and cannot fail.
            let tid = unsafe { libc::gettid() };
            let task = format!("/proc/self/task/{tid}");
            let netns = netns::of_task(Path::new(&task)).ok();
            let address = "127.0.0.1:1".parse().unwrap();
            let wanted = BTreeSet::from([Ends { local: address, remote: address, netns }]);
            let mut known =
                Inodes { wanted: &wanted, asked: BTreeSet::new(), found: BTreeMap::new() };
            known.ask(Path::new("/proc/self"));
            assert!(!known.is_complete());
            known.ask(Path::new(&task));
            assert!(known.is_complete());
        };
        std::thread::spawn(looked).join().unwrap();
    }
}

//! Names of sockets, threads and cgroups: no kernel address gets past here.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    fs,
};

use tcptrace_common::hook::Hook;

use crate::{
    event::{About, Event, Raw, SocketId},
    kernel::cgroup,
    source::Item,
};

/// Most threads whose names are remembered; then all are looked up afresh.
const MAX_COMMS: usize = 65_536;

/// A cgroup that was looked up is not looked up again within this time.
const LOOK_UP_NS: u64 = 1_000_000_000;

/// Names of sockets and threads. An address is a name only while its socket lives.
#[derive(Debug, Default)]
pub(super) struct Names {
    events: u64,
    sockets: BTreeMap<u64, SocketId>,
    given: u32,
    comms: BTreeSet<u32>,
    /// By process: its cgroup, and when that was looked up, nanoseconds, `CLOCK_MONOTONIC`.
    cgroups: BTreeMap<u32, (Option<String>, u64)>,
}

impl Names {
    /// Numbers the event and names its socket; tells the names of threads met for the first time.
    pub(super) fn name(&mut self, raw: Raw) -> impl Iterator<Item = Item> {
        let Raw { sk, mut event } = raw;
        self.events += 1;
        event.n = self.events;
        event.socket = match self.sockets.entry(sk) {
            btree_map::Entry::Occupied(known) => *known.get(),
            btree_map::Entry::Vacant(unknown) => {
                self.given += 1;
                *unknown.insert(SocketId(self.given))
            }
        };
        if matches!(event.hook, Hook::tcp_v4_destroy_sock | Hook::socket_reused) {
            self.sockets.remove(&sk);
        }
        let comm = self.comm(&event).map(|comm| Item::Comm { tid: event.tid, comm });
        let cgroup = self.cgroup(&event).map(Item::About);
        comm.into_iter().chain(cgroup).chain([Item::Event(event)])
    }

    /// The process's cgroup, for events in which it acts itself, where it is not the one that was told. It is looked up
    /// again with a socket that is met a second later: process numbers are used again, and processes are moved.
    fn cgroup(&mut self, event: &Event) -> Option<About> {
        if event.pid == 0 || !matches!(event.hook, Hook::socket | Hook::tcp_push) {
            return None;
        }
        let known = self.cgroups.get(&event.pid);
        let fresh = known.is_some_and(|(_, at_ns)| {
            event.hook != Hook::socket || event.at_ns.saturating_sub(*at_ns) < LOOK_UP_NS
        });
        if fresh {
            return None;
        }
        if known.is_none() && self.cgroups.len() >= MAX_COMMS {
            self.cgroups.clear();
        }
        let path = cgroup::of_process(event.pid);
        let before = self.cgroups.insert(event.pid, (path.clone(), event.at_ns));
        let path =
            path.filter(|path| before.is_none_or(|(told, _)| told.as_ref() != Some(path)))?;
        Some(About::Cgroup { pid: event.pid, path })
    }

    /// The thread's name, once, for events in which it acts itself.
    fn comm(&mut self, event: &Event) -> Option<String> {
        let acts = matches!(
            event.hook,
            Hook::socket
                | Hook::tcp_push
                | Hook::do_tcp_setsockopt
                | Hook::tcp_send_fin
                | Hook::tcp_sendmsg_locked
        );
        // A socket's first record always tells: thread numbers are used again, and programs change their names.
        if !acts || (event.hook != Hook::socket && self.comms.contains(&event.tid)) {
            return None;
        }
        if self.comms.len() >= MAX_COMMS {
            self.comms.clear();
        }
        let looked_up =
            || fs::read_to_string(format!("/proc/{}/task/{}/comm", event.pid, event.tid)).ok();
        let comm = event.comm().or_else(looked_up)?;
        self.comms.insert(event.tid);
        Some(comm.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(sk: u64, hook: Hook) -> Raw {
        Raw { sk, event: Event::new(hook, 0) }
    }

    fn id(names: &mut Names, raw: Raw) -> u32 {
        let found = names.name(raw).find_map(|item| match item {
            Item::Event(event) => Some(event.socket.0),
            _ => None,
        });
        found.unwrap()
    }

    #[test]
    fn an_address_is_another_socket_after_its_life_has_ended() {
        let mut names = Names::default();
        for (sk, hook, want) in [
            (7, Hook::socket, 1),
            (8, Hook::tcp_fin, 2),
            (7, Hook::tcp_fin, 1),
            // It was met unconnected, and is announced again with its addresses.
            (7, Hook::socket, 1),
            (7, Hook::tcp_v4_destroy_sock, 1),
            (7, Hook::socket, 3),
            (7, Hook::socket_reused, 3),
            (7, Hook::socket, 4),
            (8, Hook::tcp_fin, 2),
        ] {
            assert_eq!(id(&mut names, raw(sk, hook)), want, "{}", hook.name());
        }
    }

    proptest::proptest! {
        #[test]
        fn names_hold_from_birth_to_end_and_are_given_once(
            records in proptest::collection::vec((0_u64..4, 0..Hook::ALL.len(), 0_u32..3), 1..200),
        ) {
            let mut names = Names::default();
            let (mut alive, mut given) = (BTreeMap::new(), BTreeSet::new());
            for (n, (sk, hook, tid)) in (1..).zip(records) {
                let hook = Hook::ALL[hook];
                let mut raw = raw(sk, hook);
                // No process has the number 0, so that nothing is looked up.
                raw.event.tid = tid;
                let items: Vec<Item> = names.name(raw).collect();
                let Some(Item::Event(event)) = items.last() else { panic!("{items:?}") };
                proptest::prop_assert_eq!((event.n, items.len() <= 2), (n, true));
                let known = alive.entry(sk).or_insert(event.socket);
                proptest::prop_assert_eq!(*known, event.socket);
                if matches!(hook, Hook::tcp_v4_destroy_sock | Hook::socket_reused) {
                    alive.remove(&sk);
                    proptest::prop_assert!(given.insert(event.socket));
                }
            }
        }
    }
}

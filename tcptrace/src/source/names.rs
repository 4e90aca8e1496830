//! Names of sockets, threads and cgroups: no kernel address gets past here.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use tcptrace_common::hook::Hook;

use crate::{
    event::{About, Event, Raw, SocketId},
    kernel::{cgroup, process},
    source::{Flow, Item},
};

/// Most threads whose names are remembered; then all are looked up afresh.
const MAX_COMMS: usize = 65_536;

/// Most minisocks that are told apart; then those with the lowest addresses are forgotten.
const MAX_MINISOCKS: usize = 65_536;

/// A cgroup that was looked up is not looked up again within this time.
const LOOK_UP_NS: u64 = 1_000_000_000;

/// Names of sockets and threads. An address is a name only while its socket lives.
#[derive(Debug, Default)]
pub(super) struct Names {
    events: u64,
    sockets: BTreeMap<u64, SocketId>,
    /// By the address of the minisock that stands for it.
    minisocks: BTreeMap<u64, SocketId>,
    given: u32,
    comms: BTreeSet<u32>,
    /// By process: its cgroup, and when that was looked up, nanoseconds, `CLOCK_MONOTONIC`.
    cgroups: BTreeMap<u32, (Option<String>, u64)>,
}

impl Names {
    /// Numbers the event, names its socket and hands it over, behind the names of threads met for the first time.
    pub(super) fn name(&mut self, raw: Raw, on: &mut dyn FnMut(Item) -> Flow) -> Flow {
        let Raw { sk, mut event } = raw;
        self.events += 1;
        event.n = self.events;
        event.socket = match event.hook {
            Hook::tcp_timewait_state_process => self.of_minisock(sk),
            Hook::tw_timer_handler => {
                let socket = self.of_minisock(sk);
                self.minisocks.remove(&sk);
                socket
            }
            _ => self.of_socket(sk),
        };
        match event.hook {
            Hook::inet_twsk_alloc => self.meet_minisock(&mut event),
            // The socket that a request has become, or the request that has taken its place.
            Hook::inet_csk_complete_hashdance => {
                let child = take_address(&mut event, ["child_low", "child_high"]);
                self.sockets.insert(child, event.socket);
            }
            Hook::inet_reqsk_clone => {
                let clone = take_address(&mut event, ["clone_low", "clone_high"]);
                if clone != 0 {
                    self.sockets.remove(&sk);
                    self.sockets.insert(clone, event.socket);
                }
            }
            Hook::tcp_v4_destroy_sock
            | Hook::socket_reused
            | Hook::socket_left
            | Hook::__inet_csk_reqsk_queue_drop
            | Hook::inet_csk_reqsk_queue_drop_and_put
            | Hook::reqsk_timer_handler => {
                self.sockets.remove(&sk);
            }
            Hook::tcp_check_req if event.arg("end").is_some_and(|end| end & 3 != 0) => {
                self.sockets.remove(&sk);
            }
            // A request that became no socket: another may have its address at once.
            Hook::tcp_try_fastopen if event.arg("child").is_some_and(|child| child & 1 == 0) => {
                self.sockets.remove(&sk);
            }
            _ => {}
        }
        let comm = self.comm(&event);
        let comm = comm.or_else(|| self.receiver(&event));
        let cgroup = self.cgroup(&event).map(Item::About);
        // Nearly always there is neither.
        for item in [comm, cgroup].into_iter().flatten() {
            if on(item) == Flow::Stop {
                return Flow::Stop;
            }
        }
        on(Item::Event(event))
    }

    fn of_socket(&mut self, sk: u64) -> SocketId {
        match self.sockets.entry(sk) {
            btree_map::Entry::Occupied(known) => *known.get(),
            btree_map::Entry::Vacant(unknown) => {
                self.given += 1;
                *unknown.insert(SocketId(self.given))
            }
        }
    }

    /// The socket that a minisock stands for; a fresh name for one that was not announced.
    fn of_minisock(&mut self, tw: u64) -> SocketId {
        self.minisocks.get(&tw).copied().unwrap_or_else(|| {
            self.given += 1;
            SocketId(self.given)
        })
    }

    /// Takes the minisock's address out of the event that announces it.
    fn meet_minisock(&mut self, event: &mut Event) {
        let tw = take_address(event, ["tw_low", "tw_high"]);
        if self.minisocks.len() >= MAX_MINISOCKS {
            self.minisocks.pop_first();
        }
        self.minisocks.insert(tw, event.socket);
    }

    /// The process's cgroup, for events in which it acts itself, where it is not the one that was told. It is looked up
    /// again with a socket that is met a second later: process numbers are used again, and processes are moved.
    fn cgroup(&mut self, event: &Event) -> Option<About> {
        if event.pid == 0
            || !matches!(
                event.hook,
                Hook::socket
                    | Hook::tcp_push
                    | Hook::__tcp_close
                    | Hook::tcp_send_fin
                    | Hook::security_sock_graft
                    | Hook::option_after
                    | Hook::existing
            )
        {
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

    /// The name of the thread that writes on a socket whose timer fired, once: the timer interrupts whoever runs.
    fn receiver(&mut self, event: &Event) -> Option<Item> {
        if event.hook != Hook::tcp_delack_timer_handler {
            return None;
        }
        let (pid, tid) = event.arg("pid").zip(event.arg("tid"))?;
        if tid == 0 || self.comms.contains(&tid) {
            return None;
        }
        let comm = process::comm(pid, tid)?;
        if self.comms.len() >= MAX_COMMS {
            self.comms.clear();
        }
        self.comms.insert(tid);
        Some(Item::Comm { tid, comm })
    }

    /// The thread's name, once, for events in which it acts itself; that of its process where the thread has ended.
    fn comm(&mut self, event: &Event) -> Option<Item> {
        let acts = matches!(
            event.hook,
            Hook::socket
                | Hook::task
                | Hook::tcp_push
                | Hook::do_tcp_setsockopt
                | Hook::tcp_send_fin
                | Hook::__tcp_close
                | Hook::tcp_sendmsg_locked
                | Hook::fastopen_write
                | Hook::fastopen_syn
                | Hook::fastopen_option
                | Hook::security_sock_graft
                | Hook::inet_csk_accept
                | Hook::inet_listen
                | Hook::listener
                | Hook::option_before
                | Hook::option_after
                | Hook::existing
        );
        // What the record itself tells always counts: thread numbers are used again, and programs change their names.
        let told = event.comm();
        if !acts || (told.is_none() && self.comms.contains(&event.tid)) {
            return None;
        }
        if self.comms.len() >= MAX_COMMS {
            self.comms.clear();
        }
        self.comms.insert(event.tid);
        let named = |tid, comm: String| Item::Comm { tid, comm: comm.trim_end().to_owned() };
        if let Some(comm) = told.or_else(|| process::comm(event.pid, event.tid)) {
            return Some(named(event.tid, comm));
        }
        if !self.comms.insert(event.pid) {
            return None;
        }
        Some(named(event.pid, process::comm(event.pid, event.pid)?))
    }
}

/// Takes an address out of an event that carries it as two words.
fn take_address(event: &mut Event, [low, high]: [&str; 2]) -> u64 {
    let half = |name| u64::from(event.arg(name).unwrap_or(0));
    let address = half(high) << 32 | half(low);
    event.set_arg(low, 0);
    event.set_arg(high, 0);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(sk: u64, hook: Hook) -> Raw {
        Raw { sk, event: Event::new(hook, 0) }
    }

    fn told(names: &mut Names, raw: Raw) -> Vec<Item> {
        let mut told = Vec::new();
        let flow = names.name(raw, &mut |item| {
            told.push(item);
            Flow::Continue
        });
        assert_eq!(flow, Flow::Continue);
        told
    }

    fn id(names: &mut Names, raw: Raw) -> u32 {
        let found = told(names, raw).into_iter().find_map(|item| match item {
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

    /// The names that come with an event: thread, name.
    fn comms(names: &mut Names, raw: Raw) -> Vec<(u32, String)> {
        let named = |item| match item {
            Item::Comm { tid, comm } => Some((tid, comm)),
            _ => None,
        };
        told(names, raw).into_iter().filter_map(named).collect()
    }

    #[test]
    fn a_thread_that_has_ended_has_the_name_that_its_record_told_or_that_of_its_process() {
        // No kernel gives a thread such a number (`PID_MAX_LIMIT`).
        let (pid, gone) = (std::process::id(), 1 << 23);
        let acts = |hook| {
            let mut raw = raw(7, hook);
            (raw.event.pid, raw.event.tid) = (pid, gone);
            raw
        };
        let mut names = Names::default();
        let own = process::comm(pid, pid).unwrap();
        assert_eq!(comms(&mut names, acts(Hook::__tcp_close)), [(pid, own)]);
        assert_eq!(comms(&mut names, acts(Hook::__tcp_close)), []);
        let mut told = acts(Hook::task);
        assert!(told.event.set_arg("comm0", u32::from_ne_bytes(*b"work")));
        assert_eq!(comms(&mut names, told), [(gone, "work".to_owned())]);
        assert_eq!(comms(&mut names, acts(Hook::__tcp_close)), []);
    }

    #[test]
    fn a_minisock_has_its_sockets_name_and_its_address_goes_no_further() {
        let mut names = Names::default();
        assert_eq!(id(&mut names, raw(7, Hook::socket)), 1);
        let mut made = raw(7, Hook::inet_twsk_alloc);
        assert!(made.event.set_arg("tw_low", 0x9abc) && made.event.set_arg("tw_high", 0xffff_8888));
        let told = told(&mut names, made).into_iter().find_map(|item| match item {
            Item::Event(event) => Some((event.arg("tw_low"), event.arg("tw_high"))),
            _ => None,
        });
        assert_eq!(told, Some((Some(0), Some(0))));
        let tw = 0xffff_8888_0000_9abc;
        for (sk, hook, want) in [
            (7, Hook::tcp_v4_destroy_sock, 1),
            (7, Hook::socket, 2),
            (tw, Hook::tcp_timewait_state_process, 1),
            (tw, Hook::tw_timer_handler, 1),
            (tw, Hook::tcp_timewait_state_process, 3),
        ] {
            assert_eq!(id(&mut names, raw(sk, hook)), want, "{}", hook.name());
        }
    }

    #[test]
    fn a_request_and_the_socket_that_it_becomes_have_one_name() {
        let mut names = Names::default();
        let told = |names: &mut Names, hook, args: [(&str, u32); 2]| {
            let mut raw = raw(7, hook);
            assert!(args.iter().all(|(name, value)| raw.event.set_arg(name, *value)));
            let found = told(names, raw).into_iter().find_map(|item| match item {
                Item::Event(event) => Some((event.socket.0, event.arg(args[0].0))),
                _ => None,
            });
            found.unwrap()
        };
        assert_eq!(id(&mut names, raw(7, Hook::socket)), 1);
        let child = [("child_low", 9), ("child_high", 1)];
        assert_eq!(told(&mut names, Hook::inet_csk_complete_hashdance, child), (1, Some(0)));
        assert_eq!(
            told(&mut names, Hook::tcp_check_req, [("end", 3), ("before", 1)]),
            (1, Some(3))
        );
        assert_eq!(id(&mut names, raw(7, Hook::socket)), 2);
        assert_eq!(id(&mut names, raw(1 << 32 | 9, Hook::security_sock_graft)), 1);
        let clone = [("clone_low", 3), ("clone_high", 2)];
        assert_eq!(told(&mut names, Hook::inet_reqsk_clone, clone), (2, Some(0)));
        assert_eq!(id(&mut names, raw(2 << 32 | 3, Hook::tcp_syn_ack_timeout)), 2);
        assert_eq!(id(&mut names, raw(2 << 32 | 3, Hook::__inet_csk_reqsk_queue_drop)), 2);
        assert_eq!(id(&mut names, raw(2 << 32 | 3, Hook::socket)), 3);
    }

    proptest::proptest! {
        #[test]
        fn names_hold_from_birth_to_end_and_are_given_once(
            records in proptest::collection::vec((0_u64..4, 0..Hook::ALL.len(), 0_u32..3), 1..200),
        ) {
            let mut names = Names::default();
            let (mut alive, mut given) = (BTreeMap::new(), BTreeSet::new());
            let mut n = 0;
            for (sk, hook, tid) in records {
                let hook = Hook::ALL[hook];
                // Minisocks and requests have names of their own sockets.
                if matches!(
                    hook,
                    Hook::tcp_timewait_state_process
                        | Hook::tw_timer_handler
                        | Hook::inet_twsk_alloc
                        | Hook::inet_csk_complete_hashdance
                        | Hook::inet_reqsk_clone
                ) {
                    continue;
                }
                let mut raw = raw(sk, hook);
                n += 1;
                // No process has the number 0, so that nothing is looked up.
                raw.event.tid = tid;
                let items = told(&mut names, raw);
                let Some(Item::Event(event)) = items.last() else { panic!("{items:?}") };
                proptest::prop_assert_eq!((event.n, items.len() <= 2), (n, true));
                let known = alive.entry(sk).or_insert(event.socket);
                proptest::prop_assert_eq!(*known, event.socket);
                let ends = matches!(
                    hook,
                    Hook::tcp_v4_destroy_sock
                        | Hook::socket_reused
                        | Hook::socket_left
                        | Hook::tcp_try_fastopen
                        | Hook::__inet_csk_reqsk_queue_drop
                        | Hook::inet_csk_reqsk_queue_drop_and_put
                        | Hook::reqsk_timer_handler
                );
                if ends {
                    alive.remove(&sk);
                    proptest::prop_assert!(given.insert(event.socket));
                }
            }
        }
    }
}

//! One state machine and one name per socket. No clock, no I/O: time is what the events say.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use foldhash::fast::FixedState;
use tcptrace_common::{
    field::Field,
    hook::Hook,
    tcp::{AF_INET, AF_INET6},
};

use crate::{
    analysis::{Kind, Machine},
    event::{About, Event, Frame, SocketId},
    finding::Certainty,
    timeline::{AnyFinding, Entry, Socket},
};

/// Most thread names that are kept; then the oldest threads' are dropped.
const MAX_COMMS: usize = 65_536;

/// Most user stacks that are kept; then the first are dropped.
const MAX_STACKS: usize = 65_536;

/// The sockets that live, in no order: what is told of several of them is put into order first.
#[derive(Debug, Default)]
struct Sockets {
    /// Apart from what is told of them, which only a finding needs: each event touches little memory.
    machines: Vec<Machine>,
    told: Vec<Socket>,
    #[expect(clippy::disallowed_types, reason = "only looked up: no output depends on its order")]
    places: std::collections::HashMap<SocketId, u32, FixedState>,
}

impl Sockets {
    fn get_mut(&mut self, id: SocketId) -> Option<(&mut Machine, &mut Socket)> {
        let at = *self.places.get(&id)? as usize;
        self.machines.get_mut(at).zip(self.told.get_mut(at))
    }

    /// The socket, met here for the first time if it is not known.
    fn meet(&mut self, id: SocketId, kind: Kind) -> Option<(&mut Machine, &mut Socket)> {
        let at = *self.places.entry(id).or_insert_with(|| {
            self.machines.push(kind.machine());
            self.told.push(Socket { id, ..Socket::default() });
            // Each takes more than a byte.
            u32::try_from(self.told.len() - 1).unwrap_or(u32::MAX)
        }) as usize;
        self.machines.get_mut(at).zip(self.told.get_mut(at))
    }

    fn remove(&mut self, id: SocketId) -> Option<(Machine, Socket)> {
        let at = self.places.remove(&id)?;
        let removed = (self.machines.swap_remove(at as usize), self.told.swap_remove(at as usize));
        if let Some(moved) = self.told.get(at as usize) {
            self.places.insert(moved.id, at);
        }
        Some(removed)
    }
}

/// Routes events to sockets.
#[derive(Debug)]
pub struct Correlator {
    kind: Kind,
    sockets: Sockets,
    /// When a socket's machine concludes although nothing happens; empty unless the question wants that.
    due: BTreeSet<(u64, SocketId)>,
    comms: BTreeMap<u32, String>,
    /// Names that hold from the next event on.
    fresh_comms: Vec<(u32, String)>,
    /// The cgroups of processes, and those that hold from the next event on.
    cgroups: BTreeMap<u32, String>,
    fresh_cgroups: Vec<(u32, String)>,
    /// User stacks, by number.
    stacks: BTreeMap<u32, Vec<Frame>>,
    concluded: Vec<Entry>,
    #[cfg(feature = "mutate")]
    mutation: Option<crate::analysis::nagle::Mutation>,
}

impl Correlator {
    /// Starts with no socket.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            sockets: Sockets::default(),
            due: BTreeSet::new(),
            comms: BTreeMap::new(),
            fresh_comms: Vec::new(),
            cgroups: BTreeMap::new(),
            fresh_cgroups: Vec::new(),
            stacks: BTreeMap::new(),
            concluded: Vec::new(),
            #[cfg(feature = "mutate")]
            mutation: None,
        }
    }

    /// Falsifies every finding: proves that the tests can fail.
    #[cfg(feature = "mutate")]
    #[must_use]
    pub const fn with_mutation(
        mut self,
        mutation: Option<crate::analysis::nagle::Mutation>,
    ) -> Self {
        self.mutation = mutation;
        self
    }

    /// Takes the next event of the trace. What is concluded from it waits for [`Self::settle`].
    pub fn push(&mut self, event: &Event) {
        // What is due comes first, whether or not a tick stood here: the order does not depend on ticks.
        self.tick(event.at_ns);
        self.learn_comms();
        let Some((machine, socket)) = self.sockets.meet(event.socket, self.kind) else { return };
        if event.hook == Hook::socket {
            identify(socket, event);
        }
        let mut found = Vec::new();
        if self.kind.ticks() {
            let due = machine.due_ns();
            machine.on_event(event, &mut found);
            if machine.due_ns() != due {
                self.due.extend(machine.due_ns().map(|at| (at, event.socket)));
                if let Some(at) = due {
                    self.due.remove(&(at, event.socket));
                }
            }
        } else {
            machine.on_event(event, &mut found);
        }
        if !found.is_empty() {
            let socket = socket.clone();
            self.enter(&socket, found);
        }
        if matches!(event.hook, Hook::tcp_v4_destroy_sock | Hook::socket_reused) {
            self.sockets.remove(event.socket);
        }
    }

    /// Nothing more has happened up to `now_ns`: concludes what was due until then, in that order.
    pub fn tick(&mut self, now_ns: u64) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now_ns) {
            self.due.remove(&(at, id));
            let Some((machine, socket)) = self.sockets.get_mut(id) else { continue };
            let mut found = Vec::new();
            machine.on_due(&mut found);
            self.due.extend(machine.due_ns().map(|at| (at, id)));
            let socket = socket.clone();
            self.enter(&socket, found);
        }
    }

    /// Events were lost somewhere since the last [`Self::settle`]: everything since then, and everything that is going
    /// on, may have happened otherwise.
    pub fn loss(&mut self, at_ns: u64) {
        for entry in &mut self.concluded {
            entry.finding.certainty = Certainty::May;
        }
        for machine in &mut self.sockets.machines {
            machine.on_loss(at_ns);
        }
    }

    /// How many conclusions wait for [`Self::settle`].
    pub const fn waiting(&self) -> usize {
        self.concluded.len()
    }

    /// Hands over what was concluded: nothing was lost up to here that has not been said.
    pub fn settle(&mut self, out: &mut Vec<Entry>) {
        out.append(&mut self.concluded);
    }

    /// A thread's name, from the next event on: what was due before that event was done under the name before.
    pub fn comm(&mut self, tid: u32, comm: String) {
        if self.fresh_comms.len() >= MAX_COMMS {
            self.learn_comms();
        }
        self.fresh_comms.push((tid, comm));
    }

    /// The cgroup that a process is in, from the next event on; or a user stack.
    pub fn about(&mut self, about: About) {
        match about {
            About::Cgroup { pid, path } => {
                if self.fresh_cgroups.len() >= MAX_COMMS {
                    self.learn_comms();
                }
                self.fresh_cgroups.push((pid, path));
            }
            About::Stack { number, frames } => {
                if self.stacks.len() >= MAX_STACKS {
                    self.stacks.pop_first();
                }
                self.stacks.insert(number, frames);
            }
        }
    }

    fn learn_comms(&mut self) {
        let learn = |known: &mut BTreeMap<u32, String>, fresh: &mut Vec<(u32, String)>| {
            for (number, name) in fresh.drain(..) {
                if known.len() >= MAX_COMMS {
                    known.pop_first();
                }
                known.insert(number, name);
            }
        };
        learn(&mut self.comms, &mut self.fresh_comms);
        learn(&mut self.cgroups, &mut self.fresh_cgroups);
    }

    /// The trace is over at `at_ns`: hands over everything, with what was still going on. Where nobody has counted the
    /// events that were not seen (`counted` is false), that may have ended without a trace.
    pub fn finish(&mut self, at_ns: u64, counted: bool, out: &mut Vec<Entry>) {
        self.tick(at_ns);
        self.learn_comms();
        // Those that something was still due for, in that order, then the others.
        let due: Vec<SocketId> =
            std::mem::take(&mut self.due).into_iter().map(|(_, id)| id).collect();
        let mut sockets = std::mem::take(&mut self.sockets);
        let first: Vec<_> = due.iter().filter_map(|id| sockets.remove(*id)).collect();
        let mut others: Vec<_> = sockets.machines.into_iter().zip(sockets.told).collect();
        others.sort_unstable_by_key(|(_, socket)| socket.id);
        for (mut machine, socket) in first.into_iter().chain(others) {
            let mut found = Vec::new();
            machine.on_end(socket.id, at_ns, &mut found);
            for finding in &mut found {
                if !counted {
                    finding.certainty = Certainty::May;
                }
            }
            self.enter(&socket, found);
        }
        self.settle(out);
    }

    fn enter(&mut self, socket: &Socket, found: Vec<AnyFinding>) {
        for finding in found {
            #[cfg(feature = "mutate")]
            let finding = crate::analysis::mutate(finding, self.mutation);
            let comms = self.comms_of(&finding);
            let task = finding.cause.task();
            let cgroup = task.and_then(|task| self.cgroups.get(&task.pid)).cloned();
            let stacks = self.stacks_of(&finding);
            self.concluded.push(Entry { socket: socket.clone(), finding, comms, cgroup, stacks });
        }
    }

    /// The user stacks that the finding mentions.
    fn stacks_of(&self, finding: &AnyFinding) -> BTreeMap<u32, Vec<Frame>> {
        let numbers = finding.evidence.iter().filter_map(|line| line.fact.stack());
        numbers.filter_map(|number| Some((number, self.stacks.get(&number)?.clone()))).collect()
    }

    /// Names of the threads that the finding mentions.
    fn comms_of(&self, finding: &AnyFinding) -> BTreeMap<u32, String> {
        let facts = finding.evidence.iter().filter_map(|line| line.fact.task());
        let tids = facts.chain(finding.cause.task()).map(|task| task.tid);
        tids.filter_map(|tid| Some((tid, self.comms.get(&tid)?.clone()))).collect()
    }
}

/// Reads the record that announces a socket.
fn identify(socket: &mut Socket, e: &Event) {
    socket.cookie = e.field(Field::skc_cookie).filter(|cookie| *cookie != 0);
    socket.netns = e.u32(Field::netns);
    let port = |field| e.u32(field).map(|p| u16::from_be((p & 0xffff) as u16));
    let of = |v4: Field, v6: Field| address(e, v4, v6);
    socket.local = of(Field::skc_rcv_saddr, Field::skc_v6_rcv_saddr)
        .zip(port(Field::inet_sport))
        .map(|(ip, port)| SocketAddr::new(ip, port));
    socket.remote = of(Field::skc_daddr, Field::skc_v6_daddr)
        .zip(port(Field::skc_dport))
        .map(|(ip, port)| SocketAddr::new(ip, port));
}

/// An IPv4-mapped address of an IPv6 socket is written as IPv4.
fn address(e: &Event, v4: Field, v6: Field) -> Option<IpAddr> {
    match e.u32(Field::skc_family)? {
        AF_INET => e.u32(v4).map(|a| IpAddr::V4(Ipv4Addr::from(a.to_ne_bytes()))),
        AF_INET6 => e.wide(v6).map(|a| IpAddr::V6(Ipv6Addr::from(a)).to_canonical()),
        _ => None,
    }
}

//! One state machine and one name per socket. No clock, no I/O: time is what the events say.

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    mem,
    rc::Rc,
};

use foldhash::fast::FixedState;
use tcptrace_common::{field::Field, hook::Hook, tcp::TCP_NEW_SYN_RECV};

use crate::{
    analysis::{Kind, Machine, Room},
    event::{About, Event, Frame, Holder, SocketId},
    finding::{Certainty, Comms},
    timeline::{AnyFinding, Entry, Kept, Socket},
};

/// Most thread names that are kept; then the oldest threads' are dropped.
const MAX_COMMS: usize = 65_536;

/// Most user stacks that are kept; then the first are dropped.
const MAX_STACKS: usize = 65_536;

/// Most sockets of which it is kept who had them open at the end.
const MAX_HOLDERS: usize = 1 << 20;

/// From that many sockets on, events are dealt with [`AHEAD`] at a time: fewer sockets stay in the cache.
const MANY: usize = 1 << 15;
/// As many looks into memory as a core keeps going at once.
const AHEAD: usize = 16;

/// The sockets that live, in no order: what is told of several of them is put into order first.
#[derive(Debug, Default)]
struct Sockets {
    /// Apart from what is told of them, which only a finding needs: each event touches little memory.
    machines: Vec<Machine>,
    told: Vec<Kept>,
    places: Places,
}

impl Sockets {
    fn get_mut(&mut self, id: SocketId) -> Option<(&mut Machine, &mut Kept)> {
        let at = self.places.get(id)? as usize;
        self.machines.get_mut(at).zip(self.told.get_mut(at))
    }

    /// The socket, met here for the first time if it is not known.
    fn meet(
        &mut self,
        id: SocketId,
        kind: Kind,
        sparse: bool,
    ) -> Option<(&mut Machine, &mut Kept)> {
        let at = self.places.slot(id);
        if *at == NOWHERE {
            // Each takes more than a byte.
            *at = u32::try_from(self.told.len()).ok()?;
            let mut machine = kind.machine();
            if sparse {
                machine.sparse();
            }
            self.machines.push(machine);
            self.told.push(Kept::new(id));
        }
        let at = *at as usize;
        self.machines.get_mut(at).zip(self.told.get_mut(at))
    }

    /// Brings the sockets of these events near: the looks into memory do not wait for each other.
    fn fetch(&self, events: &[Event]) {
        let mut at = [None; AHEAD];
        for (at, event) in at.iter_mut().zip(events) {
            *at = self.places.get(event.socket);
        }
        let machines = || at.iter().flatten().filter_map(|at| self.machines.get(*at as usize));
        for machine in machines() {
            black_box(mem::discriminant(machine));
        }
        // What they point to, and who they are.
        for machine in machines() {
            black_box(machine.glance());
        }
        for told in at.iter().flatten().filter_map(|at| self.told.get(*at as usize)) {
            black_box(told.id);
        }
    }

    fn remove(&mut self, id: SocketId) -> Option<(Machine, Kept)> {
        let at = self.places.get(id)?;
        self.places.remove(id);
        let removed = (self.machines.swap_remove(at as usize), self.told.swap_remove(at as usize));
        if let Some(moved) = self.told.get(at as usize) {
            *self.places.slot(moved.id) = at;
        }
        Some(removed)
    }
}

/// Sockets of one page of [`Places`].
const PAGE: u32 = 64;
/// The place of a socket that is not known.
const NOWHERE: u32 = u32::MAX;

/// Where each socket is, by its number. Sockets are numbered in the order they are met, so that those of a page live at
/// about the same time: one page is one look into memory, and a table of pages stays in the cache where one of a million
/// sockets does not.
#[derive(Debug, Default)]
struct Places {
    #[expect(clippy::disallowed_types, reason = "only looked up: no output depends on its order")]
    pages: std::collections::HashMap<u32, Box<[u32; PAGE as usize]>, FixedState>,
}

impl Places {
    fn get(&self, id: SocketId) -> Option<u32> {
        let page = self.pages.get(&(id.0 / PAGE))?;
        page.get((id.0 % PAGE) as usize).copied().filter(|at| *at != NOWHERE)
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the length")]
    fn slot(&mut self, id: SocketId) -> &mut u32 {
        let page =
            self.pages.entry(id.0 / PAGE).or_insert_with(|| Box::new([NOWHERE; PAGE as usize]));
        &mut page[(id.0 % PAGE) as usize]
    }

    fn remove(&mut self, id: SocketId) {
        *self.slot(id) = NOWHERE;
        if self.pages.get(&(id.0 / PAGE)).is_some_and(|page| page.iter().all(|at| *at == NOWHERE)) {
            self.pages.remove(&(id.0 / PAGE));
        }
    }
}

/// Routes events to sockets.
#[derive(Debug)]
pub struct Correlator {
    kind: Kind,
    /// Only what suffices to count is told.
    sparse: bool,
    sockets: Sockets,
    /// When a socket's machine concludes although nothing happens; empty unless the question wants that.
    due: BTreeSet<(u64, SocketId)>,
    comms: BTreeMap<u32, Rc<str>>,
    /// Names that hold from the next event on.
    fresh_comms: Vec<(u32, Rc<str>)>,
    /// The cgroups of processes, and those that hold from the next event on.
    cgroups: BTreeMap<u32, Rc<str>>,
    fresh_cgroups: Vec<(u32, Rc<str>)>,
    /// User stacks, by number.
    stacks: BTreeMap<u32, Vec<Frame>>,
    /// Who had a socket open at the end.
    holders: BTreeMap<SocketId, Holder>,
    concluded: Vec<Entry>,
    /// Empty between events: what one concludes, as its question says it and as all do.
    room: Room,
    found: Vec<AnyFinding>,
    /// Events that are dealt with together, from so many sockets on.
    ahead: Vec<Event>,
    many: usize,
    #[cfg(feature = "mutate")]
    mutation: Option<crate::analysis::nagle::Mutation>,
}

impl Correlator {
    /// Starts with no socket.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            sparse: false,
            sockets: Sockets::default(),
            due: BTreeSet::new(),
            comms: BTreeMap::new(),
            fresh_comms: Vec::new(),
            cgroups: BTreeMap::new(),
            fresh_cgroups: Vec::new(),
            stacks: BTreeMap::new(),
            holders: BTreeMap::new(),
            concluded: Vec::new(),
            room: Room::default(),
            found: Vec::new(),
            ahead: Vec::new(),
            many: MANY,
            #[cfg(feature = "mutate")]
            mutation: None,
        }
    }

    /// The trace tells no more than the kind's [`Kind::sparse`].
    #[must_use]
    pub const fn with_sparse(mut self, sparse: bool) -> Self {
        self.sparse = sparse;
        self
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
        if self.sockets.told.len() < self.many {
            return self.take(event);
        }
        self.ahead.push(event.clone());
        if self.ahead.len() >= AHEAD {
            self.catch_up();
        }
    }

    /// Deals with the events that were put off. With a million sockets each event waits for memory twice; all of them
    /// at once wait hardly longer than one.
    fn catch_up(&mut self) {
        if self.ahead.is_empty() {
            return;
        }
        let mut ahead = mem::take(&mut self.ahead);
        self.sockets.fetch(&ahead);
        for event in ahead.drain(..) {
            self.take(&event);
        }
        self.ahead = ahead;
    }

    fn take(&mut self, event: &Event) {
        // What is due comes first, whether or not a tick stood here: the order does not depend on ticks.
        self.conclude_due(event.at_ns);
        self.learn_comms();
        if is_of_no_socket(event, self.kind) {
            // Only these questions keep what is no socket yet.
            let keeps = self.kind.opening() || self.kind.deferring();
            let is_last = keeps && event.is_turned_away();
            let known = self.sockets.get_mut(event.socket).filter(|_| is_last);
            if known.is_some_and(|(machine, _)| machine.is_over(true)) {
                self.sockets.remove(event.socket);
            }
            return;
        }
        let met = match event.hook {
            // What stands for a socket outlives it: nobody waits for it any more.
            Hook::tcp_timewait_state_process | Hook::tw_timer_handler => {
                self.sockets.get_mut(event.socket)
            }
            Hook::socket_left => {
                self.sockets.remove(event.socket);
                return;
            }
            _ => self.sockets.meet(event.socket, self.kind, self.sparse),
        };
        let Some((machine, socket)) = met else { return };
        if event.hook == Hook::socket {
            identify(socket, event);
        }
        let found = &mut self.found;
        if self.kind.ticks() {
            let due = machine.due_ns();
            machine.on_event(event, &mut self.room, found);
            if machine.due_ns() != due {
                self.due.extend(machine.due_ns().map(|at| (at, event.socket)));
                if let Some(at) = due {
                    self.due.remove(&(at, event.socket));
                }
            }
        } else {
            machine.on_event(event, &mut self.room, found);
        }
        let gone = matches!(event.hook, Hook::tcp_v4_destroy_sock | Hook::socket_reused)
            || event.is_turned_away();
        let over = machine.is_over(gone);
        if !found.is_empty() {
            let (socket, mut found) = (socket.socket(), mem::take(found));
            self.enter(&socket, found.drain(..));
            self.found = found;
        }
        if over {
            self.sockets.remove(event.socket);
        }
    }

    /// Nothing more has happened up to `now_ns`: concludes what was due until then, in that order.
    pub fn tick(&mut self, now_ns: u64) {
        self.catch_up();
        self.conclude_due(now_ns);
    }

    fn conclude_due(&mut self, now_ns: u64) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now_ns) {
            self.due.remove(&(at, id));
            let Some((machine, socket)) = self.sockets.get_mut(id) else { continue };
            let mut found = Vec::new();
            machine.on_due(&mut found);
            self.due.extend(machine.due_ns().map(|at| (at, id)));
            let over = machine.is_over(false);
            let socket = socket.socket();
            self.enter(&socket, found);
            if over {
                self.sockets.remove(id);
            }
        }
    }

    /// Events were lost somewhere since the last [`Self::settle`]: everything since then, and everything that is going
    /// on, may have happened otherwise.
    pub fn loss(&mut self, at_ns: u64) {
        self.catch_up();
        for entry in &mut self.concluded {
            entry.finding.certainty = Certainty::May;
        }
        for machine in &mut self.sockets.machines {
            machine.on_loss(at_ns);
        }
    }

    /// What is known of a socket that lives.
    pub fn socket(&mut self, id: SocketId) -> Option<Socket> {
        self.catch_up();
        self.sockets.told.get(self.sockets.places.get(id)? as usize).map(Kept::socket)
    }

    /// A thread's name.
    pub fn comm_of(&self, tid: u32) -> Option<&Rc<str>> {
        self.comms.get(&tid)
    }

    /// How many conclusions wait for [`Self::settle`].
    pub const fn waiting(&self) -> usize {
        self.concluded.len()
    }

    /// Hands over what was concluded: nothing was lost up to here that has not been said.
    pub fn settle(&mut self, out: &mut Vec<Entry>) {
        self.catch_up();
        if out.is_empty() {
            mem::swap(out, &mut self.concluded);
        } else {
            out.append(&mut self.concluded);
        }
    }

    /// A thread's name, from the next event on: what was due before that event was done under the name before.
    pub fn comm(&mut self, tid: u32, comm: String) {
        self.catch_up();
        if self.fresh_comms.len() >= MAX_COMMS {
            self.learn_comms();
        }
        self.fresh_comms.push((tid, comm.into()));
    }

    /// The cgroup that a process is in, from the next event on; a user stack; or who had a socket open at the end.
    pub fn about(&mut self, about: About) {
        self.catch_up();
        match about {
            About::Cgroup { pid, path } => {
                if self.fresh_cgroups.len() >= MAX_COMMS {
                    self.learn_comms();
                }
                self.fresh_cgroups.push((pid, path.into()));
            }
            About::Holder { socket, holder } => {
                if self.holders.len() < MAX_HOLDERS {
                    self.holders.insert(socket, holder);
                }
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
        if self.fresh_comms.is_empty() && self.fresh_cgroups.is_empty() {
            return;
        }
        let learn = |known: &mut BTreeMap<u32, Rc<str>>, fresh: &mut Vec<(u32, Rc<str>)>| {
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
        let due: Vec<SocketId> = mem::take(&mut self.due).into_iter().map(|(_, id)| id).collect();
        let mut sockets = mem::take(&mut self.sockets);
        let first: Vec<_> = due.iter().filter_map(|id| sockets.remove(*id)).collect();
        for (mut machine, socket) in first {
            self.end(&mut machine, &socket, (at_ns, counted));
        }
        // Where they are is put into order, not they.
        let mut others: Vec<(SocketId, usize)> =
            sockets.told.iter().enumerate().map(|(at, socket)| (socket.id, at)).collect();
        others.sort_unstable();
        for few in others.chunks(AHEAD) {
            for (_, at) in few {
                black_box(sockets.machines.get(*at).map(Machine::glance));
            }
            for (_, at) in few {
                if let Some(machine) = sockets.machines.get_mut(*at)
                    && let Some(socket) = sockets.told.get(*at)
                {
                    self.end(machine, socket, (at_ns, counted));
                }
            }
        }
        self.settle(out);
    }

    /// As [`Self::finish`], for one socket.
    fn end(&mut self, machine: &mut Machine, socket: &Kept, (at_ns, counted): (u64, bool)) {
        if let Some(holder) = self.holders.get(&socket.id) {
            machine.on_holder(*holder);
        }
        let mut found = Vec::new();
        machine.on_end(socket.id, at_ns, &mut found);
        for finding in &mut found {
            if !counted && finding.cause.goes_on() {
                finding.certainty = Certainty::May;
            }
        }
        if !found.is_empty() {
            self.enter(&socket.socket(), found);
        }
    }

    fn enter(&mut self, socket: &Socket, found: impl IntoIterator<Item = AnyFinding>) {
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
        if self.stacks.is_empty() {
            return BTreeMap::new();
        }
        let numbers = finding.evidence.iter().filter_map(|line| line.fact.stack());
        numbers.filter_map(|number| Some((number, self.stacks.get(&number)?.clone()))).collect()
    }

    /// Names of the threads that the finding mentions.
    fn comms_of(&self, finding: &AnyFinding) -> Comms {
        let facts = finding.evidence.iter().filter_map(|line| line.fact.task());
        let (mut comms, mut last) = (Comms::default(), None);
        for task in facts.chain(finding.cause.task()) {
            // Nearly all of it is one thread's.
            if last.replace(task.tid) != Some(task.tid)
                && let Some(comm) = self.comms.get(&task.tid)
            {
                comms.add(task.tid, comm);
            }
        }
        comms
    }
}

/// Reads the record that announces a socket.
fn identify(socket: &mut Kept, e: &Event) {
    *socket = Kept::from(Socket {
        id: socket.id,
        cookie: e.field(Field::skc_cookie),
        netns: e.u32(Field::netns),
        local: e.local(),
        remote: e.remote(),
    });
}

/// Whether the event is of no socket, and of no interest to the question: of a request, of a listener that was there at the
/// start, or of the counters of a namespace.
fn is_of_no_socket(event: &Event, kind: Kind) -> bool {
    match event.hook {
        Hook::tcp_try_fastopen => !kind.opening(),
        Hook::existing => !kind.existing(),
        Hook::inet_csk_reqsk_queue_hash_add
        | Hook::tcp_check_req
        | Hook::inet_csk_complete_hashdance
        | Hook::tcp_syn_ack_timeout
        | Hook::tcp_rtx_synack
        | Hook::__inet_csk_reqsk_queue_drop
        | Hook::inet_csk_reqsk_queue_drop_and_put
        | Hook::reqsk_timer_handler
        | Hook::tcp_req_err
        | Hook::inet_reqsk_clone => !kind.deferring(),
        Hook::listener | Hook::netstat => !kind.opening() && !kind.deferring(),
        Hook::socket => {
            event.u32(Field::skc_state) == Some(TCP_NEW_SYN_RECV)
                && !kind.opening()
                && !kind.deferring()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::Path,
    };

    use super::*;
    use crate::trace::{Item, Reader};

    /// What a recorded trace tells when events are put off from `many` sockets on.
    fn told(path: &Path, kind: Kind, many: usize) -> Vec<Entry> {
        let mut correlator = Correlator { many, ..Correlator::new(kind) };
        let mut out = Vec::new();
        let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
        let end = reader.run(&mut |item| {
            match item {
                Item::Event(event) => correlator.push(&event),
                Item::Tick { now_ns } => {
                    correlator.tick(now_ns);
                    correlator.settle(&mut out);
                }
                Item::Loss { at_ns, .. } => correlator.loss(at_ns),
                Item::Comm { tid, comm } => correlator.comm(tid, comm),
                Item::About(about) => correlator.about(about),
            }
            true
        });
        let counted = end.is_ok();
        correlator.finish(u64::MAX, counted, &mut out);
        out
    }

    #[test]
    fn many_sockets_are_told_the_same() {
        let mut found = 0;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces/0.1.0");
        for kernel in fs::read_dir(folder).unwrap() {
            for trace in fs::read_dir(kernel.unwrap().path()).unwrap() {
                let path = trace.unwrap().path();
                if path.extension().is_none_or(|end| end != "tcptrace") {
                    continue;
                }
                for kind in Kind::ALL {
                    let few = told(&path, *kind, usize::MAX);
                    assert_eq!(few, told(&path, *kind, 0), "{}", path.display());
                    found += few.len();
                }
            }
        }
        assert!(found > 100, "{found}");
    }

    #[test]
    fn places_are_forgotten_with_their_sockets() {
        let mut places = Places::default();
        for id in [0, 63, 64, 1 << 20, u32::MAX] {
            *places.slot(SocketId(id)) = id / 2;
        }
        assert_eq!(places.get(SocketId(63)), Some(31));
        assert_eq!((places.get(SocketId(62)), places.get(SocketId(128))), (None, None));
        for id in [0, 63, 64, 1 << 20, u32::MAX] {
            assert_eq!(places.get(SocketId(id)), Some(id / 2));
            places.remove(SocketId(id));
            assert_eq!(places.get(SocketId(id)), None);
        }
        assert!(places.pages.is_empty());
    }
}

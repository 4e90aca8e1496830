//! What the holds of one process, and of one call site where user stacks are told, have in common.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        nagle::{Fact, Held, Hold, Pattern, Release, Shape, Way},
    },
    event::SocketId,
    finding::Task,
    timeline::Entry,
};

/// Most patterns that are told apart; a further one is not looked at.
const MAX_PATTERNS: usize = 256;
/// Most sockets that are followed at once; a further one is not looked at.
const MAX_SOCKETS: usize = 65_536;
/// Most waits of one pattern that its median is made of: the last ones.
const MAX_RECENT: usize = 4096;
/// A shorter wait is none that a request pays, nanoseconds.
const PAID_NS: u64 = 1_000_000;
/// So many requests must have paid before it is a pattern.
const LEAST: u64 = 2;

/// The patterns of a run.
#[derive(Debug, Default)]
pub struct Patterns {
    rows: BTreeMap<Key, State>,
    sockets: BTreeMap<SocketId, Turns>,
}

/// What is told apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pid: u32,
    shape: Shape,
    held: Held,
    way: Option<Way>,
    /// The user stack of the call, frame by frame; empty where it is not told.
    site: Vec<String>,
}

#[derive(Debug)]
struct State {
    writer: Task,
    comm: Option<Rc<str>>,
    paid: u64,
    requests: u64,
    recent: Recent,
}

/// How far one socket has come.
#[derive(Debug, Default)]
struct Turns {
    latest: u32,
    /// The patterns that it has a part in, the last turn that paid, and how much, nanoseconds.
    paid: Vec<(Key, u32, u64)>,
}

/// A pattern of the whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose writes they are.
    pub writer: Task,
    /// The thread's name, where it is known.
    pub comm: Option<Rc<str>>,
    /// The user stack of the call, the innermost function first; empty where it is not told.
    pub site: Vec<String>,
    /// What held most of the bytes.
    pub held: Held,
    /// How the writes that waited were given to TCP.
    pub way: Option<Way>,
    /// The pattern.
    pub pattern: Pattern,
}

impl Patterns {
    /// Counts a hold, and tells it the pattern that it belongs to.
    pub fn add(&mut self, entry: &mut Entry) {
        let site = site(entry);
        let held_ns = entry.finding.until_ns.saturating_sub(entry.finding.from_ns);
        let Cause::Nagle(hold) = &mut entry.finding.cause else { return };
        self.advance(entry.socket.id, hold.turn);
        let Some((shape, held)) = shape(hold).filter(|_| held_ns >= PAID_NS) else { return };
        let key = Key { pid: hold.writer.pid, shape, held, way: hold.way, site };
        let full = self.rows.len() >= MAX_PATTERNS && !self.rows.contains_key(&key);
        let crowd = self.sockets.len() >= MAX_SOCKETS;
        if full || crowd && !self.sockets.contains_key(&entry.socket.id) {
            return;
        }
        let comm = entry.comms.of(hold.writer);
        let state = self.rows.entry(key.clone()).or_insert_with(|| State {
            writer: hold.writer,
            comm: comm.cloned(),
            paid: 0,
            requests: 0,
            recent: Recent::default(),
        });
        let turns = self.sockets.entry(entry.socket.id).or_default();
        turns.latest = turns.latest.max(hold.turn);
        match turns.paid.iter_mut().find(|(known, ..)| *known == key) {
            Some((_, turn, paid_ns)) if *turn == hold.turn => {
                state.recent.replace(*paid_ns, *paid_ns + held_ns);
                *paid_ns += held_ns;
            }
            Some((_, turn, paid_ns)) => {
                (*turn, *paid_ns) = (hold.turn, held_ns);
                state.pay(held_ns);
            }
            None => {
                state.requests += u64::from(turns.latest);
                state.pay(held_ns);
                turns.paid.push((key, hold.turn, held_ns));
            }
        }
        hold.pattern = state.pattern(shape);
    }

    /// The socket's life has ended; so many turns it had.
    pub fn over(&mut self, socket: SocketId, turn: u32) {
        self.advance(socket, turn);
        self.sockets.remove(&socket);
    }

    /// The patterns, the dearest first.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(key, state): (&Key, &State)| {
            Some(Row {
                writer: state.writer,
                comm: state.comm.clone(),
                site: key.site.clone(),
                held: key.held,
                way: key.way,
                pattern: state.pattern(key.shape)?,
            })
        };
        let mut rows: Vec<Row> = self.rows.iter().filter_map(row).collect();
        let dear = |row: &Row| row.pattern.paid.saturating_mul(row.pattern.median_ns);
        rows.sort_by_key(|row| std::cmp::Reverse(dear(row)));
        rows
    }

    /// The socket has come to this turn: so many more requests of the patterns that it has a part in.
    fn advance(&mut self, socket: SocketId, turn: u32) {
        let Some(turns) = self.sockets.get_mut(&socket) else { return };
        let more = u64::from(turn.saturating_sub(turns.latest));
        turns.latest = turns.latest.max(turn);
        for (key, ..) in &turns.paid {
            if let Some(state) = self.rows.get_mut(key) {
                state.requests += more;
            }
        }
    }
}

impl State {
    fn pay(&mut self, held_ns: u64) {
        self.paid += 1;
        self.recent.add(held_ns);
    }

    fn pattern(&self, name: Shape) -> Option<Pattern> {
        let median_ns = self.recent.median()?;
        let (paid, requests) = (self.paid, self.requests.max(self.paid));
        (paid >= LEAST).then_some(Pattern { name, paid, requests, median_ns })
    }
}

/// The innermost functions of the call that wrote, where they are told.
fn site(entry: &Entry) -> Vec<String> {
    let mut numbers = entry.finding.evidence.iter().filter_map(|line| match line.fact {
        AnyFact::Nagle(Fact::Stack { number }) => Some(number),
        _ => None,
    });
    let frames = numbers.next().and_then(|number| entry.stacks.get(&number));
    let told = |frame: &crate::event::Frame| match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{} {file}:{line}", frame.function),
        _ => frame.function.clone(),
    };
    frames.into_iter().flatten().map(told).collect()
}

/// What the writes look like, and what held most of the bytes' time; `None` where the program's own next step ended the
/// wait, or nothing was counted.
fn shape(hold: &Hold) -> Option<(Shape, Held)> {
    let by_plan = !matches!(hold.release, Release::Ack | Release::ProbeTimer | Release::LossProbe);
    if hold.turn == 0 || by_plan {
        return None;
    }
    let main = hold.parts.iter().max_by_key(|part| part.held_ns)?.held;
    if !matches!(main, Held::Nagle | Held::Cork | Held::MsgMore) {
        return None;
    }
    let shape = match (hold.part, hold.tail) {
        (0 | 1, false) => return None,
        (0 | 1, true) => Shape::Tail,
        (_, true) => Shape::HeaderBody,
        (_, false) => Shape::WriteWriteRead,
    };
    Some((shape, main))
}

/// The last waits, in order of time and of length.
#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<u64>,
    sorted: Vec<u64>,
}

impl Recent {
    fn add(&mut self, ns: u64) {
        if self.order.len() >= MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.take(oldest);
        }
        self.order.push_back(ns);
        self.sorted.insert(self.sorted.partition_point(|known| *known < ns), ns);
    }

    /// The last wait of this length was longer.
    fn replace(&mut self, ns: u64, by_ns: u64) {
        if let Some(place) = self.order.iter_mut().rev().find(|known| **known == ns) {
            *place = by_ns;
            self.take(ns);
            self.sorted.insert(self.sorted.partition_point(|known| *known < by_ns), by_ns);
        }
    }

    fn take(&mut self, ns: u64) {
        if let Ok(at) = self.sorted.binary_search(&ns) {
            self.sorted.remove(at);
        }
    }

    fn median(&self) -> Option<u64> {
        self.sorted.get(self.sorted.len().saturating_sub(1) / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::{
        analysis::nagle::{Part, Write},
        event::Frame,
        finding::{Certainty, Finding},
        timeline::Socket,
    };

    const MS: u64 = 1_000_000;

    fn entry(socket: u32, turn: u32, part: u32, held_ms: u64, site: Option<&str>) -> Entry {
        let held_ns = held_ms * MS;
        let hold = Hold {
            writer: Task { pid: 7, tid: 8 },
            bytes: 10,
            written_bytes: Some(10),
            way: None,
            tail: false,
            packets_out: Some(1),
            parts: smallvec![Part::of(Held::Nagle, held_ns)],
            release: Release::Ack,
            writes: smallvec![Write { bytes: 10, at_ns: 0, held_ns }],
            writes_left_out: 0,
            nodelay_seen: false,
            turn,
            part,
            from_start: true,
            peer_ack: None,
            pattern: None,
        };
        let stack = |number| crate::finding::Evidence {
            n: 1,
            at_ns: 0,
            fact: AnyFact::Nagle(Fact::Stack { number }),
        };
        let frame =
            |function: &str| vec![Frame { function: function.to_owned(), ..Frame::default() }];
        Entry {
            socket: Socket { id: SocketId(socket), ..Socket::default() },
            finding: Finding {
                socket: SocketId(socket),
                from_ns: 0,
                until_ns: held_ns,
                cause: Cause::Nagle(hold),
                evidence: site.iter().map(|_| stack(1)).collect(),
                certainty: Certainty::Seen,
                not_seen: Vec::new(),
            },
            comms: [(8, "server")].into(),
            cgroup: None,
            stacks: site.iter().map(|site| (1, frame(site))).collect(),
        }
    }

    fn add(patterns: &mut Patterns, mut entry: Entry) -> Option<Pattern> {
        patterns.add(&mut entry);
        let Cause::Nagle(hold) = entry.finding.cause else { return None };
        hold.pattern
    }

    #[test]
    fn requests_that_pay_are_counted_among_all_with_their_median() {
        let mut patterns = Patterns::default();
        // The first of twenty does not pay.
        assert_eq!(add(&mut patterns, entry(1, 2, 2, 40, None)), None);
        for turn in 3..20 {
            add(&mut patterns, entry(1, turn, 2, 42, None));
        }
        let last = add(&mut patterns, entry(1, 20, 2, 44, None));
        let pattern = |paid, requests| Pattern {
            name: Shape::WriteWriteRead,
            paid,
            requests,
            median_ns: 42 * MS,
        };
        assert_eq!(last, Some(pattern(19, 20)));
        // Three more that did not pay, told with the end of the socket's life; then another one's.
        patterns.over(SocketId(1), 23);
        add(&mut patterns, entry(2, 2, 2, 42, None));
        let rows = patterns.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].pattern, rows[0].comm.as_deref()), (pattern(20, 25), Some("server")));
    }

    #[test]
    fn two_waits_of_one_request_are_one_that_pays_both() {
        let mut patterns = Patterns::default();
        for (turn, part) in [(1, 2), (2, 2), (2, 3)] {
            add(&mut patterns, entry(1, turn, part, 40, None));
        }
        let pattern = patterns.rows()[0].pattern;
        assert_eq!((pattern.paid, pattern.requests, pattern.median_ns), (2, 2, 40 * MS));
    }

    #[test]
    fn call_sites_shapes_and_short_waits_are_kept_apart() {
        let mut patterns = Patterns::default();
        for turn in 1..4 {
            add(&mut patterns, entry(1, turn, 2, 40, Some("send_reply")));
            add(&mut patterns, entry(1, turn, 3, 20, Some("send_footer")));
            // Alone in its request, shorter than a millisecond, not counted.
            assert_eq!(add(&mut patterns, entry(1, turn, 1, 40, None)), None);
            assert_eq!(add(&mut patterns, entry(1, turn, 2, 0, None)), None);
            assert_eq!(add(&mut patterns, entry(1, 0, 0, 40, None)), None);
        }
        let sites: Vec<_> = patterns.rows().iter().map(|row| row.site.join("")).collect();
        assert_eq!(sites, ["send_reply", "send_footer"]);
    }

    #[test]
    fn the_median_is_that_of_the_last_waits() {
        let mut recent = Recent::default();
        (0..10_000).for_each(|ns| recent.add(ns));
        assert_eq!(recent.median(), Some(10_000 - 4096 / 2 - 1));
        assert_eq!((recent.order.len(), recent.sorted.len()), (MAX_RECENT, MAX_RECENT));
    }
}

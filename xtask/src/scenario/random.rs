//! Random schedules from a seed: what must be found is known to the oracle alone.

use crate::oracle::{Call, Way};

use super::{Expect, Link, Step, Story, Syn, Then, story::SYN};

/// Three sockets at once, so that what belongs to one cannot be taken for another's.
const CONNECTIONS: u64 = 3;
const STEPS: u64 = 45;
/// The name of the schedules with all ways to write.
pub(crate) const WAYS: &str = "random_ways";
/// The name of the schedule of 200 closes.
pub(crate) const MANY: &str = "random_close_200";
const MSS: u64 = 1000;

/// The schedule of this seed.
pub(crate) fn random(seed: u64) -> Story {
    writes("random", seed, Draw::step)
}

/// As [`random`], with other ways to write, data that the peer sends, and windows that it makes smaller and larger.
pub(crate) fn random_ways(seed: u64) -> Story {
    writes(WAYS, seed, Draw::step_of_ways)
}

fn writes(name: &str, seed: u64, step: fn(&mut Draw) -> Step) -> Story {
    // The generator must not start at zero, and neighbouring seeds must not look alike.
    let mut draw = Draw(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let syns = (0..CONNECTIONS).map(|_| Syn { sack: draw.below(4) > 0, ..SYN }).collect();
    let mut steps = Vec::new();
    for connection in 0..CONNECTIONS {
        steps.push(then(connection, Step::AckAfter(draw.ack_delay_us())));
    }
    for _ in 0..STEPS {
        let connection = draw.below(CONNECTIONS);
        steps.push(then(connection, step(&mut draw)));
        if draw.below(2) == 0 {
            steps.push(then(0, Step::After(draw.wait_us())));
        }
    }
    for connection in 0..CONNECTIONS {
        if name == WAYS {
            // A FIN behind a small window would stay.
            steps.push(then(connection, Step::Window(257)));
        }
        steps.push(then(connection, Step::Do(Call::Close)));
    }
    Story {
        name: name.to_owned(),
        link: Link::Tun(syns),
        listener: Vec::new(),
        steps,
        counter: None,
        expect: Expect::Holds(None),
    }
}

/// Connections of one random schedule of closes, one after the other.
const CLOSES: u64 = 10;
/// As many as a busy second of a server closes.
const MANY_CLOSES: u64 = 200;

/// A schedule of closes of this seed: both roles, any delay to 80 ms.
pub(crate) fn random_close(seed: u64) -> Story {
    closes("random_close", seed, CLOSES)
}

/// As [`random_close`], of 200 connections.
pub(crate) fn many_closes(seed: u64) -> Story {
    closes(MANY, seed, MANY_CLOSES)
}

fn closes(name: &str, seed: u64, connections: u64) -> Story {
    let mut draw = Draw(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut steps = Vec::new();
    for connection in 0..connections {
        steps.extend(draw.close().into_iter().map(|step| then(connection, step)));
    }
    Story {
        name: name.to_owned(),
        link: Link::Tun((0..connections).map(|_| SYN).collect()),
        listener: Vec::new(),
        steps,
        counter: None,
        expect: Expect::Closes(Vec::new()),
    }
}

fn then(connection: u64, step: Step) -> Then {
    Then { connection: usize::try_from(connection).unwrap_or(0), step }
}

/// Marsaglia's xorshift64: repeatable on every machine, and good enough to choose steps.
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    /// Nothing for up to 80 ms.
    fn delay(&mut self) -> Step {
        Step::After(self.below(80_000))
    }

    /// The life of one connection.
    fn close(&mut self) -> Vec<Step> {
        let (close, shutdown) = (Step::Do(Call::Close), Step::Do(Call::ShutdownWrite));
        let mut steps = vec![self.delay()];
        match self.below(8) {
            0 => steps.push(Step::Do(Call::Nodelay(true))),
            1 => steps.push(Step::Do(Call::Cork(true))),
            2 => steps.push(Step::Do(Call::Quickack(true))),
            3 => steps.push(Step::Do(Call::Quickack(false))),
            _ => {}
        }
        if self.below(3) > 0 {
            steps.extend([Step::PeerSends(100), Step::Do(Call::Read(100)), Step::After(5_000)]);
        }
        match self.below(12) {
            0..6 => {
                steps.push(Step::PeerCloses(0));
                steps.push(self.delay());
                if self.below(4) == 0 {
                    steps.extend([Step::Do(Call::Write(300)), self.delay()]);
                }
                steps.extend([close, Step::After(5_000), Step::AckFin]);
            }
            6 => steps.extend([close, self.delay(), Step::AckFinAndClose]),
            7 => {
                steps.extend([close, self.delay(), Step::AckFin, self.delay()]);
                steps.push(Step::PeerCloses(0));
            }
            8 => {
                steps.extend([shutdown, self.delay(), Step::AckFin, self.delay()]);
                steps.extend([Step::PeerCloses(0), self.delay(), close]);
            }
            9 => steps.extend([Step::PeerSends(80), self.delay(), close]),
            10 => steps.extend([Step::Do(Call::LingerZero), self.delay(), close]),
            _ => steps.extend([Step::Reset, self.delay(), close]),
        }
        steps
    }

    fn step(&mut self) -> Step {
        match self.below(16) {
            0 | 1 => Step::Do(Call::Cork(true)),
            2 | 3 => Step::Do(Call::Cork(false)),
            4 => Step::Do(Call::Nodelay(true)),
            5 => Step::Do(Call::Nodelay(false)),
            6 => Step::AckAfter(self.ack_delay_us()),
            7..=9 => Step::DoIfRoom(Call::SendMore(self.size())),
            10 => Step::DoIfRoom(Call::Writev(vec![self.size() / 2 + 1, 30])),
            _ => Step::DoIfRoom(Call::Write(self.size())),
        }
    }

    fn step_of_ways(&mut self) -> Step {
        const WAYS: [Way; 10] = [
            Way::Sendmsg,
            Way::Sendfile,
            Way::Splice,
            Way::SpliceMore,
            Way::Zerocopy,
            Way::EndOfRecord,
            Way::Urgent,
            Way::UrgentMore,
            Way::IoUring,
            Way::DontWait,
        ];
        match self.below(12) {
            0 => Step::PeerSends(1 + self.small()),
            // Not to zero, which later kernels take from an older segment too.
            1 => Step::Window(8),
            2 | 3 => Step::Window(257),
            4..=7 => {
                let at = usize::try_from(self.below(WAYS.len() as u64)).ok();
                let way = at.and_then(|at| WAYS.get(at)).copied().unwrap_or(Way::Sendmsg);
                Step::DoIfRoom(Call::By(way, self.size()))
            }
            _ => self.step(),
        }
    }

    fn small(&mut self) -> usize {
        usize::try_from(self.below(300)).unwrap_or(1)
    }

    fn size(&mut self) -> usize {
        let bytes = match self.below(10) {
            0 => MSS,
            1 => 2 * MSS,
            2 => MSS + 1 + self.below(MSS - 1),
            3 => 2 * MSS + 1 + self.below(MSS - 1),
            4 => MSS / 2 + self.below(MSS / 2),
            _ => 1 + self.below(200),
        };
        usize::try_from(bytes).unwrap_or(1)
    }

    fn wait_us(&mut self) -> u64 {
        if self.below(12) == 0 { 300_000 } else { self.below(60_000) }
    }

    /// Mostly a network's delay; now and then late enough for the loss probe or the timeout.
    fn ack_delay_us(&mut self) -> u64 {
        if self.below(10) == 0 { 250_000 + self.below(60_000) } else { 500 + self.below(60_000) }
    }
}

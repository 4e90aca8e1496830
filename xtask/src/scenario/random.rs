//! Random schedules from a seed: what must be found is known to the oracle alone.

use crate::oracle::Call;

use super::{Link, Step, Story, Syn, Then, story::SYN};

/// Three sockets at once, so that what belongs to one cannot be taken for another's.
const CONNECTIONS: u64 = 3;
const STEPS: u64 = 45;
const MSS: u64 = 1000;

/// The schedule of this seed.
pub(crate) fn random(seed: u64) -> Story {
    // The generator must not start at zero, and neighbouring seeds must not look alike.
    let mut draw = Draw(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let syns = (0..CONNECTIONS).map(|_| Syn { sack: draw.below(4) > 0, ..SYN }).collect();
    let mut steps = Vec::new();
    for connection in 0..CONNECTIONS {
        steps.push(then(connection, Step::AckAfter(draw.ack_delay_us())));
    }
    for _ in 0..STEPS {
        let connection = draw.below(CONNECTIONS);
        steps.push(then(connection, draw.step()));
        if draw.below(2) == 0 {
            steps.push(then(0, Step::After(draw.wait_us())));
        }
    }
    for connection in 0..CONNECTIONS {
        steps.push(then(connection, Step::Do(Call::Close)));
    }
    Story {
        name: "random".to_owned(),
        link: Link::Tun(syns),
        listener: Vec::new(),
        steps,
        expect: None,
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

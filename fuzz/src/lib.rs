//! What the targets have in common: bytes of a fuzzer as items of a trace.
//!
//! Each event begins as one that a working socket could send, so that a few bytes reach the states in which bytes are
//! held; then the input changes what it likes. Every byte string means something, and the same string the same.

use tcptrace::{
    event::{About, Event, SocketId},
    trace::{
        Header,
        item::{Cost, Counted, Ending, Item, Reach, Slowest, Spent},
    },
};
use tcptrace_common::{field::Field, hook::Hook, loss::Loss};

/// Sockets that events are about; few, so that they meet.
pub const SOCKETS: u32 = 4;

/// What a correlator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An item of the trace.
    Item(Item),
    /// What was concluded is wanted.
    Settle,
}

/// Reads a fuzzer's input; 0 where it has ended.
#[derive(Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    /// A number: most are small.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            255 => (0..8).fold(0, |sum, _| sum << 8 | u64::from(self.byte())),
            254 => (0..4).fold(0, |sum, _| sum << 8 | u64::from(self.byte())),
            253 => u64::from(self.byte()) << 8 | u64::from(self.byte()),
            small => small.into(),
        }
    }

    /// As [`Self::number`], its low half.
    pub fn word(&mut self) -> u32 {
        (self.number() & 0xffff_ffff) as u32
    }

    /// A text of a few characters, whatever they are.
    pub fn text(&mut self) -> String {
        let length = usize::from(self.byte() % 24).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    /// Up to `most` steps, in the order of their numbers; times may go back when `back` is true.
    pub fn steps(&mut self, most: usize, back: bool) -> Vec<Step> {
        let (mut steps, mut now_ns, mut n) = (Vec::new(), 1_000_u64, 0_u64);
        while !self.0.is_empty() && steps.len() < most {
            match self.byte() {
                kind @ 0..=207 => {
                    let event = self.event(kind, &mut now_ns, &mut n, back);
                    steps.push(Step::Item(Item::Event(event)));
                }
                208..=215 => {
                    // The event before, again: a thousand times at most.
                    let many = usize::from(self.byte()) * 4;
                    let Some(last) = steps.iter().rev().find_map(|step| match step {
                        Step::Item(Item::Event(event)) => Some(event.clone()),
                        _ => None,
                    }) else {
                        continue;
                    };
                    for _ in 0..many.min(most.saturating_sub(steps.len())) {
                        n += 1;
                        let mut again = last.clone();
                        (again.n, again.at_ns) = (n, now_ns);
                        steps.push(Step::Item(Item::Event(again)));
                    }
                }
                216..=225 => {
                    self.pass(&mut now_ns, back);
                    steps.push(Step::Item(Item::Tick { now_ns }));
                }
                226..=235 => {
                    let hook = self.hook();
                    let events = self.number();
                    steps.push(Step::Item(Item::Loss { hook, at_ns: now_ns, events }));
                }
                236..=245 => {
                    let tid = self.word();
                    steps.push(Step::Item(Item::Comm { tid, comm: self.text() }));
                }
                246..=248 => {
                    let (pid, path) = (self.word(), self.text());
                    steps.push(Step::Item(Item::About(About::Cgroup { pid, path })));
                }
                249..=255 => steps.push(Step::Settle),
            }
        }
        steps
    }

    /// What a source says at its end.
    pub fn ending(&mut self) -> Ending {
        let flags = self.byte();
        let mut lost: Vec<(Hook, Loss, u64)> = Vec::new();
        for _ in 0..flags & 3 {
            let reason = Loss::ALL[usize::from(self.byte()) % Loss::ALL.len()];
            lost.push((self.hook(), reason, self.number()));
        }
        Ending {
            started_ns: self.number(),
            ended_ns: self.number(),
            lost,
            misses: (flags & 4 != 0).then(|| self.number()),
            cost: (flags & 8 != 0).then(|| self.cost()),
            shared: (0..flags >> 5 & 3).map(|_| self.hook()).collect(),
            counted: (flags & 16 != 0).then(|| self.counted()),
            reach: Reach::Whole,
        }
    }

    fn cost(&mut self) -> Cost {
        let flags = self.byte();
        let spent =
            |it: &mut Self| Spent { hook: it.hook(), runs: it.number(), run_ns: it.number() };
        Cost {
            run_ns: self.number(),
            runs: self.number(),
            sampled_ns: (flags & 4 != 0).then(|| self.number()),
            by_hook: (0..flags & 3).map(|_| spent(self)).collect(),
        }
    }

    fn counted(&mut self) -> Counted {
        let flags = self.byte();
        Counted {
            since_ns: self.number(),
            writes: self.number(),
            sockets: (flags & 1 != 0).then(|| self.number()),
            slowest: (flags & 2 != 0).then(|| Slowest {
                took_ns: self.number(),
                at_ns: self.number(),
                pid: self.byte().into(),
                tid: self.byte().into(),
                comm: String::from_utf8_lossy(&[self.byte(), self.byte(), b'x']).into_owned(),
            }),
        }
    }

    fn hook(&mut self) -> Hook {
        Hook::ALL[usize::from(self.byte()) % Hook::ALL.len()]
    }

    fn pass(&mut self, now_ns: &mut u64, back: bool) {
        *now_ns = match self.byte() {
            255 if back => now_ns.saturating_sub(self.number()),
            254 => now_ns.saturating_add(self.number()),
            small => now_ns.saturating_add(u64::from(small) * 1_000_000),
        };
    }

    fn event(&mut self, kind: u8, now_ns: &mut u64, n: &mut u64, back: bool) -> Event {
        let hook = Hook::ALL[usize::from(kind) % Hook::ALL.len()];
        self.pass(now_ns, back);
        let mut event = Event::new(hook, *now_ns);
        *n += 1;
        event.n = *n;
        let who = self.byte();
        event.socket = SocketId(u32::from(who) % SOCKETS + 1);
        event.pid = u32::from(who >> 2 & 3);
        event.tid = event.pid + u32::from(who >> 4 & 1);
        event.jiffies = u32::from(who >> 5);
        let (snd_nxt, more) = (self.word(), self.word());
        for (name, value) in [("mss_now", 100), ("size_goal", 100), ("ret", more)] {
            event.set_arg(name, value);
        }
        if hook == Hook::do_tcp_setsockopt {
            event.set_arg("level", 6);
            event.set_arg("optname", if who & 0x80 == 0 { 1 } else { 3 });
        }
        for field in hook.fields() {
            let value = match field {
                Field::snd_nxt | Field::seq | Field::snd_sml => snd_nxt,
                Field::write_seq | Field::end_seq => snd_nxt.wrapping_add(more),
                Field::tail_len => more,
                Field::snd_wnd | Field::srtt_us | Field::mss_cache => 60_000,
                Field::snd_cwnd => 10,
                Field::skc_family => 2,
                Field::nonagle if kind >= 128 => 2,
                Field::packets_out | Field::skc_state | Field::netns => 1,
                Field::icsk_pending => 3,
                _ => 0,
            };
            event.set_field(*field, &[value]);
        }
        let changes = self.byte();
        for _ in 0..changes & 7 {
            let which = usize::from(self.byte());
            let (args, fields) = (hook.args(), hook.fields());
            match which.checked_sub(fields.len()) {
                None => {
                    let value = self.number();
                    event.set_field(
                        fields[which],
                        &[(value & 0xffff_ffff) as u32, (value >> 32) as u32],
                    );
                }
                Some(arg) if arg < args.len() => {
                    event.set_arg(args[arg].0, self.word());
                }
                Some(_) => event = without(&event, self.word()),
            }
        }
        event
    }
}

/// The event with these bits of `valid` only, and nothing in the slots of the other fields.
pub fn without(event: &Event, unread: u32) -> Event {
    let (hook, valid) = (event.hook, event.valid() & !unread);
    let mut fresh = event.clone();
    let mut at = hook.args().len();
    let slots = fresh.fill(valid);
    for (index, field) in hook.fields().iter().enumerate() {
        if valid & (1 << index) == 0 {
            slots[at..at + field.slots()].fill(0);
        }
        at += field.slots();
    }
    fresh
}

/// The header of a trace of this version, with the rows that frames want.
pub fn header() -> Header {
    Header { rows: Header::rows_of_this_version(), ..Header::default() }
}

/// A frame with its length and a checksum, as tcptrace writes them.
pub fn frame(contents: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).expect("a compressor");
    compressor.include_checksum(true).expect("a checksum");
    compressor.compress(contents).expect("room")
}

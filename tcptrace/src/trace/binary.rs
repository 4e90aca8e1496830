//! The binary form of a run of items: what a frame holds.
//!
//! A frame begins with [`MARK`], which begins no text. Then, as varints (seven bits a byte, the lowest first; signed ones
//! zigzag): the time of the frame, nanoseconds, from which the first time is told, and the number of its first event.
//! Then the items, each after a tag:
//!
//! | tag | item |
//! |---|---|
//! | 0 to 127 | an event of the header's row with that number: time since the item before (signed), socket, process, thread less process (signed), jiffies since the event before (signed), a bit for each field that was *not* read, the arguments, the fields that were read (one word: varint; two: varint of 64 bits; four: 16 bytes) |
//! | 128 | tick: time since the item before (signed) |
//! | 129 | the number of the next event |
//! | 130 | length, then so many bytes of text: a line of the text form |
//! | 131 | the same, of a line that begins with `#:` |
//! | above | the same. A reader passes over tags that it does not know |
//!
//! Each frame stands for itself: one that is damaged or missing takes nothing else with it.

use tcptrace_common::{field::Field, hook::Hook};

use super::{
    FRAME_TEXT,
    header::Row,
    item::{Ending, Item},
    text::{self, Told},
};
use crate::event::{Event, SocketId};

/// First byte of a frame in this form; it stands at the start of no UTF-8.
pub const MARK: u8 = 0xb1;
const TICK: u8 = 128;
const NUMBER: u8 = 129;
const TEXT: u8 = 130;
const ABOUT: u8 = 131;

/// Makes the contents of frames. One is full when its text would be longer than [`FRAME_TEXT`].
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// Bytes that the items have as text, at most.
    as_text: usize,
    /// Time of the first item.
    first_ns: Option<u64>,
    last_ns: u64,
    last_jiffies: u32,
    last_n: u64,
    /// Events in the frame, by hook.
    events: Vec<(Hook, u64)>,
}

/// A frame's contents, not compressed.
#[derive(Debug)]
pub struct Filled {
    /// Its bytes, [`MARK`] first.
    pub bytes: Vec<u8>,
    /// The events in it, by hook.
    pub events: Vec<(Hook, u64)>,
}

/// Longest text of what every event has: time, socket, number, process, thread, jiffies.
const TEXT_OF_EVENT: usize = 120;

impl Encoder {
    /// Adds an item.
    pub fn item(&mut self, item: &Item) {
        match item {
            Item::Event(event) => self.event(event),
            Item::Tick { now_ns } => {
                self.begin(*now_ns, None);
                self.bytes.push(TICK);
                self.time(*now_ns);
                self.as_text += 24;
            }
            Item::Comm { .. } | Item::Loss { .. } | Item::About(_) => {
                let (mut writer, mut line) = (text::Writer::default(), String::new());
                writer.item(&mut line, item);
                let tag = if matches!(item, Item::About(_)) { ABOUT } else { TEXT };
                self.line(tag, line.trim_end_matches('\n'));
            }
        }
    }

    /// Adds the end of the trace.
    pub fn end(&mut self, ending: &Ending) {
        let mut line = String::new();
        text::Writer::default().end(&mut line, ending);
        self.line(TEXT, line.trim_end_matches('\n'));
    }

    /// Whether the frame has to be closed before it grows too long.
    pub const fn is_full(&self) -> bool {
        // Room for one more event of any hook.
        self.as_text + 4096 > FRAME_TEXT
    }

    /// Time of the frame's first item, nanoseconds; `None` while it is empty.
    pub const fn first_ns(&self) -> Option<u64> {
        self.first_ns
    }

    /// Closes the frame; `None` when it is empty.
    pub fn take(&mut self) -> Option<Filled> {
        self.first_ns.take()?;
        let room = self.bytes.len();
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(room));
        self.as_text = 0;
        Some(Filled { bytes, events: std::mem::take(&mut self.events) })
    }

    fn begin(&mut self, at_ns: u64, n: Option<u64>) {
        if self.first_ns.is_none() {
            self.first_ns = Some(at_ns);
            self.bytes.push(MARK);
            varint(&mut self.bytes, at_ns);
            let n = n.unwrap_or(self.last_n.wrapping_add(1));
            varint(&mut self.bytes, n);
            (self.last_ns, self.last_n, self.last_jiffies) = (at_ns, n.wrapping_sub(1), 0);
        }
    }

    fn time(&mut self, at_ns: u64) {
        signed(&mut self.bytes, at_ns.wrapping_sub(self.last_ns).cast_signed());
        self.last_ns = at_ns;
    }

    fn event(&mut self, event: &Event) {
        self.begin(event.at_ns, Some(event.n));
        if event.n != self.last_n.wrapping_add(1) {
            self.bytes.push(NUMBER);
            varint(&mut self.bytes, event.n);
        }
        self.last_n = event.n;
        let hook = event.hook;
        self.bytes.push((hook as u16 & 0x7f) as u8);
        self.time(event.at_ns);
        let bytes = &mut self.bytes;
        varint(bytes, event.socket.0.into());
        varint(bytes, event.pid.into());
        signed(bytes, i64::from(event.tid) - i64::from(event.pid));
        signed(bytes, i64::from(event.jiffies.wrapping_sub(self.last_jiffies).cast_signed()));
        self.last_jiffies = event.jiffies;
        let all = bits(hook.fields().len());
        varint(bytes, (all & !event.valid()).into());
        let mut slots = event.slots();
        for _ in hook.args() {
            let (first, rest) = slots.split_first().unwrap_or((&0, &[]));
            varint(bytes, (*first).into());
            slots = rest;
        }
        for (index, field) in hook.fields().iter().enumerate() {
            let (own, rest) = slots.split_at_checked(field.slots()).unwrap_or_default();
            slots = rest;
            if event.valid() & (1 << index) == 0 {
                continue;
            }
            match own {
                [only] => varint(bytes, (*only).into()),
                [low, high] => varint(bytes, u64::from(*low) | u64::from(*high) << 32),
                words => words.iter().for_each(|word| bytes.extend(word.to_ne_bytes())),
            }
        }
        self.as_text += TEXT_OF_EVENT + text_of(hook);
        match self.events.iter_mut().find(|(known, _)| *known == hook) {
            Some((_, many)) => *many += 1,
            None => self.events.push((hook, 1)),
        }
    }

    fn line(&mut self, tag: u8, line: &str) {
        self.begin(self.last_ns, None);
        self.bytes.push(tag);
        varint(&mut self.bytes, line.len() as u64);
        self.bytes.extend(line.as_bytes());
        self.as_text += line.len() + 1;
    }
}

/// Longest text of a hook's name, arguments and fields.
fn text_of(hook: Hook) -> usize {
    let args: usize = hook.args().iter().map(|(name, _)| name.len() + 12).sum();
    let field = |field: &Field| field.name().len() + 2 + if field.slots() > 1 { 32 } else { 10 };
    hook.name().len() + args + hook.fields().iter().map(field).sum::<usize>()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// So many bits from the lowest on; all of them from 32 on.
fn bits(many: usize) -> u32 {
    u32::try_from(many).ok().and_then(|many| 1_u32.checked_shl(many)).unwrap_or(0).wrapping_sub(1)
}

fn signed(out: &mut Vec<u8>, value: i64) {
    varint(out, (value << 1 ^ value >> 63).cast_unsigned());
}

/// How the rows of a header are laid out in this version's events.
#[derive(Debug, Default)]
pub struct Plan {
    /// By tag.
    rows: Vec<Option<Planned>>,
}

/// One row: its parts in the order of the file, and where each goes.
#[derive(Debug)]
struct Planned {
    /// `None`: a hook that this version does not know.
    hook: Option<Hook>,
    /// Slot of each argument; one that the hook does not have goes nowhere.
    args: Vec<Option<usize>>,
    /// Words of each field, and its bit and first slot.
    fields: Vec<(usize, Option<(u32, usize)>)>,
    /// Words of each field of this version's own row.
    words: Vec<u8>,
    /// A bit for each field of the row.
    all: u32,
    /// The row is this version's own, so that its parts lie as they come.
    same: bool,
}

impl Plan {
    /// For the rows of a header. Rows whose number is no tag are passed over; their events cannot come.
    pub fn new(rows: &[Row]) -> Self {
        let mut plan = Self::default();
        for row in rows.iter().filter(|row| row.id < u16::from(TICK)) {
            let at = usize::from(row.id);
            if plan.rows.len() <= at {
                plan.rows.resize_with(at + 1, || None);
            }
            if let Some(place) = plan.rows.get_mut(at) {
                *place = Some(Planned::of(row));
            }
        }
        plan
    }

    fn of_tag(&self, tag: u8) -> Option<&Planned> {
        self.rows.get(usize::from(tag))?.as_ref()
    }
}

impl Planned {
    fn of(row: &Row) -> Self {
        let hook = Hook::ALL.iter().find(|hook| hook.name() == row.hook).copied();
        let arg = |name: &String| hook?.args().iter().position(|(known, _)| known == name);
        let field = |(name, words): &(String, usize)| {
            let mut at = hook?.args().len();
            for (index, known) in (0..).zip(hook?.fields()) {
                if known.name() == name && known.slots() == *words {
                    return Some((index, at));
                }
                at += known.slots();
            }
            None
        };
        Self {
            hook,
            args: row.args.iter().map(arg).collect(),
            fields: row.fields.iter().map(|each| (each.1, field(each))).collect(),
            words: hook
                .map_or(&[][..], Hook::fields)
                .iter()
                .map(|field| words_of(*field))
                .collect(),
            all: bits(row.fields.len()),
            same: hook.is_some_and(|hook| Row::of(hook) == *row),
        }
    }
}

/// [`Field::slots`] in a byte: there are four at most.
fn words_of(field: Field) -> u8 {
    u8::try_from(field.slots()).unwrap_or(u8::MAX)
}

/// Reads the contents of one frame, item by item.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    plan: &'a Plan,
    rows: &'a [Row],
    last_ns: u64,
    last_jiffies: u32,
    next_n: u64,
}

impl<'a> Decoder<'a> {
    /// For a frame that begins with [`MARK`]; `None` when it does not, or is not whole.
    pub fn new(frame: &'a [u8], plan: &'a Plan, rows: &'a [Row]) -> Option<Self> {
        let mut new = Self {
            rest: frame.strip_prefix(&[MARK])?,
            plan,
            rows,
            last_ns: 0,
            last_jiffies: 0,
            next_n: 0,
        };
        (new.last_ns, new.next_n) = (new.varint()?, new.varint()?);
        Some(new)
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next item; `None` when the bytes make none, which no frame with a right checksum has.
    #[inline]
    pub fn item(&mut self) -> Option<Told> {
        let (tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        match *tag {
            tag if tag < TICK => {
                let plan = self.plan;
                self.event(plan.of_tag(tag)?)
            }
            TICK => {
                self.time()?;
                Some(Told::Item(Item::Tick { now_ns: self.last_ns }))
            }
            NUMBER => {
                self.next_n = self.varint()?;
                Some(Told::Nothing)
            }
            tag => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (line, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                if tag != TEXT && tag != ABOUT {
                    return Some(Told::Nothing);
                }
                text::read(str::from_utf8(line).ok()?, self.rows).ok()
            }
        }
    }

    #[inline]
    fn event(&mut self, row: &Planned) -> Option<Told> {
        self.time()?;
        let socket = SocketId(self.word()?);
        let pid = self.word()?;
        let tid = u32::try_from(i64::from(pid).checked_add(self.signed()?)?).ok()?;
        self.last_jiffies =
            self.last_jiffies.wrapping_add((self.signed()?.cast_unsigned() & 0xffff_ffff) as u32);
        let read = row.all & !self.word()?;
        let hook = row.hook.unwrap_or(Hook::socket);
        let mut event = Event::new(hook, self.last_ns);
        if row.same {
            self.own(&mut event, row, read)?;
        } else {
            self.others(&mut event, row, read)?;
        }
        (event.n, self.next_n) = (self.next_n, self.next_n.wrapping_add(1));
        (event.socket, event.pid, event.tid, event.jiffies) = (socket, pid, tid, self.last_jiffies);
        Some(if row.hook.is_some() { Told::Item(Item::Event(event)) } else { Told::Unknown })
    }

    /// The parts of a row that is this version's own.
    #[inline]
    fn own(&mut self, event: &mut Event, row: &Planned, read: u32) -> Option<()> {
        // Of its own, so that it stays in registers.
        let mut rest = self.rest;
        let mut slots = event.fill(read).iter_mut();
        for _ in &row.args {
            *slots.next()? = word(&mut rest)?;
        }
        for (index, words) in row.words.iter().enumerate() {
            if read & (1 << index) == 0 {
                slots.by_ref().take(usize::from(*words)).for_each(drop);
                continue;
            }
            match words {
                1 => *slots.next()? = word(&mut rest)?,
                2 => {
                    let value = number(&mut rest)?;
                    *slots.next()? = (value & 0xffff_ffff) as u32;
                    *slots.next()? = (value >> 32) as u32;
                }
                _ => {
                    for _ in 0..*words {
                        *slots.next()? = raw(&mut rest)?;
                    }
                }
            }
        }
        self.rest = rest;
        Some(())
    }

    /// The parts of a row of another version.
    fn others(&mut self, event: &mut Event, row: &Planned, read: u32) -> Option<()> {
        let mut valid = 0;
        let mut slots = [0; tcptrace_common::hook::MAX_SLOTS];
        for place in &row.args {
            let value = self.word()?;
            if let Some(slot) = place.and_then(|at| slots.get_mut(at)) {
                *slot = value;
            }
        }
        for (index, (words, place)) in row.fields.iter().enumerate() {
            if read & (1 << index) == 0 {
                continue;
            }
            let mut value = [0; 4];
            match words {
                1 => value[0] = self.word()?,
                2 => {
                    let both = self.varint()?;
                    (value[0], value[1]) = ((both & 0xffff_ffff) as u32, (both >> 32) as u32);
                }
                _ => {
                    for word in value.iter_mut().take(*words) {
                        *word = self.raw()?;
                    }
                }
            }
            if let Some((bit, at)) = place {
                valid |= 1 << bit;
                slots
                    .iter_mut()
                    .skip(*at)
                    .zip(value)
                    .take(*words)
                    .for_each(|(to, from)| *to = from);
            }
        }
        for (to, from) in event.fill(valid).iter_mut().zip(slots) {
            *to = from;
        }
        Some(())
    }

    fn time(&mut self) -> Option<()> {
        self.last_ns = self.last_ns.wrapping_add(self.signed()?.cast_unsigned());
        Some(())
    }

    fn word(&mut self) -> Option<u32> {
        word(&mut self.rest)
    }

    fn raw(&mut self) -> Option<u32> {
        raw(&mut self.rest)
    }

    fn varint(&mut self) -> Option<u64> {
        number(&mut self.rest)
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }
}

#[inline]
fn word(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(number(rest)?).ok()
}

#[inline]
fn raw(rest: &mut &[u8]) -> Option<u32> {
    let (word, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_ne_bytes(*word))
}

#[inline]
fn number(rest: &mut &[u8]) -> Option<u64> {
    let (first, after) = rest.split_first()?;
    if *first < 0x80 {
        *rest = after;
        return Some(u64::from(*first));
    }
    let Some(bytes) = rest.first_chunk() else { return number_by_bytes(rest) };
    let word = u64::from_le_bytes(*bytes);
    // The highest bit of each byte that ends a number.
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return number_by_bytes(rest);
    }
    *rest = rest.get(ends.trailing_zeros() as usize / 8 + 1..)?;
    // The bytes up to the first that ends one; then seven bits of each, two, four and eight bytes at a time. How long a
    // number is cannot be foretold, so that no branch depends on it.
    let own = word & (ends ^ (ends - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
    let two = (own & 0x007f_007f_007f_007f) | (own >> 1 & 0x3f80_3f80_3f80_3f80);
    let four = (two & 0x0000_3fff_0000_3fff) | (two >> 2 & 0x0fff_c000_0fff_c000);
    Some((four & 0x0fff_ffff) | (four >> 4 & 0x00ff_ffff_f000_0000))
}

/// A number near the end of a frame, or one of more than 56 bits.
#[cold]
fn number_by_bytes(rest: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        if shift == 63 && *byte > 1 {
            return None;
        }
        value |= u64::from(*byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Header, Line, parse};

    const LINES: [&str; 4] = [
        "5.000021000 s1 pid=160 tid=161 tcp_push flags=0 mss_now=50 nonagle=2 size_goal=50 jiffies=4294967295 | nonagle=2 snd_nxt=4294967295 tcp_wstamp_ns=12884901890",
        "5.000020000 s2 pid=4194304 tid=1 socket comm0=1 comm1=0 comm2=0 comm3=0 jiffies=3 | skc_v6_daddr=20010db8000000000000000000000001 netns=4026531840",
        "4.000000000 s1 pid=0 tcp_done jiffies=7 |",
        "9.000000000 s1 pid=0 tcp_fin jiffies=7 | skc_state=1",
    ];

    fn items() -> Vec<Item> {
        let mut items = Vec::new();
        for (n, line) in [1, 2, 9, 10].into_iter().zip(LINES) {
            let mut event = parse(line).unwrap();
            event.n = n;
            items.push(Item::Event(event));
        }
        items.insert(1, Item::Tick { now_ns: 6_000_000_000 });
        items.push(Item::Loss { hook: Hook::tcp_push, at_ns: 9_100_000_000, events: 3 });
        items.push(Item::Comm { tid: 7, comm: "a\nb".to_owned() });
        items.push(Item::Comm { tid: 8, comm: String::new() });
        items
    }

    fn encoded(items: &[Item]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        for item in items {
            encoder.item(item);
        }
        encoder.take().unwrap().bytes
    }

    fn decoded(bytes: &[u8], rows: &[Row]) -> Option<Vec<Item>> {
        let plan = Plan::new(rows);
        let mut decoder = Decoder::new(bytes, &plan, rows)?;
        let mut out = Vec::new();
        while !decoder.is_empty() {
            if let Told::Item(item) = decoder.item()? {
                out.push(item);
            }
        }
        Some(out)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let rows = Header::rows_of_this_version();
        assert_eq!(decoded(&encoded(&items()), &rows), Some(items()));
    }

    #[test]
    fn a_number_is_read_alike_wherever_its_frame_ends() {
        for bits in 0..=64 {
            for value in [u64::MAX.checked_shr(64 - bits).unwrap_or(0), 1 << bits.min(63)] {
                let mut bytes = Vec::new();
                varint(&mut bytes, value);
                let length = bytes.len();
                bytes.extend([0xff; 9]);
                for end in length..bytes.len() {
                    let (mut rest, mut slowly) = (&bytes[..end], &bytes[..end]);
                    assert_eq!(number(&mut rest), Some(value), "{bytes:?}");
                    assert_eq!(number_by_bytes(&mut slowly), Some(value), "{bytes:?}");
                    assert_eq!((rest.len(), slowly.len()), (end - length, end - length));
                }
                assert!((0..length).all(|end| number(&mut &bytes[..end]).is_none()));
            }
        }
    }

    #[test]
    fn a_frame_that_ends_early_is_no_frame_and_no_panic() {
        let (rows, whole) = (Header::rows_of_this_version(), encoded(&items()));
        let lengths: Vec<_> = (0..whole.len())
            .map(|end| decoded(&whole[..end], &rows).map(|items| items.len()))
            .collect();
        assert!(lengths.iter().any(Option::is_none) && lengths.iter().flatten().all(|n| *n < 8));
    }

    #[test]
    fn rows_of_another_version_are_read_by_their_names() {
        // Parts in another order, one that nobody knows, and a hook that nobody knows.
        let mut row = Row::of(Hook::sk_stream_wait_connect);
        row.fields.reverse();
        row.fields.insert(1, ("colour".to_owned(), 2));
        row.args.push("depth".to_owned());
        let strange = Row {
            id: 99,
            hook: "tcp_pull".to_owned(),
            args: vec!["a".to_owned()],
            fields: Vec::new(),
        };
        let mut frame = vec![MARK, 0, 1];
        // time, socket, pid, tid, jiffies, all read; depth; skc_state, colour, snd_nxt, write_seq.
        frame.extend([19, 2, 1, 7, 0, 14, 0, 5, 1, 77, 33, 44]);
        frame.extend([99, 2, 1, 7, 0, 0, 0, 5]);
        let items = decoded(&frame, &[row, strange]).unwrap();
        let [Item::Event(event)] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!(
            Line(event).to_string(),
            "0.000000001 s1 pid=7 sk_stream_wait_connect jiffies=7 | write_seq=44 snd_nxt=33 skc_state=1"
        );
    }

    #[test]
    fn no_event_is_longer_as_text_than_is_reckoned() {
        for hook in Hook::ALL {
            let mut event = Event::from_parts(*hook, u32::MAX, &[u32::MAX; 48]);
            (event.at_ns, event.n, event.jiffies) = (u64::MAX, u64::MAX, u32::MAX);
            (event.pid, event.tid, event.socket) = (u32::MAX, u32::MAX - 1, SocketId(u32::MAX));
            let mut line = String::new();
            text::Writer::default().item(&mut line, &Item::Event(event));
            assert!(line.len() <= TEXT_OF_EVENT + text_of(*hook), "{line}");
            assert!(line.len() < 4096);
        }
    }

    #[test]
    fn every_hook_has_a_tag_of_its_own() {
        assert!(Hook::MAX < u16::from(TICK));
        assert!(Hook::ALL.iter().all(|hook| hook.fields().len() <= 32));
    }
}

//! The text of a trace: one item per line, hand-writable, greppable, the same in files, tests and documentation.
//!
//! ```text
//! 0.000020000 comm 160 server
//! 0.000021000 s1 pid=160 tcp_push flags=0 mss_now=50 nonagle=2 | nonagle=2 packets_out=2 write_seq=113
//! 0.050000000 tick
//! 0.060000000 lost tcp_push 1920
//! 1.000000000 end started=0.000000000 misses=0 run_ns=81200 runs=64 tcp_push:buffer_full=1920
//! ```
//!
//! An event: seconds on `CLOCK_MONOTONIC`, the socket, its number where it does not follow the one before (`n=`), the task at
//! work (`tid=` where it is not the process's first thread), the hook, its arguments; behind the bar the fields that
//! were read, in the order of the hook's row. A field that was not read is not there. Numbers are decimal; 16-byte
//! addresses are 32 hexadecimal digits. `jiffies=` is an argument of every hook.
//!
//! Lines that begin with `#:` tell what a number stands for; a reader that does not know them takes them for comments:
//!
//! ```text
//! #: cgroup 160 /system.slice/server.service
//! #: stack 1 send_reply@src/reply.c:40 main
//! ```
//!
//! The cgroup of a process, as a path from the root; a user stack, by the number that `user_stack` tells, the innermost
//! function first. A function or file has `%20` for a space, and no `@` but the one between them.
//!
//! `tick`: everything up to this moment has been told. `comm`: a thread's name, in which `%0A` stands for a byte that
//! would break the line. `lost`: events that were not seen since the last tick. `end`, or `continued` in one part of a
//! recording of several files, closes the trace. What begins with `#` is a comment.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use tcptrace_common::{field::Field, hook::Hook, loss::Loss};

use super::{
    Row,
    item::{Cost, Counted, Ending, Item, Reach, Slowest, Spent},
};
use crate::event::{About, Event, Frame, Holder, MAX_FRAMES, SocketId};

/// Why a line is no part of a trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A part of the line is missing.
    #[error("no {0} in the line")]
    Missing(&'static str),
    /// A word is not what it should be.
    #[error("'{word}' is no {wanted}")]
    Word {
        /// What stands there.
        word: String,
        /// What should.
        wanted: &'static str,
    },
    /// The hook's record does not carry this.
    #[error("{hook} carries no {name}")]
    NotCarried {
        /// The hook's name.
        hook: &'static str,
        /// The argument's or field's.
        name: String,
    },
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An item; an event whose number is 0 follows the one before.
    Item(Item),
    /// The trace is over.
    End(Ending),
    /// A comment, or nothing.
    Nothing,
    /// An event of a hook that the header declares and this version does not know.
    Unknown,
}

/// Reads one line of an event.
///
/// # Errors
/// [`TraceError`] names the word that does not fit.
pub fn parse(line: &str) -> Result<Event, TraceError> {
    match read(line, &[])? {
        Told::Item(Item::Event(event)) => Ok(event),
        _ => Err(TraceError::Missing("socket")),
    }
}

/// Reads one line; `rows` are those of the header.
///
/// # Errors
/// [`TraceError`] names the word that does not fit.
pub fn read(line: &str, rows: &[Row]) -> Result<Told, TraceError> {
    if let Some(about) = line.strip_prefix(ABOUT) {
        return Ok(about_of(about).map_or(Told::Nothing, |about| Told::Item(Item::About(about))));
    }
    if line.is_empty() || line.starts_with('#') {
        return Ok(Told::Nothing);
    }
    let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
    if time.is_empty() {
        return Err(TraceError::Missing("time"));
    }
    let at_ns = seconds(time)?;
    let (what, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let item = match what {
        "tick" => Item::Tick { now_ns: at_ns },
        "comm" => {
            let (tid, comm) = after.split_once(' ').ok_or(TraceError::Missing("name"))?;
            Item::Comm { tid: number(tid)?, comm: unescape(comm) }
        }
        "lost" => {
            let (name, events) = after.split_once(' ').ok_or(TraceError::Missing("number"))?;
            let events = long(events)?;
            match known(name, rows)? {
                Some(hook) => Item::Loss { hook, at_ns, events },
                None => return Ok(Told::Unknown),
            }
        }
        "end" => return ending(at_ns, after, Reach::Whole),
        "continued" => return ending(at_ns, after, Reach::Part),
        _ => return event(at_ns, rest, rows),
    };
    Ok(Told::Item(item))
}

/// How a line begins that tells what a number stands for. Older readers take it for a comment.
pub const ABOUT: &str = "#: ";

/// What follows [`ABOUT`]; nothing where this version does not know it.
fn about_of(text: &str) -> Option<About> {
    let (what, rest) = text.split_once(' ')?;
    let (of, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let of = of.parse().ok()?;
    match what {
        "cgroup" => Some(About::Cgroup { pid: of, path: unescape(rest) }),
        "holder" => {
            let (pid, processes) = rest.split_once(' ')?;
            let holder = Holder { pid: pid.parse().ok()?, processes: processes.parse().ok()? };
            Some(About::Holder { socket: SocketId(of), holder })
        }
        "stack" => {
            let frames = rest.split_ascii_whitespace().take(MAX_FRAMES).map(frame).collect();
            Some(About::Stack { number: of, frames })
        }
        _ => None,
    }
}

/// `send_reply@src/reply.c:40`, `main`.
fn frame(word: &str) -> Frame {
    let (function, place) = word.split_once('@').map_or((word, None), |(f, p)| (f, Some(p)));
    let with_line = place.and_then(|place| {
        let (file, line) = place.rsplit_once(':')?;
        Some((file, line.parse().ok()?))
    });
    let file = with_line.map(|(file, _)| file).or(place);
    Frame {
        function: unescape(function),
        file: file.map(unescape),
        line: with_line.map(|(_, line)| line),
    }
}

/// A text as one word: `%` and two digits for all that is not printed, for spaces, and for `@`.
fn word(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' && byte != b'@' {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The hook of this name; `None` when only the header knows it.
fn known(name: &str, rows: &[Row]) -> Result<Option<Hook>, TraceError> {
    match hook(name) {
        Err(_) if rows.iter().any(|row| row.hook == name) => Ok(None),
        known => known.map(Some),
    }
}

fn event(at_ns: u64, rest: &str, rows: &[Row]) -> Result<Told, TraceError> {
    let (before, fields) = rest.split_once('|').unwrap_or((rest, ""));
    let mut words = before.split_ascii_whitespace();
    let socket = socket(words.next().ok_or(TraceError::Missing("socket"))?)?;
    let (mut n, mut pid, mut tid) = (0, 0, None);
    let hook = loop {
        let word = words.next().ok_or(TraceError::Missing("hook"))?;
        match word.split_once('=') {
            Some(("n", number)) => n = long(number)?,
            Some(("pid", id)) => pid = number(id)?,
            Some(("tid", id)) => tid = Some(number(id)?),
            Some(_) => return Err(TraceError::Word { word: word.to_owned(), wanted: "hook" }),
            None => break known(word, rows)?,
        }
    };
    let Some(hook) = hook else { return Ok(Told::Unknown) };
    let row = rows.iter().find(|row| row.hook == hook.name());
    let mut event = Event::new(hook, at_ns);
    (event.n, event.socket, event.pid, event.tid) = (n, socket, pid, tid.unwrap_or(pid));
    for word in words {
        let (name, value) = pair(word)?;
        if name == "jiffies" {
            event.jiffies = number(value)?;
        } else if !event.set_arg(name, number(value)?)
            && !row.is_some_and(|row| row.args.iter().any(|arg| arg == name))
        {
            return Err(TraceError::NotCarried { hook: hook.name(), name: name.to_owned() });
        }
    }
    for word in fields.split_ascii_whitespace() {
        let (name, value) = pair(word)?;
        let field = hook.fields().iter().find(|field| field.name() == name);
        match field {
            Some(field) => {
                event.set_field(*field, &value_words(*field, value)?);
            }
            None if row.is_some_and(|row| row.fields.iter().any(|(known, _)| known == name)) => {}
            None => {
                return Err(TraceError::NotCarried { hook: hook.name(), name: name.to_owned() });
            }
        }
    }
    Ok(Told::Item(Item::Event(event)))
}

fn ending(ended_ns: u64, words: &str, reach: Reach) -> Result<Told, TraceError> {
    let mut ending = Ending { ended_ns, reach, ..Ending::default() };
    let (mut run_ns, mut runs) = (None, None);
    let mut cost = Cost::default();
    let mut counted = None;
    let wrong = || TraceError::Word { word: words.to_owned(), wanted: "writes=SECONDS,NUMBER" };
    for word in words.split_ascii_whitespace() {
        let (name, value) = pair(word)?;
        match name {
            "started" => ending.started_ns = seconds(value)?,
            "misses" => ending.misses = Some(long(value)?),
            "run_ns" => run_ns = Some(long(value)?),
            "runs" => runs = Some(long(value)?),
            "sampled_ns" => cost.sampled_ns = Some(long(value)?),
            "shared" => {
                ending.shared = value.split(',').filter_map(|name| hook(name).ok()).collect();
            }
            "writes" => {
                let (since, writes) = value.split_once(',').ok_or_else(wrong)?;
                let (since_ns, writes) = (seconds(since)?, long(writes)?);
                counted = Some(Counted { since_ns, writes, ..Counted::default() });
            }
            "sockets" => {
                let sockets = Some(long(value)?);
                counted = counted.map(|counted| Counted { sockets, ..counted });
            }
            "slowest" => {
                let slowest = Some(slowest(value)?);
                counted = counted.map(|counted| Counted { slowest, ..counted });
            }
            _ => {
                if let Some(spent) = spent(name, value)? {
                    cost.by_hook.push(spent);
                    continue;
                }
                // A hook or a reason that this version does not know has no findings either.
                let known = name
                    .split_once(':')
                    .and_then(|(name, reason)| Some((hook(name).ok()?, Loss::from_name(reason)?)));
                if let Some((hook, reason)) = known {
                    ending.lost.push((hook, reason, long(value)?));
                }
            }
        }
    }
    ending.counted = counted;
    ending.cost = run_ns.zip(runs).map(|(run_ns, runs)| Cost { run_ns, runs, ..cost });
    Ok(Told::End(ending))
}

/// `HOOK:cost=RUNS,NS`; `None` for another word, and for a hook that this version does not know.
fn spent(name: &str, value: &str) -> Result<Option<Spent>, TraceError> {
    let Some(name) = name.strip_suffix(":cost") else { return Ok(None) };
    let wrong = || TraceError::Word { word: value.to_owned(), wanted: "RUNS,NS" };
    let (runs, run_ns) = value.split_once(',').ok_or_else(wrong)?;
    let (runs, run_ns) = (long(runs)?, long(run_ns)?);
    Ok(hook(name).ok().map(|hook| Spent { hook, runs, run_ns }))
}

/// `TOOK_NS,SECONDS,PID,TID,COMM`.
fn slowest(text: &str) -> Result<Slowest, TraceError> {
    let wrong = || TraceError::Word { word: text.to_owned(), wanted: "five words and commas" };
    let mut words = text.splitn(5, ',');
    let mut next = || words.next().ok_or_else(wrong);
    Ok(Slowest {
        took_ns: long(next()?)?,
        at_ns: seconds(next()?)?,
        pid: number(next()?)?,
        tid: number(next()?)?,
        comm: unescape(next()?),
    })
}

/// Writes an event as [`parse`] reads it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a>(pub &'a Event);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Numbered { event: self.0, follows: true }.fmt(f)
    }
}

/// An event, with its number where it does not follow the one before.
struct Numbered<'a> {
    event: &'a Event,
    follows: bool,
}

impl fmt::Display for Numbered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = self.event;
        write!(f, "{} {}", Seconds(e.at_ns), e.socket)?;
        if !self.follows {
            write!(f, " n={}", e.n)?;
        }
        write!(f, " pid={}", e.pid)?;
        if e.tid != e.pid {
            write!(f, " tid={}", e.tid)?;
        }
        f.write_char(' ')?;
        f.write_str(e.hook.name())?;
        for (name, _) in e.hook.args() {
            write!(f, " {name}={}", e.arg(name).unwrap_or(0))?;
        }
        write!(f, " jiffies={} |", e.jiffies)?;
        for field in e.hook.fields() {
            if field.bytes() == 16 {
                if let Some(bytes) = e.wide(*field) {
                    write!(f, " {}={:032x}", field.name(), u128::from_be_bytes(bytes))?;
                }
            } else if let Some(value) = e.field(*field) {
                write!(f, " {}={value}", field.name())?;
            }
        }
        Ok(())
    }
}

/// Writes items as lines that [`read`] takes.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    last_n: u64,
    last_ns: u64,
}

impl Writer {
    /// Appends the item's line.
    pub fn item(&mut self, out: &mut String, item: &Item) {
        // Writing to a string does not fail.
        let _ = match item {
            Item::Event(event) => {
                let follows = event.n == self.last_n.wrapping_add(1);
                (self.last_n, self.last_ns) = (event.n, event.at_ns);
                writeln!(out, "{}", Numbered { event, follows })
            }
            Item::Tick { now_ns } => {
                self.last_ns = *now_ns;
                writeln!(out, "{} tick", Seconds(*now_ns))
            }
            Item::Comm { tid, comm } => {
                writeln!(out, "{} comm {tid} {}", Seconds(self.last_ns), escape(comm))
            }
            Item::About(About::Cgroup { pid, path }) => {
                writeln!(out, "{ABOUT}cgroup {pid} {}", escape(path))
            }
            Item::About(About::Holder { socket, holder }) => {
                writeln!(out, "{ABOUT}holder {} {} {}", socket.0, holder.pid, holder.processes)
            }
            Item::About(About::Stack { number, frames }) => {
                let _ = write!(out, "{ABOUT}stack {number}");
                for Frame { function, file, line } in frames {
                    let _ = write!(out, " {}", word(function));
                    if let Some(file) = file {
                        let _ = write!(out, "@{}", word(file));
                    }
                    if let Some(line) = line.filter(|_| file.is_some()) {
                        let _ = write!(out, ":{line}");
                    }
                }
                out.push('\n');
                Ok(())
            }
            Item::Loss { hook, at_ns, events } => {
                self.last_ns = *at_ns;
                writeln!(out, "{} lost {} {events}", Seconds(*at_ns), hook.name())
            }
        };
    }

    /// Appends the last line.
    pub fn end(&self, out: &mut String, ending: &Ending) {
        let first = match ending.reach {
            Reach::Whole => "end",
            Reach::Part => "continued",
            Reach::Cut | Reach::Stopped => return,
        };
        let _ = write!(
            out,
            "{} {first} started={}",
            Seconds(ending.ended_ns),
            Seconds(ending.started_ns)
        );
        if let Some(misses) = ending.misses {
            let _ = write!(out, " misses={misses}");
        }
        if let Some(Cost { run_ns, runs, sampled_ns, by_hook }) = &ending.cost {
            let _ = write!(out, " run_ns={run_ns} runs={runs}");
            if let Some(sampled_ns) = sampled_ns {
                let _ = write!(out, " sampled_ns={sampled_ns}");
            }
            for Spent { hook, runs, run_ns } in by_hook {
                let _ = write!(out, " {}:cost={runs},{run_ns}", hook.name());
            }
        }
        for (i, hook) in ending.shared.iter().enumerate() {
            let _ = write!(out, "{}{}", if i == 0 { " shared=" } else { "," }, hook.name());
        }
        if let Some(Counted { since_ns, writes, sockets, slowest }) = &ending.counted {
            let _ = write!(out, " writes={},{writes}", Seconds(*since_ns));
            if let Some(sockets) = sockets {
                let _ = write!(out, " sockets={sockets}");
            }
            if let Some(Slowest { took_ns, at_ns, pid, tid, comm }) = slowest {
                let (at, comm) = (Seconds(*at_ns), word(comm));
                let _ = write!(out, " slowest={took_ns},{at},{pid},{tid},{comm}");
            }
        }
        for (hook, reason, events) in &ending.lost {
            let _ = write!(out, " {}:{}={events}", hook.name(), reason.name().replace(' ', "_"));
        }
        out.push('\n');
    }
}

/// Nanoseconds as seconds with nine decimals.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// The text with `%` and two digits for what would break a line or a word at its end.
pub fn escape(text: &str) -> Cow<'_, str> {
    let last = text.chars().count().saturating_sub(1);
    let breaks = |(at, c): (usize, char)| {
        c == '%'
            || c.is_control()
            || (c == ' ' && (at == 0 || at == last))
            || (c != ' ' && c.is_whitespace())
    };
    if !text.chars().enumerate().any(breaks) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if breaks((at, c)) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// What [`escape`] was given; a `%` without two digits stands for itself.
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits
            .filter(|two| *first == b'%' && two.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pair(word: &str) -> Result<(&str, &str), TraceError> {
    word.split_once('=')
        .ok_or_else(|| TraceError::Word { word: word.to_owned(), wanted: "name=value" })
}

fn number(word: &str) -> Result<u32, TraceError> {
    word.parse().map_err(|_not_a_number| TraceError::Word {
        word: word.to_owned(),
        wanted: "number of 32 bits",
    })
}

fn long(word: &str) -> Result<u64, TraceError> {
    word.parse().map_err(|_not_a_number| TraceError::Word {
        word: word.to_owned(),
        wanted: "number of 64 bits",
    })
}

/// Nanoseconds of a time in seconds with up to nine decimals.
///
/// # Errors
/// [`TraceError::Word`].
pub fn seconds(word: &str) -> Result<u64, TraceError> {
    let wrong = || TraceError::Word { word: word.to_owned(), wanted: "time in seconds" };
    let (whole, part) = word.split_once('.').unwrap_or((word, "0"));
    if part.len() > 9 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_not_a_number| wrong())?;
    let nanos: u64 = format!("{part:0<9}").parse().map_err(|_not_a_number| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(nanos)).ok_or_else(wrong)
}

fn socket(word: &str) -> Result<SocketId, TraceError> {
    let id = word.strip_prefix('s').and_then(|n| n.parse().ok()).map(SocketId);
    id.ok_or_else(|| TraceError::Word { word: word.to_owned(), wanted: "socket" })
}

fn hook(word: &str) -> Result<Hook, TraceError> {
    let known = Hook::ALL.iter().find(|h| h.name() == word).copied();
    known.ok_or_else(|| TraceError::Word { word: word.to_owned(), wanted: "hook" })
}

fn value_words(field: Field, value: &str) -> Result<Vec<u32>, TraceError> {
    let wrong = |wanted| TraceError::Word { word: value.to_owned(), wanted };
    if field.bytes() == 16 {
        let bytes = u128::from_str_radix(value, 16)
            .map_err(|_not_a_number| wrong("address of 32 hexadecimal digits"))?
            .to_be_bytes();
        return Ok(bytes
            .chunks_exact(4)
            .map(|c| c.iter().rev().fold(0, |sum, b| sum << 8 | u32::from(*b)))
            .collect());
    }
    let value: u64 = value.parse().map_err(|_not_a_number| wrong("number"))?;
    Ok(vec![(value & 0xffff_ffff) as u32, (value >> 32) as u32])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "0.000021000 s1 pid=160 tid=161 tcp_push flags=0 mss_now=50 nonagle=2 size_goal=50 turn=3 part=2 from_start=1 jiffies=7 | \
                        nonagle=2 packets_out=2 tcp_wstamp_ns=12884901890";

    #[test]
    fn a_line_is_read_and_written_back() {
        let event = parse(LINE).unwrap();
        assert_eq!(event.at_ns, 21_000);
        assert_eq!((event.pid, event.tid, event.jiffies), (160, 161, 7));
        assert_eq!(event.field(Field::tcp_wstamp_ns), Some(12_884_901_890));
        assert_eq!(event.field(Field::snd_una), None);
        assert_eq!(Line(&event).to_string(), LINE);
    }

    #[test]
    fn addresses_survive() {
        let line = "1.5 s2 pid=1 socket | skc_v6_daddr=20010db8000000000000000000000001";
        let event = parse(line).unwrap();
        assert_eq!(event.wide(Field::skc_v6_daddr).unwrap()[..4], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(parse(&Line(&event).to_string()).unwrap(), event);
    }

    #[test]
    fn every_kind_of_line_is_read_and_written_back() {
        let text = "1.000000000 s1 n=7 pid=1 tcp_fin jiffies=0 | skc_state=1\n\
                    1.000000000 comm 160 a b%20\n\
                    2.000000000 s2 pid=0 tcp_done jiffies=0 |\n\
                    3.000000000 tick\n\
                    4.000000000 lost tcp_push 1920\n";
        let (mut writer, mut out) = (Writer::default(), String::new());
        let mut n = 0;
        for line in text.lines() {
            let Told::Item(mut item) = read(line, &[]).unwrap() else { panic!("{line}") };
            if let Item::Event(event) = &mut item {
                n = if event.n == 0 { n + 1 } else { event.n };
                event.n = n;
            }
            writer.item(&mut out, &item);
        }
        assert_eq!(out, text);
        for text in [
            "5.000000000 end started=1.000000000 misses=0 run_ns=5 runs=2 tcp_push:buffer_full=1920\n",
            "5.000000000 continued started=1.000000000\n",
        ] {
            let Told::End(ending) = read(text.trim_end(), &[]).unwrap() else { panic!("{text}") };
            let mut out = String::new();
            writer.end(&mut out, &ending);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn names_that_would_break_a_line_survive() {
        for name in ["", "a b", " a", "a ", "%", "%41", "a\nb", "\u{85}x", "日本", "a\tb"] {
            let line = format!("1.0 comm 5 {}", escape(name));
            assert_eq!(line.lines().count(), 1);
            assert_eq!(
                read(&line, &[]),
                Ok(Told::Item(Item::Comm { tid: 5, comm: name.to_owned() })),
                "{line}"
            );
        }
    }

    #[test]
    fn what_numbers_stand_for_survives_and_is_a_comment_to_others() {
        let frame = |function: &str, file: Option<&str>, line| Frame {
            function: function.to_owned(),
            file: file.map(str::to_owned),
            line,
        };
        let frames = vec![
            frame("std::vec::Vec<T, A>::push", Some("src/a b.rs:1"), Some(40)),
            frame("write@@GLIBC_2.2.5", Some("libc.c"), None),
            frame("日本 main", None, None),
        ];
        for about in [
            About::Cgroup { pid: 5, path: "/a b".to_owned() },
            About::Cgroup { pid: 5, path: "/".to_owned() },
            About::Stack { number: 1, frames },
            About::Stack { number: 2, frames: Vec::new() },
            About::Holder { socket: SocketId(4), holder: Holder { pid: 5, processes: 2 } },
        ] {
            let (mut line, item) = (String::new(), Item::About(about));
            Writer::default().item(&mut line, &item);
            assert_eq!(read(line.trim_end_matches('\n'), &[]), Ok(Told::Item(item)), "{line}");
            assert!(line.starts_with('#'));
        }
        assert_eq!(read("#: colour 5 blue", &[]), Ok(Told::Nothing));
        for line in ["#: cgroup", "#: holder 4 5", "#: holder 4 5 x"] {
            assert_eq!(read(line, &[]), Ok(Told::Nothing), "{line}");
        }
    }

    #[test]
    fn what_only_the_header_knows_is_passed_over() {
        let rows = [
            Row { id: 99, hook: "tcp_pull".to_owned(), args: Vec::new(), fields: Vec::new() },
            Row {
                id: 4,
                hook: "tcp_fin".to_owned(),
                args: vec!["depth".to_owned()],
                fields: vec![("colour".to_owned(), 1)],
            },
        ];
        assert_eq!(read("1.0 s1 pid=1 tcp_pull x=1 | y=2", &rows), Ok(Told::Unknown));
        assert_eq!(read("1.0 lost tcp_pull 5", &rows), Ok(Told::Unknown));
        let with = read("1.0 s1 pid=1 tcp_fin depth=3 | colour=2 skc_state=1", &rows);
        assert_eq!(with, read("1.0 s1 pid=1 tcp_fin | skc_state=1", &rows));
        assert!(read("1.0 s1 pid=1 tcp_fin depth=3", &[]).is_err());
    }

    #[test]
    fn each_mistake_is_named() {
        let error = |line: &str| parse(line).unwrap_err().to_string();
        assert_eq!(error(" s1"), "no time in the line");
        assert_eq!(error("0"), "no socket in the line");
        assert_eq!(error("x s1 tcp_push"), "'x' is no time in seconds");
        assert_eq!(error("0 s1 pid=1 tcp_pull"), "'tcp_pull' is no hook");
        assert_eq!(error("0 s1 tcp_fin level=1"), "tcp_fin carries no level");
        assert_eq!(error("0 s1 tcp_fin | nonagle=1"), "tcp_fin carries no nonagle");
        assert_eq!(error("0 s1 tcp_push flags=-1"), "'-1' is no number of 32 bits");
    }
}

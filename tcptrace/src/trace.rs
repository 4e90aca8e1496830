//! The text of a trace: one event per line, hand-writable, greppable, the same in files, tests and documentation.
//!
//! ```text
//! 0.000021000 s1 pid=160 tcp_push flags=0 mss_now=50 nonagle=2 | nonagle=2 packets_out=2 write_seq=113
//! ```
//!
//! Seconds on `CLOCK_MONOTONIC`, the socket, the task at work (`tid=` where it is not the process's first thread), the
//! hook, its arguments; behind the bar the fields that were read, in the order of the hook's row. A field that was not
//! read is not there. Numbers are decimal; 16-byte addresses are 32 hexadecimal digits. `jiffies=` is an argument of
//! every hook.

use std::fmt::{self, Write as _};

use tcptrace_common::{field::Field, hook::Hook};

use crate::event::{Event, SocketId};

/// Why a line is no event.
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

/// Reads one line.
///
/// # Errors
/// [`TraceError`] names the word that does not fit.
pub fn parse(line: &str) -> Result<Event, TraceError> {
    let (before, fields) = line.split_once('|').unwrap_or((line, ""));
    let mut words = before.split_ascii_whitespace();
    let at_ns = seconds(words.next().ok_or(TraceError::Missing("time"))?)?;
    let socket = socket(words.next().ok_or(TraceError::Missing("socket"))?)?;
    let (mut pid, mut tid) = (0, None);
    let hook = loop {
        let word = words.next().ok_or(TraceError::Missing("hook"))?;
        match word.split_once('=') {
            Some(("pid", n)) => pid = number(n)?,
            Some(("tid", n)) => tid = Some(number(n)?),
            Some(_) => return Err(TraceError::Word { word: word.to_owned(), wanted: "hook" }),
            None => break hook(word)?,
        }
    };
    let mut event = Event::new(hook, at_ns);
    (event.socket, event.pid, event.tid) = (socket, pid, tid.unwrap_or(pid));
    for word in words {
        let (name, value) = pair(word)?;
        if name == "jiffies" {
            event.jiffies = number(value)?;
        } else if !event.set_arg(name, number(value)?) {
            return Err(TraceError::NotCarried { hook: hook.name(), name: name.to_owned() });
        }
    }
    for word in fields.split_ascii_whitespace() {
        let (name, value) = pair(word)?;
        let not_carried = || TraceError::NotCarried { hook: hook.name(), name: name.to_owned() };
        let field = Field::ALL.iter().find(|f| f.name() == name).ok_or_else(not_carried)?;
        let words = value_words(*field, value)?;
        if !event.set_field(*field, &words) {
            return Err(not_carried());
        }
    }
    Ok(event)
}

/// Writes an event as [`parse`] reads it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a>(pub &'a Event);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = self.0;
        write!(
            f,
            "{}.{:09} {} pid={}",
            e.at_ns / 1_000_000_000,
            e.at_ns % 1_000_000_000,
            e.socket,
            e.pid
        )?;
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

fn seconds(word: &str) -> Result<u64, TraceError> {
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

    const LINE: &str = "0.000021000 s1 pid=160 tid=161 tcp_push flags=0 mss_now=50 nonagle=2 size_goal=50 jiffies=7 | \
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
    fn each_mistake_is_named() {
        let error = |line: &str| parse(line).unwrap_err().to_string();
        assert_eq!(error(""), "no time in the line");
        assert_eq!(error("x s1 tcp_push"), "'x' is no time in seconds");
        assert_eq!(error("0 s1 pid=1 tcp_pull"), "'tcp_pull' is no hook");
        assert_eq!(error("0 s1 tcp_fin level=1"), "tcp_fin carries no level");
        assert_eq!(error("0 s1 tcp_fin | nonagle=1"), "tcp_fin carries no nonagle");
        assert_eq!(error("0 s1 tcp_push flags=-1"), "'-1' is no number of 32 bits");
    }
}

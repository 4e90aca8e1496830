//! The first lines of a trace: of which host it is, what was asked, what could be seen.
//!
//! ```text
//! #! tcptrace-trace 1
//! # tcptrace 0.1.0
//! # host web-3
//! # kernel 6.1.0-56-cloud-amd64
//! # hz 250
//! # clock 5021.037000000 1795356182.412000000
//! # question nagle
//! # filter port=8080
//! # attached tcp_push fexit tcp_push
//! # row 2 tcp_push flags mss_now nonagle size_goal | nonagle:1 packets_out:1
//! ```
//!
//! Only the first line is needed; the rest may stand in any order. `clock` is one moment on `CLOCK_MONOTONIC` and on
//! `CLOCK_REALTIME`. `row` tells what the records of a hook consist of: its number in the frames, arguments, and fields
//! with their 32-bit words; a reader finds its own hooks and fields by these names and passes over those that it does
//! not know.

use std::fmt::{self, Write as _};

use tcptrace_common::{field::Field, hook::Hook};

use super::{
    FORMAT, MAGIC,
    text::{Seconds, TraceError, escape, seconds, unescape},
};
use crate::event::{Attached, Facts};

/// What stands before the first item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Version of tcptrace that recorded; empty in a text written by hand.
    pub tcptrace: String,
    /// The traced host.
    pub facts: Facts,
    /// The questions whose events were recorded, as they are typed; all when empty.
    pub questions: Vec<String>,
    /// What was let through, in the words of the filter; everything when empty.
    pub filter: String,
    /// The user stacks of calls that left bytes waiting were recorded.
    pub stacks: bool,
    /// Only what suffices to count was recorded (`--summary-only`).
    pub summary_only: bool,
    /// Bytes of the ring buffer; 0 when not known.
    pub buffer_bytes: u32,
    /// How long the recording was to be, nanoseconds.
    pub planned_ns: Option<u64>,
    /// Number of the file in a recording of several, from 1.
    pub part: u32,
    /// What the records consist of; empty in a text, whose lines tell it themselves.
    pub rows: Vec<Row>,
}

/// What the records of one hook consist of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number in the frames.
    pub id: u16,
    /// Its name.
    pub hook: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its fields, and the 32-bit words of each.
    pub fields: Vec<(String, usize)>,
}

/// Most words of one field.
const MAX_WORDS: usize = 4;
/// Most arguments and fields of a row, so that a header cannot make a reader allocate without bound.
const MAX_NAMES: usize = 256;

impl Row {
    /// The row of a hook of this version.
    pub fn of(hook: Hook) -> Self {
        Self {
            id: hook as u16,
            hook: hook.name().to_owned(),
            args: hook.args().iter().map(|(name, _)| (*name).to_owned()).collect(),
            fields: hook.fields().iter().map(|f| (f.name().to_owned(), f.slots())).collect(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (before, fields) = text.split_once('|').unwrap_or((text, ""));
        let mut words = before.split_ascii_whitespace();
        let (id, hook) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let args: Vec<String> = words.map(str::to_owned).collect();
        let field = |word: &str| {
            let (name, words) = word.split_once(':')?;
            let words = words.parse().ok().filter(|words| (1..=MAX_WORDS).contains(words))?;
            Some((name.to_owned(), words))
        };
        let fields: Vec<_> = fields.split_ascii_whitespace().map(field).collect::<Option<_>>()?;
        // The bits of a record are 32.
        (args.len() <= MAX_NAMES && fields.len() <= 32).then_some(Self { id, hook, args, fields })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.hook)?;
        for arg in &self.args {
            write!(f, " {arg}")?;
        }
        f.write_str(" |")?;
        for (name, words) in &self.fields {
            write!(f, " {name}:{words}")?;
        }
        Ok(())
    }
}

impl Header {
    /// The rows of every hook of this version: what a header of frames carries.
    pub fn rows_of_this_version() -> Vec<Row> {
        Hook::ALL.iter().map(|hook| Row::of(*hook)).collect()
    }

    /// Reads a line of the header that is not the first; one whose first word is not known says nothing to this version.
    ///
    /// # Errors
    /// [`TraceError`]: the word that does not fit.
    pub fn line(&mut self, line: &str) -> Result<(), TraceError> {
        let line = line.trim_start_matches('#').trim();
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let wrong = |wanted| TraceError::Word { word: value.to_owned(), wanted };
        let number = || value.parse().map_err(|_not_a_number| wrong("number of 32 bits"));
        match key {
            "tcptrace" => value.clone_into(&mut self.tcptrace),
            "host" => self.facts.host = unescape(value),
            "kernel" => self.facts.release = unescape(value),
            "hz" => self.facts.hz = Some(number()?).filter(|hz| *hz > 0),
            "clock" => {
                let (mono, real) = value.split_once(' ').ok_or_else(|| wrong("pair of times"))?;
                (self.facts.mono_ns, self.facts.real_ns) = (seconds(mono)?, seconds(real)?);
            }
            "probes" => self.facts.probes = usize::try_from(number()?).unwrap_or(0),
            "attached" => self.facts.attached.extend(attached(value)),
            "not_seen" => self.facts.not_seen.extend(known_hook(value).map(Hook::name)),
            "absent" => {
                let field = Field::ALL.iter().find(|field| field.name() == value);
                self.facts.absent.extend(field.map(|field| field.name()));
            }
            "netns" => self.facts.netns = Some(number()?),
            "stacks" => self.stacks = true,
            "summary_only" => self.summary_only = true,
            "question" => self.questions.push(value.to_owned()),
            "filter" => value.clone_into(&mut self.filter),
            "buffer" => self.buffer_bytes = number()?,
            "planned" => self.planned_ns = Some(seconds(value)?),
            "part" => self.part = number()?,
            "row" => self.rows.push(Row::parse(value).ok_or_else(|| wrong("row of a hook"))?),
            _ => {}
        }
        Ok(())
    }
}

/// The version that a first line tells; `None` when the line begins no trace.
pub fn version(line: &str) -> Option<Result<u32, TraceError>> {
    let version = line.strip_prefix(MAGIC)?.split_ascii_whitespace().next().unwrap_or("");
    Some(version.parse().map_err(|_not_a_number| TraceError::Word {
        word: version.to_owned(),
        wanted: "format version",
    }))
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.facts;
        writeln!(f, "{MAGIC}{FORMAT}")?;
        let mut line = |key: &str, value: &dyn fmt::Display| writeln!(f, "# {key} {value}");
        if !self.tcptrace.is_empty() {
            line("tcptrace", &self.tcptrace)?;
        }
        if !facts.host.is_empty() {
            line("host", &escape(&facts.host))?;
        }
        line("kernel", &escape(&facts.release))?;
        if let Some(hz) = facts.hz {
            line("hz", &hz)?;
        }
        let mut clock = String::new();
        write!(clock, "{} {}", Seconds(facts.mono_ns), Seconds(facts.real_ns))?;
        line("clock", &clock)?;
        line("probes", &facts.probes)?;
        if let Some(netns) = facts.netns {
            line("netns", &netns)?;
        }
        for question in &self.questions {
            line("question", question)?;
        }
        if !self.filter.is_empty() {
            line("filter", &self.filter)?;
        }
        if self.stacks {
            line("stacks", &"user")?;
        }
        if self.summary_only {
            line("summary_only", &"yes")?;
        }
        line("buffer", &self.buffer_bytes)?;
        if let Some(planned) = self.planned_ns {
            line("planned", &Seconds(planned))?;
        }
        if self.part > 0 {
            line("part", &self.part)?;
        }
        for Attached { hook, function, kind } in &facts.attached {
            writeln!(f, "# attached {} {kind} {}", hook.name(), escape(function))?;
        }
        for name in &facts.not_seen {
            writeln!(f, "# not_seen {name}")?;
        }
        for name in &facts.absent {
            writeln!(f, "# absent {name}")?;
        }
        self.rows.iter().try_for_each(|row| writeln!(f, "# row {row}"))
    }
}

fn attached(text: &str) -> Option<Attached> {
    let mut words = text.split(' ');
    let hook = known_hook(words.next()?)?;
    let kind = words.next()?;
    let kind = ["fentry", "fexit", "tp_btf", "raw_tp", "kprobe", "kretprobe"]
        .into_iter()
        .find(|known| *known == kind)?;
    Some(Attached { hook, kind, function: unescape(words.next()?) })
}

fn known_hook(name: &str) -> Option<Hook> {
    Hook::ALL.iter().find(|hook| hook.name() == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_written_back() {
        let header = Header {
            tcptrace: "0.1.0".to_owned(),
            facts: Facts {
                host: "web 3%".to_owned(),
                release: "6.1.0".to_owned(),
                hz: Some(250),
                mono_ns: 5_000_000_001,
                real_ns: 1_795_356_182_412_000_000,
                probes: 14,
                attached: vec![Attached {
                    hook: Hook::tcp_push,
                    function: "tcp_push".to_owned(),
                    kind: "fexit",
                }],
                not_seen: vec!["tcp_tsq_write"],
                absent: vec!["netns"],
                netns: Some(4_026_531_840),
            },
            questions: vec!["nagle".to_owned()],
            filter: "port=8080".to_owned(),
            stacks: true,
            summary_only: true,
            buffer_bytes: 4 << 20,
            planned_ns: Some(30_000_000_000),
            part: 2,
            rows: Header::rows_of_this_version(),
        };
        let text = header.to_string();
        let mut lines = text.lines();
        assert_eq!(version(lines.next().unwrap()), Some(Ok(FORMAT)));
        let mut read = Header::default();
        lines.for_each(|line| read.line(line).unwrap());
        assert_eq!(read, header);
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_over() {
        let mut header = Header::default();
        for line in [
            "# colour blue",
            "# attached tcp_pull fentry tcp_pull",
            "# not_seen tcp_pull",
            "#",
            "# x",
        ] {
            header.line(line).unwrap();
        }
        assert_eq!(header, Header::default());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |line: &str| Header::default().line(line).unwrap_err().to_string();
        assert_eq!(error("# hz many"), "'many' is no number of 32 bits");
        assert_eq!(
            error("# row 2 tcp_push | nonagle:9"),
            "'2 tcp_push | nonagle:9' is no row of a hook"
        );
        assert_eq!(error("# clock 1"), "'1' is no pair of times");
        assert_eq!(
            version("#! tcptrace-trace x").unwrap().unwrap_err().to_string(),
            "'x' is no format version"
        );
        assert_eq!(version("hello"), None);
    }
}

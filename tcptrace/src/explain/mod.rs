//! The words: what a finding says to a person, and what its fields are called. One file per question, the same name
//! as its analysis; `units` writes numbers for all of them. Pure: no clock, no environment, no input or output.

pub mod close;
pub mod defer_accept;
pub mod fastopen;
pub mod nagle;
pub mod sockopt;
pub mod timeline;
pub mod units;

use std::{borrow::Cow, collections::BTreeMap, rc::Rc};

use schemars::JsonSchema;
use serde::Serialize;
use smallvec::SmallVec;
use tcptrace_common::tcp::{
    EACCES, EALREADY, EBUSY, ECONNREFUSED, EEXIST, EFAULT, EHOSTUNREACH, EINPROGRESS, EINVAL,
    EISCONN, ENETUNREACH, ENOENT, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPERM, ETIMEDOUT,
};

use crate::{
    analysis::{Cause, Fact, Kind, for_each_analysis},
    event::{Facts, Frame},
    finding::{Comms, Evidence, Finding, Task},
    joined::Row,
};

/// What is known beside the finding itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The traced host.
    pub facts: &'a Facts,
    /// Names of threads.
    pub comms: &'a Comms,
    /// User stacks, by number.
    pub stacks: &'a BTreeMap<u32, Vec<Frame>>,
    /// Whatever task sets an option, it is seen: no filter by process hides one.
    pub all_tasks: bool,
    /// Sockets are met at their first event, whoever is at work: no filter by process hides one.
    pub meets_all: bool,
}

/// The words for one finding, in no particular format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whose doing it is: a task and its name, `server[2211]`; `None` when nobody has acted yet.
    pub subject: Option<(Task, String)>,
    /// What else there is to say of the socket, beside its name: `open before the start`.
    pub aside: Option<String>,
    /// One sentence.
    pub verdict: String,
    /// Zero of the evidence's offsets, the write that began it, nanoseconds, `CLOCK_MONOTONIC`.
    pub zero_ns: u64,
    /// The evidence, in time order.
    pub lines: Vec<Line>,
    /// What the writes look like, over several findings: a sentence without its `pattern:`.
    pub pattern: Option<String>,
    /// What to change, when the evidence carries it: a sentence without its `change:`.
    pub change: Option<String>,
}

/// One line of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, nanoseconds, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// What kind of thing it is.
    pub mark: Mark,
    /// Bytes are held while it happens.
    pub held: bool,
    /// It is for those who want to see everything.
    pub minor: bool,
    /// What.
    pub label: String,
    /// The numbers that show it; may be empty.
    pub detail: String,
}

/// What kind of thing a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// None of those below.
    None,
    /// This host sends, or is asked to.
    Out,
    /// Something comes in.
    In,
    /// A span begins.
    Begin,
    /// It goes on.
    Within,
    /// It ends.
    End,
    /// It belongs to the line above, and has no time of its own.
    Under,
}

/// How a question's findings are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A verdict, then what shows it.
    Story,
    /// Lines in order, socket by socket.
    Timeline,
}

/// Where one finding counts in the summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose doing it is.
    pub task: Task,
    /// One word per [`Words::columns`].
    pub columns: SmallVec<[Cow<'static, str>; 2]>,
    /// Bytes it is about.
    pub bytes: u64,
    /// How long it lasted, nanoseconds.
    pub lasted_ns: u64,
    /// It is the everyday work of a sender of bulk data, which is worth a line of its own only when it lasts.
    pub usual: bool,
    /// It is worth a line of its own however short it was.
    pub always: bool,
}

/// What a question's things are called.
#[derive(Debug)]
pub struct Words {
    /// The question, as it is typed.
    pub question: &'static str,
    /// One line for the list of commands.
    pub about: &'static str,
    /// The manual's text.
    pub manual: &'static str,
    /// One finding; also its `type` in JSON.
    pub one: &'static str,
    /// Several.
    pub many: &'static str,
    /// Name of the sum of durations in JSON.
    pub total_ns: &'static str,
    /// Headings of the summary's columns of words; the first names the rows of the histogram. Without any, the summary
    /// has neither.
    pub columns: &'static [&'static str],
    /// The summary's first sentence.
    pub headline: fn(&Totals) -> String,
    /// What there is to say of the program where TCP held nothing.
    pub innocent: fn(&Totals, &Slowest<'_>) -> Option<String>,
    /// How its findings are laid out.
    pub shape: Shape,
    /// The names that `--json` has for what held the bytes, and what each means; none where there is no such thing.
    pub causes: fn() -> Vec<Name>,
    /// The same of what let them go.
    pub releases: fn() -> Vec<Name>,
    /// The flag that says from which duration on its findings are printed; none where there is no such thing.
    pub least: &'static str,
    /// Whether its findings are about a number of bytes, which the summary then adds up.
    pub sized: bool,
    /// Whether its findings answer something: those that last too short to matter are then not printed.
    pub asks: bool,
}

/// A name in `--json`, and what it means.
pub type Name = (String, String);

/// The numbers of a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Findings, printed or not.
    pub findings: u64,
    /// Of them, not printed because they lasted less than `limit_ns`.
    pub below_limit: u64,
    /// The printing limit, nanoseconds.
    pub limit_ns: u64,
    /// The same for what is usual for bulk data ([`Place::usual`]), nanoseconds.
    pub usual_limit_ns: u64,
    /// Sum of durations, nanoseconds.
    pub total_ns: u64,
    /// The longest, nanoseconds.
    pub longest_ns: u64,
    /// Sockets with findings.
    pub sockets_found: u64,
    /// Sockets watched; `None` when those without findings are not counted.
    pub sockets_seen: Option<u64>,
    /// Write calls; `None` when those that left at once are not counted.
    pub writes: Option<u64>,
    /// Lines of evidence of all findings.
    pub lines: u64,
    /// Of them, those that do not matter to most readers.
    pub minor_lines: u64,
    /// Holds that the findings are about.
    pub holds: u64,
    /// Events were lost.
    pub lost: bool,
    /// Only some causes or releases were asked for: findings of others are not among these.
    pub narrowed: bool,
}

/// The longest time that a program took for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowest<'a> {
    /// Who answered.
    pub task: Task,
    /// The thread's name.
    pub comm: &'a str,
    /// From the last data that came in to the write, nanoseconds.
    pub took_ns: u64,
    /// When the write was, nanoseconds, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

/// A pattern's own fields, as they are serialised.
pub use crate::analysis::nagle::Pattern as PatternFields;

/// A pattern of the whole run, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whose writes they are.
    pub task: Task,
    /// The thread's name, where it is known.
    pub comm: Option<Rc<str>>,
    /// The user stack of the call, the innermost function first; empty where it is not told.
    pub site: Vec<String>,
    /// The numbers.
    pub pattern: PatternFields,
    /// One sentence.
    pub text: String,
    /// What to change, one sentence; nothing where no program can change it.
    pub change: Option<String>,
}

/// The words for a pattern of the whole run.
pub fn told(row: &Row) -> Told {
    let shape = Some(row.pattern.name);
    let written = nagle::Written { shape, way: row.way, alone: false };
    Told {
        task: row.writer,
        comm: row.comm.clone(),
        site: row.site.clone(),
        pattern: row.pattern,
        text: nagle::pattern(&row.pattern),
        change: nagle::remedy(row.held, written, ""),
    }
}

/// A counter of the kernel beside that of the findings, as it is serialised.
pub use crate::joined::Compared;

/// The kernel's counters beside those of the findings, a sentence without its `counters`; nothing where there is none.
pub fn counters(compared: &[Compared]) -> Option<String> {
    fastopen::counters(compared)
}

/// The connections to a listener, as they are serialised.
pub use crate::joined::Listened;

/// A row of headings, and one for each listener; none where there is no listener.
pub fn listeners(rows: &[Listened]) -> Vec<Vec<String>> {
    defer_accept::listeners(rows)
}

/// `ECONNREFUSED`; the number where this table has no name for it.
pub(super) fn errno(error: u32) -> String {
    let name = match error {
        EPERM => "EPERM",
        ENOENT => "ENOENT",
        EACCES => "EACCES",
        EFAULT => "EFAULT",
        EBUSY => "EBUSY",
        EEXIST => "EEXIST",
        ENOPROTOOPT => "ENOPROTOOPT",
        ENOTCONN => "ENOTCONN",
        ENETUNREACH => "ENETUNREACH",
        EHOSTUNREACH => "EHOSTUNREACH",
        EINVAL => "EINVAL",
        EOPNOTSUPP => "EOPNOTSUPP",
        EISCONN => "EISCONN",
        ETIMEDOUT => "ETIMEDOUT",
        ECONNREFUSED => "ECONNREFUSED",
        EALREADY => "EALREADY",
        EINPROGRESS => "EINPROGRESS",
        other => return format!("error {other}"),
    };
    name.to_owned()
}

/// A name that came from the traced host, with nothing in it that could move a cursor.
pub fn printable(comm: &str) -> String {
    comm.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `server[2211]`; `pid 2211` when the name is not known.
pub fn task(task: Task, comms: &Comms) -> String {
    named(task, comms.of(task).map(|comm| &**comm))
}

/// As [`task()`], of a name that is known or not.
pub fn named(task: Task, comm: Option<&str>) -> String {
    match comm {
        // No process is at work in a softirq, whatever the name of what it has interrupted.
        _ if task.pid == 0 => "not known".to_owned(),
        Some(comm) => format!("{}[{}]", printable(comm), task.pid),
        None => format!("pid {}", task.pid),
    }
}

/// The lines of a user stack: a function and where in the source, frame by frame.
fn stack(number: u32, at_ns: u64, held: bool, context: &Context<'_>) -> Vec<Line> {
    let under =
        |label, detail| Line { at_ns, mark: Mark::Under, held, minor: false, label, detail };
    let one = |frame: &Frame| {
        let place = match (&frame.file, frame.line) {
            (Some(file), Some(line)) => format!("{}:{line}", printable(file)),
            (Some(file), None) => printable(file),
            (None, _) => String::new(),
        };
        under(format!("at {}", printable(&frame.function)), place)
    };
    match context.stacks.get(&number).filter(|frames| !frames.is_empty()) {
        Some(frames) => frames.iter().map(one).collect(),
        None => vec![under("not seen: its user stack".to_owned(), String::new())],
    }
}

/// The name that a value has in `--json`.
fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// [`names_of`] one type, then of another; what is in both stands once.
fn names_of_both<T: JsonSchema, U: JsonSchema>() -> Vec<Name> {
    let mut names = names_of::<T>();
    for name in names_of::<U>() {
        if !names.iter().any(|(known, _)| *known == name.0) {
            names.push(name);
        }
    }
    names
}

/// The names that the values of a type have in `--json`, with the first sentence of what each means.
fn names_of<T: JsonSchema>() -> Vec<Name> {
    let schema = schemars::schema_for!(T);
    let variants = schema.get("oneOf").and_then(serde_json::Value::as_array);
    let text = |of: &serde_json::Value, key: &str| {
        of.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let one = |variant: &serde_json::Value| {
        let meaning = text(variant, "description").replace(['\n', '`'], " ");
        (text(variant, "const"), meaning.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    variants.into_iter().flatten().map(one).collect()
}

/// Something done for each question, with the types of its JSON.
pub trait Questions {
    /// `F` are a finding's own fields, `E` those of a line of its evidence, as they are serialised.
    fn question<F: JsonSchema, E: JsonSchema>(&mut self, words: &'static Words);
}

macro_rules! dispatch {
    ($($variant:ident = $module:ident;)*) => {
        /// What the things of `kind` are called.
        pub const fn words(kind: Kind) -> &'static Words {
            match kind { $( Kind::$variant => &$module::WORDS ),* }
        }

        /// The words for `finding`.
        pub fn explain(finding: &Finding<Cause, Fact>, context: &Context<'_>) -> Explanation {
            match &finding.cause { $( Cause::$variant(cause) => {
                let own = finding.evidence.iter().filter_map(|e| match &e.fact {
                    Fact::$variant(fact) => Some(Evidence { n: e.n, at_ns: e.at_ns, fact }),
                    _ => None,
                });
                $module::explain(finding, cause, &own.collect::<Vec<_>>(), context)
            } ),* }
        }

        /// Where `finding` counts.
        pub fn place(finding: &Finding<Cause, Fact>) -> Place {
            match &finding.cause { $( Cause::$variant(cause) => $module::place(finding, cause) ),* }
        }

        /// The names that `--json` has for what held the bytes of `finding`, and for what let them go.
        pub fn names(finding: &Finding<Cause, Fact>) -> (Vec<String>, Vec<String>) {
            match &finding.cause { $( Cause::$variant(cause) => $module::names(cause) ),* }
        }

        /// A finding's own fields, in the order of the JSON.
        #[derive(Debug, Serialize)]
        #[serde(untagged)]
        pub enum Fields<'a> {
            $( #[doc = concat!("`", stringify!($module), "`")] $variant($module::Fields<'a>) ),*
        }

        /// The finding's own fields, and the names of those that are not known.
        pub fn fields<'a>(
            finding: &'a Finding<Cause, Fact>,
            context: &Context<'_>,
        ) -> (Fields<'a>, Vec<&'static str>) {
            match &finding.cause { $( Cause::$variant(cause) => {
                let (fields, not_seen) = $module::fields(finding, cause, context);
                (Fields::$variant(fields), not_seen)
            } ),* }
        }

        /// A fact's own fields.
        #[derive(Debug, Serialize)]
        #[serde(untagged)]
        pub enum FactFields<'a> {
            $( #[doc = concat!("`", stringify!($module), "`")] $variant(&'a crate::analysis::$module::Fact) ),*
        }

        /// Shows `each` every question, in the order of the table.
        pub fn questions(each: &mut impl Questions) {
            $( each.question::<$module::Fields<'static>, crate::analysis::$module::Fact>(&$module::WORDS); )*
        }

        /// The fact's own fields.
        pub fn fact_fields(fact: &Fact) -> FactFields<'_> {
            match fact { $( Fact::$variant(fact) => FactFields::$variant(fact) ),* }
        }
    };
}
for_each_analysis!(dispatch);

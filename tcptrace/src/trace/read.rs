//! Reads a trace: text, frames, or text in frames; up to the last whole frame or line where it was cut off.

use std::io::{self, Read};

use tcptrace_common::{hook::Hook, loss::Loss};
use zstd::zstd_safe;

use crate::event::Facts;

use super::{
    FORMAT,
    binary::{Decoder, MARK, Plan},
    header::{self, Header},
    input::Input,
    item::{Ending, Item, Reach},
    text::{self, Told, TraceError},
};

/// How a zstd frame begins.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Most bytes of one frame's contents, of one compressed frame and of one line. tcptrace writes 64 KiB at most.
pub(super) const MOST: usize = 16 << 20;

/// Why a trace cannot be read on. What was handed over before stays valid.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Something else.
    #[error("is no trace of tcptrace: it begins with {0}")]
    Foreign(String),
    /// Of a later version.
    #[error("has format {0}, this tcptrace reads {FORMAT}; use a newer tcptrace")]
    Newer(u32),
    /// Damaged.
    #[error("is damaged in frame {frame} at byte {offset}: {why}")]
    Damaged {
        /// Number of the frame, from 1.
        frame: u64,
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A line that does not fit.
    #[error("line {line} at byte {offset}: {error}")]
    Line {
        /// Number of the line in the file or in its frame, from 1.
        line: u64,
        /// Where it, or its frame, begins.
        offset: u64,
        /// What is wrong.
        error: TraceError,
    },
    /// Another trace begins in it.
    #[error("holds another trace from byte {0} on: read each on its own")]
    Another(u64),
    /// Larger than anything tcptrace writes.
    #[error(
        "has a {what} of more than {MOST} bytes at byte {offset}, which tcptrace does not write"
    )]
    TooLong {
        /// A frame or a line.
        what: &'static str,
        /// Where it begins.
        offset: u64,
    },
    /// The system does not let it be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// How a trace ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What its last line says; of a cut one, what can be said without.
    pub ending: Ending,
    /// Where it was cut off.
    pub cut: Option<Cut>,
}

/// Where a trace was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file's length, bytes.
    pub offset: u64,
    /// What it ends in.
    pub inside: Inside,
}

/// What a trace that was cut off ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// This frame, from 1.
    Frame(u64),
    /// This line, from 1.
    Line(u64),
    /// Nothing: its last line is missing.
    Nothing,
}

/// A trace that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    input: Input<R>,
    /// Made with the first frame: each costs as much as a small frame.
    decompressor: Option<Decompressor>,
    /// What the contents of a frame lay in. A block of that size is not returned to the allocator between frames: it
    /// would take that as the time to put all small ones in order.
    spare: Vec<u8>,
    header: Header,
    plan: Plan,
    framed: bool,
    frames: u64,
    lines: u64,
    next_n: u64,
    seen: Seen,
    ending: Option<Ending>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError`]: it is no trace, or one that this version does not read.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut new = Self {
            input: Input::new(input),
            decompressor: None,
            spare: Vec::new(),
            header: Header::default(),
            plan: Plan::default(),
            framed: false,
            frames: 0,
            lines: 0,
            next_n: 1,
            seen: Seen::default(),
            ending: None,
        };
        // What is told of something foreign does not depend on how it arrives.
        new.input.fill(SHOWN)?;
        new.framed = new.input.rest().starts_with(&ZSTD) || is_skippable(new.input.rest());
        if new.input.rest().is_empty() {
            return Err(ReadError::Empty);
        }
        if new.framed {
            new.header_of_frames()?;
        } else {
            new.header_of_text()?;
        }
        new.plan = Plan::new(&new.header.rows);
        new.seen.last_ns = new.header.facts.mono_ns;
        Ok(new)
    }

    /// What stands before the first item.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Hands over every item in order, until `on` wants no more.
    ///
    /// # Errors
    /// [`ReadError`]: what is wrong, and where.
    pub fn run(&mut self, on: &mut dyn FnMut(Item) -> bool) -> Result<End, ReadError> {
        let cut = if self.framed { self.frames(on)? } else { self.text(on)? };
        let cut = match (cut, &self.ending) {
            _ if self.seen.stopped => None,
            (None, None) => Some(Cut { offset: self.input.offset(), inside: Inside::Nothing }),
            (cut, _) => cut,
        };
        if let Some(part) = self.ending.as_mut().filter(|ending| ending.reach == Reach::Part) {
            part.lost = self.seen.losses();
        }
        let reach = if self.seen.stopped { Reach::Stopped } else { Reach::Cut };
        let started_ns = self.seen.first_ns.unwrap_or(self.header.facts.mono_ns);
        let own = self.ending.take().filter(|_| cut.is_none());
        let own = own.map(|ending| match self.seen.first_ns {
            Some(started_ns) => Ending { started_ns, ..ending },
            None => ending,
        });
        let ending = own.unwrap_or_else(|| Ending {
            started_ns,
            ended_ns: self.seen.last_ns,
            lost: self.seen.losses(),
            misses: None,
            cost: None,
            shared: Vec::new(),
            counted: None,
            reach,
        });
        Ok(End { ending, cut })
    }

    fn header_of_frames(&mut self) -> Result<(), ReadError> {
        let Some(frame) = self.frame()? else {
            return Err(ReadError::Foreign("a frame that is cut off".to_owned()));
        };
        let text = str::from_utf8(&frame.contents)
            .map_err(|_binary| ReadError::Foreign("a zstd frame of something else".to_owned()))?;
        let text = self.header_lines(text, frame.offset)?;
        // A text that was compressed as a whole goes on in the same frame.
        self.lines_of(text, frame.offset)
    }

    /// Items in the frame of the header, kept for [`Self::run`].
    fn lines_of(&mut self, text: String, offset: u64) -> Result<(), ReadError> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(ReadError::Line {
                line: 1,
                offset,
                error: TraceError::Missing("end of the line"),
            });
        }
        self.input.pending = text;
        Ok(())
    }

    fn header_of_text(&mut self) -> Result<(), ReadError> {
        let begins = self.input.rest().get(..super::MAGIC.len().min(self.input.rest().len()));
        if !begins.is_some_and(|bytes| super::MAGIC.as_bytes().starts_with(bytes)) {
            return Err(ReadError::Foreign(foreign(self.input.rest())));
        }
        let mut text = String::new();
        while let Some((line, _)) = self.input.line()? {
            self.lines += 1;
            text.push_str(&line);
            text.push('\n');
            if text.len() > MOST {
                return Err(ReadError::TooLong { what: "header", offset: 0 });
            }
            self.input.fill(2)?;
            if !is_header(self.input.rest()) {
                self.header_lines(&text, 0)?;
                return Ok(());
            }
        }
        if text.is_empty() {
            return Err(ReadError::Foreign("a line without an end".to_owned()));
        }
        self.header_lines(&text, 0).map(drop)
    }

    /// Takes the header off the start of `text`; returns the rest.
    fn header_lines(&mut self, text: &str, offset: u64) -> Result<String, ReadError> {
        let at = |line: u64| move |error| ReadError::Line { line, offset, error };
        let (first, mut rest) = text.split_once('\n').unwrap_or((text, ""));
        let Some(version) = header::version(first) else {
            return Err(ReadError::Foreign(foreign(text.as_bytes())));
        };
        match version.map_err(at(1))? {
            0 => {
                return Err(at(1)(TraceError::Word {
                    word: "0".to_owned(),
                    wanted: "format version",
                }));
            }
            FORMAT => {}
            newer => return Err(ReadError::Newer(newer)),
        }
        let mut header = Header::default();
        let mut number = 1;
        while let Some((line, after)) =
            rest.split_once('\n').filter(|(line, _)| is_header(line.as_bytes()))
        {
            number += 1;
            header.line(line).map_err(at(number))?;
            rest = after;
        }
        self.header = header;
        Ok(rest.to_owned())
    }

    fn frames(&mut self, on: &mut dyn FnMut(Item) -> bool) -> Result<Option<Cut>, ReadError> {
        let text = std::mem::take(&mut self.input.pending);
        if !self.told(&text, 0, on)? {
            return Ok(None);
        }
        loop {
            let Some(frame) = self.frame()? else {
                let inside = Inside::Frame(self.frames + 1);
                let rest = !self.input.rest().is_empty();
                return Ok(rest.then(|| Cut { offset: self.input.end(), inside }));
            };
            let more = if frame.contents.first() == Some(&MARK) {
                self.binary(&frame, on)?
            } else {
                let text = str::from_utf8(&frame.contents).map_err(|_binary| {
                    self.damaged(frame.offset, "neither text nor items of tcptrace")
                })?;
                if text.starts_with(super::MAGIC) {
                    self.next_part(text, frame.offset)?;
                    true
                } else {
                    let text = text.to_owned();
                    self.told(&text, frame.offset, on)?
                }
            };
            if !more {
                return Ok(None);
            }
            self.spare = frame.contents;
        }
    }

    /// The header of the next file of one recording, appended to the one before.
    fn next_part(&mut self, text: &str, offset: u64) -> Result<(), ReadError> {
        let before = std::mem::take(&mut self.header);
        self.header_lines(text, offset)?;
        let facts = |header: &Header| {
            let Facts { mono_ns, real_ns, .. } = header.facts;
            let clock = real_ns.wrapping_sub(mono_ns);
            Facts { mono_ns: 0, real_ns: clock, ..header.facts.clone() }
        };
        let follows = before.part > 0
            && self.header.part == before.part + 1
            && facts(&self.header) == facts(&before)
            && self.ending.as_ref().is_some_and(|ending| ending.reach == Reach::Part);
        if !follows {
            return Err(ReadError::Another(offset));
        }
        self.plan = Plan::new(&self.header.rows);
        self.ending = None;
        self.seen.first_ns.get_or_insert(before.facts.mono_ns);
        self.seen.known_n = self.seen.last_n;
        Ok(())
    }

    fn damaged(&self, offset: u64, why: &str) -> ReadError {
        ReadError::Damaged { frame: self.frames, offset, why: why.to_owned() }
    }

    fn binary(
        &mut self,
        frame: &Frame,
        on: &mut dyn FnMut(Item) -> bool,
    ) -> Result<bool, ReadError> {
        let broken = || ReadError::Damaged {
            frame: self.frames,
            offset: frame.offset,
            why: "its items make no sense, although its checksum is right".to_owned(),
        };
        if self.ending.is_some() {
            return Err(ReadError::Another(frame.offset));
        }
        let mut decoder =
            Decoder::new(&frame.contents, &self.plan, &self.header.rows).ok_or_else(broken)?;
        while !decoder.is_empty() {
            // An event is large: it is not moved into a result first.
            let Some(told) = decoder.item() else { return Err(broken()) };
            match told {
                Told::Item(item) => {
                    if !hand_over(item, &mut self.seen, on) {
                        return Ok(false);
                    }
                }
                Told::End(ending) => self.ending = Some(ending),
                Told::Nothing | Told::Unknown => {}
            }
        }
        Ok(true)
    }

    fn text(&mut self, on: &mut dyn FnMut(Item) -> bool) -> Result<Option<Cut>, ReadError> {
        while let Some((line, offset)) = self.input.line()? {
            self.lines += 1;
            if line.starts_with(super::MAGIC) {
                let mut text = line + "\n";
                self.input.fill(2)?;
                while is_header(self.input.rest())
                    && let Some((line, _)) = self.input.line()?
                {
                    self.lines += 1;
                    text += &line;
                    text.push('\n');
                    if text.len() > MOST {
                        return Err(ReadError::TooLong { what: "header", offset });
                    }
                    self.input.fill(2)?;
                }
                self.next_part(&text, offset)?;
            } else if !self.one(&line, self.lines, offset, on)? {
                return Ok(None);
            }
        }
        let inside = Inside::Line(self.lines + 1);
        let rest = !self.input.rest().is_empty();
        Ok(rest.then(|| Cut { offset: self.input.end(), inside }))
    }

    /// The lines of a frame that holds text.
    fn told(
        &mut self,
        text: &str,
        offset: u64,
        on: &mut dyn FnMut(Item) -> bool,
    ) -> Result<bool, ReadError> {
        for (number, line) in (1..).zip(text.lines()) {
            if !self.one(line, number, offset, on)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn one(
        &mut self,
        line: &str,
        number: u64,
        offset: u64,
        on: &mut dyn FnMut(Item) -> bool,
    ) -> Result<bool, ReadError> {
        let told = text::read(line, &self.header.rows).map_err(|error| ReadError::Line {
            line: number,
            offset,
            error,
        })?;
        match told {
            Told::Nothing => {}
            _ if self.ending.is_some() => return Err(ReadError::Another(offset)),
            Told::Item(mut item) => {
                if let Item::Event(event) = &mut item {
                    event.n = if event.n == 0 { self.next_n } else { event.n };
                    self.next_n = event.n.wrapping_add(1);
                }
                return Ok(hand_over(item, &mut self.seen, on));
            }
            Told::Unknown => self.next_n = self.next_n.wrapping_add(1),
            Told::End(ending) => self.ending = Some(ending),
        }
        Ok(true)
    }

    /// The next frame; `None` at the end, or when the rest is not a whole one.
    fn frame(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            self.input.fill(ZSTD.len())?;
            let offset = self.input.offset();
            let rest = self.input.rest();
            if rest.len() < ZSTD.len() {
                return if ZSTD.starts_with(rest) {
                    Ok(None)
                } else {
                    Err(self.next_damaged(offset, NOT_A_FRAME))
                };
            }
            if !rest.starts_with(&ZSTD) && !is_skippable(rest) {
                return Err(self.next_damaged(offset, NOT_A_FRAME));
            }
            let Some(length) = self.length(offset)? else { return Ok(None) };
            let skip = is_skippable(self.input.rest());
            if skip {
                self.input.take(length);
                continue;
            }
            self.frames += 1;
            let source = self.input.rest().get(..length).unwrap_or_default();
            let mut room = std::mem::take(&mut self.spare);
            room.clear();
            let contents =
                contents(source, &mut self.decompressor, room).map_err(|why| match why {
                    None => ReadError::TooLong { what: "frame", offset },
                    Some(why) => self.damaged(offset, &why),
                })?;
            self.input.take(length);
            return Ok(Some(Frame { offset, contents }));
        }
    }

    /// Bytes of the compressed frame at hand; `None` when the input ends before it does.
    fn length(&mut self, offset: u64) -> Result<Option<usize>, ReadError> {
        loop {
            let rest = self.input.rest();
            let why = match zstd_safe::find_frame_compressed_size(rest) {
                Ok(length) if length <= rest.len() => return Ok(Some(length)),
                Ok(_) => "Src size is incorrect",
                Err(code) => zstd_safe::get_error_name(code),
            };
            let incomplete = why.starts_with("Src size");
            if !incomplete {
                return Err(self.next_damaged(offset, why));
            }
            // A frame cannot be longer than its contents would be without compression, and what follows a frame that was
            // cut off is nothing.
            let bound = zstd_safe::get_frame_content_size(rest)
                .ok()
                .flatten()
                .and_then(|contents| usize::try_from(contents).ok())
                .map(|contents| zstd_safe::compress_bound(contents.min(MOST)) + 64);
            if bound.is_some_and(|bound| rest.len() > bound) {
                return Err(self.next_damaged(offset, "it does not end where it should"));
            }
            if rest.len() > MOST {
                return Err(ReadError::TooLong { what: "frame", offset });
            }
            let before = rest.len();
            self.input.fill(before + 1)?;
            if self.input.rest().len() == before {
                let followed = self.input.rest().get(1..).unwrap_or_default();
                let another =
                    followed.windows(ZSTD.len()).enumerate().filter(|(_, at)| *at == ZSTD).any(
                        |(at, _)| {
                            followed.get(at..).is_some_and(|rest| {
                                zstd_safe::find_frame_compressed_size(rest)
                                    .is_ok_and(|n| n <= rest.len())
                            })
                        },
                    );
                if another {
                    return Err(self.next_damaged(offset, "it does not end where it should"));
                }
                return Ok(None);
            }
        }
    }

    fn next_damaged(&self, offset: u64, why: &str) -> ReadError {
        ReadError::Damaged { frame: self.frames + 1, offset, why: why.to_owned() }
    }
}

/// Bytes that are shown of something foreign.
const SHOWN: usize = 16;
const NOT_A_FRAME: &str = "no frame begins here";

/// The library's, which tells nothing about itself.
struct Decompressor(zstd::bulk::Decompressor<'static>);

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

/// What has been handed over.
#[derive(Debug, Default)]
struct Seen {
    /// Number of the last event.
    last_n: u64,
    /// The last event of the file before: what the next one begins with was handed over then.
    known_n: u64,
    /// The last moment, nanoseconds, `CLOCK_MONOTONIC`.
    last_ns: u64,
    /// Where the first of several files begins, nanoseconds, `CLOCK_MONOTONIC`.
    first_ns: Option<u64>,
    /// The taker has had enough.
    stopped: bool,
    /// Lost events, by hook.
    lost: Vec<(Hook, u64)>,
}

impl Seen {
    /// Losses by hook. Why is told at the end only.
    fn losses(&self) -> Vec<(Hook, Loss, u64)> {
        self.lost.iter().map(|(hook, events)| (*hook, Loss::Untold, *events)).collect()
    }
}

/// Whether a line of the header stands here, or a comment: not so of what tells what a number stands for.
fn is_header(rest: &[u8]) -> bool {
    rest.starts_with(b"#") && !rest.starts_with(text::ABOUT.trim_end().as_bytes())
}

/// Whether to read on. After the taker has had enough, one look is taken at what follows: the end, when the run ended
/// there as well.
#[inline]
fn hand_over(item: Item, seen: &mut Seen, on: &mut dyn FnMut(Item) -> bool) -> bool {
    if seen.stopped {
        return false;
    }
    match &item {
        Item::Event(event) if event.n <= seen.known_n => return true,
        Item::Event(event) => {
            seen.last_ns = event.at_ns.max(seen.last_ns);
            seen.last_n = event.n.max(seen.last_n);
        }
        Item::Tick { now_ns } => seen.last_ns = (*now_ns).max(seen.last_ns),
        Item::Loss { hook, at_ns, events } => {
            seen.last_ns = (*at_ns).max(seen.last_ns);
            match seen.lost.iter_mut().find(|(known, _)| known == hook) {
                Some((_, sum)) => *sum = sum.saturating_add(*events),
                None => seen.lost.push((*hook, *events)),
            }
        }
        Item::Comm { .. } | Item::About(_) => {}
    }
    seen.stopped = !on(item);
    true
}

/// Contents of a compressed frame, in `room`, which is empty, or elsewhere; no reason when there are too many.
fn contents(
    source: &[u8],
    decompressor: &mut Option<Decompressor>,
    mut room: Vec<u8>,
) -> Result<Vec<u8>, Option<String>> {
    let size = zstd_safe::get_frame_content_size(source).ok().flatten();
    let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
        // Its length is not told, as in what the zstd command makes of a pipe.
        let fails = |error: io::Error| Some(error.to_string());
        let mut out = Vec::new();
        let decoder = zstd::Decoder::with_buffer(source).map_err(fails)?;
        decoder.single_frame().take(MOST as u64 + 1).read_to_end(&mut out).map_err(fails)?;
        return if out.len() > MOST { Err(None) } else { Ok(out) };
    };
    if size > MOST {
        return Err(None);
    }
    let fails = |error: io::Error| Some(error.to_string());
    if decompressor.is_none() {
        *decompressor = Some(Decompressor(zstd::bulk::Decompressor::new().map_err(fails)?));
    }
    let Some(Decompressor(decompressor)) = decompressor else { return Ok(Vec::new()) };
    room.reserve_exact(size);
    decompressor.decompress_to_buffer(source, &mut room).map_err(fails)?;
    Ok(room)
}

fn is_skippable(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50)
}

/// A few bytes, as they can be printed.
fn foreign(bytes: &[u8]) -> String {
    let shown = bytes.get(..SHOWN.min(bytes.len())).unwrap_or_default();
    format!("\"{}\"", shown.escape_ascii())
}

/// One frame's contents, and where it began.
struct Frame {
    offset: u64,
    contents: Vec<u8>,
}

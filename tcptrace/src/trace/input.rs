//! The bytes of a trace as they come: read in large pieces, taken in small ones.

use std::io::{self, Read};

use super::read::{MOST, ReadError};

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// Bytes that were read and not used.
#[derive(Debug)]
pub(super) struct Input<R> {
    from: R,
    bytes: Vec<u8>,
    at: usize,
    /// Bytes before `bytes`.
    before: u64,
    /// Lines that followed the header in its frame.
    pub(super) pending: String,
}

impl<R: Read> Input<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from, bytes: Vec::new(), at: 0, before: 0, pending: String::new() }
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Where [`Self::rest`] begins.
    pub(super) const fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    /// Where it ends.
    pub(super) const fn end(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }

    pub(super) const fn take(&mut self, many: usize) {
        self.at += many;
    }

    /// Reads until there are so many bytes, or the input ends.
    pub(super) fn fill(&mut self, want: usize) -> io::Result<()> {
        if self.rest().len() >= want {
            return Ok(());
        }
        self.bytes.drain(..self.at);
        self.before += self.at as u64;
        self.at = 0;
        while self.bytes.len() < want {
            let had = self.bytes.len();
            self.bytes.resize(had + CHUNK.max(want - had), 0);
            // One read: of a pipe, what is there is taken at once.
            let read = loop {
                let room = self.bytes.get_mut(had..).unwrap_or_default();
                match self.from.read(room) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            self.bytes.truncate(had + read.as_ref().map_or(0, |read| *read));
            if read? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The next line without its end, and where it begins; `None` when the rest has no end of line.
    pub(super) fn line(&mut self) -> Result<Option<(String, u64)>, ReadError> {
        let offset = self.offset();
        let mut searched = 0;
        loop {
            let rest = self.rest();
            if let Some(end) =
                rest.get(searched..).and_then(|rest| rest.iter().position(|b| *b == b'\n'))
            {
                let line = rest.get(..searched + end).unwrap_or_default();
                let line = String::from_utf8_lossy(line).into_owned();
                self.take(searched + end + 1);
                return Ok(Some((line, offset)));
            }
            searched = rest.len();
            if searched > MOST {
                return Err(ReadError::TooLong { what: "line", offset });
            }
            self.fill(searched + 1)?;
            if self.rest().len() == searched {
                return Ok(None);
            }
        }
    }
}

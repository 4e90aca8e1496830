//! One line on a terminal's standard error that is written over: how far something is.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _, Read, Write as _},
    rc::Rc,
    time::{Duration, Instant},
};

use super::interrupt;
use crate::explain::units::bytes;

/// How often it is written.
const EVERY: Duration = Duration::from_millis(500);
/// What takes less than this gets none.
const PATIENCE: Duration = Duration::from_secs(1);

/// The line; nothing where standard error is no terminal.
#[derive(Clone, Debug)]
pub(super) struct Status(Option<Rc<Shown>>);

#[derive(Debug)]
struct Shown {
    next: Cell<Instant>,
    is_there: Cell<bool>,
}

impl Status {
    /// Not yet visible.
    pub(super) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "how long a person has waited")]
        let next = || Cell::new(Instant::now() + PATIENCE);
        let shown = || Rc::new(Shown { next: next(), is_there: Cell::new(false) });
        Self(io::stderr().is_terminal().then(shown))
    }

    /// Never visible.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Writes the line anew, where it is old enough.
    pub(super) fn show(&self, text: impl FnOnce() -> String) {
        let Some(shown) = &self.0 else { return };
        #[expect(clippy::disallowed_methods, reason = "as above")]
        let now = Instant::now();
        if now >= shown.next.get() {
            shown.next.set(now + EVERY);
            shown.is_there.set(true);
            // A line that nobody sees is no loss.
            let _ = write!(io::stderr(), "\r\x1b[K{}", text());
        }
    }

    /// Takes it away, for whatever is printed next.
    pub(super) fn clear(&self) {
        if let Some(shown) = &self.0
            && shown.is_there.replace(false)
        {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Shows how much of its input has been read.
#[derive(Debug)]
pub(super) struct Progress<R> {
    from: R,
    name: String,
    read: u64,
    all: Option<u64>,
    status: Status,
}

impl<R> Progress<R> {
    /// `all` is the length of the input, where it is known.
    pub(super) const fn new(from: R, name: String, all: Option<u64>, status: Status) -> Self {
        Self { from, name, read: 0, all, status }
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // A file is one whose length is known.
        if self.all.is_some() && interrupt::is_asked() {
            return Ok(0);
        }
        let read = self.from.read(out)?;
        self.read += read as u64;
        self.status.show(|| match self.all {
            Some(all) if all > 0 => {
                let tenths = self.read.min(all) * 20 / all;
                let bar: String = (0..20).map(|at| if at < tenths { '#' } else { '.' }).collect();
                format!("reading {} {bar} {} %", self.name, self.read.min(all) * 100 / all)
            }
            _ => format!("reading {}: {}", self.name, bytes(self.read)),
        });
        Ok(read)
    }
}

//! Why an event can be lost. Each loss is counted, per hook and reason, in one per-CPU value.

use crate::hook::Hook;

/// Why an event was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Loss {
    /// The ring buffer was full.
    BufferFull = 0,
    /// The table of sockets was full, so that a hold could not be followed.
    TableFull = 1,
    /// The return of a probed function was seen without its entry (kprobe form only).
    NoEntry = 2,
    /// The table of processes was full, so that a child of the command could not be followed.
    ProcessesFull = 3,
    /// It arrived, and could not be written to the recording in time.
    DiskSlow = 4,
    /// A recording that was cut off, or a part of one, tells that it was lost and not why.
    Untold = 5,
}

impl Loss {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::BufferFull,
        Self::TableFull,
        Self::NoEntry,
        Self::ProcessesFull,
        Self::DiskSlow,
        Self::Untold,
    ];
    /// Number of reasons.
    pub const COUNT: u32 = 6;

    /// For a person: why.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer full",
            Self::TableFull => "table of sockets full",
            Self::NoEntry => "entry not seen",
            Self::ProcessesFull => "table of processes full",
            Self::DiskSlow => "disk too slow",
            Self::Untold => "why is not recorded",
        }
    }
    /// The reason with this [`Self::name`], in which `_` may stand for a space.
    pub fn from_name(name: &str) -> Option<Self> {
        let same = |loss: &&Self| {
            let known = loss.name().bytes().map(|b| if b == b' ' { b'_' } else { b });
            known.eq(name.bytes().map(|b| if b == b' ' { b'_' } else { b }))
        };
        Self::ALL.iter().find(same).copied()
    }
    /// Index of this reason's counter for `hook`.
    pub const fn index(self, hook: Hook) -> u32 {
        (hook as u32) * Self::COUNT + self as u32
    }
}

/// Number of counters.
pub const COUNTERS: u32 = (Hook::MAX as u32 + 1) * Loss::COUNT;
const _: () = assert!(Loss::ALL.len() == Loss::COUNT as usize, "a counter for each reason");

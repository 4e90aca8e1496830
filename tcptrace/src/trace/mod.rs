//! The trace: what it consists of, and its two forms.
//!
//! **Text** is for people: one line per item behind a header, hand-writable, greppable, the same in documentation and
//! tests ([`text`], [`header`]). **Frames** are for disks: independent zstd frames with checksums; the first holds the
//! header as text, each of the others a run of items in binary ([`binary`]). A frame may hold text as well, so a
//! compressed text is a trace too. [`Reader`] takes all of them, [`Encoder`] makes frames.

pub mod binary;
pub mod header;
mod input;
pub mod item;
pub mod read;
pub mod text;

pub use binary::Encoder;
pub use header::{Header, Row};
pub use item::{Cost, Counted, Ending, Item, Reach, Slowest, Spent};
pub use read::{End, ReadError, Reader};
pub use text::{Line, TraceError, parse};

/// Version of the format: raised when an older reader would misunderstand a newer trace.
pub const FORMAT: u32 = 1;
/// How a text begins.
pub const MAGIC: &str = "#! tcptrace-trace ";
/// Most text of one frame, bytes: so much is lost at most when the writer is killed.
pub const FRAME_TEXT: usize = 64 << 10;

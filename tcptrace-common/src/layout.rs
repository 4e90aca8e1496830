//! Where each [`Field`] is in the running kernel: found in its BTF at load, handed to the programs as read-only data.

use crate::field::Field;

/// [`Place::deref`] of a field that lies in the struct itself.
pub const NO_DEREF: u16 = u16::MAX;

/// Place of one field.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the struct.
    pub offset: u16,
    /// Bytes from where the pointer at `offset` points to, or [`NO_DEREF`].
    pub deref: u16,
    /// Bytes to read: 1, 2, 4, 8 or 16; 0 when this kernel lacks the field or nobody asked for it.
    pub size: u8,
    /// Bits to shift right after the read.
    pub shift: u8,
    /// Bits to keep; 0 keeps all.
    pub width: u8,
    /// Keeps the size a multiple of the alignment.
    pub pad: u8,
}

impl Place {
    /// A place as it lies in memory, read at once.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "each part takes its own bits")]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            offset: bits as u16,
            deref: (bits >> 16) as u16,
            size: (bits >> 32) as u8,
            shift: (bits >> 40) as u8,
            width: (bits >> 48) as u8,
            pad: 0,
        }
    }
}

/// The whole table of places.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// By [`Field`] number.
    pub place: [Place; Field::COUNT],
}

impl Layout {
    /// No field has a place.
    pub const EMPTY: Self = Self {
        place: [Place { offset: 0, deref: NO_DEREF, size: 0, shift: 0, width: 0, pad: 0 };
            Field::COUNT],
    };
}

const _: () = assert!(size_of::<Place>() == 8, "no implicit padding");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_lies_in_memory() {
        let place = Place { offset: 0x102, deref: 0x304, size: 5, shift: 6, width: 7, pad: 0 };
        assert_eq!(Place::from_bits(0x0007_0605_0304_0102), place);
    }
}

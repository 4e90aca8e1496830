//! Numbers that take little room: a hundred thousand sockets can hold bytes at one time, and of each some lines are kept.

use std::{
    borrow::Cow,
    num::{NonZeroU8, NonZeroU32},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

/// Numbers of which [`Option`] takes no more room than the number itself.
macro_rules! number {
    ($(#[doc = $doc:literal])* $name:ident, $of:ty, $kept:ty) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name($kept);

        impl $name {
            /// `None` for the largest number that there is room for, and for what is larger: nothing that is told comes to that.
            pub fn new(number: u32) -> Option<Self> {
                <$of>::try_from(number).ok().and_then(|number| <$kept>::new(!number)).map(Self)
            }

            /// The number.
            pub fn get(self) -> u32 {
                u32::from(!self.0.get())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u32(self.get())
            }
        }

        stands_for!($name, u32);
    };
}

/// In the schema, a type that stands for a plain number.
macro_rules! stands_for {
    ($name:ident, $plain:ty) => {
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                <$plain>::schema_name()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                <$plain>::json_schema(generator)
            }
        }
    };
}

number! {
    /// A number of 32 bits.
    Number, u32, NonZeroU32
}
number! {
    /// A number of 8 bits: flags, or which of few.
    Small, u8, NonZeroU8
}

/// Nanoseconds, in two halves so that they need not stand at a multiple of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nanoseconds([u32; 2]);

impl From<u64> for Nanoseconds {
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    fn from(ns: u64) -> Self {
        Self([ns as u32, (ns >> 32) as u32])
    }
}

impl Nanoseconds {
    /// The number.
    pub fn get(self) -> u64 {
        let [low, high] = self.0.map(u64::from);
        high << 32 | low
    }
}

impl Serialize for Nanoseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

stands_for!(Nanoseconds, u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tells_what_it_was_made_of() {
        for number in [0, 1, 254, 255, 256, u32::MAX - 1, u32::MAX] {
            assert_eq!(Number::new(number).map(Number::get), (number < u32::MAX).then_some(number));
            assert_eq!(Small::new(number).map(Small::get), (number < 255).then_some(number));
        }
        for ns in [0, u64::from(u32::MAX), 1 << 40 | 7, u64::MAX] {
            assert_eq!(Nanoseconds::from(ns).get(), ns);
        }
    }
}

//! Where control goes in a function, whatever its registers hold.

use super::insn::{Insn, Kind, next};

/// What is known of the instructions, by slot.
pub(super) struct Blocks(Vec<Slot>);

/// An instruction's place in its function.
#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    /// It is the first of a block: control can come here from elsewhere, or went another way before it.
    pub(super) is_first: bool,
    /// Control can come back to it.
    pub(super) is_loop: bool,
    /// By how many ways control comes.
    pub(super) ways: u32,
    /// It is the second half of one.
    pub(super) is_half: bool,
}

impl Blocks {
    /// `None` where something is not understood.
    pub(super) fn of(insns: &[Insn]) -> Option<Self> {
        let mut slots = vec![Slot::default(); insns.len()];
        let first = slots.first_mut()?;
        (first.is_first, first.ways) = (true, 1);
        let mut at = 0;
        while let Some(insn) = insns.get(at) {
            let kind = insn.kind()?;
            let ends = matches!(kind, Kind::Goto | Kind::Branch);
            for target in next(insns, at)?.all() {
                let slot = slots.get_mut(target)?;
                slot.is_first |= ends;
                slot.is_loop |= target <= at;
                slot.ways += 1;
            }
            if kind == Kind::Wide {
                slots.get_mut(at + 1)?.is_half = true;
                at += 1;
            }
            at += 1;
        }
        Some(Self(slots))
    }

    pub(super) fn at(&self, at: usize) -> Option<Slot> {
        self.0.get(at).copied()
    }

    /// The instruction at `at` has become two.
    pub(super) fn halve(&mut self, at: usize) -> Option<()> {
        self.0.get_mut(at + 1)?.is_half = false;
        Some(())
    }

    /// The slots at which instructions begin.
    pub(super) fn starts(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter(|(_, slot)| !slot.is_half).map(|(at, _)| at)
    }
}

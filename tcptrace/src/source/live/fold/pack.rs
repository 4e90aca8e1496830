//! A function without what is never run: its instructions move together.

use super::insn::{Insn, Kind, next};

/// A function that was packed.
pub(super) struct Packed {
    pub(super) insns: Vec<Insn>,
    /// By slot of the function as it was, where its instruction is now; `None` where it is gone.
    pub(super) moved: Vec<Option<usize>>,
}

/// Leaves only what can be run when each branch whose outcome is known goes that way; `None` where something is not understood.
pub(super) fn packed(insns: &[Insn], outcomes: &[Option<bool>]) -> Option<Packed> {
    let mut insns = insns.to_vec();
    let mut stays = reached(&insns, outcomes)?;
    for (insn, outcome) in insns.iter_mut().zip(outcomes) {
        match outcome {
            Some(true) => *insn = Insn { off: insn.off, ..Insn::NOTHING },
            Some(false) => *insn = Insn::NOTHING,
            None => {}
        }
    }
    // One that is taken out can leave another behind that leads to the next instruction.
    while drop_jumps_to_the_next(&insns, &mut stays)? {}
    let moved = places(&insns, &stays)?;
    let mut packed = Vec::new();
    for at in (0..insns.len()).filter(|at| stays.get(*at) == Some(&true)) {
        let mut insn = *insns.get(at)?;
        let kind = insn.kind()?;
        if matches!(kind, Kind::Goto | Kind::Branch) {
            let target = following(&stays, next(&insns, at)?.elsewhere?)?;
            let to = i64::try_from((*moved.get(target)?)?).ok()?;
            insn.off = i16::try_from(to - i64::try_from(packed.len() + 1).ok()?).ok()?;
        }
        packed.push(insn);
        if kind == Kind::Wide {
            packed.push(*insns.get(at + 1)?);
        }
    }
    Some(Packed { insns: packed, moved })
}

impl Packed {
    /// Makes it as long as the function was. The verifier, which refuses what no branch leads to, finds one that leads to what
    /// was added; it is never taken, and both are taken out.
    pub(super) fn padded(self, slots: usize) -> Option<Self> {
        let free = slots.checked_sub(self.insns.len())?;
        let mut insns = vec![Insn::NOTHING; free];
        let mut behind = Vec::new();
        if free >= PADDING {
            let off = i16::try_from(self.insns.len()).ok()?;
            insns = vec![Insn::number(0, 0)?, Insn { off, ..Insn::IF_R0 }];
            behind = vec![Insn::NOTHING; free - PADDING];
            behind.push(Insn::EXIT);
        }
        let front = insns.len();
        insns.extend(self.insns);
        insns.extend(behind);
        let moved = self.moved.into_iter().map(|place| Some(place? + front)).collect();
        Some(Self { insns, moved })
    }
}

/// What leads to padding, and the end of it.
const PADDING: usize = 3;

/// By slot, whether an instruction begins there that can be run.
fn reached(insns: &[Insn], outcomes: &[Option<bool>]) -> Option<Vec<bool>> {
    let mut reached = vec![false; insns.len()];
    let mut todo = vec![0];
    while let Some(at) = todo.pop() {
        if !std::mem::replace(reached.get_mut(at)?, true) {
            todo.extend(next(insns, at)?.after(*outcomes.get(at)?).all());
        }
    }
    Some(reached)
}

/// The instruction that is run when control comes to `at`.
fn following(stays: &[bool], at: usize) -> Option<usize> {
    stays.iter().skip(at).position(|stays| *stays).map(|more| at + more)
}

/// Takes out the jumps that lead to what is behind them; whether there were any.
fn drop_jumps_to_the_next(insns: &[Insn], stays: &mut [bool]) -> Option<bool> {
    let mut dropped = false;
    for at in (0..insns.len()).rev() {
        if *stays.get(at)? && insns.get(at)?.kind()? == Kind::Goto {
            let target = next(insns, at)?.elsewhere?;
            if target > at && following(stays, target) == following(stays, at + 1) {
                *stays.get_mut(at)? = false;
                dropped = true;
            }
        }
    }
    Some(dropped)
}

fn places(insns: &[Insn], stays: &[bool]) -> Option<Vec<Option<usize>>> {
    let mut free = 0;
    let mut places = Vec::new();
    for (insn, stays) in insns.iter().zip(stays) {
        places.push(stays.then_some(free));
        if *stays {
            free += insn.kind()?.slots();
        }
    }
    Some(places)
}

//! What the registers hold before each instruction of a function, as far as that is the same however it is reached.

use std::collections::BTreeSet;

use super::{
    blocks::Blocks,
    insn::{FRAME, Insn, Kind, Next, REGISTERS, next},
};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    /// An address so far into the section of constants.
    Place(i64),
    /// What was made at one point, and so much more: the same within one round of a loop.
    Sum {
        made: usize,
        more: i64,
    },
}

/// By register.
pub(super) type State = [Value; REGISTERS];

/// A function, and the constants that it may read.
pub(super) struct Code<'a> {
    pub(super) insns: &'a [Insn],
    /// Where in the section of constants the address points that the `ld_imm64` at this place gets from the loader, and `None`
    /// where that is something else; of one that gets none it is not asked.
    pub(super) place: &'a dyn Fn(usize) -> Option<i64>,
    /// Whether the loader fills in the `ld_imm64` at this place.
    pub(super) is_filled_in: &'a dyn Fn(usize) -> bool,
    /// So many bytes of the section of constants, from this one on, where they are known.
    pub(super) constant: &'a dyn Fn(i64, usize) -> Option<u64>,
}

impl Code<'_> {
    /// The states before the first instructions of the blocks that can be reached; `None` where something is not understood.
    pub(super) fn states(&self, blocks: &Blocks) -> Option<Vec<Option<Box<State>>>> {
        let mut states: Vec<Option<Box<State>>> = vec![None; self.insns.len()];
        let entry: State = std::array::from_fn(|register| Self::joined(0, register));
        *states.first_mut()? = Some(Box::new(entry));
        let mut todo = BTreeSet::from([0]);
        while let Some(first) = todo.pop_first() {
            let before = **states.get(first)?.as_ref()?;
            let (next, after) = self.walk(blocks, first, before, |_, _| Some(()))?;
            for target in next.all() {
                let known = states.get_mut(target)?;
                let block = blocks.at(target)?;
                // By the only way there comes what it brings now, and not what it brought before.
                let mut met = match known.as_deref() {
                    Some(known) if block.ways > 1 => *known,
                    _ => after,
                };
                for (register, value) in met.iter_mut().enumerate() {
                    let differs = *value != *after.get(register)?;
                    let is_older = block.is_loop && matches!(value, Value::Sum { .. });
                    if register != FRAME && (differs || is_older) {
                        *value = Self::joined(target, register);
                    }
                }
                if known.as_deref() != Some(&met) {
                    *known = Some(Box::new(met));
                    todo.insert(target);
                }
            }
        }
        Some(states)
    }

    /// Goes through a block with what the registers hold at its start; where it goes on, with what they hold then.
    pub(super) fn walk(
        &self,
        blocks: &Blocks,
        first: usize,
        mut state: State,
        mut visit: impl FnMut(usize, &State) -> Option<()>,
    ) -> Option<(Next, State)> {
        let mut at = first;
        loop {
            visit(at, &state)?;
            let next = self.followers(at, &state)?;
            self.step(at, &mut state)?;
            match next {
                Next { behind: Some(behind), elsewhere: None } if !blocks.at(behind)?.is_first => {
                    at = behind;
                }
                _ => return Some((next, state)),
            }
        }
    }

    /// Where the instruction goes on with these registers.
    pub(super) fn followers(&self, at: usize, state: &State) -> Option<Next> {
        Some(next(self.insns, at)?.after(self.outcome(at, state)))
    }

    /// Whether the branch is taken, where that is known.
    pub(super) fn outcome(&self, at: usize, state: &State) -> Option<bool> {
        let insn = self.insns.get(at)?;
        if insn.kind()? != Kind::Branch {
            return None;
        }
        let Value::Number(a) = *state.get(insn.dst)? else { return None };
        let Value::Number(b) = Self::second(*insn, state)? else { return None };
        insn.takes(a, b)
    }

    /// Whether the instruction, which computes, leaves its register as it is.
    pub(super) fn keeps(&self, at: usize, state: &State) -> Option<bool> {
        let insn = *self.insns.get(at)?;
        let Value::Number(second) = Self::second(insn, state)? else { return Some(false) };
        Some(insn.keeps(second, self.bits(*state.get(insn.dst)?)))
    }

    /// The bits that a value may have.
    fn bits(&self, value: Value) -> u64 {
        let Value::Sum { made, more: 0 } = value else { return u64::MAX };
        let loads = || {
            let at = (made / REGISTERS).checked_sub(self.insns.len())?;
            match self.insns.get(at)?.kind()? {
                Kind::Load(bytes) if bytes < 8 => Some((1 << (8 * bytes)) - 1),
                _ => None,
            }
        };
        loads().unwrap_or(u64::MAX)
    }

    /// The second operand.
    fn second(insn: Insn, state: &State) -> Option<Value> {
        if insn.is_by_register() {
            state.get(insn.src).copied()
        } else {
            Some(Value::Number(insn.immediate()))
        }
    }

    /// What the instruction makes of its register, where it writes one by loading or computing.
    pub(super) fn result(&self, at: usize, state: &State) -> Option<Value> {
        let insn = *self.insns.get(at)?;
        match insn.kind()? {
            Kind::Load(bytes) => {
                let constant = match *state.get(insn.src)? {
                    Value::Place(place) => (self.constant)(place + i64::from(insn.off), bytes),
                    _ => None,
                };
                Some(constant.map_or_else(|| self.made(at, insn.dst), Value::Number))
            }
            Kind::Alu => {
                Some(Self::computed(insn, state).unwrap_or_else(|| self.made(at, insn.dst)))
            }
            Kind::Wide => self.wide(at),
            _ => None,
        }
    }

    /// The registers behind the instruction.
    fn step(&self, at: usize, state: &mut State) -> Option<()> {
        let insn = *self.insns.get(at)?;
        match insn.kind()? {
            Kind::Wide | Kind::Load(_) | Kind::Alu => {
                *state.get_mut(insn.dst)? = self.result(at, state)?;
            }
            Kind::Atomic => {
                for register in [0, insn.src] {
                    *state.get_mut(register)? = self.made(at, register);
                }
            }
            Kind::Call => {
                for (register, value) in state.iter_mut().enumerate().take(6) {
                    *value = self.made(at, register);
                }
            }
            Kind::Store | Kind::Goto | Kind::Branch | Kind::Exit => {}
        }
        Some(())
    }

    fn wide(&self, at: usize) -> Option<Value> {
        let (low, high) = (self.insns.get(at)?, self.insns.get(at + 1)?);
        if (self.is_filled_in)(at) {
            return Some((self.place)(at).map_or_else(|| self.made(at, low.dst), Value::Place));
        }
        if low.src != 0 {
            return Some(self.made(at, low.dst));
        }
        let half = |imm: i32| u64::from(imm.cast_unsigned());
        Some(Value::Number(half(high.imm) << 32 | half(low.imm)))
    }

    fn computed(insn: Insn, state: &State) -> Option<Value> {
        let (a, b) = (*state.get(insn.dst)?, Self::second(insn, state)?);
        if insn.is_move() && insn.is_64() {
            return Some(b);
        }
        if let (Value::Number(a), Value::Number(b)) = (a, b) {
            return insn.computed(a, b).map(Value::Number);
        }
        if insn.is_move()
            && let Value::Number(b) = b
        {
            return insn.computed(0, b).map(Value::Number);
        }
        let takes_away = insn.adds()?;
        match (a, b) {
            (at, Value::Number(n)) => {
                let n = n.cast_signed();
                at.moved(if takes_away { n.wrapping_neg() } else { n })
            }
            (Value::Number(n), at) if !takes_away => at.moved(n.cast_signed()),
            _ => None,
        }
    }

    /// What the instruction makes.
    fn made(&self, at: usize, register: usize) -> Value {
        Value::Sum { made: (self.insns.len() + at) * REGISTERS + register, more: 0 }
    }

    /// What several ways to the instruction bring.
    fn joined(at: usize, register: usize) -> Value {
        Value::Sum { made: at * REGISTERS + register, more: 0 }
    }
}

impl Value {
    fn moved(self, by: i64) -> Option<Self> {
        match self {
            Self::Number(_) => None,
            Self::Place(at) => Some(Self::Place(at.checked_add(by)?)),
            Self::Sum { made, more } => Some(Self::Sum { made, more: more.checked_add(by)? }),
        }
    }
}

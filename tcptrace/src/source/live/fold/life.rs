//! What is computed, and nobody reads it.

use super::{
    blocks::Blocks,
    insn::{FRAME, Insn, Kind, next},
};

/// Takes out, in place, what nobody reads: only what has no other effect than to write a register. Of each branch is told
/// whether it is taken, where that is known: nobody goes the other way. `None` where something is not
/// understood.
pub(super) fn remove_unread(
    insns: &mut [Insn],
    blocks: &mut Blocks,
    outcomes: &[Option<bool>],
) -> Option<()> {
    let read = read_from(insns, blocks, outcomes)?;
    let mut removed = Vec::new();
    for at in blocks.starts() {
        if is_unread(*insns.get(at)?, read_behind(insns, outcomes, &read, at)?)? {
            removed.push(at);
        }
    }
    for at in removed {
        if insns.get(at)?.kind()? == Kind::Wide {
            *insns.get_mut(at + 1)? = Insn::NOTHING;
            blocks.halve(at)?;
        }
        *insns.get_mut(at)? = Insn::NOTHING;
    }
    Some(())
}

/// Whether the instruction does nothing but write a register that is not among those read behind it.
fn is_unread(insn: Insn, read: u16) -> Option<bool> {
    let only_writes = matches!(insn.kind()?, Kind::Wide | Kind::Load(_) | Kind::Alu);
    Some(only_writes && insn.dst != FRAME && read & bit(insn.dst) == 0)
}

/// Where a number is added to an address that is only read and written by, it becomes part of those instructions.
pub(super) fn add_to_offsets(
    insns: &mut [Insn],
    blocks: &Blocks,
    outcomes: &[Option<bool>],
) -> Option<()> {
    let read = read_from(insns, blocks, outcomes)?;
    for at in blocks.starts() {
        let insn = *insns.get(at)?;
        if insn.adds() != Some(false) || insn.is_by_register() {
            continue;
        }
        let Some(users) = users(insns, at, blocks, &read) else { continue };
        for (user, off) in users {
            insns.get_mut(user)?.off = off;
        }
        *insns.get_mut(at)? = Insn::NOTHING;
    }
    Some(())
}

/// The instructions that use, as an address, the register that the one at `at` adds to, with their new offsets; `None` where it
/// has other uses.
fn users(insns: &[Insn], at: usize, blocks: &Blocks, read: &[u16]) -> Option<Vec<(usize, i16)>> {
    let (own, more) = (insns.get(at)?.dst, insns.get(at)?.imm);
    let (mut users, mut next) = (Vec::new(), at + 1);
    loop {
        let insn = *insns.get(next)?;
        if blocks.at(next)?.is_first {
            return (*read.get(next)? & bit(own) == 0).then_some(users);
        }
        let kind = insn.kind()?;
        let base = match kind {
            Kind::Load(_) => Some(insn.src),
            Kind::Store if insn.op & 7 == 2 || insn.src != own => Some(insn.dst),
            Kind::Wide | Kind::Alu if !reads_register(insn, own)? => None,
            Kind::Goto if insn == Insn::NOTHING => None,
            _ if *read.get(next)? & bit(own) == 0 => return Some(users),
            _ => return None,
        };
        if base == Some(own) {
            let off = i32::from(insn.off).checked_add(more)?;
            users.push((next, i16::try_from(off).ok()?));
        }
        if writes(insn)? & bit(own) != 0 {
            return Some(users);
        }
        next += kind.slots();
    }
}

fn reads_register(insn: Insn, register: usize) -> Option<bool> {
    Some(reads(insn)? & bit(register) != 0)
}

fn bit(register: usize) -> u16 {
    1 << register
}

/// The registers that an instruction reads.
fn reads(insn: Insn) -> Option<u16> {
    let second = if insn.is_by_register() { bit(insn.src) } else { 0 };
    Some(match insn.kind()? {
        Kind::Wide | Kind::Goto => 0,
        Kind::Load(_) => bit(insn.src),
        // The class BPF_ST writes an immediate.
        Kind::Store if insn.op & 7 == 2 => bit(insn.dst),
        Kind::Store => bit(insn.dst) | bit(insn.src),
        Kind::Atomic => bit(insn.dst) | bit(insn.src) | bit(0),
        Kind::Alu if insn.is_move() => second,
        Kind::Alu | Kind::Branch => bit(insn.dst) | second,
        Kind::Call => (1..=insn.arguments()).map(bit).sum(),
        Kind::Exit => bit(0),
    })
}

/// The registers that an instruction writes.
fn writes(insn: Insn) -> Option<u16> {
    Some(match insn.kind()? {
        Kind::Wide | Kind::Load(_) | Kind::Alu => bit(insn.dst),
        Kind::Call => (0..=5).map(bit).sum(),
        _ => 0,
    })
}

/// By instruction, the registers that are read from there on; what is only read to write what nobody reads is not among them.
fn read_from(insns: &[Insn], blocks: &Blocks, outcomes: &[Option<bool>]) -> Option<Vec<u16>> {
    let mut read: Vec<u16> = vec![0; insns.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for at in blocks.starts().rev() {
            let insn = *insns.get(at)?;
            let behind = read_behind(insns, outcomes, &read, at)?;
            let before = if is_unread(insn, behind)? {
                behind
            } else {
                behind & !writes(insn)? | reads(insn)?
            };
            let known = read.get_mut(at)?;
            changed |= *known != before;
            *known = before;
        }
    }
    Some(read)
}

fn read_behind(insns: &[Insn], outcomes: &[Option<bool>], read: &[u16], at: usize) -> Option<u16> {
    let next = next(insns, at)?.after(*outcomes.get(at)?);
    Some(next.all().filter_map(|target| read.get(target)).fold(0, |all, one| all | one))
}

//! The constants of a run, put into the instructions of the programs before the kernel sees them.
//!
//! The programs read the places of the kernel's fields, and what is asked for, from read-only data. The verifier knows the
//! values and takes out the branches that they rule out; the loads, and what is computed from them, stay: half of the
//! instructions on the path of a send that nobody holds. Here they become immediates and offsets, and what nobody reads
//! any more is taken out, with what is never run. A function stays where it is and as long as it was, so that nothing
//! outside of it moves.
//!
//! A function in which something is not understood stays as it was: it is only slower.

mod blocks;
mod flow;
mod insn;
mod life;
mod pack;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use self::{
    blocks::Blocks,
    flow::{Code, State, Value},
    insn::{Insn, Kind, SLOT},
    life::{add_to_offsets, remove_unread},
    pack::{Packed, packed},
};
use super::elf::{Elf, Relocation, Section, Symbol, number};

/// Puts constants into the programs of an object: by name, the bytes that the loader will give them. An object that is not
/// understood stays as it is.
pub(super) fn fold(elf: &mut [u8], constants: &[(&str, &[u8])]) {
    for (at, bytes) in edits(elf, constants).unwrap_or_default() {
        if let Some(place) = elf.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(&bytes);
        }
    }
}

/// What changes: where in the object, to what.
type Edits = Vec<(usize, Vec<u8>)>;

fn edits(elf: &[u8], constants: &[(&str, &[u8])]) -> Option<Edits> {
    let read = Elf::read(elf)?;
    let known = Known::of(&read, constants)?;
    let called = called(elf, &read)?;
    let mut all = Vec::new();
    let is_wanted = |section: &Section<'_>| section.is_code() && !STAY.contains(&section.name);
    for (index, section) in read.sections.iter().enumerate().filter(|(_, one)| is_wanted(one)) {
        let places: Places =
            read.relocations(elf, index)?.into_iter().map(|at| (at.offset / SLOT, at)).collect();
        let is_own = |one: &&Symbol<'_>| one.section == index && one.is_function;
        // Where the loader fills something in: the slot that it is now, and `None` where that is gone.
        let mut moved: BTreeMap<usize, Option<usize>> =
            places.keys().map(|at| (*at, Some(*at))).collect();
        for symbol in read.symbols.iter().filter(is_own) {
            if section.name == FUNCTIONS && !called.contains(&symbol.value) {
                continue;
            }
            let slots = symbol.value / SLOT..(symbol.value + symbol.bytes) / SLOT;
            let Some(before) = instructions(elf, section, &slots) else { continue };
            let filled_in = |at: usize| places.get(&(slots.start + at));
            let place = |at: usize| {
                let to = read.symbols.get(filled_in(at)?.symbol)?;
                let more = i64::from(before.get(at)?.imm);
                (to.section == known.section).then_some(i64::try_from(to.value).ok()? + more)
            };
            let code = Code {
                insns: &before,
                place: &place,
                is_filled_in: &|at| filled_in(at).is_some(),
                constant: &|at, bytes| known.number(at, bytes),
            };
            let Some(after) = folded(&code) else { continue };
            let bytes = after.insns.iter().flat_map(|insn| insn.bytes()).collect();
            all.push((section.at + slots.start * SLOT, bytes));
            for (at, place) in moved.range_mut(slots.clone()) {
                let now = after.moved.get(at - slots.start).copied().flatten();
                *place = now.map(|now| slots.start + now);
            }
        }
        all.extend(relocated(&places, &moved, section.bytes)?);
    }
    Some(all)
}

/// The section of what programs call.
const FUNCTIONS: &str = ".text";

/// Sections that stay as they are: programs that stand in where the kernel takes no tracing programs.
const STAY: [&str; 2] = ["kprobe", "kretprobe"];

/// By slot of its section, the places that the loader fills in.
type Places = BTreeMap<usize, Relocation>;

/// Where the functions begin that the programs call, directly or not, in bytes from the start of their section.
fn called(elf: &[u8], read: &Elf<'_>) -> Option<BTreeSet<usize>> {
    let mut called = BTreeSet::new();
    let functions = read.sections.iter().position(|section| section.name == FUNCTIONS)?;
    let mut calls: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (index, section) in read.sections.iter().enumerate() {
        if section.is_code() && !STAY.contains(&section.name) {
            for place in read.relocations(elf, index)? {
                let bytes = elf.get(section.at + place.offset..)?.first_chunk()?;
                let insn = Insn::from_bytes(*bytes);
                let to = read.symbols.get(place.symbol)?;
                if insn.kind() == Some(Kind::Call) && to.section == functions {
                    // From the symbol on, less one, in slots.
                    let more = isize::try_from(insn.imm).ok()? + 1;
                    let to = (to.value / SLOT).checked_add_signed(more)? * SLOT;
                    calls.entry(index).or_default().push((place.offset, to));
                }
            }
        }
    }
    let is_program = |one: &&Symbol<'_>| one.is_function && one.section != functions;
    let mut todo: Vec<(usize, Range<usize>)> = read
        .symbols
        .iter()
        .filter(is_program)
        .map(|one| (one.section, one.value..one.value + one.bytes))
        .collect();
    while let Some((section, bytes)) = todo.pop() {
        for (_, to) in
            calls.get(&section).into_iter().flatten().filter(|(at, _)| bytes.contains(at))
        {
            let is_it =
                |one: &&Symbol<'_>| one.is_function && one.section == functions && one.value == *to;
            let function = read.symbols.iter().find(is_it)?;
            if called.insert(*to) {
                todo.push((functions, *to..*to + function.bytes));
            }
        }
    }
    Some(called)
}

/// The constants that are known: the section that has them, and their bytes by where they lie in it.
struct Known<'a> {
    section: usize,
    bytes: Vec<(usize, &'a [u8])>,
}

impl<'a> Known<'a> {
    fn of(elf: &Elf<'_>, constants: &[(&str, &'a [u8])]) -> Option<Self> {
        let (mut section, mut bytes) = (None, Vec::new());
        for (name, value) in constants {
            let symbol = elf.symbols.iter().find(|symbol| symbol.name == *name)?;
            if symbol.bytes != value.len() || section.is_some_and(|one| one != symbol.section) {
                return None;
            }
            section = Some(symbol.section);
            bytes.push((symbol.value, *value));
        }
        Some(Self { section: section?, bytes })
    }

    fn number(&self, at: i64, many: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let of = |(start, bytes): &(usize, &[u8])| number(bytes, at.checked_sub(*start)?, many);
        self.bytes.iter().find_map(of)
    }
}

fn instructions(elf: &[u8], section: &Section<'_>, slots: &Range<usize>) -> Option<Vec<Insn>> {
    if slots.end * SLOT > section.bytes {
        return None;
    }
    let bytes = elf.get(section.at + slots.start * SLOT..section.at + slots.end * SLOT)?;
    let (whole, _) = bytes.as_chunks();
    Some(whole.iter().map(|slot| Insn::from_bytes(*slot)).collect())
}

/// The function with its constants in it, as long as it was; `None` where something is not understood.
fn folded(code: &Code<'_>) -> Option<Packed> {
    let mut blocks = Blocks::of(code.insns)?;
    // A call that the loader does not fill in says how far away its function is.
    let is_near = |(at, insn): (usize, &Insn)| insn.calls_function() && !(code.is_filled_in)(at);
    if code.insns.iter().enumerate().any(is_near) {
        return None;
    }
    let states = code.states(&blocks)?;
    let mut insns = code.insns.to_vec();
    let mut outcomes = vec![None; insns.len()];
    for (first, state) in states.iter().enumerate() {
        let Some(state) = state else { continue };
        code.walk(&blocks, first, **state, |at, state| {
            *insns.get_mut(at)? = plainer(code, at, state)?;
            *outcomes.get_mut(at)? = code.outcome(at, state);
            Some(())
        })?;
    }
    remove_unread(&mut insns, &mut blocks, &outcomes)?;
    add_to_offsets(&mut insns, &blocks, &outcomes)?;
    packed(&insns, &outcomes)?.padded(insns.len())
}

/// The instruction at `at`, with what is known before it in it.
fn plainer(code: &Code<'_>, at: usize, state: &State) -> Option<Insn> {
    let insn = *code.insns.get(at)?;
    let second = match state.get(insn.src)? {
        Value::Number(number) if insn.is_by_register() => insn.with_number(*number),
        _ => None,
    };
    Some(match insn.kind()? {
        Kind::Branch => second.unwrap_or(insn),
        Kind::Alu if code.keeps(at, state)? => Insn::NOTHING,
        Kind::Alu => known(code, at, state).or(second).unwrap_or(insn),
        Kind::Load(_) => {
            let by_another = || nearer(state, insn.src, insn.off);
            known(code, at, state)
                .or_else(|| by_another().map(|(src, off)| Insn { src, off, ..insn }))
                .unwrap_or(insn)
        }
        Kind::Store | Kind::Atomic => {
            nearer(state, insn.dst, insn.off).map_or(insn, |(dst, off)| Insn { dst, off, ..insn })
        }
        Kind::Wide | Kind::Goto | Kind::Call | Kind::Exit => insn,
    })
}

/// What gives the register of the instruction at `at` its number, where that is known and can be said at once.
fn known(code: &Code<'_>, at: usize, state: &State) -> Option<Insn> {
    match code.result(at, state)? {
        Value::Number(number) => Insn::number(code.insns.get(at)?.dst, number),
        _ => None,
    }
}

/// The register that an address was computed from, and how far it is from there.
fn nearer(state: &State, base: usize, off: i16) -> Option<(usize, i16)> {
    let Value::Sum { made, more } = *state.get(base)? else { return None };
    if more == 0 {
        return None;
    }
    let from = state.iter().position(|value| *value == Value::Sum { made, more: 0 })?;
    Some((from, i16::try_from(more.checked_add(i64::from(off))?).ok()?))
}

/// The relocations of what has moved. None can be taken out without moving the others: those of what is gone belong behind the
/// end of the section, to no function.
fn relocated(places: &Places, moved: &BTreeMap<usize, Option<usize>>, end: usize) -> Option<Edits> {
    let mut all = Vec::new();
    for (at, place) in places {
        let offset = moved.get(at)?.map_or(end, |now| now * SLOT);
        if offset != place.offset {
            // `r_offset`.
            all.push((place.at, u64::try_from(offset).ok()?.to_le_bytes().to_vec()));
        }
    }
    Some(all)
}

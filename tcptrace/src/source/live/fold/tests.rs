//! The programs do the same with their constants in them: each is run by an interpreter, before and after.

use std::collections::BTreeMap;

use tcptrace_common::{filter::Filter, layout::Layout};

use super::{
    edits, fold,
    insn::{FRAME, Insn, Kind, REGISTERS, SLOT, next},
    pack::packed,
};
use crate::source::live::{
    elf::{Elf, Relocation},
    load::object,
};

const CONSTANTS: u64 = 0x2000_0000_0000;
const STACK: u64 = 0x3000_0000_0000;
const ELSEWHERE: u64 = 0x4000_0000_0000;

/// The same number for the same question.
fn random(seed: u64, what: u64) -> u64 {
    let mut mixed =
        (seed ^ what.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x632b_e59b_d9b4_e019);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// What a function has done that others can see.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Store { at: u64, bytes: usize, value: u64 },
    Call { what: i32, arguments: Vec<u64> },
    Exit(u64),
    Endless,
}

/// One function of the object, and what lies around it.
struct Run<'a> {
    insns: Vec<Insn>,
    /// By slot, what the loader fills in.
    addresses: BTreeMap<usize, u64>,
    /// The section of constants.
    constants: &'a [u8],
    seed: u64,
    written: BTreeMap<u64, u8>,
    did: Vec<Did>,
}

impl Run<'_> {
    fn byte(&self, at: u64) -> u8 {
        if let Some(byte) = self.written.get(&at) {
            return *byte;
        }
        if let Some(from) = at.checked_sub(CONSTANTS)
            && let Some(byte) = self.constants.get(usize::try_from(from).unwrap())
        {
            return *byte;
        }
        if (STACK..STACK + 0x1000).contains(&at) {
            return 0;
        }
        let any = random(self.seed, at);
        // Zeros and small numbers decide more often than others.
        match any % 3 {
            0 => 0,
            1 => u8::try_from(any >> 8 & 3).unwrap(),
            _ => u8::try_from(any >> 8 & 0xff).unwrap(),
        }
    }

    fn load(&self, at: u64, bytes: usize) -> u64 {
        (0..bytes)
            .rev()
            .fold(0, |all, n| all << 8 | u64::from(self.byte(at.wrapping_add(n as u64))))
    }

    fn store(&mut self, at: u64, bytes: usize, value: u64) {
        for (n, byte) in value.to_le_bytes().into_iter().take(bytes).enumerate() {
            self.written.insert(at.wrapping_add(n as u64), byte);
        }
        if !(STACK..STACK + 0x1000).contains(&at) {
            let value = self.load(at, bytes);
            self.did.push(Did::Store { at, bytes, value });
        }
    }

    fn call(&mut self, insn: Insn, r: &mut [u64; REGISTERS]) {
        // Of functions of our own only the first argument counts: those behind it are what was left there.
        let many = if insn.src == 0 { insn.arguments() } else { 1 };
        let mut arguments: Vec<u64> = r[1..=many].to_vec();
        match (insn.src, insn.imm) {
            // The keys of a map lie on the stack.
            (0, 1..=3) => arguments.push(self.load(r[2], 8)),
            (0, 16) => {
                for n in 0..r[2] & 15 {
                    self.store(r[1] + n, 1, random(self.seed, n));
                }
            }
            (0, 112 | 113) => {
                let value = self.load(r[3], usize::try_from(r[2] & 7).unwrap());
                self.store(r[1], usize::try_from(r[2] & 15).unwrap(), value);
            }
            _ => {}
        }
        self.did.push(Did::Call { what: insn.imm, arguments });
        let answer = random(self.seed, self.did.len() as u64 | 1 << 60);
        r[0] = if answer.is_multiple_of(4) { 0 } else { answer >> 20 };
        for (n, register) in r.iter_mut().enumerate().take(6).skip(1) {
            *register = random(self.seed, n as u64 | 1 << 61);
        }
    }

    /// What it did, by so many instructions.
    fn run(mut self) -> (Vec<Did>, usize) {
        let mut steps = 0;
        let mut r: [u64; REGISTERS] =
            std::array::from_fn(|n| random(self.seed, n as u64 | 1 << 62));
        // The verifier lets no function read it before it has written it.
        r[0] = 0;
        r[FRAME] = STACK + 0x800;
        let mut at = 0;
        for _ in 0..50_000 {
            let insn = self.insns[at];
            steps += usize::from(insn != Insn::NOTHING);
            let second = if insn.is_by_register() { r[insn.src] } else { insn.immediate() };
            let address = |base: u64| base.wrapping_add_signed(i64::from(insn.off));
            let jump = |at: usize| (at + 1).checked_add_signed(isize::from(insn.off)).unwrap();
            at = match insn.kind().unwrap() {
                Kind::Wide => {
                    let high = u64::from(self.insns[at + 1].imm.cast_unsigned());
                    let own = high << 32 | u64::from(insn.imm.cast_unsigned());
                    r[insn.dst] = self.addresses.get(&at).copied().unwrap_or(own);
                    at + 2
                }
                Kind::Load(bytes) => {
                    r[insn.dst] = self.load(address(r[insn.src]), bytes);
                    at + 1
                }
                Kind::Store | Kind::Atomic => {
                    let bytes = [4, 2, 1, 8][usize::from(insn.op >> 3 & 3)];
                    let value = if insn.op & 7 == 2 { insn.immediate() } else { r[insn.src] };
                    self.store(address(r[insn.dst]), bytes, value);
                    at + 1
                }
                Kind::Alu => {
                    r[insn.dst] = insn.computed(r[insn.dst], second).unwrap_or_else(|| {
                        // A division is the only one that `computed` leaves out.
                        if insn.op >> 4 == 3 {
                            r[insn.dst].checked_div(second).unwrap_or(0)
                        } else {
                            7
                        }
                    });
                    at + 1
                }
                Kind::Goto => jump(at),
                Kind::Branch if insn.takes(r[insn.dst], second).unwrap() => jump(at),
                Kind::Branch => at + 1,
                Kind::Call => {
                    self.call(insn, &mut r);
                    at + 1
                }
                Kind::Exit => {
                    self.did.push(Did::Exit(r[0]));
                    return (self.did, steps);
                }
            };
        }
        self.did.push(Did::Endless);
        (self.did, steps)
    }
}

/// What every function of the object does.
fn all(elf: &[u8], constants: &[u8], rodata: usize, seed: u64) -> Vec<(String, Vec<Did>, usize)> {
    let read = Elf::read(elf).unwrap();
    let mut found = Vec::new();
    for (index, section) in read.sections.iter().enumerate().filter(|(_, one)| one.is_code()) {
        let relocations = read.relocations(elf, index).unwrap();
        let by_slot: BTreeMap<usize, &Relocation> =
            relocations.iter().map(|one| (one.offset / SLOT, one)).collect();
        for symbol in read.symbols.iter().filter(|one| one.section == index && one.is_function) {
            let start = symbol.value / SLOT;
            let bytes = &elf[section.at + symbol.value..section.at + symbol.value + symbol.bytes];
            let insns: Vec<Insn> =
                bytes.as_chunks().0.iter().map(|slot| Insn::from_bytes(*slot)).collect();
            let mut addresses = BTreeMap::new();
            for (at, insn) in insns.iter().enumerate() {
                let Some(to) = by_slot.get(&(start + at)) else { continue };
                let to_symbol = &read.symbols[to.symbol];
                let base = if to_symbol.section == rodata {
                    CONSTANTS + to_symbol.value as u64
                } else {
                    ELSEWHERE + ((to.symbol as u64) << 24)
                };
                addresses.insert(at, base.wrapping_add_signed(i64::from(insn.imm)));
            }
            let (written, did) = (BTreeMap::new(), Vec::new());
            let run = Run { insns, addresses, constants, seed, written, did };
            let (did, steps) = run.run();
            found.push((format!("{}/{}", section.name, symbol.name), did, steps));
        }
    }
    found
}

/// Constants as a kernel and a filter may give them.
fn constants(seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    let any = |what: u64| random(seed, what | 1 << 50);
    let mut layout = Vec::new();
    for n in 0..size_of::<Layout>() as u64 / 8 {
        let at = any(n);
        let size = [1, 2, 4, 4, 4, 8, 16, 0][usize::try_from(at >> 20 & 7).unwrap()];
        let deref: u64 = if (at >> 24).is_multiple_of(4) { at >> 30 & 0x1ff } else { 0xffff };
        let bits = [0, 0, 3 | 2 << 8][usize::try_from(at >> 40 & 1).unwrap()];
        layout.extend((at & 0x7ff | deref << 16 | size << 32 | bits << 40).to_le_bytes());
    }
    let mut filter = vec![0; size_of::<Filter>()];
    for (n, byte) in filter.iter_mut().enumerate() {
        if any(n as u64 | 1 << 40) % 5 == 0 && n % 4 < 1 {
            *byte = u8::try_from(any(n as u64 | 1 << 41) & 3).unwrap();
        }
    }
    let mut all = vec![("LAYOUT", layout), ("FILTER", filter)];
    let flags = [
        "EVERYTHING",
        "CLOSING",
        "OPENING",
        "DEFERRING",
        "KERNEL_READS",
        "RETRANSMIT_TELLS_ERR",
        "COUNTING",
        "USER_STACKS",
    ];
    for (n, name) in flags.into_iter().enumerate() {
        all.push((name, u32::from(any(n as u64 | 1 << 42) % 2 == 0).to_le_bytes().to_vec()));
    }
    all.push(("WAKE_BYTES", (64_u64 << 10).to_le_bytes().to_vec()));
    all
}

fn borrowed<'a>(constants: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'a str, &'a [u8])> {
    constants.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect()
}

/// The section of constants as the loader will fill it, and its number.
fn filled(elf: &[u8], constants: &[(&'static str, Vec<u8>)]) -> (Vec<u8>, usize) {
    let read = Elf::read(elf).unwrap();
    let symbol = |name: &str| read.symbols.iter().find(|symbol| symbol.name == name).unwrap();
    let index = symbol("LAYOUT").section;
    let section = &read.sections[index];
    let mut bytes = elf[section.at..section.at + section.bytes].to_vec();
    for (name, value) in constants {
        let at = symbol(name).value;
        bytes[at..at + value.len()].copy_from_slice(value);
    }
    (bytes, index)
}

#[test]
fn every_program_does_the_same_with_its_constants_in_it() {
    let before = object().unwrap();
    let (mut functions, mut longest, mut changed, mut steps) = (0, 0, 0, (0, 0));
    for of_constants in 0..6 {
        let constants = constants(of_constants);
        let mut after = before.clone();
        fold(&mut after, &borrowed(&constants));
        assert!(before != after);
        let (rodata, index) = filled(&before, &constants);
        for seed in 0..6 {
            let told = all(&before, &rodata, index, seed);
            let folded = all(&after, &rodata, index, seed);
            for ((name, told, many), (_, folded, few)) in told.iter().zip(&folded) {
                let differs = told.iter().zip(folded).position(|(told, folded)| told != folded);
                let at = |did: &'_ [Did]| differs.map(|at| format!("{:?}", did.get(at)));
                assert_eq!(at(told), at(folded), "{name}, constants {of_constants}, seed {seed}");
                assert_eq!(told.len(), folded.len(), "{name}");
                // The compiler's own functions go on as long as they are told to.
                if told.contains(&Did::Endless) {
                    assert!(name.starts_with(".text/mem"), "{name}");
                    continue;
                }
                functions += 1;
                longest = longest.max(told.len());
                // The others stay as they are.
                if many != few {
                    changed += 1;
                    steps = (steps.0 + many, steps.1 + few);
                }
            }
        }
    }
    // The comparison means something: many functions, and some that do much.
    assert!(functions > 5_000 && longest > 40, "{functions} runs, {longest}");
    let (many, few) = steps;
    assert!(changed > 1_000 && few * 10 < many * 8, "{few} instructions, {many} before: {changed}");
}

#[test]
fn the_verifier_finds_a_way_to_every_instruction() {
    let whole = object().unwrap();
    let mut after = whole.clone();
    fold(&mut after, &borrowed(&constants(1)));
    let read = Elf::read(&after).unwrap();
    let is_code = |index: usize| read.sections[index].is_code();
    let mut functions = 0;
    for symbol in read.symbols.iter().filter(|one| one.is_function && is_code(one.section)) {
        let at = read.sections[symbol.section].at + symbol.value;
        let slots = |elf: &[u8]| -> Vec<Insn> {
            let bytes = elf[at..at + symbol.bytes].as_chunks().0;
            bytes.iter().map(|slot| Insn::from_bytes(*slot)).collect()
        };
        let insns = slots(&after);
        let (mut reached, mut todo) = (vec![false; insns.len()], vec![0]);
        while let Some(at) = todo.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                todo.extend(next(&insns, at).unwrap().all());
                if insns[at].kind() == Some(Kind::Wide) {
                    reached[at + 1] = true;
                }
            }
        }
        assert!(reached.iter().all(|reached| *reached), "{}", symbol.name);
        functions += usize::from(insns != slots(&whole));
    }
    assert!(functions > 100, "{functions} have changed");
}

#[test]
fn what_is_never_run_is_gone_and_jumps_lead_where_they_did() {
    let plain = |op, off, imm| Insn { op, dst: 0, src: 0, off, imm };
    let (three, five, six) = (plain(0xb7, 0, 3), plain(0xb7, 0, 5), plain(0x07, 0, 6));
    // if r1 == 0 goto six; r0 = 3; if r0 == 3 goto six (always); r0 = 5; six: r0 += 6; exit
    let by_r1 = |off| Insn { dst: 1, ..plain(0x15, off, 0) };
    let code = [by_r1(3), three, plain(0x15, 1, 3), five, six, Insn::EXIT];
    let outcomes = [None, None, Some(true), None, None, None];
    let short = packed(&code, &outcomes).unwrap();
    assert_eq!(short.insns, [by_r1(1), three, six, Insn::EXIT]);
    assert_eq!(short.moved, [Some(0), Some(1), None, None, Some(2), Some(3)]);
    let long = short.padded(10).unwrap();
    let front = [plain(0xb7, 0, 0), Insn { off: 4, ..Insn::IF_R0 }];
    let behind = [Insn::NOTHING, Insn::NOTHING, Insn::NOTHING, Insn::EXIT];
    assert_eq!(long.insns[..2], front);
    assert_eq!(long.insns[2..6], [by_r1(1), three, six, Insn::EXIT]);
    assert_eq!(long.insns[6..], behind);
    assert_eq!(long.moved[4], Some(4));
    assert!(packed(&code, &outcomes).unwrap().padded(3).is_none());
}

#[test]
fn what_is_no_object_stays_as_it_is() {
    let whole = object().unwrap();
    let constants = constants(1);
    for cut in [0, 0x30, 0x3f, whole.len() / 2] {
        assert!(edits(&whole[..cut], &borrowed(&constants)).is_none(), "{cut}");
    }
    // A constant of another size is not ours.
    assert!(edits(&whole, &[("LAYOUT", &[0; 8])]).is_none());
}

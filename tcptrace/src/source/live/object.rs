//! The BPF object before aya reads it: aya links every program that it finds, ten times as many as a question wants.

use std::collections::BTreeSet;

/// `SHT_SYMTAB`, and the sizes of a section's header and of a symbol (`Elf64_Shdr`, `Elf64_Sym`; `elf(5)`).
const SYMTAB: u64 = 2;
const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;
/// The sections that have a program for each hook.
const OF_HOOKS: [&str; 4] = ["fentry", "fexit", "kprobe", "kretprobe"];

/// Takes the programs of hooks out of the table of symbols that `is_wanted` does not name, but for the first of each
/// section, without which aya takes the section for a damaged one. An object that is not understood stays as it is.
pub(super) fn keep(elf: &mut [u8], is_wanted: impl Fn(&str) -> bool) {
    for at in unwanted(elf, is_wanted).unwrap_or_default() {
        // `st_shndx`: the symbol is defined nowhere.
        if let Some(section) = elf.get_mut(at + 6..at + 8) {
            section.fill(0);
        }
    }
}

/// Where the symbols stand that are to be taken out; `None` where something is not as it should be.
fn unwanted(elf: &[u8], is_wanted: impl Fn(&str) -> bool) -> Option<Vec<usize>> {
    let sections = usize::try_from(number(elf, 0x28, 8)?).ok()?;
    let many = usize::try_from(number(elf, 0x3c, 2)?).ok()?;
    let header = |index: usize| (index < many).then_some(sections + index * SECTION_BYTES);
    let place = |header: usize| {
        let at = usize::try_from(number(elf, header + 0x18, 8)?).ok()?;
        Some((at, usize::try_from(number(elf, header + 0x20, 8)?).ok()?))
    };
    let text = |strings: usize, offset: u64| {
        let from = elf.get(strings.checked_add(usize::try_from(offset).ok()?)?..)?;
        str::from_utf8(from.split(|byte| *byte == 0).next()?).ok()
    };
    let (names, _) = place(header(usize::try_from(number(elf, 0x3e, 2)?).ok()?)?)?;
    let is_table = |header: &usize| number(elf, header + 4, 4).is_some_and(|kind| kind == SYMTAB);
    let table = (0..many).filter_map(header).find(is_table)?;
    let (strings, _) = place(header(usize::try_from(number(elf, table + 0x28, 4)?).ok()?)?)?;
    let (symbols, bytes) = place(table)?;
    let (mut kept, mut found) = (BTreeSet::new(), Vec::new());
    for at in (symbols..symbols.checked_add(bytes)?).step_by(SYMBOL_BYTES) {
        let section = usize::try_from(number(elf, at + 6, 2)?).ok()?;
        let Some(header) = header(section).filter(|_| section != 0) else { continue };
        let is_of_hooks = OF_HOOKS.contains(&text(names, number(elf, header, 4)?)?);
        let is_first = is_of_hooks && kept.insert(section);
        if is_of_hooks && !is_first && !is_wanted(text(strings, number(elf, at, 4)?)?) {
            found.push(at);
        }
    }
    Some(found)
}

/// A number of so many bytes, low byte first.
fn number(elf: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = elf.get(at..at.checked_add(bytes)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

    use super::{OF_HOOKS, keep, unwanted};
    use crate::source::live::load::object;

    /// The programs of hooks, by section, as another reader sees them.
    fn programs(elf: &[u8]) -> Vec<(String, String)> {
        let elf = object::File::parse(elf).unwrap();
        let mut found = Vec::new();
        for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
            let Some(index) = symbol.section_index() else { continue };
            let section = elf.section_by_index(index).unwrap().name().unwrap().to_owned();
            if OF_HOOKS.contains(&section.as_str()) {
                found.push((section, symbol.name().unwrap().to_owned()));
            }
        }
        found
    }

    #[test]
    fn what_is_wanted_stays_and_the_first_of_each_section() {
        let mut elf = object().unwrap();
        let before = programs(&elf);
        keep(&mut elf, |name| name.starts_with("tcp_push"));
        let after = programs(&elf);
        let wanted = ["tcp_push", "tcp_push_kprobe", "tcp_push_kretprobe"];
        for name in wanted {
            assert!(after.iter().any(|(_, program)| program == name), "{name}");
        }
        let others: Vec<_> =
            after.iter().filter(|(_, program)| !wanted.contains(&program.as_str())).collect();
        assert!(before.len() > 150 && others.len() <= OF_HOOKS.len(), "{others:?}");
        for section in OF_HOOKS {
            assert!(after.iter().any(|(name, _)| name == section), "{section}");
        }
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        let whole = object().unwrap();
        for cut in [0, 0x30, 0x3f, whole.len() / 2] {
            let mut bytes = whole[..cut].to_vec();
            assert_eq!(unwanted(&bytes, |_| false), None, "{cut}");
            keep(&mut bytes, |_| false);
            assert!(bytes == whole[..cut]);
        }
    }
}

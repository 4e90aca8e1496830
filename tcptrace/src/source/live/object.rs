//! The BPF object before aya reads it: aya links every program that it finds, ten times as many as a question wants, and has
//! no say in the flags of a map.

use std::collections::BTreeSet;

use super::elf::Elf;

/// The sections that have a program for each hook.
const OF_HOOKS: [&str; 4] = ["fentry", "fexit", "kprobe", "kretprobe"];

/// The section that defines maps, and where the flags stand in a definition (`struct bpf_map_def`).
const MAPS: &str = "maps";
const FLAGS_AT: usize = 16;

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

/// Gives a map `flags` (`BPF_F_*`, `linux/bpf.h`); whether it was found.
pub(super) fn set_flags(elf: &mut [u8], map: &str, flags: u32) -> bool {
    let field = definition(elf, map).and_then(|at| elf.get_mut(at + FLAGS_AT..at + FLAGS_AT + 4));
    let is_found = field.is_some();
    if let Some(field) = field {
        field.copy_from_slice(&flags.to_le_bytes());
    }
    is_found
}

/// Where a map is defined.
fn definition(elf: &[u8], map: &str) -> Option<usize> {
    let elf = Elf::read(elf)?;
    let symbol = elf.symbols.iter().find(|symbol| symbol.name == map)?;
    let section = elf.sections.get(symbol.section).filter(|section| section.name == MAPS)?;
    section.at.checked_add(symbol.value)
}

/// Where the symbols stand that are to be taken out; `None` where something is not as it should be.
fn unwanted(elf: &[u8], is_wanted: impl Fn(&str) -> bool) -> Option<Vec<usize>> {
    let elf = Elf::read(elf)?;
    let (mut kept, mut found) = (BTreeSet::new(), Vec::new());
    for symbol in elf.symbols.iter().filter(|symbol| symbol.section != 0) {
        // Symbols of no section have numbers beyond those of sections.
        let Some(section) = elf.sections.get(symbol.section) else { continue };
        let is_of_hooks = OF_HOOKS.contains(&section.name);
        let is_first = is_of_hooks && kept.insert(symbol.section);
        if is_of_hooks && !is_first && !is_wanted(symbol.name) {
            found.push(symbol.at);
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

    use super::{OF_HOOKS, keep, set_flags, unwanted};
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
    fn a_map_gets_its_flags_and_nothing_else_changes() {
        let before = object().unwrap();
        let mut elf = before.clone();
        assert!(set_flags(&mut elf, "SOCKETS", 1));
        assert!(!set_flags(&mut elf, "tcp_push", 1) && !set_flags(&mut elf, "NO_MAP", 1));
        let file = object::File::parse(&*before).unwrap();
        let sockets = file.symbols().find(|symbol| symbol.name() == Ok("SOCKETS")).unwrap();
        let maps = file.section_by_index(sockets.section_index().unwrap()).unwrap();
        let at = usize::try_from(maps.file_range().unwrap().0 + sockets.address()).unwrap();
        let differ = (0..elf.len()).filter(|at| elf[*at] != before[*at]).collect::<Vec<_>>();
        assert_eq!((differ, elf[at + 16]), (vec![at + 16], 1));
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        let whole = object().unwrap();
        for cut in [0, 0x30, 0x3f, whole.len() / 2] {
            let mut bytes = whole[..cut].to_vec();
            assert_eq!(unwanted(&bytes, |_| false), None, "{cut}");
            assert!(!set_flags(&mut bytes, "SOCKETS", 1), "{cut}");
            keep(&mut bytes, |_| false);
            assert!(bytes == whole[..cut]);
        }
    }
}

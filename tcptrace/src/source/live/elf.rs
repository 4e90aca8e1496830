//! What the BPF object has in it, as its file says (`elf(5)`): 64 bits, low byte first.

/// `SHT_PROGBITS`, `SHT_SYMTAB`, `SHT_REL`; `SHF_EXECINSTR`; `STT_FUNC`.
const PROGBITS: u64 = 1;
const SYMTAB: u64 = 2;
const REL: u64 = 9;
const EXECINSTR: u64 = 4;
const FUNC: u64 = 2;
/// Sizes of a section's header and of a symbol (`Elf64_Shdr`, `Elf64_Sym`).
const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;

/// An object's sections and symbols, by their numbers.
pub(super) struct Elf<'a> {
    pub(super) sections: Vec<Section<'a>>,
    pub(super) symbols: Vec<Symbol<'a>>,
}

/// A section, and where it lies in the file.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    pub(super) at: usize,
    pub(super) bytes: usize,
    kind: u64,
    flags: u64,
    /// The section that a table is about.
    info: usize,
}

/// A symbol, and where it lies in the file.
#[derive(Clone, Copy)]
pub(super) struct Symbol<'a> {
    pub(super) at: usize,
    pub(super) name: &'a str,
    pub(super) is_function: bool,
    /// 0 where the symbol is defined nowhere.
    pub(super) section: usize,
    /// Bytes from the start of the section.
    pub(super) value: usize,
    pub(super) bytes: usize,
}

/// A place that the loader fills in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Relocation {
    /// Where it lies in the file.
    pub(super) at: usize,
    /// The place, in bytes from the start of the section.
    pub(super) offset: usize,
    /// Number of the symbol whose address belongs there.
    pub(super) symbol: usize,
}

impl Relocation {
    /// Size of one (`Elf64_Rel`).
    pub(super) const BYTES: usize = 16;
}

impl Section<'_> {
    pub(super) fn is_code(&self) -> bool {
        self.kind == PROGBITS && self.flags & EXECINSTR != 0
    }
}

impl<'a> Elf<'a> {
    /// `None` where something is not as it should be.
    pub(super) fn read(elf: &'a [u8]) -> Option<Self> {
        let headers = size(elf, 0x28, 8)?;
        let many = size(elf, 0x3c, 2)?;
        let header = |index: usize| (index < many).then_some(headers + index * SECTION_BYTES);
        let range =
            |header: usize| Some((size(elf, header + 0x18, 8)?, size(elf, header + 0x20, 8)?));
        let text = |strings: usize, offset: u64| {
            let from = elf.get(strings.checked_add(usize::try_from(offset).ok()?)?..)?;
            str::from_utf8(from.split(|byte| *byte == 0).next()?).ok()
        };
        let (names, _) = range(header(size(elf, 0x3e, 2)?)?)?;
        let mut sections = Vec::new();
        for header in (0..many).filter_map(header) {
            let (at, bytes) = range(header)?;
            sections.push(Section {
                name: text(names, number(elf, header, 4)?)?,
                at,
                bytes,
                kind: number(elf, header + 4, 4)?,
                flags: number(elf, header + 8, 8)?,
                info: size(elf, header + 0x2c, 4)?,
            });
        }
        let table = sections.iter().position(|section| section.kind == SYMTAB)?;
        let (strings, _) = range(header(size(elf, header(table)? + 0x28, 4)?)?)?;
        let table = sections.get(table)?;
        let mut symbols = Vec::new();
        for at in (table.at..table.at.checked_add(table.bytes)?).step_by(SYMBOL_BYTES) {
            symbols.push(Symbol {
                at,
                name: text(strings, number(elf, at, 4)?)?,
                is_function: number(elf, at + 4, 1)? & 15 == FUNC,
                section: size(elf, at + 6, 2)?,
                value: size(elf, at + 8, 8)?,
                bytes: size(elf, at + 16, 8)?,
            });
        }
        Some(Self { sections, symbols })
    }

    /// The places of a section that the loader fills in.
    pub(super) fn relocations(&self, elf: &[u8], section: usize) -> Option<Vec<Relocation>> {
        let is_about = |table: &&Section<'_>| table.kind == REL && table.info == section;
        let mut all = Vec::new();
        for table in self.sections.iter().filter(is_about) {
            for at in (table.at..table.at.checked_add(table.bytes)?).step_by(Relocation::BYTES) {
                all.push(Relocation {
                    at,
                    offset: size(elf, at, 8)?,
                    symbol: size(elf, at + 12, 4)?,
                });
            }
        }
        Some(all)
    }
}

/// A number of so many bytes.
pub(super) fn number(elf: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = elf.get(at..at.checked_add(bytes)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn size(elf: &[u8], at: usize, bytes: usize) -> Option<usize> {
    usize::try_from(number(elf, at, bytes)?).ok()
}

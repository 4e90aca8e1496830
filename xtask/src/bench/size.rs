//! `bench size`: how large the program is that `cargo xtask dist` packs, and what it consists of.

use std::{fmt::Write as _, fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use object::{
    Endianness, elf,
    read::elf::{FileHeader as _, SectionHeader as _},
};

use super::guests::verdict;
use crate::{
    binaries::TRIPLE,
    command,
    dist::{self, MOST_BYTES},
    ebpf,
};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes the section of docs/performance.md
    #[arg(long)]
    write: bool,
}

/// What target 13 of the performance page strives for, bytes; its line is what `dist` refuses to pack beyond.
const GOAL_BYTES: u64 = 5_000_000;
/// What a section is called in the table, by its name; first what the others' order is about.
const KINDS: [(&str, &[&str]); 4] = [
    ("code", &[".text", ".init", ".fini", ".plt"]),
    ("constants", &[".rodata"]),
    ("tables for unwinding", &[".eh_frame", ".gcc_except_table"]),
    (
        "data, and where it has to be relocated",
        &[".data", ".got", ".rela", ".relr", ".tdata", ".init_array", ".fini_array"],
    ),
];
const PACKED: &str = "the BPF object, packed";
const REST: &str = "headers, names, gaps";

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let packed = dist::packed()?;
    let program = fs::read(&packed.program)?;
    let object = fs::read(ebpf::object()?)?;
    let parts = parts(&program, &bpf_in(&program)?)?;
    let text = table(&parts, object.len() as u64, fs::metadata(&packed.archive)?.len());
    print!("{text}");
    if args.write {
        let section = format!(
            "## Size\n\nWritten by `cargo xtask bench size --write` on {}.\n\n\
             The program that `cargo xtask dist` packs: static, stripped, with the BPF object inside.\n\n{text}",
            super::today()?
        );
        super::write_section("size", &section)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The packed BPF object as it lies in the program: of those that builds have left, the one that is found there.
fn bpf_in(program: &[u8]) -> Result<Vec<u8>> {
    let builds = command::target().join("guest").join(TRIPLE).join("release/build");
    for build in fs::read_dir(&builds).with_context(|| format!("list {}", builds.display()))? {
        let file = build?.path().join("out/tcptrace.bpf.o.zst");
        if let Some(packed) = read(&file)?
            && contains(program, &packed)
        {
            return Ok(packed);
        }
    }
    anyhow::bail!("no packed BPF object below {} is in the program", builds.display())
}

/// What is in a file that may not be there.
fn read(file: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.get(..part.len().min(16)).filter(|first| !first.is_empty()) else {
        return false;
    };
    let starts = all.windows(first.len()).enumerate().filter(|(_, at)| *at == first);
    starts.into_iter().any(|(at, _)| all.get(at..).is_some_and(|rest| rest.starts_with(part)))
}

/// Bytes of each part of the program; together they are the whole file.
fn parts(program: &[u8], bpf: &[u8]) -> Result<Vec<(&'static str, u64)>> {
    let header = elf::FileHeader64::<Endianness>::parse(program).context("no ELF file")?;
    let endian = header.endian()?;
    let sections = header.sections(endian, program)?;
    let mut parts: Vec<(&str, u64)> = KINDS.iter().map(|(kind, _)| (*kind, 0)).collect();
    for section in sections.iter() {
        let name = sections.section_name(endian, section)?;
        let name = String::from_utf8_lossy(name);
        let kind = KINDS.iter().position(|(_, names)| names.iter().any(|of| name.starts_with(of)));
        if let Some((_, bytes)) = kind.and_then(|kind| parts.get_mut(kind))
            && section.sh_type(endian) != elf::SHT_NOBITS
        {
            *bytes += section.sh_size(endian);
        }
    }
    if let Some((_, constants)) = parts.iter_mut().find(|(kind, _)| *kind == "constants") {
        *constants = constants
            .checked_sub(bpf.len() as u64)
            .context("the BPF object is larger than what it should lie in")?;
    }
    parts.push((PACKED, bpf.len() as u64));
    let known: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    ensure!(known <= program.len() as u64, "the sections are larger than the file");
    parts.push((REST, program.len() as u64 - known));
    Ok(parts)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn table(parts: &[(&str, u64)], object: u64, archive: u64) -> String {
    let all: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let mut text = "| part | bytes | % |\n|---|--:|--:|\n".to_owned();
    for (kind, bytes) in parts {
        let share = 100.0 * *bytes as f64 / all as f64;
        let _ = writeln!(text, "| {kind} | {bytes} | {share:.1} |");
    }
    let _ = writeln!(text, "| the program | {all} | 100.0 |");
    let line = MOST_BYTES as f64 / 1e6;
    let value = all as f64 / 1e6;
    let verdict = if all <= GOAL_BYTES { "ok, goal" } else { verdict(value, line) };
    let _ = writeln!(
        text,
        "\nUnpacked, the BPF object has {object} bytes; the archive with manual pages, completions and notices has \
         {archive}.\n\n\
         | target 13 | value, MB | line, MB | goal, MB | |\n|---|--:|--:|--:|---|\n\
         | the program | {value:.2} | {line:.0} | {:.0} | {verdict} |",
        GOAL_BYTES as f64 / 1e6
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole_file() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let parts = parts(&own, b"12345").unwrap();
        assert_eq!(parts.iter().map(|(_, bytes)| bytes).sum::<u64>(), own.len() as u64);
        assert!(parts.iter().any(|(kind, bytes)| *kind == "code" && *bytes > 100_000));
        assert!(parts.contains(&(PACKED, 5)));
    }

    #[test]
    fn an_object_is_found_where_it_lies_whole() {
        assert!(contains(b"xxabcabcd", b"abcd") && !contains(b"xxabcabc", b"abcd"));
        assert!(!contains(b"xx", b""));
    }

    #[test]
    fn the_program_is_compared_with_the_line() {
        let of = |bytes| table(&[("code", bytes)], 1, 1);
        assert!(of(7_930_000).contains("| 7.93 | 8 | 5 | ok |"), "{}", of(7_930_000));
        assert!(of(8_100_000).contains("| over |") && of(4_000_000).contains("| ok, goal |"));
    }
}

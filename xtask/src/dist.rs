//! `cargo xtask dist`: the program for other hosts, with all that belongs to it, as a folder and an archive of it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};
use object::{
    Endianness, elf,
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use crate::{
    binaries::{self, Program, TRIPLE},
    command, ebpf, notices, setup,
};

/// The program may have so many bytes.
pub(crate) const MOST_BYTES: usize = 8_000_000;
/// What people read, from the repository's top.
const PAGES: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];
/// What a shell calls the file that it looks for.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "tcptrace.bash"), ("zsh", "_tcptrace"), ("fish", "tcptrace.fish")];

/// What was packed.
pub(crate) struct Packed {
    /// The program, in its folder.
    pub(crate) program: PathBuf,
    /// The archive of that folder.
    pub(crate) archive: PathBuf,
}

/// Builds, checks and packs it.
pub(crate) fn task() -> Result<ExitCode> {
    run()?;
    Ok(ExitCode::SUCCESS)
}

/// As [`task`], for a task that goes on.
pub(crate) fn run() -> Result<()> {
    let Packed { program, archive } = packed()?;
    print!("{}", command::text(Command::new(&program).arg("--version"))?);
    println!("{:>10}  {}", fs::metadata(&program)?.len(), program.display());
    println!("{:>10}  {}", fs::metadata(&archive)?.len(), archive.display());
    Ok(())
}

/// Builds, checks and packs it, and says nothing.
pub(crate) fn packed() -> Result<Packed> {
    setup::ensure(&[])?;
    let program = binaries::build(Program::Tcptrace, Some(&ebpf::object()?))?;
    let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    ensure!(
        bytes.len() <= MOST_BYTES,
        "{} has {} bytes, more than {MOST_BYTES}",
        program.display(),
        bytes.len()
    );
    stands_alone(&bytes).with_context(|| format!("{}", program.display()))?;
    let version = command::text(Command::new(&program).arg("--version"))?;
    let name = format!("tcptrace-{}-{TRIPLE}", env!("CARGO_PKG_VERSION"));
    let wanted = format!("tcptrace {} ", env!("CARGO_PKG_VERSION"));
    ensure!(version.starts_with(&wanted), "--version says {version:?}, not {wanted:?}");
    let dist = command::target().join("dist");
    let folder = dist.join(&name);
    fill(&folder, &program)?;
    let archive = pack(&dist, &name)?;
    Ok(Packed { program: folder.join("bin/tcptrace"), archive })
}

/// Makes the folder anew.
fn fill(folder: &Path, program: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for inside in ["bin", "man", "completions", "docs"] {
        fs::create_dir_all(folder.join(inside))?;
    }
    fs::copy(program, folder.join("bin/tcptrace"))?;
    command::run(Command::new(program).arg("man").arg(folder.join("man/man8")))?;
    for (shell, file) in COMPLETIONS {
        let text = command::output(Command::new(program).args(["completions", shell]))?;
        fs::write(folder.join("completions").join(file), text)?;
    }
    let schema = command::output(Command::new(program).arg("--json-schema"))?;
    fs::write(folder.join("tcptrace.schema.json"), schema)?;
    fs::write(folder.join("THIRD-PARTY.txt"), notices::text()?)?;
    let repository = command::repository();
    for page in PAGES {
        fs::copy(repository.join(page), folder.join(page))?;
    }
    for page in fs::read_dir(repository.join("docs"))? {
        let page = page?;
        if page.file_type()?.is_file() {
            fs::copy(page.path(), folder.join("docs").join(page.file_name()))?;
        }
    }
    Ok(())
}

/// An archive of `dist/name` beside it; the same content gives the same bytes, whoever packs it and when.
fn pack(dist: &Path, name: &str) -> Result<PathBuf> {
    let tar = dist.join(format!("{name}.tar"));
    let mut pack = Command::new("tar");
    pack.args(["--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mode=u=rwX,go=rX", &format!("--mtime=@{}", seconds())])
        .arg("--directory")
        .arg(dist)
        .arg("--file")
        .arg(&tar)
        .args(["--create", name]);
    command::run(&mut pack)?;
    // One thread: several cut the stream by their number.
    command::run(Command::new("xz").args(["-9", "--threads=1", "--force"]).arg(&tar))?;
    Ok(dist.join(format!("{name}.tar.xz")))
}

/// The time that all files of the archive get: `SOURCE_DATE_EPOCH`, else that of the commit, else 1970.
fn seconds() -> u64 {
    let commit = || {
        let mut git = Command::new("git");
        git.current_dir(command::repository()).args(["log", "-1", "--format=%ct"]);
        command::text(&mut git).ok()
    };
    let said = env::var("SOURCE_DATE_EPOCH").ok().or_else(commit);
    said.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0)
}

/// Refuses a program that wants a loader or a library of the host it runs on.
fn stands_alone(bytes: &[u8]) -> Result<()> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes).context("no ELF file")?;
    let endian = header.endian()?;
    for part in header.program_headers(endian, bytes)? {
        if part.interpreter(endian, bytes)?.is_some() {
            bail!("wants a dynamic loader");
        }
        // A static program that can be loaded anywhere has such a part as well, for itself.
        for entry in part.dynamic(endian, bytes)?.into_iter().flatten() {
            ensure!(entry.tag(endian) != elf::DT_NEEDED, "wants a shared library");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_does_not_stand_alone() {
        let own = fs::read(env::current_exe().unwrap()).unwrap();
        let why = stands_alone(&own).unwrap_err().to_string();
        assert!(why == "wants a dynamic loader" || why == "wants a shared library", "{why}");
        assert!(stands_alone(b"#!/bin/sh").is_err());
    }

    #[test]
    fn the_archive_is_the_same_whenever_it_is_packed() {
        let dist = env::temp_dir().join(format!("tcptrace-dist-{}", std::process::id()));
        let packed = |order: [&str; 2]| {
            fs::create_dir_all(dist.join("name")).unwrap();
            for file in order {
                fs::write(dist.join("name").join(file), file).unwrap();
            }
            let bytes = fs::read(pack(&dist, "name").unwrap()).unwrap();
            fs::remove_dir_all(&dist).unwrap();
            bytes
        };
        let first = packed(["a", "b"]);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert!(first == packed(["b", "a"]));
    }
}

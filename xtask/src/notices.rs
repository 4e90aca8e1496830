//! Whose work the released program contains, and on what terms.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::{binaries::TRIPLE, command};

const HEAD: &str = "\
tcptrace contains the work of others. The crates that are linked into the program and into the BPF object in it follow,
with their versions and licences, then the texts that came with them. The program also contains parts of

  the Rust standard library            MIT OR Apache-2.0
  the GNU C library                    LGPL-2.1-or-later

For btf-rs, btf-rs-derive and the GNU C library, which are under the LGPL, the sources and lock files of tcptrace are
public, so that anyone can link it anew with changed ones: `cargo xtask dist`.
";

/// A crate of the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
}

/// The page.
pub(crate) fn text() -> Result<String> {
    let ebpf = command::repository().join("tcptrace-ebpf/Cargo.toml");
    let own = command::repository().join("Cargo.toml");
    let (mut crates, mut folders) = (BTreeSet::new(), BTreeMap::new());
    for (manifest, package, target) in
        [(&own, "tcptrace", Some(TRIPLE)), (&ebpf, "tcptrace-ebpf", None)]
    {
        crates.extend(linked(manifest, package, target)?);
        folders.extend(sources(manifest)?);
    }
    let mut out = HEAD.to_owned();
    out.push('\n');
    for each in &crates {
        ensure!(!each.licence.is_empty(), "{} {} states no licence", each.name, each.version);
        let _ =
            writeln!(out, "  {:36} {}", format!("{} {}", each.name, each.version), each.licence);
    }
    for (text, of) in texts(&crates, &folders)? {
        let _ = write!(out, "\n{}\n{}\n\n{}\n", "-".repeat(80), of.join(", "), text.trim());
    }
    Ok(out)
}

/// The crates linked into `package`; what only runs while building is not among them.
fn linked(manifest: &Path, package: &str, target: Option<&str>) -> Result<Vec<Crate>> {
    let mut cargo = command::cargo();
    cargo.args(["tree", "--locked", "--package", package, "--edges", "normal,no-proc-macro"]);
    cargo.args(["--prefix", "none", "--format", "{p}|{l}", "--manifest-path"]).arg(manifest);
    cargo.args(target.into_iter().flat_map(|target| ["--target", target]));
    let crates = command::text(&mut cargo)?.lines().filter_map(parse).collect::<Vec<_>>();
    ensure!(!crates.is_empty(), "cargo tree names no crate of {package}");
    Ok(crates)
}

/// `aya v0.14.0|MIT OR Apache-2.0`; our own are in a folder, and no third party's.
fn parse(line: &str) -> Option<Crate> {
    let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let own = name == "tcptrace" || name.starts_with("tcptrace-");
    (!own).then(|| Crate {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.replace(" / ", " OR ").replace('/', " OR "),
    })
}

/// Where the source of each crate is.
fn sources(manifest: &Path) -> Result<BTreeMap<(String, String), PathBuf>> {
    let mut cargo = command::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--manifest-path"]).arg(manifest);
    let metadata: serde_json::Value = serde_json::from_slice(&command::output(&mut cargo)?)?;
    let packages = metadata.get("packages").and_then(|packages| packages.as_array());
    let source = |package: &serde_json::Value| {
        let text = |name: &str| package.get(name)?.as_str().map(str::to_owned);
        let folder = Path::new(&text("manifest_path")?).parent()?.to_owned();
        Some(((text("name")?, text("version")?), folder))
    };
    Ok(packages.context("cargo metadata names no packages")?.iter().filter_map(source).collect())
}

/// The texts of the licences, each once, with those it came with; in the order of the crates.
fn texts(
    crates: &BTreeSet<Crate>,
    folders: &BTreeMap<(String, String), PathBuf>,
) -> Result<Vec<(String, Vec<String>)>> {
    let mut texts: Vec<(String, Vec<String>)> = Vec::new();
    for each in crates {
        let folder = folders
            .get(&(each.name.clone(), each.version.clone()))
            .with_context(|| format!("no source of {} {}", each.name, each.version))?;
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.retain(|file| file.is_file() && is_licence(file));
        files.sort();
        for file in files {
            let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
            let of = format!("{} {}", each.name, each.version);
            match texts.iter_mut().find(|(known, _)| *known == text) {
                Some((_, all)) => all.push(of),
                None => texts.push((text, vec![of])),
            }
        }
    }
    Ok(texts)
}

fn is_licence(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
    ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
        .iter()
        .any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_is_read() {
        let line = |text| parse(text).map(|each| (each.name, each.version, each.licence));
        let owned = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(
            line("aya v0.14.0|MIT OR Apache-2.0"),
            owned("aya", "0.14.0", "MIT OR Apache-2.0")
        );
        assert_eq!(
            line("fnv v1.0.7|Apache-2.0 / MIT (*)"),
            owned("fnv", "1.0.7", "Apache-2.0 OR MIT")
        );
        assert_eq!(line("tcptrace-common v0.1.0 (/src/tcptrace-common)|MIT"), None);
        assert_eq!(line(""), None);
    }
}

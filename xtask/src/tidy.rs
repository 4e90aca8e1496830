//! `cargo xtask tidy`: the house rules that no lint knows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{command, imports};

/// Module of tcptrace and the modules it may import; those that are not here (`cli`, `main`, `lib`) may import all.
const IMPORTS: [(&str, &[&str]); 14] = [
    ("event", &["tcptrace_common"]),
    ("filter", &["tcptrace_common"]),
    ("finding", &["tcptrace_common", "event"]),
    ("kernel", &["tcptrace_common", "event"]),
    ("source", &["tcptrace_common", "event", "kernel", "trace"]),
    ("record", &["tcptrace_common", "event", "trace"]),
    ("cost", &["tcptrace_common", "event"]),
    ("trace", &["tcptrace_common", "event", "cost"]),
    ("analysis", &["tcptrace_common", "event", "finding"]),
    ("timeline", &["event", "finding", "analysis"]),
    ("correlate", &["tcptrace_common", "event", "finding", "analysis", "timeline"]),
    ("joined", &["tcptrace_common", "event", "finding", "analysis", "timeline"]),
    ("explain", &["tcptrace_common", "analysis", "finding", "event", "joined"]),
    ("render", &["event", "cost", "filter", "finding", "timeline", "explain"]),
];

/// May import everything.
const TOP: [&str; 3] = ["cli", "main", "lib"];

/// Functions of their input: same trace in, same bytes out.
const PURE: [&str; 10] = [
    "event",
    "cost",
    "filter",
    "finding",
    "trace",
    "analysis",
    "timeline",
    "correlate",
    "joined",
    "explain",
];

/// What a pure module may not name.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::io::stdout",
    "std::io::stderr",
    "std::net::TcpStream",
];
const PRINTING: [&str; 5] = ["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("];

/// The crates beside the two that a crate of the workspace may use.
const DEPENDENCIES: [(&str, &[&str]); 2] =
    [("tcptrace-common", &[]), ("tcptrace-ebpf", &["tcptrace-common", "aya-ebpf", "aya-log-ebpf"])];

const BANNED: [&str; 8] =
    ["utils", "util", "helpers", "helper", "common", "misc", "types", "manager"];
const LONG: usize = 600;

/// A broken rule, and where.
type Broken = Vec<String>;

/// The task.
pub(crate) fn task() -> Result<ExitCode> {
    Ok(if run()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what is broken, and whether nothing is.
pub(crate) fn run() -> Result<bool> {
    let repository = command::repository();
    let mut broken = Broken::new();
    for file in files(&repository)? {
        let name = file.strip_prefix(&repository).unwrap_or(&file).display().to_string();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
        unfinished(&name, &text, &mut broken);
        if file.extension().is_some_and(|extension| extension == "rs") {
            every_source(&name, &text, &mut broken);
            if let Some(path) = name.strip_prefix("tcptrace/src/") {
                tcptrace_source(path, &text, &mut broken);
            }
        }
    }
    pairs(&repository, &mut broken);
    dependencies(&repository, &mut broken)?;
    for line in &broken {
        println!("tidy: {line}");
    }
    eprintln!("xtask: tidy: {} broken", broken.len());
    Ok(broken.is_empty())
}

/// All files that people write, outside of what builds leave.
fn files(repository: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![repository.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if [".rs", ".md", ".toml", ".sh"].iter().any(|end| name.ends_with(end)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn unfinished(name: &str, text: &str, broken: &mut Broken) {
    // In two parts, so that this file does not break its own rule.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    for (number, line) in text.lines().enumerate() {
        if line.split(|c: char| !c.is_alphanumeric()).any(|word| marks.contains(&word)) {
            broken.push(format!("{name}:{}: unfinished work belongs into an issue", number + 1));
        }
    }
}

fn every_source(name: &str, text: &str, broken: &mut Broken) {
    if !text.starts_with("//!") {
        broken.push(format!("{name}: does not start with //! and what lives here"));
    }
    let path = Path::new(name);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder =
        path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    if [&stem, &folder].iter().any(|word| BANNED.contains(&word.as_str())) {
        broken.push(format!("{name}: a name that says nothing"));
    }
    if stem == folder {
        broken.push(format!("{name}: named like its folder"));
    }
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    if lines > LONG {
        eprintln!("tidy: warning: {name}: {lines} lines without its tests");
    }
}

fn tcptrace_source(path: &str, text: &str, broken: &mut Broken) {
    let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let code = imports::code(text);
    if !path.starts_with("source/live") {
        for named in imports::paths(&code, &["aya", "tokio"]) {
            broken.push(format!("tcptrace/src/{path}: names {named}; only source/live may"));
        }
    }
    if PURE.contains(&module) {
        pure(path, &code, broken);
    }
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
        if !TOP.contains(&module) {
            broken.push(format!(
                "tcptrace/src/{path}: module {module} is not in the table of imports"
            ));
        }
        return;
    };
    let mut used = BTreeSet::new();
    for named in imports::paths(&code, &["crate", "tcptrace_common"]) {
        let mut words = named.split("::");
        let first = words.next().unwrap_or_default();
        used.insert(
            if first == "crate" { words.next().unwrap_or_default() } else { first }.to_owned(),
        );
    }
    for name in used {
        // Macros stand at the crate's root, wherever they are written.
        let is_module = IMPORTS.iter().any(|(module, _)| *module == name)
            || name == "cli"
            || name == "tcptrace_common";
        if is_module && name != module && !allowed.contains(&name.as_str()) {
            broken.push(format!("tcptrace/src/{path}: {module} may not import {name}"));
        }
    }
}

fn pure(path: &str, code: &str, broken: &mut Broken) {
    for named in imports::paths(code, &["std"]) {
        if IMPURE.iter().any(|impure| named == *impure || named.starts_with(&format!("{impure}::")))
        {
            broken.push(format!(
                "tcptrace/src/{path}: names {named}, and has to be a function of its input"
            ));
        }
    }
    for macro_name in PRINTING {
        if code.contains(macro_name) {
            broken.push(format!("tcptrace/src/{path}: prints"));
        }
    }
}

/// Each question has its machine and its words.
fn pairs(repository: &Path, broken: &mut Broken) {
    let questions = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(repository.join("tcptrace/src").join(folder))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries
            .map(|entry| entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned());
        // Shared by several questions, each of them.
        names
            .filter(|name| !["mod", "units", "delack", "episode"].contains(&name.as_str()))
            .collect()
    };
    let (machines, words) = (questions("analysis"), questions("explain"));
    for name in machines.symmetric_difference(&words) {
        broken.push(format!("tcptrace/src: {name} stands in only one of analysis/ and explain/"));
    }
}

fn dependencies(repository: &Path, broken: &mut Broken) -> Result<()> {
    for (package, allowed) in DEPENDENCIES {
        let manifest = fs::read_to_string(repository.join(package).join("Cargo.toml"))?;
        let section =
            manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]"));
        for line in section.unwrap_or_default().lines() {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('#') && !allowed.contains(&name) {
                broken.push(format!("{package}/Cargo.toml: may not depend on {name}"));
            }
        }
    }
    Ok(())
}

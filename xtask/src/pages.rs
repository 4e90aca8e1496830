//! `cargo xtask pages`: the pages of `docs/` that are made from the tables in the code.

use std::{fmt::Write as _, fs, process::ExitCode};

use anyhow::{Context as _, Result};
use tcptrace_common::{
    field::Field,
    hook::{At, Hook, RET},
};

use crate::command;

/// `cargo xtask pages`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say whether they are up to date
    #[arg(long)]
    check: bool,
}

/// Writes the pages, or compares them.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    Ok(if run(args.check)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the pages are as the tables say (afterwards, when they are written).
pub(crate) fn run(check: bool) -> Result<bool> {
    let mut current = true;
    for (name, text) in [("hooks.md", hooks()), ("fields.md", fields())] {
        let path = command::repository().join("docs").join(name);
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if check {
            println!("FAIL docs/{name} is not what the tables say: cargo xtask pages");
            current = false;
        } else {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(current)
}

/// One line of a table's cell.
fn cell(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hooks() -> String {
    let mut out = "# Hooks\n\nThe kernel functions that tcptrace can probe. Made from \
                   `tcptrace-common/src/hook.rs` by `cargo xtask pages`.\n"
        .to_owned();
    for hook in Hook::ALL {
        let at = match hook.at() {
            At::Entry => "at its entry (fentry, or a kprobe)",
            At::Exit => "at its return (fexit, or a kprobe and a kretprobe)",
            At::Record => "no probe: written by the program that meets the socket",
        };
        let _ = write!(out, "\n## `{}`\n\n{}\n\n- {at}\n", hook.name(), cell(hook.doc()));
        let stand_ins: Vec<String> =
            hook.symbols().iter().skip(1).map(|name| format!("`{name}`")).collect();
        if !stand_ins.is_empty() {
            let _ = writeln!(out, "- where this kernel lacks it: {}", stand_ins.join(", then "));
        }
        let args: Vec<String> = hook.args().iter().map(|arg| argument(*arg)).collect();
        if !args.is_empty() {
            let _ = writeln!(out, "- arguments: {}", args.join(", "));
        }
        let fields: Vec<String> = hook.fields().iter().map(|f| format!("`{}`", f.name())).collect();
        let _ = writeln!(out, "- fields: {}", fields.join(", "));
        let _ = writeln!(out, "- record: {} bytes", 40 + 4 * hook.slots());
    }
    out
}

fn argument((name, at): (&str, usize)) -> String {
    if at >= RET { format!("`{name}` (its result)") } else { format!("`{name}`") }
}

fn fields() -> String {
    let mut out = "# Fields\n\nThe kernel struct fields that tcptrace reads, found by name in the \
                   running kernel's BTF. Made from `tcptrace-common/src/field.rs` by `cargo xtask \
                   pages`. Where a field moved between kernels, the places are tried in order.\n\n\
                   | field | where | what |\n|---|---|---|\n"
        .to_owned();
    for field in Field::ALL {
        let places: Vec<String> = field
            .places()
            .iter()
            .map(|(strukt, path)| format!("`{strukt}.{}`", path.replace('|', "\\|")))
            .collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            field.name(),
            places.join(" or "),
            cell(field.doc())
        );
    }
    out
}

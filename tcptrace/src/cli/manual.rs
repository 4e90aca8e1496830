//! Pages made from the tree of commands: manual pages (section 8: tcptrace is for administrators) and completions.

use std::{fs, io, path::Path};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::{analysis::Kind, explain::words};

/// What the process ends with.
pub(super) const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "it ran, with or without findings"),
    ("1", "with --exit-code: there were findings"),
    ("2", "wrong flags, an unreadable or foreign file, or output that could not be written"),
    ("3", "this host or user cannot (rights, no BTF, no BPF)"),
    ("4", "with --exit-code: no findings, but events were lost, so that proves nothing"),
];

/// Variables that are looked at.
pub(super) const ENVIRONMENT: [(&str, &str); 5] = [
    ("NO_COLOR", "set and not empty: no colour, unless --color always"),
    ("CLICOLOR_FORCE", "1: colour even where no terminal reads, unless NO_COLOR or --color never"),
    ("TERM", "dumb: no colour"),
    ("COLUMNS", "columns of text on a terminal"),
    ("TZ", "zone of printed times"),
];

/// What is read of the host.
const FILES: [(&str, &str); 3] = [
    ("/sys/kernel/btf/vmlinux", "type information of the running kernel; nothing works without it"),
    ("/proc/kallsyms", "which functions this kernel has"),
    (
        "/proc/sys/kernel/bpf_stats_enabled",
        "1 makes the kernel measure what probes cost, and the summary say it",
    ),
];

const SECTION: &str = "8";

/// Writes a page for each visible command into `folder`: `tcptrace.8`, `tcptrace-nagle.8`.
///
/// # Errors
/// The folder or a file in it could not be written.
pub(super) fn write(command: Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, page) in pages(command)? {
        fs::write(folder.join(name), page)?;
    }
    Ok(())
}

/// The completions of `shell`.
pub(super) fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    for question in Kind::ALL.iter().map(|kind| words(*kind).question) {
        command = command.mut_subcommand(question, |each| shown(question, &each));
    }
    made(command, shell)
}

fn made(mut command: Command, shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command, "tcptrace", &mut out);
    out
}

/// The question with the flags of its help only: completions name what is only hidden.
fn shown(question: &'static str, command: &Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set()).cloned();
    Command::new(question).about(about).disable_help_flag(true).args(flags)
}

/// Name and text of each page.
pub(super) fn pages(mut command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    command.build();
    let visible = || command.get_subcommands().filter(|command| !command.is_hide_set());
    let all: Vec<&Command> = std::iter::once(&command).chain(visible()).collect();
    let names: Vec<&str> =
        all.iter().map(|each| each.get_display_name().unwrap_or(each.get_name())).collect();
    all.iter()
        .zip(&names)
        .map(|(each, name)| Ok((format!("{name}.{SECTION}"), page((*each).clone(), name, &names)?)))
        .collect()
}

fn page(command: Command, name: &str, names: &[&str]) -> io::Result<Vec<u8>> {
    let has_commands = command.has_subcommands();
    let probes = command.get_arguments().any(|argument| argument.get_id() == "attach");
    let man = Man::new(command)
        .section(SECTION)
        .source(concat!("tcptrace ", env!("CARGO_PKG_VERSION")))
        .manual("System Administration");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    let [went, _, wrong, ..] = EXIT_STATUS;
    if !probes && !has_commands {
        section(&mut rest, "EXIT STATUS", &[went, wrong]);
    } else {
        section(&mut rest, "EXIT STATUS", &EXIT_STATUS);
        section(&mut rest, "ENVIRONMENT", &ENVIRONMENT);
        section(&mut rest, "FILES", &FILES);
    }
    rest.control("SH", ["SEE ALSO"]);
    let others = names.iter().filter(|other| **other != name);
    let mut pages: Vec<String> = others.map(|other| format!("{other}({SECTION})")).collect();
    pages.extend(["tcp(7)".to_owned(), "capabilities(7)".to_owned()]);
    rest.text([roman(pages.join(", "))]);
    rest.to_writer(&mut page)?;
    Ok(page)
}

fn section(roff: &mut Roff, heading: &str, rows: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, what) in rows {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*what)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command::tree;

    #[test]
    fn every_visible_command_and_flag_has_its_place_in_the_pages() {
        let mut command = tree();
        command.build();
        let pages = pages(tree()).unwrap();
        let completed = [Shell::Bash, Shell::Zsh, Shell::Fish]
            .map(|shell| (shell, String::from_utf8(completions(tree(), shell)).unwrap()));
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut flags = 0;
        for each in std::iter::once(&command).chain(visible) {
            let name = format!("{}.8", each.get_display_name().unwrap_or("tcptrace"));
            let (_, page) = pages.iter().find(|(page, _)| *page == name).unwrap();
            let page = String::from_utf8(page.clone()).unwrap().replace("\\-", "-");
            for flag in each.get_arguments().filter(|flag| !flag.is_hide_set()) {
                let Some(long) = flag.get_long() else { continue };
                flags += 1;
                assert!(page.contains(&format!("--{long}")), "{name}: --{long}");
                for (shell, text) in &completed {
                    // fish writes `-l NAME`.
                    let there = text.contains(&format!("--{long}"))
                        || text.contains(&format!("-l {long} "))
                        || text.contains(&format!("-l {long}\n"));
                    assert!(there, "{shell}: --{long}");
                }
            }
        }
        assert!(flags > 15, "{flags}");
    }

    #[test]
    fn a_page_has_its_sections_in_the_usual_order() {
        for (name, page) in pages(tree()).unwrap() {
            let page = String::from_utf8(page).unwrap();
            let headings: Vec<&str> = page
                .lines()
                .filter_map(|line| line.strip_prefix(".SH "))
                .map(|heading| heading.trim_matches('"'))
                .collect();
            assert_eq!(headings.first(), Some(&"NAME"), "{name}");
            assert_eq!(headings.last(), Some(&"SEE ALSO"), "{name}");
            for wanted in ["SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"] {
                assert!(headings.contains(&wanted), "{name}: no {wanted}");
            }
            assert!(page.contains(".TH tcptrace"), "{name}");
            // A line that a sentence starts with a point or a quote would be a request.
            for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
                let request = line.split(' ').next().unwrap_or_default();
                let known = [".TH", ".SH", ".TP", ".PP", ".RS", ".RE", ".IP", ".br", ".ie", ".el"];
                assert!(known.contains(&request), "{name}: {line}");
            }
        }
    }

    #[test]
    fn what_is_hidden_is_in_no_page_and_no_completion() {
        assert!(pages(tree()).unwrap().iter().all(|(name, _)| name != "tcptrace-man.8"));
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(completions(tree(), shell)).unwrap();
            assert!(!text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "man"));
            let flags = |kind| {
                let (question, tree) = (words(kind).question, tree());
                let whole = tree.find_subcommand(question).unwrap();
                let shown = Command::new("tcptrace").subcommand(shown(question, whole));
                String::from_utf8(made(shown, shell)).unwrap()
            };
            assert!(flags(Kind::Nagle).contains("min-hold"), "{shell}");
            assert!(!flags(Kind::Timeline).contains("min-hold"), "{shell}");
            assert!(flags(Kind::Timeline).contains("remote"), "{shell}");
            if shell == Shell::Fish {
                let asking =
                    Kind::ALL.iter().filter(|kind| words(**kind).least == "--min-hold").count();
                let lines = text.lines().filter(|line| line.contains("-l min-hold"));
                assert_eq!(lines.count(), asking, "the shell is given what is shown");
            }
        }
    }
}

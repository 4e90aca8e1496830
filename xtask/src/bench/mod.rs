//! `cargo xtask bench`: numbers, which depend on the machine and are never asserted.

mod attach;
mod bulk;
mod cost;
mod flood;
mod guests;
mod idle;
mod live;
mod memory;
mod replay;
mod row;
mod size;

use std::{
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::command;
pub(crate) use cost::answers;
pub(crate) use replay::smoke;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, clap::Subcommand)]
enum Suite {
    /// What reading a recorded trace costs
    Replay(replay::Args),
    /// What the probes cost the traced host, in guest instructions, beside the floor and beside other tools
    Cost(cost::Args),
    /// How long attaching and ending take, in guest time, and what memory they take
    Attach(attach::Args),
    /// What the probes add to bulk data
    Bulk(bulk::Args),
    /// Whether nothing is lost in silence while every processor is busy
    Flood(flood::Args),
    /// What memory it takes while very many sockets hold bytes
    Memory(memory::Args),
    /// What it takes of its own to follow holds
    Live(live::Args),
    /// What it takes with nothing to do
    Idle(idle::Args),
    /// How large the program is, and what it consists of
    Size(size::Args),
}

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    match &args.suite {
        Suite::Replay(args) => replay::task(args),
        Suite::Cost(args) => cost::task(args),
        Suite::Attach(args) => attach::task(args),
        Suite::Bulk(args) => bulk::task(args),
        Suite::Flood(args) => flood::task(args),
        Suite::Memory(args) => memory::task(args),
        Suite::Live(args) => live::task(args),
        Suite::Idle(args) => idle::task(args),
        Suite::Size(args) => size::task(args),
    }
}

/// Puts the section of a suite into `docs/performance.md`, in the place of the one that is there.
fn write_section(suite: &str, text: &str) -> Result<()> {
    let page = command::repository().join("docs/performance.md");
    let old =
        fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    fs::write(&page, with_section(&old, suite, text))
        .with_context(|| format!("cannot write {}", page.display()))
}

fn with_section(page: &str, suite: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {suite}: begin -->\n"), format!("<!-- {suite}: end -->\n"));
    let section = format!("{begin}\n{}\n\n{end}", text.trim());
    match page
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)))
    {
        Some((before, after)) => format!("{before}{section}{after}"),
        None => format!("{}\n\n{section}", page.trim_end()),
    }
}

/// Today, as the pages say it.
fn today() -> Result<String> {
    Ok(command::text(Command::new("date").args(["-u", "+%Y-%m-%d"]))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_its_own_kind_only() {
        let page = with_section("# Page\n\nText.\n", "a", "old\n");
        let page = with_section(&page, "b", "other");
        assert_eq!(
            with_section(&page, "a", "new"),
            "# Page\n\nText.\n\n<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\n\n\
             <!-- b: begin -->\n\nother\n\n<!-- b: end -->\n"
        );
    }
}

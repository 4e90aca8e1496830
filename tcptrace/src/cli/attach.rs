//! The running kernel as a command needs it: which hooks for which questions, the filter, and `-- COMMAND`.

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write as _},
};

use tcptrace_common::hook::Hook;

use super::{
    child::Waiting,
    command::{CANNOT, Failure},
    options::{Attach, Limits, Watched, kernel_form},
    place::folders,
};
use crate::{
    analysis::Kind,
    explain::words,
    filter::Filter,
    source::{
        Ending, Flow, Item, Source as _,
        live::{Live, Request, Want},
        plan::Form,
        refusal::AttachError,
    },
    trace::Header,
};

/// Probes that are attached, and a command that waits for them.
#[derive(Debug)]
pub(super) struct Attached {
    source: Live,
    command: Option<Waiting>,
    /// What is watched.
    pub(super) filter: Filter,
    /// What a trace of it begins with.
    pub(super) header: Header,
}

/// Attaches what the questions need.
pub(super) fn attach(
    kinds: &[Kind],
    watched: &Watched,
    limits: &Limits,
    wanted: &[Want],
) -> Result<Attached, Failure> {
    let mut filter = watched.filter(true)?;
    // What is wrong with the flags is told before anything is started.
    kernel_form(&filter)?;
    let command = Waiting::start(&watched.command, watched.account()?)?;
    filter.command = command.as_ref().map(|command| command.command().clone());
    let summary_only = wanted.contains(&Want::SummaryOnly);
    let (hooks, required) = hooks(kinds, summary_only);
    let request = Request {
        wants: wants(kinds, watched.stack, wanted),
        hooks,
        required,
        filter: kernel_form(&filter)?,
        cgroups: folders(&filter.cgroups)?,
        command: filter.command.as_ref().map(|command| command.pid),
        form: match limits.attach {
            Attach::Auto => Form::Auto,
            Attach::Fentry => Form::Fentry,
            Attach::Kprobe => Form::Kprobe,
        },
        buffer_bytes: limits.buffer,
        max_sockets: limits.max_sockets,
        duration: limits.duration,
    };
    let source = Live::attach(&request).map_err(|error| refused(&error))?;
    let header = Header {
        tcptrace: env!("CARGO_PKG_VERSION").to_owned(),
        facts: source.facts().clone(),
        questions: kinds.iter().map(|kind| words(*kind).question.to_owned()).collect(),
        filter: filter.words(),
        stacks: watched.stack,
        summary_only,
        buffer_bytes: limits.buffer,
        planned_ns: limits.duration.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        ..Header::default()
    };
    Ok(Attached { source, command, filter, header })
}

impl Attached {
    /// Lets the command go, and follows until it ends, its time is up or somebody stops it.
    pub(super) fn run(&mut self, on: &mut dyn FnMut(Item) -> Flow) -> Result<Ending, Failure> {
        let command = self.command.take().map(Waiting::go).transpose()?;
        let ending = self.source.run(on);
        if let Some(command) = command {
            // Nobody reads it any more.
            let _ = writeln!(io::stderr(), "{}", command.end());
        }
        ending.map_err(|error| Failure { message: error.to_string(), code: CANNOT })
    }
}

/// What the questions want of the kernel besides their hooks.
fn wants(kinds: &[Kind], stacks: bool, wanted: &[Want]) -> BTreeSet<Want> {
    let counts = kinds.iter().any(|kind| kind.hooks().contains(&Hook::tcp_push));
    let summary_only = wanted.contains(&Want::SummaryOnly);
    [
        (Want::Stacks, stacks),
        (Want::Counting, counts && !summary_only),
        (Want::Everything, kinds.iter().any(|kind| kind.everything())),
        (Want::Closing, kinds.iter().any(|kind| kind.closing())),
        (Want::Opening, kinds.iter().any(|kind| kind.opening())),
        (Want::Deferring, kinds.iter().any(|kind| kind.deferring())),
    ]
    .into_iter()
    .filter_map(|(want, is_wanted)| is_wanted.then_some(want))
    .chain(wanted.iter().copied())
    .collect()
}

/// The hooks of all questions, or those that suffice to count their findings; the indispensable ones first, and how many
/// these are.
fn hooks(kinds: &[Kind], summary_only: bool) -> (Vec<Hook>, usize) {
    let mut all: Vec<Hook> = Vec::new();
    let mut add = |hook: &Hook| {
        if !all.contains(hook) {
            all.push(*hook);
        }
    };
    let split = |kind: &Kind| {
        let (hooks, required) =
            if summary_only { kind.sparse() } else { (kind.hooks(), kind.required()) };
        hooks.split_at(required.min(hooks.len()))
    };
    kinds.iter().flat_map(|kind| split(kind).0).for_each(&mut add);
    kinds.iter().flat_map(|kind| split(kind).1).for_each(&mut add);
    let indispensable = |hook: &&Hook| kinds.iter().any(|kind| split(kind).0.contains(hook));
    let required = all.iter().filter(indispensable).count();
    (all, required)
}

/// The host or the user cannot; what the message tells to paste is the command as it was typed.
fn refused(error: &AttachError) -> Failure {
    let typed = env::args().skip(1).collect::<Vec<_>>().join(" ");
    Failure {
        message: error.to_string().replace("sudo tcptrace ...", &format!("sudo tcptrace {typed}")),
        code: CANNOT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indispensable_hooks_come_first_and_none_twice() {
        let (hooks, required) = hooks(Kind::ALL, false);
        let (first, rest) = hooks.split_at(required);
        for kind in Kind::ALL {
            let (needed, useful) = kind.hooks().split_at(kind.required());
            assert!(needed.iter().all(|hook| first.contains(hook)));
            assert!(useful.iter().all(|hook| hooks.contains(hook)));
        }
        let mut once = hooks.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), hooks.len());
        assert!(!rest.is_empty());
    }
}

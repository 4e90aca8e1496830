//! The questions as commands, help and version, and the exit code.

use std::{
    borrow::Cow,
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use tcptrace_common::WIRE_VERSION;

use super::{options::Options, session::watch, wrong::wrong};
use crate::{
    analysis::{Kind, for_each_analysis},
    explain::words,
    source::live,
};

/// Wrong flags, or output that could not be written.
pub(super) const WRONG: u8 = 2;
/// This host or user cannot.
pub(super) const CANNOT: u8 = 3;

/// What ends a run early: what to print, and the exit code.
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) code: u8,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(Cli { question: Some(question) }) => {
            let (kind, options) = question.parts();
            watch(kind, &options)
        }
        Ok(Cli { question: None }) => {
            // Nothing better is left to do when stderr is gone.
            let _ = write!(io::stderr(), "{}", Cli::command().render_help());
            return ExitCode::from(WRONG);
        }
        Err(error) => flags(&error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Why did TCP wait? Explains waiting bytes from inside the kernel, to a person and to a program.
#[derive(Debug, Parser)]
#[command(
    name = "tcptrace",
    version,
    override_usage = "tcptrace QUESTION [FILTERS] [OUTPUT] [LIMITS] [-- COMMAND ARGS...]",
    subcommand_help_heading = "Commands",
    subcommand_value_name = "QUESTION",
    disable_help_subcommand = true,
    infer_subcommands = false,
    max_term_width = 100,
    after_help = "tcptrace QUESTION -h lists the flags of a question, --help explains it."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) question: Option<Question>,
}

macro_rules! questions {
    ($($variant:ident = $module:ident;)*) => {
        #[derive(Debug, Subcommand)]
        pub(super) enum Question {
            $(
                #[command(
                    about = words(Kind::$variant).about,
                    long_about = words(Kind::$variant).manual,
                    after_long_help = ENDING,
                    mut_arg("min_hold", |arg| arg.hide(!words(Kind::$variant).asks)),
                    max_term_width = 100
                )]
                $variant(Options)
            ),*
        }

        impl Question {
            pub(super) fn parts(self) -> (Kind, Options) {
                match self { $( Self::$variant(options) => (Kind::$variant, options) ),* }
            }
        }
    };
}
for_each_analysis!(questions);

const ENDING: &str = "\
Exit codes: 0 it ran, with or without findings; 2 wrong flags, a COMMAND that cannot be run, or output that could not \
be written; 3 this host or user cannot (rights, no BTF, no BPF). Findings go to stdout, everything else to stderr.

Environment: NO_COLOR, CLICOLOR_FORCE, TERM, COLUMNS, TZ.";

/// Help and version are no errors; anything else becomes one message.
fn flags(error: &clap::Error) -> Result<(), Failure> {
    let text = match error.kind() {
        ErrorKind::DisplayHelp => error.render().to_string(),
        ErrorKind::DisplayVersion => format!(
            "tcptrace {} (wire format {WIRE_VERSION}, BPF object {})\n",
            env!("CARGO_PKG_VERSION"),
            live::object_hash()
        ),
        _ => return Err(Failure { message: wrong(error), code: WRONG }),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure { message: format!("output could not be written: {error}"), code: WRONG })
        }
        _ => Ok(()),
    }
}

/// The command that was meant, as far as it can be told.
pub(super) fn command(first: Option<&str>) -> Cow<'static, str> {
    let known =
        |name: &&str| Cli::command().get_subcommands().any(|question| question.get_name() == *name);
    first
        .filter(known)
        .map_or(Cow::Borrowed("tcptrace"), |name| Cow::Owned(format!("tcptrace {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
